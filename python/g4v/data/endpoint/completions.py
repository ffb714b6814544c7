"""Chat completions: what is sent with every prompt, and what is read from an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from g4v.data.endpoint.client import Endpoint, usage_of


@dataclass(frozen=True)
class RequestSettings:
    """What is sent with every prompt, and how often. fields: of the request, such as temperature."""

    model: str
    fields: dict[str, Any]
    tries: int = 2  # answers asked for until one dialogue of an item can be used
    concurrency: int = 8
    minutes: float | None = None
    most_failures: int = 20  # items in a row without an answer, after which the run ends


def estimate_tokens(text: str) -> int:
    """An estimate without the model's tokenizer, rather too high: a token for every three bytes."""
    return len(text.encode()) // 3 + 8


def read_reply(payload: dict[str, Any] | None) -> dict[str, Any]:
    """text, finish and usage of a chat completion; `fault` says what is wrong with a malformed one."""
    if payload is None:
        return {"fault": "response that is not whole JSON"}
    prompt, completion, _ = usage_of(payload)
    reply: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": completion}
    if isinstance(payload.get("model"), str):
        reply["model"] = payload["model"][:200]
    choices = payload.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return reply | {"fault": "response without choices"}
    message = choices[0].get("message")
    text = message.get("content") if isinstance(message, dict) else None
    reply["finish"] = str(choices[0].get("finish_reason"))[:40]
    if not isinstance(text, str) and reply["finish"] != "content_filter":
        return reply | {"fault": "response without text"}
    return reply | {"text": text}


async def ask_once(body: dict[str, Any], prompt_tokens: int, most: int, endpoint: Endpoint) -> dict[str, Any]:
    """One chat completion, as `read_reply` gives it.

    prompt_tokens: our estimate of the prompt, which counts where the server reports no usage; most: what the
    request may use at most. Raises what `Endpoint.post` raises.
    """
    payload, tokens = await endpoint.post("/chat/completions", body, most)
    reply = read_reply(payload)
    if not reply.get("prompt_tokens") and not reply.get("completion_tokens"):
        # Some servers report nothing: count the texts, so that the budget still means something.
        used = prompt_tokens + estimate_tokens(str(reply.get("text") or ""))
        reply["estimated_tokens"] = used
        endpoint.budget.tokens += used - tokens
    return reply
