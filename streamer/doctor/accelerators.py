"""Checks of what computes: OpenVINO's devices and precision, why there is no GPU, decoders in hardware."""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from streamer.doctor.findings import Finding, fine, note, problem
from streamer.errors import DeviceError

_INTEL, _DISPLAY = "0x8086", "0x03"  # PCI vendor, and how the class of graphics devices begins
_LIBRARIES = ("usr/lib", "usr/lib64", "usr/lib/*-linux-*", "usr/local/lib", "usr/local/lib64", "lib64")
_INSTALL = "sudo apt-get install"


class RenderNode(msgspec.Struct, frozen=True):
    """A GPU's device file, the `group` that may open it, and whether this user may."""

    path: str
    group: str
    usable: bool


class GpuFacts(msgspec.Struct, frozen=True):
    """What decides whether OpenVINO can use a GPU. `intel` is None where the system does not show its hardware;
    `loader` is OpenCL's library, `driver` Intel's part behind it.
    """

    intel: bool | None
    nodes: tuple[RenderNode, ...]
    container: bool
    loader: bool
    driver: bool


def unmounted(root: Path = Path("/")) -> list[str]:
    """Which of the kernel's file systems are missing that OpenVINO would wait for, for ever."""
    signs = {"/proc": "proc/self/stat", "/sys": "sys/devices"}
    return [mount for mount, sign in signs.items() if not (root / sign).exists()]


def not_mounted(missing: list[str]) -> Finding:
    kinds = {"/proc": "proc", "/sys": "sysfs"}
    return problem(
        "devices",
        f"{' and '.join(missing)} not mounted: OpenVINO hangs without them, so it was not asked",
        "; ".join(f"sudo mount -t {kinds[mount]} {kinds[mount]} {mount}" for mount in missing),
    )


def compute_devices(hardware: dict[str, str], wanted: str) -> Finding:
    """`hardware` is what each device of OpenVINO is called; `wanted` the setting `device`."""
    seen = ", ".join(f"{name} ({what})" for name, what in hardware.items())
    if wanted == "AUTO" or _is_there(wanted, hardware):
        return fine("devices", seen)
    fix = 'see the check "GPU", or set device = "CPU"' if wanted.startswith("GPU") else 'set device = "CPU"'
    return problem("devices", f"{seen}; {wanted}, which the settings ask for, is not there: CPU would be used", fix)


def device_used(names: Iterable[str], wanted: str) -> str:
    """The device that the setting `device` comes to, of those that OpenVINO has: its AUTO prefers a GPU."""
    preferred = "GPU" if wanted == "AUTO" else wanted
    return preferred if _is_there(preferred, names) else "CPU"


def _is_there(device: str, names: Iterable[str]) -> bool:
    return any(name == device or name.startswith(f"{device}.") for name in names)


def precision(device: str, graph: Path | None) -> Finding:
    """What `device` really computes with, told by a small model."""
    from streamer.inference import devices

    try:
        chosen = devices.precision(device, graph)
    except DeviceError as error:
        return problem("precision", error.message, "bring the device's driver up to date, or set device = CPU")
    return fine("precision", f"{chosen} on {device}, as OpenVINO chose")


def gpu(names: Iterable[str], facts: GpuFacts) -> Finding:
    """`names` are those of OpenVINO's devices. The first thing that is missing between it and a GPU."""
    there = [name for name in names if name.startswith("GPU")]
    if there:
        return fine("GPU", f"{', '.join(there)} can be used: device = GPU")
    if facts.intel is False or (facts.intel is None and not facts.nodes and not facts.container):
        return fine("GPU", "none of Intel's, the only ones that OpenVINO knows; the CPU does the work")
    if not facts.nodes:
        return _no_nodes(facts)
    if not any(node.usable for node in facts.nodes):
        node = facts.nodes[0]
        fix = f"sudo usermod -aG {node.group} $USER, then log in again"
        if facts.container:
            fix = f"start the container with: --group-add $(stat -c %g {node.path})"
        return note("GPU", f"{node.path} may not be opened by this user; group {node.group} may", fix)
    where = "in the container's image: " if facts.container else ""
    if not facts.driver or not facts.loader:
        missing = [("Intel's OpenCL driver", facts.driver), ("OpenCL's loader (libOpenCL.so.1)", facts.loader)]
        return note(
            "GPU",
            f"{facts.nodes[0].path} is there, but not {' nor '.join(what for what, there in missing if not there)}",
            f"{where}{_INSTALL} intel-opencl-icd ocl-icd-libopencl1",
        )
    return note(
        "GPU",
        "device file and OpenCL driver are there, yet OpenVINO sees no GPU: the driver may be too old for it",
        f"{where}{_INSTALL} --only-upgrade intel-opencl-icd, then see what it finds: {_INSTALL} clinfo && clinfo -l",
    )


def _no_nodes(facts: GpuFacts) -> Finding:
    if facts.container:
        seen = "this machine has one of Intel's" if facts.intel else "if this machine has one of Intel's"
        return note(
            "GPU",
            f"{seen}, but the container was not given it: no /dev/dri",
            "docker run --device /dev/dri --group-add $(stat -c %g /dev/dri/renderD128) ...",
        )
    return note(
        "GPU",
        "this machine has one of Intel's, but no /dev/dri: its kernel driver is not loaded",
        "sudo modprobe i915 || sudo modprobe xe; then see: sudo dmesg | grep -iE 'i915|xe '",
    )


def read_gpu_facts(*, container: bool, root: Path = Path("/")) -> GpuFacts:
    """As the files below `root` tell them."""
    return GpuFacts(
        intel=_intel_graphics(root / "sys/bus/pci/devices"),
        nodes=tuple(_render_node(path) for path in sorted((root / "dev/dri").glob("renderD*"))),
        container=container,
        loader=_has_library(root, "libOpenCL.so.1"),
        driver=any((root / "etc/OpenCL/vendors").glob("*intel*.icd")) or _has_library(root, "libze_intel_gpu.so.1"),
    )


def _intel_graphics(bus: Path) -> bool | None:
    if not bus.is_dir():
        return None
    return any(
        _line(device / "class").startswith(_DISPLAY) and _line(device / "vendor") == _INTEL for device in bus.iterdir()
    )


def _render_node(path: Path) -> RenderNode:
    return RenderNode(str(path), group_of(path), os.access(path, os.R_OK | os.W_OK))


def group_of(path: Path) -> str:
    """The group that a file belongs to: its name, or its number where it has none here."""
    try:
        return path.group()
    except (KeyError, NotImplementedError):
        return str(path.stat().st_gid)


def _has_library(root: Path, name: str) -> bool:
    return any(folder.joinpath(name).exists() for pattern in _LIBRARIES for folder in root.glob(pattern))


def _line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def decoders(built_in: list[str], working: list[str]) -> Finding:
    """Kinds of video decoders in hardware that FFmpeg was built with, and those that this machine has."""
    known = f" (this FFmpeg knows {', '.join(built_in)})" if built_in else ""
    return fine("decoders", f"in hardware: {', '.join(working) or 'none'}{known}; the CPU decodes whatever comes")


def hardware_decoders() -> tuple[list[str], list[str]]:
    """Kinds of decoders that FFmpeg was built with, and those of them whose device can be opened here."""
    import av
    from av.codec.hwaccel import HWAccel, hwdevices_available

    def opens(kind: str) -> bool:
        for name in ("h264", f"h264_{kind}"):
            try:
                HWAccel(kind).create(av.Codec(name, "r"))
            except (av.error.FFmpegError, NotImplementedError, ValueError, RuntimeError, OSError):
                continue
            return True
        return False

    built_in = hwdevices_available()
    return built_in, [kind for kind in built_in if opens(kind)]
