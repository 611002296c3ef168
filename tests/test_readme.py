"""The README is true: its examples run, its JSON is the contract's, and its words name what there is."""

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from streamer.config import Settings
from streamer.configfile import parse
from streamer.contract import FaceObject
from streamer.inference.models import Workshop
from tests.conftest import Streamer, unavailable
from tests.test_fleet import running
from tests.test_streams_api import DOOR, serving

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"), ids=["pictures", "streams"])
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


def test_every_option_that_is_named_exists(streamer: Streamer) -> None:
    commands = (
        "",
        "run",
        "image",
        "watch",
        "doctor",
        "devices",
        "probe",
        "bench",
        "models pull",
        "log verify",
        "log cat",
        "log tail",
    )
    shown = "".join(streamer(*command.split(), "--help").stdout for command in commands)
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


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
