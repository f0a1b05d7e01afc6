"""What ComfyUI's own nodes make of words and pictures: CONDITIONING and CLIP_VISION_OUTPUT, read with care."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .span import ControlError

if TYPE_CHECKING:
    from torch import Tensor

    from .conditioning import ClipVisionOutput, TextConditioning

IDLE = {"pooled_output", "attention_mask"}  # notes beside the tokens that Wan models have no use for


def text_tokens(conditioning: TextConditioning, name: str, width: int, longest: int, remarks: list[str]) -> Tensor:
    """Tokens [1, L, width] of CONDITIONING, without the zeros behind the prompt's end.

    Raises ControlError for several prompts at once and for tokens of another model's encoder. What else a node noted in
    it is told in `remarks`, as it is not used.
    """
    import torch

    try:
        ((tokens, notes),) = conditioning
    except (TypeError, ValueError):
        found = f"{len(conditioning)} prompts" if hasattr(conditioning, "__len__") else type(conditioning).__name__
        raise ControlError(
            f"{name}: the CONDITIONING holds {found}; expected one, straight from CLIP Text Encode"
        ) from None
    if not isinstance(tokens, torch.Tensor) or tokens.ndim != 3 or tokens.shape[2] != width or tokens.shape[0] != 1:
        found = list(tokens.shape) if isinstance(tokens, torch.Tensor) else type(tokens).__name__
        raise ControlError(
            f"{name}: the CONDITIONING holds {found}; this model reads [1, tokens, {width}]: set CLIPLoader's type "
            "to wan and load umt5_xxl"
        )
    if not torch.isfinite(tokens).all():
        raise ControlError(
            f"{name}: the CONDITIONING holds NaN or infinity; the text encoder has failed, try fp16 or fp32"
        )
    unused = sorted(key for key, value in notes.items() if key not in IDLE and value is not None)
    if unused:
        remarks.append(
            f"{name}: {', '.join(unused)} in the CONDITIONING is not used; wire pictures and controls to this node"
        )
    tokens = tokens.detach().float().cpu()
    rows = tokens[0].any(-1).nonzero()
    length = max(1, int(rows[-1]) + 1 if len(rows) else 1)
    if length > longest:
        remarks.append(f"{name} is {length - longest} tokens longer than the model reads; the last ones are ignored")
    return tokens[:, : min(length, longest)]


def image_features(output: ClipVisionOutput | None, output_end: ClipVisionOutput | None, width: int) -> Tensor | None:
    """CLIP features [1, 257 or 514, width] of the start picture, then the end's; None without either.

    Those of CLIP's last but one layer, as Wan reads them. Raises ControlError for another vision model's.
    """
    import torch

    if output is None and output_end is not None:
        raise ControlError("clip_vision_output_end is wired without clip_vision_output; wire the start picture's too")
    parts: list[Tensor] = []
    for name, given in (("clip_vision_output", output), ("clip_vision_output_end", output_end)):
        if given is None:
            continue
        features: object = getattr(given, "penultimate_hidden_states", None)
        if not isinstance(features, torch.Tensor) or features.ndim != 3 or features.shape[2] != width:
            found = list(features.shape) if isinstance(features, torch.Tensor) else type(given).__name__
            raise ControlError(
                f"{name}: it holds {found}; this model reads [1, 257, {width}]: encode the picture with clip_vision_h"
            )
        if features.shape[0] != 1:
            raise ControlError(f"{name}: it holds {features.shape[0]} pictures; expected 1")
        parts.append(features.detach().float().cpu())
    return torch.cat(parts, 1) if parts else None
