"""The command that measures: bench."""

import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from streamer.cli.options import Device, Json, Options, PipelineName
from streamer.config import Settings
from streamer.terminal import Reporter, err, out


def bench(
    context: typer.Context,
    clip: Annotated[str | None, typer.Argument(help="A video file. [default: the demo's scene]")] = None,
    live: Annotated[bool, typer.Option("--live", help="Also try how many such live streams fit.")] = False,
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="How long to measure, about.")] = 30.0,
    as_json: Json = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write a chart.", dir_okay=False)] = None,
    pipeline: PipelineName = None,
    device: Device = None,
) -> None:
    """Measure how fast this machine could be with CLIP, and how fast the program is.

    The limit is what decoding and the models would take if this machine did nothing else, each measured alone on all
    its threads. The program is run as by streamer run, with every frame analysed, in turns with that.

    [dim]streamer bench clip.mp4 --live --html bench.html[/dim]
    """
    from streamer.bench.measure import measure
    from streamer.bench.report import table

    settings = Options(pipeline=pipeline, device=device).applied(context.obj)
    with tempfile.TemporaryDirectory() as folder, Reporter() as reporter:
        given = clip or str(_scene(settings, Path(folder), reporter))
        with err.status("Measuring") if err.is_terminal else nullcontext() as status:

            def say(what: str) -> None:
                if status is not None:
                    status.update(f"Measuring: {escape(what)}")

            report = measure(settings, given, seconds, live, reporter, say)
    if as_json:
        from streamer.contract import encode

        sys.stdout.buffer.write(encode(report) + b"\n")
    else:
        out.print(table(report), soft_wrap=True)
    if html is not None:
        from streamer.bench.chart import page

        html.write_text(page(report), encoding="utf-8")


def _scene(settings: Settings, folder: Path, reporter: Reporter) -> Path:
    """The demo's scene as a file."""
    from streamer.bench.scene import film
    from streamer.inference.cards import pick, read_cards
    from streamer.inference.store import Store
    from streamer.media.pictures import read_picture

    store, (card,) = Store(settings.models.folder(), reporter), pick(read_cards(settings.models), ("portrait",))
    store.pull([card])
    return film(read_picture(store.weights(card)), folder / "demo.mp4")
