"""The grammar of forms: templates over shared rules, in families that are trained on or held out as a whole.

A form is one surface text of a question or a request. Its intent is what is asked, for example "colour". A
family is a set of templates of one intent that are built alike, for example all that offer choices at the
end. A family is held out as a whole, so that what is measured on it cannot have been learned by heart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from g4v.data.wordings import Template
from g4v.shapes.dialogues.forms.lexicon import RULES, SLOT_PATTERNS

_RULE = re.compile(r"<(\w+)>")
_DEEP = 8  # rules within rules; more of them is a rule that calls itself


@dataclass(frozen=True)
class Form:
    """A text in lower case, the name of its family, and the slots that it has."""

    text: str
    family: str
    slots: frozenset[str]


class Family:
    """Templates of one intent that are built alike.

    intent: what is asked. name: unique within the intent. lines: one template a line: "(a|b|)" chooses,
    "{x}" is filled in, "<see>" stands for a rule of the lexicon. held_out: kept for the test split.
    ValueError: an unknown rule, or brackets that do not match.
    """

    def __init__(self, intent: str, name: str, lines: str, held_out: bool = False) -> None:
        self.intent, self.name, self.held_out = intent, f"{intent}/{name}", held_out
        cores = [" ".join(line.split()) for line in lines.strip().splitlines() if line.strip()]
        self.templates = tuple(Template(expand_rules(core)) for core in cores)

    @property
    def size(self) -> int:
        """The number of forms, slots counted once; some texts may come out of two templates."""
        return sum(template.size for template in self.templates)

    def matches(self, text: str) -> bool:
        """Whether the text is one of the family's forms: letters alone count, not spaces and marks."""
        return any(pattern.fullmatch(squeeze(text)) for pattern in self._patterns())

    def _patterns(self) -> list[re.Pattern[str]]:
        if not hasattr(self, "_compiled"):
            self._compiled = [
                re.compile(t.pattern(squeeze, lambda slot: SLOT_PATTERNS[slot])) for t in self.templates
            ]
        return self._compiled


class Families:
    """All families, by intent."""

    def __init__(self, families: Sequence[Family]) -> None:
        self.by_name = {family.name: family for family in families}
        if len(self.by_name) != len(families):
            raise ValueError("two families have one name")
        self._by_intent: dict[tuple[str, str], list[tuple[Family, Template]]] = {}
        self._fitting: dict[tuple[str, str, frozenset[str], str], list[tuple[Family, Template]]] = {}
        for family in families:
            split = "test" if family.held_out else "train"
            pairs = self._by_intent.setdefault((family.intent, split), [])
            pairs += [(family, template) for template in family.templates]

    @property
    def intents(self) -> frozenset[str]:
        """What can be asked."""
        return frozenset(family.intent for family in self.by_name.values())

    def of(self, intent: str, split: str) -> list[Family]:
        """The families of an intent that a split draws from."""
        return list(dict.fromkeys(family for family, _ in self._by_intent.get((intent, split), ())))

    def sample(
        self, rand: Callable[[], float], intent: str, split: str, slots: Mapping[str, str], needs: str = ""
    ) -> Form:
        """A form of an intent; all its templates that can be filled in are equally likely.

        rand: gives floats in [0, 1). slots: what may be filled in; templates that want others are not
        drawn. needs: a slot that the template must have; "" for any. KeyError: the split has no such form.
        """
        key = intent, split, frozenset(slots), needs
        if key not in self._fitting:
            self._fitting[key] = [
                (family, template)
                for family, template in self._by_intent[intent, split]
                if template.slots <= set(slots) and (not needs or needs in template.slots)
            ]
        pairs = self._fitting[key]
        if not pairs:
            raise KeyError(f"no form of {intent} for {split} with the slots {sorted(slots)}")
        family, template = pairs[int(rand() * len(pairs))]
        return Form(template.sample(rand, slots), family.name, template.slots)


def expand_rules(text: str) -> str:
    """The template with its rules written out."""
    for _ in range(_DEEP):
        expanded = _RULE.sub(_rule, text)
        if expanded == text:
            return text
        text = expanded
    raise ValueError(f"a rule calls itself: {text[:80]!r}")


def _rule(match: re.Match[str]) -> str:
    if match[1] not in RULES:
        raise ValueError(f"no rule <{match[1]}>")
    return f"({RULES[match[1]]})"


_NO_LETTER = re.compile(r"[^a-z0-9]")


def squeeze(text: str) -> str:
    """The letters and digits of a text in lower case, without anything between them."""
    return _NO_LETTER.sub("", text.lower())
