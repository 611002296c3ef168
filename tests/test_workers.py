"""Streams analysed by processes of their own: as in one process, and what happens when one of these dies."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect

from streamer.cli.options import Options
from streamer.config import Settings, StreamSettings
from streamer.configfile import parse
from streamer.errors import ConfigError
from streamer.media.source import Tally
from streamer.workers.sizing import how_many
from streamer.workers.wire import REPORTS, WINDOW, Beat, Begin, Changed, Ready, Result, Start, Taken, packed, unpacked
from tests.conftest import Streamer
from tests.servers.rtsp import RtspServer
from tests.servers.session import Access
from tests.test_control import Heard, ask, listening, whole
from tests.test_run import Record, Running, frames, running
from tests.watched import until

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for processes as on Linux")


def workers_of(run: Running) -> list[int]:
    """The process numbers of its workers."""
    threads = Path(f"/proc/{run.process.pid}/task").iterdir()
    children = [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]
    return sorted(pid for pid in children if b"streamer.workers.worker" in Path(f"/proc/{pid}/cmdline").read_bytes())


def seen_by_others(pid: int) -> bytes:
    """Command line and environment of a process."""
    return b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def configure(folder: Path, workers: int | str, streams: dict[str, dict[str, Any]]) -> Path:
    path = folder / "run.toml"
    lines = [f"workers = {json.dumps(workers)}", "[log]", "path = 'logs'"]
    for name, settings in streams.items():
        lines += [f"[streams.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in settings.items())]
    path.write_text("\n".join(lines))
    return path


def told(of: list[Record]) -> list[tuple[str, str | None]]:
    """The states in a log, with the codes of their errors."""
    return [(r["state"], r.get("error", {}).get("code")) for r in of if r["type"] == "status"]


def timeless(of: list[Record]) -> list[Record]:
    """Records without what is another in each run."""
    return [{k: v for k, v in r.items() if k not in ("session", "at", "timings", "time")} for r in of]


def test_a_clip_is_analysed_as_in_one_process(streamer: Streamer, face_clip: Path, tmp_path: Path) -> None:
    clips = ("--source", face_clip, "--source", face_clip, "--no-server")
    for workers in ("0", "2"):
        done = streamer("run", *clips, "--workers", workers, "--log", tmp_path / workers)
        assert done.returncode == 0, done.stderr
    for name in ("face", "face-2"):
        alone, spread = (timeless(whole(tmp_path / workers / name)) for workers in ("0", "2"))
        assert len(frames(spread)) > 50
        assert spread == alone
    assert streamer("log", "verify", tmp_path / "2").returncode == 0


async def test_only_the_streams_of_a_worker_that_is_killed_notice(face_clip: Path, tmp_path: Path) -> None:
    async with RtspServer({"door": face_clip, "desk": face_clip}) as server:
        streams = {name: {"url": server.url(name)} for name in ("door", "desk")}
        async with running("run", configure(tmp_path, 2, streams)) as run, listening(run) as (heard, http):
            before = {name: await heard.frame(name) for name in streams}
            first, _second = pids = workers_of(run)
            os.kill(first, signal.SIGKILL)
            lost = await heard.until(lambda r: r.get("state") == "offline")
            hit, spared = (lost["stream"], ({*streams} - {lost["stream"]}).pop())
            assert lost["error"]["code"] == "workerDied"
            await run.until(rf"worker \d: .* SIGKILL.*: {hit}$")
            await heard.state(hit, "live")
            newest = max(r["seq"] for r in frames(heard.records) if r["stream"] == hit)
            after = await heard.frame(hit, after=newest)
            assert after["faces"][0]["trackId"] > before[hit]["faces"][0]["trackId"]
            await heard.frame(spared, after=before[spared]["seq"])
            assert len({*pids, *workers_of(run)}) == 3
            async with http.get("/metrics") as answer:
                assert "facestreamer_workers_restarts_total 1.0" in await answer.text()
            code, _ = await run.stop()
            assert code == 0
    log = whole(tmp_path / "logs" / hit)
    opened: list[tuple[str, str | None]] = [("connecting", None), ("live", None)]
    assert told(log) == [*opened, ("offline", "workerDied"), *opened, ("ended", None)]
    tracks = [r["trackId"] for r in log if r["type"] == "track"]
    assert sorted(tracks) == sorted({face["trackId"] for r in frames(log) for face in r["faces"]})
    assert told(whole(tmp_path / "logs" / spared)) == [*opened, ("ended", None)]


async def test_a_worker_that_dies_again_and_again_is_spoken_of_twice(face_clip: Path, tmp_path: Path) -> None:
    """It comes back all the same; only a file over which it died three times is given up."""
    clip = {"url": str(face_clip), "realtime": True}
    async with running("run", configure(tmp_path, 1, {"clip": clip})) as run:
        for _ in range(3):
            await run.until("^clip: live")
            (pid,) = workers_of(run)
            os.kill(pid, signal.SIGKILL)
        assert await asyncio.wait_for(run.process.wait(), 20) == 1
        assert run.process.stdout is not None
        said = [*run.said, (await run.process.stdout.read()).decode()]
    log = whole(tmp_path / "logs" / "clip")
    assert [state for state in told(log) if state[1]] == [("offline", "workerDied")] * 2 + [("ended", "workerDied")]
    assert "".join(said).count("worker 1: the worker's process") == 2


async def test_workers_die_with_the_gateway(tmp_path: Path) -> None:
    streams = {name: {"url": "demo"} for name in ("one", "two")}
    async with running("run", configure(tmp_path, 2, streams)) as run:
        for _ in streams:
            await run.until("live")
        pids = workers_of(run)
        assert len(pids) == 2
        run.process.kill()
        assert await until(lambda: not any(map(alive, pids))) < 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_end_everything_in_time(face_clip: Path, tmp_path: Path, number: int) -> None:
    """Also such as are sent to all processes, as some service managers do."""
    async with RtspServer({"door": face_clip, "desk": face_clip}) as server:
        streams = {name: {"url": server.url(name)} for name in ("door", "desk")}
        async with running("run", configure(tmp_path, 2, streams)) as run:
            for _ in streams:
                await run.until("live")
            pids = workers_of(run)
            for pid in pids:
                os.kill(pid, number)
            code, seconds = await run.stop(number)
            assert code == 0
            assert seconds < 8  # two on a machine that is not busy
            assert not any(map(alive, pids))
    for name in streams:
        assert told(whole(tmp_path / "logs" / name)) == [("connecting", None), ("live", None), ("ended", None)]


async def test_streams_come_and_go_and_are_looked_at_as_in_one_process(face_clip: Path, tmp_path: Path) -> None:
    async with RtspServer({"door": face_clip, "desk": face_clip, "hall": face_clip}) as server:
        config = configure(tmp_path, 2, {"door": {"url": server.url("door")}})
        async with running("run", config) as run, listening(run) as (heard, http):
            await heard.frame("door")
            assert len(workers_of(run)) == 1
            await ask(http, "PUT", "/desk", json={"url": server.url("desk")})
            first = await heard.frame("desk")
            assert len(workers_of(run)) == 2
            await ask(http, "PUT", "/desk", json={"url": server.url("hall"), "fps": 5})
            await heard.state("desk", "connecting")
            second = await heard.frame("desk", after=first["seq"])
            assert second["faces"][0]["trackId"] > first["faces"][0]["trackId"]
            await heard.until(lambda r: r.get("reason") == "fps")

            assert (await ask(http, "POST", "/desk/pause"))["paused"]
            await server.until(lambda stats: stats.open == 1)
            async with http.get("/readyz") as answer:
                assert answer.status == 200
            assert not (await ask(http, "POST", "/desk/resume"))["paused"]
            await heard.frame("desk", after=second["seq"])
            entry = await ask(http, "GET", "/desk")
            assert (entry["source"]["opened"], entry["source"]["decoder"]) == (3, "h264 on CPU")
            assert entry["fps"]["delivered"] > 0
            await looked_at(http, run, "desk", second["seq"])

            await ask(http, "DELETE", "/desk")
            await heard.state("desk", "ended")
            configure(tmp_path, 2, {name: {"url": server.url(name)} for name in ("door", "hall")})
            run.process.send_signal(signal.SIGHUP)
            await heard.frame("hall")
            assert (await run.stop())[0] == 0
    opened: list[tuple[str, str | None]] = [("connecting", None), ("live", None)]
    assert told(whole(tmp_path / "logs" / "door")) == [*opened, ("ended", None)]
    assert told(whole(tmp_path / "logs" / "desk")) == [*opened * 2, ("offline", "paused"), *opened, ("ended", None)]
    assert told(whole(tmp_path / "logs" / "hall")) == [*opened, ("ended", None)]


async def looked_at(http: aiohttp.ClientSession, run: Running, name: str, after: int) -> None:
    """Pictures, the page's preview, and unsmoothed values of single clients: what needs more than a record."""
    async with http.get(f"/api/streams/{name}/frame.jpg?overlay=1&width=320") as answer:
        assert (answer.status, (await answer.read())[:2]) == (200, b"\xff\xd8")
        assert int(answer.headers["X-Seq"]) > after
    async with http.get(f"/api/streams/{name}/frame.mjpeg") as answer:
        for _ in range(3):
            await answer.content.readuntil(b"X-Seq: ")
            seq = int(await answer.content.readline())
            assert seq > after
            after = seq
    async with http.ws_connect("/api/preview") as preview:
        after -= 1  # it begins with the newest picture, as in one process
        for _ in range(2):
            await preview.send_json({"want": {name: 320}})
            data = await preview.receive_bytes(timeout=10)
            size = int.from_bytes(data[:4], "big")
            head = json.loads(data[4 : 4 + size])
            assert (head["stream"], head["width"], data[4 + size :][:2]) == (name, 1280, b"\xff\xd8")
            assert head["seq"] > after
            after = head["seq"]
    async with connect(f"{run.websocket}?streams={name}&raw=1&facesOnly=1") as client:
        record = await Heard(client).frame(name)
        assert record["faces"][0]["raw"]["age"] > 0


def test_videos_are_written_by_the_workers(streamer: Streamer, face_clip: Path, tmp_path: Path) -> None:
    clips = ("run", "--source", face_clip, "--source", face_clip, "--no-server", "--workers", "2")
    done = streamer(*clips, "--video", tmp_path / "videos")
    assert done.returncode == 0, done.stderr
    written = re.findall(r"^video: (\S+): (\d+) pictures", done.stdout, re.MULTILINE)
    assert {pictures for _path, pictures in written} == {"75"}
    assert {Path(path) for path, _pictures in written} == {*(tmp_path / "videos").rglob("*.mp4")}
    assert len(written) == 2
    refused = streamer(*clips, "--video", "/dev/null/videos")
    assert refused.returncode == 1
    assert "no video can be written there" in refused.stderr


async def test_secrets_are_not_told_to_the_system(face_clip: Path, tmp_path: Path) -> None:
    async with RtspServer({"door": face_clip}, access=Access("digest", "me", "s3cret")) as server:
        door = {"url": server.url("door"), "user": "me", "password": "s3cret"}
        async with running("run", configure(tmp_path, 1, {"door": door})) as run:
            await run.until("^door: live")
            (pid,) = workers_of(run)
            assert b"s3cret" not in seen_by_others(pid)
            await run.stop()


async def test_a_worker_waits_for_a_slow_gateway(settings: Settings, face_clip: Path) -> None:
    """No more results are on their way than it may send before some have been taken."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "streamer.workers.worker", stdin=theirs.fileno(), start_new_session=True
        )
    reader, writer = await asyncio.open_connection(sock=ours)
    writer.write(packed(Begin(settings, "s1", ("clip",), 30)))
    writer.write(packed(Start(7, "clip", StreamSettings(str(face_clip)), 100, 5, Tally())))
    came, beats = list[Result | Changed](), 0

    async with asyncio.timeout(30), aclosing(unpacked(reader, REPORTS)) as reports:

        async def come(wanted: int) -> None:
            """Waits until so many have come, and no more for a while: two signs of life, half a second apart."""
            nonlocal beats
            beats = 0
            async for report in reports:
                if isinstance(report, Result | Changed):
                    came.append(report)
                    beats = 0
                beats += isinstance(report, Beat) and len(came) >= wanted
                if beats == 3:
                    break
            assert len(came) == wanted

        async for report in reports:
            if isinstance(report, Ready):
                break
            assert isinstance(report, Beat)
        await come(WINDOW)
        writer.write(packed(Taken(7, 5)))
        await come(WINDOW + 5)
    results = [report for report in came if isinstance(report, Result)]
    assert [report.result.frame.seq for report in results] == list(range(100, 100 + len(results)))
    assert {face.track_id for report in results for face in report.result.faces} == {5}
    writer.close()  # nobody is there any more
    assert await asyncio.wait_for(process.wait(), 5) in (0, 1)


@pytest.mark.parametrize("value", ["-1", "257", "'many'", "1.5", "true"])
def test_a_number_that_cannot_be_meant_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=r"\$\.workers"):
        parse(f"workers = {value}", Settings, "here")


def test_the_command_line_has_the_same_setting() -> None:
    assert [Options(workers=value).applied(Settings(workers=3)).workers for value in ("0", "auto", None)] == [
        0,
        "auto",
        3,
    ]
    for value in ("-1", "many", "257"):
        with pytest.raises(ConfigError, match="option workers"):
            Options(workers=value).applied(Settings())


@pytest.mark.parametrize(
    ("workers", "threads", "streams", "count"),
    [
        (0, 64, 9, 0),
        (3, 1, 1, 3),
        ("auto", 2, 9, 0),
        ("auto", 7, 9, 0),
        ("auto", 8, 9, 0),
        ("auto", 12, 9, 2),
        ("auto", 64, 9, 9),
        ("auto", 64, 1, 0),
        ("auto", 64, 30, 10),
    ],
)
def test_as_many_workers_as_suit_the_machine(workers: Any, threads: int, streams: int, count: int) -> None:
    many = {f"s{n}": StreamSettings("demo") for n in range(streams)}
    assert how_many(Settings(workers=workers, streams=many), threads) == count


def test_what_a_configuration_means_is_told(streamer: Streamer, tmp_path: Path) -> None:
    config = configure(tmp_path, 3, {"one": {"url": "demo"}})
    config.write_text(f"threads = 2\n{config.read_text()}")
    words = "up to 3, one more with each stream; each takes 1 of 2 CPU threads"
    assert f"workers: {words}\n" in streamer("check", config).stdout
    findings = json.loads(streamer("doctor", config, "--json").stdout)["findings"]
    assert [(f["state"], f["seen"]) for f in findings if f["check"] == "workers"] == [("note", words)]
