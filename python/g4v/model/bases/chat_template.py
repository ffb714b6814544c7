"""Turns the chat template of a Hugging Face tokenizer (Jinja) into a `PromptTemplate`, where that can say it.

Nothing of the Jinja text is interpreted here. transformers renders conversations whose texts are known, in
its sandbox; what stands between the texts becomes the template, and the template must then give the very
tokens of further conversations.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from g4v.errors import ArgumentError
from g4v.model.bases.errors import CheckpointError, one_line
from g4v.model.plain_encoder import plain_encoder
from g4v.model.prompt import PromptTemplate, PromptTurn
from g4v.model.prompt_presets import space_after_special, special_tokens

Message = dict[str, Any]

# Unlike anything that a template writes itself, and the same after trimming and whatever else is harmless.
_SYSTEM, _FIRST, _ANSWER, _SECOND = "qSystemTextq", "qFirstQuestionq", "qItsAnswerq", "qSecondQuestionq"

_BEHIND_SYSTEM = "\n\n"  # before the first question, in templates that know no system role

# What is compared token by token: system text (None: none given) and turns, the last one unanswered or not.
_CHECKS: list[tuple[str | None, list[tuple[str, str | None]]]] = [
    (None, [("What moves here?", None)]),
    ("You are terse.", [("What moves here?", None)]),
    (None, [("Hi there!", "Hello."), ("a 12 345,\n\nnaïve 東京", None)]),
    ("Be kind.\nAnswer in verse.", [("Hi", "Hello, you."), ("2+2?", "It is 4."), ("Show me!", None)]),
    ("Be kind.", [("Hi", "Hello."), ("And now?", "Nothing moves.")]),
]


def read_chat_template(tokenizer: Any) -> PromptTemplate:
    """The prompt template that a tokenizer's own chat template amounts to.

    tokenizer: a fast tokenizer of transformers with a chat template (tokenizer_config.json or
    chat_template.jinja). Its system text is the one that the template writes where none is given, else empty.

    CheckpointError: there is no template, it cannot be rendered, or it says more than a `PromptTemplate` can;
    the message has the reason.
    """
    source = getattr(tokenizer, "chat_template", None)
    if isinstance(source, dict):
        source = source.get("default")
    if not isinstance(source, str) or not source:
        raise CheckpointError("the tokenizer has no chat template; name a prompt template instead")
    render = Renderer(tokenizer, source)
    render.check_clock()
    template = derive(render, tokenizer)
    _verify(template, render, tokenizer)
    return template


class Renderer:
    """Renders conversations with a chat template.

    tokenizer: of transformers. source: the template. parts: whether a message is a list of parts, as the
    processors of models that see have it, and not a text.
    """

    def __init__(self, tokenizer: Any, source: str, parts: bool = False) -> None:
        self.tokenizer = tokenizer
        self.source = source
        self.parts = parts
        self.has_system = True
        try:
            self(conversation(_SYSTEM, [(_FIRST, None)]), True)
        except CheckpointError:
            # Gemma's and Mistral's have no such role: the text stands before the first question.
            self(conversation(None, [(_FIRST, None)]), True)
            self.has_system = False

    def conversation(self, system: str | None, turns: list[tuple[str, str | None]]) -> list[Message]:
        """Messages with the system text where this template has it."""
        if self.has_system or system is None:
            return conversation(system, turns)
        (question, answer), *others = turns
        return conversation(None, [(system + _BEHIND_SYSTEM + question, answer), *others])

    def __call__(self, messages: list[Message], open_answer: bool, before: str = "") -> str:
        if self.parts:
            messages = [message | {"content": _parts(message["content"])} for message in messages]
        try:
            text = self.tokenizer.apply_chat_template(
                messages,
                chat_template=before + self.source,
                tokenize=False,
                add_generation_prompt=open_answer,
            )
        except Exception as error:  # whatever the template provokes
            roles = ", ".join(message["role"] for message in messages)
            raise refusal(f"it cannot be rendered for {roles}: {one_line(error)}") from None
        return str(text)

    def check_clock(self) -> None:
        """CheckpointError: the template writes the time of the day on which it is rendered."""
        another = "{% macro strftime_now(form) %}qAnotherTimeq{% endmacro %}"
        for system in (_SYSTEM, None):
            messages = self.conversation(system, [(_FIRST, None)])
            if self(messages, True) != self(messages, True, another):
                raise refusal("it writes the date of the day on which a conversation takes place")


def conversation(system: str | None, turns: list[tuple[str, str | None]]) -> list[Message]:
    """Messages as apply_chat_template takes them."""
    messages = [] if system is None else [{"role": "system", "content": system}]
    for question, answer in turns:
        messages.append({"role": "user", "content": question})
        if answer is not None:
            messages.append({"role": "assistant", "content": answer})
    return messages


def _parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def refusal(reason: str) -> CheckpointError:
    """The error of a chat template that cannot be used."""
    return CheckpointError(f"the tokenizer's chat template cannot be used: {reason}; name a template instead")


def cut(text: str, *marks: str) -> list[str]:
    """What stands before, between and behind the marks, which must each stand in the text once, in order."""
    parts = []
    for mark in marks:
        if text.count(mark) != 1:
            raise refusal(f"it writes a text {text.count(mark)} times, or changes it")
        before, _, text = text.partition(mark)
        parts.append(before)
    return [*parts, text]


def derive(render: Renderer, tokenizer: Any, end: str | None = None) -> PromptTemplate:
    """The prompt template that a chat template amounts to, as far as what it writes tells it.

    end: the token that ends an answer where the template writes white space alone; None: that is refused.
    CheckpointError: it says more than a `PromptTemplate` can.
    """
    known = special_tokens(tokenizer)
    opened = render(render.conversation(_SYSTEM, [(_FIRST, _ANSWER), (_SECOND, None)]), True)
    head, before_first, before_answer, before_second, tail = cut(opened, _SYSTEM, _FIRST, _ANSWER, _SECOND)
    (bare, _) = cut(render(conversation(None, [(_FIRST, None)]), True), _FIRST)
    none = bare
    if render.has_system:
        (none, _) = cut(render(conversation("", [(_FIRST, None)]), True), _FIRST)
    if not before_answer.startswith(tail):
        raise refusal(f"an answer begins after {before_answer!r} in the past, but after {tail!r} at the end")
    closed = cut(render(conversation(None, [(_FIRST, _ANSWER)]), False), _ANSWER)[1]
    if end is not None and not closed.strip():
        answer_suffix, turn_end, separator = "", end, before_second.lstrip()
        closed = end
    else:
        answer_suffix, turn_end, separator = _first_special(before_second, known)
    if not closed.startswith(answer_suffix + turn_end):
        raise refusal(f"no special token ends an answer: {before_second!r} follows it")
    # A token that opens every turn (SmolLM2's <|im_start|>, Llama 2's <s>) is part of the texts.
    bos = tokenizer.bos_token
    if (
        bos is None
        or bos in separator
        or not head.startswith(bos)
        or not bare.startswith(bos)
        or not none.startswith(bos)
    ):
        bos = ""
    head, bare, none = (text.removeprefix(bos) for text in (head, bare, none))
    # The system text that is written where none is given.
    system = ""
    if len(bare) > len(head) + len(before_first) and bare.startswith(head) and bare.endswith(before_first):
        system = bare[len(head) : len(bare) - len(before_first)]
    no_system = none if system else bare
    user_prefix = _common_end([before_first, no_system, separator], known)
    own = [head, before_first, no_system, tail, before_answer, answer_suffix, separator]
    typable = [token for token in _typable_tokens(tokenizer) if any(token in one for one in own)]
    if typable:
        raise refusal(f"its {typable[0]!r} is no special token of the tokenizer: users could type it")
    eos = tokenizer.eos_token_id
    return PromptTemplate(
        turn_end_id=known[turn_end],
        bos_id=tokenizer.bos_token_id if bos else None,
        system=system,
        system_prefix=head,
        system_suffix=before_first.removesuffix(user_prefix),
        no_system=no_system.removesuffix(user_prefix),
        video_prefix=user_prefix,
        video_suffix="\n",
        user_prefix=user_prefix,
        assistant_prefix=tail,
        answer_prefix=before_answer.removeprefix(tail),
        answer_suffix=answer_suffix,
        turn_separator=separator.removesuffix(user_prefix),
        stop=(),
        special_tokens={text: number for text, number in known.items() if any(text in one for one in own)},
        space_after_special=space_after_special(tokenizer, turn_end),
        stop_ids=() if eos in (None, known[turn_end]) else (eos,),
    )


def _typable_tokens(tokenizer: Any) -> list[str]:
    """Added tokens that are found in any text."""
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder().values()
    return [token.content for token in added if not token.special and token.content.strip()]


def _first_special(text: str, known: dict[str, int]) -> tuple[str, str, str]:
    """(what precedes it, the first special token, what follows it)."""
    found = [(text.find(token), -len(token), token) for token in known if token in text]
    if not found:
        raise refusal(f"no special token ends an answer: {text!r} follows it")
    start, _, token = min(found)
    return text[:start], token, text[start + len(token) :]


def _common_end(texts: list[str], known: dict[str, int]) -> str:
    """The longest common end of the texts that does not begin inside a special token."""
    size = 0
    while all(size < len(text) and text[-size - 1] == texts[0][-size - 1] for text in texts):
        size += 1
    while size and any(
        0 < start + len(token) - (len(texts[0]) - size) < len(token)
        for token in known
        for start in [texts[0].find(token, max(0, len(texts[0]) - size - len(token) + 1))]
        if start >= 0 and start < len(texts[0]) - size
    ):
        size -= 1
    return texts[0][len(texts[0]) - size :]


def _verify(template: PromptTemplate, render: Renderer, tokenizer: Any) -> None:
    encode = plain_encoder(tokenizer)
    for system, turns in _CHECKS:
        opened = turns[-1][1] is None
        text = render(render.conversation(system, turns), opened)
        expected = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        given = template if system is None else dataclasses.replace(template, system=system)
        try:
            made = given.encode([PromptTurn(*turn) for turn in turns], encode, 0).ids
        except ArgumentError as error:
            raise refusal(str(error)) from None
        if expected[: len(made)] != made or (opened and len(expected) != len(made)):
            at = next(
                (i for i, (a, b) in enumerate(zip(made, expected, strict=False)) if a != b), len(made) - 1
            )
            shown = tokenizer.backend_tokenizer.decode(expected[at : at + 8], skip_special_tokens=False)
            raise refusal(f"it writes {text[:200]!r}, which differs from token {at} on, {shown!r}")
