"""How one client's stream leaves a test camera: paced by the clock, over TCP or UDP, spoilt by faults.

RFC 2326 §10.12 (interleaved binary data), RFC 3550 §6 (sender reports).
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from .rtp import CLOCK_RATE, AccessUnit, Clip, payloads, rtp_packet, sender_report

REPORT_INTERVAL = 1.0
"""Seconds between two RTCP sender reports. RFC 3550 §6.2 asks for five; tests are impatient."""

BURST = 16
"""UDP packets sent in one go; a whole key picture would overflow a receiver's default socket buffer."""


@dataclass(frozen=True)
class Faults:
    """What is wrong with a mount. Changes take effect at once, on running streams too."""

    stalled: bool = False
    """Send nothing, keep every connection and answer requests; afterwards go on with the next key picture."""
    loss: float = 0.0
    """Share (0-1) of RTP packets that are never sent."""
    corrupt: float = 0.0
    """Share (0-1) of RTP packets with one payload byte turned over."""
    refuse: int | None = None
    """Status code for every client: 453 is answered to SETUP, any other (401, 404, ...) to DESCRIBE."""
    black_hole: bool = False
    """Accept connections, read requests, never answer one."""
    sender_reports: bool = True
    """Send RTCP sender reports, which carry the camera's clock."""
    clock_offset: float = 0.0
    """Seconds by which the camera's clock is ahead of this machine's."""
    first_timestamp: int | None = None
    """RTP timestamp that new streams begin with (to see it wrap at 2**32); by default a random one."""


@dataclass
class Stats:
    """Counts since the server was made, but `open`, `live` and `stalled`, which are the present state."""

    connections: int = 0
    """TCP connections accepted."""
    open: int = 0
    """TCP connections open now."""
    live: int = 0
    """Sessions in the state PLAY now, stalled ones among them."""
    stalled: int = 0
    """Sessions that a stall holds up now."""
    frames: int = 0
    packets: int = 0
    lost: int = 0
    """RTP packets left out by `Faults.loss`."""
    corrupted: int = 0
    """RTP packets spoilt by `Faults.corrupt`."""


class Mount:
    """One camera: the clip it shows, and its faults. Both may be exchanged while clients watch.

    `sent` tells when, on the monotonic axis, a picture was sent last, by its clip's name and its number in that.
    """

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.sent: dict[tuple[str, int], float] = {}
        self.flowing = asyncio.Event()
        self.faults = Faults()

    @property
    def faults(self) -> Faults:
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        if faults.stalled:
            self.flowing.clear()
        else:
            self.flowing.set()


class Channel(Protocol):
    """The way to one client."""

    def send_rtp(self, packet: bytes) -> None: ...
    def send_rtcp(self, packet: bytes) -> None: ...
    async def flush(self) -> None: ...
    def close(self) -> None: ...


class TcpChannel:
    """RTP and RTCP interleaved with the RTSP replies on the client's own connection (RFC 2326 §10.12)."""

    def __init__(self, writer: asyncio.StreamWriter, number: int) -> None:
        self._writer = writer
        self._number = number

    def send_rtp(self, packet: bytes) -> None:
        self._writer.write(struct.pack("!cBH", b"$", self._number, len(packet)) + packet)

    def send_rtcp(self, packet: bytes) -> None:
        self._writer.write(struct.pack("!cBH", b"$", self._number + 1, len(packet)) + packet)

    async def flush(self) -> None:
        await self._writer.drain()

    def close(self) -> None:
        """The connection belongs to the session, which closes it."""


class UdpChannel:
    """RTP from an even port and RTCP from the odd one above it (RFC 3550 §11) to the client's pair."""

    def __init__(self, host: str, client: str, port: int) -> None:
        self._rtp, self._rtcp = _socket_pair(host)
        self._client = client
        self._client_port = port
        self._burst = 0
        self.port: int = self._rtp.getsockname()[1]

    def send_rtp(self, packet: bytes) -> None:
        self._rtp.sendto(packet, (self._client, self._client_port))
        self._burst += 1

    def send_rtcp(self, packet: bytes) -> None:
        self._rtcp.sendto(packet, (self._client, self._client_port + 1))

    async def flush(self) -> None:
        if self._burst >= BURST:
            self._burst = 0
            await asyncio.sleep(0.001)

    def close(self) -> None:
        self._rtp.close()
        self._rtcp.close()


def _socket_pair(host: str) -> tuple[socket.socket, socket.socket]:
    while True:
        rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        rtcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            rtp.bind((host, 0))
            port = rtp.getsockname()[1]
            if port % 2 == 0:
                rtcp.bind((host, port + 1))
                return rtp, rtcp
        except OSError:
            pass  # the odd port is taken: try another pair
        rtp.close()
        rtcp.close()


class Stream:
    """One client's stream of a mount, from a clip's first picture on and round and round.

    A picture counts as captured at the monotonic instant `_base + unit.show_at`; its RTP timestamp is that
    instant in ticks, so that a stall or a switch shows as the jump in time that it is.
    """

    def __init__(self, mount: Mount, channel: Channel, stats: Stats, chance: random.Random) -> None:
        self._mount = mount
        self._channel = channel
        self._stats = stats
        self._chance = chance
        first = mount.faults.first_timestamp
        self.first_timestamp = chance.randrange(2**32) if first is None else first
        self.sequence = chance.randrange(2**16)
        self._ssrc = chance.randrange(2**32)
        self._packets = self._octets = 0
        self._epoch = self._base = self._shown = 0.0
        self._report_at = 0.0
        self._cut = False
        """The stream was interrupted: pictures are left out until the next key picture."""

    async def run(self) -> None:
        """Plays until cancelled."""
        self._stats.live += 1
        try:
            clip = self._mount.clip
            self._epoch = self._base = time.monotonic() - clip.delay
            while True:
                await self._play(clip)
                self._base += clip.duration
                clip = self._mount.clip
        finally:
            self._stats.live -= 1
            self._channel.close()

    async def _play(self, clip: Clip) -> None:
        """One round of the clip; ends early when the mount has changed to another one."""
        for number, unit in enumerate(clip.units):
            if not self._cut:
                await self._sleep_until(self._base + unit.send_at)
            if not self._mount.flowing.is_set():
                await self._stall()
            if self._mount.clip is not clip:
                self._cut = True
                return
            if self._cut and unit.key:
                await self._continue_with(clip, unit)
            if not self._cut:
                self._mount.sent[clip.name, number] = time.monotonic()
                await self._send(clip, unit)

    async def _stall(self) -> None:
        self._cut = True
        self._stats.stalled += 1
        try:
            await self._mount.flowing.wait()
        finally:
            self._stats.stalled -= 1

    async def _continue_with(self, clip: Clip, unit: AccessUnit) -> None:
        """After a cut, a stall or another clip: this key picture comes now, and later than all before it."""
        later = self._shown + 1 / clip.fps - unit.show_at
        self._base = max(time.monotonic() - unit.send_at, later)
        self._cut = False
        await self._sleep_until(self._base + unit.send_at)

    async def _sleep_until(self, instant: float) -> None:
        await asyncio.sleep(max(0.0, instant - time.monotonic()))

    async def _send(self, clip: Clip, unit: AccessUnit) -> None:
        self._shown = max(self._shown, self._base + unit.show_at)
        self._report()
        for packet in self._packetise(clip, unit):
            self._channel.send_rtp(packet)
            await self._channel.flush()
        self._stats.frames += 1

    def _ticks(self, instant: float) -> int:
        return self.first_timestamp + round((instant - self._epoch) * CLOCK_RATE)

    def _report(self) -> None:
        """A sender report where one is due: the first before the first picture."""
        now = time.monotonic()
        faults = self._mount.faults
        if not faults.sender_reports or now < self._report_at:
            return
        self._report_at = now + REPORT_INTERVAL
        report = sender_report(
            ssrc=self._ssrc,
            wall=time.time() + faults.clock_offset,
            timestamp=self._ticks(now),
            packets=self._packets,
            octets=self._octets,
        )
        self._channel.send_rtcp(report)

    def _packetise(self, clip: Clip, unit: AccessUnit) -> Iterator[bytes]:
        """The packets of one picture that are to be sent, less the lost, the spoilt ones spoilt."""
        timestamp = self._ticks(self._base + unit.show_at)
        parts = payloads(clip, unit)
        for number, payload in enumerate(parts, start=1):
            sequence, self.sequence = self.sequence, self.sequence + 1
            if self._chance.random() < self._mount.faults.loss:
                self._stats.lost += 1
                continue
            spoilt = self._chance.random() < self._mount.faults.corrupt
            body = self._spoil(payload) if spoilt else payload
            self._packets += 1
            self._octets += len(body)
            self._stats.packets += 1
            last = number == len(parts)
            yield rtp_packet(body, sequence=sequence, timestamp=timestamp, ssrc=self._ssrc, last=last)

    def _spoil(self, payload: bytes) -> bytes:
        """Turns over one byte of the coded picture; not of the headers, or the packet would be lost."""
        if len(payload) <= 8:
            return payload
        self._stats.corrupted += 1
        at = self._chance.randrange(8, len(payload))
        return payload[:at] + bytes([payload[at] ^ 0xFF]) + payload[at + 1 :]
