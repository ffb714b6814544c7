"""The figures of `python -m g4v.eval videoqa`: exact match, contained answers, a judge's verdicts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from g4v.data.formats import Question
from g4v.eval import bootstrap
from g4v.eval.exact_match import is_contained, is_exact
from g4v.eval.figures import Figures
from g4v.eval.judge import Judge, Judged
from g4v.eval.metrics import Rate
from g4v.eval.report import Row, rate_row

if TYPE_CHECKING:
    from g4v import Assistant


@dataclass
class Asked:
    """A question and what the assistant said to it; None where its call failed, which counts as wrong."""

    question: Question
    said: str | None

    @property
    def text(self) -> str:
        """What the assistant said; "" where its call failed."""
        return self.said or ""


def exact_rows(asked: Sequence[Asked], figures: Figures) -> None:
    """Adds exact match and contained answers, and contained answers for each type of question."""
    exact, contained = Rate(), Rate()
    types: dict[str, Rate] = {}
    for one in asked:
        right = is_exact(one.text, one.question.answer)
        exact.add(right)
        contained.add(is_contained(one.text, one.question.answer))
        if one.question.kind is not None:
            types.setdefault(one.question.kind, Rate()).add(is_contained(one.text, one.question.answer))
    figures.rows += [rate_row("exact match", exact), rate_row("answer contained", contained)]
    figures.rows += [rate_row(f"  on {name}", types[name]) for name in sorted(types)]


def judge_rows(judge: Judge, judged: Judged, asked: Sequence[Asked], seed: int, figures: Figures) -> None:
    """Adds accuracy and score by the judge. Replies without words are wrong with score 0, and not sent."""
    verdicts = iter(judged.verdicts)
    right, scores = Rate(), []
    for one in asked:
        verdict = next(verdicts) if one.said else None
        if one.said and verdict is None:
            continue
        right.add(verdict is not None and verdict.right)
        scores.append(0.0 if verdict is None else verdict.score)
    label = f"by {judge.model}"
    figures.rows.append(rate_row(f"judged right, {label}", right))
    low, high = bootstrap.of_mean(scores, seed)
    mean = float(np.mean(scores)) if scores else float("nan")
    figures.rows.append(Row(f"mean score (0 to 5), {label}", mean, None, False, "", low, high, len(scores)))
    sent = len(judged.verdicts)
    figures.rows.append(rate_row(f"unparsable verdicts, {label}", Rate(judged.unparsable, sent)))
    served = ", ".join(judged.served)
    figures.notes.append(
        f"judge {judge.model}{f' (the endpoint says {served})' if served and served != judge.model else ''}, "
        f"prompt {judge.prompt.name} {judge.prompt.sha256[:12]}; "
        f"{judged.unparsable} unparsable and {judged.unanswered} missing verdicts are in no figure"
    )


def details(asked: Sequence[Asked], judged: Judged | None) -> list[dict[str, Any]]:
    """Every question with its answer, what was said and the verdict, for the JSON."""
    verdicts = iter(judged.verdicts if judged is not None else ())
    rows = []
    for one in asked:
        q = one.question
        row: dict[str, Any] = {"id": q.id, "video": q.video, "question": q.question, "answer": q.answer}
        row |= {"said": one.said, "exact": is_exact(one.text, q.answer)}
        if judged is not None:
            verdict = next(verdicts) if one.said else None
            row["verdict"] = None if verdict is None else vars(verdict)
        rows.append(row)
    return rows


def about(
    options: argparse.Namespace, assistant: Assistant, judge: Judge | None, judged: Judged | None
) -> dict[str, Any]:
    """What was measured, how, and what the judge cost, for the JSON."""
    import g4v

    about: dict[str, Any] = {
        "g4v": g4v.__version__,
        "assistant": assistant.info,
        "file": options.questions.name,
        "format": options.format,
        "ask": options.ask,
        "seed": options.seed,
    }
    if judge is not None and judged is not None:
        about["judge"] = {
            "model": judge.model,
            "served": judged.served,
            "prompt": judge.prompt.name,
            "prompt_sha256": judge.prompt.sha256,
            "settings": {name: value for name, value in judge.settings.items() if value is not None},
            "unparsable": judged.unparsable,
            "unanswered": judged.unanswered,
            "stopped": judged.stopped or None,
            "cost": judged.cost,
        }
    return about
