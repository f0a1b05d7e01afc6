"""Controls as the model receives them: strength, span, both halves of guidance, refusals; and their nodes."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from fakes import clip_under_a_moving_camera, decimals, hide_package, model_calls, random_world_model
from vdit.control import ControlError
from vdit.control.brush import flow_from_strokes, read_strokes
from vdit.control.camera import CameraPath
from vdit.control.depth import DepthMaps, depth_from_metres
from vdit.control.flow import FlowField
from vdit.control.moves import move
from vdit.geometry.moves import EASINGS, PRESETS
from vdit.host import folders
from vdit.nodes.brush import VDiTMotionBrush
from vdit.nodes.camera import VDiTCameraPath
from vdit.nodes.depth import VDiTDepthControl
from vdit.nodes.encode import VDiTEncodeConditioning
from vdit.nodes.flow import VDiTFlowControl, VDiTFlowFromVideo
from vdit.nodes.sample import VDiTSample
from vdit.pipeline import ClipSpec, Run, unused
from vdit.pipeline.external_sampler import ExternalShot
from vdit.sampling import noise_from_seed, schedule

from runs import encoded, latent_of


@pytest.fixture(scope="module")
def model():
    return random_world_model(0, controls=True)


@pytest.fixture(scope="module")
def plain():
    return random_world_model(0)


@pytest.fixture(scope="module")
def clip():
    return clip_under_a_moving_camera()


def defaults(node, **changes):
    """The widget values that a fresh node has."""
    values = {i.id: i.default for i in node.GET_SCHEMA().inputs if getattr(i, "default", None) is not None}
    combos = {i.id: i.options[0] for i in node.GET_SCHEMA().inputs if hasattr(i, "options") and i.id not in values}
    return {**combos, **values, **changes}


def strokes(*each):
    return json.dumps({"version": 1, "strokes": list(each)})


LINE = decimals(torch.eye(4)[:3].flatten())


# On to the model

ASK = dict(seed=1, frames=9, width=64, height=64, steps=4, guidance=2.0)


def controls():
    field = flow_from_strokes(read_strokes(strokes({"points": [[0.2, 0.5], [0.8, 0.5]], "radius": 0.2})), 9, 64, 64)
    depth = depth_from_metres(torch.linspace(2, 9, 64).expand(9, 64, 64))
    return {"camera": move("orbit"), "depth": depth, "flow": field}


def with_(control, **changes):
    from dataclasses import replace

    return replace(control, **changes)


def video(model, **given):
    return latent_of(model, encoded(model, "a red ball falls", **given), **ASK)


@pytest.mark.parametrize("rise", [0.0, 0.5])
@pytest.mark.parametrize("pictures", [0, 1, 5])
def test_another_samplers_euler_steps_lead_where_ours_do(model, monkeypatch, rise, pictures):
    monkeypatch.setitem(model.defaults, "rise", rise)
    start = torch.rand(pictures, 64, 64, 3) if pictures else None
    told = encoded(model, "a red ball falls", start=start, camera=move("orbit"))
    ours = latent_of(model, told, **(ASK | dict(guidance=1.0, solver="euler")))
    shot, sigmas = ExternalShot(Run(model, told, ClipSpec(9, 64, 64))), schedule(4)
    x = noise_from_seed(1, shot.shape)
    with torch.no_grad():
        for s, t in pairwise(sigmas):
            sigma = torch.full((1, shot.shape[2]), s)
            x = x + (t - s) * shot.velocity(model.transformer, x, sigma, told.positive, sigmas)
    torch.testing.assert_close(model.space.denormalize(x), ours, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shift", [1.0, 12.0])
def test_without_a_rise_another_sampler_gets_the_transformers_own_velocity(model, shift):
    shot, sigmas = (
        ExternalShot(Run(model, encoded(model, "a red ball falls"), ClipSpec(9, 64, 64))),
        schedule(50, shift),
    )
    x = torch.randn(shot.shape)
    for s in sigmas[:-1]:
        sigma = torch.full((1, 3), s)
        assert torch.equal(shot.velocity(lambda x, *_: x, x, sigma, shot.conditioning.positive, sigmas), x)


def test_a_run_that_begins_amid_the_schedule_has_one_noise_level(model, monkeypatch):
    monkeypatch.setitem(model.defaults, "rise", 0.5)
    told = encoded(model, "a red ball falls", start=torch.rand(1, 64, 64, 3))
    shot, seen = ExternalShot(Run(model, told, ClipSpec(9, 64, 64))), []

    def transformer(x, sigma, context):
        seen.append(sigma)
        return x

    x = torch.randn(shot.shape)
    v = shot.velocity(transformer, x, torch.full((1, 3), 0.6), told.positive, [0.6, 0.3, 0.0])
    assert torch.equal(seen[0], torch.tensor([[0.0, 0.6, 0.6]])) and torch.equal(v[:, :, 1:], x[:, :, 1:])


@pytest.mark.parametrize("names", [("camera",), ("depth",), ("flow",), ("camera", "depth", "flow")], ids="+".join)
def test_each_control_and_all_together_change_the_video(model, names):
    given = {name: controls()[name] for name in names}
    free, told = video(model), video(model, **given)
    assert not torch.allclose(free, told, atol=1e-3)
    assert torch.equal(told, video(model, **given)), "and the same way every time"


def test_controls_are_given_to_both_halves_of_guidance(model, monkeypatch):
    calls = model_calls(monkeypatch)
    video(model, **controls())
    for (x, *_), named in calls:
        assert len(x) == 2 and named.keys() - {"text_cache"} == {"camera", "camera_scale", "vace"}
        assert named["camera"].shape == (2, 24, 3, 8, 8) and named["vace"].shape == (2, 257, 3, 4, 4)
        assert torch.equal(named["vace"][0], named["vace"][1])


def test_signals_are_those_of_training(model, monkeypatch):
    from vdit.control.signals import plucker, pool, vace_context

    calls, given = model_calls(monkeypatch), controls()
    given["flow"] = FlowField(torch.randn(8, 64, 64, 2), strength=0.5)
    video(model, **given)
    path = given["camera"].resampled(9)
    assert torch.equal(calls[0][1]["camera"][0], plucker(path.c2w, path.fov_deg, 64, 64, 2))
    flow = pool(given["flow"].flow.permute(0, 3, 1, 2))[None]
    expected = vace_context(
        pool(given["depth"].inverse[:, None])[None], torch.ones(1), flow, torch.full((1, 8, 1, 16, 16), 0.5)
    )
    assert torch.allclose(calls[0][1]["vace"][:1], expected, atol=1e-5)


def test_a_control_applies_from_its_start_to_its_end(model, monkeypatch):
    calls, given = model_calls(monkeypatch), controls()
    video(model, camera=with_(given["camera"], start=0.25, strength=0.5), flow=with_(given["flow"], end=0.5))
    camera = {"camera", "camera_scale"}
    assert [named.keys() - {"text_cache"} for _, named in calls] == [{"vace"}, {"vace"} | camera, camera, camera]
    assert calls[1][1]["camera_scale"] == 0.5


def test_strength_0_equals_no_control(model, plain):
    given = {name: with_(control, strength=0.0) for name, control in controls().items()}
    assert torch.equal(video(model), video(model, **given))
    assert len(unused(encoded(plain, "a ball", **given).controls, 4)) == 3


def test_a_span_in_which_no_step_begins_is_remarked(model):
    given = controls()["depth"]
    conditioning = encoded(model, "a ball", depth=with_(given, start=0.9))
    assert (
        "in which none of 4 steps begins" in unused(conditioning.controls, 4)[0]
        and unused(conditioning.controls, 20) == []
    )


def test_controls_are_zero_at_an_end_picture(model, monkeypatch):
    calls = model_calls(monkeypatch)
    video(model, end=torch.rand(1, 64, 64, 3), **controls())
    camera, vace = calls[0][1]["camera"], calls[0][1]["vace"]
    assert camera.shape[2] == vace.shape[2] == 4
    assert (camera[:, :, 3] == 0).all() and (vace[:, :, 3] == 0).all() and (camera[:, :, 2] != 0).any()


def test_controls_of_the_same_shape_and_another_size_are_resized(model):
    given = controls()
    flow = FlowField(torch.randn(8, 128, 128, 2))
    video(model, depth=DepthMaps(torch.rand(9, 32, 32)), flow=flow, camera=given["camera"])


@pytest.mark.parametrize(
    "name, said",
    [
        ("camera", "this checkpoint has no camera adapter: load one that has, or remove the input `camera`"),
        ("depth", "this checkpoint has no control branch for depth: .*remove the input `depth`"),
        ("flow", "no control branch for optical flow: set how to “warped noise”.*remove the input `flow`"),
    ],
)
def test_a_model_without_the_branch_refuses_by_name(model, plain, name, said):
    given = {name: controls()[name]}
    with pytest.raises(ControlError, match=said):
        encoded(plain, "a ball", **given)
    conditioning = encoded(model, "a ball", **given)
    with pytest.raises(ControlError, match=said):
        latent_of(plain, conditioning, **ASK)


def test_warped_noise_needs_no_branch(plain):
    flow = with_(controls()["flow"], how="warped noise")
    free, told = video(plain), video(plain, flow=flow)
    assert not torch.equal(free, told)
    with pytest.raises(ControlError, match="no control branch for optical flow"):
        video(plain, flow=with_(flow, how="both"))


def test_flow_acts_as_signal_and_as_warped_noise_together(model, monkeypatch):
    calls = model_calls(monkeypatch)
    both = video(model, flow=with_(controls()["flow"], how="both"))
    assert all("vace" in named for _, named in calls)
    assert not torch.equal(both, video(model, flow=controls()["flow"]))


def test_controls_that_disagree_in_length_are_refused_with_the_numbers(model):
    given = controls()
    with pytest.raises(ControlError, match="disagree in length: depth is for 9 frames, flow is for 5 frames"):
        encoded(model, "a ball", depth=given["depth"], flow=FlowField(torch.zeros(4, 64, 64, 2)))
    with pytest.raises(ControlError, match="camera is for 5 frames, depth is for 9"):
        encoded(model, "a ball", camera=CameraPath(move("pan", frames=5).c2w, 40), depth=given["depth"])
    with pytest.raises(ControlError, match="disagree in shape: depth is 64x64 pixels, flow 64x32"):
        encoded(model, "a ball", depth=given["depth"], flow=FlowField(torch.zeros(8, 32, 64, 2)))


@pytest.mark.parametrize(
    "given, said",
    [
        (
            dict(camera=CameraPath(move("pan", frames=5).c2w, 40)),
            "the camera path is for 5 frames, fewer than the video's 9: .*make a video of 5 frames",
        ),
        (dict(depth=DepthMaps(torch.rand(8, 64, 64))), "the depth is for 8 frames, fewer than the video's 9"),
        (
            dict(flow=FlowField(torch.zeros(16, 64, 64, 2))),
            "the flow is for 17 frames, more than the video's 9: give 8 steps, or make a video of 17 frames",
        ),
        (dict(flow=FlowField(torch.zeros(9, 64, 64, 2))), "the flow is for 10 frames, more than .*cut it to 9 frames"),
        (dict(flow=FlowField(torch.zeros(8, 32, 64, 2))), "flow is 64x32 pixels and the video 64x64"),
        (dict(depth=DepthMaps(torch.rand(9, 32, 64))), "depth is 64x32 pixels and the video 64x64"),
    ],
)
def test_controls_that_do_not_fit_the_video_are_refused_before_the_first_step(model, monkeypatch, given, said):
    calls, conditioning = model_calls(monkeypatch), encoded(model, "a ball", **given)
    with pytest.raises(ControlError, match=said):
        latent_of(model, conditioning, **ASK)
    assert calls == []


# Nodes


def test_the_node_offers_every_move_and_easing():
    inputs = {i.id: i for i in VDiTCameraPath.GET_SCHEMA().inputs}
    assert set(inputs["preset"].options) == set(PRESETS) and set(inputs["easing"].options) == set(EASINGS)


def test_without_matplotlib_a_camera_path_still_works_and_says_so(monkeypatch):
    hide_package(monkeypatch, "matplotlib")
    output = VDiTCameraPath.execute(**defaults(VDiTCameraPath))
    assert output[0].frames == 41 and output[1].ndim == 4 and "matplotlib" in output.ui["text"][0]


def test_an_empty_brush_is_free_everywhere_and_the_node_says_so():
    output = VDiTMotionBrush.execute(**defaults(VDiTMotionBrush, frames=5))
    assert (output[0].valid == 0).all() and "nothing is painted" in output.ui["text"][0]


def test_a_preset_stretches_to_any_video_and_a_file_does_not(model, tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "current", folders.current.moved(input=tmp_path))
    path, drawn, text = VDiTCameraPath.execute(**defaults(VDiTCameraPath, preset="dolly", frames=41)).result
    assert path.stretch and drawn.shape[0] == 1
    video(model, camera=path)
    (tmp_path / "mine.txt").write_text("\n".join(decimals(torch.linalg.inv(p)[:3].flatten()) for p in path.c2w))
    (tmp_path / "mine.json").write_text(text)
    towards_camera = {"file": "mine.txt", "direction": "world to camera"}
    for given in (towards_camera, {"file": "mine.json"}):
        read = VDiTCameraPath.execute(**defaults(VDiTCameraPath, **given, strength=0.5))[0]
        assert torch.allclose(read.c2w, path.c2w, atol=1e-6) and read.strength == 0.5
    read = VDiTCameraPath.execute(**defaults(VDiTCameraPath, **towards_camera))[0]
    with pytest.raises(ControlError, match="41 frames, more than the video's 9"):
        video(model, camera=read)


def test_a_drawn_path_overrules_the_preset_and_a_second_node_goes_on_from_the_first():
    keys = json.dumps({"version": 1, "keys": [{"t": 0}, {"t": 1, "position": [0, 0, 3]}]})
    first = VDiTCameraPath.execute(**defaults(VDiTCameraPath, path=keys, frames=5))[0]
    both = VDiTCameraPath.execute(
        **defaults(VDiTCameraPath, preset="truck", frames=5, look_down_deg=0.0, camera=first)
    )[0]
    assert both.frames == 9 and both.c2w[-1, :3, 3].tolist() == pytest.approx([1, 0, 3])


@pytest.mark.parametrize(
    "changes, error, said",
    [
        (dict(file="../secret.txt"), ValueError, "leads outside"),
        (dict(file="gone.txt"), FileNotFoundError, "gone.txt: no such file"),
        (dict(file="picture.png"), ControlError, "this is no text file"),
        (dict(file="gone.txt", path='{"version": 1, "keys": [{"t": 0}]}'), ControlError, "both path and file"),
        (dict(path="{"), ControlError, "path: the text is no JSON"),
    ],
)
def test_a_camera_node_names_what_it_cannot_use(tmp_path, monkeypatch, changes, error, said):
    monkeypatch.setattr(folders, "current", folders.current.moved(input=tmp_path))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(error, match=said):
        VDiTCameraPath.execute(**defaults(VDiTCameraPath, **changes))


def test_a_changed_file_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "current", folders.current.moved(input=tmp_path))
    assert VDiTCameraPath.fingerprint_inputs(file="a.txt") == "missing"
    (tmp_path / "a.txt").write_text(LINE)
    once = VDiTCameraPath.fingerprint_inputs(file="a.txt")
    (tmp_path / "a.txt").write_text(LINE + "\n" + LINE)
    assert VDiTCameraPath.fingerprint_inputs(file="a.txt") != once and not VDiTDepthControl.fingerprint_inputs(file="")


def test_depth_comes_from_pictures_or_from_a_file_never_from_both(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "current", folders.current.moved(input=tmp_path))
    np.save(tmp_path / "d.npy", np.random.default_rng(0).random((3, 64, 64)) + 1)
    maps, seen = VDiTDepthControl.execute(**defaults(VDiTDepthControl, file="d.npy", width=64, height=64)).result
    assert maps.frames == 3 and seen.shape == (3, 64, 64, 3) and maps.near is not None
    pictures = torch.rand(3, 64, 64, 1).expand(-1, -1, -1, 3)
    assert VDiTDepthControl.execute(**defaults(VDiTDepthControl, images=pictures))[0].inverse.shape == (3, 128, 128)
    for given in (dict(), dict(images=pictures, file="d.npy")):
        with pytest.raises(ControlError, match="connect images, or name a file"):
            VDiTDepthControl.execute(**defaults(VDiTDepthControl, **given))


def test_flow_control_combines_camera_and_brush_and_sets_how_flow_acts(clip):
    brush = controls()["flow"]
    node = lambda **given: VDiTFlowControl.execute(**defaults(VDiTFlowControl, **given))  # noqa: E731
    field, colors = node(flow=brush, camera=move("pan"), how="both", strength=0.5, start=0.1, end=0.9).result
    assert (field.how, field.strength, field.start, field.end) == ("both", 0.5, 0.1, 0.9) and field.frames == 9
    assert colors.shape == (8, 64, 64, 3) and (field.valid == 1).all()
    alone = node(camera=move("pan", frames=9), width=96, height=64)[0]
    assert alone.flow.shape == (8, 64, 96, 2)
    deep = node(camera=move("truck"), depth=depth_from_metres(clip.render.depth))[0]
    assert deep.frames == 9, "a preset stretches to the depth's length"
    again = node(colors=colors, full_pixels=float(field.flow.norm(dim=-1).max()))[0]
    assert (again.flow - field.flow).norm(dim=-1).mean() < 0.1


@pytest.mark.parametrize(
    "given, said",
    [
        (dict(), "nothing is connected"),
        (dict(camera=move("pan"), colors=torch.ones(40, 64, 64, 3)), "camera and colors are both connected"),
        (dict(flow=FlowField(torch.zeros(8, 64, 64, 2)), depth=DepthMaps(torch.rand(9, 64, 64))), "depth is connected"),
        (dict(camera=move("pan"), depth=DepthMaps(torch.rand(9, 64, 64))), "set near and far on VDiT Depth Control"),
        (
            dict(flow=FlowField(torch.zeros(8, 64, 64, 2)), camera=CameraPath(move("pan", frames=5).c2w, 40)),
            "disagree in length: 4 and 8 steps",
        ),
    ],
)
def test_flow_control_refuses_inputs_that_do_not_combine(given, said):
    with pytest.raises(ControlError, match=said):
        VDiTFlowControl.execute(**defaults(VDiTFlowControl, **given))


def test_the_brush_node_shows_its_motion_over_the_picture_and_hands_the_picture_to_its_drawing(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "current", folders.current.moved(temp=tmp_path))
    given = dict(strokes=strokes({"points": [[0.2, 0.5], [0.8, 0.5]]}), frames=9, start_image=torch.zeros(1, 48, 96, 3))
    output = VDiTMotionBrush.execute(**defaults(VDiTMotionBrush, **given))
    assert output[0].flow.shape == (8, 128, 128, 2) and output[1].shape == (8, 128, 128, 3)
    assert output[1][0, 0].max() == 0 and output[1][0, 64].max() > 0.3
    (shown,) = output.ui["vdit_picture"]
    assert (tmp_path / shown["subfolder"] / shown["filename"]).is_file()


def test_flow_from_video_reports_each_frame_and_fits_the_video(model):
    field, colors = VDiTFlowFromVideo.execute(
        **defaults(VDiTFlowFromVideo, images=torch.rand(9, 48, 80, 3), width=64, height=64, quality="ultrafast")
    ).result
    assert field.flow.shape == (8, 64, 64, 2) and colors.shape == (8, 64, 64, 3)
    video(model, flow=field)


def test_controls_go_from_node_to_node_to_a_video(model):
    conditioning = VDiTEncodeConditioning.execute(model, "a red ball falls", "", 1.0, **controls())[0]
    settings = dict(seed=1, steps=2, guidance=2.0, shift=1.0, solver="heun", seconds=1.0, fps=8.0, width=64, height=64)
    output = VDiTSample.execute(model, conditioning, **settings)
    assert output[0]["samples"].shape == (1, 8, 3, 4, 4)
    late = with_(controls()["camera"], start=0.9)
    conditioning = VDiTEncodeConditioning.execute(model, "a red ball falls", "", 1.0, camera=late)[0]
    assert "none of 2 steps" in VDiTSample.execute(model, conditioning, **settings).ui["text"][0]


def test_a_workflow_saved_before_controls_came_still_means_the_same():
    """Widgets are stored by position: controls of Encode Conditioning are sockets, and later widgets come last."""
    inputs = VDiTEncodeConditioning.GET_SCHEMA().inputs
    widgets = ["prompt", "negative_prompt", "strength", "draft_strength", "track_method"]
    assert [i.id for i in inputs if hasattr(i, "default")] == widgets and inputs[-1].id == widgets[-1]
