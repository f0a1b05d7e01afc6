"""The doors that files of numbers come through, each with generated cases: weights, LoRAs, pictures, videos, arrays."""

import io
import json
import os
import tempfile
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import wan_files as make
from edits import Case, files
from fakes import random_world_model
from media_seeds import picture_seeds, video_seeds
from oracle import Door
from torch import Tensor
from vdit.control.depth import read_depth
from vdit.control.span import ControlError
from vdit.host import embedded, images
from vdit.host.video import VideoFromFile
from vdit.machine.limits import TooLarge
from vdit.model.config import VDiTConfig
from vdit.model.errors import CheckpointError
from vdit.model.files import bundle
from vdit.model.files.fill import fill
from vdit.model.files.lora import apply_loras, shared_copy
from vdit.model.files.quantized import LowRank, StoredLinear
from vdit.model.files.weights import open_weights
from vdit.model.wan import WanTransformer

SCRATCH = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())
TINY = VDiTConfig(dim=128, ffn_dim=128, layers=1, in_channels=4, out_channels=4, text_dim=64, text_len=8)
GGUF_TINY = VDiTConfig(dim=256, ffn_dim=256, layers=1, in_channels=4, out_channels=4, text_dim=256, text_len=8)
STRENGTH = 0.7
KNOWN = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8", "I32": "<i4", "U8": "u1", "I8": "i1"}


def there(suffix: str, content: bytes) -> Path:
    """The case as a file."""
    path = SCRATCH / f"vdit-fuzz-{os.getpid()}{suffix}"
    path.write_bytes(content)
    return path


def seeds_of(write: dict[str, Callable[[Path], object]], suffix: str) -> dict[str, bytes]:
    """What each of these writes."""
    found = {}
    for name, one in write.items():
        path = there(suffix, b"")
        one(path)
        found[name] = path.read_bytes()
    return found


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=True))


# Weights


@cache
def state(config: VDiTConfig = TINY) -> dict[str, Tensor]:
    return make.random_state(config)


def weight_seeds() -> dict[str, bytes]:
    return seeds_of(
        {
            "float32": lambda p: make.single(p, state(), torch.float32),
            "float16": lambda p: make.single(p, state(), torch.float16, "model.diffusion_model."),
            "diffusers": lambda p: make.single(p, make.diffusers_names(state()), torch.float32),
            "fp8 scaled": lambda p: make.fp8_scaled(p, state()),
            "fp8 new": lambda p: make.fp8_scaled(p, state(), "new"),
            "fp8 plain": lambda p: make.fp8_scaled(p, state(), scales=False),
        },
        ".safetensors",
    )


def filled(config: VDiTConfig, path: Path) -> WanTransformer:
    with torch.device("meta"):
        model = WanTransformer(config)
    return fill(model, open_weights(path), torch.float32, "the model")


def values_of(model: WanTransformer) -> dict[str, np.ndarray]:
    """Every value of a model, as float32."""
    found = {name: value.float().numpy() for name, value in model.state_dict().items()}
    for name, module in model.named_modules():
        if isinstance(module, StoredLinear):
            found[f"{name}.weight"] = module.dense(torch.float32).numpy()
    return found


def stored_values(content: bytes) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, read by its specification: name -> values."""
    length = int.from_bytes(content[:8], "little")
    found = {}
    for name, entry in json.loads(content[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        raw = content[8 + length + start : 8 + length + end]
        if entry["dtype"] in KNOWN:
            values = np.frombuffer(raw, KNOWN[entry["dtype"]]).astype(np.float32)
        else:
            kinds = {"BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}
            kind = kinds.get(entry["dtype"], torch.uint8)
            values = torch.frombuffer(bytearray(raw), dtype=kind).float().numpy() if raw else np.zeros(0, np.float32)
        found[name] = values.reshape(entry["shape"])
    return found


def wrong_weights(case: Case, model: WanTransformer) -> str:
    found, names = stored_values(case.content), make.diffusers_names({name: name for name in state()})
    wide = {name.removeprefix("model.diffusion_model."): value for name, value in found.items()}
    for name, value in values_of(model).items():
        if name.endswith(".scale"):
            continue
        theirs = name if name in wide else next((t for t, own in names.items() if own == name), name)
        base = theirs.removesuffix(".weight")
        scale = next((wide[base + s] for s in (".scale_weight", ".weight_scale") if base + s in wide), None)
        expected = wide[theirs] if scale is None else wide[theirs] * scale.reshape(-1, *[1] * (value.ndim - 1))
        if not same(value, expected.astype(np.float32)):
            return f"{name} has other values than the file"
    return ""


def weights() -> Door:
    enter = lambda case: filled(TINY, there(".safetensors", case.content))  # noqa: E731
    return Door("weight files", files(weight_seeds()), enter, (CheckpointError, TooLarge), wrong_weights, "vdit-fuzz")


@lru_cache(maxsize=256)
def gguf_values(raw: bytes, shape: tuple[int, ...], dtype: str, kind: Any) -> np.ndarray:
    """As the gguf package decodes them; most tensors of most cases are those of the seed."""
    from gguf.quants import dequantize

    return dequantize(np.frombuffer(raw, dtype).reshape(shape), kind)


def gguf() -> Door:
    seeds = {kind: lambda p, kind=kind: make.gguf(p, state(GGUF_TINY), kind) for kind in ("Q8_0", "Q4_K", "Q5_0")}

    def enter(case: Case) -> WanTransformer:
        return filled(GGUF_TINY, there(".gguf", case.content))

    def wrong(case: Case, model: WanTransformer) -> str:
        from gguf import GGUFReader

        found = values_of(model)
        for tensor in GGUFReader(SCRATCH / f"vdit-fuzz-{os.getpid()}.gguf").tensors:
            shape = found[tensor.name].shape
            expected = gguf_values(tensor.data.tobytes(), tensor.data.shape, tensor.data.dtype.str, tensor.tensor_type)
            expected = expected.reshape(shape)
            off = np.abs(found[tensor.name] - expected) > 1e-6 * np.abs(expected)  # our K blocks round elsewhere
            if (off & np.isfinite(expected)).any():
                return f"{tensor.name} has other values than gguf reads"
        return ""

    return Door("GGUF", files(seeds_of(seeds, ".gguf")), enter, (CheckpointError, TooLarge), wrong, "vdit-fuzz")


# Bundles and LoRAs


@cache
def world_model() -> Any:
    return random_world_model(0)


def bundles() -> Door:
    seeds = {
        "float16": lambda p: bundle.save_world_model(world_model(), p),
        "int8": lambda p: bundle.save_world_model(world_model(), p, torch.int8),
    }
    made = seeds_of(seeds, ".safetensors")
    right = {name: bundle.load_world_model(there(".safetensors", data)) for name, data in made.items()}

    def wrong(case: Case, model: Any) -> str:
        if (model.config, model.defaults, model.facts) != (right[case.seed].config, model.defaults, model.facts):
            return "other sizes"
        if (model.defaults, model.facts) != (right[case.seed].defaults, right[case.seed].facts):
            return "other defaults or facts"
        for part, module in right[case.seed].parts.items():
            got = model.parts[part].state_dict()
            if any(not torch.equal(got[name], value) for name, value in module.state_dict().items()):
                return f"other weights of {part}"
        return ""

    enter = lambda case: bundle.load_world_model(there(".safetensors", case.content))  # noqa: E731
    return Door("bundles", files(made), enter, (CheckpointError, TooLarge), wrong, "vdit-fuzz")


def loras() -> Door:
    base = WanTransformer(TINY)
    base.load_state_dict(state())
    base.requires_grad_(False)
    namings = {"A/B": {}, "A/B alpha": {"alpha": 2.0}, "diff": {"naming": "diff"}}
    seeds = {name: lambda p, more=more: make.lora(p, state(), **more) for name, more in namings.items()}

    def enter(case: Case) -> WanTransformer:
        model = shared_copy(base)
        apply_loras(model, [(there(".safetensors", case.content), STRENGTH)])
        return model

    def wrong(case: Case, model: WanTransformer) -> str:
        found = stored_values(case.content)
        for module in (m for m in model.modules() if isinstance(m, LowRank)):
            up = [name for name, value in found.items() if same(value, module.up.float().numpy())]
            if not up:
                return "an up or diff that is not in the file"
            if module.down is None:
                wanted = [STRENGTH]
            elif not any(same(value, module.down.float().numpy()) for value in found.values()):
                return "a down that is not in the file"
            else:
                alphas = [found.get(name.partition(".lora")[0] + ".alpha") for name in up]
                rank = module.down.shape[0]
                wanted = [STRENGTH * (1.0 if a is None else float(a.reshape(())) / rank) for a in alphas]
            if not any(np.isclose(module.strength, w, rtol=1e-6) for w in wanted):
                return f"strength {module.strength}, expected one of {wanted}"
        return ""

    return Door("LoRAs", files(seeds_of(seeds, ".safetensors")), enter, (CheckpointError, TooLarge), wrong, "vdit-fuzz")


# Pictures, videos, arrays


def pictures() -> Door:
    made = picture_seeds()
    right = {name: images.load(there(".png", data)) for name, data in made.items()}

    def wrong(case: Case, result: tuple[Tensor, Tensor]) -> str:
        image, mask = result
        if image.ndim != 4 or image.shape[-1] != 3 or not (image.min() >= 0 and image.max() <= 1):
            return f"{list(image.shape)} from {image.min()} to {image.max()}"
        if len(mask) != len(image) or not (mask.min() >= 0 and mask.max() <= 1):
            return f"a mask {list(mask.shape)}"
        # A PNG's chunks have check sums: what is accepted without a change of them is what was saved.
        if case.seed.startswith("png") and not case.header and not torch.equal(image, right[case.seed][0]):
            return "other pixels than the PNG's"
        return ""

    enter = lambda case: images.load(there(".png", case.content))  # noqa: E731
    return Door("pictures", files(made), enter, (ValueError,), wrong, "vdit-fuzz")


def graphs_inside() -> Door:
    def enter(case: Case) -> object:
        return embedded.graph(there(".png" if case.seed in picture_seeds() else ".mp4", case.content))

    return Door("graphs in media", files(picture_seeds() | video_seeds()), enter, (ValueError,))


def videos() -> Door:
    made = video_seeds()

    def enter(case: Case) -> tuple:
        video = VideoFromFile(there(".video", case.content))
        sizes = video.get_dimensions(), video.get_frame_rate(), video.get_frame_count(), video.get_duration()
        return *sizes, video.get_components()

    def wrong(case: Case, result: tuple) -> str:
        (width, height), rate, count, seconds, found = result
        if tuple(found.images.shape[1:]) != (height, width, 3):
            return f"frames {list(found.images.shape)}, but {width}x{height}"
        if not (rate > 0 and seconds > 0 and found.frame_rate == rate):
            return f"{rate} frames/s for {seconds} s"
        if len(found.images) != count and not found.remarks:
            return f"{len(found.images)} frames of {count} without a word"
        if found.audio is not None and not torch.isfinite(found.audio["waveform"]).all():
            return "sound that is not finite"
        return ""

    return Door("videos", files(made), enter, (ValueError,), wrong, "vdit-fuzz")


def copied_videos() -> Door:
    target = SCRATCH / f"vdit-fuzz-{os.getpid()}-copy.mp4"

    def enter(case: Case) -> None:
        VideoFromFile(there(".video", case.content)).save_to(target, metadata={"prompt": "{}"})

    return Door("videos copied", files(video_seeds()), enter, (ValueError,), place="vdit-fuzz")


def array_seeds() -> dict[str, bytes]:
    depth = np.random.default_rng(0).uniform(1, 9, (2, 8, 8))
    made = {}
    for kind in ("<f4", "<f8", "<u2", ">f4"):
        made[kind] = io.BytesIO()
        np.save(made[kind], depth.astype(kind))
    made["fortran"] = io.BytesIO()
    np.save(made["fortran"], np.asfortranarray(depth.astype("<f4")))
    for name, save in (("stored", np.savez), ("deflated", np.savez_compressed)):
        made[name] = io.BytesIO()
        save(made[name], depth=depth, other=depth)
    return {name: file.getvalue() for name, file in made.items()}


def arrays() -> Door:
    def wrong(case: Case, result: Tensor) -> str:
        found = np.load(io.BytesIO(case.content), allow_pickle=False)
        expected = (found["depth"] if case.content[:2] == b"PK" else found).astype(np.float32)
        return "" if same(result.numpy().ravel(), np.ascontiguousarray(expected).ravel()) else "other values than NumPy"

    enter = lambda case: read_depth(there(".npz", case.content))  # noqa: E731
    return Door("arrays", files(array_seeds()), enter, (ControlError, TooLarge), wrong, "vdit-fuzz")


DOORS = (weights, gguf, bundles, loras, pictures, graphs_inside, videos, copied_videos, arrays)
