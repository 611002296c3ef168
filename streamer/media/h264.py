"""Just enough of H.264's headers to see that a picture is missing (ITU-T H.264, clauses 7.3 and 7.4.3).

Functions of bytes; data that is cut off or damaged gives None, or numbers without a meaning, and never an error.
"""

from collections.abc import Iterator

import msgspec

_SLICE, _KEY_SLICE, _SPS, _PPS = 1, 5, 7, 8
_HEADER = 32  # bytes of a slice that surely hold its first four fields
# These profiles name their chroma format and scaling matrices (7.3.2.1.1).
_HIGH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}


class Sequence(msgspec.Struct, frozen=True):
    """What a sequence parameter set says about frame numbers: how many bits, and whether they may have gaps."""

    bits: int
    gaps: bool
    planes: bool  # colour planes are coded apart, and slices say which is theirs


class Slice(msgspec.Struct, frozen=True):
    """A picture's place among those that others are made from. `key`: it begins anew (IDR)."""

    number: int
    modulus: int
    key: bool
    reference: bool
    gaps: bool


class Headers:
    """The parameter sets seen so far, which slices are read by."""

    def __init__(self, extradata: bytes = b"") -> None:
        """`extradata` is a codec context's: parameter sets in Annex B form, or an avcC record."""
        self._sequences: dict[int, Sequence] = {}
        self._sequence_of: dict[int, int] = {}  # picture parameter set -> sequence parameter set
        # In an avcC stream each NAL unit has its length before it, in so many bytes; 0 means Annex B.
        self._length = (extradata[4] & 3) + 1 if extradata[:1] == b"\1" and len(extradata) > 6 else 0
        for nal in _avc_sets(extradata) if self._length else annex_b(extradata):
            self._learn(nal)

    def read(self, data: bytes) -> Slice | None:
        """The first slice of a packet; parameter sets before it are remembered."""
        for nal in length_prefixed(data, self._length) if self._length else annex_b(data):
            if nal[0] & 31 in (_SLICE, _KEY_SLICE):
                return self._slice(nal)
            self._learn(nal)
        return None

    def _learn(self, nal: memoryview) -> None:
        kind = nal[0] & 31 if nal else 0
        try:
            if kind == _SPS:
                number, sequence = read_sps(bytes(nal))
                self._sequences[number] = sequence
            elif kind == _PPS:
                bits = _Bits(bytes(nal[1:_HEADER]))
                self._sequence_of[bits.ue()] = bits.ue()
        except EOFError:
            return

    def _slice(self, nal: memoryview) -> Slice | None:
        bits = _Bits(bytes(nal[1:_HEADER]))
        try:
            bits.ue()  # first_mb_in_slice
            bits.ue()  # slice_type
            sequence = self._sequences.get(self._sequence_of.get(bits.ue(), -1))
            if sequence is None:
                return None
            bits.u(2 if sequence.planes else 0)
            number = bits.u(sequence.bits)
        except EOFError:
            return None
        return Slice(number, 1 << sequence.bits, nal[0] & 31 == _KEY_SLICE, nal[0] & 0x60 != 0, sequence.gaps)


def follows(last: int, now: Slice) -> bool:
    """Whether no picture is missing between the reference picture numbered `last` and `now` (7.4.3, frame_num)."""
    # The second field of a picture has its number again.
    return now.key or now.gaps or now.number in (last, (last + 1) % now.modulus)


def annex_b(data: bytes) -> Iterator[memoryview]:
    """The NAL units of a byte stream, each without its start code; never an empty one."""
    view, at = memoryview(data), data.find(b"\0\0\1")
    while at >= 0:
        begin = at + 3
        at = data.find(b"\0\0\1", begin)
        nal = view[begin : at if at >= 0 else len(data)]
        if nal:
            yield nal


def length_prefixed(data: bytes, size: int) -> Iterator[memoryview]:
    """The NAL units of an avcC packet, each behind its length in `size` bytes; never an empty one."""
    view, at = memoryview(data), 0
    while at + size < len(data):
        length = int.from_bytes(view[at : at + size])
        nal = view[at + size : at + size + length]
        if nal:
            yield nal
        at += size + length


def read_sps(nal: bytes) -> tuple[int, Sequence]:
    """A sequence parameter set: its number, and what it says. Raises EOFError where it ends early."""
    bits = _Bits(nal[1:])
    profile = bits.u(8)
    bits.u(16)  # constraints, level
    number = bits.ue()
    planes = _skip_chroma(bits) if profile in _HIGH_PROFILES else False
    width = min(bits.ue(), 12) + 4  # log2_max_frame_num_minus4
    order = bits.ue()  # pic_order_cnt_type
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1)
        bits.ue()
        bits.ue()
        for _ in range(min(bits.ue(), 255)):
            bits.ue()
    bits.ue()  # max_num_ref_frames
    return number, Sequence(width, bits.u(1) == 1, planes)


def _skip_chroma(bits: "_Bits") -> bool:
    """Chroma format, depths and scaling matrices; whether the colour planes are coded apart."""
    chroma = bits.ue()
    planes = chroma == 3 and bits.u(1) == 1
    bits.ue()
    bits.ue()
    bits.u(1)
    if bits.u(1):
        for index in range(12 if chroma == 3 else 8):
            if bits.u(1):
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return planes


def _skip_scaling_list(bits: "_Bits", size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _avc_sets(config: bytes) -> Iterator[memoryview]:
    """The parameter sets in an avcC record (ISO/IEC 14496-15, 5.3.3)."""
    view, at = memoryview(config), 5
    for mask in (31, 255):  # the number of sequence parameter sets has five bits
        count, at = (config[at] & mask if at < len(config) else 0), at + 1
        for _ in range(count):
            size = int.from_bytes(view[at : at + 2])
            yield view[at + 2 : at + 2 + size]
            at += 2 + size


class _Bits:
    """Reads a NAL unit's payload bit by bit; EOFError behind its end."""

    def __init__(self, payload: bytes) -> None:
        raw = payload.replace(b"\0\0\3", b"\0\0")  # bytes put in so that no start code appears by chance
        self._value, self._left = int.from_bytes(raw), 8 * len(raw)

    def u(self, count: int) -> int:
        """An unsigned number of `count` bits."""
        if count > self._left:
            raise EOFError
        self._left -= count
        return self._value >> self._left & (1 << count) - 1

    def ue(self) -> int:
        """An unsigned Exp-Golomb number (9.1)."""
        zeros = 0
        while not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """A signed Exp-Golomb number (9.1.1)."""
        value = self.ue()
        return (value + 1) // 2 if value % 2 else -(value // 2)
