"""Makes build/source_tree/g4v: the package as `pip install` lays it out, of links into this folder.

export/ is installed as g4v.export; tools that read source files (mypy, import-linter) find it under that name
here, in a checkout without any installation. Prints the path of build/source_tree.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / "build" / "source_tree"


def make_source_tree() -> Path:
    """Makes the tree anew and returns it: the folder that holds g4v/."""
    package = TREE / "g4v"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir(parents=True)
    sources = [path for path in (ROOT / "python" / "g4v").iterdir() if path.name != "export"]
    for source in [*sources, ROOT / "export"]:
        # The compiled module, where a developer has one here, is the same as the empty one below.
        if source.suffix != ".so":
            (package / source.name).symlink_to(os.path.relpath(source, package))
    # Without it `from . import _core` would count as an import of the package itself. mypy reads the stubs in
    # _core/.
    (package / "_core.py").touch()
    return TREE


if __name__ == "__main__":
    print(make_source_tree())
