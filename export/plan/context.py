"""Whether the text that opens every conversation leaves room in the language model's context."""

from __future__ import annotations

from g4v.export.checkpoint.run import Checkpoint
from g4v.export.errors import ExportError
from g4v.model.prompt import PromptTemplate, plain_encoder

_SHORTEST = "a"  # a question
_ANSWER = 1  # tokens, as the runtime asks for (csrc/chat/chat.cc)


def check_system(checkpoint: Checkpoint) -> None:
    """Raises ExportError where system text, the shortest question, a video's tokens if the assistant sees
    videos, and a token of an answer are more than the context of the language model.

    A run without a language model has nothing to check. ExportError too where its tokenizer cannot be loaded.
    """
    if not checkpoint.has("llm"):
        return
    size = int(checkpoint.llm().config.max_position_embeddings)
    video = checkpoint.video_tokens() if checkpoint.has("encoder") else 0
    encode = plain_encoder(checkpoint.tokenizer("decoder"))
    prompt: PromptTemplate = checkpoint.prompt
    opening = len(prompt.opening_ids(encode))
    question = len(prompt.turn_ids(_SHORTEST, video > 0, video, encode, times=([0.0], 0.0)))
    if opening + question + _ANSWER > size:
        raise ExportError(
            f"{checkpoint.parts['llm']}: a context of {size} tokens has no room for the system text "
            f"({opening} tokens) and a question ({question}); give a shorter --system"
        )
