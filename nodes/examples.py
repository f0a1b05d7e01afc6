"""Example pictures for the shipped workflows, offered where Load Image finds them: ComfyUI's input folder.

Load Image lists that folder only. A picture that lies there runs out of the box with and without ComfyUI, and is
swapped like any other: choose a file, or drop one on the node. A file of that name is never overwritten.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from .comfy import input_folder

PICTURES = Path(__file__).resolve().parent.parent / "workflows" / "inputs"


def offer() -> None:
    """Copy the pictures that are missing. A read-only folder costs a line in the log, nothing else."""
    for picture in sorted(PICTURES.glob("*.png")):
        try:
            target = input_folder() / picture.name
            if target.exists():
                continue
            beside = target.with_name(f".{picture.name}.{os.getpid()}")
            shutil.copyfile(picture, beside)
            os.replace(beside, target)
        except OSError as error:
            logging.getLogger("vdit").warning("the example picture %s could not be offered: %s", picture.name, error)
