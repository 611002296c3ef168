"""A real browser on the real program, for the tests that want one."""

import base64
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from streamer.inference.models import Workshop
from tests.conftest import unavailable

CHROMIUM = next((p for p in map(Path, ("/usr/bin/chromium", "/usr/bin/chromium-browser")) if p.exists()), None)
PICTURE = "() => { const c = document.querySelector('.stage canvas'); return c && c.width > 0 ? c.toDataURL() : '' }"
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


DROP = """([name, type, base64]) => {
    const bytes = Uint8Array.from(atob(base64), c => c.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name, { type }));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""


async def drop(page: Page, name: str, kind: str, data: bytes) -> None:
    await page.evaluate(DROP, [name, kind, base64.b64encode(data).decode()])
