"""Videos that are being made: one at a time, the others in line, each with its record on disk."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from ..._stream import Events
from ...errors import UnsafeVideo
from ...events import Event, Progress, Video
from ..base.errors import ApiError, as_api_error
from ..base.logs import log
from ..base.metrics import Metrics
from ..base.pump import Pump
from ..media.store import MediaStore, Record

if TYPE_CHECKING:
    from ...assistant import Assistant

_TELL = 0.5  # seconds between two records that other servers read


class Job:
    """A video that is asked for. record: as it is on disk. listeners: called at each change."""

    def __init__(self, record: Record, values: dict[str, Any]) -> None:
        self.record, self.values = record, values
        self.withheld = False
        self.cancelled = False
        self.events: Events | None = None
        self.listeners: list[Callable[[Job], None]] = []
        self.done = asyncio.Event()
        self.told = 0.0  # when other servers were told how far it is
        self.saving: asyncio.Future[None] | None = None

    def changed(self) -> None:
        """Tells the listeners."""
        for listener in self.listeners:
            listener(self)


class VideoJobs:
    """The line of videos. most: that wait in it. work: threads for what blocks. On the event loop alone."""

    def __init__(
        self,
        assistant: Assistant,
        store: MediaStore,
        pump: Pump,
        work: Executor,
        metrics: Metrics,
        most: int,
    ) -> None:
        self._assistant, self._store, self._pump, self._work = assistant, store, pump, work
        self._metrics, self._most = metrics, most
        self._line: deque[Job] = deque()
        self._jobs: dict[str, Job] = {}
        self._runner: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._line)

    @property
    def unfinished(self) -> int:
        """How many wait or are being made."""
        return len(self._jobs)

    def find(self, identifier: str) -> Job | None:
        """The unfinished job of this id."""
        return self._jobs.get(identifier)

    def position(self, job: Job) -> int:
        """How many videos come before this one; 0 for the one that is being made."""
        return self._line.index(job) + 1 if job in self._line else 0

    async def submit(
        self,
        owner: str,
        prompt: str,
        values: dict[str, Any],
        fps: float | None = None,
        offset: int | None = None,
    ) -> Job:
        """Puts a video in line. values: options of `Assistant.generate`. offset: its place in an answer.

        ApiError (429): the line is full. OutputError: the record cannot be written.
        """
        if len(self._line) >= self._most:
            raise ApiError(
                429,
                f"the server is busy: {self._most} videos wait already; try again later",
                "queue_full",
                headers={"Retry-After": "5"},
            )
        defaults = self._assistant.info.get("video") or {}
        shape = {name: values.get(name) or defaults.get(name) for name in ("frames", "width", "height")}
        record = self._store.new("video", owner, status="queued", progress=0, completed_at=None, error=None)
        record |= {
            "prompt": prompt,
            "seed": values["seed"],
            "fps": fps or defaults.get("fps"),
            "offset": offset,
        }
        record |= shape
        asked = values if fps is None else {**values, "fps": fps}
        job = self._jobs[record["id"]] = Job(record, asked)
        self._line.append(job)
        try:
            await self._in_thread(self._store.save, record)
        except BaseException:  # whoever asked may have left
            self.remove(job)
            raise
        if self._runner is None:
            self._runner = asyncio.get_running_loop().create_task(self._run())
        return job

    def remove(self, job: Job) -> None:
        """Takes an unfinished video back, within a step, and forgets it."""
        job.record |= {"status": "failed", "error": _error("cancelled", "the video was cancelled")}
        self._stop(job)
        self._store.remove(job.record)

    async def abandon(self) -> None:
        """Marks all unfinished videos as failed: the server ends."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.record |= {"status": "failed", "error": _error("server_restarted", "the server was stopped")}
            self._stop(job)
        for job in jobs:
            await self._in_thread(self._store.save, job.record)

    def _stop(self, job: Job) -> None:
        job.cancelled = True
        self._jobs.pop(job.record["id"], None)
        if job in self._line:
            self._line.remove(job)
        if job.events is not None:
            job.events.cancel()
        self._metrics.videos.labels("cancelled").inc()
        job.done.set()
        job.changed()

    async def _run(self) -> None:
        while self._line:
            job = self._line.popleft()
            began = time.monotonic()
            outcome = {"status": "completed", "progress": 100, "completed_at": int(time.time())}
            try:
                job.record["status"] = "in_progress"
                job.changed()
                self._tell_others(job)
                await self._make(job)
                self._metrics.videos.labels("ok").inc()
                self._metrics.video.observe(time.monotonic() - began)
                outcome["completed_at"] = int(time.time())
            except UnsafeVideo as error:
                job.withheld = True
                self._metrics.videos.labels("withheld").inc()
                outcome = {"status": "failed", "error": _error("content_filter", str(error))}
            except Exception as error:
                fault = as_api_error(error)
                outcome = {"status": "failed", "error": _error(fault.code, fault.message)}
                if not job.cancelled:
                    self._metrics.videos.labels("error").inc()
                    log("video", id=job.record["id"], error=repr(error))
            if job.saving is not None:
                await job.saving
            if job.cancelled:
                continue
            self._jobs.pop(job.record["id"], None)
            outcome["expires_at"] = int(time.time() + self._store.ttl)
            await self._save(job.record | outcome)  # before anybody is told: it then outlasts the process
            job.record |= outcome
            job.done.set()
            job.changed()
        self._runner = None

    async def _make(self, job: Job) -> None:
        record = job.record
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Video | None] = loop.create_future()
        made: list[Video] = []
        stepped = [time.monotonic()]

        def deliver(found: list[Event], fault: BaseException | None, last: bool) -> None:
            loop.call_soon_threadsafe(take, found, fault, last)

        def take(found: list[Event], fault: BaseException | None, last: bool) -> None:
            for event in found:
                if isinstance(event, Progress):
                    now = time.monotonic()
                    self._metrics.video_step.observe(now - stepped[0])
                    stepped[0] = now
                    record["progress"] = min(99, 100 * event.step // event.steps)
                    if not job.cancelled:
                        job.changed()
                        self._tell_others(job)
                elif isinstance(event, Video):
                    made.append(event)
            if fault is not None:
                ended.set_exception(fault)
            elif last:
                ended.set_result(made[0] if made else None)

        job.events = self._assistant._start_video(record["prompt"], **job.values)
        if job.cancelled:
            job.events.cancel()
        self._pump.add(job.events, deliver)
        video = await ended
        if video is None or job.cancelled:
            return
        data = await self._in_thread(_encoded, video, record)
        if not job.cancelled:
            self._store.make_room(len(data))
            record["bytes"] = len(data)
            record["frames"], record["height"], record["width"] = video.frames.shape[:3]
            record["fps"] = record["fps"] or video.fps
            await self._in_thread(self._write, record, data)

    def _tell_others(self, job: Job) -> None:
        """Shows other servers how far a video is, and stops what they were asked to remove."""
        if not self._store.shared:
            return
        for one in list(self._jobs.values()):
            if self._store.is_cancelled(one.record):
                self.remove(one)
        now = time.monotonic()
        if not job.cancelled and now - job.told > _TELL and (job.saving is None or job.saving.done()):
            job.told = now
            job.saving = asyncio.ensure_future(self._save(dict(job.record)))

    async def _save(self, record: Record) -> None:
        try:
            await self._in_thread(self._store.save, record)
        except Exception as error:
            log("video", id=record["id"], error=repr(error))

    def _write(self, record: Record, data: bytes) -> None:
        with self._store.writing(record) as path:
            path.write_bytes(data)

    async def _in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._work, call, *arguments)


def _encoded(video: Video, record: Record) -> bytes:
    from ..._encode import encode_video  # NumPy, which a server that makes no videos does not need

    return encode_video(video.frames, float(record["fps"] or video.fps), ".mp4", title=video.caption)


def _error(code: str, message: str) -> dict[str, str]:
    return {"code": code, "message": message}
