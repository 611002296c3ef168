"""What must be hidden in a picture, with plain boxes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.analysis.hiding import Sighting, sighting, to_hide
from streamer.face import Detections, Floats, FrameResult
from tests.test_contract import a_face, frame

Box = tuple[int, int, int, int]
HERE: Box = (100, 100, 200, 220)
NEAR: Box = (104, 98, 203, 219)
ELSEWHERE: Box = (400, 100, 500, 220)


def seen(at: float, *boxes: Box, tracks: tuple[int, ...] = ()) -> Sighting:
    numbers = [*tracks, *[-1] * (len(boxes) - len(tracks))]
    return Sighting(at, np.array(boxes, np.float32).reshape(-1, 4), np.array(numbers, np.int64))


def within(box: Box, hidden: Floats) -> bool:
    x1, y1, x2, y2 = box
    return any(h[0] <= x1 and h[1] <= y1 and h[2] >= x2 and h[3] >= y2 for h in hidden)


@pytest.mark.parametrize("when", [0.6, 1.4])
def test_a_face_that_is_missed_is_hidden_where_it_was_or_will_be(when: float) -> None:
    (hidden,) = to_hide(seen(1.0), [seen(when, HERE, tracks=(1,))])
    assert within(HERE, hidden[None])
    assert hidden.tolist() == pytest.approx([88, 85.6, 212, 234.4], abs=1e-3)  # it may have moved meanwhile


def test_a_face_that_has_gone_elsewhere_leaves_nothing_hidden() -> None:
    assert to_hide(seen(1.0, ELSEWHERE, tracks=(1,)), [seen(0.9, HERE, tracks=(1,))]).tolist() == [list(ELSEWHERE)]
    both = to_hide(seen(1.0, ELSEWHERE, tracks=(1,)), [seen(0.9, HERE, tracks=(2,))])
    assert len(both) == 2


def test_of_a_face_in_many_pictures_the_nearest_counts() -> None:
    others = [seen(0.5, HERE, tracks=(1,)), seen(0.9, ELSEWHERE, tracks=(1,)), seen(1.3, HERE, tracks=(1,))]
    (hidden,) = to_hide(seen(1.0), others)
    assert within(ELSEWHERE, hidden[None])


def test_what_is_hidden_already_is_not_hidden_again() -> None:
    assert len(to_hide(seen(1.0, NEAR), [seen(0.9, HERE), seen(1.1, HERE)])) == 1
    assert len(to_hide(seen(1.0), [seen(0.9, HERE), seen(1.1, NEAR)])) == 1


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(0, 500), st.integers(0, 300), st.integers(-1, 3)), max_size=8))
def test_nothing_that_was_seen_in_the_picture_itself_is_ever_left_out(
    around: list[tuple[float, int, int, int]],
) -> None:
    now = seen(1.0, HERE, ELSEWHERE, tracks=(1,))
    hidden = to_hide(now, [seen(at, (x, y, x + 80, y + 90), tracks=(track,)) for at, x, y, track in around])
    assert hidden[:2].tolist() == [list(HERE), list(ELSEWHERE)]


def test_all_that_a_result_knows_of_counts() -> None:
    """The smoothed box, that of the picture alone, and what else the detector found, unless it is too faint."""
    raw = a_face(box=np.array(NEAR, np.float32))
    face = a_face(box=np.array(HERE, np.float32), raw=raw, track_id=7)
    boxes = np.array([ELSEWHERE, (102, 102, 201, 221), (600, 300, 620, 330)], np.float32)
    found = Detections(boxes, np.array([0.55, 0.9, 0.35], np.float32), np.zeros((3, 5, 2), np.float32))
    result = FrameResult(frame(), (face,), {}, 0, 0.0, found=found)
    made = sighting(result, 3.0)
    assert made.boxes.tolist() == [list(HERE), list(NEAR), list(ELSEWHERE)]
    assert made.tracks.tolist() == [7, 7, -1]
    assert len(sighting(FrameResult(frame(), (), {}, 0, 0.0), 3.0).boxes) == 0
