"""Opening cameras, streams and files with PyAV, and reading them in a thread of their own."""

import time
from collections.abc import Callable

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.video.stream import VideoStream

from streamer.config import StreamSettings
from streamer.errors import (
    DisconnectedError,
    NotVideoError,
    SourceTimeoutError,
    UnreachableError,
    UnsupportedCodecError,
)
from streamer.face import Frame
from streamer.media.address import Address, check
from streamer.media.faults import typed
from streamer.media.live import live_frames
from streamer.media.opening import Opening
from streamer.media.recorded import recorded_frames

# FFmpeg would show these text formats as pictures of their letters.
_NOT_VIDEO = {"tty", "bin", "xbin", "adf", "idf"}
_NOT_FOR_WANT_OF_HARDWARE = (
    ConnectionError,
    TimeoutError,
    av.error.HTTPError,
    av.error.ExitError,
    av.error.InvalidDataError,
)

Put = Callable[[Frame, bool], bool]


def read_video(opening: Opening, put: Put) -> None:
    """Hand every frame to `put(frame, newest_wins)` until it says False or a file ends.

    Raises SourceError; a live stream that ends raises DisconnectedError.
    """
    where, stream = check(opening.where), opening.stream
    try:
        with open_container(where, stream) as container:
            video = video_stream(container, where)
            live = where.live if where.live is not None else container.duration is None
            # One frame at a time for the least delay and memory; several at once where only throughput counts.
            video.thread_type = "SLICE" if live or stream.realtime else "FRAME"
            video.codec_context.thread_count = opening.host.threads
            opening.decoder = _decoder(video, stream.hardware)
            frames = (live_frames if live else recorded_frames)(container, video, opening)
            for frame in frames:
                if not put(frame, frame.live):
                    return
    except (av.error.FFmpegError, OSError) as error:
        raise typed(error, where.shown) from error
    if live:
        raise DisconnectedError(f"{where.shown}: the stream ended", "the camera or server closed it")


def open_container(where: Address, stream: StreamSettings) -> InputContainer:
    """The source, opened within the stream's time-outs. Raises SourceError, FFmpegError or OSError: see `typed`."""
    start = time.monotonic()
    try:
        if stream.hardware:
            try:
                return _av_open(where, stream, HWAccel(stream.hardware, allow_software_fallback=True))
            except _NOT_FOR_WANT_OF_HARDWARE:
                raise
            except (av.error.FFmpegError, OSError):
                pass  # no such device on this machine; `Opening.decoder` will say so
        return _av_open(where, stream)
    except av.error.InvalidDataError as error:
        if where.kind != "rtsp":
            raise
        # To FFmpeg an RTSP server that never answers, or hangs up meanwhile, looks like bad data.
        if time.monotonic() - start > 0.9 * stream.open_timeout:
            raise SourceTimeoutError(f"{where.shown}: no answer in time", "is it the right port?") from error
        raise UnreachableError(
            f"{where.shown}: the connection broke off", "is it an RTSP server? is it busy?"
        ) from error


def _av_open(where: Address, stream: StreamSettings, hardware: HWAccel | None = None) -> InputContainer:
    local = where.kind in ("file", "webcam")
    # FFmpeg notices that reading takes too long only at the second half of the time allowed.
    timeout = None if local else (stream.open_timeout, stream.stall / 2)
    return av.open(where.url, format=where.format, options=dict(where.options), timeout=timeout, hwaccel=hardware)


def _decoder(video: VideoStream, hardware: str) -> str:
    """What decodes. FFmpeg falls back to the CPU without a word."""
    codec = video.codec_context
    if codec.is_hwaccel:
        return f"{codec.name} on {hardware}"
    return f"{codec.name} on CPU" + (f", for {hardware} cannot be used here" if hardware else "")


def video_stream(container: InputContainer, where: Address) -> VideoStream:
    """The first video in `container`. Raises NotVideoError, UnsupportedCodecError."""
    if container.format.name in _NOT_VIDEO or not container.streams.video:
        raise NotVideoError(f"{where.shown}: holds no video", "is it the right file or stream?")
    video = container.streams.video[0]
    if video.disposition & av.stream.Disposition.attached_pic:
        raise NotVideoError(f"{where.shown}: holds sound and a cover picture, but no video")
    if video.codec_context is None:
        raise UnsupportedCodecError(
            f"{where.shown}: its video codec is not known to this FFmpeg", "set the camera to H.264 or H.265"
        )
    return video
