"""Builds and runs the C++ tests, so that one pytest command covers both languages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from g4v._core import kernel_versions
from native import ROOT, make_environment, run, tool

pytestmark = pytest.mark.slow


NATIVE_BUILD = "core"


@pytest.fixture(scope="module")
def build(native_build: Path) -> Path:
    """A build of everything a host needs and of the C++ tests."""
    return native_build


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of the tests: where ONNX Runtime, the test graphs and the bundles are."""
    return make_environment(tmp_path_factory.mktemp("models"))


def test_cpp(build: Path, environment: dict[str, str]) -> None:
    """All C++ tests pass; those that need the official header, or AMX, may skip where there is none."""
    report = run([tool("ctest"), "--test-dir", str(build), "--output-on-failure"], env=environment)
    skipped = set(re.findall(r"(test_\w+) \(Skipped\)", report))
    may_skip = {"test_ort_abi"} | (set() if "amx" in kernel_versions(all=True) else {"test_gemm_amx"})
    assert skipped <= may_skip, report
    for name in ("test_ort_session", "test_capi", "test_threads"):
        assert name in report
    assert "100% tests passed" in report


def first_comment_program(header: Path) -> str:
    """The program in the first comment of g4v.h."""
    comment = header.read_text(encoding="utf-8").split("*/")[0]
    comment = comment.split("\n\n   Rules", 1)[0]  # the rules below it are indented like code
    lines = [line[5:] for line in comment.splitlines() if line.startswith("     ")]
    return "\n".join(lines) + "\n"


def test_installed_library_serves_a_consumer(
    build: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """find_package and pkg-config find what is installed; g4v.h's own example program runs as it stands."""
    prefix, project = tmp_path / "prefix", tmp_path / "consumer"
    run([tool("cmake"), "--install", str(build), "--prefix", str(prefix), "--component", "library"])
    shutil.copytree(ROOT / "tests/csrc/consumer", project)
    (project / "ask.c").write_text(first_comment_program(ROOT / "csrc/include/g4v/g4v.h"), encoding="utf-8")
    configure = [tool("cmake"), "-S", str(project), "-B", str(project / "build"), "-G", "Ninja"]
    configure += [f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}", f"-DCMAKE_PREFIX_PATH={prefix}"]
    if extra := os.environ.get("G4V_TEST_CMAKE_ARGS"):
        configure += extra.split()
    run(configure)
    run([tool("cmake"), "--build", str(project / "build")])
    bundle = environment["G4V_TEST_BUNDLE"]
    for program in ("consumer_c", "consumer_cpp"):
        text = run([str(project / "build" / program), bundle, "say a"], env=environment)
        assert text == "Hello, world."
    if shutil.which("pkg-config") and shutil.which("cc"):
        config = next(prefix.glob("lib*/**/pkgconfig"))
        flags = run(
            ["pkg-config", "--cflags", "--libs", "g4v"], env={**environment, "PKG_CONFIG_PATH": str(config)}
        ).split()
        program = tmp_path / "with_pkg_config"
        run(
            [
                "cc",
                "-std=c11",
                "-Wall",
                "-Werror",
                "-pedantic",
                str(project / "ask.c"),
                "-o",
                str(program),
                *flags,
            ]
        )
        libraries = {**environment, "LD_LIBRARY_PATH": str(config.parent)}
        assert run([str(program), bundle, "say a"], env=libraries) == "Hello, world."


def test_library_exports_the_c_functions_alone(build: Path) -> None:
    if not shutil.which("nm"):
        pytest.skip("no nm")
    symbols = run(["nm", "-D", "--defined-only", str(build / "libg4v.so")]).split()[2::3]
    assert "g4v_chat_send" in symbols and all(symbol.startswith("g4v_") for symbol in symbols)


def test_example_host(build: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """The example chats without Python and writes the frames of a video."""
    command = [
        str(build / "chat_host"),
        environment["G4V_TEST_BUNDLE"],
        "--demo-video",
        "--out",
        str(tmp_path),
    ]
    text = run([*command, "say a", "say b"], env=environment)
    assert "Hello, world." in text and "[video: a red circle]" in text and "[video: blue]" in text
    frames = sorted(tmp_path.glob("video1_*.ppm"))
    assert len(frames) == 3 and frames[0].read_bytes().startswith(b"P6\n8 6\n255\n")
    assert frames[0].stat().st_size == len(b"P6\n8 6\n255\n") + 8 * 6 * 3
    failed = subprocess.run([*command, ""], env=environment, capture_output=True, text=True)
    assert failed.returncode == 1 and failed.stderr.strip() == "the prompt is empty"
    assert subprocess.run([command[0]], capture_output=True).returncode == 2


def test_hosts_say_when_frames_are_shown(build: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """Greedy answers about raw frames with their times, in C and C++, are those of Python about the file."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    import numpy as np

    import g4v
    import smolvlm_checkpoint as smol
    from g4v._encode import save_video
    from g4v._sampling import FrameSampling
    from g4v.export.bundle.export import export_bundle
    from g4v.video import read_video

    program = str(tmp_path / "timed_host")
    flags = ["-std=c11", "-Wall", "-Werror", "-pedantic", f"-I{ROOT / 'csrc/include'}"]
    flags += [f"-L{build}", "-lg4v", f"-Wl,-rpath,{build}"]
    run(["cc", str(ROOT / "tests/csrc/timed_host.c"), "-o", program, *flags])
    checkpoint, bundle = tmp_path / "SmolVLM2", tmp_path / "bundle"
    smol.make(checkpoint, seed=7)
    export_bundle(checkpoint, bundle)
    assistant = g4v.load(bundle, device="cpu")
    question, untimed = "What moves here?", 0
    sampling = FrameSampling(64, 1.0, 1.0)
    for seed, (count, fps) in enumerate([(1, 5), (40, 4), (75, 10), (140, 2), (30, 30)]):
        film, raw = tmp_path / f"{seed}.mp4", tmp_path / f"{seed}.raw"
        save_video(film, smol.film(count, seed=seed), fps)
        frames, info = read_video(film, count)
        assert len(frames) == count and info.fps
        np.ascontiguousarray(frames).tofile(raw)
        sizes = [str(size) for size in frames.shape[:3]]
        words = [program, str(bundle), str(raw), *sizes, "12"]

        def ids(*more: object, words: list[str] = words) -> list[int]:
            return [int(line) for line in run([*words, *map(str, more)], env=environment).split()]

        wanted = assistant.chat().ask(question, film, temperature=0, max_new_tokens=12)
        assert ids("fps", repr(info.fps)) == [token.id for token in wanted.tokens]
        untimed += ids("fps", 24) == [token.id for token in wanted.tokens]
        chat = assistant.chat()
        chat.append("What is it?", "A ball.", film)
        second = chat.ask(question, film, temperature=0, max_new_tokens=12)
        assert ids("fps", repr(info.fps), "append") == [token.id for token in second.tokens]
        taken, read = read_video(film, sampling)  # what a host may choose itself
        np.ascontiguousarray(taken).tofile(raw)
        times = sampling.times(read)
        assert times
        words[3] = str(len(taken))
        seconds = [repr(second) for second in times[0]]
        assert ids("seconds", repr(times[1]), *seconds) == [token.id for token in wanted.tokens]
        np.ascontiguousarray(frames).tofile(raw)
        height, width = frames.shape[1:3]
        command = [str(build / "chat_host"), str(bundle), "--video", str(raw), str(width), str(height)]
        answer = assistant.chat(seed=0).ask(question, film).text
        assert run([*command, "--fps", repr(info.fps), question], env=environment).strip() == answer.strip()
    assert untimed < 5, "the times of frames change no answer"
