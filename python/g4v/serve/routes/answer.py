"""One answer as it comes: text of the turn, videos of the line, until both are done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from ...errors import Error
from ...events import Done, Refusal, Text, VideoPrompt
from ..base.errors import ApiError, as_api_error
from ..chats.request import ChatRequest
from ..chats.turns import Ended, Turn
from ..service import Service
from ..videos.jobs import Job
from .chunks import FINISH, logprobs


class Answer:
    """Use `deltas` once, then read `done`, `finish` and `items`, the videos as they are; `close` in any case.

    base: the beginning of links to this server. ApiError (429): too many requests wait.
    """

    def __init__(self, service: Service, owner: str, request: ChatRequest, base: str) -> None:
        self._service, self._owner, self._request = service, owner, request
        self._base, self._in_text = base, service.options.videos_in_text
        self._inbox: asyncio.Queue[Any] = asyncio.Queue()
        self._jobs: dict[str, Job] = {}
        self.items: list[dict[str, Any]] = []
        self._length = 0
        self._began = time.monotonic()
        self._first = True
        self._fault: ApiError | None = None
        self.done: Done | None = None
        self.refused = False
        self._turn: Turn = service.turns.begin(owner, request.talk, request.settings, self._inbox.put_nowait)
        service.answers.add(self)

    @property
    def finish(self) -> str:
        """finish_reason."""
        reason = FINISH.get(self.done.finish_reason, "stop") if self.done else "stop"
        return "content_filter" if self.refused else reason

    def cancel(self, reason: ApiError) -> None:
        """Ends the answer: `deltas` raises the reason."""
        self._fault = self._fault or reason
        self._turn.cancel(reason)
        self._inbox.put_nowait(Ended(reason))  # to be looked at

    def close(self) -> None:
        """Ends what still runs, the videos of the answer among it."""
        self._turn.cancel(ApiError(499, "the client has gone", "client_closed"))
        for job in self._jobs.values():
            if not job.done.is_set():
                self._service.jobs.remove(job)
        self._jobs.clear()
        self._service.answers.discard(self)

    async def deltas(self) -> AsyncIterator[tuple[dict[str, Any], Any]]:
        """The pieces of the message as they come, with the log probabilities of their tokens.

        A piece has "content", "refusal" or "videos", each video as it is now.
        ApiError: what ended the answer early.
        """
        over = False
        while not over or self._jobs:
            item = await self._inbox.get()
            if self._fault is not None:
                raise self._fault.again()
            if isinstance(item, Text):
                if self._first:
                    self._service.metrics.first_token.observe(time.monotonic() - self._began)
                    self._first = False
                self._length += len(item.text)
                yield {"content": item.text}, logprobs(item.tokens)
            elif isinstance(item, VideoPrompt):
                yield {"videos": [await self._begin_video(item)]}, None
            elif isinstance(item, Job):
                for delta in self._changed(item):
                    yield delta, None
            elif isinstance(item, Refusal):
                self.refused = True
                yield {"refusal": item.text}, None
            elif isinstance(item, Done):
                self.done = item
                if (rest := logprobs(item.tokens)) is not None:
                    yield {}, rest
            elif isinstance(item, Ended):
                if item.fault is not None:
                    raise item.fault.again()
                over = True

    async def _begin_video(self, prompt: VideoPrompt) -> dict[str, Any]:
        seed = (self._request.settings.seed * 1000003 + prompt.index) % 2**64
        item: dict[str, Any] = {"index": prompt.index, "id": None, "status": "skipped", "progress": 0}
        item |= {"caption": prompt.caption, "seed": seed, "offset": self._length, "type": "video_url"}
        item["video_url"] = None
        self.items.append(item)
        if not self._request.videos:
            return dict(item)
        most = self._service.options.max_videos
        if 0 < most <= prompt.index:
            what = f"the answer asks for more videos than this server makes of one, {most} (--max-videos)"
            item |= {"error": {"code": "too_many_videos", "message": what}}
            return dict(item)
        values = self._request.video_options | {"seed": seed}
        try:
            job = await self._service.jobs.submit(self._owner, prompt.caption, values, offset=self._length)
        except (ApiError, Error) as error:
            fault = as_api_error(error)
            error_item = {"code": fault.code, "message": fault.message}
            item |= {"status": "failed", "error": error_item}
            return dict(item)
        identifier = job.record["id"]
        item |= {"id": identifier, "status": "queued"}
        item["video_url"] = {"url": f"{self._base}/v1/videos/{identifier}/content"}
        self._jobs[identifier] = job
        job.listeners.append(self._inbox.put_nowait)
        self._inbox.put_nowait(job)  # it may have changed since
        return dict(item)

    def _changed(self, job: Job) -> list[dict[str, Any]]:
        record = job.record
        identifier = record["id"]
        item = next(item for item in self.items if item["id"] == identifier)
        if job.done.is_set():
            self._jobs.pop(identifier, None)
        status = "withheld" if job.withheld else record["status"]
        if (status, record["progress"]) == (item["status"], item["progress"]):
            return []
        item |= {"status": status, "progress": record["progress"]}
        if record["error"] and not job.withheld:
            item["error"] = record["error"]
        deltas: list[dict[str, Any]] = [{"videos": [dict(item)]}]
        if status == "completed" and self._in_text:
            signature = self._service.links.sign(identifier, self._service.options.media_ttl)
            deltas.append({"content": f"\n<video>{item['video_url']['url']}?sig={signature}</video>\n"})
        return deltas
