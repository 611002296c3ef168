"""Reading what cannot wait: cameras and live streams."""

import struct
import time
from collections.abc import Iterator

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamer.errors import CorruptError
from streamer.face import Frame
from streamer.media.address import Address
from streamer.media.budget import Purse
from streamer.media.clock import LiveClock
from streamer.media.damage import Damage
from streamer.media.frames import FrameMaker
from streamer.media.intake import Intake
from streamer.media.opening import Opening


def live_frames(container: InputContainer, video: VideoStream, opening: Opening) -> Iterator[Frame]:
    """Frames as they come, unless this machine cannot keep up.

    Once one is damaged all are passed over until the next clean key picture, because they are made from it. Raises
    CorruptError if none is clean for as long as a stream may stall.
    """
    with opening.host.decoding.purse() as purse:
        yield from _frames(container, video, opening, purse)


def _frames(container: InputContainer, video: VideoStream, opening: Opening, purse: Purse) -> Iterator[Frame]:
    where, stream = opening.where, opening.stream
    frames = FrameMaker(opening.first_seq, stream.rotate, live=True)
    last, clock, intake = time.monotonic(), LiveClock(), Intake(stream, purse)
    damage, gap = Damage(video.codec_context, lossy=where.options.get("rtsp_transport") == "udp"), False
    for packet in container.demux(video):
        arrived = time.monotonic()
        # When its patience is at an end FFmpeg hands over the picture that it held back: by now an old one.
        stale = arrived - last > 0.9 * stream.stall / 2
        _synchronise(clock, packet)
        passed_over = intake.passes_over(_sent(packet, where), packet.is_keyframe, arrived)
        damage.read(packet, decoded=not passed_over)
        pictures: list[VideoFrame] = []
        gap = gap or passed_over is not None
        if not passed_over:
            began = time.thread_time()
            try:
                pictures, gap = _decoded(packet, alone=stream.keyframes_only, gap=gap), False
            except av.error.FFmpegError:  # not only InvalidDataError: whatever a broken parameter set leads to
                damage.found()
                passed_over = "corrupt"
            intake.decoded(time.thread_time() - began)
        if passed_over and packet.size and frames.begun:  # nobody will see it, but it has its place in the order
            reading = clock.read(_shown(packet), time.time(), arrived, intake.lag)
            yield frames.passed_over(arrived, reading, passed_over)
        for picture in damage.settled(pictures):
            arrived = time.monotonic()
            reading = clock.read(picture.time, time.time(), arrived, intake.lag)
            reason = "corrupt" if damage.spoils(picture) else "stale" if stale else intake.leaves_out(arrived)
            yield frames.seen(picture, arrived, reading, reason)
        if damage.hopeless:
            raise CorruptError(f"{where.shown}: nothing can be decoded any more", "did the camera change its codec?")
        last = time.monotonic()
        if damage.since is not None and last - damage.since > stream.stall:
            raise CorruptError(
                f"{where.shown}: no clean picture for {stream.stall:g} s",
                "packets are lost on the way: try transport = tcp, a cable, or the camera's smaller stream",
            )


def _decoded(packet: "Packet[VideoStream]", *, alone: bool, gap: bool) -> list[VideoFrame]:
    """The pictures of a packet. Behind a `gap` none that the decoder held back from before: they are old by now. One
    that stands `alone` is not held back for others that might have to be shown before it.
    """
    codec = packet.stream.codec_context
    if gap:
        codec.flush_buffers()
    pictures = packet.decode()
    if alone and packet.size and not pictures:
        pictures = codec.decode(None)
        codec.flush_buffers()
        for picture in pictures:
            picture.time_base = packet.time_base
    return pictures


def _sent(packet: "Packet[VideoStream]", where: Address) -> float | None:
    """When the camera sent the packet, on its own axis in seconds; other sources make times up or send in bursts."""
    if where.kind != "rtsp" or packet.dts is None:
        return None
    return float(packet.dts * packet.time_base)


def _shown(packet: "Packet[VideoStream]") -> float | None:
    """The presentation time of its picture, in seconds."""
    return None if packet.pts is None else float(packet.pts * packet.time_base)


def _synchronise(clock: LiveClock, packet: "Packet[VideoStream]") -> None:
    wall = camera_time(packet)
    if wall is not None:
        clock.synchronise(_shown(packet), wall)


def camera_time(packet: "Packet[VideoStream]") -> float | None:
    """When the packet's picture was captured by the camera's own word, in seconds since 1970 UTC; None if it has none.

    FFmpeg gives it as "producer reference time", in microseconds.
    """
    if not packet.has_sidedata("prft"):
        return None
    (wall,) = struct.unpack_from("=q", bytes(packet.get_sidedata("prft")))
    return float(wall) / 1e6
