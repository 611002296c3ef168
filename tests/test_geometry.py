import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from streamer.analysis import geometry as g
from streamer.face import Floats

sizes = st.integers(1, 8000)
coordinates = st.floats(-1000, 3000, width=32)


@st.composite
def boxes(draw: st.DrawFn, most: int = 12) -> Floats:
    n = draw(st.integers(1, most))
    corner = draw(arrays(np.float32, (n, 2), elements=st.floats(-100, 2000, width=32)))
    size = draw(arrays(np.float32, (n, 2), elements=st.floats(1, 500, width=32)))
    return np.concatenate([corner, corner + size], 1)


@given(sizes, sizes, st.sampled_from([320, 640, 1280]))
def test_a_letterbox_holds_the_whole_picture(width: int, height: int, side: int) -> None:
    scale = g.area_scale(width, height, side)
    box = g.letterbox(width, height, scale)
    assert all(s % 32 == 0 for s in box.shape)
    assert 0 <= box.shape[1] - box.inner[0] < 32
    assert 0 <= box.shape[0] - box.inner[1] < 32
    assert max(box.inner) <= 4 * side
    assert box.inner[0] * box.inner[1] <= 1.1 * side * side + max(box.inner)
    np.testing.assert_allclose(box.scale * (width, height), box.inner, rtol=1e-4)


@pytest.mark.parametrize(
    ("picture", "shape"),
    [((1920, 1080), (480, 864)), ((640, 480), (576, 768)), ((1080, 1920), (864, 480)), ((500, 500), (640, 640))],
)
def test_the_letterbox_follows_the_pictures_shape(picture: tuple[int, int], shape: tuple[int, int]) -> None:
    assert g.letterbox(*picture, g.area_scale(*picture, 640)).shape == shape


@given(boxes(), boxes())
def test_iou_is_symmetric_and_a_share(a: Floats, b: Floats) -> None:
    overlap = g.iou_matrix(a, b)
    assert np.all((overlap >= 0) & (overlap <= 1 + 1e-5))
    np.testing.assert_allclose(overlap, g.iou_matrix(b, a).T, atol=1e-5)
    np.testing.assert_allclose(np.diag(g.iou_matrix(a, a)), 1, atol=1e-3)


@given(boxes(), st.data())
def test_suppression_keeps_the_best_and_no_two_that_overlap(found: Floats, data: st.DataObject) -> None:
    scores = data.draw(arrays(np.float32, len(found), elements=st.floats(0, 1, width=32)))
    kept = g.non_maximum_suppression(found, scores, 0.4)
    assert scores[kept[0]] == scores.max()
    overlap = g.iou_matrix(found[kept], found[kept])
    np.fill_diagonal(overlap, 0)
    assert overlap.max(initial=0) <= 0.4
    dropped = np.setdiff1d(np.arange(len(found)), kept)
    for i in dropped:  # each for a better one
        better = kept[scores[kept] >= scores[i]]
        assert g.iou_matrix(found[i : i + 1], found[better]).max() > 0.4


@given(st.floats(0.05, 20), st.floats(-math.pi, math.pi), coordinates, coordinates)
def test_a_similarity_is_found_again(scale: float, angle: float, x: float, y: float) -> None:
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    target = g.CHIP_TEMPLATE * 64
    source = (target @ turn.T + (x, y)).astype(np.float32)[None]
    back = g.apply(g.similarity(source, target), source)
    np.testing.assert_allclose(back[0], target, atol=0.05 * max(1, 1 / scale))


@given(boxes(), st.floats(1, 2), st.sampled_from([64, 192]))
def test_maps_invert(found: Floats, scale: float, size: int) -> None:
    places = np.array([[0.3, 0.4], [0.7, 0.35], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
    points = found[:, None, :2] + places * (found[:, None, 2:] - found[:, None, :2])
    maps = g.region_maps(found, points, scale, size)
    np.testing.assert_allclose(g.apply(g.invert(maps), g.apply(maps, points)), points, atol=0.1)
    level = g.apply(maps, points)
    np.testing.assert_allclose(level[:, 0, 1], level[:, 1, 1], atol=size * 0.01)  # eyes are level
    middle: Floats = ((found[:, :2] + found[:, 2:]) / np.float32(2))[:, None]
    np.testing.assert_allclose(g.apply(maps, middle)[:, 0], size / 2, atol=size * 0.01)
