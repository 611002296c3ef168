"""The whole measurement: limit and program in turns, for the machine's own speed changes from minute to minute."""

import asyncio
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import av
import msgspec

from streamer import __version__
from streamer.bench.limit import Limit, Recording, record
from streamer.bench.live import Say, live_streams
from streamer.bench.report import (
    Clip,
    Machine,
    Report,
    limit_of,
    rounds_of,
    run_of,
)
from streamer.bench.run import Job, Outcome, in_process
from streamer.config import ServerSettings, Settings, StreamSettings
from streamer.errors import NotVideoError
from streamer.inference.store import Progress
from streamer.media.address import check, resolve
from streamer.media.faults import typed
from streamer.media.video import open_container, video_stream

_ROUND = 10.0  # seconds of the whole for a round, at least one
_PARTS = 10  # the time of a model's measurement, as a part of the time for a round
_LEAST_TIME = 0.1  # seconds that anything is measured


def measure(settings: Settings, clip: str, seconds: float, live: bool, progress: Progress, say: Say) -> Report:
    """All about `clip`, in about so many `seconds`, and with `live` about as many again. Raises StreamerError."""
    others = _Others()
    stream = StreamSettings(clip, loop=True)
    settings = msgspec.structs.replace(settings, server=ServerSettings(enabled=False), streams={"clip": stream})
    seen = _look(stream)
    say("what the models are given")
    count = max(round(seconds / _ROUND), 1)
    each = max(seconds / (2 * count + 2), _LEAST_TIME)
    recording = asyncio.run(record(settings, stream, each, progress))
    limit = Limit(settings, stream, recording)
    job = Job(settings, frames=recording.frames, warm_up=min(recording.frames // 4, 25))
    limits, runs = [], list[Outcome]()
    for number in range(count + 1):
        say(f"limit, {number + 1} of {count + 1}")
        limits.append(limit.measure(max(each / _PARTS, _LEAST_TIME)))
        if number < count:
            say(f"pipeline, {number + 1} of {count}")
            runs.append(in_process(job))
    rounds = rounds_of(limits, runs)
    return Report(
        machine=_machine(settings, recording, others.cores()),
        clip=msgspec.structs.replace(seen, frames=recording.frames, faces=round(recording.faces, 3)),
        limit=limit_of(limits),
        run=run_of(runs),
        ratio=median(one.ratio for one in rounds),
        full_ratio=median(one.full_ratio for one in rounds),
        rounds=rounds,
        live=live_streams(settings, seen.fps, each, say) if live else None,
    )


class _Others:
    """How busy other programs are from now on: what the whole machine did, less this process and its children."""

    def __init__(self) -> None:
        self._start = self._taken()
        self._at = time.monotonic()

    def cores(self) -> float | None:
        """Mean number of cores so far; None where the system does not tell."""
        start, end = self._start, self._taken()
        if start is None or end is None:
            return None
        return round(max(end - start, 0.0) / (time.monotonic() - self._at), 2)

    @staticmethod
    def _taken() -> float | None:
        """CPU seconds of others since the machine was started, with those that its host gave to other machines."""
        path = Path("/proc/stat")
        if not path.exists():
            return None
        user, nice, system, _idle, _waiting, *rest = map(int, path.read_text().split("\n", 1)[0].split()[1:9])
        own = os.times()
        return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK") - sum(own[:4])


def _look(stream: StreamSettings) -> Clip:
    """What kind of clip it is. Raises SourceError."""
    where = check(resolve(stream))
    if where.kind != "file":
        raise NotVideoError(f"{where.shown}: is not a file", "streamer bench takes a clip; look at cameras with probe")
    try:
        with open_container(where, stream) as container:
            video = video_stream(container, where)
            codec = video.codec_context
            rate = float(video.average_rate or video.guessed_rate or 0)
            return Clip(Path(stream.url).name, codec.name, codec.width, codec.height, round(rate, 3), 0, 0.0)
    except (av.error.FFmpegError, OSError) as error:
        raise typed(error, where.shown) from error


def _machine(settings: Settings, recording: Recording, others: float | None) -> Machine:
    return Machine(
        cpu=_cpu(),
        threads=recording.threads,
        device=settings.device,
        precisions=recording.precisions,
        versions={
            "facestreamer": __version__,
            "OpenVINO": version("openvino"),
            "FFmpeg": av.ffmpeg_version_info,
            "Python": platform.python_version(),
        },
        others=others,
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
