"""The check-up: what it says of made-up machines, of this one, and of configurations good and bad."""

import json
import math
import shutil
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamer.config import LogSettings, ModelSettings, ServerSettings, Settings, StreamSettings, VideoSettings
from streamer.doctor import accelerators, cameras, deployment, machine, storage
from streamer.doctor.accelerators import GpuFacts, RenderNode
from streamer.doctor.findings import Finding, fine, fixes, healthy, note, problem, report
from streamer.inference.budget import Budget
from streamer.inference.cards import read_cards
from streamer.inference.devices import list_devices, precision
from streamer.inference.store import Store
from streamer.media.devices import Mode, Webcam
from tests.conftest import Streamer

INTEL_CPU = """processor	: 0
model name	: Some Xeon
physical id	: 0
core id		: 0
flags		: fpu sse4_2 avx2 avx512f avx512_vnni amx_int8 amx_bf16

processor	: 1
model name	: Some Xeon
physical id	: 0
core id		: 1
flags		: fpu sse4_2 avx2 avx512f avx512_vnni amx_int8 amx_bf16
"""
ARM_CPU = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm bf16\n\nModel\t\t: Some Board\n"
NODE = RenderNode("/dev/dri/renderD128", "render", usable=True)
EVERYTHING = GpuFacts(intel=True, nodes=(NODE,), container=False, loader=True, driver=True)


def test_the_cpu_and_what_it_can_do() -> None:
    assert machine.cpu(INTEL_CPU, "x86_64", 4).seen == (
        "Some Xeon (x86_64), 2 cores, 4 threads; AVX2, AVX-512, AVX-512 VNNI, AMX INT8, AMX BF16"
    )
    assert machine.cpu(ARM_CPU, "aarch64", 1).seen == "Some Board (aarch64), 1 thread; NEON, dot product, BF16, I8MM"
    assert machine.cpu("", "x86_64", 2).state == "fine"


def test_a_cpu_without_avx2_is_told() -> None:
    finding = machine.cpu(INTEL_CPU.replace("avx2 ", ""), "x86_64", 2)
    assert finding.state == "note"
    assert "-cpu host" in finding.fix


@pytest.mark.parametrize(
    ("budget", "wanted", "state", "said"),
    [
        (Budget(8, math.inf), 0, "fine", "8 CPU threads may be used, no quota: the program takes 8"),
        (Budget(8, 1.5), 0, "note", "a quota of 1.5: the program takes 2"),
        (Budget(2, math.inf), 16, "note", "the program takes 16"),
        (Budget(8, math.inf), 4, "fine", "the program takes 4"),
    ],
)
def test_threads(budget: Budget, wanted: int, state: str, said: str) -> None:
    finding = machine.threads(budget, wanted)
    assert finding.state == state
    assert said in finding.seen
    assert bool(finding.fix) == (state != "fine")


@pytest.mark.parametrize(("soft", "state"), [(1024, "note"), (4096, "fine"), (None, "fine"), (-1, "fine")])
def test_few_open_files_are_told(soft: int | None, state: str) -> None:
    finding = machine.open_files(soft)
    assert finding.state == state
    assert ("ulimit -n 4096" in finding.fix) == (state == "note")


def test_a_library_that_cannot_be_loaded_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_installed.py").write_text("raise ImportError('libGL.so.1: cannot open')\n")
    monkeypatch.syspath_prepend(tmp_path)
    finding = machine.library("Half", "half_installed", "half-installed")
    assert finding.state == "problem"
    assert "libGL.so.1" in finding.seen
    assert "install --force-reinstall half-installed" in finding.fix
    assert machine.library("NumPy", "numpy", "numpy").state == "fine"


def test_a_second_opencv_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rival = tmp_path / "opencv_python-4.0.dist-info"
    rival.mkdir()
    (rival / "METADATA").write_text("Metadata-Version: 2.1\nName: opencv-python\nVersion: 4.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    (finding,) = [finding for finding in machine.versions() if finding.check == "OpenCV"]
    assert finding.state == "note"
    assert "uninstall --yes opencv-python &&" in finding.fix


def test_containers_are_known_by_their_marks(tmp_path: Path) -> None:
    assert not machine.in_container(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".containerenv").touch()
    assert machine.in_container(tmp_path)


def test_no_pip_is_a_problem() -> None:
    assert machine.pip(present=True).state == "fine"
    assert "ensurepip" in machine.pip(present=False).fix


def test_webcams_that_cannot_be_opened() -> None:
    ready = Webcam(0, "/dev/video0", "Cam A")
    locked, absent = msgspec.structs.replace(ready, state="forbidden"), msgspec.structs.replace(ready, state="missing")
    assert cameras.webcams([], "video", container=False) == fine("webcams", "none")
    assert cameras.webcams([ready], "video", container=False) == fine("webcams", "Cam A (0)")
    assert "usermod -aG video" in cameras.webcams([locked], "video", container=False).fix
    assert "--device /dev/video0 --group-add 44" in cameras.webcams([absent], "44", container=True).fix
    assert "udevadm" in cameras.webcams([absent], "video", container=False).fix


def test_webcams_for_programs() -> None:
    webcam = Webcam(0, "/dev/video0", "Cam A", "ready", (Mode("MJPG", 1920, 1080, 30),))
    (told,) = json.loads(cameras.report([webcam]))["webcams"]
    assert told["sources"] == ["0", "webcam:Cam A"]
    assert told["modes"] == [{"format": "MJPG", "width": 1920, "height": 1080, "fps": 30}]


@pytest.mark.parametrize(
    ("change", "state", "fix"),
    [
        ({"intel": False, "nodes": ()}, "fine", ""),
        ({"intel": False}, "fine", ""),  # a card of somebody else's
        ({"intel": None, "nodes": ()}, "fine", ""),
        ({"intel": None, "nodes": (), "container": True}, "note", "--device /dev/dri --group-add"),
        ({"nodes": (), "container": True}, "note", "--device /dev/dri --group-add"),
        ({"nodes": ()}, "note", "modprobe i915"),
        ({"nodes": (RenderNode(NODE.path, "render", usable=False),)}, "note", "usermod -aG render $USER"),
        (
            {"nodes": (RenderNode(NODE.path, "109", usable=False),), "container": True},
            "note",
            f"--group-add $(stat -c %g {NODE.path})",
        ),
        ({"driver": False}, "note", "apt-get install intel-opencl-icd"),
        ({"loader": False}, "note", "ocl-icd-libopencl1"),
        ({}, "note", "clinfo"),
    ],
)
def test_why_there_is_no_gpu(change: dict[str, Any], state: str, fix: str) -> None:
    finding = accelerators.gpu(["CPU"], msgspec.structs.replace(EVERYTHING, **change))
    assert finding.state == state
    assert fix in finding.fix
    assert accelerators.gpu(["CPU", "GPU.0"], msgspec.structs.replace(EVERYTHING, **change)).state == "fine"


def test_the_facts_about_the_gpu_come_from_files(tmp_path: Path) -> None:
    assert accelerators.read_gpu_facts(container=False, root=tmp_path) == GpuFacts(None, (), False, False, False)
    device = tmp_path / "sys/bus/pci/devices/0000:00:02.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x8086\n")
    (device / "class").write_text("0x060000\n")  # a bridge
    assert accelerators.read_gpu_facts(container=False, root=tmp_path).intel is False
    (device / "class").write_text("0x030000\n")
    node = tmp_path / "dev/dri/renderD128"
    library = tmp_path / "usr/lib/x86_64-linux-gnu/libOpenCL.so.1"
    vendor = tmp_path / "etc/OpenCL/vendors/intel.icd"
    for file in (node, node.with_name("card0"), library, vendor):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    facts = accelerators.read_gpu_facts(container=True, root=tmp_path)
    assert facts == GpuFacts(True, (RenderNode(str(node), node.group(), usable=True),), True, True, True)


def test_a_device_that_the_settings_want_but_is_not_there() -> None:
    hardware = {"CPU": "Some Xeon", "GPU.0": "Some Arc"}
    assert accelerators.compute_devices(hardware, "CPU") == fine("devices", "CPU (Some Xeon), GPU.0 (Some Arc)")
    assert accelerators.compute_devices(hardware, "GPU").state == "fine"
    assert accelerators.compute_devices(hardware, "AUTO").state == "fine"
    assert accelerators.compute_devices(hardware, "NPU").state == "problem"
    assert accelerators.device_used(hardware, "AUTO") == "GPU"
    assert accelerators.device_used({"CPU": ""}, "AUTO") == accelerators.device_used({"CPU": ""}, "GPU") == "CPU"


def test_openvino_is_not_asked_where_it_would_hang(tmp_path: Path) -> None:
    assert accelerators.unmounted(tmp_path) == ["/proc", "/sys"]
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/stat").touch()
    assert accelerators.unmounted(tmp_path) == ["/sys"]
    assert accelerators.not_mounted(["/sys"]).fix == "sudo mount -t sysfs sysfs /sys"
    (tmp_path / "sys/devices").mkdir(parents=True)
    assert accelerators.unmounted(tmp_path) == []


def test_the_precision_is_the_one_of_a_compiled_model(settings: Settings, workshop: object) -> None:
    assert workshop
    assert "CPU" in [device.name for device in list_devices()]
    graph = Store(settings.models.folder()).graph(read_cards(settings.models)["yunet"])
    assert precision("CPU") == precision("CPU", graph if graph.is_file() else None)
    assert precision("CPU") in ("f32", "bf16", "f16")
    told = accelerators.precision("GPU.9", None)
    assert told.state == "problem"
    assert "GPU.9" in told.seen


def test_weights_are_here_missing_or_changed(settings: Settings, workshop: object, tmp_path: Path) -> None:
    assert workshop
    cards = read_cards(settings.models)
    card = cards["yunet"]
    elsewhere = ModelSettings(cache=str(tmp_path / "my cache"))
    store = Store(elsewhere.folder())
    missing = storage.model(card, store, elsewhere)
    assert missing.state == "note"
    assert missing.fix == f"streamer --cache '{tmp_path}/my cache' models pull"
    assert storage.missing_bytes([card, cards["emotion-net"]], store) == card.source.download
    target = store.weights(card)
    target.parent.mkdir(parents=True)
    shutil.copy(Store(settings.models.folder()).weights(card), target)
    assert storage.model(card, store, elsewhere).state == "fine"
    assert storage.missing_bytes([card], store) == 0
    target.write_bytes(b"x" + target.read_bytes()[1:])
    changed = storage.model(card, store, elsewhere)
    assert changed.state == "problem"
    assert "streamer models pull yunet" in changed.fix
    assert storage.model(cards["emotion-net"], store, elsewhere).state == "fine"  # part of the program


def test_the_cache_must_be_writable_and_have_room(tmp_path: Path) -> None:
    settings = ModelSettings(cache=str(tmp_path / "not" / "there" / "yet"))
    assert storage.cache(settings, 0).state in ("fine", "note")
    assert not (tmp_path / "not").exists()
    assert storage.cache(settings, 1 << 60).state == "problem"
    (tmp_path / "file").touch()
    assert storage.cache(ModelSettings(cache=str(tmp_path / "file" / "cache")), 0).state == "problem"


def test_the_log_must_be_writable(tmp_path: Path) -> None:
    assert storage.log(LogSettings(), 1).state == "fine"
    assert "GB a stream" in storage.log(LogSettings(str(tmp_path / "new" / "faces.jsonl")), 2).seen
    (tmp_path / "faces.jsonl").touch()
    assert storage.log(LogSettings(str(tmp_path / "faces.jsonl")), 1).state in ("fine", "note")
    assert storage.log(LogSettings(str(tmp_path / "faces.jsonl" / "more")), 1).state == "problem"
    (tmp_path / "faces").touch()
    assert storage.log(LogSettings(str(tmp_path / "faces")), 1).state == "problem"


def test_videos_must_be_writable(tmp_path: Path) -> None:
    assert storage.video(VideoSettings(), 1).state == "fine"
    assert storage.video(VideoSettings(str(tmp_path / "new"), min_free_mb=0), 0).state in ("fine", "note")
    (tmp_path / "file").touch()
    assert storage.video(VideoSettings(str(tmp_path / "file" / "more")), 1).state == "problem"
    assert "[video] min_free_mb" in storage.video(VideoSettings(str(tmp_path), min_free_mb=1e12), 1).seen


@pytest.mark.parametrize("check", ["log", "video"])
def test_what_fills_the_disk_in_days_is_told_unless_the_oldest_is_deleted(tmp_path: Path, check: str) -> None:
    def found(keep_gb: float) -> Finding:
        if check == "log":
            return storage.log(LogSettings(str(tmp_path), keep_gb=keep_gb), 1_000_000)
        return storage.video(VideoSettings(str(tmp_path), keep_gb=keep_gb), 1_000_000)

    assert found(0).state == "note"
    assert f"[{check}] keep_gb" in found(0).fix
    assert found(1).state == "fine"


def checked(url: str, **more: str) -> Finding:
    settings = Settings(streams={"it": StreamSettings(url, **more)})  # type: ignore[arg-type]
    (finding,) = deployment.streams(settings, Path("my.toml"))
    return finding


@pytest.mark.parametrize(
    "url", ["rtsp://127.0.0.1:554/x", "http://[::1]:80/x", "udp://:5000", "srt://@:5000", "demo", "/dev/null"]
)
def test_addresses_that_mean_something(url: str) -> None:
    assert checked(url).state == "fine"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("gopher://x/y", "cannot open addresses that begin with gopher://"),
        ("/nowhere/clip.mp4", "no such file"),
        ("rtsp:///x", "names no host"),
        ("rtsp://me:w0rd/w0rd@127.0.0.1/x", "a port that is no number"),
        ("rtsp://127.0.0.1:99999/x", "a port that is no number"),
        (f"rtsp://me:w0rd@{'x' * 64}/x", "nobody knows a host of this name"),
        ("webcam:no such camera", "no webcam is called 'no such camera'"),
    ],
)
def test_addresses_that_lead_nowhere(url: str, said: str) -> None:
    finding = checked(url)
    assert finding.state == "problem"
    assert said in finding.seen
    assert finding.fix
    assert "w0rd" not in str(finding)


def test_ports_are_tried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        finding = deployment.port("ws_port", "127.0.0.1", taken)
        assert finding.state == "problem"
        assert "[server] ws_port" in finding.fix
    assert deployment.port("ws_port", "127.0.0.1", taken).state == "fine"
    assert deployment.port("ws_port", "192.0.2.1", taken).check == "host"
    assert deployment.port("ws_port", "x" * 64, taken).check == "host"
    assert [f.state for f in deployment.server(ServerSettings(http_port=0, ws_port=0))] == ["fine", "fine"]
    assert [f.state for f in deployment.server(ServerSettings(http_port=9, ws_port=9))] == ["problem"]
    assert [f.state for f in deployment.server(ServerSettings(enabled=False))] == ["fine"]


def test_findings_for_programs_and_people() -> None:
    findings = [
        fine("a", "1"),
        note("b", "2", "do x"),
        problem("c", "rtsp://u:w0rd@h/", "do y"),
        note("d", "3", "do x"),
    ]
    assert not healthy(findings)
    assert healthy(findings[:2])
    told = json.loads(report(findings))
    assert told["fine"] is False
    assert told["findings"][0] == {"check": "a", "state": "fine", "seen": "1"}
    assert told["findings"][1] == {"check": "b", "state": "note", "seen": "2", "fix": "do x"}
    assert "w0rd" not in report(findings)
    assert fixes(findings) == ["[bold red]c:[/] do y", "[yellow]b, d:[/] do x"]


def test_this_machine_runs_the_tests_so_it_is_fit(streamer: Streamer) -> None:
    done = streamer("doctor", "--json")
    told = json.loads(done.stdout)
    problems = [finding for finding in told["findings"] if finding["state"] == "problem"]
    assert done.returncode == (1 if problems else 0)
    assert told["fine"] == (not problems)
    states = {finding["check"]: finding["state"] for finding in told["findings"]}
    for check in ("Python", "OpenVINO", "PyAV", "OpenCV", "NumPy", "precision", "decoders", "pip", "model yunet"):
        assert states[check] == "fine", check
    assert {"CPU", "threads", "devices", "webcams", "open files", "cache"} <= set(states)


def test_a_configuration_with_all_kinds_of_mistakes(streamer: Streamer, tmp_path: Path) -> None:
    config = tmp_path / "my.toml"
    config.write_text(
        "pipeline = 'fast'\ndevice = 'GPU.7'\nserver = {http_port = 0, ws_port = 0}\nlog.path = 'my.toml/logs'\n"
        "[streams.door]\nurl = 'rtsp://127.0.0.1/x'\nuser = 'me'\npassword = 'w0rd'\n[streams.clip]\nurl = 'clip.mp4'\n"
    )
    done = streamer("doctor", config, "--json")
    assert done.returncode == 1
    assert "w0rd" not in done.stdout + done.stderr
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}
    wrong = {check for check, finding in findings.items() if finding["state"] == "problem"}
    assert {"pipeline fast", "devices", "stream clip", "log"} <= wrong
    assert findings["stream door"]["state"] == findings["configuration"]["state"] == "fine"
    assert all(findings[check]["fix"] for check in wrong)


@pytest.mark.parametrize(("text", "said"), [("x = 1", "unknown key 'x'"), (None, "no such file"), ("", "has none")])
def test_a_configuration_that_cannot_be_used(streamer: Streamer, tmp_path: Path, text: str | None, said: str) -> None:
    config = tmp_path / "my.toml"
    if text is not None:
        config.write_text(text)
    done = streamer("doctor", config)
    assert done.returncode == 1
    assert said in " ".join(done.stdout.split())
    assert "Traceback" not in done.stderr


def test_weights_that_are_missing_are_not_fetched(streamer: Streamer, tmp_path: Path) -> None:
    done = streamer("--cache", tmp_path / "empty", "doctor")
    assert "models pull" in done.stdout
    assert not (tmp_path / "empty").exists()
