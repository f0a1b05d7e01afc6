"""Cameras and the geometry of pictures: pure functions on tensors and arrays that import nothing else of ours.

Conventions of the whole room: poses are camera-to-world matrices `c2w` [..., 4, 4] in metres, in OpenCV camera axes
(x right, y down, z forward). The principal point is the centre of the picture, pixel centres are at +0.5, fields of
view are vertical and in degrees, depth is in metres along the optical axis, flow is in pixels per frame (x, y).
"""
