"""Videos of real runs: what is in them, when, and what is left of one whose program was killed."""

import asyncio
import os
import pty
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from streamer.bench.scene import CLIP_FRAMES
from streamer.face import Pixels
from tests.conftest import Streamer
from tests.servers.rtsp import RtspServer
from tests.test_recording import pictures
from tests.test_run import Record, frames, records, running

Box = tuple[int, int, int, int]


@pytest.fixture(scope="module")
def clip(face_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The known face at uneven times, the first picture not at 0, with sound."""
    path = tmp_path_factory.mktemp("clips") / "uneven.mp4"
    with av.open(str(face_clip)) as source, av.open(str(path), "w") as target:
        video = source.streams.video[0]
        copy = target.add_stream_from_template(video)
        sound = target.add_stream("aac", rate=48_000, layout="mono")
        for n, packet in enumerate(source.demux(video)):
            if packet.pts is not None and packet.time_base is not None:
                uneven = round((1 + n / 25 + 0.013 * (n % 3) + (2 if n > 40 else 0)) / packet.time_base)
                packet.pts = packet.dts = uneven
                packet.stream = copy
                target.mux(packet)
        for second in range(6):
            tone = np.sin(np.arange(48_000, dtype=np.float32) * 0.06)[None] / 4
            heard = av.AudioFrame.from_ndarray(tone.astype(np.float32), format="fltp", layout="mono")
            heard.rate, heard.pts, heard.time_base = 48_000, 48_000 * second, Fraction(1, 48_000)
            target.mux(sound.encode(heard))
        target.mux(sound.encode())
    return path


def box_of(record: Record) -> Box:
    box = record["faces"][0]["boundingBox"]
    return box["x"], box["y"], box["x"] + box["w"], box["y"] + box["h"]


def detail(pixels: Pixels) -> float:
    """How much the typical pixel differs from those around it."""
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_BGR2GRAY)
    return float(np.median(np.abs(cv2.Laplacian(grey, cv2.CV_64F))))


def sound_of(container: av.container.InputContainer) -> list[tuple[float, bytes]]:
    packets = [p for p in container.demux(audio=0) if p.pts is not None]
    return [(float((p.pts or 0) * (p.time_base or 0)), bytes(p)) for p in packets]


def order_of_boxes(path: Path) -> list[str]:
    """The parts of an MP4 file, in order."""
    data, at, kinds = path.read_bytes(), 0, list[str]()
    while at < len(data):
        kinds.append(data[at + 4 : at + 8].decode())
        at += int.from_bytes(data[at : at + 4], "big")
    return kinds


def test_what_is_analysed_is_in_the_video_at_its_own_time(streamer: Streamer, clip: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(
        f"[streams.door]\nurl = '{clip}'\nfps = 10\n[server]\nenabled = false\n"
        "[log]\npath = 'out.jsonl'\n[video]\npath = 'out.mp4'\nmin_free_mb = 0\n"
    )
    done = streamer("run", config)
    assert done.returncode == 0, done.stderr
    logged = frames(records(tmp_path / "out.jsonl"))
    shown = [record for record in logged if record["status"] == "processed"]
    assert 20 < len(shown) < len(logged) == CLIP_FRAMES
    video = pictures(tmp_path / "out.mp4")
    first = logged[0]["time"]["pts"]
    assert [at for at, _ in video] == pytest.approx([r["time"]["pts"] - first for r in shown], abs=2e-3)
    assert f"{len(shown)} pictures" in done.stdout
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        captured = datetime.fromisoformat(container.metadata["creation_time"])
        assert abs(captured - datetime.fromisoformat(logged[0]["time"]["captured"])).total_seconds() <= 1
    sources = [pixels for _, pixels in pictures(clip)]
    for record, (_, drawn) in zip(shown, video, strict=True):
        x1, y1, x2, y2 = box_of(record)
        change = np.abs(drawn.astype(int) - sources[record["frame"]]).mean(2)
        for edge in (change[y1 + 9 : y2 - 9, x1], change[y1 + 9 : y2 - 9, x2], change[y1, x1:x2]):
            assert np.median(edge) > 25  # the box
        assert change[:, : x1 - 200].mean() < 6  # nothing is drawn there


def test_annotate_tells_how_far_it_is_and_keeps_the_sound(streamer: Streamer, clip: Path, tmp_path: Path) -> None:
    here = tmp_path / "my clip.mp4"
    here.write_bytes(clip.read_bytes())
    done = streamer("annotate", here, "--log", tmp_path / "out.jsonl")
    assert done.returncode == 0, done.stderr
    video = tmp_path / "my clip.annotated.mp4"
    assert f"{video}: {CLIP_FRAMES} pictures" in done.stdout
    assert "with its sound" in done.stdout
    said = re.findall(rf"(\d+) of {CLIP_FRAMES} pictures, \d+ fps, \d+ s left", done.stderr)
    assert said
    assert list(map(int, said)) == sorted(map(int, said))
    logged = frames(records(tmp_path / "out.jsonl"))
    assert len(logged) == CLIP_FRAMES
    first = logged[0]["time"]["pts"]
    times = [at for at, _ in pictures(video)]
    assert times == pytest.approx([r["time"]["pts"] - first for r in logged], abs=2e-3)
    assert order_of_boxes(video)[:2] == ["ftyp", "moov"]  # can be shown while it is loaded
    with av.open(str(video)) as container, av.open(str(clip)) as source:
        heard, before = sound_of(container), sound_of(source)
        assert container.streams.audio[0].codec_context.name == "aac"
        assert heard[-1][0] < times[-1] + 0.1
        # What was heard with a picture still is.
        along = [(at - first, data) for at, data in before if at >= first][: len(heard)]
        assert [data for _, data in heard] == [data for _, data in along]
        assert [at for at, _ in heard] == pytest.approx([at for at, _ in along], abs=2e-3)
    again = streamer("annotate", here)
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert [at for at, _ in pictures(video)] == times


def test_what_is_there_is_overwritten_only_by_force(streamer: Streamer, clip: Path, tmp_path: Path) -> None:
    video = tmp_path / "out.mkv"
    video.write_text("somebody's")
    assert streamer("annotate", clip, "-o", video).returncode == 2
    assert video.read_text() == "somebody's"
    assert streamer("annotate", clip, "-o", video, "--force").returncode == 0
    assert len(pictures(video)) == CLIP_FRAMES
    assert [path.name for path in tmp_path.iterdir()] == ["out.mkv"]


def test_blurred_faces_are_no_faces_any_more(streamer: Streamer, clip: Path, tmp_path: Path) -> None:
    blurred, log = tmp_path / "blurred.mp4", tmp_path / "out.jsonl"
    assert streamer("annotate", clip, "-o", blurred, "--blur", "--log", log).returncode == 0
    pairs = list(zip(frames(records(log)), pictures(clip), pictures(blurred), strict=True))
    assert len(pairs) == CLIP_FRAMES
    for record, (_, plain), (_, hidden) in pairs:
        x1, y1, x2, y2 = box_of(record)
        inside = slice(y1, y2), slice(x1, x2)
        assert detail(hidden[inside]) < 0.25 * detail(plain[inside])
        assert np.abs(hidden[:, : x1 - 200].astype(int) - plain[:, : x1 - 200]).mean() < 6
    seen = tmp_path / "seen.jsonl"
    assert streamer("run", "-s", blurred, "--log", seen, "--no-server").returncode == 0
    assert sum(len(record["faces"]) for record in frames(records(seen))) == 0


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
async def test_a_run_that_is_killed_leaves_all_but_the_last_moments(tmp_path: Path, suffix: str) -> None:
    video, log = tmp_path / f"out{suffix}", tmp_path / "out.jsonl"
    async with running("demo", "--video", video, "--log", log) as run:
        await analysed(log, 80)
        await run.stop(signal.SIGKILL)
    shown = [when(r) for r in frames(records(log)) if r["status"] == "processed"]
    times = [at for at, _ in pictures(video, torn=True)]
    assert len(times) > 20
    assert times[-1] > shown[-1] - shown[0] - 2.5
    assert are_captures(times, shown)


async def analysed(log: Path, count: int) -> None:
    """Once so many pictures are, by the log."""
    async with asyncio.timeout(60):
        while sum(r["status"] == "processed" for r in frames(records(log))) < count:  # noqa: ASYNC110  # a file
            await asyncio.sleep(0.1)


def when(record: Record) -> float:
    return datetime.fromisoformat(record["time"]["captured"]).timestamp()


def are_captures(times: list[float], shown: list[float]) -> bool:
    """Whether something was captured at each of the times, which count from the first picture that is in the video."""
    for first in shown:
        nearest = [min(abs(first + at - captured) for captured in shown) for at in times]
        if max(nearest) < 0.005:
            return True
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_cameras_video_has_real_times_and_is_complete_when_it_is_stopped(
    face_clip: Path, tmp_path: Path, number: int
) -> None:
    log = tmp_path / "out.jsonl"
    folder = tmp_path / "videos"
    async with (
        RtspServer({"cam": face_clip}) as server,
        running("run", "-s", server.url("cam"), "--video", folder, "--blur", "--log", log) as run,
    ):
        await analysed(log, 60)
        code, seconds = await run.stop(number)
    assert code == 0
    assert seconds < 8
    (video,) = folder.rglob("*.mp4")
    assert re.fullmatch(r"127.0.0.1/\d{4}-\d\d-\d\d/\d{9}-\w{12}.mp4", str(video.relative_to(folder)))
    kinds = order_of_boxes(video)
    assert "moov" in kinds
    assert "moof" not in kinds  # an ordinary file, no longer in fragments
    shown = [r for r in frames(records(log)) if r["status"] == "processed"]
    times = [at for at, _ in pictures(video)]
    assert len(shown) / 2 < len(times) <= len(shown)
    # Until the camera tells its clock for the first time its pictures are dated by this machine's.
    others = sum(r["time"]["clock"] != "camera" for r in shown)
    assert others < 10
    since = [at - times[others] for at in times[others:]]
    assert are_captures(since, [when(r) for r in shown[others:]])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "-s", "x.mp4", "--video", "out.avi"), "kind .avi"),
        (("run", "-s", "x.mp4", "-s", "y.mp4", "--video", "out.mp4"), "give a folder"),
        (("run", "-s", "x.mp4", "--blur"), "add --video"),
        (("annotate", "rtsp://camera.local/x"), "only files are annotated"),
        (("annotate", "x.mp4", "-o", "out.gif"), "known: .mp4"),
    ],
)
def test_what_cannot_be_meant_is_exit_code_2(streamer: Streamer, arguments: tuple[str, ...], said: str) -> None:
    done = streamer(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_what_cannot_be_read_or_written_is_exit_code_1(streamer: Streamer, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no video")
    for arguments, said in (
        (("annotate", "missing.mp4"), "no such file"),
        (("annotate", tmp_path / "file", "-o", tmp_path / "out.mp4"), "file"),
        (("annotate", clip, "-o", tmp_path / "file" / "out.mp4"), "no video can be written there"),
    ):
        done = streamer(*arguments)
        assert done.returncode == 1, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    onto_itself = streamer("annotate", clip, "-o", clip, "--force")
    assert onto_itself.returncode == 2
    assert len(pictures(clip)) == CLIP_FRAMES


def limited(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_disk_that_takes_no_more_does_not_stop_the_analysis(
    streamer: Streamer, face_clip: Path, tmp_path: Path
) -> None:
    log, video = tmp_path / "out.jsonl", tmp_path / "out.mp4"
    limit = limited(300_000)
    done = streamer("run", "-s", face_clip, "--no-server", "--log", log, "--video", video, preexec_fn=limit)
    assert done.returncode == 1
    assert done.stderr.count("the video is paused: File too large") == 1
    assert "Traceback" not in done.stderr
    assert len(frames(records(log))) == CLIP_FRAMES
    assert 0 < len(pictures(video, torn=True)) < CLIP_FRAMES


def test_on_a_terminal_there_is_a_bar_with_the_time_that_is_left(clip: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "streamer", "annotate", str(clip), "-o", str(tmp_path / "out.mp4")],
        stdout=subprocess.DEVNULL, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 4096):
            said += part
    except OSError:  # that is how Linux says that nobody writes there any more
        pass
    os.close(ours)
    assert process.wait(30) == 0
    assert re.search(rf"annotating.*\d+/{CLIP_FRAMES}.*fps.*0:00:\d\d".encode(), said)
