"""The main job as a process: sources in, websocket and log out."""

import asyncio
import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import av
import jsonschema
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from streamer.bench.scene import CLIP_FRAMES
from streamer.contract import schema
from streamer.log.layout import find
from streamer.log.lines import raw_lines
from tests.conftest import RECORDINGS, Streamer, unavailable
from tests.servers.clips import clip as recording
from tests.servers.gst import GstProcess, missing
from tests.servers.rtsp import RtspServer

VALIDATOR = jsonschema.Draft202012Validator(schema())
Record = dict[str, Any]


def records(path: Path) -> list[Record]:
    """Those in a log: a file, or the folder of a stream, of which the complete lines count. Not yet there: none."""
    if not path.exists():
        return []
    lines = (line for segments in find(path).values() for segment in segments for line in raw_lines(segment))
    every = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return [record for record in every if record["type"] not in ("segment", "footer")]


def frames(of: list[Record]) -> list[Record]:
    return [record for record in of if record["type"] == "frame"]


class Running:
    """A `streamer run` or `demo` that serves on free ports; `page` and `websocket` are its addresses, `said` the lines
    of its output so far.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []
        self.page = ""
        self.websocket = ""

    async def ready(self) -> None:
        while not self.websocket:
            line = (await self._line()).split()
            if line[0] == "page":
                self.page = line[1]
            elif line[0] == "websocket":
                self.websocket = line[1]

    async def until(self, pattern: str) -> str:
        """The next line of its output that matches."""
        while not re.search(pattern, line := await self._line()):
            pass
        return line

    async def stop(self, number: int = signal.SIGINT) -> tuple[int, float]:
        """Exit code, and seconds that stopping took."""
        start = time.monotonic()
        self.process.send_signal(number)
        return await self.process.wait(), time.monotonic() - start

    async def _line(self) -> str:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        assert line, f"it ended with {await self.process.wait()}"
        self.said.append(line.decode())
        return self.said[-1]


@contextlib.asynccontextmanager
async def running(*arguments: str | Path, under: tuple[str, ...] = ()) -> AsyncGenerator[Running, None]:
    process = await asyncio.create_subprocess_exec(
        *under, sys.executable, "-m", "streamer", *map(str, arguments), "--http-port", "0", "--ws-port", "0",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    run = Running(process)
    try:
        async with asyncio.timeout(60):
            await run.ready()
        yield run
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001  # or it warns after the loop closed


async def take(client: ClientConnection, count: int) -> list[Record]:
    """The next `count` messages, each checked against the schema."""
    taken: list[Record] = []
    async with asyncio.timeout(30):
        while len(taken) < count:
            taken.append(json.loads(await client.recv()))
            VALIDATOR.validate(taken[-1])
    return taken


@pytest.fixture(scope="module")
def twice(streamer: Streamer, face_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[Record]]:
    """What two runs wrote into the same file, the second one with raw values. A crash had left half a record in it."""
    log = tmp_path_factory.mktemp("twice") / "out.jsonl"
    log.write_bytes(b'{"type":"frame","torn')
    for more in ((), ("--raw",)):
        done = streamer("run", "--source", face_clip, "--log", log, "--no-server", *more)
        assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    sessions = dict.fromkeys(line["session"] for line in lines)
    return [[line for line in lines if line["session"] == session] for session in sessions]


def test_a_file_has_one_record_for_every_frame(twice: list[list[Record]]) -> None:
    for record in (logged := twice[0]):
        VALIDATOR.validate(record)
    of_frames = frames(logged)
    assert [r["frame"] for r in of_frames] == [r["seq"] for r in of_frames] == list(range(CLIP_FRAMES))
    assert {r["status"] for r in of_frames} == {"processed"}
    assert {len(r["faces"]) for r in of_frames} == {1}
    assert {r["faces"][0]["trackId"] for r in of_frames} == {1}
    assert {r["faces"][0]["gender"]["value"] for r in of_frames} == {"Female"}
    assert [r["state"] for r in logged if r["type"] == "status"] == ["connecting", "live", "ended"]


def test_a_run_goes_on_into_the_same_log(twice: list[list[Record]]) -> None:
    assert [len(session) for session in twice] == [CLIP_FRAMES + 4] * 2  # three states and a track


@pytest.mark.parametrize("name", RECORDINGS)
def test_recorded_clips_are_logged_in_full(recorded: Path, name: str) -> None:
    with av.open(str(recording(name))) as container:
        count = sum(1 for _ in container.decode(video=0))
    logged = frames(records(recorded / Path(name).stem))
    assert [r["frame"] for r in logged] == list(range(count))
    faces = sum(len(r["faces"]) for r in logged)
    assert (faces == 0) == ("noface" in name)


async def test_a_camera_reaches_websocket_and_log_as_the_same_records(face_clip: Path, tmp_path: Path) -> None:
    if why := missing():
        unavailable(why)
    log = tmp_path / "logs"
    with GstProcess({"cam": face_clip}) as server:
        async with running("run", "--source", server.url("cam"), "--log", log) as run:
            async with connect(run.websocket) as client:
                messages = await take(client, 40)
            code, seconds = await run.stop()
    assert code == 0
    assert seconds < 8
    assert messages[0]["type"] == "hello"
    assert messages[0]["streams"] == ["127.0.0.1"]
    received = frames(messages)
    assert len(received) > 30
    (file,) = (path for path in log.iterdir() if path.is_dir())
    by_seq = {r["seq"]: r for r in frames(records(file))}
    assert list(by_seq) == list(range(len(by_seq)))  # every frame that was delivered, in order
    assert [by_seq[r["seq"]] for r in received] == received
    analysed = [r for r in received if r["status"] == "processed"]
    assert analysed
    assert {len(r["faces"]) for r in analysed} == {1}
    assert {r["faces"][0]["trackId"] for r in analysed} == {1}


async def test_pages_of_strangers_get_no_records(face_clip: Path) -> None:
    async with running("demo") as run:
        with pytest.raises(InvalidStatus, match="403"):
            await connect(run.websocket, origin=Origin("http://evil.example"))
        async with connect(run.websocket, origin=Origin("http://localhost:3000")) as client:
            assert (await take(client, 1))[0]["type"] == "hello"
        await run.stop()


async def test_a_client_that_never_reads_holds_up_nobody(face_clip: Path) -> None:
    async with RtspServer({"cam": face_clip}) as server, running("run", "--source", server.url("cam")) as run:
        # The first of them will not even read that it is closed.
        async with connect(run.websocket, max_queue=1, close_timeout=0.1), connect(run.websocket) as client:
            seqs = [r["seq"] for r in frames(await take(client, 60))]
            assert seqs == sorted(seqs)
        code, seconds = await run.stop(signal.SIGTERM)
    assert code == 0
    assert seconds < 8


async def test_stopping_leaves_a_complete_log(tmp_path: Path) -> None:
    log = tmp_path / "demo.jsonl"
    async with running("demo", "--log", log) as run:
        async with connect(run.websocket) as client:
            last = frames(await take(client, 30))[-1]
        code, seconds = await run.stop()
    assert code == 0
    assert seconds < 8
    everything = records(log)
    logged = frames(everything)
    assert [r["seq"] for r in logged] == list(range(len(logged)))
    assert last in logged
    assert everything[-1]["state"] == "ended"


async def test_streams_that_fail_leave_the_others_alone(face_clip: Path, tmp_path: Path) -> None:
    config = tmp_path / "two.toml"
    log = tmp_path / "logs"
    config.write_text(
        f"[streams.good]\nurl = '{face_clip}'\n[streams.gone]\nurl = 'gone.mp4'\n[log]\npath = 'logs'\n"
        "[streams.odd]\nurl = 'gopher://x'\n"
    )
    async with running("run", config) as run:
        await run.until("error: gone: .*no such file")
        assert await run.process.wait() == 1
    assert len(frames(records(log / "good"))) == CLIP_FRAMES
    for name, code in (("gone", "notFound"), ("odd", "source")):
        last = records(log / name)[-1]
        assert (last["type"], last["state"], last["error"]["code"]) == ("status", "ended", code)


def test_a_stream_whose_analysis_fails_ends_alone(streamer: Streamer, face_clip: Path, tmp_path: Path) -> None:
    """A file whose times jump beyond the calendar, and one whose name is no text."""
    odd = tmp_path / "gap.mkv"
    with av.open(str(face_clip)) as source, av.open(str(odd), "w") as target:
        video = source.streams.video[0]
        copy = target.add_stream_from_template(video)
        for n, packet in enumerate(source.demux(video)):
            if packet.dts is not None and packet.pts is not None and packet.time_base is not None:
                jump = int(1e12 / packet.time_base) if n > 40 else 0
                packet.pts, packet.dts, packet.stream = packet.pts + jump, packet.dts + jump, copy
                target.mux(packet)
    log = tmp_path / "logs"
    done = streamer("run", "-s", face_clip, "-s", odd, "-s", tmp_path / "no\udcfftext.mp4", "--log", log, "--no-server")
    assert "Traceback" not in done.stderr
    assert len(frames(records(log / "face"))) == CLIP_FRAMES
    assert len(frames(records(log / "gap"))) == CLIP_FRAMES
    for name in ("face", "gap", "no-text"):
        assert records(log / name)[-1]["state"] == "ended"


async def test_no_password_ever_shows(face_clip: Path, tmp_path: Path) -> None:
    log = tmp_path / "logs"
    config = tmp_path / "c.toml"
    async with RtspServer({"cam": face_clip}) as server:
        server.fault("cam", refuse=401)
        address = server.url("cam").removeprefix("rtsp://")
        config.write_text(
            f"[streams.a]\nurl = 'rtsp://{address}'\nuser = 'me'\npassword = 's3same'\n"
            f"[streams.b]\nurl = 'rtsp://me:s3same@{address}?token=s3same'\n[log]\npath = 'logs'\n"
        )
        async with running("run", config, "--verbose") as run:
            said = [await run.until("unauthorized") for _ in range(2)]
            async with connect(run.websocket) as client:
                said += [json.dumps(r) for r in await take(client, 3)]
            await run.stop()
            assert run.process.stdout is not None
            said.append((await run.process.stdout.read()).decode())
    said += [path.read_text() for path in log.rglob("*.jsonl")]
    assert all("s3same" not in text for text in said)


def test_a_log_that_cannot_be_written_is_said(streamer: Streamer, face_clip: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = streamer("run", "--source", face_clip, "--no-server", "--log", tmp_path / "file" / "x.jsonl")
    assert done.returncode == 1
    assert "the log cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_ends_the_run_with_its_reason(streamer: Streamer, face_clip: Path, tmp_path: Path) -> None:
    (tmp_path / "full.jsonl").symlink_to("/dev/full")
    done = streamer("run", "--source", face_clip, "--no-server", "--log", tmp_path / "full.jsonl")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_raw_values_ride_along_when_asked(twice: list[list[Record]]) -> None:
    without, faces = ([face for record in frames(session) for face in record["faces"]] for session in twice)
    assert not any("raw" in face for face in without)
    assert len(faces) == CLIP_FRAMES
    for face in faces:
        assert set(face["raw"]) == {"boundingBox", "age", "gender", "emotions", "landmarks"}
    # Smoothing is what makes the difference: shown ages move less than those of the single frames.
    assert np.std([face["age"] for face in faces]) < np.std([face["raw"]["age"] for face in faces])


def test_a_port_in_use_is_said(streamer: Streamer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = streamer("demo", "--ws-port", port, "--http-port", "0", "--duration", "5")
    assert done.returncode == 1
    assert f"{port} cannot be used" in done.stderr
    assert "--ws-port" in done.stderr


def test_a_duration_ends_a_live_run_well(streamer: Streamer) -> None:
    done = streamer("demo", "--no-server", "--duration", "2")
    assert done.returncode == 0
    assert "demo: live" in done.stdout


def test_a_camera_that_was_never_there_is_a_failed_run(streamer: Streamer) -> None:
    done = streamer("run", "--source", "rtsp://127.0.0.1:9/x", "--no-server", "--duration", "1.5")
    assert done.returncode == 1
    assert done.stderr.count("connection was refused") == 1  # said once, however often it is tried
