"""The commands that read a log."""

import typer

from streamer.cli import logtables

app = typer.Typer(no_args_is_help=True, help="Look into a log: what was seen, what was missed, and why.")
for command in (logtables.stats, logtables.export):
    app.command()(command)
