"""Logs to look into: made up, and real ones."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from streamer.face import EMOTIONS
from streamer.log.layout import find
from streamer.log.lines import records
from streamer.log.upkeep import compress
from streamer.records import rfc3339
from tests.conftest import Streamer

START = 1_790_000_000
Record = dict[str, Any]


def face(track: int, age: int, gender: str, shares: list[int], *, doubted: bool) -> Record:
    emotions = {name: share / sum(shares) for name, share in zip(EMOTIONS, shares, strict=True)}
    guesses = {"notAssessed": [{"value": value, "reason": "blurred"} for value in ("age", "gender", "emotion")]}
    told: Record = {"trackId": track, "age": age, "gender": {"value": gender, "confidence": 90}, "emotions": emotions}
    return {**told, **(guesses if doubted else {})}


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


def written(path: Path, found: list[Record]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in found))
    return path


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
