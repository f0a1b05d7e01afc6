"""Scenes cut out of scikit-image's photographs by hand, for tests and measurements of drawing."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import skimage
from vdit.geometry.camera_numpy import focal_length, look_at
from vdit.world.motion import Motion, Part
from vdit.world.scene import Body, Mesh, Plate, Projected, Scene, View


def photograph(name, width, height):
    image = cv2.imread(str(Path(skimage.__file__).parent / "data" / name))[..., ::-1]
    scale = max(width / image.shape[1], height / image.shape[0])
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def ellipse(width, height, x, y, rx, ry, soft=1.0):
    """Opacity uint8 of an ellipse with an edge `soft` pixels wide."""
    v, u = np.mgrid[:height, :width] + 0.5
    reach = np.hypot((u - x) / rx, (v - y) / ry)
    return (np.clip(0.5 + (1 - reach) * min(rx, ry) / soft, 0, 1) * 255).round().astype(np.uint8)


def cut_out(image, alpha):
    """RGBA with the colours of the opaque part extended beyond it."""
    _, labels = cv2.distanceTransformWithLabels((alpha < 255).astype(np.uint8), cv2.DIST_L2, 5, labelType=1)
    of = np.zeros(labels.max() + 1, np.int64)
    inside = np.flatnonzero(alpha.ravel() == 255)
    of[labels.ravel()[inside]] = inside
    return np.concatenate((image.reshape(-1, 3)[of[labels]], alpha[..., None]), -1)


def relief(alpha, view, distance, thickness, step=4.0):
    """A closed mesh in world axes over alpha > 0, at a distance along the axis; thickness 0: a sheet facing the view.

    Front and back are inflated by the square root of the way to the outline, up to half the thickness in metres.
    """
    height, width = alpha.shape
    grown = cv2.dilate((alpha > 0).astype(np.uint8), np.ones((5, 5), np.uint8))
    inner = cv2.distanceTransform((alpha > 127).astype(np.uint8), cv2.DIST_L2, 5)
    xs, ys = np.arange(0, width + step, step), np.arange(0, height + step, step)
    cells = cv2.resize(grown, (len(xs) - 1, len(ys) - 1), interpolation=cv2.INTER_AREA) if step > 1 else grown
    cells = np.zeros((len(ys) - 1, len(xs) - 1), bool)
    v, u = np.nonzero(grown)
    cells[(v // step).astype(int), (u // step).astype(int)] = True
    gx, gy = np.meshgrid(xs, ys)
    deep = inner[np.clip(gy, 0, height - 1).astype(int), np.clip(gx, 0, width - 1).astype(int)]
    bulge = thickness / 2 * np.sqrt(deep / max(inner.max(), 1e-6))
    focal = float(focal_length(view.fov_deg, height))

    def points(z):
        local = np.stack(((gx - width / 2) / focal * z, (gy - height / 2) / focal * z, z), -1).reshape(-1, 3)
        return local @ view.c2w[:3, :3].T + view.c2w[:3, 3]

    j, i = np.nonzero(cells)
    a, b = j * len(xs) + i, j * len(xs) + i + 1
    c, d = a + len(xs), b + len(xs)
    front = np.concatenate((np.stack((a, c, b), 1), np.stack((b, c, d), 1)))
    if thickness == 0:
        return Mesh(points(np.full(gx.shape, distance)), front)
    count = gx.size
    vertices = np.concatenate((points(distance - bulge), points(distance + bulge)))
    # Where no bulge is left the two sheets share their vertices, so that the mesh is closed.
    back = front[:, ::-1] + count
    edges = np.concatenate([front[:, [0, 1]], front[:, [1, 2]], front[:, [2, 0]]])
    key = set(map(tuple, edges.tolist()))
    rim = np.array([e for e in edges.tolist() if (e[1], e[0]) not in key])
    sides = np.concatenate(
        (
            np.stack((rim[:, 1], rim[:, 0], rim[:, 0] + count), 1),
            np.stack((rim[:, 1], rim[:, 0] + count, rim[:, 1] + count), 1),
        )
    )
    faces = np.concatenate((front, back, sides))
    used, faces = np.unique(faces, return_inverse=True)
    return Mesh(vertices[used], faces.reshape(-1, 3))


def still_view(pitch_deg=25.0, distance=3.0, fov_deg=40.0):
    pitch = np.radians(pitch_deg)
    eye = np.array([0.0, -distance * np.cos(pitch), distance * np.sin(pitch)])
    return View(look_at(eye, np.zeros(3)), fov_deg)


def picture_scene(
    name="coffee.png", width=832, height=480, bodies=((416, 240, 110, 90),), thickness=0.2, distance=3.0, soft=1.5
):
    """A scene of ellipses (x, y, rx, ry in pixels) cut out of a photograph, and the world meshes' centres."""
    image, view = photograph(name, width, height), still_view(distance=distance)
    made, filled, cover = [], np.zeros((height, width), bool), np.zeros((height, width))
    for i, (x, y, rx, ry) in enumerate(bodies):
        alpha = ellipse(width, height, x, y, rx, ry, soft)
        mesh = relief(alpha, view, distance, thickness)
        centre = mesh.vertices.mean(0)
        mesh = Mesh(mesh.vertices - centre, mesh.faces)
        look = Projected(cut_out(image, alpha), view)
        made.append(Body(name=f"body {i}", shapes=(), position=tuple(centre), appearance=look, surface=mesh))
        filled |= cv2.dilate(alpha, np.ones((7, 7), np.uint8)) > 0
        cover = np.maximum(cover, alpha / 255)
    plate = cv2.inpaint(image, filled.astype(np.uint8), 5, cv2.INPAINT_TELEA)
    return Scene(
        bodies=tuple(made), view=view, width=width, height=height, plate=Plate(plate, image, filled), backdrop=None
    )


def translation(x=0.0, y=0.0, z=0.0):
    out = np.eye(4)
    out[:3, 3] = x, y, z
    return out


def turned(axis, radians, about):
    """World transform: a turn about a unit axis through a point."""
    axis = np.asarray(axis) / np.linalg.norm(axis)
    k = np.cross(np.eye(3), axis)
    out = np.eye(4)
    out[:3, :3] = np.eye(3) + np.sin(radians) * k + (1 - np.cos(radians)) * k @ k
    out[:3, 3] = np.asarray(about) - out[:3, :3] @ about
    return out


def moved(scene, steps, fps=16.0):
    """The motion in which body b's pose in frame t is steps[t][b] (a world transform) after its pose at rest."""
    rest = [translation(*b.position) for b in scene.bodies]
    parts = tuple(
        Part(name=b.name, body=b.name, surface=b.surface, appearance=b.appearance, rest=r, movable=not b.fixed)
        for b, r in zip(scene.bodies, rest, strict=True)
    )
    poses = np.array([[m @ r for m, r in zip(step, rest, strict=True)] for step in steps]).reshape(
        len(steps), len(parts), 4, 4
    )
    return Motion(scene=scene, fps=fps, parts=parts, poses=poses, present=np.ones((len(steps), len(parts)), bool))


def shattered(scene, shards, frames, fps=16.0):
    """The scene's first body stands for two frames, then flies apart as boxes that fill its bounds."""
    body = scene.bodies[0]
    low, high = body.surface.vertices.min(0), body.surface.vertices.max(0)
    columns = int(np.ceil(np.sqrt(shards)))
    rows = -(-shards // columns)
    size = (high - low) / (columns, 1, rows)
    whole = moved(scene, [[np.eye(4)]]).parts[0]
    parts, places = [whole], []
    for i in range(shards):
        centre = low + size * (i % columns + 0.5, 0.5, i // columns + 0.5)
        parts.append(
            replace(whole, name=f"shard {i}", surface=box(*(size / 2)), rest=whole.rest @ translation(*centre))
        )
        places.append(centre)
    poses, present = np.zeros((frames, len(parts), 4, 4)), np.zeros((frames, len(parts)), bool)
    for t in range(frames):
        present[t, 0], present[t, 1:] = t < 2, t >= 2
        for p, part in enumerate(parts):
            fly = 0 if p == 0 else max(t - 1, 0) / frames
            away = np.zeros(3) if p == 0 else places[p - 1]
            place = part.rest[:3, 3]
            poses[t, p] = translation(*(1.2 * fly * away)) @ turned((0.3, 1, 0.2 * (p % 5)), 3 * fly, place) @ part.rest
    return Motion(scene=scene, fps=fps, parts=tuple(parts), poses=poses, present=present)


def box(x, y, z):
    """The surface of a box with these half extents, in metres."""
    corners = np.array([(i, j, k) for i in (-x, x) for j in (-y, y) for k in (-z, z)])
    quads = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    return Mesh(corners, np.array([f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))]))


def orbit(scene, frames, degrees, about=(0.0, 0.0, 0.0)):
    """Poses [T, 4, 4] of the scene's camera turned about a vertical axis, from 0 to so many degrees."""
    turns = [turned((0, 0, 1), np.radians(a), about) for a in np.linspace(0, degrees, frames)]
    return np.array([t @ scene.view.c2w for t in turns])
