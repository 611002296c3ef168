"""A whole clip: how long it is, and its sound, which goes into another video of it."""

from collections.abc import Iterator
from contextlib import ExitStack
from heapq import merge
from math import inf
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from streamer.config import StreamSettings
from streamer.media.address import check, resolve
from streamer.media.faults import typed
from streamer.media.video import open_container, video_stream

_Packets = Iterator["Packet[Stream]"]
_AT_FRONT = {"movflags": "+faststart"}


def count_pictures(clip: Path) -> int:
    """About how many pictures a file holds; 0 where it does not say. Raises SourceError."""
    stream = StreamSettings(str(clip))
    where = check(resolve(stream))
    try:
        with open_container(where, stream) as container:
            video = video_stream(container, where)
            if video.frames:
                return int(video.frames)
            seconds = (container.duration or 0) / av.time_base
            return round(seconds * float(video.average_rate or 0))
    except (av.error.FFmpegError, OSError) as error:
        raise typed(error, where.shown) from error


def complete(video: Path, clip: Path) -> str:
    """Write `video`, made of all of `clip`, anew: with the clip's sound, and with its index in front, so that it can be
    shown while it is loaded. Says in words what became of the sound. Raises FFmpegError, OSError; `video` is
    as it was then.
    """
    beside = video.with_name(f".{video.stem}.unfinished{video.suffix}")
    try:
        try:
            said = _rewrite(video, clip, beside)
        except (ValueError, av.error.ArgumentError):  # this kind of sound cannot be in this kind of file
            _rewrite(video, None, beside)
            said = f"without its sound, which {video.suffix} cannot hold: try .mkv"
        beside.replace(video)
        return said
    finally:
        beside.unlink(missing_ok=True)


def _rewrite(video: Path, clip: Path | None, into: Path) -> str:
    options = {} if video.suffix.lower() == ".mkv" else _AT_FRONT
    with ExitStack() as stack:
        pictures = stack.enter_context(av.open(str(video)))
        target = stack.enter_context(av.open(str(into), "w", options=options))
        target.metadata.update(pictures.metadata)
        packets = [_copied(pictures, pictures.streams.video[0], target)]
        if clip is not None:
            source = stack.enter_context(av.open(str(clip)))
            for sound in source.streams.audio[:1]:
                until = (pictures.duration or 0) / av.time_base
                packets.append(_copied(source, sound, target, _start(source), until))
        target.start_encoding()
        for packet in merge(*packets, key=_sent):
            target.mux(packet)
    return "with its sound" if len(packets) > 1 else "without sound"


def _copied(
    source: InputContainer, stream: Stream, target: OutputContainer, start: float = 0.0, until: float = inf
) -> _Packets:
    """The packets of a stream between `start` and `until` seconds behind that, for a new stream of `target`."""
    return _moved(source, stream, target.add_stream_from_template(stream), start, until)


def _moved(source: InputContainer, stream: Stream, to: Stream, start: float, until: float) -> _Packets:
    for packet in source.demux(stream):
        if packet.dts is None or packet.pts is None or packet.time_base is None:
            continue
        back = round(start / packet.time_base)
        packet.pts, packet.dts = packet.pts - back, packet.dts - back
        if _sent(packet) >= until:
            return
        if packet.dts >= 0:
            packet.stream = to
            yield packet


def _sent(packet: "Packet[Stream]") -> float:
    return float((packet.dts or 0) * (packet.time_base or 0))


def _start(source: InputContainer) -> float:
    """When the first picture of a clip is shown, in seconds."""
    video = source.streams.video[0]
    return float((video.start_time or 0) * (video.time_base or 0))
