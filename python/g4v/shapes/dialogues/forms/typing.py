"""How people type in a hurry: greetings around a text, letters exchanged, marks and capitals left out.

Everything is drawn from the given source alone, so that a seed gives the same text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from g4v.shapes.world.world import BACKGROUNDS, COLOURS, MOTION_PHRASES, SHAPES

Rand = Callable[[], float]

_BEFORE = tuple(
    "hey|hi|hello|yo|ok|okay|so|well|um|uh|hmm|please|pls|plz|alright|sorry|excuse me|listen|now|and|dude"
    "|mate|buddy|hey there|hi there|hello there|good morning|hi g4v|hey g4v|g4v|quick question|one question"
    "|a question|oh|ah|just a question|one more thing|tell me|say|first|next|then|thanks|great|cool|nice"
    "|good|fine|right then|ok so|okay so|so tell me|i have a question|can i ask|question".split("|")
)
_AFTER = tuple(
    "please|pls|plz|thanks|thank you|thx|ty|cheers|mate|buddy|lol|haha|if you can|if you don't mind|ok|okay"
    "|thanks a lot|thank you very much|thanks in advance|my friend|exactly|again|now|then|do you know"
    "|i forgot|i am curious|in one word|in short|in a few words|just say it|quickly|asap|tell me".split("|")
)
# What a misspelling must not become.
_KNOWN = {
    word for phrase in (*COLOURS, *SHAPES, *BACKGROUNDS, *MOTION_PHRASES.values()) for word in phrase.split()
}
_WORD = re.compile(r"[a-z]+")
_SHORTEST = 4  # letters of a word that may be misspelt
_KEYS = {
    key: row[max(place - 1, 0) : place] + row[place + 1 : place + 2]
    for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    for place, key in enumerate(row)
}


def _pick(rand: Rand, items: Sequence[str]) -> str:
    return items[int(rand() * len(items))]


def with_greetings(text: str, rand: Rand, share: float = 0.4) -> str:
    """The text with words before or after it that change nothing; a final "?" stays at the end or is left.

    share: how often there are words before; words after are half as frequent.
    """
    mark = "?" if text.endswith("?") else ""
    core = text.removesuffix("?")
    if rand() < share:
        core = f"{_pick(rand, _BEFORE)}{_pick(rand, (', ', ' ', ', ', ': '))}{core}"
    if rand() < share / 2:
        after = _pick(rand, _AFTER)
        core += mark + " " + after if mark and rand() < 0.3 else _pick(rand, (", ", " ")) + after + mark
        return core
    return core + mark


def misspell(text: str, rand: Rand, share: float = 0.1) -> str:
    """The text with about `share` of its longer words misspelt: two letters exchanged, one dropped, doubled
    or its neighbour on the keyboard. No word becomes a value of the world.
    """

    def edit(match: re.Match[str]) -> str:
        word = match[0]
        if len(word) < _SHORTEST or rand() >= share:
            return word
        edited = _edit(word, rand)
        return word if edited in _KNOWN else edited

    return _WORD.sub(edit, text)


def _edit(word: str, rand: Rand) -> str:
    # The first letter is seldom mistyped, and the word without it is hard to read.
    place = 1 + int(rand() * (len(word) - 1))
    way = rand()
    if way < 0.35:
        place = min(place, len(word) - 2)
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if way < 0.7:
        return word[:place] + word[place + 1 :]
    if way < 0.85:
        return word[:place] + word[place] + word[place:]
    return word[:place] + _pick(rand, _KEYS[word[place]]) + word[place + 1 :]


def typed(text: str, rand: Rand) -> str:
    """A lower-case text as people type it: with capital and mark, without one or both, or all in capitals."""
    way = rand()
    if way < 0.04:
        return text.upper()
    if way < 0.5:
        text = re.sub(r"\bi\b", "I", text)
        text = text[0].upper() + text[1:]
    end = rand()
    if text.endswith("?"):
        if end < 0.45:
            return text.removesuffix("?")
        return text + ("?" * int(1 + 2 * rand()) if end < 0.5 else " :)" if end < 0.52 else "")
    return text + (_pick(rand, (".", ".", "!", "?", "...")) if end < 0.5 else "")
