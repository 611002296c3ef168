"""Plots as SVG that needs nothing else. Words lie beside the drawing as HTML, so that they are readable at any size.

Drawings are 1000 wide and 100 high, stretched to the room that there is.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape

import msgspec

from streamer.records import rfc3339

_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
_DAY = 86_400
_LAST_SECOND = 253402300799  # of the year 9999
_TICKS = 5
_LEVELS = (0.0, 0.5, 1.0)  # of the scale on the left


class Series(msgspec.Struct, frozen=True):
    """Values of one thing, None where there is none; `colour` is CSS."""

    name: str
    colour: str
    values: Sequence[float | None]


class Axis(msgspec.Struct, frozen=True):
    """Intervals of `width` seconds that begin at `times`, seconds since 1970, which may have holes between them."""

    times: Sequence[int]
    width: int

    @property
    def span(self) -> int:
        return self.times[-1] + self.width - self.times[0]

    def x(self, time: float) -> float:
        return 1000 * (time - self.times[0]) / self.span


def lines(title: str, axis: Axis, series: Sequence[Series], unit: str = "") -> str:
    """A line for each, interrupted where nothing is known."""
    top = _top(value for each in series for value in each.values if value is not None)
    drawn = []
    for each in series:
        path, before = [], None
        for time, value in zip(axis.times, each.values, strict=True):
            if value is None:
                before = None
                continue
            y = 100 - 100 * value / top
            joined = before is not None and time - before <= axis.width
            # A lone value is as wide as its interval.
            path.append(f"{'L' if joined else 'M'}{axis.x(time):.1f} {y:.1f}H{axis.x(time + axis.width):.1f}")
            before = time
        drawn.append(f'<path class="line" stroke="{each.colour}" d="{"".join(path)}"/>')
    return _figure(title, axis, series, drawn, top, unit)


def stacked(title: str, axis: Axis, series: Sequence[Series], unit: str = "", top: float | None = None) -> str:
    """One upon the other."""
    heights = [sum(value or 0 for value in column) for column in zip(*(each.values for each in series), strict=True)]
    top = top or _top(heights)
    drawn, floor = [], [0.0] * len(axis.times)
    for each in series:
        path = []
        for n, (time, value) in enumerate(zip(axis.times, each.values, strict=True)):
            if value:
                left, right = axis.x(time), axis.x(time + axis.width)
                low, floor[n] = floor[n], floor[n] + value
                path.append(f"M{left:.1f} {100 - 100 * low / top:.1f}V{100 - 100 * floor[n] / top:.1f}H{right:.1f}")
                path.append(f"V{100 - 100 * low / top:.1f}Z")
        drawn.append(f'<path fill="{each.colour}" d="{"".join(path)}"/>')
    return _figure(title, axis, series, drawn, top, unit)


def bars(title: str, counts: Mapping[str, float], colour: str) -> str:
    """A bar for each name, with its number upon it."""
    top = max(counts.values(), default=0) or 1
    columns = "".join(
        f'<li><span class="number">{number(count) if count else ""}</span>'
        f'<span class="bar" style="--share:{count / top:.3f};background:{colour}"></span>'
        f'<span class="name">{escape(name)}</span></li>'
        for name, count in counts.items()
    )
    return f'<figure><figcaption>{escape(title)}</figcaption><ul class="bars">{columns}</ul></figure>'


def number(value: float) -> str:
    """In at most four digits where that is enough."""
    if value >= 1000:
        return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return f"{value:.3g}"


def _figure(title: str, axis: Axis, series: Sequence[Series], drawn: list[str], top: float, unit: str) -> str:
    legend = "".join(f'<span><i style="background:{each.colour}"></i>{escape(each.name)}</span>' for each in series)
    grid = "".join(f'<path class="grid" d="M0 {100 - 100 * level:g}H1000"/>' for level in _LEVELS)
    scale = "".join(
        f'<span style="top:{100 - 100 * level:g}%">{number(level * top)}{unit if level == 1 else ""}</span>'
        for level in _LEVELS
    )
    ticks = "".join(f'<span style="left:{x / 10:.2f}%">{label}</span>' for x, label in _ticks(axis))
    hits = "".join(_hit(axis, n, series, unit) for n in range(len(axis.times)))
    label = escape(f"{title}: {', '.join(each.name for each in series)}", quote=True)
    return (
        f'<figure><figcaption>{escape(title)} <small class="legend">{legend}</small></figcaption>'
        f'<div class="plot"><svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f'{grid}{"".join(drawn)}{hits}</svg><div class="scale">{scale}</div></div>'
        f'<div class="ticks">{ticks}</div></figure>'
    )


def _hit(axis: Axis, n: int, series: Sequence[Series], unit: str) -> str:
    """What is told of an interval where the pointer rests on it."""
    left, right = axis.x(axis.times[n]), axis.x(axis.times[n] + axis.width)
    told = [rfc3339(axis.times[n])[:19].replace("T", " ")]
    told += [f"{each.name} {number(value)}{unit}" for each in series if (value := each.values[n]) is not None]
    return (
        f'<rect class="hit" x="{left:.1f}" width="{right - left:.1f}" height="100">'
        f"<title>{escape(chr(10).join(told))}</title></rect>"
    )


def _top(values: Iterable[float]) -> float:
    """The upper end of a scale: a round number that no value exceeds."""
    highest = max(values, default=0.0)
    if highest <= 0:
        return 1.0
    size = 10 ** len(str(int(highest))) / 10 if highest >= 1 else 0.1
    return next(size * factor for factor in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if size * factor >= highest)


def _ticks(axis: Axis) -> list[tuple[float, str]]:
    """Where, of 1000, and what."""
    step = next((step for step in _STEPS if axis.span / step <= _TICKS), 0)
    if not step:
        step = _DAY * -(-axis.span // (_DAY * _TICKS))
    first = -(-axis.times[0] // step) * step
    return [(axis.x(time), _label(time, step)) for time in range(first, axis.times[0] + axis.span, step)]


def _label(time: float, step: int) -> str:
    at = datetime.fromtimestamp(min(time, _LAST_SECOND), UTC)
    if step >= _DAY or (at.hour == at.minute == at.second == 0):
        return f"{at:%d %b}"
    return f"{at:%H:%M}" if step >= 60 else f"{at:%H:%M:%S}"
