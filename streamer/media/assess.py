"""Figures of a source from what was seen of it: functions of plain values, nothing is read here."""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from statistics import median

from streamer.media.clock import LiveClock, Unwrapped
from streamer.media.report import (
    Arrival,
    Clocking,
    Cost,
    FileFacts,
    KeyFrames,
    Loss,
    Opening,
    Rate,
    Seen,
    Timing,
    Video,
)

_STALL = 1.0  # seconds without a picture that count as a stall ...
_SLOW = 4  # ... if they are also more than so many usual steps


class Figures:
    """What can be computed from one `Seen`, which must hold a picture; each method is one part of the report."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._opened = seen.opened
        self._arrivals = seen.arrivals
        self._pictures = [picture for arrival in seen.arrivals for picture in arrival.pictures]
        self._times = _unwrapped([p.pts for p in self._pictures]) if seen.opened.timed else [None] * len(self._pictures)
        known = [time for time in self._times if time is not None]
        self._steps = [later - earlier for earlier, later in pairwise(known)]
        forward = [step for step in self._steps if step > 0]
        self._step = median(forward) if forward else None
        self._patience = max(_STALL, _SLOW * (self._step or 0.0))
        self._span = max(known) - min(known) if known else 0.0
        self._first = _settled([arrival.at for arrival in self._arrivals], self._step) if seen.opened.live else 0
        self._settled = [arrival for arrival in self._arrivals[self._first :] if not arrival.late]

    def opening(self) -> Opening:
        first = next(arrival for arrival in self._arrivals if arrival.pictures)
        return Opening(_ms(self._opened.took), _ms(first.at + first.cpu - self._seen.began))

    def video(self) -> Video:
        opened, (width, height) = self._opened, self._seen.size
        return Video(
            opened.codec,
            opened.profile,
            width,
            height,
            opened.pixel_format,
            self._seen.rotation,
            any(picture.b for picture in self._pictures),
            any(picture.interlaced for picture in self._pictures),
            _held_back(self._arrivals),
            opened.audio,
        )

    def rate(self) -> Rate:
        forward = [step for step in self._steps if step > 0]
        fps = len(forward) / sum(forward) if forward else None
        arriving = self._flow(lambda arrival: len(arrival.pictures))
        declared = _fps(self._opened.declared_fps)
        return Rate(self._variable(), declared, _fps(fps), _fps(arriving), self._bit_rate())

    def key_frames(self) -> KeyFrames:
        at = [n for n, picture in enumerate(self._pictures) if picture.key]
        intervals = [later - earlier for earlier, later in pairwise(at)]
        rate = self.rate()
        fps = rate.fps or rate.best
        if not intervals:
            rest = len(self._pictures) - (at[0] if at else 0)
            return KeyFrames(len(at), at_least_seconds=round(rest / fps, 1) if fps else None)
        longest = max(intervals)
        return KeyFrames(len(at), longest, round(longest / fps, 2) if fps else None)

    def timing(self) -> Timing:
        """Of a live source the first time may be missing: its clock is only just being set up."""
        times = [p.pts for p in self._pictures[1 if self._opened.live else 0 :]]
        missing = sum(time is None for time in times)
        backward = sum(step <= 0 for step in self._steps)
        pauses = self._pauses()
        jitter, worst = self._jitter()
        return Timing(
            self._opened.timed and self._step is not None,
            missing,
            backward,
            sum(pause > self._patience for pause in pauses),
            jitter,
            worst,
            _ms(max(pauses)) if pauses else None,
        )

    def clock(self) -> Clocking:
        """As `run` would take it; the offset is that of the picture that came quickest."""
        if not self._opened.live:
            return Clocking("file")
        clock, readings = LiveClock(), []
        for arrival in self._arrivals:
            if arrival.camera is not None:
                clock.synchronise(arrival.pts, arrival.camera)
            readings += [clock.read(picture.pts, arrival.wall, arrival.at) for picture in arrival.pictures]
        told = [a for a in self._arrivals if a.camera is not None]
        if not told:
            return Clocking("host")
        offset = max(a.camera - a.wall for a in told if a.camera is not None)
        unset = readings[-1].clock != "camera" and readings[-1].pts is not None
        jumps = sum(bool(reading.jump) for reading in readings)
        return Clocking("host" if unset else "camera", unset, _ms(offset), _ms(_unsteady(told)), jumps)

    def loss(self) -> Loss:
        gaps = [] if self._variable() or not self._step else [s for s in self._steps if s > 1.5 * self._step]
        return Loss(
            len(self._arrivals),
            len(self._pictures),
            self._seen.missed,
            sum(a.undecodable for a in self._arrivals),
            sum(p.corrupt for p in self._pictures) + sum(a.corrupt and not a.pictures for a in self._arrivals),
            len(gaps),
            sum(round(gap / self._step) - 1 for gap in gaps) if self._step else 0,
        )

    def cost(self) -> Cost:
        seconds = sum(arrival.cpu for arrival in self._arrivals) / len(self._pictures)
        cores, fps = self._seen.cores, self.rate().best
        if not fps or not seconds:
            return Cost(round(seconds * 1000, 2), cores)
        share = seconds * fps
        return Cost(round(seconds * 1000, 2), cores, round(share, 4), round(share / cores, 4), round(1 / share, 1))

    def file(self) -> FileFacts | None:
        if self._opened.live:
            return None
        whole = self._seen.ending == "endOfFile"
        duration = self._span + (self._step or 0.0) if whole and self._span else self._opened.duration
        frames = self._opened.frames or (len(self._pictures) if whole else None)
        return FileFacts(whole, self._opened.cut_off, None if duration is None else round(duration, 3), frames)

    def _variable(self) -> bool:
        """Steps that are no multiple of the usual one; multiples are holes."""
        usual = self._step
        if not usual or len(self._steps) < 8:
            return False
        ratios = [step / usual for step in self._steps if step > 0]
        odd = sum(ratio < 0.7 or abs(ratio - round(ratio)) > 0.3 for ratio in ratios)
        return odd > 0.1 * len(ratios)

    def _bit_rate(self) -> float | None:
        if self._opened.live:
            bits = self._flow(lambda arrival: 8 * arrival.size)
        else:
            bits = 8 * sum(arrival.size for arrival in self._arrivals) / self._span if self._span else None
        return None if bits is None else round(bits)

    def _flow(self, count: Callable[[Arrival], int]) -> float | None:
        """How many a second came of what is counted, while they came; None of a file."""
        pairs = [(b.at - a.at, count(b)) for a, b in pairwise(self._settled) if b.at - a.at <= self._patience]
        seconds = sum(gap for gap, _ in pairs)
        return sum(n for _, n in pairs) / seconds if self._opened.live and seconds > 0 else None

    def _pauses(self) -> list[float]:
        """Seconds between pictures as they came, and since the last one."""
        if not self._opened.live:
            return []
        came = [arrival.at for arrival in self._settled if arrival.pictures]
        return [later - earlier for earlier, later in pairwise([*came, self._seen.ended])] if came else []

    def _jitter(self) -> tuple[float | None, float | None]:
        """Milliseconds off an even flow: of 95 in 100 pictures, and of the worst."""
        if not self._opened.live or self._step is None:
            return None, None
        times, late = iter(self._times), []
        for n, arrival in enumerate(self._arrivals):
            off = [arrival.at - t for _ in arrival.pictures if (t := next(times)) is not None]
            late += [] if n < self._first or arrival.late else off
        if len(late) < 2:
            return None, None
        usual = median(late)
        deviations = sorted(abs(one - usual) for one in late)
        return _ms(deviations[int(0.95 * (len(deviations) - 1))]), _ms(deviations[-1])


def _unwrapped(times: Sequence[float | None]) -> list[float | None]:
    unwrap = Unwrapped()
    return [None if time is None else unwrap(time) for time in times]


def _settled(came: Sequence[float], step: float | None) -> int:
    """The index from where packets come as they are sent: those before lay ready when it opened."""
    if step is None:
        step = median([b - a for a, b in pairwise(came)]) if len(came) > 1 else 0.0
    return next((n for n, (a, b) in enumerate(pairwise(came), start=1) if b - a > step / 2), 0)


def _held_back(arrivals: Sequence[Arrival]) -> int:
    """How many pictures the decoder was behind when it was least so; later damage only adds to it."""
    arrivals = [a for a in arrivals if a.size]  # at its end the decoder gives all it has
    behind = accumulate(not a.undecodable for a in arrivals)
    shown = accumulate(len(a.pictures) for a in arrivals)
    return max(min((b - s for b, s in zip(behind, shown, strict=True) if s), default=0), 0)


def _unsteady(told: Sequence[Arrival]) -> float:
    """Seconds between the two reports that contradict each other most about when the camera's time began."""
    unwrap = Unwrapped()
    began = [a.camera - unwrap(a.pts) for a in told if a.camera is not None and a.pts is not None]
    return max(began) - min(began) if began else 0.0


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _fps(rate: float | None) -> float | None:
    """A rate that can be true; containers without one say 90000 or 1000."""
    return round(rate, 2) if rate and 0 < rate <= 240 else None
