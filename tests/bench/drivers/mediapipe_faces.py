"""mediapipe: its full-range detector alone. Neither age, gender nor emotion."""

import mediapipe as mp
from frames import serve

detector = mp.solutions.face_detection.FaceDetection(model_selection=1, min_detection_confidence=0.5)
serve(lambda picture: len(detector.process(picture).detections or ()))
