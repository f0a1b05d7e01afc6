"""Short calls of the pipeline for tests: keyword arguments in place of the values that the pipeline takes."""

from vdit.control import Shot
from vdit.pipeline import (
    ClipSpec,
    Continuation,
    Hooks,
    Run,
    RunContext,
    SamplerSettings,
    Windows,
    encode_shot,
    generate,
)
from vdit.pipeline import long_video as pipeline_long_video
from vdit.pipeline.drafts import predict
from vdit.pipeline.takes import take as pipeline_take


def encoded(model, prompt, negative_prompt="", start=None, end=None, strength=1.0, **more):
    """A shot as the model reads it."""
    return encode_shot(
        model, Shot(prompt=prompt, negative_prompt=negative_prompt, start=start, end=end, strength=strength, **more)
    )


def run_of(
    model, conditioning, frames, width, height, seed=None, continuation=None, perception=None, device="cpu", **more
):
    """A Run; hooks are named as in Hooks, all else is a setting."""
    hooks = Hooks(**{name: more.pop(name) for name in Hooks.__dataclass_fields__ if name in more})
    context, before = RunContext(device, hooks, perception), continuation or Continuation()
    return Run(model, conditioning, ClipSpec(frames, width, height), seed, SamplerSettings(**more), context, before)


def run(model, conditioning, **given):
    """The Result of generate()."""
    return generate(run_of(model, conditioning, **given))


def latent_of(model, conditioning, **given):
    """The latent of generate()."""
    return run(model, conditioning, **given).latent


def take(model, conditioning, **given):
    """A Take."""
    return pipeline_take(run_of(model, conditioning, **given))


def long_video(model, conditioning, window=None, overlap=5, **given):
    """Frames of a long video."""
    return pipeline_long_video(run_of(model, conditioning, **given), Windows(window, overlap))


def predicted(model, conditioning, frames, width, height, seed=None, noise=None, continuation=None, cache=None):
    """The Prediction of a draft; noise in place of a seed."""
    return predict(run_of(model, conditioning, frames, width, height, seed, continuation, cache), noise)
