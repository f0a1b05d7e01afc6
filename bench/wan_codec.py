"""Decoding with the Wan codecs on a CPU against diffusers': the same random weights and latents, in one run.

    python -m vdit.bench wan_codec
    python -m vdit.bench.wan_codec [--kind 2.1 2.2] [--width 96] [--video 17x64x64] [--encode] [--json PATH]

Time: the two take turns, and each ratio is that of their medians: seconds on the clock, and processor seconds, which
other programs on the machine disturb less. Memory: how far one decoding raises a process's resident memory above what
it is with weights, latents, room for the frames and a first short decoding, for the video and for one of twice its
length, each in a process of its own.
"""

# ruff: noqa: B023  (closures run within the iteration that makes them)
from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from vdit.bench.rows import RUNS, Row, apart, runs
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


def compare(kind: str, width: int | None, video: tuple[int, int, int], count: int, encode: bool) -> dict:
    """Seconds, bytes, their ratios and the relative difference of the results."""
    ours, theirs = twins(kind, width)
    frames, height, wide = video
    generator = torch.Generator().manual_seed(0)

    def latents(frames: int) -> Tensor:
        size = (frames - 1) // 4 + 1, height // ours.spatial, wide // ours.spatial
        return torch.randn(1, ours.channels, *size, generator=generator)

    latent = latents(frames)
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
    for _ in range(count):
        for who, run in both.items():
            taken[who].append(timed(run))
    middle = {who: [median(column) for column in zip(*times, strict=False)] for who, times in taken.items()}
    result = {
        "codec": kind,
        "width": width or RELEASED[kind],
        "video": "x".join(map(str, video)),
        "way": "encode" if encode else "decode",
        "difference": float((first - second).norm() / second.norm()),
        "seconds": {who: round(t[0], 3) for who, t in middle.items()},
        "processor seconds": {who: round(t[1], 3) for who, t in middle.items()},
        "ratio": round(middle["ours"][0] / middle["diffusers"][0], 3),
        "processor ratio": round(middle["ours"][1] / middle["diffusers"][1], 3),
    }
    if not encode:
        result["megabytes beside frames"] = {
            f"{n} frames": median(apart(decoding, kind, n, height, wide, width or 0) for _ in range(count))
            for n in (frames, 2 * frames - 1)
        }
    return result


def decoding(kind: str, frames: int, height: int, wide: int, width: int) -> float:
    """Megabytes by which decoding a video of random latents raises the process's memory, after one of five frames."""
    encoder, decoder = (width, width) if width else RELEASED[kind]
    torch.manual_seed(0)
    codec = WanCodec(kind, encoder, decoder).requires_grad_(False).eval()

    def decode(frames: int) -> Callable[[], None]:
        latent = torch.randn(1, codec.channels, (frames - 1) // 4 + 1, height // codec.spatial, wide // codec.spatial)
        room = torch.ones(1, frames, height, wide, 3)
        return lambda: fill(codec.decode_stream(latent), room)

    with torch.no_grad():
        decode(5)()
        return round(rise(decode(frames)) / 1e6, 1)


def rows(quick: bool) -> Iterator[Row]:
    """Decoding at the released width, 17 frames of 128x96: ratios to diffusers, and memory of 33 frames to 17."""
    for kind, target in (("2.1", "<= 0.45"), ("2.2", "<= 0.6")):
        with torch.no_grad():
            found = compare(kind, None, (17, 128, 96), runs(quick), encode=False)
        yield Row(f"VAE {kind} decode: time to diffusers'", found["ratio"], target=target)
        yield Row(f"VAE {kind} decode: processor time to diffusers'", found["processor ratio"])
        short, long = found["megabytes beside frames"].values()
        yield Row(f"VAE {kind} decode: memory of 17 frames", short, "MB")
        yield Row(f"VAE {kind} decode: memory of 33 frames to 17", long / short, target="<= 1.05")
        yield Row(f"VAE {kind} decode: relative difference of frames", found["difference"], "", "<= 1e-5")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kind", nargs="+", default=["2.1", "2.2"], choices=list(RELEASED))
    options.add_argument("--width", type=int, help="features at full size; the released ones unless given")
    options.add_argument("--video", nargs="+", default=["17x128x96"], help="frames x height x width")
    options.add_argument("--runs", type=int, default=RUNS)
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
