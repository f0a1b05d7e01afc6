"""Trains the object dynamics on starts of clips and where their balls go: `vdit train dynamics`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..model.files.bundle import load_world_model
from ..model.object_dynamics import KNOWN, UNITS, Balls, DynamicsConfig, ObjectDynamics, Seen, Start, ahead_of
from ..model.precision import mixed
from .run import Run, cosine
from .starts import Scenes, Starts, cell_of, heat
from .tracks import SHOWS

HORIZONS = ((0.0, 0), (0.15, 8), (0.25, 18), (0.40, 36), (0.70, 76))  # frames foretold, from which share of the time on
SINGLE = 0.35  # share of batches of which one picture is known
LEARNED = 0.7  # share of the time from where a run begins that goes on from another one's weights
TOLD = 0.08  # chance in each frame that a ball's true place is told, at first; none after a third of the time
SIGHT = 1.2  # radii by which a ball may be outside the picture and still count in full
ELSEWHERE = 3  # more cells of each ball from which its start is told
STANDS_OUT, MATTERS = 0.04, 5.0  # share by which a box is nearer than most of its row; how much it counts, and what is
# behind a ball
FADES = 36  # frames after which an error weighs half
ASTRAY = 2.0  # radii off at which a ball's error counts half as much more: what is lost teaches nothing of what is nearly right


def rollout(
    model: ObjectDynamics, balls: Balls, around: Tensor, truth: Tensor, told: float, generator: torch.Generator
) -> Tensor:  # fmt: skip
    """Places and radii [B, frames, N, 3]; truth [B, frames+1, N, 2], of the last known frame on, is told now and then."""
    path = []
    for t in range(1, truth.shape[1]):
        balls = model.move(balls, around)
        path.append(torch.cat((balls.place, balls.radius), -1))
        if told:
            tell = (torch.rand(balls.radius.shape, generator=generator) < told).expand_as(balls.place)
            balls = balls._replace(place=truth[:, t].where(tell, balls.place))
    return torch.stack(path, 1)


def _near(error: Tensor, beta: float) -> Tensor:
    """What an error costs: its square, and from beta on itself."""
    return F.smooth_l1_loss(error, torch.zeros_like(error), beta=beta, reduction="none")


def losses(
    model: ObjectDynamics, batch: Starts, frames: int, told: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """What is wrong with the starts that a model tells, and with so many frames that it foretells (`far` in radii, `rate`
    of the steps between them); see WEIGHTS."""
    last = KNOWN - 1
    with mixed():
        seen = model.look(batch.frames)
    seen = Seen(*(x.float() for x in seen))
    known = batch.shows > SHOWS
    n, r = known.shape[1], batch.radius.clamp_min(0.1)
    jitter = 0.9 * (torch.rand(*known.shape, 2, generator=generator) - 0.5)
    at = [cell_of(batch.place[:, last], batch.size, jitter)]
    for _ in range(ELSEWHERE):  # wherever on a ball one looks, it is the same ball
        off = torch.rand(*known.shape, 2, generator=generator) * 1.4 - 0.7
        at.append(cell_of(batch.place[:, last] + off * r[..., None], batch.size))
    every = lambda x: x.repeat_interleave(1 + ELSEWHERE, 0).unflatten(0, (len(x), -1)).flatten(1, 2)  # noqa: E731
    whole = model.start(seen, torch.cat(at, 1), every(known), batch.single)
    start = Start(*(part[:, :n] for part in whole[:3]), Balls(*(part[:, :n] for part in whole.balls)))
    share = every(known).float() / every(known).float().sum().clamp_min(1)
    shown = every(batch.place[:, :KNOWN].transpose(1, 2))
    guess, past = (_near(found - shown, beta).mean((2, 3)) for found, beta in ((whole.guess, 0.05), (whole.past, 0.02)))
    true = batch.place[:, last + 1] - batch.place[:, last]
    if batch.single:
        speed = -0.02 * model.imagine(whole, batch.words).log_density(every(true))
        start = start._replace(balls=model.aimed(start.balls, true))
    else:
        speed = _near(ahead_of(whole.balls) - whole.balls.place - every(true), 0.02).mean(-1)
    pull = _near((whole.balls.pull - every(batch.pull)) / model.counted_in, 0.01).mean(-1)
    radius = _near(whole.balls.radius[..., 0] - every(batch.radius), 0.02)
    depth = _near(whole.depth[..., 0] - every(batch.depth), 0.05)
    each = {"guess": guess, "past": past, "speed": speed, "radius": radius, "depth": depth, "pull": pull}
    lost = {name: (error * share).sum() for name, error in each.items()}
    lost["found"] = F.binary_cross_entropy_with_logits(seen.ball, heat(batch), pos_weight=torch.tensor(20.0))
    inverse = batch.ground.log()
    stands_out = (
        inverse - inverse.median(2, keepdim=True).values
    ).abs() > STANDS_OUT  # boxes, which are what hides balls
    behind = F.max_pool2d(seen.ball.detach().sigmoid()[:, None], 5, 1, 2)[:, 0] > 0.5  # what balls hide now
    weight = torch.where(stands_out | behind, MATTERS, 1.0)
    lost["ground"] = (_near(seen.ground.log() - inverse, 0.02) * weight).sum() / weight.sum()
    lost["light"] = _near(seen.light - batch.light, 0.05).mean()
    lost["moves"] = F.binary_cross_entropy_with_logits(seen.camera_moves, batch.moves * (not batch.single))
    if not frames:
        return lost
    return lost | ahead(model, start.balls, seen.around, batch, frames, told, generator)


def ahead(
    model: ObjectDynamics, balls: Balls, around: Tensor, batch: Starts, frames: int, told: float, generator: torch.Generator
) -> dict[str, Tensor]:  # fmt: skip
    """What is wrong with so many frames that a model foretells of balls, in radii: `far` of their places, `rate` of the steps
    between them, `grows` of the logarithm of their radii."""
    last, known, r = KNOWN - 1, batch.shows > SHOWS, batch.radius.clamp_min(0.1)
    truth = batch.place[:, last : last + frames + 1]
    path, radii = rollout(model, balls, around, truth, told, generator).split((2, 1), -1)
    error = (path - truth[:, 1:]) / r[:, None, :, None]
    width, height = batch.size
    edge = torch.tensor([width / height, 1.0]) * UNITS / 2
    outside = ((truth[:, 1:].abs() - edge) / r[:, None, :, None]).amax(-1) > SIGHT
    weight = (batch.valid[:, last + 1 : last + 1 + frames] & known[:, None]).float() * torch.where(outside, 0.1, 1.0)
    weight = weight / (1 + torch.arange(frames) / FADES)[:, None]
    size = error.square().sum(-1).add(1e-6).sqrt()
    far = (ASTRAY * (_near(size, 0.1) / ASTRAY).log1p() * weight).sum() / weight.sum().clamp_min(1)
    step = _near((path[:, 1:] - path[:, :-1]) - (truth[:, 2:] - truth[:, 1:-1]), 0.005).mean(-1) / r[:, None]
    rate = (step * weight[:, 1:]).sum() / weight[:, 1:].sum().clamp_min(1)
    grown = (radii[..., 0].clamp_min(1e-3) / balls.radius[:, None, :, 0].clamp_min(1e-3)).log()
    grows = _near(grown - batch.grows[:, last + 1 : last + 1 + frames], 0.05)
    return {"far": far, "rate": rate, "grows": (grows * weight).sum() / weight.sum().clamp_min(1)}


WEIGHTS = {
    "far": 1.0, "rate": 2.0, "grows": 2.0, "ground": 4.0, "light": 1.0, "pull": 4.0, "guess": 4.0, "past": 8.0, "speed": 8.0,
    "radius": 2.0, "depth": 1.0, "found": 2.0, "moves": 0.3,
}  # fmt: skip


@torch.no_grad()
def validate(model: ObjectDynamics, data: Scenes, every: int = 2) -> dict[str, float]:
    """On held-out starts: share of balls found and of false ones; of those found in still pictures, the median error in
    pixels of a picture 128 high in the last known frame and 4, 12, 24, 36 and 60 frames later, and the share within a radius;
    the median share by which the ground is too far or too near, and degrees by which the light is off."""
    hits = wanted = extra = 0
    off: dict[int, list[Tensor]] = {t: [] for t in (0, 4, 12, 24, 36, 60)}
    within: list[Tensor] = []
    ground: list[Tensor] = []
    light: list[Tensor] = []
    right = total = 0
    for shard in data.shards.values():
        for rows in torch.arange(0, len(shard["rgb"]), every).split(32):
            batch = data.batch([(shard, rows)])
            seen = model.look(batch.frames)
            at, there = model.find(seen)
            start = model.start(seen, at, there)
            path = model(start.balls, seen.around, 60)
            place = torch.cat((start.balls.place[:, :, None], path), 2)  # [B, M, 61, 2]
            truth = batch.place[:, KNOWN - 1 :].transpose(1, 2)  # [B, N, T, 2]
            apart = (place[:, :, None, 0] - truth[:, None, :, 0]).norm(dim=-1) / batch.radius.clamp_min(0.01)[:, None]
            apart = apart.masked_fill(~there[:, :, None], torch.inf).masked_fill(
                (batch.radius <= 0)[:, None], torch.inf
            )
            mine = apart.argmin(1)  # [B, N]
            known = batch.shows > SHOWS
            ok = known & (apart.amin(1) < 0.5)
            hits, wanted = hits + int(ok.sum()), wanted + int(known.sum())
            extra += int((there & (apart.amin(2) > 0.5)).sum())
            right, total = right + int(((seen.camera_moves > 0) == (batch.moves > 0)).sum()), total + len(at)
            ground.append((seen.ground / batch.ground).log().abs().flatten())
            light.append(torch.cosine_similarity(seen.light, batch.light, -1).clamp(-1, 1).arccos().rad2deg())
            still = ok & (batch.moves == 0)[:, None]
            ahead = place.gather(1, mine[:, :, None, None].expand(-1, -1, 61, 2))
            error = (ahead - truth[:, :, :61]).norm(dim=-1)  # [B, N, 61]
            edge = torch.tensor([batch.size[0] / batch.size[1], 1.0]) * UNITS / 2
            inside = ((truth[:, :, :61].abs() - edge).amax(-1) < 0) & batch.valid[:, KNOWN - 1 : KNOWN + 60].transpose(
                1, 2
            )
            for t in off:
                off[t].append(error[:, :, t][still & inside[:, :, t]] * 128 / UNITS)
            some = (still[..., None] & inside)[:, :, 1:37]
            within.append(((error / batch.radius.clamp_min(0.01)[..., None]) < 1)[:, :, 1:37][some])
    named = {f"off_{t}": _quantile(v, 0.5) for t, v in off.items()} | {
        f"p90_{t}": _quantile(off[t], 0.9) for t in (12, 36)
    }
    return {"found": hits / wanted, "false": extra / wanted, "camera": right / total, **named,
            "within": float(torch.cat(within).float().mean()), "ground": float(torch.cat(ground).median()),
            "light": float(torch.cat(light).median())}  # fmt: skip


def _quantile(parts: list[Tensor], q: float) -> float:
    values = torch.cat(parts)
    return float(values.quantile(q)) if len(values) else float("nan")


def train(
    scenes: Path, held_out: Path, out: Path, *, hours: float, batch: int = 24, peak: float = 1e-3, seed: int = 0,
    validate_every: int = 500, start_from: Path | None = None, keep_fine: bool = False, ground_only: bool = False,
) -> ObjectDynamics:  # fmt: skip
    """Train for `hours`, resuming from `out` when it holds a state. Returns the averaged model. Raises FileNotFoundError.

    A fresh run begins with the weights of `start_from` (a run, or a bundle), or at random. keep_fine leaves the layers at
    1/4 of the size as they are, which takes a third less time; ground_only leaves all but what tells distances and light.
    """
    data, check, run = Scenes.load(scenes), Scenes.load(held_out), Run(out)
    torch.manual_seed(seed)
    model = ObjectDynamics()
    learned, before = 0.0, {}
    if start_from is not None:
        other, before = load_dynamics(start_from)
        model.load_state_dict(other.state_dict())
        learned = LEARNED
    for part in (model.frame, model.where, model.quarter):
        part.requires_grad_(not keep_fine)
    if ground_only:
        model.requires_grad_(False).ground.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01)

    def wrong(step: int, share: float) -> tuple[Tensor, dict[str, Tensor]]:
        if step % 50 == 0:
            data.refresh()
        rng = np.random.default_rng([seed, step])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        through = learned + (1 - learned) * share
        frames = 0 if ground_only else [n for begin, n in HORIZONS if through >= begin][-1]
        told = TOLD * max(0.0, 1 - 3 * through)
        clips = data.draw(batch, rng, single=rng.random() < SINGLE)
        found = losses(model, clips, frames, told, generator)
        return weighed(found), {"likely" if k == "speed" and clips.single else k: v for k, v in found.items()}

    def rate(step: int, share: float) -> float:
        return cosine(round(1e4 * share), 10000, peak, warmup=100, floor=0.01) if step > 50 else peak * step / 50

    begun = dict(hours=hours, batch=batch, peak=peak, seed=seed, starts=len(data), start_from=start_from and str(start_from),
                 keep_fine=keep_fine, ground_only=ground_only)  # fmt: skip
    parts = [list(part.parameters()) for part in model.children()]  # paths have large gradients
    return fit(
        model, optimizer, run, wrong, rate, clipped=parts, check=lambda best: {"starts": len(data), **validate(best, check)},
        validate_every=validate_every, before=before, begun=begun, shown="past",
    )  # fmt: skip


def weighed(found: dict[str, Tensor]) -> Tensor:
    """The loss."""
    return sum(WEIGHTS[name] * value for name, value in found.items())


def fit(
    model: ObjectDynamics, optimizer: torch.optim.Optimizer, run: Run,
    wrong: Callable[[int, float], tuple[Tensor, dict[str, Tensor]]], rate: Callable[[int, float], float], *,
    clipped: list[list[Tensor]], check: Callable[[ObjectDynamics], dict], validate_every: int, before: dict, begun: dict,
    shown: str,
) -> ObjectDynamics:  # fmt: skip
    """Takes steps for begun["hours"], resuming from the run's state, which load_dynamics reads. Returns the averaged model.

    wrong(step, share of the time) -> the loss, and what is logged of it; rate likewise; clipped: weights whose gradients are
    held to 1 together; check: what is logged of the averaged model; before: how the weights that this begins with were
    trained; begun: what is logged of a fresh run; shown: what the bar shows.
    """
    from tqdm import tqdm

    average, step = {n: v.clone() for n, v in model.state_dict().items()}, 0
    if state := run.load():
        model.load_state_dict(state["weights"])
        average, step, before = state["average"], state["step"], state["before"]
        optimizer.load_state_dict(state["optimizer"])
    else:
        run.log(event="start", **begun)
    total, best = begun["hours"] * 3600, ObjectDynamics(model.config)
    bar = tqdm(total=round(total), initial=round(min(total, run.seconds)), desc=run.folder.name, unit="s")

    def check_now(**more) -> None:
        best.load_state_dict(average)
        run.log(step=step, **{k: round(v, 4) for k, v in check(best).items()}, **more)

    def snapshot() -> dict:
        return {"weights": model.state_dict(), "average": average, "optimizer": optimizer.state_dict(), "step": step,
                "starts": step * begun["batch"], "before": before, "config": asdict(model.config)}  # fmt: skip

    sums: dict[str, list[float]] = {}
    while (seconds := run.tick()) < total:
        share = seconds / total
        for group in optimizer.param_groups:
            group["lr"] = rate(step, share)
        loss, told = wrong(step, share)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norms = [torch.nn.utils.clip_grad_norm_(weights, 1.0) for weights in clipped]
        if all(map(torch.isfinite, norms)):
            optimizer.step()
        step += 1
        keep = min(0.998, 1 - 1 / step)
        for n, v in model.state_dict().items():
            average[n].lerp_(v, 1 - keep)
        for k, v in told.items():
            sums.setdefault(k, []).append(v.item())
        if step % 50 == 0:
            run.log(step=step, **{k: round(float(np.mean(v)), 5) for k, v in sums.items()})
            bar.set_postfix({"step": step, shown: f"{np.mean(sums[shown]):.3f}"})
            sums.clear()
        bar.update(round(run.seconds) - bar.n)
        if step % validate_every == 0:
            check_now()
        run.save(snapshot())
    check_now(event="end")
    run.save(snapshot(), force=True)
    best.load_state_dict(average)
    return best


def load_dynamics(source: Path) -> tuple[ObjectDynamics, dict]:
    """The averaged model of a run, or a bundle's (.safetensors), and how it was trained. Raises FileNotFoundError,
    ValueError."""
    if source.suffix == ".safetensors":
        bundle = load_world_model(source)
        if bundle.dynamics is None:
            raise ValueError(f"{source} has no object dynamics; train them with `vdit train dynamics`")
        return bundle.dynamics, {k: v for k, v in bundle.facts.items() if k.startswith("dynamics_")}
    run = Run(source)
    if (state := run.load() if source.is_dir() else None) is None:
        raise FileNotFoundError(f"no state.pt in {source}; train it with `vdit train dynamics`")
    model = ObjectDynamics(DynamicsConfig(**state["config"])).eval().requires_grad_(False)
    model.load_state_dict(state["average"])
    now = {"steps": state["step"], "hours": round(state["seconds"] / 3600, 2), "starts": state["starts"]}
    before = state.get("before", {})
    return model, {f"dynamics_{k}": round(v + before.get(f"dynamics_{k}", 0), 2) for k, v in now.items()}
