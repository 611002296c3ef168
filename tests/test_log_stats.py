"""What `log stats` says, against plain recomputation from the records."""

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streamer.bench.scene import CLIP_FRAMES
from streamer.face import EMOTIONS
from streamer.log.figures import summary
from streamer.log.layout import find, new_path
from streamer.log.reading import chosen, decoded
from streamer.log.stats import decode_line, of_log
from streamer.log.times import Span
from streamer.log.upkeep import compress
from streamer.records import rfc3339
from tests.conftest import Streamer
from tests.logs import START, Record, face, frames, log, made, seconds, written

__all__ = ["frames", "log"]  # fixtures


FACES = st.builds(
    face,
    st.integers(1, 4),
    st.integers(0, 99),
    st.sampled_from(["Male", "Female"]),
    st.lists(st.integers(1, 9), min_size=7, max_size=7),
    doubted=st.booleans(),
)
FRAMES = st.fixed_dictionaries(
    {
        "after": st.integers(1, 3000),  # milliseconds
        "reason": st.sampled_from(["", "", "", "stale", "superseded"]),
        "ageMs": st.floats(0, 2000),
        "faces": st.lists(FACES, max_size=3, unique_by=lambda each: each["trackId"]),
    }
)
EVENTS = st.sampled_from(["offline", "live", "gap", "session"])


def runs(found: list[Record]) -> Iterator[list[Record]]:
    """Frames between which nothing happened."""
    run: list[Record] = []
    for record in found:
        if run and record["session"] != run[-1]["session"]:
            yield run
            run = []
        if record["type"] == "frame":
            run.append(record)
        elif record["type"] == "gap" or record["state"] != "live":
            yield run
            run = []
    yield run


def emotion_shares(found: list[Record]) -> dict[str, float] | None:
    """Each face's, by the time until the next frame."""
    weights, total = [0.0] * 7, 0.0
    for run in runs(found):
        processed = [record for record in run if record["status"] == "processed"]
        lengths = [min(seconds(b) - seconds(a), 1.0) for a, b in pairwise(processed)]
        lengths.append(lengths[-1] if lengths else 0.04)
        for record, length in zip(processed, lengths, strict=False):
            for each in record["faces"]:
                if "notAssessed" not in each:
                    total += length
                    weights = [w + length * each["emotions"][name] for w, name in zip(weights, EMOTIONS, strict=True)]
    return {name: w / total for name, w in zip(EMOTIONS, weights, strict=True)} if total else None


def by_track(found: list[Record]) -> dict[tuple[str, int], list[tuple[float, Record]]]:
    seen: dict[tuple[str, int], list[tuple[float, Record]]] = {}
    for record in found:
        for each in record.get("faces", []):
            seen.setdefault((record["session"], each["trackId"]), []).append((seconds(record), each))
    return seen


@given(st.lists(FRAMES | EVENTS, max_size=60))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_stats_are_what_the_records_say(tmp_path: Path, steps: list[Record | str]) -> None:
    found = made(steps)
    stats = of_log(written(tmp_path / "log.jsonl", found), (), Span())
    told = summary(stats.total())
    frames = [record for record in found if record["type"] == "frame"]
    processed = [record for record in frames if record["status"] == "processed"]
    assert (told.frames.total, told.frames.processed) == (len(frames), len(processed))
    assert told.frames.skipped == Counter(record["reason"] for record in frames if record["status"] == "skipped")
    assert told.sessions == len({record["session"] for record in found})
    gaps = sum(record["type"] == "gap" for record in found)
    assert (told.gaps.count, told.gaps.missing.get("frame", 0)) == (gaps, 2 * gaps)
    steps_between = [b for run in runs(found) for b in pairwise(run)]
    live = sum(seconds(b) - seconds(a) for a, b in steps_between)
    assert told.seconds == pytest.approx(live, abs=1e-3)
    if told.fps:
        assert told.fps.delivered == pytest.approx(len(steps_between) / live, abs=1e-3)
        analysed = sum(b["status"] == "processed" for _, b in steps_between)
        assert told.fps.analysed == pytest.approx(analysed / live, abs=1e-3)
    faces = [each for record in frames for each in record["faces"]]
    assert told.faces.total == len(faces)
    assert told.faces.max == max((len(record["faces"]) for record in frames), default=0)
    shares = emotion_shares(found)
    assert (told.emotions or None) == (pytest.approx(shares, abs=1e-4) if shares else None)
    tracks = by_track(found)
    assert told.tracks == len(tracks)
    if told.dwell:
        assert told.dwell.longest == pytest.approx(max(s[-1][0] - s[0][0] for s in tracks.values()), abs=0.01)
    sure = [[each for _, each in seen if "notAssessed" not in each] for seen in tracks.values()]
    assert told.genders == Counter(each[-1]["gender"]["value"] for each in sure if each)
    if any(sure):
        assert told.median_age == statistics.median_low(each[-1]["age"] for each in sure if each)
    assert told.bytes.records == (tmp_path / "log.jsonl").stat().st_size
    if told.age_ms:
        ages = sorted(record["time"]["ageMs"] for record in processed)
        assert told.age_ms.p95 == pytest.approx(ages[math.ceil(0.95 * len(ages)) - 1], rel=0.011, abs=0.1)
        assert told.timings["detect"] == pytest.approx(statistics.fmean(ages) / 2, abs=1e-3)
    line = [part for _, part in next(iter(stats))[1].timeline] if frames else []
    assert sum(part.frames for part in line) == len(frames)


def test_outages_and_gaps_are_told_with_their_length(tmp_path: Path) -> None:
    place = {"schema": 1, "stream": "a", "session": "s"}
    states = [("live", 0), ("stalled", 10), ("live", 13), ("stalled", 20), ("offline", 25), ("connecting", 85)]
    found = [{"type": "status", **place, "at": rfc3339(START + at), "state": state} for state, at in states]
    found.append({"type": "status", **place, "at": rfc3339(START + 90), "state": "offline"})
    found.append({"type": "footer", **place, "at": rfc3339(START + 100), "counts": {}, "sha256": ""})
    told = summary(of_log(written(tmp_path / "a.jsonl", found), (), Span()).total())
    away = {state: (each.times, each.seconds) for state, each in told.outages.items()}
    assert away == {"stalled": (2, 8.0), "offline": (2, 70.0)}


def test_records_of_types_to_come_are_passed_over(tmp_path: Path) -> None:
    found = made([{"after": 40, "reason": "", "ageMs": 9.0, "faces": []}])
    odd = {"type": "sound", "schema": 1, "stream": "a", "session": "s1", "faces": 3, "time": "noon"}
    stats = of_log(written(tmp_path / "a.jsonl", [odd, *found, odd]), (), Span())
    assert stats.total().processed == 1


def test_a_real_log_is_told_as_json(streamer: Streamer, log: Path, frames: list[Record]) -> None:
    told = json.loads(streamer("log", "stats", log, "--json").stdout)
    assert list(told["streams"]) == ["door", "yard"]
    for each in told["streams"].values():
        assert each["frames"] == {"total": CLIP_FRAMES, "processed": CLIP_FRAMES, "skipped": {}}
        assert each["fps"] == {"delivered": 25.0, "analysed": 25.0}
        assert (each["tracks"], each["dwell"]["longest"]) == (1, pytest.approx((CLIP_FRAMES - 1) / 25, abs=0.01))
        assert each["genders"] == {"Female": 1}
    happy = statistics.fmean(each["emotions"]["happy"] for record in frames for each in record["faces"])
    assert told["total"]["emotions"]["happy"] == pytest.approx(happy, abs=2e-4)
    on_disk = sum(path.stat().st_size for path in log.glob("*/*/*"))
    assert told["total"]["bytes"]["disk"] == on_disk
    shown = streamer("log", "stats", log, "--stream", "yard").stdout
    assert "yard" in shown
    assert "door" not in shown
    assert f"processed {CLIP_FRAMES}" in shown


def test_only_the_time_that_was_asked_for_counts(log: Path, frames: list[Record]) -> None:
    times = sorted(seconds(record) for record in frames)
    middle = Span(times[20], times[-30])
    expected = sum(at in middle for at in times)
    assert 0 < expected < len(times)
    assert of_log(log, (), middle).total().processed == expected
    for where in (log, log / "door", find(log)["door"][0].path):
        assert of_log(where, (), Span(times[-1] + 9e5)).total().processed == 0


@pytest.mark.parametrize("clock", ["host", "camera", "file"])
def test_segments_of_other_times_are_not_read(tmp_path: Path, clock: str) -> None:
    """A frame an hour for three days; those of files may be of any time, whenever they were written."""
    for hour in range(72):
        at = START + 3600 * hour
        path = new_path(tmp_path, "a", "s1", at, None)
        path.parent.mkdir(parents=True, exist_ok=True)
        time = {"captured": rfc3339(at + 1), "clock": clock, "ageMs": 9.0}
        place = {"schema": 1, "stream": "a", "session": "s1"}
        written(path, [{"type": "frame", **place, "seq": hour, "status": "processed", "time": time}])
    wanted = Span(START + 3600 * 30, START + 3600 * 32)
    assert of_log(tmp_path, (), wanted).total().processed == 2
    read = len(chosen(tmp_path, (), wanted)["a"])
    assert read == {"host": 6, "camera": 54, "file": 72}[clock]


def test_a_segment_that_is_compressed_meanwhile_is_still_read(tmp_path: Path) -> None:
    path = new_path(tmp_path, "a", "s1", START, None)
    path.parent.mkdir(parents=True)
    written(path, made([{"after": 40, "reason": "", "ageMs": 9.0, "faces": []}]))
    (segment,) = find(tmp_path)["a"]
    compress(path)
    assert len(list(decoded(segment, decode_line))) == 1
