"""How long videos are kept: which must go, and that nothing else does."""

import os
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from streamer.config import VideoSettings
from streamer.outputs.videofiles import VideoFiles
from streamer.outputs.videokeep import Video, expired, find_videos, remove_expired
from tests.conftest import Streamer

DAY = 86_400.0
NOW = 1_700_000_000.0

found_videos = st.lists(
    st.builds(Video, st.just(Path("x")), st.floats(NOW - 30 * DAY, NOW), st.integers(0, 10**10), st.booleans()),
    max_size=20,
).map(lambda videos: sorted(videos, key=lambda video: video.ended))


@given(found_videos, st.just(0.0) | st.floats(0.1, 30), st.just(0.0) | st.floats(0.1, 60))
def test_what_is_left_is_young_and_small_enough(found: list[Video], keep_days: float, keep_gb: float) -> None:
    gone = expired(found, VideoSettings("videos", keep_days=keep_days, keep_gb=keep_gb), NOW)
    left = [video for video in found if not any(video is other for other in gone)]
    assert not keep_days or all(NOW - video.ended <= keep_days * DAY for video in left)
    assert not keep_gb or sum(v.size for v in left) <= keep_gb * 1e9 or all(v.newest for v in left)
    for video in gone:
        too_old = keep_days and NOW - video.ended > keep_days * DAY
        # Of those that need not go yet the older ones go first, and none while the rest is small enough.
        rest = [other for other in found if other.ended >= video.ended]
        assert too_old or (keep_gb and not video.newest and sum(v.size for v in rest + left) > keep_gb * 1e9)


def test_without_limits_nothing_goes() -> None:
    found = [Video(Path("x"), 0.0, 10**15)] * 3
    assert not expired(found, VideoSettings("videos"), NOW)


def videos(folder: Path, ages: list[float]) -> list[Path]:
    """Files of a kilobyte in a folder of videos, written last so many days ago."""
    paths = []
    files = VideoFiles(VideoSettings(str(folder)), ["door"], "0a1b")
    for age in ages:
        at = time.time() - age * DAY
        paths.append(files.create("door", at))
        paths[-1].write_bytes(bytes(1000))
        os.utime(paths[-1], (at, at))
    return paths


def test_nothing_but_old_videos_and_empty_days_is_deleted(tmp_path: Path) -> None:
    oldest, old, young, newest = videos(tmp_path, [9, 8, 3, 0])
    others = [tmp_path / "mine.mp4", old.with_name("holiday.mp4"), tmp_path / "door" / "2001-01-01" / "faces.jsonl"]
    for other in others:
        other.parent.mkdir(exist_ok=True)
        other.touch()
        os.utime(other, (0, 0))
    assert [video.path for video in find_videos(tmp_path)] == [oldest, old, young, newest]
    remove_expired(VideoSettings(str(tmp_path), keep_days=7), time.time())
    assert [video.path for video in find_videos(tmp_path)] == [young, newest]
    assert not oldest.parent.exists()
    assert all(other.exists() for other in others)
    remove_expired(VideoSettings(str(tmp_path), keep_gb=1e-6), time.time())
    assert [video.path for video in find_videos(tmp_path)] == [newest]


def test_a_size_that_changed_makes_two_videos_in_one_millisecond(tmp_path: Path) -> None:
    first, second = videos(tmp_path, [1, 1 - 1e-9])
    assert {video.path for video in find_videos(tmp_path)} == {first, second}
    remove_expired(VideoSettings(str(tmp_path), keep_days=0.5), time.time())
    assert not find_videos(tmp_path)


def test_a_run_deletes_what_is_too_old(streamer: Streamer, face_clip: Path, tmp_path: Path) -> None:
    old, young = videos(tmp_path / "videos", [9, 1])
    config = tmp_path / "run.toml"
    config.write_text(
        f"[streams.door]\nurl = '{face_clip}'\n[server]\nenabled = false\n"
        "[video]\npath = 'videos'\nmin_free_mb = 0\nkeep_days = 7\n"
    )
    done = streamer("run", config)
    assert done.returncode == 0, done.stderr
    kept = [video.path for video in find_videos(tmp_path / "videos")]
    assert len(kept) == 2
    assert young in kept
    assert not old.exists()
