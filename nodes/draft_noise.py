"""Draft Noise: what a sampler of another model needs to render a simulated draft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .comfy import io, verdict
from .types import VDiTFlow, node_schema, seed_input

if TYPE_CHECKING:
    from torch import Tensor

    from ..control.flow import FlowField
    from ..pipeline.draft_noise import Latent

Noise = io.Custom("NOISE")
TOOLTIPS = {
    "latent": "The draft of VDiT Simulate, encoded by VAE Encode with the VAE of the model that renders it.",
    "draft_strength": "How far the draft is followed: the share of the sampling that is left out. 0.2 where much may "
    "change, 0.7 where the draft is good.",
    "steps": "The steps of the whole schedule, for start_at_step.",
    "noise_share": "How much of the noise moves along the flow; the rest is fresh in every frame, without which video "
    "models make little that is new.",
    "flow": "The simulation's optical flow: the noise moves as the bodies do.",
    "masks": "1 where the model may change the draft (VDiT Simulate's masks), 0 where the draft stays. One for each "
    "frame, or one for all.",
    "-> noise": "For SamplerCustomAdvanced.",
    "-> latent": "The draft, with the masks as its noise mask; for the sampler's latent_image.",
    "-> denoise": "1 minus draft_strength, for BasicScheduler, Split Sigmas Denoise (its low_sigmas) or KSampler.",
    "-> start_at_step": "For KSampler (Advanced) with add_noise on; its noise is its own and does not move.",
}


@dataclass(frozen=True, eq=False)
class MovingNoise:
    """ComfyUI's NOISE: a seed, and noise for a latent."""

    seed: int
    flow: FlowField | None
    share: float

    def generate_noise(self, input_latent: Latent) -> Tensor:
        """Noise of the shape of the latent's samples, on the CPU."""
        from ..pipeline.draft_noise import draft_noise

        return draft_noise(input_latent["samples"], self.seed, self.flow, self.share)


class VDiTDraftNoise(io.ComfyNode):
    """Lets any video model of the graph render a draft: noise that moves along its flow, where to begin, what may
    change. For ComfyUI's own samplers; VDiT Sample takes a draft by VDiT Encode Conditioning.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            io.Latent.Input("latent"),
            seed_input("The seed of the noise. Without flow it is the noise of RandomNoise with this seed."),
            io.Float.Input("draft_strength", default=0.4, min=0.0, max=1.0, step=0.05),
            io.Int.Input("steps", default=20, min=1, max=10000),
            io.Float.Input("noise_share", default=0.5, min=0.0, max=1.0, step=0.05),
            VDiTFlow.Input("flow", optional=True),
            io.Mask.Input("masks", optional=True),
        ]
        outputs = {"noise": Noise, "latent": io.Latent, "denoise": io.Float, "start_at_step": io.Int}
        return node_schema(cls, "VDiT Draft Noise", inputs, outputs, TOOLTIPS)

    @classmethod
    def validate_inputs(cls, draft_strength: float | None = None) -> bool | str:
        return verdict(cls, draft_strength=draft_strength)

    @classmethod
    def execute(
        cls,
        latent: Latent,
        seed: int,
        draft_strength: float,
        steps: int,
        noise_share: float,
        flow: FlowField | None = None,
        masks: Tensor | None = None,
    ) -> io.NodeOutput:
        from ..control.pictures import as_masks
        from ..pipeline.draft_noise import check_fits, free_cells

        samples = latent["samples"]
        if flow is not None:
            check_fits(samples, flow)
        if masks is not None:
            latent = {**latent, "noise_mask": free_cells(samples, as_masks(masks, "masks"))}
        noise = MovingNoise(seed, flow, noise_share)
        return io.NodeOutput(noise, latent, 1.0 - draft_strength, round(draft_strength * steps))
