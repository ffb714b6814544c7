"""`g4v bench serve`: how a server does under load.

An open-loop load: requests come by chance at a given rate (a Poisson process), whatever the server does, so
a server that is too slow shows it in its times and its refusals. Timed as the client sees it, in this
process: from sending a request to the first text of its answer, and between texts. Queue time, places and
memory are what the server tells at /metrics. Answers that come after --duration are waited for. The same
--seed gives the same requests at the same times. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .._command import at_least, number_from
from .._console import ProgressBar, machine
from ..errors import ArgumentError, RuntimeUnavailable
from .common import print_json
from .units import seconds_of

_MIX = {"text": 6.0, "video": 3.0, "generation": 1.0}
_CLIPS = 8
_MOST_REQUESTS = 1_000_000


def add_parser(ways: Any) -> None:
    """Adds `serve` to the subcommands of `g4v bench`."""
    parser = ways.add_parser(
        "serve",
        help="measure a server under load",
        description=__doc__,
        epilog="examples:\n  g4v bench serve\n"
        "  g4v bench serve --url http://127.0.0.1:8000 --rate 20 --duration 5m --disconnect 0.2\n"
        "  g4v bench serve --mix text=1,video=0,generation=0 --first-token 200ms --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the server (default: %(default)s)")
    parser.add_argument(
        "--api-key-file", type=Path, metavar="FILE", help="its first key is sent; as of g4v serve"
    )
    parser.add_argument(
        "--rate", type=number_from(0.001), default=2.0, metavar="X", help="requests a second (default: 2)"
    )
    parser.add_argument(
        "--duration", type=seconds_of, default=60.0, metavar="TIME", help="such as 30s or 5m (default: 60s)"
    )
    parser.add_argument(
        "--mix",
        type=_mix,
        default=_MIX,
        metavar="WEIGHTS",
        help="of questions, questions about a clip, and requests for a video "
        "(default: text=6,video=3,generation=1)",
    )
    parser.add_argument(
        "--disconnect",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="of clients that leave before the end, from 0 to 1 (default: 0)",
    )
    parser.add_argument(
        "--clip", type=Path, metavar="FILE", help="clip of the questions (default: made here)"
    )
    parser.add_argument("--max-tokens", type=at_least(1), metavar="N", help="length of an answer, at most")
    parser.add_argument(
        "--steps", type=at_least(1), metavar="N", help="denoising steps (default: the bundle's)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the load (default: 0)")
    parser.add_argument(
        "--timeout", type=seconds_of, default=120.0, metavar="TIME", help="of one request (default: 120s)"
    )
    group = parser.add_argument_group("what counts as good (default: every whole answer)")
    group.add_argument(
        "--first-token", type=seconds_of, metavar="TIME", help="longest time to the first text"
    )
    group.add_argument(
        "--between-tokens", type=seconds_of, metavar="TIME", help="largest median time between texts"
    )
    parser.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print the JSON line only"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `g4v bench serve`; returns its exit code: 1 where a place was lost. Raises `g4v.Error`."""
    import asyncio  # which the other commands do without

    try:
        from ..serve.bench import clips, load, report
        from ..serve.bench.plan import plan
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "g4v":
            raise
        raise RuntimeUnavailable(
            f'{error.name} is missing; install it with: pip install "g4v[bench]"'
        ) from None
    base = _base(arguments.url)
    key = None if arguments.api_key_file is None else _key(arguments.api_key_file)
    if arguments.rate * arguments.duration > _MOST_REQUESTS:
        raise ArgumentError(f"--rate times --duration is more than {_MOST_REQUESTS} requests; ask for less")
    shown = clips.of_file(arguments.clip) if arguments.clip else clips.made(_CLIPS)
    requests = plan(
        arguments.rate, arguments.duration, arguments.mix, arguments.disconnect, arguments.seed, len(shown)
    )
    with ProgressBar("sending", arguments.duration, quiet=arguments.json) as bar:
        measured = asyncio.run(
            load.run(
                base,
                key,
                requests,
                shown,
                seconds=arguments.duration,
                timeout=arguments.timeout,
                max_tokens=arguments.max_tokens,
                steps=arguments.steps,
                progress=bar.update,
            )
        )
    found = report.figures(measured, arguments.first_token, arguments.between_tokens)
    if not arguments.json:
        print(report.table(found))
    asked = {name: getattr(arguments, name) for name in ("rate", "duration", "mix", "disconnect", "seed")}
    limits = {"first_token_s": arguments.first_token, "between_tokens_s": arguments.between_tokens}
    print_json({"url": base, "asked": asked | limits, **found, "machine": machine()})
    return 1 if found["slots_lost"] else 0


def _base(url: str) -> str:
    """The URL without what follows the host. ArgumentError: it is none of HTTP."""
    try:
        parts = urlsplit(url)
        if (
            parts.scheme in ("http", "https")
            and parts.hostname
            and parts.port != 0
            and "@" not in parts.netloc
        ):
            return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}"
    except ValueError:
        pass
    raise ArgumentError(f"--url {url}: is no URL of a server, such as http://127.0.0.1:8000")


def _key(path: Path) -> str:
    """The first key of a file. ArgumentError: there is none."""
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise ArgumentError(f"--api-key-file {path}: cannot be read: {reason}") from None
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys or not keys[0].isascii() or not keys[0].isprintable():
        raise ArgumentError(f"--api-key-file {path}: its first line has no key; write one")
    return keys[0]


def _mix(text: str) -> dict[str, float]:
    """Weights of "text=6,video=3,generation=1". argparse.ArgumentTypeError: another form."""
    found: dict[str, float] = {}
    for part in text.split(","):
        match = re.fullmatch(r"(text|video|generation)=([0-9]{1,6}(?:\.[0-9]{1,6})?)", part.strip())
        if match is None or match[1] in found:
            raise argparse.ArgumentTypeError(f"{text!r} is no mix, such as text=6,video=3,generation=1")
        found[match[1]] = float(match[2])
    if not sum(found.values()):
        raise argparse.ArgumentTypeError(f"{text!r} asks for nothing; give one of them a weight")
    return found


def _share(text: str) -> float:
    """A number from 0 to 1. argparse.ArgumentTypeError: another one."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to 1, not {text}")
    return value
