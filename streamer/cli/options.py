"""What the commands have in common: their options, and how those and a configuration become settings."""

import os
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from streamer.config import Settings, TokenSettings
from streamer.configfile import read_settings, with_token
from streamer.errors import ConfigError

FINE, FAILED, USAGE = 0, 1, 2
S = TypeVar("S", bound=msgspec.Struct)

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
    str | None,
    typer.Option("--log", help="Write every record into a folder (segments for each stream), or a .jsonl file."),
]
Video = Annotated[
    str | None,
    typer.Option(help="Write what is analysed, with boxes and labels, into a .mp4, .mov or .mkv file, or a folder."),
]
Blur = Annotated[bool, typer.Option("--blur", help="Make faces unrecognisable in these videos.")]
Host = Annotated[str | None, typer.Option(help="Address to serve on. [default: 127.0.0.1]")]
HttpPort = Annotated[int | None, typer.Option(min=0, max=65535, help="Dashboard and Face API. [default: 8080]")]
WsPort = Annotated[int | None, typer.Option(min=0, max=65535, help="Websocket of the records. [default: 8765]")]
TokenEnv = Annotated[
    str | None,
    typer.Option(metavar="VAR", help="Environment variable with a token that may do everything; --host wants one."),
]
NoServer = Annotated[bool, typer.Option("--no-server", help="Neither page nor websocket: just analyse and log.")]
Raw = Annotated[bool, typer.Option("--raw", help="Add to each face what its frame alone says, before smoothing.")]
Duration = Annotated[float | None, typer.Option(min=0.1, help="Stop after so many seconds.")]
Device = Annotated[str | None, typer.Option(help="CPU, GPU, NPU or AUTO. [default: CPU]")]
Workers = Annotated[
    str | None,
    typer.Option(help="Processes to spread streams over: a number, 0 for none, or auto. [default: 0]"),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more about what happens.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="Models; all if none is named.")]


def deployment(common: Settings, config: Path | None) -> Settings:
    """The settings in the file `config`, with those of the whole command line over them. Raises ConfigError."""
    if config is None:
        return common
    if config.suffix != ".toml":
        raise ConfigError(f"{config}: is not a .toml file", f"to analyse it, say: streamer run --source {config}")
    settings = read_settings(config, os.environ)
    return msgspec.structs.replace(settings, models=common.models) if common.models.cache else settings


class Options(msgspec.Struct, frozen=True):
    """What the command line says over a configuration; None leaves that as it is."""

    pipeline: str | None = None
    log: str | None = None
    host: str | None = None
    http_port: int | None = None
    ws_port: int | None = None
    no_server: bool = False
    device: str | None = None
    raw: bool = False
    token_env: str | None = None
    video: str | None = None
    blur: bool = False
    workers: str | None = None

    def applied(self, settings: Settings) -> Settings:
        """Raises ConfigError for a value that the settings do not allow."""
        server = replace(settings.server, host=self.host, http_port=self.http_port, ws_port=self.ws_port)
        if self.token_env:
            token = with_token(TokenSettings("control", token_env=self.token_env), "--token-env", os.environ)
            server = replace(server, tokens={**server.tokens, "command-line": token})
        if self.no_server:
            server = replace(server, enabled=False)
        log = replace(settings.log, path=self.log)
        video = replace(settings.video, path=self.video, blur=self.blur or None)
        if self.blur and not video.path:
            raise ConfigError("--blur is for videos, and none is written", "add --video")
        workers = int(self.workers) if self.workers and self.workers.isdecimal() else self.workers
        plain = replace(settings, pipeline=self.pipeline, device=self.device, raw=self.raw or None, workers=workers)
        return msgspec.structs.replace(plain, server=server, log=log, video=video)


def replace(struct: S, **values: Any) -> S:
    """`struct` with those values that are not None, checked as if they came from a file."""
    given = {key: value for key, value in values.items() if value is not None}
    try:
        return msgspec.convert(msgspec.structs.asdict(struct) | given, type(struct), from_attributes=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"option {', '.join(given)}: {error}") from None
