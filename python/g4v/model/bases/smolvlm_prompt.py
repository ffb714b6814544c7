"""The prompt template of a SmolVLM2 checkpoint.

Its processor writes the same texts around a video whatever the checkpoint's chat template says; that of
conversations without a video is the checkpoint's, which is rendered by transformers in its sandbox, and must
come to the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from g4v.model.bases.chat_template_file import end_tokens, processor_template
from g4v.model.bases.errors import CheckpointError, one_line
from g4v.model.bases.smolvlm_config import read_smolvlm_config
from g4v.model.prompt import PromptTemplate
from g4v.model.prompt_presets import special_tokens

_START = "<|im_start|>"
# What the processor's tokens are called where the tokenizer does not name them.
_FAKE, _GLOBAL, _IMAGE, _END = (
    ("fake_image_token", "<fake_token_around_image>"),
    ("global_image_token", "<global-img>"),
    ("image_token", "<image>"),
    ("end_of_utterance_token", "<end_of_utterance>"),
)
_INTRODUCTION = (
    "You are provided the following series of {frame_count} frames from a {duration} [H:MM:SS] video.\n"
)
_TALK = [("user", "What moves here?"), ("assistant", "A ball."), ("user", "Where to?")]


def smolvlm_template(folder: Path, tokenizer: Any) -> PromptTemplate:
    """The prompt template of the checkpoint in `folder`, whose tokenizer of transformers is given.

    CheckpointError: the tokenizer lacks one of its tokens or has another id for it, or the checkpoint's own
    chat template writes other texts.
    """
    known = special_tokens(tokenizer)
    names = [getattr(tokenizer, key, None) or default for key, default in (_FAKE, _GLOBAL, _IMAGE, _END)]
    fake, whole, image, end = names
    for token in (_START, *names):
        if token not in known:
            raise CheckpointError(f"{folder}: the tokenizer has no special token {token!r}")
    wanted = read_smolvlm_config(folder).image_token_id
    if known[image] != wanted:
        raise CheckpointError(
            f"{folder}: image_token_id is {wanted}, and {image!r} is token {known[image]} of the tokenizer"
        )
    template = PromptTemplate(
        turn_end_id=known[end],
        bos_id=known[_START],
        system="",
        system_prefix="System: ",
        system_suffix=f"{end}\n",
        video_prefix=f"User: {_INTRODUCTION}",
        video_suffix="\n\n",
        frame_prefix=f"\nFrame from {{timestamp}}:{fake}{whole}",
        frame_suffix=fake,
        user_prefix="User: ",
        assistant_prefix=f"{end}\nAssistant:",
        turn_separator="\n",
        stop=(),
        special_tokens={token: known[token] for token in (fake, whole, end)},
        stop_ids=tuple(sorted(end_tokens(folder) - {known[end]})),
    )
    _check_chat_template(folder, tokenizer, end)
    return template


def _check_chat_template(folder: Path, tokenizer: Any, end: str) -> None:
    source = processor_template(folder, tokenizer)
    if source is None:
        return
    for roles in (("user",), ("user", "assistant", "user"), ("system", "user")):
        talk = [("system", "Be brief."), *_TALK[:1]] if roles[0] == "system" else _TALK[: len(roles)]
        text = [{"role": role, "content": [{"type": "text", "text": words}]} for role, words in talk]
        try:
            found = tokenizer.apply_chat_template(
                text, chat_template=source, tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # whatever the template provokes
            raise CheckpointError(
                f"{folder}: its chat template cannot be rendered: {one_line(error)}"
            ) from None
        turns = "".join(f"{role.capitalize()}: {words}{end}\n" for role, words in talk)
        if found != f"{_START}{turns}Assistant:":
            raise CheckpointError(
                f"{folder}: its chat template is not that of SmolVLM2: it writes {found[:200]!r}"
            )
