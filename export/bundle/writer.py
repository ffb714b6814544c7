"""Writes the files of a bundle into a folder: components, tokenizers, g4v.json, the report.

csrc/bundle/manifest.cc reads g4v.json and refuses what it does not know: a new key here needs one there, and
a change of meaning needs a new FORMAT_VERSION in both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Any

from g4v.export.bundle.merge import FORMAT, FORMAT_VERSION, MANIFEST, keep_rest, merged
from g4v.export.bundle.resume import Unfinished, file_entry
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.catalog import components_of
from g4v.export.components.component import Component
from g4v.export.engines.options import NO_OPTIONS, EngineOptions
from g4v.export.engines.tensorrt import ENGINES, build_engine
from g4v.export.errors import ExportError, InaccurateError
from g4v.export.graph.stems import memory_stem
from g4v.export.passes.share_weights import share_weights
from g4v.export.passes.store_as_float16 import store_as_float16
from g4v.export.plan.export_estimate import Need
from g4v.export.plan.precision import Precisions, advice
from g4v.export.report.profile import Stopwatch
from g4v.export.report.report import PartReport, count_codes, read_parts, write_report
from g4v.export.verify.samples import Samples

# Defaults of generation.text, and what generation.video must say.
_TEXT = {"max_new_tokens": 256, "temperature": 0.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}
_VIDEO = ("frames", "width", "height", "fps", "steps", "guidance_scale")

Report = Callable[[str], None]
Progress = Callable[[str, float], None]


class BundleWriter:
    """Writes a bundle, or some components of it, into the folder of an unfinished export."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        unfinished: Unfinished,
        precisions: Precisions,
        compact: bool,
        calibration: str | None,
        needs: Sequence[Need],
        samples: Samples,
        report: Report,
        progress: Progress,
        engines: EngineOptions = NO_OPTIONS,
    ) -> None:
        self.checkpoint = checkpoint
        self.unfinished = unfinished
        self.folder = unfinished.folder
        self.precisions = precisions
        self.compact = compact
        self.calibration = calibration
        self.samples = samples
        self.needs = {need.name: need for need in needs}
        self.report = report
        self.progress = progress
        self.engines = engines
        self.parts: list[PartReport] = []
        self._at_work = ""

    def write(self, name: str) -> dict[str, Any]:
        about = self.checkpoint.about
        every = components_of(self.checkpoint, self.precisions, self._tick, self.calibration)
        parts = [part for part in every if part.name in self.needs]
        components: dict[str, Any] = {}
        for index, part in enumerate(parts, 1):
            position = f"[{index}/{len(parts)}] {part.name}"
            before = self.unfinished.take(part.name)
            if before is not None:
                components[part.name] = before[0]
                self.parts += before[1]
                self.report(f"{position}: is there already")
            else:
                components[part.name] = self._write_part(part, position)
        _check_fit(components)
        if "decoder" in components:
            _check_vocabulary(components["decoder"], self.checkpoint)
        tokenizers = self._write_tokenizers(components)
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "name": name,
            "assistant": about["assistant"],
            "description": about["description"],
            "created_by": f"g4v {package_version()}",
            "files": {p.name: file_entry(p) for p in sorted(self.folder.iterdir())},
            "components": components,
            "tokenizers": tokenizers,
            "generation": self._generation(components),
            "licences": about["licences"],
            "provenance": {
                **about["provenance"],
                "relative_errors": {part.label: f"{_error(part):.0e}" for part in self.parts},
            },
        }
        fitted = {part.name: part.fitted_to for part in self.parts if part.fitted_to}
        if fitted:
            manifest["provenance"]["fitted_to"] = fitted
        codes = {part.name: count_codes(part.codes) for part in self.parts if part.codes}
        if codes:
            manifest["provenance"]["codes"] = codes
        samples = {part.name: part.samples for part in self.parts if part.samples}
        if samples:
            manifest["provenance"]["samples"] = samples
        built = {part.label: part.engine for part in self.parts if part.engine}
        if built:
            manifest["provenance"]["engines"] = built
        if "decoder" in components:
            manifest["prompt"] = self.checkpoint.prompt.to_manifest()
        if "encoder" in components:
            manifest["frame_sampling"] = {"frames": int(about["frames"])}
        return manifest

    def add_rest(
        self, manifest: dict[str, Any], old: dict[str, Any], out: Path, named: bool
    ) -> dict[str, Any]:
        """The manifest with those components of the bundle `out` that were not written anew."""
        rest = keep_rest(old, out, self.folder, set(self.needs))
        whole = merged(old, manifest, rest, named)
        whole["files"] = {p.name: file_entry(p) for p in sorted(self.folder.iterdir())}
        _check_fit(whole["components"])
        written = {part.name for part in self.parts}
        self.parts = [part for part in read_parts(out) if part.name not in written] + self.parts
        return whole

    def save(self, manifest: dict[str, Any]) -> None:
        """Writes the manifest and the report."""
        text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        (self.folder / MANIFEST).write_text(text, encoding="utf-8")
        write_report(self.folder, manifest["name"], self.parts)

    def _write_part(self, part: Component, position: str) -> dict[str, Any]:
        self._at_work = part.name
        self._tick(0)
        watch, first = Stopwatch(), next(iter(part.variants))
        with watch("inputs", first):  # before the module takes memory
            feeds = self.samples.feeds(part.name)
        with watch("load", first):
            module = part.load()
            described = part.describe(module)
        # All are written before one is compared, which leaves the module in float64.
        files, measured, comparisons = {}, {}, {}
        for target in part.variants:
            with watch("write", target):
                files[target] = part.write(module, self.folder, target)
            with watch("measure", target):
                measured[target] = part.measure(self.folder, target, feeds)
        for target in part.variants:
            with watch("compare", target):
                try:
                    comparisons[target] = part.compare(module, self.folder, target, feeds)
                except InaccurateError as error:
                    raise ExportError(f"{error}{advice(part.name, part.variants[target])}") from None
        del module  # engines take memory of their own
        variants: list[dict[str, Any]] = []
        reports = []
        for target, precision in part.variants.items():
            comparison, ranges = comparisons[target], measured[target]
            variant: dict[str, Any] = {"target": target, "precision": precision}
            with watch("build" if target in ENGINES else "store", target):
                if target in ENGINES:
                    stem = part.stem(target)
                    files[target] = build_engine(
                        self.folder, stem, part.profile, ENGINES[target], self.engines
                    )
                    variant["profile"] = {name: astuple(span) for name, span in part.profile.items()}
                elif target == "cpu" and self.compact:
                    for graph in files[target][::2]:
                        store_as_float16(self.folder / graph)
                elif target != "cpu" and "cpu" in files:
                    others = [self.folder / file for file in files["cpu"] if file.endswith(".onnx")]
                    graph = files[target][0]
                    files[target] = [graph, *share_weights(self.folder / graph, others)]
            memory = f"{memory_stem(part.stem(target))}.onnx"
            if memory in files[target]:
                variant["memory_graph"] = memory
            variants.append({**variant, "graph": files[target][0], "files": files[target]})
            found = PartReport(
                part.name,
                precision,
                self.needs[part.name].weights,
                self._size(files[target], variants[:-1]),
                comparison.exact,
                comparison.rounding,
                watch.seconds(target),
                watch.peak_bytes(target),
                part.fitted_to(target),
                target,
                part.codes(target),
                real_error=comparison.real,
                steps=[asdict(step) for step in watch.steps(target)],
                engine=self.engines.describe(target) if target in ENGINES else None,
            )
            if ranges is not None:
                samples = {**self.samples.about, "inputs": self.samples.inputs(part.name)}
                found = replace(found, samples=samples, **asdict(ranges))
            reports.append(found)
            self._report_part(f"{position}{'' if target == 'cpu' else f' for {target}'}", found)
        component = {**described, "variants": variants}
        beside = [described["embedding"]["file"]] if "embedding" in described else []
        self.parts += reports
        every = dict.fromkeys(file for names in files.values() for file in names)
        self.unfinished.note(part.name, component, reports, [*every, *beside])
        return component

    def _report_part(self, label: str, found: PartReport) -> None:
        """Lines for a person."""
        errors = f"relative error {found.relative_error:.1e}"
        if found.random_error is None:
            errors += " on real inputs"
        elif found.real_error is not None:
            errors += f" ({found.real_error:.1e} on real inputs)"
        if found.rounding_error is not None:
            errors += f" ({found.rounding_error:.1e} by {found.precision} weights)"
        self.report(f"{label}: {found.bytes / 1e6:.1f} MB, {errors}, {found.seconds:.1f} s")
        if found.kept:
            largest = max(found.kept.values())
            self.report(f"{label}: {len(found.kept)} nodes stay in float32: their values reach {largest:.3g}")
        if found.samples and found.samples["inputs"] != "real":
            self.report(f"{label}: {found.samples['inputs']} in place of real inputs")

    def _size(self, files: Sequence[str], before: Sequence[dict[str, Any]]) -> int:
        """Bytes of the files that the variants before have not."""
        counted = {file for variant in before for file in variant["files"]}
        return sum((self.folder / file).stat().st_size for file in files if file not in counted)

    def _tick(self, share: float) -> None:
        """So much of the component at work is done."""
        finished = {part.name for part in self.parts}
        done = sum(self.needs[name].seconds for name in finished)
        done += share * self.needs[self._at_work].seconds
        self.progress(self._at_work, done / sum(need.seconds for need in self.needs.values()))

    def _write_tokenizers(self, components: dict[str, Any]) -> dict[str, Any]:
        from g4v.export.components.tokenizer import write_tokenizer

        specs: dict[str, Any] = {}
        if "decoder" in components:
            write_tokenizer(self.checkpoint.tokenizer_source("decoder"), self.folder / "tokenizer.json")
            specs["decoder"] = {"file": "tokenizer.json"}
        if "text_encoder" in components:
            path = self.folder / "text_tokenizer.json"
            write_tokenizer(self.checkpoint.tokenizer_source("text_encoder"), path)
            other = self.folder / "tokenizer.json"
            if other.exists() and other.read_bytes() == path.read_bytes():
                path.unlink()
                path = other
            tokenizer = self.checkpoint.tokenizer("text_encoder")
            if tokenizer.pad_token_id is None:
                raise ExportError(f"{self.checkpoint.tokenizer_source('text_encoder')}: has no pad token")
            specs["text_encoder"] = {
                "file": path.name,
                "bos": tokenizer.bos_token_id,
                "eos": tokenizer.eos_token_id,
                "pad": tokenizer.pad_token_id,
            }
        return specs

    def _generation(self, components: dict[str, Any]) -> dict[str, Any]:
        given = self.checkpoint.about["generation"]
        result: dict[str, Any] = {}
        if "decoder" in components:
            result["text"] = {**_TEXT, **given.get("text", {})}
        if "unet" in components:
            video = {"negative_prompt": "", **given.get("video", {})}
            video["scheduler"] = self.checkpoint.scheduler()
            missing = [key for key in _VIDEO if key not in video]
            if missing:
                raise ExportError(f"g4v_train.json: generation.video: {missing[0]!r} is missing")
            shared = video.get("shared_noise", 0)
            if not isinstance(shared, (int, float)) or not 0 <= shared <= 1:
                raise ExportError(
                    f"g4v_train.json: generation.video: 'shared_noise' must be from 0 to 1, not {shared!r}"
                )
            scale = components.get("vae_decoder", {}).get("scale_factor", 1)
            if video["width"] % scale or video["height"] % scale:
                raise ExportError(
                    f"g4v_train.json: generation.video: width and height must be multiples of {scale}"
                )
            result["video"] = video
        return result


def _error(part: PartReport) -> float:
    return part.relative_error if part.rounding_error is None else part.rounding_error


def _check_fit(components: dict[str, Any]) -> None:
    """ExportError where two components do not belong together."""
    pairs = (
        ("encoder", "hidden_size", "abstractor", "hidden_size"),
        ("abstractor", "output_size", "decoder", "hidden_size"),
        ("text_encoder", "hidden_size", "unet", "cross_attention_dim"),
        ("unet", "latent_channels", "vae_decoder", "latent_channels"),
        ("encoder", "hidden_size", "frame_checker", "hidden_size"),
    )
    for left, left_key, right, right_key in pairs:
        if left not in components or right not in components:
            continue
        a, b = components[left][left_key], components[right][right_key]
        if a != b:
            raise ExportError(
                f"{left}.{left_key} is {a}, but {right}.{right_key} is {b}: they do not fit together"
            )


def _check_vocabulary(decoder: dict[str, Any], checkpoint: Checkpoint) -> None:
    """ExportError if the tokenizer has tokens that the decoder has not."""
    size, tokens = decoder["vocab_size"], len(checkpoint.tokenizer("decoder"))
    ids = [checkpoint.prompt.turn_end_id, checkpoint.prompt.bos_id or 0]
    if tokens > size or max(ids) >= size:
        place = checkpoint.parts["llm"]
        raise ExportError(f"{place}: the model has {size} embeddings, fewer than its tokens")


def package_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("g4v")
    except PackageNotFoundError:  # run from a source tree
        return "0.1.0"
