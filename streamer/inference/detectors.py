"""Finding faces: a picture in, detections out, best first, in pixels of the picture."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.analysis import decode, fusion
from streamer.analysis.geometry import Letterbox, area_scale, iou_matrix, letterbox
from streamer.analysis.pyramid import Pyramid
from streamer.config import DetectSettings
from streamer.errors import ModelError
from streamer.face import Detections
from streamer.inference.crops import fill_letterbox
from streamer.inference.runtime import Engine, Model

# Faces that CenterFace's reading at full size sees this small, at this score, are worth one at double size.
_SMALL, _SEEN = 32.0, 0.1
_FAINTEST = 0.05  # below there are only more boxes, and nothing in them
_CERTAIN = 0.65  # on 100 pictures without faces nothing scored higher with YuNet
_HIGH = 32.0  # pixels of YuNet's input: higher faces are hardly found, or placed, better in a larger one
_HIGH_AGAIN = 36.0  # and so high all must be once one was not
_SAME = 0.3  # overlap of two readings of one face, and with where it was a moment ago


class Known(msgspec.Struct, frozen=True, eq=False):
    """Faces that were `seen` in the newest full reading of a stream's pictures, and those that it `missed` but the one
    before had seen. Only where all are `high` are boxes those of readings at half the size: with both sizes in turns
    they would tremble.
    """

    seen: Detections = Detections.none()
    missed: Detections = Detections.none()
    high: bool = True


class Detector(Protocol):
    """Faces that score `least` are given, too, where that is less than the threshold of the settings."""

    glances: bool = False
    """Whether `glance` is quicker than `search`. Only then is it of use."""

    def __call__(self, picture: Pyramid, least: float = 1.0) -> Detections: ...

    def search(self, picture: Pyramid, faint: float, known: Known) -> Detections:
        """A full reading of a picture of a stream, in which only faces that score at least `faint` count."""
        return self(picture)

    def glance(self, picture: Pyramid, faint: float, known: Known) -> Detections:
        """A quick one, in which small faces that nobody knows may be overlooked; none that is known is."""
        return self(picture)

    def remember(self, picture: Pyramid, found: Detections, known: Known) -> Known:
        """What is known after a search in which those that count were `found`."""
        return known


class YuNet(Detector):
    """Readings at the picture's own shape and the area of a square of `size`, and of streams at half that size, too. A
    few shapes are kept compiled.
    """

    glances = True

    def __init__(self, settings: DetectSettings, graph: Path, engine: Engine) -> None:
        self._settings = settings
        self._graph = graph
        self._engine = engine
        self._compiled: dict[tuple[int, int], Model] = {}

    def expect(self, width: int, height: int) -> None:
        """Load now what pictures of this size need, rather than with the first of them."""
        for shrunk in (1, 2):
            self._model(self._box(width, height, shrunk).shape)

    def __call__(self, picture: Pyramid, least: float = 1.0) -> Detections:
        return self._read(picture, 1, _threshold(self._settings, least))

    def search(self, picture: Pyramid, faint: float, known: Known) -> Detections:
        self.expect(picture.width, picture.height)
        if not known.high:
            return self._read(picture, 1, self._settings.threshold)
        return self._both(picture, self._read(picture, 2, self._settings.threshold), faint)

    def glance(self, picture: Pyramid, faint: float, known: Known) -> Detections:
        if not known.high:
            return self._read(picture, 1, self._settings.threshold)
        half = self._read(picture, 2, self._settings.threshold)
        here = half[half.scores >= faint]
        if _seen(known.seen, here).all() and _seen(known.missed, here).all():
            return half
        return self._both(picture, half, faint)

    def remember(self, picture: Pyramid, found: Detections, known: Known) -> Known:
        missed = known.seen[~_seen(known.seen, found)]
        least = (_HIGH if known.high else _HIGH_AGAIN) / self._box(picture.width, picture.height, 2).scale[1]
        heights = [faces.boxes[:, 3] - faces.boxes[:, 1] for faces in (found, missed)]
        return Known(found, missed, all((each >= least).all() for each in heights))

    def _both(self, picture: Pyramid, half: Detections, faint: float) -> Detections:
        """The faces of a reading at half the size with what a full one has more: faces, and certainty of them."""
        full = self._read(picture, 1, self._settings.threshold)
        # Who counts in full alone is not lost to a box at half the size that does not.
        lacking = full[~_seen(full, half[half.scores >= faint])]
        kept = half[(half.scores >= faint) | ~_seen(half, lacking)]
        same = iou_matrix(kept.boxes, full.boxes) > _SAME
        scores = np.maximum(kept.scores, np.where(same, full.scores, 0).max(1, initial=0))
        both = Detections.joined([Detections(kept.boxes, scores, kept.landmarks), lacking])
        return both[np.argsort(-both.scores, kind="stable")][: self._settings.max_faces]

    def _read(self, picture: Pyramid, shrunk: int, threshold: float) -> Detections:
        s, box = self._settings, self._box(picture.width, picture.height, shrunk)
        scores, offsets = self._model(box.shape)(fill_letterbox(picture, box))
        return decode.yunet(scores[0], offsets[0], box, threshold, s.nms_iou)[: s.max_faces]

    def _box(self, width: int, height: int, shrunk: int = 1) -> Letterbox:
        return letterbox(width, height, area_scale(width, height, self._settings.size) / shrunk)

    def _model(self, shape: tuple[int, int]) -> Model:
        if shape not in self._compiled:
            self._compiled[shape] = self._engine.load(self._graph, (1, *shape, 3))
        return self._compiled[shape]


class CenterFace(Detector):
    """Several readings at multiples (`scales`, negative: mirrored) of the picture's own size, averaged.

    Pictures larger than a square of `size` are shrunk to that area first, which bounds the cost.
    """

    def __init__(self, settings: DetectSettings, graph: Path, engine: Engine) -> None:
        self._settings = settings
        self._model = engine.load(graph, one_at_a_time=True)

    def __call__(self, picture: Pyramid, least: float = 1.0) -> Detections:
        s, readings = self._settings, list[Detections]()
        working = min(1.0, area_scale(picture.width, picture.height, s.size))
        for scale in s.scales:
            if abs(scale) > 1 and readings and not _sees_small(readings[-1], working):
                continue
            readings.append(self._read(picture, abs(scale) * working, scale < 0))
        found = fusion.merge(readings, s.nms_iou)
        scores = fusion.probability(found.scores, s.calibration[0], s.calibration[1])
        keep = scores >= _threshold(s, least)
        return Detections(found.boxes, scores, found.landmarks)[keep][: s.max_faces]

    def _read(self, picture: Pyramid, scale: float, mirrored: bool) -> Detections:
        box = letterbox(picture.width, picture.height, scale)
        heat, size, offset, points = self._model(fill_letterbox(picture, box, mirrored))
        found = decode.centerface(heat[0, 0], size[0], offset[0], points[0], box, _FAINTEST, self._settings.nms_iou)
        return fusion.mirror(found, picture.width) if mirrored else found


class WithFallback(Detector):
    """A second detector looks where the first one finds nothing: CenterFace misses faces that fill the picture."""

    def __init__(self, first: Detector, second: Detector) -> None:
        self._first = first
        self._second = second

    def __call__(self, picture: Pyramid, least: float = 1.0) -> Detections:
        found = self._first(picture, least)
        return found if len(found) else self._second(picture)


def make_detector(
    settings: DetectSettings, heads: Mapping[str, str], graphs: Mapping[str, Path], engine: Engine
) -> Detector:
    """The detector that `settings` describe; `heads` and `graphs` are those of the cards by name. Raises ModelError."""
    kinds: dict[str, Callable[[DetectSettings, Path, Engine], Detector]] = {"yunet": YuNet, "centerface": CenterFace}
    if heads[settings.model] not in kinds:
        raise ModelError(f"{settings.model}: is not a face detector", f"heads of detectors: {', '.join(kinds)}")
    detector = kinds[heads[settings.model]](settings, graphs[settings.model], engine)
    if not settings.fallback:
        return detector
    certain = DetectSettings(model=settings.fallback, threshold=_CERTAIN)
    return WithFallback(detector, make_detector(certain, heads, graphs, engine))


def _seen(faces: Detections, found: Detections) -> NDArray[np.bool_]:
    """Which of n faces are among those that were found, each of which is one of them at most."""
    seen = np.zeros(len(faces), bool)
    if len(faces) and len(found):
        overlap = iou_matrix(faces.boxes, found.boxes)
        seen[overlap.argmax(0)[overlap.max(0) > _SAME]] = True
    return seen


def _threshold(settings: DetectSettings, least: float) -> float:
    return min(settings.threshold, max(least, _FAINTEST))


def _sees_small(found: Detections, scale: float) -> bool:
    heights = found.boxes[:, 3] - found.boxes[:, 1]
    return bool(((heights < _SMALL / scale) & (found.scores > _SEEN)).any())
