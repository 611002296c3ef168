"""What the face mesh says: five landmarks, anchors for the aligned chip, and the head's pose.

Vertex numbers are MediaPipe's, the same in its 468- and 478-point meshes. Meshes here are float32 (n, vertices, 3) in
pixels of the picture, z growing away from the camera in the same unit.
"""

import numpy as np

from streamer.face import Floats

# Corners and lids of the eyes (their mean is the eye's centre), nose tip, corners of the lips: left to right as seen.
_EYES = np.array([[33, 160, 158, 133, 153, 144], [263, 387, 385, 362, 380, 373]])
_NOSE_AND_LIPS = [4, 61, 291]
# Corners of both eyes and the base of the nose: dlib's five points, which its age and gender networks are aligned by.
_ANCHORS = [33, 133, 362, 263, 2]

# Vertices that expressions hardly move, and where they lie on an average face: derived from this mesh's own output on
# near-frontal faces (Procrustes, median, made symmetric); outer corners of the eyes 100 apart.
_RIGID = [33, 263, 133, 362, 168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 10, 151, 9, 109, 338, 67, 297, 127, 356, 234, 454]
_RIGID_TEMPLATE = np.array(
    [[-50.0, -3.9, 8.5], [50.0, -3.9, 8.5], [-19.4, -1.4, 2.7], [19.4, -1.4, 2.7], [0.0, -6.3, -16.9],
     [0.0, 2.8, -21.4], [0.0, 11.0, -26.7], [0.0, 18.5, -32.4], [0.0, 26.4, -38.3], [0.0, 36.1, -40.4],
     [0.0, 42.9, -37.7], [0.0, 48.7, -19.5], [-19.3, 45.3, -10.5], [19.3, 45.3, -10.5], [0.0, -62.7, -15.2],
     [0.0, -44.8, -18.1], [0.0, -25.1, -20.0], [-21.5, -62.2, -13.4], [21.5, -62.2, -13.4], [-39.7, -59.7, -5.8],
     [39.7, -59.7, -5.8], [-79.8, -2.2, 64.2], [79.8, -2.2, 64.2], [-79.0, 13.8, 70.4], [79.0, 13.8, 70.4]]
)  # fmt: skip
_AVERAGE = _RIGID_TEMPLATE - _RIGID_TEMPLATE.mean(0)


def five_points(mesh: Floats) -> Floats:
    """The five landmarks (n, 5, 2) of meshes."""
    return np.concatenate([mesh[:, _EYES, :2].mean(2), mesh[:, _NOSE_AND_LIPS, :2]], 1)


def anchor_points(mesh: Floats) -> Floats:
    """The points (n, 5, 2) that `geometry.ANCHOR_TEMPLATE` aligns."""
    points: Floats = mesh[:, _ANCHORS, :2]
    return points


def head_pose(mesh: Floats) -> Floats:
    """Yaw, pitch and roll (n, 3) in degrees; signs as in `HeadPose`.

    The rotation that brings the average face onto the mesh's own three-dimensional output (Kabsch 1976). No focal
    length enters; angles beyond about 30 degrees are compressed by the mesh itself.
    """
    if not len(mesh):
        return np.zeros((0, 3), np.float32)
    face = mesh[:, _RIGID].astype(np.float64)
    u, _, v = np.linalg.svd((face - face.mean(1, keepdims=True)).transpose(0, 2, 1) @ _AVERAGE)
    mirror = np.linalg.det(u @ v)
    u[:, :, 2] *= mirror[:, None]
    turn = u @ v
    side, ahead = turn[:, :, 0], -turn[:, :, 2]  # the face's own x axis, and where it looks
    x, y, z = ahead.T
    yaw = np.arctan2(x, -z)
    pitch = np.arctan2(-y, np.hypot(x, z))
    # Roll is what is left of the face's own x axis once yaw and pitch are undone.
    cos, sin = np.cos(yaw), np.sin(yaw)
    upright = np.stack([y * sin, z * cos - x * sin, -y * cos], 1)  # ahead x level, which is (cos, 0, sin)
    roll = np.arctan2(-(side * upright).sum(1), side[:, 0] * cos + side[:, 2] * sin)
    angles: Floats = np.degrees(np.stack([yaw, pitch, roll], 1)).astype(np.float32)
    return angles
