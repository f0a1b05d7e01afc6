"""Live play: a scene simulated and drawn while a person grabs and pushes its bodies; and played again to the bit."""

from .camera import seen_from
from .events import read_message
from .player import HEADER, MAGIC, Audience, Figures, Player
from .recording import LONGEST_S, Recording, camera_path, check_recording, dumps, loads
from .session import Play, Session, State, check_play

__all__ = [
    "HEADER",
    "LONGEST_S",
    "MAGIC",
    "Audience",
    "Figures",
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
    "read_message",
    "seen_from",
]
