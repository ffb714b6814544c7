"""Talking with the C++ runtime on the synthetic bundle, and what its KV cache must hold by then."""

from __future__ import annotations

import numpy as np

from g4v import _core
from g4v._runtime import onnxruntime_directories

from . import synthetic_bundle as toy


def load(folder):
    return _core.Assistant.load(str(folder), library_dirs=onnxruntime_directories(), threads=1)


def names(events):
    return [type(e).__name__.removesuffix("Event") for e in events]


def text_of(events):
    return "".join(e.text for e in events if isinstance(e, _core.TextEvent))


def only(events, kind):
    return [e for e in events if isinstance(e, kind)]


def ask(chat, text, frames=None, **options):
    return list(chat.send(text, frames, **options))


def video(level, count=toy.FRAMES):
    return np.full((count, 5, 7, 3), level, np.uint8)


class History:
    """The rows that the KV cache must hold, as the prompt template says, and the checksum of them."""

    def __init__(self, vocabulary):
        self.vocabulary = vocabulary
        self.ids = [toy.BOS, *vocabulary.encode(toy.SYSTEM)]

    def ask(self, text, level=None):
        if level is not None:
            self.ids += self.vocabulary.encode("\nHuman: ") + [level] * toy.VIDEO_TOKENS
        self.ids += self.vocabulary.encode("\nHuman: " + text)

    def answer(self, ids):
        self.ids += [*ids, toy.EOS]

    def checksum(self):
        total = sum(token * position for position, token in enumerate(self.ids, 1))
        return total % 64


def check_history(chat, history, level=None):
    """Asks for the checksum: it is right only if every row is in its place."""
    text = "tell h"
    history.ask(text, level)
    expected = history.checksum()
    events = ask(chat, text, None if level is None else video(level))
    assert text_of(events) == f"#{expected:02}"
    history.answer([history.vocabulary.history + expected])
    assert chat.context_used == len(history.ids)


def chain(vocabulary, key):
    ids = [vocabulary.next[vocabulary.byte(key)]]
    while vocabulary.next[ids[-1]] != toy.EOS:
        ids.append(vocabulary.next[ids[-1]])
    return ids
