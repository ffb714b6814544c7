"""Unigram tokenizers of SentencePiece, as T5's and UMT5's folders hold them.

A folder has the model itself (spiece.model), a tokenizer.json of Hugging Face tokenizers, or both; the second
is then read, as transformers does. Either becomes a model of SentencePiece, whose encoder is the one that the
runtime equals.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g4v.export.checkpoint.tokenizer_keys import check_config, check_tokenizer_keys
from g4v.export.errors import ExportError

MODEL_FILES = ("spiece.model", "sentencepiece.model", "tokenizer.model")
"""Names that a folder may have its SentencePiece model under, the first one first."""

_SPACE = "\u2581"
_UNIGRAM = 1  # TrainerSpec.ModelType
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)  # ModelProto.SentencePiece.Type
_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class UnigramModel:
    """proto: the ModelProto of SentencePiece. special: ids of all special tokens by their text, of those too
    that stand behind the model's own pieces. place: where it was read from, for messages.
    """

    proto: Any
    special: dict[str, int]
    place: str

    def pieces(self, kind: int) -> list[int]:
        """Ids of the pieces of a kind."""
        return [number for number, piece in enumerate(self.proto.pieces) if piece.type == kind]

    @property
    def unknown(self) -> int:
        """Id of the piece that stands for what no other piece can."""
        return self.pieces(_UNKNOWN)[0]

    @property
    def user_defined(self) -> list[int]:
        """Ids of pieces that are always found in a text."""
        return self.pieces(_USER_DEFINED)

    @property
    def unused(self) -> list[int]:
        """Ids of pieces that no text is written with."""
        return self.pieces(_UNUSED)

    def processor(self) -> Any:
        """The `sentencepiece.SentencePieceProcessor` of the model."""
        from sentencepiece import SentencePieceProcessor

        try:
            return SentencePieceProcessor(model_proto=self.proto.SerializeToString())
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ExportError(
                f"{self.place}: is no model that SentencePiece can load: {reason:.200}"
            ) from None


def read_unigram(folder: Path, tokenizer: Any) -> UnigramModel:
    """Reads the Unigram tokenizer of a folder.

    tokenizer: the tokenizer that transformers makes of the folder, whose special tokens count.
    ExportError: there is none, it is damaged, of another type, or has a part that the runtime does not know.
    """
    file = folder / "tokenizer.json"
    added = tokenizer.added_tokens_decoder
    for token in added.values():
        if not token.special:
            raise ExportError(
                f"{folder}: the added token {token.content!r:.80} is not special, which the runtime does not "
                "know of a Unigram tokenizer"
            )
    special = {token.content: int(number) for number, token in added.items()}
    if file.is_file():
        return _from_tokenizer_json(file, special)
    found = next((folder / name for name in MODEL_FILES if (folder / name).is_file()), None)
    if found is None:
        raise ExportError(f"{folder}: has none of tokenizer.json, {', '.join(MODEL_FILES)}")
    check_config(folder, added)
    model = UnigramModel(_parse(found), special, str(found))
    _check(model)
    for number in model.pieces(_CONTROL) + [model.unknown]:
        special.setdefault(model.proto.pieces[number].piece, number)
    return model


def _model_classes() -> Any:
    from sentencepiece import sentencepiece_model_pb2

    return sentencepiece_model_pb2


def _parse(path: Path) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return _model_classes().ModelProto.FromString(path.read_bytes())
    except OSError as error:
        raise ExportError(f"{path}: cannot be read: {error.strerror}") from None
    except DecodeError:
        raise ExportError(f"{path}: is no model of SentencePiece, or is damaged") from None


def _check(model: UnigramModel) -> None:
    """ExportError for what SentencePiece would do and the runtime does not."""
    proto, place = model.proto, model.place
    if proto.trainer_spec.model_type != _UNIGRAM:
        raise ExportError(f"{place}: is a model of SentencePiece of another type than Unigram")
    if proto.normalizer_spec.normalization_rule_tsv:
        raise ExportError(f"{place}: has normalization rules as text, which are not supported")
    model.processor()  # whatever SentencePiece itself refuses
    names = {piece.piece: number for number, piece in enumerate(proto.pieces)}
    if len(names) != len(proto.pieces):  # SentencePiece lets a special piece and another one have one text
        raise ExportError(f"{place}: has a piece twice")
    for token, number in model.special.items():
        if token in names and names[token] != number:
            raise ExportError(
                f"{place}: {token!r:.80} has the id {names[token]}, and in the tokenizer {number}"
            )
        if token not in names and number < len(proto.pieces):
            raise ExportError(
                f"{place}: the tokenizer gives {token!r:.80} the id {number}, which is that of "
                f"{proto.pieces[number].piece!r:.80}"
            )


def _from_tokenizer_json(path: Path, special: dict[str, int]) -> UnigramModel:
    try:
        state = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ExportError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ExportError(f"{path}: is no JSON: {error}") from None
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise ExportError(f"{path}: is no tokenizer of Hugging Face tokenizers")
    check_tokenizer_keys(state, str(path))
    kind = state["model"].get("type", "Unigram")
    if kind != "Unigram":
        raise ExportError(f"{path}: the tokenizer's model is {kind!r:.80}, not Unigram")
    proto = _model_classes().ModelProto()
    _put_pieces(proto, state["model"], special, path)
    _put_normalizer(proto.normalizer_spec, state, path)
    model = UnigramModel(proto, special, str(path))
    _check(model)
    special.setdefault(proto.pieces[model.unknown].piece, model.unknown)
    _check_settings(path)
    return model


def _put_pieces(proto: Any, model: dict[str, Any], special: dict[str, int], path: Path) -> None:
    vocabulary, unknown = model.get("vocab"), model.get("unk_id")
    if not isinstance(vocabulary, list) or not all(_is_piece(entry) for entry in vocabulary):
        raise ExportError(f"{path}: model.vocab is no list of pieces with scores")
    if type(unknown) is not int or not 0 <= unknown < len(vocabulary):
        raise ExportError(f"{path}: model.unk_id is {unknown!r:.80}, which is no piece")
    spec = proto.trainer_spec
    spec.model_type, spec.byte_fallback = _UNIGRAM, bool(model.get("byte_fallback"))
    spec.unk_id, spec.unk_piece = unknown, vocabulary[unknown][0]
    for number, (text, score) in enumerate(vocabulary):
        kind = _NORMAL
        if number == unknown:
            kind = _UNKNOWN
        elif text in special:
            kind = _CONTROL
        elif spec.byte_fallback and _BYTE_PIECE.fullmatch(text):
            kind = _BYTE
        proto.pieces.add(piece=text, score=score, type=kind)


def _is_piece(entry: Any) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 2
        and isinstance(entry[0], str)
        and type(entry[1]) in (int, float)
        and abs(entry[1]) <= 1e9
    )


def _put_normalizer(spec: Any, state: dict[str, Any], path: Path) -> None:
    normalizer, pre_tokenizer = (_steps(state.get(part)) for part in ("normalizer", "pre_tokenizer"))
    spec.precompiled_charsmap = b""
    if normalizer and normalizer[0].get("type") == "Precompiled":
        try:
            spec.precompiled_charsmap = base64.b64decode(normalizer[0]["precompiled_charsmap"], validate=True)
        except (ValueError, TypeError, KeyError):
            raise ExportError(f"{path}: normalizer.precompiled_charsmap is not base64") from None
        normalizer = normalizer[1:]
    # Spaces at the ends are taken off, runs of them become one, and one is put before the text.
    known = (normalizer in _STRIPPING and pre_tokenizer in _METASPACES) or (
        not normalizer and pre_tokenizer in [[_WORDS, step] for (step,) in _METASPACES]
    )
    if not known:
        steps = json.dumps(normalizer + pre_tokenizer, ensure_ascii=False)
        raise ExportError(
            f"{path}: the runtime does not know the tokenizer's normalizer and pre-tokenizer: {steps:.300}"
        )
    spec.add_dummy_prefix = spec.remove_extra_whitespaces = spec.escape_whitespaces = True


def _steps(part: Any) -> list[dict[str, Any]]:
    """The steps of a normalizer or pre-tokenizer, sequences flattened and defaults left out."""
    if part is None:
        return []
    if part.get("type") == "Sequence":
        inner = part.get("normalizers") or part.get("pretokenizers") or []
        return [step for each in inner for step in _steps(each)]
    # Files of before 2024 say add_prefix_space, those of today prepend_scheme; some say both.
    kept = {key: value for key, value in part.items() if key not in ("add_prefix_space", "str_rep")}
    if part.get("type") == "Metaspace":
        kept.setdefault("prepend_scheme", "always" if part.get("add_prefix_space", True) else "never")
        kept.setdefault("split", True)
    return [kept]


_WORDS = {"type": "WhitespaceSplit"}
_METASPACES: Sequence[list[dict[str, Any]]] = [
    [{"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": scheme, "split": split}]
    for scheme in ("always", "first")
    for split in (True, False)
]


def _replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


_STRIPPING: Sequence[list[dict[str, Any]]] = [
    [{"type": "Strip", "strip_left": False, "strip_right": True}, _replace(" {2,}", _SPACE)],
    [_replace(r"\A +| +\z", ""), _replace(" {2,}", " ")],
]


def _check_settings(file: Path) -> None:
    """Compares tokenizer_config.json, which may be absent, with the tokenizer.json."""
    from tokenizers import Tokenizer

    try:
        loaded = Tokenizer.from_file(str(file))
    except Exception as error:  # `tokenizers` raises bare Exception
        raise ExportError(f"{file} is no tokenizer of Hugging Face tokenizers: {error}") from error
    check_config(file.parent, loaded.get_added_tokens_decoder())
