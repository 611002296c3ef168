"""What all tests share: weights pulled once, the portrait, a clip with a known face, and the program as a process."""

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from streamer.bench.scene import film
from streamer.config import ModelSettings, Settings, StreamSettings
from streamer.face import Frame, Pixels
from streamer.inference.models import Models, Workshop
from streamer.media.budget import DecodingBudget
from streamer.media.opening import Host
from streamer.media.pictures import encode_jpeg, read_picture
from streamer.media.source import StateChange, Tally, keep_open
from streamer.turns import Share, Turns
from tests.servers.clips import FOLDER

RECORDINGS = ("videos/noface_earth.mp4", "tracking/two_speakers_240p.mp4", "videos/asl_cuts_640x480.mp4")
Source = AsyncGenerator[Frame | StateChange, None]


def unavailable(reason: str) -> None:
    """Skip for want of something this machine lacks; in CI, where everything can be had, that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def host(portrait: Path | None = None) -> Host:
    return Host(2, DecodingBudget(2), portrait)


def opened(stream: StreamSettings, on: Host | None = None, tally: Tally | None = None) -> Source:
    """A source on a machine that is never busy."""
    return keep_open(stream, Share(Turns(1_000_000)), on or host(), tally or Tally())


@pytest.fixture(scope="session")
def settings() -> Settings:
    """Default settings over the cache that the program itself uses."""
    return Settings(models=ModelSettings(cache=os.environ.get("STREAMER_CACHE", "")))


@pytest.fixture(scope="session")
def workshop(settings: Settings) -> Iterator[Workshop]:
    """Pulls the weights if they are not here yet: the only network that the tests use."""
    workshop = Workshop(settings)
    yield workshop
    workshop.close()


@pytest.fixture(scope="session")
def realtime(workshop: Workshop) -> Models:
    return workshop.models("realtime")


@pytest.fixture(scope="session")
def accurate(workshop: Workshop) -> Models:
    return workshop.models("accurate")


@pytest.fixture(scope="session")
def portrait_path(workshop: Workshop) -> Path:
    """The public-domain portrait: one woman, smiling, in her thirties or forties."""
    return workshop.picture("portrait")


@pytest.fixture(scope="session")
def portrait(portrait_path: Path) -> Pixels:
    return read_picture(portrait_path)


@pytest.fixture(scope="session")
def jpeg(portrait: Pixels) -> bytes:
    """The portrait, 512 pixels wide."""
    return encode_jpeg(portrait, 512, 95)


@pytest.fixture(scope="session")
def face_clip(portrait: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(portrait, tmp_path_factory.mktemp("clips") / "face.mp4")


Streamer = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def streamer(workshop: Workshop) -> Streamer:
    """Runs the command to its end: `streamer("image", path)`. The weights are there by then."""

    def run(*arguments: str | Path, timeout: float = 60, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "streamer", *map(str, arguments)]
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            command, capture_output=True, text=True, timeout=timeout, check=False, **options
        )

    return run


@pytest.fixture(scope="session")
def help_of(streamer: Streamer) -> Callable[[str], str]:
    """What a command says with `--help`: `help_of("log verify")`, `help_of("")`."""

    @cache
    def shown(command: str) -> str:
        done = streamer(*command.split(), "--help")
        assert done.returncode == 0, done.stderr
        return done.stdout

    return shown


@pytest.fixture(scope="session")
def recorded(streamer: Streamer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of a run on all recordings that are on this machine, side by side."""
    log = tmp_path_factory.mktemp("recorded") / "logs"
    sources = [argument for name in RECORDINGS if (FOLDER / name).is_file() for argument in ("-s", FOLDER / name)]
    if sources:
        done = streamer("run", *sources, "--log", log, "--no-server", timeout=110)
        assert done.returncode == 0, done.stderr
    return log
