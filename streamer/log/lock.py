"""One run at a time writes into a log."""

from pathlib import Path

import filelock

from streamer.errors import LogError
from streamer.log.layout import LOCK


def take(root: Path) -> filelock.BaseFileLock:
    """The right to write there, until it is released. Raises LogError if another has it, and OSError."""
    lock = filelock.FileLock(root / LOCK, thread_local=False)  # taken in one thread, given back in another
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise LogError(f"{root}: another run writes there", "wait until it has ended, or take another folder") from None
    return lock


def root_of(where: Path) -> Path | None:
    """The folder of the log that a folder or a segment belongs to; None if no run has written there."""
    return next((folder for folder in (where, *where.parents[:3]) if (folder / LOCK).is_file()), None)


def in_use(where: Path) -> bool:
    """Whether a run writes there at the moment."""
    root = root_of(where)
    if root is None:
        return False
    try:
        take(root).release()
    except (LogError, OSError):  # a log that cannot be locked can only be looked at
        return True
    return False
