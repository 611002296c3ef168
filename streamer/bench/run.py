"""How fast the program really is: `streamer run` in a process of its own, and what came out of it when.

python -m streamer.bench.run < job.json > outcome.json
"""

import asyncio
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import msgspec

from streamer.app import App
from streamer.config import Settings
from streamer.contract import FrameRecord, decode
from streamer.errors import StreamerError
from streamer.flow import Message

_LONGEST = 120.0  # seconds that a process may take beyond its work
_MEGA = 1 << 20


class Job(msgspec.Struct, frozen=True):
    """Run the streams of `settings` until `frames` results have come, of which the first `warm_up` do not count; or, if
    that is 0, for `seconds` after `settling` ones from the first result on. `started` is a monotonic time.
    """

    settings: Settings
    frames: int = 0
    warm_up: int = 0
    seconds: float = 0.0
    settling: float = 0.0
    started: float = 0.0


class Outcome(msgspec.Struct, frozen=True):
    """What came out while it was measured: milliseconds from decoding to publishing of each analysed frame and their
    mean for each stage, `cpu` seconds, and reasons why others were skipped. `delivered` are frames a second of each
    stream, `first` the seconds from the start of the process to its first result, `peak` its most memory in megabytes.
    """

    fps: float
    ages: list[float]
    stages: dict[str, float]
    faces: float
    cpu: float
    skipped: dict[str, int]
    delivered: dict[str, float]
    first: float
    peak: float


class Tape:
    """An output that notes when each record came, and the CPU time that the process had used by then."""

    name = "tape"

    def __init__(self, job: Job) -> None:
        self._job = job
        self._until = float("inf")
        self._seen: list[tuple[float, float, bytes]] = []
        self.full = asyncio.Event()

    async def put(self, message: Message) -> None:
        if message.result is None:
            return
        now = time.monotonic()
        self._seen.append((now, time.process_time(), message.data))
        if len(self._seen) == 1 and not self._job.frames:
            self._until = now + self._job.settling + self._job.seconds
        if now >= self._until or len(self._seen) == self._job.frames + self._job.warm_up + 1:
            self.full.set()

    def figures(self) -> dict[str, float]:
        return {"records_total": float(len(self._seen))}

    def outcome(self) -> Outcome:
        """Of what was seen between the first record that counts and the last."""
        job, seen = self._job, self._seen
        first = job.warm_up if job.frames else sum(at < seen[0][0] + job.settling for at, _cpu, _data in seen)
        if len(seen) - first < 2:
            raise StreamerError("too few results came to tell anything", "measure for longer: --seconds")
        records = [record for _at, _cpu, data in seen[first + 1 :] if isinstance(record := decode(data), FrameRecord)]
        done = [record for record in records if record.status == "processed"]
        seconds = seen[-1][0] - seen[first][0]
        stages: dict[str, list[float]] = defaultdict(list)
        for record in done:
            for stage, ms in record.timings.items():
                stages[stage].append(ms)
        return Outcome(
            fps=len(done) / seconds,
            ages=[record.time.age_ms for record in done],
            stages={stage: sum(values) / len(done) for stage, values in stages.items()},
            faces=sum(len(record.faces) for record in done) / max(len(done), 1),
            cpu=seen[-1][1] - seen[first][1],
            skipped=dict(Counter(record.reason for record in records if isinstance(record.reason, str))),
            delivered={
                stream: count / seconds for stream, count in Counter(record.stream for record in records).items()
            },
            first=seen[0][0] - job.started,
            peak=_peak() / _MEGA,
        )


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
    await asyncio.wait({running, full}, return_when=asyncio.FIRST_COMPLETED)
    ended = running.done()
    running.cancel()
    full.cancel()
    await asyncio.gather(running, full, return_exceptions=True)
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
