"""`streamer probe` on real sources, with something wrong in most."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from streamer.config import Settings, StreamSettings
from streamer.configfile import parse
from streamer.errors import (
    DisconnectedError,
    NotFoundError,
    NotVideoError,
    SourceError,
    SourceTimeoutError,
    UnreachableError,
)
from streamer.media.probe import probe
from streamer.media.report import Report
from tests.servers.clips import draw, remux
from tests.servers.http import HttpServer
from tests.servers.rtsp import RtspProcess
from tests.servers.session import Access
from tests.test_report import codes
from tests.test_sources import set_rotation


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds at 25 fps, a key picture every second, no B-frames."""
    return draw(tmp_path_factory.mktemp("clips") / "numbered.mp4", frames=50)


@pytest.fixture
def camera(numbered: Path) -> Iterator[RtspProcess]:
    with RtspProcess({"cam": numbered}) as server:
        yield server


def test_a_camera_is_measured(camera: RtspProcess) -> None:
    found = probe(StreamSettings(camera.url("cam")), seconds=3, cores=2)
    assert found.live
    assert found.ending == "time"
    assert (found.video.codec, found.video.width, found.video.height) == ("h264", 320, 240)
    assert not found.video.b_frames
    assert found.rate.fps == pytest.approx(25, abs=0.5)
    assert found.rate.arrival_fps == pytest.approx(25, rel=0.2)
    assert found.key_frames.pictures == 25
    assert found.key_frames.seconds == pytest.approx(1, rel=0.2)
    assert found.clock.clock == "camera"
    assert -1000 < (found.clock.offset_ms or 0) < 100
    assert not found.loss.damaged
    assert 0 < found.cost.ms_per_picture < 40
    assert not {"loss", "keyInterval", "clockWrong", "clockUnset", "timestamps"} & set(codes(found))


@pytest.mark.parametrize(("offset", "code", "clock"), [(7200, "clockWrong", "camera"), (-1e9, "clockUnset", "host")])
def test_a_camera_with_a_wrong_clock_is_told(camera: RtspProcess, offset: float, code: str, clock: str) -> None:
    camera.fault(clock_offset=offset)
    found = probe(StreamSettings(camera.url("cam")), seconds=1)
    assert code in codes(found)
    assert found.clock.clock == clock
    assert (found.clock.offset_ms or 0) / 1000 == pytest.approx(offset, abs=2)


def test_loss_over_udp_is_counted_and_tcp_advised(camera: RtspProcess) -> None:
    camera.fault(loss=0.2)
    found = probe(StreamSettings(camera.url("cam"), transport="udp"), seconds=3)
    assert found.loss.missed_packets > 0
    assert found.loss.missed_packets <= camera.stats.lost
    (advice,) = [one for one in found.warnings if one.code == "loss"]
    assert "tcp" in advice.fix


def meanwhile(do: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=do)
    thread.start()
    return thread


def test_a_stall_is_reported_in_time(camera: RtspProcess) -> None:
    def stall() -> None:
        camera.until(lambda stats: stats.frames >= 30)
        camera.fault(stalled=True)

    helper, start = meanwhile(stall), time.monotonic()
    found = probe(StreamSettings(camera.url("cam"), open_timeout=3, stall=60), seconds=4)
    assert time.monotonic() - start < 7.5
    helper.join()
    assert "stalled" in codes(found)
    assert found.timing.stalls == 1
    assert found.loss.pictures >= 20


def test_a_lost_connection_ends_it(camera: RtspProcess) -> None:
    def kick() -> None:
        camera.until(lambda stats: stats.frames >= 30)
        camera.kick()

    helper = meanwhile(kick)
    found = probe(StreamSettings(camera.url("cam")), seconds=30)
    helper.join()
    assert found.ending == "closed"
    assert found.seconds < 20
    assert codes(found)[0] == "closed"


@pytest.mark.parametrize("fault", ["stalled", "black_hole"])
def test_a_camera_that_shows_nothing_is_given_up_in_time(camera: RtspProcess, fault: str) -> None:
    camera.fault(**{fault: True})
    start = time.monotonic()
    with pytest.raises(SourceTimeoutError):
        probe(StreamSettings(camera.url("cam"), open_timeout=1), seconds=1)
    assert time.monotonic() - start < 2.5


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_source_that_blocks_for_ever_is_left_behind(tmp_path: Path) -> None:
    pipe, start = tmp_path / "pipe", time.monotonic()
    os.mkfifo(pipe)
    with pytest.raises(SourceTimeoutError):
        probe(StreamSettings(str(pipe), open_timeout=0.5), seconds=0.5)
    assert time.monotonic() - start < 4
    os.close(os.open(pipe, os.O_WRONLY))  # lets its thread go


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("rtsp://127.0.0.1:9/x", UnreachableError),
        ("missing.mp4", NotFoundError),
        ("pyproject.toml", NotVideoError),
        ("demo", SourceError),
    ],
)
def test_sources_without_pictures_are_typed_errors(url: str, kind: type[SourceError]) -> None:
    with pytest.raises(kind) as raised:
        probe(StreamSettings(url, open_timeout=2), seconds=1)
    assert raised.value.hint


def test_a_server_that_only_closes_is_said(camera: RtspProcess) -> None:
    camera.fault(stalled=True)

    def kick() -> None:
        camera.until(lambda stats: stats.stalled == 1)
        camera.kick()

    helper = meanwhile(kick)
    with pytest.raises((DisconnectedError, UnreachableError)):
        probe(StreamSettings(camera.url("cam")), seconds=1)
    helper.join()


def test_motion_jpeg_has_no_times_of_its_own(numbered: Path) -> None:
    with HttpServer() as server:
        found = probe(StreamSettings(server.mjpeg("cam", numbered)), seconds=2)
    assert found.live
    assert found.video.codec == "mjpeg"
    assert not found.timing.timestamps
    assert found.rate.fps is None
    assert found.rate.arrival_fps == pytest.approx(25, rel=0.2)
    assert found.key_frames.pictures == 1


def test_a_file_is_read_to_its_end(numbered: Path) -> None:
    found = probe(StreamSettings(str(numbered)), seconds=20)
    assert not found.live
    assert found.ending == "endOfFile"
    assert found.file is not None
    assert (found.file.whole, found.file.frames) == (True, 50)
    assert found.file.duration == pytest.approx(2, abs=0.01)
    assert found.warnings == ()
    assert parse(found.snippet, Settings, "snippet").streams["numbered"].url == str(numbered)


def test_a_file_that_is_cut_off_says_so(face_clip: Path, tmp_path: Path) -> None:
    whole = remux(face_clip, tmp_path / "fast.mp4", options={"movflags": "faststart"})
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert "cutOff" in codes(probe(StreamSettings(str(cut)), seconds=20))


def test_a_turned_recording_is_told(numbered: Path, tmp_path: Path) -> None:
    turned = remux(numbered, tmp_path / "turned.mp4")
    set_rotation(turned)
    found = probe(StreamSettings(str(turned)), seconds=20)
    assert (found.video.width, found.video.height, found.video.rotation) == (240, 320, 90)
    assert codes(found) == ["rotated"]


def streamer(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "streamer", "probe", *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command_with_a_password(numbered: Path, tmp_path: Path) -> None:
    access = Access("digest", "us er")
    secret = tmp_path / "secret"
    secret.write_text(f"{access.password}\n")
    with RtspProcess({"cam": numbered}, access=access) as server:
        who = (server.url("cam"), "--user", access.user, "--seconds", "1")
        right = streamer(*who, "--password-env", "CAMERA", CAMERA=access.password)
        record = streamer(*who, "--password-file", str(secret), "--json")
        wrong = streamer(*who, "--password-env", "CAMERA", "--json", CAMERA="w0rd")
        shown, _ = right.communicate(timeout=60)
        as_json, _ = record.communicate(timeout=60)
        refused, _ = wrong.communicate(timeout=60)
    assert (right.returncode, record.returncode, wrong.returncode) == (0, 0, 1)
    assert "H.264" in shown
    (snippet,) = re.findall(r"^\[streams\..*\Z", shown, re.MULTILINE | re.DOTALL)
    (stream,) = parse(snippet, Settings, "snippet").streams.values()
    assert (stream.url, stream.user, stream.password) == (server.url("cam"), access.user, "")
    found = msgspec.json.decode(as_json, type=Report)
    assert found.snippet == snippet
    assert "keyFrames" in json.loads(as_json)
    assert access.password not in shown + as_json
    assert json.loads(refused)["error"]["code"] == "unauthorized"
    assert "w0rd" not in refused


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_ends_it_early_with_what_was_seen(camera: RtspProcess) -> None:
    process = streamer(camera.url("cam"), "--seconds", "300", "--json")
    camera.until(lambda stats: stats.frames >= 40, patience=30)
    process.send_signal(signal.SIGINT)
    shown, complaints = process.communicate(timeout=20)
    assert process.returncode == 0, complaints
    found = msgspec.json.decode(shown, type=Report)
    assert found.ending == "interrupted"
    assert found.loss.pictures >= 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--password-env", "NO_SUCH_VARIABLE", "--user", "x"), "NO_SUCH_VARIABLE is not set"),
        (("--password-file", "missing", "--user", "x"), "cannot be read"),
        (("--password-env", "PATH"), "--user"),
        (("--password-env", "PATH", "--password-file", "x", "--user", "x"), "one of password"),
        (("--transport", "pigeon"), "pigeon"),
        (("--seconds", "0"), "seconds"),
    ],
)
def test_bad_options_are_exit_code_2(arguments: tuple[str, ...], said: str) -> None:
    process = streamer("rtsp://127.0.0.1:9/x", *arguments)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said in complaint
    assert "Traceback" not in complaint
