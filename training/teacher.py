"""Trains the transformer and the word encoder on encoded clips by flow matching: `vdit train teacher`.

One model, all conditionings, by dropout: words or none, 0, 1 or 5 first frames, a last frame or none, a camera path or
none, depth and flow or either or none, and a draft that shows where balls go, or none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..control.signals import context_channels, plucker, vace_context
from ..model.config import VDiTConfig
from ..model.defaults import DEFAULTS
from ..model.precision import mixed
from ..model.text import WordEncoder
from ..model.vdit import VDiT, init_weights
from ..world.caption import vocabulary
from .dataset import Batch, Dataset
from .launch import Team
from .muon import with_muon
from .run import Run, averaged_weights, take_step
from .tracks import touched
from .warm import begin_with

CONFIG = VDiTConfig(
    places=True, carry=True, draft=True, camera_rays=2, vace_channels=context_channels(), vace_layers=(0, 3)
)  # what ships
NO_TEXT = 0.12  # share of clips without words, for guidance
START_FRAMES = ((0, 0.06), (1, 0.30), (2, 0.64))  # known latent frames at the start, and their share
END_FRAME = 0.12  # share of batches with the last frame known
SHORT = 0.30  # share of batches cut to 21 frames: they take half the time
CAMERA = 0.7  # share of batches whose camera paths are told (the adapter costs a tenth of a step)
DRAFT = 0.85  # share of clips with a draft that are told it, where nothing else says how things move
CONTROLLED = 0.3  # share of batches with depth or flow
FREE = 0.4  # share of flows that are told only in part
LOOSE = 0.3  # share of controls that are told with less than full trust
MOVING = 0.5  # weight in the loss of what changes, for each multiple of the clip's mean change (at most 6)
NOISE_LEVELS = (2.5, 1.8)  # mean and deviation of the log-odds of sigma: what happens is decided above .9, half of all
HELD_OUT_LEVELS = (0.5, 1.2)  # the same of the held-out loss, in every log
RISING = 0.75  # share of clips whose noise rises along them, by RISE of a frame's way a frame
RISE = (0.2, 1.0)
RISING_LEVELS = (1.2, 1.8)  # as NOISE_LEVELS, of the frame that it rises from: the next ones have higher levels anyway
WAITING = 0.1  # weight in the loss of frames that are noise and follow noise: a sampler does not make them yet
SAMPLED = {**DEFAULTS, "guidance": 1.0, "rise": 0.75}  # settings that ship: best on validation clips
DRIFT = 0.15  # most noise that finished frames of those hide: a sampler's own are not quite right either
OWN = 0.25  # share of batches that go on from the model's own last frames, at most OWN_FRAMES
OWN_FRAMES = 3
EMA = 0.998


def fresh(config: VDiTConfig, seed: int) -> tuple[VDiT, WordEncoder]:
    torch.manual_seed(seed)
    return init_weights(VDiT(config), seed), WordEncoder(vocabulary(), config.text_dim, config.text_len)


def camera_rays(batch: Batch, rays: int) -> Tensor:
    """Plücker rays [B, 24, T', h*rays, w*rays] of each clip's camera path."""
    return torch.stack([plucker(c, f, *batch.size, rays) for c, f in zip(batch.c2w, batch.fov_deg)])


def told_region(flow: Tensor, rng: np.random.Generator) -> Tensor:
    """Where a flow [T-1, 2, H, W] is told to the model, [T-1, 1, H, W]: everywhere, at what moves, or in a rectangle."""
    if rng.random() > FREE:
        return torch.ones_like(flow[:, :1])
    if rng.random() < 0.6:
        rest = flow.flatten(2).median(-1).values[:, :, None, None]
        moving = ((flow - rest).norm(dim=1, keepdim=True) > 0.6).float()
        return torch.nn.functional.max_pool2d(moving, 3, 1, 1)
    mask = torch.zeros_like(flow[:, :1])
    (top, bottom), (left, right) = (sorted(rng.integers(0, n + 1, size=2)) for n in flow.shape[2:])
    mask[:, :, top : bottom + 1, left : right + 1] = 1
    return mask


def trust(shape: int, rng: np.random.Generator) -> Tensor:
    """How far each clip's control can be trusted, [B]: mostly 1."""
    return torch.tensor(np.where(rng.random(shape) < LOOSE, rng.uniform(0.15, 1.0, shape), 1.0), dtype=torch.float32)


def controls(batch: Batch, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """The VACE input of a batch: depth, flow, both or neither, a clip. What is trusted less is told less exactly."""
    b = len(batch.video)
    kind = rng.choice(4, size=b, p=(0.32, 0.32, 0.30, 0.06))  # depth, flow, both, none
    has = lambda *kinds: torch.tensor(np.isin(kind, kinds)).float()  # noqa: E731
    depth_trust, flow_trust = trust(b, rng) * has(0, 2), trust(b, rng) * has(1, 2)
    wide = lambda x: x.view(b, 1, 1, 1, 1)  # noqa: E731
    noise = lambda like: torch.randn(like.shape, generator=generator)  # noqa: E731
    depth = batch.depth + 0.3 * wide(1 - depth_trust) * noise(batch.depth)
    flow = batch.flow + 4.0 * wide(1 - flow_trust) * noise(batch.flow)
    region = torch.stack([told_region(f, rng) for f in batch.flow]) * wide(flow_trust)
    return vace_context(depth, depth_trust, flow, region)


@dataclass
class Shots:
    """Clips and what is told of them: words, frames that are known, camera paths, VACE input and drafts or None."""

    x0: Tensor  # [B, C, T, h, w]
    known: Tensor  # [B, T] bool
    words: list[str]
    camera: Tensor | None
    vace: Tensor | None
    draft: Tensor | None

    @property
    def told(self) -> dict[str, Tensor]:
        """What the transformer is told by name, besides words."""
        named = {"camera": self.camera, "vace": self.vace, "draft": self.draft}
        return {name: value for name, value in named.items() if value is not None}


def draw_shots(
    batch: Batch, c: VDiTConfig, rng: np.random.Generator, generator: torch.Generator, *, controlled: bool, short: bool,
    drafted: float = DRAFT,
) -> Shots:  # fmt: skip
    """Cut a batch to some length and decide what is told of it; drafted: see DRAFT."""
    if short and batch.video.shape[2] > 6:
        batch = batch.first(6)
    elif batch.video.shape[2] > 11 and rng.random() < 0.5:
        batch = batch.first(11)
    x0, b = batch.video, len(batch.video)
    camera = camera_rays(batch, c.camera_rays) if c.camera_rays and rng.random() < CAMERA else None
    vace = controls(batch, rng, generator) if controlled and c.vace_channels else None
    ended = rng.random() < END_FRAME and x0.shape[2] == (len(batch.c2w[0]) + 3) // 4 and x0.shape[2] == 11
    if ended:  # one latent frame more, of which the controls say nothing
        x0 = torch.cat((x0, batch.last), 2)
        pad = lambda x: x if x is None else torch.nn.functional.pad(x, (0, 0, 0, 0, 0, 1))  # noqa: E731
        camera, vace = pad(camera), pad(vace)
    words = [str(rng.choice(ways)) if rng.random() > NO_TEXT else "" for ways in batch.captions]
    known = torch.zeros(b, x0.shape[2], dtype=torch.bool)
    counts, shares = zip(*START_FRAMES)
    starts = torch.from_numpy(rng.choice(counts, size=b, p=shares))
    draft = None
    if c.draft and vace is None and not ended:
        told = torch.from_numpy(rng.random(b) < drafted)
        starts = torch.where(told, batch.drafted, starts)
        draft = batch.told_draft(told)
    known |= torch.arange(x0.shape[2]) < starts[:, None]
    if ended:
        known[:, -1] = True
    return Shots(x0, known, words, camera, vace, draft)


def encode_words(text: WordEncoder, words: list[str]) -> Tensor:
    """Text context [B, longest, D] of captions of known words."""
    return text(text.batch_ids([text.token_ids(w)[0] for w in words]))


def loss_weight(x0: Tensor, finished: Tensor, *, moving: float) -> Tensor:
    """Weight [B, T, h, w] of each latent cell in a loss: none where frames are finished, more near what changes.

    A cell weighs the same in all of a clip's frames: weighed by what it holds, a ball that may be in either of two places
    would be drawn in both.
    """
    change = (x0 - x0.mean(2, keepdim=True)).square().mean(1)
    more = (change / change.mean((1, 2, 3), keepdim=True).clamp_min(1e-12)).amax(1, keepdim=True).clamp_max(6)
    return (~finished)[:, :, None, None] * (1 + moving * torch.nn.functional.max_pool2d(more, 3, 1, 1))


def draw_levels(known: Tensor, chances: tuple[float, float], rising: float, generator: torch.Generator) -> Tensor:
    """Noise levels [B, T] of a batch: one for all frames of a clip that are not known, or rising along it from a frame of
    one of RISING_LEVELS, what comes before it cleaner or finished."""
    b = len(known)
    random = lambda: torch.rand(b, 1, generator=generator)  # noqa: E731
    rises = random() < rising
    mean, deviation = (torch.where(rises, *pair) for pair in zip(RISING_LEVELS, chances))
    level = torch.sigmoid(torch.randn(b, 1, generator=generator) * deviation + mean)
    rise = (RISE[0] + (RISE[1] - RISE[0]) * random()) * rises
    order, count = (~known).cumsum(1) - 1, (~known).sum(1, keepdim=True)
    return (level + (order - (random() * count).floor()) * rise).clamp(0.0, 1.0).masked_fill(known, 0.0)


@torch.no_grad()
def own_frames(
    model: VDiT, x0: Tensor, level: Tensor, known: Tensor, generator: torch.Generator, context: Tensor, told: dict
) -> Tensor:  # fmt: skip
    """x0 with its last finished frames as the model makes them, in one step from those before.

    Only in clips whose first two latent frames are known: from fewer, any other speed would be as right.
    """
    finished = (level == 0) & ~known
    most = torch.randint(1, OWN_FRAMES + 1, (len(x0), 1), generator=generator)
    last = finished & (finished.flip(1).cumsum(1).flip(1) <= most) & known[:, :2].all(1, keepdim=True)
    begin = (last | (level > 0)).float()
    noise = torch.randn(x0.shape, generator=generator)
    with mixed():
        velocity = model(noise.where(begin[:, None, :, None, None] > 0, x0), begin, context, **told)
    return (noise - velocity.float()).where(last[:, None, :, None, None], x0)


def flow_loss(
    model: VDiT, text: WordEncoder, batch: Batch, rng: np.random.Generator, generator: torch.Generator,
    *, controlled: bool, chances: tuple[float, float] = NOISE_LEVELS, rising: float = RISING, weighted: bool = True,
    short: bool = False, own: bool = False,
) -> Tensor:  # fmt: skip
    """Mean squared error of the velocity over the frames that are not finished; `weighted`: more where things move. own:
    some clips go on from frames of the model's own."""
    shots = draw_shots(batch, model.config, rng, generator, controlled=controlled, short=short)
    x0, known = shots.x0, shots.known
    level = draw_levels(known, chances, rising, generator)
    noise = torch.randn(x0.shape, generator=generator)
    finished = level == 0
    drift = DRIFT * torch.rand(len(x0), 1, generator=generator) * (finished & ~known)
    s = (level + drift)[:, None, :, None, None]
    with mixed():
        context = encode_words(text, shots.words)
        shown = own_frames(model, x0, level, known, generator, context, shots.told) if own else x0
        velocity = model((1 - s) * shown + s * noise, level, context, **shots.told)
    error = (velocity.float() - (noise - x0)).square().mean(1)
    waits = (level == 1) & (torch.nn.functional.pad(level, (1, 0))[:, :-1] == 1)
    weight = loss_weight(x0, finished, moving=MOVING if weighted else 0.0)
    weight = weight * torch.where(waits, WAITING, 1.0)[:, :, None, None]
    return (error * weight).sum() / weight.sum()


@torch.no_grad()
def validate(model: VDiT, text: WordEncoder, data: Dataset, *, controlled: bool, batch: int = 16) -> float:
    """The unweighted loss on the same held-out clips (every seventh), noise and conditionings every time."""
    rng, generator = np.random.default_rng(5), torch.Generator().manual_seed(5)
    losses = []
    for name in sorted(data.shards):
        rows = range(0, len(data.shards[name]["video"]), 7)
        for a in range(0, len(rows), batch):
            clips = data.batch([(name, i) for i in rows[a : a + batch]])
            told = dict(controlled=controlled, chances=HELD_OUT_LEVELS, rising=0.0, weighted=False)
            losses.append(flow_loss(model, text, clips, rng, generator, **told).item())
    return float(np.mean(losses))


@torch.no_grad()
def foresight(model: VDiT, text: WordEncoder, data: Dataset, *, every: int = 4) -> dict[str, float]:
    """Mean squared velocity errors on held-out clips at sigma 1: `balls` in the latent cells where they are and `rest`
    elsewhere, two latent frames known; `next` where balls are in the first frame that is not finished, of any; told a draft,
    `drawn` where balls are, still camera, and `followed` everywhere, moving camera whose path is told.

    Nothing but what the model knows of motion tells it where the balls will be, but for drafts; one that draws no ball at
    all in the bundled codec's latents has 2.7 and .1 to .4. Takes every so many clips.
    """
    rng, generator = np.random.default_rng(6), torch.Generator().manual_seed(6)
    found: dict[str, list[Tensor]] = {"balls": [], "rest": [], "next": [], "drawn": [], "followed": []}
    for name in sorted(data.shards):
        clips = data.batch([(name, i) for i in range(0, len(data.shards[name]["video"]), every)])
        places, words = torch.arange(clips.video.shape[2]), encode_words(text, [ways[0] for ways in clips.captions])
        x0 = clips.video
        noise = torch.randn(x0.shape, generator=generator)
        ball = touched(clips.tracks, clips.size)  # [B, T, h, w]

        def error_after(done: Tensor, **told: Tensor) -> Tensor:
            """Errors [B, T, h, w] of clips of which so many frames are finished [1 or B, 1]."""
            level = (places >= done).float().expand(len(x0), -1)
            with mixed():
                velocity = model(noise.where(level[:, None, :, None, None] > 0, x0), level, words, **told)
            return (velocity.float() - (noise - x0)).square().mean(1)

        error = error_after(torch.tensor([[2]]))
        found["balls"].append(error[:, 2:][ball[:, 2:]])
        found["rest"].append(error[:, 2:][~ball[:, 2:]])
        done = torch.from_numpy(rng.integers(2, x0.shape[2], (len(x0), 1)))
        found["next"].append(error_after(done)[ball & (places == done)[:, :, None, None]])
        if model.config.draft:
            camera = {"camera": camera_rays(clips, model.config.camera_rays)} if model.config.camera_rays else {}
            error = error_after(clips.drafted[:, None], draft=clips.told_draft(torch.ones(len(x0))), **camera)
            moves = (clips.c2w != clips.c2w[:, :1]).flatten(1).any(1)[:, None, None, None]
            later = (places >= 2)[:, None, None]
            found["drawn"].append(error[ball & ~moves & later])
            found["followed"].append(error[(moves & later).expand_as(error)])
    return {kind: float(torch.cat(errors).mean()) for kind, errors in found.items() if errors}


def optimizers(
    params: dict[str, Tensor], peak: float, muon: bool, team: Team = Team()
) -> list[torch.optim.Optimizer]:  # fmt: skip
    """AdamW, and Muon for the matrices of the blocks when asked."""
    matrices = [p for n, p in params.items() if muon and "blocks." in n and p.ndim == 2]
    return with_muon(list(params.values()), matrices, peak, team, betas=(0.9, 0.98), weight_decay=0.01)


def rate_at(seconds: float, total: float, peak: float, cooldown: float, warmup: float = 60.0) -> float:
    """Learning rate: linear warm-up, constant, then linear to zero over the last `cooldown` seconds of `total`."""
    down = min(1.0, max(0.0, (total - seconds) / cooldown)) if cooldown else 1.0
    return peak * min(1.0, (seconds + 1) / warmup) * down


def train(
    latents: Path, held_out: Path, out: Path, *, hours: float, batch: int = 8, peak: float = 1e-3, seed: int = 0,
    muon: bool = False, cooldown_hours: float = 0.0, start_from: Path | None = None, config: VDiTConfig = CONFIG,
    validate_every: int = 500, team: Team = Team(),
) -> None:  # fmt: skip
    """Train for `hours` of this machine, resuming from `out`; a fresh run begins at random, or with `start_from`: another
    run (its weights and optimizer) or a bundle (its weights, see begin_with).

    New latent shards are picked up as they appear. The state holds the weights and their moving average. A team's members
    hold the same weights and draw clips of their own.
    """
    from tqdm import tqdm

    data, check = Dataset.load(latents), Dataset.load(held_out)
    run = Run(out, silent=not team.leads)
    model, text = fresh(config, seed)
    parts = {"model": model, "text": text}
    params = {f"{part}.{n}": p for part, module in parts.items() for n, p in module.named_parameters()}
    opts = optimizers(params, peak, muon, team)
    average = {n: p.detach().clone() for n, p in params.items()}
    step, samples, before = 0, 0, 0.0  # before: hours of runs that this one goes on from
    resumed = run.load()
    from_bundle = start_from is not None and start_from.suffix == ".safetensors"
    if from_bundle and not resumed:
        facts = begin_with(start_from, model, text)
        before, samples = facts.get("teacher_hours", 0.0), facts.get("teacher_clips_seen", 0)
        average = {n: p.detach().clone() for n, p in params.items()}
    if state := resumed or (Run(start_from).load() if start_from and not from_bundle else None):
        if VDiTConfig(**state["config"]) != config:
            kind = "a student" if VDiTConfig(**state["config"]).flow_map else "a transformer of other sizes"
            raise ValueError(
                f"{run.folder if resumed else start_from} holds {kind}; name the run of a teacher like this one"
            )
        for n, p in params.items():
            p.data.copy_(state["weights"][n])
            average[n].copy_(state["average"][n])
        for opt, saved in zip(opts, state["optimizers"], strict=True):
            opt.load_state_dict(saved)
        step, samples, before = state["step"], state["samples"], state["hours"]
    if not resumed:
        if start_from and state is None and not from_bundle:
            raise FileNotFoundError(f"no state.pt in {start_from}; nothing to start from")
        before += state["seconds"] / 3600 if state else 0.0
        run.log(event="start", config=asdict(config), hours=hours, batch=batch, peak=peak, seed=seed, muon=muon,
                cooldown_hours=cooldown_hours, start_from=start_from and str(start_from), clips=len(data))  # fmt: skip
    total = hours * 3600
    bar = tqdm(total=round(total), initial=round(min(total, run.seconds)), desc="teacher", unit="s",
               disable=not team.leads)  # fmt: skip

    def snapshot() -> dict:
        weights = {n: p.data for n, p in params.items()}
        return {"weights": weights, "average": average, "optimizers": [o.state_dict() for o in opts], "step": step,
                "samples": samples, "hours": before, "config": asdict(config)}  # fmt: skip

    def check_now(**more) -> None:
        with averaged_weights(params, average):
            plain, told = (validate(model, text, check, controlled=c) for c in (False, True))
            foreseen = {f"held_out_{kind}": round(v, 3) for kind, v in foresight(model, text, check).items()}
        run.log(step=step, samples=samples, held_out_loss=round(plain, 4), held_out_controlled=round(told, 4),
                **foreseen, **more)  # fmt: skip

    losses: list[float] = []
    while (seconds := team.agreed(run.tick())) < total:
        # Alike for all members, who wait for each other: these make steps longer or shorter.
        told, short, own = np.random.default_rng([seed, step]).random(3) < (CONTROLLED, SHORT, OWN)
        rng = np.random.default_rng([seed, step, team.rank])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        rate = rate_at(seconds, total, peak, cooldown_hours * 3600, warmup=60.0 if step < 1000 else 0.1)
        for group in (g for o in opts for g in o.param_groups):
            group["lr"] = rate
        clips = data.draw(team.share(batch), rng)
        loss = flow_loss(model, text, clips, rng, generator, controlled=told, short=short, own=own)
        step += 1
        mean = take_step(loss, params, average, opts, step - 1, EMA, run, team)
        if mean is None:
            continue
        samples += len(clips.video) * team.size
        losses.append(mean)
        if step % 50 == 0:
            run.log(
                step=step, samples=samples, loss=round(float(np.mean(losses)), 4), rate=round(rate, 6), clips=len(data)
            )
            bar.set_postfix(step=step, loss=f"{np.mean(losses):.3f}")
            losses.clear()
            data.refresh()
        bar.update(round(run.seconds) - bar.n)
        if step % validate_every == 0 and team.leads:
            check_now()
        run.save(snapshot())
    if team.leads:
        check_now(event="end")
        run.save(snapshot(), force=True)
