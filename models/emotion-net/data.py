"""Preparing the pictures once: five points for each, caches as .npy, and loading them again."""

from __future__ import annotations

import csv
import time
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from chips import FivePoints, Points, enlarge, warp_chip
from cv2.typing import MatLike as Picture
from numpy.typing import NDArray

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SOURCE = 96  # training pictures (48x48) are kept enlarged by two, so that bilinear sampling comes close to cubic


@dataclass(frozen=True)
class Faces:
    """One set of faces: grey source pictures with their points (training) and finished chips (all)."""

    chips: Picture  # [N, 64, 64, 3] BGR
    labels: NDArray[np.int64]
    found: NDArray[np.bool_]  # False: no face was found, the chip comes from the fallback alignment
    sources: Picture  # [N, 96, 96] grey; empty for test sets
    points: NDArray[np.float32]  # [N, 5, 2] in `sources`


def _decode(data: bytes) -> Picture:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("not a picture")
    return picture.astype(np.uint8, copy=False)


def _fallback(pictures: list[Picture], points: list[Points | None]) -> Points:
    """Median place of each point as a fraction of the prepared picture, over the faces that were found."""
    found = [p / q.shape[1::-1] for p, q in zip(points, pictures, strict=True) if p is not None]
    middle: Points = np.median(np.array(found), axis=0)
    return middle


def _prepare_set(
    name: str, files: list[tuple[bytes, int]], cache: Path, finder: FivePoints, keep_sources: bool
) -> None:
    """Finds the points of each picture (two threads), warps its chip and writes both to `cache`."""
    points: list[Points | None] = []
    start = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda file: finder(enlarge(_decode(file[0]))[0]), files):
            points.append(found)
            if len(points) % 1000 == 0:
                print(f"{name}: {len(points)}/{len(files)} {time.monotonic() - start:.0f} s", flush=True)
    pictures = [_decode(data) for data, _ in files]
    prepared = [enlarge(p) for p in pictures]
    median = _fallback([p for p, _, _ in prepared], points)
    placed = [median * q.shape[1::-1] if p is None else p for p, (q, _, _) in zip(points, prepared, strict=True)]
    arrays: dict[str, NDArray[Any]] = {
        "chips": np.stack([warp_chip(q, p) for p, (q, _, _) in zip(placed, prepared, strict=True)]),
        "labels": np.array([label for _, label in files], np.int64),
        "found": np.array([p is not None for p in points]),
    }
    if keep_sources:
        grey = [cv2.cvtColor(p, cv2.COLOR_BGR2GRAY) for p in pictures]
        arrays["sources"] = np.stack([cv2.resize(g, (SOURCE, SOURCE), interpolation=cv2.INTER_CUBIC) for g in grey])
        back = [
            (p - pad + 0.5) * (SOURCE / (k * len(g))) - 0.5
            for p, (_, k, pad), g in zip(placed, prepared, grey, strict=True)
        ]
        arrays["points"] = np.array(back, np.float32)
    for key, array in arrays.items():
        np.save(cache / f"{name}.{key}.npy", array)
    print(f"{name}: {len(files)} pictures, no face found in {sum(p is None for p in points)}", flush=True)


def _zip_files(archive: Path, part: str) -> list[tuple[bytes, int]]:
    with zipfile.ZipFile(archive) as z:
        names = sorted(n for n in z.namelist() if n.startswith(f"{part}/") and n.endswith(".jpg"))
        return [(z.read(n), CLASSES.index(n.split("/")[1])) for n in names]


def _test_files(folder: Path) -> dict[str, list[tuple[bytes, int]]]:
    sets: dict[str, list[tuple[bytes, int]]] = {}
    with (folder / "labels.csv").open(newline="") as f:
        for row in csv.DictReader(f):
            entry = (folder / row["image"]).read_bytes(), CLASSES.index(row["emotion"])
            sets.setdefault(row["source"], []).append(entry)
    return sets


def prepare(archive: Path, tests: Path | None, cache: Path) -> None:
    """Writes the caches of the training, validation and test sets; a set that is there already is left alone."""
    cache.mkdir(parents=True, exist_ok=True)
    jobs = {part: _zip_files(archive, part) for part in ("validation", "train")}
    if tests is not None:
        jobs |= {f"test-{source}": files for source, files in _test_files(tests).items()}
    finder = FivePoints()
    for name, files in jobs.items():
        if not (cache / f"{name}.found.npy").exists():
            _prepare_set(name, files, cache, finder, keep_sources=not name.startswith("test-"))


def load(cache: Path, name: str) -> Faces:
    """One prepared set, the pictures mapped rather than read."""

    def array(key: str, mode: Literal["r"] | None) -> NDArray[Any]:
        path = cache / f"{name}.{key}.npy"
        return np.asarray(np.load(path, mmap_mode=mode)) if path.exists() else np.empty(0, np.uint8)

    return Faces(
        array("chips", "r"), array("labels", None), array("found", None), array("sources", "r"), array("points", None)
    )


def prepared_tests(cache: Path) -> Iterable[str]:
    """Names of the prepared test sets."""
    return sorted(p.name.removesuffix(".found.npy") for p in cache.glob("test-*.found.npy"))
