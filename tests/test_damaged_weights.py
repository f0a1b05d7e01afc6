"""LoRAs, bundles and GGUF files whose numbers cannot be what was meant are refused by name."""

import json
import struct

import pytest
import torch
import wan_files as make
from fakes import random_world_model
from safetensors.torch import load_file, save_file
from vdit.model.config import VDiTConfig
from vdit.model.errors import CheckpointError
from vdit.model.files import bundle
from vdit.model.files.lora import apply_loras, shared_copy
from vdit.model.files.weights import open_weights
from vdit.model.wan import WanTransformer

TINY = VDiTConfig(dim=128, ffn_dim=128, layers=1, in_channels=4, out_channels=4, text_dim=64, text_len=8)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return WanTransformer(TINY).requires_grad_(False)


def changed_lora(path, model, change):
    make.lora(path, model.state_dict(), alpha=2.0)
    save_file({name: change(name, value).contiguous() for name, value in load_file(path).items()}, path)
    return path


@pytest.mark.parametrize(
    "change, says",
    [
        (
            lambda n, v: v if "alpha" in n else (100 * v).to(torch.int8),
            r"its (up|down) is I8, only numbers with a point",
        ),
        (lambda n, v: v if "alpha" in n else v > 0, r"its (up|down) is BOOL"),
        (lambda n, v: v if "alpha" in n else v.view(torch.int32), r"its (up|down) is I32"),
        (lambda n, v: torch.zeros_like(v) if "lora_B" in n or "up" in n else v, "what it adds is zero everywhere"),
        (lambda n, v: torch.full_like(v, torch.nan), r"NaN or infinite values in"),
        (lambda n, v: v.repeat(3) if "alpha" in n else v, "its alpha holds 3 values, expected one"),
        (lambda n, v: v if v.ndim < 2 else v[:0] if v.shape[0] == 4 else v[:, :0], "its rank is 0"),
    ],
    ids=["int8", "bool", "int32", "zeros", "NaN", "three alphas", "rank 0"],
)
def test_a_lora_whose_numbers_cannot_be_meant_is_refused_and_changes_nothing(change, says, model, tmp_path):
    path = changed_lora(tmp_path / "l.safetensors", model, lambda n, v: change(n, v.reshape(1) if "alpha" in n else v))
    copy = shared_copy(model)
    with pytest.raises(CheckpointError, match=rf"l\.safetensors: .*{says}"):
        apply_loras(copy, [(path, 1.0)])
    assert copy.state_dict().keys() == model.state_dict().keys()


def test_a_lora_in_fp8_with_scales_is_multiplied_by_them(model, tmp_path):
    path = changed_lora(tmp_path / "l.safetensors", model, lambda n, v: v)
    tensors = {n: (4 * v).to(torch.float8_e4m3fn) if v.ndim == 2 else v for n, v in load_file(path).items()}
    plain = {n: v.float() / 4 if v.dtype == torch.float8_e4m3fn else v for n, v in tensors.items()}
    scales = {n.removesuffix(".weight") + ".scale_weight": torch.tensor(0.25) for n in tensors if n.endswith(".weight")}
    save_file(tensors | scales, path)
    save_file(plain, tmp_path / "plain.safetensors")
    copies = [shared_copy(model) for _ in range(2)]
    for copy, name in zip(copies, ("l", "plain"), strict=True):
        apply_loras(copy, [(tmp_path / f"{name}.safetensors", 1.0)])
    ends = [[value for name, value in copy.state_dict().items() if ".loras." in name] for copy in copies]
    assert ends[0] and all(torch.equal(a.float(), b) for a, b in zip(*ends, strict=True))


def test_one_changed_bit_in_the_header_of_a_bundle_is_found(tmp_path):
    """Found by tests/fuzz: a default of sampling changed without a word."""
    path = bundle.save_world_model(random_world_model(0), tmp_path / "m.safetensors")
    header = json.loads(open_weights(path).metadata["vdit"])
    header["defaults"]["steps"] += 1
    save_file(load_file(path), path, metadata={"vdit": json.dumps(header)})
    with pytest.raises(CheckpointError, match=r"m\.safetensors: its VDiT header is not the one that was saved"):
        bundle.load_world_model(path)


@pytest.fixture
def gguf(tmp_path):
    config = VDiTConfig(dim=256, ffn_dim=256, layers=1, in_channels=4, out_channels=4, text_dim=256, text_len=8)
    return make.gguf(tmp_path / "m.gguf", make.random_state(config))


@pytest.mark.parametrize(
    "at, form, value, says",
    [
        (4, "<I", 1, "only little-endian files of the versions"),
        (8, "<Q", 2**60, "tensors are promised"),
        (16, "<Q", 2**60, "entries of metadata are promised"),
        (24, "<Q", 2**60, "letters are promised"),
        (24, "<Q", 3, "not a whole GGUF file"),
    ],
)
def test_a_gguf_head_that_promises_what_is_not_there_is_refused(at, form, value, says, gguf):
    """Found by tests/fuzz: an array of half a million entries took four seconds and 235 MB in the gguf package."""
    content = bytearray(gguf.read_bytes())
    struct.pack_into(form, content, at, value)
    gguf.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"m\.gguf: .*{says}"):
        open_weights(gguf)


def test_a_gguf_whose_tensors_reach_beyond_its_end_is_refused(gguf):
    gguf.write_bytes(gguf.read_bytes()[:-4096])
    with pytest.raises(CheckpointError, match=r"m\.gguf: not a whole GGUF file \(.* ends at byte"):
        open_weights(gguf)


def test_gguf_heads_are_read_as_the_gguf_package_reads_them(gguf):
    from gguf import GGUFReader

    expected = GGUFReader(gguf)
    found = open_weights(gguf)
    assert found.metadata["general.architecture"] == "wan"
    for tensor in expected.tensors:
        values = found.tensor(tensor.name)
        assert values.contiguous().flatten().view(torch.uint8).numpy().tobytes() == tensor.data.tobytes()
