"""The C++ builds of the tests, made in the background while other tests run.

    python tests/native_builds.py FOLDER NAME...

makes them in turn, each in FOLDER/NAME, at a low priority. FOLDER/NAME.json says how each went: `error`, its
text where it failed, and `skip`, the reason where it cannot be made here. A process of its own makes them and
no thread: some tests fork.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import fuzz
import sanitizers
from native import ROOT, build_core, run, tool

NVCC = os.environ.get("CUDACXX") or shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
COMPILER = os.environ.get("CXX") or next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
RACE_TESTS = ("test_threads", "test_team", "test_held")
RACE = """
#include <thread>
int main() {
  int x = 0;
  std::thread other([&] { x = 1; });
  x = 2;
  other.join();
  return x - x;
}
"""


class Skip(Exception):
    """The build cannot be made here; the message says why."""


def _core(folder: Path) -> None:
    """Everything a host needs and the C++ tests, with warnings as errors."""
    if COMPILER is None:
        raise Skip("no C++ compiler")
    # A unity build takes less time; what a file forgets to include is found where the package is installed.
    build_core(folder, "-DG4V_WERROR=ON", "-DCMAKE_UNITY_BUILD=ON")


def _cuda(folder: Path) -> None:
    """libg4v_cuda alone, for all architectures; warnings are errors, and so are spilled registers."""
    if NVCC is None:
        raise Skip("no nvcc: CUDA kernels cannot be compiled here")
    options = ["-DG4V_CUDA=ON", "-DG4V_WERROR=ON", "-DG4V_CUDA_ARCHITECTURES=all"]
    _cmake(ROOT, folder, *options, target="g4v_cuda")


def _cuda_host(folder: Path) -> None:
    """The CUDA kernels' own source for the CPU, under the sanitizers."""
    if COMPILER is None:
        raise Skip("no C++ compiler")
    _cmake(ROOT / "tests" / "csrc" / "cuda_host", folder)


def _fuzz(folder: Path) -> None:
    """The fuzz targets, and the test of the kernels, under address and undefined."""
    folder.mkdir()
    compiler = fuzz.find_compiler(folder)
    if compiler is None:
        raise Skip("no C++ compiler here has AddressSanitizer and UndefinedBehaviorSanitizer")
    fuzz.build(folder, compiler)


def _thread(folder: Path) -> None:
    """Tests of threads and the example host under ThreadSanitizer, and FOLDER/race, which has a race."""
    folder.mkdir()
    compiler = fuzz.find_compiler(folder)
    command = [str(compiler), "-fsanitize=thread", "-x", "c++", "-", "-o", str(folder / "race"), "-pthread"]
    if compiler is None or subprocess.run(command, input=RACE, text=True, capture_output=True).returncode:
        raise Skip("no C++ compiler here has ThreadSanitizer")
    settings = sanitizers.settings("thread", "Debug") + ["-DCMAKE_CXX_FLAGS_DEBUG=-O0 -g1"]
    build_core(folder / "build", *settings, targets=(*RACE_TESTS, "chat_host"))


def _cmake(source: Path, folder: Path, *options: str, target: str = "all") -> None:
    configure = [tool("cmake"), "-S", str(source), "-B", str(folder), "-G", "Ninja"]
    run([*configure, f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}", *options])
    run([tool("cmake"), "--build", str(folder), "--parallel", "2", "--target", target])


BUILDS: dict[str, Callable[[Path], None]] = {
    "core": _core,
    "cuda": _cuda,
    "cuda_host": _cuda_host,
    "fuzz": _fuzz,
    "thread": _thread,
}


class Background:
    """The process that makes builds for a run of the tests.

    folder: of the builds; there must be none of these names. names: of BUILDS, in the order of their use.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        command = [sys.executable, __file__, str(folder), *names]
        with (folder / "log.txt").open("w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self, name: str) -> Path:
        """The folder of a build once it is made. Skip: it cannot be made here. AssertionError: it failed."""
        done = self.folder / f"{name}.json"
        while not done.exists():
            ended = self.process.poll() is not None
            assert done.exists() or not ended, (self.folder / "log.txt").read_text(errors="replace")[-5000:]
            time.sleep(0.1)
        said = json.loads(done.read_text("utf-8"))
        if said["skip"]:
            raise Skip(said["skip"])
        assert not said["error"], said["error"]
        return self.folder / name

    def stop(self) -> None:
        """Ends it and its compilers."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def main(folder: Path, names: Sequence[str]) -> None:
    """Makes the builds of these names."""
    os.nice(5)
    for name in names:
        said = {"error": "", "skip": ""}
        try:
            BUILDS[name](folder / name)
        except Skip as skip:
            said["skip"] = str(skip)
        except (AssertionError, subprocess.CalledProcessError) as error:
            said["error"] = str(error)
        part = folder / f"{name}.part"
        part.write_text(json.dumps(said), "utf-8")
        part.rename(folder / f"{name}.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
