"""Who may do what over the network: tokens, the web pages that may ask, and TLS."""

import hashlib
import hmac
import ipaddress
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from streamer.config import Role, ServerSettings
from streamer.errors import ConfigError, ForbiddenError, NoTokenError

THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_MAY = {None: 0, "view": 1, "control": 2}
_ASK = "send it as Authorization: Bearer TOKEN"


class Asker(NamedTuple):
    """Where a request comes from: the address of its sender, the `host` that it names (with its port), the origin of
    its web page if it is one, and what may be tokens in it.
    """

    remote: str | None
    host: str
    origin: str | None = None
    secrets: tuple[str, ...] = ()


class Access:
    """What each request may do: `view` is seeing all there is and /analyze, `control` also changing streams."""

    def __init__(self, server: ServerSettings) -> None:
        """Raises ConfigError for settings that would open the server to a network by mistake."""
        for name, token in server.tokens.items():
            if not token.token:
                raise ConfigError(f"[server.tokens.{name}] has no token", "give one of token, token_env and token_file")
        if not server.tokens and not server.anonymous and not is_loopback(server.host):
            raise ConfigError(
                f"[server] host {server.host!r} can be reached from other machines, and there are no tokens",
                'add [server.tokens.NAME] with token_env = "VARIABLE" and role = "view" or "control" (or --token-env '
                'VARIABLE); or let everybody see everything with anonymous = "view"; or leave host at 127.0.0.1',
            )
        self._server = server
        self._tokens = [(_digest(token.token), token.role) for token in server.tokens.values()]

    def role(self, asker: Asker) -> Role | None:
        """What the sender of a request may do. A token that is wrong is as good as none."""
        if self._tokens:
            return self._by_token(asker.secrets) or self._server.anonymous or None
        if self._server.anonymous:
            here = is_loopback(self._server.host)
            return "control" if here and self._is_here(asker) else "view"
        return "control" if self._is_here(asker) else None

    def check(self, asker: Asker, need: Role) -> None:
        """Raises NoTokenError if the sender must first say who it is, ForbiddenError if this is not for it."""
        if need == "control":
            self._check_control(asker)
        role = self.role(asker)
        if _MAY[role] >= _MAY[need]:
            return
        if self._tokens and self._by_token(asker.secrets) is None:
            raise NoTokenError("the token is wrong" if asker.secrets else "this needs a token", _ASK)
        if self._tokens:
            raise ForbiddenError("this token may only view", 'its role must be "control" for that')
        if role == "view":
            raise ForbiddenError("only programs on this machine may change streams", "ask from there, or edit the file")
        raise ForbiddenError(
            "only programs on this machine are served, by the names localhost and 127.0.0.1",
            'for others: [server.tokens.NAME], or [server] anonymous = "view"',
        )

    def _check_control(self, asker: Asker) -> None:
        if not self._server.control:
            raise ForbiddenError("streams cannot be changed over HTTP here", "set control = true under [server]")
        # Pages of `origins` may see records; only the server's own and this machine's change streams.
        if not origin_allowed(asker.origin, asker.host, ()):
            raise ForbiddenError("only programs on this machine may change streams", "ask from there, or edit the file")

    def _by_token(self, secrets: Iterable[str]) -> Role | None:
        """The greatest role that one of them gives. All are compared, always: the time tells nothing."""
        best: Role | None = None
        for secret in secrets:
            digest = _digest(secret)
            for known, role in self._tokens:
                if hmac.compare_digest(known, digest) and _MAY[role] > _MAY[best]:
                    best = role
        return best

    def _is_here(self, asker: Asker) -> bool:
        """Whether a program or page of this machine asks. A page elsewhere may have its name resolve to this machine:
        then the host is that name.
        """
        return is_loopback(asker.remote) and _hostname(asker.host) in (*THIS_MACHINE, self._server.host)


def secrets_in(authorization: str | None, token: str | None) -> tuple[str, ...]:
    """What may be tokens in a request's header `Authorization` and in its `?token=`."""
    scheme, _, credentials = (authorization or "").strip().partition(" ")
    bearer = credentials.strip() if scheme.lower() == "bearer" else ""
    return tuple(filter(None, (bearer, token)))


def origin_allowed(origin: str | None, host: str, allowed: tuple[str, ...]) -> bool:
    """Whether a request of a web page of `origin` may be served at `host` (as the request names it, with its port).

    Programs send no origin. A browser would let any page on the web connect to this machine.
    """
    if origin is None or "*" in allowed or origin in allowed:
        return True
    page = _hostname(origin)
    return page is not None and page in (_hostname(host), *THIS_MACHINE)


def is_loopback(address: str | None) -> bool:
    """Whether an address, or the name `localhost`, can be reached from this machine only."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:
        return False


def tls_context(server: ServerSettings) -> ssl.SSLContext | None:
    """What both ports speak TLS with, or None for plain ones. Raises ConfigError for files that cannot be used."""
    if not server.certificate:
        return None
    for setting, path in (("certificate", server.certificate), ("key", server.key or server.certificate)):
        try:
            Path(path).expanduser().read_bytes()
        except OSError as error:
            raise ConfigError(f"[server] {setting}: {path} cannot be read: {error.strerror}") from None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate, key = (str(Path(path).expanduser()) for path in (server.certificate, server.key or server.certificate))
    try:
        context.load_cert_chain(certificate, key, _no_password)  # or OpenSSL would ask on the terminal
    except (ssl.SSLError, _EncryptedKeyError) as error:
        raise ConfigError(
            f"[server] certificate, key: {certificate}, {key}: {_tls_problem(error)}", _TLS_HINT
        ) from None
    return context


_TLS_HINT = "certificate is a PEM file with the server's own first, then those that sign it; key its private key as PEM"


class _EncryptedKeyError(Exception):
    pass


def _no_password() -> str:
    raise _EncryptedKeyError


def _tls_problem(error: Exception) -> str:
    if isinstance(error, _EncryptedKeyError):
        return "the key is encrypted; take one without a pass phrase"
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return "the key is not that of the certificate"
    return "no certificate and key in PEM form are in there"


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _hostname(place: str) -> str | None:
    """The name in `host:port`, or in an origin."""
    try:
        return urlsplit(place if "://" in place else f"//{place}").hostname
    except ValueError:
        return None
