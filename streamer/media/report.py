"""What `streamer probe` finds out about a source: what was seen of it, as plain values, and the report made from that.

The report is its JSON: keys in camelCase; a key that is absent could not be known, none is ever null.
"""

from typing import Literal

import msgspec

from streamer.face import Clock
from streamer.media.address import Kind

Ending = Literal["time", "interrupted", "closed", "stalled", "endOfFile"]


class Shown(msgspec.Struct, frozen=True):
    """One decoded picture: `pts` in seconds; `b`: made from pictures after it, too."""

    pts: float | None
    key: bool = False
    b: bool = False
    corrupt: bool = False
    interlaced: bool = False


class Arrival(msgspec.Struct, frozen=True):
    """One packet and what the decoder made of it.

    It came at `at` (monotonic seconds), when this machine's clock showed `wall`; the camera's own clock showed `camera`
    when it was captured (both seconds since 1970 UTC). `late`: FFmpeg had held it back, until its patience ended. `cpu`
    is how many seconds of one thread decoding took.
    """

    at: float
    wall: float
    size: int
    pts: float | None
    key: bool = False
    corrupt: bool = False
    camera: float | None = None
    late: bool = False
    cpu: float = 0.0
    undecodable: bool = False
    pictures: tuple[Shown, ...] = ()


class Opened(msgspec.Struct, frozen=True):
    """What opening told, before any picture. `duration` and `frames` are what a file says of itself, which is `cut_off`
    if it is too short for that. `timed`: the timestamps are its own and not made up by the reader.
    """

    live: bool
    took: float
    codec: str
    profile: str = ""
    pixel_format: str = ""
    declared_fps: float | None = None
    audio: str = ""
    duration: float | None = None
    frames: int | None = None
    cut_off: bool = False
    timed: bool = True


class Seen(msgspec.Struct, frozen=True):
    """All that was seen of a source. `began` and `ended` are monotonic seconds, of the call and of the last look;
    `size` is width and height as displayed, `rotation` the clockwise turn of the picture for that, in degrees.
    """

    opened: Opened
    arrivals: tuple[Arrival, ...]
    began: float
    ended: float
    ending: Ending
    size: tuple[int, int]
    rotation: int = 0
    missed: int = 0
    cores: int = 1


class _Sheet(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    pass


class Opening(_Sheet, frozen=True):
    """Milliseconds from the call."""

    open_ms: float
    first_picture_ms: float


class Video(_Sheet, frozen=True):
    """`width` and `height` are as displayed, after turning by `rotation` degrees clockwise. `held_back` is how many
    pictures the decoder holds back before it shows one.
    """

    codec: str
    profile: str
    width: int
    height: int
    pixel_format: str
    rotation: int
    b_frames: bool
    interlaced: bool
    held_back: int
    audio: str = ""


class Rate(_Sheet, frozen=True):
    """Pictures a second: as declared, as their timestamps say, as they arrive. `bit_rate` is in bits a second."""

    variable: bool
    declared_fps: float | None = None
    fps: float | None = None
    arrival_fps: float | None = None
    bit_rate: float | None = None

    @property
    def best(self) -> float | None:
        """The measured rate, by arrival where the source is live."""
        return self.arrival_fps or self.fps or self.declared_fps


class KeyFrames(_Sheet, frozen=True):
    """The interval is the longest seen; where fewer than two came, `at_least_seconds` is how long none did."""

    seen: int
    pictures: int | None = None
    seconds: float | None = None
    at_least_seconds: float | None = None


class Clocking(_Sheet, frozen=True):
    """Whose clock capture times come from. `offset_ms`: how far the camera's is ahead of this machine's, less the way
    of the quickest picture. `unsteady_ms`: by how much its reports contradict each other. `jumps`: times it was set.
    """

    clock: Clock
    unset: bool = False
    offset_ms: float | None = None
    unsteady_ms: float | None = None
    jumps: int = 0


class Timing(_Sheet, frozen=True):
    """How pictures arrive against their timestamps: 95 of 100 are within `jitter_ms` of even, the worst was off by
    `worst_ms`. `missing` and `backward` count timestamps; a pause of a second or more is a stall.
    """

    timestamps: bool
    missing: int
    backward: int
    stalls: int
    jitter_ms: float | None = None
    worst_ms: float | None = None
    longest_pause_ms: float | None = None


class Loss(_Sheet, frozen=True):
    """Of `packets` that came: RTP packets missed, packets the decoder refused, pictures with damage; and holes in the
    timestamps, with an estimate of the pictures lost in them.
    """

    packets: int
    pictures: int
    missed_packets: int
    undecodable: int
    corrupt: int
    gaps: int
    lost_pictures: int

    @property
    def damaged(self) -> bool:
        return bool(self.missed_packets or self.undecodable or self.corrupt)


class Cost(_Sheet, frozen=True):
    """Decoding on this machine: CPU time of one thread a picture, and at the source's rate the share of a core, and of
    all `cores` that this process may use.
    """

    ms_per_picture: float
    cores: int
    core_share: float | None = None
    machine_share: float | None = None
    streams_per_core: float | None = None


class FileFacts(_Sheet, frozen=True):
    """`whole`: the file was read to its end; then `duration` is measured, else it is what the file says. `frames` are
    those announced, where they are. `cut_off`: it ends before what its index announces.
    """

    whole: bool
    cut_off: bool
    duration: float | None = None
    frames: int | None = None


class SubStream(_Sheet, frozen=True):
    """Why a smaller stream would do, and where this kind of camera usually has it; a suggestion, never tried."""

    reason: str
    maker: str = ""
    address: str = ""
    note: str = ""


class Advice(_Sheet, frozen=True):
    """Something to look at, as a code for programs and words for people, and what to do about it."""

    code: str
    message: str
    fix: str


class Report(_Sheet, frozen=True):
    """Everything about one source. It was looked at for `seconds` after opening; `source` is free of secrets."""

    source: str
    kind: Kind
    live: bool
    seconds: float
    ending: Ending
    opening: Opening
    video: Video
    rate: Rate
    key_frames: KeyFrames
    timing: Timing
    clock: Clocking
    loss: Loss
    cost: Cost
    snippet: str = ""
    transport: str = ""
    file: FileFacts | None = None
    sub_stream: SubStream | None = None
    warnings: tuple[Advice, ...] = ()
