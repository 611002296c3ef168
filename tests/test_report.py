"""The report on a source, from plain values: figures, advice, the hint at a smaller stream, the settings."""

import os
from typing import Any

import msgspec
import pytest
from rich.console import Console

from streamer.config import Settings, StreamSettings
from streamer.configfile import parse
from streamer.datasheet import print_datasheet
from streamer.media.address import resolve
from streamer.media.probe import assess
from streamer.media.report import Arrival, Opened, Report, Seen, Shown
from streamer.media.substream import usual_sub_stream

NOW, BEGAN, STEP, GOP = 1_790_000_000.0, 1_000.0, 0.04, 50
CAMERA = "rtsp://camera.local:554/Streaming/Channels/101"


def arrival(n: int, **changes: Any) -> Arrival:
    """The `n`th of an even flow: captured by a right clock .1 s before it comes, decoded in 2 ms."""
    key, pts = n % GOP == 0, n * STEP
    plain = Arrival(
        BEGAN + 1 + n * STEP, NOW + n * STEP, 4000, pts, key, camera=NOW - 0.1 + n * STEP, cpu=0.002,
        pictures=(Shown(pts, key),),
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def shown(n: int, **changes: Any) -> Arrival:
    """The same, with something else about its picture."""
    return arrival(n, pictures=(msgspec.structs.replace(Shown(n * STEP, n % GOP == 0), **changes),))


def report(
    arrivals: list[Arrival], *, url: str = CAMERA, transport: str = "tcp", until: float | None = None, **changes: Any
) -> Report:
    opened = msgspec.structs.replace(Opened(True, 0.5, "h264", "Main", "yuv420p", 25.0), **changes)
    stream = msgspec.convert({"url": url, "transport": transport}, StreamSettings)
    ended = arrivals[-1].at if until is None else until
    seen = Seen(opened, tuple(arrivals), BEGAN, ended, "time" if opened.live else "endOfFile", (640, 360), cores=2)
    return assess(stream, resolve(stream), seen)


def codes(found: Report) -> list[str]:
    return [advice.code for advice in found.warnings]


def test_a_good_camera_has_its_figures_and_no_advice() -> None:
    found = report([arrival(n) for n in range(200)])
    assert found.warnings == ()
    assert found.sub_stream is None
    assert found.opening.open_ms == 500
    assert found.opening.first_picture_ms == 1002
    assert found.rate.fps == found.rate.arrival_fps == 25
    assert found.rate.bit_rate == 8 * 4000 * 25
    assert not found.rate.variable
    assert (found.key_frames.seen, found.key_frames.pictures, found.key_frames.seconds) == (4, 50, 2.0)
    assert (found.timing.jitter_ms, found.timing.worst_ms, found.timing.longest_pause_ms) == (0, 0, 40)
    assert (found.clock.clock, found.clock.offset_ms, found.clock.unsteady_ms) == ("camera", -100, 0)
    assert (found.loss.packets, found.loss.pictures, found.loss.damaged, found.loss.gaps) == (200, 200, False, 0)
    assert found.cost.ms_per_picture == 2
    assert (found.cost.core_share, found.cost.machine_share, found.cost.streams_per_core) == (0.05, 0.025, 20)


@pytest.mark.parametrize(
    ("arrivals", "code"),
    [
        ([arrival(n, key=n == 0, pictures=(Shown(n * STEP, n == 0),)) for n in range(150)], "keyInterval"),
        ([shown(n, key=n % 125 == 0) for n in range(300)], "keyInterval"),
        ([shown(n, b=n % 3 > 0) for n in range(100)], "reordered"),
        ([arrival(n, camera=NOW + 3600 + n * STEP) for n in range(100)], "clockWrong"),
        ([arrival(n, camera=n * STEP) for n in range(100)], "clockUnset"),
        ([arrival(n, camera=NOW + n * STEP + (60 if n > 50 else 0)) for n in range(100)], "clockJumped"),
        ([shown(n, pts=None if n % 10 == 5 else n * STEP) for n in range(100)], "timestamps"),
        ([shown(n, pts=(n - 5 if n % 10 == 5 else n) * STEP) for n in range(100)], "timestamps"),
        ([shown(n, pts=n * STEP + 0.018 * (n % 2)) for n in range(100)], "variableFps"),
        ([shown(n, pts=n * STEP + 0.018 * (n // 5)) for n in range(100)], "variableFps"),
        ([shown(n, corrupt=n % 20 == 9) for n in range(100)], "loss"),
        ([arrival(n, undecodable=n == 50, pictures=() if n == 50 else arrival(n).pictures) for n in range(99)], "loss"),
        ([arrival(n) for n in range(100) if n not in (30, 31, 60)], "gaps"),
        ([arrival(n, at=BEGAN + 1 + n // 20 * 20 * STEP) for n in range(200)], "jitter"),
        ([arrival(n, at=BEGAN + 1 + n * STEP + (2 if n > 50 else 0)) for n in range(100)], "stalled"),
        ([arrival(n) for n in range(100) if n % 2], "fps"),
        ([arrival(n) for n in range(200) if n % 10 == 0], "fewPictures"),
        ([shown(n, interlaced=True) for n in range(100)], "interlaced"),
        ([arrival(n, cpu=0.05) for n in range(100)], "expensive"),
    ],
)
def test_what_is_wrong_is_said_with_a_remedy(arrivals: list[Arrival], code: str) -> None:
    found = report(arrivals)
    assert code in codes(found)
    assert all(advice.message and advice.fix for advice in found.warnings)


def test_what_lay_ready_at_the_start_is_no_jitter() -> None:
    found = report([arrival(n, at=BEGAN + 1 + max(n, 40) * STEP + n / 1e6) for n in range(200)])
    assert found.timing.worst_ms == pytest.approx(0, abs=0.5)
    assert found.rate.arrival_fps == pytest.approx(25, abs=0.1)
    assert "jitter" not in codes(found)


def test_a_stall_at_the_end_is_seen_and_spoils_no_other_figure() -> None:
    """FFmpeg hands over what it held back when it has waited long enough."""
    flow = [arrival(n) for n in range(75)]
    found = report([*flow, arrival(75, at=flow[-1].at + 2.5, late=True)], until=flow[-1].at + 4)
    assert found.timing.stalls == 1
    assert found.timing.longest_pause_ms == pytest.approx(4000)
    assert found.timing.worst_ms == pytest.approx(0, abs=0.5)
    assert found.rate.arrival_fps == 25
    assert codes(found) == ["stalled"]


def test_holes_are_counted_in_pictures() -> None:
    loss = report([arrival(n) for n in range(100) if n not in (30, 31, 60)]).loss
    assert (loss.gaps, loss.lost_pictures) == (2, 3)


def test_pictures_that_the_decoder_holds_back_are_counted() -> None:
    arrivals = [arrival(n, pictures=(Shown((n - 2) * STEP),) if n > 1 else ()) for n in range(60)]
    found = report(arrivals)
    assert found.video.held_back == 2
    assert not found.video.b_frames
    assert "80 ms" in next(advice for advice in found.warnings if advice.code == "reordered").message


def test_the_cameras_clock_is_judged_by_the_picture_that_came_quickest() -> None:
    held_up = [arrival(n, wall=NOW + n * STEP + (0 if n == 40 else 3)) for n in range(100)]
    found = report(held_up)
    assert found.clock.offset_ms == -100
    assert "clockWrong" not in codes(found)


def test_a_camera_without_a_clock_is_no_fault() -> None:
    found = report([arrival(n, camera=None) for n in range(100)])
    assert found.clock.clock == "host"
    assert found.warnings == ()


def test_times_that_the_reader_made_up_do_not_count() -> None:
    found = report([arrival(n, pictures=(Shown(n / 40, True),), camera=None) for n in range(100)], timed=False)
    assert not found.timing.timestamps
    assert found.rate.fps is None
    assert found.rate.arrival_fps == 25


def test_of_a_file_only_what_it_holds_counts() -> None:
    arrivals = [arrival(n, at=BEGAN + n / 1000, camera=None) for n in range(100)]
    found = report(arrivals, url="clip.mp4", live=False, duration=4.0, frames=100)
    assert found.file is not None
    assert (found.file.whole, found.file.duration, found.file.frames) == (True, 4.0, 100)
    assert found.clock.clock == "file"
    assert (found.rate.fps, found.rate.arrival_fps) == (25, None)
    assert found.timing.jitter_ms is None
    assert found.warnings == ()
    assert found.sub_stream is None


@pytest.mark.parametrize(
    ("main", "sub"),
    [
        (CAMERA, "rtsp://camera.local:554/Streaming/Channels/102"),
        ("rtsp://c/Streaming/channels/1601?transportmode=unicast", "rtsp://c/Streaming/channels/1602?transportmode=unicast"),
        ("rtsp://c/h264/ch1/main/av_stream", "rtsp://c/h264/ch1/sub/av_stream"),
        ("rtsp://u:p@c/cam/realmonitor?channel=2&subtype=0", "rtsp://***@c/cam/realmonitor?channel=2&subtype=1"),
        ("rtsp://c:554/h265Preview_01_main", "rtsp://c:554/h264Preview_01_sub"),
        ("rtsp://c:554/stream1", "rtsp://c:554/stream2"),
        ("rtsp://c/axis-media/media.amp?camera=1", "rtsp://c/axis-media/media.amp?camera=1&resolution=1280x720"),
        ("rtsp://c/media/video1", "rtsp://c/media/video2"),
        ("rtsp://c/rtsp_tunnel?h26x=4&line=1&inst=1", "rtsp://c/rtsp_tunnel?h26x=4&line=1&inst=2"),
    ],
)  # fmt: skip
def test_where_the_smaller_stream_usually_is(main: str, sub: str) -> None:
    usual = usual_sub_stream(main)
    assert usual is not None
    assert usual.maker
    assert usual.address == sub


@pytest.mark.parametrize(
    "url",
    ["rtsp://c/Streaming/Channels/102", "rtsp://c/stream2", "rtsp://c/mystream1/x", "rtsp://c/", "rtsp://c:x/[", "0"],
)
def test_an_address_that_tells_nothing_gives_none(url: str) -> None:
    assert usual_sub_stream(url) is None


def test_unifi_protect_has_another_address_for_each_quality() -> None:
    usual = usual_sub_stream("rtsps://10.0.0.2:7441/AbCdEf?enableSrtp")
    assert usual is not None
    assert not usual.address
    assert "Protect" in usual.note


@pytest.mark.parametrize(("size", "cpu", "why"), [((1920, 1080), 0.001, "1920x1080"), ((640, 360), 0.01, "25%")])
def test_a_large_or_dear_stream_gets_the_hint(size: tuple[int, int], cpu: float, why: str) -> None:
    stream = StreamSettings(CAMERA)
    arrivals = tuple(arrival(n, cpu=cpu) for n in range(100))
    seen = Seen(Opened(True, 0.5, "h264"), arrivals, BEGAN, arrivals[-1].at, "time", size)
    hint = assess(stream, resolve(stream), seen).sub_stream
    assert hint is not None
    assert why in hint.reason
    assert hint.address.endswith("/102")


@pytest.mark.parametrize(
    ("url", "name", "kept"),
    [
        ("rtsp://192.168.1.64/Streaming/Channels/101", "192.168.1.64", True),
        ("rtsp://admin:p%40ss%2Fw0rd@cam/x", "cam", False),
        ('rtsp://admin:p@ss/"w0rd@cam/x', "cam", False),
        ("rtsp://cam/x?user=admin&password=w0rd", "cam", False),
        ("rtsp://w0rd@cam/x", "cam", False),
        ('/recordings/a "b" \\ ü.mp4', "a--b----ü", True),
        ("/dev/video0", "video0", True),
    ],
)
def test_the_snippet_is_a_configuration_without_secrets(url: str, name: str, kept: bool) -> None:
    found = report([arrival(n) for n in range(100)], url=url)
    settings = parse(found.snippet, Settings, "snippet")
    assert list(settings.streams) == [name]
    stream = settings.streams[name]
    assert (stream.url == url) == kept
    assert stream.user == ("admin" if "admin:" in url else "")
    assert "w0rd" not in msgspec.json.encode(found).decode()


def test_the_snippet_has_what_differs_from_defaults() -> None:
    def settings_of(found: Report) -> StreamSettings:
        return parse(found.snippet, Settings, "snippet").streams["camera.local"]

    even = [arrival(n) for n in range(100)]
    assert settings_of(report(even)) == StreamSettings(CAMERA)
    assert settings_of(report(even, transport="udp")).transport == "udp"
    lossy = report([shown(n, corrupt=n % 20 == 9) for n in range(100)], transport="udp")
    assert settings_of(lossy).transport == "tcp", "packets were lost"
    assert settings_of(report(even, took=6.0)).open_timeout == 12
    seldom = [arrival(n, at=BEGAN + 1 + 2 * n, pts=2.0 * n, pictures=(Shown(2.0 * n, True),)) for n in range(9)]
    assert settings_of(report(seldom)).stall == 8


def text_of(found: Report) -> str:
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123  # closed with it
    with console.file:
        print_datasheet(found, console)
    return console.export_text()


def test_the_datasheet_says_it_in_words() -> None:
    good = text_of(report([arrival(n) for n in range(200)]))
    assert "H.264 Main, 640x360" in good
    assert "every 50 pictures (2.0 s), no B-frames" in good
    assert "agrees with this machine's (the quickest picture took 100 ms)" in good
    assert "Nothing to complain about." in good
    bad = text_of(report([arrival(n, camera=NOW + 3600 + n * STEP, cpu=0.05) for n in range(99)]))
    assert "60.0 minutes ahead of this machine's" in bad
    assert "NTP" in bad
    assert "(Hikvision)" in bad
