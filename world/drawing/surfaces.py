"""The parts of a motion, prepared for drawing: their meshes in one list of faces, normals, pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..meshes import corners
from ..scene import Projected, SceneError, Textured
from .camera import Camera, inverse
from .pictures import Cutout, Picture, cutout, pyramid

if TYPE_CHECKING:
    from ..arrays import Bools, Floats, Ints
    from ..motion import Part
    from ..scene import Mesh

CLOSED = 1e-9  # of the length of all edges: what is left of their integrals by rounding
CREASE_DEG = 40.0  # faces that meet at a sharper angle are shaded as separate faces


@dataclass(frozen=True, eq=False)
class Surface:
    """One part: the slices of faces and vertices that are its own.

    corner_normals [F, 3, 3]: of lit parts, in the part's axes. cutout: of a Projected part; texture: of a Textured one,
    with density [F], its pixels per metre of each face.
    """

    part: Part
    faces: slice
    vertices: slice
    low: Floats  # [3] bounds in the part's axes
    high: Floats
    corner_normals: Floats | None
    cutout: Cutout | None
    texture: tuple[Picture, ...]
    density: Floats

    @property
    def size(self) -> float:
        """Diagonal of the bounds, metres."""
        return float(np.linalg.norm(self.high - self.low))


@dataclass(frozen=True, eq=False)
class Surfaces:
    """All drawn parts of a motion.

    vertices [N, 3] and normals [F, 3] in each part's axes; offsets [F]: normal dot a point of the face; faces [F, 3]
    number vertices of this list; part [F]; two_sided [F]: of meshes that are not closed, so both sides are seen.
    first_faces [P + 1]: each part's, and the end. to_picture [P, 3, 4]: part's axes to homogeneous pixels of the
    picture projected on it; from_picture [F]: how far the picture's camera stands in front of each face, metres.
    """

    parts: tuple[Surface, ...]
    vertices: Floats
    faces: Ints
    normals: Floats
    offsets: Floats
    part: Ints
    two_sided: Bools
    first_faces: Ints
    to_picture: Floats
    from_picture: Floats

    @cached_property
    def to_weights(self) -> Floats:
        """[F, 2, 4]: times a point of a face and a one, the weights of its second and third corner."""
        a, b, c = corners(self.vertices, self.faces)
        e1, e2 = b - a, c - a
        d11, d12, d22 = ((p * q).sum(1, keepdims=True) for p, q in ((e1, e1), (e1, e2), (e2, e2)))
        rows = np.stack((d22 * e1 - d12 * e2, d11 * e2 - d12 * e1), 1)
        rows /= np.maximum(d11 * d22 - d12 * d12, 1e-30)[:, None]
        return np.concatenate((rows, -(rows @ a[:, :, None])), 2)


def surfaces(of: tuple[Part, ...], camera: Camera, before: Surfaces | None = None) -> Surfaces:
    """Prepare the parts of a motion to be seen at about the resolution of `camera`. before: those that come first among
    them, prepared already. Raises SceneError on a broken mesh.
    """
    parts: list[Surface] = []
    vertices: list[Floats] = []
    faces: list[Ints] = []
    normals: list[Floats] = []
    two_sided: list[Bools] = []
    cutouts: dict[int, Cutout] = {}
    textures: dict[int, tuple[Picture, ...]] = {}
    first_vertex = first_face = 0
    for surface in before.parts if before is not None else ():
        assert before is not None
        parts.append(surface)
        vertices.append(before.vertices[surface.vertices])
        faces.append(before.faces[surface.faces])
        normals.append(before.normals[surface.faces])
        two_sided.append(before.two_sided[surface.faces])
        if surface.cutout is not None:
            cutouts[id(surface.part.appearance)] = surface.cutout
        if surface.texture:
            textures[id(surface.part.appearance)] = surface.texture
        first_vertex, first_face = surface.vertices.stop, surface.faces.stop
    for part in of[len(parts) :]:
        mesh = part.surface
        _check(part)
        at = np.asarray(mesh.vertices, np.float64)
        normal = face_normals(mesh)
        look = part.appearance
        picture = None
        if isinstance(look, Projected):
            if id(look) not in cutouts:  # shards share their body's picture
                cutouts[id(look)] = cutout(look, camera)
            picture = cutouts[id(look)]
        lit = look is not None and (picture is None or picture.lit > 0)
        corners = corner_normals(mesh, normal) if lit else None
        face_end, vertex_end = first_face + len(mesh.faces), first_vertex + len(at)
        own = slice(first_face, face_end), slice(first_vertex, vertex_end)
        texture, density = (), np.zeros(0)
        if isinstance(look, Textured):
            if id(look) not in textures:
                textures[id(look)] = pyramid(Picture(look.image, (1.0, 1.0)))
            texture, density = textures[id(look)], _density(mesh, look)
        parts.append(Surface(part, *own, at.min(0), at.max(0), corners, picture, texture, density))
        vertices.append(at)
        faces.append(np.asarray(mesh.faces, np.int64) + first_vertex)
        normals.append(normal)
        two_sided.append(np.full(len(mesh.faces), not is_closed(mesh)))
        first_vertex, first_face = vertex_end, face_end
    all_vertices = np.concatenate([np.zeros((0, 3)), *vertices])
    all_faces = np.concatenate([np.zeros((0, 3), np.int64), *faces])
    all_normals = np.concatenate([np.zeros((0, 3)), *normals])
    offsets = (all_normals * all_vertices[all_faces[:, 0]]).sum(1)
    to_picture, from_picture = np.zeros((len(parts), 3, 4)), np.ones(len(all_faces))
    for p, surface in enumerate(parts):
        if surface.cutout is not None:
            rest = np.asarray(surface.part.rest, np.float64)
            to_picture[p] = surface.cutout.to_picture @ rest
            eye = inverse(rest)[:3] @ np.append(surface.cutout.eye, 1.0)
            from_picture[surface.faces] = all_normals[surface.faces] @ eye - offsets[surface.faces]
    counts = [len(f) for f in faces]
    return Surfaces(
        tuple(parts),
        all_vertices,
        all_faces,
        all_normals,
        offsets,
        np.repeat(np.arange(len(parts)), counts),
        np.concatenate([np.zeros(0, bool), *two_sided]),
        np.cumsum([0, *counts]),
        to_picture,
        from_picture,
    )


def _density(mesh: Mesh, look: Textured) -> Floats:
    """Pixels of the texture per metre of each face [F], where they are densest: the mapping's larger singular value."""
    assert mesh.uv is not None
    a, b, c = (np.asarray(mesh.vertices, np.float64)[mesh.faces[:, i]] for i in range(3))
    texel = np.asarray(mesh.uv, np.float64) * look.image.shape[1::-1]
    d, e, f = (texel[mesh.faces[:, i]] for i in range(3))
    one, two = b - a, c - a
    length = np.maximum(np.linalg.norm(one, axis=1), 1e-12)
    along = (one * two).sum(1) / length
    across = np.maximum(np.sqrt(np.maximum((two * two).sum(1) - along**2, 0)), 1e-12)
    x = (e - d) / length[:, None]  # change of texel over a metre along the first edge, and square to it
    y = ((f - d) - x * along[:, None]) / across[:, None]
    total, skew = (x * x + y * y).sum(1), x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]
    return np.sqrt((total + np.sqrt(np.maximum(total**2 - 4 * skew**2, 0))) / 2)


def face_normals(mesh: Mesh) -> Floats:
    """Unit normals [F, 3] of a mesh, outwards; zero for faces without area."""
    a, b, c = (np.asarray(mesh.vertices, np.float64)[mesh.faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)


def is_closed(mesh: Mesh) -> bool:
    """Whether the mesh has no rim: each edge is run through in opposite directions by two faces.

    Vertices at one place count as one: a texture's seam does not open a mesh. Nor do corners that lie on an edge of
    another face, as cuts leave them: the edges cancel if the line integrals of three plane waves along all of them do.
    """
    at, same = np.unique(np.round(mesh.vertices, 9), axis=0, return_inverse=True)
    f = same.reshape(-1)[mesh.faces].astype(np.int64)
    f = f[(f[:, 0] != f[:, 1]) & (f[:, 1] != f[:, 2]) & (f[:, 2] != f[:, 0])]
    start, end = f.ravel(), f[:, [1, 2, 0]].ravel()
    count = int(f.max(initial=0)) + 1
    if np.array_equal(np.sort(start * count + end), np.sort(end * count + start)):
        return True
    size = float(np.ptp(at, axis=0).max())
    waves, fields = np.random.default_rng(0).normal(size=(2, 3, 3))  # any will do, the same for each run
    phase = (at / size) @ np.transpose(waves)  # [N, 3]
    way, middle = at[end] - at[start], (phase[end] + phase[start]) / 2
    along = way @ np.transpose(fields) * np.sinc((phase[end] - phase[start]) / (2 * np.pi))
    total = np.abs((along * np.exp(1j * middle)).sum(0)).max()
    return bool(total < CLOSED * np.linalg.norm(way, axis=1).sum())


def corner_normals(mesh: Mesh, normals: Floats) -> Floats:
    """Normals [F, 3, 3] at each face's corners: the mean of the faces around that meet it without a crease."""
    _, same = np.unique(np.round(mesh.vertices, 9), axis=0, return_inverse=True)
    corner = same.reshape(-1)[mesh.faces].ravel()  # [3F] vertex of each corner
    face = np.repeat(np.arange(len(mesh.faces)), 3)
    order = np.argsort(corner, kind="stable")
    starts: Ints = np.searchsorted(corner[order], np.arange(int(corner.max(initial=0)) + 2))
    valence = np.diff(starts)
    # Each corner meets all corners at its vertex: pairs are enumerated, sums are taken by corner.
    count = valence[corner]
    pair = np.repeat(np.arange(len(corner)), count)
    other = order[np.arange(len(pair)) + (starts[corner] - np.cumsum(count) + count)[pair]]
    near = normals[face[other]]
    smooth = (near * normals[face[pair]]).sum(1) > np.cos(np.radians(CREASE_DEG))
    out = np.stack([np.bincount(pair, near[:, i] * smooth, len(corner)) for i in range(3)], 1)
    return (out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-30)).reshape(-1, 3, 3)


def moved_pixels(surface: Surface, camera: Camera, pose: Floats, seen_from: Camera, at: Floats) -> float:
    """Greatest way in pixels of the part's bounds between one camera and pose and another; 0: nothing moved at all."""
    if camera.same(seen_from) and np.array_equal(pose, at):
        return 0.0
    corners = np.stack(np.meshgrid(*zip(surface.low, surface.high, strict=True), indexing="ij"), -1).reshape(-1, 3)
    ends: list[Floats] = []
    for view, posed in ((camera, pose), (seen_from, at)):
        matrix = view.to_pixels @ (view.w2c @ posed)[:3]
        local = corners @ np.transpose(matrix[:, :3]) + matrix[:, 3]
        ends.append(local[:, :2] / np.maximum(local[:, 2:], 1e-3))
    return float(np.linalg.norm(ends[0] - ends[1], axis=1).max())


def _check(part: Part) -> None:
    mesh = part.surface
    if mesh.vertices.ndim != 2 or mesh.vertices.shape[1:] != (3,) or len(mesh.vertices) == 0:
        raise SceneError(f"the surface of {part.name!r} has vertices {list(mesh.vertices.shape)}; expected [N, 3]")
    if not np.isfinite(mesh.vertices).all():
        raise SceneError(f"the surface of {part.name!r} has vertices that are not finite")
    if mesh.faces.ndim != 2 or mesh.faces.shape[1:] != (3,):
        raise SceneError(f"the surface of {part.name!r} has faces {list(mesh.faces.shape)}; expected [F, 3]")
    if len(mesh.faces) and not 0 <= int(mesh.faces.min()) <= int(mesh.faces.max()) < len(mesh.vertices):
        raise SceneError(
            f"the surface of {part.name!r} has faces that name vertices {mesh.faces.min()} to {mesh.faces.max()}; "
            f"it has {len(mesh.vertices)}"
        )
    if isinstance(part.appearance, Textured) and mesh.uv is None:
        raise SceneError(f"{part.name!r} has a texture, but its surface has no uv: give each vertex one, or a colour")
