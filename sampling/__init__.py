"""Flow matching from noise to a clean latent: schedules, solvers, guidance, held frames, per-frame noise levels, flow maps.

x_s = (1-s)*x0 + s*noise with s in [0,1]; the denoiser predicts the velocity v = noise - x0. A model is only a callable here.
"""

from .flow_map import MAX_FLOW_MAP_STEPS, check_flow_map
from .frame_levels import goes_on
from .guidance import guided
from .held import KnownFrames
from .sample import Step, noise_from_seed, sample
from .schedule import SCHEDULERS, schedule, shift_sigma
from .solvers import SOLVERS

__all__ = [
    "MAX_FLOW_MAP_STEPS",
    "SCHEDULERS",
    "SOLVERS",
    "KnownFrames",
    "Step",
    "check_flow_map",
    "goes_on",
    "guided",
    "noise_from_seed",
    "sample",
    "schedule",
    "shift_sigma",
]
