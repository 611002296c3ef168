"""Where videos lie. None is ever overwritten: a name that is taken gets a number."""

import tempfile
from collections.abc import Collection
from itertools import count
from pathlib import Path

from streamer.config import VIDEO_SUFFIXES, PrivacySettings, VideoSettings
from streamer.errors import ConfigError, OutputError
from streamer.log.layout import new_path


def check_path(settings: VideoSettings, streams: Collection[str], privacy: PrivacySettings) -> None:
    """Raises ConfigError if the videos of `streams` cannot be meant to lie there, or to be written at all."""
    if not privacy.pictures:
        raise ConfigError(
            "no video can be written where pictures are switched off",
            "leave out --video and [video] path, or see [privacy]",
        )
    path, known = settings.file(), ", ".join(VIDEO_SUFFIXES)
    if settings.single:
        if len(streams) > 1:
            raise ConfigError(
                f"{path}: is one video, but there are {len(streams)} streams", "give a folder: each gets its own there"
            )
    elif path.suffix and not path.is_dir() and not settings.path.endswith("/"):
        raise ConfigError(
            f"{path}: videos of the kind {path.suffix} cannot be written",
            f"known: {known}; or a folder, with a / behind its name",
        )


class VideoFiles:
    """Names for the videos of a run: `path` itself, or `<stream>/<UTC date>/<time>-<session>.mp4` in that folder."""

    def __init__(self, settings: VideoSettings, streams: Collection[str], session: str) -> None:
        """Raises OutputError if nothing can be written there."""
        self.path = settings.file()
        self.single = settings.single
        self._streams = streams
        self._session = session
        self.folder = self.path.parent if self.single else self.path
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise OutputError(
                f"{self.path}: no video can be written there: {error.strerror}", "choose another place with --video"
            ) from None

    def create(self, stream: str, at: float) -> Path:
        """A new, empty file for the video of a stream that begins at `at` (seconds since 1970). Raises OSError."""
        if self.single:
            first = self.path if stream in self._streams else self.path.with_stem(f"{self.path.stem}-{stream}")
        else:
            first = new_path(self.path, stream, self._session, at, None).with_suffix(VIDEO_SUFFIXES[0])
        first.parent.mkdir(parents=True, exist_ok=True)
        for n in count(1):
            path = first if n == 1 else first.with_stem(f"{first.stem}-{n}")
            try:
                path.open("xb").close()
            except FileExistsError:
                continue
            return path
        raise AssertionError("there is always another number")
