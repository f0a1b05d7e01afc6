"""Nodes that shipped workflows use and this pack's host does not have, as /object_info describes them."""

import json
from pathlib import Path

HERE = Path(__file__).parent
CORE_ONLY = json.loads((HERE / "object_info_0_33.json").read_text("utf-8"))  # of ComfyUI 0.33
ANIMATEDIFF = json.loads((HERE / "object_info_animatediff.json").read_text("utf-8"))  # AnimateDiff-Evolved 1.5.7
OTHERS = CORE_ONLY | ANIMATEDIFF
