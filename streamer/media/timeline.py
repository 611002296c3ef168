"""When each picture of a stream is shown in a video of it: real times, from the first picture on, that always grow."""

from streamer.face import Frame

_LEAST = 1e-3  # seconds from one picture to the next


class Timeline:
    """`place` every frame of a stream, in order, also those that are not shown: they may tell that a clock was set.

    Files keep their own times. Of live streams it is the time between two captures that counts; where a clock was set,
    or another took over, that between two arrivals.
    """

    def __init__(self) -> None:
        self._last: Frame | None = None
        self._now = 0.0

    def place(self, frame: Frame) -> float:
        """Seconds from the start of the video; a file's first picture is at the time that it has in the file."""
        last, self._last = self._last, frame
        if last is None:
            self._now = 0.0 if frame.live else max(frame.at, 0.0)
        else:
            self._now += max(_step(last, frame), _LEAST)
        return self._now


def _step(last: Frame, frame: Frame) -> float:
    if not frame.live:
        return frame.at - last.at
    captured = frame.captured - last.captured
    if frame.clock != last.clock or frame.jump or captured <= 0:
        return frame.arrived - last.arrived
    return captured
