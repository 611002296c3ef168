"""facestream.js, the module for other people's pages: its types, the README's example, and going on after a break."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

from aiohttp import ClientSession, web
from playwright.async_api import Page

from tests.browser import Demo, complaints, demo, page
from tests.declarations import FILE, declarations
from tests.test_push import Server, gone, picture
from tests.test_readme import blocks

__all__ = ["complaints", "demo", "page"]  # fixtures


def test_its_types_are_those_of_the_schema() -> None:
    assert declarations(FILE.read_text()) == FILE.read_text(), "run: python -m tests.declarations"


async def test_its_types_name_what_it_has(page: Page, demo: Demo) -> None:
    await page.goto(f"{demo.page}#photo")
    names = await page.evaluate("async () => Object.keys(await import('/facestream.js'))")
    assert sorted(names) == sorted(re.findall(r"^export (?:const|function) (\w+)", FILE.read_text(), re.MULTILINE))
    async with ClientSession() as client, client.get(f"{demo.page}facestream.d.ts") as response:
        assert await response.text() == FILE.read_text()


@contextlib.asynccontextmanager
async def site(html: str) -> AsyncIterator[str]:
    """A page on another port, which is another origin."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=html, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", answer)
    app.router.add_get("/favicon.ico", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


DRAWN = """() => {
    const canvas = document.querySelector("canvas");
    return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some(value => value > 0);
}"""


async def test_the_example_of_the_readme_draws_faces(page: Page, demo: Demo) -> None:
    (example,) = blocks("html")
    assert len(example.splitlines()) <= 12
    example = example.replace("http://127.0.0.1:8080/", demo.page).replace("ws://127.0.0.1:8765/", demo.websocket)
    async with site(example) as address:
        await page.goto(address)
        await page.wait_for_function(DRAWN)
        await page.goto("about:blank")


@contextlib.asynccontextmanager
async def wire(port: int) -> AsyncIterator[tuple[int, list[asyncio.StreamWriter]]]:
    """A way to a port of this machine, as another port and the connections through it, which can be cut."""
    ends: list[asyncio.StreamWriter] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        ends.extend((writer, far_writer))
        await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], ends


CONNECT = """async url => {
    const { connect } = await import("/facestream.js");
    window.seen = { hellos: 0, seqs: [], missed: [] };
    window.client = connect(url, {
        minDelay: 400,
        onHello: () => seen.hellos += 1,
        onFrame: record => seen.seqs.push(record.seq),
        onMissed: record => seen.missed.push(record),
    });
}"""


async def test_after_a_break_it_goes_on_where_it_was(page: Page, demo: Demo) -> None:
    port = int(demo.websocket.rstrip("/").rpartition(":")[2])
    await page.goto(f"{demo.page}#photo")
    async with wire(port) as (through, ends):
        await page.evaluate(CONNECT, f"ws://127.0.0.1:{through}/")
        await page.wait_for_function("() => seen.seqs.length > 20")
        for end in ends:
            end.transport.abort()
        before = await page.evaluate("seen.seqs.length")
        await page.wait_for_function("before => seen.hellos === 2 && seen.seqs.length > before + 30", arg=before)
        seen = await page.evaluate("seen")
        await page.evaluate("client.close()")
    assert seen["missed"] == []
    newest = seen["seqs"][0]  # what a new client is told first; then the records follow as they come
    assert seen["seqs"][1:] == list(range(seen["seqs"][1], seen["seqs"][-1] + 1))
    assert seen["seqs"][1] > newest


TRACKS = """async url => {
    const { connect } = await import("/facestream.js");
    window.told = [];
    window.client = connect(url, { minDelay: 100, onTrack: record => told.push(record.trackId), onFrame: () => {} });
}"""


async def test_a_track_that_has_ended_is_told_once_whatever_breaks(page: Page, demo: Demo) -> None:
    server = Server(b'{"type":"hello","session":"s1"}')
    await page.goto(f"{demo.page}#photo")
    async with server.serving(), wire(server.port) as (through, ends):
        await server.publish(picture("a", 0))
        await page.evaluate(TRACKS, f"ws://127.0.0.1:{through}/")
        await page.wait_for_function("() => client.connection.state === 'open'")
        await server.publish(gone("a", 1))
        await page.wait_for_function("() => told.length === 1")
        for end in ends:
            end.transport.abort()
        await server.publish(gone("a", 2))
        await page.wait_for_function("() => told.includes(2)")
        told = await page.evaluate("told")
        await page.evaluate("client.close()")
    assert told == [1, 2]
