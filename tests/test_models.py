"""The real models on a real face."""

import asyncio
import locale
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from streamer.analysis import decode, geometry
from streamer.analysis.geometry import Letterbox
from streamer.analysis.pyramid import Pyramid
from streamer.configfile import data_folder
from streamer.errors import DeviceError
from streamer.face import EMOTIONS, Detections, Face, Pixels
from streamer.inference import detectors
from streamer.inference.crops import fill_letterbox, warp
from streamer.inference.describer import Asked
from streamer.inference.detectors import Known, YuNet
from streamer.inference.models import Models, Workshop
from streamer.inference.runtime import Engine
from streamer.pipeline import analyse_picture

# Where they are on the portrait, found by eye: eyes, nose, corners of the lips.
TRUTH = np.array([[204, 103], [246, 104], [224, 125], [201, 140], [245, 142]], np.float32)


async def test_the_portrait_shows_one_smiling_woman(accurate: Models, portrait: Pixels) -> None:
    (face,) = await analyse_picture(portrait, accurate)
    assert face.score > 0.85
    assert face.female > 0.6
    assert 25 <= face.age <= 55
    assert EMOTIONS[int(np.argmax(face.emotions))] == "happy"
    assert face.emotions.sum() == pytest.approx(1, abs=1e-3)
    assert face.quality > 0.5
    left, top, right, bottom = face.box
    assert (left < TRUTH[:, 0]).all()
    assert (TRUTH[:, 0] < right).all()
    assert (top < TRUTH[:, 1]).all()
    assert (TRUTH[:, 1] < bottom).all()
    eye_distance = np.linalg.norm(TRUTH[1] - TRUTH[0])
    assert np.linalg.norm(face.landmarks - TRUTH, axis=1).max() < 0.12 * eye_distance


@pytest.mark.parametrize("angle", [-30, 20])
async def test_a_tilted_head_is_found_with_its_points(accurate: Models, portrait: Pixels, angle: float) -> None:
    turn = cv2.getRotationMatrix2D((224, 120), angle, 1.0)
    tilted = cv2.warpAffine(portrait, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    (face,) = await analyse_picture(tilted.astype(np.uint8), accurate)
    expected = TRUTH @ turn[:, :2].T + turn[:, 2]
    assert np.linalg.norm(face.landmarks - expected, axis=1).max() < 0.15 * 42


async def test_many_faces_come_largest_first_and_are_alike(accurate: Models, portrait: Pixels) -> None:
    small = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA).astype(np.uint8)
    scene = np.full((512, 1280, 3), 128, np.uint8)
    scene[:, :512] = portrait
    scene[:256, 512:768], scene[256:, 512:768], scene[:256, 768:1024] = small, small, small
    faces = await analyse_picture(scene, accurate)
    assert len(faces) == 4
    areas = [float(geometry.area(face.box[None])[0]) for face in faces]
    assert areas == sorted(areas, reverse=True)
    assert all(face.female > 0.5 for face in faces)
    alone: tuple[Face, ...] = await analyse_picture(portrait, accurate)
    assert faces[0].age == pytest.approx(alone[0].age, abs=3)


@pytest.mark.parametrize("shape", [(1, 1), (7, 900), (900, 7), (64, 64), (2000, 300)])
async def test_pictures_without_faces_of_any_shape(accurate: Models, shape: tuple[int, int]) -> None:
    assert await analyse_picture(np.full((*shape, 3), 90, np.uint8), accurate) == ()


def on_grey(face: Pixels, side: int) -> Pixels:
    """The portrait, so small, in the corner of a large grey picture."""
    scene = np.full((720, 1280, 3), 128, np.uint8)
    scene[:side, :side] = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    return scene


def test_large_faces_are_read_at_half_the_size_and_no_others(
    realtime: Models, portrait: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[int] = []

    def noted(picture: Pyramid, box: Letterbox, mirrored: bool = False) -> Pixels:
        widths.append(box.inner[0])
        return fill_letterbox(picture, box, mirrored)

    def read(pixels: Pixels, known: Known, *, glance: bool = False) -> tuple[Detections, list[int], Known]:
        widths.clear()
        picture = Pyramid.of(pixels)
        found = (realtime.detector.glance if glance else realtime.detector.search)(picture, 0.6, known)
        found = found[found.scores >= 0.6]
        return found, list(widths), known if glance else realtime.detector.remember(picture, found, known)

    monkeypatch.setattr(detectors, "fill_letterbox", noted)
    full, half = 853, 427
    large, small = on_grey(portrait, 512), on_grey(portrait, 160)
    found, how, known = read(large, Known())
    assert how == [half, full]
    assert len(found) == 1
    again, how, _ = read(large, known, glance=True)
    assert how == [half]
    np.testing.assert_array_equal(again.boxes, found.boxes, "a box does not tremble between the two")
    assert read(large, Known(), glance=True)[1] == [half]
    tiny, how, seen = read(small, known)
    assert len(tiny) == 1
    assert not seen.high
    assert read(small, seen, glance=True)[1] == [full]
    moved, how, _ = read(np.ascontiguousarray(large[:, ::-1]), known, glance=True)
    assert how == [half, full], "who is not where he was is looked for in full"
    assert len(moved) == 1
    # Boxes are not those of another size as soon as a small face is not seen.
    _, how, known = read(large, seen)
    assert (how, known.high) == ([full], False)
    assert [len(faces) for faces in (known.seen, known.missed)] == [1, 1]
    _, how, known = read(large, known)
    assert (how, known.high) == ([full], True)


def test_who_is_sure_in_full_alone_is_not_lost_to_a_faint_box_at_half_the_size(
    realtime: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a face that is half covered, beside one that is not."""
    boxes = np.array([[100, 100, 300, 350], [700, 100, 900, 350]], np.float32)
    points = np.zeros((2, 5, 2), np.float32)

    faint = 0.36

    def read(_scores: object, _offsets: object, box: Letterbox, _least: float, _iou: float) -> Detections:
        scores = [0.95, 0.84] if box.inner[0] == 853 else [0.95, faint]
        return Detections(boxes + (box.inner[0] == 853), np.array(scores, np.float32), points)

    monkeypatch.setattr(decode, "yunet", read)
    picture = Pyramid.of(np.zeros((720, 1280, 3), np.uint8))
    found = realtime.detector.search(picture, 0.6, Known())
    np.testing.assert_array_equal(found.boxes, [boxes[0], boxes[1] + 1])
    np.testing.assert_allclose(found.scores, [0.95, 0.84])
    known = realtime.detector.remember(picture, found, Known())
    np.testing.assert_array_equal(realtime.detector.glance(picture, 0.6, known).boxes, found.boxes)
    faint = 0.65  # enough to be followed, and not to be shown for the first time
    found = realtime.detector.search(picture, 0.6, Known())
    np.testing.assert_array_equal(found.boxes, boxes)
    np.testing.assert_allclose(found.scores, [0.95, 0.84])


def test_two_faces_that_overlap_are_not_seen_in_one(realtime: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of people who pass each other."""
    boxes = np.array([[100, 100, 300, 350], [200, 100, 400, 350]], np.float32)

    def read(_scores: object, _offsets: object, box: Letterbox, _least: float, _iou: float) -> Detections:
        count = 2 if box.inner[0] == 853 else 1
        return Detections(boxes[:count], np.full(count, 0.9, np.float32), np.zeros((count, 5, 2), np.float32))

    monkeypatch.setattr(decode, "yunet", read)
    picture = Pyramid.of(np.zeros((720, 1280, 3), np.uint8))
    found = realtime.detector.search(picture, 0.6, Known())
    assert len(found) == 2
    known = realtime.detector.remember(picture, found, Known())
    assert len(realtime.detector.glance(picture, 0.6, known)) == 2


LOOKED_AT = (None, np.zeros(1), None, np.array([0.3]))


def frozen(faces: tuple[Face, ...]) -> str:
    return repr([msgspec.structs.asdict(face) for face in faces])


def test_faces_of_several_pictures_are_described_together_as_alone(realtime: Models, portrait: Pixels) -> None:
    scenes = [Pyramid.of(pixels) for pixels in (portrait, on_grey(portrait, 300), np.zeros_like(portrait), portrait)]
    asked = [Asked(scene, realtime.detector(scene), held=held) for scene, held in zip(scenes, LOOKED_AT, strict=True)]
    assert [len(each) for each in asked] == [1, 1, 0, 1]
    together = realtime.describe(asked)
    for each, faces in zip(asked, together, strict=True):
        (alone,) = realtime.describe([each])
        assert frozen(faces) == frozen(alone)


async def test_many_callers_at_once_get_their_own_answers(accurate: Models, portrait: Pixels) -> None:
    empty = np.zeros((512, 512, 3), np.uint8)
    pictures = [portrait if n % 2 else empty for n in range(12)]
    answers = await asyncio.gather(*(analyse_picture(picture, accurate) for picture in pictures))
    assert [len(faces) for faces in answers] == [n % 2 for n in range(12)]


async def test_a_cancelled_caller_gives_its_request_back(accurate: Models, portrait: Pixels) -> None:
    for _ in range(20):
        task = asyncio.create_task(analyse_picture(portrait, accurate))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert len(await analyse_picture(portrait, accurate)) == 1


def test_the_letterbox_keeps_proportions_and_maps_back(portrait: Pixels) -> None:
    wide = cv2.copyMakeBorder(portrait, 0, 0, 0, 400, cv2.BORDER_CONSTANT).astype(np.uint8)
    box = geometry.letterbox(wide.shape[1], wide.shape[0], 0.7)
    filled = fill_letterbox(Pyramid.of(wide), box)
    assert filled.shape == (1, *box.shape, 3)
    inner_width, inner_height = box.inner
    assert inner_width / inner_height == pytest.approx(wide.shape[1] / wide.shape[0], rel=0.01)
    assert not filled[0, inner_height:].any()


def test_chips_put_the_eyes_where_the_template_has_them(portrait: Pixels) -> None:
    maps = geometry.chip_maps(TRUTH[None], geometry.CHIP_TEMPLATE, 64)
    (chip,) = warp([Pyramid.of(portrait)], maps, 64)
    assert chip.shape == (64, 64, 3)
    placed = geometry.apply(maps, TRUTH[None])[0] / 64
    np.testing.assert_allclose(placed, geometry.CHIP_TEMPLATE, atol=0.06)


def test_shrinking_crops_averages_instead_of_skipping_pixels() -> None:
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    (crop,) = warp([Pyramid.of(stripes)], np.array([[[0.125, 0, 0], [0, 0.125, 0]]], np.float32), 64)
    assert abs(float(crop[8:-8, 8:-8].mean()) - 127.5) < 8
    assert float(crop[8:-8, 8:-8].std()) < 10


def test_yunet_is_decoded_as_its_authors_say() -> None:
    box = geometry.letterbox(128, 64, 0.5)
    cells = (8 * 4) + (4 * 2) + (2 * 1)
    scores, offsets = np.zeros(cells, np.float32), np.zeros((cells, 14), np.float32)
    scores[8 * 1 + 3] = 0.9  # stride 8, row 1, column 3
    offsets[8 * 1 + 3, :4] = 0.5, 0.25, np.log(2), np.log(3)
    offsets[8 * 1 + 3, 4:6] = 1, -1
    found = decode.yunet(scores, offsets, box, 0.5, 0.4)
    # centre (3.5, 1.25) * 8 = (28, 10), size (16, 24), scaled by 2 into the picture
    np.testing.assert_allclose(found.boxes, [[40, -4, 72, 44]], atol=1e-3)
    np.testing.assert_allclose(found.landmarks[0, 0], [64, 0], atol=1e-3)


def test_centerface_is_decoded_as_its_authors_say() -> None:
    box = geometry.letterbox(128, 64, 0.5)
    heat, points = np.zeros((8, 16), np.float32), np.zeros((10, 8, 16), np.float32)
    size, offset = np.zeros((2, 8, 16), np.float32), np.zeros((2, 8, 16), np.float32)
    heat[3, 5], size[:, 3, 5], offset[:, 3, 5] = 0.8, np.log([6, 4]), (0.25, 0.5)  # height before width
    points[:2, 3, 5] = 0.5, 0.25  # y before x
    found = decode.centerface(heat, size, offset, points, box, 0.5, 0.4)
    # centre x (5 + .5 + .5) * 4 = 24, y (3 + .25 + .5) * 4 = 15, size 16 x 24, all doubled in the picture
    np.testing.assert_allclose(found.boxes, [[32, 6, 64, 54]], atol=1e-3)
    np.testing.assert_allclose(found.landmarks[0, 0], [40, 30], atol=1e-3)


def test_ages_are_means_pushed_out_where_the_network_is_unsure() -> None:
    shares = np.zeros((4, 81), np.float32)
    shares[0, 0] = shares[1, 30] = shares[2, 70] = 1
    shares[3, 50] = shares[3, 70] = 0.5
    young, thirty, old, unsure = decode.calibrated_age(shares)
    np.testing.assert_allclose([young, thirty, old], [0.25, 30, 70], atol=1e-2)
    assert 63 < unsure < 65


def test_a_device_that_is_not_there_is_replaced_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine("GPU.7", 1, tmp_path)
    assert engine.device == "CPU"
    assert "device GPU.7 is not there" in caplog.text
    engine.close()


def test_a_graph_that_cannot_be_read_is_a_device_error(tmp_path: Path) -> None:
    engine = Engine("CPU", 1, tmp_path)
    (tmp_path / "x.xml").write_text("<net/>")
    with pytest.raises(DeviceError, match="CPU cannot run"):
        engine.load(tmp_path / "x.xml")
    engine.close()


def test_models_are_loaded_once(workshop: Workshop) -> None:
    assert workshop.models("realtime") is workshop.models("realtime")
    assert workshop.models("realtime").engine is workshop.models("accurate").engine


async def test_a_pipeline_of_ones_own_may_use_other_models(
    workshop: Workshop, portrait: Pixels, tmp_path: Path
) -> None:
    """With mini_XCEPTION, which is rebuilt from its Keras file."""
    text = (data_folder("pipelines") / "realtime.toml").read_text()
    own = tmp_path / "own.toml"
    own.write_text(text.replace('emotion = "emotion-net"', 'emotion = "mini-xception"'))
    (face,) = await analyse_picture(portrait, await asyncio.to_thread(workshop.models, str(own)))
    assert face.emotions.sum() == pytest.approx(1, abs=1e-3)
    assert EMOTIONS[int(np.argmax(face.emotions))] == "happy"


async def test_a_face_that_fills_the_picture_is_found(accurate: Models, portrait: Pixels) -> None:
    tight = cv2.resize(portrait[40:200, 150:300], None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    (face,) = await analyse_picture(tight.astype(np.uint8), accurate)
    assert face.score > 0.5


async def test_crowds_are_described_in_batches(accurate: Models, portrait: Pixels) -> None:
    head = cv2.resize(portrait[30:190, 140:300], (96, 96), interpolation=cv2.INTER_AREA)
    crowd = np.tile(head, (6, 7, 1)).astype(np.uint8)
    faces = await analyse_picture(crowd, accurate)
    assert len([face for face in faces if face.score > 0.5]) == 42
    assert len({round(face.age / 8) for face in faces if face.score > 0.5}) <= 3


def test_models_that_are_loaded_side_by_side_leave_the_locale_as_it_is(realtime: Models) -> None:
    """OpenVINO sets that of the whole process while it compiles. Names of files would no longer be UTF-8."""
    before, detector = locale.setlocale(locale.LC_CTYPE), realtime.detector
    assert isinstance(detector, YuNet)
    sizes = [(320 + 64 * n, 320) for n in range(4)]
    with ThreadPoolExecutor(len(sizes)) as threads:
        list(threads.map(lambda size: detector.expect(*size), sizes))
    assert locale.setlocale(locale.LC_CTYPE) == before
