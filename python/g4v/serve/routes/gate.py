"""Around every request: its id, the right to ask, limits of its body, its errors, its log line."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..base.auth import is_foreign
from ..base.errors import ApiError, as_api_error
from ..base.logs import log
from ..service import Service
from .page_files import is_page

_SAFE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_SIGNED = re.compile(r"/v1/videos/(video_[0-9a-f]{32})/content")
_OPEN = ("/health",)
_BODY_SECONDS = 30.0  # of silence while a body is read
_BODIES = 4  # largest bodies that are held at once, in memory or, of forms, on disk

# Routes whose requests take as long as an answer or a video.
_WHOLE = ("/v1/chat/completions", "/v1/videos/sync")

# HTTP's words for refusals of the router.
_STATUS_CODES = {404: "not_found", 405: "method_not_allowed"}


class Gate:
    """ASGI middleware; the service's parts are in the application's state."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Passage(self._app, self._service, scope, receive, send).run()


class _Passage:
    """One request on its way."""

    def __init__(self, app: ASGIApp, service: Service, scope: Scope, receive: Receive, send: Send) -> None:
        self._app, self._service, self._scope = app, service, scope
        self._receive, self._send = receive, send
        self._headers = Headers(scope=scope)
        given = self._headers.get("x-request-id", "")
        self._id = given if _SAFE_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"
        self._log: dict[str, Any] = {}
        self._status = 0
        self._began = time.monotonic()
        self._read = 0  # bytes of the body
        self._held = 0  # those of them that count among all that are held
        self._more = True

    async def run(self) -> None:
        service = self._service
        service.requests += 1
        state = self._scope.setdefault("state", {})
        state |= {"id": self._id, "log": self._log, "owner": "", "signed": False}
        outcome = "error"
        try:
            self._authorize(state)
            self._check_length()
            await self._app(self._scope, self._body, self._answer)
            outcome = "error" if self._status >= 500 else "rejected" if self._status >= 400 else "ok"
            if "error" in self._log:  # in a stream
                outcome = "error"
        except ClientDisconnect:
            outcome = "cancelled"
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except Exception as error:
            outcome = await self._refuse(error)
        finally:
            service.requests -= 1
            service.body_bytes -= self._held
            self._write(state, outcome)

    def _authorize(self, state: dict[str, Any]) -> None:
        """Says whose request it is. ApiError (401, 403)."""
        path, service = self._scope["path"], self._service
        if path in _OPEN:
            return
        if not service.keys.needed:
            if service.options.loopback and is_foreign(
                self._headers.get("host"), self._headers.get("origin")
            ):
                raise ApiError(
                    403, "requests of other sites are refused; give the server a key", "foreign_site"
                )
            return
        if service.options.page and is_page(path):
            return
        signed = _SIGNED.fullmatch(path)
        if signed and self._scope["method"] in ("GET", "HEAD"):
            signature = QueryParams(self._scope["query_string"]).get("sig", "")
            if signature and service.links.holds(signed[1], signature):
                state["signed"] = True
                return
        owner = service.keys.owner(self._headers.get("authorization"))
        if fault := service.keys.new_fault():
            log("keys", fault=fault)
        if owner is None:
            message = "this server needs a key: Authorization: Bearer KEY"
            if "authorization" in self._headers:
                message = "the key is not one of this server's"
            raise ApiError(401, message, "invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        state["owner"] = owner
        self._log["key"] = owner[:8]

    def _check_length(self) -> None:
        length = self._headers.get("content-length", "")
        if length.isascii() and length.isdigit():
            self._count(int(length), announced=True)

    def _count(self, size: int, announced: bool = False) -> None:
        """Counts bytes of the body. ApiError (413, 429): too many of this one, or of all."""
        limit = self._service.options.max_upload + (1 << 20)  # of a form around a file
        if size > limit:
            raise ApiError(
                413, f"the body has more than {limit} bytes", "too_large", headers={"Connection": "close"}
            )
        if size > self._held:
            more = size - self._held
            if self._service.body_bytes + more > _BODIES * limit:
                headers = {"Retry-After": "2", "Connection": "close"}
                raise ApiError(
                    429,
                    "the server reads many large requests; try again later",
                    "queue_full",
                    headers=headers,
                )
            self._service.body_bytes += more
            self._held = size

    async def _body(self) -> Message:
        """`receive` with limits."""
        if not self._more:
            return await self._receive()
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                message = await self._receive()
        except TimeoutError:
            raise ApiError(
                408,
                f"no more of the body came in {_BODY_SECONDS:.0f} seconds",
                "timeout",
                headers={"Connection": "close"},
            ) from None
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            self._more = message.get("more_body", False)
            self._count(self._read)
        return message

    async def _answer(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", self._id.encode())]
        await self._send(message)

    async def _refuse(self, error: Exception) -> str:
        """Answers with an error, and says how the request ended."""
        fault = as_api_error(error)
        self._log |= {"error": fault.code, "fault": fault.detail}
        if not self._status:  # else it has begun, and the connection ends in the middle
            response = JSONResponse(fault.body(self._id), fault.status, headers=fault.headers)
            await response(self._scope, self._receive, self._answer)
        return "rejected" if fault.status < 500 else "error"

    def _route(self) -> str:
        """The route as the application has it; "none" for what led nowhere."""
        if "endpoint" not in self._scope:
            return "none"
        parts = self._scope["path"].split("/")
        if is_page(self._scope["path"]):
            parts[2:] = ["{name}"] if parts[1] else []
        elif self._scope["path_params"]:
            parts[3] = "{id}"  # of /v1/KIND/{id}
        return "/".join(parts)

    def _write(self, state: dict[str, Any], outcome: str) -> None:
        seconds = time.monotonic() - self._began
        route = self._route()
        self._service.metrics.requests.labels(route, outcome).inc()
        if route in _WHOLE:
            self._service.metrics.request.observe(seconds)
        log(
            "request",
            id=self._id,
            route=route,
            method=self._scope["method"],
            status=self._status or None,
            outcome=outcome,
            ms=round(1e3 * seconds, 1),
            **self._log,
        )


async def http_error(_: Any, error: Exception) -> JSONResponse:
    """Refusals of the router in OpenAI's shape."""
    assert isinstance(error, HTTPException)
    code = _STATUS_CODES.get(error.status_code, "invalid_request")
    raise ApiError(error.status_code, f"there is no such route: {error.detail}", code, headers=error.headers)
