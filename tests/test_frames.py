"""Pictures of streams over HTTP: the newest, all as they come, with overlay, and with faces that nobody can know."""

import asyncio
import io
from typing import Any

import aiohttp
import numpy as np
import pytest
from PIL import Image

from streamer.face import Face, FrameResult, Pixels
from streamer.inference.models import Workshop
from streamer.media.overlay import draw, label, pixelate
from streamer.media.pictures import decode_picture
from tests.test_contract import a_face, frame
from tests.test_metrics import Run, live, lost
from tests.test_web import assert_refused

SEED = np.random.default_rng(1)
NOISE: Pixels = SEED.integers(0, 256, (480, 640, 3), np.uint8)
BOX = (296, 60, 385, 175)  # of `a_face`


@pytest.fixture
def run(workshop: Workshop) -> Run:
    return Run(workshop)


def shown(seq: int, pixels: Pixels, *faces: Face, **changes: Any) -> FrameResult:
    height, width = pixels.shape[:2]
    of = frame(seq=seq, pixels=lambda: pixels, width=width, height=height, **changes)
    return FrameResult(of, faces, {}, 0, 10.0)


def plain(shade: int) -> Pixels:
    return np.full((480, 640, 3), shade, np.uint8)


async def got(session: aiohttp.ClientSession, query: str = "") -> tuple[Pixels, dict[str, str]]:
    async with session.get(f"/api/streams/door/frame.jpg{query}") as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "image/jpeg"
        return decode_picture(await response.read()), dict(response.headers)


async def test_the_newest_picture_that_was_analysed(run: Run) -> None:
    async with run.serving("door") as session:
        async with session.get("/api/streams/door/frame.jpg") as response:
            assert response.status == 503
            assert int(response.headers["Retry-After"]) >= 1
            assert_refused(await response.json(), "noPicture")
        async with session.get("/api/streams/nobody/frame.jpg") as response:
            assert response.status == 404
        await run.deliver(
            "door", live(), shown(7, plain(200)), shown(8, plain(90)), shown(9, plain(0), skipped="stale")
        )
        pixels, headers = await got(session)
        assert pixels.shape == (480, 640, 3)
        assert abs(int(pixels.mean()) - 90) < 3
        assert (headers["X-Seq"], headers["X-State"]) == ("8", "live")
        assert headers["X-Captured"] == "2026-09-21T14:13:20.250Z"
        assert headers["Cache-Control"] == "no-store"
        await run.deliver("door", lost())
        assert (await got(session))[1]["X-State"] == "offline"


async def test_a_picture_as_it_is_wanted(run: Run) -> None:
    async with run.serving("door") as session:
        await run.deliver("door", live(), shown(0, NOISE, a_face(track_id=1)))
        assert (await got(session, "?width=320"))[0].shape == (240, 320, 3)
        assert (await got(session, "?width=5000"))[0].shape == (480, 640, 3)
        sizes = []
        for quality in (10, 95):
            async with session.get(f"/api/streams/door/frame.jpg?quality={quality}") as response:
                sizes.append(len(await response.read()))
        assert sizes[0] < sizes[1] / 3
        untouched = (await got(session, "?quality=95"))[0]
        x1, y1, x2, y2 = BOX
        blurred = (await got(session, "?blur=1&quality=95"))[0]
        assert blurred[y1:y2, x1:x2].std() < untouched[y1:y2, x1:x2].std() / 3
        assert np.abs(blurred[:20].astype(int) - untouched[:20]).max() < 40
        drawn = (await got(session, "?overlay=1&width=320&quality=95"))[0]
        assert drawn.shape == (240, 320, 3)
        for query in ("width=0", "width=x", "quality=101", "overlay=maybe", "blur=2", "width=99999999999999999999999"):
            async with session.get(f"/api/streams/door/frame.jpg?{query}") as response:
                assert response.status == 400
                assert_refused(await response.json(), "badConfig")


def test_boxes_and_labels_are_drawn_where_the_faces_are() -> None:
    black = np.zeros((480, 640, 3), np.uint8)
    for scale in (1.0, 0.5, 2.0):
        canvas = np.zeros((round(480 * scale), round(640 * scale), 3), np.uint8)
        drawn = draw(canvas, (a_face(track_id=3),), scale)
        assert not canvas.any()
        ys, xs = np.nonzero(drawn.any(2))
        assert abs(xs.min() - BOX[0] * scale) <= 3
        assert abs(ys.min() - BOX[1] * scale) <= 3
        assert ys.max() > BOX[3] * scale + 5  # the label hangs below
        for x, y in a_face().landmarks * scale:
            assert drawn[round(float(y)), round(float(x))].any()
    assert draw(black, ()).any() == False  # noqa: E712
    assert label(a_face(track_id=3)) == "#3 woman 24 happy"
    assert label(a_face(female=0.1)) == "man 24 happy"
    assert (draw(black, (a_face(track_id=1),)).max((0, 1)) != draw(black, (a_face(track_id=2),)).max((0, 1))).any()
    beyond = a_face(box=np.array([-50, -60, 900, 700], np.float32))
    assert draw(black, (beyond,)).any()


def test_what_is_pixelated_cannot_be_told_any_more() -> None:
    """Pictures that differ in all but the means of a few blocks become the very same."""
    face = a_face()
    other = NOISE.copy()
    once = pixelate(NOISE, (face,))
    x1, y1, x2, y2 = BOX
    assert len(np.unique(once[y1:y2, x1:x2].reshape(-1, 3), axis=0)) <= 100
    assert (once[:, : x1 - 60] == NOISE[:, : x1 - 60]).all()
    # Within each block the order of the pixels is lost.
    same = (once[1:, :] == once[:-1, :]).all(2)
    rows = [y for y in range(y1, y2 - 1) if same[y, x1:x2].all()]
    assert rows
    other[rows[0]], other[rows[0] + 1] = NOISE[rows[0] + 1], NOISE[rows[0]]
    assert np.abs(pixelate(other, (face,))[y1:y2, x1:x2].astype(int) - once[y1:y2, x1:x2]).max() <= 1
    assert (once != NOISE).any()


@pytest.mark.parametrize(
    "box", [(-20, -20, 30, 30), (600, 400, 700, 500), (700, 500, 800, 600), (5, 5, 6, 6), (9, 9, 9, 9)]
)
def test_faces_at_the_edge_are_pixelated_too(box: tuple[int, int, int, int]) -> None:
    result = pixelate(NOISE, (a_face(box=np.array(box, np.float32)),))
    assert result.shape == NOISE.shape
    inside = NOISE[max(box[1], 0) : box[3], max(box[0], 0) : box[2]]
    if inside.size > 12:
        assert result[max(box[1], 0) : box[3], max(box[0], 0) : box[2]].std() < inside.std() / 2


async def part(response: aiohttp.ClientResponse) -> tuple[dict[str, str], bytes]:
    """The next part of a multipart answer."""
    headers: dict[str, str] = {}
    async with asyncio.timeout(10):
        line = await response.content.readline()
        assert line == b"--frame\r\n", line
        while (line := (await response.content.readline()).strip()) != b"":
            key, _, value = line.decode().partition(": ")
            headers[key] = value
        data = await response.content.readexactly(int(headers["Content-Length"]))
        assert await response.content.readline() == b"\r\n"
    return headers, data


async def test_mjpeg_gives_each_picture_once(run: Run) -> None:
    async with run.serving("door", "desk") as session:
        await run.deliver("door", live(), shown(0, plain(10)))
        async with session.get("/api/streams/door/frame.mjpeg?width=320") as response:
            assert response.content_type == "multipart/x-mixed-replace"
            for seq in range(4):
                headers, data = await part(response)
                assert headers["X-Seq"] == str(seq)
                with Image.open(io.BytesIO(data)) as image:
                    assert image.size == (320, 240)
                await run.deliver("desk", shown(99, plain(0)))
                await run.deliver("door", shown(seq + 1, plain(10 * seq)))
            await part(response)
            await run.fleet.remove("door")
            assert await response.content.readline() == b"--frame--\r\n"
            assert await response.content.read() == b""
        async with session.get("/api/streams/door/frame.mjpeg") as response:
            assert response.status == 404


async def test_a_slow_reader_of_mjpeg_gets_newer_pictures_not_older_ones(run: Run) -> None:
    async with run.serving("door") as session:
        await run.deliver("door", live(), shown(0, NOISE))
        async with session.get("/api/streams/door/frame.mjpeg?quality=100") as response:
            assert (await part(response))[0]["X-Seq"] == "0"
            transport = response.connection and response.connection.transport
            assert transport is not None
            transport.pause_reading()
            last = 120  # so many are more than all buffers on the way hold
            for seq in range(1, last + 1):
                await run.deliver("door", shown(seq, NOISE))
                await asyncio.sleep(0.01)
            transport.resume_reading()
            numbers = [0]
            while numbers[-1] != last:
                numbers.append(int((await part(response))[0]["X-Seq"]))
    assert numbers == sorted(set(numbers))
    assert len(numbers) < last


async def test_a_reader_of_mjpeg_that_leaves_is_forgotten(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async with run.serving("door") as session:
        await run.deliver("door", live(), shown(0, plain(10)))
        before = len(run.hub._consumers)  # noqa: SLF001
        response = await session.get("/api/streams/door/frame.mjpeg")
        await part(response)
        assert len(run.hub._consumers) == before + 1  # noqa: SLF001
        response.close()
        async with asyncio.timeout(10):
            seq = 1
            while len(run.hub._consumers) > before:  # noqa: SLF001
                await run.deliver("door", shown(seq, plain(10)))
                seq += 1
                await asyncio.sleep(0.01)
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []
