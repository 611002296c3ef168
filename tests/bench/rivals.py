"""The program beside others that analyse faces on a CPU without a network: the same clips, in turns.

    python -m tests.bench.rivals install FOLDER           once: fetches them with npm and pip into FOLDER (2 GB)
    python -m tests.bench.rivals run FOLDER CLIP...       [--rounds 5] [--seconds 4] [--only NAME]

Each round is ours, theirs, ours; what counts is the median of the ratios, for a machine's speed changes from minute to
minute. Ours is `streamer run` on the file with every frame analysed, decoding and records included; of theirs only the
call that analyses a picture is timed, which they find decoded in memory. Wants Node 18 or newer.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import av

from streamer.bench.run import Job, Outcome, in_process
from streamer.config import ModelSettings, ServerSettings, Settings, StreamSettings

DRIVERS = Path(__file__).parent / "drivers"
PICTURES = 24  # of a clip, spread over it, that a rival gets again and again
FRAMES, WARM_UP = 150, 25  # of each of our runs
NODE = ("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix")
TFJS = ("@tensorflow/tfjs@4.22.0", "@tensorflow/tfjs-backend-wasm@4.22.0")
PIP = ("-m", "pip", "install", "--quiet")


class Rival(NamedTuple):
    """`does` is what it tells of a face; `install` are commands, `run` the one that starts it, less the picture's size.
    FOLDER in them is where it lives.
    """

    name: str
    does: str
    install: tuple[tuple[str, ...], ...]
    run: tuple[str, ...]


def _node(name: str, does: str, package: str, driver: str) -> Rival:
    run = ("node", str(DRIVERS / driver), "FOLDER/node_modules")
    return Rival(name, does, ((*NODE, "FOLDER", package, *TFJS),), run)


def _python(name: str, does: str, driver: str, *installs: tuple[str, ...]) -> Rival:
    python = "FOLDER/venv/bin/python"
    create = (sys.executable, "-m", "venv", "FOLDER/venv")
    return Rival(
        name, does, (create, *((python, *PIP, *packages) for packages in installs)), (python, str(DRIVERS / driver))
    )


RIVALS = (
    _node("human 3.3.6 (Node, wasm)", "the same", "@vladmandic/human@3.3.6", "human.js"),
    _node("face-api 1.7.15 (Node, wasm)", "the same", "@vladmandic/face-api@1.7.15", "face_api.js"),
    _python(
        "fer 25.10.3",
        "boxes, emotions",
        "fer_faces.py",
        ("tensorflow-cpu", "opencv-contrib-python-headless<5", "setuptools<81", "pandas", "pillow", "requests", "tqdm"),
        ("--no-deps", "fer==25.10.3"),
    ),
    _python(
        "mediapipe 0.10.21",
        "boxes",
        "mediapipe_faces.py",
        ("mediapipe==0.10.21", "opencv-contrib-python-headless<4.12"),
    ),
)


class Round(NamedTuple):
    """Milliseconds a frame of theirs and of ours, before and after it, and faces that they found in a frame."""

    theirs: float
    ours: float
    faces: float

    @property
    def ratio(self) -> float:
        return self.theirs / self.ours


def install(folder: Path) -> None:
    for rival in RIVALS:
        home = _home(folder, rival)
        home.mkdir(parents=True, exist_ok=True)
        for command in rival.install:
            print("+", *_at(home, command), flush=True)
            subprocess.run(_at(home, command), check=True)


def compare(folder: Path, rivals: list[Rival], clip: Path, rounds: int, seconds: float) -> dict[Rival, list[Round]]:
    """Every rival in turn with our own runs, `rounds` times."""
    pictures, (width, height) = _pictures(clip)
    measured: dict[Rival, list[Round]] = {rival: [] for rival in rivals}
    before = _ours(clip)
    for number in range(rounds):
        for rival in rivals:
            with _running(_home(folder, rival), rival, width, height) as process:
                ms, faces = _theirs(process, pictures, seconds)
            after = _ours(clip)
            measured[rival].append(Round(ms, (1000 / before.fps + 1000 / after.fps) / 2, faces))
            before = after
            print(f"{clip.name} {number + 1} of {rounds}: {rival.name} {measured[rival][-1]}", file=sys.stderr)
    return measured


def table(clip: Path, measured: dict[Rival, list[Round]]) -> str:
    rows = [
        f"| {clip.name} | tells | ms a frame | ours | times as long | rounds |",
        "|---|---|---|---|---|---|",
    ]
    for rival, rounds in measured.items():
        ratios = sorted(one.ratio for one in rounds)
        ms, ours = median(one.theirs for one in rounds), median(one.ours for one in rounds)
        spread = f"{_short(ratios[0])}-{_short(ratios[-1])}"
        rows.append(
            f"| {rival.name} | {rival.does} | {_short(ms)} | {_short(ours)} | {_short(median(ratios))} | {spread} |"
        )
    return "\n".join(rows)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 2 else f"{value:.2f}"


def _home(folder: Path, rival: Rival) -> Path:
    return folder.resolve() / rival.name.split()[0]


def _at(home: Path, command: tuple[str, ...]) -> list[str]:
    return [part.replace("FOLDER", str(home)) for part in command]


def _pictures(clip: Path) -> tuple[list[bytes], tuple[int, int]]:
    """Raw RGB, and their width and height."""
    with av.open(str(clip)) as container:
        video = container.streams.video[0]
        every = max((video.frames or PICTURES) // PICTURES, 1)
        spread = islice(container.decode(video), 0, every * PICTURES, every)
        pictures = [frame.to_ndarray(format="rgb24").tobytes() for frame in spread]
        return pictures, (video.width, video.height)


@contextmanager
def _running(home: Path, rival: Rival, width: int, height: int) -> "Iterator[subprocess.Popen[bytes]]":
    command = [*_at(home, rival.run), str(width), str(height)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            if not _answer(process).get("ready"):
                raise RuntimeError(f"{rival.name} did not start: {' '.join(command)}")
            yield process
        finally:
            process.kill()


def _theirs(process: "subprocess.Popen[bytes]", pictures: list[bytes], seconds: float) -> tuple[float, float]:
    """Mean milliseconds of a frame, the first few aside, and mean number of faces."""
    assert process.stdin is not None
    times, faces = list[float](), list[int]()
    for number, picture in enumerate(cycle(pictures)):
        process.stdin.write(picture)
        process.stdin.flush()
        answer = _answer(process)
        if number >= 3:  # they compile and fill caches
            times.append(answer["ms"])
            faces.append(answer["faces"])
        if sum(times) > 1000 * seconds and len(times) >= 5:
            break
    return sum(times) / len(times), sum(faces) / len(faces)


def _answer(process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    assert process.stdout is not None
    answer: dict[str, Any] = json.loads(process.stdout.readline() or b"{}")
    return answer


def _ours(clip: Path) -> Outcome:
    settings = Settings(
        server=ServerSettings(enabled=False),
        streams={"clip": StreamSettings(str(clip.resolve()), loop=True)},
        models=ModelSettings(cache=os.environ.get("STREAMER_CACHE", "")),
    )
    return in_process(Job(settings, frames=FRAMES, warm_up=WARM_UP))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("install", "run"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("clips", type=Path, nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a rival in each round")
    parser.add_argument("--only", default="", help="rivals whose names begin so")
    given = parser.parse_args()
    if given.what == "install":
        install(given.folder)
    for clip in given.clips:
        rivals = [rival for rival in RIVALS if rival.name.startswith(given.only)]
        print(table(clip, compare(given.folder, rivals, clip, given.rounds, given.seconds)), flush=True)


if __name__ == "__main__":
    main()
