"""Finds what the assistant runs on: the core, ONNX Runtime's library, CUDA's, and the bundles."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .errors import ArgumentError, BundleError, InternalError

if TYPE_CHECKING:
    from . import _core
    from .frame_checkers import FrameChecker
    from .generators import Generator

BUNDLES = Path(__file__).parent / "bundles"
"""Folder of the bundles that came with the package, and of what is ready of those that `g4v build` makes."""
RECIPE = "recipe.json"
"""In the folder of a bundle that has to be made: its manifest."""


def import_core() -> Any:
    """The compiled module g4v._core. Raises `InternalError` where it was not built or does not load."""
    try:
        from . import _core
    except ImportError as error:
        raise InternalError(f"g4v's compiled core does not load ({error}); reinstall g4v") from None
    module: ModuleType = _core
    return module


def embedded_bundles() -> list[str]:
    """Names of the bundles that came with the package."""
    return sorted(path.parent.name for path in BUNDLES.glob("*/g4v.json"))


def find_bundle(name_or_dir: str | os.PathLike[str]) -> Path:
    """The directory of an embedded bundle or of one elsewhere. Raises `BundleError` where there is none."""
    if not isinstance(name_or_dir, (str, os.PathLike)):
        raise ArgumentError(f"a bundle is a name or a directory, not {type(name_or_dir).__name__}")
    text = os.fsdecode(name_or_dir)
    if os.path.basename(text) == text and os.path.isfile(BUNDLES / text / "g4v.json"):
        return BUNDLES / text
    if not _is_there(text):
        if os.path.basename(text) == text and os.path.isfile(BUNDLES / text / RECIPE):
            raise BundleError(
                f"the bundle {text} is not made yet, since its language model is not in the package: type "
                f"g4v build {text} --out {text}, and name that folder"
            )
        embedded = ", ".join(embedded_bundles()) or "none"
        raise BundleError(
            f"{ascii(text)} is neither an embedded bundle ({embedded}) nor a directory; "
            "pass a folder that holds a g4v.json"
        )
    return Path(text)


def _is_there(path: str) -> bool:
    try:
        return bool(path) and os.lstat(path) is not None
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True  # the core says why it cannot be read


def onnxruntime_directories() -> list[str]:
    """Folders where the installed onnxruntime wheel keeps its library; the wheel is not imported."""
    spec = importlib.util.find_spec("onnxruntime")
    places = spec.submodule_search_locations if spec else None
    return [str(Path(place) / "capi") for place in places or ()]


def preload_cuda() -> list[str]:
    """Loads the CUDA libraries of the nvidia-* wheels where ONNX Runtime has a CUDA provider.

    Returns one line for each library that is missing; empty where there is no CUDA provider to load them for.
    """
    providers = "libonnxruntime_providers_cuda.so"
    if not any((Path(place) / providers).exists() for place in onnxruntime_directories()):
        return []
    spec = importlib.util.find_spec("nvidia")
    places = spec.submodule_search_locations if spec else None
    missing: list[str] = import_core().preload_cuda_libraries([str(Path(p).parent) for p in places or ()])
    return missing


def provider_directories() -> list[str]:
    """Folders of the installed wheels that TensorRT engines need; no wheel is imported.

    The provider plugin of TensorRT for RTX, with its libraries, and the libraries of TensorRT.
    """
    folders = []
    for package in ("onnxruntime_ep_nv_tensorrt_rtx", "tensorrt_libs"):
        spec = importlib.util.find_spec(package)
        folders += [str(Path(place)) for place in (spec.submodule_search_locations if spec else None) or ()]
    return folders


def load_core_assistant(
    directory: Path,
    device: str,
    threads: int | None,
    verify: str,
    frame_checker: FrameChecker | None = None,
    cuda_graphs: bool = False,
    generator: Generator | None = None,
    **decoding: Any,
) -> _core.Assistant:
    """The core's assistant. Raises `BundleError`, `RuntimeUnavailable` or `ArgumentError`.

    decoding: the options of the same names of `_core.Assistant.load`.
    """
    core = import_core()
    if device in ("auto", "cuda"):
        preload_cuda()
    assistant: _core.Assistant = core.Assistant.load(
        directory,
        device=device,
        threads=threads or 0,
        library_dirs=onnxruntime_directories(),
        verify=verify,
        frame_checker=frame_checker,
        provider_dirs=provider_directories(),
        cuda_graphs=cuda_graphs,
        generator=generator,
        **decoding,
    )
    return assistant
