"""Webcams: which there are on made-up machines, how they are named, and what their drivers are asked."""

import json
import struct
import sys
from contextlib import aclosing
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import pytest

from streamer.config import StreamSettings
from streamer.configfile import read_settings
from streamer.errors import NotFoundError, SourceError
from streamer.media import address
from streamer.media.address import check, resolve
from streamer.media.devices import (
    Mode,
    Node,
    Webcam,
    ffmpeg_webcams,
    find_webcam,
    linux_webcams,
    sources,
)
from streamer.media.source import StateChange
from tests.conftest import Streamer, opened

v4l2 = pytest.importorskip("streamer.media.v4l2", reason="only Linux has V4L2")

INTEGRATED = Webcam(0, "/dev/video0", "Integrated Camera: Integrated C")
BRIO = Webcam(4, "/dev/video4", "Logitech BRIO")
TWIN = Webcam(6, "/dev/video6", "Logitech BRIO")


class Machine:
    """The folders /sys and /dev of a machine with these nodes: number, name, number within its camera."""

    def __init__(self, folder: Path, nodes: list[tuple[int, str, int]]) -> None:
        self.system, self.devices = folder / "sys", folder / "dev"
        self.devices.mkdir()
        self.words: dict[str, Node] = {}
        self.locked = False
        for number, name, index in nodes:
            described = self.system / "class/video4linux" / f"video{number}"
            described.mkdir(parents=True)
            (described / "name").write_text(f"{name}\n")
            (described / "index").write_text(f"{index}\n")
            (self.devices / f"video{number}").touch()

    def webcams(self) -> list[Webcam]:
        return linux_webcams(self.system, self.devices, self._query)

    def _query(self, path: Path) -> Node:
        if self.locked:
            raise PermissionError(path)
        if path.name not in self.words:
            raise OSError("in use")
        return self.words[path.name]


def test_only_nodes_that_capture_are_webcams(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [(0, "Cam A", 0), (1, "Cam A", 1), (10, "codec", 0), (2, "Cam B", 0), (3, "Cam B", 1)])
    mode = Mode("MJPG", 1920, 1080, 30)
    machine.words = {
        "video0": Node("Cam A", captures=True, modes=(mode,)),
        "video1": Node("Cam A", captures=False),
        "video10": Node("codec", captures=False),
    }  # Cam B is in use and says nothing: its first node is the one
    assert machine.webcams() == [
        Webcam(0, str(machine.devices / "video0"), "Cam A", "ready", (mode,)),
        Webcam(2, str(machine.devices / "video2"), "Cam B"),
    ]


def test_a_webcam_that_a_container_was_not_given_is_missing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [(0, "Cam A", 0), (1, "Cam A", 1)])
    for device in machine.devices.iterdir():
        device.unlink()
    assert [(webcam.index, webcam.state) for webcam in machine.webcams()] == [(0, "missing")]


def test_a_webcam_without_sysfs_is_named_by_its_driver(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [])
    (machine.devices / "video7").touch()
    (machine.devices / "videotape").touch()
    machine.words = {"video7": Node("Capture Card", captures=True)}
    assert [(webcam.index, webcam.name) for webcam in machine.webcams()] == [(7, "Capture Card")]


def test_a_webcam_that_this_user_may_not_open_is_forbidden(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [(0, "Cam A", 0), (1, "Cam A", 1)])
    machine.locked = True
    assert [(webcam.index, webcam.state) for webcam in machine.webcams()] == [(0, "forbidden")]


def test_names_are_found_whole_or_in_part() -> None:
    cameras = [INTEGRATED, BRIO]
    assert find_webcam("logitech brio", cameras) is BRIO
    assert find_webcam("Integrated Camera", cameras) is INTEGRATED
    with pytest.raises(NotFoundError) as missing:
        find_webcam("Nobody", cameras)
    assert "Logitech BRIO (/dev/video4)" in missing.value.hint
    with pytest.raises(NotFoundError):
        find_webcam(" ", cameras)
    with pytest.raises(SourceError) as several:
        find_webcam("BRIO", [BRIO, TWIN])
    assert "/dev/video4" in several.value.hint
    assert "/dev/video6" in several.value.hint


def test_how_to_say_it() -> None:
    assert sources(BRIO, [INTEGRATED, BRIO]) == ("4", "webcam:Logitech BRIO")
    assert sources(BRIO, [BRIO, TWIN]) == ("4",)  # the name would not tell which
    windows = Webcam(None, "video=Cam", "Cam")
    assert sources(windows, [windows]) == ("webcam:Cam",)


class Listed(NamedTuple):
    """One of PyAV's list of devices."""

    name: str
    description: str
    media_types: list[str]


def test_windows_names_webcams_and_macos_numbers_them() -> None:
    windows = [Listed("@device_pnp_1", "HD Camera", ["video"]), Listed("@device_cm_2", "Microphone", ["audio"])]
    assert ffmpeg_webcams("dshow", windows) == [Webcam(None, "video=HD Camera", "HD Camera")]
    macos = [Listed("0", "FaceTime HD Camera", ["video"]), Listed("0", "MacBook Microphone", ["audio"])]
    assert ffmpeg_webcams("avfoundation", macos) == [Webcam(0, "0", "FaceTime HD Camera")]


@pytest.mark.parametrize(
    ("platform", "url", "capture"),
    [("win32", "video=My Cam", "dshow"), ("darwin", "My Cam", "avfoundation"), ("linux", "webcam:My Cam", "v4l2")],
)
def test_each_platform_gets_the_name_in_its_own_way(
    monkeypatch: pytest.MonkeyPatch, platform: str, url: str, capture: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    where = resolve(StreamSettings("webcam:My Cam"))
    assert (where.kind, where.url, where.format, where.live) == ("webcam", url, capture, True)


def test_the_name_is_looked_up_whenever_the_webcam_is_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = Machine(tmp_path, [(0, "Cam A", 0)])
    monkeypatch.setattr(address, "list_webcams", machine.webcams)
    where = resolve(StreamSettings("webcam:cam a"))
    assert check(where).url == str(machine.devices / "video0")
    with pytest.raises(NotFoundError, match="no webcam is called 'cam b'"):
        check(resolve(StreamSettings("webcam:cam b")))
    # Plugged in again, it gets another number.
    (machine.devices / "video0").rename(machine.devices / "video5")
    (machine.system / "class/video4linux/video0").rename(machine.system / "class/video4linux/video5")
    assert check(where).url == str(machine.devices / "video5")


async def test_a_webcam_that_is_not_there_yet_is_waited_for() -> None:
    states: list[StateChange] = []
    async with aclosing(opened(StreamSettings("webcam:no such camera", retry_min=0.01))) as items:
        async for item in items:
            assert isinstance(item, StateChange)
            states.append(item)
            if item.error:
                break
    assert [state.state for state in states] == ["connecting", "offline"]
    assert isinstance(states[-1].error, NotFoundError)


def test_names_in_a_configuration_are_no_files(tmp_path: Path) -> None:
    config = tmp_path / "my.toml"
    config.write_text(
        "streams.a.url = 'webcam:Cam A'\nstreams.b.url = 'video=Cam'\n"
        "streams.c = {url = 'testsrc', format = 'lavfi'}\nstreams.d.url = 'clip.mp4'\n"
    )
    urls = [stream.url for stream in read_settings(config, {}).streams.values()]
    assert urls == ["webcam:Cam A", "video=Cam", "testsrc", str(tmp_path / "clip.mp4")]


class Driver:
    """A camera driver as the kernel's header describes it: two formats, one with sizes, the other with a range."""

    capabilities, own = 0x8000_0001, 0x0420_0001  # the device's, and this node's: it captures
    sizes = ((640, 480), (1920, 1080))
    rates = (Fraction(15), Fraction(30))

    def __call__(self, _device: int, request: int, answer: bytearray) -> int:
        index, first, second = struct.unpack_from("=3I", answer)
        match request & 0xFF:
            case 0:
                struct.pack_into(
                    "=16s32s32s3I", answer, 0, b"uvcvideo", b"Test Cam", b"usb-1", 0x60000, self.capabilities, self.own
                )
            case 2 if index < 2 and first == 1:
                code = (b"MJPG", b"YUYV")[index]
                struct.pack_into("=3I32s4s", answer, 0, index, 1, 0, b"a format", code)
            case 74 if answer[4:8] == b"MJPG" and index < len(self.sizes):
                struct.pack_into("=3I", answer, 8, 1, *self.sizes[index])
            case 74 if answer[4:8] == b"YUYV" and index == 0:
                struct.pack_into("=7I", answer, 8, 3, 16, 800, 16, 16, 600, 16)
            case 75 if second in (640, 1920) and index < len(self.rates):
                rate = self.rates[index]
                struct.pack_into("=3I", answer, 16, 1, rate.denominator, rate.numerator)
            case _:
                raise OSError(22, "Invalid argument")
        return 0


def test_a_driver_tells_its_formats_sizes_and_rates(tmp_path: Path) -> None:
    device = tmp_path / "video0"
    device.touch()
    node = v4l2.query(device, Driver())
    assert node == Node(
        "Test Cam",
        captures=True,
        modes=(Mode("MJPG", 1920, 1080, 30), Mode("MJPG", 640, 480, 30), Mode("YUYV", 800, 600, 0)),
    )


def test_a_node_for_metadata_is_told_from_its_camera(tmp_path: Path) -> None:
    device = tmp_path / "video1"
    device.touch()
    driver = Driver()
    driver.own = 0x0480_0000  # metadata, though the device as a whole captures
    assert v4l2.query(device, driver) == Node("Test Cam", captures=False)


def test_what_is_no_camera_is_refused() -> None:
    with pytest.raises(OSError, match="Inappropriate ioctl"):
        v4l2.query(Path("/dev/null"))
    with pytest.raises(FileNotFoundError):
        v4l2.query(Path("/dev/video-none"))


def test_the_command_lists_what_there_is(streamer: Streamer) -> None:
    done = streamer("devices", "--json")
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)["webcams"]
    assert isinstance(listed, list)
    for_people = streamer("devices")
    assert for_people.returncode == 0
    assert ("no webcam" in for_people.stdout) == (not listed)
