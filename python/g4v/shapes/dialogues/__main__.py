"""`python -m g4v.shapes.dialogues`: prints dialogues of the shapes world, or counts of them."""

from __future__ import annotations

import sys
import time
from collections import Counter

import numpy as np

from g4v._command import Parser, at_least, run_program
from g4v.shapes.dialogues import KINDS, REGISTRY, Dialogue, sample_dialogue, sample_prose, words_of
from g4v.shapes.world import world


def _print(dialogue: Dialogue) -> None:
    print(f"--- {dialogue.kind}")
    for turn in dialogue.turns:
        if turn.video is not None:
            sign = "unsafe sign, " if turn.video.skull else ""
            print(f"  [clip: {sign}{world.caption(turn.video)}]")
        facts = {k: v for k, v in turn.meta.items() if k in ("intent", "attribute", "expected")}
        print(f"  Human: {turn.user}\n  AI:    {turn.answer}\n         {facts}")


def _stats(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    start = time.perf_counter()
    dialogues = [sample_dialogue(rng) for _ in range(n)]
    seconds = time.perf_counter() - start
    users = Counter(turn.user for d in dialogues for turn in d.turns)
    words = Counter(
        word
        for d in dialogues
        if d.kind not in ("odd", "mixed")
        for turn in d.turns
        for word in words_of(turn.user + " " + turn.answer)
        if turn.meta["intent"] not in ("gibberish", "injected-tags")
    )
    kinds = Counter(d.kind for d in dialogues)
    turns = sum(len(d.turns) for d in dialogues)
    characters = sum(len(t.user) + len(t.answer) for d in dialogues for t in d.turns)
    print(
        f"{n} dialogues, {turns} turns, {characters / n:.0f} characters each, "
        f"{1000 * seconds / n:.3f} ms each"
    )
    print(f"{len(users)} distinct user texts, {len(words)} distinct words")
    print("kinds:", ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()))
    sends = sum(t.meta["sends_video"] for d in dialogues for t in d.turns)
    refusals = sum(t.meta["unsafe"] for d in dialogues for t in d.turns)
    print(f"turns that send a video: {sends / turns:.3f}; refusals: {refusals / turns:.3f}")
    print("intent: cores (held out), forms of the cores without slots")
    for name, wordings in REGISTRY.items():
        train, test = len(wordings.cores["train"]), len(wordings.cores["test"])
        if test:
            forms = sum(1 for _ in wordings.expansions("train"))
            print(f"  {name:28s} {train:4d} ({test:2d}) {forms:7d}")


def main() -> int:
    """Runs the command; returns its exit code."""
    parser = Parser(
        prog="python -m g4v.shapes.dialogues",
        description="Prints dialogues of the shapes world; without --sample and --prose, counts of them.",
        epilog="example: python -m g4v.shapes.dialogues --sample 5 --kind series",
    )
    add = parser.add_argument
    add("--stats", action="store_true", help="counts of words, surface forms and time")
    add("--sample", type=at_least(0), default=0, metavar="N", help="print N dialogues")
    add("--prose", type=at_least(0), default=0, metavar="N", help="print N paragraphs of prose")
    add("--kind", choices=tuple(KINDS), help="the kind of the printed dialogues")
    add("--split", choices=("train", "test"), default="train", help="test: held-out scenes and wordings")
    add("--seed", type=at_least(0), default=0, metavar="N", help="same seed, same dialogues (default: 0)")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    for _ in range(args.sample):
        _print(sample_dialogue(rng, args.split, args.kind))
    for _ in range(args.prose):
        print(sample_prose(rng))
    if args.stats or not (args.sample or args.prose):
        _stats(20000, args.seed)
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
