"""The models of a pipeline at work: pictures in, detections out; faces in, described faces out."""

import asyncio
import threading
from pathlib import Path

import numpy as np

from streamer.analysis import decode, geometry
from streamer.analysis.quality import face_quality
from streamer.config import DetectSettings, Pipeline, Settings, read_pipeline
from streamer.errors import ModelError
from streamer.face import Detections, Face, Floats, Pixels
from streamer.inference.cards import Card, Input, Task, pick, read_cards
from streamer.inference.convert import CHIP_SIZE
from streamer.inference.crops import fill_letterbox, warp
from streamer.inference.runtime import Engine, Model
from streamer.inference.store import Progress, Store, silent


class Detector:
    """Finds faces. The input's shape follows the shape of the picture; a few shapes are kept compiled."""

    def __init__(self, settings: DetectSettings, graph: Path, engine: Engine) -> None:
        self._settings = settings
        self._graph = graph
        self._engine = engine
        self._compiled: dict[tuple[int, int], asyncio.Future[Model]] = {}

    def prepare(self, picture: Pixels) -> tuple[Pixels, geometry.Letterbox]:
        """The model's input for a BGR picture, and how it lies in it. Work for a thread."""
        box = geometry.letterbox(picture.shape[1], picture.shape[0], self._settings.size)
        return fill_letterbox(picture, box), box

    async def __call__(self, prepared: tuple[Pixels, geometry.Letterbox]) -> Detections:
        """Faces in pixels of the picture, best first, from the low threshold on."""
        batch, box = prepared
        scores, offsets = await (await self._model(box.shape))(batch)
        s = self._settings
        return decode.yunet(scores[0], offsets[0], box, s.low_threshold, s.nms_iou)[: s.max_faces]

    async def _model(self, shape: tuple[int, int]) -> Model:
        if shape not in self._compiled:
            load = self._engine.offload(self._engine.load, self._graph, (1, *shape, 3))
            self._compiled[shape] = asyncio.ensure_future(load)
        return await asyncio.shield(self._compiled[shape])


class Describer:
    """Tells of each face its exact landmarks, age, gender, emotions and quality."""

    def __init__(self, pipeline: Pipeline, models: dict[Task, tuple[Input, Model]], engine: Engine) -> None:
        self._min_score = pipeline.landmarks.min_score
        self._mesh_input, self._mesh = models["landmarks"]
        self._age = models["age"][1]
        self._gender = models["gender"][1]
        self._emotion_input, self._emotion = models["emotion"]
        self._engine = engine

    async def __call__(self, picture: Pixels, found: Detections, ids: list[int] | None = None) -> tuple[Face, ...]:
        """The faces, largest first; `ids` are their tracks' numbers."""
        if not len(found):
            return ()
        landmarks = await self._refine(picture, found)
        chips, faces = await self._engine.offload(self._crops, picture, found.boxes, landmarks)
        ages, genders, emotions = await asyncio.gather(self._age(chips), self._gender(chips), self._emotion(faces))
        years = decode.expected_age(ages[0])
        quality = face_quality(chips, found.boxes, landmarks, found.scores)
        order = np.argsort(-geometry.area(found.boxes), kind="stable")
        return tuple(
            Face(
                box=found.boxes[i],
                score=float(found.scores[i]),
                landmarks=landmarks[i],
                age=float(years[i]),
                female=float(genders[0][i, 0]),
                emotions=emotions[0][i],
                quality=float(quality[i]),
                track_id=ids[i] if ids is not None else None,
            )
            for i in order
        )

    async def _refine(self, picture: Pixels, found: Detections) -> Floats:
        """Landmarks (n, 5, 2) from the mesh, and the detector's own where the mesh sees no face."""
        size = self._mesh_input.size
        maps = geometry.region_maps(found.boxes, found.landmarks, self._mesh_input.region, size)
        mesh, score = await self._mesh(await self._engine.offload(warp, picture, maps, size))
        fine = geometry.apply(geometry.invert(maps), decode.mesh_landmarks(mesh))
        good = score >= self._min_score
        result: Floats = np.where(good[:, None, None], fine, found.landmarks).astype(np.float32)
        return result

    def _crops(self, picture: Pixels, boxes: Floats, landmarks: Floats) -> tuple[Pixels, Pixels]:
        """Aligned chips for age and gender, and what the emotion model looks at."""
        chips = warp(picture, geometry.chip_maps(landmarks, CHIP_SIZE), CHIP_SIZE)
        wanted = self._emotion_input
        if wanted.crop == "chip":
            return chips, chips
        return chips, warp(picture, geometry.region_maps(boxes, landmarks, wanted.region, wanted.size), wanted.size)


class Models:
    """Everything a pipeline needs from OpenVINO, loaded."""

    def __init__(self, pipeline: Pipeline, store: Store, cards: dict[str, Card], engine: Engine) -> None:
        """Compiles models whose graphs are in the store. Raises ModelError."""
        detector, *rest = pick(cards, pipeline.models())
        self.pipeline = pipeline
        self.engine = engine
        self.detect = Detector(pipeline.detect, store.graph(detector), engine)
        loaded = {card.task: (_input(card), engine.load(store.graph(card))) for card in rest}
        self.describe = Describer(pipeline, loaded, engine)


class Workshop:
    """Cards, store and engine of one process: gives the models of any pipeline, each loaded once."""

    def __init__(self, settings: Settings, progress: Progress = silent) -> None:
        self._cards = read_cards(settings.models)
        self._store = Store(settings.models.folder(), progress)
        self._pipelines: dict[str, Models] = {}
        self._lock = threading.Lock()
        self.engine = Engine(settings.device, settings.threads, self._store.compiled)

    def models(self, name: str) -> Models:
        """The models of pipeline `name`; fetches what is missing, compiles, and blocks for as long as that takes.

        Callable from any thread. Raises ConfigError, ModelError.
        """
        with self._lock:
            if name not in self._pipelines:
                pipeline = read_pipeline(name)
                self._store.pull(pick(self._cards, pipeline.models()))
                self._pipelines[name] = Models(pipeline, self._store, self._cards, self.engine)
            return self._pipelines[name]

    def picture(self, name: str) -> Path:
        """The file of a card that is a picture, fetched if it is missing. Raises ModelError."""
        card = pick(self._cards, (name,))[0]
        self._store.pull([card])
        return self._store.weights(card)

    def close(self) -> None:
        """Wait for what still runs; call it before the event loop closes."""
        self.engine.close()


def _input(card: Card) -> Input:
    if card.input is None:
        raise ModelError(f"{card.name}: its card describes no input")
    return card.input
