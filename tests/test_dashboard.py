"""The dashboard in a real browser, on the real program."""

import re
from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import Page, async_playwright

import streamer.web
from streamer.access import Asker
from streamer.inference.models import Workshop
from streamer.web import routes
from tests.browser import CHROMIUM, PICTURE, Demo, complaints, demo, page
from tests.conftest import unavailable
from tests.servers.rtsp import RtspServer
from tests.test_fleet import running as running_streams
from tests.test_run import frames, records, running
from tests.test_streams_api import DOOR, serving, state

__all__ = ["complaints", "demo", "page"]  # fixtures

STATIC = Path(streamer.web.__file__).parent / "static"


async def test_the_demo_moves_and_its_face_is_named(page: Page, demo: Demo) -> None:
    await page.goto(demo.page)
    await page.get_by_text("woman").first.wait_for(timeout=30_000)
    await page.get_by_text("happy").first.wait_for()
    before = await page.evaluate(PICTURE)
    assert before
    await page.wait_for_function(f"before => ({PICTURE})() !== before", arg=before)
    await page.wait_for_function("() => document.querySelector('.trend canvas').ariaLabel?.includes('happy')")


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


async def test_sixteen_streams_are_on_one_screen(page: Page, demo: Demo) -> None:
    """But not so small that nothing can be seen: then the page scrolls."""
    await page.goto(demo.page)
    choose = "async sizes => { const { chooseLayout } = await import('/layout.js'); return chooseLayout(...sizes) }"
    laptop = await page.evaluate(choose, [16, 1260, 730, None])
    assert (laptop["columns"], laptop["rows"], laptop["fit"], laptop["list"]) == (4, 4, True, "bare")
    wall = await page.evaluate(choose, [16, 2540, 1370, None])
    assert (wall["columns"], wall["fit"], wall["list"]) == (4, True, "side")
    phone = await page.evaluate(choose, [16, 370, 740, None])
    assert (phone["columns"], phone["fit"]) == (2, False)
    assert (await page.evaluate(choose, [1, 370, 740, None]))["list"] == "stack"


# The sides of the box on the canvas, which are the longest upright lines of its colour, as left, top, right in pixels
# of the picture; its corners are round.
OVERLAY = """async () => {
    const { trackColor } = await import("/facestream.js");
    const canvas = document.querySelector(".stage canvas");
    const reading = { willReadFrequently: true };  // of the page's own canvas the browser would complain
    const probe = new OffscreenCanvas(1, 1).getContext("2d", reading);
    for (;;) {
        probe.fillStyle = trackColor(Number(document.querySelector(".face-id")?.textContent.slice(1)));
        probe.fillRect(0, 0, 1, 1);
        const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
        const { width, height } = canvas;
        const copy = new OffscreenCanvas(width, height).getContext("2d", reading);
        copy.drawImage(canvas, 0, 0);
        const { data } = copy.getImageData(0, 0, width, height);
        const lines = [];
        for (let x = 0; x < width; x++) for (let y = 0, length = 0; y < height; y++) {
            const i = 4 * (y * width + x);
            const same = Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b) < 12;
            length = same ? length + 1 : 0;
            if (length > 0.08 * height) lines.push({ x, length, top: y - length + 1 });
        }
        const longest = Math.max(...lines.map(line => line.length));
        const sides = lines.filter(line => line.length > 0.9 * longest);
        const scale = Math.min(width / 1280, height / 720);
        const radius = 6 * Math.min(1.5, Math.max(1, 1280 * scale / 760));
        const dx = (width - 1280 * scale) / 2, dy = (height - 720 * scale) / 2;
        const [left, right] = [Math.min, Math.max].map(most => most(...sides.map(line => line.x)));
        if (right > left + 20) return [(left - dx) / scale, (sides[0].top - radius - dy) / scale, (right - dx) / scale];
        await new Promise(requestAnimationFrame);
    }
}"""


async def test_the_drawn_box_lies_on_the_face(page: Page, face_clip: Path, tmp_path: Path) -> None:
    """The colour of the overlay is found on the page where the log has the face."""
    log = tmp_path / "log"
    async with RtspServer({"cam": face_clip}) as server, running("run", "-s", server.url("cam"), "--log", log) as run:
        await page.goto(run.page)
        await page.get_by_text("woman").first.wait_for(timeout=30_000)
        left, top, right = await page.evaluate(OVERLAY)
        await page.goto("about:blank")
        await run.stop()
    (file,) = log.rglob("*.jsonl")
    boxes = [face["boundingBox"] for record in frames(records(file)) for face in record["faces"]]
    # Which of the frames was shown is not known here, but the face moves little within the clip's three seconds.
    assert min(abs(left - box["x"]) + abs(top - box["y"]) + abs(right - box["x"] - box["w"]) for box in boxes) < 16


async def test_dark_and_light_are_switched_and_remembered(page: Page, demo: Demo) -> None:
    color = "getComputedStyle(document.body).backgroundColor"
    await page.emulate_media(color_scheme="dark")
    await page.goto(demo.page)
    dark = await page.evaluate(color)
    await page.get_by_role("button", name="Colours").click()
    light = await page.evaluate(color)
    assert light != dark
    await page.reload()
    assert await page.evaluate(color) == light
    await page.get_by_role("button", name="Colours: light").click()
    assert await page.evaluate(color) == dark


def test_the_page_names_no_other_host() -> None:
    for file in STATIC.iterdir():
        named = re.findall(r"(?:https?|wss?)://[^\s\"'`<)]+", file.read_text())
        assert set(named) <= {"http://www.w3.org/2000/svg"}, file.name


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
    asker = routes.asker

    def noted(request: web.Request) -> Asker:
        came.append(f"{request.method} {request.headers.get('Origin')}")
        return asker(request)

    monkeypatch.setattr(routes, "asker", noted)
    monkeypatch.setattr("streamer.web.answers._ALWAYS", {})  # the attacker's page has no policy that holds it back
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
