"""SentencePiece Unigram models to the tokenizer file of a bundle.

Its keys are those of g4v.export.components.tokenizer.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from g4v.export.checkpoint.sentencepiece_model import UnigramModel
from g4v.export.errors import ExportError
from g4v.weights.gguf_vocabulary import TOKENIZER_FORMAT, TOKENIZER_VERSION

_MOST_PIECE = 1024  # bytes, as in csrc/text/unigram.cc


def convert_unigram(model: UnigramModel) -> dict[str, Any]:
    """The contents of the tokenizer file. ExportError: a piece is longer than the runtime takes."""
    pieces, settings, training = model.proto.pieces, model.proto.normalizer_spec, model.proto.trainer_spec
    for piece in pieces:
        if len(piece.piece.encode()) > _MOST_PIECE:
            raise ExportError(f"{model.place}: has a piece of more than {_MOST_PIECE} bytes")
    return {
        "format": TOKENIZER_FORMAT,
        "format_version": TOKENIZER_VERSION,
        "type": "unigram",
        "unk_token": pieces[model.unknown].piece,
        "byte_fallback": training.byte_fallback,
        "add_dummy_prefix": settings.add_dummy_prefix,
        "remove_extra_whitespaces": settings.remove_extra_whitespaces,
        "escape_whitespaces": settings.escape_whitespaces,
        "treat_whitespace_as_suffix": training.treat_whitespace_as_suffix,
        "special_tokens": model.special,
        "user_defined": model.user_defined,
        "unused": model.unused,
        "vocab": [piece.piece for piece in pieces],
        "scores": [_shortest(piece.score) for piece in pieces],
        "precompiled_charsmap": base64.b64encode(settings.precompiled_charsmap).decode(),
    }


def _shortest(score: float) -> float:
    """The number of fewest digits that a reader rounds to the same float32."""
    exact = np.float32(score)
    short = float(str(exact))
    return short if np.float32(short) == exact else float(exact)
