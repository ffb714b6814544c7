"""The command line on terminals and file systems of all kinds.

Encodings, closed streams, read-only folders, names that are no UTF-8, control characters, Ctrl-C.
"""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import g4v
import g4v.export
from g4v import _core, _start
from g4v._console import ProgressBar, printable, shown_path, visible
from g4v._files import read_json, write_json
from g4v.data.formats import read_samples
from g4v.eval.safety_clips import read_list
from g4v.eval.verdict import read_prompt
from g4v.model.config import AbstractorConfig
from g4v.train.configuration import read_yaml
from g4v.video import read_video

from .command_line import assert_one_line_error
from .command_line import g4v as run
from .video_samples import gray_frames, write_video

BOM = "\ufeff"
ODD = os.fsdecode(b"caf\xe9")  # Latin-1, as older systems wrote names
CHECKPOINT = Path(__file__).parents[2] / "python" / "g4v" / "checkpoints" / "tiny"  # in no wheel


def shell(line: str, **options: object) -> subprocess.CompletedProcess[str]:
    """A line of bash in which $G4V is the command."""
    env = {**os.environ, "G4V": f"{sys.executable} -m g4v"}
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=120, env=env, **options
    )


def chat(bundle_dir, folder, *arguments, prompt="Say a", **options):
    return run("chat", "--bundle", bundle_dir, "--out", folder, "--prompt", prompt, *arguments, **options)


class TestMarks:
    """A byte order mark, which Windows puts before text."""

    @pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
    def test_before_piped_text(self, bundle_dir, tmp_path, encoding):
        done = run(
            "chat", "--bundle", bundle_dir, "--out", tmp_path,
            input=f"{BOM}/help\nSay a\n".encode(), text=False,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )  # fmt: skip
        assert done.returncode == 0 and done.stdout.startswith(b"/video FILE"), done
        assert done.stdout.endswith(b"Hello, world.\n")

    def test_of_utf16_says_so(self, bundle_dir, tmp_path):
        done = run(
            "chat", "--bundle", bundle_dir, "--out", tmp_path, input="Say a\n".encode("utf-16"), text=False
        )
        assert done.returncode == 1
        assert done.stderr == b"g4v: error: standard input is UTF-16; pass it as UTF-8\n"

    def test_before_a_lone_mark_and_in_the_middle(self, bundle_dir, tmp_path):
        done = run("chat", "--bundle", bundle_dir, "--out", tmp_path, input=f"{BOM}\n/quit\n")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_in_files(self, tmp_path):
        def file(name: str, text: str) -> Path:
            path = tmp_path / name
            path.write_text(BOM + text, "utf-8")
            return path

        assert read_json(file("a.json", '{"a": 1}')) == {"a": 1}
        assert read_yaml(file("a.yaml", "base: x")) == {"base": "x"}
        assert read_prompt(file("judge.txt", "{question}{answer}{prediction}")).user.startswith("{question}")
        (tmp_path / "clip.mp4").touch()
        assert read_list(file("clips.txt", "clip.mp4\n"), None) == [(1, tmp_path / "clip.mp4")]
        config = (CHECKPOINT / "abstractor" / "config.json").read_text("utf-8")
        AbstractorConfig.from_file(file("config.json", config))
        rows = [{"video": "a.mp4", "QA": [{"q": "What moves?", "a": "A ball."}]}]
        assert len(list(read_samples(file("videochat.json", json.dumps(rows))))) == 1

    def test_in_the_manifest_of_a_bundle(self, bundle_dir, tmp_path):
        copy = shutil.copytree(bundle_dir, tmp_path / "bundle")
        manifest = copy / "g4v.json"
        manifest.write_text(BOM + manifest.read_text("utf-8"), "utf-8")
        assert run("inspect", copy).returncode == 0


class TestNames:
    """Names of files that a terminal, or UTF-8, does not have."""

    @pytest.mark.slow
    def test_json_is_true_on_an_ascii_terminal(self, bundle_dir, tmp_path):
        out = tmp_path / "d\u00e9" / "vid\u00e9o"
        ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
        done = chat(bundle_dir, out, "--steps", 1, "--json", prompt="Show me b", env=ascii_only)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        paths = [event["path"] for event in events if event["event"] == "video"]
        assert paths and all(Path(path).is_file() for path in paths)
        assert done.stdout.isascii()
        told = run(
            "generate", "a red circle", "--bundle", bundle_dir, "--steps", 1, "--out", out / "a.gif",
            env=ascii_only,
        ).stdout  # fmt: skip
        assert ast.literal_eval(told.removeprefix("wrote ")) == str(out / "a.gif")

    @pytest.mark.slow
    def test_bundles_videos_and_outputs_that_are_no_utf8(self, bundle_dir, tmp_path):
        copy = shutil.copytree(bundle_dir, tmp_path / ODD)
        clip = write_video(tmp_path / "clip.mp4", gray_frames(20))
        clip = clip.rename(copy / f"{ODD}.mp4")
        assert g4v.load(copy).name == "synthetic"
        done = run("inspect", copy)
        assert done.returncode == 0 and done.stdout.endswith(f"at: {ascii(str(copy))}\n")
        done = chat(copy, copy / "out", "--video", clip, "--json", "--steps", 1, prompt="Show me b")
        events = [json.loads(line) for line in done.stdout.splitlines()]
        paths = [event["path"] for event in events if event["event"] == "video"]
        assert done.returncode == 0 and paths and all(os.path.isfile(path) for path in paths)
        told = run("generate", "a b", "--bundle", copy, "--steps", 1, "--out", copy / "a.gif").stdout
        assert told == f"wrote {ascii(str(copy / 'a.gif'))}\n" and (copy / "a.gif").is_file()

    @pytest.mark.slow
    def test_refusals_of_such_names_are_one_line(self, bundle_dir, tmp_path):
        missing = tmp_path / ODD
        assert_one_line_error(run("inspect", missing), 1, "caf\\udce9")
        assert_one_line_error(chat(bundle_dir, tmp_path, "--video", missing), 1, "no such file", "caf\\udce9")
        copy = shutil.copytree(bundle_dir, missing)
        (copy / "encoder.onnx").unlink()
        assert_one_line_error(run("inspect", copy), 1, "caf\\xe9", "missing")

    def test_paths_of_bytes(self, tmp_path):
        class Odd:
            def __fspath__(self) -> bytes:
                return os.fsencode(tmp_path / "clip.mp4")

        write_video(tmp_path / "clip.mp4", gray_frames(4))
        assert read_video(Odd(), 4)[0].shape[0] == 4
        with pytest.raises(g4v.BundleError, match="neither an embedded bundle"):
            g4v.load(type("B", (), {"__fspath__": lambda self: b"/none/at/all"})())

    @pytest.mark.parametrize(
        ("module", "arguments"),
        [
            ("g4v.export", ["--base", ODD, "--out", "x"]),
            ("g4v.export", ["--base", "x", "--out", "y", "--adapter", f"{ODD}=0.5"]),
            ("g4v.export.random_checkpoint", [ODD]),
            ("g4v.train", ["stage1", "--base", "x", "--out", ODD]),
            pytest.param("g4v.train", ["tiny", "--out", ODD], marks=pytest.mark.slow),
            ("g4v.train.pack", [ODD, "--out", "x", "--llm", "y"]),
            ("g4v.model.bases", ["convert", ODD, "--out", "x"]),
        ],
    )
    def test_where_a_library_needs_utf8_it_is_said(self, module, arguments, tmp_path):
        words = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert (
            "caf\\udce9" in done.stderr
            and "is not UTF-8, which PyTorch's file formats need; rename it" in done.stderr
        )
        assert not list(tmp_path.iterdir())

    def test_a_name_in_json_that_is_written(self, tmp_path):
        write_json(tmp_path / "a.json", {"video": ODD, "caption": "caf\u00e9"})
        assert read_json(tmp_path / "a.json") == {"video": ODD, "caption": "caf\u00e9"}
        write_json(tmp_path / "b.json", {"caption": "caf\u00e9"})
        assert "caf\u00e9" in (tmp_path / "b.json").read_text("utf-8")


class TestControlCharacters:
    """What a file says reaches the terminal in a form that cannot steer it."""

    def test_text(self):
        assert printable("a\n b\x1b[2Jc\u202e\udce9") == "a b\\x1b[2Jc\\u202e\\udce9"
        assert visible("a\n\tb\x1b\r\u00a0\u4f60") == "a\n\tb\\x1b\\r\u00a0\u4f60"
        assert shown_path("a b") == "a b" and shown_path("a\x1bb") == "'a\\x1bb'"

    def test_of_a_manifest(self, bundle_dir, tmp_path):
        copy = shutil.copytree(bundle_dir, tmp_path / "bundle")
        manifest = json.loads((copy / "g4v.json").read_text())
        manifest["description"] = "x\x1b[31m\u202ey"
        manifest["components"]["encoder"]["\x1b]0;title\x07"] = 1
        (copy / "g4v.json").write_text(json.dumps(manifest))
        assert_one_line_error(run("inspect", copy), 1, "encoder.\\x1b]0;title\\x07 is not a known key")
        del manifest["components"]["encoder"]["\x1b]0;title\x07"]
        (copy / "g4v.json").write_text(json.dumps(manifest))
        done = run("inspect", copy)
        assert "  x\\x1b[31m\\u202ey" in done.stdout.splitlines() and "\x1b" not in done.stdout

    def test_in_json(self, bundle_dir, tmp_path):
        """JSON escapes those of ASCII by itself, but no others; what is read back is the same."""
        copy = shutil.copytree(bundle_dir, tmp_path / "bundle")
        manifest = json.loads((copy / "g4v.json").read_text())
        manifest["description"] = "x\x1b[31m\x9b31m\u202e\U000e0001\u4f60y"
        (copy / "g4v.json").write_text(json.dumps(manifest))
        done = run("inspect", "--json", copy)
        assert done.stdout.removesuffix("\n").isprintable() and "\u4f60" in done.stdout
        assert json.loads(done.stdout)["description"] == manifest["description"]

    def test_of_the_label_of_a_progress_bar(self):
        shown = io.StringIO()
        shown.isatty = lambda: True
        with ProgressBar("a\x1b[2J\nb", 2, stream=shown) as bar:
            bar.update(2, "c\x9b2J")
        assert "a\\x1b[2J b [" in shown.getvalue() and "c\\x9b2J [" in shown.getvalue()

    @pytest.mark.slow
    def test_of_names_of_files(self, bundle_dir, tmp_path):
        clip = tmp_path / "a\x1b[31mb.mp4"
        assert_one_line_error(chat(bundle_dir, tmp_path, "--video", clip), 1, "a\\x1b[31mb.mp4")
        done = run("chat", "--bundle", bundle_dir, "--out", tmp_path, input="/video a\x1bb.mp4\n")
        assert done.stderr == "g4v: error: 'a\\x1bb.mp4': no such file; check the path\n"

    def test_of_the_answer_reach_a_file_but_no_terminal(self, monkeypatch, capsys):
        from g4v.cli.common import OutputFolder
        from g4v.cli.turn import TurnPrinter

        TurnPrinter(OutputFolder(None), False).show([g4v.Text("a\x1bb\n")])
        assert capsys.readouterr().out == "a\x1bb\n"
        monkeypatch.setattr("g4v.cli.turn.is_terminal", lambda stream: True)
        TurnPrinter(OutputFolder(None), False).show([g4v.Text("a\x1bb\n")])
        assert capsys.readouterr().out == "a\\x1bb\n"


class TestPlaces:
    """Where nothing is to be written, nothing need be writable."""

    # Nobody can write there, not even root.
    NOWHERE = "/proc"

    def test_a_turn_without_a_video(self, bundle_dir):
        done = run("chat", "--bundle", bundle_dir, "--prompt", "Say a", cwd=self.NOWHERE)
        assert (done.returncode, done.stdout, done.stderr) == (0, "Hello, world.\n", "")

    def test_a_turn_with_a_video_is_refused_before_it_is_made(self, bundle_dir):
        done = run("chat", "--bundle", bundle_dir, "--json", "--prompt", "Show me b", cwd=self.NOWHERE)
        assert done.returncode == 1 and '"progress"' not in done.stdout
        assert done.stderr.startswith("g4v: error: the folder . cannot be written: ")
        assert done.stderr.endswith("name another folder with --out\n")

    def test_a_conversation_goes_on(self, bundle_dir):
        done = run("chat", "--bundle", bundle_dir, input="Show me b\nSay a\n", cwd=self.NOWHERE)
        assert done.returncode == 1 and done.stdout.endswith("Hello, world.\n")
        assert done.stderr.count("\n") == 1

    @pytest.mark.parametrize("command", ["inspect", "verify"])
    def test_looking_at_a_bundle(self, bundle_dir, command):
        assert run(command, bundle_dir, cwd=self.NOWHERE).returncode == 0

    def test_a_file_in_place_of_a_folder(self, bundle_dir, tmp_path):
        file = tmp_path / "sheet.py"
        file.touch()
        done = run("chat", "--bundle", bundle_dir, "--out", file, "--prompt", "x")
        assert_one_line_error(done, 1, f"the folder {file} cannot be written: it is a file, or below one")
        folder = tmp_path / "video.mp4"
        folder.mkdir()
        done = run("generate", "x", "--bundle", "no-such-bundle", "--out", folder)
        assert_one_line_error(done, 2, "is a folder; name a file")


class TestUnreadable:
    """A bundle whose files this user may not read."""

    @pytest.fixture
    def place(self, bundle_dir):
        # pytest's own folders are closed to other users, as whom the command runs where the test is root.
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            yield Path(shutil.copytree(bundle_dir, Path(folder) / "bundle"))

    def refusal(self, place: Path) -> str:
        """The message for a user who is not root, to whom every file is open."""
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            with pytest.raises(g4v.BundleError) as caught:
                _core.check_bundle(place)
        finally:
            if root:
                os.seteuid(0)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    @pytest.mark.parametrize("name", ["g4v.json", "encoder.onnx"])
    def test_file(self, place, name):
        os.chmod(place / name, 0)
        message = self.refusal(place)
        assert name in message and message.endswith(
            "Permission denied; check its rights, or copy the bundle again"
        )

    def test_folder(self, place):
        os.chmod(place, 0)
        try:
            assert "Permission denied; check the rights of the folder" in self.refusal(place)
            assert "Permission denied; check the rights of the folders above it" in self.refusal(place / "in")
        finally:
            os.chmod(place, 0o755)


class TestStreams:
    @pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
    @pytest.mark.parametrize(
        "command", ['chat --prompt "Say a"', 'generate "a b" --steps 1 --out "$OUT/a.gif"']
    )
    def test_closed(self, bundle_dir, tmp_path, command, closed):
        line = f'OUT="{tmp_path}"; $G4V {command} --bundle {bundle_dir} {closed}'
        done = shell(line)
        assert (done.returncode, done.stderr) == (0, "")
        if "generate" in command:
            assert (tmp_path / "a.gif").read_bytes().startswith(b"GIF89a")

    def test_a_file_does_not_take_the_number_of_a_closed_stream(self):
        script = (
            "import os, sys; from g4v._command import run_program;"
            "sys.exit(run_program(lambda: 0 if os.open(os.devnull, os.O_RDONLY) > 2 else 7))"
        )
        done = shell(f'{sys.executable} -c "{script}" >&- 2>&- <&-')
        assert done.returncode == 0

    def test_a_conversation_without_input_ends(self, bundle_dir):
        assert shell(f"$G4V chat --bundle {bundle_dir} <&-").returncode == 0

    @pytest.mark.parametrize("module", ["g4v.export", "g4v.train", "g4v.data", "g4v.eval", "g4v.model.bases"])
    def test_help_of_every_program(self, module):
        python = f"{sys.executable} -m {module}"
        assert shell(f"{python} --help >&-").returncode == 0
        assert shell(f"{python} --help >&- 2>&- <&-").returncode == 0
        assert shell(f"{python} --nothing 2>&-").returncode == 2


PROGRAMS = {
    "g4v": ["chat", "--nope"],
    "g4v.export": ["--out", "x", "--nope"],
    "g4v.export.random_checkpoint": ["x", "--nope"],
    "g4v.train": ["--nope"],
    "g4v.train.pack": ["x", "--out", "y", "--llm", "z", "--nope"],
    "g4v.model.bases": ["convert", "x", "--out", "y", "--nope"],
    "g4v.data": ["shapes", "--format", "msvd-qa", "--out", "x", "--nope"],
    "g4v.eval": ["shapes", "--nope"],
    "g4v.shapes.dialogues": ["--nope"],
}


@pytest.mark.parametrize("module", PROGRAMS)
def test_an_unknown_option_is_one_line_that_names_the_help_that_has_it(module):
    words = [sys.executable, "-m", module, *PROGRAMS[module]]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stdout == ""
    program = done.stderr.split(":")[0]
    assert program == "g4v" or module.startswith(program)
    assert done.stderr.startswith(f"{program}: error: unrecognized arguments: --nope (see: "), done.stderr
    assert done.stderr.endswith(" --help)\n") and done.stderr.count("\n") == 1
    if module == "g4v":
        assert "(see: g4v chat --help)" in done.stderr


def test_every_program_goes_through_run_program():
    """It is what fills closed streams and answers Ctrl-C."""
    folders = [Path(str(package.__file__)).parent for package in (g4v, g4v.export)]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    programs = [p for p in files if 'if __name__ == "__main__"' in p.read_text("utf-8")]
    assert len(programs) >= len(PROGRAMS)
    for path in programs:
        text = path.read_text("utf-8")
        assert "run_program(" in text or "from .cli import main" in text, path


class TestInterrupts:
    @staticmethod
    def struck(folder: Path, module: str) -> dict[str, str]:
        """An environment in which Ctrl-C strikes when `module` is imported for the first time."""
        (folder / "sitecustomize.py").write_text(
            "import os, signal, sys\n"
            "class Strike:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        if name == {module!r} and self in sys.meta_path:\n"
            "            sys.meta_path.remove(self)\n"
            "            os.kill(os.getpid(), signal.SIGINT)\n"
            "sys.meta_path.insert(0, Strike())\n"
        )
        return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}

    MOMENTS = {
        "g4v": [
            "g4v.assistant",
            "g4v.errors",
            "g4v.cli",
            "g4v._command",
            "g4v.cli.bench",
            "g4v._encode",
            "numpy",
        ],
        "g4v.data": [
            "g4v.chat",
            "g4v.data.worlds",
            "g4v.shapes.provider",
            "numpy",
            "g4v.shapes.datasets",
            "av",
        ],
        "g4v.eval": [
            "g4v._stream",
            "g4v._console",
            "g4v.shapes.provider",
            "numpy",
            "g4v.shapes.eval.command",
        ],
        "g4v.export": ["g4v.events", "g4v.model.config", "torch", "numpy", "transformers"],
        "g4v.train": ["g4v.train.settings", "torch"],
        "g4v.model.bases": ["g4v.model.bases", "torch"],
        "g4v.export.random_checkpoint": ["g4v.model.prompt", "torch"],
    }

    @pytest.mark.parametrize(
        ("program", "module"),
        [
            # What the exporter imports takes a second.
            pytest.param(program, module, marks=pytest.mark.slow if program.startswith("g4v.export") else ())
            for program, modules in MOMENTS.items()
            for module in modules
        ],
    )
    def test_at_any_moment(self, program, module, tmp_path):
        arguments = {
            "g4v": ["generate", "a red circle", "--steps", "1", "--out", str(tmp_path / "a.mp4")],
            "g4v.data": ["shapes", "--format", "msvd-qa", "--out", str(tmp_path / "d"), "--count", "1"],
            "g4v.eval": ["shapes", "--n", "1"],
            "g4v.export": ["--base", str(CHECKPOINT), "--out", str(tmp_path / "b")],
            "g4v.train": ["stage1", "--dry-run", "--preset", "gpt4video-7b"],
            "g4v.model.bases": ["convert", "x", "--out", str(tmp_path / "y")],
            "g4v.export.random_checkpoint": [str(tmp_path / "run")],
        }[program]
        words = [sys.executable, "-m", program, *arguments]
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=120, env=self.struck(tmp_path, module)
        )
        # Where Ctrl-C strikes in code made from text, Python ends itself by the signal: 130 in a shell.
        assert done.returncode in (130, -signal.SIGINT), done
        assert "error: interrupted" in done.stderr and done.stderr.count("\n") == 1, done.stderr

    def test_in_a_program_of_others_it_is_an_exception_as_ever(self):
        script = (
            "import g4v, os, signal, time\n"
            "try: os.kill(os.getpid(), signal.SIGINT); time.sleep(5)\n"
            "except KeyboardInterrupt: print('mine')"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, "mine\n", "")

    @pytest.mark.parametrize(
        ("argv", "given", "program"),
        [
            (["-m", "chat"], ["python", "-m", "g4v", "chat"], True),
            (["/x/g4v/train/__main__.py"], ["python", "-X", "dev", "-m", "g4v.train"], True),
            (["/usr/bin/g4v", "chat"], ["python", "/usr/bin/g4v", "chat"], True),
            (["-m", "x.py"], ["python", "-m", "pytest", "x.py"], False),
            (["-m"], ["python", "-m", "g4v_of_others"], False),
            (["mine.py", "-m", "g4v"], ["python", "mine.py", "-m", "g4v"], False),
            (["-c", "-m", "g4v"], ["python", "-c", "import g4v", "-m", "g4v"], False),
            ([""], ["python"], False),
        ],
    )
    def test_which_processes_are_programs_of_g4v(self, monkeypatch, argv, given, program):
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setattr(sys, "orig_argv", given)
        assert _start.is_program() is program

    def test_where_it_is_ignored_it_stays_ignored(self):
        done = shell("trap '' INT; $G4V --version")
        assert done.returncode == 0


def test_bench_names_the_instruction_set(bundle_dir):
    done = run(
        "bench", "--bundle", bundle_dir, "--runs", 1, "--steps", 1, env={**os.environ, "G4V_CPU": "plain"}
    )
    *table, last = done.stdout.splitlines()
    assert json.loads(last)["kernels"] == "plain" and table[0].split() == ["kernels", "plain"]
