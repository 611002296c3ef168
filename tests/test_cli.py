"""The command line: help that teaches, stills, and clear words for bad use."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Streamer

COMMANDS = (
    "run",
    "demo",
    "annotate",
    "image",
    "watch",
    "check",
    "doctor",
    "devices",
    "probe",
    "bench",
    "log",
    "models",
)


def test_help_comes_without_the_heavy_libraries() -> None:
    code = """
import sys, streamer, streamer.cli
sys.argv = ["streamer", "--help"]
try:
    streamer.cli.main()
except SystemExit:
    pass
heavy = {"cv2", "openvino", "av", "lap", "numpy", "aiohttp", "websockets", "PIL", "h5py"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        assert command in done.stdout


def test_a_run_that_serves_nothing_starts_without_servers() -> None:
    code = """
import sys, streamer.app
unneeded = {"aiohttp", "websockets", "prometheus_client", "scipy"} & set(sys.modules)
assert not unneeded, unneeded
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command",
    [*COMMANDS, "models pull"],
)
def test_every_command_explains_itself(help_of: Callable[[str], str], command: str) -> None:
    assert "Usage" in help_of(command)


def test_stills_as_lines_of_json(streamer: Streamer, portrait_path: Path) -> None:
    done = streamer("image", portrait_path, "--jsonl")
    assert done.returncode == 0
    (line,) = done.stdout.splitlines()
    record = json.loads(line)
    assert list(record) == ["source", "image", "faces"]
    assert record["source"] == str(portrait_path)
    assert record["image"] == {"width": 512, "height": 512}
    (face,) = record["faces"]
    assert face["gender"]["value"] == "Female"
    assert max(face["emotions"], key=face["emotions"].get) == "happy"
    assert 25 <= face["age"] <= 55
    names = {point["type"]: (point["x"], point["y"]) for point in face["landmarks"]}
    assert names["eyeLeft"][0] < names["eyeRight"][0]
    assert names["lipLeft"][1] > names["nose"][1] > names["eyeLeft"][1]


def test_stills_for_people(streamer: Streamer, portrait_path: Path) -> None:
    done = streamer("image", portrait_path)
    assert "1 face\n" in done.stdout
    assert "female" in done.stdout
    assert "happy" in done.stdout


def test_stills_from_folders_and_stdin_and_what_cannot_be_read(
    streamer: Streamer, portrait_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.PNG").write_bytes(portrait_path.read_bytes())
    (tmp_path / "a.png").write_bytes(portrait_path.read_bytes()[:5000])
    (tmp_path / "notes.txt").write_text("no picture")
    with portrait_path.open("rb") as stdin:
        done = streamer("image", tmp_path, "-", "missing.jpg", "--jsonl", stdin=stdin)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r["source"] for r in records] == [
        str(tmp_path / "a.png"),
        str(tmp_path / "b" / "two.PNG"),
        "-",
        "missing.jpg",
    ]
    assert [len(r["faces"]) for r in records] == [0, 1, 1, 0]
    assert [r.get("error", {}).get("code") for r in records] == ["corrupt", None, None, "unreadable"]


def test_an_empty_folder_is_said(streamer: Streamer, tmp_path: Path) -> None:
    done = streamer("image", tmp_path)
    assert done.returncode == 1
    assert "holds no pictures" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run",), "no source to analyse"),
        (("run", "nowhere.toml"), "no such file"),
        (("run", "--source", "x.mp4", "--pipeline", "fast"), "unknown pipeline 'fast'"),
        (("run", "--source", "x.mp4", "--device", "TPU"), "not 'TPU'"),
        (("run", "clip.mp4"), "streamer run --source clip.mp4"),
        (("run", "--source", "x.mp4", "--ws-port", "99999"), "65535"),
        (("run", "--sauce", "x"), "No such option"),
        (("check", "nowhere.toml"), "no such file"),
        (("models", "pull", "resnet"), "unknown model 'resnet'"),
        (("image",), "Missing argument"),
    ],
)
def test_bad_use_is_exit_code_2_with_a_reason(streamer: Streamer, arguments: tuple[str, ...], said: str) -> None:
    done = streamer(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_check_says_what_would_run(streamer: Streamer, tmp_path: Path) -> None:
    config = tmp_path / "my.toml"
    config.write_text(
        "[streams.door]\nurl = 'rtsp://me:w0rd@cam/x'\n[streams.clip]\nurl = 'clip.mp4'\n[log]\npath = 'out'\n"
    )
    done = streamer("check", config)
    assert done.returncode == 0, done.stderr
    assert "door: rtsp rtsp://***@cam/x" in done.stdout
    assert f"clip: file {tmp_path / 'clip.mp4'}" in done.stdout
    assert "w0rd" not in done.stdout
    config.write_text("[streams.door]\nurl = 'x'\nfsp = 5\n")
    refused = streamer("check", config)
    assert refused.returncode == 2
    assert "$.streams.door: unknown key 'fsp'" in refused.stderr


def test_models_are_listed_and_verified(streamer: Streamer) -> None:
    listed = streamer("models", "list")
    assert listed.returncode == 0
    assert "yunet" in listed.stdout
    verified = streamer("models", "verify")
    assert verified.returncode == 0, verified.stderr
    assert "yunet: fine" in verified.stdout


def test_nothing_is_sent_anywhere(portrait_path: Path) -> None:
    """No name is looked up and no connection made while a picture is analysed."""
    code = """
import sys
def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.connect", "os.fork"):
        print(event, arguments)
sys.addaudithook(watch)
from streamer.cli import main
main()
"""
    command = [sys.executable, "-c", code, "image", str(portrait_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(portrait_path))
    assert "socket" not in done.stdout + done.stderr
    assert "fork" not in done.stdout + done.stderr


def test_the_cache_may_lie_elsewhere(streamer: Streamer, tmp_path: Path) -> None:
    done = streamer("--cache", tmp_path / "elsewhere", "models", "verify", "yunet")
    assert done.returncode == 1
    assert "not fetched yet" in done.stderr
    assert "streamer models pull yunet" in done.stderr
