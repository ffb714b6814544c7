"""The C++ core is a ladder: a file includes files of its own room and of the floors below, and no files
include each other in a circle.
"""

from __future__ import annotations

import re
from pathlib import Path

CSRC = Path(__file__).resolve().parents[2] / "csrc"

# From the bottom. Rooms of one floor do not know each other.
LADDER = (
    ("base",),  # errors, JSON, files, random numbers
    ("kernels",),  # attention, norms and products on CPUs and GPUs
    ("ort",),  # ONNX Runtime: its library, sessions, our operators
    ("bundle",),  # g4v.json and the files that it lists
    ("video", "text"),  # frames and their preprocessing; tokenizers
    ("vision", "decoder", "diffusion"),  # video -> tokens; tokens -> text; caption -> video
    ("chat",),  # turns, their events, the frame checker
    ("capi", "bindings"),  # C and Python
)
FLOOR = {room: floor for floor, rooms in enumerate(LADDER) for room in rooms}
STAND_INS = "cuda_host/"  # of tests/csrc: the CUDA kernels on a host without CUDA
PUBLIC = "g4v"  # csrc/include/g4v: for hosts, implemented by capi
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def sources() -> dict[str, list[str]]:
    """Each source file of the core, from csrc/, and what it includes between quotes."""
    files = [path for room in FLOOR for path in (CSRC / room).rglob("*") if path.is_file()]
    found = {}
    for path in files:
        if path.suffix in (".cc", ".h", ".cu", ".cuh", ".in"):
            names = INCLUDE.findall(path.read_text("utf-8"))
            found[path.relative_to(CSRC).as_posix()] = [n for n in names if not n.startswith(STAND_INS)]
    return found


def resolve(includer: str, name: str) -> str:
    """The file that is included, from csrc/. Files of kernels/cuda name their neighbours alone."""
    beside = Path(includer).parent / name
    if not (CSRC / name).is_file() and (CSRC / beside).is_file():
        return beside.as_posix()
    return name


def test_every_room_has_a_floor() -> None:
    rooms = {path.name for path in CSRC.iterdir() if path.is_dir()}
    assert rooms == FLOOR.keys() | {"include", "examples"}
    assert {name.split("/")[0] for name in sources()} == FLOOR.keys()


def test_files_include_downwards() -> None:
    wrong = []
    for includer, names in sources().items():
        room = includer.split("/")[0]
        for name in names:
            other = resolve(includer, name).split("/")[0]
            if other == PUBLIC:
                allowed = room == "capi"
            else:
                allowed = other == room or FLOOR.get(other, len(LADDER)) < FLOOR[room]
            if not allowed:
                wrong.append(f"{includer} includes {name}")
    assert not wrong, "\n".join(wrong)


def test_what_is_included_is_there() -> None:
    wrong = [
        f"{includer} includes {name}"
        for includer, names in sources().items()
        for name in names
        if not (CSRC / resolve(includer, name)).is_file() and not (CSRC / "include" / name).is_file()
    ]
    assert not wrong, "\n".join(wrong)


def test_no_file_includes_itself_in_a_circle() -> None:
    includes = {
        includer: [resolve(includer, name) for name in names] for includer, names in sources().items()
    }
    done: set[str] = set()

    def visit(file: str, path: tuple[str, ...]) -> None:
        assert file not in path, " -> ".join((*path[path.index(file) :], file))
        if file in done:
            return
        for other in includes.get(file, ()):
            visit(other, (*path, file))
        done.add(file)

    for file in includes:
        visit(file, ())


def test_examples_need_the_public_headers_alone() -> None:
    for path in [*(CSRC / "examples").iterdir(), *(CSRC / "include").rglob("*.h*")]:
        for name in INCLUDE.findall(path.read_text("utf-8")):
            assert name.startswith("g4v/"), f"{path.name} includes {name}"


def test_the_interpreters_lock_is_taken_in_one_place() -> None:
    """csrc/bindings/gil.h outlives the interpreter; pybind11's guards, and CPython's, do not."""
    other = re.compile(r"gil_scoped_|release_gil_before|PyEval_\w+Thread|PyGILState_|Py_BEGIN_ALLOW_THREADS")
    for path in (CSRC / "bindings").iterdir():
        if path.stem != "gil":
            assert not other.search(path.read_text("utf-8")), path.name


def test_threads_start_where_forks_wait() -> None:
    """csrc/base/process.h says why: a child of a fork beside it may end with a double free."""
    makes = re.compile(r"std::(async|jthread)\b|std::thread\s*[({]|pthread_create")
    wrong = [name for name in sources() if makes.search((CSRC / name).read_text("utf-8"))]
    assert wrong == ["base/process.h"]
