"""Privacy as settings: what is switched off is not run, not told, and no picture of it can be had."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import av
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamer.app
from streamer import FaceAnalyzer
from streamer.analyst import Analyst
from streamer.app import App
from streamer.config import ModelSettings, PrivacySettings, ServerSettings, Settings, StreamSettings
from streamer.configfile import data_folder, read_pipeline, read_settings
from streamer.contract import FaceObject, encode
from streamer.errors import PicturesOffError
from streamer.face import EMOTIONS, JUDGED, SWITCHED_OFF, Detections, Face, FrameResult, Pixels
from streamer.fleet import StreamReport
from streamer.flow import Hub
from streamer.inference.models import Models, Workshop
from streamer.log.flat import FACE_COLUMNS, decode_frame, face_rows
from streamer.media.overlay import label
from streamer.media.pictures import decode_picture
from streamer.media.veil import Veil
from streamer.pipeline import analyse_picture
from streamer.records import face_object, frame_record, judged
from streamer.stills import PictureRecord, print_table
from streamer.watch import shown
from tests.conftest import Streamer
from tests.test_contract import a_face
from tests.test_frames import BOX, NOISE, part
from tests.test_frames import shown as result_of
from tests.test_pipeline import analysed, joined_by_a_small_one, pictures, recorded
from tests.test_run import VALIDATOR, frames, records
from tests.test_web import assert_refused, form

__all__ = ["pictures"]  # a fixture

EQUAL = dict.fromkeys(EMOTIONS, pytest.approx(1 / 7, abs=1e-4))
CONTRACT = {"faceConfidence", "boundingBox", "age", "gender", "emotions", "landmarks"}
HEADS = {"age": "dlib-age", "gender": "dlib-gender", "emotion": "emotion-net"}
KEYS = {"age": "age", "gender": "gender", "emotion": "emotions"}  # of `privacy`


def switches() -> st.SearchStrategy[PrivacySettings]:
    return st.builds(PrivacySettings, **{field: st.booleans() for field in PrivacySettings.__struct_fields__})


@given(switches())
def test_coordinates_only_switches_off_everything_else(privacy: PrivacySettings) -> None:
    told = msgspec.convert(msgspec.to_builtins(privacy), PrivacySettings)  # as out of a file
    assert told == privacy
    if privacy.coordinates_only:
        assert not any(getattr(privacy, name) for name in ("emotions", "age", "gender", "pictures"))


@given(switches(), st.sampled_from(["realtime", "accurate"]))
def test_models_of_what_is_off_are_not_needed(privacy: PrivacySettings, name: str) -> None:
    whole = read_pipeline(name)
    left = set(whole.models()) - set(privacy.applied(whole).models())
    assert left == {HEADS[of] for of, key in KEYS.items() if not getattr(privacy, key)}


def workshop_with(settings: Settings, **privacy: Any) -> Workshop:
    return Workshop(msgspec.structs.replace(settings, privacy=PrivacySettings(**privacy)))


@pytest.fixture(params=["emotions", "age", "gender", "coordinates_only"])
def switched(request: pytest.FixtureRequest, settings: Settings) -> Iterator[tuple[str, Workshop]]:
    """A workshop with one thing switched off, and its name."""
    workshop = workshop_with(settings, **{request.param: request.param == "coordinates_only"})
    yield request.param, workshop
    workshop.close()


def assert_switched(switch: str, face: dict[str, Any], like: dict[str, Any]) -> None:
    """Of `face` everything is as in `like`, which was described with nothing switched off, but what is off says so."""
    assert set(face) >= CONTRACT
    off = {of for of, key in KEYS.items() if switch in (key, "coordinates_only")}
    assert {(d["value"], d["reason"]) for d in face["notAssessed"]} >= {(of, "switchedOff") for of in off}
    constants = {"age": 0, "gender": {"value": "Female", "confidence": 50}, "emotions": EQUAL}
    for of, key in KEYS.items():
        assert face[key] == (constants[key] if of in off else like[key])
    assert sum(face["emotions"].values()) == pytest.approx(1, abs=1e-9)
    if switch == "coordinates_only":
        assert set(face) <= CONTRACT | {"notAssessed", "trackId", "heldMs"}
    for key in ("faceConfidence", "boundingBox", "landmarks"):
        assert face[key] == like[key]


async def test_stills_with_one_thing_off(switched: tuple[str, Workshop], portrait: Pixels, accurate: Models) -> None:
    switch, workshop = switched

    async def described(models: Models) -> dict[str, Any]:
        (face,) = await analyse_picture(portrait, models)
        shown = face_object(face, 512, 512)
        msgspec.json.decode(encode(shown), type=FaceObject)
        return dict(json.loads(encode(shown)))

    like = await described(accurate)
    assert "notAssessed" not in like
    assert_switched(switch, await described(workshop.models("accurate")), like)
    loaded = set(workshop.engine.precisions)
    assert set(HEADS.values()) - loaded == {HEADS[o] for o, k in KEYS.items() if switch in (k, "coordinates_only")}


async def test_streams_with_one_thing_off(
    switched: tuple[str, Workshop], pictures: list[Pixels], realtime: Models
) -> None:
    """Smoothing, holding and following neither let constants drift nor let them disturb the others."""
    switch, workshop = switched
    for options in ({}, {"interval": 0.2}):
        like = await analysed(recorded(pictures[:12]), realtime, **options)
        results = await analysed(recorded(pictures[:12]), workshop.models("realtime"), **options)
        for result, other in zip(results, like, strict=True):
            record = json.loads(encode(frame_record(result, "door", "s1", raw=True)))
            VALIDATOR.validate(record)
            (face,), (whole,) = record["faces"], json.loads(encode(frame_record(other, "door", "s1")))["faces"]
            assert_switched(switch, face, whole)
            assert "looks" not in face.get("heldMs", {}) or switch != "coordinates_only"


def test_weights_of_what_is_off_are_not_fetched(settings: Settings, tmp_path: Path, workshop: Workshop) -> None:
    """A cache that lacks them, and of which none can be fetched, will do."""
    other = tmp_path / "other.toml"
    other.write_text((data_folder("pipelines") / "realtime.toml").read_text().replace("emotion-net", "mini-xception"))
    workshop.fetch(str(other))
    cache, name = settings.models.folder(), "mini-xception"
    shutil.copytree(cache, tmp_path / "cache", ignore=lambda _, names: [n for n in names if n.startswith(name)])
    poor = ModelSettings(cache=str(tmp_path / "cache"))
    without = Workshop(Settings(models=poor, privacy=PrivacySettings(emotions=False)))
    without.models(str(other))
    without.close()
    assert not list((tmp_path / "cache").rglob(f"{name}*"))
    assert list(cache.rglob(f"{name}*"))


def constants(**changes: Any) -> Face:
    off = tuple((value, SWITCHED_OFF) for value in JUDGED)
    equal = np.full(7, 1 / 7, np.float32)
    return a_face(track_id=3, age=0.0, female=0.5, emotions=equal, not_assessed=off, **changes)


def test_nowhere_are_constants_shown_as_if_they_were_true(capsys: pytest.CaptureFixture[str]) -> None:
    assert label(constants()) == "#3"
    record = frame_record(result_of(0, NOISE, constants()), "door", "s1")
    assert not any(judged(record.faces[0], value) for value in JUDGED)
    assert "#3 [cyan]person[/]" in shown(encode(record))
    print_table(PictureRecord("a.png", record.image, record.faces))
    told = [label(constants()), shown(encode(record)), capsys.readouterr().out]
    for words in told:
        assert not {"woman", "man", "female", "male", "age", *EMOTIONS} & set(words.replace(",", " ").split())
    (row,) = face_rows(decode_frame(encode(record)))
    columns = dict(zip(FACE_COLUMNS, row, strict=True))
    for name in ("age", "gender", "genderConfidence", "emotion", *EMOTIONS):
        assert columns[name] is None
    assert columns["notAssessed"] == "age: switchedOff, gender: switchedOff, emotion: switchedOff"


def veiled(result: FrameResult, stream: StreamSettings | None = None, **privacy: Any) -> Pixels:
    return Veil(stream or StreamSettings("a"), PrivacySettings(**privacy)).over(result).frame.pixels()


def test_pictures_that_are_off_cannot_be_had() -> None:
    seen = result_of(0, NOISE, a_face())
    off: list[dict[str, Any]] = [{"pictures": False}, {"coordinates_only": True}, {"pictures": False, "blur": True}]
    for privacy in off:
        with pytest.raises(PicturesOffError):
            veiled(seen, **privacy)
    assert (veiled(seen) == NOISE).all()


def test_all_that_may_be_a_face_is_blurred() -> None:
    """Faces that are told, others that were found, and where nobody is looked for; all else is as it was."""
    x1, y1, x2, y2 = BOX
    box, score, points = np.array([[20, 300, 120, 420]], np.float32), np.array([0.6], np.float32), np.zeros((1, 5, 2))
    found = Detections(box, score, points.astype(np.float32))
    seen = msgspec.structs.replace(result_of(0, NOISE, a_face()), found=found)
    pixels = veiled(seen, StreamSettings("a", masks=(((0.8, 0.8), (1, 0.8), (1, 1), (0.8, 1)),)), blur=True)
    for place in (np.s_[y1:y2, x1:x2], np.s_[300:420, 20:120], np.s_[390:480, 520:640]):
        assert pixels[place].std() < NOISE[place].std() / 3
    assert (pixels[200:300, 450:640] == NOISE[200:300, 450:640]).all()
    assert (veiled(seen, blur=True)[400:, 500:] == NOISE[400:, 500:]).all()


def hidden(picture: Pixels, face: Face) -> Pixels:
    """A picture in which something grey is before a face."""
    result = picture.copy()
    x1, y1, x2, y2 = (max(int(v), 0) for v in face.box + np.array([-15, -15, 15, 15]))
    result[y1:y2, x1:x2] = 90
    return result


async def test_who_is_not_told_is_blurred(realtime: Models, pictures: list[Pixels]) -> None:
    """Nobody counts within a mask, and the detector may miss somebody for a moment."""

    def detail(part: Pixels) -> float:
        return float(np.abs(np.diff(part.astype(int), axis=0)).mean())

    def is_blurred(result: FrameResult, veil: Veil, at: Face) -> bool:
        x1, y1, x2, y2 = (int(v) for v in at.box)
        sharp, shown = result.frame.pixels()[y1:y2, x1:x2], veil.over(result).frame.pixels()[y1:y2, x1:x2]
        return detail(shown) < detail(sharp) / 2

    few, privacy = pictures[:12], PrivacySettings(blur=True)
    whole = [result.faces[0] for result in await analysed(recorded(few), realtime)]
    gone = [*few[:6], *(hidden(picture, face) for picture, face in zip(few[6:9], whole[6:9], strict=True)), *few[9:]]
    lost = await analysed(recorded(gone), realtime)
    assert [len(result.faces) for result in lost] == [1] * 6 + [0] * 3 + [1] * 3
    veil = Veil(StreamSettings("a"), privacy)
    for n, result in enumerate(lost):  # as if it were there, but missed
        frame = msgspec.structs.replace(result.frame, pixels=partial(few.__getitem__, n))
        assert is_blurred(msgspec.structs.replace(result, frame=frame), veil, whole[n]), n
    masked = await analysed(recorded(few), realtime, masks=(((0, 0), (1, 0), (1, 1), (0, 1)),))
    assert not any(result.faces for result in masked)
    veil = Veil(StreamSettings("a"), privacy)
    assert all(is_blurred(result, veil, face) for result, face in zip(masked, whole, strict=True))


@pytest.mark.parametrize("blur", [False, True])
async def test_where_faces_are_blurred_no_picture_is_read_at_half_the_size(
    settings: Settings, workshop: Workshop, realtime: Models, portrait: Pixels, tmp_path: Path, blur: bool
) -> None:
    """Who is too small for that, and has just come, would be shown; and who changes too little to be looked for."""
    report = StreamReport("a")
    report.settings = StreamSettings(str(tmp_path / "clip.mkv"), motion=0.9 if blur else 0.0)
    with av.open(report.settings.url, "w") as file:
        stream = file.add_stream("ffv1", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for picture in joined_by_a_small_one(portrait):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        file.mux(stream.encode())
    private = msgspec.structs.replace(settings, privacy=PrivacySettings(blur=blur))
    items = Analyst(private, workshop, realtime).analyse(report)
    faces = [len(item.faces) async for item in items if isinstance(item, FrameResult)]
    with FaceAnalyzer(settings=private) as analyzer:
        through_api = [len(result.faces) async for result in analyzer.stream(report.settings.url)]
    assert through_api == faces
    assert (faces == [1] * 8 + [2] * 12) is blur
    assert faces[-7:] == [2] * 7


class Running(msgspec.Struct):
    """A run in this process: its page's address and its hub."""

    page: str
    hub: Hub


@contextlib.asynccontextmanager
async def running(
    settings: Settings, clip: Path, monkeypatch: pytest.MonkeyPatch, **privacy: Any
) -> AsyncIterator[Running]:
    """The stream `door` of a clip, over and over, with these settings of privacy."""
    hubs: list[Hub] = []

    def noted(*arguments: Any) -> Hub:
        hubs.append(Hub(*arguments))
        return hubs[-1]

    monkeypatch.setattr(streamer.app, "Hub", noted)
    here = msgspec.structs.replace(
        settings,
        streams={"door": StreamSettings(str(clip), realtime=True, loop=True)},
        server=ServerSettings(http_port=0, ws_port=0),
        privacy=PrivacySettings(**privacy),
    )
    ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    run = asyncio.create_task(App(here).run(on_ready=ready.set_result))
    try:
        async with asyncio.timeout(60):
            page = (await ready).page
            with hubs[0].subscribe() as slots:
                while "door" not in hubs[0].frames or not hubs[0].frames["door"].faces:
                    await slots.take()
        yield Running(page, hubs[0])
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def test_without_pictures_every_address_refuses_them_and_none_is_kept(
    settings: Settings, face_clip: Path, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        running(settings, face_clip, monkeypatch, pictures=False) as run,
        aiohttp.ClientSession(run.page) as client,
    ):
        for address in (
            "streams/door/frame.jpg",
            "streams/door/frame.jpg?blur=1",
            "streams/door/frame.mjpeg",
            "preview",
        ):
            async with client.get(f"/api/{address}") as response:
                assert response.status == 403
                assert_refused(await response.json(), "picturesOff")
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.ws_connect("/api/preview")
        async with client.get("/api/info") as response:
            assert (await response.json())["privacy"]["pictures"] is False
        async with client.post("/analyze", data=form("filename", jpeg)) as response:
            assert len((await response.json())["faces"]) == 1  # it takes pictures, and keeps none
        newest = run.hub.frames["door"].result
        assert newest is not None
        with pytest.raises(PicturesOffError):
            newest.frame.pixels()


async def test_blur_cannot_be_undone(
    settings: Settings, face_clip: Path, realtime: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The detector finds nobody in whatever is shown."""

    async def faces(data: bytes) -> int:
        return len(await analyse_picture(decode_picture(data), realtime, threshold=0.5))

    for blur in (False, True):
        async with (
            running(settings, face_clip, monkeypatch, blur=blur) as run,
            aiohttp.ClientSession(run.page) as client,
        ):
            for query in ("", "?blur=0"):
                async with client.get(f"/api/streams/door/frame.jpg{query}") as response:
                    assert await faces(await response.read()) == (0 if blur else 1)
            async with client.get("/api/streams/door/frame.mjpeg?blur=0") as response:
                assert await faces((await part(response))[1]) == (0 if blur else 1)
            async with client.ws_connect("/api/preview") as socket:
                await socket.send_json({"want": {"door": 1280}})
                data = await socket.receive_bytes(timeout=20)
                assert await faces(data[4 + int.from_bytes(data[:4], "big") :]) == (0 if blur else 1)


def test_the_private_deployment_says_and_does_so(streamer: Streamer, tmp_path: Path) -> None:
    config = data_folder("configs") / "privacy.toml"
    checked = streamer("check", config)
    assert checked.returncode == 0, checked.stderr
    assert "privacy: emotions, age, gender, pictures switched off; coordinates only\n" in checked.stdout
    assert "log: none\n" in checked.stdout
    shown = read_settings(config, {})
    assert set(msgspec.toml.decode(config.read_bytes())["privacy"]) == set(PrivacySettings.__struct_fields__)
    assert shown.privacy.coordinates_only
    log = tmp_path / "out.jsonl"
    done = streamer("run", config, "--no-server", "--duration", "4", "--raw", "--log", log)
    assert done.returncode == 0, done.stderr
    logged = records(log)
    for record in logged:
        VALIDATOR.validate(record)
    seen = [face for record in frames(logged) for face in record["faces"]]
    seen += [record["best"]["face"] for record in logged if record["type"] == "track"]
    assert len(seen) > 2
    for face in seen:
        assert set(face) - {"heldMs"} == CONTRACT | {"notAssessed", "trackId"}
        assert (face["age"], face["gender"]["confidence"], face["emotions"]) == (0, 50, EQUAL)


def test_check_says_what_is_switched_off(streamer: Streamer, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    for text, words in (
        ("", "nothing is switched off"),
        ("emotions = false", "emotions switched off"),
        ("gender = false\nblur = true", "gender switched off; faces in pictures unrecognisable"),
        ("pictures = false\nblur = true", "pictures switched off"),
    ):
        config.write_text(f"[streams.hall]\nurl = 'demo'\n[privacy]\n{text}\n")
        assert f"privacy: {words}\n" in streamer("check", config).stdout
