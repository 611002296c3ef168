"""Describing faces: exact landmarks, pose, age, gender, emotions and quality of those that a detector found."""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.analysis import decode, geometry, landmarks, quality
from streamer.analysis.pyramid import Pyramid
from streamer.analysis.tracking import Tracked
from streamer.config import Pipeline
from streamer.face import JUDGED, SWITCHED_OFF, Detections, Face, Float64s, Floats, HeadPose, Ints, Judged, Pixels
from streamer.inference.cards import Input, Task
from streamer.inference.convert import CHIP_SIZE
from streamer.inference.crops import sharpen, warp
from streamer.inference.runtime import Model


class Asked(msgspec.Struct, frozen=True, eq=False):
    """Faces of one picture that are to be described; `ids` (n,) are their tracks' numbers. Where `held` (n,) is not 0 a
    face's looks are those of so many seconds ago, which the caller knows, and are not judged.
    """

    picture: Pyramid
    found: Detections
    ids: Ints | None = None
    held: Float64s | None = None

    def __len__(self) -> int:
        return len(self.found)


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


_NOBODY = _Looks(0.0, 0.5, np.full(7, 1 / 7, np.float32), 0.0, ())  # what is told where nothing is known


class _Crops(msgspec.Struct, frozen=True, eq=False):
    """Inputs of the attribute models that there are: views of each face in a row, (n * views, size, size, 3); and the
    faces' worth.
    """

    judged: quality.Quality
    views: dict[Judged, Pixels]


class Describer:
    """Tells of each face everything but its box; with `coordinates_only` just its landmarks."""

    def __init__(
        self,
        pipeline: Pipeline,
        models: dict[Task, tuple[Input, Model]],
        *,
        coordinates_only: bool = False,
    ) -> None:
        """`models` may lack those of age, gender and emotion: these values are then constants that tell nothing."""
        self._min_score = pipeline.landmarks.min_score
        self._settings = pipeline.attributes
        self._mesh_input, self._mesh = models["landmarks"]
        self._heads = {of: models[of] for of in JUDGED if of in models}
        self._off = tuple((value, SWITCHED_OFF) for value in JUDGED if value not in self._heads)
        self._nobody = msgspec.structs.replace(_NOBODY, not_assessed=self._off)
        self._coordinates_only = coordinates_only

    def carried(self, tracked: Tracked, place_held: float, looks_held: Float64s) -> tuple[Face, ...]:
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
                looks_held=self._held(looks_held[i]),
                coordinates_only=self._coordinates_only,
                **msgspec.structs.asdict(self._nobody),
            )
            for i in order
        )

    def _held(self, looks: float) -> float:
        """Where nobody looks, no look is held."""
        return 0.0 if self._coordinates_only else float(looks)

    def __call__(self, asked: Sequence[Asked]) -> list[tuple[Face, ...]]:
        """The faces of each picture, largest first. Several pictures together cost less than one by one."""
        if not any(map(len, asked)):
            return [()] * len(asked)
        found = Detections.joined([each.found for each in asked])
        pictures = [each.picture for each in asked for _ in range(len(each))]
        ids = [of for each in asked for of in ([None] * len(each) if each.ids is None else each.ids.tolist())]
        held = np.concatenate([np.zeros(len(each)) if each.held is None else each.held for each in asked])
        size = self._mesh_input.size
        maps = geometry.region_maps(found.boxes, found.landmarks, self._mesh_input.region, size)
        shape = self._shape(found, maps, self._mesh(warp(pictures, maps, size)))
        due = np.flatnonzero(held == 0)
        if self._coordinates_only:
            due = due[:0]
        judged = self._looks([pictures[i] for i in due], found.boxes[due], shape[due])
        looks = dict(zip(due.tolist(), judged, strict=True))
        faces = [
            Face(
                box=found.boxes[i],
                score=float(found.scores[i]),
                landmarks=shape.points[i],
                track_id=ids[i],
                head_pose=self._pose(shape, i),
                looks_held=self._held(held[i]),
                coordinates_only=self._coordinates_only,
                **msgspec.structs.asdict(looks.get(i, self._nobody)),
            )
            for i in range(len(found))
        ]
        ends = np.cumsum([len(each) for each in asked])
        areas = np.split(geometry.area(found.boxes), ends[:-1])
        return [
            tuple(faces[end - len(area) + i] for i in np.argsort(-area, kind="stable"))
            for end, area in zip(ends, areas, strict=True)
        ]

    def _looks(self, pictures: list[Pyramid], boxes: Floats, shape: _Shape) -> "list[_Looks]":
        n = len(boxes)
        if not n:
            return []
        crops = self._crops(pictures, boxes, shape)
        outputs = {of: self._heads[of][1](views)[0] for of, views in crops.views.items()}
        # Each model's views of a face are averaged before anything is read from them.
        said = {of: output.reshape(n, -1, output.shape[1]).mean(1) for of, output in outputs.items()}
        nobody, judged = self._nobody, crops.judged
        ages = decode.calibrated_age(said["age"]) if "age" in said else np.full(n, nobody.age)
        females = said["gender"][:, 0] if "gender" in said else np.full(n, nobody.female)
        emotions = said.get("emotion", np.tile(nobody.emotions, (n, 1)))
        return [
            _Looks(float(age), float(female), shares, float(overall), self._guesses(reasons))
            for age, female, shares, overall, reasons in zip(
                ages, females, emotions, judged.overall, judged.reasons, strict=True
            )
        ]

    def _guesses(self, reasons: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        return (*self._off, *((of, why) for why in reasons[:1] for of in JUDGED if of in self._heads))

    def _pose(self, shape: _Shape, of: int) -> HeadPose | None:
        told = shape.trusted[of] and not self._coordinates_only
        return HeadPose(*map(float, shape.pose[of])) if told else None

    def _shape(self, found: Detections, maps: Floats, said: tuple[Floats, ...]) -> _Shape:
        raw, score = said
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

    def _crops(self, pictures: list[Pyramid], boxes: Floats, shape: _Shape) -> _Crops:
        zooms: dict[Judged, tuple[float, ...]] = {
            "age": self._settings.age_zooms,
            "gender": self._settings.gender_zooms,
        }
        by_zoom = {
            zoom: self._chips(pictures, shape, zoom)
            for zoom in {1.0}.union(*(each for of, each in zooms.items() if of in self._heads))
        }
        views: dict[Judged, Pixels] = {}
        if "age" in self._heads:
            views["age"] = self._views([np.stack([sharpen(chip) for chip in by_zoom[z]]) for z in zooms["age"]])
        if "gender" in self._heads:
            views["gender"] = self._views([by_zoom[z] for z in zooms["gender"]])
        if "emotion" in self._heads:
            views["emotion"] = self._views([self._emotion_crops(pictures, boxes, shape)])
        judged = quality.face_quality(by_zoom[1.0], shape.points, shape.pose, shape.score, shape.trusted)
        return _Crops(judged, views)

    def _chips(self, pictures: list[Pyramid], shape: _Shape, zoom: float) -> Pixels:
        """Aligned chips; where the mesh saw no face, by the detector's five points."""
        maps = geometry.chip_maps(shape.anchors, geometry.ANCHOR_TEMPLATE, CHIP_SIZE, zoom)
        if not shape.trusted.all():
            coarse = geometry.chip_maps(shape.points, geometry.CHIP_TEMPLATE, CHIP_SIZE, zoom)
            maps = np.where(shape.trusted[:, None, None], maps, coarse)
        return warp(pictures, maps, CHIP_SIZE)

    def _emotion_crops(self, pictures: list[Pyramid], boxes: Floats, shape: _Shape) -> Pixels:
        wanted = self._heads["emotion"][0]
        if wanted.crop == "chip":
            maps = geometry.chip_maps(shape.points, geometry.CHIP_TEMPLATE, CHIP_SIZE)
            return warp(pictures, maps, CHIP_SIZE)
        return warp(pictures, geometry.region_maps(boxes, shape.points, wanted.region, wanted.size), wanted.size)

    def _views(self, crops: list[Pixels]) -> Pixels:
        """Crops (n, ...) of each zoom, and their mirror images if wanted, with those of one face side by side."""
        views = [*crops, *(crop[:, :, ::-1] for crop in crops)] if self._settings.mirror else crops
        return np.ascontiguousarray(np.stack(views, 1).reshape(-1, *views[0].shape[1:]))
