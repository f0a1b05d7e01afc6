"""Example pictures, videos and scenes for the shipped workflows, offered where nodes find their files.

Those list ComfyUI's input folder only, so the examples are copied into it. A file of that name is never overwritten.
"""

from __future__ import annotations

import logging
from pathlib import Path

from ..machine.writing import created
from .comfy import input_folder

EXAMPLES = Path(__file__).resolve().parent.parent / "workflows" / "inputs"
KINDS = ("png", "jpg", "mp4", "xml", "json")


def offer() -> None:
    """Copy the files that are missing. A read-only folder costs a line in the log, nothing else."""
    for example in sorted(path for kind in KINDS for path in EXAMPLES.glob(f"*.{kind}")):
        try:
            target = input_folder() / example.name
            if target.exists():
                continue
            with created(target) as part:
                part.write_bytes(example.read_bytes())
        except FileExistsError:  # another process has offered it meanwhile
            continue
        except OSError as error:
            logging.getLogger("vdit").warning("the workflows' example %s could not be offered: %s", example.name, error)
            return  # nor could the others
