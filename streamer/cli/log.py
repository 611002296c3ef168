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
from streamer.cli.options import FAILED, FINE, Host, HttpPort, Json, Options, TokenEnv, WsPort
from streamer.terminal import configure_logging, interruptible, out

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


@app.command()
def replay(
    context: typer.Context,
    where: Where,
    stream: Streams = None,
    since: Since = None,
    until: Until = None,
    speed: Annotated[float, typer.Option(min=0, max=1000, help="Times the original one; 0: as fast as possible.")] = 1,
    paused: Annotated[bool, typer.Option("--paused", help="Wait until somebody presses play.")] = False,
    loop: Annotated[bool, typer.Option("--loop", help="Begin again at the end.")] = False,
    host: Host = None,
    http_port: HttpPort = None,
    ws_port: WsPort = None,
    token_env: TokenEnv = None,
) -> None:
    """Serve a log on page and websocket as if its cameras were here.

    The page has a bar to stop, seek and change the speed, as has /api/replay. Pauses of more than 5 s are cut short.

    [dim]streamer log replay logs --stream door --from 2h --speed 4 --loop[/dim]
    """
    from streamer.log.player import Player
    from streamer.log.select import Selection
    from streamer.log.times import span
    from streamer.replay import Replay
    from streamer.serving import Addresses

    options = Options(host=host, http_port=http_port, ws_port=ws_port, token_env=token_env)
    settings = options.applied(context.obj)
    selection = Selection(span(since, until, time.time()), tuple(stream or ()))

    def ready(at: Addresses) -> None:
        out.print(f"page       {at.page}\nwebsocket  {at.websocket}", soft_wrap=True)

    async def serve() -> bool:
        player = Player(where, selection, speed, playing=not paused, loop=loop)
        await Replay(player, settings).run(ready)
        return True

    configure_logging(verbose=False)
    sys.exit(FINE if interruptible(serve()) else FAILED)


for command in (logtables.stats, logtables.export):
    app.command()(command)
