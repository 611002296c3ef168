"""Describing faces: exact landmarks, pose, age, gender, emotions and quality of those that a detector found."""

import asyncio

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.analysis import decode, geometry, landmarks, quality
from streamer.analysis.tracking import Tracked
from streamer.config import Pipeline
from streamer.face import Detections, Face, Float64s, Floats, HeadPose, Ints, Pixels
from streamer.inference.cards import Input, Task
from streamer.inference.convert import CHIP_SIZE
from streamer.inference.crops import sharpen, warp
from streamer.inference.runtime import Engine, Model

_GUESSED = ("age", "gender", "emotion")


class _Shape(msgspec.Struct, frozen=True, eq=False):
    """What the mesh says of n faces. `trusted` (n,): the mesh saw a face; else the points are the detector's."""

    points: Floats
    anchors: Floats
    pose: Floats
    score: Floats
    trusted: NDArray[np.bool_]

    def __getitem__(self, of: NDArray[np.intp]) -> "_Shape":
        return _Shape(self.points[of], self.anchors[of], self.pose[of], self.score[of], self.trusted[of])


class _Looks(msgspec.Struct, frozen=True, eq=False):
    """What a face looks like: the fields of `Face` by the same names."""

    age: float
    female: float
    emotions: Floats
    quality: float
    not_assessed: tuple[tuple[str, str], ...]


_NOT_LOOKED = _Looks(0.0, 0.5, np.full(7, 1 / 7, np.float32), 0.0, ())


class _Crops(msgspec.Struct, frozen=True, eq=False):
    """Inputs of the attribute models: views of each face in a row, (n * views, size, size, 3); and the faces' worth."""

    judged: quality.Quality
    age: Pixels
    gender: Pixels
    emotion: Pixels


def carried(tracked: Tracked, place_held: float, looks_held: Float64s) -> tuple[Face, ...]:
    """The faces of a picture in which none were looked for, largest first: what they lack the smoother fills in."""
    found = tracked.detections
    order = np.argsort(-geometry.area(found.boxes), kind="stable")
    return tuple(
        Face(
            box=found.boxes[i],
            score=float(found.scores[i]),
            landmarks=found.landmarks[i],
            track_id=int(tracked.ids[i]),
            place_held=place_held,
            looks_held=float(looks_held[i]),
            **msgspec.structs.asdict(_NOT_LOOKED),
        )
        for i in order
    )


class Describer:
    """Tells of each face everything but its box."""

    def __init__(self, pipeline: Pipeline, models: dict[Task, tuple[Input, Model]], engine: Engine) -> None:
        self._min_score = pipeline.landmarks.min_score
        self._settings = pipeline.attributes
        self._mesh_input, self._mesh = models["landmarks"]
        self._age = models["age"][1]
        self._gender = models["gender"][1]
        self._emotion_input, self._emotion = models["emotion"]
        self._engine = engine

    async def __call__(
        self, picture: Pixels, found: Detections, ids: Ints | None = None, held: Float64s | None = None
    ) -> tuple[Face, ...]:
        """The faces, largest first; `ids` (n,) are their tracks' numbers. Where `held` (n,) is not 0 a face's looks are
        those of so many seconds ago, which the caller knows, and are not judged.
        """
        n = len(found)
        if not n:
            return ()
        held = np.zeros(n) if held is None else held
        shape = await self._shape(picture, found)
        due = np.flatnonzero(held == 0)
        looks = dict(zip(due.tolist(), await self._looks(picture, found.boxes[due], shape[due]), strict=True))
        order = np.argsort(-geometry.area(found.boxes), kind="stable")
        return tuple(
            Face(
                box=found.boxes[i],
                score=float(found.scores[i]),
                landmarks=shape.points[i],
                track_id=int(ids[i]) if ids is not None else None,
                head_pose=HeadPose(*map(float, shape.pose[i])) if shape.trusted[i] else None,
                looks_held=float(held[i]),
                **msgspec.structs.asdict(looks.get(i, _NOT_LOOKED)),
            )
            for i in order.tolist()
        )

    async def _looks(self, picture: Pixels, boxes: Floats, shape: _Shape) -> "list[_Looks]":
        n = len(boxes)
        if not n:
            return []
        crops = await self._engine.offload(self._crops, picture, boxes, shape)
        outputs = await asyncio.gather(self._age(crops.age), self._gender(crops.gender), self._emotion(crops.emotion))
        # Each model's views of a face are averaged before anything is read from them.
        ages, genders, emotions = (output[0].reshape(n, -1, output[0].shape[1]).mean(1) for output in outputs)
        return [
            _Looks(
                float(age),
                float(gender[0]),
                emotion,
                float(overall),
                tuple((of, why) for why in reasons[:1] for of in _GUESSED),
            )
            for age, gender, emotion, overall, reasons in zip(
                decode.calibrated_age(ages), genders, emotions, crops.judged.overall, crops.judged.reasons, strict=True
            )
        ]

    async def _shape(self, picture: Pixels, found: Detections) -> _Shape:
        size = self._mesh_input.size
        maps = geometry.region_maps(found.boxes, found.landmarks, self._mesh_input.region, size)
        raw, score = await self._mesh(await self._engine.offload(warp, picture, maps, size))
        back = geometry.invert(maps)
        mesh = np.empty_like(raw)
        mesh[:, :, :2] = geometry.apply(back, raw[:, :, :2] + np.float32(0.5))  # the mesh counts from pixel centres
        mesh[:, :, 2] = raw[:, :, 2] * np.linalg.norm(back[:, :, 0], axis=1)[:, None]
        trusted = score >= self._min_score
        keep = trusted[:, None, None]
        return _Shape(
            np.where(keep, landmarks.five_points(mesh), found.landmarks).astype(np.float32),
            landmarks.anchor_points(mesh),
            np.where(trusted[:, None], landmarks.head_pose(mesh), 0).astype(np.float32),
            score,
            trusted,
        )

    def _crops(self, picture: Pixels, boxes: Floats, shape: _Shape) -> _Crops:
        s = self._settings
        plain = self._chips(picture, shape, 1.0)
        by_zoom = {1.0: plain} | {z: self._chips(picture, shape, z) for z in {*s.age_zooms, *s.gender_zooms} - {1.0}}
        sharp = {z: np.stack([sharpen(chip) for chip in by_zoom[z]]) for z in s.age_zooms}
        return _Crops(
            quality.face_quality(plain, shape.points, shape.pose, shape.score, shape.trusted),
            self._views([sharp[z] for z in s.age_zooms]),
            self._views([by_zoom[z] for z in s.gender_zooms]),
            self._views([self._emotion_crops(picture, boxes, shape)]),
        )

    def _chips(self, picture: Pixels, shape: _Shape, zoom: float) -> Pixels:
        """Aligned chips; where the mesh saw no face, by the detector's five points."""
        maps = geometry.chip_maps(shape.anchors, geometry.ANCHOR_TEMPLATE, CHIP_SIZE, zoom)
        if not shape.trusted.all():
            coarse = geometry.chip_maps(shape.points, geometry.CHIP_TEMPLATE, CHIP_SIZE, zoom)
            maps = np.where(shape.trusted[:, None, None], maps, coarse)
        return warp(picture, maps, CHIP_SIZE)

    def _emotion_crops(self, picture: Pixels, boxes: Floats, shape: _Shape) -> Pixels:
        wanted = self._emotion_input
        if wanted.crop == "chip":
            maps = geometry.chip_maps(shape.points, geometry.CHIP_TEMPLATE, CHIP_SIZE)
            return warp(picture, maps, CHIP_SIZE)
        return warp(picture, geometry.region_maps(boxes, shape.points, wanted.region, wanted.size), wanted.size)

    def _views(self, crops: list[Pixels]) -> Pixels:
        """Crops (n, ...) of each zoom, and their mirror images if wanted, with those of one face side by side."""
        views = [*crops, *(crop[:, :, ::-1] for crop in crops)] if self._settings.mirror else crops
        return np.ascontiguousarray(np.stack(views, 1).reshape(-1, *views[0].shape[1:]))
