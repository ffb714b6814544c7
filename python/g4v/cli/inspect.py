"""`g4v inspect`: what is in a bundle, and whether it is whole."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .common import print_json


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "inspect",
        help="show what a bundle holds and check its files",
        description="Checks every file of a bundle against its manifest, then shows what the bundle holds.",
        epilog="examples:\n  g4v inspect tiny\n  g4v inspect /srv/bundles/full --verify size --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="an embedded name (tiny) or a bundle directory")
    parser.add_argument(
        "--verify",
        default="full",
        choices=("full", "auto", "size"),
        help="full: SHA-256 of every file; size: sizes only; auto: as loading does (default: full)",
    )
    parser.add_argument("--json", action="store_true", help="print the manifest as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from .._engine import find_bundle, import_core

    directory = find_bundle(arguments.bundle)
    verified = import_core().check_bundle(str(directory), arguments.verify)
    # The core has parsed the same text with all its checks, so it is JSON of the known shape.
    manifest: dict[str, Any] = json.loads((directory / "g4v.json").read_text(encoding="utf-8"))
    if arguments.json:
        print_json(manifest)
        return 0
    for line in describe(manifest) + describe_report(directory):
        print(line)
    print(f"checked: {'size and SHA-256' if verified else 'size'} of {len(manifest['files'])} files")
    print(f"at: {directory}")
    return 0


def describe(manifest: dict[str, Any]) -> list[str]:
    """The manifest in lines for a person."""
    files = manifest["files"]
    lines = [
        f"{manifest['name']} (bundle format {manifest['format_version']}, {manifest['created_by']})",
        f"  {manifest['description']}",
        f"  {len(files)} files, {_size(sum(f['bytes'] for f in files.values()))}",
        "components:",
    ]
    for name, component in manifest["components"].items():
        variants = ", ".join(
            f"{v['target']} {v['precision']} {_size(sum(files[f]['bytes'] for f in v['files']))}"
            for v in component["variants"]
        )
        lines.append(f"  {name:13} {variants}")
        facts = {k: v for k, v in component.items() if isinstance(v, (int, float, str))}
        if facts:
            lines.append(f"  {'':13} " + ", ".join(f"{k} {v}" for k, v in facts.items()))
    for kind, settings in manifest.get("generation", {}).items():
        shown = {k: v for k, v in settings.items() if not isinstance(v, dict) and v != ""}
        lines.append(f"{kind} defaults: " + ", ".join(f"{k} {v}" for k, v in shown.items()))
        if "scheduler" in settings:
            lines.append(f"  scheduler {settings['scheduler']['type']}")
    if "frame_sampling" in manifest:
        lines.append(f"frames taken of a video: {manifest['frame_sampling']['frames']}")
    for entry in manifest.get("licences", []):
        lines.append(f"licence of {entry.get('component', '?')}: {entry.get('licence', '?')}")
    return lines


def describe_report(directory: Path) -> list[str]:
    """What the exporter found, where it left its report.json; nothing if that is missing or damaged."""
    try:
        parts = json.loads((directory / "report.json").read_text(encoding="utf-8"))["components"]
        lines = [_found(part) for part in parts]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return ["at export (largest relative error against PyTorch in float64):", *lines]


def _found(part: dict[str, Any]) -> str:
    rounding = part["rounding_error"]
    rounded = "" if rounding is None else f", {rounding:.1e} by rounding its weights"
    memory = "" if part["peak_bytes"] is None else f", {_size(part['peak_bytes'])} of memory"
    name = part["name"] if part.get("target", "cpu") == "cpu" else f"{part['name']} for {part['target']}"
    return f"  {name:13} {part['relative_error']:.1e}{rounded}; {part['seconds']} s{memory}"


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "KB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"
