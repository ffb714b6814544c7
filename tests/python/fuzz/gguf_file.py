"""Fuzzer of GGUF files. An input is the file itself: a small Llama, changed as bytes, mostly in its head."""

from __future__ import annotations

import struct
from pathlib import Path
from random import Random

from .configurations import random_run
from .mutation import Mutator


class Gguf:
    """Reads configuration and weights, and of the files that have both now and then the tokenizer."""

    def __init__(self, work: Path) -> None:
        from gguf_files import write_gguf

        self._path = work / "model.gguf"
        kinds = {"blk.0.attn_q.weight": "Q8_0", "blk.0.attn_v.weight": "Q4_0"}
        write_gguf(random_run(work) / "llm", self._path, kind_of=lambda name: kinds.get(name, "F16"))
        self._sound = self._path.read_bytes()
        # Behind the names of the tensors come their numbers, which say little about the format.
        self._head = self._sound.rfind(b"output_norm.weight") + 200

    def sound(self) -> bytes:
        return self._sound

    def make(self, mutator: Mutator) -> bytes:
        kind = mutator.random.randrange(9)
        if kind == 0:
            return mutator.bytes(self._sound)
        if kind < 4:  # the keys of the model, before the words of the tokenizer
            start = self._sound.find(b"tokenizer.ggml.tokens")
            return mutator.bytes(self._sound[:start]) + self._sound[start:]
        if kind == 4:  # the tensors' names, sizes, types and places
            start = self._sound.find(b"token_embd.weight") - 16
            return (
                self._sound[:start]
                + mutator.bytes(self._sound[start : self._head])
                + self._sound[self._head :]
            )
        if kind == 5:
            return self._with_key(mutator.random)
        return mutator.bytes(self._sound[: self._head]) + self._sound[self._head :]

    def _with_key(self, random: Random) -> bytes:
        """The file with a key more, of any type and of any length."""
        lengths = (0, 1, 3, 100, 2**21, 2**31, 2**40, 2**63, 2**64 - 1)
        key = random.choice((b"llama.block_count", b"note", b"tokenizer.ggml.tokens", b"split.count"))
        value = struct.pack("<I", random.randrange(14))
        for _ in range(random.randrange(4)):
            value += struct.pack("<IQ", random.randrange(14), random.choice(lengths))
        value += random.randbytes(random.choice((0, 1, 8, 100)))
        (count,) = struct.unpack_from("<Q", self._sound, 16)
        start = self._sound[:16] + struct.pack("<QQ", count + 1, len(key)) + key + value
        return start + self._sound[24:]

    def run(self, data: bytes) -> None:
        from g4v.model.bases.gguf_tokenizer import load_gguf_tokenizer
        from g4v.model.bases.llama_files import LlamaFiles

        self._path.write_bytes(data)
        files = LlamaFiles(self._path)
        for name in list(files.shapes)[:12]:
            if files.code_bits(name):
                files.codes(name)
            assert tuple(files.read(name).shape) == files.shapes[name], name
        if len(data) % 20 == 0:
            load_gguf_tokenizer(self._path)
