"""Run by a ComfyUI's python: a file of float weights in each quantised form that this core reads, one file a form.

comfy_quantised.py /path/to/ComfyUI FLOAT.safetensors FOLDER -> JSON on the last line: {form: "" or why it has none}
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path

core, source, folder = sys.argv[1:]
sys.argv[1:] = ["--cpu"]
sys.path.insert(0, core)

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import torch  # noqa: E402
from comfy.quant_ops import QUANT_ALGOS, QuantizedTensor  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

FORMS = {  # what a file notes for each layer, and how its matrices are made
    "float8_e4m3fn": ({}, {"scale": "recalculate"}),
    "float8_e5m2": ({}, {"scale": "recalculate"}),
    "int8_tensorwise": ({}, {}),
    "int8_convrot": ({"convrot": True, "convrot_groupsize": 256}, {"per_channel": True, "convrot": True}),
    "mxfp8": ({}, {}),
    "nvfp4": ({}, {"scale": "recalculate"}),
    "convrot_w4a4": ({"convrot_groupsize": 256}, {}),
    "asym_w4a8_int8": ({"group_size": 16, "convrot_groupsize": 256}, {}),
}


def quantised(form: str) -> dict[str, torch.Tensor]:
    """The file's tensors, with every matrix of a block in this form, as the core would save them."""
    noted, options = FORMS[form]
    name = "int8_tensorwise" if form == "int8_convrot" else form
    layout = QUANT_ALGOS[name]["comfy_tensor_layout"]
    note = torch.tensor(list(json.dumps({"format": name, **noted}).encode()), dtype=torch.uint8)
    tensors = {}
    for key, value in load_file(source).items():
        if not (key.startswith("blocks.") and key.endswith(".weight") and value.ndim == 2):
            tensors[key] = value
            continue
        matrix = QuantizedTensor.from_float(value.bfloat16(), layout, **options)
        tensors |= {part: one.contiguous() for part, one in matrix.state_dict(key).items()}
        tensors[key.removesuffix("weight") + "comfy_quant"] = note.clone()
    return tensors


said = {}
for form in FORMS:
    try:
        save_file(quantised(form), Path(folder) / f"{form}.safetensors")
        said[form] = ""
    except Exception as e:
        said[form] = f"{type(e).__name__}: {e}"
        traceback.print_exc()
print(json.dumps(said))
