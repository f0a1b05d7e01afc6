"""Depth as a control: what it means, how it is read, and what is refused."""

import math

import numpy as np
import pytest
import torch
from vdit.control import ControlError
from vdit.control.depth import DepthMaps, depth_from_metres, depth_from_pictures, read_depth
from vdit.world.families.clip import make_clip


def test_depth_of_a_clip_spans_its_nearest_and_farthest_point():
    clip = make_clip(0, "look", width=64, height=64, frames=9)
    ours = depth_from_metres(clip.render.depth)
    assert ours.inverse.min() == 0 and ours.inverse.max() == 1
    assert ours.inverse.flatten()[clip.render.depth.argmin()] == 1
    assert torch.allclose(
        ours.metres().clamp(ours.near, ours.far), clip.render.depth.clamp(ours.near, ours.far), rtol=1e-3
    )


def test_nearer_is_brighter_whatever_the_pictures_say():
    metres = torch.linspace(2, 10, 64).expand(1, 48, 64)
    grey = lambda x: x[..., None].expand(-1, -1, -1, 3)  # noqa: E731
    inverse = 1 / metres
    maps = [
        depth_from_metres(metres),
        depth_from_pictures(metres[..., None], "metres"),
        depth_from_pictures(grey((inverse - inverse.min()) / (inverse.max() - inverse.min()))),
        depth_from_pictures(grey((metres - 2) / 8), "darker is nearer", near=2.0, far=10.0),
    ]
    for each in maps:
        assert each.inverse[0, 0, 0] > 0.98 and each.inverse[0, 0, -1] < 0.02
        assert (each.inverse - maps[0].inverse).abs().max() < 0.03


def test_given_near_and_far_clip_depth_outside_them():
    maps = depth_from_metres(torch.tensor([[[1.0, 2.0, 4.0, math.inf]] * 4]), near=2.0, far=4.0)
    assert maps.inverse[0, 0].tolist() == [1.0, 1.0, 0.0, 0.0] and (maps.near, maps.far) == (2.0, 4.0)


def test_depth_pictures_are_fitted_like_start_pictures():
    wide = torch.zeros(2, 64, 192, 3)
    wide[:, :, 64:128] = torch.linspace(0, 1, 64)[:, None]
    maps = depth_from_pictures(wide, width=64, height=64)
    assert maps.inverse.shape == (2, 64, 64) and torch.allclose(maps.inverse[:, 0], maps.inverse[:, -1], atol=0.02)


def test_the_preview_shows_the_depth_given_to_the_model():
    maps = DepthMaps(torch.rand(2, 16, 24))
    seen = maps.preview()
    assert seen.shape == (2, 16, 24, 3)
    assert torch.allclose(seen[0, :4, :4, 0], maps.inverse[0, :4, :4].mean().expand(4, 4))


@pytest.mark.parametrize(
    "metres, said",
    [
        (torch.full((2, 8, 8), 2.5), "depth is constant .2.5 m everywhere"),
        (torch.linspace(-1, 4, 64).reshape(1, 8, 8), "frame 0: the smallest value is -1 m; expected more than 0"),
        (torch.zeros(1, 8, 8), "smallest value is 0 m"),
        (torch.full((1, 8, 8), math.nan), "frame 0: 64 values are NaN"),
        (torch.rand(8, 8), r"the maps are \[8, 8\]; expected \[frames, height, width\]"),
        (torch.rand(1, 2, 2) + 1, "depth is 2x2 pixels; expected at least 4x4"),
    ],
)
def test_metres_without_information_are_refused_with_the_numbers(metres, said):
    with pytest.raises(ControlError, match=said):
        depth_from_metres(metres)


@pytest.mark.parametrize(
    "pictures, changes, said",
    [
        (torch.full((1, 8, 8, 3), 0.5), {}, "depth is constant .0.5 everywhere"),
        (
            torch.rand(1, 8, 8, 1).expand(-1, -1, -1, 3) * 2,
            {},
            "values .* to .*; expected 0 to 1, or set reading to metres",
        ),
        (torch.rand(1, 8, 8, 1).expand(-1, -1, -1, 3) - 0.5, {}, "values -0"),
        (torch.rand(1, 8, 8, 3), {}, "the pictures are coloured"),
        (torch.full((1, 8, 8, 3), math.nan), {}, "NaN"),
        (torch.rand(8, 8, 3), {}, r"the pictures are \[8, 8, 3\]; expected an IMAGE"),
        (torch.rand(1, 8, 8, 1), dict(reading="darker is nearer"), "need near and far"),
        (torch.rand(1, 8, 8, 1), dict(reading="darker is nearer", near=3.0, far=2.0), "near is 3.0 and far 2.0"),
        (torch.rand(1, 8, 8, 1), dict(reading="upside down"), "reading is 'upside down'"),
    ],
)
def test_depth_pictures_without_information_are_refused(pictures, changes, said):
    with pytest.raises(ControlError, match=said):
        depth_from_pictures(pictures, **changes)


def test_inverse_depth_out_of_range_or_of_another_shape_is_refused():
    with pytest.raises(ControlError, match="inverse depth runs from 0 to 2"):
        DepthMaps(torch.linspace(0, 2, 64).reshape(1, 8, 8))
    with pytest.raises(ControlError, match="depth is 24x16 pixels and the video 64x64: another shape"):
        DepthMaps(torch.rand(1, 16, 24)).resized(64, 64)
    with pytest.raises(ControlError, match="how many metres it stands for is not known; set near and far"):
        DepthMaps(torch.rand(1, 16, 24)).metres()


def test_arrays_are_read_from_npy_and_npz_and_nothing_else(tmp_path):
    depth = np.random.default_rng(0).random((3, 8, 8), dtype=np.float32) + 1
    np.save(tmp_path / "d.npy", depth)
    np.savez_compressed(tmp_path / "d.npz", rgb=depth, depth=depth.astype(np.float16))
    assert torch.equal(read_depth(tmp_path / "d.npy"), torch.from_numpy(depth))
    assert read_depth(tmp_path / "d.npz").shape == (3, 8, 8)
    np.save(tmp_path / "pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "other.npz", rgb=depth)
    np.save(tmp_path / "text.npy", np.array(["a"]))
    (tmp_path / "junk.npy").write_bytes(b"junk")
    for name, said in (("pickle.npy", "without pickled"), ("other.npz", "holds rgb; expected an array named depth"),
                       ("text.npy", "expected numbers"), ("junk.npy", "cannot be read")):  # fmt: skip
        with pytest.raises(ControlError, match=said):
            read_depth(tmp_path / name)
