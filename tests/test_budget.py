"""The CPU time that control groups leave, from what the system's files say."""

import math
import os

import pytest

from streamer.inference.budget import Budget, cgroup_quota, cpu_budget, read_budget

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "33 32 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
V1_OTHER = "34 32 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
V1_IN_DOCKER = "33 32 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct"


def quota(groups: str, mounts: str, files: dict[str, str]) -> float:
    def read(path: str) -> str:
        if path not in files:
            raise FileNotFoundError(path)
        return files[path]

    return cgroup_quota(groups, mounts, read)


def v1_files(folder: str, allowed: str, period: str = "100000\n") -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": allowed, f"{folder}/cpu.cfs_period_us": period}


def test_a_group_of_its_own() -> None:
    files = {"/sys/fs/cgroup/cpu.max": "150000 100000\n"}
    assert quota("0::/\n", V2, files) == 1.5
    assert quota("0::/\n", V2, {"/sys/fs/cgroup/cpu.max": "max 100000\n"}) == math.inf


def test_of_nested_groups_the_tightest_counts() -> None:
    files = {
        "/sys/fs/cgroup/kubepods/cpu.max": "400000 100000\n",
        "/sys/fs/cgroup/kubepods/pod1/cpu.max": "50000 100000\n",
        "/sys/fs/cgroup/kubepods/pod1/c/cpu.max": "max 100000\n",
        "/sys/fs/cgroup/kubepods/other/cpu.max": "10000 100000\n",
    }
    assert quota("0::/kubepods/pod1/c\n", V2, files) == 0.5


def test_the_first_version_of_control_groups() -> None:
    groups = "5:memory:/m\n4:cpu,cpuacct:/a/b\n0::/\n"
    mounts = f"{V1_OTHER}\n{V1}\n{V2}"
    assert quota(groups, mounts, v1_files("/sys/fs/cgroup/cpu,cpuacct/a/b", "250000\n")) == 2.5
    assert quota(groups, mounts, v1_files("/sys/fs/cgroup/cpu,cpuacct/a", "250000\n", "50000\n")) == 5
    assert quota(groups, mounts, v1_files("/sys/fs/cgroup/cpu,cpuacct/a/b", "-1\n")) == math.inf
    assert quota(groups, mounts, v1_files("/sys/fs/cgroup/memory/a/b", "1\n")) == math.inf


def test_in_a_container_the_mount_is_the_group() -> None:
    groups = "4:cpu,cpuacct:/docker/abc\n"
    assert quota(groups, V1_IN_DOCKER, v1_files("/sys/fs/cgroup/cpu,cpuacct", "100000\n")) == 1
    # The group as the host names it, seen from inside.
    assert quota(groups, V1, v1_files("/sys/fs/cgroup/cpu,cpuacct", "100000\n")) == 1


@pytest.mark.parametrize(
    ("groups", "mounts", "text"),
    [
        ("", "", "1 1"),
        ("nonsense\n::\n", "x - y\n - cgroup2\n", "1 1"),
        ("0::/\n", V2, "what?"),
        ("0::/\n", V2, "100000 0"),
        ("0::/\n", V2, ""),
    ],
)
def test_what_cannot_be_read_limits_nothing(groups: str, mounts: str, text: str) -> None:
    assert quota(groups, mounts, {"/sys/fs/cgroup/cpu.max": text}) == math.inf


@pytest.mark.parametrize(
    ("budget", "threads"),
    [(Budget(8, math.inf), 8), (Budget(8, 1.5), 2), (Budget(8, 0.1), 1), (Budget(2, 16), 2), (Budget(4, 4), 4)],
)
def test_threads_are_as_many_as_can_be_kept_busy(budget: Budget, threads: int) -> None:
    assert budget.threads == threads


def test_this_machine_has_a_budget() -> None:
    assert 1 <= cpu_budget() <= (os.cpu_count() or 1)
    assert read_budget().quota > 0
