"""Where a body is and how far it reaches in the world at time 0."""

from __future__ import annotations

import numpy as np

from .arrays import Floats
from .meshes import body_center, pose_matrix, shape_mesh, transformed
from .scene import Body


def surface_points(body: Body) -> Floats:
    """Corners [N, 3] of the body's shapes in the world; round ones as their meshes have them."""
    local = np.concatenate([shape_mesh(shape).vertices for shape in body.shapes])
    return transformed(local, pose_matrix(body.position, body.rotation))


def farthest(body: Body, directions: Floats) -> Floats:
    """Points [N, 3] of the body that lie farthest along directions [N, 3]."""
    points = surface_points(body)
    return points[np.einsum("nk,mk->nm", directions, points).argmax(1)]


def center_of_mass(body: Body) -> Floats:
    """Centre of mass [3] in the world; shapes of a compound weigh by their volumes."""
    return transformed(body_center(body)[None], pose_matrix(body.position, body.rotation))[0]


def size(body: Body) -> float:
    """One length in metres: the mean of its extents along the world's axes."""
    return float(np.ptp(surface_points(body), axis=0).mean())
