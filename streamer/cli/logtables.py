"""The commands that add up a log, or make a table of it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from streamer.cli.options import Json
from streamer.errors import ConfigError
from streamer.terminal import err, out

if TYPE_CHECKING:
    from rich.table import Table

    from streamer.log.figures import Summary

Where = Annotated[
    Path, typer.Argument(metavar="LOG", help="Folder of a log or of one of its streams, or a file of it.")
]
Streams = Annotated[list[str] | None, typer.Option("--stream", metavar="NAME", help="Only this one. Repeatable.")]
Since = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="2026-11-25T09:30Z, or 90s, 30m, 2h, 3d ago.")
]
Until = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Until before this time, told alike.")]
Force = Annotated[bool, typer.Option("--force", help="Take the place of a file that is there.")]


def stats(
    where: Where,
    stream: Streams = None,
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="A report with plots, as one file.")] = None,
    force: Force = False,
) -> None:
    """Add up a log: frames by outcome, rates, ages of results, gaps, faces, tracks, emotions.

    Emotions are weighted by time, ages and genders are of tracks; values in notAssessed do not count.

    [dim]streamer log stats logs
    streamer log stats logs --stream door --from 2h --html report.html[/dim]
    """
    from streamer.contract import encode
    from streamer.log.figures import told
    from streamer.log.files import appearing
    from streamer.log.report import report
    from streamer.log.stats import of_log
    from streamer.log.times import span
    from streamer.records import rfc3339

    now = time.time()
    wanted = span(since, until, now)
    if html is not None and html.exists() and not force:
        raise ConfigError(f"{html}: is there already", "choose another name, or --force")
    with err.status("Reading the log"):
        found = of_log(where, tuple(stream or ()), wanted)
    if html is not None:
        with appearing(html, force) as part:
            part.write_text(report(where.name or str(where), found, rfc3339(now)), encoding="utf-8")
    figures = {name: each.figures for name, each in found}
    result = told(str(where), figures, found.total())
    if as_json:
        print(encode(result).decode())
        return
    for name, summary in result.streams.items():
        out.print(_table(name, summary))
    if len(result.streams) > 1:
        out.print(_table("all streams", result.total))
    if not result.streams:
        out.print("There are no records of that time.")


def export(
    where: Where,
    target: Annotated[Path, typer.Argument(metavar="OUT.csv|OUT.parquet", help="Parquet wants an extra: [parquet].")],
    stream: Streams = None,
    since: Since = None,
    until: Until = None,
    frames: Annotated[bool, typer.Option("--frames", help="A row for each frame, in place of each face.")] = False,
    force: Force = False,
) -> None:
    """Make a table of a log, as CSV or Parquet: a row for each face, or for each frame.

    [dim]streamer log export logs faces.parquet
    streamer log export logs frames.csv --frames --from 2026-11-25[/dim]
    """
    from streamer.log.export import export_log
    from streamer.log.times import span

    wanted = span(since, until, time.time())
    with err.status("Reading the log"):
        count = export_log(where, tuple(stream or ()), wanted, target, of_frames=frames, force=force)
    out.print(f"{target}: {count} rows", markup=False, soft_wrap=True)


def _table(name: str, summary: "Summary") -> "Table":
    from rich.table import Table

    from streamer.log.words import facts

    table = Table("", "", "", title=escape(name), title_justify="left", title_style="bold", box=None)
    table.show_header = False
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    table.columns[2].style = "dim"
    for what, value, more in facts(summary):
        table.add_row(escape(what), escape(value), escape(more))
    return table
