"""The application: its routes, in Starlette."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .base.errors import ApiError
from .base.logs import log
from .base.memory import release_unused
from .options import Options
from .routes import chat, files, openapi, videos
from .routes.gate import Gate, http_error
from .routes.page_files import PageFiles
from .routes.web import service_of
from .service import Parts, Service

if TYPE_CHECKING:
    from ..assistant import Assistant

_FILE_THREADS = 2  # that read and write files
_SWEEP = 60.0  # seconds between two looks for what has expired


def make_app(assistant: Assistant, options: Options, parts: Parts | None = None) -> Starlette:
    """The ASGI application of a loaded assistant. `app.state.service` has its parts.

    ArgumentError, OutputError: an option cannot be obeyed.
    """
    service = Service(assistant, options, parts)
    routes = [
        Route("/health", health),
        Route("/ready", ready),
        Route("/metrics", metrics),
        Route("/version", version),
        Route("/openapi.json", openapi.description),
        Route("/v1/models", models),
        Route("/v1/models/{id}", model),
        Route("/v1/chat/completions", chat.completions, methods=["POST"]),
        Route("/v1/files", files.create, methods=["POST"]),
        Route("/v1/files", files.all_files),
        Route("/v1/files/{id}", files.one),
        Route("/v1/files/{id}", files.delete, methods=["DELETE"]),
        Route("/v1/files/{id}/content", files.content),
        Route("/v1/videos", videos.create, methods=["POST"]),
        Route("/v1/videos", videos.all_videos),
        Route("/v1/videos/sync", videos.sync, methods=["POST"]),
        Route("/v1/videos/{id}", videos.one),
        Route("/v1/videos/{id}", videos.delete, methods=["DELETE"]),
        Route("/v1/videos/{id}/content", videos.content),
    ]
    if options.page:
        routes += PageFiles().routes
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Gate, service=service)],
        exception_handlers={HTTPException: http_error},
        lifespan=_lifespan,
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    service: Service = app.state.service
    anyio.to_thread.current_default_thread_limiter().total_tokens = _FILE_THREADS
    tasks = [asyncio.create_task(_sweep(service)), asyncio.create_task(_get_ready(service))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        # `Server` has done so already; other servers of ASGI do not know of videos under way.
        await service.drain(0 if service.draining else service.options.drain)
        service.close()


async def _get_ready(service: Service) -> None:
    """Waits for what loads in the background; a fault of it is every video's, and is told there."""
    once = ThreadPoolExecutor(1, "g4v-ready")  # a large bundle takes minutes
    try:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(once, service.assistant.wait_until_ready)
        await loop.run_in_executor(once, release_unused)
        service.state = "ready"
    except Exception as error:
        service.state = "failed"
        log("fault", error=repr(error))
    finally:
        once.shutdown(wait=False)


async def _sweep(service: Service) -> None:
    while True:
        await asyncio.sleep(_SWEEP)
        try:
            service.store.sweep()
            if not service.answers and not service.jobs.unfinished:
                await anyio.to_thread.run_sync(release_unused)
        except Exception as error:
            log("fault", error=repr(error))


async def health(_: Request) -> Response:
    """GET: 200 while the process lives."""
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> Response:
    """GET: 200 where requests can be answered; 503 while parts load and while the server ends."""
    service = service_of(request)
    state = "draining" if service.draining else service.state
    if state == "failed":
        raise ApiError(503, "a component did not load; the server's log says why", state)
    if state != "ready":
        raise ApiError(503, f"the server is {state}", state, headers={"Retry-After": "1"})
    return JSONResponse({"status": "ready"})


async def metrics(request: Request) -> Response:
    """GET: figures for Prometheus."""
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)


async def version(request: Request) -> Response:
    """GET: the version of g4v."""
    return JSONResponse({"version": service_of(request).version})


async def models(request: Request) -> Response:
    """GET: the one model."""
    return JSONResponse({"object": "list", "data": [_model(service_of(request))]})


async def model(request: Request) -> Response:
    """GET: the model of this name."""
    service, asked = service_of(request), str(request.path_params["id"])
    if asked != service.model:
        raise ApiError(
            404,
            f"the model {asked[:64]!r} does not exist; this server has {service.model!r}",
            "model_not_found",
        )
    return JSONResponse(_model(service))


def _model(service: Service) -> dict[str, Any]:
    values = {"id": service.model, "object": "model", "created": service.created, "owned_by": "g4v"}
    return values | {
        "root": service.model,
        "parent": None,
        "max_model_len": service.assistant.info["context_length"],
    }
