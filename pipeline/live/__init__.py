"""Live play: a scene simulated and drawn while a person grabs and pushes its bodies; and played again to the bit."""

from .camera import seen_from
from .events import read_message
from .painter import Painter, block_by_block
from .painting import FramePainter
from .player import HEADER, MAGIC, Audience, Figures, Player
from .recording import LONGEST_S, Recording, camera_path, check_recording, dumps, loads
from .session import Play, Session, State, check_play

__all__ = [
    "HEADER",
    "LONGEST_S",
    "MAGIC",
    "Audience",
    "Figures",
    "FramePainter",
    "Painter",
    "Play",
    "Player",
    "Recording",
    "Session",
    "State",
    "camera_path",
    "check_play",
    "check_recording",
    "dumps",
    "loads",
    "block_by_block",
    "read_message",
    "seen_from",
]
