"""The commands that analyse: run, demo, image; and check, which says what run would do."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from streamer.cli.options import (
    FAILED,
    FINE,
    Blur,
    Config,
    Device,
    Duration,
    Host,
    HttpPort,
    Log,
    NoServer,
    Options,
    PipelineName,
    Raw,
    Source,
    TokenEnv,
    Verbose,
    Video,
    Workers,
    WsPort,
    deployment,
)
from streamer.config import PrivacySettings, ServerSettings, Settings, StreamSettings, stream_name
from streamer.configfile import read_pipeline
from streamer.errors import ConfigError, StreamerError, redact_address
from streamer.terminal import Reporter, complain, configure_logging, interruptible, out


def run(
    context: typer.Context,
    config: Config = None,
    source: Source = None,
    pipeline: PipelineName = None,
    log: Log = None,
    video: Video = None,
    blur: Blur = False,
    host: Host = None,
    http_port: HttpPort = None,
    ws_port: WsPort = None,
    token_env: TokenEnv = None,
    no_server: NoServer = False,
    raw: Raw = False,
    duration: Duration = None,
    device: Device = None,
    workers: Workers = None,
    verbose: Verbose = False,
) -> None:
    """Analyse cameras and files: serve dashboard and websocket, write the log and videos.

    The streams of CONFIG.toml and those named by --source run side by side; other options override the configuration.
    A run whose sources are all files ends with them; cameras are opened again whenever they are lost.
    On SIGHUP the configuration is read again: streams that were added, changed or removed in it are, the others go on.

    [dim]streamer run --source rtsp://camera.local/stream --log faces.jsonl
    streamer run --source clip.mp4 --video out.mp4 --blur --no-server
    streamer run deployment.toml --no-server[/dim]
    """
    options = Options(pipeline, log, host, http_port, ws_port, no_server, device, raw, token_env, video, blur, workers)

    def read() -> Settings:
        settings = deployment(context.obj, config)
        streams = dict(settings.streams)
        for url in source or []:
            streams[stream_name(url, set(streams))] = StreamSettings(url)
        if not streams:
            raise ConfigError("no source to analyse", "name one with --source, or a CONFIG.toml with [streams.NAME]")
        return options.applied(msgspec.structs.replace(settings, streams=streams))

    sys.exit(_run(read(), duration, verbose, read if config else None))


def demo(
    context: typer.Context,
    pipeline: PipelineName = None,
    log: Log = None,
    video: Video = None,
    blur: Blur = False,
    host: Host = None,
    http_port: HttpPort = None,
    ws_port: WsPort = None,
    token_env: TokenEnv = None,
    no_server: NoServer = False,
    raw: Raw = False,
    duration: Duration = None,
    device: Device = None,
    verbose: Verbose = False,
) -> None:
    """The same as run, with a made-up camera that moves over a portrait: try everything without a camera."""
    options = Options(pipeline, log, host, http_port, ws_port, no_server, device, raw, token_env, video, blur)
    settings = msgspec.structs.replace(context.obj, streams={"demo": StreamSettings("demo")})
    sys.exit(_run(options.applied(settings), duration, verbose))


def watch(
    url: Annotated[str, typer.Argument(help="Websocket of a running server.")] = "ws://127.0.0.1:8765/",
    streams: Annotated[str, typer.Option(help="Only these streams, separated by commas.")] = "",
    max_fps: Annotated[float, typer.Option(min=0, help="At most so many frames a second of each; 0: all.")] = 0,
    fields: Annotated[str, typer.Option(help="Only these keys, such as faces.age,faces.trackId.")] = "",
    faces_only: Annotated[bool, typer.Option("--faces-only", help="Only frames with faces.")] = False,
    raw: Raw = False,
    token_env: Annotated[str, typer.Option(metavar="VAR", help="Environment variable with the server's token.")] = "",
    jsonl: Annotated[bool | None, typer.Option("--jsonl/--pretty", help="By default: JSON lines on a pipe.")] = None,
) -> None:
    """Show the records of a running server as they come; a lost connection is opened again and goes on where it was.

    [dim]streamer watch --faces-only
    streamer watch ws://wall.local:8765/ --streams door | jq .faces[].age[/dim]
    """
    from streamer.watch import watch as show

    token = ""
    if token_env:
        token = os.environ.get(token_env, "")
        if not token:
            raise ConfigError(f"the environment variable {token_env} is not set", "export it, with the token")
    wanted = {"streams": streams, "fields": fields, "maxFps": f"{max_fps:g}" if max_fps else ""}
    wanted |= {"facesOnly": "1" if faces_only else "", "raw": "1" if raw else ""}
    query = {key: value for key, value in wanted.items() if value}
    pretty = out.is_terminal if jsonl is None else not jsonl
    if pretty and fields:
        raise ConfigError("--fields leaves too little for people to read", "add --jsonl")
    configure_logging(verbose=False)
    interruptible(show(url, query, token, pretty=pretty))


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

    settings = Options(device=device).applied(context.obj)
    configure_logging(verbose=False)
    pictures = find_pictures(paths)
    show = print_line if jsonl else print_table
    with Reporter() as reporter:
        work = analyse_files(pictures, pipeline or settings.image_pipeline, settings, show, reporter)
        sys.exit(FINE if interruptible(work) else FAILED)


def check(config: Annotated[Path, typer.Argument(metavar="CONFIG.toml")]) -> None:
    """Read a configuration and say what it would do, without doing it."""
    settings = deployment(Settings(), config)
    if not settings.streams:
        raise ConfigError(f"{config}: has no [streams.NAME]", "add at least one stream with its url")
    for name in (settings.pipeline, settings.image_pipeline):
        read_pipeline(name)
    from streamer.media.address import resolve

    for name, stream in settings.streams.items():
        where = resolve(stream)
        out.print(f"{name}: {where.kind} {redact_address(stream.url)}", markup=False, soft_wrap=True)
    from streamer.access import Access, tls_context

    server = settings.server
    if server.enabled:
        Access(server)
        tls_context(server)
    secure = "s" if server.certificate else ""
    out.print(f"pipeline: {settings.pipeline}; stills: {settings.image_pipeline}; device: {settings.device}")
    from streamer.inference.budget import cpu_budget
    from streamer.workers.sizing import in_words

    out.print(f"workers: {in_words(settings, settings.threads or cpu_budget())}")
    if not server.enabled:
        out.print("page and websocket: switched off")
    else:
        page, records = f"{server.host}:{server.http_port}/", f"{server.host}:{server.ws_port}/"
        out.print(f"page: http{secure}://{page}; websocket: ws{secure}://{records}")
        out.print(f"access: {_access(server)}", markup=False, soft_wrap=True)
    out.print(f"privacy: {_privacy(settings.privacy)}", markup=False, soft_wrap=True)
    out.print(f"log: {settings.log.path or 'none'}", markup=False, soft_wrap=True)
    if settings.video.path:
        from streamer.outputs.videofiles import check_path

        check_path(settings.video, settings.streams, settings.privacy)
        blurred = ", faces unrecognisable" if settings.video.blur else ""
        out.print(f"video: {settings.video.path}{blurred}", markup=False, soft_wrap=True)
    out.print("The configuration is fine.")


def _privacy(privacy: PrivacySettings) -> str:
    """What is switched off, in words."""
    off = [name for name in ("emotions", "age", "gender", "pictures") if not getattr(privacy, name)]
    words = [f"{', '.join(off)} switched off"] if off else []
    words += ["coordinates only"] if privacy.coordinates_only else []
    words += ["faces in pictures unrecognisable"] if privacy.blur and privacy.pictures else []
    return "; ".join(words) or "nothing is switched off"


def _access(server: ServerSettings) -> str:
    """Who may do what, in words."""
    tokens = ", ".join(f"{name} ({token.role})" for name, token in server.tokens.items())
    others = "everybody may view" if server.anonymous else "nobody else" if tokens else "this machine only"
    return f"tokens {tokens}; {others}" if tokens else others


def _run(settings: Settings, duration: float | None, verbose: bool, read: Callable[[], Settings] | None = None) -> int:
    from streamer.app import App
    from streamer.terminal import StreamLines, told

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
            fine = interruptible(work, reload if read else None)
    for video in app_run.videos:
        out.print(f"video: {video.path}: {told(video)}", markup=False, soft_wrap=True)
    return FINE if fine else FAILED
