"""Scene From Picture: objects marked or masked in a picture become bodies that can fall, slide and break."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .comfy import check_interrupted, drawn_by, io, ui, verdict
from .routes import polygons
from .types import VDiTScene, needs, node_schema, shown

if TYPE_CHECKING:
    from torch import Tensor

DEPTHS = ["brighter is nearer", "metres"]
TOOLTIPS = {
    "image": "The picture. Beyond 1920 pixels a side it is reduced, with its masks and depth.",
    "objects": 'What can move, marked here by boxes, strokes and clicks, or as JSON: {"version": 1, "objects": '
    '[{"name", "material", "fixed", "thickness", "box", "strokes"}], "ground": {"horizon", "camera_height", '
    '"fov_deg"}, "light": {"azimuth_deg", "height_deg", "shadow"}}. Materials: wood, rubber, glass, ceramic, steel, '
    "foam, ice, stone.",
    "names": "Names for the masks, with commas: cup, bottle. A material may follow: cup: ceramic, bottle: glass. "
    "Empty: object 1, object 2.",
    "depth_kind": "What depth holds. brighter is nearer: inverse depth without a scale, as Depth Anything draws it. "
    "metres: metres.",
    "fov_deg": "Vertical field of view of the camera that took the picture, 0 to 120 degrees; MoGe tells it. 0: as "
    "marked in objects, else guessed.",
    "masks": "One mask an object, as SAM 3 or the Mask Editor give them; of the picture's size. They add to objects.",
    "depth": "The picture's depth, from MoGe or Depth Anything: true places of bodies, and a camera that can orbit.",
    "plate": "The picture without the objects, where another node made a good one. Without: the holes are filled here.",
    "-> scene": "The bodies before the picture, for VDiT Actions and VDiT Simulate.",
    "-> masks": "The bodies' masks [N,H,W], as they were used.",
    "-> plate": "The picture without the bodies.",
    "-> remarks": "What was guessed or is unusual, a line each.",
}


class VDiTSceneFromPicture(io.ComfyNode):
    """Makes bodies of the things in a picture, standing on its ground, with their own pixels: they can then be pushed,
    dropped and broken. Needs no model; takes masks and depth of any.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            io.Image.Input("image"),
            drawn_by("VDIT_OBJECTS", io.String.Input("objects", default="")),
            io.String.Input("names", default=""),
            io.Combo.Input("depth_kind", options=DEPTHS, default=DEPTHS[0]),
            io.Float.Input("fov_deg", default=0.0, min=0.0, max=120.0, step=0.5),
            io.Mask.Input("masks", optional=True),
            io.Image.Input("depth", optional=True),
            io.Image.Input("plate", optional=True),
        ]
        outputs = {"scene": VDiTScene, "masks": io.Mask, "plate": io.Image, "remarks": io.String}
        return node_schema(cls, "VDiT Scene From Picture", inputs, outputs, TOOLTIPS)

    @classmethod
    def validate_inputs(cls, fov_deg: float | None = None) -> bool | str:
        return verdict(cls, fov_deg=fov_deg)

    @classmethod
    def execute(
        cls,
        image: Tensor,
        objects: str,
        names: str,
        depth_kind: str,
        fov_deg: float,
        masks: Tensor | None = None,
        depth: Tensor | None = None,
        plate: Tensor | None = None,
    ) -> io.NodeOutput:
        needs("VDiT Scene From Picture", "cv2")
        import torch

        from ..lift.objects import read_selection
        from ..lift.picture import Given, lift

        given = Given(
            image=image,
            selection=read_selection(objects),
            masks=masks,
            names=names,
            depth=depth,
            depth_in_metres=depth_kind == DEPTHS[1],
            fov_deg=fov_deg or None,
            plate=plate,
        )
        lifted = lift(given, check_interrupted)
        scene = lifted.scene
        assert scene.plate is not None, "a scene of a picture has a plate"
        made = torch.from_numpy(scene.plate.image)[None].float() / 255
        picture = torch.from_numpy(scene.plate.picture)[None].float() / 255
        saved = ui.ImageSaveHelper.save_images(picture, "vdit_scene", io.FolderType.temp, None, 1)
        bodies = zip(scene.bodies, lifted.masks, strict=True)
        outlined = [{"name": body.name, "fixed": body.fixed, "outlines": polygons(mask)} for body, mask in bodies]
        messages = {"vdit_picture": saved, "vdit_bodies": outlined}  # drawn by web/scene_arrows.js
        messages |= shown("VDiT Scene From Picture", lifted.remarks) or {}
        return io.NodeOutput(scene, torch.from_numpy(lifted.masks), made, "\n".join(lifted.remarks), ui=messages)
