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
    damage = Damage(video.codec_context, lossy=where.options.get("rtsp_transport") == "udp")
    for packet in container.demux(video):
        arrived = time.monotonic()
        # When its patience is at an end FFmpeg hands over the picture that it held back: by now an old one.
        stale = arrived - last > 0.9 * stream.stall / 2
        _synchronise(clock, packet)
        passed_over = intake.passes_over(_sent(packet, where), packet.is_keyframe, arrived)
        damage.read(packet, decoded=not passed_over)
        pictures: list[VideoFrame] = []
        if not passed_over:
            began = time.thread_time()
            try:
                pictures = packet.decode()
            except av.error.FFmpegError:  # not only InvalidDataError: whatever a broken parameter set leads to
                damage.found()
                passed_over = "corrupt"
            intake.decoded(time.thread_time() - began)
        if passed_over and packet.size and frames.begun:  # nobody will see it, but it has its place in the order
            yield frames.passed_over(arrived, clock.read(None, time.time(), arrived), passed_over)
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


def _sent(packet: "Packet[VideoStream]", where: Address) -> float | None:
    """When the camera sent the packet, on its own axis in seconds; other sources make times up or send in bursts."""
    if where.kind != "rtsp" or packet.dts is None:
        return None
    return float(packet.dts * packet.time_base)


def _synchronise(clock: LiveClock, packet: "Packet[VideoStream]") -> None:
    wall = camera_time(packet)
    if wall is not None and packet.pts is not None:
        clock.synchronise(float(packet.pts * packet.time_base), wall)


def camera_time(packet: "Packet[VideoStream]") -> float | None:
    """When the packet's picture was captured by the camera's own word, in seconds since 1970 UTC; None if it has none.

    FFmpeg gives it as "producer reference time", in microseconds.
    """
    if not packet.has_sidedata("prft"):
        return None
    (wall,) = struct.unpack_from("=q", bytes(packet.get_sidedata("prft")))
    return float(wall) / 1e6
