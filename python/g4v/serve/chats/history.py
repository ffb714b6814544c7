"""Conversations by what was said in them: the API has no state, a chat of the core has.

A conversation has one key for each number of finished exchanges, a hash over all before it. A request takes
the conversation that knows most of its history; what is missing is appended, and is computed with the answer.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from ...errors import ContextFull
from .messages import Exchange, Talk

if TYPE_CHECKING:
    from ..._stream import Events
    from ...assistant import Assistant
    from ...chat import Chat

MOST = 1024
"""Conversations that are kept, however small."""

# Idle conversations leave so much of the memory to the answers that begin, and that run.
_AT_START, _WHILE_RUNNING = 0.75, 0.9


@dataclass(frozen=True)
class Settings:
    """Options of one answer; None is the bundle's default.

    logprobs: how many of the likeliest tokens are told beside each; None tells nothing.
    """

    seed: int
    max_new_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None


@dataclass(eq=False)
class Conversation:
    """A chat that one request has to itself.

    keys: those of 0, 1, ... finished exchanges. missing: exchanges that are to be appended.
    """

    chat: Chat
    keys: list[bytes]
    missing: list[Exchange] = field(default_factory=list)

    def append(self, source: bytes | IO[bytes] | None) -> None:
        """Appends the first of the missing exchanges. source: its video. Raises as `Chat.append`."""
        exchange = self.missing[0]
        frames = exchange.media.frames if exchange.media else None
        self.chat.append(exchange.text, exchange.answer, source, frames=frames)
        self.keys.append(_key(self.keys[-1], exchange))
        del self.missing[0]

    def answered(self, exchange: Exchange) -> None:
        """The chat has finished an exchange."""
        self.keys.append(_key(self.keys[-1], exchange))


class Conversations:
    """Conversations that no request has, the one that was used longest ago first.

    kv_memory: bytes of keys and values of all chats, the core's limit. Methods may be called from any thread.
    """

    def __init__(self, assistant: Assistant, kv_memory: int) -> None:
        self._assistant, self._kv_memory = assistant, kv_memory
        self._idle: list[Conversation] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._idle)

    def known(self, owner: str, talk: Talk) -> int:
        """How many exchanges of a talk a conversation knows that `take` would give now."""
        with self._lock:
            return self._best(_keys(owner, talk))[0]

    def take(self, owner: str, talk: Talk) -> Conversation:
        """A conversation with the longest known part of the history, and what is missing of it.

        owner: conversations of one are never used for another. Raises as `Assistant.chat`.
        """
        keys = _keys(owner, talk)
        with self._lock:
            known, best = self._best(keys)
            if best is not None and known + 1 == len(best.keys):
                self._idle.remove(best)
                chat = best.chat
            elif best is not None:
                # It goes on elsewhere: the other way stays as it is.
                chat = best.chat.fork()
                chat.truncate(known)
            else:
                chat = self._assistant.chat(system=talk.system)
            self._make_room(_AT_START)
        return Conversation(chat, keys[: known + 1], list(talk.exchanges[known:]))

    def keep(self, conversation: Conversation) -> None:
        """Takes a conversation back whose chat has no turn under way."""
        with self._lock:
            if len(conversation.keys) > 1:
                self._idle.append(conversation)
            self._make_room(_AT_START)

    def make_room(self) -> None:
        """Forgets conversations so that the answers that run do not end for want of memory."""
        with self._lock:
            self._make_room(_WHILE_RUNNING)

    def drop(self) -> bool:
        """Forgets all conversations; whether there were any."""
        with self._lock:
            found = bool(self._idle)
            self._idle.clear()
            return found

    def _best(self, keys: Sequence[bytes]) -> tuple[int, Conversation | None]:
        for known in range(len(keys) - 1, -1, -1):
            for conversation in reversed(self._idle):
                if known < len(conversation.keys) and conversation.keys[known] == keys[known]:
                    return known, conversation
        return 0, None

    def _bytes(self) -> int:
        """Bytes of all chats; of those that are idle alone where ONNX Runtime runs the decoder."""
        return self._assistant.kv_bytes or sum(conversation.chat.bytes for conversation in self._idle)

    def _make_room(self, share: float) -> None:
        while self._idle and (
            len(self._idle) > MOST or (self._kv_memory and self._bytes() > share * self._kv_memory)
        ):
            del self._idle[0]


def start(chat: Chat, talk: Talk, source: bytes | IO[bytes] | None, settings: Settings) -> Events:
    """Starts the answer to a talk's question; its videos are made by the server. Raises as `Chat.send`."""
    options: dict[str, Any] = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
    frames = talk.media.frames if talk.media else None
    return chat._start(talk.text, source, frames=frames, videos=False, **options)


def is_memory(error: ContextFull) -> bool:
    """Whether the memory of all chats is full, and not the context of this one."""
    return "kv_memory" in str(error)


def _keys(owner: str, talk: Talk) -> list[bytes]:
    system = "default" if talk.system is None else f"text:{talk.system}"
    keys = [_digest(owner, system)]
    for exchange in talk.exchanges:
        keys.append(_key(keys[-1], exchange))
    return keys


def _key(before: bytes, exchange: Exchange) -> bytes:
    media = exchange.media.identity if exchange.media else ""
    # Clients take white space off the ends of what they send back, and links leave some behind.
    answer = re.sub(r"\s*(</?video>)\s*", r" \1 ", exchange.answer).strip()
    return _digest(before.hex(), exchange.text, media, answer)


def _digest(*texts: str) -> bytes:
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()
