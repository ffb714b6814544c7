"""Writes the files of one component into a bundle's folder, one variant for each target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Any

from g4v.export.components.component import Component
from g4v.export.components.packed_decoder import packed_name
from g4v.export.components.precision import CPU, advice
from g4v.export.engines.options import EngineOptions
from g4v.export.engines.tensorrt import ENGINES, build_engine
from g4v.export.errors import ExportError, InaccurateError
from g4v.export.graph.stems import memory_stem
from g4v.export.passes.keep_in_float32 import Measured
from g4v.export.passes.share_weights import share_weights
from g4v.export.passes.store_as_float16 import store_as_float16
from g4v.export.plan.export_estimate import ExportEstimate
from g4v.export.report.component_report import ComponentReport
from g4v.export.report.profiler import Profiler
from g4v.export.verify.error_measures import Comparison
from g4v.export.verify.samples import Samples


class ComponentWriter:
    """Exports components, one by one: each is loaded, written, measured and compared for all its targets.

    folder: into which files are written.
    estimates: of each component by its name.
    samples: real inputs.
    engines: options of engines.
    store_as_float16: stores weights of graphs for the CPU as float16 where that is exact.
    decoder_graph: False: the graph of a decoder for the CPU is removed when it was compared, and its packed
        weights are kept alone.
    report: called with each line for a person.
    """

    def __init__(
        self,
        folder: Path,
        estimates: Mapping[str, ExportEstimate],
        samples: Samples,
        engines: EngineOptions,
        store_as_float16: bool,
        decoder_graph: bool,
        report: Callable[[str], None],
    ) -> None:
        self.folder, self.estimates, self.samples = folder, estimates, samples
        self.engines, self.store_as_float16, self.report = engines, store_as_float16, report
        self.decoder_graph = decoder_graph

    def write(
        self, component: Component, position: str
    ) -> tuple[dict[str, Any], list[ComponentReport], list[str]]:
        """Writes all variants of a component, with every graph compared with PyTorch.

        position: begins each line of the report, such as "[1/7] encoder".
        Returns the manifest's entry, a report for each variant, and the names of all files.
        ExportError: a graph is not accurate enough, or cannot be written or built for its target.
        """
        profiler, first = Profiler(), next(iter(component.variants))
        with profiler("inputs", first):  # before the module takes memory
            feeds = self.samples.feeds(component.name)
        with profiler("load", first):
            module = component.load()
            described = component.describe(module)
        # All variants are written before one is compared, which leaves the module in float64.
        files: dict[str, list[str]] = {}
        measured: dict[str, Measured | None] = {}
        comparisons: dict[str, Comparison] = {}
        for target in component.variants:
            with profiler("write", target):
                files[target] = component.write(module, self.folder, target)
            with profiler("measure", target):
                measured[target] = component.measure(self.folder, target, feeds)
        for target in component.variants:
            with profiler("compare", target):
                try:
                    comparisons[target] = component.compare(module, self.folder, target, feeds)
                except InaccurateError as error:
                    hint = advice(component.name, component.variants[target])
                    raise ExportError(f"{error}{hint}") from None
        del module  # engines take memory of their own
        variants: list[dict[str, Any]] = []
        reports: list[ComponentReport] = []
        for target, precision in component.variants.items():
            variant: dict[str, Any] = {"target": target, "precision": precision}
            with profiler("build" if target in ENGINES else "store", target):
                files[target] = self._finish(component, target, files)
            if target in ENGINES:
                variant["profile"] = {name: astuple(sizes) for name, sizes in component.profile.items()}
            memory = f"{memory_stem(component.stem(target))}.onnx"
            if memory in files[target]:
                variant["memory_graph"] = memory
            packed = packed_name(component.stem(target))
            if packed in files[target]:
                variant["packed"] = packed
            graphs = [
                file for file in files[target] if file.endswith(".onnx")
            ]  # the component's is the first
            variant |= {"graph": graphs[0]} if graphs else {}
            variants.append({**variant, "files": files[target]})
            counted = {file for before in variants[:-1] for file in before["files"]}
            size = sum((self.folder / file).stat().st_size for file in files[target] if file not in counted)
            found = self._report(component, target, size, comparisons[target], measured[target], profiler)
            reports.append(found)
            self._print(f"{position}{'' if target == CPU else f' for {target}'}", found)
        beside = [described["embedding"]["file"]] if "embedding" in described else []
        every = dict.fromkeys(file for names in files.values() for file in names)
        return {**described, "variants": variants}, reports, [*every, *beside]

    def _finish(self, component: Component, target: str, files: dict[str, list[str]]) -> list[str]:
        """Builds the engine, or stores weights in their final form; returns the variant's files.

        A graph that is not wanted in the bundle is removed: all targets have been compared by now.
        """
        if target in ENGINES:
            stem = component.stem(target)
            return build_engine(self.folder, stem, component.profile, ENGINES[target], self.engines)
        packed = packed_name(component.stem(target))
        if not self.decoder_graph and packed in files[target]:
            for file in files[target]:
                if file != packed:
                    (self.folder / file).unlink()
            return [packed]
        if target == CPU and self.store_as_float16:
            for graph in (file for file in files[target] if file.endswith(".onnx")):
                store_as_float16(self.folder / graph)
        elif target != CPU and CPU in files:
            others = [self.folder / file for file in files[CPU] if file.endswith(".onnx")]
            graph = files[target][0]
            return [graph, *share_weights(self.folder / graph, others)]
        return files[target]

    def _report(
        self,
        component: Component,
        target: str,
        size: int,
        comparison: Comparison,
        ranges: Measured | None,
        profiler: Profiler,
    ) -> ComponentReport:
        found = ComponentReport(
            name=component.name,
            precision=component.variants[target],
            weights=self.estimates[component.name].weights,
            bytes=size,
            relative_error=comparison.exact,
            rounding_error=comparison.rounding,
            seconds=profiler.seconds(target),
            peak_bytes=profiler.peak_bytes(target),
            fitted_to=component.fitted_to(target),
            target=target,
            codes=component.codes(target),
            real_error=comparison.real,
            weight_error=comparison.weights,
            steps=[asdict(step) for step in profiler.steps(target)],
            engine=self.engines.describe(target) if target in ENGINES else None,
        )
        if ranges is None:
            return found
        samples = {**self.samples.about, "inputs": self.samples.inputs(component.name)}
        return replace(found, samples=samples, **asdict(ranges))

    def _print(self, label: str, found: ComponentReport) -> None:
        errors = f"relative error {found.relative_error:.1e}"
        if found.random_error is None:
            errors += " on real inputs"
        elif found.real_error is not None:
            errors += f" ({found.real_error:.1e} on real inputs)"
        if found.rounding_error is not None:
            errors += f" ({found.rounding_error:.1e} by {found.precision}"
            if found.weight_error is not None:
                errors += f": {found.weight_error:.1e} by weights, the rest by activations in 8 bits"
            errors += ")"
        self.report(f"{label}: {found.bytes / 1e6:.1f} MB, {errors}, {found.seconds:.1f} s")
        if found.kept:
            largest = max(found.kept.values())
            self.report(f"{label}: {len(found.kept)} nodes stay in float32: their values reach {largest:.3g}")
        if found.samples and found.samples["inputs"] != "real":
            self.report(f"{label}: {found.samples['inputs']} in place of real inputs")
