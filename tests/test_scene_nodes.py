"""The nodes of scenes: what they take from each other and from ComfyUI, what they say, and what they refuse."""

import json

import numpy as np
import pytest
import torch
from vdit.control.pictures import PictureError
from vdit.control.span import ControlError
from vdit.host import folders
from vdit.host.api import call
from vdit.nodes.physics import VDiTActions, VDiTSimulate
from vdit.nodes.picture import VDiTSceneFromPicture
from vdit.nodes.score import VDiTScoreVideo
from vdit.nodes.simulate import VDiTSimulateScene
from vdit.world.actions import Throw
from vdit.world.scene import SceneError

WIDTH, HEIGHT = 96, 64
SHORT = {"seconds": 0.25, "fps": 8.0, "width": 0, "height": 0, "seed": 0, "mask_of": ""}
MARKED = {"objects": "", "names": "", "depth_kind": "brighter is nearer", "fov_deg": 0.0}
GROUND = json.dumps({"version": 1, "objects": [], "ground": {"horizon": 0.2, "camera_height": 0.5, "fov_deg": 40}})


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "current", folders.Folders(base=tmp_path))


def picture():
    """A table, lighter towards the viewer, with two dark boxes on it: IMAGE [1, H, W, 3] and their MASK [2, H, W]."""
    image = torch.linspace(0.4, 0.8, HEIGHT)[None, :, None, None].repeat(1, 1, WIDTH, 3)
    masks = torch.zeros(2, HEIGHT, WIDTH)
    masks[0, 24:44, 20:34] = 1
    masks[1, 20:48, 56:72] = 1
    image = image * (1 - masks.amax(0))[None, ..., None] + 0.2 * masks.amax(0)[None, ..., None]
    return image, masks


def lifted(**changes):
    image, masks = picture()
    given = {**MARKED, "objects": GROUND, "image": image, "masks": masks, **changes}
    return call(VDiTSceneFromPicture, given)


def test_masks_become_bodies_by_their_names_and_materials():
    output = lifted(names="cup: ceramic, tall box")
    scene, masks, plate, _ = output.args
    assert {(b.name, b.material.name) for b in scene.bodies} == {("cup", "ceramic"), ("tall box", "wood")}
    assert masks.shape == (2, HEIGHT, WIDTH) and plate.shape == (1, HEIGHT, WIDTH, 3)
    assert plate[0, 24:44, 20:34].min() > 0.3, "the plate shows the table where the cup was"
    drawn = {body["name"]: np.array(body["outlines"][0]) for body in output.ui["vdit_bodies"]}
    assert set(drawn) == {"cup", "tall box"} and "vdit_picture" in output.ui
    for body, mask in zip(scene.bodies, masks.numpy(), strict=True):
        rows, columns = np.nonzero(mask > 0.5)
        middle = (drawn[body.name].min(0) + drawn[body.name].max(0)) / 2 * (WIDTH, HEIGHT)
        assert np.allclose(middle, ((columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2), atol=1)


def test_masks_without_names_are_numbered():
    assert {body.name for body in lifted().args[0].bodies} == {"object 1", "object 2"}


def test_a_large_picture_is_reduced_with_its_masks():
    image, masks = picture()
    wide = (HEIGHT, 25 * WIDTH)
    grown = torch.nn.functional.interpolate(image.movedim(-1, 1), wide, mode="nearest").movedim(1, -1)
    output = lifted(image=grown, masks=torch.nn.functional.interpolate(masks[None], wide)[0])
    scene, kept, *_, remarks = output.args
    assert (scene.width, scene.height) == (1920, 51) and kept.shape[1:] == (51, 1920)
    assert "reduced to 1920x51" in remarks


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"masks": None}, "mask"),
        ({"masks": torch.ones(1, 10, 10)}, "masks are 10x10 pixels; expected 96x64"),
        ({"masks": torch.zeros(1, 64, 64)}, "they are empty: Load Image gives such a MASK"),
        ({"masks": torch.full((1, HEIGHT, WIDTH), torch.nan)}, "masks"),
        ({"names": "cup"}, "1 names .cup. for 2 masks"),
        ({"names": "cup, cup"}, "a name of its own"),
        ({"names": "cup: jelly, box"}, "'jelly'"),
        ({"names": "cup", "masks": None}, "none are connected"),
        ({"image": torch.rand(2, HEIGHT, WIDTH, 3)}, "holds 2 pictures"),
        ({"plate": torch.rand(1, 10, 20, 3)}, "plate"),
        ({"objects": "{"}, "no JSON"),
    ],
)
def test_what_makes_no_scene_is_refused_with_the_numbers(changes, says):
    with pytest.raises((SceneError, PictureError, ControlError), match=says):
        lifted(**changes)


def test_a_scene_moves_and_gives_all_that_a_video_model_can_be_told():
    scene = lifted(names="cup, box").args[0]
    actions, remarks = call(VDiTActions, {"scene": scene, "words": "the cup is thrown to the right", "arrows": ""}).args
    assert remarks == "" and isinstance(actions[0], Throw)
    output = call(VDiTSimulate, {**SHORT, "scene": scene, "actions": actions})
    draft, depth, flow, masks, tracks, same, camera, fps, _ = output.args
    assert draft.shape == depth.shape == (3, HEIGHT, WIDTH, 3) and masks.shape == (3, HEIGHT, WIDTH)
    assert (draft[0] - picture()[0][0]).abs().mean() < 0.01, "frame 0 is the picture"
    assert flow.flow.shape == (2, HEIGHT, WIDTH, 2) and flow.flow[0][masks[0] > 0.5][:, 0].max() > 1
    frames, points, _ = tracks["track_path"].shape
    assert frames == 3 and tracks["track_visibility"].shape == (3, points)
    assert (tracks["width"], tracks["height"], tracks["fps"]) == (WIDTH, HEIGHT, 8.0)
    assert same is scene and camera.frames == 3 and fps == 8.0
    shown = output.ui["vdit_draft"][0]
    assert shown["filename"].endswith(".mp4") and (folders.directory("temp") / shown["filename"]).is_file()


def test_one_body_s_mask_can_be_asked_for():
    scene = lifted(names="cup, box").args[0]
    both, one = (call(VDiTSimulate, {**SHORT, "mask_of": name, "scene": scene}).args[3] for name in ("", "cup"))
    assert one.sum() < both.sum() and one[0, 24:44, 20:34].mean() > 0.9
    with pytest.raises(SceneError, match="teapot"):
        call(VDiTSimulate, {**SHORT, "mask_of": "teapot", "scene": scene})


def test_the_camera_that_filmed_comes_out_and_its_path_must_have_the_length():
    from vdit.control.camera import CameraPath

    scene = lifted().args[0]
    still = CameraPath(torch.eye(4).repeat(7, 1, 1), torch.tensor(40.0))
    with pytest.raises(ValueError, match="7 poses, the simulation 3 frames"):
        call(VDiTSimulate, {**SHORT, "scene": scene, "camera": still})
    made = call(VDiTSimulate, {**SHORT, "scene": scene}).args[6]
    assert np.allclose(made.c2w[0], scene.view.c2w) and np.allclose(made.fov_deg, scene.view.fov_deg)


def test_a_simulated_scene_is_taken_by_the_nodes_of_scenes():
    clip = call(
        VDiTSimulateScene,
        {
            **{"family": "fall", "seed": 1, "split": "test", "frames": 5, "fps": 8.0, "width": 64, "height": 64},
            **{"start_frames": 1, "camera_move": "still"},
        },
    ).args[-1]
    output = call(VDiTActions, {"scene": clip, "words": "everything is thrown up", "arrows": ""})
    assert output.args[0] and "vdit_picture" in output.ui
    draft = call(VDiTSimulate, {**SHORT, "scene": clip, "actions": output.args[0]}).args[0]
    assert draft.shape == (3, 64, 64, 3)


def test_a_scene_of_a_picture_is_not_scored():
    scene = lifted().args[0]
    given = {"scene": scene, "images": torch.zeros(3, 64, 96, 3), "measure": "physics", "known_frames": 1}
    with pytest.raises(ValueError, match="wire the scene of VDiT Simulate Scene"):
        call(VDiTScoreVideo, given)


def test_words_that_are_not_understood_are_shown():
    output = call(VDiTActions, {"scene": lifted(names="cup, box").args[0], "words": "the cap falls", "arrows": ""})
    assert "nearest known: cup" in output.args[1] and "nearest known: cup" in output.ui["text"][0]
    assert output.ui["vdit_line"] == ("nothing happens but gravity",)
