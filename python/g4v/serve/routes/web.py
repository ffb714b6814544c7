"""What the routes share: who asks, bodies, and requests whose client has gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar, cast

import anyio.to_thread
from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from ..base.errors import ApiError, bad_request, shutting_down
from ..base.fields import Fields
from ..media.store import Record
from ..service import Service

T = TypeVar("T")

_LARGE = 1 << 18


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


def is_large(request: Request) -> bool:
    """Whether the body is so large that what reads it belongs on another thread."""
    length = request.headers.get("content-length", "")
    return not (length.isascii() and length.isdigit()) or int(length) > _LARGE


def page(
    request: Request, records: list[Record], public: Callable[[Record], dict[str, Any]], most: int
) -> JSONResponse:
    """A page of a list, as `after`, `limit` and `order` of the query ask. records: the oldest first.

    most: the largest `limit`. ApiError (400): one of the three cannot be used.
    """
    fields = Fields(dict(request.query_params), form=True)
    limit = fields.integer("limit", 1, most) or min(most, 20 if most <= 100 else most)
    order, after = fields.text("order") or "desc", fields.text("after")
    if order not in ("asc", "desc"):
        raise bad_request('order must be "asc" or "desc"', "order")
    if order == "desc":
        records = records[::-1]
    if after is not None:
        ids = [record["id"] for record in records]
        if after not in ids:
            raise bad_request(f"after: {after[:64]!r} does not exist; it may have expired", "after")
        records = records[ids.index(after) + 1 :]
    data = [public(record) for record in records[:limit]]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return JSONResponse({"object": "list", "data": data, "has_more": len(records) > limit} | ends)


async def json_body(request: Request) -> Any:
    """The body as JSON. ApiError (400, 415)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(
            415, "the body must be JSON, with Content-Type: application/json", "unsupported_media_type"
        )
    data = await request.body()
    try:
        return await anyio.to_thread.run_sync(json.loads, data) if is_large(request) else json.loads(data)
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
        del task  # an error in it holds this frame


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
    except (HTTPException, FormParserError) as error:  # which some releases of Starlette let through
        why = getattr(error, "detail", None) or str(error)
        raise bad_request(f"the form cannot be read: {why}", code="invalid_form") from None
    try:
        yield form
    finally:
        await form.close()
