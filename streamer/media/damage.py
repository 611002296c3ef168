"""Which pictures of a live stream can be trusted: those not made from lost or broken data, as far as can be known.

The decoder says by itself which H.264 pictures have missing or broken parts, and which H.265 pictures refer to one
that never came. It is silent about H.264 pictures that never came: their numbers tell. Broken data inside an H.265
picture goes unnoticed: its decoder does not check, and FFmpeg keeps RTP's sequence numbers to itself.
"""

import time
from collections.abc import Iterable, Iterator

from av.codec.context import Flags
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamer.media import h264

_REORDERED = 16  # packets: no H.264 or H.265 stream shows a picture further from its place in decoding order
# Seconds of packets that give no picture before the stream is given up: once it has given some, and where it was joined
# midway, up to a key picture.
_HOPELESS, _LATE = 1.0, 15.0


class Damage:
    """Follows one live stream packet by packet; `since` when its pictures are spoilt, on the monotonic axis.

    Each packet has a place in decoding order. Damage at one spoils all pictures from there on, in that order, until
    a key picture behind it is shown: those before it in showing order may still be made from what was broken.
    """

    def __init__(self, context: VideoCodecContext, *, lossy: bool) -> None:
        """Sets up the decoder, which must not be open yet. On a `lossy` transport parts of pictures get lost."""
        self.since: float | None = None
        self._context = context
        self._lossy = lossy
        self._headers = h264.Headers(context.extradata or b"") if context.name == "h264" else None
        if self._headers:
            context.thread_count = 1  # with more of them FFmpeg does not look for missing parts
        self._last: int | None = None  # number of the last reference picture
        self._place = 0
        self._places: dict[int | None, int] = {}  # presentation time -> place, of the newest packets
        self._damages: set[int] = set()
        self._held: list[VideoFrame] = []
        self._shown: int | None = None  # presentation time of the newest picture that the decoder gave
        self._begun = False
        self._silent, self._heard = 0, time.monotonic()  # packets since the last picture, and when it came

    @property
    def hopeless(self) -> bool:
        """Whether nothing comes any more but packets that give no picture, such as those of another codec."""
        # One alone may be half of an interlaced picture.
        return self._silent > 1 and time.monotonic() - self._heard > (_HOPELESS if self._begun else _LATE)

    def read(self, packet: "Packet[VideoStream]", *, decoded: bool = True) -> None:
        """The next packet, before it is decoded, if it is."""
        self._place += 1
        if decoded:
            self._silent += 1
        else:
            self._heard = time.monotonic()
        if self._headers and self._missing(self._headers.read(bytes(packet))):
            self._mark(self._place)
            self._place += 1  # the one before was the missing one's
        if packet.is_corrupt:
            self._mark(self._place)
        if packet.is_keyframe and self._context.name == "hevc":
            # From here on show what refers to missing pictures, so that it is counted. Before the first key picture
            # nothing is damaged: the stream was joined midway.
            self._context.flags |= Flags.output_corrupt
        self._places[packet.pts] = self._place
        if len(self._places) > _REORDERED:
            del self._places[next(iter(self._places))]

    def found(self) -> None:
        """The packet read last cannot be decoded."""
        self._mark(self._place)

    def settled(self, pictures: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """The pictures that can be judged by now, of those that the decoder gave.

        Only where packets get lost, one shown before another that it is made from waits for that: whether a picture
        is broken is known when the decoder gives it.
        """
        for picture in pictures:
            self._begun, self._silent, self._heard = True, 0, time.monotonic()
            self._shown = picture.pts
            if picture.is_corrupt:
                self._mark(self._place_of(picture))
            self._held.append(picture)
        while self._held and not self._waits(self._held[0]):
            yield self._held.pop(0)

    def spoils(self, picture: VideoFrame) -> bool:
        """Whether this picture is damaged or made from one that is; to be asked in showing order."""
        place = self._place_of(picture)
        if picture.key_frame and not picture.is_corrupt:
            self._damages = {damage for damage in self._damages if damage >= place}
            if not self._damages:
                self.since = None
        return any(damage <= place for damage in self._damages)

    def _missing(self, now: h264.Slice | None) -> bool:
        """Whether a picture is missing before the one that begins with this slice."""
        if now is None:
            return False
        missing = self._last is not None and not h264.follows(self._last, now)
        if now.reference:
            self._last = now.number
        return missing

    def _mark(self, place: int) -> None:
        self.since = self.since or time.monotonic()
        self._damages.add(place)

    def _place_of(self, picture: VideoFrame) -> int:
        return self._places.get(picture.pts, self._place)

    def _waits(self, picture: VideoFrame) -> bool:
        if not self._lossy or not self._context.has_b_frames or self._shown is None:
            return False
        place = self._place_of(picture)
        return any(at is not None and at > self._shown and one < place for at, one in self._places.items())
