"""Measuring: the figures of a short clip, by the command that people use, hang together."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamer.bench.limit import Part, frames_per_second
from streamer.bench.live import live_streams, most_that_fit
from streamer.bench.report import Percentiles, limit_of
from streamer.config import ServerSettings, Settings, StreamSettings
from tests.conftest import Streamer

Measured = tuple[dict[str, Any], str]


@pytest.fixture(scope="module")
def measured(streamer: Streamer, face_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """The report on a clip with one face, and the page with its chart."""
    page = tmp_path_factory.mktemp("bench") / "bench.html"
    done = streamer("bench", face_clip, "--seconds", "2", "--json", "--html", page, timeout=110)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), page.read_text()


def test_limit_program_and_their_ratio(measured: Measured) -> None:
    report, _page = measured
    limit, run = report["limit"], report["run"]
    names = [part["name"].partition(" ")[0] for part in limit["parts"]]
    assert names == ["decoding", "detection", "detection", "landmarks", "age", "gender", "emotion"]
    assert all(part["perSecond"] > 0 and part["ms"] > 0 for part in limit["parts"])
    rare, usual = sorted(part["perFrame"] for part in limit["parts"] if part["name"].startswith("detection"))
    assert 0 < rare < 0.5 < usual <= 1.1  # of the two sizes the smaller is the rule
    assert all(0.9 <= part["perFrame"] <= 1.1 for part in limit["parts"] if "detection" not in part["name"])  # one face
    assert limit["fullFps"] < limit["fps"]
    assert report["fullRatio"] > report["ratio"]
    assert report["clip"]["faces"] == pytest.approx(1, abs=0.1)
    assert 0 < report["ratio"] <= 1.5
    assert [one["run"] / one["limit"] for one in report["rounds"]] == pytest.approx([report["ratio"]], abs=0.01)
    assert run["fps"] > 0
    assert 0 < run["latency"]["p50"] <= run["latency"]["p95"] <= run["latency"]["p99"]
    assert set(run["stages"]) == {"prepare", "detect", "track", "describe", "smooth"}
    assert run["cpuMs"] > 0
    assert -1 < run["loopLate"]["p50"] <= run["loopLate"]["p99"] < 1000
    assert run["firstResult"] > 0
    assert 50 < run["peakMb"] < 5000


def test_live_streams_are_tried(settings: Settings, face_clip: Path) -> None:
    clip = StreamSettings(str(face_clip), loop=True)
    run = msgspec.structs.replace(settings, server=ServerSettings(enabled=False), streams={"clip": clip})
    live = live_streams(run, 25.0, 1.0, print, most=2)
    tries = {one.streams: one for one in live.tries}
    assert 1 in tries
    assert all(one.latency.p50 <= one.latency.p99 for one in live.tries)
    assert all(not one.fits or (one.dropped == 0 and one.delivered > 20) for one in live.tries)
    assert all(0 < one.searched <= 1 for one in live.tries)
    if live.streams:  # on a machine that is very busy not even one may fit
        assert tries[live.streams].fits


def test_the_machine_is_described(measured: Measured) -> None:
    machine, clip = measured[0]["machine"], measured[0]["clip"]
    assert {"facestreamer", "OpenVINO", "FFmpeg", "Python"} == set(machine["versions"])
    assert set(machine["precisions"].values()) <= {"f32", "bf16", "f16"}
    assert machine["threads"] >= 1
    assert (clip["codec"], clip["width"], clip["height"], clip["fps"]) == ("h264", 1280, 720, 25.0)


def test_the_chart_needs_nothing_else(measured: Measured) -> None:
    _report, page = measured
    assert page.count("<svg") == 2
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r"(src|href)=|https?://|url\(", page)


@pytest.mark.parametrize("fit", [0, 1, 2, 5, 8, 9])
def test_as_many_as_fit_are_found(fit: int) -> None:
    tried: list[int] = []

    def fits(streams: int) -> bool:
        tried.append(streams)
        return streams <= fit

    assert most_that_fit(fits, 8) == min(fit, 8)
    assert len(set(tried)) == len(tried)
    assert max(tried) <= 8


def test_the_limit_is_the_sum_of_its_parts() -> None:
    parts = [Part("decoding", "frame", 200.0, 1.0, 1.0), Part("age", "face", 1000.0, 5.0, 5.0)]
    assert frames_per_second(parts) == pytest.approx(100)
    slower = [Part("decoding", "frame", 100.0, 1.0, 1.0), Part("age", "face", 500.0, 5.0, 5.0)]
    limit = limit_of([parts, parts, slower])
    assert limit.fps == 100
    assert [part.ms for part in limit.parts] == [5, 5]


def test_percentiles_of_nothing() -> None:
    assert Percentiles.of([]) == Percentiles(0, 0, 0)
    assert Percentiles.of([1.0, 2.0, 3.0]).p50 == 2


def test_what_cannot_be_measured_is_said(streamer: Streamer, tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video")
    for clip, said in (
        (tmp_path / "notes.mp4", "holds no video"),
        (tmp_path / "none.mp4", "no such file"),
        ("rtsp://camera/x", "is not a file"),
    ):
        done = streamer("bench", clip)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr
