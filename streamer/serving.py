"""The page, the HTTP addresses and the websocket of a run."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from streamer import __version__
from streamer.config import ServerSettings, Settings
from streamer.fleet import Fleet
from streamer.flow import Hub
from streamer.inference.models import Workshop

if TYPE_CHECKING:
    from streamer.outputs.fanout import Fanout
    from streamer.web.routes import Route


def import_servers(settings: ServerSettings) -> None:
    """Do now, in any thread, what `serving` would take a while for; nothing where nothing is served."""
    if settings.enabled:
        import streamer.outputs.push
        import streamer.web.server  # noqa: F401


class Addresses(msgspec.Struct, frozen=True):
    """Where page and websocket are served; empty where they are not."""

    page: str = ""
    websocket: str = ""


@asynccontextmanager
async def serving(
    settings: Settings,
    hub: Hub,
    workshop: Workshop,
    fleet: Fleet,
    hello: Callable[[], bytes],
    fanout: "Fanout | None" = None,
    more: "tuple[Route, ...]" = (),
) -> AsyncGenerator[Addresses, None]:
    """Serves until the block is left, with `more` addresses. Raises OutputError if a port cannot be used."""
    server = settings.server
    if not server.enabled:
        yield Addresses()
        return
    # Here, for they take a while, which a run that serves nothing need not.
    from streamer.outputs.fanout import Fanout
    from streamer.outputs.push import push_server
    from streamer.web.server import FaceServer, http_server

    fanout = fanout or Fanout(hub)
    async with push_server(hub, server, hello, fanout) as ws_port:
        info = {
            "version": __version__,
            "session": hub.session,
            "websocket": {"port": ws_port},
            "preview": "/api/preview",
            "replay": bool(more),
        }
        faces = FaceServer(settings, hub, fleet, fanout, workshop, info, more)
        async with http_server(faces, server) as http_port:
            host = f"[{server.host}]" if ":" in server.host else server.host
            secure = "s" if server.certificate else ""
            yield Addresses(f"http{secure}://{host}:{http_port}/", f"ws{secure}://{host}:{ws_port}/")
