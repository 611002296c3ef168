"""The value types that are handed along the path of a frame. None of them is ever changed after it was made.

Boxes are float x1, y1, x2, y2 in pixels of the source picture as displayed, origin top left; landmarks are (5, 2)
x, y in the same frame, ordered eye, eye, nose, lip corner, lip corner, left before right as seen in the picture.
`at` is seconds on a monotonic axis and serves all logic; `captured` is seconds since 1970 UTC and serves messages.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Float64s = NDArray[np.float64]
Ints = NDArray[np.int64]

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
Judged = Literal["age", "gender", "emotion"]
JUDGED: tuple[Judged, ...] = ("age", "gender", "emotion")  # what may be only a guess, as in `Face.not_assessed`
SWITCHED_OFF = "switchedOff"  # the reason of values that nobody wanted to be judged: they are constants
LANDMARKS = ("eyeLeft", "eyeRight", "nose", "lipLeft", "lipRight")

Clock = Literal["camera", "host", "file"]


class Frame(msgspec.Struct, frozen=True, eq=False):
    """One picture that a source delivered.

    `delay` is how many seconds it took from the camera to `arrived`, where that is known; `jump` by how many seconds
    `clock` was set since the frame before. Of a `live` source newer frames replace older ones. `pixels()` gives it as
    uint8 (height, width, 3) BGR, converted when asked, in the caller's thread. A frame that had to be passed over has
    the reason in `skipped`; it may have no pixels any more, and its result has none.
    """

    seq: int
    index: int
    at: float
    captured: float
    arrived: float
    width: int
    height: int
    pixels: Callable[[], Pixels]
    pts: float | None = None
    clock: Clock = "host"
    live: bool = True
    delay: float = 0.0
    jump: float = 0.0
    skipped: str | None = None


def no_pixels() -> Pixels:
    """In the place of the pixels of a skipped frame, which nobody may ask for."""
    raise AssertionError("a skipped frame has no pixels")


class Detections(msgspec.Struct, frozen=True, eq=False):
    """What a detector found in one picture: boxes (n, 4), scores (n,) 0-1, landmarks (n, 5, 2)."""

    boxes: Floats
    scores: Floats
    landmarks: Floats

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, keep: NDArray[np.intp] | NDArray[np.bool_] | slice) -> "Detections":
        return Detections(self.boxes[keep], self.scores[keep], self.landmarks[keep])

    @staticmethod
    def joined(several: "Sequence[Detections]") -> "Detections":
        return Detections(
            np.concatenate([each.boxes for each in several]),
            np.concatenate([each.scores for each in several]),
            np.concatenate([each.landmarks for each in several]),
        )

    @staticmethod
    def none() -> "Detections":
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))


class HeadPose(msgspec.Struct, frozen=True):
    """Degrees. Yaw > 0: turned to the right side of the picture; pitch > 0: up; roll > 0: clockwise."""

    yaw: float
    pitch: float
    roll: float


class Face(msgspec.Struct, frozen=True, eq=False):
    """One face in one picture.

    `score`, `female`, `quality` and `emotions` (7,) in the order of `EMOTIONS` are 0-1, `age` is in years;
    `not_assessed` maps a value's name to the reason why it is only a guess; with `coordinates_only` there are but box,
    score, landmarks and track, and neither pose nor quality. What is not from this picture says how many
    seconds ago it was seen: `place_held` box and landmarks, `looks_held` age, gender, emotions and quality.
    """

    box: Floats
    score: float
    landmarks: Floats
    age: float
    female: float
    emotions: Floats
    quality: float = 1.0
    track_id: int | None = None
    head_pose: HeadPose | None = None
    not_assessed: tuple[tuple[str, str], ...] = ()
    place_held: float = 0.0
    looks_held: float = 0.0
    raw: "Face | None" = None
    coordinates_only: bool = False

    def guessed(self, value: Judged) -> bool:
        """Whether a value is only a guess, or a constant."""
        return any(name == value for name, _reason in self.not_assessed)

    def switched_off(self, value: Judged) -> bool:
        """Whether a value is a constant because it is not to be judged."""
        return (value, SWITCHED_OFF) in self.not_assessed


class FrameResult(msgspec.Struct, frozen=True, eq=False):
    """What came of one frame: its faces, largest first, and milliseconds by stage.

    `dropped` counts the frames that were skipped since the last processed one; `published` is the reading, on the
    axis of `Frame.arrived`, when the result was complete. `alive` are the tracks that go on, even if they are not seen
    just now; None: nothing new is known of them. `found` is all that the detector took for a face, also what is too
    faint to be shown, not of a track yet, or in a part that does not count.
    """

    frame: Frame
    faces: tuple[Face, ...]
    timings: dict[str, float]
    dropped: int
    published: float
    alive: frozenset[int] | None = None
    found: Detections = Detections.none()

    @property
    def took(self) -> float:
        """Seconds from the frame's arrival to its result."""
        return self.published - self.frame.arrived


class Look(msgspec.Struct, frozen=True):
    """How a picture is wanted: with boxes and labels, with faces made unrecognisable, at most so wide."""

    overlay: bool = False
    blur: bool = False
    width: Annotated[int, msgspec.Meta(ge=16, le=7680)] = 7680
    quality: Annotated[int, msgspec.Meta(ge=1, le=100)] = 80


class Shot(msgspec.Struct, frozen=True):
    """The picture of a result as somebody wanted it, as JPEG; the rest is that of its `Frame`."""

    jpeg: bytes
    seq: int
    captured: float
    arrived: float
    width: int
    height: int
