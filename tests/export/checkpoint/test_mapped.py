"""Weights that stay in their files: the numbers are the files', and memory is given back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from g4v.export.checkpoint.loading import open_module
from g4v.export.checkpoint.mapped import give_back, is_mapped
from g4v.export.errors import ExportError
from g4v.export.verify.float64 import computing_in, upcast_to_float64

SIZE = 1500  # of a matrix that `computing_in` upcasts only while it is used
KINDS = (torch.bfloat16, torch.float16, torch.float32)


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(SIZE, SIZE)
        self.first = nn.Linear(SIZE, SIZE)
        self.last = nn.Linear(SIZE, 3, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.last(torch.relu(self.first(self.rows(ids))))
        return found


def write(folder: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    tensors = {name: tensor.to(dtype) for name, tensor in Layers().state_dict().items()}
    names = sorted(tensors)
    for number, part in enumerate((names[:2], names[2:]), 1):
        save_file({name: tensors[name] for name in part}, folder / f"model-0000{number}-of-00002.safetensors")
    files = {
        name: f"model-0000{number}-of-00002.safetensors"
        for number, part in enumerate((names[:2], names[2:]), 1)
        for name in part
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}), "utf-8")
    return tensors


def opened(folder: Path) -> Layers:
    found: Layers = open_module(folder, "model", Layers, lambda name, _: name).map()
    return found


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("dtype", KINDS)
def test_numbers_and_types_are_those_of_the_files(dtype: torch.dtype, tmp_path: Path) -> None:
    tensors, module = write(tmp_path, dtype), opened(tmp_path)
    assert is_mapped(module) and is_mapped(module.first) and not module.training
    for _ in range(2):
        for name, tensor in module.state_dict().items():
            assert tensor.dtype == dtype and torch.equal(tensor, tensors[name]), name
        give_back(module)


@torch.no_grad()
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("computed", [torch.float32, torch.float64])
def test_it_computes_in_a_wider_type(dtype: torch.dtype, computed: torch.dtype, tmp_path: Path) -> None:
    tensors, module = write(tmp_path, dtype), opened(tmp_path)
    whole = Layers().to(computed)
    whole.load_state_dict({name: tensor.to(computed) for name, tensor in tensors.items()})
    ids = torch.randint(SIZE, (2, 5))
    with computing_in(computed, module):
        assert torch.equal(module(ids), whole(ids)) and module(ids).dtype == computed
    assert module.first.weight.dtype == dtype, "it is as it was"


@torch.no_grad()
def test_memory_is_given_back(tmp_path: Path) -> None:
    write(tmp_path, torch.float32)
    module = opened(tmp_path)
    before, size = resident(), 4 * SIZE * SIZE
    module.first.weight.sum(), module.rows.weight.sum()
    assert resident() - before > 1.8 * size
    give_back(module.first)
    assert resident() - before < 0.3 * size
    with upcast_to_float64(module):
        module(torch.tensor([[1, 2]]))
    assert resident() - before < 0.3 * size


def test_pickles_are_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = Layers().state_dict()
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    module = opened(tmp_path)
    assert not is_mapped(module)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in module.state_dict().items())


def test_tensors_that_are_not_aligned(tmp_path: Path) -> None:
    tensors = Layers().state_dict()
    save_file(tensors, tmp_path / "model.safetensors")
    data = (tmp_path / "model.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size].rstrip() + b" "  # one space more or less than makes it a multiple of 8
    assert (8 + len(header)) % 4
    (tmp_path / "model.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header + data[8 + size :]
    )
    module = opened(tmp_path)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in module.state_dict().items())


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    tensors = Layers().state_dict()
    tensors["first.weight"][3, 4] = float("nan")
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ExportError, match=r"first\.weight holds numbers that are not finite"):
        opened(tmp_path)
