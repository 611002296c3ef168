"""Calm values without lag: per-track filters whose constants are times, never numbers of frames.

Boxes and landmarks: One Euro filter (Casiez, Roussel and Vogel 2012), in units of the face's height. Age, gender and
emotions: means that forget with a time constant and weigh each frame by the quality of its face, so that a poor
picture changes little; gender and the leading emotion change over only when the new one leads clearly.
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.config import SmoothSettings
from streamer.face import SWITCHED_OFF, Face, Floats

_SPEED_CUTOFF = 1.0  # hertz; One Euro's filter of the speed
_GENDER_MARGIN = 0.1  # share beyond a half that the mean must reach before the shown gender changes
_AGE_MARGIN = 0.75  # years that the mean must move before the shown age follows
_FIRST_SAMPLE = 0.04  # seconds that a track's first picture stands for
_LONGEST_SAMPLE = 1.0  # seconds that any picture stands for at most
_LEAST_WEIGHT = 1e-3
_HAIR = 1e-3


class OneEuro:
    """Smooths an array of any shape; `scale` is the unit in which its speed is judged."""

    def __init__(self, cutoff: float, speed_gain: float) -> None:
        self._cutoff, self._gain = cutoff, speed_gain
        self._value: NDArray[np.float64] | None = None
        self._speed: NDArray[np.float64] | None = None
        self._at = 0.0

    def update(self, value: Floats, scale: float, at: float) -> Floats:
        dt = at - self._at
        if self._value is None or self._speed is None or self._cutoff <= 0:
            self._value, self._speed, self._at = value.astype(np.float64), np.zeros(value.shape), at
            return value
        if dt <= 0:
            return self._value.astype(np.float32)
        speed = (value - self._value) / (dt * scale)
        self._speed += _alpha(np.float64(_SPEED_CUTOFF), dt) * (speed - self._speed)
        cutoff = self._cutoff + self._gain * np.abs(self._speed)
        self._value = self._value + _alpha(cutoff, dt) * (value - self._value)
        self._at = at
        return self._value.astype(np.float32)


def _alpha(cutoff: NDArray[np.float64] | np.float64, dt: float) -> NDArray[np.float64]:
    """Share of a new value in a first-order low-pass of `cutoff` hertz after `dt` seconds."""
    result: NDArray[np.float64] = np.asarray(1 - np.exp(-2 * math.pi * cutoff * dt))
    return result


class ForgettingMean:
    """A mean over time that weighs its samples and forgets with the time constant `tau`.

    Forgetting runs on weighted time: while weights are 0 the mean holds still instead of drifting.
    """

    def __init__(self, tau: float) -> None:
        self._tau = tau
        self._sum: NDArray[np.float64] = np.zeros(())
        self._weight = 0.0
        self._at: float | None = None

    def update(self, value: Floats | float, weight: float, at: float) -> NDArray[np.float64]:
        """The mean after a sample of `weight` 0-1 that stands for the time since the last one."""
        dt = _FIRST_SAMPLE if self._at is None else min(max(at - self._at, 0.0), _LONGEST_SAMPLE)
        self._at = at
        spent = dt * max(weight, _LEAST_WEIGHT)
        fade = math.exp(-spent / self._tau) if self._tau > 0 else 0.0
        self._sum = self._sum * fade + spent * np.asarray(value, np.float64)
        self._weight = self._weight * fade + spent
        return self._sum / self._weight if self._weight > 0 else np.asarray(value, np.float64)


class _TrackFilter:
    """The filters of one track."""

    def __init__(self, settings: SmoothSettings) -> None:
        self._shape = OneEuro(settings.box_cutoff, settings.box_speed)
        self._age = ForgettingMean(settings.age)
        self._female = ForgettingMean(settings.gender)
        self._emotions = ForgettingMean(settings.emotion)
        self._margin = settings.emotion_margin
        self._patience = settings.emotion_patience
        self._shown_age: float | None = None
        self._is_female: bool | None = None
        self._leader: int | None = None
        self._challenger: int | None = None
        self._challenged = 0.0
        self._last: Face | None = None
        self._looks: tuple[float, float, Floats] = (0.0, 0.5, np.zeros(7, np.float32))
        self.seen = 0.0

    def update(self, face: Face, at: float, keep_raw: bool) -> Face:
        self.seen = at
        self._last = face = _completed(face, self._last)
        height = max(float(face.box[3] - face.box[1]), 1.0)
        shape = np.concatenate([face.box.reshape(2, 2), face.landmarks])
        smooth = self._shape.update(shape, height, at)
        if not face.looks_held:
            self._looks = self._calm_looks(face, at)
        age, female, emotions = self._looks
        return msgspec.structs.replace(
            face,
            box=smooth[:2].ravel(),
            landmarks=smooth[2:],
            age=age,
            female=female,
            emotions=emotions,
            raw=face if keep_raw else None,
        )

    def _calm_looks(self, face: Face, at: float) -> tuple[float, float, Floats]:
        """Age, female, emotions; constants stay what they are."""
        weight, (age, female, emotions) = _weight(face), (face.age, face.female, face.emotions)
        if not face.switched_off("age"):
            age = self._calm_age(float(self._age.update(age, weight, at)))
        if not face.switched_off("gender"):
            female = self._calm_gender(float(self._female.update(female, weight, at)))
        if not face.switched_off("emotion"):
            emotions = self._calm_emotions(self._emotions.update(emotions, weight, at), at)
        return age, female, emotions

    def _calm_age(self, mean: float) -> float:
        if self._shown_age is None or abs(mean - self._shown_age) > _AGE_MARGIN:
            self._shown_age = mean
        return self._shown_age

    def _calm_gender(self, mean: float) -> float:
        if self._is_female is None or abs(mean - 0.5) > _GENDER_MARGIN:
            self._is_female = mean >= 0.5
        return max(mean, 0.5) if self._is_female else min(mean, 0.5 - 1e-6)

    def _calm_emotions(self, mean: NDArray[np.float64], at: float) -> Floats:
        """`mean`, with just enough added to the leading emotion so far that it still leads by a hair.

        The lead passes on once another emotion is ahead by the margin, or for long enough.
        """
        shares = mean.tolist()
        top = shares.index(max(shares))
        if self._leader is None or top == self._leader:
            self._leader, self._challenger = top, None
        elif top != self._challenger:
            self._challenger, self._challenged = top, at
        lag = float(mean[top] - mean[self._leader])
        if lag > self._margin or (self._challenger is not None and at - self._challenged >= self._patience):
            self._leader, self._challenger, lag = top, None, 0.0
        share = 0.0 if top == self._leader else (lag + _HAIR) / (1 + lag + _HAIR)
        held = mean * (1 - share)
        held[self._leader] += share
        return held.astype(np.float32)


def _completed(face: Face, last: Face | None) -> Face:
    """`face` with what is not of its own picture filled in from the `last` one of its track."""
    if last is None:
        return face
    if face.place_held:
        # The landmarks go where the box goes.
        size, old = face.box[2:] - face.box[:2], np.maximum(last.box[2:] - last.box[:2], 1)
        landmarks = face.box[:2] + (last.landmarks - last.box[:2]) * (size / old)
        face = msgspec.structs.replace(face, landmarks=landmarks, head_pose=last.head_pose)
    if face.looks_held:
        face = msgspec.structs.replace(
            face,
            age=last.age,
            female=last.female,
            emotions=last.emotions,
            quality=last.quality,
            not_assessed=last.not_assessed,
        )
    return face


def _weight(face: Face) -> float:
    """What a picture of a face counts for: nothing where its values are guesses, so that they freeze."""
    guessed = any(reason != SWITCHED_OFF for _value, reason in face.not_assessed)
    return 0.0 if guessed else face.quality**2


class Smoother:
    """Smooths the faces of a stream. `update` with each picture's faces, which carry their track's number."""

    def __init__(self, settings: SmoothSettings, forget: float) -> None:
        """`forget`: seconds after which the filters of a track that is not seen are dropped."""
        self._settings = settings
        self._forget = forget
        self._tracks: dict[int, _TrackFilter] = {}

    def reset(self) -> None:
        self._tracks.clear()

    def update(self, faces: tuple[Face, ...], at: float, keep_raw: bool = False) -> tuple[Face, ...]:
        """`faces` with smoothed values, at time `at`; with `keep_raw` the given ones ride along in `raw`.

        What a face does not have from its own picture (`place_held`, `looks_held`) is filled in from those before.
        """
        smooth = []
        for face in faces:
            assert face.track_id is not None, "only tracked faces can be smoothed"
            track = self._tracks.setdefault(face.track_id, _TrackFilter(self._settings))
            smooth.append(track.update(face, at, keep_raw))
        gone = [number for number, track in self._tracks.items() if at - track.seen > self._forget]
        for number in gone:
            del self._tracks[number]
        return tuple(smooth)
