"""What a reader of a source is given."""

from pathlib import Path

import msgspec

from streamer.config import StreamSettings
from streamer.media.address import Address
from streamer.media.budget import DecodingBudget


class Host(msgspec.Struct, frozen=True, eq=False):
    """What sources use of this machine: CPU time for decoding, up to `threads` each, and the `portrait` of the demo."""

    threads: int
    decoding: DecodingBudget
    portrait: Path | None = None


class Opening(msgspec.Struct, eq=False):
    """One opening of a source, whose first frame is number `first_seq`. `decoder` says afterwards what decodes it."""

    where: Address
    stream: StreamSettings
    host: Host
    first_seq: int = 0
    decoder: str = ""
