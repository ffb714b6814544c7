"""What do 8-bit and 4-bit weights cost a language model, and what do they save?

    python benchmarks/decoder_precision.py LLM [--graphs NAME ...] [--tokens N] [--threads 2] [--json FILE]

LLM is a LlamaForCausalLM: a folder or a GGUF file. It is exported in float32, and in int8 and int4 as `python
-m g4v.export` does it: with the codes that a GGUF file holds, or with codes that GPTQ fits to text that the
model writes itself. "fitted" and "nearest" are what a file without codes would get: codes of GPTQ, or those
of round to nearest. passage.txt, which was written for this benchmark, goes through each graph token by
token, interleaved: perplexity, bytes of the weights, median milliseconds of a step, and the ratios to
float32. PyTorch's perplexity in float32 comes from transformers in one pass. The last line is JSON.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from g4v._console import machine
from g4v._files import write_json

GRAPHS = {  # name: precision, whether codes of the file are kept, and whether others are made by GPTQ
    "fp32": ("fp32", True, False),
    "int8": ("int8", True, True),
    "int4": ("int4", True, True),
    "int8 fitted": ("int8", False, True),
    "int8 nearest": ("int8", False, False),
    "int4 fitted": ("int4", False, True),
    "int4 nearest": ("int4", False, False),
}
PASSAGE = Path(__file__).with_name("passage.txt")


class Graph:
    """An exported decoder that is fed one token at a time."""

    def __init__(self, folder: Path, config: Any, length: int, threads: int) -> None:
        import numpy as np
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = ort.InferenceSession(
            folder / "decoder.onnx", options, providers=["CPUExecutionProvider"]
        )
        self.binding = self.session.io_binding()
        shape = (1, config.num_key_value_heads, length, config.head_dim)
        self.caches = []
        for value in self.session.get_inputs():
            if value.name.startswith("past_key_values."):
                cache = ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32))
                self.binding.bind_ortvalue_input(value.name, cache)
                self.binding.bind_ortvalue_output(value.name.replace("past_key_values", "present"), cache)
                self.caches.append(cache)
        self.done = 0
        self.milliseconds: list[float] = []
        self.losses: list[float] = []

    def step(self, embed: Any, following: int) -> None:
        """One token's embedding [d]; the loss of the token that follows."""
        import numpy as np

        start = time.perf_counter()
        self.done += 1
        self.binding.bind_cpu_input("inputs_embeds", embed[None, None])
        self.binding.bind_cpu_input("seqlens_k", np.array([self.done - 1], np.int32))
        self.binding.bind_cpu_input("total_sequence_length", np.array(self.done, np.int32))
        self.binding.bind_output("logits")
        self.session.run_with_iobinding(self.binding)
        logits = self.binding.get_outputs()[-1].numpy()[0, 0]
        self.milliseconds.append(1e3 * (time.perf_counter() - start))
        logits = logits.astype(np.float64) - logits.max()
        self.losses.append(float(np.log(np.exp(logits).sum()) - logits[following]))


def reference(llm: Path, ids: list[int]) -> float:
    """The perplexity that PyTorch computes."""
    import torch

    from g4v.model.bases.llm import load_llm

    with torch.no_grad():
        logits = load_llm(llm)(torch.tensor([ids])).logits[0, :-1].double()
        return float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:])).exp())


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("llm", type=Path, metavar="LLM")
    parser.add_argument("--graphs", nargs="+", choices=list(GRAPHS), default=list(GRAPHS), metavar="NAME")
    parser.add_argument("--tokens", type=int, help="of the passage (default: all); fewer for times alone")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the numbers into this file")
    options = parser.parse_args()

    import numpy as np

    from g4v.export.checkpoint.llama import EMBEDDING, LlamaWeights
    from g4v.export.components.decoder_graph import export_decoder
    from g4v.export.components.own_text import write_own_text
    from g4v.export.quantisation.bit_allocation import BitAllocation
    from g4v.export.quantisation.gptq import GPTQ
    from g4v.export.quantisation.round_to_nearest import RoundToNearest
    from g4v.export.report.component_report import count_codes
    from g4v.model.bases.llm import load_tokenizer

    tokenizer = load_tokenizer(options.llm)
    ids = tokenizer.encode(PASSAGE.read_text("utf-8"), add_special_tokens=False)[: options.tokens]
    weights = LlamaWeights(options.llm)

    class WithoutCodes(LlamaWeights):
        """Weights that have no codes: read as numbers, so that they are quantised anew."""

        def code_bits(self, module: str) -> None:
            return None

    @functools.cache
    def written() -> Any:
        return write_own_text(weights, tokenizer.bos_token_id, Path(work)).ids

    embedding = weights.read(f"{EMBEDDING}.weight").numpy()
    print(f"{len(ids)} tokens", flush=True)
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as work:
        graphs = {}
        for name in options.graphs:
            precision, kept, use_gptq = GRAPHS[name]
            source = weights if kept else WithoutCodes(options.llm)
            folder = Path(work) / name
            folder.mkdir()
            quantiser: Any = None
            if precision != "fp32":
                use_gptq = use_gptq and not BitAllocation(source, precision).keeps_all
                how = (source, precision)
                quantiser = GPTQ(*how, written()) if use_gptq else RoundToNearest(*how)
            start = time.perf_counter()
            export_decoder(source, folder, precision, rounding=quantiser)
            seconds = time.perf_counter() - start
            graphs[name] = Graph(folder, weights.config, len(ids), options.threads)
            rows[name] = {"bytes": (folder / "decoder.data").stat().st_size, "export_seconds": seconds}
            if quantiser:
                rows[name]["codes"] = count_codes(quantiser.made)
        for token, following in zip(ids, ids[1:], strict=False):
            for graph in graphs.values():
                graph.step(embedding[token], following)
    for name, graph in graphs.items():
        row = rows[name]
        row["perplexity"] = float(np.exp(np.mean(graph.losses)))
        row["milliseconds"] = statistics.median(graph.milliseconds)
        plain = rows.get("fp32", row)
        row["perplexity_ratio"] = row["perplexity"] / plain["perplexity"]
        row["time_ratio"] = row["milliseconds"] / plain["milliseconds"]
        print(
            f"{name:12} {row['bytes'] / 1e6:8.1f} MB  perplexity {row['perplexity']:7.3f} "
            f"({row['perplexity_ratio'] - 1:+.2%})  {row['milliseconds']:6.2f} ms a token "
            f"({row['time_ratio']:.2f} of float32)",
            flush=True,
        )
    found = {
        "machine": machine(),
        "llm": options.llm.name,
        "tokens": len(ids),
        "threads": options.threads,
        "pytorch_perplexity": reference(options.llm, ids),
        "precisions": rows,
    }
    if options.json:
        write_json(options.json, found, indent=1)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
