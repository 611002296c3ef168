"""Pure functions from an mp4 clip to RTP and RTCP packets: access units, SDP, packets. No clocks, no sockets.

RFC 3550 (RTP, RTCP), RFC 6184 (H.264 in RTP), RFC 7798 (H.265 in RTP), RFC 4566 (SDP), ISO/IEC
14496-15 (avcC, hvcC).
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av

CLOCK_RATE = 90_000
"""Ticks a second of the RTP timestamp of video (RFC 6184 §8.2.1, RFC 7798 §7.1)."""

PAYLOAD_TYPE = 96
"""The first of the dynamic payload types (RFC 3551 §6)."""

NTP_EPOCH = 2_208_988_800
"""Seconds from the NTP epoch, 1900, to the Unix epoch, 1970 (RFC 5905 §6)."""

MTU = 1400
"""Most bytes of payload in one packet: with all headers it still fits an Ethernet frame of 1500."""

Codec = Literal["H264", "H265"]


@dataclass(frozen=True)
class AccessUnit:
    """One coded picture. Times are seconds from the clip's first picture; `send_at >= show_at` always."""

    show_at: float
    send_at: float
    key: bool
    nals: tuple[bytes, ...]


@dataclass(frozen=True)
class Clip:
    """A clip ready to be sent: its pictures in decoding order, and what a receiver must know beforehand; `name` is its
    file's, without suffix.
    """

    codec: Codec
    width: int
    height: int
    fps: float
    duration: float
    parameter_sets: tuple[bytes, ...]
    units: tuple[AccessUnit, ...]
    name: str = ""

    @property
    def delay(self) -> float:
        """Seconds from the first picture's capture to its sending: what the encoder's reordering costs."""
        return self.units[0].send_at


def load_clip(path: Path) -> Clip:
    """Reads a clip's coded pictures into memory, as they are."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        codec: Codec = "H264" if context.name == "h264" else "H265"
        read_sets = _avc_sets if codec == "H264" else _hevc_sets
        sets, size = read_sets(bytes(context.extradata or b""))
        fps = float(stream.average_rate or 25)
        tick = float(stream.time_base or 0)
        packets = [packet for packet in container.demux(stream) if packet.size]
        shown = [(packet.pts or 0) * tick for packet in packets]
        sent = [(packet.dts or 0) * tick for packet in packets]
        delay = max(show - send for show, send in zip(shown, sent, strict=True))
        start = min(shown)
        units = tuple(
            AccessUnit(show - start, send + delay - start, packet.is_keyframe, _split(bytes(packet), size))
            for show, send, packet in zip(shown, sent, packets, strict=True)
        )
        duration = max(shown) - start + 1 / fps
        return Clip(codec, context.width, context.height, fps, duration, sets, units, path.stem)


def _avc_sets(config: bytes) -> tuple[tuple[bytes, ...], int]:
    """SPS and PPS, and the width of NAL lengths, out of an avcC box (ISO/IEC 14496-15 §5.3.3)."""
    sets: list[bytes] = []
    at = 5
    for mask in (0x1F, 0xFF):  # the number of SPS has five bits, that of PPS eight
        count, at = config[at] & mask, at + 1
        for _ in range(count):
            size = int.from_bytes(config[at : at + 2])
            sets.append(config[at + 2 : at + 2 + size])
            at += 2 + size
    return tuple(sets), (config[4] & 3) + 1


def _hevc_sets(config: bytes) -> tuple[tuple[bytes, ...], int]:
    """VPS, SPS and PPS, and the width of NAL lengths, out of an hvcC box (ISO/IEC 14496-15 §8.3.3)."""
    sets: list[bytes] = []
    at = 23
    for _ in range(config[22]):
        kind, count = config[at] & 0x3F, int.from_bytes(config[at + 1 : at + 3])
        at += 3
        for _ in range(count):
            size = int.from_bytes(config[at : at + 2])
            if kind in (32, 33, 34):  # the array may also hold SEI messages
                sets.append(config[at + 2 : at + 2 + size])
            at += 2 + size
    return tuple(sets), (config[21] & 3) + 1


def _split(sample: bytes, size: int) -> tuple[bytes, ...]:
    """An mp4 sample into its NAL units, each behind a length of `size` bytes."""
    nals: list[bytes] = []
    at = 0
    while at + size <= len(sample):
        length = int.from_bytes(sample[at : at + size])
        nals.append(sample[at + size : at + size + length])
        at += size + length
    return tuple(nals)


def describe(clip: Clip) -> str:
    """The session description that answers DESCRIBE (RFC 4566; parameters: RFC 6184 §8.1, RFC 7798 §7.1)."""
    sets = [base64.b64encode(one).decode() for one in clip.parameter_sets]
    if clip.codec == "H264":
        profile = clip.parameter_sets[0][1:4].hex()
        format_ = f"packetization-mode=1;profile-level-id={profile};sprop-parameter-sets={','.join(sets)}"
    else:
        names = ("sprop-vps", "sprop-sps", "sprop-pps")
        format_ = ";".join(f"{name}={value}" for name, value in zip(names, sets, strict=False))
    lines = (
        "v=0",
        "o=- 0 0 IN IP4 127.0.0.1",
        "s=test camera",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        "a=control:*",
        f"m=video 0 RTP/AVP {PAYLOAD_TYPE}",
        f"a=rtpmap:{PAYLOAD_TYPE} {clip.codec}/{CLOCK_RATE}",
        f"a=fmtp:{PAYLOAD_TYPE} {format_}",
        "a=control:track0",
    )
    return "".join(f"{line}\r\n" for line in lines)


def payloads(clip: Clip, unit: AccessUnit, mtu: int = MTU) -> list[bytes]:
    """The RTP payloads of one picture; before a key picture come the parameter sets, in band."""
    nals = (*clip.parameter_sets, *unit.nals) if unit.key else unit.nals
    return [payload for nal in nals if nal for payload in _fragments(clip.codec, nal, mtu)]


def _fragments(codec: Codec, nal: bytes, mtu: int) -> Iterator[bytes]:
    """A NAL unit as it is, or cut into fragmentation units (RFC 6184 §5.8, RFC 7798 §4.4.3)."""
    if len(nal) <= mtu:
        yield nal
        return
    if codec == "H264":  # FU-A is type 28; the fragment keeps the NAL unit's importance bits
        kind, header = nal[0] & 0x1F, bytes([nal[0] & 0xE0 | 28])
    else:  # FU is type 49; layer and temporal identifiers stay
        kind, header = nal[0] >> 1 & 0x3F, bytes([nal[0] & 0x81 | 49 << 1, nal[1]])
    body = nal[len(header) :]
    step = mtu - len(header) - 1
    for at in range(0, len(body), step):
        first, last = at == 0, at + step >= len(body)
        yield header + bytes([first << 7 | last << 6 | kind]) + body[at : at + step]


def rtp_packet(payload: bytes, *, sequence: int, timestamp: int, ssrc: int, last: bool) -> bytes:
    """One RTP packet (RFC 3550 §5.1); `last` sets the marker: the picture ends here."""
    header = struct.pack(
        "!BBHII",
        0x80,
        last << 7 | PAYLOAD_TYPE,
        sequence & 0xFFFF,
        timestamp & 0xFFFFFFFF,
        ssrc,
    )
    return header + payload


def sender_report(*, ssrc: int, wall: float, timestamp: int, packets: int, octets: int) -> bytes:
    """Compound RTCP packet: at Unix time `wall` the RTP clock showed `timestamp` (RFC 3550 §6.4.1, §6.5)."""
    seconds = int(wall // 1)
    ntp = (seconds + NTP_EPOCH) << 32 | int((wall - seconds) * 2**32)
    counters = (packets & 0xFFFFFFFF, octets & 0xFFFFFFFF)
    report = struct.pack("!BBHIQIII", 0x80, 200, 6, ssrc, ntp, timestamp & 0xFFFFFFFF, *counters)
    name = b"\x01\x06camera\x00\x00\x00\x00"  # SDES item CNAME, then the end mark, padded to whole words
    return report + struct.pack("!BBHI", 0x81, 202, 1 + len(name) // 4, ssrc) + name
