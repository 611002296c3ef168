"""What `log stats` and `log export` say, against plain recomputation from the records."""

import csv
import json
import math
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streamer.errors import ConfigError, LogError, OutputError, UnknownSchemaError
from streamer.face import EMOTIONS, LANDMARKS
from streamer.log.export import export_log
from streamer.log.figures import summary
from streamer.log.layout import find, new_path
from streamer.log.lines import records
from streamer.log.reading import chosen, decoded
from streamer.log.stats import decode_line, of_log
from streamer.log.times import Span
from streamer.log.upkeep import compress
from streamer.records import rfc3339
from tests.conftest import CLIP_FRAMES, Streamer

START = 1_790_000_000
Record = dict[str, Any]


def face(track: int, age: int, gender: str, shares: list[int], *, doubted: bool) -> Record:
    emotions = {name: share / sum(shares) for name, share in zip(EMOTIONS, shares, strict=True)}
    guesses = {"notAssessed": [{"value": value, "reason": "blurred"} for value in ("age", "gender", "emotion")]}
    told: Record = {"trackId": track, "age": age, "gender": {"value": gender, "confidence": 90}, "emotions": emotions}
    return {**told, **(guesses if doubted else {})}


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


def made(steps: list[Record | str]) -> list[Record]:
    """Records of one stream: frames as drawn, and events between them."""
    found: list[Record] = []
    at, seq, session = START * 1000, 0, 1
    for step in steps:
        place = {"schema": 1, "stream": "a", "session": f"s{session}"}
        if step == "session":
            session += 1
        elif step == "gap":
            when = rfc3339(at / 1000)
            told = {"reason": "diskFull", "since": when, "until": when, "counts": {"frame": 2, "status": 1}}
            found.append({"type": "gap", **place, **told})
        elif isinstance(step, str):
            found.append({"type": "status", **place, "at": rfc3339(at / 1000), "state": step})
        else:
            at += step["after"]
            skipped = {"status": "skipped", "reason": step["reason"], "faces": []}
            kept = {"status": "processed", "faces": step["faces"], "timings": {"detect": step["ageMs"] / 2}}
            time = {"captured": rfc3339(at / 1000), "clock": "host", "ageMs": step["ageMs"]}
            outcome = skipped if step["reason"] else kept
            found.append({"type": "frame", **place, "seq": seq, "frame": seq, "time": time, **outcome})
            seq += 1
    return found


def seconds(record: Record) -> float:
    return datetime.fromisoformat(record["time"]["captured"]).timestamp()


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


def written(path: Path, found: list[Record]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in found))
    return path


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
    odd = {"type": "track", "schema": 1, "stream": "a", "session": "s1", "faces": 3, "time": "noon"}
    stats = of_log(written(tmp_path / "a.jsonl", [odd, *found, odd]), (), Span())
    assert stats.total().processed == 1


@pytest.fixture(scope="module")
def log(streamer: Streamer, face_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real log of two streams, one of them compressed."""
    folder = tmp_path_factory.mktemp("real")
    for name in ("door", "yard"):
        (folder / f"{name}.mp4").write_bytes(face_clip.read_bytes())
    done = streamer("run", "-s", "door.mp4", "-s", "yard.mp4", "--log", "logs", "--no-server", cwd=folder)
    assert done.returncode == 0, done.stderr
    for segment in find(folder / "logs")["door"]:
        compress(segment.path)
    return folder / "logs"


@pytest.fixture(scope="module")
def frames(log: Path) -> list[Record]:
    """All frame records of the log."""
    lines = (
        line
        for segments in find(log).values()
        for each in segments
        for line, head in records(each)
        if head.type == "frame"
    )
    return [json.loads(line) for line in lines]


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


def expected_row(record: Record, each: Record) -> Record:
    leading = max(EMOTIONS, key=lambda name: each["emotions"][name])
    points = {f"{p['type']}{axis}": p[axis.lower()] for p in each["landmarks"] for axis in "XY"}
    pose, held = each.get("headPose", {}), each.get("heldMs", {})
    doubts = ", ".join(f"{doubt['value']}: {doubt['reason']}" for doubt in each.get("notAssessed", []))
    return {
        **{key: record[key] for key in ("stream", "session", "seq", "frame")},
        **{key: record["time"].get(key) for key in ("captured", "pts", "ageMs")},
        **record["image"],
        **{key: each[key] for key in ("trackId", "faceConfidence")},
        **each["boundingBox"],
        "age": each["age"],
        "gender": each["gender"]["value"],
        "genderConfidence": each["gender"]["confidence"],
        **each["emotions"],
        "emotion": leading,
        **{f"{point}{axis}": points[f"{point}{axis}"] for point in LANDMARKS for axis in "XY"},
        "quality": each.get("quality"),
        **{key: pose.get(key) for key in ("yaw", "pitch", "roll")},
        "notAssessed": doubts or None,
        "placeHeldMs": held.get("place"),
        "looksHeldMs": held.get("looks"),
    }


def test_parquet_holds_the_numbers_of_the_records(log: Path, frames: list[Record], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    target = tmp_path / "faces.parquet"
    rows = [expected_row(record, each) for record in frames for each in record["faces"]]
    assert export_log(log, (), Span(), target) == len(rows) == 2 * CLIP_FRAMES
    table = parquet.read_table(target)
    assert str(table.schema.field("captured").type) == "timestamp[ms, tz=UTC]"
    found = table.to_pylist()
    for row in found:
        row["captured"] = rfc3339(row["captured"].timestamp())
    assert found == rows
    assert list(tmp_path.iterdir()) == [target]


def test_csv_holds_the_numbers_of_the_records(
    streamer: Streamer, log: Path, frames: list[Record], tmp_path: Path
) -> None:
    target = tmp_path / "faces.csv"
    done = streamer("log", "export", log, target)
    assert done.returncode == 0, done.stderr
    text = target.read_bytes().decode()
    assert text.count("\r\n") == text.count("\n") == 2 * CLIP_FRAMES + 1  # RFC 4180
    rows = list(csv.DictReader(text.splitlines()))
    for row, record in zip(rows, frames, strict=True):
        expected = expected_row(record, record["faces"][0])
        assert list(row) == list(expected)
        assert row == {key: "" if value is None else str(value) for key, value in expected.items()}


def test_frames_have_a_row_each(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    kept = {"after": 40, "reason": "", "ageMs": 9.5, "faces": [face(1, 30, "Male", [1] * 7, doubted=False)] * 2}
    found = made([kept, {**kept, "reason": "stale"}, "gap", kept])
    export_log(written(tmp_path / "a.jsonl", found), (), Span(), tmp_path / "f.parquet", of_frames=True)
    rows = parquet.read_table(tmp_path / "f.parquet").to_pylist()
    assert [(row["seq"], row["status"], row["reason"], row["faces"]) for row in rows] == [
        (0, "processed", None, 2),
        (1, "skipped", "stale", 0),
        (2, "processed", None, 2),
    ]
    assert [row["detectMs"] for row in rows] == [4.75, None, 4.75]


def test_more_rows_than_are_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("streamer.log.export._ROW_GROUP", 7)
    found = made([{"after": 40, "reason": "", "ageMs": float(n), "faces": []} for n in range(30)])
    export_log(written(tmp_path / "a.jsonl", found), (), Span(), tmp_path / "f.parquet", of_frames=True)
    file = parquet.ParquetFile(tmp_path / "f.parquet")
    assert file.metadata.num_row_groups == 5
    assert file.read().column("ageMs").to_pylist() == [float(n) for n in range(30)]


def test_faces_without_what_settings_leave_out(tmp_path: Path) -> None:
    found = made(
        [{"after": 40, "reason": "", "ageMs": 9.0, "faces": [{"boundingBox": {"x": 1, "y": 2, "w": 3, "h": 4}}]}]
    )
    path = written(tmp_path / "a.jsonl", found)
    told = summary(of_log(path, (), Span()).total())
    assert (told.faces.total, told.tracks, told.genders) == (1, 0, {})
    assert not told.emotions
    export_log(path, (), Span(), tmp_path / "f.csv")
    (row,) = csv.DictReader((tmp_path / "f.csv").read_text().splitlines())
    assert (row["x"], row["h"], row["age"], row["emotion"], row["eyeLeftX"]) == ("1", "4", "", "", "")


def test_empty_logs_are_told_as_such(streamer: Streamer, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    done = streamer("log", "stats", tmp_path / "empty.jsonl", "--html", tmp_path / "r.html")
    assert done.returncode == 0, done.stderr
    assert "no records of that time" in done.stdout
    assert "no records of that time" in (tmp_path / "r.html").read_text()
    assert export_log(tmp_path / "empty.jsonl", (), Span(), tmp_path / "f.csv") == 0
    assert len((tmp_path / "f.csv").read_text().splitlines()) == 1


def test_newer_and_broken_logs_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    newer = written(tmp_path / "newer.jsonl", [{"type": "frame", "schema": 2, "stream": "a", "session": "s"}])
    changed = written(tmp_path / "changed.jsonl", [{"type": "frame", "schema": 2, "stream": "a", "time": "noon"}])
    for path in (newer, changed):
        with pytest.raises(UnknownSchemaError, match=r"jsonl:1: has schema 2"):
            of_log(path, (), Span())
        with pytest.raises(UnknownSchemaError):
            export_log(path, (), Span(), tmp_path / "f.csv")
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"type":"frame","schema":1,"stream":"a","session":"s","time":5}\n')
    with pytest.raises(LogError, match=r"broken.jsonl:1: is not a record"):
        of_log(broken, (), Span())
    assert {path.suffix for path in tmp_path.iterdir()} == {".jsonl"}


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", made([{"after": 40, "reason": "", "ageMs": 9.0, "faces": []}]))
    with path.open("a") as file:
        file.write('{"type":"frame","sch')
    assert of_log(path, (), Span()).total().processed == 1


def test_what_cannot_be_exported_is_said(streamer: Streamer, log: Path, tmp_path: Path) -> None:
    target = tmp_path / "faces.csv"
    target.write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        export_log(log, (), Span(), target)
    assert target.read_text() == "mine"
    export_log(log, (), Span(), target, force=True)
    assert target.read_text().startswith("stream,")
    with pytest.raises(ConfigError, match="what kind of file"):
        export_log(log, (), Span(), tmp_path / "faces.xlsx")
    with pytest.raises(OutputError, match="No such file"):
        export_log(log, (), Span(), tmp_path / "nowhere" / "faces.csv")
    with pytest.raises(LogError, match="has no stream 'hall'"):
        export_log(log, ("hall",), Span(), target, force=True)
    with pytest.raises(LogError, match="has no stream 'hall'"):
        of_log(written(tmp_path / "a.jsonl", made(["offline"])), ("hall",), Span())
    done = streamer("log", "stats", log, "--from", "noon")
    assert done.returncode == 2
    assert "no point in time" in done.stderr


def test_parquet_without_pyarrow_is_said(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OutputError, match="pyarrow") as caught:
        export_log(log, (), Span(), tmp_path / "faces.parquet")
    assert "facestreamer[parquet]" in caught.value.hint
    assert not list(tmp_path.iterdir())
