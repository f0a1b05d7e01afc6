"""One step of the Wan transformer on a CPU against diffusers': the same random weights and inputs, in one run.

    python -m vdit.bench wan_step
    python -m vdit.bench.wan_step [--model t2v-1.3b] [--layers 2] [--video 17x256x256] [--prompt 60] [--json PATH]

Time: the two take turns, and each ratio is that of their medians: seconds on the clock, and processor seconds, which
other programs on the machine disturb less. Memory: how far one step raises the process's resident memory above what it
is with weights and inputs (VmHWM, Linux). Both use the same weights; a few layers stand for all, as all cost the same.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional as F
from vdit.bench.rows import Row, runs
from vdit.model.config import VDiTConfig
from vdit.model.variants import VARIANTS
from vdit.model.wan import WanTransformer, init_weights


def twin_of(model: WanTransformer) -> torch.nn.Module:
    """diffusers' transformer on the same memory."""
    from diffusers import WanTransformer3DModel
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    c = model.config
    with torch.device("meta"):
        twin = WanTransformer3DModel(
            num_attention_heads=c.heads,
            in_channels=c.in_channels,
            out_channels=c.out_channels,
            text_dim=c.text_dim,
            ffn_dim=c.ffn_dim,
            num_layers=c.layers,
            image_dim=c.image_dim or None,
            added_kv_proj_dim=c.dim if c.image_dim else None,
            pos_embed_seq_len=c.image_tokens or None,
        )
    weights = dict(model.state_dict())
    places = weights.pop("img_emb.emb_pos", None)
    weights = convert_wan_transformer_to_diffusers(weights)
    if places is not None:
        weights["condition_embedder.image_embedder.pos_embed"] = places
    twin.load_state_dict(weights, strict=True, assign=True)
    with torch.device("cpu"):
        twin.rope = type(twin.rope)(128, c.patch, 1024)
    return twin.requires_grad_(False).eval()


def steps(c: VDiTConfig, video: tuple[int, int, int], prompt: int) -> dict[str, Callable[[], Tensor]]:
    """The two steps to compare, for a video of (frames, height, width) and a prompt of so many tokens."""
    model = init_weights(WanTransformer(c), 0).requires_grad_(False).eval()
    torch.nn.init.normal_(model.head.head.weight, std=0.02)
    twin = twin_of(model)
    g = torch.Generator().manual_seed(0)
    spatial = 16 if c.out_channels == 48 else 8  # the Wan VAE 2.2, 2.1
    x = torch.randn(1, c.in_channels, (video[0] - 1) // 4 + 1, *(n // spatial for n in video[1:]), generator=g)
    text = torch.randn(1, prompt, c.text_dim, generator=g)
    padded = F.pad(text, (0, 0, 0, c.text_len - prompt))
    image = torch.randn(1, c.image_tokens or 257, c.image_dim, generator=g) if c.image_dim else None
    pictures = image.reshape(-1, 257, c.image_dim) if c.image_dim else None
    sigma = torch.tensor([0.7])
    return {
        "ours": lambda: model(x, sigma, padded, image=image),
        "diffusers": lambda: twin(x, 1000 * sigma, padded, pictures, return_dict=False)[0],
    }


def resident(field: str) -> int:
    """VmRSS or VmHWM of this process in bytes."""
    line = next(n for n in Path("/proc/self/status").read_text().splitlines() if n.startswith(field))
    return 1024 * int(line.split()[1])


def rise(run: Callable[[], Tensor]) -> int:
    """Bytes by which one call raises resident memory at its highest."""
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before counts for nobody
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
    before = resident("VmRSS")
    run()
    return resident("VmHWM") - before


def compare(c: VDiTConfig, video: tuple[int, int, int], prompt: int, runs: int) -> dict:
    """Seconds, bytes, their ratios and the relative difference of the outputs."""
    both = steps(c, video, prompt)
    taken: dict[str, list[tuple[float, float]]] = {who: [] for who in both}
    with torch.no_grad():
        ours, theirs = (run() for run in both.values())
        error = float((ours - theirs).norm() / theirs.norm())
        del ours, theirs
        for _ in range(runs):
            for who, run in both.items():
                start = time.perf_counter(), time.process_time()
                run()
                taken[who].append((time.perf_counter() - start[0], time.process_time() - start[1]))
        memory = {who: min(rise(run) for _ in range(2)) for who, run in both.items()}
    seconds = {who: median(wall for wall, _ in times) for who, times in taken.items()}
    processor = {who: median(cpu for _, cpu in times) for who, times in taken.items()}
    ratios = {
        f"{n} ratio": d["ours"] / d["diffusers"]
        for n, d in (("time", seconds), ("processor", processor), ("memory", memory))
    }
    asked = dict(dim=c.dim, layers=c.layers, video=video, prompt=prompt, threads=torch.get_num_threads())
    return {**asked, "seconds": seconds, "processor": processor, "memory": memory, **ratios, "error": error}


def rows(quick: bool) -> Iterator[Row]:
    """Two layers of the 1.3B model, 17 frames of 256x256: ratios to diffusers."""
    found = compare(replace(VARIANTS["t2v-1.3b"].config, layers=2), (17, 256, 256), 60, runs(quick))
    yield Row("Wan 1.3B step: time to diffusers'", found["time ratio"], target="<= 0.9")
    yield Row("Wan 1.3B step: processor time to diffusers'", found["processor ratio"])
    yield Row("Wan 1.3B step: memory to diffusers'", found["memory ratio"])
    yield Row("Wan 1.3B step: relative difference of outputs", found["error"], "", "<= 1e-5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    choices = [n for n, v in VARIANTS.items() if v.task in ("t2v", "i2v", "flf2v", "ti2v")]
    parser.add_argument("--model", default="t2v-1.3b", choices=choices)
    parser.add_argument("--layers", type=int, default=2, help="of the model's own width; default 2")
    parser.add_argument("--video", nargs="+", default=["17x256x256"], help="frames x height x width, several")
    parser.add_argument("--prompt", type=int, default=60, help="tokens before the zeros that pad it to 512")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results = []
    print(f"{args.model}, {args.layers} layers, {torch.get_num_threads()} threads; the ratios are ours / diffusers'")
    for video in args.video:
        config = replace(VARIANTS[args.model].config, layers=args.layers)
        row = compare(config, tuple(map(int, video.split("x"))), args.prompt, args.runs)
        results.append(row)
        s, m = row["seconds"], {who: n / 2**20 for who, n in row["memory"].items()}
        print(
            f"{video:>12}: {s['ours']:.2f} s against {s['diffusers']:.2f} s, {row['time ratio']:.3f} (processor time "
            f"{row['processor ratio']:.3f}); {m['ours']:.0f} MiB against {m['diffusers']:.0f} MiB, "
            f"{row['memory ratio']:.3f}; outputs differ by {row['error']:.1e}"
        )
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
