"""Score Video: how well any video continues a simulated scene, by the physics benchmark's own measures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .comfy import check_interrupted, io, verdict
from .types import VDiTScene, needs, node_schema

if TYPE_CHECKING:
    from torch import Tensor

    from ..world.families.clip import Clip

MEASURES = ["all that fit", "permanence", "physics", "coherence"]
TOOLTIPS = {
    "scene": "The truth, from VDiT Simulate Scene; its camera must stand still.",
    "images": "The video to judge, from any model: as many frames as the scene, of its aspect, any size.",
    "measure": "permanence: does the ball come back from behind the box? physics: does it fall and bounce as it must? "
    "coherence: is it one ball, moving without jumps, before one background? all that fit: each that this scene can be "
    "judged for.",
    "known_frames": "How many first frames the model was given, 1 to 100: they are not judged.",
    "-> score": "0 to 1: share of measures passed; for coherence its value.",
    "-> report": "Every check with what was found and its limit.",
    "-> compare": "The scene on the left, the video on the right, frame by frame.",
}

NO_TRUTH = (
    "was made from a picture or a file, and has no measured truth to compare with; wire the scene of VDiT Simulate "
    "Scene"
)


def check_known(known_frames: float, frames: float) -> None:
    """Raise ValueError for a video that is known as a whole."""
    if not known_frames < frames:
        raise ValueError(f"known_frames is {known_frames:g}, but the scene has only {frames:g} frames")


class VDiTScoreVideo(io.ComfyNode):
    """Judges a video against the simulated scene that it should continue, whatever made the video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            VDiTScene.Input("scene"),
            io.Image.Input("images"),
            io.Combo.Input("measure", options=MEASURES, default="all that fit"),
            io.Int.Input("known_frames", default=5, min=1, max=100),
        ]
        outputs = {"score": io.Float, "report": io.String, "compare": io.Image}
        return node_schema(cls, "VDiT Score Video", inputs, outputs, TOOLTIPS, is_output_node=True)

    @classmethod
    def validate_inputs(cls, known_frames: int | None = None) -> bool | str:
        return verdict(cls, known_frames=known_frames)

    @classmethod
    def execute(cls, scene: Clip, images: Tensor, measure: str, known_frames: int) -> io.NodeOutput:
        needs("VDiT Score Video", "cv2")
        import torch

        from ..machine.importing import imported

        imported("..benchmark.scores", check_interrupted)
        from ..benchmark.labels import label
        from ..benchmark.scores import SCORED, SUITES, score
        from ..benchmark.tracking import validated_frames
        from ..world.families.clip import Clip

        if not isinstance(scene, Clip):
            raise ValueError(f"this scene {NO_TRUTH}")
        labels = label(scene, check_interrupted)
        check_interrupted()
        frames = validated_frames(images, labels)
        check_known(known_frames, labels.frames)
        reasons = {name: SUITES[name].unsuitable(labels, known_frames) for name in SCORED}
        fit = [name for name, reason in reasons.items() if reason is None] if measure == MEASURES[0] else [measure]
        if not fit:
            raise ValueError(
                f"this scene ({labels.family}, seed {labels.seed}) cannot be judged: "
                + "; ".join(f"for {name}, {reason}" for name, reason in reasons.items())
                + ". Choose another seed, or family arc, wall, behind (permanence), fall or throw (physics, coherence)"
            )
        lines: list[str] = []
        values: list[float] = []
        for name in fit:
            found = score(name, frames, labels, known_frames, check_interrupted)
            values.append(found.value)
            result = f"{100 * found.value:.0f}%" if name == "coherence" else "passed" if found.value else "FAILED"
            lines.append(f"{name}: {result}")
            for check in found.checks:
                value = "not found" if check.value is None else f"{check.value:.3g}"
                lines.append(f"  {'ok ' if check.ok else 'NO '} {check.name}: {value} ({check.limit})")
        check_interrupted()
        truth = torch.from_numpy(labels.truth)
        compare = torch.cat((truth, torch.ones_like(truth[:, :, :4]), torch.from_numpy(frames)), 2)
        return io.NodeOutput(sum(values) / len(values), "\n".join(lines), compare, ui={"vdit_line": lines})
