"""Where in a picture somebody's face may be, beside those that are told."""

import numpy as np

from streamer.analysis.tracking import Tracked
from streamer.face import NO_BOXES, Face, Floats


class Suspects:
    """Sees the faces of a stream's pictures, in order."""

    def __init__(self) -> None:
        self._last: dict[int, Floats] = {}  # where each track was seen last

    def update(self, faces: tuple[Face, ...], tracked: Tracked, found: Floats = NO_BOXES) -> Floats:
        """Boxes (n, 4): all that the detector has `found`, of which not everything becomes a face, or not at once; and
        tracks that go on but have been lost from sight, where they were.
        """
        seen = {face.track_id: face.box for face in faces if face.track_id is not None}
        self._last = {track: box for track, box in self._last.items() if track in tracked.alive} | seen
        lost = [box for track, box in self._last.items() if track not in seen]
        return np.concatenate([found, *(box[None] for box in lost)]).astype(np.float32)
