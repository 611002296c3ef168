"""/openapi.json is true: every address is described, and whatever is asked of the server, it answers as described."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CHECKS

from streamer.config import ImageSettings, ServerSettings, Settings, StreamSettings, TokenSettings
from streamer.inference.models import Workshop
from streamer.web.openapi import openapi
from streamer.web.server import FaceServer, http_server
from tests.test_contract import a_face
from tests.test_frames import NOISE, shown
from tests.test_metrics import Run, live
from tests.test_web import INFO

TOKEN = "control-w0rd-1234"


class Served:
    """A server in a loop and thread of its own, with a stream `door` that has delivered a picture."""

    def __init__(self, workshop: Workshop) -> None:
        self.url = ""
        self.description: dict[str, Any] = {}
        self.addresses: set[tuple[str, str]] = set()
        self._workshop = workshop
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        thread.start()
        try:
            assert self._ready.wait(30)
            yield
        finally:
            self._loop.call_soon_threadsafe(self._over.set)
            thread.join()
            self._loop.close()

    async def _serve(self) -> None:
        run = Run(self._workshop)
        server = ServerSettings(http_port=0, tokens={"boss": TokenSettings("control", TOKEN)})
        everything = Settings(server=server, images=ImageSettings(upload_timeout=2))
        faces = FaceServer(everything, run.hub, run.fleet, run.fanout, self._workshop, INFO)
        self.description = openapi(faces.routes, tokens=True)
        for route in faces.application().router.routes():
            if route.method != "HEAD" and route.resource is not None:
                self.addresses.add((route.method.lower(), route.resource.canonical))
        async with http_server(faces, server) as port:
            self.url = f"http://127.0.0.1:{port}"
            running = asyncio.create_task(run.fleet.run({"door": StreamSettings("rtsp://camera.example/")}))
            await asyncio.sleep(0)
            await run.deliver("door", live(), shown(0, NOISE, a_face()))
            self._ready.set()
            await self._over.wait()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.fixture(scope="module")
def served(workshop: Workshop) -> Iterator[Served]:
    served = Served(workshop)
    with served.running():
        yield served


# What is asked for by chance alone is hardly ever there.
NAMES = {"/api/streams/": ["door", "desk", "yard", "\u00e9 x"], "/": ["app.js", "style.css", "icon.svg", "no.js"]}
URLS = ["rtsp://camera.example/1", "rtsp://user:w0rd@camera.example/2", "demo", "/etc/passwd", "x"]
# A reader of all pictures would wait for ever, and a websocket is none of HTTP.
APART = ("/api/streams/{name}/frame.mjpeg", "/api/preview")


def test_the_server_answers_as_it_is_described(served: Served) -> None:
    description = schemathesis.openapi.from_dict(likely(served.description)).exclude(path=list(APART))
    operations: list[Any] = [
        result.ok()  # type: ignore[union-attr]  # or it raises what is wrong with the description
        for result in description.get_all_operations()
    ]
    described = served.description["paths"]
    order = ("get", "options", "post", "put", "delete")  # those that leave less to ask for last
    for operation in sorted(operations, key=lambda o: order.index(o.method)):
        statuses = check(operation, served.url)
        assert min(statuses) < 300, f"{operation.method} {operation.path} was never answered but with {statuses}"
        if "query" in {p["in"] for p in described[operation.path][operation.method]["parameters"]} or operation.body:
            assert max(check(operation, served.url, sense=False)) >= 400
    assert {path for _method, path in served.addresses} - {o.path for o in operations} == set(APART)


def likely(description: dict[str, Any]) -> dict[str, Any]:
    """The same, with names that are there and addresses that are some."""
    description = json.loads(json.dumps(description))
    for path, methods in description["paths"].items():
        for operation in methods.values():
            for parameter in operation["parameters"]:
                if parameter["in"] == "path":
                    parameter["schema"] = {"enum": NAMES[path.partition("{")[0]]}
    description["components"]["schemas"]["StreamSettings"]["properties"]["url"] = {"enum": URLS}
    return description


def check(operation: Any, url: str, *, sense: bool = True) -> set[int]:
    """Ask for one address in ways that its description allows, or in others; gives the statuses of the answers."""
    mode = schemathesis.GenerationMode.POSITIVE if sense else schemathesis.GenerationMode.NEGATIVE

    @settings(max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers_as_described(case: Any) -> None:
        case.headers["Authorization"] = f"Bearer {TOKEN}"
        response = case.call(base_url=url, timeout=20)
        assert response.status_code < 500 or response.status_code == 503, response.text
        answers.add(response.status_code)
        case.validate_response(response, checks=[CHECKS.get_one(name) for name in TRUE])

    answers = set[int]()
    answers_as_described()
    return answers


TRUE = (
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)


def test_every_address_is_described(served: Served) -> None:
    described = {(method, path) for path, methods in served.description["paths"].items() for method in methods}
    assert described == served.addresses
    for path, methods in served.description["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], path
            assert operation["responses"], path
            statuses = set(operation["responses"])
            assert ("401" in statuses) == ("security" in operation), path
            assert (method in ("put", "delete", "post") and path != "/analyze") == (
                operation.get("x-role") == "control"
            )


def test_the_description_is_valid_and_its_references_lead_somewhere(served: Served) -> None:
    parts = served.description["components"]["schemas"]
    text = json.dumps(served.description)
    for part in text.split('"#/components/schemas/')[1:]:
        assert part.partition('"')[0] in parts
    for name in parts:
        jsonschema.Draft202012Validator.check_schema(parts[name])
    assert {"FaceObject", "ImageAnswer", "BatchAnswer", "ErrorAnswer", "StreamEntry", "FrameRecord"} <= set(parts)
