"""The prompt template of a LLaVA-NeXT-Video or Video-LLaVA checkpoint: what its own chat template amounts to,
with a video where that writes the video's token.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from g4v.model.bases.chat_template import Message, Renderer, conversation, cut, derive, refusal
from g4v.model.bases.chat_template_file import end_tokens, processor_template
from g4v.model.bases.errors import CheckpointError
from g4v.model.plain_encoder import plain_encoder
from g4v.model.prompt import VIDEO_ID, PromptTemplate, PromptTurn
from g4v.model.prompt_presets import space_after_special, special_tokens

# Of checkpoints without a chat template: the prompt of the models' cards.
_CARD = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'][0]['text'] + ' ' }}"
    "{% else %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] if part['type'] == 'video' %}{{ '<video>\\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
_QUESTION = "qQuestionq"  # unlike anything that a template writes itself
_TOKENS = 3  # of the video in the prompts that are compared

# What is compared token by token: system text (None: none given), and the turns.
_CHECKS: list[tuple[str | None, list[PromptTurn]]] = [
    (None, [PromptTurn("What moves here?", None, True)]),
    (None, [PromptTurn("12 balls,\n\nnaïve 東京", None, True)]),
    ("Be brief.", [PromptTurn("What moves here?", None, True)]),
    (None, [PromptTurn("Hi there!")]),
    ("Be kind.\nAnswer in verse.", [PromptTurn("Hi there!")]),
    (None, [PromptTurn("Hi", "Hello, you.", True), PromptTurn("2+2?", "It is 4."), PromptTurn("Show!")]),
    ("Be kind.", [PromptTurn("Hi", "Hello, you."), PromptTurn("And here?", None, True)]),
]


def llava_template(folder: Path, tokenizer: Any, video_token: str, video_token_id: int) -> PromptTemplate:
    """The prompt template of the checkpoint in `folder`.

    tokenizer: the checkpoint's, of transformers. video_token: the token that stands for a video, by the
    processor's files; that of the tokenizer's own settings goes before. video_token_id: by config.json.

    CheckpointError: the tokenizer lacks the token or has another id for it, or the chat template says more
    than a `PromptTemplate` can.
    """
    token = getattr(tokenizer, "video_token", None) or video_token
    known = special_tokens(tokenizer)
    if token not in known:
        raise CheckpointError(f"{folder}: the tokenizer has no special token {token!r}")
    if known[token] != video_token_id:
        raise CheckpointError(
            f"{folder}: video_token_index is {video_token_id}, and {token!r} is token {known[token]} of the "
            "tokenizer"
        )
    source = processor_template(folder, tokenizer) or _CARD.replace("<video>", token)
    render = Renderer(tokenizer, source, parts=True)
    render.check_clock()
    end = tokenizer.eos_token if tokenizer.eos_token in known else None
    template = _with_video(derive(render, tokenizer, end), render, token)
    ends = end_tokens(folder) | set(template.stop_ids)
    template = dataclasses.replace(
        template,
        stop_ids=tuple(sorted(ends - {template.turn_end_id})),
        space_after_video=bool(space_after_special(tokenizer, token)),
        **_opening(template, tokenizer),
    )
    _verify(template, render, tokenizer, token)
    return template


def _with_video(template: PromptTemplate, render: Renderer, token: str) -> PromptTemplate:
    """The template with the texts that stand before and behind a video."""
    message = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": _QUESTION}]}
    before, behind, _ = cut(render([message], True), token, _QUESTION)
    opening = template.system_prefix + template.system + template.system_suffix
    if not template.system:
        opening = template.no_system
    bos = render.tokenizer.bos_token if template.bos_id is not None else ""
    if not before.startswith(bos + opening):
        raise refusal(f"it writes {before!r} before a video, and {opening!r} before a question")
    return dataclasses.replace(template, video_prefix=before[len(bos + opening) :], video_suffix=behind)


def _opening(template: PromptTemplate, tokenizer: Any) -> dict[str, Any]:
    """The token that the tokenizer itself puts before a text, where the chat template does not write it, and
    whether the text behind it is one of its own.
    """
    bos = tokenizer.bos_token_id
    adds = bos is not None and tokenizer("a").input_ids[:1] == [bos]
    if not adds or template.bos_id is not None:
        return {}
    return {"bos_id": bos, "space_after_bos": True if template.space_after_special is False else None}


def _verify(template: PromptTemplate, render: Renderer, tokenizer: Any, token: str) -> None:
    """CheckpointError unless the tokens of conversations are those that the processor makes."""
    encode = plain_encoder(tokenizer)
    video = tokenizer.convert_tokens_to_ids(token)
    writes_end = _writes_end(template, render, tokenizer)
    for system, turns in _CHECKS:
        if len(turns) > 1 and not writes_end:
            continue  # the answer's end, which the model was trained with, is not what the template writes
        if system is not None and not render.has_system:
            continue
        text = render(_messages(system, turns), True).replace(token, token * _TOKENS)
        starts = tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token)
        expected = tokenizer(text, add_special_tokens=not starts).input_ids
        given = template if system is None else dataclasses.replace(template, system=system)
        made = [video if n == VIDEO_ID else n for n in given.encode(turns, encode, _TOKENS).ids]
        if made != expected:
            at = next(
                (i for i, (a, b) in enumerate(zip(made, expected, strict=False)) if a != b),
                min(len(made), len(expected)),
            )
            raise refusal(f"it writes {text[:200]!r}, whose tokens differ from {at} on")


def _writes_end(template: PromptTemplate, render: Renderer, tokenizer: Any) -> bool:
    closed = render(conversation(None, [(_QUESTION, "a")]), False)
    return bool(tokenizer.convert_ids_to_tokens(template.turn_end_id) in closed)


def _messages(system: str | None, turns: list[PromptTurn]) -> list[Message]:
    messages: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    for turn in turns:
        content = [{"type": "video"}] if turn.has_video else []
        content.append({"type": "text", "text": turn.user})
        messages.append({"role": "user", "content": content})
        if turn.answer is not None:
            messages.append({"role": "assistant", "content": turn.answer})
    return messages
