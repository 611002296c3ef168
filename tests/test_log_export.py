"""What `log export` writes, against the records; and what neither it nor `log stats` can read."""

import csv
import sys
from pathlib import Path

import pytest

from streamer.bench.scene import CLIP_FRAMES
from streamer.errors import ConfigError, LogError, OutputError, UnknownSchemaError
from streamer.face import EMOTIONS, LANDMARKS
from streamer.log.export import export_log
from streamer.log.figures import summary
from streamer.log.stats import of_log
from streamer.log.times import Span
from streamer.records import rfc3339
from tests.conftest import Streamer
from tests.logs import Record, face, frames, log, made, written

__all__ = ["frames", "log"]  # fixtures


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
