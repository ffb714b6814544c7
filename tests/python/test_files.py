"""Files are there whole or not at all (g4v._files)."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from g4v._files import (
    atomic,
    atomic_folder,
    make_folder,
    one_line,
    read_json,
    replace_folder,
    sha256,
    write_json,
    write_text,
)
from g4v.errors import ArgumentError, BundleError, OutputError


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_when_the_block_ends(tmp_path):
    target = tmp_path / "a" / "b.json"
    write_json(target, {"é": 1})
    assert target.read_text("utf-8") == '{\n  "é": 1\n}\n'
    write_text(target, "new")
    assert target.read_text() == "new" and _names(target.parent) == ["b.json"]


@pytest.mark.parametrize("fault", [KeyboardInterrupt, ValueError, RuntimeError])
def test_what_is_raised_inside_leaves_the_old_file(tmp_path, fault):
    target = tmp_path / "x"
    target.write_text("old")
    with pytest.raises(fault), atomic(target) as temporary:
        temporary.write_text("half")
        raise fault
    assert target.read_text() == "old" and _names(tmp_path) == ["x"]


def test_what_the_system_refuses_is_one_line_of_the_callers_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match=r"file/x: cannot be written: Not a directory"):
        write_text(tmp_path / "file" / "x", "", BundleError)
    with (
        pytest.raises(OutputError, match=r"x: cannot be written: No space left on device"),
        atomic(tmp_path / "x"),
    ):
        raise OSError(28, "No space left on device")
    assert _names(tmp_path) == ["file"]


def test_a_new_file_has_the_rights_of_any_other(tmp_path):
    write_text(tmp_path / "x", "")
    (tmp_path / "y").write_text("")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "x", {"a": float("nan")})
    assert _names(tmp_path) == []


def test_a_folder_is_replaced_when_the_block_ends(tmp_path):
    target = tmp_path / "run"
    target.mkdir()
    (target / "old").write_text("")
    with pytest.raises(ValueError), atomic_folder(target) as folder:
        (folder / "half").write_text("")
        raise ValueError
    assert _names(target) == ["old"]
    with atomic_folder(target) as folder:
        (folder / "new").write_text("")
    assert _names(target) == ["new"] and _names(tmp_path) == ["run"]


def test_a_link_is_replaced_and_what_it_pointed_to_is_kept(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "kept")
    with atomic_folder(tmp_path / "run") as folder:
        (folder / "new").write_text("")
    assert _names(tmp_path) == ["kept", "run"] and not (tmp_path / "run").is_symlink()
    assert _names(tmp_path / "kept") == []


def test_what_stood_there_is_put_back_where_the_last_rename_fails(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "old").write_text("")
    with pytest.raises(OSError):
        replace_folder(tmp_path / "missing", tmp_path / "run")
    assert _names(tmp_path / "run") == ["old"] and _names(tmp_path) == ["run"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "cannot be read: Expecting property name"),
        (b"[1]", "is not a JSON object"),
        (b"\xff", "cannot be read: 'utf-8' codec"),
        (b"[" * 100_000, "cannot be read: "),
    ],
)
def test_json_that_cannot_be_read_is_one_line(tmp_path, content, reason):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ArgumentError) as caught:
        read_json(tmp_path / "x.json")
    assert str(caught.value).startswith(f"{tmp_path / 'x.json'}: {reason}")
    assert "\n" not in str(caught.value)
    with pytest.raises(BundleError, match="no such file"):
        read_json(tmp_path / "none", BundleError)


def test_json_and_digest(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"a": [1]}))
    assert read_json(tmp_path / "x.json") == {"a": [1]}
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_an_exception_in_one_line():
    assert one_line(ValueError("a\n  b")) == "a b"
    assert one_line(ValueError()) == "ValueError"
    assert one_line(OSError(2, os.strerror(2), "file")) == os.strerror(2)
    assert one_line(OutputError("x: is full")) == "x: is full"


def test_a_folder_is_made_or_the_error_is_one_line(tmp_path):
    for _ in range(2):
        make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file: cannot be made: Not a directory"):
        make_folder(tmp_path / "file")


def test_threads_that_write_one_file_do_not_meet(tmp_path):
    def write(text: str) -> None:
        for _ in range(20):
            write_text(tmp_path / "x", text)

    threads = [threading.Thread(target=write, args=(letter * 1000,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = (tmp_path / "x").read_text()
    assert len(text) == 1000 and len(set(text)) == 1 and _names(tmp_path) == ["x"]
