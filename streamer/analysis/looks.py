"""Whose age, gender and emotions are due for a new look, where not every face is looked at in every picture."""

from collections.abc import Iterable

import msgspec
import numpy as np

from streamer.face import Face, Float64s, Floats, Ints

_NEW, _SETTLED = 0.25, 1.0  # in its first so many seconds a face is due after that part of the interval,
_POOR, _DOUBTFUL = 0.5, 0.35  # and after that part while its quality is less,
_GROWN = 1.25  # and at once when it has become so many times as high


class _Track(msgspec.Struct):
    first: float
    seen: float
    looked: float
    height: float
    quality: float = 1.0


class Looks:
    """Remembers of each track when it was looked at, and how good that look was."""

    def __init__(self, forget: float) -> None:
        """`forget`: seconds after which a track that is not seen is gone."""
        self._forget = forget
        self._tracks: dict[int, _Track] = {}

    def held(self, ids: Ints, heights: Floats, at: float, interval: float) -> Float64s:
        """For tracks `ids` (n,) that are seen at `at`, `heights` (n,) pixels high: 0 where one is due, else the seconds
        since its last look (n,).

        A track is due when it is new, and every `interval` seconds; sooner when it has not been there for long, when it
        was seen badly or has come closer. With an infinite one only new ones are.
        """
        for number in [number for number, track in self._tracks.items() if at - track.seen > self._forget]:
            del self._tracks[number]
        return np.array([self._since(int(i), float(h), at, interval) for i, h in zip(ids, heights, strict=True)])

    def judged(self, faces: Iterable[Face]) -> None:
        """The faces of a picture, whose looks are their own or held."""
        for face in faces:
            track = self._tracks.get(face.track_id or 0)
            if track is not None and not face.looks_held:
                track.quality = face.quality

    def _since(self, number: int, height: float, at: float, interval: float) -> float:
        track = self._tracks.get(number)
        if track is None:
            self._tracks[number] = _Track(at, at, at, height)
            return 0.0
        track.seen = at
        since = at - track.looked
        if since < _patience(track, height, at, interval):
            return since
        track.looked, track.height = at, height
        return 0.0


def _patience(track: _Track, height: float, at: float, interval: float) -> float:
    """Seconds after its last look that a track is due."""
    if np.isfinite(interval) and height > _GROWN * track.height:
        return 0.0
    part = _NEW if at - track.first < _SETTLED else _POOR if track.quality < _DOUBTFUL else 1.0
    return part * interval
