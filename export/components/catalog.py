"""The components of a bundle: how each is loaded, written, compared and described."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from g4v._files import read_json
from g4v.export.checkpoint.llama import LlamaWeights
from g4v.export.checkpoint.run import Checkpoint, vae_scale
from g4v.export.components.abstractor import export_abstractor
from g4v.export.components.decoder import export_decoder, write_embedding
from g4v.export.components.encoder import export_encoder
from g4v.export.components.frame_checker import export_frame_checker
from g4v.export.components.precision import CUDA, ENGINE_TARGETS, Precisions
from g4v.export.components.profile import DimensionRange, ShapeProfile
from g4v.export.components.text_encoder import export_text_encoder
from g4v.export.components.unet import export_unet
from g4v.export.components.vae import export_vae_decoder
from g4v.export.errors import ExportError
from g4v.export.graph.bfloat import BFloat, BFloatGraph, CudaBFloatGraph
from g4v.export.graph.cuda import CudaGraph, CudaHalfGraph, check_kernels
from g4v.export.graph.half import Half
from g4v.export.graph.standard import HalfGraph, StandardGraph
from g4v.export.graph.stems import stem_of, target_of
from g4v.export.graph.tiled import TiledGraph, TwoPieceGraph
from g4v.export.graph.writer import Graph
from g4v.export.passes.keep_in_float32 import Measured, measure_graph
from g4v.export.quantisation.bit_allocation import BitAllocation
from g4v.export.quantisation.calibration import calibrate
from g4v.export.quantisation.codes import BITS
from g4v.export.quantisation.dynamic_int8 import EightBitGraph
from g4v.export.quantisation.fp8 import Float8Graph, to_float8
from g4v.export.quantisation.gptq import GPTQ
from g4v.export.quantisation.quantiser import Quantiser
from g4v.export.quantisation.reused_codes import ReusedCodes
from g4v.export.quantisation.round_to_nearest import RoundToNearest
from g4v.export.verify import comparison as verify
from g4v.export.verify.comparison import Feeds
from g4v.export.verify.decoder import compare_decoder
from g4v.export.verify.error_measures import Comparison
from g4v.export.verify.sample_clips import captions

Progress = Callable[[float], None]
"""Called with the share of a component that is done, 0 to 1."""


def components_of(
    checkpoint: Checkpoint,
    precisions: Precisions,
    progress: Progress = lambda share: None,
    calibration: str | None = None,
) -> list[Component]:
    """What the checkpoint has. precisions: the variants of every component. progress: called with the share that
    is done of the component that is being written and compared, where it takes long. calibration: as in
    g4v.export.quantisation.calibration.
    """
    return _Components(checkpoint, precisions, progress, calibration).all()


@dataclass(frozen=True)
class Component:
    """One component: how it is loaded, written, compared and described."""

    name: str  # as in the manifest
    load: Callable[[], Any]  # reads the module from the checkpoint
    export: Callable[..., list[str]]  # (module, folder, stem, kind of graph): graph and data file
    # (module, folder, stem=..., feeds=real inputs): the relative error.
    verify: Callable[..., float | Comparison]
    describe: Callable[[Any], dict[str, Any]]  # the manifest's keys but "variants"
    variants: Mapping[str, str]  # target -> precision
    profile: ShapeProfile  # sizes that an engine takes
    # After export, for a target: the calibration data, and how rounded matrices were made.
    fitted_to: Callable[[str], dict[str, Any] | None] = lambda target: None
    codes: Callable[[str], dict[str, str] | None] = lambda target: None
    float8: dict[str, dict[str, str]] = field(default_factory=dict)  # target -> what `to_float8` has made

    def stem(self, target: str) -> str:
        """Of the files that are written for a target."""
        return stem_of(self.name, target)

    def write(self, module: Any, folder: Path, target: str) -> list[str]:
        """Writes the graph for a target, which `measure` then completes."""
        return self.export(module, folder, self.stem(target), self._kind(target))

    def _kind(self, target: str) -> type[Graph]:
        return graph_kind(self.name, target, self.variants[target])

    def measure(self, folder: Path, target: str, feeds: Feeds) -> Measured | None:
        """Measures the graph in `folder` on real inputs, keeps in float32 what float16 would not hold, and
        rounds what is to be of 8-bit floating numbers; None without inputs. ExportError where the target
        could not run what comes of it.
        """
        stem, kind, found = self.stem(target), self._kind(target), None
        if feeds or kind is Float8Graph:
            half = issubclass(kind, Half) and not issubclass(kind, BFloat)
            found = measure_graph(folder, stem, feeds, half)
        if kind is Float8Graph:
            self.float8[target] = to_float8(folder, stem, feeds)
        if target == CUDA:
            check_kernels(folder, f"{stem}.onnx")
        return found

    def compare(self, module: Any, folder: Path, target: str, feeds: Feeds = ()) -> Comparison:
        """Compares the graph in `folder` with `module`, which may come back in float64, on random inputs and
        on the first two of `feeds`, one of 8-bit floating numbers on these alone, which its scales were found
        on; ExportError if the graph is wrong.
        """
        kind, most = self._kind(target), verify.TOLERANCE
        if kind is Float8Graph:
            error = self.verify(module, folder, stem=self.stem(target), feeds=feeds)
            verify.check(self.stem(target), error, verify.FP8_TOLERANCE)
            return Comparison(error, None, error)
        result = self.verify(module, folder, stem=self.stem(target))
        comparison = result if isinstance(result, Comparison) else Comparison(result, None)
        if feeds:
            real = self.verify(module, folder, stem=self.stem(target), feeds=feeds[:2])
            comparison = replace(comparison, real=real)
        if issubclass(kind, BFloat):
            most = verify.BFLOAT_TOLERANCE
        elif issubclass(kind, Half):
            most = verify.HALF_TOLERANCE
        elif kind is EightBitGraph:
            most = (
                verify.EIGHT_BIT_TOLERANCE if self.name == "abstractor" else verify.EIGHT_BIT_NORM_TOLERANCE
            )
        verify.check(self.stem(target), comparison.exact, most)
        if comparison.real is not None:
            verify.check(self.stem(target), comparison.real, most)
        return comparison


def graph_kind(component: str, target: str, precision: str) -> type[Graph]:
    """What a component's graph is made of."""
    if target == CUDA:
        # What is computed with the decoder's rounded weights is float16.
        return {"fp32": CudaGraph, "bf16": CudaBFloatGraph}.get(precision, CudaHalfGraph)
    if target != "cpu":
        kinds: dict[str, type[Graph]] = {"fp16": HalfGraph, "bf16": BFloatGraph, "fp8": Float8Graph}
        return kinds.get(precision, StandardGraph)
    # The decoder's builder rounds weights itself, and is compared with the rounded ones.
    if component == "decoder":
        return Graph
    # The abstractor's builder chooses itself what is tiled. The UNet would be 1.14 times faster, and take
    # more memory; the others were not measured.
    plain = TiledGraph if component == "encoder" else Graph
    return {"int8": EightBitGraph, "bf16x2": TwoPieceGraph}.get(precision, plain)


class _Components:
    """The components that a checkpoint has, and what they must know of each other."""

    def __init__(
        self, checkpoint: Checkpoint, precisions: Precisions, progress: Progress, calibration: str | None
    ) -> None:
        self.checkpoint, self.precisions, self.progress = checkpoint, precisions, progress
        self.calibration = calibration
        # Of the decoder, by target.
        self._fitted_to: dict[str, dict[str, Any]] = {}
        self._codes: dict[str, dict[str, str]] = {}
        self.frames = int(checkpoint.about["frames"])

    @cached_property
    def tokens(self) -> int:
        """Tokens of the encoder for one frame."""
        return self.checkpoint.encoder().tokens_per_frame

    @property
    def text_length(self) -> int:
        """Positions of the text encoder."""
        config = read_json(self.checkpoint.parts["t2v"] / "text_encoder" / "config.json", ExportError)
        return int(config.get("max_position_embeddings", 77))

    def all(self) -> list[Component]:
        c, parts = self.checkpoint, []
        if c.has("encoder"):
            parts += [
                self._part(
                    "encoder", self._encoder, export_encoder, self._verify_encoder, self._describe_encoder
                ),
                self._part(
                    "abstractor",
                    c.abstractor,
                    export_abstractor,
                    self._verify_abstractor,
                    _describe_abstractor,
                ),
            ]
        if c.has("llm"):
            parts.append(
                self._part("decoder", c.llm, self._export_decoder, self._verify_decoder, _describe_decoder)
            )
        if c.has("t2v"):
            parts += [
                self._part(
                    "text_encoder",
                    c.text_encoder,
                    export_text_encoder,
                    verify.verify_text_encoder,
                    _describe_text,
                ),
                self._part("unet", c.unet, export_unet, self._verify_unet, _describe_unet),
                self._part("vae_decoder", c.vae, export_vae_decoder, self._verify_vae, _describe_vae),
            ]
        if c.has("frame_checker"):
            parts.append(
                self._part(
                    "frame_checker",
                    c.frame_checker,
                    export_frame_checker,
                    self._verify_frame_checker,
                    _describe_frame_checker,
                )
            )
        return parts

    def _part(self, name: str, *functions: Any) -> Component:
        variants = self.precisions[name]
        profile = self._profile(name) if any(target in ENGINE_TARGETS for target in variants) else {}
        part = Component(name, *functions, variants, profile)
        if name == "decoder":
            return replace(part, fitted_to=self._fitted_to.get, codes=self._codes.get)
        return replace(part, codes=part.float8.get)

    def _encoder(self) -> Any:
        encoder = self.checkpoint.encoder()
        self.tokens = encoder.tokens_per_frame
        return encoder

    def _export_decoder(self, weights: LlamaWeights, folder: Path, stem: str, kind: type[Graph]) -> list[str]:
        target = target_of(stem)
        precision = self.precisions["decoder"][target]
        rounding = self._rounding(weights, folder, target, precision) if precision in BITS else None
        files = export_decoder(
            weights, folder, precision, self._decoder_progress(target), rounding, stem, kind
        )
        if rounding is not None:
            self._codes[target] = rounding.made
        write_embedding(weights, folder / "embedding.bin")
        return files

    def _rounding(self, weights: LlamaWeights, folder: Path, target: str, precision: str) -> Quantiser:
        for before, codes in self._codes.items():
            if self.precisions["decoder"][before] == precision:  # fitted once, for both
                if before in self._fitted_to:
                    self._fitted_to[target] = self._fitted_to[before]
                return ReusedCodes(weights, folder, stem_of("decoder", before), codes)
        if not BitAllocation(weights, precision).keeps_all:
            chosen = calibrate(weights, self.checkpoint.tokenizer("decoder"), self.calibration)
            if chosen is not None:
                self._fitted_to[target] = chosen.about
                return GPTQ(weights, precision, chosen.ids)
        return RoundToNearest(weights, precision)

    def _verify_decoder(self, weights: LlamaWeights, folder: Path, stem: str) -> Comparison:
        target = target_of(stem)
        precision = self.precisions["decoder"][target]
        kind = graph_kind("decoder", target, precision)
        progress, text = self._decoder_progress(target, True), self._text(weights)
        return compare_decoder(weights, folder, precision, progress, stem, kind, text)

    def _text(self, weights: LlamaWeights) -> list[int]:
        """Tokens of captions, those that the model has embeddings for."""
        tokenizer = self.checkpoint.tokenizer("decoder")
        found = tokenizer.encode(" ".join(captions()), add_special_tokens=False)
        return [token for token in found if token < weights.config.vocab_size]

    def _decoder_progress(self, target: str, written: bool = False) -> Progress:
        """The variants are written one after the other, and then compared."""
        targets = list(self.precisions["decoder"])
        before = targets.index(target) + (len(targets) if written else 0)
        return lambda share: self.progress((before + share) / (2 * len(targets)))

    def _verify_encoder(self, encoder: Any, folder: Path, stem: str, feeds: Feeds = ()) -> float:
        return verify.verify_encoder(encoder, folder, self.frames, stem, feeds)

    def _verify_abstractor(self, abstractor: Any, folder: Path, stem: str, feeds: Feeds = ()) -> float:
        return verify.verify_abstractor(abstractor, folder, self.frames, self.tokens, stem, feeds)

    def _verify_frame_checker(self, checker: Any, folder: Path, stem: str, feeds: Feeds = ()) -> float:
        return verify.verify_frame_checker(checker, folder, self.frames, self.tokens, stem, feeds)

    def _verify_unet(self, unet: Any, folder: Path, stem: str, feeds: Feeds = ()) -> float:
        return verify.verify_unet(unet, folder, self.text_length, 8, stem, feeds)

    def _verify_vae(self, vae: Any, folder: Path, stem: str, feeds: Feeds = ()) -> float:
        return verify.verify_vae_decoder(vae, folder, 8, stem, feeds)

    def _profile(self, name: str) -> ShapeProfile:
        """What the core asks of a component: clips and videos of up to the run's own numbers of frames,
        videos of its own size, one or two texts.
        """
        video = self.checkpoint.about["generation"].get("video", {})
        frames = DimensionRange(1, self.frames, self.frames)
        if name == "encoder":
            return {"frames": frames}
        if name == "abstractor":
            return {"frames": frames, "tokens": DimensionRange.fixed(self.tokens)}
        texts = {
            "batch": DimensionRange(1, 2, 2),
            "length": DimensionRange(1, self.text_length, self.text_length),
        }
        if name == "text_encoder":
            return texts
        scale = vae_scale(self.checkpoint.parts["t2v"])
        made = DimensionRange(1, int(video.get("frames", 8)), int(video.get("frames", 8)))
        high, wide = (
            DimensionRange.fixed(max(1, int(video.get(key, 64)) // scale)) for key in ("height", "width")
        )
        if name == "unet":
            return {**texts, "frames": made, "height": high, "width": wide}
        return {"frames": made, "latent_height": high, "latent_width": wide}

    def _describe_encoder(self, encoder: Any) -> dict[str, Any]:
        mean, std = self.checkpoint.image_statistics()
        return {
            "image_size": encoder.image_size,
            "mean": mean,
            "std": std,
            "hidden_size": encoder.hidden_size,
            "tokens_per_frame": encoder.tokens_per_frame,
            "flavour": encoder.flavour,
        }


def _describe_abstractor(abstractor: Any) -> dict[str, Any]:
    config = abstractor.config
    return {
        "hidden_size": config.hidden_size,
        "output_tokens": config.output_tokens,
        "output_size": config.output_size,
    }


def _describe_decoder(weights: LlamaWeights) -> dict[str, Any]:
    config = weights.config
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


def _describe_text(model: Any) -> dict[str, Any]:
    return {"max_length": model.config.max_position_embeddings, "hidden_size": model.config.hidden_size}


def _describe_unet(model: Any) -> dict[str, Any]:
    config = model.config
    return {"latent_channels": config.in_channels, "cross_attention_dim": config.cross_attention_dim}


def _describe_vae(model: Any) -> dict[str, Any]:
    config = model.config
    return {
        "latent_channels": config.latent_channels,
        "scale_factor": 2 ** (len(config.block_out_channels) - 1),
        "scaling_factor": config.scaling_factor,
    }


def _describe_frame_checker(checker: Any) -> dict[str, Any]:
    config = checker.config
    return {"hidden_size": config.hidden_size, "withhold_above": config.withhold_above}
