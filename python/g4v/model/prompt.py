"""The prompt template: one definition for training, export and reference tests.

csrc/chat/prompt.cc is the same thing in the runtime; it reads the template from the bundle
(`PromptTemplate.to_manifest`).

    tokens = [bos] + enc(system_prefix + system)
             then per turn: enc(lead + video_prefix) + video tokens
                            + enc(video_suffix + text + assistant_prefix)      with a clip
                            enc(lead + user_prefix + text + assistant_prefix)  without one
                            + enc(answer_prefix + answer + answer_suffix) + [turn_end]

Where the template has a frame_prefix, the frames of a clip have tokens of their own:

    enc(lead + video_prefix + frame_prefix) + tokens + enc(frame_suffix + frame_prefix) + tokens + ...
    + enc(frame_suffix + video_suffix + text + assistant_prefix)

"{frame_count}" in video_prefix then stands for the number of frames in words, "{duration}" for that of the
video as H:MM:SS, and "{timestamp}" in frame_prefix for the frame's time as MM:SS.

`lead` is system_suffix in the first turn and turn_separator in the others. Without a system text, nothing but
bos stands before the first turn, whose lead is then no_system. In the texts of the template special tokens
are recognised; in the system text, the user's words and answers they never are.

Segments are tokenised one by one and never joined, so that a conversation can be continued without
re-encoding it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from g4v.errors import ArgumentError
from g4v.model.plain_encoder import Encode, plain_encoder
from g4v.model.prompt_words import duration, number_in_words, timestamp

__all__ = [
    "IGNORED",
    "VIDEO_ID",
    "ClipTimes",
    "Encode",
    "EncodedPrompt",
    "PromptTemplate",
    "PromptTurn",
    "default_system",
    "plain_encoder",
]

ClipTimes = tuple[Sequence[float], float]
"""Seconds of each frame of a clip, and of the whole clip."""

VIDEO_ID = -1  # stands for one row of the abstractor's output in a token sequence
IGNORED = -100  # label of a position that does not count in the loss

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
    assistant sends. refusal_openings: an answer that begins with one of them is a refusal. video_suffix:
    between a clip and the user's words; None stands for user_prefix. special_tokens: {text: id} of those that
    the texts around the conversation hold. space_after_special: whether text after a special token, bos_id
    among them, gets the dummy space of a tokenizer that has one; None: only after bos_id. stop_ids: tokens
    beside turn_end_id that end an answer. frame_prefix, frame_suffix: around the tokens of each frame; None
    for clips without texts between their frames. space_after_bos: as space_after_special, for bos_id alone;
    None: as that says. space_after_video: the same for text behind the tokens of a clip, or of a frame.
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
    system_prefix: str = ""
    system_suffix: str = ""
    no_system: str = ""
    video_suffix: str | None = None
    answer_prefix: str = " "
    answer_suffix: str = ""
    turn_separator: str = ""
    special_tokens: dict[str, int] = field(default_factory=dict)
    space_after_special: bool | None = None
    stop_ids: tuple[int, ...] = ()
    frame_prefix: str | None = None
    frame_suffix: str = ""
    space_after_bos: bool | None = None
    space_after_video: bool = False

    def to_manifest(self) -> dict[str, Any]:
        """The object `prompt` of g4v.json. Keys that a bundle may lack are there where they say something."""
        values = asdict(self)
        for item in fields(self):
            if item.name in _OPTIONAL and values[item.name] == _OPTIONAL[item.name]:
                del values[item.name]
            elif isinstance(values[item.name], tuple):
                values[item.name] = list(values[item.name])
        return values

    @classmethod
    def from_manifest(cls, values: dict[str, Any]) -> PromptTemplate:
        """The inverse of `to_manifest`; TypeError names an unknown or missing key."""
        values = dict(values)
        for key in ("stop", "refusal_openings", "stop_ids"):
            if key in values:
                values[key] = tuple(values[key])
        return cls(**values)

    def role_labels(self) -> list[tuple[str, bool]]:
        """The labels of either speaker that a user could type, and whether each is one only where it opens a
        line: ("Human:", True), ("[/INST]", False). Labels beside special tokens are not among them.
        """
        user = self.user_prefix
        if not user.strip(_WHITE):
            # Llama 2's "[INST]" stands between the turns. A word, as Gemma's "user", is no label alone.
            user = self._plain_end(self.turn_separator).rstrip(_WHITE)
            user = user if user and user[-1].isascii() and not user[-1].isalnum() else ""
        labels = []
        for prefix in (user, self.assistant_prefix):
            label = prefix.strip(_WHITE)
            if label and not any(own and token is not None for _, own, token in self._split([(label, True)])):
                sign = label[-1].isascii() and not label[-1].isalnum()
                labels.append((label, prefix[0] == "\n" or not sign))
        return labels

    def clean_user_text(self, text: str) -> str:
        """Makes untrusted text safe to stand in the template. In this order:

        1. ArgumentError if the text has no UTF-8 encoding (lone surrogates).
        2. "\\r\\n" becomes "\\n".
        3. Tags of videos lose their angle brackets: a run of "<" and "/" that contains "<" and stands just
           before "vid" (any case) is removed, and so are the ">" that directly follow the next characters
           other than "<", ">" and "/". "</video>" becomes "video"; no nesting can put a tag together again.
        4. A newline directly before a role label that opens lines becomes a space. Other labels, such as
           "ASSISTANT:" and "[/INST]", lose their last character. 3 and 4 are repeated while they change
           anything.
        5. White space (ASCII) around the text is removed; ArgumentError if nothing is left.
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise ArgumentError("the prompt is not valid UTF-8 text") from None
        text = text.replace("\r\n", "\n")
        labels, before = self.role_labels(), None
        while text != before:
            before = text
            text = _TAG.sub(lambda m: m[2] if "<" in m[1] else m[0], text)
            for label, opens_line in labels:
                if opens_line:
                    text = text.replace("\n" + label, " " + label)
                else:
                    kept = label[:-1]
                    text = re.sub(f"({re.escape(kept)}){re.escape(label[-1])}+", r"\1", text)
        text = text.strip(_WHITE)
        if not text:
            raise ArgumentError("the prompt is empty")
        return text

    def user_segment(self, text: str) -> str:
        """The user's clean text between its prefix and the assistant's."""
        return self.user_prefix + text + self.assistant_prefix

    def opening_ids(self, encode: Encode) -> list[int]:
        """Token ids before the first turn: [bos] + enc(system_prefix + system)."""
        bos = [] if self.bos_id is None else [self.bos_id]
        starts_text = self.bos_id is None or self.space_after_special is not False
        if self.bos_id is not None and self.space_after_bos is not None:
            starts_text = self.space_after_bos
        if not self.system:
            return bos
        return bos + self._encode([(self.system_prefix, True), (self.system, False)], encode, starts_text)

    def turn_ids(
        self,
        user: str,
        has_video: bool,
        video_tokens: int,
        encode: Encode,
        first: bool = True,
        times: ClipTimes | None = None,
    ) -> list[int]:
        """Token ids of a turn before its answer.

        user: clean text. video_tokens: rows of one clip; of one frame where the template has a frame_prefix.
        first: the turn follows the opening, not an answer. times: seconds of each frame and of the whole
        clip, which a frame_prefix needs.
        """
        if first:
            lead = self.system_suffix if self.system else self.no_system
            starts_text = self._first_turn_starts_text(encode)
        else:
            lead, starts_text = self.turn_separator, bool(self.space_after_special)
        words = [(user, False), (self.assistant_prefix, True)]
        if not has_video:
            return self._encode([(lead, True), (self.user_prefix, True), *words], encode, starts_text)
        suffix = self.user_prefix if self.video_suffix is None else self.video_suffix
        if self.frame_prefix is not None:
            if times is None:
                raise ValueError("a template with a frame_prefix needs the times of a clip's frames")
            seconds, length = times
            texts = [self.frame_prefix.replace("{timestamp}", timestamp(second)) for second in seconds]
            intro = self.video_prefix.replace("{frame_count}", number_in_words(len(texts)))
            intro = intro.replace("{duration}", duration(length))
            ids = self._encode([(lead, True), (intro, True), (texts[0], True)], encode, starts_text)
            for text in texts[1:]:
                ids += [VIDEO_ID] * video_tokens
                ids += self._encode([(self.frame_suffix, True), (text, True)], encode, self.space_after_video)
            behind = [(self.frame_suffix, True), (suffix, True), *words]
            return ids + [VIDEO_ID] * video_tokens + self._encode(behind, encode, self.space_after_video)
        before = self._encode([(lead, True), (self.video_prefix, True)], encode, starts_text)
        behind = [(suffix, True), *words]
        return before + [VIDEO_ID] * video_tokens + self._encode(behind, encode, self.space_after_video)

    def answer_ids(self, answer: str, encode: Encode) -> list[int]:
        """Token ids of an answer, and the token that ends the turn."""
        ends = self._split([(self.assistant_prefix, True)])
        starts_text = bool(self.space_after_special) and bool(ends) and ends[-1][2] is not None
        parts = [(self.answer_prefix, True), (answer, False), (self.answer_suffix, True)]
        return [*self._encode(parts, encode, starts_text), self.turn_end_id]

    def answer_end_ids(self, encode: Encode) -> list[int]:
        """What closes an answer that was cut off: enc(answer_suffix) + [turn_end]."""
        return [*self._encode([(self.answer_suffix, True)], encode, False), self.turn_end_id]

    def _first_turn_starts_text(self, encode: Encode) -> bool:
        if not self.system and self.bos_id is not None and self.space_after_bos is not None:
            return self.space_after_bos
        if self.space_after_special is None:
            return False
        opening = self.opening_ids(encode)
        special = {self.bos_id, *self.special_tokens.values()}
        return not opening or (opening[-1] in special and self.space_after_special)

    def _split(self, parts: Sequence[tuple[str, bool]]) -> list[tuple[str, bool, int | None]]:
        """Texts of the template (True) and others (False), cut at special tokens: (text, own, id or None)."""
        if not self.special_tokens:
            return [(text, own, None) for text, own in parts if text]
        known = sorted(self.special_tokens, key=len, reverse=True)
        pattern = re.compile("(" + "|".join(map(re.escape, known)) + ")")
        cut: list[tuple[str, bool, int | None]] = []
        for text, own in parts:
            for piece in pattern.split(text) if own else [text]:
                if piece:
                    cut.append((piece, own, self.special_tokens.get(piece) if own else None))
        return cut

    def _plain_end(self, text: str) -> str:
        """What follows the last special token of one of the template's texts."""
        cut = self._split([(text, True)])
        return cut[-1][0] if cut and cut[-1][2] is None else ""

    def _encode(self, parts: Sequence[tuple[str, bool]], encode: Encode, starts_text: bool) -> list[int]:
        ids: list[int] = []
        run = ""
        for text, _, token in self._split(parts):
            if token is None:
                run += text
                continue
            if run:
                ids += encode(run, starts_text)
            ids.append(token)
            run, starts_text = "", bool(self.space_after_special)
        return ids + encode(run, starts_text) if run else ids

    def encode(
        self,
        turns: Sequence[PromptTurn],
        encode: Encode,
        video_tokens: int,
        supervise: str = "assistant",
        clips: Sequence[ClipTimes] | None = None,
    ) -> EncodedPrompt:
        """Token ids and labels of a conversation.

        turns: their user texts are clean. An answer of None (last turn only) leaves the prompt open.
        video_tokens: rows of the abstractor's output for one clip; for one frame where there are `clips`.
        clips: when the frames of each clip are shown, in the order of the turns that have one, where every
        frame has tokens of its own; None: clips have a fixed number of tokens.
        supervise: "assistant" gives labels to answers alone, "both" to every text token (never to the
        opening).
        """
        if supervise not in ("assistant", "both"):
            raise ValueError(f"supervise must be 'assistant' or 'both', not {supervise!r}")
        ids = self.opening_ids(encode)
        labels = [IGNORED] * len(ids)
        left = iter(clips or ())
        for number, turn in enumerate(turns):
            count, times = video_tokens, None
            if turn.has_video and clips is not None:
                times = next(left)
                count *= 1 if self.frame_prefix is not None else len(times[0])
            question = self.turn_ids(turn.user, turn.has_video, count, encode, number == 0, times)
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


# Keys of `prompt` in g4v.json that may be absent, and what that means.
_OPTIONAL: dict[str, Any] = {
    item.name: {} if item.name == "special_tokens" else item.default
    for item in fields(PromptTemplate)
    if item.name
    in (
        "system_prefix", "system_suffix", "no_system", "video_suffix", "answer_prefix", "answer_suffix",
        "turn_separator", "special_tokens", "space_after_special", "stop_ids", "frame_prefix", "frame_suffix",
        "space_after_bos", "space_after_video",
    )
}  # fmt: skip


def default_system(name: str) -> str:
    """The paper's system text for an assistant of that name."""
    return _SYSTEM.format(name=name)
