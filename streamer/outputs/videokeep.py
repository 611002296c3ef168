"""How long videos are kept."""

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from streamer.config import VideoSettings
from streamer.log.layout import days, remove_empty_day, streams

_log = logging.getLogger(__name__)
_EVERY = 600.0  # seconds between two looks
_NAME = re.compile(r"\d{9}-\w+(-\d+)?\.mp4")  # as VideoFiles gives them: nothing else is ever touched
_DAY = 86_400.0
_GB = 1e9


class Video(msgspec.Struct, frozen=True):
    """A video in a folder of videos, when it was written last (seconds since 1970), and its bytes. The `newest` of a
    stream may still be written.
    """

    path: Path
    ended: float
    size: int
    newest: bool = False


def find_videos(folder: Path) -> list[Video]:
    """All of all streams, oldest first. Raises OSError."""
    found: list[Video] = []
    for stream in streams(folder) if folder.is_dir() else ():
        paths = [path for day in days(folder / stream) for path in day.iterdir() if _NAME.fullmatch(path.name)]
        status = {path: path.stat() for path in paths}
        newest = max(paths, key=lambda path: status[path].st_mtime, default=None)
        found += [Video(path, of.st_mtime, of.st_size, path == newest) for path, of in status.items()]
    return sorted(found, key=lambda video: video.ended)


def expired(found: list[Video], settings: VideoSettings, at: float) -> list[Video]:
    """Those that must go at time `at`: what is too old, and the oldest of too many but no stream's newest."""
    gone: list[Video] = []
    total = sum(video.size for video in found)
    for video in found:
        too_old = settings.keep_days and at - video.ended > settings.keep_days * _DAY
        too_many = settings.keep_gb and total > settings.keep_gb * _GB and not video.newest
        if too_old or too_many:
            gone.append(video)
            total -= video.size
    return gone


def remove_expired(settings: VideoSettings, at: float) -> None:
    """Delete them, and days of which nothing is left. Raises OSError."""
    for video in expired(find_videos(settings.file()), settings, at):
        video.path.unlink(missing_ok=True)
        remove_empty_day(video.path.parent, at)
        _log.info("%s: deleted, for [video] keep_days or keep_gb", video.path)


@asynccontextmanager
async def old_videos_removed(settings: VideoSettings) -> AsyncGenerator[None, None]:
    """Looks for them in a thread now and every ten minutes, for as long as the block lasts."""
    if not settings.path or settings.single or not (settings.keep_days or settings.keep_gb):
        yield
        return
    tending = asyncio.create_task(_tend(settings))
    try:
        yield
    finally:
        tending.cancel()
        await asyncio.gather(tending, return_exceptions=True)


async def _tend(settings: VideoSettings) -> None:
    while True:
        try:
            await asyncio.to_thread(remove_expired, settings, time.time())
        except OSError as error:
            _log.warning("%s: old videos cannot be deleted: %s", settings.file(), error)
        await asyncio.sleep(_EVERY)
