"""The commands that read a log."""

import sys
import time
from typing import Annotated

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from streamer.cli import logtables
from streamer.cli.logtables import Since, Streams, Until, Where
from streamer.cli.options import FAILED, FINE, Json
from streamer.terminal import out

app = typer.Typer(help="Look into a log: is it whole, what is in it, what does it say?", no_args_is_help=True)

Conditions = Annotated[
    list[str] | None,
    typer.Option("--where", help="Only such as faces.age>=30, status=skipped or faces. Repeatable: all must hold."),
]
Types = Annotated[list[str] | None, typer.Option("--type", help="frame, status, track, gap, ... Repeatable.")]


@app.command()
def verify(
    where: Where,
    stream: Streams = None,
    repair: Annotated[bool, typer.Option("--repair", help="First mend what a killed run has left.")] = False,
    as_json: Json = False,
) -> None:
    """Check every line: hashes, the chain of segments, the number of every frame.

    Exit code 1 if something is missing, damaged or changed; what exactly is said. Numbers are those of `seq`.
    """
    from streamer.log.repair import tidy_all
    from streamer.log.verify import verify as look

    if repair:
        tidy_all(where, time.time())
    verdicts = look(where, tuple(stream or ()))
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(verdicts) + b"\n")
    else:
        table = Table("stream", "segments", "records", "frames", "sessions", "missing", "", box=None, pad_edge=False)
        for v in verdicts:
            numbers = map(str, (v.segments, v.records, v.frames, v.sessions, v.missing))
            table.add_row(escape(v.stream or "-"), *numbers, "[green]whole[/]" if v.whole else "[red]NOT WHOLE[/]")
        out.print(table)
        for v in verdicts:
            for f in v.findings:
                place = escape(" ".join(filter(None, (v.stream, f.segment))))
                out.print(f"[{'dim' if f.harmless else 'red'}]{f.kind}[/] {place}: {escape(f.message)}", soft_wrap=True)
    sys.exit(FINE if all(verdict.whole for verdict in verdicts) else FAILED)


@app.command()
def cat(
    where: Where,
    stream: Streams = None,
    since: Since = None,
    until: Until = None,
    types: Types = None,
    conditions: Conditions = None,
) -> None:
    """Print records as lines of JSON, those of all streams in the order of time.

    [dim]streamer log cat logs --stream door --from 2h --where 'faces.emotions.happy>0.5' | jq .time.captured[/dim]
    """
    from streamer.log.select import Selection, condition, select
    from streamer.log.times import span

    selection = Selection(
        span(since, until, time.time()),
        tuple(stream or ()),
        tuple(types or ()),
        tuple(map(condition, conditions or ())),
    )
    for record in select(where, selection):
        sys.stdout.buffer.write(record.line + b"\n")
    sys.stdout.buffer.flush()


@app.command()
def tail(
    where: Where,
    stream: Streams = None,
    number: Annotated[int, typer.Option("-n", "--number", min=0, help="How many records of each stream.")] = 10,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new ones as they are written.")] = False,
    types: Types = None,
    conditions: Conditions = None,
    jsonl: Annotated[bool | None, typer.Option("--jsonl/--pretty", help="By default: JSON lines on a pipe.")] = None,
) -> None:
    """Print the newest records, and with --follow those that come."""
    from streamer.log.select import Selection, condition
    from streamer.log.tail import tail as newest
    from streamer.log.times import Span
    from streamer.watch import shown

    selection = Selection(Span(), tuple(stream or ()), tuple(types or ()), tuple(map(condition, conditions or ())))
    pretty = out.is_terminal if jsonl is None else not jsonl
    try:
        for record in newest(where, selection, number, follow=follow):
            if pretty:
                out.print(shown(record.line), soft_wrap=True)
            else:
                sys.stdout.buffer.write(record.line + b"\n")
                sys.stdout.buffer.flush()
    except KeyboardInterrupt:
        sys.exit(FINE)


for command in (logtables.stats, logtables.export):
    app.command()(command)
