"""ONNX Runtime sends nothing to its makers, and keeps no file for that."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOAD = "g4v.load(sys.argv[1], device='cpu')"


@pytest.mark.parametrize("program", [LOAD, "import onnxruntime; onnxruntime.get_device()"])
def test_no_file_and_no_thread(bundle_dir, tmp_path, program, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    # ONNX Runtime is silent by itself where CI is set.
    for name in ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "XDG_DATA_HOME", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    script = f"import os, sys, g4v\n{program}\nprint(os.environ['ORT_DISABLE_TELEMETRY'])"
    command = [sys.executable, "-c", script, str(bundle_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "1\n"), done
    assert not list(tmp_path.rglob("*onnxruntime*"))
