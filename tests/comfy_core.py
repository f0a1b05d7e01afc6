"""A real ComfyUI for tests: started from COMFYUI_PATH with this pack in it, asked over HTTP and its socket.

The checkout is not touched: base folder, database and custom_nodes are temporary.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import pytest

PACK = Path(__file__).resolve().parent.parent
COMFYUI = os.environ.get("COMFYUI_PATH")
START_LIMIT_S, RUN_LIMIT_S = 900, 1800  # for machines with much else to do
MISSING = (
    "NOT CHECKED AGAINST A REAL COMFYUI: set COMFYUI_PATH to a ComfyUI checkout (and COMFYUI_PYTHON to its python)"
)


@dataclass
class Core:
    """A running ComfyUI."""

    url: str
    base: Path
    version: tuple[int, ...]
    infos: dict
    log: Path
    ready_s: float
    pid: int


@dataclass
class Run:
    """What one prompt did."""

    status: str
    messages: list[dict]
    previews: list[bytes]
    outputs: dict
    node_errors: dict = field(default_factory=dict)
    cancel_s: float | None = None  # from asking to interrupt it to its end


def version_of(core: Path) -> tuple[int, ...]:
    text = (core / "comfyui_version.py").read_text()
    return tuple(int(part) for part in text.split('"')[1].split("."))


def python_of(core: Path) -> str:
    own = [core / folder / "bin/python" for folder in (".venv", "venv")]
    return os.environ.get("COMFYUI_PYTHON") or next((str(path) for path in own if path.exists()), sys.executable)


def fetch(url: str) -> str:
    with urlopen(url, timeout=30) as answer:
        return answer.read().decode()


def get(url: str):
    return json.loads(fetch(url))


@pytest.fixture(scope="session")
def core(tmp_path_factory):
    with started(tmp_path_factory.mktemp("comfyui")) as core:
        yield core


@contextmanager
def started(base: Path):
    """A Core on temporary folders below base, until the block ends."""
    path = Path(COMFYUI).resolve()
    for folder in ("custom_nodes", "input", "output", "temp", "user", "models/diffusion_models"):
        (base / folder).mkdir(parents=True)
    (base / "custom_nodes" / "vdit").symlink_to(PACK, target_is_directory=True)
    (base / "custom_nodes" / "probe.py").write_text(PROBE)
    from comfy_workflows import STAND_INS  # which asks this module where the pack is

    (base / "custom_nodes" / "stand_ins.py").write_text(STAND_INS)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        python_of(path),
        "main.py",
        "--cpu",
        "--disable-api-nodes",
        "--listen",
        "127.0.0.1",
        "--port",
        str(port),
        "--base-directory",
        str(base),
        "--database-url",
        "sqlite:///:memory:",
        "--preview-method",
        "none",
    ]
    log, start = base / "core.log", time.monotonic()
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=path, stdout=out, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                infos = get(f"{url}/object_info")
                break
            except OSError:
                if process.poll() is not None or time.monotonic() - start > START_LIMIT_S:
                    pytest.fail(f"ComfyUI did not start:\n{log.read_text()[-4000:]}")
                time.sleep(0.5)
        yield Core(url, base, version_of(path), infos, log, time.monotonic() - start, process.pid)
    finally:
        process.terminate()
        process.wait(30)


PROBE = '''
import json
import os
import folder_paths
import torch
import comfy.model_management as management

class Probe:
    """Tells which models ComfyUI's memory management holds, then frees them all."""
    RETURN_TYPES, FUNCTION, OUTPUT_NODE, CATEGORY = (), "run", True, "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"after": ("*",), "salt": ("INT", {"default": 0})}}

    @classmethod
    def VALIDATE_INPUTS(cls, input_types):
        return True

    def run(self, after, salt):
        held = [loaded.model.model for loaded in management.current_loaded_models]
        names = [type(getattr(model, "diffusion_model", model)).__name__ for model in held]
        management.unload_all_models()
        return {"ui": {"text": (json.dumps(names),)}}

class RandomWords:
    """CONDITIONING as a native text encoder gives it: [1, length, width], zeros behind the prompt's end."""
    RETURN_TYPES, FUNCTION, CATEGORY = ("CONDITIONING",), "run", "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seed": ("INT", {"default": 0}), "length": ("INT", {"default": 7}),
                             "width": ("INT", {"default": 4096, "max": 9999})}}

    def run(self, seed, length, width):
        tokens = torch.zeros(1, 512, width)
        tokens[:, :length] = torch.randn(1, length, width, generator=torch.Generator().manual_seed(seed))
        return ([[tokens, {"pooled_output": None}]],)

class RandomImages:
    """Soft random pictures [count, side, side, 3]."""
    RETURN_TYPES, FUNCTION, CATEGORY = ("IMAGE",), "run", "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seed": ("INT", {"default": 0}), "count": ("INT", {"default": 5}),
                             "side": ("INT", {"default": 64}), "colours": ("INT", {"default": 3})}}

    def run(self, seed, count, side, colours):
        small = torch.rand(count, colours, 4, 4, generator=torch.Generator().manual_seed(seed)).expand(-1, 3, -1, -1)
        return (torch.nn.functional.interpolate(small, size=(side, side), mode="bilinear").permute(0, 2, 3, 1),)

class KeepTensor:
    """Writes an IMAGE or a LATENT as it is."""
    RETURN_TYPES, FUNCTION, OUTPUT_NODE, CATEGORY = (), "run", True, "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("*",), "name": ("STRING", {"default": "kept"})}}

    @classmethod
    def VALIDATE_INPUTS(cls, input_types):
        return True

    def run(self, value, name):
        tensor = value["samples"] if isinstance(value, dict) else value
        path = os.path.join(folder_paths.get_output_directory(), name + ".pt")
        torch.save(tensor.detach().cpu().clone(), path)
        return {"ui": {"text": (path,)}}

NODE_CLASS_MAPPINGS = {
    "Probe": Probe, "RandomWords": RandomWords, "RandomImages": RandomImages, "KeepTensor": KeepTensor
}
'''


async def _queue(core: Core, prompt: dict, ui: dict | None, cancel_at_step: int | None) -> Run:
    import aiohttp

    messages, previews, history, asked = [], [], None, None
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(f"{core.url}/ws?clientId=test", max_msg_size=0) as socket:
            body = {"prompt": prompt, "client_id": "test", "extra_data": {"extra_pnginfo": {"workflow": ui}}}
            async with session.post(f"{core.url}/prompt", json=body) as answer:
                queued = await answer.json()
            if "prompt_id" not in queued:
                return Run("refused", [], [], {}, queued["node_errors"])
            async for message in socket:
                if message.type == aiohttp.WSMsgType.BINARY:
                    previews.append(message.data)
                    continue
                data = json.loads(message.data)
                messages.append(data)
                if data["type"] == "progress" and data["data"]["value"] == cancel_at_step:
                    cancel_at_step, asked = None, time.monotonic()
                    await session.post(f"{core.url}/interrupt")
                if data["type"] in ("execution_success", "execution_error", "execution_interrupted"):
                    ended = time.monotonic()
                    break
        while history is None:  # written a moment after the last message
            async with session.get(f"{core.url}/history/{queued['prompt_id']}") as answer:
                history = (await answer.json()).get(queued["prompt_id"])
    cancel_s = None if asked is None else ended - asked
    return Run(data["type"].removeprefix("execution_"), messages, previews, history["outputs"], cancel_s=cancel_s)


class Graph:
    """A prompt in the making. `add` gives a node's number; a link is (number, output)."""

    def __init__(self, core: Core):
        self.core, self.prompt, self.kept = core, {}, {}

    def add(self, kind: str, **inputs) -> str:
        """With the defaults of every required input that is not given."""
        values = {}
        for name, (io_type, *options) in self.core.infos[kind]["input"].get("required", {}).items():
            options = options[0] if options else {}
            if "default" in options:
                values[name] = options["default"]
            elif isinstance(io_type, list) and io_type:
                values[name] = io_type[0]
        values |= {
            name: [value, 0]
            if isinstance(value, str) and value in self.prompt
            else list(value)
            if isinstance(value, tuple)
            else value
            for name, value in inputs.items()
        }
        number = f"n{len(self.prompt)}"
        self.prompt[number] = {"class_type": kind, "inputs": values}
        return number

    def keep(self, name: str, value) -> None:
        """The tensor of an IMAGE or LATENT, for `run`."""
        self.kept[name] = self.add("KeepTensor", value=value, name=name)

    def run(self):
        """The kept tensors, by name. Fails with ComfyUI's own message."""
        import torch

        done = run(self.core, self.prompt)
        assert done.status == "success", done.node_errors or done.messages[-1]["data"]["exception_message"]
        return [torch.load(done.outputs[number]["text"][0]) for number in self.kept.values()]

    def refused(self) -> str:
        """What is said where the run must fail."""
        done = run(self.core, self.prompt)
        assert done.status in ("refused", "error"), done.status
        return json.dumps(done.node_errors or done.messages[-1]["data"])


def run(core: Core, prompt: dict, ui: dict | None = None, cancel_at_step: int | None = None) -> Run:
    return asyncio.run(asyncio.wait_for(_queue(core, prompt, ui, cancel_at_step), RUN_LIMIT_S))


def node_of(prompt: dict, kind: str) -> str:
    return next(number for number, node in prompt.items() if node["class_type"] == kind)
