"""Flow matching from noise to a clean latent: schedules, solvers, guidance, held frames, noise levels, flow maps.

x_s = (1-s)*x0 + s*noise with s in [0,1]; the denoiser predicts the velocity v = noise - x0. A model is a callable here.
"""

from .draft_guidance import DraftGuidance
from .flow_map import MAX_FLOW_MAP_STEPS, check_flow_map, towards_next_sigma
from .guidance import guided
from .held import HeldFrames
from .rollout import blocks_of, rollout
from .sample import SampleOptions, Step, noise_from_seed, sample
from .schedule import SCHEDULERS, schedule, shift_sigma
from .solvers import SOLVERS

__all__ = [
    "MAX_FLOW_MAP_STEPS",
    "SCHEDULERS",
    "SOLVERS",
    "DraftGuidance",
    "HeldFrames",
    "SampleOptions",
    "Step",
    "blocks_of",
    "check_flow_map",
    "guided",
    "noise_from_seed",
    "rollout",
    "sample",
    "schedule",
    "shift_sigma",
    "towards_next_sigma",
]
