"""Writes a bundle: every component's graph, embeddings, tokenizers and g4v.json, whole or not at all.

csrc/bundle/manifest.cc reads g4v.json and refuses what it does not know: a new key here needs one there, and
a change of meaning needs a new FORMAT_VERSION in both.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from g4v.export.checkpoint import Checkpoint
from g4v.export.compact import compact_graph
from g4v.export.components import Component, components_of
from g4v.export.errors import ExportError
from g4v.export.existing import FORMAT, FORMAT_VERSION, MANIFEST, keep_rest, merged, read_manifest
from g4v.export.plan import Need, check_disk, plan_export
from g4v.export.precision import parse_precisions
from g4v.export.report import PartReport, forget_peak, peak_bytes, read_parts, write_report
from g4v.export.sources import NONE, Sources
from g4v.export.unfinished import Unfinished, file_entry, fingerprint

# Defaults of generation.text, and what generation.video must say.
_TEXT = {"max_new_tokens": 256, "temperature": 0.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}
_VIDEO = ("frames", "width", "height", "fps", "steps", "guidance_scale")

Report = Callable[[str], None]
Progress = Callable[[str, float], None]


def export_bundle(
    run: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    precision: str | Sequence[str] = "fp32",
    compact: bool = False,
    force: bool = False,
    only: Collection[str] | None = None,
    sources: Sources = NONE,
    report: Report = lambda line: None,
    progress: Progress = lambda component, share: None,
) -> dict[str, Any]:
    """Exports the training run `run` as the bundle `out`; returns its manifest.

    name: the manifest's name, by default the run's own. precision: such as "int4" for all components that
    can be written so, or words such as "decoder=int8" (g4v.export.precision). compact: store weights as
    float16 where that is exact (g4v.export.compact). force: replace a bundle that exists. only: components to
    export; a bundle that exists keeps its others. sources: parts that take the place of the run's. report:
    called with one line per part. progress: called with the component at work and the share of everything
    that is done. ExportError, before anything appears at `out`, if the run is incomplete or inconsistent, if
    a graph differs from PyTorch by more than `verify.TOLERANCE`, if the disk is too small, or if `out`
    exists. The same run gives the same bytes. After a KeyboardInterrupt the same call goes on from the
    components that are whole (g4v.export.unfinished).
    """
    precisions = parse_precisions(precision)
    out = Path(out).absolute()
    _check_target(out, force)
    checkpoint = Checkpoint.open(run, sources)
    old = read_manifest(out) if only is not None and (out / MANIFEST).exists() else None
    needs = [n for n in plan_export(checkpoint, precisions) if only is None or n.name in only]
    for component in only or ():
        if component not in {need.name for need in needs}:
            raise ExportError(f"{run}: has no {component} to export")
    check_disk(needs, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    settings = {"precisions": precisions, "compact": compact, "only": sorted(only or ()), "g4v": _version()}
    unfinished = Unfinished(out, fingerprint(checkpoint.files(), settings))
    with unfinished.open():
        writer = _Writer(checkpoint, unfinished, precisions, compact, needs, report, progress)
        manifest = writer.write(name or checkpoint.about["name"])
        if old is not None:
            manifest = writer.add_rest(manifest, old, out, name is not None)
        writer.save(manifest)
        _replace(unfinished.folder, out)
    return manifest


def verify_bundle(
    run: str | Path, out: str | Path, report: Report = lambda line: None, sources: Sources = NONE
) -> dict[str, float]:
    """Checks the files of a bundle against its manifest, and its graphs against the run (and the sources)
    that it was exported from.

    Returns the relative error of every component; ExportError names the first file or component that is
    wrong.
    """
    out = Path(out)
    manifest = read_manifest(out)
    listed = manifest["files"]
    for path, entry in listed.items():
        if not (out / path).is_file() or file_entry(out / path) != entry:
            raise ExportError(f"{out / path}: is missing or damaged: size or SHA-256 differ from {MANIFEST}")
    errors = {}
    written = manifest["components"]
    precisions = parse_precisions([f"{name}={p['variants'][0]['precision']}" for name, p in written.items()])
    for part in components_of(Checkpoint.open(run, sources), precisions):
        if part.name in written:
            errors[part.name] = part.compare(part.load(), out).exact
            report(f"{part.name}: relative error {errors[part.name]:.1e}")
    return errors


class _Writer:
    """Writes everything into a folder that nobody else sees yet."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        unfinished: Unfinished,
        precisions: Mapping[str, str],
        compact: bool,
        needs: Sequence[Need],
        report: Report,
        progress: Progress,
    ) -> None:
        self.checkpoint = checkpoint
        self.unfinished = unfinished
        self.folder = unfinished.folder
        self.precisions = precisions
        self.compact = compact
        self.needs = {need.name: need for need in needs}
        self.report = report
        self.progress = progress
        self.parts: list[PartReport] = []
        self._at_work = ""

    def write(self, name: str) -> dict[str, Any]:
        about = self.checkpoint.about
        every = components_of(self.checkpoint, self.precisions, self._tick)
        parts = [part for part in every if part.name in self.needs]
        components: dict[str, Any] = {}
        for index, part in enumerate(parts, 1):
            position = f"[{index}/{len(parts)}] {part.name}"
            before = self.unfinished.take(part.name)
            if before is not None:
                components[part.name] = before[0]
                self.parts.append(before[1])
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
            "created_by": f"g4v {_version()}",
            "files": {p.name: file_entry(p) for p in sorted(self.folder.iterdir())},
            "components": components,
            "tokenizers": tokenizers,
            "generation": self._generation(components),
            "licences": about["licences"],
            "provenance": {
                **about["provenance"],
                "relative_errors": {part.name: f"{_error(part):.0e}" for part in self.parts},
            },
        }
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
        start = time.monotonic()
        self._at_work = part.name
        self._tick(0)
        forget_peak()
        module = part.load()
        described = part.describe(module)
        files = part.export(module, self.folder)
        if self.compact:
            compact_graph(self.folder, *files)
        comparison = part.compare(module, self.folder)
        found = PartReport(
            part.name,
            part.precision,
            self.needs[part.name].weights,
            sum((self.folder / file).stat().st_size for file in files),
            comparison.exact,
            comparison.rounding,
            round(time.monotonic() - start, 1),
            peak_bytes(),
        )
        self.parts.append(found)
        rounded = ""
        if found.rounding_error is not None:
            rounded = f" ({found.rounding_error:.1e} by {part.precision} weights)"
        self.report(
            f"{position}: {found.bytes / 1e6:.1f} MB, relative error {found.relative_error:.1e}"
            f"{rounded}, {found.seconds:.1f} s"
        )
        variant = {"target": "cpu", "precision": part.precision, "graph": files[0], "files": files}
        component = {**described, "variants": [variant]}
        beside = [described["embedding"]["file"]] if "embedding" in described else []
        self.unfinished.note(part.name, component, found, [*files, *beside])
        return component

    def _tick(self, share: float) -> None:
        """So much of the component at work is done."""
        done = sum(self.needs[part.name].seconds for part in self.parts)
        done += share * self.needs[self._at_work].seconds
        self.progress(self._at_work, done / sum(need.seconds for need in self.needs.values()))

    def _write_tokenizers(self, components: dict[str, Any]) -> dict[str, Any]:
        from g4v.export.tokenizer import write_tokenizer

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


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("g4v")
    except PackageNotFoundError:  # run from a source tree
        return "0.1.0"


def _check_target(out: Path, force: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise ExportError(f"{out}: exists and is no directory")
    if not any(out.iterdir()):
        return
    if not force:
        raise ExportError(f"{out}: exists already (--force replaces it)")
    if not (out / MANIFEST).is_file():
        raise ExportError(f"{out}: is no bundle, so --force does not replace it")


def _replace(temporary: Path, out: Path) -> None:
    """Puts the finished folder in place of `out`."""
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    if out.exists():
        out.rename(old)
    try:
        temporary.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
