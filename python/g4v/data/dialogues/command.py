"""`python -m g4v.data dialogues`: from captions to a data file."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from g4v._console import ProgressBar, report_error, report_warning
from g4v._files import make_folder, write_json
from g4v.data.dialogues import result
from g4v.data.dialogues.captions import Captions, read_captions
from g4v.data.dialogues.embed import folder_vectors, normalised, word_vectors
from g4v.data.dialogues.groups import similar_groups
from g4v.data.dialogues.options import parser
from g4v.data.dialogues.prompts import REFUSALS, Item, plan
from g4v.data.dialogues.run import ask_all, is_done, prompt_estimate
from g4v.data.endpoint.arguments import address_and_key
from g4v.data.endpoint.budget import Budget, BudgetSpent
from g4v.data.endpoint.client import Endpoint, EndpointError, Limits, RequestFailed, Stopped
from g4v.data.endpoint.completions import RequestSettings
from g4v.data.endpoint.embeddings import endpoint_vectors
from g4v.data.endpoint.journal import Journal, answers_of, cost, read_records, spent
from g4v.data.endpoint.workers import Outcome
from g4v.data.requests.sources import (
    read_harmless_requests,
    read_unsafe_clips,
    read_unsafe_requests,
    sample_harmless_requests,
    sample_unsafe_requests,
)
from g4v.errors import ArgumentError, Error


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    options = parser().parse_args(arguments)
    try:
        options.model = options.model or os.environ.get("G4V_MODEL") or ""
        captions = read_captions(options.captions, options.videos, options.limit, options.bad_rows == "stop")
        if captions.bad:
            first = captions.bad[0]
            report_warning(f"{len(captions.bad)} rows cannot be used; line {first.line}: {first.reason}")
        return _dry_run(options, captions) if options.dry_run else _build(options, captions)
    except ArgumentError as error:
        report_error(str(error))
        return 2
    except Error as error:
        report_error(str(error))
        return 1
    except KeyboardInterrupt:
        return _interrupted()


def _interrupted() -> int:
    report_error("interrupted; what was answered is kept: give the same command again to go on")
    return 130


def _settings(options: argparse.Namespace) -> RequestSettings:
    fields = {"temperature": options.temperature, "max_tokens": options.max_tokens, **options.body}
    return RequestSettings(options.model, fields, options.tries, options.concurrency, options.minutes)


def _items(options: argparse.Namespace, captions: Captions, groups: Sequence[Sequence[int]]) -> list[Item]:
    clips: list[str] = []
    if options.unsafe_clips is not None:
        clips, left_out = read_unsafe_clips(options.unsafe_clips, options.videos)
        if left_out:
            report_warning(f"{left_out} lines of {options.unsafe_clips.name} name no clip that is there")
    rest = 1 - options.safety_share - options.harmless_share
    if rest < 0.05:
        raise ArgumentError("--safety-share and --harmless-share leave nothing for the captions")
    dialogues = (len(captions.captions) * options.per_caption + len(groups) + len(clips)) / rest
    unsafe = _requests(
        round(dialogues * options.safety_share), options.unsafe_requests, options.seed,
        read_unsafe_requests, sample_unsafe_requests,
    )  # fmt: skip
    harmless = _requests(
        round(dialogues * options.harmless_share), options.harmless_requests, options.seed,
        read_harmless_requests, sample_harmless_requests,
    )  # fmt: skip
    return plan(captions.captions, groups, options.per_caption, unsafe, options.seed, clips, harmless)


def _requests(
    count: int,
    path: Path | None,
    seed: int,
    read: Callable[[Path], list[str]],
    sample: Callable[[int, int], list[str]],
) -> list[str]:
    return sample(count, seed) if path is None else read(path)[:count]


def _groups(options: argparse.Namespace, vectors: np.ndarray) -> list[list[int]]:
    low, high = options.similarity
    groups = similar_groups(normalised(vectors), options.group_size, low, high, options.index)
    return groups[: options.groups]


def _local_vectors(options: argparse.Namespace, texts: list[str]) -> np.ndarray:
    if options.embeddings == "words":
        return word_vectors(texts)
    return folder_vectors(Path(options.embeddings), texts)


def _dry_run(options: argparse.Namespace, captions: Captions) -> int:
    texts = [caption.text for caption in captions.captions]
    asked = options.embeddings.startswith("endpoint:") and options.groups != 0
    if options.groups == 0 or asked:
        # The groups are not known before the embeddings are paid for; this is the most there can be.
        most = len(texts) // options.group_size[0] if asked else 0
        count = most if options.groups is None else min(most, options.groups)
        size = options.group_size[0]
        groups = [list(range(i * size, (i + 1) * size)) for i in range(count)]
    else:
        groups = _groups(options, _local_vectors(options, texts))
    items = _items(options, captions, groups)
    settings = _settings(options)
    answers = answers_of(read_records(options.out / "journal.jsonl")[0])
    left = [item for item in items if not is_done(item, settings, answers)]
    print(f"{len(texts)} captions, {len(captions.bad)} bad rows, {captions.repeated} repeated captions")
    kinds = Counter(item.kind for item in items)
    about = "at most " if asked else ""
    print(
        f"{len(items)} requests: {kinds['single']} for single captions, {about}{kinds['multi']} for groups, "
        f"{sum(kinds[kind] for kind in REFUSALS)} for refusals, {kinds['harmless']} for harmless requests"
    )
    if asked:
        print(f"{-(-len(texts) // 64)} requests for embeddings")
    print(f"{len(items) - len(left)} are answered in the journal, {len(left)} are left")
    prompt = sum(prompt_estimate(item) for item in left)
    answer = sum(min(350 * item.count, options.max_tokens) for item in left)
    most = len(left) * options.max_tokens
    print(f"about {prompt} prompt tokens and {answer} answer tokens (never above {most} for one try of each)")
    return 0


def _build(options: argparse.Namespace, captions: Captions) -> int:
    url, key = address_and_key(options.base_url)
    if not options.model:
        raise ArgumentError("no model: give --model or set G4V_MODEL")
    make_folder(options.out)
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(options.out / "journal.jsonl"))
        if journal.damaged:
            report_warning(f"{journal.damaged} damaged lines of the journal are left out")
        outcome, items, groups = asyncio.run(_ask(options, captions, url, key, journal))
        if outcome.interrupted:
            return _interrupted()
        return _write(options, captions, items, groups, outcome, journal)


async def _ask(
    options: argparse.Namespace, captions: Captions, url: str, key: str | None, journal: Journal
) -> tuple[Outcome, list[Item], list[list[int]]]:
    texts = [caption.text for caption in captions.captions]
    limits = Limits(options.timeout, options.retries, options.backoff, options.longest_wait)
    budget = Budget(options.max_requests, options.max_tokens_total)
    budget.requests, budget.tokens = spent(journal.records)
    settings = _settings(options)

    def failed(reason: str) -> None:
        journal.add({"type": "failure", "reason": reason})

    async with Endpoint(url, key, limits, budget, failed) as endpoint:
        groups: list[list[int]] = []
        if options.groups != 0:
            if options.embeddings.startswith("endpoint:"):
                model = options.embeddings.removeprefix("endpoint:")
                try:
                    vectors = await endpoint_vectors(texts, model, endpoint, journal)
                except (BudgetSpent, RequestFailed, Stopped) as error:
                    raise EndpointError(f"no embeddings: {error}") from None
            else:
                vectors = _local_vectors(options, texts)
            groups = _groups(options, vectors)
        items = _items(options, captions, groups)
        answers = answers_of(journal.records)
        left = [item for item in items if not is_done(item, settings, answers)]
        with ProgressBar("dialogues", len(left), lines=True) as progress:
            outcome = await ask_all(left, settings, endpoint, journal, progress.step)
    return outcome, items, groups


def _write(
    options: argparse.Namespace,
    captions: Captions,
    items: list[Item],
    groups: list[list[int]],
    outcome: Outcome,
    journal: Journal,
) -> int:
    found, answers = result.collect(items, _settings(options), journal.records, options.near_duplicate)
    texts = [[captions.captions[i].text for i in group] for group in groups]
    test = result.split(found, texts, options.test_share, options.seed)
    rows = result.data_rows(found)
    data = {
        "train": [row for row, held in zip(rows, test, strict=True) if not held],
        "test": [row for row, held in zip(rows, test, strict=True) if held],
    }
    settings = _settings(options)
    report: dict[str, Any] = {
        "model": settings.model,
        "settings": {name: value for name, value in settings.fields.items() if value is not None},
        "embeddings": options.embeddings
        if options.embeddings.startswith(("words", "endpoint:"))
        else "local folder",
        "stopped": outcome.stopped or None,
        "captions": {
            "used": len(captions.captions),
            "repeated": captions.repeated,
            "bad_rows": [{"line": row.line, "reason": row.reason} for row in captions.bad],
        },
        "planned": dict(Counter(item.kind for item in items)),
        "answers": answers,
        "failed_items": [{"item": name, "reason": reason} for name, reason in outcome.failed],
        "cost": cost(journal.records),
        "rows": {"train": len(data["train"]), "test": len(data["test"])},
        "statistics": result.statistics(found),
    }
    write_json(options.out / "dialogues.json", data, indent=1)
    write_json(options.out / "report.json", report, indent=1)
    if not options.no_plots:
        result.plot(options.out / "statistics.png", found, answers)
    rejected = sum(entry["count"] for entry in answers["rejected"].values())
    duplicates = sum(answers["duplicates"].values())
    print(
        f"{len(found)} dialogues ({len(data['train'])} train, {len(data['test'])} test) in "
        f"{options.out / 'dialogues.json'}; {rejected} rejected, {duplicates} duplicates: see report.json",
        flush=True,
    )
    if outcome.stopped or outcome.failed:
        why = outcome.stopped or f"{len(outcome.failed)} items got no answer, as {outcome.failed[0][1]}"
        report_error(f"incomplete: {why}; give the same command again to go on")
        return 1
    return 0
