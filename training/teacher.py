"""Trains the transformer and the word encoder on encoded clips by flow matching: `vdit train teacher`.

One model, all conditionings, by dropout: words or none, 0, 1 or 5 first frames, a last frame or none.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..model.config import VDiTConfig
from ..model.text import WordEncoder
from ..model.vdit import VDiT, init_weights
from ..world.caption import vocabulary
from .latents import Latents, latent_paths
from .run import Run, cosine

NO_TEXT = 0.12  # share of clips without words, for guidance
START_FRAMES = ((0, 0.15), (1, 0.70), (2, 0.15))  # known latent frames at the start, and their share
END_FRAME = 0.25  # share of batches with the last frame known
EMA = 0.998


def fresh(config: VDiTConfig, seed: int) -> tuple[VDiT, WordEncoder]:
    torch.manual_seed(seed)
    return init_weights(VDiT(config), seed), WordEncoder(vocabulary(), config.text_dim, config.text_len)


def flow_loss(
    model: VDiT, text: WordEncoder, data: Latents, index: Tensor, rng: np.random.Generator, generator: torch.Generator
) -> Tensor:
    """Mean squared error of the velocity over the frames that are not known."""
    x0 = data.video[index].float()
    if rng.random() < END_FRAME:
        x0 = torch.cat((x0, data.last[index].float()), 2)
    b, t = len(x0), x0.shape[2]
    words = [data.captions[i][rng.integers(len(data.captions[i]))] if rng.random() > NO_TEXT else "" for i in index]
    context = text(text.batch_ids([text.token_ids(w)[0] for w in words]))
    # Logit-normal noise levels, a little more at the noisy end, where motion is decided.
    sigma = torch.sigmoid(torch.randn(b, generator=generator) * 1.2 + 0.5)
    known = torch.zeros(b, t, dtype=torch.bool)
    counts, shares = zip(*START_FRAMES)
    for i, k in enumerate(rng.choice(counts, size=b, p=shares)):
        known[i, :k] = True
    if t > data.video.shape[2]:
        known[:, -1] = True
    noise = torch.randn(x0.shape, generator=generator)
    level = torch.where(known, 0.0, sigma[:, None])
    s = level[:, None, :, None, None]
    velocity = model((1 - s) * x0 + s * noise, level, context)
    error = (velocity - (noise - x0)).square().mean((1, 3, 4))  # [B, T]
    return (error * ~known).sum() / (~known).sum()


@torch.no_grad()
def validate(model: VDiT, text: WordEncoder, data: Latents, count: int = 128, batch: int = 16) -> float:
    """The loss on the same held-out clips, noise and conditionings every time."""
    rng, generator = np.random.default_rng(5), torch.Generator().manual_seed(5)
    losses = [
        flow_loss(model, text, data, torch.arange(a, min(a + batch, len(data))), rng, generator).item()
        for a in range(0, min(count, len(data)), batch)
    ]
    return float(np.mean(losses))


def train(
    latents: Path, held_out: Path, out: Path, *, hours: float, batch: int = 8, peak: float = 1e-3, seed: int = 0,
    config: VDiTConfig = VDiTConfig(), validate_every: int = 250,
) -> None:  # fmt: skip
    """Train for `hours` of this machine, resuming from `out`; the learning rate follows the time spent.

    New latent shards are picked up as they appear. The state holds the weights and their moving average.
    """
    from tqdm import tqdm

    shards = latent_paths(latents)  # listed before they are read: one that appears meanwhile is seen next time
    data, check = Latents.load(latents), Latents.load(held_out)
    run = Run(out)
    model, text = fresh(config, seed)
    params = {**{f"model.{n}": p for n, p in model.named_parameters()}, **{f"text.{n}": p for n, p in text.named_parameters()}}
    optimizer = torch.optim.AdamW(params.values(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01)
    average = {n: p.detach().clone() for n, p in params.items()}
    step = 0
    if state := run.load():
        for n, p in params.items():
            p.data.copy_(state["weights"][n])
            average[n].copy_(state["average"][n])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    else:
        run.log(event="start", config=asdict(config), hours=hours, batch=batch, peak=peak, seed=seed, clips=len(data))
    total = round(hours * 3600)
    bar = tqdm(total=total, initial=min(total, round(run.seconds)), desc="teacher", unit="s")

    def snapshot() -> dict:
        weights = {n: p.data for n, p in params.items()}
        return {"weights": weights, "average": average, "optimizer": optimizer.state_dict(), "step": step,
                "config": asdict(config)}  # fmt: skip

    losses: list[float] = []
    while run.tick() < total:
        rng, generator = np.random.default_rng([seed, step]), torch.Generator().manual_seed(seed * 1_000_003 + step)
        rate = cosine(round(run.seconds), total, peak, warmup=120)
        for group in optimizer.param_groups:
            group["lr"] = rate
        index = torch.randint(len(data), (batch,), generator=generator)
        loss = flow_loss(model, text, data, index, rng, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params.values(), 1.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            keep = min(EMA, (1 + step) / (10 + step))
            for n, p in params.items():
                average[n].lerp_(p, 1 - keep)
        losses.append(loss.item())
        if step % 25 == 0:
            run.log(step=step, loss=round(float(np.mean(losses)), 4), rate=round(rate, 6), clips=len(data))
            bar.set_postfix(step=step, loss=f"{np.mean(losses):.3f}")
            losses.clear()
        bar.update(round(run.seconds) - bar.n)
        if step % validate_every == 0:
            run.log(step=step, held_out_loss=round(validate(model, text, check), 4))
            if (there := latent_paths(latents)) != shards:
                data, shards = Latents.load(latents), there
        run.save(snapshot())
    run.log(step=step, held_out_loss=round(validate(model, text, check), 4), event="end")
    run.save(snapshot(), force=True)
