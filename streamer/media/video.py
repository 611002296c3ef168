"""Frames of a camera, stream or file, decoded by PyAV in a thread of their own."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamer.config import StreamSettings
from streamer.errors import CorruptError, DisconnectedError, NotVideoError, SourceTimeoutError, UnreachableError
from streamer.face import Frame, Pixels
from streamer.media.address import Address, check
from streamer.media.faults import typed

# FFmpeg would show these text formats as pictures of their letters.
_NOT_VIDEO = {"tty", "bin", "xbin", "adf", "idf"}
_DEFAULT_FPS = 25.0

Put = Callable[[Frame, bool], bool]


def read_video(where: Address, stream: StreamSettings, first_seq: int, put: Put) -> None:
    """Hand every frame to `put(frame, newest_wins)` until it says False or a file ends.

    Raises SourceError; a live stream that ends raises DisconnectedError.
    """
    check(where)
    try:
        with _open(where, stream) as container:
            video = _video_stream(container, where)
            live = where.live if where.live is not None else container.duration is None
            # One frame at a time for the least delay; several at once where only throughput counts.
            video.thread_type = "SLICE" if live else "FRAME"
            if live:
                frames = _live_frames(container, video, first_seq, stream.stall / 2)
            else:
                frames = _file_frames(container, video, first_seq, _FileTime(where, container))
            for frame in frames:
                if not put(frame, live):
                    return
    except (av.error.FFmpegError, OSError) as error:
        raise typed(error, where.shown) from error
    if live:
        raise DisconnectedError(f"{where.shown}: the stream ended", "the camera or server closed it")


def _open(where: Address, stream: StreamSettings) -> InputContainer:
    local = where.kind in ("file", "webcam")
    # FFmpeg notices that reading takes too long only at the second half of the time allowed.
    timeout = None if local else (stream.open_timeout, stream.stall / 2)
    start = time.monotonic()
    try:
        return av.open(where.url, format=where.format, options=dict(where.options), timeout=timeout)
    except av.error.InvalidDataError as error:
        if where.kind != "rtsp":
            raise
        # To FFmpeg an RTSP server that never answers, or hangs up meanwhile, looks like bad data.
        if time.monotonic() - start > 0.9 * stream.open_timeout:
            raise SourceTimeoutError(f"{where.shown}: no answer in time", "is it the right port?") from error
        raise UnreachableError(
            f"{where.shown}: the connection broke off", "is it an RTSP server? is it busy?"
        ) from error


def _video_stream(container: InputContainer, where: Address) -> VideoStream:
    if container.format.name in _NOT_VIDEO or not container.streams.video:
        raise NotVideoError(f"{where.shown}: holds no video", "is it the right file or stream?")
    video = container.streams.video[0]
    if video.disposition & av.stream.Disposition.attached_pic:
        raise NotVideoError(f"{where.shown}: holds sound and a cover picture, but no video")
    if video.codec_context is None:
        raise NotVideoError(f"{where.shown}: its video codec is not known to this FFmpeg")
    return video


def _live_frames(container: InputContainer, video: VideoStream, first_seq: int, patience: float) -> Iterator[Frame]:
    """Frames as they come; `patience` is how long FFmpeg waits for one, in seconds."""
    seq, last = first_seq, time.monotonic()
    for packet in container.demux(video):
        # When its patience is at an end FFmpeg hands over the picture that it held back: by now an old one.
        stale = time.monotonic() - last > 0.9 * patience
        try:
            pictures = packet.decode()
        except av.error.InvalidDataError:
            continue  # the decoder recovers at the next key frame; if not, the missing frames are noticed
        for picture in pictures:
            yield _frame(picture, seq, seq - first_seq, None, skipped="stale" if stale else None)
            seq += 1
        last = time.monotonic()


def _file_frames(container: InputContainer, video: VideoStream, first_seq: int, clock: "_FileTime") -> Iterator[Frame]:
    """Every frame of a file; CorruptError at the end of a damaged one."""
    damaged, count = 0, 0
    for packet in container.demux(video):
        try:
            pictures = packet.decode()
        except av.error.InvalidDataError:
            damaged += 1
            continue
        for picture in pictures:
            yield _frame(picture, first_seq + count, count, clock)
            count += 1
    if not count:
        raise CorruptError(f"{container.name}: not one picture can be decoded", "is the file cut off or damaged?")
    if damaged or _cut_short(container, video, count):
        raise CorruptError(
            f"{container.name}: is damaged or cut off: {count} pictures could be decoded of"
            f" {video.frames or 'an unknown number'}",
            "all that could be decoded was analysed",
        )


def _cut_short(container: InputContainer, video: VideoStream, count: int) -> bool:
    """Whether a file ends before the pictures that its index announces."""
    return 0 < count < video.frames and container.size < _end_of_index(video)


def _end_of_index(video: VideoStream) -> int:
    """The byte after the last packet that the file's index knows of, 0 where there is no index."""
    entries = video.index_entries
    return max((entry.pos + entry.size for entry in entries), default=0)


class _FileTime:
    """Turns a file's timestamps into seconds from its start, always growing, and into times of day."""

    def __init__(self, where: Address, container: InputContainer) -> None:
        self._start: float | None = None
        self._last = -1.0
        created = container.metadata.get("creation_time", "")
        try:
            self._epoch = datetime.fromisoformat(created).timestamp()
        except ValueError:
            self._epoch = Path(where.url).stat().st_mtime if where.kind == "file" else time.time()

    def place(self, pts: float | None, index: int) -> tuple[float, float]:
        """(`at`, `captured`) of the picture."""
        if pts is None:
            pts = index / _DEFAULT_FPS
        if self._start is None:
            self._start = pts
        self._last = max(pts - self._start, self._last + 1e-3)
        return self._last, self._epoch + self._last


def _frame(picture: VideoFrame, seq: int, index: int, file_time: _FileTime | None, skipped: str | None = None) -> Frame:
    arrived = time.monotonic()
    at, captured = file_time.place(picture.time, index) if file_time else (arrived, time.time())
    turned = picture.rotation % 180 != 0
    return Frame(
        seq=seq,
        index=index,
        at=at,
        captured=captured,
        arrived=arrived,
        width=picture.height if turned else picture.width,
        height=picture.width if turned else picture.height,
        pixels=partial(_to_bgr, picture),
        pts=picture.time,
        clock="file" if file_time else "host",
        skipped="corrupt" if picture.is_corrupt else skipped,
    )


def _to_bgr(picture: VideoFrame) -> Pixels:
    pixels = cast(Pixels, picture.to_ndarray(format="bgr24"))
    quarter_turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns)) if quarter_turns else pixels
