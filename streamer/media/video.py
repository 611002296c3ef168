"""Frames of a camera, stream or file, decoded by PyAV in a thread of their own."""

import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamer.config import StreamSettings
from streamer.errors import CorruptError, DisconnectedError, NotVideoError, SourceTimeoutError, UnreachableError
from streamer.face import Frame, Pixels, no_pixels
from streamer.media.address import Address, check
from streamer.media.clock import FileClock, LiveClock, Reading
from streamer.media.damage import Damage
from streamer.media.faults import typed

# FFmpeg would show these text formats as pictures of their letters.
_NOT_VIDEO = {"tty", "bin", "xbin", "adf", "idf"}

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
                frames = _live_frames(container, video, first_seq, stream.stall / 2, where)
            else:
                frames = _file_frames(container, video, first_seq, _file_clock(where, container))
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


def _live_frames(
    container: InputContainer, video: VideoStream, first_seq: int, patience: float, where: Address
) -> Iterator[Frame]:
    """Frames as they come; `patience` is how long FFmpeg waits for one, in seconds.

    Once one is damaged all are passed over until the next clean key picture, because they are made from it. Raises
    CorruptError if none is clean for twice the patience.
    """
    seq, last, clock = first_seq, time.monotonic(), LiveClock()
    reading, size = None, (0, 0)
    damage = Damage(video.codec_context, lossy=where.options.get("rtsp_transport") == "udp")
    for packet in container.demux(video):
        # When its patience is at an end FFmpeg hands over the picture that it held back: by now an old one.
        stale = time.monotonic() - last > 0.9 * patience
        damage.read(packet)
        _synchronise(clock, packet)
        try:
            pictures = packet.decode()
        except av.error.FFmpegError:  # not only InvalidDataError: whatever a broken parameter set leads to
            pictures = []
            damage.found()
            if reading is not None:  # it has a place in the order, though nobody will see it
                arrived = time.monotonic()
                reading = clock.read(None, time.time(), arrived)
                yield _frame(None, size, seq, seq - first_seq, arrived, arrived, reading, "corrupt")
                seq += 1
        for picture in damage.settled(pictures):
            arrived, size = time.monotonic(), _displayed(picture)
            reading = clock.read(picture.time, time.time(), arrived)
            skipped = "corrupt" if damage.spoils(picture) else "stale" if stale else None
            yield _frame(picture, size, seq, seq - first_seq, arrived, arrived, reading, skipped)
            seq += 1
        if damage.hopeless:
            raise CorruptError(f"{where.shown}: nothing can be decoded any more", "did the camera change its codec?")
        last = time.monotonic()
        if damage.since is not None and last - damage.since > 2 * patience:
            raise CorruptError(
                f"{where.shown}: no clean picture for {2 * patience:g} s",
                "packets are lost on the way: try transport = tcp, a cable, or the camera's smaller stream",
            )


def _synchronise(clock: LiveClock, packet: "Packet[VideoStream]") -> None:
    """Tell the clock what the camera says about its own: FFmpeg's "producer reference time", in microseconds."""
    if packet.pts is None or not packet.has_sidedata("prft"):
        return
    (wall,) = struct.unpack_from("=q", bytes(packet.get_sidedata("prft")))
    clock.synchronise(float(packet.pts * packet.time_base), wall / 1e6)


def _file_frames(container: InputContainer, video: VideoStream, first_seq: int, clock: FileClock) -> Iterator[Frame]:
    """Every frame of a file; CorruptError at the end of a damaged one."""
    damaged, count = 0, 0
    for packet in container.demux(video):
        try:
            pictures = packet.decode()
        except av.error.InvalidDataError:
            damaged += 1
            continue
        for picture in pictures:
            at, reading = clock.read(picture.time)
            skipped = "corrupt" if picture.is_corrupt else None
            yield _frame(picture, _displayed(picture), first_seq + count, count, at, time.monotonic(), reading, skipped)
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


def _file_clock(where: Address, container: InputContainer) -> FileClock:
    otherwise = Path(where.url).stat().st_mtime if where.kind == "file" else time.time()
    return FileClock(container.metadata.get("creation_time", ""), otherwise)


def _frame(
    picture: VideoFrame | None,
    size: tuple[int, int],
    seq: int,
    index: int,
    at: float,
    arrived: float,
    reading: Reading,
    skipped: str | None = None,
) -> Frame:
    return Frame(
        seq=seq,
        index=index,
        at=at,
        captured=reading.captured,
        arrived=arrived,
        width=size[0],
        height=size[1],
        pixels=no_pixels if picture is None or skipped else partial(_to_bgr, picture),
        pts=reading.pts,
        clock=reading.clock,
        delay=reading.delay,
        jump=reading.jump,
        skipped=skipped,
    )


def _displayed(picture: VideoFrame) -> tuple[int, int]:
    """Width and height as shown, with the rotation that the file or camera asks for."""
    turned = picture.rotation % 180 != 0
    return (picture.height, picture.width) if turned else (picture.width, picture.height)


def _to_bgr(picture: VideoFrame) -> Pixels:
    pixels = cast(Pixels, picture.to_ndarray(format="bgr24"))
    quarter_turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns)) if quarter_turns else pixels
