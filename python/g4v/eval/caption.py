"""`python -m g4v.eval caption`: what the assistant says is shown, against captions that people wrote."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from g4v._command import exit_code
from g4v._console import ProgressBar
from g4v.data.formats import DataError, Problem
from g4v.errors import Error, VideoError
from g4v.eval import bootstrap
from g4v.eval.caption_clips import CaptionedClip, add_caption_arguments, read_clips
from g4v.eval.figures import Figures, LeftOut
from g4v.eval.options import add_data_arguments, new_parser
from g4v.eval.published import CAPTION
from g4v.eval.replies import Replies, bundle_key, ends_the_run, open_folder
from g4v.eval.report import Row
from g4v.eval.text_scores import Bleu, Words, cider, meteor, words_of

_EPILOG = """example:
  python -m g4v.data shapes --format msrvtt --out cap --count 100
  python -m g4v.eval caption cap/test_videodatainfo.json --videos cap/videos

figures:
  BLEU-4  by sacrebleu, 0 to 1
  METEOR  by NLTK, 0 to 1; needs WordNet's files on this machine (--wordnet); without them it is left out
  CIDEr   CIDEr-D, 0 to 10, document frequencies of the references given
"""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = new_parser("caption", "Asks an assistant what clips show, and scores what it says.", _EPILOG)
    add_caption_arguments(result)
    add = result.add_argument
    add("--ask", default="Describe the video.", metavar="TEXT", help='default: "Describe the video."')
    add("--wordnet", type=Path, metavar="DIR", help="NLTK's folder corpora/wordnet, for METEOR")
    add_data_arguments(result)
    return result


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    options = parser().parse_args(arguments)

    def run() -> None:
        with ExitStack() as stack:
            _run(options, stack)

    return exit_code(run, "; what was said is kept" if options.out else "")


def _run(options: argparse.Namespace, stack: ExitStack) -> None:
    import g4v

    figures = Figures(published=CAPTION)
    if options.wordnet is not None:
        meteor([], [], options.wordnet)  # a wrong folder is an error before the work
    Bleu([], [])
    clips = read_clips(options, figures.left_out)
    journal = open_folder(options.out, "replies.jsonl", stack)
    assistant = g4v.load(options.bundle, device=options.device, threads=options.threads)
    replies = Replies(assistant, bundle_key(options.bundle), options.seed, journal)
    said = describe(replies, clips, options.ask, options.on_error, figures.left_out)
    if not said:
        figures.left_out.warn()
        raise DataError(Problem(options.captions, "not one clip could be described"))
    figures.title = f"{options.captions.name} with {assistant.name} on {assistant.device}"
    scores = score_rows(
        [words_of(text) for _, text in said],
        [[words_of(caption) for caption in clip.captions] for clip, _ in said],
        options.wordnet,
        options.seed,
        figures,
    )
    figures.details["captions"] = [
        {"clip": clip.path.name, "said": text, "references": clip.captions, "cider": float(score)}
        for (clip, text), score in zip(said, scores, strict=True)
    ]
    about: dict[str, Any] = {
        "g4v": g4v.__version__,
        "assistant": assistant.info,
        "file": options.captions.name,
    }
    figures.finish(options.json, about | {"split": options.split, "ask": options.ask, "seed": options.seed})


def describe(
    replies: Replies, clips: Sequence[CaptionedClip], question: str, on_error: str, left_out: LeftOut
) -> list[tuple[CaptionedClip, str]]:
    """The assistant's answer about each clip. Clips that cannot be read are left out; a call that fails for
    another reason is an empty caption.
    """
    said: list[tuple[CaptionedClip, str]] = []
    with ProgressBar("clips", len(clips), lines=True) as progress:
        for clip in clips:
            try:
                said.append((clip, str(replies.ask(question, clip.path)["text"])))
            except Error as error:
                problem = Problem(clip.first.source, str(error), clip.first.line, clip.first.row)
                if ends_the_run(error):
                    raise
                if on_error == "stop":
                    raise DataError(problem) from None
                if isinstance(error, VideoError):
                    left_out.add("broken clips", str(problem))
                else:
                    said.append((clip, ""))
                    left_out.add("failed calls, counted as empty captions", str(problem))
            progress.step()
    return said


def score_rows(
    said: Sequence[Words],
    references: Sequence[Sequence[Words]],
    wordnet: Path | None,
    seed: int,
    figures: Figures,
) -> np.ndarray:
    """Adds the figures with bootstrap intervals over the clips; returns CIDEr of each clip, float64 [n]."""
    count = len(said)
    bleu = Bleu(said, references)
    low, high = bootstrap.interval(count, bleu.score, seed)
    figures.rows.append(Row("BLEU-4", bleu.score(), None, False, "", low, high, count))
    if wordnet is None:
        figures.rows.append(Row("METEOR", float("nan"), unit="", count=count))
        figures.notes.append(
            "METEOR is not computed: it needs WordNet, which no package of PyPI brings along; "
            "give --wordnet DIR (NLTK's corpora/wordnet)"
        )
    else:
        each = meteor(said, references, wordnet)
        low, high = bootstrap.of_mean(each, seed)
        figures.rows.append(Row("METEOR", float(each.mean()), None, False, "", low, high, count))
        figures.notes.append(
            "METEOR is NLTK's (2005, with WordNet); the field quotes METEOR 1.5, which differs"
        )
    scores = cider(said, references)
    low, high = bootstrap.of_mean(scores, seed)
    figures.rows.append(Row("CIDEr", float(scores.mean()), None, False, "", low, high, count))
    if count == 1:
        figures.notes.append("CIDEr of a single clip is 0 by definition: no n-gram is rarer than another")
    words = sum(map(len, said)) / count
    figures.notes.append(f"{words:.1f} words said on average; words are compared in lower case, unpunctuated")
    return scores
