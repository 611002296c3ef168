"""Every setting, as structs that strict TOML is read into. Unknown keys are refused with their path.

Times are seconds, sizes pixels, thresholds 0-1. `configs/default.toml` shows every key of `Settings`, and
`pipelines/realtime.toml` every key of `Pipeline`.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote

import msgspec
import platformdirs

from streamer.errors import ConfigError

Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
SomeSeconds = Annotated[float, msgspec.Meta(gt=0)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Role = Literal["view", "control"]
T = TypeVar("T")
_SHORTEST_TOKEN = 8  # characters
# Also the name of a log file, which may have 255 bytes: up to four a character.
Name = Annotated[str, msgspec.Meta(pattern=r"^\w[\w. -]{0,59}\Z")]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class DetectSettings(_Strict, frozen=True):
    """`size` is the side of a square as large as the detector's input. Faces are found from `threshold` on; boxes that
    overlap by more than `nms_iou` are one face. Where nothing is found, `fallback`, another detector, has a look.
    For CenterFace: `scales` are the readings, as multiples of the picture's size (negative: mirrored), and
    `calibration` turns their mean score's log odds into those of being a face (offset, slope).
    """

    model: str = "yunet"
    size: Annotated[int, msgspec.Meta(ge=64, le=4096)] = 640
    threshold: Fraction = 0.3
    nms_iou: Fraction = 0.45
    max_faces: Annotated[int, msgspec.Meta(ge=1)] = 200
    fallback: str = ""
    scales: Annotated[tuple[float, ...], msgspec.Meta(min_length=1)] = (1.0,)
    calibration: tuple[float, float] = (0.0, 1.0)


class LandmarkSettings(_Strict, frozen=True):
    """The mesh refines the detector's five points where its own face score (a logit) reaches `min_score`."""

    model: str = "face-mesh"
    min_score: float = -5.0


class AttributeSettings(_Strict, frozen=True):
    """Models for age, gender and emotion. Their outputs are averaged over views of each face: `zooms` of its aligned
    chip, and with `mirror` the mirror images of all. In a live stream a face is looked at anew after `interval`
    seconds; on a machine that is too busy, less often, but at least every `interval_max` seconds.
    """

    age: str = "dlib-age"
    gender: str = "dlib-gender"
    emotion: str = "emotion-net"
    age_zooms: Annotated[tuple[float, ...], msgspec.Meta(min_length=1)] = (1.0,)
    gender_zooms: Annotated[tuple[float, ...], msgspec.Meta(min_length=1)] = (1.05,)
    mirror: bool = False
    interval: Seconds = 0.0
    interval_max: Seconds = 1.0


class TrackSettings(_Strict, frozen=True):
    """A face starts a track if it scores `threshold`; one that scores less than `sure` is shown only after it was seen
    for `confirm` seconds. Fainter ones, from `faint` on, only keep a track alive. A track keeps its number for `lost`
    seconds without being seen. `manoeuvre` is how hard faces change their speed: the power spectral density of their
    acceleration in face heights squared per second cubed. `gate` is how many standard deviations a face may be off its
    prediction. `cut` is the change of the picture, 0-1, from which a new scene is assumed: all tracks end.
    """

    threshold: Fraction = 0.7
    sure: Fraction = 0.8
    faint: Fraction = 0.6
    confirm: Seconds = 0.1
    lost: Seconds = 1.0
    manoeuvre: SomeSeconds = 4.0
    gate: SomeSeconds = 4.0
    cut: Fraction = 0.28


class SmoothSettings(_Strict, frozen=True):
    """Time constants in seconds; 0 switches that smoothing off. `box_cutoff` (hertz) and `box_speed` are One Euro's
    minimum cut-off and its growth with speed in face heights per second. Another emotion takes the lead once it is
    ahead by `emotion_margin`, or has been ahead for `emotion_patience`.
    """

    box_cutoff: Seconds = 2.0
    box_speed: Annotated[float, msgspec.Meta(ge=0)] = 4.0
    age: Seconds = 6.0
    gender: Seconds = 6.0
    emotion: Seconds = 0.25
    emotion_margin: Fraction = 0.08
    emotion_patience: Seconds = 0.35


class Pipeline(_Strict, frozen=True):
    """Which models analyse a picture, with which thresholds; tracking and smoothing apply to streams only."""

    description: str = ""
    detect: DetectSettings = DetectSettings()
    landmarks: LandmarkSettings = LandmarkSettings()
    attributes: AttributeSettings = AttributeSettings()
    track: TrackSettings = TrackSettings()
    smooth: SmoothSettings = SmoothSettings()

    def models(self) -> tuple[str, ...]:
        """Names of the model cards that this pipeline needs."""
        a = self.attributes
        fallback = (self.detect.fallback,) if self.detect.fallback else ()
        return (self.detect.model, *fallback, self.landmarks.model, a.age, a.gender, a.emotion)


Point = tuple[Fraction, Fraction]
Polygon = Annotated[tuple[Point, ...], msgspec.Meta(min_length=3)]
WHOLE_PICTURE: Polygon = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


class StreamSettings(_Strict, frozen=True):
    """One source, how it is read, and what of it is analysed.

    `user` and `password` are plain text here and are encoded into the address exactly once; instead of the password the
    name of an environment variable or the path of a file that holds it can be given. `format` is the name of an FFmpeg
    capture format (such as x11grab or lavfi) that the address is meant for. `hardware` names an FFmpeg hardware device
    for decoding; where it cannot be used, the CPU decodes. A file is read as fast as it can be analysed, or at
    its own speed with `realtime`, and over and over with `loop`.

    A source that gives no picture for `stall` seconds counts as stalled; a lost one is tried again after `retry_min`
    seconds, twice as long each time up to `retry_max`. A live picture older than `max_age` seconds is not analysed.

    `rotate` turns the picture clockwise, in degrees. At most `fps` pictures a second are analysed (0: all), and with
    `keyframes_only` key pictures only: of a live source no others are even decoded. Faces are looked for every
    `interval` seconds (0: in each picture) and followed in between, and only where more than a share `motion` of the
    picture has changed (0: always). Only faces whose centre is inside the polygon `region` and outside of all `masks`
    count; points are x, y as shares of width and height of the picture as displayed.
    """

    url: str
    user: str = ""
    password: str = ""
    password_env: str = ""
    password_file: str = ""
    transport: Literal["tcp", "udp"] = "tcp"
    format: str = ""
    hardware: str = ""
    realtime: bool = False
    loop: bool = False
    open_timeout: SomeSeconds = 8.0
    stall: SomeSeconds = 5.0
    retry_min: SomeSeconds = 1.0
    retry_max: SomeSeconds = 30.0
    max_age: SomeSeconds = 0.5
    rotate: Literal[0, 90, 180, 270] = 0
    fps: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    keyframes_only: bool = False
    interval: Seconds = 0.0
    motion: Fraction = 0.0
    region: Polygon = WHOLE_PICTURE
    masks: tuple[Polygon, ...] = ()

    def __post_init__(self) -> None:
        if sum(map(bool, (self.password, self.password_env, self.password_file))) > 1:
            raise ValueError("give one of password, password_env and password_file")
        if self.retry_max < self.retry_min:
            raise ValueError("retry_max is less than retry_min")


class TokenSettings(_Strict, frozen=True):
    """Something that only those know who may `view` records and pictures and use /analyze, or `control` the streams,
    too. Instead of the token the name of an environment variable or the path of a file that holds it can be given.
    """

    role: Role = "view"
    token: str = ""
    token_env: str = ""
    token_file: str = ""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.token, self.token_env, self.token_file))) != 1:
            raise ValueError("give one of token, token_env and token_file")
        if self.token and len(self.token) < _SHORTEST_TOKEN:
            raise ValueError(f"a token has at least {_SHORTEST_TOKEN} characters")


class ServerSettings(_Strict, frozen=True):
    """`host` is the address that page, Face API and websocket listen on; port 0 takes a free one. Whoever shows none of
    the `tokens` may do nothing, or see everything where `anonymous` is "view"; without tokens only programs on this
    machine are served. `certificate` and `key` are PEM files: with them both ports speak TLS.

    Web pages of other origins than the program's own and this machine's are refused pictures and records unless
    `origins` names them (such as `https://wall.example`), or is `*`; `cors` are those that may read what /analyze says.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    http_port: Port = 8080
    ws_port: Port = 8765
    control: bool = True
    anonymous: Literal["", "view"] = ""
    certificate: str = ""
    key: str = ""
    origins: tuple[str, ...] = ()
    cors: tuple[str, ...] = ("*",)
    tokens: dict[Name, TokenSettings] = {}

    def __post_init__(self) -> None:
        if self.key and not self.certificate:
            raise ValueError("key without certificate")


class ImageSettings(_Strict, frozen=True):
    """What /analyze takes: bodies of up to `max_bytes`, which may take `upload_timeout` seconds to come, with pictures
    of up to `max_pixels`; of each the surest `max_faces` are described. `concurrency` pictures are analysed at a time;
    when `queue` more requests are there, others are told to come back.
    """

    max_bytes: Annotated[int, msgspec.Meta(ge=1024)] = 32 << 20
    max_pixels: Annotated[int, msgspec.Meta(ge=1)] = 64_000_000
    max_faces: Annotated[int, msgspec.Meta(ge=1)] = 1000
    concurrency: Annotated[int, msgspec.Meta(ge=1)] = 2
    queue: Annotated[int, msgspec.Meta(ge=0)] = 16
    upload_timeout: SomeSeconds = 30.0


class LogSettings(_Strict, frozen=True):
    """`path` is a `.jsonl` file for one stream, or a folder that gets a file a stream; empty: no log."""

    path: str = ""

    def file(self) -> Path:
        return Path(self.path).expanduser()


class ModelSettings(_Strict, frozen=True):
    """`cache` holds weights and compiled models; empty: the user's cache folder. `cards` is one more folder of
    model cards, looked at before the built-in ones.
    """

    cache: str = ""
    cards: str = ""

    def folder(self) -> Path:
        return Path(self.cache).expanduser() if self.cache else platformdirs.user_cache_path("facestreamer")


class Settings(_Strict, frozen=True):
    """A deployment. `threads` 0 takes all CPU threads that the process may use; with `raw` the faces of streams carry
    the values of their own frame beside the smoothed ones.
    """

    pipeline: str = "realtime"
    image_pipeline: str = "accurate"
    device: str = "CPU"
    threads: Annotated[int, msgspec.Meta(ge=0)] = 0
    raw: bool = False
    streams: dict[Name, StreamSettings] = {}
    server: ServerSettings = ServerSettings()
    images: ImageSettings = ImageSettings()
    log: LogSettings = LogSettings()
    models: ModelSettings = ModelSettings()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"CPU|NPU|AUTO|GPU(\.\d+)?", self.device):
            raise ValueError(f"device is CPU, GPU, GPU.1, NPU or AUTO, not {self.device!r}")


def data_folder(kind: Literal["models", "pipelines", "configs"]) -> Path:
    """Where `kind` lies: inside the installed package, or beside it in a source checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "_data" / kind
    return installed if installed.is_dir() else package.parent / kind


def read_settings(path: Path, environ: Mapping[str, str]) -> Settings:
    """The deployment in a TOML file; relative paths in it are relative to its folder, passwords are read from where
    they are said to be.

    Raises ConfigError.
    """
    settings: Settings = _read(path, Settings)
    base = path.resolve().parent
    streams = {
        name: with_password(
            msgspec.structs.replace(
                stream,
                url=stream.url if stream.format else _beside(base, stream.url),
                password_file=stream.password_file and _beside(base, stream.password_file),
            ),
            f"{path}: $.streams.{name}",
            environ,
        )
        for name, stream in settings.streams.items()
    }
    log = LogSettings(_beside(base, settings.log.path) if settings.log.path else "")
    server = _with_secrets(settings.server, base, str(path), environ)
    return msgspec.structs.replace(settings, streams=streams, server=server, log=log)


def _with_secrets(server: ServerSettings, base: Path, where: str, environ: Mapping[str, str]) -> ServerSettings:
    """`server` with its tokens read, and the paths of its files made absolute. Raises ConfigError."""
    tokens = {
        name: with_token(
            msgspec.structs.replace(token, token_file=token.token_file and _beside(base, token.token_file)),
            f"{where}: $.server.tokens.{name}",
            environ,
        )
        for name, token in server.tokens.items()
    }
    files = {key: getattr(server, key) and _beside(base, getattr(server, key)) for key in ("certificate", "key")}
    return msgspec.structs.replace(server, tokens=tokens, **files)


def read_pipeline(name: str) -> Pipeline:
    """A pipeline by its name, or from a path that ends in `.toml`. Raises ConfigError."""
    if name.endswith(".toml"):
        return _read(Path(name), Pipeline)
    known = sorted(p.stem for p in data_folder("pipelines").glob("*.toml"))
    if name not in known:
        raise ConfigError(f"unknown pipeline {name!r}", f"known: {', '.join(known)}; or the path of a .toml file")
    return _read(data_folder("pipelines") / f"{name}.toml", Pipeline)


def parse(text: str, into: type[T], where: str) -> T:
    """`text` as TOML, strictly, into a struct type. Raises ConfigError that names `where` and the key's path."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not valid TOML: {error}") from None
    return convert(raw, into, where)


def convert(raw: Any, into: type[T], where: str) -> T:
    """Plain values, strictly, as a struct or another type. Raises ConfigError that names `where` and the key's path."""
    unknown = _unknown_key(raw, msgspec.inspect.type_info(into), "$")
    if unknown:
        raise ConfigError(f"{where}: {unknown[0]}", unknown[1])
    try:
        return msgspec.convert(raw, into)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at ")
        place = _with_key(place.strip("`") or "$", raw, into)
        raise ConfigError(f"{where}: {place}: {reason[0].lower()}{reason[1:]}") from None


def _with_key(place: str, raw: Any, into: Any) -> str:
    """`place` with the key of the table in it, which msgspec leaves out: that of the first entry that is refused."""
    before, unnamed, after = place.partition("[...]")
    table = before.removeprefix("$.")
    entries = raw.get(table) if unnamed and isinstance(raw, dict) else None
    for key, value in entries.items() if isinstance(entries, dict) else ():
        try:
            msgspec.convert(raw | {table: {key: value}}, into)
        except msgspec.ValidationError as error:
            if place in str(error):
                return f"{before}.{key}{after}"
    return place


def with_password(stream: StreamSettings, where: str, environ: Mapping[str, str]) -> StreamSettings:
    """`stream` with its password read from where it says, a variable of `environ` or a file. Raises ConfigError."""
    if not stream.password_env and not stream.password_file:
        return stream
    password = _secret("password", stream.password_env, stream.password_file, where, environ)
    return msgspec.structs.replace(stream, password=password, password_env="", password_file="")


def with_token(token: TokenSettings, where: str, environ: Mapping[str, str]) -> TokenSettings:
    """`token`, read from where it says, a variable of `environ` or a file. Raises ConfigError."""
    if token.token:
        return token
    secret = _secret("token", token.token_env, token.token_file, where, environ).strip()
    try:
        return TokenSettings(token.role, secret)
    except ValueError as error:
        raise ConfigError(f"{where}: {error if secret else 'the token is empty'}") from None


def _secret(what: str, variable: str, file: str, where: str, environ: Mapping[str, str]) -> str:
    if variable:
        if variable not in environ:
            raise ConfigError(
                f"{where}: the environment variable {variable} is not set", f"set it, or unset {what}_env"
            )
        return environ[variable]
    try:
        return Path(file).expanduser().read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where}: {file} cannot be read: {error}", f"see {what}_file") from None


def address(stream: StreamSettings) -> str:
    """The stream's URL with its user and password in it, percent-encoded. Never print it: see `errors.redact`."""
    if not stream.user:
        return stream.url
    scheme, slashes, rest = stream.url.partition("://")
    if not slashes:
        return stream.url
    secret = quote(stream.user, safe="") + (f":{quote(stream.password, safe='')}" if stream.password else "")
    return f"{scheme}://{secret}@{rest}"


def stream_name(url: str, taken: set[str]) -> str:
    """A short name for a source given by URL alone, different from those `taken` and free of secrets."""
    if "://" in url:  # the host, which begins behind the last @: passwords may hold anything
        base = re.split(r"[:/?#\]]", url.partition("://")[2].rpartition("@")[2].lstrip("["))[0] or "stream"
    else:
        base = Path(url).stem or "stream"
    base = "".join(c if c.isalnum() or c in "._-" else "-" for c in base).strip("._- ")[:48] or "stream"
    name, n = base, 1
    while name in taken:
        n += 1
        name = f"{base}-{n}"
    return name


def _read(path: Path, into: type[T]) -> T:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return parse(text, into, str(path))


def _beside(base: Path, path: str) -> str:
    """A relative file path as seen from `base`; addresses, device names and numbers stay as they are."""
    if ":" in path or path.startswith("video=") or path.isdigit() or path == "demo":
        return path
    return os.path.normpath(base / Path(path).expanduser())


def _unknown_key(raw: Any, expected: msgspec.inspect.Type, path: str) -> tuple[str, str] | None:
    """The first key in `raw` that `expected` does not have, as (message, hint)."""
    if isinstance(expected, msgspec.inspect.DictType) and isinstance(raw, dict):
        members = [(value, expected.value_type, f"{path}.{key}") for key, value in raw.items()]
    elif isinstance(expected, msgspec.inspect.StructType) and isinstance(raw, dict):
        fields = {field.encode_name: field.type for field in expected.fields}
        for key in raw:
            if key not in fields:
                close = difflib.get_close_matches(key, fields, 1)
                guess = f"did you mean {close[0]!r}? " if close else ""
                return f"{path}: unknown key {key!r}", f"{guess}known: {', '.join(fields)}"
        members = [(value, fields[key], f"{path}.{key}") for key, value in raw.items()]
    else:
        return None
    return next((found for m in members if (found := _unknown_key(*m))), None)
