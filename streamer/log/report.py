"""The report of a log as one HTML file that asks nobody for anything."""

from html import escape
from pathlib import Path

from streamer import __version__
from streamer.face import EMOTIONS
from streamer.log.figures import Figures, Summary, summary
from streamer.log.plots import Axis, Series, bars, lines, stacked
from streamer.log.series import Interval
from streamer.log.stats import Stats, StreamStats
from streamer.log.words import amount, duration, facts

_EMOTION_COLOURS = ("#d8574d", "#90993c", "#9b72dd", "#dfa32a", "#4c88dc", "#2fb0a6", "#8a97a8")
_SKIPPED_COLOURS = ("#dfa32a", "#d8574d", "#9b72dd", "#2fb0a6", "#90993c", "#8a97a8")
_ACCENT, _SECOND, _GOOD = "var(--accent)", "var(--second)", "var(--good)"
# Dwell times that are told apart, in seconds.
_DWELLS = (0, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)

_STYLE = Path(__file__).with_name("report.css")


def report(log: str, stats: Stats, made: str) -> str:
    """The whole page. `log` is its name, `made` when this was."""
    sections = "".join(_section(n, name, stream) for n, (name, stream) in enumerate(stats))
    links = "".join(f'<a href="#s{n}">{escape(name)}</a>' for n, (name, _) in enumerate(stats))
    several = len(stats.streams) > 1
    overall = f"<h2>All streams</h2>{_overview(stats)}{_facts(stats.total())}<nav>{links}</nav>" if several else ""
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(log)} - facestreamer</title>
<style>{_STYLE.read_text(encoding="utf-8")}</style>
<h1>{escape(log)}</h1>
<p>Times are UTC. Ages and genders are of tracks, emotions weighted by time, all without values that are only guesses.
They tell how faces look, not who somebody is or what somebody feels.</p>
{overall}{sections or "<p>There are no records of that time.</p>"}
<footer>facestreamer {escape(__version__)}, {escape(made)}</footer>
</html>
"""


def _section(n: int, name: str, stream: StreamStats) -> str:
    figures = stream.figures
    plots = [*_over_time(stream), *_of_people(figures)]
    head = f'<h2 id="s{n}">{escape(name)}</h2>{_facts(figures)}'
    return f'<section>{head}<div class="plots">{"".join(plots)}</div></section>'


def _facts(figures: Figures) -> str:
    told = "".join(
        f"<div><dt>{escape(what)}</dt><dd>{escape(value)}{f'<small>{escape(more)}</small>' if more else ''}</dd></div>"
        for what, value, more in facts(summary(figures))
    )
    return f"<dl>{told}</dl>"


def _overview(stats: Stats) -> str:
    rows = []
    for name, stream in stats:
        told: Summary = summary(stream.figures)
        fps = f"{told.fps.analysed:.1f} of {told.fps.delivered:.1f}" if told.fps else ""
        age = f"{told.age_ms.p95:.0f} ms" if told.age_ms else ""
        cells = (duration(told.seconds), amount(told.frames.total), fps, age, amount(told.tracks))
        rows.append(f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    head = "".join(f"<th>{each}</th>" for each in ("stream", "time", "frames", "fps", "age p95", "tracks"))
    return f'<figure class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></figure>'


def _over_time(stream: StreamStats) -> list[str]:
    parts = list(stream.timeline)
    if not parts:
        return []
    axis = Axis([begin for begin, _ in parts], stream.timeline.width)
    intervals = [interval for _, interval in parts]
    reasons = list(stream.figures.skipped)
    skipped = [
        Series(reason, _SKIPPED_COLOURS[n % len(_SKIPPED_COLOURS)], [each.skipped.get(reason, 0) for each in intervals])
        for n, reason in enumerate(reasons)
    ]
    outcomes = [Series("processed", _GOOD, [each.processed for each in intervals]), *skipped]
    shares = [
        Series(
            name,
            _EMOTION_COLOURS[n],
            [each.emotions[n] / each.weight * 100 if each.weight else None for each in intervals],
        )
        for n, name in enumerate(EMOTIONS)
    ]
    per = f"each {duration(axis.width)}"
    plots = [
        lines("Faces in a frame", axis, [Series("mean", _ACCENT, [_ratio(e.faces, e.processed) for e in intervals])]),
        lines(
            "Frames a second",
            axis,
            [
                Series("delivered", _SECOND, [_rate(each, each.frames) for each in intervals]),
                Series("analysed", _ACCENT, [_rate(each, each.processed) for each in intervals]),
            ],
        ),
        lines(
            "Age of results",
            axis,
            [
                Series("oldest", _SECOND, [each.oldest if each.processed else None for each in intervals]),
                Series("mean", _ACCENT, [_ratio(each.age, each.processed) for each in intervals]),
            ],
            " ms",
        ),
        stacked(f"Frames by outcome, {per}", axis, outcomes),
    ]
    if any(each.weight for each in intervals):
        plots.append(stacked("Emotions", axis, shares, " %", 100.0))
    return plots


def _ratio(part: float, count: float) -> float | None:
    return part / count if count else None


def _rate(interval: Interval, frames: int) -> float | None:
    """Of the frames of an interval that so many are; a lone frame tells no rate."""
    return frames / interval.frames * interval.intervals / interval.seconds if interval.seconds else None


def _of_people(figures: Figures) -> list[str]:
    told, plots = summary(figures), []
    if figures.tracks.count:
        steps = [low for low in _DWELLS if low <= figures.tracks.highest]
        ends = (*steps[1:], float("inf"))
        counts = {_range(low, high): figures.tracks.between(low, high) for low, high in zip(steps, ends, strict=True)}
        plots.append(bars("Tracks by the time for which they were seen", counts, _ACCENT))
    if told.ages:
        plots.append(bars("Tracks by age", told.ages, _ACCENT))
    if told.genders:
        plots.append(bars("Tracks by gender", told.genders, _ACCENT))
    if told.timings:
        plots.append(bars("Milliseconds a stage, mean", told.timings, _SECOND))
    return plots


def _range(low: float, high: float) -> str:
    def short(seconds: float) -> str:
        return f"{seconds:g}s" if seconds < 60 else f"{seconds / 60:g}m" if seconds < 3600 else f"{seconds / 3600:g}h"

    return f"<{short(high)}" if not low else f"{short(low)}+"
