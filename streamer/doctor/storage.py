"""Checks of disks and of what lies on them: the cache, the models' weights, the folders of log and videos."""

import os
import shlex
import shutil
from pathlib import Path

from streamer.config import LogSettings, ModelSettings, VideoSettings
from streamer.doctor.findings import Finding, fine, note, problem
from streamer.errors import ModelError, WrongHashError
from streamer.inference.cards import Card
from streamer.inference.store import Store, size_of

_ROOM = 1 << 30  # bytes free that a cache should leave the rest of the system
# Bytes of log that a stream writes in a day at 25 frames a second with a face in each, and what is left of them.
_DAILY = 2 << 30
_PACKED = 10
_DAILY_VIDEO = 60 << 30  # of a 1080p camera
_DAYS = 7


def cache(settings: ModelSettings, missing: int) -> Finding:
    """The cache folder; `missing` is how many bytes are still to be fetched into it."""
    folder = settings.folder()
    trouble = obstacle(folder)
    if trouble:
        return problem(
            "cache", f"{folder}: {trouble}", "choose another folder: [models] cache, --cache or STREAMER_CACHE"
        )
    free = shutil.disk_usage(existing(folder)).free
    seen = f"{folder}: {_size(size_of(folder))} used, {_size(free)} free on its disk"
    elsewhere = "make room, or move the cache with [models] cache, --cache or STREAMER_CACHE"
    if free < missing + (64 << 20):
        return problem("cache", f"{seen}: too little for the weights that are missing ({_size(missing)})", elsewhere)
    return note("cache", f"{seen}: soon full", elsewhere) if free < _ROOM else fine("cache", seen)


def model(card: Card, store: Store, settings: ModelSettings) -> Finding:
    """Whether the weights of `card` are here and what the card says."""
    check, size = f"model {card.name}", _size(card.source.bytes)
    try:
        store.verify(card)
    except WrongHashError as error:
        return problem(check, error.message, error.hint)
    except (ModelError, OSError) as error:
        if isinstance(error, OSError):
            return problem(
                check,
                f"{store.weights(card)} cannot be read: {error.strerror}",
                f"sudo chown -R $USER {shlex.quote(str(settings.folder()))}",
            )
        if not card.source.package:
            return problem(check, f"{store.weights(card)} is missing", "install facestreamer again")
        return note(check, "not fetched yet: the first run that needs it does, if there is a network", _pull(settings))
    return fine(check, f"here, {size}, its hash is right")


def missing_bytes(cards: list[Card], store: Store) -> int:
    """How much has to be fetched for `cards`."""
    return sum(
        card.source.download or card.source.bytes for card in cards if not os.access(store.weights(card), os.R_OK)
    )


def log(settings: LogSettings, streams: int) -> Finding:
    """Whether the log of so many streams can be written, and for how long there is room."""
    if not settings.path:
        return fine("log", "none is written")
    path = settings.file()
    trouble = obstacle(path)
    if not trouble and path.exists() and path.is_dir() == (path.suffix == ".jsonl"):
        trouble = "a log's file ends in .jsonl, its folder does not"
    daily = _DAILY / (_PACKED if settings.compress and path.suffix != ".jsonl" else 1)
    return _recorded("log", settings, trouble, daily, streams)


def video(settings: VideoSettings, streams: int) -> Finding:
    """The same of the videos."""
    if not settings.path:
        return fine("video", "none is written")
    return _recorded("video", settings, obstacle(settings.file()), _DAILY_VIDEO, streams)


def _recorded(check: str, settings: LogSettings | VideoSettings, trouble: str, daily: float, streams: int) -> Finding:
    """Whether there is room for what takes so many bytes a stream and day."""
    path = settings.file()
    if trouble:
        return problem(check, f"{path}: {trouble}", f"choose another place: [{check}] path or --{check}")
    free = shutil.disk_usage(existing(path)).free
    if free < settings.min_free_mb * 1e6:
        less = f"{path}: {_size(free)} free, less than [{check}] min_free_mb = {settings.min_free_mb:g}"
        return problem(check, f"{less}: nothing will be recorded", f"make room, or write elsewhere with [{check}] path")
    days = (free - settings.min_free_mb * 1e6) / daily / max(1, streams)
    seen = f"{path}: {_size(free)} free, enough for some {days:.0f} days at {_size(round(daily))} a stream and day"
    if days < _DAYS and not (settings.keep_days or settings.keep_gb):
        return note(check, seen, f"make room, or have what is old deleted: [{check}] keep_gb or keep_days")
    return fine(check, seen)


def existing(path: Path) -> Path:
    """`path`, or the nearest folder above it that exists."""
    path = path.absolute()
    return next((place for place in (path, *path.parents) if os.access(place, os.F_OK)), path)


def obstacle(path: Path) -> str:
    """Why a file or folder at `path` could not be written or made; empty if it could."""
    nearest = existing(path)
    if not os.access(nearest, os.F_OK):
        return "there is no such disk"
    if nearest != path.absolute() and not nearest.is_dir():
        return f"{nearest} is a file, not a folder"
    if not os.access(nearest, os.W_OK if nearest.is_file() else os.W_OK | os.X_OK):
        return f"{nearest} cannot be written by this user"
    return ""


def _pull(settings: ModelSettings) -> str:
    place = f" --cache {shlex.quote(settings.cache)}" if settings.cache else ""
    return f"streamer{place} models pull"


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GB" if count >= 1 << 30 else f"{count / (1 << 20):.1f} MB"
