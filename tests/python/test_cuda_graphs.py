"""The abstractor as CUDA graphs: what is asked of ONNX Runtime, and that what it asks for is kept to. No test
but the last needs a GPU: csrc/fake_cuda_onnxruntime.c stands in for the CUDA provider, computes on the
processor and refuses what the real one would fail at or get wrong.

Functions without `test_` run in a process of their own, which loads that library.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import g4v
from g4v import _core
from g4v._runtime import import_core, onnxruntime_directories, preload_cuda

from . import synthetic_bundle as toy
from .talking import History, ask, chain, text_of, video

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "tests" / "csrc" / "fake_cuda_onnxruntime.c"
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(
    not COMPILER or not sys.platform.startswith("linux"), reason="needs a C compiler, on Linux"
)


def cuda_problem():
    preload_cuda()
    try:
        import_core().probe_device("cuda", directories=onnxruntime_directories())
        return None
    except g4v.Error as error:
        return str(error)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    library = tmp_path_factory.mktemp("stand_in") / "libonnxruntime.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    return library


@pytest.fixture(scope="module", params=[True, False], ids=["memory", "features"])
def kept(request, tmp_path_factory):
    """A bundle whose abstractor reads what is kept of frames, and one whose abstractor reads features."""
    folder = tmp_path_factory.mktemp("bundle")
    toy.write_bundle(folder, keeps_frames=request.param)
    return folder


@pytest.fixture
def run(stand_in, tmp_path):
    """Calls a function of this module in a process of its own; returns its result and the stand-in's log."""

    def call(function, *arguments, fault=""):
        log = tmp_path / f"log{len(list(tmp_path.glob('log*')))}"
        (real,) = Path(onnxruntime_directories()[0]).glob("libonnxruntime.so*")
        script = (
            "import json, sys; from tests.python import test_cuda_graphs as tests; "
            f"print(json.dumps(tests.{function.__name__}(*json.loads(sys.argv[1]))))"
        )
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                script,
                json.dumps([str(a) if isinstance(a, Path) else a for a in arguments]),
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "G4V_ONNXRUNTIME": str(stand_in),
                "G4V_REAL_ONNXRUNTIME": str(real),
                "G4V_FAKE_CUDA_LOG": str(log),
                "G4V_FAKE_CUDA_FAULT": fault,
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        lines = log.read_text().splitlines() if log.exists() else []
        return json.loads(done.stdout), lines

    return call


def load(folder, **options):
    assistant = _core.Assistant.load(str(folder), device="cuda", threads=1, **options)
    assistant.wait_until_ready()  # a graph is captured while nothing else uses the GPU
    return assistant


def film(levels):
    return np.concatenate([video(level, 1) for level in levels])


# In the processes


def talk(folder, cuda_graphs):
    """Each turn asks for a checksum that is right only if the video tokens are those of all its frames."""
    chat, history = load(folder, cuda_graphs=cuda_graphs).chat(), History(toy.Vocabulary())
    for levels in ([10, 20], [10, 20, 30], [20, 30, 80], [80, 90], [5, 5, 80]):
        history.ask("tell h", round(float(np.mean(levels))))
        expected = history.checksum()
        assert text_of(ask(chat, "tell h", film(levels))) == f"#{expected:02}"
        history.answer([history.vocabulary.history + expected])


def talk_at_once(folder):
    """Conversations on threads of their own, each with its videos, while others keep the device at work."""
    assistant, wrong, done = load(folder, cuda_graphs=True), [], threading.Event()

    def work():
        other = load(folder)
        while not done.is_set():
            try:
                ask(other.chat(), "say a", film([255, 255]))  # white frames take their time
            except Exception as error:
                wrong.append(repr(error))

    def speak(number):
        try:
            chat, history = assistant.chat(), History(toy.Vocabulary())
            for turn in range(6):
                levels = [
                    20 * number + 2 * turn,
                    *range(2 * number, 2 * number + 2 * (turn % 3), 2),
                ]  # no mean of n.5
                history.ask("tell h", round(float(np.mean(levels))))
                expected = history.checksum()
                assert text_of(ask(chat, "tell h", film(levels))) == f"#{expected:02}"
                history.answer([history.vocabulary.history + expected])
        except Exception as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=speak, args=[number]) for number in range(4)]
    worker = threading.Thread(target=work)
    for thread in (worker, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    worker.join()
    # One more turn of each number of frames, when nothing else is under way.
    for count in (1, 2, 3):
        ask(assistant.chat(), "say a", film(range(count)))
    return wrong


def abstract(folder, most):
    """Video tokens of growing numbers of frames, and how many graphs there are after each."""
    core = _core.testing.BundleAbstractor(str(folder), 4, 1, device="cuda", cuda_graphs=most)
    found = []
    for count in (1, 2, 3, 3, 2, 1):
        features = np.arange(count * 8, dtype=np.float32).reshape(count, 2, 4) / 50
        tokens, _ = core.run(features, list(range(count)))
        found.append([tokens.tolist(), core.cuda_graphs])
    try:
        core.run(np.zeros((5, 2, 4), np.float32), list(range(5)))
    except g4v.ArgumentError as error:
        found.append(str(error))
    return found


def fail(folder):
    """The error of loading, or those of two turns with a video and the answer of one without."""
    try:
        chat = load(folder, cuda_graphs=True).chat()
    except g4v.Error as error:
        return f"{type(error).__name__}: {error}"
    found = []
    for _ in range(2):
        try:
            ask(chat, "say a", film([1, 2]))
        except g4v.Error as error:
            found.append(f"{type(error).__name__}: {error}")
    history = History(toy.Vocabulary())
    history.ask("say a")
    answer = text_of(ask(chat, "say a"))
    return [
        *found,
        answer == text_of(ask(load(folder).chat(), "say a")) and bool(chain(history.vocabulary, "a")),
    ]


def cancel(folder):
    """A turn that is stopped, then one that is not."""
    chat = load(folder, cuda_graphs=True).chat()
    stream = chat.send("say a", film([1, 255, 3]))
    stream.cancel()
    stopped = False
    try:
        list(stream)
    except g4v.Cancelled:
        stopped = True
    return [stopped, bool(text_of(ask(chat, "say a", film([1, 2, 3]))))]


# What is asked for


@needs_compiler
def test_graphs_by_the_number_of_frames(run, kept):
    _, log = run(talk, kept, True)
    sizes = [f"[{frames},2,4]" for frames in (2, 2, 3, 3, 3, 2, 3)]
    kinds = ["single", "capture 1", "single", "capture 2", "replay 2", "replay 1", "replay 2"]
    assert log == [
        "option enable_cuda_graph=1",
        *(f"{kind} {size}" for kind, size in zip(kinds, sizes, strict=True)),
    ]


@needs_compiler
def test_nothing_is_asked_for_without_the_option(run, kept):
    assert run(talk, kept, False)[1] == []


@pytest.mark.slow
@needs_compiler
def test_conversations_at_once(run, kept):
    """The stand-in refuses two threads, two runs at once, and all work beside a capture."""
    wrong, log = run(talk_at_once, kept)
    assert wrong == []
    assert sum(not line.startswith("capture") for line in log) == 1 + 4 * 6 + 3
    captured = [line.split()[1:] for line in log if line.startswith("capture")]
    assert sorted(number for number, _ in captured) == ["1", "2", "3"]
    assert sorted(size for _, size in captured) == ["[1,2,4]", "[2,2,4]", "[3,2,4]"]


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("most", [0, 2, 32])
def test_numbers_of_frames_beyond_the_bound(run, kept, most):
    *found, refusal = run(abstract, kept, most)[0]
    assert [graphs for _, graphs in found] == [min(n, most) for n in (1, 2, 3, 3, 3, 3)]
    assert "room for 4 frames of one size" in refusal
    single, log = [f"single [{n},2,4]" for n in (1, 2, 3)], run(abstract, kept, most)[1]
    assert [line for line in log if "single" in line] == {
        0: [single[i] for i in (0, 1, 2, 2, 1, 0)],
        2: [*single, single[2]],
        32: single,
    }[most]
    if most:
        assert [tokens for tokens, _ in found] == [tokens for tokens, _ in run(abstract, kept, 0)[0][:-1]]


@needs_compiler
def test_a_capture_that_fails_is_told_each_time(run, kept):
    (first, second, talks), log = run(fail, kept, fault="capture")
    assert first.startswith("RuntimeUnavailable: the CUDA graph for 2 frames cannot be captured (running ")
    assert "CUDA failure 901" in first and first.endswith("); load the bundle without cuda_graphs")
    assert "\n" not in first and second == first and talks
    # One run ahead of the capture, and none in its place.
    assert log == ["option enable_cuda_graph=1", "single [2,2,4]"]


@needs_compiler
def test_a_graph_that_cannot_be_captured_is_refused_at_once(run, kept):
    text, _ = run(fail, kept, fault="load")
    assert (
        text.startswith("RuntimeUnavailable: ") and "have not been partitioned" in text and "\n" not in text
    )
    assert text.endswith(
        "export the bundle with --target cuda, whose graphs can be captured, or load it without cuda_graphs"
    )


@needs_compiler
def test_a_turn_can_be_stopped(run, kept):
    (_, answered), _ = run(cancel, kept)
    assert answered


# Where there is no GPU


def test_the_processor_has_no_cuda_graphs(bundle_dir, tmp_path):
    with pytest.raises(g4v.ArgumentError, match='cuda_graphs needs a GPU, and device is "cpu"; load'):
        g4v.load(bundle_dir, device="cpu", cuda_graphs=True)
    with pytest.raises(g4v.ArgumentError, match="cuda_graphs is 1; it must be True or False"):
        g4v.load(bundle_dir, cuda_graphs=1)
    if not cuda_problem():
        pytest.skip("CUDA works here")
    with pytest.raises(g4v.RuntimeUnavailable, match="cuda_graphs needs a GPU that can be used: this ONNX"):
        g4v.load(bundle_dir, cuda_graphs=True)


@needs_compiler
def test_a_bundle_that_sees_no_videos_has_none(run, tmp_path):
    toy.write_bundle(tmp_path / "bundle", without=("abstractor",))
    text, _ = run(fail, tmp_path / "bundle")
    assert text.startswith("BundleError: cuda_graphs are of the abstractor, and this bundle sees no videos")


# Where there is one


@pytest.mark.gpu
def test_graphs_give_what_single_launches_give(tmp_path):
    """The exporter's CUDA graph at small sizes, on a real GPU."""
    problem = cuda_problem()
    if problem:
        pytest.skip(problem)
    pytest.importorskip("torch")
    export = pytest.importorskip("g4v.export.graph.cuda")
    from tests.export.components.test_frame_memory import TOKENS, write_bundle

    write_bundle(tmp_path, export.CudaLowering(), target="cuda")
    features = np.random.default_rng(0).standard_normal((6, TOKENS, 64), np.float32)
    options = {"library_dirs": onnxruntime_directories(), "device": "cuda"}
    graphs, single = (
        _core.testing.BundleAbstractor(str(tmp_path), 6, 1, cuda_graphs=n, **options) for n in (32, 0)
    )
    plain = _core.testing.BundleAbstractor(str(tmp_path), 6, 1, **options)
    for count in (1, 6, 3, 6, 1, 3):
        expected = plain.run(features[:count], list(range(count)))[0]
        for core in (graphs, single):
            tokens = core.run(features[:count], list(range(count)))[0]
            assert np.abs(tokens - expected).max() <= 1e-6 * np.abs(expected).max()
    assert (graphs.cuda_graphs, single.cuda_graphs) == (3, 0)
