"""H.264's headers: read as an encoder wrote them, and no bytes whatever that upset the reader."""

from itertools import pairwise
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.media.h264 import Headers, Slice, annex_b, follows, length_prefixed, read_sps
from tests.servers.clips import draw
from tests.servers.rtp import load_clip

START = b"\0\0\0\1"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("clips") / "drawn.mp4", frames=40, gop=20)


def test_pictures_are_numbered_from_key_to_key_in_both_forms_of_the_stream(drawn: Path) -> None:
    with av.open(str(drawn)) as container:
        video = container.streams.video[0]
        headers = Headers(bytes(video.codec_context.extradata or b""))
        slices = [headers.read(bytes(packet)) for packet in container.demux(video) if packet.size]
    clip = load_clip(drawn)
    sets = b"".join(START + one for one in clip.parameter_sets)
    headers = Headers()
    assert [headers.read(sets + b"".join(START + nal for nal in unit.nals)) for unit in clip.units] == slices
    numbers = [one.number % one.modulus for one in slices if one]
    assert [one % 16 for one in range(20)] * 2 == [one % 16 for one in numbers]
    assert [one.key for one in slices if one] == ([True] + [False] * 19) * 2
    assert all(one.reference and not one.gaps for one in slices if one)
    assert all(follows(before.number, after) for before, after in pairwise(one for one in slices if one))


def test_a_slice_before_its_parameter_sets_says_nothing(drawn: Path) -> None:
    clip = load_clip(drawn)
    assert Headers().read(START + clip.units[5].nals[-1]) is None
    assert Headers(START + clip.parameter_sets[0]).read(START + clip.units[5].nals[-1]) is None


@pytest.mark.parametrize(
    ("last", "number", "key", "gaps", "expected"),
    [
        (3, 4, False, False, True),
        (3, 3, False, False, True),  # the second field of one picture
        (3, 5, False, False, False),
        (15, 0, False, False, True),
        (15, 1, False, False, False),
        (3, 0, True, False, True),
        (3, 9, False, True, True),
    ],
)
def test_a_number_left_out_is_a_picture_that_never_came(
    last: int, number: int, key: bool, gaps: bool, expected: bool
) -> None:
    assert follows(last, Slice(number, 16, key, reference=True, gaps=gaps)) is expected


@given(st.lists(st.binary(min_size=1, max_size=20).map(lambda b: b.replace(b"\0", b"\2")), max_size=5))
def test_units_are_split_where_they_were_joined(units: list[bytes]) -> None:
    assert [bytes(one) for one in annex_b(b"".join(START[1:] + one for one in units))] == units
    joined = b"".join(len(one).to_bytes(4) + one for one in units)
    assert [bytes(one) for one in length_prefixed(joined, 4)] == units


@given(st.binary(max_size=80), st.lists(st.binary(max_size=80), max_size=4))
def test_no_bytes_upset_the_reader(extradata: bytes, packets: list[bytes]) -> None:
    headers = Headers(extradata)
    for packet in packets:
        headers.read(packet)


@given(st.data())
def test_no_flipped_byte_of_a_real_stream_upsets_it(drawn: Path, data: st.DataObject) -> None:
    clip = load_clip(drawn)
    packet = bytearray(b"".join(START + one for one in (*clip.parameter_sets, clip.units[0].nals[-1][:40])))
    for at in data.draw(st.lists(st.integers(0, len(packet) - 1), max_size=4)):
        packet[at] ^= data.draw(st.integers(1, 255))
    headers = Headers(bytes(packet))
    headers.read(bytes(packet))


@given(st.binary(max_size=60))
def test_a_parameter_set_is_read_or_ends_early(nal: bytes) -> None:
    try:
        number, sequence = read_sps(nal)
    except EOFError:
        return
    assert number >= 0
    assert 4 <= sequence.bits <= 16
