"""Runs the whole core under sanitizers: C++ tests, the example host on the embedded bundle, fuzz targets.

    python tests/sanitizers.py [--only address] [--only thread] [--build FOLDER] [--fuzz-seconds 2]

`address` is AddressSanitizer with UndefinedBehaviorSanitizer, `thread` is ThreadSanitizer. The core is one of
CMake's unity builds, which take less time. The exit code is 1 where anything was found. The figures of a run
are in docs/safety.md.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import fuzz
from native import ROOT, build_core, make_environment, tool

SANITIZERS = {"address": "address,undefined", "thread": "thread"}
SUPPRESSIONS = ROOT / "tests" / "csrc" / "sanitizers"
QUESTIONS = ("What moves here?", "Show me a red circle moving left", "Show me a blue star growing")


def settings(kind: str, build_type: str = "RelWithDebInfo") -> list[str]:
    """What CMake is told for a build under a sanitizer."""
    return [
        f"-DG4V_SANITIZE={SANITIZERS[kind]}",
        f"-DCMAKE_BUILD_TYPE={build_type}",
        "-DCMAKE_UNITY_BUILD=ON",
    ]


def options(kind: str) -> dict[str, str]:
    """Variables that make a finding end the program with an error, and name what is known and left."""
    if kind == "thread":
        return {"TSAN_OPTIONS": f"halt_on_error=1:suppressions={SUPPRESSIONS / 'thread.txt'}"}
    return {
        # Not detect_stack_use_after_return: with GCC 12 the whole core then ended with SIGSEGV in a kernel of
        # AVX-512 once, the kernel alone does not; the cause is not known (docs/safety.md).
        "ASAN_OPTIONS": "strict_string_checks=1",
        "LSAN_OPTIONS": f"suppressions={SUPPRESSIONS / 'leak.txt'}:print_suppressions=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }


def run_tests(build: Path, environment: dict[str, str], *only: str) -> subprocess.CompletedProcess[str]:
    """The C++ tests of a build, or those of these names."""
    command = [tool("ctest"), "--test-dir", str(build), "--output-on-failure", "--timeout", "900"]
    if only:
        command += ["-R", f"^({'|'.join(only)})$"]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def run_host(
    build: Path, environment: dict[str, str], out: Path, questions: Sequence[str] = QUESTIONS
) -> subprocess.CompletedProcess[str]:
    """The example host on the embedded bundle: a turn about a video for each question, which may make one."""
    out.mkdir(parents=True, exist_ok=True)
    bundle = ROOT / "python" / "g4v" / "bundles" / "tiny"
    command = [str(build / "chat_host"), str(bundle), "--demo-video", "--out", str(out), *questions]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def failed(step: str, result: subprocess.CompletedProcess[str]) -> bool:
    """Prints how a step went; whether it failed."""
    skipped = sorted(set(re.findall(r"(test_\w+) \(Skipped\)", result.stdout)))
    left_out = f"; skipped: {', '.join(skipped)}" if skipped else ""
    print(f"{step}: {'found something' if result.returncode else 'clean'}{left_out}", flush=True)
    if result.returncode:
        print(result.stdout[-20000:], result.stderr[-20000:], sep="\n", flush=True)
    return result.returncode != 0


def run_fuzzers(folder: Path, seconds: float) -> bool:
    """Every C++ fuzz target under address and undefined; whether one found something."""
    folder.mkdir(parents=True, exist_ok=True)
    compiler = fuzz.find_compiler(folder)
    if compiler is None:
        print("fuzz targets: no compiler here has the sanitizers", flush=True)
        return True
    fuzz.build(folder, compiler)
    found = [figures for name in fuzz.CPP if (figures := fuzz.run_cpp(name, folder, seconds))["findings"]]
    print(f"fuzz targets: {len(fuzz.CPP)}, {'found something' if found else 'clean'}", *found, sep="\n")
    return bool(found)


def main() -> int:
    """Runs what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=SANITIZERS, action="append", help="default: both")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "sanitizers", metavar="FOLDER")
    parser.add_argument("--fuzz-seconds", type=float, default=2.0, metavar="N", help="for each target")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.build / "models", ignore_errors=True)  # of a run before
    environment = make_environment(arguments.build / "models")
    wrong = False
    for kind in arguments.only or SANITIZERS:
        begin, before = time.monotonic(), _processor_seconds()
        build = build_core(arguments.build / kind, *settings(kind))
        _tell(f"{kind}: built", begin, before)
        variables = environment | options(kind)
        wrong |= failed(f"{kind}: C++ tests", run_tests(build, variables))
        # In a video ONNX Runtime's threads hand results to our convolutions. Each looks like a race that is
        # left out one by one: the first video was not made after ten minutes.
        asked = QUESTIONS[:1] if kind == "thread" else QUESTIONS
        host = run_host(build, variables, arguments.build / "videos", asked)
        wrong |= failed(f"{kind}: example host", host)
        if kind == "address":
            wrong |= run_fuzzers(arguments.build / "fuzz", arguments.fuzz_seconds)
        _tell(f"{kind}: done", begin, before)
    return int(wrong)


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _tell(what: str, begin: float, before: float) -> None:
    cores = len(os.sched_getaffinity(0))
    took, used = time.monotonic() - begin, _processor_seconds() - before
    print(f"{what} after {took:.0f} s on {cores} cores, {used:.0f} s of processor time", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
