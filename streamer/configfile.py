"""Configuration files, and plain values from elsewhere, as settings: strictly, with errors that name the key's path."""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from streamer.config import Pipeline, ServerSettings, Settings, StreamSettings, TokenSettings
from streamer.errors import ConfigError

T = TypeVar("T")


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
    log = settings.log
    if log.path:
        log = msgspec.structs.replace(log, path=_beside(base, log.path))
    video = settings.video
    if video.path:
        video = msgspec.structs.replace(video, path=_beside(base, video.path))
    server = _with_secrets(settings.server, base, str(path), environ)
    return msgspec.structs.replace(settings, streams=streams, server=server, log=log, video=video)


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
