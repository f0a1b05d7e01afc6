"""Live play in a real ComfyUI: by its server, for the scene that a prompt has shown, and standing still while one runs.

COMFYUI_PATH=/path/to/ComfyUI [COMFYUI_PYTHON=/its/python] pytest tests/test_comfyui_live.py
"""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from comfy_core import COMFYUI, MISSING, Graph, run
from vdit.nodes.live_routes import PATH
from vdit.pipeline.live import HEADER, loads

pytestmark = pytest.mark.slow

if not COMFYUI:
    pytest.skip(f"{MISSING} to play a scene there", allow_module_level=True)


def test_a_scene_is_played_by_comfyuis_own_server_and_waits_for_prompts(core):
    graph = Graph(core)
    live = graph.add("VDiTLive", scene=graph.add("VDiTSceneFile"), width=208)
    graph.keep("first", (live, 2))
    done = run(core, graph.prompt)
    assert done.status == "success", done.messages[-1]
    (shown,) = done.outputs[live]["vdit_live"]

    async def play():
        import aiohttp

        async with aiohttp.ClientSession() as session:
            for origin in ({}, {"Origin": "http://evil.example"}):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await session.ws_connect(core.url + PATH, headers=origin)
                assert refused.value.status == 403
            async with session.ws_connect(f"{core.url}/api{PATH}", headers={"Origin": core.url}) as socket:
                await socket.send_json({"type": "open", "scene": shown["session"]})
                await socket.send_json({"type": "play"})
                frames, yielded, recording, asked = 0, False, None, False
                end = time.monotonic() + 120
                async for message in socket:
                    assert time.monotonic() < end
                    if message.type is aiohttp.WSMsgType.BINARY:
                        frames += HEADER.unpack(message.data[: HEADER.size])[2] > 0
                        if frames == 8 and not asked:
                            asked = True
                            busy = Graph(core)
                            busy.keep(
                                "busy", (busy.add("VDiTSimulate", scene=busy.add("VDiTSceneFile"), seconds=4.0), 0)
                            )
                            await session.post(f"{core.url}/prompt", json={"prompt": busy.prompt})
                        continue
                    fields = json.loads(message.data)
                    assert fields["type"] != "error", fields
                    yielded |= fields["type"] == "state" and fields["yielding"]
                    if yielded and fields["type"] == "state" and not fields["yielding"]:
                        await socket.send_json({"type": "record"})
                    if fields["type"] == "recording":
                        recording = loads(fields["actions"])
                        break
                return frames, yielded, recording

    frames, yielded, recording = asyncio.run(play())
    assert frames >= 8 and yielded and recording.seconds >= 0.5
