"""The arguments of `python -m g4v.data dialogues`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from g4v._command import Parser, at_least, number_from, request_fields
from g4v.data.endpoint.arguments import add_endpoint_arguments

_EPILOG = """environment: OPENAI_API_KEY (the key; it is never printed or written), OPENAI_BASE_URL, G4V_MODEL

example:
  export OPENAI_API_KEY=... OPENAI_BASE_URL=https://host/v1
  python -m g4v.data dialogues captions.csv --out talks --model NAME --dry-run
  python -m g4v.data dialogues captions.csv --out talks --model NAME --max-tokens-total 2000000

The folder gets dialogues.json, report.json, statistics.png, and journal.jsonl with every answer.
Stopped or killed, the same command goes on and asks for nothing twice.
exit codes: 0 done, 1 failed or incomplete, 2 wrong usage, 130 interrupted"""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = Parser(
        prog="python -m g4v.data dialogues",
        description="Writes dialogues around captions with a language model behind an endpoint.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add(
        "captions",
        type=Path,
        metavar="FILE",
        help=".csv (column name), .jsonl (caption, video), or a caption a line",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the result; made if it is missing")
    add("--dry-run", action="store_true", help="print how much would be asked for; send and write nothing")
    add("--no-plots", action="store_true", help="no statistics.png")
    group = result.add_argument_group("captions")
    add = group.add_argument
    add("--limit", type=at_least(1), metavar="N", help="use the first N captions")
    add("--videos", type=Path, metavar="DIR", help="folder of the clips; rows name those that are there")
    add(
        "--bad-rows",
        choices=("skip", "stop"),
        default="skip",
        help="default: skip, and list them in the report",
    )
    group = result.add_argument_group("dialogues")
    add = group.add_argument
    add(
        "--per-caption",
        type=at_least(0, 9),
        default=3,
        metavar="N",
        help="default: 3, in one request; 0: none",
    )
    add(
        "--groups",
        type=at_least(0),
        metavar="N",
        help="most groups of similar captions; 0: none (default: all)",
    )
    add(
        "--group-size",
        type=_range(int),
        default=(2, 3),
        metavar="A-B",
        help="captions of a group (default: 2-3)",
    )
    add(
        "--similarity",
        type=_range(float),
        default=(0.5, 0.97),
        metavar="A-B",
        help="cosine (default: 0.5-0.97)",
    )
    add(
        "--embeddings", default="words", metavar="words|endpoint:MODEL|DIR",
        help="what similar means: shared words (default), /embeddings, or the folder of a sentence encoder",
    )  # fmt: skip
    add(
        "--index",
        choices=("auto", "exact", "approximate"),
        default="auto",
        help="nearest neighbours (default: auto)",
    )
    add("--safety-share", type=_share, default=0.1, metavar="X", help="share of refusals (default: 0.1)")
    add(
        "--unsafe-requests",
        type=Path,
        metavar="FILE",
        help="one a line, or RealToxicityPrompts JSONL (default: own)",
    )
    add(
        "--unsafe-clips",
        type=Path,
        metavar="FILE",
        help="paths of unsafe clips, one a line; each is refused once, beside that share",
    )
    add(
        "--harmless-share",
        type=_share,
        default=0.1,
        metavar="X",
        help="share of harmless requests that sound unsafe, so that not too much is refused (default: 0.1)",
    )
    add(
        "--harmless-requests",
        type=Path,
        metavar="FILE",
        help="as --unsafe-requests; of rated prompts the least toxic (default: own)",
    )
    add("--near-duplicate", type=_share, default=0.8, metavar="X", help="Jaccard of 5-grams (default: 0.8)")
    add(
        "--test-share",
        type=_share,
        default=0.05,
        metavar="X",
        help="captions kept for the test (default: 0.05)",
    )
    add(
        "--seed",
        type=at_least(0),
        default=0,
        metavar="N",
        help="of the order, the split and the unsafe requests (default: 0)",
    )
    group = result.add_argument_group("endpoint")
    add = group.add_argument
    add("--base-url", metavar="URL", help="such as https://host/v1 (default: OPENAI_BASE_URL)")
    add("--model", metavar="NAME", help="default: G4V_MODEL")
    add("--temperature", type=number_from(0), default=0.9, metavar="X", help="default: 0.9")
    add("--max-tokens", type=at_least(1), default=2000, metavar="N", help="of one answer (default: 2000)")
    add(
        "--body", type=request_fields, default={}, metavar="JSON",
        help='more fields of a request; null leaves one out, as in \'{"max_tokens": null}\'',
    )  # fmt: skip
    add(
        "--tries",
        type=at_least(1),
        default=2,
        metavar="N",
        help="answers asked for until one is usable (default: 2)",
    )
    add_endpoint_arguments(group)
    add("--longest-wait", type=number_from(0), default=120.0, metavar="S", help="default: 120")
    group = result.add_argument_group("bounds, over all runs into the folder")
    add = group.add_argument
    add("--max-requests", type=at_least(0), metavar="N", help="failed ones count; 0 only builds the result")
    add("--max-tokens-total", type=at_least(0), metavar="N", help="by the usage that the server reports")
    add("--minutes", type=number_from(0), metavar="M", help="of this run; answers under way are waited for")
    return result


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 0.95:
        raise argparse.ArgumentTypeError(f"must lie in 0 to 0.95, not {text}")
    return value


def _range(kind: Callable[[str], Any]) -> Callable[[str], tuple[Any, Any]]:
    def pair(text: str) -> tuple[Any, Any]:
        low, dash, high = text.partition("-")
        values = kind(low), kind(high if dash else low)
        if values[0] > values[1]:
            raise argparse.ArgumentTypeError(f"{low} is above {high}")
        return values

    return pair
