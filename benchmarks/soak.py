"""Does a host that lives long stay as it was?

    python benchmarks/soak.py --minutes 120 [--bundle tiny] [--threads 8] [--round 30]
    python benchmarks/soak.py --loads 2000 --chats 10000 --cancels 2000 --exits 200 --forks 100

The first runs a host (benchmarks/soak_host.py) whose threads talk, look at clips, make and save videos,
cancel at random times, load once more, and fork children that load for themselves; every result is compared
with that of a quiet process. After each round all threads rest, and memory, threads and descriptors are read.
Growth is that of a line through the rounds after the warm-up (the first --warm share), fitted by the median
of the slopes between all pairs of rounds (Theil and Sen), over the level at its start.

The second counts (benchmarks/soak_counts.py): growth over so many loads and chats; how long the end of a
cancelled turn takes; how often a process ends badly whose interpreter ends inside a call, or whose child was
forked at some stage.

What is found goes into --json (benchmarks/results/soak.json), beside what stands there of other runs, and the
rounds into a plot beside it (.svg). The last line is JSON. The exit code is 1 where something was bad.
"""

from __future__ import annotations

import argparse
import json
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soak_counts
import soak_plot

import g4v
from g4v._console import machine
from g4v._files import read_json, write_json

RESULTS = Path(__file__).parent / "results" / "soak.json"
MOST_GROWTH = 0.03
HANGS = 180.0  # seconds beyond a round until the host counts as hanging


def quantiles(milliseconds: list[float]) -> dict[str, float]:
    found = np.quantile(milliseconds, (0.5, 0.99)).round(2).tolist()
    return {"count": len(milliseconds), "p50": found[0], "p99": found[1]}


def lines_of(host: subprocess.Popen[str], patience: float) -> Iterator[dict[str, Any]]:
    """The lines that the host writes. TimeoutError: none came for so long."""
    assert host.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(host.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(patience):
                raise TimeoutError
            if not (line := host.stdout.readline()):
                return
            yield json.loads(line)


def soak(arguments: argparse.Namespace) -> dict[str, Any]:
    """Runs the host to its end, and says what became of it."""
    rounds: list[dict[str, Any]] = []
    errors: dict[str, int] = {}
    all_times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        words = [arguments.bundle, folder, arguments.threads, arguments.round, arguments.minutes]
        command = [sys.executable, Path(__file__).with_name("soak_host.py"), *map(str, words)]
        host = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        ended = "well"
        try:
            for line in lines_of(host, arguments.round + HANGS):
                for what, count in line.pop("errors").items():
                    errors[what] = errors.get(what, 0) + count
                times = line.pop("milliseconds")
                for kind, values in times.items():
                    all_times.setdefault(kind, []).extend(values)
                rounds.append(line | {kind: quantiles(values) for kind, values in sorted(times.items())})
                minutes, megabytes = line["seconds"] / 60, line["pss"] / 1e6
                print(
                    f"{minutes:6.1f} min  PSS {megabytes:.0f} MB  errors {sum(errors.values())}", flush=True
                )
        except TimeoutError:
            ended = "hangs"
            host.send_signal(signal.SIGUSR1)  # it writes where its threads are
            time.sleep(5)
            host.kill()
        if code := host.wait():
            ended = ended if ended == "hangs" else f"exit code {code}"
    warm = rounds[int(arguments.warm * len(rounds)) :]
    found: dict[str, Any] = {
        "minutes": round(rounds[-1]["seconds"] / 60, 1) if rounds else 0,
        "threads": arguments.threads,
        "ended": ended,
        "errors": errors,
        "work": {kind: quantiles(values) for kind, values in sorted(all_times.items())},
    }
    if len(warm) > 1:
        seconds = [line["seconds"] for line in warm]
        found["warm_from_minute"] = round(seconds[0] / 60, 1)
        found |= soak_counts.change(seconds, warm)
    good = ended == "well" and not errors and len(warm) > 1
    found["good"] = good and soak_counts.is_steady(found, MOST_GROWTH)
    return found | {"rounds": rounds}


def name_of(bundle: str) -> str:
    """The bundle's name, and what runs its decoder."""
    info = g4v.load(bundle, device="cpu").info
    return f"{info['name']}, decoder by {info['components']['decoder']['provider']}"


def keep(path: Path, what: str, found: dict[str, Any]) -> None:
    """Puts a result in place of an older one of the same name in the file."""
    before = read_json(path) if path.exists() else {}
    write_json(path, before | {what: found | {"machine": machine()}}, indent=1)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--bundle", default="tiny", help="an embedded bundle or a folder; it must make videos"
    )
    parser.add_argument("--minutes", type=float, default=0.0, help="of the soak")
    parser.add_argument("--threads", type=int, default=8, help="of the soak")
    parser.add_argument("--round", type=float, default=30.0, metavar="SECONDS", help="of the soak")
    parser.add_argument("--warm", type=float, default=0.25, help="share of the rounds that warm up")
    for kind in soak_counts.KINDS:
        parser.add_argument(f"--{kind}", type=int, default=0, metavar="N")
    parser.add_argument("--json", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    name = name_of(arguments.bundle)
    results: dict[str, dict[str, Any]] = {}
    if arguments.minutes:
        results[f"soak of {name}"] = found = soak(arguments)
        soak_plot.write(arguments.json.with_suffix(".svg"), found["rounds"], found.get("warm_from_minute", 0))
    for kind, count in soak_counts.KINDS.items():
        if number := getattr(arguments, kind):
            results[f"{kind} of {name}"] = count(arguments.bundle, number)
    for what, found in results.items():
        keep(arguments.json, what, found)
        found.pop("rounds", None)
    print(json.dumps(results))
    return 0 if all(found["good"] for found in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
