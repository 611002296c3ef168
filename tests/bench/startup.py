"""How long a start takes: `python -m tests.bench.startup [CLIP] [--runs 9] [--server]`.

`streamer run` is started again and again, with a warm cache: the seconds, and those of CPU, from its start to the first
record of a frame in its log. In turns with it comes a process that does the same by the library and tells when it
got how far: `models` are loaded once all is served, `source` once the first picture is decoded.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from streamer.config import ServerSettings, Settings, StreamSettings

STAGES = ("python", "libraries", "models", "source", "first record")
_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE = 60.0  # seconds
_FRAME = b'"type":"frame"'


def first_record(clip: str, server: bool, folder: Path) -> tuple[float, float]:
    """Seconds, and those of CPU, until `streamer run` has written the record of a frame. Raises RuntimeError."""
    log = folder / "startup.jsonl"
    log.unlink(missing_ok=True)
    ports = ["--http-port=0", "--ws-port=0"] if server else ["--no-server"]
    command = [sys.executable, "-m", "streamer", "run", "--source", clip, "--log", str(log), *ports]
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            while not (log.exists() and _FRAME in log.read_bytes()):
                if process.poll() is not None or time.monotonic() > start + _PATIENCE:
                    process.kill()
                    raise RuntimeError(f"no record: {process.communicate()[1].decode(errors='replace')}")
                time.sleep(0.002)
            return time.monotonic() - start, _cpu(process.pid)
        finally:
            process.kill()


def _cpu(process: int) -> float:
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS


def stages(clip: str, server: bool) -> dict[str, tuple[float, float]]:
    """For each stage its seconds, and those of CPU."""
    command = [sys.executable, "-m", "tests.bench.startup", clip, f"--since={time.monotonic()}"]
    command += ["--server"] if server else []
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PATIENCE)
    marks = json.loads(done.stdout)
    past = [[0.0, 0.0], *marks[:-1]]
    return {
        stage: (mark[0] - before[0], mark[1] - before[1])
        for stage, mark, before in zip(STAGES, marks, past, strict=True)
    }


def measure_here(clip: str, server: bool, since: float) -> None:
    """Start in this process, and print when each stage was reached: seconds after `since`, and those of CPU."""
    marks: list[tuple[float, float]] = []

    def mark() -> None:
        marks.append((time.monotonic() - since, time.process_time()))

    mark()
    from streamer.app import App
    from streamer.fleet import StreamReport
    from streamer.flow import Message

    mark()
    begun = asyncio.Event()

    class Tape:
        name = "tape"

        async def put(self, message: Message) -> None:
            if message.result is not None and not begun.is_set():
                mark()
                begun.set()

        def figures(self) -> dict[str, float]:
            return {}

    def changed(report: StreamReport) -> None:
        if report.state == "live":
            mark()

    async def run() -> None:
        listening = ServerSettings(enabled=server, http_port=0, ws_port=0)
        app = App(Settings(streams={"clip": StreamSettings(clip)}, server=listening), outputs=(Tape(),))
        running = asyncio.create_task(app.run(on_ready=lambda _: mark(), on_state=changed))
        await begun.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())
    print(json.dumps(marks))


def report(name: str, taken: list[tuple[float, float]]) -> str:
    wall, cpu = ([each[of] * 1000 for each in taken] for of in (0, 1))
    return f"{name:14}{statistics.median(wall):8.0f}{max(wall):8.0f}{statistics.median(cpu):8.0f}{max(cpu):8.0f}"


def lines(clip: str, server: bool, runs: int) -> Iterator[str]:
    whole, parts = list[tuple[float, float]](), list[dict[str, tuple[float, float]]]()
    with tempfile.TemporaryDirectory() as folder:
        first_record(clip, server, Path(folder))  # fills the caches
        for _ in range(runs):
            whole.append(first_record(clip, server, Path(folder)))
            parts.append(stages(clip, server))
    yield f"{'ms':14}{'median':>8}{'worst':>8}{'CPU':>8}{'worst':>8}"
    yield from (report(stage, [part[stage] for part in parts]) for stage in STAGES)
    yield report("streamer run", whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", nargs="?", default="demo")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--server", action="store_true", help="with page and websocket")
    parser.add_argument("--since", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.since is not None:
        measure_here(arguments.clip, arguments.server, arguments.since)
        return
    for line in lines(arguments.clip, arguments.server, arguments.runs):
        print(line)


if __name__ == "__main__":
    main()
