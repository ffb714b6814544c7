"""Checks who imports whom: the contracts in pyproject.toml ([tool.importlinter]), and no cycle between files.

Reads the source files of this folder; g4v need not be installed. Exit code 1 where anything is broken.
"""

from __future__ import annotations

import inspect
import os
import sys
from graphlib import CycleError, TopologicalSorter
from importlib.machinery import PathFinder

import grimp
from importlinter.cli import lint_imports
from source_tree import ROOT, make_source_tree


def main() -> int:
    sys.path.insert(0, str(make_source_tree()))
    # Before the finder of an editable installation, which would lead to the installed package.
    sys.meta_path.insert(0, PathFinder)
    os.chdir(ROOT)
    # Newer releases draw a logo of eight lines before the result.
    no_logo = {"no_logo": True} if "no_logo" in inspect.signature(lint_imports).parameters else {}
    broken = lint_imports(config_filename="pyproject.toml", no_cache=True, **no_logo)
    graph = grimp.build_graph("g4v", cache_dir=None)
    files = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    try:
        TopologicalSorter(files).prepare()
    except CycleError as error:
        print(f"cycle between files: {' -> '.join(reversed(error.args[1]))}")
        return 1
    print(f"no cycle between {len(files)} files")
    return broken


if __name__ == "__main__":
    sys.exit(main())
