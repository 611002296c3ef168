"""The whole measurement: limit and program in turns, for the machine's own speed changes from minute to minute."""

import asyncio
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median

import av
import msgspec

from streamer import __version__
from streamer.bench.limit import Limit, Recording, record
from streamer.bench.report import (
    DROPS,
    Clip,
    Live,
    Machine,
    Percentiles,
    Report,
    Round,
    Try,
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

ROUNDS = 3
MAX_AGE = 250.0  # milliseconds: a live stream does not fit if more than 1 % of its results are older
_PARTS = 10  # the time of a model's measurement, as a part of the time for a round
_LEAST_TIME = 0.1  # seconds that anything is measured
_SETTLING = 1.5  # seconds until live streams run evenly
_ON_TIME = 0.97  # of its own frames a second that a stream must deliver
_MOST_STREAMS = 256

Say = Callable[[str], object]


def measure(settings: Settings, clip: str, seconds: float, live: bool, progress: Progress, say: Say) -> Report:
    """All about `clip`, in about so many `seconds`, and with `live` about as many again. Raises StreamerError."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    stream = StreamSettings(clip, loop=True)
    settings = msgspec.structs.replace(settings, server=ServerSettings(enabled=False), streams={"clip": stream})
    seen = _look(stream)
    say("what the models are given")
    each = max(seconds / (2 * ROUNDS + 2), _LEAST_TIME)
    recording = asyncio.run(record(settings, stream, each, progress))
    limit = Limit(settings, stream, recording)
    job = Job(settings, frames=recording.frames, warm_up=min(recording.frames // 4, 25))
    limits, runs = [], list[Outcome]()
    for number in range(ROUNDS + 1):
        say(f"limit, {number + 1} of {ROUNDS + 1}")
        limits.append(limit.measure(max(each / _PARTS, _LEAST_TIME)))
        if number < ROUNDS:
            say(f"pipeline, {number + 1} of {ROUNDS}")
            runs.append(in_process(job))
    rounds = rounds_of(limits, runs)
    return Report(
        machine=_machine(settings, recording, load),
        clip=msgspec.structs.replace(seen, frames=recording.frames, faces=round(recording.faces, 3)),
        limit=limit_of(limits),
        run=run_of(runs),
        ratio=round(median(map(Round.ratio.fget, rounds)), 3),  # type: ignore[attr-defined]
        rounds=rounds,
        live=_live(settings, seen.fps, each, say) if live else None,
    )


def most_that_fit(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, found by doubling and bisection; 0 if not even one does."""
    good, bad = 0, 1
    while bad <= most and fits(bad):
        good, bad = bad, 2 * bad
    bad = min(bad, most + 1)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def _live(settings: Settings, fps: float, seconds: float, say: Say) -> Live:
    tries: dict[int, Try] = {}

    def fits(streams: int) -> bool:
        say(f"live streams: {streams}")
        tries[streams] = _try(settings, streams, fps, max(seconds, 1.0))
        return tries[streams].fits

    most = most_that_fit(fits, _MOST_STREAMS)
    further = (tries[most].peak_mb - tries[1].peak_mb) / (most - 1) if most > 1 else 0.0
    return Live(most, tries[1].latency, MAX_AGE, round(further, 1), [tries[n] for n in sorted(tries)])


def _try(settings: Settings, streams: int, fps: float, seconds: float) -> Try:
    one = msgspec.structs.replace(settings.streams["clip"], realtime=True)
    many = {f"live{number}": one for number in range(streams)}
    job = Job(msgspec.structs.replace(settings, streams=many), seconds=seconds, settling=_SETTLING)
    outcome = in_process(job)
    latency = Percentiles.of(outcome.ages)
    dropped = sum(outcome.skipped.get(reason, 0) for reason in DROPS)
    delivered = min(outcome.delivered.get(name, 0.0) for name in many)
    return Try(
        streams=streams,
        fits=not dropped and bool(outcome.ages) and latency.p99 < MAX_AGE and delivered >= _ON_TIME * fps,
        latency=latency,
        dropped=dropped,
        delivered=round(delivered, 2),
        cores_busy=round(outcome.cores, 2),
        peak_mb=round(outcome.peak, 1),
    )


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


def _machine(settings: Settings, recording: Recording, load: float) -> Machine:
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
        load=round(load, 2),
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
