"""How fast the program really is: `streamer run` in a process of its own, and what came out of it when.

python -m streamer.bench.run < job.json > outcome.json
"""

import asyncio
import math
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import msgspec

from streamer.app import App
from streamer.config import Settings
from streamer.contract import FrameRecord, decode
from streamer.errors import StreamerError
from streamer.flow import Message

_LONGEST = 120.0  # seconds that a process may take beyond its work
_MEGA = 1 << 20
_TICK = 0.002  # seconds between two looks at how late the event loop is


class Job(msgspec.Struct, frozen=True):
    """Run the streams of `settings` and measure `frames` results after the first `warm_up` ones; or, if that is 0, for
    `seconds` from `settling` ones after the first result on. `started` is a monotonic time.
    """

    settings: Settings
    frames: int = 0
    warm_up: int = 0
    seconds: float = 0.0
    settling: float = 0.0
    started: float = 0.0


class Outcome(msgspec.Struct, frozen=True):
    """What came out while it was measured: milliseconds from decoding to publishing of each analysed frame, their mean
    for each stage, how many `cores` were busy, and reasons why others were skipped. `searched` is the share of those in
    which faces were looked for, `stalls` are the ms that the event loop was late, every few ms. `delivered` are frames
    a second of each stream, `first` the seconds from the start of the process to its first result, `peak` its most
    memory in MB.
    """

    fps: float
    ages: list[float]
    stages: dict[str, float]
    faces: float
    cores: float
    skipped: dict[str, int]
    searched: float
    stalls: list[float]
    delivered: dict[str, float]
    first: float
    peak: float


class Tape:
    """An output that notes when each record came. Create it in the event loop."""

    name = "tape"

    def __init__(self, job: Job) -> None:
        self._job = job
        self._loop = asyncio.get_running_loop()
        self._seen: list[tuple[float, bytes]] = []
        self._begin = self._end = _Mark(math.inf, 0.0)
        self._stalls: list[tuple[float, float]] = []
        self.full = asyncio.Event()

    async def put(self, message: Message) -> None:
        if message.result is None:
            return
        self._seen.append((time.monotonic(), message.data))
        job, count = self._job, len(self._seen)
        if count == 1 and not job.frames:
            self._loop.call_later(job.settling, self._start)
            self._loop.call_later(job.settling + job.seconds, self._stop)
        if job.frames and count == job.warm_up + 1:
            self._start()
        if job.frames and count == job.warm_up + 1 + job.frames:
            self._stop()

    async def watch_loop(self) -> None:
        """Note how late the event loop is, until cancelled."""
        while True:
            due = time.monotonic() + _TICK
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            self._stalls.append((now, now - due))

    def figures(self) -> dict[str, float]:
        return {"records_total": float(len(self._seen))}

    def _start(self) -> None:
        self._begin = _Mark(time.monotonic(), time.process_time())

    def _stop(self) -> None:
        self._end = _Mark(time.monotonic(), time.process_time())
        self.full.set()

    def outcome(self) -> Outcome:
        """Of what came between start and stop, once it is `full`."""
        begin, end = self._begin, self._end
        seconds = end.at - begin.at
        counted = [decode(data) for at, data in self._seen if begin.at < at <= end.at]
        records = [record for record in counted if isinstance(record, FrameRecord)]
        done = [record for record in records if record.status == "processed"]
        stages: dict[str, list[float]] = defaultdict(list)
        for record in done:
            for stage, ms in record.timings.items():
                stages[stage].append(ms)
        return Outcome(
            fps=len(done) / seconds,
            ages=[record.time.age_ms for record in done],
            stages={stage: sum(values) / len(values) for stage, values in stages.items()},
            faces=sum(len(record.faces) for record in done) / max(len(done), 1),
            cores=(end.cpu - begin.cpu) / seconds,
            skipped=dict(Counter(record.reason for record in records if isinstance(record.reason, str))),
            searched=sum("detect" in record.timings for record in done) / max(len(done), 1),
            stalls=[1000 * late for at, late in self._stalls if begin.at < at <= end.at],
            delivered={name: count / seconds for name, count in Counter(record.stream for record in records).items()},
            first=self._seen[0][0] - self._job.started,
            peak=_peak() / _MEGA,
        )


class _Mark(NamedTuple):
    """A monotonic time, and the CPU seconds that the process had used by then."""

    at: float
    cpu: float


def in_process(job: Job) -> Outcome:
    """What comes of a job in a process of its own, as large and as fresh as one of `streamer run`. Raises StreamerError
    if that fails.
    """
    command = [sys.executable, "-m", "streamer.bench.run"]
    job = msgspec.structs.replace(job, started=time.monotonic())
    most = _LONGEST + job.seconds + job.settling
    try:
        done = subprocess.run(command, input=msgspec.json.encode(job), capture_output=True, check=False, timeout=most)
    except subprocess.TimeoutExpired:
        raise StreamerError(f"the measured run did not end within {most:g} s", "is the machine too busy?") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise StreamerError(f"the measured run failed: {said[-1]}", "does streamer run --source CLIP work?")
    return msgspec.json.decode(done.stdout, type=Outcome)


async def play(job: Job) -> Outcome:
    """What comes of a job in this process. Raises StreamerError."""
    tape = Tape(job)
    app = App(job.settings, outputs=(tape,))
    running, full = asyncio.ensure_future(app.run()), asyncio.ensure_future(tape.full.wait())
    watching = asyncio.ensure_future(tape.watch_loop())
    await asyncio.wait({running, full}, return_when=asyncio.FIRST_COMPLETED)
    ended = running.done()
    for task in (running, full, watching):
        task.cancel()
    await asyncio.gather(running, full, watching, return_exceptions=True)
    if ended:
        await running
        raise next(
            (report.error for report in app.reports.values() if report.error),
            StreamerError("the clip ended before anything could be measured"),
        )
    return tape.outcome()


def _peak() -> int:
    """The most memory that this process has held, in bytes. What getrusage says of it includes the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10


def main() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(play(job))))


if __name__ == "__main__":
    main()
