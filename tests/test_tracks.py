"""Point tracks: the value, its texts, the latents that they rewrite, and what refuses them."""

import json
import math
import os
import subprocess
from pathlib import Path

import pytest
import torch
from comfy_core import COMFYUI, MISSING, PACK, python_of
from test_wan_sampling import FRAMES, SIZE, encode, picture, world
from vdit.control.span import ControlError
from vdit.control.track_files import from_text, to_json, to_points_text
from vdit.control.track_latents import ati, wanmove
from vdit.control.tracks import MAX_POINTS, PointTracks, fitted, from_core, to_core
from vdit.pipeline.external_sampler import ExternalShot
from vdit.pipeline.wan_inputs import WanInputs

from runs import latent_of, long_video, run_of

W, H, T = 64, 48, 9  # latents of 8 x 6 cells and 3 frames


def tracks(*paths, size=(W, H), visible=None, fps=None):
    """Tracks of one list of (x, y) each; of two places, on a straight line between them."""
    rows = [torch.tensor(path, dtype=torch.float32) for path in paths]
    share = torch.linspace(0, 1, T)[:, None]
    rows = [row[0] + (row[1] - row[0]) * share if len(row) == 2 else row for row in rows]
    at = torch.stack(rows, 1)
    return PointTracks(at, torch.ones(at.shape[:2], dtype=torch.bool) if visible is None else visible, size, fps)


def latent(seed=0, channels=3):
    return torch.randn(channels, 3, H // 8, W // 8, generator=torch.Generator().manual_seed(seed))


# The value


def test_a_track_is_resampled_along_straight_lines_and_its_own_frames_stay_to_the_bit():
    one = PointTracks(torch.rand(41, 3, 2) * 40, torch.ones(41, 3), (W, H), 8.0)
    twice = one.resampled(81)
    assert torch.equal(twice.at[::2], one.at) and torch.equal(twice.resampled(41).at, one.at)
    torch.testing.assert_close(twice.at[1::2], (one.at[1:] + one.at[:-1]) / 2)
    assert twice.fps == 16.0 and one.resampled(41) is one


def test_between_a_seen_and_a_hidden_frame_a_point_is_hidden():
    seen = torch.tensor([1, 1, 0, 0, 1], dtype=torch.bool)[:, None]
    at = torch.where(seen[..., None], torch.arange(5.0)[:, None, None], math.nan).expand(5, 1, 2)
    twice = PointTracks(at, seen).resampled(9)
    assert twice.visible[:, 0].tolist() == [True, True, True, False, False, False, False, False, True]
    assert torch.isfinite(twice.at).all()


def test_another_size_of_one_shape_scales_places():
    large = tracks([(8, 8), (56, 40)]).resized(2 * W, 2 * H)
    assert large.size == (128, 96) and large.at[0, 0].tolist() == [16, 16]
    with pytest.raises(ControlError, match="tracks is 64x48 pixels and the video 64x64: another shape"):
        tracks([(8, 8), (56, 40)]).resized(64, 64)
    assert tracks([(8, 8), (9, 9)], size=None).resized(64, 64).at[0, 0].tolist() == [8, 8], "pixels of the video"


def test_joined_tracks_have_the_first_ones_length_and_size():
    small = tracks([(1, 1), (2, 2)], [(3, 3), (4, 4)])
    large = PointTracks(torch.full((5, 1, 2), 64.0), torch.ones(5, 1), (2 * W, 2 * H))
    both = small.then(large)
    assert both.count == 3 and both.frames == T and both.at[:, 2].unique().tolist() == [32.0]


BAD_VALUES = {
    "a list of places": (torch.zeros(4, 2), torch.ones(4), r"\[4, 2\]; expected \[frames, points, 2\]"),
    "three numbers a place": (torch.zeros(4, 1, 3), torch.ones(4, 1), r"\[4, 1, 3\]; expected"),
    "visibility of others": (torch.zeros(4, 2, 2), torch.ones(4, 3), r"visibility \[4, 3\]; expected \[4, 2\]"),
    "one frame": (torch.zeros(1, 2, 2), torch.ones(1, 2), "1 frame"),
    "too many": (torch.zeros(2, MAX_POINTS + 1, 2), torch.ones(2, MAX_POINTS + 1), "4,097 tracks; .* 4,096"),
    "NaN": (torch.full((4, 2, 2), math.nan), torch.ones(4, 2), "track 0, frame 0: .*nan"),
    "infinity": (torch.full((4, 2, 2), math.inf), torch.ones(4, 2), "mark the point as not seen"),
}


@pytest.mark.parametrize("at, visible, says", BAD_VALUES.values(), ids=BAD_VALUES)
def test_what_is_no_tracks_is_refused_with_the_numbers(at, visible, says):
    with pytest.raises(ControlError, match=says):
        PointTracks(at, visible)


def test_tracks_go_out_as_the_core_s_and_come_back():
    given = tracks([(1, 2), (3, 4)], fps=16.0)
    value = to_core(given)
    assert value["track_path"].dtype == torch.float32 and value["track_visibility"].dtype == torch.bool
    back = from_core(value)
    assert torch.equal(back.at, given.at) and (back.size, back.fps) == ((W, H), 16.0)
    plain = from_core({"track_path": given.at, "track_visibility": torch.ones(T, 1)})
    assert plain.visible.shape == (T, 1) and plain.size is None
    assert from_core({"track_path": given.at}).visible.all(), "the core's visibility is optional"


@pytest.mark.parametrize(
    "value, says",
    [
        ("[]", "tracks is str without a tensor"),
        ({"samples": torch.zeros(1)}, "expected TRACKS: draw strokes on VDiT Motion Brush"),
        ({"track_path": torch.zeros(9, 0, 2)}, "holds no points; draw strokes on VDiT Motion Brush"),
    ],
)
def test_what_is_not_the_core_s_tracks_is_refused(value, says):
    with pytest.raises(ControlError, match=says):
        from_core(value)


# Texts

LINE = [{"x": 1, "y": 2}, {"x": 3.5, "y": 4}, {"x": 6, "y": 6}]
OTHER = [{"x": 9, "y": 9}] * 3
ONE_TRACK = {"a track": LINE, "a list of one": [LINE], "a batch": [[LINE]], "pairs": [[[1, 2], [3.5, 4], [6, 6]]]}


@pytest.mark.parametrize("data", ONE_TRACK.values(), ids=ONE_TRACK)
def test_one_track_is_read_however_it_is_nested(data):
    read = from_text(json.dumps(data), "a text")
    assert read.at[:, 0].tolist() == [[1, 2], [3.5, 4], [6, 6]] and read.count == 1 and read.size is None


TWO_TRACKS = {
    "a list": json.dumps([LINE, OTHER]),
    "single quotes": str([LINE, OTHER]),
    "one a line": f"{json.dumps(LINE)}\n{json.dumps(OTHER)}\n",
    "lists a line": f"{json.dumps([LINE])}\n\n{json.dumps([OTHER])}",
    "texts": json.dumps([json.dumps(LINE), str(OTHER)]),
    "over several lines": json.dumps([LINE, OTHER], indent=2),
}


@pytest.mark.parametrize("text", TWO_TRACKS.values(), ids=TWO_TRACKS)
def test_several_tracks_are_read_in_every_form_that_people_have(text):
    read = from_text(text, "a text")
    assert read.count == 2 and read.at[:, 1].unique().tolist() == [9] and read.visible.all()


def test_a_shorter_track_ends_and_a_single_point_stands_still():
    read = from_text(json.dumps([LINE, OTHER[:2], OTHER[:1]]), "a text")
    assert read.visible.tolist() == [[True] * 3, [True] * 3, [True, False, True]]
    assert read.at[:, 2].unique().tolist() == [9]


def test_tracks_survive_their_texts():
    seen = torch.rand(T, 2, generator=torch.Generator().manual_seed(0)) > 0.4
    given = tracks([(1.25, 2), (30, 40)], [(60, 9), (5, 5.5)], visible=seen, fps=24.0)
    own = from_text(to_json(given), "a text")
    assert torch.equal(own.visible, seen) and (own.size, own.fps) == ((W, H), 24.0)
    assert torch.equal(own.at[seen], given.at[seen])
    listed = from_text(to_points_text(given), "a text")
    assert (listed.at - given.at).abs().max() <= 6e-4 and listed.visible.all()


BAD_TEXTS = {
    "": "a text is empty: draw strokes on VDiT Motion Brush",
    "[]": "holds no points",
    "[[]]": r"track 1: found \[\]",
    '{"version": 1, "tracks": []}': "holds no points",
    "[{": "is no JSON .line 1, column 3",
    "12": "a text is 12; give",
    '[{"x": 1}]': 'track 1, point 1 is {"x": 1}; expected {"x": number, "y": number} in pixels',
    '[{"x": 1, "y": "2"}]': "track 1, point 1",
    '[{"x": true, "y": 2}]': "track 1, point 1",
    '[[{"x": 1, "y": 2}], 7]': "track 2: found 7",
    '[{"x": NaN, "y": 2}]': "NaN, which is no number of JSON",
    '[{"x": 1e999, "y": 2}]': "larger than any number",
    '{"version": 2, "tracks": [[[1, 2]]]}': "field 'version': found 2; this VDiT reads 1",
    '{"version": 1, "width": -5, "tracks": [[[1, 2]]]}': "field 'width': found -5; expected pixels from 1",
    '{"version": 1, "tracks": [[[1, 2], "?"]]}': 'track 1, point 2 is "\\?"',
    json.dumps([[LINE], [OTHER]]): "holds 2 batches of tracks; one video has one",
    json.dumps([[None, None]]): "",  # a track that is never seen: read, and refused by what would follow it
}


@pytest.mark.parametrize("text, says", BAD_TEXTS.items(), ids=[text[:30] for text in BAD_TEXTS])
def test_a_text_that_holds_no_tracks_is_refused_by_its_place(text, says):
    if says:
        with pytest.raises(ControlError, match=says):
            from_text(text, "a text")
    else:
        assert not from_text(text, "a text").visible.any()


def test_a_text_of_too_many_tracks_or_values_is_refused():
    with pytest.raises(ControlError, match="holds 4,097 tracks; expected at most 4,096"):
        from_text(json.dumps([LINE[:1]] * (MAX_POINTS + 1)), "a text")
    with pytest.raises(ControlError, match="holds more than 500,000 values"):
        from_text(json.dumps([LINE * 5000] * 20), "a text")
    with pytest.raises(ControlError, match="10,001 points; expected at most 10,000"):
        from_text(json.dumps([[1, 2]] * 10_001).join(("[", "]")), "a text")


# Latents


def test_wan_move_copies_the_cell_of_the_first_frame_to_where_the_point_is():
    before = latent()
    made = wanmove(before, tracks([(4, 4), (60, 44)]))  # cells (0, 0), then (4, 3), (7, 5)
    expected = before.clone()
    for t, x, y in ((1, 4, 3), (2, 7, 5)):
        expected[:, t, y, x] = before[:, t, y, x] + (before[:, 0, 0, 0] - before[:, t, y, x])
    assert torch.equal(made, expected) and torch.equal(before, latent()), "what was given is not changed"


def test_wan_move_at_half_strength_mixes_and_at_0_does_nothing():
    before, path = latent(), tracks([(4, 4), (60, 44)])
    half = wanmove(before, path, 0.5)
    torch.testing.assert_close(half[:, 2, 5, 7], (before[:, 0, 0, 0] + before[:, 2, 5, 7]) / 2)
    assert torch.equal(wanmove(before, path, 0.0), before)


def test_of_two_tracks_of_wan_move_in_one_cell_the_later_wins():
    before = latent()
    made = wanmove(before, tracks([(4, 4), (60, 44)], [(20, 4), (60, 44)]))
    torch.testing.assert_close(made[:, 2, 5, 7], before[:, 0, 0, 2])


def test_wan_move_leaves_out_what_is_hidden_and_what_lies_outside():
    seen = torch.ones(T, 3, dtype=torch.bool)
    seen[4, 0] = seen[0, 1] = False
    before = latent()
    made = wanmove(before, tracks([(4, 4)] * 2, [(20, 4)] * 2, [(36, 4), (200, 4)], visible=seen))
    changed = (made != before).any(0).nonzero().tolist()
    assert changed == [[2, 0, 0]], "hidden in frame 4; never begun; out of the picture from frame 2 on"


def test_ati_gives_a_cell_the_features_of_the_point_that_lies_in_its_middle():
    """By the formula: weight exp(-220 d^2) of one track, the rest of the cell stays."""
    before = latent()
    x, y = 28.0, 20.0  # the middle of cell (3, 2)
    mask, made = ati(before, tracks([(x, y)] * 2))
    columns, rows = torch.linspace(-W / H, W / H, 8), torch.linspace(-1, 1, 6)
    centre = torch.tensor([(x - W / 2) / H * 2, (y - H / 2) / H * 2])
    distance = (columns[None] - centre[0]) ** 2 + (rows[:, None] - centre[1]) ** 2
    weight = torch.exp(-220 * distance)
    torch.testing.assert_close(mask[1], weight, atol=1e-5, rtol=1e-4)
    assert (mask[0] == 1).all() and torch.equal(made[:, 0], before[:, 0])
    expected = weight * before[:, 0, 2, 3, None, None] + (1 - weight) * before[:, 2]
    torch.testing.assert_close(made[:, 2], expected, atol=1e-4, rtol=1e-4)


def test_ati_ignores_a_point_while_it_is_hidden():
    seen = torch.ones(T, 1, dtype=torch.bool)
    seen[1:5] = False
    mask, made = ati(latent(), tracks([(28, 20)] * 2, visible=seen))
    assert (mask[1] == 0).all() and torch.equal(made[:, 1], latent()[:, 1]) and mask[2].amax() > 0.1


def test_both_are_the_same_in_pieces_of_the_points_order():
    """ATI takes the two nearest of all, in whatever order they are given."""
    paths = [[(4 + 7 * i, 5 + 4 * i), (60 - 7 * i, 40)] for i in range(8)]
    for one, other in zip(ati(latent(), tracks(*paths)), ati(latent(), tracks(*reversed(paths))), strict=True):
        torch.testing.assert_close(one, other)


CLAIMS = (
    "Wan-Move's latents are those of the core's node, with tracks that meet",
    "Wan-Move's latents are those of the core's node, whatever its lots",
    "tracks go to the core's nodes and come from them",
    "ATI's mask and latents are those of the core's patch_motion",
    "ATI's mask and latents are those of the core's node, from one text",
)


@pytest.fixture(scope="module")
def inside(tmp_path_factory):
    """What tests/comfy_tracks.py finds in a process of ComfyUI's, by claim: "" where it holds."""
    if not COMFYUI:
        pytest.skip(MISSING)
    if not (Path(COMFYUI) / "comfy_extras/nodes_wanmove.py").exists():
        pytest.skip("this ComfyUI is older than its track nodes")
    packs = tmp_path_factory.mktemp("packs")
    (packs / "vdit").symlink_to(PACK, target_is_directory=True)
    command = [python_of(Path(COMFYUI)), str(Path(__file__).parent / "comfy_tracks.py"), COMFYUI, str(packs)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=COMFYUI, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("claim", CLAIMS)
def test_latents_are_the_core_s_own_to_the_bit(inside, claim):
    assert inside[claim] == ""


def test_every_claim_made_inside_is_tested(inside):
    assert set(inside) == set(CLAIMS)


# With models

MOVE = [(8, 8), (40, 40)]


def follow(name="i2v-a14b", method="ati", given=None, **more):
    """A Wan model and its shot with tracks."""
    model = world(name)
    given = tracks(MOVE, size=(SIZE["width"], SIZE["height"])) if given is None else given
    return model, encode(model, start=picture(1), tracks=given, track_method=method, **more)


@pytest.mark.parametrize("method", ["ati", "wanmove"])
def test_an_i2v_model_makes_another_video_along_tracks(method):
    model, shot = follow(method=method)
    plain = encode(model, start=picture(1))
    options = dict(seed=1, frames=FRAMES, **SIZE, steps=2)
    one, other = latent_of(model, shot, **options), latent_of(model, plain, **options)
    assert one.shape == other.shape and not torch.equal(one, other)
    assert torch.equal(one, latent_of(model, shot, **options))


def beside(model, shot, frames=FRAMES):
    """What the transformer reads beside the noise: 4 channels of mask, then the latents."""
    return WanInputs(run_of(model, shot, frames, **SIZE)).at(0.0, "cpu")["beside"][0]


def test_what_an_i2v_model_reads_is_the_latent_of_its_picture_rewritten():
    model, shot = follow(method="wanmove")
    plain = beside(model, encode(model, start=picture(1)))
    fit = fitted(shot.tracks, FRAMES, **SIZE)
    made = beside(model, shot)
    raw = model.codec.denormalize(plain[None, 4:])[0]
    torch.testing.assert_close(made[4:], model.codec.normalize(wanmove(raw, fit)[None])[0], atol=1e-5, rtol=1e-5)
    assert torch.equal(made[:4], plain[:4]), "Wan-Move knows the first frame alone"

    model, shot = follow(method="ati")
    mask, features = ati(plain[4:], fit)
    made = beside(model, shot)
    assert torch.equal(made[4:], features) and torch.equal(made[:4], mask.expand(4, -1, -1, -1))


def test_tracks_of_another_length_are_stretched_over_the_video():
    slow = tracks(MOVE, size=(SIZE["width"], SIZE["height"]))
    model, shot = follow(given=slow.resampled(2 * T - 1))
    assert torch.equal(beside(model, shot), beside(*follow(given=slow)))


def test_a_native_sampler_reads_tracks_too():
    model, shot = follow()
    held = ExternalShot(run_of(model, shot, FRAMES, **SIZE)).inputs
    assert torch.equal(held.at(0.0, "cpu")["beside"][0], beside(model, shot))


READS_NO_TRACKS = ("t2v-1.3b", "ti2v-5b", "vace-1.3b", "fun-control-1.3b", "fun-camera-1.3b")


@pytest.mark.parametrize("name", READS_NO_TRACKS)
def test_a_model_that_reads_no_tracks_says_which_does_and_what_every_model_follows(name):
    model = world(name)
    with pytest.raises(
        ControlError, match="does not read `tracks`: load an I2V model .*VDiT Motion Brush through VDiT"
    ):
        encode(model, tracks=tracks(MOVE), **({} if name == "t2v-1.3b" else {"start": picture(1)}))


def outside():
    return tracks([(-90, -90), (-80, -80)], [(W + 9, 0), (W + 90, 9)])


def hidden_at_first():
    seen = torch.ones(T, 1, dtype=torch.bool)
    seen[0] = False
    return tracks(MOVE, visible=seen)


REFUSED_AT_ENCODING = {
    "outside everywhere": (
        dict(given=outside()),
        "all points lie outside the video .64x48. in every frame, at x -90 to",
    ),
    "hidden in the first frame": (dict(given=hidden_at_first()), "no point is seen within the first frame"),
    "hidden everywhere": (
        dict(given=tracks(MOVE, visible=torch.zeros(T, 1, dtype=torch.bool))),
        "no point is ever seen",
    ),
    "an end picture": (dict(end=picture(1)), "wire `tracks` or `end_image`, not both"),
    "a method that is none": (dict(method="magic"), "track_method is 'magic'; expected one of ati, wanmove"),
}


@pytest.mark.parametrize("given, says", REFUSED_AT_ENCODING.values(), ids=REFUSED_AT_ENCODING)
def test_tracks_that_no_clip_could_follow_are_refused_when_a_shot_is_encoded(given, says):
    with pytest.raises(ControlError, match=says):
        follow(**given)


def test_tracks_from_several_start_pictures_are_refused():
    model = world("i2v-a14b")
    with pytest.raises(ControlError, match="start_image has 5 pictures, and tracks carry what one shows"):
        encode(model, start=picture(5), tracks=tracks(MOVE))


def test_tracks_that_do_not_fit_the_clip_are_refused_before_sampling():
    model, shot = follow(given=tracks(MOVE, size=(96, 32)))
    with pytest.raises(ControlError, match="tracks is 96x32 pixels and the video 64x64"):
        latent_of(model, shot, seed=1, frames=FRAMES, **SIZE, steps=2)
    model, shot = follow(given=tracks([(500, 500), (600, 600)], size=None))
    with pytest.raises(ControlError, match="outside the video .64x64.*at x 500 to 600.*set width and height on VDiT"):
        latent_of(model, shot, seed=1, frames=FRAMES, **SIZE, steps=2)


def test_a_video_of_windows_refuses_tracks():
    model, shot = follow()
    with pytest.raises(ValueError, match="tracks carry what the first frame shows"):
        long_video(model, shot, window=9, seed=1, frames=17, **SIZE, steps=1)
