"""Weight files of public models: which of a folder are read, and their tensors one at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from g4v._files import read_json
from g4v._memory import check_memory
from g4v.model.bases.errors import CheckpointError, one_line
from g4v.model.bases.shards import check_checksums, check_safetensors, check_tensors, read_pickle
from g4v.weights.errors import AGAIN

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def find_source(source: str | Path) -> Path | str:
    """The Path of a model that exists locally, or its name on the Hugging Face hub; nothing is fetched.

    source: a path, or a hub name "owner/name" given as a string, where no folder "owner" exists here.
    CheckpointError: no such file, or a pickle.
    """
    path = Path(source).expanduser()
    if path.exists():
        refuse_pickle(path)
        return path
    name = str(source)
    is_hub = isinstance(source, str) and _HUB_NAME.fullmatch(name) and not name.endswith(".gguf")
    if not is_hub or Path(name).parts[0] in (".", "..") or Path(name).parent.exists():
        raise CheckpointError(f"{source}: no such file or directory")
    return name


_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
PICKLE_ADVICE = (
    "which can carry code; name the folder that it is in, if that is a model's (config.json beside it), or "
    "convert it: python -m g4v.model.bases convert (mPLUG-Owl, GPT4Video)"
)


def refuse_pickle(path: Path) -> None:
    """CheckpointError, with the way to convert it, where a file is a pickle by its suffix."""
    if path.is_file() and path.suffix.lower() in _PICKLES:
        raise CheckpointError(f"{path}: is a pickle, {PICKLE_ADVICE}")


# STEM[.VARIANT][-00001-of-00002][.VARIANT].SUFFIX, as transformers, diffusers and PEFT write it.
_STEMS = r"(?P<stem>model|pytorch_model|diffusion_pytorch_model|adapter_model)"
_SUFFIX = r"(?P<suffix>\.safetensors|\.bin)"
_WEIGHT_FILE = re.compile(
    rf"{_STEMS}(?:\.(?P<variant>\w+))?(?P<shard>-\d{{5}}-of-\d{{5}})?(?:\.(?P<twin>\w+))?{_SUFFIX}"
)
# STEM[.VARIANT].SUFFIX.index[.VARIANT].json: that of a variant has had two spellings.
_INDEX = re.compile(rf"{_STEMS}(?:\.(?P<variant>\w+))?{_SUFFIX}\.index(?:\.(?P<twin>\w+))?\.json")
_LAST = ("fp16", "bf16")  # of variants that nobody asked for these come first


@dataclass(frozen=True)
class WeightName:
    """What the name of a weight file, or of the index of its shards, says.

    stem: "model" also for pytorch_model, "diffusion_pytorch_model" or "adapter_model". variant: such as
    "fp16"; None for plain weights. suffix: ".safetensors" or ".bin". kind: "whole", "shard" or "index".
    """

    stem: str
    variant: str | None
    suffix: str
    kind: str

    @classmethod
    def parse(cls, name: str) -> WeightName | None:
        """That of a file name; None where it is of another file."""
        index = _INDEX.fullmatch(name)
        match = index or _WEIGHT_FILE.fullmatch(name)
        if match is None:
            return None
        kind = "index" if index else "shard" if match["shard"] else "whole"
        return cls(
            "model" if match["stem"] == "pytorch_model" else match["stem"],
            match["variant"] or match["twin"],
            match["suffix"],
            kind,
        )

    def rank(self, variant: str | None) -> tuple[bool, bool, bool, int, str]:
        """The weights of the lowest rank in a folder are read, and downloaded: of the variant that is wanted,
        else plain ones, else those of another variant; of these safetensors, else pickles.
        """
        own = self.variant or ""
        place = _LAST.index(own) if own in _LAST else len(_LAST)
        return self.variant != variant, bool(own), self.suffix != ".safetensors", place, own


def find_weight_files(folder: Path, stem: str = "model", variant: str | None = None) -> list[Path]:
    """The weight files of a model folder: safetensors where there are any, else pickles (.bin).

    stem: how their names begin: "model" (whose pickles are pytorch_model.bin), "diffusion_pytorch_model" or
    "adapter_model". variant: such as "fp16" to take model.fp16.safetensors where it is there. Else, and for
    None, the plain files are taken, or those of a variant in a folder that has no others.

    CheckpointError: there are none, or one that an index names is missing.
    """
    # The order of each library: transformers looks for one file first, diffusers for the shards.
    kinds = ("index", "whole") if stem == "diffusion_pytorch_model" else ("whole", "index")
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        name = WeightName.parse(path.name)
        if name and name.stem == stem and name.kind in kinds and path.is_file():
            found.append(((*name.rank(variant), kinds.index(name.kind)), path, name))
    if not found:
        pickled = "pytorch_model" if stem == "model" else stem
        raise CheckpointError(f"{folder}: no {stem}.safetensors, {pickled}.bin or index of their shards")
    _, path, name = min(found, key=lambda entry: entry[0])
    return [path] if name.kind == "whole" else [folder / file for file in index_files(path)]


def check_weights(folder: Path, stem: str = "model", variant: str | None = None) -> list[Path]:
    """The files of `find_weight_files`, each safetensors file with a sound header and its full length.

    CheckpointError: there are none, one that an index names is missing, or one is truncated.
    """
    files = find_weight_files(folder, stem, variant)
    for file in files:
        if file.suffix == ".safetensors":
            check_safetensors(file)
    return files


def index_files(index: Path) -> list[str]:
    """The distinct file names in a weight index, in order; plain names only."""
    names = read_json(index, CheckpointError).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(n, str) for n in names.values()):
        raise CheckpointError(f"{index}: weight_map is missing or malformed")
    files = sorted(set(names.values()))
    for name in files:
        if Path(name).name != name or name in (".", ".."):
            raise CheckpointError(f"{index}: {name!r} is not a plain file name")
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{index.parent / name}: no such file, but the index names it")
    return files


def open_weights(folder: Path, stem: str = "model", variant: str | None = None) -> WeightFiles:
    """The tensors of a model folder, which stay in their files until they are read.

    Of pickles only tensors are read, by the weights_only loader of PyTorch: no code of theirs runs. Arguments
    as for `find_weight_files`.

    CheckpointError: no files, damaged ones, a tensor in two of them, or one of a type that PyTorch lacks.
    """
    return WeightFiles(find_weight_files(folder, stem, variant))


_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_MAPPED = 64 << 20  # bytes that are read of a mapped pickle before its memory is given back


class WeightFiles:
    """Named tensors in safetensors files and pickles, read one at a time.

    files: attribute, where they are.
    shapes, dtypes: attributes, of every tensor by its name as it is stored.

    The memory is that of the tensors that were asked for. Pickles of before PyTorch 1.6 cannot be mapped:
    such a file is in memory as a whole while its tensors are read.
    """

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, torch.dtype] = {}
        self._places: dict[str, Path] = {}
        self._pickle: tuple[Path, dict[str, Tensor]] | None = None
        self._mapped = 0
        for file in files:
            for name, shape, dtype in self._list(file):
                if name in self._places:
                    raise CheckpointError(f"{file}: tensor {name} is also in {self._places[name].name}")
                self.shapes[name], self.dtypes[name], self._places[name] = shape, dtype, file
        self._pickle = None

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def place(self, name: str) -> Path:
        """The file of a tensor."""
        return self._places[name]

    def read(self, name: str, dtype: torch.dtype | None = None, rows: slice = slice(None)) -> Tensor:
        """A copy of one tensor in memory of its own, on the CPU.

        name: one of `shapes`. dtype: None keeps the stored one. rows: those to read of the first dimension,
        which a scalar does not have. CheckpointError: the file is damaged.
        """
        file = self._places[name]
        everything = rows == slice(None)
        if file.suffix != ".safetensors":
            check_checksums(file)
            tensor = self._open_pickle(file)[name]
            self._mapped += tensor.nbytes
            part = tensor if everything else tensor[rows]
            # contiguous: a copy keeps the strides of a transposed tensor
            return part.to(dtype or tensor.dtype, copy=True).contiguous()
        from safetensors import safe_open

        try:
            # The file is mapped while it is open: closing it gives the memory back.
            with safe_open(file, framework="pt") as opened:
                part = opened.get_tensor(name) if everything else opened.get_slice(name)[rows]
                return part.to(dtype or self.dtypes[name], copy=True)
        except Exception as error:  # safetensors raises its own class
            check_memory(error, str(file))
            raise CheckpointError(f"{file}: damaged or truncated ({one_line(error)}); {AGAIN}") from None

    def _list(self, file: Path) -> list[tuple[str, tuple[int, ...], torch.dtype]]:
        if file.suffix != ".safetensors":
            tensors = self._open_pickle(file)
            return [(name, tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()]
        from safetensors import safe_open

        check_safetensors(file)
        found = []
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (it is no mapping)
                part: Any = opened.get_slice(name)
                dtype = _DTYPES.get(part.get_dtype())
                if dtype is None:
                    raise CheckpointError(
                        f"{file}: {name} is stored as {part.get_dtype()}, which is not read"
                    )
                found.append((name, tuple(part.get_shape()), dtype))
        return found

    def _open_pickle(self, file: Path) -> dict[str, Tensor]:
        """The tensors of a pickle, mapped; opening it anew gives the memory of what was read back."""
        if self._pickle is None or self._pickle[0] != file or self._mapped > _MAPPED:
            self._pickle, self._mapped = None, 0
            self._pickle = file, check_tensors(file, read_pickle(file))
        return self._pickle[1]
