"""Compares an exported tokenizer with Hugging Face tokenizers, or SentencePiece, on random Unicode."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from g4v.export.checkpoint.sentencepiece_model import UnigramModel
from g4v.export.checkpoint.tokenizer import load_backend
from g4v.export.errors import ExportError
from g4v.model.plain_encoder import plain_backend


def reference_tokenizer(source: Any) -> Any:
    """Returns the `tokenizers.Tokenizer` of `source`, changed to read special tokens in a text as plain text.

    That is what the runtime's tokenizer does. Added tokens that are not special stay, and are found.
    source: as in `checkpoint.tokenizer.load_backend`.
    """
    return plain_backend(load_backend(source))


def verify_tokenizer(path: str | Path, source: Any, samples: int = 1000, seed: int = 0) -> int:
    """Compares the runtime's tokenizer with Hugging Face tokenizers, or a `UnigramModel` with SentencePiece;
    returns the number of random texts that it did so on.

    path: the bundle's tokenizer file that `write_tokenizer` made of `source`.
    source: as in `checkpoint.tokenizer.load_backend`, or a `UnigramModel`.
    samples: number of texts, which are encoded and decoded again.
    seed: of the random texts.

    ExportError: the ids or the decoded text of a text differ; the message has the first one.
    """
    from g4v import _core

    ours = _core.Tokenizer(Path(path).read_text(encoding="utf-8"))
    if isinstance(source, UnigramModel):
        return _verify_unigram(ours, source, samples, seed)
    reference = reference_tokenizer(source)
    # `tokenizers` leaves "</w>" in decoded texts, which transformers (CLIPTokenizer) and our core mend.
    clip = bool(reference.model.end_of_word_suffix)
    added = [token.content for token in reference.get_added_tokens_decoder().values()]
    texts = list(random_texts(samples, seed, added))
    for text, ids in zip(texts, ours.encode_batch(texts), strict=True):
        try:
            expected = reference.encode(text, add_special_tokens=False).ids
        except BaseException as error:
            # `tokenizers` panics where a token begins in the white space that the one before takes along.
            if type(error).__name__ != "PanicException":
                raise
            continue
        if ids != expected:
            raise ExportError(f"the tokenizer differs on {text!r}: {ids} instead of {expected}")
        decoded, expected_text = ours.decode(ids), reference.decode(ids)
        if clip:
            decoded, expected_text = decoded.strip(), expected_text.replace("</w>", " ").strip()
        if decoded != expected_text:
            raise ExportError(f"the tokenizer decodes {ids} to {decoded!r} instead of {expected_text!r}")
    return len(texts)


def _verify_unigram(ours: Any, model: UnigramModel, samples: int, seed: int) -> int:
    reference = model.processor()
    tokens = [model.proto.pieces[number].piece for number in model.user_defined[:1000]]
    texts = list(random_texts(samples, seed, tokens or [_SPACE_PIECE]))
    for text, ids in zip(texts, ours.encode_batch(texts), strict=True):
        expected = reference.encode(text)
        if ids != expected:
            raise ExportError(f"the tokenizer differs on {text!r}: {ids} instead of {expected}")
        # SentencePiece decodes an unknown token to a sign for it, and takes off every space of a start.
        known = model.unknown not in ids and not text.lstrip().startswith(_SPACE_PIECE)
        if known and ours.decode(ids).lstrip(" ") != reference.decode(ids).lstrip(" "):
            raise ExportError(
                f"the tokenizer decodes {ids} to {ours.decode(ids)!r} instead of {reference.decode(ids)!r}"
            )
    return len(texts)


def verify_words(path: str | Path, tokenizer: Any, samples: int = 200) -> None:
    """Compares the runtime's Unigram tokenizer with that of transformers, on texts of English words.

    path: the bundle's tokenizer file. tokenizer: of transformers.

    SentencePiece and Hugging Face tokenizers differ on rare texts: the first sums scores in float32, the
    other in float64. ExportError: they differ on more than one text in twenty.
    """
    from g4v import _core

    ours, rng = _core.Tokenizer(Path(path).read_text(encoding="utf-8")), random.Random(samples)
    texts = [" ".join(rng.choices(_WORDS, k=rng.randint(1, 9))) for _ in range(samples)]
    expected = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    wrong = [i for i, ids in enumerate(ours.encode_batch(texts)) if ids != expected[i]]
    if len(wrong) > samples // 20:
        text = texts[wrong[0]]
        raise ExportError(
            f"the tokenizer differs on {text!r}: {ours.encode(text)}, and transformers makes "
            f"{expected[wrong[0]]}"
        )


_SPACE_PIECE = "\u2581"
_WORDS = "the a video of red circle moving I'm don't it's we've you'll he'd they're HELLO World naive".split()
_SPACES = " \t\n\r\v\f\x85\xa0\u1680\u2000\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000\u200b\ufeff"
_EMOJI = [
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001f3f3\ufe0f\u200d\U0001f308",
    "\U0001f44d\U0001f3fd",
]
_SIGNS = "'\"<>|/[]{}sStTmMdDlLrReEvV\u017f&;:,.!?#$%"
# First and last code points that a run of letters, marks or signs is drawn from.
_RANGES = [
    (0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0xDFF),
    (0xE00, 0xEFF), (0x1100, 0x11FF), (0x1E00, 0x1FFF), (0x2000, 0x2BFF), (0x3040, 0x30FF), (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFF00, 0xFFEF), (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF),
    (0x20000, 0x2A6DF),
]  # fmt: skip


def _fragment(rng: random.Random) -> str:
    kind = rng.randrange(12)
    if kind < 4:
        return rng.choice(["", " "]) + rng.choice(_WORDS)
    if kind == 4:
        return "".join(rng.choices(_SPACES, k=rng.randint(1, 5)))
    if kind == 5:
        return " " * rng.randint(1, 8) + rng.choice(["", "\n", "\r\n", "\n\n"])
    if kind == 6:
        return str(rng.randrange(10 ** rng.randint(1, 9)))
    if kind == 7:
        return rng.choice(_EMOJI)
    if kind == 8:
        return chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000), rng.randrange(0x20)]))
    if kind == 9:
        return rng.choice("abz 1.!-=_\u2581\u00e9\u0301'") * rng.randint(1, 40)
    if kind == 10:
        return "".join(rng.choices(_SIGNS, k=rng.randint(1, 8)))
    low, high = rng.choice(_RANGES)
    return "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 10)))


def random_texts(count: int, seed: int = 0, tokens: Sequence[str] = ()) -> Iterator[str]:
    """Yields random texts: words, digits, spaces, marks, controls, emoji, all Unicode planes, long runs.

    tokens: texts that half of them hold as well, with and without others around, cut or in other case.
    """
    rng = random.Random(seed)
    for number in range(count):
        fragments = [_fragment(rng) for _ in range(rng.randint(0, 8))]
        if tokens and number % 2:
            for _ in range(rng.randint(1, 4)):
                fragments.insert(rng.randint(0, len(fragments)), _of_token(rng, rng.choice(tokens)))
        yield "".join(fragments)


def _of_token(rng: random.Random, token: str) -> str:
    kind = rng.randrange(6)
    if kind == 0:
        return token[rng.randint(0, len(token)) :]
    if kind == 1:
        return token.swapcase()
    return rng.choice(["", "", " ", "  ", "\n"]) + token + rng.choice(["", "", " ", "\t "])
