"""What /analyze takes and refuses: limits, options, several pictures, broken pictures, slow and greedy clients."""

import asyncio
import base64
import contextlib
import functools
import gzip
import io
import json
import logging
import struct
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from streamer import FaceAnalyzer
from streamer.inference.models import Workshop
from streamer.media.pictures import read_picture
from streamer.records import face_object
from tests.conftest import Streamer
from tests.test_pictures import encoded, sample
from tests.test_web import assert_portrait, assert_refused, form, serving

SMALL: dict[str, Any] = {"max_bytes": 2_000_000, "max_pixels": 1_000_000, "upload_timeout": 5.0}


@pytest.fixture
async def client(workshop: Workshop) -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(workshop, images=SMALL) as url, aiohttp.ClientSession(url) as session:
        yield session


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*before: bytes, width: int = 4, height: int = 4, bits: int = 8, data: bytes | None = None) -> bytes:
    """A grey PNG with chunks `before` its data, whatever its header says."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    pixels = zlib.compress(bytes(5 * 4)) if data is None else data
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(before) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def wide_gif(width: int, height: int) -> bytes:
    """Its first frame is larger than it says to be."""
    frame = struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, 0)
    return b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0x80, 0, 0) + bytes(6) + frame + b"\x02\x02\x44\x01\x00\x3b"


@functools.cache
def broken_pictures() -> dict[str, tuple[bytes, int]]:
    """Each with the status that it is answered with."""
    animation = [sample(), Image.new("RGB", (30, 20), "red")]
    bomb = zlib.compress(bytes(80_000_000), 9)
    return {
        "zero bytes": (b"", 400),
        "text": (b"hello, this is text", 415),
        "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415),
        "tiff": (encoded(sample(), "TIFF"), 415),
        "only a signature": (b"\x89PNG\r\n\x1a\n", 415),
        "cut PNG": (encoded(sample(), "PNG")[:60], 422),
        "cut JPEG": (encoded(sample().resize((300, 200)), "JPEG")[:-400], 422),
        "cut WebP": (encoded(sample(), "WEBP")[:-20], 422),
        "too many pixels": (encoded(Image.new("1", (1001, 1000)), "PNG"), 413),
        "a header that lies": (png(width=60_000, height=60_000), 413),
        "no pixels": (png(width=0, height=0), 415),
        "less data than pixels": (png(width=900, height=900), 422),
        "more data than pixels": (png(data=bomb), 200),
        "text that unpacks": (png(chunk(b"zTXt", b"a\0\0" + bomb)), 422),
        "many texts that unpack": (png(*[chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000)))] * 80), 422),
        "a profile that unpacks": (png(chunk(b"iCCP", b"a\0\0" + bomb)), 422),
        "a GIF frame beyond its canvas": (wide_gif(60_000, 60_000), 413),
        "a large GIF frame beyond its canvas": (wide_gif(12_000, 12_000), 413),
        "animated GIF": (encoded(sample(), "GIF", save_all=True, append_images=animation), 200),
        "animated WebP": (encoded(sample(), "WEBP", save_all=True, append_images=animation), 200),
        "animated PNG": (encoded(sample(), "PNG", save_all=True, append_images=animation), 200),
        "CMYK": (encoded(sample().convert("CMYK"), "JPEG"), 200),
        "16 bits": (encoded(Image.new("I;16", (30, 20), 40_000), "PNG"), 200),
        "transparent": (encoded(sample().convert("RGBA"), "PNG"), 200),
        "transparent palette": (encoded(sample().convert("P"), "PNG", transparency=0), 200),
        "one pixel": (encoded(Image.new("RGB", (1, 1)), "PNG"), 200),
        "a line": (encoded(Image.new("RGB", (20_000, 1)), "PNG"), 200),
    }


@pytest.mark.parametrize("name", broken_pictures())
async def test_odd_pictures_are_answered_or_refused_clearly(client: aiohttp.ClientSession, name: str) -> None:
    data, status = broken_pictures()[name]
    async with client.post("/analyze", data=data, headers={"Content-Type": "image/png"}) as response:
        answer = await response.json()
        assert response.status == status, answer
        if status == 200:
            assert set(answer) == {"faces", "image", "timings"}
        else:
            assert_refused(answer)
            assert answer["error"]["hint"]


async def test_several_pictures_are_answered_in_their_order(client: aiohttp.ClientSession, jpeg: bytes) -> None:
    parts = [("filename", jpeg), ("file", b"no picture"), ("filename", encoded(sample(), "PNG")), ("image", b"")]
    data = aiohttp.FormData(default_to_multipart=True)
    for name, picture in parts:
        data.add_field(name, picture, filename="x.jpg", content_type="image/jpeg")
    async with client.post("/analyze", data=data) as response:
        assert response.status == 200
        first, second, third, fourth = (await response.json())["results"]
    assert_portrait(first)
    assert_refused(second, "notAPicture")
    assert (third["faces"], third["image"]) == ([], {"width": 30, "height": 20})
    assert_refused(fourth, "empty")


def as_form(jpeg: bytes, options: dict[str, str]) -> dict[str, Any]:
    return {"data": form("filename", jpeg, **options)}


def as_query(jpeg: bytes, options: dict[str, str]) -> dict[str, Any]:
    return {"data": jpeg, "params": options, "headers": {"Content-Type": "image/jpeg"}}


def as_json(jpeg: bytes, options: dict[str, Any]) -> dict[str, Any]:
    return {"json": {"image": base64.b64encode(jpeg).decode()} | options}


@pytest.mark.parametrize("send", [as_form, as_query, as_json])
async def test_options_come_in_every_form(client: aiohttp.ClientSession, jpeg: bytes, send: Any) -> None:
    async def faces(**options: str) -> list[dict[str, Any]]:
        async with client.post("/analyze", **send(jpeg, options)) as response:
            assert response.status == 200, await response.text()
            found: list[dict[str, Any]] = (await response.json())["faces"]
            return found

    (usual,) = await faces()
    assert await faces(det_threshold="0.5", max_faces="1", pipeline="accurate") == [usual]
    assert await faces(det_threshold="", max_faces="", pipeline="") == [usual]
    assert await faces(det_threshold="1") == []
    (quick,) = await faces(pipeline="realtime")
    assert quick["faceConfidence"] != usual["faceConfidence"]


async def test_a_lower_threshold_finds_more_and_max_faces_takes_the_surest(
    client: aiohttp.ClientSession, portrait_path: Path
) -> None:
    """Portraits as small as a detector hardly sees them."""
    picture = Image.new("RGB", (640, 300), "gray")
    portrait = Image.open(portrait_path).convert("RGB")
    for n, side in enumerate((160, 80, 40, 28, 22, 18)):
        picture.paste(portrait.resize((side, side)), (10 + 100 * n, 40))
    for pipeline in ("accurate", "realtime"):
        scores = dict[float, list[float]]()
        for threshold in (0.05, 0.0, 0.6):
            async with client.post(
                "/analyze", **as_json(encoded(picture, "PNG"), {"det_threshold": threshold, "pipeline": pipeline})
            ) as response:
                found = (await response.json())["faces"]
            scores[threshold] = sorted((face["faceConfidence"] for face in found), reverse=True)
        assert len(scores[0.05]) > len(scores[0.6])
        assert scores[0.0] == scores[0.05]
        assert scores[0.6] == [score for score in scores[0.05] if score >= 0.6]
        options = {"det_threshold": 0.05, "max_faces": 2, "pipeline": pipeline}
        async with client.post("/analyze", **as_json(encoded(picture, "PNG"), options)) as response:
            kept = sorted((face["faceConfidence"] for face in (await response.json())["faces"]), reverse=True)
        assert kept == scores[0.05][:2]


@pytest.mark.parametrize(
    "options",
    [
        {"det_threshold": "2"},
        {"det_threshold": "-0.1"},
        {"det_threshold": "nan"},
        {"det_threshold": "much"},
        {"max_faces": "0"},
        {"max_faces": "1001"},
        {"max_faces": "1.5"},
        {"max_faces": "9" * 400},
        {"pipeline": "../../etc/passwd"},
        {"pipeline": "/tmp/x.toml"},
    ],
)
@pytest.mark.parametrize("send", [as_form, as_query, as_json])
async def test_options_that_make_no_sense_are_refused(
    client: aiohttp.ClientSession, send: Any, options: dict[str, str]
) -> None:
    async with client.post("/analyze", **send(b"x", options)) as response:
        answer = await response.json()
        assert response.status == 400, answer
        assert_refused(answer, "badRequest")
        assert next(iter(options)) in answer["error"]["message"]


@pytest.mark.parametrize("value", [True, [], {}, 1e999, "x"])
async def test_options_of_another_type_are_refused(client: aiohttp.ClientSession, value: Any) -> None:
    for key in ("det_threshold", "max_faces", "pipeline"):
        text = json.dumps({"image": "eA==", key: value})
        async with client.post("/analyze", data=text, headers={"Content-Type": "application/json"}) as response:
            assert response.status == 400


async def test_what_is_too_large_is_refused_before_it_is_there(client: aiohttp.ClientSession) -> None:
    async def endless(start: bytes) -> AsyncIterator[bytes]:
        yield start
        while True:
            yield bytes(100_000)

    part = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a"\r\n\r\n'
    for kind, start in (
        ("image/png", b""),
        ("application/json", b'{"image": "'),
        ("multipart/form-data; boundary=x", part % b"filename"),
        ("multipart/form-data; boundary=x", part % b"unknown"),
    ):
        async with client.post("/analyze", data=endless(start), headers={"Content-Type": kind}) as response:
            assert response.status == 413, kind
            assert_refused(await response.json(), "tooLarge")
    packed = gzip.compress(bytes(100_000_000), 6)
    headers = {"Content-Encoding": "gzip"}
    for kind in ("image/png", "application/json", "multipart/form-data; boundary=x"):
        async with client.post("/analyze", data=packed, headers=headers | {"Content-Type": kind}) as response:
            assert response.status in (400, 413)
            assert_refused(await response.json())


async def test_many_fields_are_refused(client: aiohttp.ClientSession, jpeg: bytes) -> None:
    for count, status in ((100, 200), (200, 400)):
        fields = {f"field{n}": "x" for n in range(count)}
        async with client.post("/analyze", data=form("filename", jpeg, **fields)) as response:
            assert response.status == status
    async with client.post("/analyze", data=form("filename", jpeg, access_key="x" * 5000)) as response:
        assert response.status == 400


async def test_a_slow_upload_is_given_up(workshop: Workshop) -> None:
    head = b"POST /analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nContent-Type: "
    async with serving(workshop, images=SMALL | {"upload_timeout": 0.3}) as url:
        for kind in (b"image/png", b"application/json", b"multipart/form-data; boundary=x"):
            reader, writer = await asyncio.open_connection(*urlsplit(url).netloc.split(":"))
            writer.write(head + kind + b"\r\n\r\n--x\r\n")
            async with asyncio.timeout(10):
                status = await reader.readline()
                assert b" 408 " in status
            writer.close()


async def test_a_client_that_leaves_is_no_failure(workshop: Workshop, caplog: pytest.LogCaptureFixture) -> None:
    head = b"POST /analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nContent-Type: "
    async with serving(workshop, images=SMALL | {"concurrency": 1, "queue": 0}) as url:
        for kind in (b"image/png", b"multipart/form-data; boundary=x"):
            _, writer = await asyncio.open_connection(*urlsplit(url).netloc.split(":"))
            writer.write(head + kind + b"\r\n\r\n--x\r\n")
            await writer.drain()
            writer.transport.abort()
        async with asyncio.timeout(10), aiohttp.ClientSession(url) as session:
            status = 503
            while status == 503:  # once it is known that they have left, there is room again
                async with session.post("/analyze", data=form("filename", b"x")) as response:
                    status = response.status
            assert status == 415
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


async def test_too_many_at_a_time_are_told_when_to_come_back(workshop: Workshop, jpeg: bytes) -> None:
    async with serving(workshop, images={"concurrency": 1, "queue": 2}) as url, aiohttp.ClientSession(url) as session:

        async def post() -> int:
            async with session.post("/analyze", data=form("filename", jpeg)) as response:
                if response.status == 503:
                    assert 1 <= int(response.headers["Retry-After"]) <= 60
                    assert_refused(await response.json(), "busy")
                return response.status

        statuses = await asyncio.gather(*(post() for _ in range(12)))
        assert set(statuses) == {200, 503}
        assert statuses.count(200) >= 3
        assert await post() == 200


PART = st.tuples(
    st.sampled_from(["filename", "file", "image", "access_key", "det_threshold", "max_faces", "pipeline", "_charset_"])
    | st.text(max_size=8),
    st.binary(max_size=60) | st.just(encoded(sample(), "PNG")),
    st.sampled_from(["", "a.jpg", "../x"]),
    st.sampled_from(["", "image/png", "text/plain; charset=x", "multipart/mixed; boundary=y", "text/plain", "?"]),
    st.sampled_from(["", "base64", "binary", "quoted-printable", "x"]),
)
HEADERS = st.dictionaries(
    st.sampled_from(["Content-Encoding", "Accept", "Origin", "Authorization", "Range", "Expect-Not", "Cookie"]),
    st.sampled_from(["gzip", "deflate", "br", "x", "Bearer", "Bearer \u00e9", "*/*", "null", "bytes=0-1", "a=b"]),
    max_size=3,
)


def multipart(parts: list[tuple[str, bytes, str, str, str]], end: bytes) -> bytes:
    data = b""
    for name, value, filename, kind, transfer in parts:
        head = f'--x\r\nContent-Disposition: form-data; name="{name}"'.encode("utf-8", "replace")
        head += f'; filename="{filename}"'.encode() if filename else b""
        head += f"\r\nContent-Type: {kind}".encode() if kind else b""
        head += f"\r\nContent-Transfer-Encoding: {transfer}".encode() if transfer else b""
        data += head + b"\r\n\r\n" + value + b"\r\n"
    return data + end


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(PART, max_size=5), st.sampled_from([b"--x--\r\n", b"--x--", b"--x", b"", b"\r\n"]), HEADERS)
async def test_no_form_is_an_internal_error(
    client: aiohttp.ClientSession, parts: list[Any], end: bytes, headers: dict[str, str]
) -> None:
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    with contextlib.suppress(aiohttp.ClientConnectionError):
        async with client.post("/analyze", data=multipart(parts, end), headers=headers | kind) as response:
            assert response.status < 500, await response.text()
            if response.status != 200 and response.content_type == "application/json":
                assert_refused(await response.json())


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(st.sampled_from(["image", "det_threshold", "max_faces", "pipeline", "x"]), JSON) | JSON,
    st.dictionaries(st.sampled_from(["det_threshold", "max_faces", "token"]), st.text(max_size=5), max_size=2),
)
async def test_no_json_is_an_internal_error(client: aiohttp.ClientSession, value: Any, query: dict[str, str]) -> None:
    data = json.dumps(value).encode("utf-8", "surrogatepass")
    headers = {"Content-Type": "application/json"}
    async with client.post("/analyze", data=data, params=query, headers=headers) as response:
        assert response.status < 500, await response.text()
        assert_refused(await response.json()) if response.status != 200 else None


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "GIF"]), st.data())
async def test_no_damage_is_an_internal_error(client: aiohttp.ClientSession, kind: str, data: st.DataObject) -> None:
    picture = bytearray(encoded(sample(), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        picture[data.draw(st.integers(0, len(picture) - 1))] = data.draw(st.integers(0, 255))
    async with client.post("/analyze", data=form("filename", bytes(picture))) as response:
        assert response.status < 500, await response.text()


@contextlib.contextmanager
def peak_memory() -> Iterator[list[float]]:
    """How many megabytes the process grew within the block, at most; skips where Linux does not tell."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def read(key: str) -> float:
        return int(status.read_text().split(f"{key}:")[1].split()[0]) / 1000

    try:
        reset.write_text("5")
    except OSError:
        pytest.skip("this system does not tell how much memory was used at most")
    before, grown = read("VmRSS"), list[float]()
    yield grown
    grown.append(read("VmHWM") - before)


async def test_memory_is_bounded_whatever_is_sent(client: aiohttp.ClientSession) -> None:
    bodies = [data for data, _ in broken_pictures().values()]
    bodies.append(gzip.compress(bytes(200_000_000), 6))  # made before it is measured
    with peak_memory() as grown:
        for data in bodies:
            headers = {"Content-Type": "image/png"}
            if data[:2] == b"\x1f\x8b":
                headers["Content-Encoding"] = "gzip"
            async with client.post("/analyze", data=data, headers=headers) as response:
                await response.read()
    assert grown[0] < 400  # the bombs would take gigabytes


async def test_the_same_picture_gives_the_same_faces_everywhere(
    workshop: Workshop, streamer: Streamer, portrait_path: Path
) -> None:
    picture = portrait_path.read_bytes()  # noqa: ASYNC240
    async with (
        serving(workshop) as url,
        aiohttp.ClientSession(url) as session,
        session.post("/analyze", data=form("filename", picture)) as response,
    ):
        over_http = (await response.json())["faces"]
    done = await asyncio.to_thread(streamer, "image", portrait_path, "--jsonl")
    pixels = read_picture(portrait_path)
    height, width = pixels.shape[:2]

    def in_library() -> list[Any]:
        with FaceAnalyzer() as analyzer:
            return [face_object(face, width, height) for face in analyzer.analyze(pixels)]

    library = msgspec.to_builtins(await asyncio.to_thread(in_library))
    assert len(over_http) == 1
    assert over_http == json.loads(done.stdout)["faces"] == library


def test_the_broken_pictures_are_what_they_claim() -> None:
    with Image.open(io.BytesIO(broken_pictures()["animated WebP"][0])) as image:
        assert getattr(image, "n_frames", 1) > 1
    with Image.open(io.BytesIO(broken_pictures()["16 bits"][0])) as image:
        assert image.mode.startswith("I")
