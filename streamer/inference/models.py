"""The models of a pipeline, fetched and loaded."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from streamer.config import Pipeline, Settings
from streamer.configfile import read_pipeline
from streamer.errors import ModelError
from streamer.face import Face
from streamer.inference.batches import Batches
from streamer.inference.cards import Card, Input, pick, read_cards
from streamer.inference.describer import Asked, Describer
from streamer.inference.detectors import YuNet, make_detector
from streamer.inference.runtime import Engine
from streamer.inference.store import Progress, Store, silent

_WIDE = 1920, 1080  # all pictures of this shape, as most cameras send them, are one to the detector


class Models:
    """Everything a pipeline needs from OpenVINO, loaded."""

    def __init__(
        self,
        pipeline: Pipeline,
        store: Store,
        cards: dict[str, Card],
        engine: Engine,
        *,
        coordinates_only: bool = False,
    ) -> None:
        """Compiles models whose graphs are in the store. Raises ModelError."""
        needed = pick(cards, pipeline.models())
        heads = {card.name: card.output.head for card in needed if card.output}
        graphs = {card.name: store.graph(card) for card in needed}
        self.pipeline = pipeline
        self.engine = engine
        self.detector = make_detector(pipeline.detect, heads, graphs, engine)
        others = [card for card in needed if card.task != "detection"]
        loaded = {card.task: (_input(card), engine.load(graphs[card.name])) for card in others}
        self.describe = Describer(pipeline, loaded, coordinates_only=coordinates_only)
        self.described = Batches(engine.begin, self._timed)
        if isinstance(self.detector, YuNet):  # while the source is being opened
            engine.begin(self.detector.expect, *_WIDE)

    def _timed(self, asked: Sequence[Asked]) -> list[tuple[tuple[Face, ...], float]]:
        """The faces of each picture, and its part of the seconds that it took."""
        start = time.perf_counter()
        answers = self.describe(asked)
        each = (time.perf_counter() - start) / len(answers)
        return [(faces, each) for faces in answers]


class Workshop:
    """Cards, store and engine of one process: gives the models of any pipeline, each loaded once."""

    def __init__(self, settings: Settings, progress: Progress = silent) -> None:
        self._privacy = settings.privacy
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
                pipeline = self._pipeline(name)
                self._store.pull(pick(self._cards, pipeline.models()))
                self._pipelines[name] = Models(
                    pipeline,
                    self._store,
                    self._cards,
                    self.engine,
                    coordinates_only=self._privacy.coordinates_only,
                )
            return self._pipelines[name]

    def fetch(self, name: str) -> None:
        """Make the weights of pipeline `name` present, without loading them. Raises ConfigError, ModelError."""
        self._store.pull(pick(self._cards, self._pipeline(name).models()))

    def _pipeline(self, name: str) -> Pipeline:
        return self._privacy.applied(read_pipeline(name))

    def picture(self, name: str) -> Path:
        """The file of a card that is a picture, fetched if it is missing. Raises ModelError."""
        card = pick(self._cards, (name,))[0]
        self._store.pull([card])
        return self._store.weights(card)

    def close(self) -> None:
        """Wait for what still runs."""
        self.engine.close()


def _input(card: Card) -> Input:
    if card.input is None:
        raise ModelError(f"{card.name}: its card describes no input")
    return card.input
