"""What is left of each track when it has ended: when it was seen, at its best, and what it was taken for."""

import msgspec
import numpy as np

from streamer.face import EMOTIONS, Face, Float64s, Frame, FrameResult, no_pixels

_LONGEST = 1.0  # seconds that one sighting can stand for: nobody knows what a face did that was lost for longer


class Sighting(msgspec.Struct, frozen=True, eq=False):
    """A face in a frame."""

    face: Face
    frame: Frame


class Visit(msgspec.Struct, frozen=True, eq=False):
    """A track that has ended, after so many `frames` with it. `best` is the sighting of the best quality, `last_looks`
    the last one whose age and gender are not mere guesses; `emotions` (7,) are shares of the time.
    """

    track_id: int
    first: Frame
    last: Frame
    frames: int
    best: Sighting
    last_looks: Face
    emotions: Float64s

    @property
    def seconds(self) -> float:
        return self.last.at - self.first.at


class _Open:
    """A track that goes on."""

    def __init__(self, seen: Sighting) -> None:
        self.first = self.last = seen.frame
        self.frames = 0
        self.best = seen
        self.looks = seen.face
        self.emotions: Float64s = np.zeros(len(EMOTIONS))

    def see(self, seen: Sighting) -> None:
        face = seen.face
        # Each sighting stands for the time since the one before, so that the frame rate does not matter.
        since = min(seen.frame.at - self.last.at, _LONGEST)
        guessed = {name for name, _reason in face.not_assessed}
        if "emotion" not in guessed:
            self.emotions += since * face.emotions
        if not guessed & {"age", "gender"} or any(name == "age" for name, _reason in self.looks.not_assessed):
            self.looks = face
        if not (face.place_held or face.looks_held) and face.quality > self.best.face.quality:
            self.best = seen
        self.last = seen.frame
        self.frames += 1

    def visit(self, track_id: int) -> Visit:
        total = self.emotions.sum()
        shares = self.emotions / total if total > 0 else self.looks.emotions.astype(np.float64)
        return Visit(track_id, self.first, self.last, self.frames, self.best, self.looks, shares)


class Visits:
    """Sees every result of a stream, in order. `ended` holds tracks that have ended until somebody takes them out."""

    def __init__(self) -> None:
        self.ended: list[Visit] = []
        self._open: dict[int, _Open] = {}

    def update(self, result: FrameResult) -> None:
        frame = msgspec.structs.replace(result.frame, pixels=no_pixels)
        for face in result.faces:
            if face.track_id is not None:
                seen = Sighting(face, frame)
                self._open.setdefault(face.track_id, _Open(seen)).see(seen)
        if result.alive is not None:
            self._end([track for track in self._open if track not in result.alive])

    def finish(self) -> None:
        """No more results: all tracks have ended."""
        self._end(list(self._open))

    def _end(self, tracks: list[int]) -> None:
        self.ended += [self._open.pop(track).visit(track) for track in tracks]
