"""Does the bundled model follow its start picture? Figures over simulated clips that no training saw.

    python bench/start_image.py --count 64 --seed 0 [--strip strip.png]

Each clip gives the model its first frame and caption. Printed as JSON: PSNR of frame 0 against the picture; mean error
of the background (pixels that no ball covers, still cameras); share of frames where the first ball's colour is seen at
a size of .4 to 2.5 times the true one, over clips where it is in view; how much of the true motion is made (path of
the colour's centre, generated / simulated). Beside them, the same for the codec's own round trip of the true clip and
for a still picture, which bound them from above and below.
"""

from __future__ import annotations

import argparse
import json

import numpy as np


def blob(frames: np.ndarray, color: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Area [T] and centre [T, 2] (NaN: none) of pixels whose hue is the ball's, among those that left the background."""
    x = frames / np.linalg.norm(frames, axis=-1, keepdims=True).clip(0.08)
    c = color / max(np.linalg.norm(color), 0.08)
    near = (np.linalg.norm(x - c, axis=-1) < 0.28) & (np.abs(frames.sum(-1) - color.sum()) < 0.9) & start
    area = near.sum((1, 2)).astype(float)
    yy, xx = np.mgrid[0 : frames.shape[1], 0 : frames.shape[2]]
    with np.errstate(invalid="ignore", divide="ignore"):
        center = np.stack([(near * xx).sum((1, 2)) / area, (near * yy).sum((1, 2)) / area], -1)
    return area, center


def measure(video: np.ndarray, clip) -> dict[str, float | None]:
    from vdit.world.clip import clean_background
    from vdit.world.render import FIRST_BALL_ID, FIRST_BOX_ID

    truth, masks = clip.render.rgb.numpy(), clip.render.instance.numpy()
    error = (video[0] - truth[0]) ** 2
    scene = clip.scene
    empty = clean_background(scene, *truth.shape[2:0:-1]).numpy()
    is_ball = (masks >= FIRST_BALL_ID) & (masks < FIRST_BOX_ID)
    color = truth[0][masks[0] == FIRST_BALL_ID].mean(0) if (masks[0] == FIRST_BALL_ID).any() else None
    out: dict[str, float | None] = {"first_frame_psnr_db": float(-10 * np.log10(error.mean() + 1e-10))}
    if scene.camera_move != "still" or color is None:
        return out | {"background_error": None, "ball_seen": None, "path_ratio": None}
    left = np.abs(video - empty).max(-1) > 0.12  # differs from the empty scene: the ball or its shadow
    outside = ~is_ball & ~left
    out["background_error"] = float(np.abs(video - truth).mean(-1)[outside].mean())
    true_area, true_center = blob(truth, color, np.abs(truth - empty).max(-1) > 0.12)
    area, center = blob(video, color, left)
    there = true_area > 0.5 * true_area[0]
    out["ball_seen"] = float(((area > 0.4 * true_area) & (area < 2.5 * true_area))[there].mean()) if there.any() else None
    path = lambda c: float(np.nansum(np.linalg.norm(np.diff(c[there], axis=0), axis=-1)))  # noqa: E731
    out["path_ratio"] = path(center) / path(true_center) if path(true_center) > 10 else None
    return out


def main() -> None:
    import torch
    from vdit.control import encode_conditioning
    from vdit.model.checkpoint import load_world_model
    from vdit.sampling import generate
    from vdit.world.clip import make_clip

    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", help="a bundle; left out, the bundled model")
    p.add_argument("--count", type=int, default=64)
    p.add_argument("--seed", type=int, default=0, help="first clip of the test split")
    p.add_argument("--steps", type=int)
    p.add_argument("--guidance", type=float)
    p.add_argument("--shift", type=float)
    p.add_argument("--strip", help="write a film strip of the first clips, truth above model, as PNG")
    a = p.parse_args()
    model = load_world_model(a.model) if a.model else load_world_model()
    d = model.defaults
    settings = {k: getattr(a, k) if getattr(a, k) is not None else d[k] for k in ("steps", "guidance", "shift")}
    rows: dict[str, list[dict]] = {"model": [], "codec": [], "still": []}
    strip = []
    for seed in range(a.seed, a.seed + a.count):
        clip = make_clip(seed, split="test", width=d["width"], height=d["height"], frames=d["frames"], fps=d["fps"])
        truth = clip.render.rgb
        shot = encode_conditioning(model, clip.caption, start=truth[:1])
        latent = generate(
            model, shot, seed=seed, frames=d["frames"], width=d["width"], height=d["height"], solver=d["solver"], **settings
        )
        with torch.no_grad():
            video = model.codec.decode(latent)[0].numpy()
            codec = model.codec.decode(model.codec.encode(truth[None]))[0].numpy()
        rows["model"].append(measure(video, clip))
        rows["codec"].append(measure(codec, clip))
        rows["still"].append(measure(np.repeat(codec[:1], len(codec), 0), clip))
        if len(strip) < 20:
            pick = np.linspace(0, len(video) - 1, 9).round().astype(int)
            strip += [np.concatenate(list(v[pick]), 1) for v in (truth.numpy(), video)]
    table = {
        who: {
            k: round(float(np.mean(v)), 4) if (v := [r[k] for r in found if r[k] is not None]) else None for k in found[0]
        }
        for who, found in rows.items()
    }
    print(json.dumps({"clips": a.count, "first_seed": a.seed, "split": "test", **settings, **table}, indent=2))
    if a.strip:
        from PIL import Image

        Image.fromarray((np.concatenate(strip) * 255).round().astype(np.uint8)).save(a.strip)


if __name__ == "__main__":
    main()
