"""The dashboard in a real browser, on the real program."""

import asyncio
import base64
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, Request, Route, async_playwright

import streamer.web
from streamer.inference.models import Workshop
from tests.conftest import unavailable
from tests.servers.rtsp import RtspServer
from tests.test_run import frames, records, running

CHROMIUM = next((p for p in map(Path, ("/usr/bin/chromium", "/usr/bin/chromium-browser")) if p.exists()), None)
STATIC = Path(streamer.web.__file__).parent / "static"
REPORT_VIOLATIONS = """addEventListener("securitypolicyviolation",
    e => console.error(`CSP: ${e.violatedDirective} refused ${e.blockedURI}`))"""


class Demo:
    """A demo that all tests here may use; `log` is its folder of records."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log
        assert process.stdout is not None
        words = [line.split() for line, _ in zip(process.stdout, range(2), strict=False)]
        self.page, self.websocket = dict(words)["page"], dict(words)["websocket"]


@pytest.fixture(scope="module")
def demo(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    workshop.fetch("accurate")
    log = tmp_path_factory.mktemp("log")
    ports = ("--http-port", "0", "--ws-port", "0")
    command = [sys.executable, "-m", "streamer", "demo", "--log", str(log), *ports]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield Demo(process, log)
        finally:
            process.kill()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser said on its console. What a test expects it takes out; anything else fails it."""
    return []


@pytest.fixture
async def page(complaints: list[str]) -> AsyncIterator[Page]:
    """A page whose every complaint on the console fails the test."""
    if CHROMIUM is None:
        unavailable("Chromium is not installed (Debian: apt-get install chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(20_000)
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: complaints.append(str(e)))
        await page.add_init_script(REPORT_VIOLATIONS)
        yield page
        await page.goto("about:blank")
        await browser.close()
    assert complaints == []


@contextlib.asynccontextmanager
async def refused(page: Page, complaints: list[str], status: int) -> AsyncIterator[None]:
    """Chromium tells of every request that is refused: within the block one is, with this status."""
    async with page.expect_console_message(lambda message: f"status of {status}" in message.text) as told:
        yield
    complaints.remove((await told.value).text)


PICTURE = "() => { const c = document.querySelector('.stage canvas'); return c && c.width > 0 ? c.toDataURL() : '' }"


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


# The sides of the box on the canvas, which are the longest upright lines of its colour, as left, top, right in pixels
# of the picture; its corners are round.
OVERLAY = """async track => {
    const { trackColor } = await import("/facestream.js");
    const canvas = document.querySelector(".stage canvas");
    const probe = new OffscreenCanvas(1, 1).getContext("2d");
    probe.fillStyle = trackColor(track);
    probe.fillRect(0, 0, 1, 1);
    const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
    for (;;) {
        const { width, height } = canvas;
        const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
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
        await page.get_by_text("#1").first.wait_for(timeout=30_000)
        left, top, right = await page.evaluate(OVERLAY, 1)
        await page.goto("about:blank")
        await run.stop()
    (file,) = log.iterdir()
    boxes = [face["boundingBox"] for record in frames(records(file)) for face in record["faces"]]
    # Which of the frames was shown is not known here, but the face moves little within the clip's three seconds.
    assert min(abs(left - box["x"]) + abs(top - box["y"]) + abs(right - box["x"] - box["w"]) for box in boxes) < 16


async def press_until_focused(page: Page, name: str) -> None:
    for _ in range(30):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.id") == name:
            return
    raise AssertionError(f"{name} cannot be reached with the Tab key")


async def test_a_stream_is_added_with_the_keyboard_then_paused_resumed_and_removed(
    page: Page, demo: Demo, face_clip: Path
) -> None:
    async with RtspServer({"cam": face_clip}) as server:
        await page.goto(demo.page)
        await page.get_by_role("article", name="demo").wait_for()
        await press_until_focused(page, "add")
        await page.keyboard.press("Enter")
        await page.keyboard.type(server.url("cam"))  # the address has the focus
        await page.keyboard.press("Tab")
        await page.keyboard.type("door")
        await page.keyboard.press("Enter")
        tile = page.get_by_role("article", name="door")
        await tile.get_by_text("Live").wait_for()
        assert await page.evaluate("document.activeElement.id") == "add"

        async def act(name: str) -> None:
            await tile.get_by_role("button", name="Actions for door").click()
            await page.get_by_role("menuitem", name=name).click()

        await act("Pause")
        await tile.get_by_text("Paused", exact=True).wait_for()
        await server.until(lambda stats: stats.live == 0)
        await act("Resume")
        await tile.get_by_text("Live").wait_for()
        await act("Details")
        await page.get_by_role("dialog").get_by_text(server.url("cam")).wait_for()
        await page.keyboard.press("Escape")
        await act("Remove")
        await page.keyboard.press("Enter")  # "Keep it" has the focus
        await page.get_by_role("dialog").wait_for(state="detached")
        await act("Remove")
        await page.get_by_role("button", name="Remove", exact=True).click()
        await tile.wait_for(state="detached")
        await server.until(lambda stats: stats.live == 0)


async def test_what_is_wrong_with_a_new_stream_is_said_where_it_belongs(
    page: Page, demo: Demo, complaints: list[str]
) -> None:
    await page.goto(demo.page)
    await page.get_by_role("article", name="demo").wait_for()
    await page.get_by_role("button", name="Add stream").click()
    await page.get_by_role("textbox", name="Name", exact=True).fill("demo")
    await page.get_by_role("button", name="Add", exact=True).click()
    await page.locator("#name-error", has_text="already").wait_for()
    await page.get_by_role("textbox", name="Name", exact=True).fill("passwords")
    await page.get_by_role("textbox", name="Address").fill("/etc/passwd")
    async with refused(page, complaints, 400):
        await page.keyboard.press("Enter")
    await page.locator("#url-error", has_text="configuration file").wait_for()
    assert await page.evaluate("document.activeElement.name") == "url"
    assert await page.locator("#name-error").is_hidden()


async def test_a_server_whose_streams_are_fixed_says_why(page: Page, tmp_path: Path, complaints: list[str]) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[streams.hall]\nurl = 'demo'\n[server]\ncontrol = false\n")
    async with running("run", config) as run:
        await page.goto(run.page)
        await page.get_by_role("button", name="Actions for hall").click()
        async with refused(page, complaints, 403):
            await page.get_by_role("menuitem", name="Pause").click()
        await page.get_by_role("dialog").get_by_text("Set control = true under [server].").wait_for()
        await page.goto("about:blank")
        await run.stop()


DROP = """([name, type, base64]) => {
    const bytes = Uint8Array.from(atob(base64), c => c.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name, { type }));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""


async def drop(page: Page, name: str, kind: str, data: bytes) -> None:
    await page.evaluate(DROP, [name, kind, base64.b64encode(data).decode()])


async def test_a_dropped_photo_gets_its_result(
    page: Page, demo: Demo, portrait_path: Path, complaints: list[str]
) -> None:
    photo = await asyncio.to_thread(portrait_path.read_bytes)
    await page.goto(demo.page)
    async with refused(page, complaints, 415):
        await drop(page, "torn.jpg", "image/jpeg", b"\xff\xd8 no picture")
    await page.locator("#photo-title", has_text="torn.jpg cannot").wait_for()
    await drop(page, "portrait.png", "image/png", photo)
    await page.locator("#photo-faces", has_text="woman").wait_for(timeout=60_000)
    answer = json.loads(await page.locator("#photo-json").text_content() or "")
    (face,) = answer["faces"]
    assert face["gender"]["value"] == "Female"
    assert await page.locator("#photo-title").is_hidden()
    assert await page.locator("#photo-faces .face").count() == 1
    await page.get_by_role("slider", name="Certain from").fill("1")
    await page.get_by_text("No face as certain").wait_for()


async def test_a_log_is_replayed(page: Page, demo: Demo) -> None:
    await page.goto(demo.page)
    await page.get_by_text("woman").first.wait_for()  # by then the log has records
    lines = (demo.log / "demo.jsonl").read_bytes().splitlines()[:400]
    analysed = [record for record in map(json.loads, lines) if record.get("status") == "processed"]
    await drop(page, "demo.jsonl", "", b"\n".join([lines[0], b'{"type": "frame"', *lines[1:], b"no record"]))
    await page.locator("#log-facts", has_text=f"{len(lines)} records, 2 unreadable lines").wait_for()
    await page.locator("#log-marks", has_text="live").wait_for()
    await page.get_by_role("slider", name="Time").focus()
    await page.keyboard.press("End")
    face = analysed[-1]["faces"][0]
    await page.locator("#log-faces", has_text=f"#{face['trackId']} woman {face['age']}").wait_for()
    at_end = await page.locator("#log-time").text_content()
    await page.keyboard.press("Home")
    await page.wait_for_function("end => document.getElementById('log-time').textContent !== end", arg=at_end)
    await page.get_by_role("combobox", name="Speed").select_option("16")
    await page.get_by_role("button", name="Play").click()
    await page.wait_for_function("end => document.getElementById('log-time').textContent === end", arg=at_end)
    await page.get_by_role("button", name="Play").wait_for()  # it has stopped there


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


async def test_a_token_is_asked_for_and_used_everywhere(page: Page, demo: Demo, complaints: list[str]) -> None:
    """The server's part is played here: it wants a token for `/api/`."""

    async def guard(route: Route, request: Request) -> None:
        if request.headers.get("authorization") == "Bearer open sesame":
            await route.continue_()
        else:
            error = {"code": "unauthorized", "message": "a token is needed", "hint": ""}
            await route.fulfill(status=401, json={"error": error, "faces": []})

    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    await page.route("**/api/*", guard)
    await page.goto(demo.page)
    await page.get_by_role("textbox", name="Token").fill("wrong")
    await page.keyboard.press("Enter")
    await page.get_by_text("does not accept this token").wait_for()
    await page.get_by_role("textbox", name="Token").fill("open sesame")
    await page.keyboard.press("Enter")
    await page.get_by_text("woman").first.wait_for()
    assert len(sockets) >= 2
    assert all("token=open" in url for url in sockets)
    assert all("status of 401" in told for told in complaints)
    complaints.clear()
    await page.reload()
    await page.get_by_text("woman").first.wait_for()  # it is kept in this tab
    await page.unroute_all(behavior="wait")


def test_the_page_names_no_other_host() -> None:
    for file in STATIC.iterdir():
        named = re.findall(r"(?:https?|wss?)://[^\s\"'`<)]+", file.read_text())
        assert set(named) <= {"http://www.w3.org/2000/svg"}, file.name
