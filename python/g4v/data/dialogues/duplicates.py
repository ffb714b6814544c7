"""Finds dialogues that say the same."""

from __future__ import annotations

from collections.abc import Sequence

from g4v.errors import RuntimeUnavailable

_GRAM = 5  # characters


def shingles(text: str) -> set[str]:
    """All runs of five characters, letter case and white space evened out."""
    text = " ".join(text.casefold().split())
    return {text[i : i + _GRAM] for i in range(max(1, len(text) - _GRAM + 1))}


def find_duplicates(texts: Sequence[str], threshold: float = 0.8) -> dict[int, tuple[int, str]]:
    """{index: (index of the earlier text, "exact" or "near")} of the texts to leave out.

    Near: the Jaccard similarity of their shingles is at least `threshold`. MinHash finds the candidates,
    the sets themselves decide.
    """
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError:
        raise RuntimeUnavailable("datasketch is missing; install it with: pip install datasketch") from None
    # Candidates a little below the threshold, since MinHash is an estimate.
    index = MinHashLSH(threshold=max(0.1, threshold - 0.1), num_perm=128)
    seen: dict[str, int] = {}
    result: dict[int, tuple[int, str]] = {}
    for number, text in enumerate(texts):
        even = " ".join(text.casefold().split())
        if even in seen:
            result[number] = seen[even], "exact"
            continue
        seen[even] = number
        grams = shingles(text)
        sketch = MinHash(num_perm=128)
        sketch.update_batch([gram.encode("utf-8", "replace") for gram in grams])
        for other in sorted(index.query(sketch)):
            others = shingles(texts[other])
            if len(grams & others) >= threshold * len(grams | others):
                result[number] = other, "near"
                break
        else:
            index.insert(number, sketch)
    return result
