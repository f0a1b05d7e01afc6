"""Flow matching from noise to video: time, solvers, guidance, known frames. A model is only a callable here.

x_s = (1-s)*x0 + s*noise with s in [0,1]; the denoiser predicts the velocity v = noise - x0.
"""

from .generate import generate
from .guidance import guided
from .known import KnownFrames
from .lattice import Lattice, LatticeError
from .preview import PreviewBudget
from .sample import Step, noise_from_seed, sample
from .schedule import schedule, shift_sigma
from .solvers import SOLVERS

__all__ = [
    "SOLVERS", "KnownFrames", "Lattice", "LatticeError", "PreviewBudget", "Step",
    "generate", "guided", "noise_from_seed", "sample", "schedule", "shift_sigma",
]
