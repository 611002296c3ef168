"""What was measured, as one object, and as a table for people."""

from itertools import pairwise
from statistics import mean, median

import msgspec
import numpy as np
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from streamer.bench.limit import Part, frames_per_second, full_frames_per_second
from streamer.bench.run import Outcome

_QUIET = 0.1  # of the machine
DROPS = ("superseded", "stale", "overload")  # reasons why a machine that is too busy passes a frame over


class _Wire(msgspec.Struct, frozen=True, rename="camel", omit_defaults=False):
    pass


class Machine(_Wire, frozen=True):
    """Where it was measured. `others` is how many cores other programs kept busy meanwhile; null where unknown."""

    cpu: str
    threads: int
    device: str
    precisions: dict[str, str]
    versions: dict[str, str]
    others: float | None


class Clip(_Wire, frozen=True):
    """`fps` is its own, `frames` how many of it were used in each run (it is looped), `faces` those in a frame."""

    name: str
    codec: str
    width: int
    height: int
    fps: float
    frames: int
    faces: float


class Percentiles(_Wire, frozen=True):
    """Milliseconds."""

    p50: float
    p95: float
    p99: float

    @staticmethod
    def of(values: list[float]) -> "Percentiles":
        p50, p95, p99 = np.percentile(values, (50, 95, 99)).round(2).tolist() if values else (0.0, 0.0, 0.0)
        return Percentiles(p50, p95, p99)


class LimitPart(_Wire, frozen=True):
    """`perSecond` is how many of what `unit` says this machine does a second if it does nothing else, `perFrame` how
    many a frame needs, `ms` what they take.
    """

    name: str
    unit: str
    per_second: float
    per_frame: float
    ms: float


class Limit(_Wire, frozen=True):
    """`fullFps` is what it would be if faces were looked for in all pictures at full size."""

    fps: float
    full_fps: float
    parts: list[LimitPart]


class Run(_Wire, frozen=True):
    """The program on the clip. `latency` is from decoding to publishing, `stages` are mean milliseconds of a frame's
    way, in which frames overlap; `loopLate` is how late the event loop was; `cpuMs` is CPU time of all threads a frame,
    `peakMb` the process' most memory, and `firstResult` how many seconds after its start there was one.
    """

    fps: float
    latency: Percentiles
    stages: dict[str, float]
    loop_late: Percentiles
    cpu_ms: float
    cores_busy: float
    peak_mb: float
    first_result: float


class Round(_Wire, frozen=True):
    """One run, and the mean of the limits measured right before and after it."""

    limit: float
    run: float
    ratio: float
    full_ratio: float


class Try(_Wire, frozen=True):
    """So many `streams` of the clip at its own speed at once. `delivered` is the slowest one's frames a second,
    `searched` the share of all in which faces were looked for: in the others they were followed.
    """

    streams: int
    fits: bool
    latency: Percentiles
    dropped: int
    delivered: float
    searched: float
    cores_busy: float
    peak_mb: float


class Live(_Wire, frozen=True):
    """How many live streams fit: none of whose frames is dropped, and 99 % of whose results are younger than `maxAge`
    ms. `furtherMb` is how much memory each but the first takes.
    """

    streams: int
    one: Percentiles
    max_age: float
    further_mb: float
    tries: list[Try]


class Report(_Wire, frozen=True):
    machine: Machine
    clip: Clip
    limit: Limit
    run: Run
    ratio: float
    full_ratio: float
    rounds: list[Round]
    live: Live | None = None


def limit_of(measured: list[list[Part]]) -> Limit:
    """Medians of several measurements of the same parts."""
    parts: list[LimitPart] = []
    for one in zip(*measured, strict=True):
        rate, each = median(part.rate for part in one), one[0].each
        parts.append(LimitPart(one[0].name, one[0].unit, round(rate, 1), round(each, 3), round(1000 * each / rate, 3)))
    fps, full_fps = (median(map(of, measured)) for of in (frames_per_second, full_frames_per_second))
    return Limit(round(fps, 2), round(full_fps, 2), parts)


def run_of(runs: list[Outcome]) -> Run:
    """Medians of several runs; percentiles of all their frames together."""
    return Run(
        fps=round(median(run.fps for run in runs), 2),
        latency=Percentiles.of([age for run in runs for age in run.ages]),
        stages={stage: round(median(run.stages[stage] for run in runs), 2) for stage in runs[0].stages},
        loop_late=Percentiles.of([late for run in runs for late in run.stalls]),
        cpu_ms=round(median(1000 * run.cores / run.fps for run in runs), 2),
        cores_busy=round(median(run.cores for run in runs), 2),
        peak_mb=round(max(run.peak for run in runs), 1),
        first_result=round(median(run.first for run in runs), 2),
    )


def rounds_of(limits: list[list[Part]], runs: list[Outcome]) -> list[Round]:
    """Each run with the limits around it, of which there is one more."""
    rounds = []
    for around, run in zip(pairwise(limits), runs, strict=True):
        limit, full = (mean(map(of, around)) for of in (frames_per_second, full_frames_per_second))
        rounds.append(Round(round(limit, 2), round(run.fps, 2), round(run.fps / limit, 3), round(run.fps / full, 3)))
    return rounds


def table(report: Report) -> RenderableType:
    """Everything, for a terminal."""
    m, c = report.machine, report.clip
    precisions = ", ".join(sorted(set(m.precisions.values())))
    versions = ", ".join(f"{name} {number}" for name, number in m.versions.items())
    head = (
        f"{escape(c.name)}: {c.codec} {c.width}x{c.height}, {c.fps:g} fps, {c.faces:.2f} faces a frame\n"
        f"{escape(m.cpu)}, {m.threads} threads, {m.device}, {precisions}; {versions}\n"
    )
    parts: list[RenderableType] = [head, _limit(report), "", _run(report)]
    if report.live is not None:
        parts += ["", *_live(report.live, c.fps)]
    if m.others is not None and m.others > _QUIET * m.threads:
        parts += ["", f"[yellow]Other programs kept {m.others:.1f} cores busy: the program is faster than this.[/]"]
    return Group(*parts)


def _limit(report: Report) -> Table:
    grid = Table("limit: each part alone", "a second", "a frame", "ms", box=None, pad_edge=False)
    for column in grid.columns[1:]:
        column.justify = "right"
    for part in report.limit.parts:
        grid.add_row(escape(part.name), f"{part.per_second:.0f}", f"{part.per_frame:.2f}", f"{part.ms:.2f}")
    grid.add_row(
        "[bold]limit[/]", f"[bold]{report.limit.fps:.1f}[/] frames", "", f"[bold]{1000 / report.limit.fps:.2f}[/]"
    )
    grid.add_row(
        "[bold]pipeline[/]", f"[bold]{report.run.fps:.1f}[/] frames", "", f"[bold]{1000 / report.run.fps:.2f}[/]"
    )
    spread = ", ".join(f"{one.ratio:.2f}" for one in report.rounds)
    grid.add_row("[bold]pipeline / limit[/]", f"[bold]{report.ratio:.2f}[/]", "", "")
    if report.limit.full_fps != report.limit.fps:
        full = f"{report.limit.full_fps:.1f} frames"
        grid.add_row("limit, pictures read in full", full, "", f"{1000 / report.limit.full_fps:.2f}")
        grid.add_row("pipeline / that", f"{report.full_ratio:.2f}", "", "")
    grid.caption, grid.caption_justify = f"rounds: {spread}", "left"
    return grid


def _run(report: Report) -> Table:
    run, grid = report.run, Table.grid(padding=(0, 2))
    grid.add_row("latency", _percentiles(run.latency))
    grid.add_row("stages", ", ".join(f"{stage} {ms:.1f}" for stage, ms in run.stages.items()) + " ms")
    grid.add_row("event loop", f"late by {_percentiles(run.loop_late)}")
    grid.add_row("CPU", f"{run.cpu_ms:.1f} ms a frame, {run.cores_busy:.2f} cores busy")
    grid.add_row("memory", f"{run.peak_mb:.0f} MB at most")
    grid.add_row("start", f"first result after {run.first_result:.1f} s")
    return grid


def _live(live: Live, fps: float) -> list[RenderableType]:
    grid = Table(
        "live streams", "fit", "p50 ms", "p99 ms", "dropped", "fps of slowest", "searched", "cores", "MB", box=None
    )
    grid.pad_edge = False
    for column in grid.columns[2:]:
        column.justify = "right"
    for one in live.tries:
        grid.add_row(
            str(one.streams),
            "yes" if one.fits else "no",
            f"{one.latency.p50:.0f}",
            f"{one.latency.p99:.0f}",
            str(one.dropped),
            f"{one.delivered:.1f}",
            f"{one.searched:.0%}",
            f"{one.cores_busy:.2f}",
            f"{one.peak_mb:.0f}",
        )
    streams = "1 live stream fits" if live.streams == 1 else f"{live.streams} live streams fit"
    words = f"{streams} at {fps:g} fps; one has latency {_percentiles(live.one)}"
    return [grid, words + (f"; each further one takes {live.further_mb:.0f} MB" if live.streams > 1 else "")]


def _percentiles(p: Percentiles) -> str:
    return f"p50 {p.p50:.1f}, p95 {p.p95:.1f}, p99 {p.p99:.1f} ms"
