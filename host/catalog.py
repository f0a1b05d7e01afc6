"""The nodes that run here: the pack's own, and ComfyUI's for loading and saving pictures and video."""

from __future__ import annotations

import asyncio
import logging

log = logging.getLogger(__name__)

PACK_NAME = "vdit"  # how the front end names this pack: templates, help pages, extension files


def load_nodes() -> dict[str, type]:
    """Node type -> class. Imports no torch."""
    from ..nodes import VDiTExtension
    from .core_nodes import NODES

    async def ask() -> list[type]:
        extension = VDiTExtension()
        await extension.on_load()
        return await extension.get_node_list()

    return {cls.GET_SCHEMA().node_id: cls for cls in [*NODES, *asyncio.run(ask())]}


def object_infos(nodes: dict[str, type]) -> dict[str, dict]:
    """/object_info: file lists in it are those of now. A node whose schema fails is logged and left out."""
    infos = {}
    for name, cls in nodes.items():
        try:
            infos[name] = cls.object_info()
        except Exception:
            log.exception("The node %s cannot describe itself; it is left out", name)
    return infos
