"""What decoding may cost, and which packets of a live source are decoded, with plain readings."""

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.config import StreamSettings
from streamer.media.budget import DecodingBudget, Purse
from streamer.media.clock import Backlog
from streamer.media.intake import Intake

THREADS = 4
STEP = 0.04  # seconds between packets
GROUP = 25  # packets from one key picture to the next


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def budget(time: Time) -> DecodingBudget:
    return DecodingBudget(THREADS, time)


@pytest.fixture
def purse(budget: DecodingBudget) -> Iterator[Purse]:
    with budget.purse() as purse:
        yield purse


def test_decoding_may_take_all_until_a_result_is_late(time: Time, budget: DecodingBudget, purse: Purse) -> None:
    for _ in range(100):
        purse.spend(1000)
        time.now += STEP
        assert not purse.empty
    assert budget.means() == math.inf
    budget.late()
    assert budget.means() == THREADS / 2
    purse.spend(0.001)
    assert purse.empty  # nothing was saved up while there was no limit


def test_it_is_cut_again_only_once_the_last_cut_could_show(time: Time, budget: DecodingBudget, purse: Purse) -> None:
    budget.late()
    time.now += 2.9
    budget.late()
    before = budget.means()
    assert before == pytest.approx(THREADS / 2 * (1 + 0.05 * 2.9))
    time.now += 0.1
    budget.late()
    assert budget.means() == pytest.approx(0.75 * before)
    assert not purse.empty


def test_it_grows_until_there_is_no_limit_again(time: Time, budget: DecodingBudget, purse: Purse) -> None:
    budget.late()
    grown = []
    while (means := budget.means()) < math.inf:
        grown.append(means)
        time.now += 1
    assert grown == sorted(grown)
    assert grown[-1] <= THREADS
    assert len(grown) == math.ceil(math.log(2) / math.log(1.05))
    assert not purse.empty


def test_lateness_that_cuts_do_not_cure_costs_a_bounded_part(time: Time, budget: DecodingBudget, purse: Purse) -> None:
    for _ in range(24 * 3600):
        time.now += 1
        budget.late()
    assert budget.means() == pytest.approx(0.2 * THREADS, rel=0.2)
    waited = 0
    while budget.means() < math.inf:
        time.now += 1
        waited += 1
    assert 30 < waited < 40
    assert not purse.empty


def test_sources_share_the_means(budget: DecodingBudget) -> None:
    budget.late()
    with budget.purse(), budget.purse():
        assert budget.means() == THREADS / 4
        with budget.purse(), budget.purse():
            assert budget.means() == THREADS / 8
        assert budget.means() == THREADS / 4


def test_a_purse_lives_within_its_means_and_saves_up_to_a_bound(time: Time) -> None:
    budget = DecodingBudget(2, time)
    with budget.purse() as purse, budget.purse():
        budget.late()  # half a CPU for each of the two, and 5 % more of it each second
        spent = 0.0
        for _ in range(100):
            if not purse.empty:
                purse.spend(0.1)
                spent += 0.1
            time.now += STEP
        assert spent == pytest.approx(0.5 * (math.exp(0.05 * 4) - 1) / 0.05, abs=0.15)
        time.now += 8
        saved = 0.0
        while not purse.empty:
            purse.spend(0.01)
            saved += 0.01
        assert saved == pytest.approx(5 * budget.means(), abs=0.05)


def intake(purse: Purse, **settings: object) -> Intake:
    return Intake(StreamSettings("rtsp://camera/", **settings), purse)  # type: ignore[arg-type]  # any of its fields


def play(one: Intake, time: Time, packets: int, *, behind: float = 0.0, first: int = 0) -> list[str | None]:
    """What becomes of packets from number `first` on, each read `behind` seconds after it came."""
    answers = []
    for n in range(first, first + packets):
        time.now = 1000 + n * STEP + behind
        answers.append(one.passes_over(n * STEP, n % GROUP == 0, time.now))
        if answers[-1] is None:
            one.decoded(0.001)
    return answers


def test_what_can_be_decoded_in_time_is(time: Time, purse: Purse) -> None:
    one = intake(purse)
    assert play(one, time, 500) == [None] * 500
    assert one.lag == pytest.approx(0, abs=1e-9)
    assert one.leaves_out(time.now) is None


def test_packets_without_times_are_never_late(time: Time, purse: Purse) -> None:
    one = intake(purse)
    for n in range(200):
        time.now += STEP * (1 + n % 7)
        assert one.passes_over(None, n % GROUP == 0, time.now) is None
        assert one.lag == 0


def test_key_pictures_only(time: Time, purse: Purse) -> None:
    answers = play(intake(purse, keyframes_only=True), time, 100)
    assert answers == [None if n % GROUP == 0 else "keyframesOnly" for n in range(100)]


def test_a_lower_rate_leaves_pictures_out_that_were_decoded(time: Time, purse: Purse) -> None:
    one = intake(purse, fps=5)
    left_out = []
    for n in range(250):
        assert play(one, time, 1, first=n) == [None]
        left_out.append(one.leaves_out(time.now))
    assert set(left_out) == {None, "fps"}
    assert left_out.count(None) == 51  # ten seconds and their beginning


def test_a_source_whose_means_are_spent_is_passed_over_up_to_the_next_key_picture(
    time: Time, budget: DecodingBudget, purse: Purse
) -> None:
    one = intake(purse)
    assert play(one, time, 30) == [None] * 30
    budget.late()
    one.decoded(0.5)
    # The means are half of four threads: 2 s of CPU a second, and the debt is paid after a quarter of a second.
    assert play(one, time, 45, first=30) == ["overload"] * 20 + [None] * 25


def test_a_key_picture_that_cannot_be_paid_is_passed_over_too(time: Time, budget: DecodingBudget, purse: Purse) -> None:
    one = intake(purse)
    budget.late()
    play(one, time, 1)
    one.decoded(2.5)  # 1.2 s of the means, as they grow
    answers = play(one, time, 60, first=1)
    assert answers == ["overload"] * 49 + [None] * 11


def test_a_decoder_that_is_behind_skips_to_a_key_picture_once_it_has_had_its_chance(time: Time, purse: Purse) -> None:
    one = intake(purse)
    play(one, time, 26)
    late = play(one, time, 30, behind=0.6, first=26)
    assert late[:26] == [None] * 26  # a second's patience
    assert late[26:] == ["overload"] * 4
    assert one.leaves_out(time.now) == "stale"
    caught_up = play(one, time, 40, first=56)
    assert caught_up == ["overload"] * 19 + [None] * 21  # up to number 75
    assert one.leaves_out(time.now) is None


def test_a_decoder_that_catches_up_by_itself_skips_nothing(time: Time, purse: Purse) -> None:
    one = intake(purse)
    play(one, time, 26)
    assert play(one, time, 24, behind=0.6, first=26) == [None] * 24
    assert play(one, time, 24, first=50) == [None] * 24


def test_a_lag_that_stays_when_nothing_is_decoded_is_the_new_measure(time: Time, purse: Purse) -> None:
    one = intake(purse)
    play(one, time, 25)
    answers = play(one, time, 200, behind=3, first=25)
    left = answers.index("overload")
    assert left == 26  # after a second
    back = answers.index(None, left)
    assert (25 + back) % GROUP == 0
    assert 2 < (back - left) * STEP < 3.1  # two seconds, and on to the next key picture
    assert answers[back:] == [None] * (200 - back)
    assert one.lag < 0.1
    assert one.leaves_out(time.now) is None


def test_a_lag_of_half_of_what_is_allowed_makes_decoders_give_way(
    time: Time, budget: DecodingBudget, purse: Purse
) -> None:
    one = intake(purse, max_age=0.4)
    play(one, time, 25)
    play(one, time, 1, behind=0.18, first=25)
    assert budget.means() == math.inf
    play(one, time, 1, behind=0.22, first=26)
    assert budget.means() == THREADS / 2


def test_a_backlog_is_measured_from_the_quickest_packet() -> None:
    backlog = Backlog()
    assert backlog.update(5.0, 100.3) == 0
    assert backlog.update(5.04, 100.30) == 0  # came sooner
    assert backlog.update(5.08, 100.84) == pytest.approx(0.5, abs=0.01)
    assert backlog.update(5.12, 100.38) == pytest.approx(0, abs=0.01)
    assert backlog.update(1.0, 200.0) == 0  # its times began anew
    assert backlog.update(1.04, 200.54) == pytest.approx(0.5, abs=0.01)
    backlog.accept()
    assert backlog.update(1.08, 200.58) == 0


def test_a_camera_whose_clock_runs_slow_is_not_late_and_a_wrap_is_no_new_beginning() -> None:
    backlog = Backlog()
    lags = [backlog.update(n * STEP * 0.9999, 100 + n * STEP) for n in range(10_000)]
    assert max(lags) < 0.01
    wrapped = Backlog()
    period = 2**32 / 90_000
    lags = [
        wrapped.update((period - 1 + n * STEP) % period, 100 + n * STEP + (0.5 if n > 30 else 0)) for n in range(60)
    ]
    assert lags[30] == pytest.approx(0, abs=1e-6)
    assert lags[59] == pytest.approx(0.5, abs=0.02)


PACKETS = st.lists(
    st.tuples(
        st.none() | st.floats(-1e6, 1e6),  # its time
        st.booleans(),  # whether it begins a group
        st.floats(0, 10),  # seconds since the one before
        st.floats(0, 3),  # what decoding costs
    ),
    max_size=80,
)


@given(PACKETS, st.booleans(), st.sampled_from([0.0, 1.0, 30.0]))
def test_whatever_comes_a_stream_with_key_pictures_goes_on(
    packets: list[tuple[float | None, bool, float, float]], keyframes_only: bool, fps: float
) -> None:
    time = Time()
    budget = DecodingBudget(THREADS, time)
    with budget.purse() as purse, budget.purse():
        one = intake(purse, keyframes_only=keyframes_only, fps=fps)
        for pts, key, wait, cost in packets:
            time.now += wait
            why = one.passes_over(pts, key, time.now)
            assert why in (None, "overload", "keyframesOnly")
            assert one.lag >= 0
            if why is None:
                one.decoded(cost)
                assert one.leaves_out(time.now) in (None, "fps", "stale")
            elif why == "keyframesOnly":
                assert not key
        # From here on the camera is well, and this machine is not too slow for its key pictures.
        shown = []
        for n in range(round(30 / STEP)):
            time.now += STEP
            if one.passes_over(2e6 + n * STEP, n % GROUP == 0, time.now) is None:
                one.decoded(0.001)
                if one.leaves_out(time.now) is None:
                    shown.append(time.now)
        assert time.now - shown[-1] < 1.1
        assert len(shown) > 15
