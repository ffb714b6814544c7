"""Everything of one server: the assistant, its conversations, files, videos, keys and figures."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from .. import __version__
from .base.auth import Keys, Links
from .base.errors import ApiError, shutting_down
from .base.metrics import Metrics
from .base.places import Places
from .base.pump import Pump
from .chats.history import Conversations
from .chats.turns import Turns
from .media.fetch import Fetcher
from .media.shared_store import SharedMediaStore
from .media.sources import MediaReader
from .media.store import MediaStore
from .options import Options
from .videos.jobs import VideoJobs

if TYPE_CHECKING:
    from ..assistant import Assistant

# One reads and encodes videos while the other starts an answer.
_WORKERS = 2


class Parts:
    """What can be told to be wrong before an assistant is loaded. ArgumentError, OutputError."""

    def __init__(self, options: Options) -> None:
        self.keys = Keys(options.api_key_file)
        kind = SharedMediaStore if options.share_media else MediaStore
        self.store = kind(options.media_dir, options.media_ttl, options.media_bytes)


class UnderWay(Protocol):
    """An answer that is under way."""

    def cancel(self, reason: ApiError) -> None:
        """Ends it."""


class Service:
    """What the routes share. ArgumentError, OutputError: an option cannot be obeyed."""

    def __init__(self, assistant: Assistant, options: Options, parts: Parts | None = None) -> None:
        parts = parts or Parts(options)
        self.assistant, self.options = assistant, options
        self.version, self.model = __version__, assistant.name
        self.keys, self.store = parts.keys, parts.store
        self.links = Links(self.store.secret())
        self.metrics = Metrics(__version__, assistant.name, assistant.device)
        self.pump = Pump()
        self.work = ThreadPoolExecutor(_WORKERS, "g4v-work")
        self.places = Places(self.metrics, options.max_running, options.max_queued)
        self.conversations = Conversations(assistant, options.kv_memory)
        fetcher = Fetcher(options.allowed_media_domains, options.max_upload)
        self.reader = MediaReader(self.store, fetcher, options.max_upload)
        self.turns = Turns(self.conversations, self.reader, self.pump, self.work, self.metrics, self.places)
        self.jobs = VideoJobs(
            assistant, self.store, self.pump, self.work, self.metrics, options.max_queued_videos
        )
        self.created = int(time.time())
        self.state = "loading"  # then "ready" or "failed"
        self.draining = False
        self.answers: set[UnderWay] = set()  # under way
        self.requests = 0  # under way
        self.body_bytes = 0  # of bodies that are held
        self._watch()

    def _watch(self) -> None:
        watch = self.metrics.watch
        watch("requests_running", "answers that are computed", lambda: self.places.running)
        watch("requests_waiting", "answers that wait for a place", lambda: self.places.waiting)
        watch("videos_queued", "videos that wait", lambda: self.jobs.waiting)
        watch("conversations", "conversations that no request uses", lambda: len(self.conversations))
        watch("kv_bytes", "bytes of keys and values", lambda: self.assistant.kv_bytes)
        watch("media_bytes", "bytes of files and videos", lambda: self.store.total_bytes)

    async def drain(self, seconds: float) -> None:
        """Waits for answers and videos that are under way; what is not done in time is cancelled."""
        self.draining = True
        until = time.monotonic() + seconds
        while (self.answers or self.jobs.unfinished) and time.monotonic() < until:
            await asyncio.sleep(0.02)
        for answer in list(self.answers):
            answer.cancel(shutting_down())
        await self.jobs.abandon()

    def close(self) -> None:
        """Ends the threads, and lets another server have the folder."""
        self.pump.close()
        self.work.shutdown(wait=False, cancel_futures=True)
        self.store.close()
