"""Asks the endpoint for what the journal does not have yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from g4v.data.dialogues.check import Verdict, check_answer
from g4v.data.dialogues.prompts import Item, request_body
from g4v.data.endpoint.client import Endpoint
from g4v.data.endpoint.completions import RequestSettings, ask_once, estimate_tokens
from g4v.data.endpoint.journal import Journal, answer_key, answers_of
from g4v.data.endpoint.workers import Outcome, run_all


def prompt_estimate(item: Item) -> int:
    """About how many tokens the item's messages have."""
    return sum(estimate_tokens(message["content"]) for message in item.messages())


def tries_of(
    item: Item, settings: RequestSettings, answers: dict[str, dict[str, Any]]
) -> list[tuple[dict[str, Any], Verdict]]:
    """The answers of an item so far, in order, up to the first with a dialogue that can be used."""
    body = request_body(item, settings.model, settings.fields)
    result = []
    for number in range(settings.tries):
        record = answers.get(answer_key(body, number))
        if record is None:
            break
        verdict = verdict_of(item, record)
        result.append((record, verdict))
        if verdict.accepted:
            break
    return result


def verdict_of(item: Item, record: dict[str, Any]) -> Verdict:
    """The dialogues of one answer that can be used, and why others cannot. record: of the journal."""
    if record.get("fault"):
        return Verdict(rejected=[(str(record["fault"]), "")])
    text = record.get("text")
    return check_answer(item, text if isinstance(text, str) else None, record.get("finish"))


def is_done(item: Item, settings: RequestSettings, answers: dict[str, dict[str, Any]]) -> bool:
    """Whether an item needs no further request."""
    tried = tries_of(item, settings, answers)
    return len(tried) >= settings.tries or any(verdict.accepted for _, verdict in tried)


async def ask_all(
    items: Sequence[Item],
    settings: RequestSettings,
    endpoint: Endpoint,
    journal: Journal,
    step: Callable[[], None],
) -> Outcome:
    """Asks for every item that is not done; each answer is in the journal before the next is asked for.

    step: called once for each item that is finished with. EndpointError where the endpoint refuses all.
    """
    answers = answers_of(journal.records)

    async def ask(item: Item) -> None:
        body = request_body(item, settings.model, settings.fields)
        bound = settings.fields.get("max_tokens") or settings.fields.get("max_completion_tokens") or 2000
        most = prompt_estimate(item) + int(bound)
        while not is_done(item, settings, answers):
            number = len(tries_of(item, settings, answers))
            reply = await ask_once(body, prompt_estimate(item), most, endpoint)
            key = answer_key(body, number)
            record = {"type": "answer", "key": key, "item": item.name, "try": number, **reply}
            verdict = verdict_of(item, record)
            record["accepted"], record["rejected"] = len(verdict.accepted), [r for r, _ in verdict.rejected]
            journal.add(record)
            answers[key] = record

    return await run_all(items, ask, lambda item: item.name, settings, endpoint, step)
