import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.analysis.smoothing import ForgettingMean, OneEuro, Smoother
from streamer.config import SmoothSettings
from streamer.face import EMOTIONS, Face, HeadPose

HAPPY, NEUTRAL = EMOTIONS.index("happy"), EMOTIONS.index("neutral")


def shares(leader: int, share: float = 0.9) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    values = np.full(7, (1 - share) / 6, np.float32)
    values[leader] = share
    return values


def face(track: int = 1, **changes: object) -> Face:
    plain = Face(
        box=np.array([100, 100, 200, 220], np.float32),
        score=0.9,
        landmarks=np.full((5, 2), 150, np.float32),
        age=30.0,
        female=0.9,
        emotions=shares(NEUTRAL),
        track_id=track,
    )
    return msgspec.structs.replace(plain, **changes)


def smoother() -> Smoother:
    return Smoother(SmoothSettings(), forget=1.0)


def test_a_steady_face_stays_as_it_is() -> None:
    s = smoother()
    *_, (result,) = [s.update((face(),), n / 25) for n in range(20)]
    np.testing.assert_allclose(result.box, [100, 100, 200, 220], atol=1e-3)
    assert result.age == pytest.approx(30)
    assert result.female == pytest.approx(0.9)
    np.testing.assert_allclose(result.emotions, shares(NEUTRAL), atol=1e-3)


@pytest.mark.parametrize("fps", [30, 15, 5])
def test_a_change_of_expression_shows_within_a_few_tenths_of_a_second(fps: int) -> None:
    s = smoother()
    for n in range(2 * fps):
        s.update((face(),), n / fps)
    for n in range(2 * fps, 3 * fps):
        (result,) = s.update((face(emotions=shares(HAPPY)),), n / fps)
        if np.argmax(result.emotions) == HAPPY:
            assert n / fps - 2 <= 0.4
            return
    pytest.fail("the change never showed")


def test_flicker_between_two_emotions_does_not_reach_the_label() -> None:
    s, labels = smoother(), set()
    for n in range(100):
        emotions = shares(NEUTRAL, 0.45) if n % 2 else shares(HAPPY, 0.45)
        (result,) = s.update((face(emotions=emotions),), n / 25)
        labels.add(int(np.argmax(result.emotions)))
    assert len(labels) == 1


def test_gender_flips_only_when_the_other_one_leads_clearly() -> None:
    s = smoother()
    for n in range(50):
        s.update((face(female=0.55),), n / 25)
    wobble = [s.update((face(female=0.45),), 2 + n / 25)[0].female >= 0.5 for n in range(250)]
    assert all(wobble)
    clear = [s.update((face(female=0.05),), 12 + n / 25)[0].female >= 0.5 for n in range(250)]
    assert not clear[-1]


def test_a_face_that_says_nothing_changes_nothing() -> None:
    s = smoother()
    for n in range(50):
        s.update((face(),), n / 25)
    (result,) = s.update((face(age=80.0, female=0.0, emotions=shares(HAPPY), quality=0.0),), 2.04)
    assert result.age == pytest.approx(30, abs=0.1)
    assert result.female == pytest.approx(0.9, abs=0.02)
    assert np.argmax(result.emotions) == NEUTRAL


def test_tracks_do_not_mix_and_a_forgotten_one_starts_anew() -> None:
    s = smoother()
    s.update((face(1, age=20.0), face(2, age=60.0)), 0.0)
    one, two = s.update((face(1, age=20.0), face(2, age=60.0)), 0.04)
    assert one.age == pytest.approx(20)
    assert two.age == pytest.approx(60)
    s.update((), 1.5)
    (again,) = s.update((face(1, age=70.0),), 1.6)
    assert again.age == pytest.approx(70)


def test_the_raw_face_rides_along_when_asked() -> None:
    s = smoother()
    s.update((face(age=20.0),), 0.0)
    given_face = face(age=40.0)
    (result,) = s.update((given_face,), 0.04, keep_raw=True)
    assert result.raw is given_face
    assert result.age < 40


NOT_LOOKED: dict[str, object] = {"age": 0.0, "female": 0.5, "emotions": np.full(7, 1 / 7, np.float32), "quality": 0.0}
FIVE = np.array([[130, 140], [170, 140], [150, 165], [135, 190], [165, 190]], np.float32)
POSE = HeadPose(10, -5, 2)


def moved(box: list[float], place_held: float = 0.04, track: int = 1) -> Face:
    """A face of a picture that was not searched: nothing in it but its box is of that picture."""
    return face(track, box=np.array(box, np.float32), place_held=place_held, looks_held=place_held, **NOT_LOOKED)


def unsmoothed() -> Smoother:
    return Smoother(SmoothSettings(box_cutoff=0, age=0, gender=0, emotion=0), forget=1.0)


def test_landmarks_go_where_the_box_goes() -> None:
    s = unsmoothed()
    s.update((face(landmarks=FIVE, head_pose=POSE),), 0.0)
    (result,) = s.update((moved([110, 90, 210, 210]),), 0.04)
    np.testing.assert_allclose(result.landmarks, FIVE + np.array([10, -10]), atol=1e-4)
    (result,) = s.update((moved([100, 100, 300, 340], 0.08),), 0.08)
    np.testing.assert_allclose(result.landmarks, 100 + 2 * (FIVE - 100), atol=1e-4)
    assert result.head_pose == POSE
    assert (result.place_held, result.looks_held) == (0.08, 0.08)
    (result,) = s.update((face(landmarks=FIVE),), 0.12)  # found again
    np.testing.assert_allclose(result.landmarks, FIVE)
    assert result.head_pose is None
    assert (result.place_held, result.looks_held) == (0, 0)


def test_looks_are_those_of_the_last_look() -> None:
    s = smoother()
    (last,) = [s.update((face(age=40.0, female=0.2, emotions=shares(HAPPY), quality=0.6),), n / 25) for n in range(10)][
        -1
    ]
    for n in range(10, 30):
        found_again = face(1, looks_held=(n - 9) / 25, **NOT_LOOKED)
        (result,) = s.update((found_again if n % 2 else moved([100, 100, 200, 220], (n - 9) / 25),), n / 25)
        assert (result.age, result.female, result.quality) == (last.age, last.female, 0.6)
        np.testing.assert_array_equal(result.emotions, last.emotions)
        assert result.looks_held == (n - 9) / 25


def test_what_was_only_a_guess_is_still_one_while_it_is_held() -> None:
    s = smoother()
    s.update((face(not_assessed=(("age", "tooSmall"),)),), 0.0)
    (result,) = s.update((moved([100, 100, 200, 220]),), 0.04)
    assert result.not_assessed == (("age", "tooSmall"),)
    (result,) = s.update((face(),), 0.08)
    assert result.not_assessed == ()


def test_a_held_face_does_not_count_as_a_sample() -> None:
    """The next look weighs as much as if there had been no pictures in between."""
    with_held, without, shown = smoother(), smoother(), 0.0
    for n in range(40):
        at, look = n / 25, n % 5 == 0
        given_face = face(age=20.0 if n < 20 else 50.0, emotions=shares(NEUTRAL if n < 20 else HAPPY))
        (a,) = with_held.update((given_face if look else moved([100, 100, 200, 220]),), at)
        if look:
            (b,) = without.update((given_face,), at)
            assert a.age == b.age
            np.testing.assert_array_equal(a.emotions, b.emotions)
            shown = a.age
    assert 20 < shown < 50


def test_the_raw_face_of_one_that_is_held_is_what_the_last_look_said() -> None:
    s = smoother()
    s.update((face(age=20.0),), 0.0)
    s.update((face(age=40.0, landmarks=FIVE),), 0.04)
    (result,) = s.update((moved([110, 100, 210, 220]),), 0.08, keep_raw=True)
    assert result.raw is not None
    assert result.raw.age == 40
    np.testing.assert_allclose(result.raw.landmarks, FIVE + np.array([10, 0]))
    assert result.age < 40


def test_held_faces_do_not_mix_and_are_forgotten_like_others() -> None:
    s = smoother()
    s.update((face(1, age=20.0), face(2, age=60.0)), 0.0)
    for n in range(1, 100):  # held, they are seen all the same
        box = [100.0 + n, 100, 200 + n, 220]
        one, two = s.update((moved(box, n / 25), moved(box, n / 25, track=2)), n / 25)
        assert (one.age, two.age) == (20, 60)
    s.update((), 99 / 25 + 1.1)
    (again,) = s.update((face(1, age=70.0),), 99 / 25 + 1.2)
    assert again.age == 70


@given(st.lists(st.tuples(st.floats(0.001, 0.5), st.floats(-500, 500)), min_size=1, max_size=40))
def test_one_euro_stays_within_what_it_was_given(steps: list[tuple[float, float]]) -> None:
    smooth, at, low, high = OneEuro(2.0, 4.0), 0.0, np.inf, -np.inf
    for dt, value in steps:
        at += dt
        low, high = min(low, value), max(high, value)
        result = smooth.update(np.array([value], np.float32), 100.0, at)
        assert low - 1e-2 <= float(result[0]) <= high + 1e-2


@given(st.lists(st.tuples(st.floats(0.001, 2), st.floats(0, 100), st.floats(0, 1)), min_size=1, max_size=40))
def test_a_forgetting_mean_stays_within_its_samples(samples: list[tuple[float, float, float]]) -> None:
    mean, at, result = ForgettingMean(2.0), 0.0, 0.0
    for dt, value, weight in samples:
        at += dt
        result = float(mean.update(value, weight, at))
    values = [value for _, value, _ in samples]
    assert min(values) - 1e-6 <= result <= max(values) + 1e-6


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(0.001, 1), min_size=7, max_size=7), min_size=1, max_size=30))
def test_emotions_always_sum_to_one(frames: list[list[float]]) -> None:
    s = smoother()
    for n, values in enumerate(frames):
        emotions = (np.array(values) / sum(values)).astype(np.float32)
        (result,) = s.update((face(emotions=emotions),), n / 25)
        assert float(result.emotions.sum()) == pytest.approx(1, abs=1e-5)
        assert float(result.emotions.min()) >= 0
