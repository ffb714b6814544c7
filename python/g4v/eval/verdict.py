"""The judge protocol of Video-ChatGPT (Maaz et al., arXiv 2306.05424): one verdict for each answer.

The judge sees question, right answer and reply, and answers with a dictionary: "pred" yes or no, and "score",
0 to 5. Accuracy is the share of yes among the verdicts, the score their mean. The words of the prompt below
are g4v's own; who needs another's gives the file.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from g4v.errors import ArgumentError

PROMPT = """\
You grade answers to questions about videos. You are given a question, the right answer and the answer of a
candidate. Decide whether the candidate's answer means the same as the right one. Other words for the same
thing, and correct details on top, are fine; a different fact, or no fact at all, is not.
---
Question: {question}
Right answer: {answer}
Candidate's answer: {prediction}

Is the candidate right, yes or no? And how well does the answer fit, as a whole number from 0 (not at all) to
5 (completely)? Write nothing but a dictionary of this form: {'pred': 'yes', 'score': 4}"""
_FIELD = re.compile(r"\{(question|answer|prediction)\}")
_OBJECT = re.compile(r"\{[^{}]{1,500}\}")
_MAX_PROMPT = 100_000


@dataclass(frozen=True)
class Verdict:
    """What the judge said. score: 0 to 5."""

    right: bool
    score: float


@dataclass(frozen=True)
class JudgePrompt:
    """system, user: texts with {question}, {answer} and {prediction}. name: "g4v" or the file's; sha256 of
    the whole text tells two prompts apart.
    """

    system: str
    user: str
    name: str
    sha256: str

    def messages(self, question: str, answer: str, prediction: str) -> list[dict[str, str]]:
        """The chat messages of one verdict."""
        values = {"question": question, "answer": answer, "prediction": prediction}
        texts = [("system", self.system), ("user", self.user)]
        # In one pass: a reply that contains "{answer}" is not filled in.
        return [
            {"role": role, "content": _FIELD.sub(lambda field: values[field[1]], text)}
            for role, text in texts
            if text
        ]


def read_prompt(path: Path | None) -> JudgePrompt:
    """The prompt of a file, its system part above a line of three dashes; None gives g4v's own.

    Raises `ArgumentError` where the file cannot be read or lacks a field.
    """
    text, name = PROMPT, "g4v"
    if path is not None:
        try:
            text, name = path.read_text(encoding="utf-8-sig")[:_MAX_PROMPT], path.name
        except (OSError, UnicodeDecodeError) as error:
            raise ArgumentError(
                f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
            ) from None
    missing = [f"{{{word}}}" for word in ("question", "answer", "prediction") if f"{{{word}}}" not in text]
    if missing:
        raise ArgumentError(f"{path}: the judge's prompt has no {', '.join(missing)}")
    parts = re.split(r"^---\s*$", text, maxsplit=1, flags=re.M)
    system, user = ("", parts[0]) if len(parts) == 1 else parts
    return JudgePrompt(system.strip(), user.strip(), name, hashlib.sha256(text.encode()).hexdigest())


def read_verdict(text: str | None) -> Verdict | None:
    """The first dictionary with both fields, as JSON or as Python writes it; None where there is none."""
    for found in _OBJECT.findall((text or "")[:20_000]):
        verdict = _verdict(_value(found))
        if verdict is not None:
            return verdict
    return None


def _value(text: str) -> object:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    return None


def _verdict(value: object) -> Verdict | None:
    if not isinstance(value, dict):
        return None
    said, score = value.get("pred"), value.get("score")
    word = said.strip().lower() if isinstance(said, str) else ""
    if isinstance(score, str):
        try:
            score = float(score)
        except ValueError:
            return None
    if word not in ("yes", "no") or isinstance(score, bool) or not isinstance(score, (int, float)):
        return None
    return Verdict(word == "yes", float(score)) if 0 <= score <= 5 else None
