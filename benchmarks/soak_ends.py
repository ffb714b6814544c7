"""The counts of benchmarks/soak.py of how processes end, each a child that is forked of a process of its own.

exits    the interpreter ends at a random time while threads are inside a call; so many times for each call
         of tests/python/test_process.py, on the bundle of the tests (that of --bundle is not used)
forks    children that load, answer and end, forked at each of STAGES; so many of each
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import soak_host

import g4v

REPOSITORY = Path(__file__).parents[1]
STAGES = {
    "before a load": "pass",
    "in the middle of a load": "load()",
    "after a load": "pass",
    "in a turn": 'assistant.chat().ask("Hello")',
    "in a video": 'assistant.generate("a red circle", steps=2)',
    "in a close": 'events = assistant.chat().send("Hello"); next(events); events.close()',
}


def each(kind: str, bundle: str, number: int, cases: Iterable[str]) -> dict[str, Any]:
    """The exit codes of so many children of each case; two cases at a time, each in a process of its own."""

    def run(case: str) -> dict[str, Any]:
        program = [sys.executable, __file__, kind, bundle, str(number), case]
        done = subprocess.run(program, capture_output=True, text=True)
        codes = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
        if done.returncode or codes != {"0": number}:
            print(case, codes, done.returncode, done.stderr[-9000:], file=sys.stderr)
        return {"exit_codes": codes, "exit_code_of_the_parent": done.returncode}

    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(cases, pool.map(run, cases), strict=True))
    good = all(row == {"exit_codes": {"0": number}, "exit_code_of_the_parent": 0} for row in found.values())
    return {"number": number, "cases": found, "good": good}


def forks(bundle: str, number: int) -> dict[str, Any]:
    """For each stage: the main thread forks at random times while another one is there."""
    return each("forks", bundle, number, STAGES)


def exits(bundle: str, number: int) -> dict[str, Any]:
    """For each call: the interpreter ends at a random time while daemon threads are inside."""
    sys.path.insert(0, str(REPOSITORY))
    from tests.python.synthetic_bundle import write_bundle
    from tests.python.test_process import CALLS

    with tempfile.TemporaryDirectory() as folder:
        write_bundle(Path(folder) / "bundle")
        return each("exits", str(Path(folder) / "bundle"), number, CALLS)


def forks_at(bundle: str, number: int, stage: str) -> dict[str, int]:
    """The exit codes of the children, which load for themselves, and how many there are of each."""

    def load() -> g4v.Assistant:
        return g4v.load(bundle, device="cpu", threads=1)

    names: dict[str, Any] = {"load": load}
    if stage != "before a load":
        names["assistant"] = load()
    over = threading.Event()
    code = compile(STAGES[stage], stage, "exec")

    def work() -> None:
        while not over.is_set():
            exec(code, dict(names))

    worker = threading.Thread(target=work)
    if STAGES[stage] != "pass":
        worker.start()
    rng = random.Random(stage)
    codes: Counter[str] = Counter()
    for _ in range(number):
        time.sleep(rng.uniform(0, 0.3) if worker.ident else 0)
        pid = os.fork()
        if pid == 0:
            assert load().chat().ask("Hello").text.startswith("Hi")
            sys.exit(0)  # as a program ends, with an interpreter that is taken down
        codes[str(soak_host.exit_code(pid))] += 1
    over.set()
    if worker.ident:
        worker.join()
    return codes


def exits_at(bundle: str, number: int, name: str) -> dict[str, int]:
    """The exit codes of the children, and how many there are of each; words on stderr count as another.

    A child is forked where nothing but modules is loaded, which is sooner than a new interpreter, and ends
    as that does: through the end of its main module.
    """
    sys.path.insert(0, str(REPOSITORY))
    from tests.python.test_process import CALLS, EXIT, START

    program = compile(START + textwrap.dedent(EXIT), name, "exec")
    rng = random.Random(name)
    codes: Counter[str] = Counter()
    for _ in range(number):
        moment = str(rng.uniform(0, 0.3))
        with tempfile.TemporaryFile() as words:
            pid = os.fork()
            if pid == 0:
                os.dup2(words.fileno(), 2)
                sys.argv[1:] = [bundle, CALLS[name], moment]
                exec(program, vars(sys.modules["__main__"]))
                sys.exit(0)
            code = str(soak_host.exit_code(pid))
            words.seek(0)
            if said := words.read().decode("utf-8", "replace"):
                code += " and words"
                print(f"{name} at {moment} s:", said[-2000:], file=sys.stderr)
        codes[code] += 1
    return codes


def main() -> None:
    """Arguments: kind, bundle, number, case."""
    kind, bundle, number, case = sys.argv[1:]
    works: dict[str, Callable[..., Any]] = {"forks": forks_at, "exits": exits_at}
    print(json.dumps(works[kind](bundle, int(number), case)))


if __name__ == "__main__":
    main()
