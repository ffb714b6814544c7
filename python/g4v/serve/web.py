"""What the routes share: who asks, bodies, and requests whose client has gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar, cast

import anyio.to_thread
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from .errors import ApiError, bad_request, shutting_down
from .service import Service

T = TypeVar("T")

_LARGE = 1 << 18  # bytes of JSON from which on another thread reads it


def service_of(request: Request) -> Service:
    """The server's parts."""
    return cast(Service, request.app.state.service)


def owner_of(request: Request) -> str:
    """Whose request it is, as `Keys.owner` gives it."""
    return str(request.state.owner)


def note(request: Request, **values: Any) -> None:
    """Adds values to the request's log line."""
    request.state.log.update(values)


def refuse_while_draining(service: Service) -> None:
    """ApiError (503): nothing new is begun."""
    if service.draining:
        raise shutting_down()


async def json_body(request: Request) -> Any:
    """The body as JSON. ApiError (400, 415)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(
            415, "the body must be JSON, with Content-Type: application/json", "unsupported_media_type"
        )
    data = await request.body()
    try:
        if len(data) < _LARGE:
            return json.loads(data)
        return await anyio.to_thread.run_sync(json.loads, data)
    except (ValueError, RecursionError):
        raise bad_request("the body is not JSON", code="invalid_json") from None


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Does the work of a request whose body was read; where the client leaves, the work is cancelled.

    ClientDisconnect: it has left.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


@contextlib.asynccontextmanager
async def form_body(request: Request) -> AsyncIterator[FormData]:
    """A multipart form; its files lie on disk until the block ends. ApiError (400, 415)."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise ApiError(
            415, "the body must be a form, with Content-Type: multipart/form-data", "unsupported_media_type"
        )
    try:
        form = await request.form(max_files=1, max_fields=32, max_part_size=1 << 18)
    except HTTPException as error:
        raise bad_request(f"the form cannot be read: {error.detail}", code="invalid_form") from None
    try:
        yield form
    finally:
        await form.close()
