"""What is left of a track when it has ended."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from streamer.analysis.visits import Visits
from streamer.contract import encode
from streamer.face import Face, FrameResult
from streamer.records import track_record
from tests.servers.clips import clip
from tests.test_contract import a_face, frame
from tests.test_run import VALIDATOR, records, running, take

Steps = list[tuple[set[int], set[int]]]


@st.composite
def histories(draw: st.DrawFn) -> Steps:
    """Of each frame the tracks that are seen, and those that are alive; an ended one never comes back."""
    steps, alive, born = Steps(), set[int](), 0
    for _ in range(draw(st.integers(1, 25))):
        alive -= draw(st.sets(st.sampled_from(sorted(alive)))) if alive else set()
        new = draw(st.integers(0, 2))
        alive |= set(range(born, born + new))
        born += new
        seen = draw(st.sets(st.sampled_from(sorted(alive)))) if alive else set()
        steps.append((seen, set(alive)))
    return steps


def a_result(seq: int, faces: tuple[Face, ...], alive: set[int], fps: float = 25.0) -> FrameResult:
    at = frame(seq=seq, at=seq / fps, captured=1_790_000_000 + seq / fps)
    return FrameResult(at, faces, {}, 0, 0.0, frozenset(alive))


@given(steps=histories())
def test_each_track_that_was_seen_ends_once_and_has_all_its_sightings(steps: Steps) -> None:
    visits, seen, ended = Visits(), Counter[int](), list[int]()
    for seq, (shown, alive) in enumerate(steps):
        visits.update(a_result(seq, tuple(a_face(track_id=track) for track in shown), alive))
        seen.update(shown)
        ended += [visit.track_id for visit in visits.ended]
        assert not alive & set(ended)
    visits.finish()
    by_id = {visit.track_id: visit for visit in visits.ended}
    assert sorted(by_id) == sorted(seen)
    for track, visit in by_id.items():
        present = [seq for seq, (shown, _) in enumerate(steps) if track in shown]
        assert (visit.first.seq, visit.last.seq, visit.frames) == (present[0], present[-1], len(present))
        assert visit.best.frame.seq in present
        assert visit.seconds == pytest.approx((present[-1] - present[0]) / 25)
        assert visit.emotions.sum() == pytest.approx(1)


@pytest.mark.parametrize("fps", [5, 50])
def test_shares_of_emotions_are_of_the_time(fps: int) -> None:
    """Two seconds happy, one second sad, whatever the frame rate; and the best sighting is not a held one."""
    visits = Visits()
    happy, sad = np.eye(7, dtype=np.float32)[[3, 4]]
    for n in range(3 * fps + 1):
        late = n > 2 * fps
        face = a_face(
            track_id=1,
            emotions=sad if late else happy,
            quality=0.99 if n == fps else 0.5,
            place_held=0.1 if n == fps else 0.0,
            age=30 + late,
        )
        visits.update(a_result(n, (face,), {1}, fps))
    visits.update(a_result(3 * fps + 1, (), set(), fps))
    (visit,) = visits.ended
    assert visit.emotions[[3, 4]] == pytest.approx([2 / 3, 1 / 3], abs=0.01)
    assert visit.best.face.quality == 0.5
    assert visit.last_looks.age == 31


def test_guesses_do_not_count() -> None:
    visits = Visits()
    guess = (("age", "profile"), ("gender", "profile"), ("emotion", "profile"))
    for n, (age, reasons) in enumerate([(20, guess), (40, ()), (70, guess)]):
        visits.update(a_result(n, (a_face(track_id=1, age=age, not_assessed=reasons),), {1}))
    visits.finish()
    assert visits.ended[0].last_looks.age == 40
    assert visits.ended[0].not_assessed == ()


def test_what_was_never_more_than_a_guess_says_so() -> None:
    visits = Visits()
    for n, why in enumerate(["tooSmall", "profile"]):
        visits.update(a_result(n, (a_face(track_id=1, not_assessed=(("age", why), ("gender", why))),), {1}))
    visits.finish()
    record = json.loads(encode(track_record(visits.ended[0], "cam", "s1")))
    VALIDATOR.validate(record)
    assert record["notAssessed"] == [{"value": value, "reason": "profile"} for value in ("age", "gender")]


def test_a_sighting_of_its_own_is_better_than_any_that_is_held() -> None:
    visits = Visits()
    for n, (quality, held) in enumerate([(0.9, 0.1), (0.4, 0.0), (0.8, 0.2)]):
        visits.update(a_result(n, (a_face(track_id=1, quality=quality, looks_held=held),), {1}))
    visits.finish()
    assert visits.ended[0].best.frame.seq == 1


@pytest.mark.parametrize("raw", [True, False])
def test_the_best_face_has_raw_values_where_frames_have_them(raw: bool) -> None:
    visits = Visits()
    visits.update(a_result(0, (a_face(track_id=1, raw=a_face()),), {1}))
    visits.finish()
    record = json.loads(encode(track_record(visits.ended[0], "cam", "s1", raw=raw)))
    assert ("raw" in record["best"]["face"]) == raw


def test_every_track_of_a_clip_has_its_record(recorded: Path) -> None:
    every = records(recorded / clip("videos/asl_cuts_640x480.mp4").stem)
    for record in every:
        VALIDATOR.validate(record)
    tracks = {r["trackId"]: r for r in every if r["type"] == "track"}
    sightings: dict[int, list[int]] = {}
    for record in every:
        for face in record.get("faces", []):
            sightings.setdefault(face["trackId"], []).append(record["seq"])
    assert sorted(tracks) == sorted(sightings)
    assert len(tracks) == sum(r["type"] == "track" for r in every)
    for number, track in tracks.items():
        seen = sightings[number]
        assert (track["first"]["seq"], track["last"]["seq"], track["frames"]) == (seen[0], seen[-1], len(seen))
        assert track["best"]["face"] in next(r["faces"] for r in every if r.get("seq") == track["best"]["seq"])
        assert sum(track["emotions"].values()) == pytest.approx(1)
    assert every[-1]["state"] == "ended"


async def test_a_track_is_told_on_the_websocket_when_its_stream_is_paused(face_clip: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(f"[streams.cam]\nurl = '{face_clip}'\nrealtime = true\nloop = true\n")
    async with running("run", config) as run, connect(run.websocket) as client, asyncio.timeout(60):
        await take(client, 20)
        pausing = await asyncio.create_subprocess_exec(
            "curl", "-sf", "-X", "POST", f"{run.page}api/streams/cam/pause", stdout=asyncio.subprocess.DEVNULL
        )
        assert await pausing.wait() == 0
        kinds: list[str] = []
        while not kinds or kinds[-1] != "status":
            kinds.append((await take(client, 1))[0]["type"])
    assert kinds[-2:] == ["track", "status"]
