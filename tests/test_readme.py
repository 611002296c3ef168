"""The README is true: its examples run, its JSON is the contract's, and its words name what there is."""

import asyncio
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from streamer.bench.scene import CLIP_FRAMES
from streamer.config import Settings
from streamer.configfile import parse
from streamer.contract import FaceObject
from streamer.inference.models import Workshop
from streamer.log.upkeep import compress
from tests.conftest import Streamer, unavailable
from tests.test_fleet import running
from tests.test_streams_api import DOOR, serving

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


LIBRARY = [block for block in blocks("python") if "from streamer" in block]
PANDAS = [block for block in blocks("python") if "pandas" in block]
JQ = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("zstdcat")]


@pytest.mark.parametrize("code", LIBRARY, ids=["pictures", "streams"])
def test_the_library_examples_run(code: str, portrait_path: Path, face_clip: Path, tmp_path: Path) -> None:
    shutil.copy(portrait_path, tmp_path / "portrait.png")
    shutil.copy(face_clip, tmp_path / "clip.mp4")
    (tmp_path / "example.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) >= 1


def test_the_face_is_the_contracts() -> None:
    face = msgspec.json.decode(blocks("json")[0], type=FaceObject)
    assert face.landmarks[0].type == "eyeLeft"


def test_the_configuration_is_valid() -> None:
    small, access = (parse(block, Settings, "README.md") for block in blocks("toml"))
    assert list(small.streams) == ["entrance", "desk"]
    assert {name: token.role for name, token in access.server.tokens.items()} == {"wall": "view", "operator": "control"}


def test_the_probes_example_ends_in_a_configuration() -> None:
    (example,) = (block for block in blocks("console") if " probe " in block)
    settings = parse(example.partition("# for your configuration:")[2], Settings, "README.md")
    assert list(settings.streams) == ["camera.local"]


def test_the_two_commands_are_there() -> None:
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert commands[0].endswith("streamer demo")
    assert commands[1].endswith("pytest")


def test_every_option_that_is_named_exists(help_of: Callable[[str], str]) -> None:
    commands = ["", "run", "annotate", "image", "watch", "doctor", "devices", "probe", "bench", "models pull"]
    commands += ["log verify", "log cat", "log tail", "log stats", "log export", "log replay"]
    shown = "".join(help_of(command) for command in commands)
    for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join(re.findall(r"streamer [^\n`]*", README)))):
        assert option in shown


async def test_streams_are_changed_as_it_says(workshop: Workshop) -> None:
    if not shutil.which("curl"):
        unavailable("curl is not installed")
    commands = [line for block in blocks("sh") for line in block.splitlines() if "/api/streams" in line]
    assert len(commands) == 5
    async with running(door=DOOR) as run, serving(workshop, run) as server:
        for command in commands:
            there = command.replace("http://127.0.0.1:8080", server).replace(
                "curl ", "curl --silent --show-error --fail "
            )
            done = await asyncio.create_subprocess_exec("sh", "-c", there, stdout=subprocess.DEVNULL)
            assert await done.wait() == 0, command
        assert run.cameras.opened[1:] == [("hall", "rtsp://camera.local/stream2")] * 2
        assert run.kept.states("hall")[-1] == "ended"


@pytest.fixture(scope="module")
def logs(streamer: Streamer, face_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log of two sessions in `logs`, one of them compressed, and what the README makes of it."""
    folder = tmp_path_factory.mktemp("recipes")
    shutil.copy(face_clip, folder / "door.mp4")
    for n in range(2):
        done = streamer("run", "--source", "door.mp4", "--log", "logs", "--no-server", cwd=folder)
        assert done.returncode == 0, done.stderr
        if not n:
            for path in (folder / "logs").glob("*/*/*.jsonl"):
                compress(path)
    assert {path.suffix for path in (folder / "logs").glob("*/*/*.jsonl*")} == {".jsonl", ".zst"}
    for command in (
        line.partition(" | ")[0]
        for block in blocks("sh")
        for line in block.splitlines()
        if line.startswith("streamer log ")
    ):
        done = streamer(*shlex.split(command, comments=True)[1:], cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    ("code", "says"),
    list(zip(PANDAS, (r"door", rf"processed +{2 * CLIP_FRAMES}\n"), strict=True)),
    ids=["parquet", "log"],
)
def test_the_pandas_recipes_run(code: str, says: str, logs: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=logs, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(says, done.stdout)


def test_the_duckdb_recipes_give_the_tracks(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    duckdb = pytest.importorskip("duckdb")
    monkeypatch.chdir(logs)
    by_hour, by_track = blocks("sql")
    assert sum(row[2] for row in duckdb.sql(by_hour).fetchall()) >= 2
    tracks = duckdb.sql(by_track).fetchall()
    assert [(stream, number) for stream, _, number, *_ in tracks] == [("door", 1)] * 2
    for *_, first, last, age in tracks:
        assert round((last - first).total_seconds() * 25) == CLIP_FRAMES - 1
        assert 25 < age < 55


@pytest.mark.parametrize("command", JQ, ids=["ages", "reasons"])
def test_the_jq_recipes_run(command: str, logs: Path) -> None:
    for tool in ("jq", "zstdcat"):
        if not shutil.which(tool):
            unavailable(f"{tool} is not installed")
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=logs, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if "skipped" not in command:
        rows = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
        assert len(rows) == 2 * CLIP_FRAMES
        assert all(len(ages) == 1 for _, ages in rows)
    else:
        assert done.stdout == ""  # of a file nothing is skipped


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
