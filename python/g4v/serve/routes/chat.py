"""POST /v1/chat/completions."""

from __future__ import annotations

import asyncio
import functools
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from ..base.errors import ApiError, as_api_error
from ..chats.request import ChatRequest, parse_chat
from ..service import Service
from ..videos.request import check_video_options
from .answer import Answer
from .chunks import Shapes, sse, usage
from .web import is_large, json_body, note, owner_of, refuse_while_draining, service_of, while_connected

_KEEP_ALIVE = 15.0  # seconds of silence after which a comment is sent


async def completions(request: Request) -> Response:
    """Answers a talk, whole or as a stream."""
    service, owner = service_of(request), owner_of(request)
    refuse_while_draining(service)
    host = request.headers.get("host", "")
    parse = functools.partial(_parsed, service, owner, await json_body(request), host)
    asked = await anyio.to_thread.run_sync(parse) if is_large(request) else parse()
    service.metrics.unknown_fields.inc(asked.unknown)
    if service.options.log_content:
        note(request, prompt=asked.talk.text)
    shapes = Shapes(f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), service.model)
    answer = Answer(service, owner, asked, f"{request.url.scheme}://{host}")
    run = _Run(service, request, asked, answer, shapes)
    if asked.stream:
        return await run.stream()
    try:
        return JSONResponse(await while_connected(request, run.whole()))
    finally:
        run.close()


def _parsed(service: Service, owner: str, body: Any, host: str) -> ChatRequest:
    def caption(identifier: str) -> tuple[str, int] | None:
        record = service.store.find(identifier, "video", owner)
        return None if record is None else (record["prompt"], record["offset"] or 0)

    asked = parse_chat(body, service.model, caption, host)
    if not service.assistant.info["context_length"]:
        raise ApiError(400, "this server's bundle has no language model; it only makes videos", "unsupported")
    for media in [exchange.media for exchange in asked.talk.exchanges] + [asked.talk.media]:
        if media is not None:
            service.reader.check(media, owner)
            _ = media.identity  # a hash that is kept: here is the place where it may take its time
    if asked.video_options:
        check_video_options(service.assistant, asked.video_options)
    return asked


class _Run:
    """The way of one answer to its client."""

    def __init__(
        self, service: Service, request: Request, asked: ChatRequest, answer: Answer, shapes: Shapes
    ) -> None:
        self._service, self._request, self._asked = service, request, asked
        self._answer, self._shapes = answer, shapes
        self._timer = asyncio.get_running_loop().call_later(
            service.options.timeout,
            answer.cancel,
            ApiError(504, f"the answer took longer than {service.options.timeout:g} seconds", "timeout"),
        )

    async def whole(self) -> dict[str, Any]:
        """The whole answer. ApiError: what ended it early."""
        texts: list[str] = []
        refusal = None
        probabilities: list[Any] = []
        async for delta, logprobs in self._answer.deltas():
            texts.append(delta.get("content", ""))
            refusal = delta.get("refusal", refusal)
            probabilities += logprobs["content"] if logprobs else ()
        message = {"role": "assistant", "content": "".join(texts), "refusal": refusal}
        if self._answer.items:
            message["videos"] = self._answer.items
        logged = (
            {"content": probabilities, "refusal": None} if self._asked.settings.logprobs is not None else None
        )
        return self._shapes.completion(message, self._answer.finish, logged, self._end())

    async def stream(self) -> Response:
        """The response of a stream. What ends the answer before its first piece is an error with a status."""
        deltas = self._answer.deltas()
        try:
            first = await while_connected(self._request, _next(deltas))
        except BaseException:
            self.close()
            raise
        return _Stream(self._chunks(first, deltas), self.close)

    def close(self) -> None:
        """Ends what still runs."""
        self._timer.cancel()
        self._answer.close()

    async def _chunks(self, first: Any, deltas: AsyncIterator[Any]) -> AsyncIterator[bytes]:
        yield self._shapes.chunk({"role": "assistant", "content": ""})
        try:
            item = first
            while item is not None:
                yield self._shapes.chunk(item[0], logprobs=item[1])
                item = await _next(deltas)
            usage = self._end()
            yield self._shapes.chunk({}, self._answer.finish)
            if self._asked.include_usage:
                yield self._shapes.usage_chunk(usage)
            yield b"data: [DONE]\n\n"
        except ApiError as error:
            note(self._request, error=error.code, fault=error.detail)
            yield sse(error.body(self._request.state.id))

    def _end(self) -> dict[str, Any]:
        done = self._answer.done
        numbers = usage(done) if done else {}
        note(
            self._request,
            prompt_tokens=numbers.get("prompt_tokens"),
            cached_tokens=done.cached_tokens if done else None,
            new_tokens=numbers.get("completion_tokens"),
            videos=len(self._answer.items) or None,
            finish=self._answer.finish,
            warnings=done.warnings or None if done else None,
        )
        return numbers


async def _next(deltas: AsyncIterator[Any]) -> Any:
    try:
        return await anext(deltas, None)
    except ApiError:
        raise
    except Exception as error:
        raise as_api_error(error) from error


class _Stream(Response):
    """Server-sent events. The answer ends with the response, however that ends."""

    def __init__(self, chunks: AsyncIterator[bytes], close: Callable[[], None]) -> None:
        self.status_code, self.background = 200, None
        self._chunks, self._close = chunks, close
        self.media_type = "text/event-stream"
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            await while_connected(request, self._send(send))
        except (ClientDisconnect, OSError):
            raise ClientDisconnect from None
        finally:
            self._close()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        coming: asyncio.Future[bytes | None] | None = None
        try:
            while True:
                coming = asyncio.ensure_future(_chunk(self._chunks))
                while not (await asyncio.wait((coming,), timeout=_KEEP_ALIVE))[0]:
                    await _body(send, b": waiting\n\n", True)
                if (chunk := coming.result()) is None:
                    break
                await _body(send, chunk, True)
        finally:
            if coming is not None:
                coming.cancel()
            coming = None  # an error in it holds this frame
        await _body(send, b"", False)


async def _chunk(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)


async def _body(send: Send, data: bytes, more: bool) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})
