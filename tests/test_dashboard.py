"""The dashboard in a real browser, on the real program."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from tests.conftest import unavailable
from tests.servers.rtsp import RtspServer
from tests.test_run import frames, records, running

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


# The overlay's colour on the canvas, as left, top, right in pixels of the picture (the label hangs below the box).
OVERLAY = """async track => {
    const { trackColor } = await import("/facestream.js");
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
