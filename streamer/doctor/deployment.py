"""Checks of one configuration: whether it can be read, and whether what it names is there."""

import errno
import os
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

from streamer.access import Access, tls_context
from streamer.config import ServerSettings, Settings, StreamSettings
from streamer.configfile import read_pipeline
from streamer.doctor.accelerators import group_of
from streamer.doctor.findings import Finding, fine, note, problem
from streamer.errors import ConfigError, SourceError, redact_address
from streamer.media.address import Address, check, resolve
from streamer.workers.sizing import how_many, in_words

_PATIENCE = 3.0  # seconds that all look-ups of names together may take
_NO_HOST = ("file", "udp", "rtp", "tcp", "srt")  # schemes that may do without: they can wait for a sender


def refused(error: ConfigError) -> Finding:
    return problem("configuration", error.message, error.hint or "see configs/default.toml for every key")


def pipelines(settings: Settings) -> list[Finding]:
    """The analyses that the settings name."""
    findings = []
    for name in dict.fromkeys((settings.pipeline, settings.image_pipeline)):
        try:
            description = read_pipeline(name).description
            findings.append(fine(f"pipeline {name}", description or "can be read"))
        except ConfigError as error:
            findings.append(problem(f"pipeline {name}", error.message, error.hint or "mend the file"))
    return findings


def streams(settings: Settings, path: Path) -> list[Finding]:
    """Each stream's address; cameras are not connected to."""
    if not settings.streams:
        return [problem("streams", f"{path} has none", "add at least one [streams.NAME] with its url")]
    names = {name: _host(stream) for name, stream in settings.streams.items()}
    known = known_hosts({host for host in names.values() if host})
    return [_stream(name, stream, known.get(names[name] or "", True)) for name, stream in settings.streams.items()]


def _stream(name: str, stream: StreamSettings, host_known: bool) -> Finding:
    what = f"stream {name}"
    try:
        where = check(resolve(stream))
    except SourceError as error:
        return problem(what, error.message, error.hint or "mend its url")
    shown = f"{where.kind} {redact_address(stream.url)}" + (f" at {where.url}" if _found(where, stream) else "")
    if _host(stream) is None:
        return problem(
            what,
            f"{shown}: names no host, or a port that is no number",
            "write HOST:PORT/PATH behind ://, and user and password as keys of their own: they may hold any character",
        )
    if not host_known:
        return problem(what, f"{shown}: nobody knows a host of this name", "mend the host's name, or give its number")
    if where.format in (None, "v4l2") and where.kind in ("file", "webcam") and not os.access(where.url, os.R_OK):
        allow = f"sudo usermod -aG {group_of(Path(where.url))} $USER" if where.kind == "webcam" else "chmod a+r"
        return problem(what, f"{shown}: this user may not read it", allow)
    unproven = where.kind in ("rtsp", "network")
    return fine(what, f"{shown} (not connected to)" if unproven else shown)


def _found(where: Address, stream: StreamSettings) -> bool:
    """Whether a webcam was found by its name."""
    return where.kind == "webcam" and where.url != stream.url


def _host(stream: StreamSettings) -> str | None:
    """The host that an address leads to; empty for one that leads to none, None for a malformed one."""
    scheme, found, rest = stream.url.partition("://")
    if not found or scheme.lower() in _NO_HOST:
        return ""
    try:
        parts = urlsplit(f"//{rest}")
        parts.port  # noqa: B018  # raises ValueError for one that is no number
        return parts.hostname
    except ValueError:
        return None


def known_hosts(hosts: set[str]) -> dict[str, bool]:
    """Whether each name has an address. Those that take too long to find out get the benefit of the doubt."""
    known = dict.fromkeys(hosts, True)

    def look_up(host: str) -> None:
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError):
            known[host] = False

    # Threads that die with the process: nothing else ends a look-up that nobody answers.
    threads = [threading.Thread(target=look_up, args=(host,), daemon=True) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_PATIENCE / len(threads))
    return dict(known)


def workers(settings: Settings, threads: int) -> Finding:
    """The processes that streams are spread over, on a machine with so many CPU `threads` for the program."""
    try:
        seen, count = in_words(settings, threads), how_many(settings, threads)
    except ConfigError as error:
        return problem("workers", error.message, error.hint)
    if count > threads:
        return note("workers", seen, f"set workers to at most {threads}: more only wait for each other")
    return fine("workers", seen)


def server(settings: ServerSettings) -> list[Finding]:
    """Whether page and websocket can be served."""
    if not settings.enabled:
        return [fine("server", "switched off")]
    if settings.http_port and settings.http_port == settings.ws_port:
        return [problem("ports", f"page and websocket both want {settings.http_port}", "give them a port each")]
    try:
        Access(settings)
        tls_context(settings)
    except ConfigError as error:
        return [problem("access", error.message, error.hint or "mend [server]")]
    ports = {"http_port": settings.http_port, "ws_port": settings.ws_port}
    return [port(key, settings.host, number) for key, number in ports.items()]


def port(key: str, host: str, number: int) -> Finding:
    """Whether a server can listen on `host` at port `number`; `key` is its setting."""
    what = f"port {number}"
    if not number:
        return fine(what, f"a free one is taken ({key} = 0)")
    try:
        for found in socket.getaddrinfo(host or None, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
            family, kind, protocol, _name, address = found
            _listen(family, kind, protocol, address)
    except (socket.gaierror, UnicodeError):
        return problem("host", f"{host}: no such address", "set [server] host to one of this machine's addresses")
    except OSError as error:
        return _no_port(what, key, host, number, error)
    return fine(what, f"free on {host} ({key})")


def _listen(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> None:
    try:
        trial = socket.socket(family, kind, protocol)
    except OSError:  # no IPv6 here: servers do without it, too
        return
    with trial:
        if os.name == "posix":  # as servers do, so that connections of one that has ended do not count
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind(address)
        trial.listen()


def _no_port(what: str, key: str, host: str, number: int, error: OSError) -> Finding:
    if error.errno == errno.EADDRINUSE:
        return problem(
            what,
            f"taken on {host} by another program, or by a run of this one",
            f"end that one (see: ss -ltnp 'sport = :{number}'), or set [server] {key}",
        )
    if error.errno == errno.EACCES:
        return problem(what, "only root may listen on it", f"set [server] {key} to one above 1023")
    if error.errno == errno.EADDRNOTAVAIL:
        return problem("host", f"{host} is not one of this machine's addresses", "set [server] host to one of them")
    return note(what, f"cannot be tried: {error.strerror}", f"try another [server] {key}")
