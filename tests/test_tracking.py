import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.analysis.cuts import CutDetector, thumbnail
from streamer.analysis.pyramid import Pyramid
from streamer.analysis.tracking import Tracked, Tracker
from streamer.config import TrackSettings
from streamer.face import Detections, Pixels

THRESHOLD = TrackSettings().threshold


def faces(*placed: tuple[float, float, float, float]) -> Detections:
    """Detections of squares: (centre x, centre y, side, score)."""
    given = np.array(placed, np.float32).reshape(-1, 4)
    half = given[:, 2:3] / 2
    boxes = np.concatenate([given[:, :2] - half, given[:, :2] + half], 1)
    return Detections(boxes, given[:, 3], np.zeros((len(given), 5, 2), np.float32))


def tracker(**changes: float) -> Tracker:
    return Tracker(TrackSettings(**changes))


def test_a_certain_face_is_shown_at_once_and_keeps_its_number() -> None:
    t = tracker()
    seen = [t.update(faces((100 + 2 * n, 100, 50, 0.9)), n / 25).ids.tolist() for n in range(50)]
    assert seen == [[1]] * 50


def test_a_doubtful_face_is_shown_once_it_has_lasted() -> None:
    t = tracker(confirm=0.1, sure=0.8)
    shown = [len(t.update(faces((100, 100, 50, 0.75)), n / 25).ids) for n in range(5)]
    assert shown == [0, 0, 0, 1, 1]  # 0.12 s is the first look after 0.1 s


def test_a_doubtful_face_that_was_seen_only_once_is_never_shown() -> None:
    t = tracker(confirm=0.1, sure=0.8)
    scores = [0.75, *[0.65] * 20]
    assert not any(len(t.update(faces((100, 100, 50, score)), n / 25).ids) for n, score in enumerate(scores))


def test_a_second_box_on_a_face_starts_no_track() -> None:
    t = tracker()
    for n in range(10):
        assert t.update(faces((100, 100, 50, 0.95), (112, 100, 60, 0.9)), n / 25).ids.tolist() == [1]


def test_a_faint_face_keeps_a_track_but_starts_none() -> None:
    t = tracker()
    assert t.update(faces((100, 100, 50, 0.65)), 0.0).ids.tolist() == []
    t.update(faces((100, 100, 50, 0.9)), 0.04)
    assert t.update(faces((101, 100, 50, 0.65)), 0.08).ids.tolist() == [1]
    assert t.update(faces((101, 100, 50, 0.5)), 0.12).ids.tolist() == []


def test_faint_faces_alone_carry_a_track_no_longer_than_it_may_be_lost() -> None:
    t = tracker(lost=1.0)
    t.update(faces((100, 100, 50, 0.9)), 0.0)
    carried = [len(t.update(faces((100, 100, 50, 0.65)), n / 25).ids) for n in range(1, 60)]
    assert sum(carried) == 25


@pytest.mark.parametrize(("away", "number"), [(0.8, 1), (1.2, 2)])
def test_a_lost_face_keeps_its_number_for_a_while(away: float, number: int) -> None:
    t = tracker(lost=1.0)
    for n in range(10):
        t.update(faces((100, 100, 50, 0.9)), n / 25)
    last = 9 / 25
    assert t.update(faces(), last + away / 2).ids.tolist() == []  # one that left is gone at once
    assert t.update(faces((100, 100, 50, 0.9)), last + away).ids.tolist() == [number]


def test_numbers_are_never_used_again() -> None:
    t = tracker()
    t.update(faces((100, 100, 50, 0.9), (300, 100, 50, 0.9)), 0.0)
    t.reset()
    assert t.update(faces((100, 100, 50, 0.9)), 0.04).ids.tolist() == [3]


@pytest.mark.parametrize("fps", [30, 15, 5])
def test_two_who_pass_each_other_keep_their_numbers_at_any_rate(fps: int) -> None:
    t = tracker()
    left, right = [], []
    for n in range(3 * fps):
        at = n / fps
        a, b = (50 + 120 * at, 100, 50, 0.9), (410 - 120 * at, 130, 50, 0.9)
        tracked = t.update(faces(a, b), at)
        order = tracked.ids[np.argsort(tracked.detections.boxes[:, 1])]  # the upper one first
        left.append(order[0])
        right.append(order[1])
    assert len(set(left)) == len(set(right)) == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500), st.floats(10, 200), st.floats(0.3, 1)), max_size=6),
        max_size=20,
    ),
    st.sampled_from([5, 25, 60]),
)
def test_whatever_comes_numbers_are_unique_and_the_best_detection_belongs_to_somebody(
    pictures: list[list[tuple[float, float, float, float]]], fps: int
) -> None:
    t = tracker(sure=0.0)
    highest = 0
    for n, picture in enumerate(pictures):
        found = faces(*sorted(picture, key=lambda placed: -placed[3]))
        tracked = t.update(found, n / fps)
        assert len(set(tracked.ids.tolist())) == len(tracked.ids)
        if len(found) and found.scores[0] >= THRESHOLD:  # the best one doubles nobody
            assert found.scores[0] in tracked.detections.scores
        fresh = tracked.ids[tracked.ids > highest]
        assert fresh.tolist() == sorted(fresh)
        highest = max(highest, *tracked.ids.tolist(), 0)


def centre(tracked: Tracked) -> list[float]:
    (box,) = tracked.detections.boxes
    return [float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2]


def test_where_nothing_moves_faces_stay_where_they_were_and_alive_however_long() -> None:
    t = tracker(lost=1.0)
    shown = [t.update(faces((100 + 3 * n, 100, 50, 0.9), (300, 80, 60, 0.85)), n / 25) for n in range(10)][-1]
    for n in range(10, 1000):
        still = t.coast(n / 25, still=True)
        np.testing.assert_array_equal(still.detections.boxes, shown.detections.boxes)
        np.testing.assert_array_equal(still.detections.scores, shown.detections.scores)
        assert still.ids.tolist() == [1, 2]
    assert t.update(faces((129, 100, 50, 0.9), (300, 80, 60, 0.85)), 40.0).ids.tolist() == [1, 2]


def test_a_face_that_stood_still_does_not_go_on_as_it_moved_before() -> None:
    t = tracker()
    for n in range(25):
        t.update(faces((100 + 4 * n, 100, 50, 0.9)), n / 25)
    t.coast(1.0, still=True)
    assert centre(t.coast(1.2, still=False)) == [pytest.approx(196, abs=2), pytest.approx(100, abs=1)]


def test_between_two_searches_faces_go_on_as_they_moved() -> None:
    t = tracker()
    for n in range(25):
        t.update(faces((100 + 4 * n, 200 - 2 * n, 50, 0.9)), n / 25)
    for n in range(1, 10):
        coasted = t.coast((24 + n) / 25, still=False)
        assert coasted.ids.tolist() == [1]
        assert centre(coasted) == [pytest.approx(196 + 4 * n, abs=3), pytest.approx(152 - 2 * n, abs=3)]
        (box,) = coasted.detections.boxes
        assert box[2] - box[0] == pytest.approx(50, abs=1)
    assert t.update(faces((236, 132, 50, 0.9)), 34 / 25).ids.tolist() == [1]


def test_nobody_goes_on_for_ever() -> None:
    t = tracker()
    for n in range(25):
        t.update(faces((100 + 4 * n, 100, 50, 0.9)), n / 25)
    half_a_second = centre(t.coast(24 / 25 + 0.5, still=False))
    assert half_a_second[0] == pytest.approx(246, abs=4)
    assert centre(t.coast(24 / 25 + 20, still=False)) == half_a_second


def test_a_face_that_shrinks_does_not_turn_inside_out() -> None:
    t = tracker()
    for n in range(10):
        t.update(faces((100, 100, 30 - 3 * n, 0.9)), n / 25)
    (box,) = t.coast(9 / 25 + 0.5, still=False).detections.boxes
    assert box[2] > box[0]
    assert box[3] > box[1]


@pytest.mark.parametrize("apart", [0.1, 0.2, 0.5])
def test_faces_that_are_looked_for_now_and_then_keep_their_numbers(apart: float) -> None:
    t = tracker(lost=max(1.0, 2 * apart))
    searched = -1.0
    for n in range(250):
        at = n / 25
        left, right = (100 + 30 * at, 100, 50, 0.9), (500 - 30 * at, 220, 60, 0.9)
        if at - searched >= apart - 1e-6:
            searched, tracked = at, t.update(faces(left, right), at)
        else:
            tracked = t.coast(at, still=False)
        assert sorted(tracked.ids.tolist()) == [1, 2]
        if at > 1:
            by_number = dict(zip(tracked.ids.tolist(), tracked.detections.boxes.tolist(), strict=True))
            assert (by_number[1][0] + by_number[1][2]) / 2 == pytest.approx(left[0], abs=5)
            assert (by_number[2][0] + by_number[2][2]) / 2 == pytest.approx(right[0], abs=5)


def test_nobody_is_carried_on_before_anybody_was_seen_and_after_a_cut() -> None:
    t = tracker()
    assert len(t.coast(0.0, still=True).ids) == 0
    t.update(faces((100, 100, 50, 0.9)), 0.04)
    assert len(t.coast(0.08, still=False).ids) == 1
    t.reset()
    assert len(t.coast(0.12, still=False).ids) == len(t.coast(0.16, still=True).ids) == 0
    assert t.update(faces((100, 100, 50, 0.9)), 0.2).ids.tolist() == [2]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["search", "still", "coast", "reset"]),
            st.floats(0, 3),
            st.lists(
                st.tuples(st.floats(0, 500), st.floats(0, 500), st.floats(10, 200), st.floats(0.5, 1)), max_size=5
            ),
        ),
        max_size=30,
    )
)
def test_whatever_comes_those_carried_on_are_those_shown_last(
    steps: list[tuple[str, float, list[tuple[float, float, float, float]]]],
) -> None:
    t, at, shown = tracker(), 0.0, list[int]()
    for kind, step, placed in steps:
        at += step
        match kind:
            case "search":
                shown = t.update(faces(*sorted(placed, key=lambda face: -face[3])), at).ids.tolist()
            case "reset":
                t.reset()
                shown = []
            case _:
                coasted = t.coast(at, still=kind == "still")
                assert coasted.ids.tolist() == shown
                boxes = coasted.detections.boxes
                assert np.isfinite(boxes).all()
                assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_a_cut_is_seen_but_neither_a_change_of_light_nor_a_swinging_camera(portrait: Pixels) -> None:
    other = np.roll(portrait[::-1, :, ::-1] // 2, 200, axis=1)
    swung = portrait[:, 90:]
    darker = (portrait * 0.7).astype(np.uint8)
    cuts = CutDetector(TrackSettings().cut)
    shown = (portrait, portrait, swung, darker, other, other, np.zeros_like(portrait))
    cut = [cuts.update(thumbnail(Pyramid.of(picture))) for picture in shown]
    assert cut == [
        False,
        False,
        False,
        False,
        True,
        False,
        True,
    ]
