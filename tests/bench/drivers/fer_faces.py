"""fer: OpenCV's Haar cascade and emotion. Neither landmarks, age nor gender."""

import numpy as np
from fer.fer import FER
from frames import serve

detector = FER()
serve(lambda picture: len(detector.detect_emotions(np.ascontiguousarray(picture[:, :, ::-1]))))
