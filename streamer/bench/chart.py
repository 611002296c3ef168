"""The report as a page that needs nothing else: where a frame's time goes."""

from collections.abc import Iterator
from html import escape

from streamer.bench.report import Report

_WIDTH, _BAR, _GAP = 860, 34, 62
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --back: #fff; --line: #d8dee6; --rest: #b9c1cb;
  --c0: #3f6fb5; --c1: #2a9d8f; --c2: #8a63c9; --c3: #d98c2b; --c4: #c8553d; --c5: #6b8f3a; --c6: #b0608c; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6ebf2; --soft: #9aa7b8; --back: #141a22; --line: #2f3a48; --rest: #4a5666;
    --c0: #6d9be0; --c1: #4cc3b4; --c2: #b093ea; --c3: #eeb15c; --c4: #ea8069; --c5: #9cc266; --c6: #d88db5; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back);
  max-width: 900px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.3em; }
h2 { font-size: 1.05em; margin: 2em 0 .3em; }
p { color: var(--soft); margin: .2em 0; }
svg { width: 100%; height: auto; }
svg text { font: 13px system-ui, sans-serif; fill: var(--ink); }
svg .soft { fill: var(--soft); }
table { border-collapse: collapse; }
td, th { padding: .2em 1.2em .2em 0; text-align: right; border-bottom: 1px solid var(--line); }
td:first-child, th:first-child { text-align: left; }
b { color: var(--ink); font-size: 1.6em; }
"""
_Row = tuple[str, list[tuple[str, float, str]]]  # of bars: what is in it, milliseconds, colour


def page(report: Report) -> str:
    """An HTML document with charts as SVG, light or dark as the reader's system is."""
    m, c, run = report.machine, report.clip, report.run
    precisions = ", ".join(sorted(set(m.precisions.values())))
    versions = ", ".join(f"{name} {number}" for name, number in m.versions.items())
    latency = f"p50 {run.latency.p50:.1f}, p95 {run.latency.p95:.1f}, p99 {run.latency.p99:.1f} ms"
    body = [
        f"<h1>{escape(c.name)}: {escape(c.codec)} {c.width}x{c.height}, {c.faces:.2f} faces a frame</h1>",
        f"<p>{escape(m.cpu)}, {m.threads} threads, {m.device}, {precisions}; {escape(versions)}</p>",
        f"<p><b>{run.fps:.1f}</b> frames a second, <b>{report.ratio:.2f}</b> of the limit</p>",
        "<h2>The machine's time for one frame, in ms</h2>",
        *_bars(_machine_time(report)),
        "<h2>A frame's time in each stage, in ms; frames overlap</h2>",
        *_bars([("stages", _coloured(list(run.stages.items())))]),
        f"<p>From decoding to publishing: {latency}</p>",
        f"<p>CPU {run.cpu_ms:.1f} ms a frame; {run.peak_mb:.0f} MB at most</p>",
        *_live(report),
    ]
    title = f"<title>{escape(c.name)} - streamer bench</title>"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8">{title}<style>{_STYLE}</style>'
    return "\n".join([head, *body, "</html>\n"])


def _machine_time(report: Report) -> list[_Row]:
    parts = _coloured([(part.name, part.ms) for part in report.limit.parts])
    # The machine's speed may have changed between the two: what counts is their ratio in neighbouring rounds.
    rest = sum(part.ms for part in report.limit.parts) * (1 / report.ratio - 1)
    more = [("everything else", rest, "var(--rest)")] if rest > 0 else []
    return [("limit", parts), ("pipeline", [*parts, *more])]


def _coloured(values: list[tuple[str, float]]) -> list[tuple[str, float, str]]:
    return [(name, ms, f"var(--c{n % 7})") for n, (name, ms) in enumerate(values)]


def _bars(rows: list[_Row]) -> Iterator[str]:
    """Stacked bars on one scale, and what their colours mean."""
    scale = (_WIDTH - 90) / max(sum(ms for _name, ms, _colour in bar) for _label, bar in rows)
    legend = list(dict.fromkeys((name, colour) for _label, bar in rows for name, _ms, colour in bar))
    lines = -(-len(legend) // 3)
    height = len(rows) * _GAP + lines * 22
    yield f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(_words(rows))}">'
    for number, (label, bar) in enumerate(rows):
        y, x = number * _GAP, 0.0
        total = sum(ms for _name, ms, _colour in bar)
        yield f'<text x="0" y="{y + 14}" class="soft">{escape(label)}</text>'
        for name, ms, colour in bar:
            width = ms * scale
            yield f'<rect x="{x:.1f}" y="{y + 20}" width="{width:.1f}" height="{_BAR}" fill="{colour}">'
            yield f"<title>{escape(name)}: {ms:.2f} ms</title></rect>"
            x += width
        yield f'<text x="{x + 8:.1f}" y="{y + 20 + _BAR * 0.65:.1f}">{total:.1f} ms</text>'
    for number, (name, colour) in enumerate(legend):
        x, y = number % 3 * _WIDTH / 3, len(rows) * _GAP + number // 3 * 22
        yield f'<rect x="{x:.0f}" y="{y}" width="12" height="12" fill="{colour}"/>'
        yield f'<text x="{x + 18:.0f}" y="{y + 11}">{escape(name)}</text>'
    yield "</svg>"


def _words(rows: list[_Row]) -> str:
    """The same for those who do not see it."""
    return "; ".join(f"{label}: " + ", ".join(f"{name} {ms:.2f} ms" for name, ms, _ in bar) for label, bar in rows)


def _live(report: Report) -> Iterator[str]:
    live = report.live
    if live is None:
        return
    yield f"<h2>Live streams at {report.clip.fps:g} fps that fit: {live.streams}</h2><table>"
    yield "<tr><th>streams<th>fit<th>p50 ms<th>p99 ms<th>dropped<th>fps of the slowest<th>searched<th>cores<th>MB</tr>"
    for one in live.tries:
        fit = "yes" if one.fits else "no"
        yield (
            f"<tr><td>{one.streams}<td>{fit}<td>{one.latency.p50:.0f}<td>{one.latency.p99:.0f}<td>{one.dropped}"
            f"<td>{one.delivered:.1f}<td>{one.searched:.0%}<td>{one.cores_busy:.2f}<td>{one.peak_mb:.0f}</tr>"
        )
    yield "</table>"
