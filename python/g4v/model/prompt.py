"""The prompt template: one definition for training, export and reference tests.

csrc/chat/prompt.cc is the same thing in the runtime; it reads the template from the bundle
(`PromptTemplate.to_manifest`).

    tokens = [bos] + enc(system)
             then per turn: enc(video_prefix) + video tokens (where a clip is attached)
                            + enc(user_prefix + text + assistant_prefix) + enc(" " + answer) + [turn_end]

Segments are tokenised one by one and never joined, so that a conversation can be continued without
re-encoding it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from g4v.errors import ArgumentError

VIDEO_ID = -1  # stands for one row of the abstractor's output in a token sequence
IGNORED = -100  # label of a position that does not count in the loss

# encode(text, first_segment) -> ids; special tokens are never recognised inside the text.
Encode = Callable[[str, bool], list[int]]

_SYSTEM = (
    "The following is a conversation between a curious human and AI assistant {name}. {name} generates video "
    "prompts at the most appropriate time and gives helpful, detailed, and polite answers to the user's "
    "questions."
)
# The look-behind lets a match start only where a run of brackets starts, which keeps hostile input linear.
_TAG = re.compile(r"(?<![</])([</]+)(vid[^<>/]*)(>*)", re.IGNORECASE | re.ASCII)
_WHITE = " \t\n\r\f\v"


@dataclass(frozen=True)
class PromptTurn:
    """One exchange. user: clean text of the user. answer: None for the turn that is to be answered.

    has_video: a clip is attached to the user's text.
    """

    user: str
    answer: str | None = None
    has_video: bool = False


@dataclass(frozen=True)
class EncodedPrompt:
    """A tokenised conversation. ids: token ids, VIDEO_ID at video positions.

    labels: one for each id, IGNORED where it does not count in the loss.
    """

    ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class PromptTemplate:
    """The texts and token ids around a conversation; the module's docstring shows where each stands.

    stop: texts that end an answer. video_open, video_close: the tags around the caption of a video that the
    assistant sends. refusal_openings: an answer that begins with one of them is a refusal.
    """

    turn_end_id: int
    bos_id: int | None = None
    system: str = _SYSTEM.format(name="GPT4Video")
    video_prefix: str = "\nHuman: "
    user_prefix: str = "\nHuman: "
    assistant_prefix: str = "\nAI:"
    stop: tuple[str, ...] = ("\nHuman:",)
    video_open: str = "<video>"
    video_close: str = "</video>"
    refusal_openings: tuple[str, ...] = ("I'm sorry, but I can't",)

    def to_manifest(self) -> dict[str, Any]:
        """The object `prompt` of g4v.json."""
        values = asdict(self)
        values["stop"] = list(self.stop)
        values["refusal_openings"] = list(self.refusal_openings)
        return values

    @classmethod
    def from_manifest(cls, values: dict[str, Any]) -> PromptTemplate:
        """The inverse of `to_manifest`; TypeError names an unknown or missing key."""
        values = dict(values)
        for key in ("stop", "refusal_openings"):
            if key in values:
                values[key] = tuple(values[key])
        return cls(**values)

    def role_labels(self) -> tuple[str, str]:
        """The labels that open a line of either speaker, such as "Human:" and "AI:"."""
        return self.user_prefix.strip(_WHITE), self.assistant_prefix.strip(_WHITE)

    def clean_user_text(self, text: str) -> str:
        """Makes untrusted text safe to stand in the template. In this order:

        1. ArgumentError if the text has no UTF-8 encoding (lone surrogates).
        2. "\\r\\n" becomes "\\n".
        3. Tags of videos lose their angle brackets: a run of "<" and "/" that contains "<" and stands just
           before "vid" (any case) is removed, and so are the ">" that directly follow the next characters
           other than "<", ">" and "/". "</video>" becomes "video"; no nesting can put a tag together again.
        4. A newline directly before a role label becomes a space.
        5. White space (ASCII) around the text is removed; ArgumentError if nothing is left.
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise ArgumentError("the prompt is not valid UTF-8 text") from None
        text = text.replace("\r\n", "\n")
        text = _TAG.sub(lambda m: m[2] if "<" in m[1] else m[0], text)
        for label in self.role_labels():
            text = text.replace("\n" + label, " " + label)
        text = text.strip(_WHITE)
        if not text:
            raise ArgumentError("the prompt is empty")
        return text

    def user_segment(self, text: str) -> str:
        """The user's clean text between its prefix and the assistant's."""
        return self.user_prefix + text + self.assistant_prefix

    def opening_ids(self, encode: Encode) -> list[int]:
        """Token ids before the first turn: [bos] + enc(system)."""
        bos = [] if self.bos_id is None else [self.bos_id]
        return bos + encode(self.system, True)

    def turn_ids(self, user: str, has_video: bool, video_tokens: int, encode: Encode) -> list[int]:
        """Token ids of a turn before its answer. user: clean text. video_tokens: rows of one clip."""
        ids = encode(self.video_prefix, False) + [VIDEO_ID] * video_tokens if has_video else []
        return ids + encode(self.user_segment(user), False)

    def answer_ids(self, answer: str, encode: Encode) -> list[int]:
        """Token ids of an answer, and the token that ends the turn."""
        return encode(" " + answer, False) + [self.turn_end_id]

    def encode(
        self, turns: Sequence[PromptTurn], encode: Encode, video_tokens: int, supervise: str = "assistant"
    ) -> EncodedPrompt:
        """Token ids and labels of a conversation.

        turns: their user texts are clean. An answer of None (last turn only) leaves the prompt open.
        video_tokens: rows of the abstractor's output for one clip.
        supervise: "assistant" gives labels to answers alone, "both" to every text token (never to the
        opening).
        """
        if supervise not in ("assistant", "both"):
            raise ValueError(f"supervise must be 'assistant' or 'both', not {supervise!r}")
        ids = self.opening_ids(encode)
        labels = [IGNORED] * len(ids)
        for turn in turns:
            question = self.turn_ids(turn.user, turn.has_video, video_tokens, encode)
            ids += question
            if supervise == "both":
                labels += [IGNORED if token == VIDEO_ID else token for token in question]
            else:
                labels += [IGNORED] * len(question)
            if turn.answer is None:
                break
            answer = self.answer_ids(turn.answer, encode)
            ids += answer
            labels += answer
        return EncodedPrompt(ids, labels)


def default_system(name: str) -> str:
    """The paper's system text for an assistant of that name."""
    return _SYSTEM.format(name=name)


def plain_encoder(tokenizer: Any) -> Encode:
    """The encode function of a `transformers` fast tokenizer or a `tokenizers.Tokenizer`.

    It adds no special tokens and recognises none. Later segments get no dummy prefix space, which
    SentencePiece-style tokenizers put before the first one.
    """
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    state = json.loads(backend.to_str())
    state["truncation"] = state["padding"] = None
    first = Tokenizer.from_str(json.dumps(state))
    later = Tokenizer.from_str(json.dumps(_without_prefix_space(state)))
    for each in (first, later):
        each.encode_special_tokens = True

    def encode(text: str, first_segment: bool = True) -> list[int]:
        chosen = first if first_segment else later
        return chosen.encode(text, add_special_tokens=False).ids

    return encode


def _without_prefix_space(state: dict[str, Any]) -> dict[str, Any]:
    """The serialised tokenizer without what puts a dummy space in front of SentencePiece-style text."""
    state = json.loads(json.dumps(state))
    normalizer = state.get("normalizer")
    if normalizer and normalizer["type"] == "Prepend":
        state["normalizer"] = None
    elif normalizer and normalizer["type"] == "Sequence":
        normalizer["normalizers"] = [n for n in normalizer["normalizers"] if n["type"] != "Prepend"]
    splitter = state.get("pre_tokenizer")
    for part in [splitter, *(splitter or {}).get("pretokenizers", [])]:
        if part and part["type"] == "Metaspace":
            part["prepend_scheme"] = "never"
    return state
