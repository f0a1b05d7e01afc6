"""Flow matching from noise to video: time, solvers, guidance, known frames. A model is only a callable here.

x_s = (1-s)*x0 + s*noise with s in [0,1]; the denoiser predicts the velocity v = noise - x0.
"""

from .controls import Controls, unused
from .decode import check_latent, decode_frames
from .draft import expected
from .flowmap import MAX_FLOW_MAP_STEPS, check_flow_map
from .foretell import foretold, why_unforeseen
from .generate import generate
from .guidance import guided
from .known import KnownFrames
from .lattice import Lattice, LatticeError
from .opening import begun_with
from .preview import Forming, PreviewBudget
from .quick import fit_preview_map
from .rising import goes_on
from .sample import Step, noise_from_seed, sample
from .schedule import SCHEDULERS, schedule, shift_sigma
from .settings import clip_of, lattice_of, outside_training, said, settings_of
from .solvers import SOLVERS

__all__ = [
    "MAX_FLOW_MAP_STEPS", "SCHEDULERS", "SOLVERS", "Controls", "Forming", "KnownFrames", "Lattice", "LatticeError",
    "PreviewBudget", "Step", "begun_with", "check_flow_map", "check_latent", "clip_of", "decode_frames", "expected",
    "fit_preview_map", "foretold", "generate", "goes_on", "guided", "lattice_of", "noise_from_seed", "outside_training",
    "said", "sample", "schedule", "settings_of", "shift_sigma", "unused", "why_unforeseen",
]
