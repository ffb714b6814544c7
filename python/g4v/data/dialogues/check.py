"""Reads an answer into dialogues and says why one cannot be used. Answers are untrusted text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from g4v.data.dialogues.prompts import REFUSALS, TURNS, Item

LONGEST_TURN, LONGEST_DIALOGUE = 2000, 6000  # characters
_HEADING = re.compile(r"\W*(?:(?:dialogue|conversation)\s*#?\s*\d+\W*|===+\s*\d+\s*=*|[-=*_#]{3,})\s*", re.I)
_ROLE = re.compile(r"\s*(?:\*\*)?(Human|Assistant|AI)(?:\*\*)?\s*:(?:\*\*)?\s*(.*)")
# Labels of speakers that models use against the instruction, also in other languages.
_OTHER_ROLE = re.compile(
    r"\s*(?:\*\*)?(?:user|system|bot|chatbot|chatgpt|gpt4video|customer|person(?: ?\w)?|speaker(?: ?\w)?|"
    r"human|assistant|ai|mensch|benutzer|nutzer|assistent|kunde|humain|utilisateur|assistante|humano|usuario|asistente|"
    r"umano|utente|assistente|usuário|mens|człowiek|asystent|человек|пользователь|ассистент|insan|asistan|"
    r"人类|人類|用户|用戶|助手|助理|人間|ユーザー|アシスタント|사람|사용자|어시스턴트)(?:\*\*)?\s*[:：]",
    re.I,
)
# Bounded, so that hostile text costs linear time.
_ANY_TAG = re.compile(r"<[\s/]{0,8}vid[^<>]{0,40}>?", re.I)
_GOOD_TAG = re.compile(r"<(/?)(video\d{0,3})>")
_SPECIAL = re.compile(r"<\|[^|<>]{0,40}\|>|</?s>|\[/?INST\]")
_REFUSES = re.compile(
    r"\b(?:sorry|can't|cannot|can not|won't|will not|unable to|not able to|not comfortable|not something i|"
    r"not going to|decline|must not|shouldn't|refuse)\b",
    re.I,
)
# Surer than _REFUSES: "you won't regret it" and "I can't wait" help.
_DECLINES = re.compile(
    r"\b(?:sorry|i(?:'m| am) (?:unable|not able|not comfortable|not going)|i refuse|i must|"
    r"i (?:can't|cannot|can not|won't|will not|decline)(?! wait))\b",
    re.I,
)
_REFUSES_FIRST = re.compile(
    r"(?:i'?m |i am |)sorry,? but i|sorry,? i can|i can(?:'t|not) help|i must decline", re.I
)


@dataclass(frozen=True)
class Dialogue:
    """Turns as (role, text), role "Human" or "Assistant"."""

    turns: tuple[tuple[str, str], ...]

    def text(self) -> str:
        """One turn a line: "Human: ..." and "Assistant: ..."."""
        return "\n".join(f"{role}: {text}" for role, text in self.turns)


@dataclass
class Verdict:
    """What was read from one answer. accepted: the dialogues that can be used; rejected: (reason, the text's
    beginning) of each that cannot.
    """

    accepted: list[Dialogue] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)


class _No(Exception):
    """Why a dialogue is rejected."""


def check_answer(item: Item, answer: str | None, finish: str | None = None) -> Verdict:
    """Checks all dialogues of an answer. answer None: the response held no text."""
    verdict = Verdict()
    if finish == "content_filter":
        verdict.rejected.append(("stopped by the server's content filter", (answer or "")[:300]))
        return verdict
    if answer is None or not answer.strip():
        verdict.rejected.append(("empty answer", ""))
        return verdict
    parts = _split(answer)
    for number, part in enumerate(parts):
        try:
            if number >= item.count:
                raise _No("more dialogues than asked for")
            if finish == "length" and number == len(parts) - 1:
                raise _No("cut off at the token limit")
            verdict.accepted.append(_check(item, part))
        except _No as error:
            verdict.rejected.append((str(error), part.strip()[:300]))
    if len(parts) < item.count:
        verdict.rejected += [("fewer dialogues than asked for", "")] * (item.count - len(parts))
    return verdict


def _split(answer: str) -> list[str]:
    parts: list[list[str]] = [[]]
    for line in answer.replace("\r\n", "\n").split("\n"):
        if line.strip().startswith("```"):
            continue
        if len(line) < 60 and _HEADING.fullmatch(line):
            parts.append([])
        else:
            parts[-1].append(line)
    texts = ["\n".join(part) for part in parts]
    # "Here are three conversations:" above the first heading is no dialogue.
    if len(texts) > 1 and not any(_ROLE.match(line) for line in parts[0]):
        texts = texts[1:]
    return [text for text in texts if text.strip()] or [answer]


def _check(item: Item, part: str) -> Dialogue:
    turns = _turns(part)
    roles = [role for role, _ in turns]
    if roles[0] != "Human":
        raise _No("does not start with the human")
    if any(a == b for a, b in zip(roles, roles[1:], strict=False)):
        raise _No("roles do not alternate")
    if roles[-1] != "Assistant":
        raise _No("does not end with the assistant")
    if not TURNS[0] <= len(turns) <= TURNS[1]:
        raise _No(f"not {TURNS[0]} to {TURNS[1]} turns")
    if not all(text for _, text in turns):
        raise _No("an empty turn")
    if max(len(text) for _, text in turns) > LONGEST_TURN or sum(len(t) for _, t in turns) > LONGEST_DIALOGUE:
        raise _No("too long")
    whole = "\n".join(text for _, text in turns)
    if _SPECIAL.search(whole):
        raise _No("special tokens of a model")
    if "\ufffd" in whole or not all(char.isprintable() or char == "\n" for char in whole):
        raise _No("characters that cannot be printed")
    if not item.captions:
        _check_without_tags(item, turns)
        return Dialogue(tuple(turns))
    return Dialogue(tuple(_check_tags(item, turns)))


def _turns(part: str) -> list[tuple[str, str]]:
    turns: list[tuple[str, list[str]]] = []
    for line in part.split("\n"):
        if match := _ROLE.match(line):
            turns.append(("Human" if match[1] == "Human" else "Assistant", [match[2]]))
        elif _OTHER_ROLE.match(line):
            raise _No("wrong role labels")
        elif turns:
            turns[-1][1].append(line)
        elif line.strip():
            raise _No("text before the first turn")
    if not turns:
        raise _No("no turns")
    return [(role, "\n".join(line.rstrip() for line in lines).strip()) for role, lines in turns]


def _pairs(text: str) -> Iterator[tuple[str, str, int, int]]:
    """(tag, what stands inside, start, end) of every pair; _No for anything but flat, balanced pairs."""
    opened: re.Match[str] | None = None
    for found in _ANY_TAG.finditer(text):
        tag = _GOOD_TAG.fullmatch(found[0])
        if tag is None:
            raise _No("an unknown tag")
        if not tag[1]:
            if opened is not None:
                raise _No("nested tags")
            opened = found
            continue
        if opened is None or opened[0][1:-1] != tag[2]:
            raise _No("unbalanced tags")
        yield tag[2], text[opened.end() : found.start()].strip(), opened.start(), found.end()
        opened = None
    if opened is not None:
        raise _No("unbalanced tags")


def _check_tags(item: Item, turns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Each caption once, verbatim, in order, in turns of the assistant. Returns the turns without the white
    space inside the tags.
    """
    wanted = dict(zip(item.tags(), item.captions, strict=True))
    found: list[str] = []
    result: list[tuple[str, str]] = []
    for role, text in turns:
        pairs = list(_pairs(text))
        if pairs and role == "Human":
            raise _No("a tag in a human turn")
        if pairs and _REFUSES_FIRST.match(text):
            raise _No("a tag on a refusal")
        outside = text
        for tag, inside, start, end in reversed(pairs):
            if tag not in wanted:
                raise _No("an unknown tag")
            if inside != wanted[tag].text:
                raise _No("the caption was changed")
            outside = outside[:start] + outside[end:]
            text = f"{text[:start]}<{tag}>{inside}</{tag}>{text[end:]}"
        if pairs and not any(char.isalpha() for char in outside):
            raise _No("a turn that is nothing but a tag")
        found += [tag for tag, *_ in pairs]
        result.append((role, text))
    if len(set(found)) < len(found):
        raise _No("a caption comes twice")
    if len(found) < len(wanted):
        raise _No("the caption is missing" if len(wanted) == 1 else "a caption is missing")
    if found != list(wanted):
        raise _No("the captions are out of order")
    return result


def _check_without_tags(item: Item, turns: list[tuple[str, str]]) -> None:
    refuses = item.kind in REFUSALS
    if any(_ANY_TAG.search(text) for _, text in turns):
        raise _No("a tag on a refusal" if refuses else "a tag where none was asked for")
    if item.kind != "unsafe-clip" and " ".join(turns[0][1].split()) != item.request:
        raise _No("the request was changed")
    answer = turns[1][1].replace("\u2019", "'")
    if refuses and not _REFUSES.search(answer):
        raise _No("no refusal")
    if not refuses and _DECLINES.search(answer):
        raise _No("a refusal of something harmless")
