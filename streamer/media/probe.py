"""Looking at one source for some seconds: reads it as `run` would, and notes everything that can be seen."""

import math
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import av
import av.logging
import msgspec
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from streamer.config import StreamSettings
from streamer.errors import CorruptError, DisconnectedError, SourceError, SourceTimeoutError
from streamer.media.address import Address, check, resolve
from streamer.media.advice import snippet, sub_stream, warnings
from streamer.media.assess import Figures
from streamer.media.faults import typed
from streamer.media.frames import displayed
from streamer.media.live import camera_time
from streamer.media.recorded import end_of_index
from streamer.media.report import Arrival, Ending, Opened, Report, Seen, Shown
from streamer.media.video import open_container, video_stream

_FAREWELL = 0.3  # seconds that the reader gets to close the source once time is up
_MISSED = re.compile(r"RTP: missed (\d+) packets")
_UNTIMED = {"mpjpeg"}  # formats without timestamps, for which FFmpeg makes up even ones


def probe(stream: StreamSettings, seconds: float, cores: int = 1) -> Report:
    """What `stream` is like, seen over `seconds`; of a file, as much as can be read in that time.

    Ctrl-C ends it early. Takes no longer than `seconds` and the stream's open time-out together, whatever the source
    does. `cores` is how many CPU threads this process may use. Raises SourceError for a source without a picture.
    """
    where = resolve(stream)
    if where.kind == "demo":
        raise SourceError("the demo is made here: there is nothing to look at", "name a camera, file or stream")
    check(where)
    watch = _Watch(where, stream, seconds)
    try:
        watch.wait()
    except KeyboardInterrupt:
        if not watch.shown:
            raise
        watch.ending = "interrupted"
    finally:
        watch.left = True
    return assess(stream, where, watch.seen(cores))


def assess(stream: StreamSettings, where: Address, seen: Seen) -> Report:
    """The report on a source of which `seen`, with a picture at least, was seen."""
    figures = Figures(seen)
    report = Report(
        source=where.shown,
        kind=where.kind,
        live=seen.opened.live,
        seconds=round(seen.ended - seen.began - seen.opened.took, 2),
        ending=seen.ending,
        opening=figures.opening(),
        video=figures.video(),
        rate=figures.rate(),
        key_frames=figures.key_frames(),
        timing=figures.timing(),
        clock=figures.clock(),
        loss=figures.loss(),
        cost=figures.cost(),
        transport=stream.transport if where.kind == "rtsp" else "",
        file=figures.file(),
    )
    return msgspec.structs.replace(
        report,
        warnings=warnings(report),
        sub_stream=sub_stream(where, report),
        snippet=snippet(stream, where, report),
    )


class _Watch:
    """A thread that reads, and what it has seen so far. One that does not come back is left behind."""

    def __init__(self, where: Address, stream: StreamSettings, seconds: float) -> None:
        self.ending: Ending = "time"
        self.shown = False
        self.left = False
        self._where, self._stream, self._seconds = where, stream, seconds
        self._opened: Opened | None = None
        self._arrivals: list[Arrival] = []
        self._live, self._patience = True, math.inf  # seconds until FFmpeg hands over what it held back
        self._size, self._rotation = (0, 0), 0
        self._error: SourceError | None = None  # counts only where no picture came before it
        self._defect: SourceError | None = None
        self._log: list[tuple[int, str, str]] = []
        self._ready, self._done = threading.Event(), threading.Event()
        self._began = time.monotonic()
        threading.Thread(target=self._run, name="probe", daemon=True).start()

    def wait(self) -> None:
        """Until the source has ended or time is up."""
        last = self._began + self._stream.open_timeout + self._seconds
        if self._ready.wait(last - time.monotonic()):
            enough = time.monotonic() + self._seconds + _FAREWELL
            self._done.wait(max(min(enough, last) - time.monotonic(), 0.0))

    def seen(self, cores: int) -> Seen:
        """All so far. Raises SourceError where there was no picture."""
        ended = time.monotonic()
        if self._defect is not None:
            raise self._defect
        if self._opened is None or not self.shown:
            raise self._error or self._no_picture(ended - self._began)
        missed = sum(int(found[1]) for _, _, line in list(self._log) if (found := _MISSED.search(line)))
        return Seen(
            opened=self._opened,
            arrivals=tuple(self._arrivals),
            began=self._began,
            ended=ended,
            ending=self.ending,
            size=self._size,
            rotation=self._rotation,
            missed=missed,
            cores=cores,
        )

    def _no_picture(self, waited: float) -> SourceError:
        where, came = self._where.shown, len(self._arrivals)
        if came or self.ending == "endOfFile":
            return CorruptError(f"{where}: not one picture can be decoded", f"{came} packets came; are they complete?")
        if self.ending == "closed":
            return DisconnectedError(f"{where}: the stream ended", "the camera or server closed it")
        return SourceTimeoutError(f"{where}: no picture for {waited:.1f} s", "is the camera still sending?")

    def _run(self) -> None:
        try:
            self._read()
        except (av.error.FFmpegError, OSError) as error:
            self._error = typed(error, self._where.shown)
            self.ending = "stalled" if isinstance(self._error, SourceTimeoutError) else "closed"
        except SourceError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001  # a reader must not die unheard, whatever went wrong in it
            self._defect = SourceError(f"{self._where.shown}: {type(error).__name__}: {error}")
        self._ready.set()
        self._done.set()

    def _read(self) -> None:
        with (
            _ffmpeg_log() as self._log,
            open_container(self._where, self._stream) as container,
        ):
            video = video_stream(container, self._where)
            video.codec_context.thread_count = 1  # so that this thread's CPU time is all that decoding takes
            until = time.monotonic() + self._seconds
            self._opened = opened = _opened(self._where, container, video, time.monotonic() - self._began)
            self._live = opened.live
            if self._live and self._where.kind != "webcam":
                self._patience = self._stream.stall / 2
            self._ready.set()
            for packet in container.demux(video):
                self._note(packet)
                if self.left or time.monotonic() > until:
                    return
            self.ending = "closed" if opened.live else "endOfFile"

    def _note(self, packet: "Packet[VideoStream]") -> None:
        at, wall, cpu = time.monotonic(), time.time(), time.thread_time()
        pictures: list[VideoFrame] = []
        undecodable = False
        try:
            pictures = packet.decode()
        except av.error.InvalidDataError:
            undecodable = True
        cpu = time.thread_time() - cpu
        if not packet.size and (self._live or not pictures):
            return  # the end: the decoder gives all that it held back, at a time that means nothing
        if pictures:
            self._rotation = -pictures[-1].rotation % 360
            self._size = displayed(pictures[-1])
        self._arrivals.append(
            Arrival(
                at=at,
                wall=wall,
                size=packet.size,
                pts=None if packet.pts is None else float(packet.pts * packet.time_base),
                key=packet.is_keyframe,
                corrupt=packet.is_corrupt,
                camera=camera_time(packet),
                late=bool(self._arrivals) and at - self._arrivals[-1].at > 0.9 * self._patience,
                cpu=cpu,
                undecodable=undecodable,
                pictures=tuple(_shown(picture) for picture in pictures),
            )
        )
        self.shown = self.shown or bool(pictures)


@contextmanager
def _ffmpeg_log() -> Iterator[list[tuple[int, str, str]]]:
    """FFmpeg's warnings in this thread, as (level, part, line): nothing else tells how many packets it missed."""
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture(local=True) as lines:
            yield lines
    finally:
        # Never back to a level that another probe has set meanwhile: as long as there is one, a decoder that is closed
        # waits for threads of its own that wait for the interpreter to take their words.
        av.logging.set_level(None)


def _opened(where: Address, container: InputContainer, video: VideoStream, took: float) -> Opened:
    context = video.codec_context
    rate = context.framerate or video.average_rate
    live = where.live if where.live is not None else container.duration is None
    return Opened(
        live=live,
        took=took,
        codec=context.name,
        profile=context.profile or "",
        pixel_format=context.pix_fmt or "",
        declared_fps=float(rate) if rate else None,
        audio=container.streams.audio[0].codec_context.name if container.streams.audio else "",
        duration=container.duration / av.time_base if container.duration else None,
        frames=video.frames or None,
        cut_off=not live and bool(video.frames) and container.size < end_of_index(video),
        timed=container.format.name not in _UNTIMED,
    )


def _shown(picture: VideoFrame) -> Shown:
    b = picture.pict_type == PictureType.B
    return Shown(picture.time, picture.key_frame, b, picture.is_corrupt, picture.interlaced_frame)
