"""The language model as a component of a bundle (its graph: g4v.export.components.decoder_graph)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from g4v.export.checkpoint.llama import LlamaWeights
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.component import Component
from g4v.export.components.decoder_graph import export_decoder, write_embedding
from g4v.export.components.own_text import write_own_text
from g4v.export.components.packed_decoder import packed_name, write_packed
from g4v.export.components.precision import CPU
from g4v.export.graph.lowering import Lowering
from g4v.export.graph.stems import target_of
from g4v.export.quantisation.bit_allocation import BitAllocation
from g4v.export.quantisation.calibration import calibrate
from g4v.export.quantisation.codes import BITS
from g4v.export.quantisation.gptq import GPTQ
from g4v.export.quantisation.quantiser import Quantiser
from g4v.export.quantisation.reused_codes import ReusedCodes
from g4v.export.quantisation.round_to_nearest import RoundToNearest
from g4v.export.verify.comparison import Feeds
from g4v.export.verify.decoder import check_embedding, compare_decoder
from g4v.export.verify.error_measures import Comparison
from g4v.export.verify.packed_alone import compare_packed
from g4v.export.verify.sample_clips import captions


class Decoder(Component):
    """The language model.

    progress: called with the share of its work that is done.
    calibration: as in g4v.export.quantisation.calibration.
    """

    name = "decoder"

    def __init__(
        self,
        checkpoint: Checkpoint,
        variants: Mapping[str, str],
        progress: Callable[[float], None] = lambda share: None,
        calibration: str | None = None,
    ) -> None:
        super().__init__(checkpoint, variants)
        self._progress, self._calibration = progress, calibration
        self._fitted_to: dict[str, dict[str, Any]] = {}

    def load(self) -> LlamaWeights:
        return self.checkpoint.llm()

    def build(self, module: LlamaWeights, folder: Path, stem: str, lowering: Lowering) -> list[str]:
        target = target_of(stem)
        precision = self.variants[target]
        quantiser = self._quantiser(module, folder, target) if precision in BITS else None
        progress = self._share_of(target)
        files = export_decoder(module, folder, precision, progress, quantiser, stem, lowering)
        if quantiser is not None:
            self._codes[target] = quantiser.made
        write_embedding(module, folder / "embedding.bin")
        if target == CPU:
            files.append(write_packed(module, folder, precision, stem))
        return files

    def describe(self, module: LlamaWeights) -> dict[str, Any]:
        config = module.config
        return {
            "vocab_size": config.vocab_size,
            "hidden_size": config.hidden_size,
            "layers": config.num_hidden_layers,
            "heads": config.num_attention_heads,
            "kv_heads": config.num_key_value_heads,
            "head_dim": config.head_dim,
            "context_length": config.max_position_embeddings,
            "embedding": {"file": "embedding.bin", "dtype": "float32"},
        }

    def verify(self, module: LlamaWeights, folder: Path, stem: str, feeds: Feeds = ()) -> float:
        return self._errors(module, folder, target_of(stem), feeds).exact

    def _errors(self, module: LlamaWeights, folder: Path, target: str, feeds: Feeds) -> Comparison:
        """The errors of the graph of `target` in `folder`, on the text of captions in place of `feeds`.

        The text goes through the graph in several steps.
        """
        check_embedding(module, folder / "embedding.bin")
        progress, text = self._share_of(target, written=True), self._text(module)
        dtype, stem = self.lowering(target).dtype, self.stem(target)
        packed = folder / packed_name(stem)  # which bundles of before have not
        return compare_decoder(
            module,
            folder,
            self.variants[target],
            progress,
            stem,
            dtype,
            text,
            packed if packed.exists() else None,
        )

    def compare(self, module: LlamaWeights, folder: Path, target: str, feeds: Feeds = ()) -> Comparison:
        packed = folder / packed_name(self.stem(target))
        if (folder / f"{self.stem(target)}.onnx").exists() or not packed.exists():
            return super().compare(module, folder, target, feeds)
        check_embedding(module, folder / "embedding.bin")
        progress, text = self._share_of(target, written=True), self._text(module)
        return compare_packed(module, packed, self.variants[target], progress, text)

    def fitted_to(self, target: str) -> dict[str, Any] | None:
        return self._fitted_to.get(target)

    def _quantiser(self, weights: LlamaWeights, folder: Path, target: str) -> Quantiser:
        precision = self.variants[target]
        for before, codes in self._codes.items():
            if self.variants[before] == precision:  # fitted once, for both
                if before in self._fitted_to:
                    self._fitted_to[target] = self._fitted_to[before]
                return ReusedCodes(weights, folder, self.stem(before), codes)
        if not BitAllocation(weights, precision).keeps_all:
            tokenizer = self.checkpoint.tokenizer(self.name)
            own_text = partial(write_own_text, weights, tokenizer.bos_token_id, folder)
            chosen = calibrate(weights, tokenizer, self._calibration, own_text)
            if chosen is not None:
                self._fitted_to[target] = chosen.about
                return GPTQ(weights, precision, chosen.ids)
        return RoundToNearest(weights, precision)

    def _text(self, weights: LlamaWeights) -> list[int]:
        """Tokens of captions, those that the model has embeddings for."""
        tokenizer = self.checkpoint.tokenizer(self.name)
        found = tokenizer.encode(" ".join(captions()), add_special_tokens=False)
        return [token for token in found if token < weights.config.vocab_size]

    def _share_of(self, target: str, written: bool = False) -> Callable[[float], None]:
        """The variants are written one after the other, and then compared."""
        targets = list(self.variants)
        before = targets.index(target) + (len(targets) if written else 0)
        return lambda share: self._progress((before + share) / (2 * len(targets)))
