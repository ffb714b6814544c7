"""/v1/files: videos and pictures that requests name by their id."""

from __future__ import annotations

import os
from typing import Any

import anyio.to_thread
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..base.errors import ApiError, bad_request, not_found
from ..base.fields import Fields
from ..media.content import stored_file
from ..media.store import MediaStore, Record
from .web import form_body, note, owner_of, page, refuse_while_draining, service_of

_PURPOSES = ("user_data", "vision", "assistants")


def public(record: Record) -> dict[str, Any]:
    """A file as OpenAI's API shows it."""
    names = ("id", "bytes", "created_at", "expires_at", "filename", "purpose")
    return {"object": "file", "status": "processed"} | {name: record[name] for name in names}


async def create(request: Request) -> Response:
    """POST: keeps a file."""
    service = service_of(request)
    refuse_while_draining(service)
    async with form_body(request) as form:
        fields = Fields({k: v for k, v in form.items() if isinstance(v, str)}, form=True)
        purpose = fields.text("purpose")
        if purpose not in _PURPOSES:
            raise bad_request(f"purpose is {purpose!r}; it must be one of {', '.join(_PURPOSES)}", "purpose")
        if any(name.startswith("expires_after") for name in form):
            raise bad_request("expires_after is not supported", "expires_after", "unsupported_parameter")
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise bad_request("file must be a file", "file")
        service.metrics.unknown_fields.inc(len(fields.unknown()))
        size = file.size or 0
        if not size:
            raise bad_request("file is empty", "file")
        if size > service.options.max_upload:
            raise ApiError(413, f"file has more than {service.options.max_upload} bytes", "too_large", "file")
        service.store.make_room(size)
        name = os.path.basename((file.filename or "").replace("\\", "/"))[:255] or "file"
        record = service.store.new(
            "file", owner_of(request), filename=name.encode("utf-8", "replace").decode(), purpose=purpose
        )
        record["bytes"] = size
        try:
            await anyio.to_thread.run_sync(_keep, service.store, record, file)
        except BaseException:
            service.store.remove(record)
            raise
    note(request, file=record["id"], bytes=size)
    return JSONResponse(public(record))


def _keep(store: MediaStore, record: Record, file: UploadFile) -> None:
    with store.writing(record) as path, open(path, "wb") as target:
        file.file.seek(0)
        while block := file.file.read(1 << 20):
            target.write(block)
    store.save(record)


async def all_files(request: Request) -> Response:
    """GET: the files of this key, a page at a time."""
    records = service_of(request).store.all("file", owner_of(request))
    if (purpose := request.query_params.get("purpose")) is not None:
        records = [record for record in records if record["purpose"] == purpose]
    return page(request, records, public, 10_000)


async def one(request: Request) -> Response:
    """GET: what is known of a file."""
    return JSONResponse(public(_record(request)))


async def content(request: Request) -> Response:
    """GET: the bytes of a file."""
    record = _record(request)
    # Never as a page of this server.
    return stored_file(request, service_of(request).store.path(record), "application/octet-stream", record)


async def delete(request: Request) -> Response:
    """DELETE: forgets a file."""
    record = _record(request)
    await anyio.to_thread.run_sync(service_of(request).store.remove, record)
    return JSONResponse({"id": record["id"], "object": "file", "deleted": True})


def _record(request: Request) -> Record:
    identifier = str(request.path_params["id"])
    record = service_of(request).store.find(identifier, "file", owner_of(request))
    if record is None:
        raise not_found(f"the file {identifier[:64]!r}")
    return record
