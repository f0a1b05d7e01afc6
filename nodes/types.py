"""Wire types that ComfyUI lacks, and how a node says something to its user."""

from __future__ import annotations

import logging
from typing import Sequence

from .comfy import io

VDiTModel = io.Custom("VDIT_MODEL")  # model.checkpoint.WorldModel
VDiTConditioning = io.Custom("VDIT_CONDITIONING")  # control.Conditioning

CATEGORY = "VDiT"

log = logging.getLogger("vdit")


def shown(node_id: str, remarks: Sequence[str]) -> dict | None:
    """Each remark as a warning in the log, all of them as text on the node (see web/remarks.js)."""
    for remark in remarks:
        log.warning("%s: %s", node_id, remark)
    return {"text": ("\n".join(remarks),)} if remarks else None
