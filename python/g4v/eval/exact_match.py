"""Exact match of short answers, after the usual normalisation of the field.

Lower case, without punctuation and the articles a, an, the; the words zero to ten as digits (the
normalisation of VQA, Antol et al. 2015, section 4, without its list of contractions).
"""

from __future__ import annotations

import re

_DIGITS = {
    word: str(value)
    for value, word in enumerate("zero one two three four five six seven eight nine ten".split())
}
_ARTICLES = {"a", "an", "the"}
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


def answer_words(text: str) -> list[str]:
    """The words of a text that are compared: lower case, digits for small numbers, no articles."""
    words = _WORD.findall(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    return [_DIGITS.get(word, word) for word in words if word not in _ARTICLES]


def is_exact(said: str, answer: str) -> bool:
    """Whether the whole reply is the answer. An answer without words matches nothing."""
    wanted = answer_words(answer)
    return bool(wanted) and answer_words(said) == wanted


def is_contained(said: str, answer: str) -> bool:
    """Whether the answer stands in the reply word by word. A lenient figure: "not red" contains "red"."""
    words, wanted = answer_words(said), answer_words(answer)
    if not wanted:
        return False
    return any(words[i : i + len(wanted)] == wanted for i in range(len(words) - len(wanted) + 1))
