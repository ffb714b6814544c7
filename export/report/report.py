"""Writes and reads the report of an export: report.json and report.html in the bundle.

They are no part of the bundle's identity: g4v.json does not list them, since times differ from run to run.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from g4v._console import machine
from g4v._files import write_json, write_text
from g4v.export.errors import ExportError
from g4v.export.report.component_report import ComponentReport
from g4v.export.report.page import page

JSON, HTML = "report.json", "report.html"
_PACKAGES = ("g4v", "torch", "transformers", "diffusers", "onnx", "onnxruntime")
_BUILDERS = ("tensorrt-rtx-cu13", "tensorrt")


def write_report(folder: Path, name: str, components: list[ComponentReport]) -> None:
    """Writes report.json and report.html into the bundle folder. name: of the bundle.

    ExportError: a file cannot be written.
    """
    values = {
        "name": name,
        "machine": machine(),
        "packages": package_versions(),
        "components": [asdict(component) for component in components],
    }
    write_json(folder / JSON, values, ExportError, indent=1)
    write_text(folder / HTML, page(values, components), ExportError)


def read_components(folder: Path) -> list[ComponentReport]:
    """Returns the entries of report.json in a bundle folder; none where the file is missing or damaged."""
    try:
        values = json.loads((folder / JSON).read_text("utf-8"))
        return [ComponentReport(**component) for component in values["components"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def package_versions() -> dict[str, str]:
    """Returns the versions of the installed packages that an export depends on, by their names."""
    found = {}
    for package in (*_PACKAGES, *_BUILDERS):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # g4v itself, run from a source tree
            continue
    return found
