"""Reading what can wait: files, every frame of them."""

import time
from collections.abc import Iterator
from pathlib import Path

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamer.analysis.pace import Pace
from streamer.config import StreamSettings
from streamer.errors import CorruptError, SourceError
from streamer.face import Frame
from streamer.media.address import Address
from streamer.media.clock import FileClock
from streamer.media.frames import FrameMaker
from streamer.media.opening import Opening

_LONGEST_PAUSE = 1.0  # seconds between two pictures of a file that is shown at its own speed


def recorded_frames(container: InputContainer, video: VideoStream, opening: Opening) -> Iterator[Frame]:
    """Every frame of a file, over and over if it loops; CorruptError at the end of a damaged one."""
    where, stream = opening.where, opening.stream
    frames = FrameMaker(opening.first_seq, stream.rotate, live=stream.realtime)
    clock, pace, start = _clock(where, container), Pace(1 / stream.fps if stream.fps else 0.0), time.monotonic()
    while True:
        damage = _Damage()
        for picture in _pictures(container, video, damage):
            at, reading = clock.read(picture.time)
            if stream.realtime:
                start = _wait(start, at)
            reason = _left_out(picture, stream) or (None if pace.due(at) else "fps")
            yield frames.seen(picture, time.monotonic() if stream.realtime else at, reading, reason)
        _check(container, video, damage, frames.index)
        if not stream.loop:
            return
        _rewind(container)
        frames.index = 0


def _rewind(container: InputContainer) -> None:
    try:
        container.seek(0)
    except (av.error.FFmpegError, OSError) as error:
        raise SourceError(
            f"{container.name}: cannot be shown again, for this format has no way back to its beginning",
            "put it into another: ffmpeg -i IT -c copy new.mp4",
        ) from error


class _Damage:
    """How many packets could not be decoded."""

    packets = 0


def _pictures(container: InputContainer, video: VideoStream, damage: _Damage) -> Iterator[VideoFrame]:
    for packet in container.demux(video):
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            damage.packets += 1


def _left_out(picture: VideoFrame, stream: StreamSettings) -> str | None:
    if picture.is_corrupt:
        return "corrupt"
    return "keyframesOnly" if stream.keyframes_only and not picture.key_frame else None


def _wait(start: float, at: float) -> float:
    """Until `at` seconds after the `start`; gives that again, an earlier one where the file has a long gap."""
    due = start + at
    latest = time.monotonic() + _LONGEST_PAUSE
    time.sleep(max(min(due, latest) - time.monotonic(), 0))  # the file's own clock
    return start + min(latest - due, 0)


def _check(container: InputContainer, video: VideoStream, damage: _Damage, count: int) -> None:
    """Raises CorruptError if not everything could be decoded."""
    if not count:
        raise CorruptError(f"{container.name}: not one picture can be decoded", "is the file cut off or damaged?")
    if damage.packets or _cut_short(container, video, count):
        raise CorruptError(
            f"{container.name}: is damaged or cut off: {count} pictures could be decoded of"
            f" {video.frames or 'an unknown number'}",
            "all that could be decoded was analysed",
        )


def _cut_short(container: InputContainer, video: VideoStream, count: int) -> bool:
    """Whether a file ends before the pictures that its index announces."""
    return 0 < count < video.frames and container.size < end_of_index(video)


def end_of_index(video: VideoStream) -> int:
    """The byte after the last packet that the file's index knows of, 0 where there is no index."""
    entries = video.index_entries
    return max((entry.pos + entry.size for entry in entries), default=0)


def _clock(where: Address, container: InputContainer) -> FileClock:
    otherwise = Path(where.url).stat().st_mtime if where.kind == "file" else time.time()
    return FileClock(container.metadata.get("creation_time", ""), otherwise)
