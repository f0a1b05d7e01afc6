"""What should happen in the video: words, key pictures, camera paths, depth and optical flow."""

from .conditioning import Conditioning, encode_conditioning
from .pictures import PictureError, as_pictures, cover
from .span import ControlError

__all__ = ["Conditioning", "ControlError", "PictureError", "as_pictures", "cover", "encode_conditioning"]
