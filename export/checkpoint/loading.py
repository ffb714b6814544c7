"""Loads one part of a run: through the class that saved it, or tensor by tensor from its weight files."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from g4v._memory import check_memory
from g4v.errors import Error
from g4v.export.checkpoint.mapped import give_back, map_tensors, remember
from g4v.export.errors import ExportError
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.tensors import finite
from g4v.model.bases.weight_files import WeightFiles, open_weights
from g4v.weights.tensor_shapes import Shapes, check_shapes

_FLOATING = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def load_part(place: Path, load: Any, **options: Any) -> Any:
    """Returns load(place, **options), with every error of the library as one line.

    place: the part's folder or file.
    load: a function such as a class's from_pretrained.

    ExportError: the files are damaged, or a module's weights are not finite.
    """
    try:
        found = load(place, **options)
    except Error as error:  # it names the file
        raise ExportError(str(error)) from None
    except Exception as error:  # each library has its own classes for damaged files
        check_memory(error, str(place))
        reason = " ".join(str(error).split())[:200].removeprefix(f"{place}: ")
        raise ExportError(f"{place}: cannot be read: {reason}") from None
    if isinstance(found, nn.Module):
        for name, weight in found.named_parameters():
            if not all(torch.isfinite(end) for end in weight.detach().aminmax()):
                raise ExportError(f"{place}: {name} holds numbers that are not finite")
    return found


@dataclass
class StoredModule:
    """A module without memory, and where its weights are: their names and shapes are known to be right.

    names: the module's name of each tensor -> its name in `files`.
    """

    folder: Path
    module: nn.Module
    files: WeightFiles
    names: dict[str, str]

    def load(self) -> Any:
        """Returns the module with every weight from the files, for evaluation.

        Weights that are all stored in float16 stay so, others become float32. Buffers that are not stored
        remain on the meta device. ExportError: a file is damaged, or a number is not finite.
        """
        half = all(self.files.dtypes[name] == torch.float16 for name in self.names.values())
        dtype = torch.float16 if half else torch.float32
        try:
            tensors = {
                new: finite(str(self.folder), old, self.files.read(old, dtype))
                for new, old in self.names.items()
            }
        except CheckpointError as error:
            raise ExportError(str(error)) from None
        self.module.load_state_dict(tensors, assign=True)
        return self.module.eval()

    def map(self) -> Any:
        """Returns the module with its weights mapped, in the types in which they are stored, for evaluation.

        What is read of them is in memory until `mapped.give_back`; they must not be written to. Weights of
        pickles, and errors, are as for `load`.
        """
        found = map_tensors(self.files)
        if found is None:
            return self.load()
        stored, maps = found
        remember(self.module, maps)
        try:
            for old in self.names.values():
                finite(str(self.folder), old, stored[old])
                give_back(self.module)
        except CheckpointError as error:
            raise ExportError(str(error)) from None
        self.module.load_state_dict({new: stored[old] for new, old in self.names.items()}, assign=True)
        return self.module.eval()


def open_module(
    folder: Path,
    stem: str,
    make: Callable[[], nn.Module],
    rename: Callable[[str, Shapes], str],
    harmless: Collection[str] = (),
    variant: str | None = None,
) -> StoredModule:
    """Returns the module that `make` builds, with its weights in the files of `folder`, still unread.

    stem, variant: of the weight files (`find_weight_files`).
    make: called under the meta device, so that nothing is drawn at random.
    rename: a stored name, and the shapes of the module's tensors by name -> the module's name.
    harmless: stored names that may be left over.

    ExportError: the files are missing or damaged, or a tensor is missing, left over, misshapen, stored twice
    or not of a floating type; the message names it.
    """
    try:
        with torch.device("meta"):
            module = make()
    except Exception as error:  # the libraries' own complaints about a configuration
        reason = " ".join(str(error).split())[:300]
        raise ExportError(f"{folder / 'config.json'}: cannot be used: {reason}") from None
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    try:
        files = open_weights(folder, stem, variant)
        names = _renamed(files, wanted, rename, harmless)
        check_shapes(folder, {new: files.shapes[old] for new, old in names.items()}, wanted)
    except CheckpointError as error:
        raise ExportError(str(error)) from None
    for name in names.values():
        if files.dtypes[name] not in _FLOATING:
            kind = str(files.dtypes[name]).removeprefix("torch.")
            raise ExportError(f"{files.place(name)}: {name} is stored as {kind}, which is not supported")
    return StoredModule(folder, module, files, names)


def _renamed(
    files: WeightFiles, wanted: Shapes, rename: Callable[[str, Shapes], str], harmless: Collection[str]
) -> dict[str, str]:
    """The module's name of each stored tensor -> its stored name."""
    names: dict[str, str] = {}
    for old in sorted(files.shapes):
        new = rename(old, wanted)
        if new in names:
            raise ExportError(f"{files.place(old)}: {names[new]} and {old} are names of one tensor")
        if old not in harmless:
            names[new] = old
    return names
