"""Verdicts from a model behind an OpenAI-compatible endpoint, each paid for once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from g4v._command import at_least, request_fields
from g4v._console import ProgressBar
from g4v.data.endpoint.arguments import add_endpoint_arguments, address_and_key
from g4v.data.endpoint.budget import Budget
from g4v.data.endpoint.client import Endpoint, Limits
from g4v.data.endpoint.completions import RequestSettings, ask_once, estimate_tokens
from g4v.data.endpoint.journal import Journal, answer_key, cost, spent
from g4v.data.endpoint.workers import run_all
from g4v.errors import ArgumentError
from g4v.eval.verdict import JudgePrompt, Verdict, read_prompt, read_verdict

_MAX_TOKENS = 200  # of one verdict; it is one line


@dataclass(frozen=True)
class Case:
    """One answer to be judged. name: of the question, for messages."""

    name: str
    question: str
    answer: str
    prediction: str


@dataclass
class Judged:
    """What a judge said of all cases.

    verdicts: one for each case; None where there is none. unparsable: cases of which no answer had a verdict.
    unanswered: cases without any answer yet. stopped: "" or why the run ended early. served: names of the
    model as the endpoint gave them. cost: requests and tokens of all runs.
    """

    verdicts: list[Verdict | None] = field(default_factory=list)
    unparsable: int = 0
    unanswered: int = 0
    stopped: str = ""
    interrupted: bool = False
    served: list[str] = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Judge:
    """A model behind an endpoint, and how it is asked. tries: answers asked for until one has a verdict."""

    model: str
    url: str
    key: str | None
    prompt: JudgePrompt
    settings: dict[str, Any]
    tries: int
    concurrency: int
    limits: Limits
    most_requests: int | None
    most_tokens: int | None

    def body(self, case: Case) -> dict[str, Any]:
        """The request of a case; a setting of None leaves its field out."""
        messages = self.prompt.messages(case.question, case.answer, case.prediction)
        fields = {name: value for name, value in self.settings.items() if value is not None}
        return {"model": self.model, "messages": messages, **fields}


def add_judge_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the judge and of its endpoint."""
    group = parser.add_argument_group(
        "judge", "a model that grades the answers (the key is taken from OPENAI_API_KEY)"
    )
    add = group.add_argument
    add("--judge", metavar="MODEL", help="ask this model (default: exact match only); needs --out")
    add("--base-url", metavar="URL", help="such as https://host/v1 (default: OPENAI_BASE_URL)")
    add("--judge-prompt", type=Path, metavar="FILE", help="text with {question}, {answer}, {prediction}")
    add("--judge-tries", type=at_least(1, 5), default=1, metavar="N", help="for a verdict (default: 1)")
    add(
        "--body",
        type=request_fields,
        default={},
        metavar="JSON",
        help="more fields of a request; null drops one",
    )
    add_endpoint_arguments(group)
    add("--max-requests", type=at_least(0), metavar="N", help="over all runs into --out; failed ones count")
    add("--max-tokens-total", type=at_least(0), metavar="N", help="over all runs into --out")


def judge_of(options: argparse.Namespace) -> Judge | None:
    """The judge that the arguments name; None without one. Raises `ArgumentError` before anything is sent."""
    if not options.judge:
        return None
    if options.out is None:
        raise ArgumentError(
            "a judge needs --out DIR: the folder that keeps its verdicts, so that none is paid twice"
        )
    url, key = address_and_key(options.base_url, " for the judge")
    return Judge(
        options.judge,
        url,
        key,
        read_prompt(options.judge_prompt),
        {"temperature": 0, "max_tokens": _MAX_TOKENS, **options.body},
        options.judge_tries,
        options.concurrency,
        Limits(options.timeout, options.retries, options.backoff),
        options.max_requests,
        options.max_tokens_total,
    )


def _tried(judge: Judge, body: dict[str, Any], answers: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number in range(judge.tries):
        record = answers.get(answer_key(body, number))
        if record is None:
            break
        found.append(record)
        if _verdict_of(record) is not None:
            break
    return found


def _verdict_of(record: dict[str, Any]) -> Verdict | None:
    text = record.get("text")
    return read_verdict(text) if isinstance(text, str) and not record.get("fault") else None


async def judge_all(judge: Judge, cases: Sequence[Case], journal: Journal) -> Judged:
    """Asks for the verdicts that the journal lacks. EndpointError where the endpoint refuses all."""
    answers = {
        r["key"]: r for r in journal.records if r.get("type") == "answer" and isinstance(r.get("key"), str)
    }

    def finished(case: Case) -> bool:
        tried = _tried(judge, judge.body(case), answers)
        return len(tried) >= judge.tries or (bool(tried) and _verdict_of(tried[-1]) is not None)

    async def ask(case: Case) -> None:
        body = judge.body(case)
        prompt = sum(estimate_tokens(message["content"]) for message in body["messages"])
        bound = int(judge.settings.get("max_tokens") or judge.settings.get("max_completion_tokens") or 2000)
        while not finished(case):
            number = len(_tried(judge, body, answers))
            reply = await ask_once(body, prompt, prompt + bound, endpoint)
            record = {
                "type": "answer",
                "key": answer_key(body, number),
                "item": case.name,
                "try": number,
                **reply,
            }
            journal.add(record)
            answers[record["key"]] = record

    budget = Budget(judge.most_requests, judge.most_tokens)
    budget.requests, budget.tokens = spent(journal.records)
    settings = RequestSettings(judge.model, judge.settings, judge.tries, judge.concurrency)

    def failed(reason: str) -> None:
        journal.add({"type": "failure", "reason": reason})

    # Two questions with the same words and answers are one request.
    left = {answer_key(judge.body(case), 0): case for case in cases if not finished(case)}
    async with Endpoint(judge.url, judge.key, judge.limits, budget, failed) as endpoint:
        with ProgressBar("verdicts", len(left), lines=True) as progress:
            outcome = await run_all(
                left.values(), ask, lambda case: case.name, settings, endpoint, progress.step
            )
    judged = Judged(stopped=outcome.stopped, interrupted=outcome.interrupted, cost=cost(journal.records))
    if outcome.failed and not judged.stopped:
        judged.stopped = f"{len(outcome.failed)} answers got no verdict, as {outcome.failed[0][1]}"
    names: set[str] = set()
    for case in cases:
        tried = _tried(judge, judge.body(case), answers)
        verdict = _verdict_of(tried[-1]) if tried else None
        judged.verdicts.append(verdict)
        judged.unparsable += verdict is None and len(tried) >= judge.tries
        judged.unanswered += verdict is None and len(tried) < judge.tries
        names |= {str(record["model"]) for record in tried if record.get("model")}
    judged.served = sorted(names)
    return judged
