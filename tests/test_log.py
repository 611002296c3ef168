"""A log can be proved: what a killed run leaves is mended, and whatever is missing or changed is told exactly."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from streamer.config import LogSettings
from streamer.errors import UnknownSchemaError
from streamer.log.layout import COMPRESSED, Segment, find
from streamer.log.lines import raw_lines, records
from streamer.log.repair import tidy_all
from streamer.log.upkeep import aged, compress, expired, remove
from streamer.log.verify import Finding, verify
from streamer.outputs.journal import Journal
from tests.test_rooms import ROOT
from tests.test_run import running, take
from tests.writer import STREAMS, ended, message

KILLS = 50


def numbers_by_session(segments: Iterable[Segment]) -> dict[str, list[int]]:
    """Those of the frames in the segments, in order."""
    told: dict[str, list[int]] = {}
    for segment in segments:
        for _, head in records(segment):
            if head.type == "frame" and head.seq is not None:
                told.setdefault(head.session or "", []).append(head.seq)
    return told


def numbers_of(segment: Segment) -> list[int]:
    return [number for numbers in numbers_by_session([segment]).values() for number in numbers]


def numbers(root: Path, stream: str, session: str) -> list[int]:
    return numbers_by_session(find(root)[stream])[session]


@pytest.mark.skipif(sys.platform == "win32", reason="needs kill -9 and fork")
def test_a_run_that_is_killed_at_any_moment_loses_nothing_that_was_on_the_disk(tmp_path: Path) -> None:
    root, chance = tmp_path / "logs", random.Random(1)
    command = [sys.executable, "-m", "tests.writer", str(root)]
    durable: dict[tuple[str, str], int] = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT.parent) as writer:
        assert writer.stdin
        assert writer.stdout
        for _ in range(KILLS):
            writer.stdin.write("\n")
            writer.stdin.flush()
            pid = int(writer.stdout.readline())
            first = writer.stdout.readline()  # something is on the disk
            time.sleep(chance.uniform(0, 0.15))
            os.kill(pid, signal.SIGKILL)
            line = first
            while line != "over\n":
                stream, seq, session = line.split()
                durable[stream, session] = int(seq)
                line = writer.stdout.readline()
    assert len({session for _, session in durable}) == KILLS
    tidy_all(root, time.time())
    for verdict in verify(root):
        assert verdict.whole, verdict.findings
        assert verdict.sessions == KILLS
        assert {finding.kind for finding in verdict.findings} <= {"killed", "repaired"}
    kept = {stream: numbers_by_session(segments) for stream, segments in find(root).items()}
    for (stream, session), last in durable.items():
        written = kept[stream][session]
        assert written == list(range(len(written)))
        assert len(written) > last
    assert {stream for stream, _ in durable} == set(STREAMS)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one stream: three segments of two sessions, the last one of a run that was killed."""
    root = tmp_path_factory.mktemp("log") / "logs"

    async def write() -> None:
        for session, count in (("s1", 40), ("s2", 20)):
            journal = Journal(LogSettings(str(root), segment_mb=0.007, min_free_mb=0, compress=False), session)
            for n in range(count):
                await journal.put(message(n, "cam", session))
                while n % 5 == 4 and journal.report.written <= n:  # noqa: ASYNC110 - the disk tells nobody
                    await asyncio.sleep(0.002)
            await journal.put(ended("cam", session))
            await journal.close()

    asyncio.run(write())
    return root


def copied(log: Path, to: Path) -> tuple[Path, list[Segment]]:
    shutil.copytree(log, to)
    return to, find(to)["cam"]


def wrong(root: Path) -> list[Finding]:
    (verdict,) = verify(root)
    return [finding for finding in verdict.findings if not finding.harmless]


def test_a_whole_log_is_whole(log: Path) -> None:
    (verdict,) = verify(log)
    assert (verdict.whole, verdict.findings, verdict.frames, verdict.records) == (True, [], 60, 62)
    assert verdict.segments == len(find(log)["cam"]) >= 3


@given(share=st.floats(0, 1, exclude_max=True))
def test_a_segment_torn_at_any_byte_keeps_every_record_before(log: Path, share: float) -> None:
    original = find(log)["cam"][-1]
    with tempfile.TemporaryDirectory() as folder:
        root, found = copied(log, Path(folder) / "logs")
        data = original.path.read_bytes()
        cut = data[: int(share * len(data))]
        found[-1].path.write_bytes(cut)
        assert [f.kind for f in wrong(root)] == ["torn"]
        tidy_all(root, time.time())
        assert not wrong(root)
        kept = list(raw_lines(found[-1])) if found[-1].path.exists() else []
        complete = [
            line for line in data.splitlines(keepends=True)[:-1] if data.index(line) + len(line) - 1 <= len(cut)
        ]
        assert kept[: len(complete)] == complete
        assert len(kept) <= len(complete) + 1


def test_frames_that_are_missing_are_told_exactly(log: Path, tmp_path: Path) -> None:
    root, found = copied(log, tmp_path / "logs")
    lines = list(raw_lines(found[0]))
    found[0].path.write_bytes(b"".join(line for n, line in enumerate(lines) if n not in (5, 6)))
    (verdict,) = verify(root)
    hole, changed = verdict.findings
    assert (hole.kind, hole.from_, hole.to, verdict.missing) == ("hole", 4, 5, 2)
    assert changed.kind == "changed"


def test_a_missing_segment_breaks_the_chain(log: Path, tmp_path: Path) -> None:
    root, found = copied(log, tmp_path / "logs")
    gone = numbers(root, "cam", "s1")
    found[0].path.unlink()
    chain, hole = wrong(root)
    assert (chain.kind, hole.kind, hole.from_) == ("chain", "hole", 0)
    assert hole.to == gone[0] + len(gone) - len(numbers(root, "cam", "s1")) - 1


def test_one_changed_character_is_noticed(log: Path, tmp_path: Path) -> None:
    root, found = copied(log, tmp_path / "logs")
    compress(found[1].path)
    assert not wrong(root)
    found[0].path.write_bytes(found[0].path.read_bytes().replace(b'"detect":4.2', b'"detect":4.3', 1))
    assert [finding.kind for finding in wrong(root)] == ["changed"]


def test_a_damaged_file_is_told_and_the_rest_looked_at(log: Path, tmp_path: Path) -> None:
    root, found = copied(log, tmp_path / "logs")
    compress(found[0].path)
    packed = found[0].path.with_name(found[0].path.name + COMPRESSED)
    data = bytearray(packed.read_bytes())
    data[len(data) // 2] ^= 0xFF
    packed.write_bytes(data)
    assert {finding.kind for finding in wrong(root)} >= {"damaged"}
    assert numbers_of(found[1]) == list(range(numbers_of(found[1])[0], numbers_of(found[1])[-1] + 1))


def test_what_is_too_old_or_too_much_is_removed_and_that_is_known(log: Path, tmp_path: Path) -> None:
    root, found = copied(log, tmp_path / "logs")
    size = sum(segment.path.stat().st_size for segment in found)
    limits = LogSettings(keep_gb=(size - 1) / 1e9)
    gone = expired(aged(root), limits, time.time())
    assert gone == [(found[0], "size")]
    for segment, reason in gone:
        remove(segment, reason, time.time())
    (verdict,) = verify(root)
    assert verdict.whole
    assert [finding.kind for finding in verdict.findings] == ["removed"]
    later = expired(aged(root), LogSettings(keep_days=1), time.time() + 90_000)
    assert later == [(segment, "age") for segment in found[1:]]
    for segment, reason in later:
        remove(segment, reason, time.time() + 90_000)
    assert not list(root.glob("cam/*/*"))


@pytest.mark.parametrize("line", [b'{"type":"frame","schema":2,"seq":1}', b'{"type":"frame","schema":0,"seq":1}'])
def test_records_of_another_schema_are_refused_with_their_place(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "new.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.raises(UnknownSchemaError, match=r"new\.jsonl:1: "):
        list(records(Segment(path)))


def test_types_that_a_later_program_adds_are_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "new.jsonl"
    path.write_bytes(b'{"type":"sound","schema":1,"stream":"a","loud":true}\n')
    assert [head.type for _, head in records(Segment(path))] == ["sound"]
    assert verify(path)[0].whole is True


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 50 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=50m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")  # nothing that could be installed
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
async def test_a_disk_that_fills_up_stops_recording_but_nothing_else(
    small_disk: Path, face_clip: Path, tmp_path: Path
) -> None:
    config = tmp_path / "run.toml"
    config.write_text(
        f"[log]\npath = '{small_disk}/logs'\nmin_free_mb = 5\n"
        f"[streams.cam]\nurl = '{face_clip}'\nrealtime = true\nloop = true\n"
    )
    ballast = small_disk / "ballast"
    async with running("run", config) as run:
        async with connect(run.websocket) as client, asyncio.timeout(60):
            await take(client, 20)
            with ballast.open("wb") as file:
                file.write(bytes(48_000_000))
            await run.until("recording is paused")
            after = (await take(client, 25))[-1]  # the analysis goes on
            ballast.unlink()
            await run.until("recording goes on")
            await take(client, 25)
        code, _ = await run.stop()
    assert code == 0
    (verdict,) = verify(small_disk / "logs")
    (gap,) = [finding for finding in verdict.findings if not finding.harmless]
    kept = numbers(small_disk / "logs", "cam", gap.session)
    assert gap.kind == "gap"
    assert gap.from_ is not None
    assert gap.to is not None
    assert gap.from_ < after["seq"] <= gap.to
    assert sorted([*kept, *range(gap.from_, gap.to + 1)]) == list(range(max(kept) + 1))


@pytest.mark.skipif(sys.platform == "win32", reason="needs kill -9")
async def test_the_program_goes_on_with_the_log_of_one_that_was_killed(face_clip: Path, tmp_path: Path) -> None:
    log, sessions = tmp_path / "logs", list[str]()
    config = tmp_path / "run.toml"
    config.write_text(f"[log]\npath = 'logs'\n[streams.cam]\nurl = '{face_clip}'\nrealtime = true\nloop = true\n")
    for end in (signal.SIGKILL, signal.SIGKILL, signal.SIGINT):
        async with running("run", config) as run, connect(run.websocket) as client, asyncio.timeout(60):
            records = await take(client, 30)
            sessions.append(records[-1]["session"])
            await run.stop(end)
        kept = numbers(log, "cam", sessions[-1])
        assert kept == list(range(len(kept)))
        assert len(kept) >= records[-1]["seq"] - 10
    (verdict,) = verify(log)
    assert (verdict.whole, verdict.sessions) == (True, 3)
    assert [f.session for f in verdict.findings if f.kind == "killed"] == sessions[:2]
