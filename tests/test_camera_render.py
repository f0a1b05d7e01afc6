"""Camera Render: a picture with depth from elsewhere, against scenes whose every view is known."""

import math

import numpy as np
import pytest
import torch
from vdit.control import ControlError
from vdit.control.camera import CameraPath
from vdit.control.camera_render import RenderSpec, camera_render, fitted_depth
from vdit.control.depth import DepthMaps, depth_from_metres, depth_from_pictures
from vdit.control.moves import move
from vdit.control.render_targets import TARGETS
from vdit.geometry.camera import focal_length, pixel_rays
from vdit.geometry.surfels import seen_from, surfels

WIDTH, HEIGHT, FOV = 208, 120, 45.0
FOCAL = float(focal_length(torch.tensor(FOV, dtype=torch.float64), HEIGHT))
NEAR, FAR = 2.0, 12.0  # metres
CARD = (70, 30, 140, 90)  # pixels of the first view that a card at CARD_DEPTH covers: left, top, right, bottom
CARD_DEPTH = 3.0
WALL, FLOOR = 8.0, 1.5  # metres: a wall that far ahead, a floor that far below
ANY = {"target": "any size", "width": WIDTH, "height": HEIGHT}


def texture(points):
    """Smooth colours [..., 3] of places in the world [..., 3]."""
    x, y, z = points.unbind(-1)
    return (
        torch.stack((torch.sin(1.3 * x + z), torch.cos(1.7 * y + 0.7 * x), torch.sin(0.9 * (x + y) - z)), -1) / 2 + 0.5
    )


def first_hit(eye, rays):
    """Depth along the axis [...] and whether it is the card's, of a card before a wall over a floor."""
    inf = torch.tensor(torch.inf, dtype=torch.float64)
    wall = torch.where(rays[..., 2] > 1e-9, (WALL - eye[2]) / rays[..., 2], inf)
    floor = torch.where(rays[..., 1] > 1e-9, (FLOOR - eye[1]) / rays[..., 1], inf)
    card = torch.where(rays[..., 2] > 1e-9, (CARD_DEPTH - eye[2]) / rays[..., 2], inf)
    at = eye + rays * card[..., None]
    left, top, right, bottom = CARD
    u, v = at[..., 0] / CARD_DEPTH * FOCAL + WIDTH / 2, at[..., 1] / CARD_DEPTH * FOCAL + HEIGHT / 2
    card = torch.where((u >= left) & (u < right) & (v >= top) & (v < bottom), card, inf)
    depth = torch.minimum(torch.minimum(wall, floor), card)
    return depth, depth == card


def room(pose):
    """Colours, depth along the axis and world points that a camera [4, 4] sees."""
    rays = pixel_rays(WIDTH, HEIGHT, torch.tensor(FOCAL)).double() @ pose[:3, :3].T
    depth, card = first_hit(pose[:3, 3], rays)
    points = pose[:3, 3] + rays * depth[..., None]
    # The card has a texture of its own, so that a pixel of the wall in its place would be seen.
    return torch.where(card[..., None], 1 - texture(points), texture(points)).float(), depth, points


def truly_seen(points):
    """Which of these places the first camera sees: in its picture, and nothing nearer in the way."""
    rays = points / points[..., 2:]
    inside = (rays[..., 0].abs() < WIDTH / 2 / FOCAL) & (rays[..., 1].abs() < HEIGHT / 2 / FOCAL) & (points[..., 2] > 0)
    first, _ = first_hit(torch.zeros(3, dtype=torch.float64), rays)
    return inside & ((points[..., 2] / first - 1).abs() < 1e-6)


def psnr(a, b):
    return float(-10 * torch.log10(((a - b) ** 2).mean()))


def moved(x=0.0, y=0.0, z=0.0):
    poses = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    poses[1, :3, 3] = torch.tensor([x, y, z])
    return CameraPath(poses, torch.tensor(FOV))


def still(frames=5):
    return CameraPath(torch.eye(4, dtype=torch.float64).repeat(frames, 1, 1), torch.tensor(FOV))


PATHS = {
    "left": moved(x=-0.6),
    "down and in": moved(y=0.3, z=0.8),
    "back": moved(z=-1.5),
    "up close": moved(z=1.8),
    "orbit": move("orbit", 0.8, frames=3, fov_deg=FOV, distance=5.0),
    "pan": move("pan", -1.0, frames=3, fov_deg=FOV),
    "roll": move("roll", 2.0, frames=3, fov_deg=FOV),
}


@pytest.mark.parametrize("name", PATHS)
def test_colours_and_holes_are_those_of_a_scene_that_is_known(name):
    color, depth, _ = room(torch.eye(4, dtype=torch.float64))
    path = PATHS[name]
    made = camera_render(color[None], depth_from_metres(depth[None].float(), 1.0, 40.0), path, RenderSpec(**ANY))
    assert torch.allclose(made.images[0], color, atol=1e-5) and not made.holes[0].any(), "the first view is the picture"
    truth, _, points = room(path.c2w[-1])
    seen = truly_seen(points)
    wrong = (made.holes[-1] == 0) != seen
    assert int(wrong.sum()) <= 4, "holes where the picture says something, or colours where it does not"
    both = seen & (made.holes[-1] == 0)
    assert psnr(made.images[-1][both], truth[both]) > 50
    assert torch.equal(made.images[-1][made.holes[-1] == 1], torch.full((int(made.holes[-1].sum()), 3), 0.5))


def test_a_card_before_a_wall_leaves_its_outline_behind_to_the_pixel():
    _, depth, _ = room(torch.eye(4, dtype=torch.float64))
    depth = torch.where(depth == CARD_DEPTH, CARD_DEPTH, WALL)
    made = camera_render(
        torch.zeros(1, HEIGHT, WIDTH, 3), depth_from_metres(depth[None], 1.0, 40.0), moved(x=0.5), RenderSpec(**ANY)
    )
    shift = {z: FOCAL * 0.5 / z for z in (CARD_DEPTH, WALL)}
    x = torch.arange(WIDTH) + 0.5
    left, top, right, bottom = CARD
    card = (x >= left - shift[CARD_DEPTH]) & (x < right - shift[CARD_DEPTH])
    behind = (x >= left - shift[WALL]) & (x < right - shift[WALL]) & ~card
    outside = (x >= WIDTH - shift[WALL]) & ~card
    rows = torch.zeros(HEIGHT, 1, dtype=torch.bool)
    rows[top:bottom] = True
    expected = outside | (behind & rows)
    assert torch.equal(made.holes[1] == 1, expected)


def test_nothing_is_stretched_between_two_surfaces():
    """Not even where depth is blurred over its edge, as estimators and video codecs leave it."""
    _, depth, _ = room(torch.eye(4, dtype=torch.float64))
    blurred = torch.nn.functional.avg_pool2d(1 / depth.float()[None], 3, 1, 1, count_include_pad=False)
    surface = surfels(1 / blurred[0], FOCAL, 0.04)
    w2c = torch.linalg.inv(moved(x=-0.6).c2w[1])
    seen = seen_from(surface, w2c, FOCAL)
    card_row = seen.depth[45][seen.visible[45]]
    between = (card_row > CARD_DEPTH * 1.15) & (card_row < WALL * 0.87)
    assert not between.any()


def test_depth_in_coarse_steps_leaves_no_cracks_in_what_is_round():
    """A ball whose depth has 8 bits, as pictures of depth have."""
    rays = pixel_rays(WIDTH, HEIGHT, torch.tensor(FOCAL)).double()
    centre, radius = torch.tensor([0.0, 0.0, 3.0], dtype=torch.float64), 0.8
    along, square = (rays * centre).sum(-1), (rays * rays).sum(-1)
    root = along**2 - square * (centre.dot(centre) - radius**2)
    ball = root > 0
    depth = torch.where(ball, (along - root.clamp_min(0).sqrt()) / square, WALL)
    inverse = ((1 / depth - 1 / WALL) / (1 / 2.0 - 1 / WALL) * 255).round() / 255
    maps = DepthMaps(inverse[None].float(), near=2.0, far=WALL)
    path = move("orbit", 0.8, frames=2, fov_deg=FOV, distance=3.0)
    color = torch.where(ball[..., None], torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0]))
    made = camera_render(color[None], maps, path, RenderSpec(**ANY))
    pose = path.c2w[1]
    rays = rays @ pose[:3, :3].T
    away = centre - pose[:3, 3]
    points = pose[:3, 3] + rays * ((rays @ away) / (rays * rays).sum(-1))[..., None]
    inner = (points - centre).norm(dim=-1) < 0.7 * radius  # well inside its outline
    assert inner.sum() > 500 and not made.holes[1][inner & (points[..., 0] < 0.3)].any()
    assert (made.images[1][inner & (made.holes[1] == 0)][:, 0] == 1).float().mean() > 0.99


def test_the_same_picture_from_both_eyes():
    """Middlebury's motorcycle: the left picture and true disparity predict what the right camera saw."""
    from skimage import data

    left, right, disparity = data.stereo_motorcycle()
    focal, baseline, offset = 994.978, 0.193001, 31.086  # pixels, metres, pixels: the data set's calibration
    known = np.isfinite(disparity) & (disparity > 0)
    metres = np.where(known, baseline * focal / (disparity + offset), 0)
    pictures = torch.from_numpy(metres).float()[None, ..., None].expand(-1, -1, -1, 3)
    depth = depth_from_pictures(pictures, "metres", 1.5, 8.0)
    fov = math.degrees(2 * math.atan(left.shape[0] / 2 / focal))
    spec = RenderSpec(target="any size", width=0, height=0, fov_deg=fov)
    picture = torch.from_numpy(left.copy()).float()[None] / 255
    made = camera_render(picture, depth, moved(x=baseline), spec)
    cut = round(offset)  # the right camera's centre lies so much further to the right
    there = torch.from_numpy(right.copy()).float()[:, cut:] / 255
    here = made.holes[1][:, :-cut] == 0
    assert psnr(made.images[1][:, :-cut][here], there[here]) > 26 > 15 > psnr(picture[0][:, :-cut][here], there[here])
    assert 0.02 < float(made.holes[1].mean()) < 0.2


def test_it_agrees_with_the_scene_drawer():
    from vdit.world.drawing.film import film
    from vdit.world.scene import Body, Colored, Scene, Shape, View
    from vdit.world.simulate import simulate

    view = View(np.array([[1, 0, 0, 0], [0, 0, 1, -4], [0, -1, 0, 0.8], [0, 0, 0, 1.0]]), FOV)
    bodies = (
        Body(name="box", shapes=(Shape(kind="box", size=(0.4, 0.4, 0.4)),), position=(0.3, 0, 0.4)),
        Body(
            name="ball", shapes=(Shape(kind="sphere", size=(0.35,)),), position=(-0.6, -0.6, 0.35),
            appearance=Colored((0.8, 0.2, 0.1)),
        ),
    )  # fmt: skip
    scene = Scene(bodies=bodies, view=view, width=WIDTH, height=HEIGHT)
    motion = simulate(scene, (), seconds=0.3, fps=10)
    frames = len(motion.poses)
    path = move("truck", 0.4, frames=frames, fov_deg=FOV)
    first = film(motion, width=WIDTH, height=HEIGHT)
    truth = film(motion, width=WIDTH, height=HEIGHT, c2w=view.c2w @ path.c2w.numpy(), fov_deg=np.full(frames, FOV))
    depth = depth_from_metres(first.depth[:1].clamp_max(60), 1.0, 60.0)
    made = camera_render(first.rgb[:1], depth, path, RenderSpec(**ANY))
    seen = (made.holes[-1] == 0) & (truth.depth[-1] < 30)
    off = (made.images[-1] - truth.rgb[-1]).abs().amax(-1)
    assert seen.float().mean() > 0.35
    assert float((off[seen] > 0.06).float().mean()) < 0.03 and psnr(made.images[-1][seen], truth.rgb[-1][seen]) > 28


def test_a_video_is_rendered_frame_by_frame():
    video = torch.rand(5, HEIGHT, WIDTH, 3)
    depth = DepthMaps(
        torch.rand(5, HEIGHT // 8, WIDTH // 8).repeat_interleave(8, 1).repeat_interleave(8, 2), near=2, far=4
    )
    made = camera_render(video, depth, still(), RenderSpec(**ANY))
    assert torch.allclose(made.images, video, atol=1e-5) and not made.holes.any()


def test_holes_are_filled_widened_and_handed_over_as_a_model_wants_them():
    color, depth, _ = room(torch.eye(4, dtype=torch.float64))
    maps = depth_from_metres(depth[None].float(), 1.0, 40.0)
    path = PATHS["left"]

    def render(**more):
        return camera_render(color[None], maps, path, RenderSpec(**ANY | more))

    exact = render()
    holes = exact.holes[-1] == 1
    for fill, value in (("black", 0.0), ("white", 1.0), ("mid-grey", 0.5)):
        assert (render(fill=fill).images[-1][holes] == value).all()
    around = render(fill="colours around").images[-1]
    assert torch.equal(around[~holes], exact.images[-1][~holes]) and not (around[holes] == 0.5).all(-1).any()
    wide = render(grow=2).holes[-1] == 1
    assert (wide | ~holes).all() and wide.sum() > holes.sum()
    assert torch.equal(exact.mask("LTX"), 1 - exact.holes) and torch.equal(exact.mask("VACE"), exact.holes)


def test_a_size_that_is_left_open_is_the_pictures_in_whole_cells():
    color, depth, _ = room(torch.eye(4, dtype=torch.float64))
    maps = depth_from_metres(depth[None].float(), 1.0, 40.0)
    for target, size in (("VACE", (112, 208)), ("LTX", (96, 192)), ("any size", (120, 208))):
        path = still(TARGETS[target].step + TARGETS[target].rest)
        made = camera_render(color[None], maps, path, RenderSpec(target=target, width=0, height=0))
        assert tuple(made.images.shape[1:3]) == size


def test_zoom_is_the_paths_and_the_field_of_view_the_pictures():
    color, depth, _ = room(torch.eye(4, dtype=torch.float64))
    maps = depth_from_metres(depth[None].float(), 1.0, 40.0)
    zoomed = CameraPath(torch.eye(4, dtype=torch.float64).repeat(2, 1, 1), torch.tensor([60.0, 30.0]))
    made = camera_render(color[None], maps, zoomed, RenderSpec(**ANY, fov_deg=FOV))
    factor = math.tan(math.radians(30)) / math.tan(math.radians(15))
    u = int(WIDTH / 2 + 40 / factor)
    assert (made.images[1, HEIGHT // 2, WIDTH // 2 + 40] - color[HEIGHT // 2, u]).abs().max() < 0.1
    assert not made.holes.any()


def test_depth_of_another_resolution_keeps_its_edges():
    inverse = torch.zeros(20, 40)
    inverse[5:15, 10:30] = 1
    fitted = fitted_depth(inverse, 400, 200, 208, 104)
    assert ((fitted < 1e-6) | (fitted > 1 - 1e-6)).all()
    ramp = torch.linspace(0, 1, 40).expand(20, 40)
    smooth = fitted_depth(ramp * 0.3, 400, 200, 400, 200)
    assert (smooth.diff(dim=1) >= 0).all() and smooth.diff(dim=1).max() < 0.002


FLAT = DepthMaps(torch.full((1, HEIGHT, WIDTH), 0.5), near=1, far=9)


@pytest.mark.parametrize(
    "pictures, depth, path, spec, words",
    [
        (3, FLAT, still(3), {}, "3 pictures and depth of 1; give one map for every picture"),
        (1, FLAT, still(4), {"frames": 5}, "pose for each of 4 frames, and frames is 5"),
        (1, FLAT, still(5), {"target": "VACE", "width": 200}, "width is 200 pixels; VACE takes multiples of 16"),
        (1, FLAT, still(6), {"target": "VACE", "height": 112}, r"6 frames do not suit VACE.*choose 5 or 9"),
        (1, FLAT, still(81), {"target": "MiniMax H3", "width": 192, "height": 96}, r"takes 17k \+ 5; choose 73 or 90"),
        (1, FLAT, still(), {"near": 3.0, "far": 2.0}, "near is 3 and far 2 m; expected 0 < near < far"),
        (1, FLAT, still(), {"fov_deg": 0.5}, "fov_deg is 0.5; expected 1 to 170"),
        (1, DepthMaps(torch.full((1, 100, 100), 0.5)), still(), {}, "depth is 100x100 pixels and the video 208x120"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_numbers(pictures, depth, path, spec, words):
    with pytest.raises(ControlError, match=words):
        camera_render(torch.rand(pictures, HEIGHT, WIDTH, 3), depth, path, RenderSpec(**ANY | spec))


def test_relative_depth_says_what_it_was_taken_for():
    made = camera_render(
        torch.rand(1, HEIGHT, WIDTH, 3), DepthMaps(torch.rand(1, HEIGHT, WIDTH)), still(1), RenderSpec(**ANY)
    )
    assert "its nearest was taken as 2 m, its farthest as 20 m" in made.remarks[0]


def test_a_run_ends_where_it_is_cancelled():
    class Cancelled(Exception):
        pass

    done, asked = [], []

    def check():
        asked.append(len(done))
        if len(done) == 1:
            raise Cancelled

    with pytest.raises(Cancelled):
        camera_render(
            torch.rand(1, HEIGHT, WIDTH, 3), FLAT, still(), RenderSpec(**ANY), lambda t, image: done.append(t), check
        )
    assert done == [0] and asked[-2:] == [0, 1], "within a frame too"


# --- the node


WIDGETS = {
    "made_for": "VACE", "width": 0, "height": 0, "frames": 5, "near": 2.0, "far": 20.0, "fov_deg": 0.0,
    "holes": "as the model wants", "grow": 0, "edge": 0.04,
}  # fmt: skip


@pytest.fixture
def temp(tmp_path, monkeypatch):
    from vdit.host import folders

    monkeypatch.setattr(folders, "current", folders.Folders(tmp_path))


def node(**inputs):
    from vdit.host.api import call
    from vdit.nodes.camera_render import VDiTCameraRender

    return call(VDiTCameraRender, WIDGETS | inputs)


def test_the_node_renders_a_picture_with_depth(temp):
    color, depth, _ = room(torch.eye(4, dtype=torch.float64))
    inputs = {"camera": move("truck", -0.6, fov_deg=FOV), "depth": depth_from_metres(depth[None].float(), 1.0, 40.0)}
    made = node(images=color[None], **inputs)
    render, mask, path, remarks = made.result
    assert tuple(render.shape) == (5, 112, 208, 3) and mask.shape == render.shape[:3] and path.frames == 5
    assert remarks == "" and mask[0].sum() == 0 < mask[-1].sum() and made.ui_dict()["vdit_draft"]
    assert (render[mask == 1] == 0.5).all()
    ltx = node(images=color[None], made_for="LTX", frames=9, **inputs).result
    assert tuple(ltx[0].shape) == (9, 96, 192, 3) and (ltx[1][0] == 1).all() and not (ltx[1][-1] == 1).all()


def test_the_node_renders_a_scene_from_its_own_view(temp):
    from vdit.world.scene import Body, Scene, Shape, View

    view = View(np.array([[1, 0, 0, 0], [0, 0, 1, -4], [0, -1, 0, 0.8], [0, 0, 0, 1.0]]), FOV)
    box = Body(name="box", shapes=(Shape(kind="box", size=(0.4, 0.4, 0.4)),), position=(0.3, 0, 0.4))
    scene = Scene(bodies=(box,), view=view, width=WIDTH, height=HEIGHT)
    render, mask, _, remarks = node(scene=scene, camera=move("truck", 0.5)).result
    assert tuple(render.shape) == (5, 112, 208, 3) and remarks == ""
    assert mask[0].sum() == 0 and 0.01 < float(mask[-1].mean()) < 0.5


@pytest.mark.parametrize(
    "given, words",
    [
        ((), "nothing is connected"),
        (("images",), "images without depth; connect depth"),
        (("depth",), "depth without images; connect images"),
        (("images", "depth", "scene"), "a scene has colours and depth of its own"),
    ],
)
def test_sources_that_say_nothing_or_too_much_are_refused(given, words):
    with pytest.raises(ControlError, match=words):
        node(camera=still(), **dict.fromkeys(given, FLAT))
