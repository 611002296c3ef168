"""Region of interest and masks, with plain boxes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.analysis.regions import Regions
from streamer.config import WHOLE_PICTURE, Polygon
from streamer.face import Detections

WIDTH, HEIGHT = 640, 360
RIGHT_HALF: Polygon = ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0))
TRIANGLE: Polygon = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
EIGHTHS = [n / 8 for n in range(9)]
POLYGONS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=6).map(tuple)


def found_at(*centres: tuple[float, float]) -> Detections:
    """Squares of 20 pixels, with all landmarks in their middle."""
    middle = np.array(centres, np.float32).reshape(-1, 2)
    boxes = np.concatenate([middle - 10, middle + 10], 1)
    scores = np.linspace(0.9, 0.5, len(middle), dtype=np.float32)
    return Detections(boxes, scores, np.repeat(middle[:, None], 5, axis=1))


def counted(regions: Regions, found: Detections, width: int = WIDTH, height: int = HEIGHT) -> Detections:
    """Of what was found in the window, in pixels of the picture."""
    placed = regions.placed(found, width, height)
    return placed[regions.counts(placed, width, height)]


def centres(found: Detections) -> list[list[float]]:
    middle = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    np.testing.assert_allclose(found.landmarks, np.repeat(middle[:, None], 5, axis=1))
    values: list[list[float]] = middle.round().tolist()
    return values


def test_by_default_all_counts_wherever_it_is() -> None:
    regions = Regions(WHOLE_PICTURE, ())
    assert regions.window(WIDTH, HEIGHT) == (0, 0, WIDTH, HEIGHT)
    found = found_at((0, 0), (700, -20), (320, 180))
    assert regions.placed(found, WIDTH, HEIGHT) is found
    assert regions.counts(found, WIDTH, HEIGHT).all()


@pytest.mark.parametrize(
    ("region", "window"),
    [
        (RIGHT_HALF, (320, 0, 640, 360)),
        (TRIANGLE, (0, 0, 640, 360)),
        (((0.1251, 0.5), (0.2, 0.9), (0.25, 0.9999)), (80, 180, 160, 360)),
        (((0.5, 0.5), (0.5, 0.5), (0.5, 0.5)), (320, 180, 322, 182)),
        (((1.0, 1.0), (1.0, 1.0), (1.0, 1.0)), (638, 358, 640, 360)),
    ],
)
def test_only_the_part_that_holds_the_region_is_searched(region: Polygon, window: tuple[int, int, int, int]) -> None:
    assert Regions(region, ()).window(WIDTH, HEIGHT) == window


def test_what_is_found_in_the_window_is_told_in_pixels_of_the_picture() -> None:
    found = found_at((5, 50), (300, 100))
    told = counted(Regions(RIGHT_HALF, ()), found, WIDTH, HEIGHT)
    assert centres(told) == [[325, 50], [620, 100]]
    assert told.scores.tolist() == found.scores.tolist()


def test_centres_outside_the_region_or_inside_a_mask_do_not_count() -> None:
    found = found_at((100, 50), (600, 300), (320, 180), (321, 182), (-5, 10))
    assert centres(counted(Regions(TRIANGLE, ()), found, WIDTH, HEIGHT)) == [[100, 50], [320, 180]]
    masked = Regions(WHOLE_PICTURE, (RIGHT_HALF, ((0, 0), (0.2, 0), (0.2, 0.2), (0, 0.2))))
    assert centres(counted(masked, found, WIDTH, HEIGHT)) == [[-5, 10]]
    assert len(counted(Regions(TRIANGLE, (TRIANGLE,)), found, WIDTH, HEIGHT)) == 0
    assert len(counted(masked, Detections.none(), WIDTH, HEIGHT)) == 0


def test_shares_hold_for_pictures_of_any_size() -> None:
    regions = Regions(((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)), ())
    for width, height in ((640, 360), (1920, 1080), (90, 160)):
        left, top, _, _ = regions.window(width, height)
        inner = (width / 2 - left, height / 2 - top)
        outer = (width * 0.8 - left, height / 2 - top)
        assert centres(counted(regions, found_at(inner, outer), width, height)) == [[width / 2, height / 2]]


@given(POLYGONS, st.integers(1, 4000), st.integers(1, 4000))
def test_a_window_is_never_empty_and_holds_all_that_counts(region: Polygon, width: int, height: int) -> None:
    left, top, right, bottom = Regions(region, ()).window(width, height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert left % 2 == top % 2 == 0
    assert right % 2 == 0 or right == width
    assert bottom % 2 == 0 or bottom == height
    for x, y in region:
        assert left <= x * width * (1 + 1e-6) + 1e-3
        assert x * width * (1 - 1e-6) - 1e-3 <= right
        assert top <= y * height * (1 + 1e-6) + 1e-3
        assert y * height * (1 - 1e-6) - 1e-3 <= bottom


@given(
    st.lists(st.tuples(st.sampled_from(EIGHTHS), st.sampled_from(EIGHTHS)), min_size=3, max_size=6).map(tuple),
    st.lists(st.tuples(st.integers(0, 640), st.integers(0, 360)), max_size=8),
)
def test_what_a_mask_hides_is_what_the_same_region_shows(polygon: Polygon, places: list[tuple[int, int]]) -> None:
    shown, hidden = Regions(polygon, ()), Regions(WHOLE_PICTURE, (polygon,))
    left, top, _, _ = shown.window(WIDTH, HEIGHT)
    inside = centres(counted(shown, found_at(*((x - left, y - top) for x, y in places)), WIDTH, HEIGHT))
    outside = centres(counted(hidden, found_at(*places), WIDTH, HEIGHT))
    assert len(inside) + len(outside) == len(places)
