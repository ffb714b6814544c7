"""GET /openapi.json: the routes, requests and answers of this server in OpenAPI 3.1."""

from __future__ import annotations

import functools
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ... import __version__
from .openapi_schemas import FILE_ID, SCHEMAS, TEXT, VIDEO_ID, integer, ref, shape

_ERROR = {
    "description": "An error, with a word for programs in `code`",
    "content": {"application/json": {"schema": ref("Error")}},
}
_BYTES = {"type": "string", "contentMediaType": "application/octet-stream"}


async def description(_: Request) -> Response:
    """GET: this server's description in OpenAPI 3.1."""
    return JSONResponse(document())


@functools.cache
def document() -> dict[str, Any]:
    """The OpenAPI description. A field that is null is as good as not given; unknown ones are let in."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "g4v serve",
            "version": __version__,
            "description": "Chats about videos that answer in text and new videos; videos from captions.",
        },
        "paths": _paths(),
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }


def _paths() -> dict[str, Any]:
    listed = [
        _query("limit", integer(1, 100)),
        _query("after", TEXT),
        _query("order", {"enum": ["asc", "desc"]}),
    ]
    # A list of files is longer.
    files = [_query("limit", integer(1, 10_000)), *listed[1:], _query("purpose", TEXT)]
    file = {"parameters": [_in_path(FILE_ID)]}
    video = {"parameters": [_in_path(VIDEO_ID)]}
    variant = _query("variant", {"enum": ["video"]})
    signature = _query("sig", TEXT | {"description": "of a link that needs no key"})
    ok, word = shape(status={"const": "ok"}), shape(status={"const": "ready"})
    asked = {"application/json": {"schema": ref("VideoRequest")}, "multipart/form-data": {"schema": _FORM}}
    return {
        "/health": {"get": _operation("Whether the process lives", _json(ok)) | {"security": []}},
        "/ready": {"get": _operation("Whether all is loaded", _json(word))},
        "/metrics": {"get": _operation("Figures for Prometheus", {"text/plain": {"schema": TEXT}})},
        "/version": {"get": _operation("The version of g4v", _json(shape(version=TEXT)))},
        "/openapi.json": {"get": _operation("This description", _json({"type": "object"}))},
        "/v1/models": {"get": _operation("The one model", _json(ref("Models")))},
        "/v1/models/{id}": {
            "parameters": [_in_path(TEXT)],
            "get": _operation("The model of this name", _json(ref("Model"))),
        },
        "/v1/chat/completions": {
            "post": _operation(
                "Answers a chat, whole or as a stream of chunks",
                _json(ref("ChatCompletion")) | {"text/event-stream": {"schema": TEXT}},
                body=_json(ref("ChatRequest")),
            )
        },
        "/v1/files": {
            "get": _operation("The files of this key", _json(ref("Files")), parameters=files),
            "post": _operation(
                "Keeps a file", _json(ref("File")), body={"multipart/form-data": {"schema": _UPLOAD}}
            ),
        },
        "/v1/files/{id}": file
        | {
            "get": _operation("A file", _json(ref("File"))),
            "delete": _operation("Forgets a file", _json(ref("DeletedFile"))),
        },
        "/v1/files/{id}/content": file
        | {"get": _content("The bytes of a file", "application/octet-stream", [])},
        "/v1/videos": {
            "get": _operation("The videos of this key", _json(ref("Videos")), parameters=listed),
            "post": _operation("Puts a video in line", _json(ref("Video")), body=asked),
        },
        "/v1/videos/sync": {
            "post": _operation(
                "Makes a video and answers with its bytes", {"video/mp4": {"schema": _BYTES}}, body=asked
            )
        },
        "/v1/videos/{id}": video
        | {
            "get": _operation("How far a video is; 200 also where it failed", _json(ref("Video"))),
            "delete": _operation("Stops or forgets a video", _json(ref("DeletedVideo"))),
        },
        "/v1/videos/{id}/content": video
        | {"get": _content("The bytes of a video", "video/mp4", [variant, signature])},
    }


_FORM = {
    "type": "object",
    "properties": {
        name: {"type": "string"} for name in SCHEMAS["VideoRequest"]["properties"] if name != "prompt"
    }
    | {"prompt": TEXT},
    "required": ["prompt"],
}
_UPLOAD = {
    "type": "object",
    "properties": {"file": _BYTES, "purpose": SCHEMAS["File"]["properties"]["purpose"]},
    "required": ["file", "purpose"],
}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _operation(
    summary: str,
    content: dict[str, Any],
    *,
    body: dict[str, Any] | None = None,
    parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    found: dict[str, Any] = {"summary": summary}
    if parameters:
        found["parameters"] = parameters
    if body is not None:
        found["requestBody"] = {"required": True, "content": body}
    found["responses"] = {"200": {"description": summary, "content": content}, "default": _ERROR}
    return found


def _content(summary: str, kind: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    found = _operation(summary, {kind: {"schema": _BYTES}}, parameters=parameters)
    part = {"description": "The part that Range asks for", "content": {kind: {"schema": _BYTES}}}
    found["responses"] |= {"206": part, "304": {"description": "What the client has is the same"}}
    return found


def _query(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema}


def _in_path(schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": "id", "in": "path", "required": True, "schema": schema}
