"""Files that appear whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from streamer.errors import ConfigError, OutputError


@contextlib.contextmanager
def appearing(path: Path, force: bool) -> Iterator[Path]:
    """A file of another name to write to, which takes the name `path` at the end and goes away after an error.

    Raises ConfigError if there is something at `path` and not `force`; OutputError if it cannot be written.
    """
    if path.is_dir() or (path.exists() and not force):
        raise ConfigError(f"{path}: is there already", "choose another name, or --force")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}", "choose another place") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
