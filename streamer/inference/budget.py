"""How many CPU threads this process may keep busy: its affinity, cut to the quota of its control groups."""

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

Read = Callable[[str], str]


class Budget(NamedTuple):
    """The `cores` that a process may run on, and its `quota` of their time, in cores; infinite where there is none."""

    cores: int
    quota: float

    @property
    def threads(self) -> int:
        """How many threads can be kept busy."""
        return max(1, self.cores if self.quota >= self.cores else math.ceil(self.quota))


def cpu_budget() -> int:
    """How many CPU threads this process may keep busy."""
    return read_budget().threads


def read_budget() -> Budget:
    """What the system lets this process have."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        return Budget(cores, cgroup_quota(_read("/proc/self/cgroup"), _read("/proc/self/mountinfo"), _read))
    except OSError:
        return Budget(cores, math.inf)


def cgroup_quota(groups: str, mounts: str, read: Read) -> float:
    """The CPU time that a process may have, in cores; infinite where nothing limits it. Of nested groups the tightest
    counts.

    `groups` and `mounts` are what /proc/self/cgroup and /proc/self/mountinfo hold; `read` gives a file's text or raises
    OSError.
    """
    return min(
        (
            _limit(str(folder), version, read)
            for version, root, mount in _hierarchies(mounts)
            for folder in _folders(_group(groups, version), root, mount)
        ),
        default=math.inf,
    )


def _hierarchies(mounts: str) -> Iterator[tuple[int, str, str]]:
    """Version, root and mount point of each hierarchy that can limit CPU time."""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        place, kind = before.split(), after.split()
        if len(place) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            yield 2, place[3], place[4]
        elif kind[0] == "cgroup" and "cpu" in kind[2].split(","):
            yield 1, place[3], place[4]


def _group(groups: str, version: int) -> str:
    """The path of this process' group in its hierarchy."""
    for line in groups.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (number == "0" and not controllers) if version == 2 else "cpu" in controllers.split(","):
            return path
    return "/"


def _folders(group: str, root: str, mount: str) -> list[PurePosixPath]:
    """The folders of the group and of all around it. In a container the mount may show only the innermost ones."""
    inside = PurePosixPath(group)
    relative = inside.relative_to(root) if inside.is_relative_to(root) else PurePosixPath()
    folder = PurePosixPath(mount) / relative
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(mount))]


def _limit(folder: str, version: int, read: Read) -> float:
    try:
        if version == 2:
            quota, period = read(f"{folder}/cpu.max").split()
        else:
            quota, period = read(f"{folder}/cpu.cfs_quota_us"), read(f"{folder}/cpu.cfs_period_us")
        return math.inf if quota == "max" or int(quota) < 0 else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf  # the root group has no such files


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")
