"""Decoding with the Wan codecs on a CPU against diffusers': the same random weights and latents, in one run.

    python bench/wan_codec.py [--kind 2.1 2.2] [--width 96] [--video 17x64x64 17x128x96] [--encode] [--json PATH]

Time: the two take turns, and each ratio is that of their least: seconds on the clock, and processor seconds, which
other programs on the machine disturb less. Memory: how far one decoding raises the process's resident memory above
what it is with weights, latents and room for the frames, for the video and for one of twice its length.
"""

# ruff: noqa: B023  (closures run within the iteration that makes them)
from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from vdit.bench.wan_step import rise
from vdit.model.codec.wan import WanCodec, native_name

RELEASED = {"2.1": (96, 96), "2.2": (160, 256)}


def twins(kind: str, width: int | None) -> tuple[WanCodec, torch.nn.Module]:
    """Our codec and diffusers', on the same weights. width: features of both sides at full size, None as released."""
    from diffusers import AutoencoderKLWan

    encoder, decoder = (width, width) if width else RELEASED[kind]
    options = {} if kind == "2.1" else dict(
        z_dim=48, is_residual=True, in_channels=12, out_channels=12, patch_size=2, scale_factor_spatial=16,
        latents_mean=[0.0] * 48, latents_std=[1.0] * 48,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = AutoencoderKLWan(base_dim=encoder, decoder_base_dim=decoder, **options).requires_grad_(False).eval()
    with torch.device("meta"):
        ours = WanCodec(kind, encoder, decoder)
    ours.load_state_dict({native_name(n, kind == "2.2"): v for n, v in theirs.state_dict().items()}, assign=True)
    return ours.requires_grad_(False).eval(), theirs


def timed(run: Callable[[], Tensor]) -> tuple[float, float]:
    clock, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - clock, time.process_time() - processor


def fill(pieces, room: Tensor) -> None:
    """Frames as they come into their place, as the nodes do."""
    at = 0
    for piece in pieces:
        room[:, at : at + piece.shape[1]] = piece
        at += piece.shape[1]


def compare(kind: str, width: int | None, video: tuple[int, int, int], runs: int, encode: bool) -> dict:
    """Seconds, bytes, their ratios and the relative difference of the results."""
    ours, theirs = twins(kind, width)
    frames, height, wide = video
    generator = torch.Generator().manual_seed(0)

    def latents(frames: int) -> Tensor:
        size = (frames - 1) // 4 + 1, height // ours.spatial, wide // ours.spatial
        return torch.randn(1, ours.channels, *size, generator=generator)

    latent, long = latents(frames), latents(2 * frames - 1)
    pixels = torch.rand(1, *video, 3, generator=generator)
    if encode:
        both = {
            "ours": lambda: ours.encode(pixels),
            "diffusers": lambda: theirs.encode(pixels.permute(0, 4, 1, 2, 3) * 2 - 1).latent_dist.mode(),
        }
    else:
        both = {
            "ours": lambda: ours.decode(latent) * 2 - 1,
            "diffusers": lambda: theirs.decode(latent).sample.permute(0, 2, 3, 4, 1),
        }
    first, second = (run() for run in both.values())
    taken: dict[str, list[tuple[float, float]]] = {who: [] for who in both}
    for _ in range(runs):
        for who, run in both.items():
            taken[who].append(timed(run))
    least = {who: [min(column) for column in zip(*times, strict=False)] for who, times in taken.items()}
    result = {
        "codec": kind,
        "width": width or RELEASED[kind],
        "video": "x".join(map(str, video)),
        "way": "encode" if encode else "decode",
        "difference": float((first - second).norm() / second.norm()),
        "seconds": {who: round(t[0], 3) for who, t in least.items()},
        "processor seconds": {who: round(t[1], 3) for who, t in least.items()},
        "ratio": round(least["ours"][0] / least["diffusers"][0], 3),
        "processor ratio": round(least["ours"][1] / least["diffusers"][1], 3),
    }
    if not encode:
        result["megabytes beside frames"] = {
            f"{z.shape[2] * 4 - 3} frames": round(rise(lambda: fill(ours.decode_stream(z), room)) / 1e6, 1)
            for z, room in ((z, torch.ones(1, z.shape[2] * 4 - 3, height, wide, 3)) for z in (latent, long))
        }
    return result


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kind", nargs="+", default=["2.1", "2.2"], choices=list(RELEASED))
    options.add_argument("--width", type=int, help="features at full size; the released ones unless given")
    options.add_argument("--video", nargs="+", default=["17x64x64", "17x128x96"], help="frames x height x width")
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--encode", action="store_true")
    options.add_argument("--json", type=Path, help="write the results there")
    told = options.parse_args()
    results = []
    for kind in told.kind:
        for video in told.video:
            size = tuple(int(n) for n in video.split("x"))
            with torch.no_grad():
                results.append(compare(kind, told.width, size, told.runs, told.encode))
            print(json.dumps(results[-1]), flush=True)
    if told.json:
        told.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
