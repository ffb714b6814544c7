"""Asks a language model in its own chat template, and keeps what it says in whole sentences."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch

from g4v.data.formats.dialogue_text import PREAMBLE
from g4v.errors import ArgumentError

# What a reply may not hold: roles and tags would be read as such, the model's own name is another's here, and
# what a model says of itself in place of an answer is not worth keeping, nor is condolence for a burnt cake.
_BARRED = re.compile(
    r"^[ \t]*(?:human|assistant|ai)[ \t]*:|<[^>]*>|```|smollm|hugging ?face"
    r"|\b(?:as|i'm|i am) an? (?:friendly, |helpful )*(?:ai|digital|chatbot|language model)\b"
    r"|sorry for (?:(?:any|the) (?:confusion|misunderstanding)|your loss)",
    re.MULTILINE | re.IGNORECASE,
)
_END = re.compile(r"[.!?][\"')]*(?=\s|$)")
_LEAST = 2  # words
_CIRCLE = 5  # words


def whole_sentences(text: str, finished: bool, user: str = "") -> str:
    """The reply without a last sentence that was cut off; "" where nothing usable is left.

    user: what it replies to; a reply that says it again is not usable.
    """
    text = re.sub(r"[ \t]+\n", "\n", re.sub(r"\n{2,}", "\n", text.strip()))
    if not finished:
        ends = [match.end() for match in _END.finditer(text)]
        text = text[: ends[-1]] if ends else ""
        # A cut list ends in the number of its next item.
        text = re.sub(r"\s*\n?\s*\d+\.$", "", text)
    words = _words(text)
    if len(text.split()) < _LEAST or _BARRED.search(text):
        return ""
    sentences = [_words(part) for part in re.split(r"(?<=[.!?])\s+|\n", text)]
    if _words(user) in sentences:
        return ""
    # Small models go round in circles.
    return "" if _repeats(sentences, 1) or _repeats(words, _CIRCLE) else text


def _repeats(parts: Sequence[Any], length: int) -> bool:
    """Whether a run of `length` parts comes twice."""
    runs = [str(parts[i : i + length]) for i in range(len(parts) - length + 1)]
    return len(set(runs)) < len(runs)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def ask(
    model: Any, tokenizer: Any, conversations: Sequence[list[dict[str, str]]], max_new_tokens: int
) -> list[tuple[str, bool]]:
    """The greedy reply to each conversation, and whether it came to its own end.

    conversations: messages {"role", "content"}, each ending with the user's.
    """
    if tokenizer.chat_template is None:
        raise ArgumentError("the language model has no chat template, so that it cannot be asked")
    end = tokenizer.eos_token_id
    rows = [
        tokenizer(
            tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True),
            add_special_tokens=False,
        ).input_ids
        for conversation in conversations
    ]
    longest = max(map(len, rows))
    device = model.device
    ids = torch.tensor([[end] * (longest - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    with torch.inference_mode():
        made = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=end,
            eos_token_id=end,
        )
    replies = []
    for row in made[:, longest:].tolist():
        finished = end in row
        words = row[: row.index(end)] if finished else row
        replies.append((tokenizer.decode(words, skip_special_tokens=True), finished))
    return replies


def own_replies(
    model: Any,
    tokenizer: Any,
    conversations: Sequence[list[str]],
    system: str,
    max_new_tokens: int,
    batch_size: int,
    step: Callable[[int], None],
) -> list[list[tuple[str, str]]]:
    """Exchanges of (user, reply) for each conversation, which ends before a reply that cannot be used.

    step: called with the number of conversations that are done.
    """
    # Like lengths together: a batch runs until its longest reply ends.
    order = sorted(
        range(len(conversations)), key=lambda i: (len(conversations[i]), len(conversations[i][0]), i)
    )
    said: list[list[tuple[str, str]]] = [[] for _ in conversations]
    for start in range(0, len(order), batch_size):
        open_talks = order[start : start + batch_size]
        turn = 0
        while open_talks:
            asked = []
            for i in open_talks:
                messages = [{"role": "system", "content": system}]
                for user, reply in said[i]:
                    messages += [{"role": "user", "content": user}, {"role": "assistant", "content": reply}]
                asked.append([*messages, {"role": "user", "content": conversations[i][turn]}])
            kept = []
            for i, (text, finished) in zip(
                open_talks, ask(model, tokenizer, asked, max_new_tokens), strict=True
            ):
                reply = whole_sentences(text, finished, conversations[i][turn])
                if reply and reply not in (before for _, before in said[i]):
                    said[i].append((conversations[i][turn], reply))
                    if turn + 1 < len(conversations[i]):
                        kept.append(i)
            open_talks, turn = kept, turn + 1
        step(min(start + batch_size, len(order)))
    return said


def as_document(conversations: Sequence[list[tuple[str, str]]]) -> dict[str, Any]:
    """GPT4Video's layout, without videos; conversations without an exchange are left out."""
    opening = f"{PREAMBLE} a human and an AI assistant."
    return {
        "train": [
            {
                "instruction": opening
                + "".join(f"\nHuman: {user}\nAI: {reply}" for user, reply in conversation)
            }
            for conversation in conversations
            if conversation
        ]
    }
