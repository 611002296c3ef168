"""`/openapi.json`: the addresses of the HTTP server as they are in its list, with the types that they answer with."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from streamer import __version__
from streamer.contract import ErrorAnswer
from streamer.web.routes import Route

_REF = "#/components/schemas/{name}"
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A token of [server.tokens]."},
    "token": {"type": "apiKey", "in": "query", "name": "token", "description": "The same, for pictures in pages."},
}
_ABOUT = "Camera in, faces JSON out. Every failure is an ErrorAnswer. The records' websocket is on a port of its own."


def openapi(routes: Iterable[Route], *, tokens: bool) -> dict[str, Any]:
    """The description of `routes` (OpenAPI 3.1). Without `tokens` some may be asked for by whoever has none."""
    routes = list(routes)
    types = list(dict.fromkeys([ErrorAnswer, *(t for route in routes for t in _types(route))]))
    roots, parts = msgspec.json.schema_components(types, ref_template=_REF)
    known = dict(zip(types, roots, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = re.sub(r"{(\w+):[^}]*}", r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, known, tokens)
    return {
        "openapi": "3.1.0",
        "info": {"title": "facestreamer", "version": __version__, "description": _ABOUT},
        "paths": paths,
        "components": {"schemas": parts, "securitySchemes": _SCHEMES},
    }


def _types(route: Route) -> list[Any]:
    contents = [*route.body.values(), *(content for _status, content in route.answers)]
    flat = [each for content in contents for each in (content if isinstance(content, tuple) else (content,))]
    return [content for content in flat if isinstance(content, type)]


def _operation(route: Route, known: dict[Any, Any], tokens: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": " ".join((route.handler.__doc__ or "").partition("\n\n")[0].split()),
        "parameters": [*_path_parameters(route.path), *_query_parameters(route.query)],
        "responses": {str(status): _answer(status, content, known) for status, content in route.answers},
    }
    for status in _errors(route):
        operation["responses"].setdefault(str(status), _answer(status, ErrorAnswer, known))
    if route.body:
        content = {kind: {"schema": _schema(of, known)} for kind, of in route.body.items()}
        operation["requestBody"] = {"required": True, "content": content}
    if route.need or route.guarded:
        operation["security"] = [*([] if tokens else [{}]), *({name: []} for name in _SCHEMES)]
        operation["x-role"] = route.need or "view"
    return operation


def _errors(route: Route) -> set[int]:
    """Those that the handler names, and those that come from how it is reached."""
    errors = set(route.errors)
    if route.need or route.guarded:
        errors |= {401, 403}
    if "{" in route.path:
        errors |= {404}
    return errors


def _answer(status: int, content: Any, known: dict[Any, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if isinstance(content, str):
        answer["content"] = {kind: {} for kind in content.split(", ")}
    elif content is not None:
        answer["content"] = {"application/json": {"schema": _schema(content, known)}}
    return answer


def _schema(of: Any, known: dict[Any, Any]) -> Any:
    if isinstance(of, tuple):
        return {"anyOf": [known[each] for each in of]}
    return known[of] if isinstance(of, type) else of


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1} | _pattern(pattern)}
        for name, pattern in re.findall(r"{(\w+)(?::([^}]*))?}", path)
    ]


def _pattern(pattern: str) -> dict[str, str]:
    return {"pattern": f"^{pattern}$"} if pattern else {}


def _query_parameters(query: type[msgspec.Struct] | None) -> list[dict[str, Any]]:
    if query is None:
        return []
    _roots, parts = msgspec.json.schema_components([query], ref_template=_REF)
    properties = parts[query.__name__]["properties"]
    return [{"name": name, "in": "query", "schema": schema} for name, schema in properties.items()]
