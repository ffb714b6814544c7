"""Files of a bundle that are cut, written to, removed or replaced while it is in use.

The program runs by itself: whatever reads what is not there any more is killed by SIGBUS.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from g4v._runtime import find_bundle

START = """
import sys
import numpy as np
import g4v

PLACE = sys.argv[1]
frames = np.full((4, 64, 64, 3), 40, np.uint8)

def talk(assistant):
    text = assistant.chat(max_new_tokens=8).ask("What is this?", frames).text
    return text, assistant.generate("a b", steps=1).frames.tolist()

def load():
    assistant = g4v.load(PLACE, device="cpu", threads=1)
    assistant.wait_until_ready()
    return assistant
"""

# A file that no part reads, which makes the bundle a large one.
LARGE = 256_000_000


def run(folder: Path, program: str) -> None:
    command = [sys.executable, "-c", START + textwrap.dedent(program), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done


@pytest.fixture
def place(tmp_path) -> Path:
    """A copy of the embedded bundle: its graphs have external data."""
    return Path(shutil.copytree(find_bundle("tiny"), tmp_path / "bundle"))


@pytest.fixture
def large(place) -> Path:
    with (place / "padding.bin").open("wb") as file:
        file.truncate(LARGE)
    manifest = json.loads((place / "g4v.json").read_text())
    manifest["files"]["padding.bin"] = {"bytes": LARGE, "sha256": "0" * 64}
    (place / "g4v.json").write_text(json.dumps(manifest))
    return place


@pytest.mark.slow
@pytest.mark.parametrize("change", ["file.truncate(0)", "file.write(b'?' * 64)", "os.remove(name)"])
def test_a_small_bundle_does_not_need_its_files_any_more(place, change):
    run(
        place,
        f"""
        import os
        assistant = load()
        expected = talk(assistant)
        for name in os.listdir(PLACE):
            name = os.path.join(PLACE, name)
            with open(name, "r+b") as file:
                {change}
        assert talk(assistant) == expected
        """,
    )


def test_links_of_a_small_bundle(place):
    """As in a hub's cache, where ONNX Runtime takes names that lead out of the folder from memory alone."""
    blobs = place.parent / "blobs"
    blobs.mkdir()
    for i, path in enumerate(sorted(place.iterdir())):
        path.rename(blobs / str(i))
        path.symlink_to(blobs / str(i))
    run(
        place,
        """
        import os
        assistant = load()
        expected = talk(assistant)
        for name in os.listdir(PLACE):
            os.truncate(os.path.join(PLACE, name), 0)
        assert talk(assistant) == expected
        """,
    )


@pytest.mark.slow
@pytest.mark.parametrize("change", ["os.truncate(path, 0)", "open(path, 'r+b').write(b'?')"])
@pytest.mark.parametrize("name", ["embedding.bin", "unet.data"])
def test_a_large_bundle_whose_mapped_file_is_written_to(large, name, change):
    run(
        large,
        f"""
        import os
        path = os.path.join(PLACE, {name!r})
        assistant = load()
        talk(assistant)
        chat = assistant.chat()
        {change}
        for call in (lambda: chat.ask("say a"), lambda: assistant.generate("a b", steps=1)):
            try:
                call()
            except g4v.BundleError as error:
                assert str(error) == (
                    f'the bundle\\'s file "{{path}}" was changed after it was loaded; load the bundle again')
            else:
                raise SystemExit("not refused")
        """,
    )


def test_a_large_bundle_that_is_replaced(large):
    """By other files under the same names: what is loaded stays as it was. So is an update to be made."""
    run(
        large,
        """
        import os, shutil
        assistant = load()
        expected = talk(assistant)
        for name in os.listdir(PLACE):
            name = os.path.join(PLACE, name)
            with open(name + ".new", "wb") as file:
                file.write(b"?")
            os.replace(name + ".new", name)
        assert talk(assistant) == expected
        """,
    )


def test_a_bundle_that_is_cut_while_it_is_verified(large):
    """Digests are taken of what is read, not of what is mapped."""
    run(
        large,
        """
        import os, threading, time
        from g4v import _core
        path = os.path.join(PLACE, "padding.bin")

        def cut():
            time.sleep(0.02)
            for _ in range(100):
                os.truncate(path, 0)
                time.sleep(0.0005)
                os.truncate(path, 256_000_000)
                time.sleep(0.0005)

        thread = threading.Thread(target=cut)
        thread.start()
        try:
            _core.check_bundle(PLACE, "full")
        except g4v.BundleError as error:
            assert "is damaged, copy it again" in str(error), error
        else:
            raise SystemExit("not refused")
        thread.join()
        """,
    )
