"""The command line. Heavy modules are imported where a command needs them, so that `--help` is quick."""

import os
import sys
from typing import Annotated

import typer

from streamer import __version__
from streamer.cli import annotating, inspecting, log, measuring, models, running
from streamer.cli.options import FAILED, USAGE, Cache
from streamer.config import ModelSettings, Settings
from streamer.errors import ConfigError, StreamerError
from streamer.terminal import complain, out

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""Camera in, faces JSON out: live on a websocket, complete in a log, one picture at a time over HTTP.

    Try it without a camera: [bold]streamer demo[/bold], then open the address that it prints.""",
    epilog="Exit codes: 0 fine, 1 a run that failed, 2 bad usage or configuration.",
)
for command in (
    running.run,
    running.demo,
    annotating.annotate,
    running.image,
    running.watch,
    running.check,
    inspecting.probe,
    inspecting.doctor,
    inspecting.devices,
    measuring.bench,
):
    app.command()(command)
app.add_typer(log.app, name="log")
app.add_typer(models.app, name="models")


def main() -> None:
    """Entry point of the command `streamer`."""
    try:
        app()
    except StreamerError as error:
        complain(error)
        sys.exit(USAGE if isinstance(error, ConfigError) else FAILED)
    except BrokenPipeError:  # whoever read the output has seen enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"facestreamer {__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    cache: Cache = "",
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="The version.")] = False,
) -> None:
    context.obj = Settings(models=ModelSettings(cache=cache))
