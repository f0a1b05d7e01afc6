"""What should happen in the video: words, key pictures, camera paths, depth and optical flow."""

from .conditioning import Conditioning, Controls, Shot
from .pictures import PictureError, as_pictures, cover
from .span import ControlError

__all__ = ["Conditioning", "ControlError", "Controls", "PictureError", "Shot", "as_pictures", "cover"]
