"""The dashboard in a real browser, on the real program."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import Page, async_playwright

from streamer.inference.models import Workshop
from streamer.web.streams import StreamHandlers
from tests.conftest import unavailable
from tests.servers.rtsp import RtspServer
from tests.test_fleet import running as running_streams
from tests.test_run import frames, records, running
from tests.test_streams_api import DOOR, serving, state

CHROMIUM = next((p for p in map(Path, ("/usr/bin/chromium", "/usr/bin/chromium-browser")) if p.exists()), None)


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """A page whose every complaint on the console fails the test."""
    if CHROMIUM is None:
        unavailable("Chromium is not installed (Debian: apt-get install chromium)")
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: complaints.append(str(e)))
        yield page
        await browser.close()
    assert complaints == []


PICTURE = "() => { const c = document.querySelector('canvas'); return c && c.width > 0 ? c.toDataURL() : '' }"


async def test_the_demo_moves_and_its_face_is_named(page: Page) -> None:
    async with running("demo") as run:
        await page.goto(run.page)
        await page.get_by_text("woman").first.wait_for(timeout=30_000)
        await page.get_by_text("happy").first.wait_for()
        before = await page.evaluate(PICTURE)
        assert before
        await page.wait_for_function(f"before => ({PICTURE})() !== before", arg=before)
        await page.goto("about:blank")
        await run.stop()


async def test_a_lost_camera_is_shown_as_offline_and_comes_back(page: Page, face_clip: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    async with RtspServer({"cam": face_clip}) as server:
        config.write_text(f"[streams.door]\nurl = '{server.url('cam')}'\nretry_min = 0.2\nretry_max = 0.5\n")
        async with running("run", config) as run:
            await page.goto(run.page)
            await page.get_by_text("woman").first.wait_for(timeout=30_000)
            await server.kill()
            await page.get_by_text("offline").first.wait_for(timeout=15_000)
            await server.restart()
            await page.get_by_text("offline").first.wait_for(state="hidden", timeout=15_000)
            await page.get_by_text("woman").first.wait_for(timeout=15_000)
            await page.goto("about:blank")
            await run.stop()


async def test_a_stream_that_is_added_appears_and_one_that_is_removed_has_ended(page: Page, face_clip: Path) -> None:
    async with RtspServer({"a": face_clip, "b": face_clip}) as server, running("run", "-s", server.url("a")) as run:
        await page.goto(run.page)
        await page.get_by_text("woman").first.wait_for(timeout=30_000)
        ask = "async ([method, path, body]) => (await fetch('/api/streams/' + path, {method, body})).status"
        assert await page.evaluate(ask, ["PUT", "hall", f'{{"url": "{server.url("b")}"}}']) == 201
        tile = page.get_by_label("hall", exact=True)
        await tile.get_by_text("woman").first.wait_for(timeout=30_000)
        assert await page.evaluate(ask, ["POST", "hall/pause", None]) == 200
        await tile.get_by_text("the stream is paused").wait_for()
        assert await page.evaluate(ask, ["POST", "hall/resume", None]) == 200
        await tile.get_by_text("woman").first.wait_for()
        await tile.get_by_text("the stream is paused").wait_for(state="hidden")
        assert await page.evaluate(ask, ["DELETE", "hall", None]) == 204
        await tile.get_by_text("Ended", exact=True).wait_for()
        await page.get_by_text("woman").first.wait_for()
        await page.reload()
        await page.get_by_text("woman").first.wait_for()
        assert await tile.count() == 0
        await page.goto("about:blank")
        await run.stop()


# The overlay's colour on the canvas, as left, top, right in pixels of the picture (the label hangs below the box).
OVERLAY = """async track => {
    const { trackColor } = await import("/overlay.js");
    const canvas = document.querySelector("canvas");
    const probe = new OffscreenCanvas(1, 1).getContext("2d");
    probe.fillStyle = trackColor(track);
    probe.fillRect(0, 0, 1, 1);
    const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
    for (;;) {
        const { width, height } = canvas;
        const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
        let left = width, top = height, right = 0;
        for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
            const i = 4 * (y * width + x);
            if (Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b) < 12) {
                left = Math.min(left, x); top = Math.min(top, y); right = Math.max(right, x);
            }
        }
        const scale = Math.min(width / 1280, height / 720);
        const dx = (width - 1280 * scale) / 2, dy = (height - 720 * scale) / 2;
        if (right) return [(left - dx) / scale, (top - dy) / scale, (right - dx) / scale];
        await new Promise(requestAnimationFrame);
    }
}"""


async def test_the_drawn_box_lies_on_the_face(page: Page, face_clip: Path, tmp_path: Path) -> None:
    """The colour of the overlay is found on the page where the log has the face."""
    log = tmp_path / "log"
    async with RtspServer({"cam": face_clip}) as server, running("run", "-s", server.url("cam"), "--log", log) as run:
        await page.goto(run.page)
        await page.get_by_text("#1").first.wait_for(timeout=30_000)
        left, top, right = await page.evaluate(OVERLAY, 1)
        await page.goto("about:blank")
        await run.stop()
    (file,) = log.iterdir()
    boxes = [face["boundingBox"] for record in frames(records(file)) for face in record["faces"]]
    # Which of the frames was shown is not known here, but the face moves little within the clip's three seconds.
    assert min(abs(left - box["x"]) + abs(top - box["y"]) for box in boxes) < 12
    assert right > left + min(box["w"] for box in boxes) * 0.9


# All that a page can make a browser send without asking first, then what it may only try.
ATTACK = """async ([server, body]) => {
    const streams = server + "/api/streams/";
    const send = (path, method, mode) => fetch(streams + path, {method, mode, body}).catch(() => "refused");
    for (const path of ["door/pause", "off/resume"]) {
        await send(path, "POST", "no-cors");
        navigator.sendBeacon(streams + path, body);
        const link = Object.assign(document.createElement("a"), {href: "#x", ping: streams + path});
        document.body.append(link);
        link.click();
        for (const sandbox of [null, "allow-forms allow-scripts"]) {
            const frame = document.createElement("iframe");
            if (sandbox) frame.setAttribute("sandbox", sandbox);
            const gone = new Promise((resolve) => frame.addEventListener("load", resolve));
            frame.srcdoc = `<form method="post" enctype="text/plain" action="${streams + path}">`
                + `<input name='${body}'></form>` + "<script>document.forms[0].submit()</scr" + "ipt>";
            document.body.append(frame);
            await gone;
        }
    }
    for (const mode of ["cors", "same-origin"]) {
        await send("new", "PUT", mode);
        await send("door", "DELETE", mode);
        await send("door/pause", "POST", mode);
    }
}"""


async def test_pages_elsewhere_change_nothing(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither across origins nor from a name that resolves to this machine."""
    if CHROMIUM is None:
        unavailable("Chromium is not installed (Debian: apt-get install chromium)")
    came: list[str] = []
    check = StreamHandlers.__dict__["_check"]

    def noted(handlers: StreamHandlers, request: web.Request) -> None:
        came.append(f"{request.method} {request.headers.get('Origin')}")
        check(handlers, request)

    monkeypatch.setattr(StreamHandlers, "_check", noted)
    async with (
        running_streams(door=DOOR, off=DOOR) as run,
        serving(workshop, run) as server,
        serving(workshop, run) as other,
        async_playwright() as playwright,
    ):
        await run.fleet.pause("off")
        before = state(run)
        browser = await playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--host-resolver-rules=MAP *.example 127.0.0.1"]
        )
        page = await browser.new_page()
        for here in (other, server):
            await page.goto(here.replace("127.0.0.1", "evil.example") + "/healthz")
            await page.evaluate(ATTACK, [server, '{"url": "demo"}'])
            there = server if here == other else server.replace("127.0.0.1", "evil.example")
            await page.evaluate(ATTACK, [there, '{"url": "demo"}'])
        await browser.close()
        assert state(run) == before
    for method, origin in (("POST", other), ("POST", server), ("PUT", server), ("DELETE", server)):
        assert f"{method} {origin.replace('127.0.0.1', 'evil.example')}" in came  # these came, and were refused
    assert "POST null" in came
