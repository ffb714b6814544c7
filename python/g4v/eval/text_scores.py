"""BLEU-4, METEOR and CIDEr of captions against several references.

Words: lower case, without punctuation. The field's Java scripts split words with the Stanford PTB tokenizer
first; for plain captions the difference is that of a hyphen or an apostrophe here and there.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from g4v.errors import ArgumentError, RuntimeUnavailable

Words = list[str]
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_ORDER = 4  # n-grams of one to four words
_SIGMA = 6.0  # words by which a caption may be longer or shorter before CIDEr-D counts it down


def words_of(text: str) -> Words:
    """The words of a caption that are compared: lower case, without punctuation."""
    return _WORD.findall(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))


class Bleu:
    """Corpus BLEU-4 (Papineni et al. 2002) by sacrebleu: no smoothing, the closest reference length.

    said: the captions; references: one or more for each. Raises `RuntimeUnavailable` without sacrebleu.
    """

    def __init__(self, said: Sequence[Words], references: Sequence[Sequence[Words]]) -> None:
        try:
            from sacrebleu.metrics.bleu import BLEU
        except ImportError:
            raise RuntimeUnavailable("sacrebleu is missing; install it with: pip install sacrebleu") from None
        self._kind: Any = BLEU
        bleu = BLEU(tokenize="none", smooth_method="none", max_ngram_order=_ORDER, effective_order=True)
        counts = []
        for caption, others in zip(said, references, strict=True):
            found = bleu.sentence_score(" ".join(caption), [" ".join(other) for other in others])
            counts.append([*found.counts, *found.totals, found.sys_len, found.ref_len])
        # int64 [clips, 10]: matched and all n-grams of each order, the caption's length, the references'.
        self._counts = np.asarray(counts, np.int64).reshape(-1, 2 * _ORDER + 2)

    def score(self, chosen: npt.NDArray[np.int64] | None = None) -> float:
        """0 to 1, of all clips or of the chosen ones (indices, repeats allowed)."""
        rows = self._counts if chosen is None else self._counts[chosen]
        total = [int(value) for value in rows.sum(axis=0)]
        if not total[2 * _ORDER]:
            return 0.0
        result = self._kind.compute_bleu(
            total[:_ORDER], total[_ORDER : 2 * _ORDER], *total[2 * _ORDER :], smooth_method="none",
            max_ngram_order=_ORDER,
        )  # fmt: skip
        return float(result.score) / 100


def cider(said: Sequence[Words], references: Sequence[Sequence[Words]]) -> npt.NDArray[np.float64]:
    """CIDEr-D of each clip, float64 [clips], 0 to 10; a corpus has the mean (Vedantam et al., arXiv
    1411.5726, equations 2 to 4 with the length penalty and clipping of its section on CIDEr-D, sigma 6).

    Document frequencies are those of the given references, so that a clip's score depends on the others: with
    one clip alone every score is 0. No library that is kept up computes it without Java, hence this one.
    """
    counted = [[_grams(other) for other in others] for others in references]
    document = Counter(gram for others in counted for gram in {gram for other in others for gram in other})
    clips = math.log(len(counted)) if counted else 0.0
    rarity = {gram: clips - math.log(count) for gram, count in document.items()}
    scores = np.zeros(len(counted))
    for i, (caption, others) in enumerate(zip(said, counted, strict=True)):
        own = _Vector(_grams(caption), rarity, clips)
        scores[i] = 10 * np.mean([own.likeness(_Vector(other, rarity, clips)) for other in others])
    return scores


def _grams(words: Words) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for n in range(1, _ORDER + 1) for i in range(len(words) - n + 1))


class _Vector:
    """Counts of n-grams weighted by their rarity; norms one for each order. length counts pairs of words, as
    the reference implementation does.
    """

    def __init__(
        self, counts: Counter[tuple[str, ...]], rarity: dict[tuple[str, ...], float], unseen: float
    ) -> None:
        self.weights = {gram: count * rarity.get(gram, unseen) for gram, count in counts.items()}
        self.length = sum(count for gram, count in counts.items() if len(gram) == 2)
        squares = [0.0] * _ORDER
        for gram, weight in self.weights.items():
            squares[len(gram) - 1] += weight * weight
        self.norms = [math.sqrt(square) for square in squares]

    def likeness(self, other: _Vector) -> float:
        """Mean over the orders of the clipped cosine, times the length penalty."""
        products = [0.0] * _ORDER
        for gram, weight in self.weights.items():
            theirs = other.weights.get(gram, 0.0)
            products[len(gram) - 1] += min(weight, theirs) * theirs
        penalty = math.exp(-((self.length - other.length) ** 2) / (2 * _SIGMA**2))
        cosines = [
            p / (a * b) if a and b else 0.0 for p, a, b in zip(products, self.norms, other.norms, strict=True)
        ]
        return penalty * sum(cosines) / _ORDER


def meteor(
    said: Sequence[Words], references: Sequence[Sequence[Words]], wordnet: Path
) -> npt.NDArray[np.float64]:
    """METEOR of each clip, float64 [clips], 0 to 1, the best of its references, by NLTK (Banerjee and Lavie
    2005 with the parameters 0.9, 3, 0.5): words match as they are, by Porter stem, or by
    synonym (of the stem: so NLTK looks it up).

    wordnet: a folder of WordNet as NLTK has it (nltk_data/corpora/wordnet); nothing is downloaded.
    It is not METEOR 1.5, the Java program of the field, whose tuned weights and paraphrases give other
    numbers. Raises `RuntimeUnavailable` without NLTK and `ArgumentError` for a folder that is no WordNet.
    """
    try:
        import nltk
        from nltk.corpus.reader import WordNetCorpusReader
        from nltk.translate.meteor_score import meteor_score
    except ImportError:
        raise RuntimeUnavailable("NLTK is missing; install it with: pip install nltk") from None

    class English(WordNetCorpusReader):  # type: ignore[misc]
        def map_wn(self, version: str = "wordnet") -> None:
            """Left out: it serves other languages, and looks for a second WordNet in NLTK's own folders."""

    folder = wordnet.resolve()
    missing = [name for name in ("lexnames", "index.noun", "data.noun") if not (folder / name).is_file()]
    if missing:
        raise ArgumentError(f"{wordnet} is no WordNet as NLTK has it: {', '.join(missing)} is missing")
    before = list(nltk.data.path)
    nltk.data.path.append(str(folder))  # NLTK reads below its own folders alone
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that other languages are not there
            reader = English(str(folder), None)
        scores = [
            meteor_score(list(others), caption, wordnet=reader) if caption else 0.0
            for caption, others in zip(said, references, strict=True)
        ]
    except (OSError, LookupError, ValueError, AssertionError) as error:
        why = " ".join(str(error).replace("*", " ").split())[:200] or type(error).__name__
        raise ArgumentError(f"{wordnet} cannot be read as WordNet: {why}") from None
    finally:
        nltk.data.path[:] = before
    return np.asarray(scores, np.float64)
