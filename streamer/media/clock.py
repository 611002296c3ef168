"""When pictures were captured: from the camera's clock, the host's or the file's, whatever their timestamps do.

All functions take plain readings, so that years of a camera's life can be tested in a moment. `pts` are presentation
times in seconds, `wall` seconds since 1970 UTC, `arrived` seconds on the host's monotonic axis.
"""

import math
from datetime import datetime

import msgspec

from streamer.face import Clock

_DEFAULT_STEP = 1 / 25  # seconds between pictures, until two of them have shown it
_TICKS = 90_000  # a second, of the clock of MPEG streams and of video over RTP
# After so many seconds timestamps begin again: 32 bits over RTP, 33 in MPEG, a day where a camera counts from midnight.
_PERIODS = (2**32 / _TICKS, 2**33 / _TICKS, 86_400.0)
_ON_PERIOD = 30.0  # seconds that a wrap may be off its period: the stream may have been silent meanwhile
_JUMP = 0.5  # seconds that a clock may be off what was expected before it is said to have jumped
_BELIEVABLE = 86_400.0  # a camera that is further off the host's clock was never set
_DRIFT = 1e-3  # seconds a second that two clocks may drift apart: far more than crystals do
_AGREE = 5.0  # seconds: cameras whose pictures take longer have a wrong clock rather than a slow network


class Reading(msgspec.Struct, frozen=True):
    """When one picture was captured, seconds since 1970 UTC, and by which `clock`.

    `pts` goes on growing where the source's began again. `delay` is how many seconds the picture took to get here,
    as far as can be known; `jump` by how many seconds the clock was set since the last picture, 0 for an even clock.
    """

    captured: float
    clock: Clock
    pts: float | None
    delay: float = 0.0
    jump: float = 0.0


class Unwrapped:
    """Presentation times that never begin again.

    A step back by one of the known periods is a wrap and taken out; any other is the source's own and stays.
    """

    def __init__(self) -> None:
        self._last: float | None = None
        self._added = 0.0

    def __call__(self, pts: float) -> float:
        now = pts + self._added
        if self._last is not None:
            back = self._last - now
            for period in _PERIODS:
                if abs(back - period) < _ON_PERIOD:
                    self._added += period
                    now += period
                    break
        self._last = now
        return now


class LiveClock:
    """Capture times of one opening of a live source."""

    def __init__(self) -> None:
        self._unwrapped = Unwrapped()
        self._offset: float | None = None  # camera's wall clock - its presentation time
        self._least_transit: float | None = None
        self._last: Reading | None = None
        self._arrived = 0.0
        self._wall_offset: float | None = None  # host's wall clock - its monotonic one

    def synchronise(self, pts: float | None, wall: float) -> None:
        """The camera says that the picture of presentation time `pts`, as the source gives it, is of `wall`."""
        if pts is not None:
            # A report may belong to a picture a little before or behind the newest one, across a wrap even.
            self._offset = wall - pts

    def read(self, pts: float | None, wall: float, arrived: float, waited: float = 0.0) -> Reading:
        """Of the next picture, that arrived at `arrived`, when the host's clock showed `wall`.

        `waited` is how long it lay unread, as far as that can be told without the camera's clock.
        """
        step = arrived - self._arrived
        unwrapped = None if pts is None else self._unwrapped(pts)
        camera = None if pts is None or self._offset is None else pts + self._offset
        if camera is not None and abs(camera - wall) > _BELIEVABLE:
            camera = None
        last, host_offset = self._last, wall - arrived
        if camera is None:
            jump = 0.0 if last is None or self._wall_offset is None else host_offset - self._wall_offset
            if last is not None and last.clock == "camera":  # the camera no longer says: nothing to compare with
                jump = 0.0
            reading = Reading(wall - waited, "host", unwrapped, waited, _noticed(jump))
        else:
            reading = self._of_camera(camera, wall, unwrapped, step)
        self._last, self._arrived, self._wall_offset = reading, arrived, host_offset
        return reading

    def _of_camera(self, camera: float, wall: float, pts: float | None, step: float) -> Reading:
        transit = wall - camera
        jump, last = 0.0, self._last
        if last is not None and last.clock == "camera":
            forth = camera - last.captured
            # Pictures can be held up on their way, but never come sooner than the time that passed allows.
            jump = _noticed(forth) if forth < 0 else _noticed(max(forth - step, 0.0))
        if jump or self._least_transit is None:
            self._least_transit = transit
        self._least_transit = min(self._least_transit, transit)
        agrees = 0 <= self._least_transit <= _AGREE
        delay = transit if agrees else transit - self._least_transit
        captured = camera
        if last is not None and last.clock == "camera" and not jump:
            captured = max(camera, last.captured)  # a hair's breadth back is noise of the camera's reports
        return Reading(captured, "camera", pts, delay, jump)


class Backlog:
    """How far behind a live source is being read: pictures wait unread where a machine cannot decode them in time."""

    def __init__(self) -> None:
        self._unwrapped = Unwrapped()
        self._least: float | None = None  # the shortest way from a picture's time to its arrival
        self._last = (-math.inf, 0.0)

    def update(self, pts: float, arrived: float) -> float:
        """Seconds that a packet of presentation time `pts`, read at `arrived`, waited longer than the quickest did."""
        now = self._unwrapped(pts)
        (last, before), self._last = self._last, (now, arrived)
        transit = arrived - now
        if self._least is None or now < last:  # its times began anew
            self._least = transit
        # The clocks of camera and host drift apart.
        self._least = min(self._least + _DRIFT * (arrived - before), transit)
        return transit - self._least

    def accept(self) -> None:
        """What the newest packet waited is no backlog: reading faster did not help."""
        self._least = None


class FileClock:
    """Capture times of a file's pictures: its creation time, and seconds from its start that always grow."""

    def __init__(self, created: str, otherwise: float) -> None:
        """`created` is the container's ISO date; seconds since 1970 `otherwise`, where it holds none."""
        try:
            self._epoch = datetime.fromisoformat(created).timestamp()
        except (ValueError, OverflowError):
            self._epoch = otherwise
        self._unwrapped = Unwrapped()
        self._step = _DEFAULT_STEP
        self._start: float | None = None
        self._last = -_DEFAULT_STEP

    def read(self, pts: float | None) -> tuple[float, Reading]:
        """Seconds from the start, and the capture time, of the next picture.

        A picture without a time, or whose time goes back, comes one step behind the last; the later ones with it.
        """
        unwrapped = None if pts is None else self._unwrapped(pts)
        expected = self._last + self._step
        if unwrapped is None:
            at = expected
        else:
            if self._start is None:
                self._start = unwrapped - max(expected, 0.0)
            at = unwrapped - self._start
        if at <= self._last:
            if unwrapped is not None:
                self._start = unwrapped - expected
            at = expected
        elif self._last >= 0 and 1e-3 <= at - self._last < 1.0:
            self._step = at - self._last
        self._last = at
        return at, Reading(self._epoch + at, "file", unwrapped)


def _noticed(jump: float) -> float:
    return jump if abs(jump) > _JUMP else 0.0
