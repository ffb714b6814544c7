"""The command line: help, exit codes, output; with a bundle where a command needs one."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

import g4v
from g4v.video import read_video

from .command_line import assert_one_line_error, without
from .command_line import g4v as run
from .video_samples import gray_frames, write_video

COMMANDS = ("chat", "generate", "build", "inspect", "verify", "doctor", "bench")


def test_version():
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"g4v {g4v.__version__}\n", "")


def test_help_tells_everything():
    done = run("--help")
    assert done.returncode == 0
    for word in (*COMMANDS, "examples:", "exit codes: 0 done, 1 failed, 2 wrong usage"):
        assert word in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(command):
    done = run(command, "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert "examples:" in done.stdout and f"g4v {command}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "COMMAND"),
        (("dance",), "invalid choice: 'dance'"),
        (("chat", "--seed", "x"), "invalid int value: 'x'"),
        (("chat", "--device", "tpu"), "invalid choice: 'tpu'"),
        (("chat", "--what"), "unrecognized arguments: --what"),
        (("generate",), "PROMPT"),
        (("generate", "a red circle", "--out", "x.avi"), ".mp4, .webm, .gif"),
        (("generate", "a red circle", "--video-size", "64"), "'64' is not WxH in pixels"),
        (("inspect",), "BUNDLE"),
        (("inspect", "tiny", "--verify", "no"), "invalid choice: 'no'"),
        (("bench", "--runs", "0"), "--runs is 0"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, part):
    assert_one_line_error(run(*arguments), 2, part, "--help")


def test_doctor_reports_every_part():
    done = run("doctor", "--json")
    report = json.loads(done.stdout)
    checks = {check["name"]: check for check in report["checks"]}
    assert done.returncode == (0 if report["ok"] else 1)
    for name in (
        "python",
        "core",
        "onnxruntime",
        "providers",
        "device cpu",
        "device auto",
        "cpu",
        "write .mp4",
    ):
        assert checks[name]["state"] == "ok", checks[name]
    lines = run("doctor").stdout.splitlines()
    assert len(lines) == len(report["checks"])
    assert all(line[:5] in ("ok   ", "no   ", "fail ") for line in lines)


@pytest.mark.slow
def test_doctor_reports_the_instruction_set_that_is_forced():
    plain = run("doctor", env={**os.environ, "G4V_CPU": "plain"})
    (line,) = [line for line in plain.stdout.splitlines() if line.startswith("ok   cpu kernels: ")]
    assert line.startswith("ok   cpu kernels: plain of ") and line.endswith("plain, as G4V_CPU says")
    unknown = run("doctor", env={**os.environ, "G4V_CPU": "sse9"})
    refusal = 'fail cpu kernels: G4V_CPU must be one of amx, avx512, avx2, plain, not "sse9"'
    assert unknown.returncode == 1 and refusal in unknown.stdout.splitlines()


@pytest.mark.slow
def test_doctor_names_the_fix_for_two_flavours_of_onnxruntime(tmp_path):
    package = tmp_path / "onnxruntime_gpu-1.31.1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.31.1\n")
    done = run("doctor", env=without("a_module_of_no_importance", tmp_path))
    assert done.returncode == 1
    line = next(line for line in done.stdout.splitlines() if "overwrite each other" in line)
    assert "pip uninstall -y onnxruntime && pip install --force-reinstall --no-deps onnxruntime-gpu" in line


def test_doctor_says_that_pyav_is_missing(tmp_path):
    done = run("doctor", env=without("av", tmp_path))
    assert done.returncode == 1 and done.stderr == ""
    assert any(line.startswith("fail pyav: ") for line in done.stdout.splitlines())


def test_import_is_light():
    script = (
        "import sys, g4v; print([m for m in ('numpy', 'av', 'onnxruntime', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("buffered", ["", pytest.param("1", marks=pytest.mark.slow)])
def test_standard_output_on_a_full_disk(buffered):
    env = {**os.environ, "PYTHONUNBUFFERED": buffered}
    with open("/dev/full", "w") as full:
        done = run("doctor", env=env, stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert done.returncode == 1
    assert done.stderr == "g4v: error: standard output cannot be written: No space left on device\n"


def test_without_standard_output(bundle_dir):
    command = f"{sys.executable} -m g4v inspect {bundle_dir} >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_closed_pipe_is_quiet():
    # `head -c 1` leaves after one byte; the report is written line by line after that.
    command = f"{sys.executable} -u -m g4v doctor | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("o", "")


# With a bundle. The last character of a prompt chooses the answer; see synthetic_bundle.py.


def test_one_turn(bundle_dir, tmp_path):
    out = tmp_path / "videos"
    arguments = ("chat", "--bundle", bundle_dir, "--out", out, "--steps", 2, "--prompt", "Show me b")
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "One: "
    for line in ("[video: a red circle]", "[video: blue]"):
        assert line in lines
    written = [out / f"video-{k}.mp4" for k in (1, 2)]
    assert [line for line in lines if line.startswith("[wrote")] == [f"[wrote {path}]" for path in written]
    for path in written:
        frames, info = read_video(path, 3)
        assert frames.shape == (3, 6, 8, 3) and info.frame_count == 3
    # A second run takes the next free names.
    assert run(*arguments).returncode == 0
    assert sorted(p.name for p in out.iterdir()) == [f"video-{k}.mp4" for k in (1, 2, 3, 4)]


def test_one_turn_about_a_video(bundle_dir, tmp_path):
    clip = write_video(tmp_path / "clip.mp4", gray_frames(20))
    done = run(
        "chat", "--bundle", bundle_dir, "--out", tmp_path / "out", "--video", clip, "--prompt", "Say a"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello, world.\n", "")
    assert not (tmp_path / "out").exists()


def test_json_has_one_object_on_a_line_for_each_event(bundle_dir, tmp_path):
    done = run(
        "chat", "--bundle", bundle_dir, "--out", tmp_path, "--steps", 2, "--json", "--prompt", "Show me b"
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert "".join(e["text"] for e in events if e["event"] == "text") == "One:  and two:  done."
    assert [e["caption"] for e in events if e["event"] == "video_prompt"] == ["a red circle", "blue"]
    steps = {(e["index"], e["step"]) for e in events if e["event"] == "progress"}
    assert steps == {(0, 1), (0, 2), (1, 1), (1, 2)}
    videos = [e for e in events if e["event"] == "video"]
    assert [Path(e["path"]).name for e in videos] == ["video-1.mp4", "video-2.mp4"]
    assert [videos[0][name] for name in ("seed", "frames", "height", "width")] == [0, 3, 6, 8]
    assert events[-1]["event"] == "done" and events[-1]["timings"]["total_ms"] > 0
    refused = run("chat", "--bundle", bundle_dir, "--out", tmp_path, "--json", "--prompt", "Do d")
    assert '"event": "refusal"' in refused.stdout


def test_lines_of_a_pipe_are_turns_of_one_conversation(bundle_dir, tmp_path):
    clip = write_video(tmp_path / "clip.mp4", gray_frames(20))
    lines = f"Say a\n\n/video {clip}\nSay e\n/help\n/dance\n/video nowhere.mp4\nSay j\n/quit\nSay a\n"
    done = run("chat", "--bundle", bundle_dir, "--out", tmp_path, input=lines)
    assert done.returncode == 0
    told = done.stdout.splitlines()
    assert told[:3] == ["Hello, world.", f"The next question is about {clip}.", "I'm sure."]
    assert told[-1] == "caf\u00e9 \u4f60\u597d \U0001f600" and any("/quit" in line for line in told)
    assert done.stderr.splitlines() == [
        "g4v: error: /dance is no command; /help lists them",
        "g4v: error: nowhere.mp4: no such file; check the path",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"many words " * 300, "the prompt needs"),
        (b"not \xff UTF-8 a", "the prompt is not valid"),
        (b"Say !", ""),  # the model's output is not a number
    ],
)
def test_a_failed_turn_does_not_end_the_conversation(bundle_dir, tmp_path, line, message):
    done = run("chat", "--bundle", bundle_dir, "--out", tmp_path, input=line + b"\nSay a\n", text=False)
    assert done.returncode == 1 and done.stdout == b"Hello, world.\n"
    assert done.stderr.startswith(b"g4v: error: " + message.encode()) and done.stderr.count(b"\n") == 1


class Terminal:
    """A child process with a terminal of its own."""

    def __init__(self, *arguments: object) -> None:
        self.process, self._master = pty.fork()
        if self.process == 0:
            os.environ["TERM"] = "xterm"
            os.execv(sys.executable, [sys.executable, "-m", "g4v", *map(str, arguments)])
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def expect(self, text: str) -> None:
        """Waits until the text is shown after what was expected before."""
        deadline = time.monotonic() + 60
        while text not in self.seen:
            assert time.monotonic() < deadline, (text, self.seen)
            if select.select([self._master], [], [], 0.1)[0]:
                self.seen += os.read(self._master, 65536).decode(errors="replace")
        self.seen = self.seen[self.seen.index(text) + len(text) :]

    def leave(self) -> int:
        """The exit code."""
        try:
            while data := os.read(self._master, 65536):
                self.seen += data.decode(errors="replace")
        except OSError:  # how Linux tells that the terminal's other side is closed
            pass
        status = os.waitpid(self.process, 0)[1]
        os.close(self._master)
        return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize(
    "goodbye",
    [
        pytest.param("\x04", marks=pytest.mark.slow),
        pytest.param("\x03\x03", marks=pytest.mark.slow),
        "/quit\n",
    ],
)
def test_a_conversation_in_a_terminal(bundle_dir, tmp_path, goodbye):
    terminal = Terminal("chat", "--bundle", bundle_dir, "--out", tmp_path, "--steps", 3)
    terminal.expect("Ask something, or /help.")
    terminal.expect("> ")
    terminal.type("Say a\n")
    terminal.expect("Hello, world.")
    terminal.expect("> ")
    terminal.type("Show me b\n")
    terminal.expect("[video: blue]")
    terminal.expect("denoising [##########--------------------] 1/3")
    terminal.expect(f"[wrote {tmp_path / 'video-2.mp4'}]")
    terminal.expect("> ")
    terminal.type("~ takes a minute a\n")
    time.sleep(0.5)
    terminal.type("\x03")
    terminal.expect("stopped")
    terminal.expect("> ")
    terminal.type("Say e\n")
    terminal.expect("I'm sure.")
    terminal.expect("> ")
    if goodbye == "\x03\x03":
        time.sleep(0.5)  # readline does not see a signal that comes before it waits for a key
        terminal.type("\x03")
        terminal.expect("(Ctrl-C again or Ctrl-D leaves)")
        terminal.expect("> ")
        time.sleep(0.5)
        terminal.type("\x03")
    else:
        terminal.type(goodbye)
    assert terminal.leave() == 0
    assert "Traceback" not in terminal.seen and "error" not in terminal.seen


def test_generate(bundle_dir, tmp_path):
    path = tmp_path / "out.gif"
    arguments = ("generate", "a red circle", "--bundle", bundle_dir, "--out", path, "--seed", 3, "--steps", 2)
    done = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"wrote {path}\n", "")
    first = path.read_bytes()
    described = json.loads(run(*arguments, "--json").stdout)
    assert described["path"] == str(path) and (described["seed"], described["frames"]) == (3, 3)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["out.gif"]
    options = ("--negative-prompt", "bad", "--scheduler", "dpmsolver++", "--frames", 5, "--video-size", "6x4")
    options += ("--fps", 12.5)
    described = json.loads(run(*arguments, *options, "--guidance-scale", 2.5, "--json").stdout)
    assert (described["frames"], described["width"], described["height"], described["fps"]) == (5, 6, 4, 12.5)
    made = g4v.load(bundle_dir, threads=1).generate(
        "a red circle", seed=3, steps=2, negative_prompt="bad", scheduler="dpmsolver++", frames=5, width=6,
        height=4, fps=12.5, guidance_scale=2.5,
    )  # fmt: skip
    made.save(tmp_path / "python.gif")
    assert (tmp_path / "python.gif").read_bytes() == path.read_bytes() != first
    (tmp_path / "python.gif").unlink()
    done = run("generate", "a red circle " * 9, *arguments[2:])
    assert done.returncode == 0 and done.stderr.startswith("g4v: warning: the caption is longer")


def test_generate_with_weights_and_a_preview(bundle_dir, tmp_path):
    import av

    path, picture = tmp_path / "out.gif", tmp_path / "now.png"
    arguments = ("--bundle", bundle_dir, "--out", path, "--steps", 3)
    shown = ("--preview", picture, "--preview-every", 2)
    done = run("generate", "a (red)1.5 circle", *arguments, "--prompt-weighting", *shown)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"wrote {path}\n", "")
    pictures = []
    assistant = g4v.load(bundle_dir, threads=1)
    made = assistant.generate(
        "a (red)1.5 circle", steps=3, prompt_weighting=True, on_preview=lambda p, *_: pictures.append(p)
    )
    made.save(tmp_path / "python.gif")
    assert (tmp_path / "python.gif").read_bytes() == path.read_bytes()
    with av.open(str(picture)) as file:
        (frame,) = file.decode(video=0)
    assert (frame.to_ndarray(format="rgb24") == pictures[1]).all()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["now.png", "out.gif", "python.gif"]
    for wrong, message in (
        (("--preview-every", 2), "--preview-every is of --preview; name its file"),
        (("--preview", tmp_path / "now.jpg"), "now.jpg: the name of a picture ends in .png"),
        (("--preview", tmp_path), "the name of a picture ends in .png"),
        (("--prompt-weighting", "--negative-prompt", "(a"), "negative_prompt has a ( that nothing closes"),
    ):
        done = run("generate", "a red circle", *arguments, *wrong)
        assert done.returncode != 0 and message in done.stderr and done.stderr.count("\n") == 1


def test_inspect(bundle_dir):
    done = run("inspect", bundle_dir)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("synthetic (bundle format 1, tests)")
    for part in (
        "encoder",
        "unet",
        "context_length 640",
        "scheduler ddim",
        "SHA-256 of 8 files",
        str(bundle_dir),
    ):
        assert part in done.stdout
    manifest = json.loads(run("inspect", bundle_dir, "--json").stdout)
    assert manifest["format"] == "g4v-bundle"
    assert "checked: size of 8 files" in run("inspect", bundle_dir, "--verify", "size").stdout


def test_bench(bundle_dir):
    done = run("bench", "--bundle", bundle_dir, "--runs", 2, "--steps", 2)
    assert (done.returncode, done.stderr) == (0, "")
    *table, last = done.stdout.splitlines()
    summary = json.loads(last)
    for name in ("first_load_ms", "load_ms", "first_token_ms", "video_ms"):
        row = summary[name]
        assert 0 < row["min"] <= row["median"] <= row["max"]
        assert any(line.startswith(name) for line in table)
    assert summary["bundle"] == "synthetic" and summary["runs"] == 2


@pytest.mark.slow
def test_system_text_and_frames_of_the_question(bundle_dir, tmp_path):
    clip = write_video(tmp_path / "clip.mp4", gray_frames(20))
    words = ("chat", "--bundle", bundle_dir, "--out", tmp_path, "--json", "--prompt", "Say a")

    def last(*more):
        done = run(*words, *more)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout.splitlines()[-1])

    assert last("--video", clip, "--frames", 7)["video_frames"] == 7
    bare = last("--system", "")["prompt_tokens"]
    assert last("--system", "Be kind.")["prompt_tokens"] == bare + 8
    (tmp_path / "system.txt").write_text("\ufeffBe kind to all.\n", "utf-8")
    assert last("--system", tmp_path / "system.txt")["prompt_tokens"] == bare + 15


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--system", "no/such.txt"), "--system no/such.txt: no such file; check the path"),
        (("--system", "latin.txt"), "--system latin.txt: the file is not UTF-8 text; convert it"),
        (("--frames", "4"), "the question has none; pass a video or leave frames out"),
        (("--frames", "0", "--video", "x"), "frames is 0 but must be 1 to 1024"),
    ],
)
def test_unusable_system_texts_and_frames(bundle_dir, tmp_path, monkeypatch, arguments, message):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    monkeypatch.chdir(tmp_path)
    done = run("chat", "--bundle", bundle_dir, "--prompt", "Say a", *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert message in done.stderr and done.stderr.count("\n") == 1
