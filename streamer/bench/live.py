"""How many live streams fit, found by trying."""

from collections.abc import Callable

import msgspec

from streamer.bench.report import DROPS, Live, Percentiles, Try
from streamer.bench.run import Job, in_process
from streamer.config import Settings

MAX_AGE = 250.0  # milliseconds: a live stream does not fit if more than 1 % of its results are older
_SETTLING = 1.5  # seconds until live streams run evenly
_ON_TIME = 0.97  # of its own frames a second that a stream must deliver
_MOST = 256

Say = Callable[[str], object]


def most_that_fit(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, found by doubling and bisection; 0 if not even one does."""
    good, bad = 0, 1
    while bad <= most and fits(bad):
        good, bad = bad, 2 * bad
    bad = min(bad, most + 1)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def live_streams(settings: Settings, fps: float, seconds: float, say: Say, most: int = _MOST) -> Live:
    """How many of the one stream of `settings`, a clip of `fps`, fit at its own speed: each number is tried for so many
    seconds. Raises StreamerError.
    """
    tries: dict[int, Try] = {}

    def fits(streams: int) -> bool:
        say(f"live streams: {streams}")
        tries[streams] = _try(settings, streams, fps, max(seconds, 1.0))
        return tries[streams].fits

    fit = most_that_fit(fits, most)
    further = (tries[fit].peak_mb - tries[1].peak_mb) / (fit - 1) if fit > 1 else 0.0
    return Live(fit, tries[1].latency, MAX_AGE, round(further, 1), [tries[n] for n in sorted(tries)])


def _try(settings: Settings, streams: int, fps: float, seconds: float) -> Try:
    (clip,) = settings.streams.values()
    one = msgspec.structs.replace(clip, realtime=True)
    many = {f"live{number}": one for number in range(streams)}
    job = Job(msgspec.structs.replace(settings, streams=many), seconds=seconds, settling=_SETTLING)
    outcome = in_process(job)
    latency = Percentiles.of(outcome.ages)
    dropped = sum(outcome.skipped.get(reason, 0) for reason in DROPS)
    delivered = min(outcome.delivered.get(name, 0.0) for name in many)
    return Try(
        streams=streams,
        fits=not dropped and bool(outcome.ages) and latency.p99 < MAX_AGE and delivered >= _ON_TIME * fps,
        latency=latency,
        dropped=dropped,
        delivered=round(delivered, 2),
        searched=round(outcome.searched, 3),
        cores_busy=round(outcome.cores, 2),
        peak_mb=round(outcome.peak, 1),
    )
