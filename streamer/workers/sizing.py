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
    One thread of a process does all that is not computing - results, tracks, records - and that is 8 to 20 % of a
    frame's CPU time, measured with everything for every frame: with six threads it is busy for half to all of the
    time, with more they wait for it. With fewer, further processes only cost memory, some 270 MB each. It is decided
    at the start: where streams are to be added later, a number says more.
    """
    if settings.workers == 0 or (settings.workers != "auto" and os.name == "posix"):
        return settings.workers
    if settings.workers == "auto":
        most = min(threads // _EACH, len(settings.streams))
        return most if threads >= _WORTH_IT and most > 1 and os.name == "posix" else 0
    raise ConfigError("workers need a system such as Linux or macOS", "set workers = 0")


def in_words(settings: Settings, threads: int) -> str:
    """What is done in which processes. Raises ConfigError."""
    count = how_many(settings, threads)
    if not count:
        return "none, all in one process"
    return f"up to {count}, one more with each stream; each takes {max(threads // count, 1)} of {threads} CPU threads"
