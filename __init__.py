"""VDiT: a video world model in the ComfyUI node graph.

ComfyUI imports this folder as a package under any name; so: relative imports only, and nothing heavy here.
"""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """ComfyUI's V3 entry point: the extension that lists the nodes."""
    from .nodes import VDiTExtension

    return VDiTExtension()
