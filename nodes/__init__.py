"""The nodes a person wires: one file per stage, each node a schema and one call into the library."""

from __future__ import annotations

from . import examples
from .comfy import ComfyExtension, io
from .decode import VDiTDecode
from .encode import VDiTEncodeConditioning
from .load import VDiTLoadModel
from .sample import VDiTSample

NODES: list[type[io.ComfyNode]] = [VDiTLoadModel, VDiTEncodeConditioning, VDiTSample, VDiTDecode]


class VDiTExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        examples.offer()
        return NODES
