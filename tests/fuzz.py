"""Runs the fuzzers of tests/csrc/fuzz and tests/python/fuzz, and writes their figures as JSON.

    python tests/fuzz.py --minutes 30 [--out build/fuzz.json] [--only NAME ...] [--seed 1] [--build FOLDER]

The time is shared out evenly. C++ targets are built with Clang, as programs of libFuzzer, where one is
installed that has it, else with another compiler and tests/csrc/fuzz/driver.cc. Inputs of findings are kept
in the folder of the build. The exit code is 1 where there was a finding.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent
SOURCES = TESTS / "csrc" / "fuzz"
CPP = sorted(path.stem.removeprefix("fuzz_") for path in SOURCES.glob("fuzz_*.cc"))
PYTHON = ("safetensors", "lora", "scheduler", "llama", "text-to-video", "towers", "gguf", "video")
_TRIAL = 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }'
SANITIZERS = "-fsanitize=address,undefined"


def find_compiler(work: Path) -> str | None:
    """The best C++ compiler that has the sanitizers: of libFuzzer, else any; None where there is none."""
    clangs = ["clang++", *(f"clang++-{version}" for version in range(25, 13, -1))]
    others = [os.environ.get("CXX", ""), "c++", "g++", *clangs]
    for names, flags, text in (
        (clangs, ["-fsanitize=fuzzer"], _TRIAL),
        (
            others,
            ["-fsanitize-coverage=trace-pc"],
            'extern "C" void __sanitizer_cov_trace_pc() {} int main() {}',
        ),
    ):
        for name in filter(None, names):
            found = shutil.which(name)
            command = [
                str(found),
                "-x",
                "c++",
                "-",
                "-std=c++20",
                SANITIZERS,
                *flags,
                "-o",
                str(work / "trial"),
            ]
            if found and not subprocess.run(command, input=text, text=True, capture_output=True).returncode:
                return found
    return None


def build(folder: Path, compiler: str) -> None:
    """Builds all C++ targets. CalledProcessError: they do not build."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    cmake, ninja = shutil.which("cmake", path=path), shutil.which("ninja", path=path)
    configure = [str(cmake), "-S", str(SOURCES), "-B", str(folder), f"-DCMAKE_CXX_COMPILER={compiler}"]
    if ninja:
        configure += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
    if launcher := shutil.which("ccache"):
        configure += [f"-DCMAKE_CXX_COMPILER_LAUNCHER={launcher}"]
    for command in (configure, [str(cmake), "--build", str(folder), "--parallel", "2"]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def run_cpp(name: str, folder: Path, seconds: float, seed: int = 1) -> dict[str, Any]:
    """Runs one C++ target on its corpus and on changed inputs; returns its figures."""
    grown = folder / "corpus" / name
    grown.mkdir(parents=True, exist_ok=True)
    command = [str(folder / f"fuzz_{name}"), f"-max_total_time={max(1, round(seconds))}", f"-seed={seed}"]
    command += ["-max_len=8192", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]
    command += [f"-artifact_prefix={folder}/{name}-", str(grown), str(SOURCES / "corpus" / name)]
    begin = time.monotonic()
    result = subprocess.run(command, capture_output=True, text=True, errors="replace")
    count = re.search(r"number_of_executed_units: (\d+)", result.stderr)
    figures = {"target": name, "language": "C++", "inputs": int(count[1]) if count else 0}
    figures["seconds"] = round(time.monotonic() - begin, 1)
    figures["findings"] = []
    if result.returncode:
        lines = [
            line for line in result.stderr.splitlines() if re.search(r"FINDING|ERROR|runtime error", line)
        ]
        files = sorted(map(str, folder.glob(f"{name}-*")), key=os.path.getmtime)
        figures["findings"] = [{"what": "\n".join(lines[:3]) or result.stderr[-2000:], "input": files[-1:]}]
    return figures


def run_python(name: str, folder: Path, seconds: float, seed: int = 1) -> dict[str, Any]:
    """Runs one Python fuzzer in processes of its own; one that dies is a finding, and the next goes on."""
    work = folder / name
    work.mkdir(parents=True, exist_ok=True)
    # A pool of memory for each thread would count as memory that the input asks for.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}
    environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "critical"}
    figures: dict[str, Any] = {
        "target": name,
        "language": "Python",
        "inputs": 0,
        "seconds": 0.0,
        "findings": [],
    }
    while figures["seconds"] < seconds and len(figures["findings"]) < 20:
        progress = work / "progress"
        progress.unlink(missing_ok=True)
        command = [sys.executable, "-W", "ignore", "-m", "python.fuzz", name, "--work", str(work)]
        command += ["--seconds", str(seconds - figures["seconds"]), "--seed", str(seed)]
        command += ["--first", str(figures["inputs"])]
        result = subprocess.run(command, cwd=TESTS, env=environment, capture_output=True, text=True)
        try:
            found = json.loads(result.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            if not progress.exists():
                raise RuntimeError(f"{name} does not start:\n{result.stderr[-3000:]}") from None
            count, passed = progress.read_text().split()
            kept = work / f"{name}-{seed}-{figures['inputs'] + int(count) - 1}"
            shutil.copy(work / "current", kept)
            what = f"the process ended ({result.returncode}):\n{result.stderr[-3000:]}"
            found = {"inputs": int(count), "seconds": float(passed) + 10}
            found["findings"] = [{"what": what, "input": str(kept)}]
        figures["inputs"] += found["inputs"]
        figures["accepted"] = figures.get("accepted", 0) + found.get("accepted", 0)
        figures["seconds"] = round(figures["seconds"] + found["seconds"], 1)
        figures["findings"] += found["findings"]
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/fuzz.py", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--only", nargs="+", choices=[*CPP, *PYTHON], default=[*CPP, *PYTHON])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("build/fuzz.json"))
    parser.add_argument("--build", type=Path, default=Path("build/fuzz"))
    options = parser.parse_args()
    folder = options.build.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    compiler = find_compiler(folder) if set(options.only) & set(CPP) else ""
    if compiler is None:
        print(
            "no C++ compiler has the sanitizers: install clang, or leave those targets out", file=sys.stderr
        )
        return 2
    if compiler:
        build(folder, compiler)
    each = options.minutes * 60 / len(options.only)
    targets = []
    for name in options.only:
        run = run_cpp if name in CPP else run_python
        targets.append(run(name, folder, each, options.seed))
        print(json.dumps(targets[-1]), flush=True)
        about = {"seed": options.seed, "compiler": Path(compiler).name, "targets": targets}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(about, indent=2) + "\n", "utf-8")
    return int(any(target["findings"] for target in targets))


if __name__ == "__main__":
    sys.exit(main())
