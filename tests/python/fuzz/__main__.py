"""Runs one fuzzer in this process and writes what it found as JSON: a line on standard output.

    python -m python.fuzz TARGET --seconds S --seed N --first K --work FOLDER     (in the folder tests)
    python -m python.fuzz TARGET --replay FILE

Input K of a seed is always the same. A finding is any exception but g4v.errors.Error, a message of more than
one line, an input that takes more than 10 s, and memory of more than 2 GiB beyond that of the libraries. The
input under way is in FOLDER/current: where the process dies, that is the one.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path

from g4v.errors import Error

from .mutation import Mutator
from .targets import TARGETS

SLOWEST = 10  # seconds for one input
MOST_MEMORY = 2 << 30  # bytes


def limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MOST_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def check(target: object, data: bytes) -> tuple[bool, str]:
    """Whether an input was accepted, and what is wrong: "" where nothing is."""
    faulthandler.dump_traceback_later(SLOWEST, exit=True)
    try:
        target.run(data)  # type: ignore[attr-defined]
        return True, ""
    except Error as error:
        message = str(error)
        if not message or "\n" in message:
            return False, f"a message that is no line: {message!r:.200}"
        return False, ""
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "/fuzz/" not in f.filename]
        ours = [f for f in frames if "g4v" in f.filename or "/export/" in f.filename] or frames
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno} {ours[-1].line}" if ours else ""
        return False, f"{type(error).__name__}: {error!s:.200} at {where}"
    finally:
        faulthandler.cancel_dump_traceback_later()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m python.fuzz")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--replay", type=Path)
    options = parser.parse_args()
    work = options.work or Path(os.environ.get("TMPDIR", "/tmp")) / f"g4v-fuzz-{os.getpid()}"
    work.mkdir(parents=True, exist_ok=True)
    target = TARGETS[options.target](work)
    if options.replay:
        print(check(target, options.replay.read_bytes()))
        return 0
    target.run(target.sound())  # and libraries are imported, which takes its time
    limit_memory()
    count, taken, findings = 0, 0, {}
    begin = time.monotonic()
    while time.monotonic() - begin < options.seconds:
        number = options.first + count
        data = target.make(Mutator(options.seed * 1_000_003 + number))
        (work / "current").write_bytes(data)
        (work / "progress").write_text(f"{count + 1} {time.monotonic() - begin:.3f}")
        accepted, why = check(target, data)
        count, taken = count + 1, taken + accepted
        if why and why.split(" at ")[-1] not in findings:
            name = f"{options.target}-{options.seed}-{number}"
            (work / name).write_bytes(data)
            findings[why.split(" at ")[-1]] = {"input": str(work / name), "what": why}
    print(
        json.dumps(
            {
                "target": options.target,
                "inputs": count,
                "accepted": taken,
                "seconds": round(time.monotonic() - begin, 3),
                "findings": list(findings.values()),
            }
        )
    )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
