"""The report of a log: one page that asks for nothing, escapes what others named, and can be read on a phone."""

from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from playwright.async_api import Page

from streamer.bench.scene import CLIP_FRAMES
from streamer.contract import encode
from streamer.face import Frame, FrameResult, no_pixels
from streamer.log.report import report
from streamer.log.stats import of_log
from streamer.log.times import Span
from streamer.records import frame_record
from tests.browser import complaints, page
from tests.conftest import Streamer

__all__ = ["complaints", "page"]  # fixtures

VOID = {"meta", "br", "link", "img"}
EVIL = "<script>alert(1)</script>\"'&"
DAY = 86_400


class Tree(HTMLParser):
    """Checks that all elements are closed in order, and keeps them with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while self.open[-1] == "p" != tag:
            self.open.pop()
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def frames(stream: str, seconds: int, step: float) -> bytes:
    """Frames of a stream at even steps; every fourth is skipped, and in the middle there is a hole."""
    lines = []
    for n in range(int(seconds / step)):
        if not 0.4 < n * step / seconds < 0.5:
            captured = 1_790_000_000 + n * step
            frame = Frame(n, n, 0.0, captured, 0.0, 640, 480, no_pixels, skipped=None if n % 4 else "stale")
            lines.append(encode(frame_record(FrameResult(frame, (), {"detect": 9.0}, 0, 0.05), stream, "s")) + b"\n")
    return b"".join(lines)


@pytest.fixture
def made_up(tmp_path: Path) -> str:
    """A report of two streams, one of which has a name that is no good."""
    (tmp_path / "a.jsonl").write_bytes(frames(EVIL, 60, 0.5) + frames("days", 3 * DAY, 120.0))
    return report(EVIL, of_log(tmp_path / "a.jsonl", (), Span()), "now")


def test_it_asks_for_nothing_and_escapes_names(made_up: str) -> None:
    tree = Tree(made_up)
    assert not {tag for tag, _ in tree.elements} & {"script", "link", "img", "iframe", "object", "form"}
    for _, attributes in tree.elements:
        assert not {name for name in attributes if name.startswith("on")} | (
            {"src", "srcset", "action"} & set(attributes)
        )
        assert (attributes.get("href") or "#").startswith("#")
    style = made_up.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert "http" not in made_up.replace('http-equiv="Content-Security-Policy"', "")
    assert tree.text.count(EVIL) >= 4  # title, heading, section, table


def test_plots_have_their_figures(made_up: str) -> None:
    tree = Tree(made_up)
    labels = [attributes.get("aria-label") or "" for tag, attributes in tree.elements if tag == "svg"]
    assert sum(label.startswith("Faces in a frame") for label in labels) == 2
    assert any("outcome" in label and "processed, stale" in label for label in labels)
    for tag, attributes in tree.elements:
        if tag == "path":
            numbers = msgspec.json.decode(
                "["
                + ",".join("".join(c if c.isdigit() or c in ".-" else " " for c in attributes["d"] or "").split())
                + "]",
                type=list[float],
            )
            assert all(-0.1 <= number <= 1000.1 for number in numbers)


def test_a_log_of_moments_or_of_years_can_be_plotted(tmp_path: Path) -> None:
    for name, seconds, step in (("lone", 1, 1.0), ("years", 20 * 365 * DAY, 2 * DAY)):
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes(frames(name, seconds, step))
        html = report(name, of_log(path, (), Span()), "now")
        Tree(html)
        assert len(html) < 400_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_is_readable_on_a_phone_and_on_a_screen(
    page: Page, streamer: Streamer, face_clip: Path, tmp_path: Path, scheme: str
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    log, html = tmp_path / "log.jsonl", tmp_path / "report.html"
    assert streamer("run", "-s", face_clip, "--log", log, "--no-server").returncode == 0
    assert streamer("log", "stats", log, "--html", html).returncode == 0
    assert streamer("log", "stats", log, "--html", html).returncode == 2  # it is there already
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for width in (360, 1280):
        await page.set_viewport_size({"width": width, "height": 800})
        await page.goto(html.as_uri())
        assert await page.evaluate("document.documentElement.scrollWidth") == width
    assert set(asked) == {html.as_uri()}
    dark = await page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0] < 60")
    assert dark == (scheme == "dark")
    await page.get_by_text(f"processed {CLIP_FRAMES}, skipped 0").wait_for()
    for title in ("Faces in a frame", "Frames a second", "Age of results", "Emotions", "Tracks by age"):
        box = await page.locator("figure", has_text=title).first.bounding_box()
        assert box is not None
        assert box["height"] > 100
    drawn = await page.evaluate(
        "[...document.querySelectorAll('svg path:not(.grid)')].every(path => path.getBoundingClientRect().width >= 0)"
    )
    assert drawn
