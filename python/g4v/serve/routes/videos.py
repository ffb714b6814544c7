"""/v1/videos: videos from captions, as jobs."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..base.errors import ApiError, bad_request, not_found
from ..base.fields import Fields
from ..chats.request import check_model
from ..media.content import stored_file
from ..media.sources import Media
from ..media.store import Record
from ..service import Service
from ..videos.jobs import Job
from ..videos.request import REFERENCE, VideoRequest, parse_video, read_reference
from .web import (
    form_body,
    json_body,
    note,
    owner_of,
    page,
    refuse_while_draining,
    service_of,
    while_connected,
)


def public(service: Service, record: Record) -> dict[str, Any]:
    """A video as OpenAI's API shows it."""
    names = (
        "id",
        "status",
        "progress",
        "created_at",
        "completed_at",
        "expires_at",
        "prompt",
        "error",
        "seed",
    )
    shown = {"object": "video", "model": service.model} | {name: record[name] for name in names}
    seconds = record["frames"] / record["fps"] if record["frames"] and record["fps"] else 0
    # What another server makes has a size of its own choice until it is here.
    size = f"{record['width']}x{record['height']}" if record["width"] and record["height"] else ""
    shown |= {"seconds": f"{seconds:g}", "size": size}
    shown |= {"quality": "standard", "remixed_from_video_id": None}
    job = service.jobs.find(record["id"])
    if job is not None:
        shown["position"] = service.jobs.position(job)
    return shown


async def create(request: Request) -> Response:
    """POST: puts a video in line."""
    return JSONResponse(public(service_of(request), (await _submitted(request)).record))


async def sync(request: Request) -> Response:
    """POST: makes a video and answers with its bytes."""
    service, began = service_of(request), time.monotonic()
    job = await _submitted(request)
    seconds = service.options.timeout
    try:
        async with asyncio.timeout(seconds):
            await while_connected(request, job.done.wait())
    except TimeoutError:
        raise ApiError(504, f"the video took longer than {seconds:g} seconds", "timeout") from None
    finally:
        if not job.done.is_set():
            service.jobs.remove(job)
    response = _content(service, request, job.record)
    response.headers["X-Video-Id"] = job.record["id"]
    response.headers["X-Inference-Time-S"] = f"{time.monotonic() - began:.3f}"
    return response


async def _submitted(request: Request) -> Job:
    service = service_of(request)
    refuse_while_draining(service)
    file: bytes | None = None
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        async with form_body(request) as form:
            texts = {}
            for name, value in form.multi_items():
                if isinstance(value, str):
                    texts[name] = value
                elif name == REFERENCE:
                    file = await value.read()
                else:
                    raise bad_request(f"{name} is not supported", name, "unsupported_parameter")
            fields = Fields(texts, form=True)
    else:
        body = await json_body(request)
        if not isinstance(body, dict):
            raise bad_request("the body must be a JSON object")
        fields = Fields(body)
    check_model(fields, service.model)
    asked = parse_video(fields, service.assistant, request.headers.get("host", ""), file)
    if asked.reference is not None:
        asked.values["source"] = await _opened(service, asked, owner_of(request))
    service.metrics.unknown_fields.inc(asked.unknown)
    job = await service.jobs.submit(owner_of(request), asked.prompt, asked.values, asked.fps)
    note(request, video=job.record["id"], prompt=asked.prompt if service.options.log_content else None)
    return job


async def _opened(service: Service, asked: VideoRequest, owner: str) -> Any:
    """The frames that a video is made from."""
    reference = asked.reference
    assert reference is not None
    data = await service.reader.open(reference, owner) if isinstance(reference, Media) else reference
    picture = isinstance(reference, Media) and reference.frames == 1
    try:
        run = asyncio.get_running_loop().run_in_executor
        return await run(service.work, read_reference, service.assistant, data, picture, asked.values)
    finally:
        if not isinstance(data, bytes):
            data.close()


async def all_videos(request: Request) -> Response:
    """GET: the videos of this key, a page at a time."""
    service = service_of(request)
    records = service.store.all("video", owner_of(request))
    return page(request, records, lambda record: public(service, record), 100)


async def one(request: Request) -> Response:
    """GET: how far a video is; 200 also where it failed."""
    return JSONResponse(public(service_of(request), _record(request)))


async def content(request: Request) -> Response:
    """GET: the bytes of a video."""
    variant = request.query_params.get("variant", "video")
    if variant != "video":
        raise bad_request(
            f"variant is {variant[:64]!r}; only video is made", "variant", "unsupported_parameter"
        )
    return _content(service_of(request), request, _record(request))


def _content(service: Service, request: Request, record: Record) -> Response:
    if record["status"] == "failed":
        error = record["error"]
        raise ApiError(422, f"the video was not made: {error['message']}", error["code"])
    if record["status"] != "completed":
        raise ApiError(404, "the video is not made yet", "video_not_ready")
    return stored_file(request, service.store.path(record), "video/mp4", record)


async def delete(request: Request) -> Response:
    """DELETE: forgets a video; one that is being made stops within a step."""
    service, record = service_of(request), _record(request)
    job = service.jobs.find(record["id"])
    if job is not None:
        service.jobs.remove(job)
    else:
        await anyio.to_thread.run_sync(service.store.remove, record)
    return JSONResponse({"id": record["id"], "object": "video.deleted", "deleted": True})


def _record(request: Request) -> Record:
    identifier, store = str(request.path_params["id"]), service_of(request).store
    if request.state.signed:
        record = store.find_signed(identifier)
    else:
        record = store.find(identifier, "video", owner_of(request))
    if record is None:
        raise not_found(f"the video {identifier[:64]!r}")
    return record
