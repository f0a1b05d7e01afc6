"""A model and a request become a video: the one place where model, controls, drafts and sampling meet."""

from .decode import check_latent, decode_frames, expected
from .first_picture import begun_with
from .generate import generate
from .inputs import Controls, unused
from .lattice import Lattice, LatticeError
from .previews import Forming, PreviewBudget
from .quick_decode import fit_preview_map
from .settings import clip_of, lattice_of, outside_training, said, settings_of

__all__ = [
    "Controls",
    "Forming",
    "Lattice",
    "LatticeError",
    "PreviewBudget",
    "begun_with",
    "check_latent",
    "clip_of",
    "decode_frames",
    "expected",
    "fit_preview_map",
    "generate",
    "lattice_of",
    "outside_training",
    "said",
    "settings_of",
    "unused",
]
