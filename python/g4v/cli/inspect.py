"""`g4v inspect`: what is in a bundle, and whether it is whole."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .._console import shown_path, visible
from .._files import read_json
from ..errors import ArgumentError, BundleError
from .common import print_json

_FLOAT16 = 65504  # its largest number


def add_parser(commands: Any) -> None:
    """Adds `g4v inspect` to the subcommands of the parser."""
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
    """Runs `g4v inspect`; returns its exit code. Raises `g4v.Error`."""
    from .._runtime import find_bundle, import_core

    directory = find_bundle(arguments.bundle)
    verified = import_core().check_bundle(directory, arguments.verify)
    # The core has parsed the same text with all its checks, so it is JSON of the known shape.
    manifest = read_json(directory / "g4v.json", BundleError)
    if arguments.json:
        print_json(manifest)
        return 0
    for line in describe(manifest) + describe_report(directory):
        print(visible(line.replace("\n", " ")))
    print(f"checked: {'size and SHA-256' if verified else 'size'} of {len(manifest['files'])} files")
    print(f"at: {shown_path(directory)}")
    return 0


def describe(manifest: dict[str, Any]) -> list[str]:
    """The manifest as lines of text."""
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
        shown = {k: v for k, v in settings.items() if not isinstance(v, (dict, list)) and v != ""}
        lines.append(f"{kind} defaults: " + ", ".join(f"{k} {v}" for k, v in shown.items()))
        if "scheduler" in settings:
            lines.append(f"  scheduler {settings['scheduler']['type']}")
            others = settings.get("schedulers", [])[1:]
            if others:
                lines.append(f"  other schedulers {', '.join(others)}")
    if "frame_sampling" in manifest:
        lines.append(f"frames taken of a video: {manifest['frame_sampling']['frames']}")
    for entry in manifest.get("licences", []):
        lines.append(f"licence of {entry.get('component', '?')}: {entry.get('licence', '?')}")
    return lines


_COLUMNS = ("", "random", "real", "rounding", "of float16", "in float32", "time", "memory")


def describe_report(directory: Path) -> list[str]:
    """The figures of the export as lines of text; none where report.json is missing or damaged."""
    try:
        parts = read_json(directory / "report.json")["components"]
        rows = [_COLUMNS, *map(_found, parts)]
        notes = [note for part in parts for note in _notes(part)]
    except (ArgumentError, KeyError, TypeError, AttributeError):
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    used = [i for i in range(len(_COLUMNS)) if i == 0 or any(row[i] for row in rows[1:])]
    lines = ["at export (errors against PyTorch in float64, on random inputs and on real ones):"]
    for row in rows:
        cells = [row[i].rjust(widths[i]) if i else row[i].ljust(widths[i]) for i in used]
        lines.append("  " + "  ".join(cells).rstrip())
    return lines + notes


def _found(part: dict[str, Any]) -> tuple[str, ...]:
    """A row. Reports of earlier releases have fewer columns."""

    def error(key: str) -> str:
        return "" if part.get(key) is None else f"{part[key]:.1e}"

    share = 100 * max((part.get("largest") or {}).values(), default=0) / _FLOAT16
    return (
        part["name"] if part.get("target", "cpu") == "cpu" else f"{part['name']} ({part['target']})",
        "" if part.get("precision") == "fp8" else error("relative_error"),  # compared on real inputs alone
        error("real_error"),
        error("rounding_error"),
        f"{share:.0f}%" if share >= 10 else f"{share:.2g}%" if share else "",
        f"{len(part['kept'])} nodes" if part.get("kept") else "",
        f"{part['seconds']} s",
        "" if part["peak_bytes"] is None else _size(part["peak_bytes"]),
    )


def _notes(part: dict[str, Any]) -> list[str]:
    inputs = (part.get("samples") or {}).get("inputs", "real")
    return [] if inputs == "real" else [f"  {part['name']}: {inputs} in place of real inputs"]


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "KB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"
