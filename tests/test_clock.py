"""Capture times from plain readings: wraps, gaps, backward steps and clocks that are set."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.media.clock import FileClock, LiveClock, Reading, Unwrapped

NOW = 1_790_000_000.0
STEP = 0.04


def play(clock: LiveClock, times: list[float | None], *, transit: float = 0.1) -> list[Reading]:
    """Readings of pictures that arrive evenly, `transit` seconds after the camera took them."""
    return [clock.read(pts, NOW + transit + n * STEP, 100 + n * STEP) for n, pts in enumerate(times)]


@pytest.mark.parametrize("period", [86_400.0, 2**32 / 90_000, 2**33 / 90_000], ids=["a day", "32 bits", "33 bits"])
def test_times_go_on_where_they_begin_again(period: float) -> None:
    unwrapped = Unwrapped()
    times = [(period - 1 + n * STEP) % period for n in range(75)]
    assert min(times) < 1, "the wrap is among them"
    went = [unwrapped(pts) for pts in times]
    assert went == pytest.approx([period - 1 + n * STEP for n in range(75)])


def test_three_days_of_wraps_add_up() -> None:
    unwrapped = Unwrapped()
    went = [unwrapped(n * 20.0 % 86_400) for n in range(3 * 4320)]
    assert went == pytest.approx([n * 20.0 for n in range(3 * 4320)])


@given(st.floats(0.1, 3_000))
def test_a_step_back_of_no_known_period_is_the_sources_own(back: float) -> None:
    unwrapped = Unwrapped()
    unwrapped(5_000)
    assert unwrapped(5_000 - back) == 5_000 - back


def test_without_the_cameras_word_arrival_counts() -> None:
    for reading, n in zip(play(LiveClock(), [None, 5.0, 5.04]), range(3), strict=True):
        assert reading.clock == "host"
        assert reading.captured == pytest.approx(NOW + 0.1 + n * STEP)
        assert not reading.jump


def test_the_cameras_clock_gives_capture_time_and_delay() -> None:
    clock = LiveClock()
    clock.synchronise(7.0, NOW)
    for n, reading in enumerate(play(clock, [7 + n * STEP for n in range(50)])):
        assert reading.clock == "camera"
        assert reading.captured == pytest.approx(NOW + n * STEP)
        assert reading.delay == pytest.approx(0.1, abs=1e-6)
        assert not reading.jump


@pytest.mark.parametrize("ahead", [3_600.0, -3_600.0, 5.0])
def test_a_camera_whose_clock_is_wrong_has_no_absurd_age(ahead: float) -> None:
    clock = LiveClock()
    clock.synchronise(7.0, NOW + ahead)
    late = clock.read(7.0, NOW + 0.1, 100)
    assert late.captured == pytest.approx(NOW + ahead), "its own word all the same"
    assert late.delay == 0, "nothing to measure it by"
    assert clock.read(7.04, NOW + 0.1 + STEP + 0.3, 100 + STEP + 0.3).delay == pytest.approx(0.3, abs=1e-6)


def test_a_camera_that_was_never_set_is_not_believed() -> None:
    clock = LiveClock()
    clock.synchronise(7.0, 0.0)
    assert clock.read(7.0, NOW, 100) == Reading(NOW, "host", 7.0)


@pytest.mark.parametrize("jump", [30.0, -30.0, 3_000.0])
def test_a_camera_clock_that_is_set_is_stated_once(jump: float) -> None:
    clock = LiveClock()
    clock.synchronise(7.0, NOW)
    before = play(clock, [7 + n * STEP for n in range(5)])
    clock.synchronise(7.0, NOW + jump)
    first, second = (clock.read(7 + n * STEP, NOW + 0.1 + n * STEP, 100 + n * STEP) for n in (5, 6))
    assert not any(reading.jump for reading in before)
    assert first.jump == pytest.approx(jump, abs=2 * STEP)
    assert not second.jump
    assert second.captured - first.captured == pytest.approx(STEP, abs=1e-6)


def test_a_host_clock_that_is_set_is_stated() -> None:
    clock = LiveClock()
    clock.read(None, NOW, 100)
    assert clock.read(None, NOW + STEP - 60, 100 + STEP).jump == pytest.approx(-60)


def test_a_hold_up_on_the_way_is_a_delay_and_no_jump() -> None:
    clock = LiveClock()
    clock.synchronise(0.0, NOW)
    clock.read(0.0, NOW + 0.1, 100)
    held = [clock.read(n * STEP, NOW + 3.1 + n / 1000, 103 + n / 1000) for n in range(1, 75)]
    assert not any(reading.jump for reading in held)
    assert held[0].delay == pytest.approx(3.1 - STEP, abs=0.01)


@given(st.lists(st.floats(-0.4, 0.4), min_size=2, max_size=50))
def test_capture_times_of_one_camera_never_go_back_without_a_word(noise: list[float]) -> None:
    clock, last = LiveClock(), None
    for n, off in enumerate(noise):
        clock.synchronise(n * STEP, NOW + n * STEP + off / 2)
        reading = clock.read(n * STEP, NOW + 1 + n * STEP, 100 + n * STEP)
        assert last is None or reading.jump or reading.captured >= last.captured
        last = reading


def test_a_file_without_times_counts_pictures() -> None:
    clock = FileClock("2026-01-01T00:00:00Z", 0.0)
    assert [clock.read(None)[0] for _ in range(3)] == pytest.approx([0, STEP, 2 * STEP])


def test_a_missing_first_time_does_not_shift_the_rest() -> None:
    clock = FileClock("", NOW)
    times = [clock.read(pts)[0] for pts in (None, 9.04, 9.08, 9.12)]
    assert times == pytest.approx([0, 0.04, 0.08, 0.12])


@given(st.lists(st.none() | st.floats(0, 1e6), min_size=1, max_size=60))
def test_a_files_time_always_grows(times: list[float | None]) -> None:
    clock = FileClock("", NOW)
    went = [clock.read(pts) for pts in times]
    assert all(a[0] < b[0] for a, b in pairwise(went))
    assert all(reading.captured == NOW + at and reading.clock == "file" for at, reading in went)


def test_a_backward_file_clock_goes_on_from_where_it_was() -> None:
    clock = FileClock("", NOW)
    times = [clock.read(pts)[0] for pts in (0.0, 0.04, 0.08, 0.02, 0.06, 0.10)]
    assert times == pytest.approx([0, 0.04, 0.08, 0.12, 0.16, 0.20])


@pytest.mark.parametrize("created", ["", "yesterday", "0000-00-00"])
def test_a_file_without_a_date_has_another(created: str) -> None:
    assert FileClock(created, NOW).read(0.0)[1].captured == NOW
