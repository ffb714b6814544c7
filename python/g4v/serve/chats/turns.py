"""Answers under way: the way of one from its place to its end."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Callable
from concurrent.futures import Executor
from typing import IO, Any, TypeVar

from ..._stream import Events
from ...errors import Cancelled, ContextFull
from ...events import Done, Event, Text, VideoPrompt
from ..base.errors import ApiError, as_api_error
from ..base.metrics import Metrics
from ..base.places import Places
from ..base.pump import Pump
from ..media.sources import Media, MediaReader
from .history import Conversation, Conversations, Settings, is_memory, start
from .messages import Exchange, Talk, tagged

T = TypeVar("T")

_QUICK = 2000  # characters of a text that the event loop itself may have read


class Turns:
    """Begins answers. work: threads for what blocks. Used on the event loop alone."""

    def __init__(
        self,
        conversations: Conversations,
        reader: MediaReader,
        pump: Pump,
        work: Executor,
        metrics: Metrics,
        places: Places,
    ) -> None:
        self.conversations, self.reader, self.pump, self.metrics = conversations, reader, pump, metrics
        self.places, self._work = places, work
        self.turns: set[Turn] = set()

    def begin(self, owner: str, talk: Talk, settings: Settings, put: Callable[[Event | Ended], None]) -> Turn:
        """Begins an answer, or has it wait. put: gets its events and, last, `Ended`. ApiError (429): full."""
        self.places.check(len(self.turns) - self.places.running)
        turn = Turn(self, owner, talk, settings, put)
        self.turns.add(turn)
        return turn

    async def in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        """Runs what blocks."""
        return await asyncio.get_running_loop().run_in_executor(self._work, call, *arguments)


class Ended:
    """The end of an answer. fault: what ended it early, or None."""

    def __init__(self, fault: ApiError | None) -> None:
        self.fault = fault and fault.again()


class Turn:
    """One answer. It owns its place: whoever reads it may leave at any time, and calls `cancel`."""

    def __init__(
        self,
        turns: Turns,
        owner: str,
        talk: Talk,
        settings: Settings,
        put: Callable[[Event | Ended], None],
    ) -> None:
        self._turns, self._owner, self._talk, self._settings, self._put = turns, owner, talk, settings, put
        self._reason: ApiError | None = None
        self._conversation: Conversation | None = None
        self._events: Events | None = None
        self._interruptible = True  # nothing is computed yet
        self._texts: list[str] = []
        self._captions: list[tuple[int, str]] = []
        self._length = 0
        self._fault: ApiError | None = None
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._over)  # also where it is cancelled before it runs at all

    def cancel(self, reason: ApiError) -> None:
        """Ends the answer within a step; `Ended` has the reason. Harmless when repeated or too late."""
        if self._reason is not None or self._task.done():
            return
        self._reason = reason
        if self._interruptible:
            self._task.cancel()
        elif self._events is not None:
            self._events.cancel()
        elif self._conversation is not None:
            self._conversation.chat.cancel()  # while its video is read

    async def _run(self) -> None:
        try:
            fetched = await self._fetch()
            async with self._turns.places.enter():
                self._interruptible = False
                await self._answer(fetched)
        except Exception as error:
            traceback.clear_frames(error.__traceback__)  # which hold the chat until Python collects
            self._fault = self._reason or self._fault_of(error)

    def _over(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self._fault = self._reason or as_api_error(Cancelled("cancelled"))
        self._turns.turns.discard(self)
        self._put(Ended(self._fault))

    def _fault_of(self, error: Exception) -> ApiError:
        places = self._turns.places
        if not isinstance(error, ContextFull) or not is_memory(error):
            return as_api_error(error)
        if places.running > 0:
            return places.busy("the memory of all chats is full", "memory_full")
        message = (
            "the chat alone needs more memory than the server has for all (--kv-memory); begin another one"
        )
        return ApiError(400, message, "context_length_exceeded")

    async def _fetch(self) -> dict[str, bytes]:
        """What lies on other servers: before there is a place, which a slow server must not hold."""
        known = self._turns.conversations.known(self._owner, self._talk)
        shown = [e.media for e in self._talk.exchanges[known:]] + [self._talk.media]
        found: dict[str, bytes] = {}
        for media in shown:
            if media is not None and media.kind == "url" and media.identity not in found:
                data = await self._turns.reader.open(media, self._owner)
                assert isinstance(data, bytes)
                found[media.identity] = data
                self._turns.reader.check_size(sum(map(len, found.values())), media)
        return found

    async def _answer(self, fetched: dict[str, bytes]) -> None:
        turns = self._turns
        take = turns.conversations.take
        if len(self._talk.system or "") < _QUICK:
            conversation = take(self._owner, self._talk)
        else:
            conversation = await turns.in_thread(take, self._owner, self._talk)
        self._conversation = conversation
        try:
            while conversation.missing:
                async with self._opened(conversation.missing[0].media, fetched) as source:
                    self._check()
                    await turns.in_thread(conversation.append, source)
            try:
                await self._begin(conversation, fetched)
            except ContextFull as error:
                traceback.clear_frames(error.__traceback__)
                if self._texts or not is_memory(error) or not turns.conversations.drop():
                    raise
                await self._begin(conversation, fetched)  # those that nobody uses have made room
            answer = tagged("".join(self._texts), self._captions)
            conversation.answered(Exchange(self._talk.text, self._talk.media, answer))
        finally:
            turns.conversations.keep(conversation)
            self._conversation = self._events = None

    async def _begin(self, conversation: Conversation, fetched: dict[str, bytes]) -> None:
        """Starts the turn and reads it to its end. Raises what ended it early; the chat is then as before."""
        self._check()
        async with self._opened(self._talk.media, fetched) as source:
            arguments = (conversation.chat, self._talk, source, self._settings)
            if self._talk.media is None and len(self._talk.text) < _QUICK:
                self._events = start(*arguments)  # a change of threads takes longer than a short text
            else:
                self._events = await self._turns.in_thread(start, *arguments)
        if self._reason is not None:
            self._events.cancel()
        await self._read(self._events)

    def _check(self) -> None:
        if self._reason is not None:
            raise self._reason.again()

    @contextlib.asynccontextmanager
    async def _opened(self, media: Media | None, fetched: dict[str, bytes]) -> Any:
        source: bytes | IO[bytes] | None = None
        if media is not None:
            source = fetched.get(media.identity)
            if source is None:
                source = await self._turns.reader.open(media, self._owner)
        try:
            yield source
        finally:
            if source is not None and not isinstance(source, bytes):
                source.close()

    async def _read(self, events: Events) -> None:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def deliver(found: list[Event], fault: BaseException | None, last: bool) -> None:
            loop.call_soon_threadsafe(take, found, fault, last)

        def take(found: list[Event], fault: BaseException | None, last: bool) -> None:
            for event in found:
                self._note(event)
                self._put(event)
            self._turns.conversations.make_room()
            if fault is not None:
                ended.set_exception(fault)
            elif last:
                ended.set_result(None)

        self._turns.pump.add(events, deliver)
        await ended

    def _note(self, event: Event) -> None:
        metrics = self._turns.metrics
        if isinstance(event, Text):
            self._texts.append(event.text)
            self._length += len(event.text)
        elif isinstance(event, VideoPrompt):
            self._captions.append((self._length, event.caption))
        elif isinstance(event, Done):
            metrics.prompt_tokens.inc(event.cached_tokens + event.prompt_tokens)
            metrics.cached_tokens.inc(event.cached_tokens)
            metrics.generation_tokens.inc(event.new_tokens)
            if event.new_tokens > 1:
                metrics.token.observe(event.timings.decode_ms / 1e3 / (event.new_tokens - 1))
