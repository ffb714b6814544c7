"""The shapes of OpenAI's chat answers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ...events import Done

if TYPE_CHECKING:
    from ...events import Token

FINISH = {"stop": "stop", "length": "length", "context": "length", "memory": "length"}
"""Why an answer ended -> finish_reason."""


class Shapes:
    """Bodies and chunks of one answer. identifier: "chatcmpl-..."; created: seconds since 1970."""

    def __init__(self, identifier: str, created: int, model: str) -> None:
        self.identifier = identifier
        self._head = {"id": identifier, "created": created, "model": model}

    def chunk(self, delta: dict[str, Any], finish: str | None = None, logprobs: Any = None) -> bytes:
        """A chunk of a stream."""
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self._line([choice])

    def usage_chunk(self, usage: dict[str, Any]) -> bytes:
        """The chunk after the last one of the answer."""
        return self._line([], usage=usage)

    def completion(
        self, message: dict[str, Any], finish: str, logprobs: Any, usage: dict[str, Any]
    ) -> dict[str, Any]:
        """A whole answer."""
        choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish}
        return self._head | {"object": "chat.completion", "choices": [choice], "usage": usage}

    def _line(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return sse(self._head | {"object": "chat.completion.chunk", "choices": choices} | more)


def sse(value: dict[str, Any]) -> bytes:
    """An event of a text/event-stream."""
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def usage(done: Done) -> dict[str, Any]:
    """Numbers of tokens."""
    prompt = done.cached_tokens + done.prompt_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": done.new_tokens,
        "total_tokens": prompt + done.new_tokens,
        "prompt_tokens_details": {"cached_tokens": done.cached_tokens},
    }


def logprobs(tokens: Iterable[Token]) -> dict[str, Any] | None:
    """The log probabilities of tokens; None where there are none."""
    content = [
        _token(token) | {"top_logprobs": [_token(other) for other in token.top]}
        for token in tokens
        if token.logprob is not None
    ]
    return {"content": content, "refusal": None} if content else None


def _token(token: Any) -> dict[str, Any]:
    text: bytes = token.text
    return {"token": text.decode("utf-8", "replace"), "logprob": token.logprob, "bytes": list(text)}
