"""What is done on the page: streams added and removed, photos and logs dropped, tokens named."""

import asyncio
import json
import re
from pathlib import Path

from playwright.async_api import Page

from streamer.face import EMOTIONS
from tests.browser import PICTURE, Demo, complaints, demo, drop, page, refused
from tests.servers.rtsp import RtspServer
from tests.test_run import running

__all__ = ["complaints", "demo", "page"]  # fixtures


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
    await page.get_by_text("woman").first.wait_for()
    log = next((demo.log / "demo").rglob("*.jsonl"))
    while log.read_bytes().count(b'"processed"') < 20:  # noqa: ASYNC110 - the disk tells nobody
        await asyncio.sleep(0.05)
    lines = [line for line in log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")][:400]
    lines = [line.rstrip(b"\n") for line in lines]
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


TOKENS = """
[streams.hall]
url = "demo"
[server.tokens.guard]
token = "%s"
role = "view"
"""


async def test_a_token_is_asked_for_and_used_everywhere(page: Page, tmp_path: Path, complaints: list[str]) -> None:
    token = "open-sesame-7f3a9c52d1e84b60"
    config = tmp_path / "c.toml"
    config.write_text(TOKENS % token)
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    async with running("run", config) as run:
        await page.goto(run.page)
        await page.get_by_role("textbox", name="Token").fill("wrong")
        await page.keyboard.press("Enter")
        await page.get_by_text("does not accept this token").wait_for()
        await page.get_by_role("textbox", name="Token").fill(token)
        await page.keyboard.press("Enter")
        await page.get_by_text("woman").first.wait_for(timeout=30_000)
        assert await page.evaluate(PICTURE)
        assert len(sockets) >= 2
        assert all(f"token={token}" in url for url in sockets)
        assert all("status of 401" in told for told in complaints)
        complaints.clear()
        await page.reload()
        await page.get_by_text("woman").first.wait_for()  # it is kept in this tab
        await page.get_by_role("button", name="Actions for hall").click()
        async with refused(page, complaints, 403):
            await page.get_by_role("menuitem", name="Pause").click()
        await page.get_by_text("was not changed").wait_for()
        await page.goto("about:blank")
        await run.stop()


QUIET = """
[streams.hall]
url = "demo"
[privacy]
emotions = false
gender = false
age = false
pictures = false
"""
GUESSES = {"woman", "man", *EMOTIONS}
DRAWN = "() => Number(document.querySelector('.stage canvas').dataset.seq ?? -1)"
# Share of the stage that something is drawn on; a picture fills nearly all of it.
FILLED = """() => {
    const canvas = document.querySelector(".stage canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let drawn = 0;
    for (let i = 3; i < data.length; i += 4) drawn += data[i] > 0;
    return drawn / (data.length / 4);
}"""


async def test_what_is_switched_off_is_not_on_the_page(page: Page, tmp_path: Path, portrait_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(QUIET)
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    photo = await asyncio.to_thread(portrait_path.read_bytes)
    async with running("run", config) as run:
        await page.goto(run.page)
        await page.locator(".faces", has_text="gender, age, emotion switched off").first.wait_for(timeout=30_000)
        await page.get_by_text("Pictures are switched off").wait_for()
        before = await page.evaluate(DRAWN)
        await page.wait_for_function(f"before => ({DRAWN})() > before", arg=before)  # the faces move on
        assert 0 < await page.evaluate(FILLED) < 0.1
        assert not any("preview" in url for url in sockets)
        await page.wait_for_function(
            "() => document.querySelector('.trend canvas').ariaLabel?.includes('emotions not judged')"
        )
        words = set(re.findall(r"\w+", await page.locator("#live").inner_text()))
        assert not words & GUESSES
        await drop(page, "portrait.png", "image/png", photo)
        await page.locator("#photo-faces", has_text="gender, age, emotion switched off").wait_for(timeout=60_000)
        assert not set(re.findall(r"\w+", await page.locator("#photo-faces").inner_text())) & GUESSES
        assert 0 < await page.evaluate(FILLED.replace(".stage canvas", "#photo-canvas")) < 0.1
        await page.goto("about:blank")
        await run.stop()
