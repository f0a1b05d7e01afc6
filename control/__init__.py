"""What should happen in the video: words, key pictures; later camera paths, depth and optical flow."""

from .conditioning import Conditioning, encode_conditioning
from .pictures import PictureError, as_pictures, cover

__all__ = ["Conditioning", "PictureError", "as_pictures", "cover", "encode_conditioning"]
