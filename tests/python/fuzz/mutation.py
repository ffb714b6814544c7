"""Changes of bytes and of JSON values. The same seed gives the same changes."""

from __future__ import annotations

import copy
import json
import random
import struct
from typing import Any

# Values that are likely to be at the edge of what a reader takes.
EDGES: list[Any] = [
    None, False, True, 0, 1, -1, 2, 7, 255, 2**31 - 1, 2**31, 2**63 - 1, 2**63, -(2**63), 10**400, 0.0, -0.0,
    0.5, 1e-308, 1e308, float("nan"), float("inf"), float("-inf"), "", " ", "\n", "(", "(?i)x", ".*",
    "a" * 300, "\ud800", "\u00e9", "F16", "BF16", "F8_E4M3", "I64", "../x", [], {}, [[]], [None], [0], [1, 2],
    ["("], {"": 0}, {"a": {}},
]  # fmt: skip


class Mutator:
    """random: attribute, the generator of all choices."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def json(self, value: Any) -> Any:
        """A copy of a JSON value with one to four changes somewhere in it."""
        value = copy.deepcopy(value)
        for _ in range(self.random.choice((1, 1, 1, 2, 2, 4))):
            value = self._changed(value)
        return value

    def text(self, value: Any) -> bytes:
        """JSON of a changed value; now and then damaged as bytes, or nested deeper than a parser goes."""
        text = json.dumps(self.json(value)).encode()
        kind = self.random.randrange(40)
        if kind == 0:
            return self.bytes(text)
        return b"[" * 5000 + text if kind == 1 else text

    def bytes(self, data: bytes) -> bytes:
        """A copy of `data` with a few changes of bytes, or a part cut off, doubled or put elsewhere."""
        changed = bytearray(data)
        for _ in range(self.random.choice((1, 1, 2, 3, 8))):
            if not changed:
                break
            at = self.random.randrange(len(changed))
            end = min(len(changed), at + self.random.choice((1, 2, 4, 8, 64)))
            kind = self.random.randrange(8)
            if kind == 0:
                changed[at] ^= 1 << self.random.randrange(8)
            elif kind == 1:
                changed[at] = self.random.randrange(256)
            elif kind == 2:
                del changed[at:end]
            elif kind == 3:
                changed[at:at] = changed[at:end]
            elif kind == 4:
                changed[at:end] = bytes(self.random.choice((0, 255, 127, 128)) for _ in range(end - at))
            elif kind == 5:
                number = self.random.choice((0, 1, 8, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1))
                form = self.random.choice(("<I", ">I", "<Q", ">Q"))
                size = struct.calcsize(form)
                changed[at : at + size] = struct.pack(form, number % 2 ** (8 * size))
            elif kind == 6 and self.random.randrange(4) == 0:
                del changed[at:]
            else:
                other = self.random.randrange(len(changed))
                changed[at:end] = changed[other : other + end - at]
        return bytes(changed)

    def _changed(self, value: Any) -> Any:
        if isinstance(value, dict) and value and self.random.randrange(12):
            key = self.random.choice(list(value))
            kind = self.random.randrange(12)
            if kind == 0:
                del value[key]
            elif kind == 1:
                value[key + self.random.choice(("x", ".", "\ud800"))] = value.pop(key)
            elif kind == 2:
                value[key] = copy.deepcopy(value[self.random.choice(list(value))])
            else:
                value[key] = self._changed(value[key])
            return value
        if isinstance(value, list) and value and self.random.randrange(6):
            at = self.random.randrange(len(value))
            kind = self.random.randrange(8)
            if kind == 0:
                del value[at]
            elif kind == 1:
                value.insert(at, copy.deepcopy(self.random.choice(value)))
            else:
                value[at] = self._changed(value[at])
            return value
        if type(value) is int and self.random.randrange(2):
            return value + self.random.choice((-1, 1, 2, value, -2 * value))
        if isinstance(value, str) and value and self.random.randrange(3) == 0:
            at = self.random.randrange(len(value))
            return value[:at] + self.random.choice(("", "(", "\n", "\x1b", ".")) + value[at + 1 :]
        return copy.deepcopy(self.random.choice(EDGES))
