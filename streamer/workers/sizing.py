"""How many processes suit a machine."""

import os

from streamer.config import Settings
from streamer.errors import ConfigError

_EACH = 6  # threads that one process is given
_WORTH_IT = 8  # threads below which one process does it all


def how_many(settings: Settings, threads: int) -> int:
    """How many workers the settings mean on a machine with so many CPU `threads` for the program; 0: everything is done
    in one process. Raises ConfigError.

    `auto` is one worker for every six threads, never more than streams, and 0 below eight threads or for one stream.
    In one process all Python runs in one thread at a time, and what there is of it in a frame's way keeps that thread
    busy once some eight others compute; with fewer, further processes only cost memory, each some 300 MB. It is decided
    at the start: where streams are to be added later, a number says more.
    """
    if settings.workers == 0 or (settings.workers != "auto" and os.name == "posix"):
        return settings.workers
    if settings.workers == "auto":
        most = min(threads // _EACH, len(settings.streams))
        return most if threads >= _WORTH_IT and most > 1 and os.name == "posix" else 0
    raise ConfigError("workers need a system such as Linux or macOS", "set workers = 0")
