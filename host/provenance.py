"""Marks files as AI-generated, in plain metadata: on unless VDIT_AI_LABEL=0.

The words are IPTC's (newscodes digitalsourcetype). A re-encode strips them; they are a courtesy, not a proof.
"""

from __future__ import annotations

import os

TAGS = {
    "ai_generated": "true",
    "digital_source_type": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
    "comment": "AI-generated with VDiT",
}
GENERATING = {"VDiTSample"}


def tags(prompt: dict | None) -> dict[str, str]:
    """Metadata for a file made by this prompt; empty when nothing in it generates, or the label is switched off."""
    if os.environ.get("VDIT_AI_LABEL", "1") == "0":
        return {}
    made = {node.get("class_type") for node in (prompt or {}).values()}
    return dict(TAGS) if made & GENERATING else {}
