"""Verifies a bundle: its files against their hashes, its graphs against the training run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from g4v.export.bundle.manifest import MANIFEST, file_entry, read_manifest
from g4v.export.checkpoint.overrides import NO_OVERRIDES, Overrides
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.catalog import components_of
from g4v.export.components.precision import CPU, parse_precisions
from g4v.export.engines.tensorrt import ENGINES
from g4v.export.errors import ExportError
from g4v.export.verify.samples import Samples


def verify_bundle(
    run: str | Path | None,
    out: str | Path,
    report: Callable[[str], None] = lambda line: None,
    overrides: Overrides = NO_OVERRIDES,
    videos: Sequence[str | Path] = (),
) -> dict[str, float]:
    """Checks the bundle `out`: its files against the manifest, its graphs against the run that it is made of.

    run: what the bundle was made of (`Checkpoint.open`).
    report: called with each line for a person.
    overrides: parts that took the place of the run's at export.
    videos: files that the real inputs of the export were made from; none where clips were drawn.

    Graphs are compared on random inputs and on the real ones of the export. Returns the larger of both
    errors for every component, and for its variant for another target under a name such as "unet (cuda)".

    ExportError: a file or a component is wrong (the message names the first one), or other videos are given.
    """
    out = Path(out)
    manifest = read_manifest(out)
    listed = manifest["files"]
    for path, entry in listed.items():
        if not (out / path).is_file() or file_entry(out / path) != entry:
            raise ExportError(f"{out / path}: is missing or damaged: size or SHA-256 differ from {MANIFEST}")
    checkpoint = Checkpoint.open(run, overrides)
    checkpoint.require_weights()
    if checkpoint.has("t2v") and (video := manifest["generation"].get("video")) is not None:
        # Real inputs were made of videos of the bundle's own frames and size.
        size = (video["width"], video["height"])
        Overrides(frames=video["frames"], video_size=size).apply_video(checkpoint.about)
    used = manifest["provenance"].get("samples", {})
    drawn, filmed = Samples(checkpoint), Samples(checkpoint, videos)
    _check_videos(used, filmed.about.get("videos", []))
    errors = {}
    written = manifest["components"]
    precisions = parse_precisions(())
    for name, component in written.items():
        precisions[name] = {v["target"]: v["precision"] for v in component["variants"]}
    parts = {part.name: part for part in components_of(checkpoint, precisions)}
    for name in written:
        if name not in parts:
            place = checkpoint.run
            raise ExportError(
                f"{out}: has {name}, and {place} has not: name what it was exported from{_sources(manifest)}"
            )
    for name, part in parts.items():
        if name not in written:
            continue
        for target in part.variants:
            label = name if target == CPU else f"{name} ({target})"
            if target in ENGINES:
                report(f"{label}: its files are whole; engines run on GPUs alone")
                continue
            # A module that was compared is in float64.
            samples = filmed if "videos" in used.get(name, {}) else drawn
            feeds = samples.feeds(name) if name in used else ()
            module = part.load()
            for key, value in part.describe(module).items():
                there = written[name].get(key)
                if key == "timestep_dtype" and there in (None, "int64"):
                    continue  # of an older bundle: the comparison gives its graph whole time steps
                if there != value:
                    raise ExportError(
                        f"{out}: {name}.{key} is {there}, and that of {checkpoint.run} is {value}: name what "
                        f"it was exported from{_sources(manifest)}"
                    )
            found = part.compare(module, out, target, feeds)
            errors[label] = max(found.exact, found.real or 0.0)
            real = "" if found.real is None else f" ({found.real:.1e} on real inputs)"
            report(f"{label}: relative error {found.exact:.1e}{real}")
    return errors


def _sources(manifest: dict[str, Any]) -> str:
    """The options that name the parts of an assistant that was put together, as its provenance has them."""
    options = {"base": "--base", "llm": "--llm", "encoder": "--vision", "t2v": "--t2v"}
    named = {option: manifest["provenance"].get(part) for part, option in options.items()}
    found = [f"{option} {source}" for option, source in named.items() if isinstance(source, str)]
    return f" ({' '.join(found)})" if found else ""


def _check_videos(used: dict[str, Any], given: list[dict[str, Any]]) -> None:
    """ExportError where a component was compared on other videos than are given. used: of each component."""
    for name, samples in used.items():
        if samples.get("videos", given) != given:
            named = ", ".join(video["file"] for video in samples["videos"])
            raise ExportError(f"{name} was compared on {named}: name the same with --calibration-video")
