"""Asks the endpoint for what the journal does not have yet."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from g4v.data.dialogues.check import Verdict, check_answer
from g4v.data.dialogues.prompts import Item, key_of, request_body
from g4v.data.endpoint.client import BudgetSpent, Endpoint, EndpointError, RequestFailed, Stopped, usage_of
from g4v.data.endpoint.journal import Journal
from g4v.errors import RuntimeUnavailable

T = TypeVar("T")
_EMBEDDED_AT_ONCE = 64


@dataclass(frozen=True)
class Asking:
    """What is sent with every prompt, and how often. settings: fields of the request."""

    model: str
    settings: dict[str, Any]
    tries: int = 2  # answers asked for until one dialogue of an item can be used
    concurrency: int = 8
    minutes: float | None = None
    most_failures: int = 20  # items in a row without an answer, after which the run ends


@dataclass
class Outcome:
    """How a run ended: `stopped` is "" or why it ended early; `failed` is (item's name, reason)."""

    stopped: str = ""
    interrupted: bool = False
    failed: list[tuple[str, str]] = field(default_factory=list)


def estimate_tokens(text: str) -> int:
    """A careful guess without the model's tokenizer: a token for every three bytes."""
    return len(text.encode()) // 3 + 8


def prompt_estimate(item: Item) -> int:
    return sum(estimate_tokens(message["content"]) for message in item.messages())


def answers_of(journal: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The journal's answers by key."""
    return {r["key"]: r for r in journal if r.get("type") == "answer" and isinstance(r.get("key"), str)}


def tries_of(
    item: Item, asking: Asking, answers: dict[str, dict[str, Any]]
) -> list[tuple[dict[str, Any], Verdict]]:
    """The answers of an item so far, in order, up to the first with a dialogue that can be used."""
    body = request_body(item, asking.model, asking.settings)
    result = []
    for number in range(asking.tries):
        record = answers.get(key_of(body, number))
        if record is None:
            break
        verdict = verdict_of(item, record)
        result.append((record, verdict))
        if verdict.accepted:
            break
    return result


def verdict_of(item: Item, record: dict[str, Any]) -> Verdict:
    if record.get("fault"):
        return Verdict(rejected=[(str(record["fault"]), "")])
    text = record.get("text")
    return check_answer(item, text if isinstance(text, str) else None, record.get("finish"))


def is_done(item: Item, asking: Asking, answers: dict[str, dict[str, Any]]) -> bool:
    """Whether nothing more is to be asked for an item."""
    tried = tries_of(item, asking, answers)
    return len(tried) >= asking.tries or any(verdict.accepted for _, verdict in tried)


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


async def ask_all(
    items: Sequence[Item], asking: Asking, endpoint: Endpoint, journal: Journal, step: Callable[[], None]
) -> Outcome:
    """Asks for every item that is not done; each answer is in the journal before the next is asked for.

    step: called once for each item that is finished with. EndpointError where the endpoint refuses all.
    """
    answers = answers_of(journal.records)

    async def ask(item: Item) -> None:
        body = request_body(item, asking.model, asking.settings)
        bound = asking.settings.get("max_tokens") or asking.settings.get("max_completion_tokens") or 2000
        most = prompt_estimate(item) + int(bound)
        while not is_done(item, asking, answers):
            number = len(tries_of(item, asking, answers))
            reply = await ask_once(body, prompt_estimate(item), most, endpoint)
            key = key_of(body, number)
            record = {"type": "answer", "key": key, "item": item.name, "try": number, **reply}
            verdict = verdict_of(item, record)
            record["accepted"], record["rejected"] = len(verdict.accepted), [r for r, _ in verdict.rejected]
            journal.add(record)
            answers[key] = record

    return await work_off(items, ask, lambda item: item.name, asking, endpoint, step)


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


async def work_off(
    items: Iterable[T],
    ask: Callable[[T], Awaitable[None]],
    name: Callable[[T], str],
    asking: Asking,
    endpoint: Endpoint,
    step: Callable[[], None],
) -> Outcome:
    """Calls `ask` for every item, `asking.concurrency` at once, within the bounds of `asking` and `endpoint`.

    An item whose request fails is noted under its name, and the others go on. step: called once for each item
    that is finished with. EndpointError where the endpoint refuses all.
    """
    outcome = Outcome()
    queue = iter(items)
    end = time.monotonic() + 60 * asking.minutes if asking.minutes is not None else None
    failures = 0

    def finish(reason: str) -> None:
        outcome.stopped = outcome.stopped or reason
        endpoint.stop.set()

    async def work() -> None:
        nonlocal failures
        for item in queue:
            if end is not None and time.monotonic() >= end:
                finish("the time limit is reached")
            if endpoint.stop.is_set():
                return
            try:
                await ask(item)
                failures = 0
            except Stopped:
                return
            except BudgetSpent as spent:
                finish(str(spent))
                return
            except RequestFailed as failed:
                outcome.failed.append((name(item), str(failed)))
                failures += 1
                if failures >= asking.most_failures:
                    finish(f"{failures} items in a row got no answer; the last: {failed}")
            step()

    await _gather_until_stopped([work() for _ in range(asking.concurrency)], endpoint, outcome)
    return outcome


async def _gather_until_stopped(work: list[Any], endpoint: Endpoint, outcome: Outcome) -> None:
    """Runs the workers. The first Ctrl-C waits for the answers under way, which are paid for; the second
    gives them up.
    """
    tasks = [asyncio.ensure_future(one) for one in work]
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        if outcome.interrupted:
            for task in tasks:
                task.cancel()
        outcome.interrupted = True
        outcome.stopped = "interrupted"
        endpoint.stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(ValueError, RuntimeError, NotImplementedError):  # not in the main thread
            loop.add_signal_handler(number, interrupt)
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        failed = next((t for t in done if not t.cancelled() and t.exception()), None)
        if failed is not None:
            endpoint.stop.set()
            # Answers under way are paid for, too; but an endpoint that refuses all, or a full disk, has none.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise failed.exception() or AssertionError
        await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError, RuntimeError, NotImplementedError):
                loop.remove_signal_handler(number)


def embedding_key(model: str, text: str) -> str:
    return hashlib.sha256(f"{model}\n{text}".encode()).hexdigest()


async def endpoint_vectors(
    texts: Sequence[str], model: str, endpoint: Endpoint, journal: Journal
) -> np.ndarray:
    """float32 [n, d] from /embeddings; what the journal has is not asked for again."""
    keys = [embedding_key(model, text) for text in texts]
    known = {r.get("key"): r.get("vector") for r in journal.records if r.get("type") == "embedding"}
    missing = [i for i, key in enumerate(keys) if key not in known]
    for start in range(0, len(missing), _EMBEDDED_AT_ONCE):
        part = missing[start : start + _EMBEDDED_AT_ONCE]
        body = {"model": model, "input": [texts[i] for i in part]}
        payload, _ = await endpoint.post("/embeddings", body, sum(estimate_tokens(texts[i]) for i in part))
        vectors = _vectors(payload, len(part))
        usage = usage_of(payload or {})[2]
        for i, vector in zip(part, vectors, strict=True):
            known[keys[i]] = base64.b64encode(vector.astype("<f4").tobytes()).decode()
            record = {"type": "embedding", "key": keys[i], "vector": known[keys[i]], "prompt_tokens": usage}
            usage = 0  # counted once for the request
            journal.add(record)
    rows = [np.frombuffer(base64.b64decode(known[key] or ""), "<f4") for key in keys]
    if len({len(row) for row in rows}) > 1:
        raise RuntimeUnavailable("the endpoint's embeddings have different lengths")
    return np.stack(rows)


def _vectors(payload: dict[str, Any] | None, count: int) -> list[np.ndarray]:
    try:
        rows = sorted((payload or {})["data"], key=lambda row: row["index"])
        vectors = [np.asarray(row["embedding"], np.float32) for row in rows]
    except (KeyError, TypeError, ValueError):
        vectors = []
    if len(vectors) != count or any(v.ndim != 1 or not v.size or not np.isfinite(v).all() for v in vectors):
        raise RuntimeUnavailable(
            "the endpoint's answer to /embeddings is not one finite vector for each text"
        )
    return vectors


__all__ = ["Asking", "EndpointError", "Outcome", "ask_all", "endpoint_vectors"]
