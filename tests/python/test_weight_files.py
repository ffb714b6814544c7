"""Which weight files of a folder are read, and their tensors one at a time: safetensors and pickles alike."""

from __future__ import annotations

import json
import os
import random

import pytest
import torch
from safetensors.torch import save_file

from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.hub import choose_weights
from g4v.model.bases.weight_files import find_weight_files, open_weights


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {
        "a.weight": torch.randn(5, 3),
        "b.weight": torch.randn(4, 2).half(),
        "c.bias": torch.randn(7).bfloat16(),
        "position_ids": torch.arange(6)[None],
        "scale": torch.tensor(2.5, dtype=torch.float64),
    }


def save(path, values, legacy=False):
    if path.suffix == ".safetensors":
        save_file(values, path)
    else:
        torch.save(values, path, _use_new_zipfile_serialization=not legacy)


def save_sharded(folder, name, values, count=2, index=None):
    stem, _, suffix = name.rpartition(".")
    where = {}
    for i in range(count):
        file = f"{stem}-{i + 1:05d}-of-{count:05d}.{suffix}"
        part = dict(list(values.items())[i::count])
        save(folder / file, part)
        where.update(dict.fromkeys(part, file))
    (folder / (index or f"{name}.index.json")).write_text(json.dumps({"metadata": {}, "weight_map": where}))


def check_same(opened, wanted):
    assert set(opened.shapes) == set(wanted)
    for name, tensor in wanted.items():
        assert opened.shapes[name] == tuple(tensor.shape) and opened.dtypes[name] == tensor.dtype
        read = opened.read(name)
        assert read.dtype == tensor.dtype and torch.equal(read, tensor) and read.is_contiguous(), name
        wide = opened.read(name, torch.float32)
        assert wide.dtype == torch.float32 and torch.equal(wide, tensor.float())
        if tensor.ndim:
            assert torch.equal(opened.read(name, rows=slice(1, 3)), tensor[1:3])


@pytest.mark.parametrize("suffix", ["safetensors", "bin", "legacy.bin"])
@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded"])
@pytest.mark.parametrize("stem", ["model", "diffusion_pytorch_model"])
def test_every_layout_gives_the_tensors(tmp_path, stem, suffix, sharded):
    pickled = "pytorch_model" if stem == "model" else stem
    name = f"{stem}.safetensors" if suffix == "safetensors" else f"{pickled}.bin"
    wanted = tensors()
    if sharded:
        save_sharded(tmp_path, name, wanted)
    else:
        save(tmp_path / name, wanted, legacy=suffix == "legacy.bin")
    check_same(open_weights(tmp_path, stem), wanted)


def test_pickles_are_read_only_where_there_are_no_safetensors(tmp_path):
    save(tmp_path / "pytorch_model.bin", tensors(1))
    check_same(open_weights(tmp_path), tensors(1))
    save(tmp_path / "model.safetensors", tensors(0))
    check_same(open_weights(tmp_path), tensors(0))


def test_halves_are_read_when_asked_for_or_when_there_is_nothing_else(tmp_path):
    halves = {name: tensor.half() for name, tensor in tensors().items()}
    save(tmp_path / "model.fp16.safetensors", halves)
    check_same(open_weights(tmp_path), halves)
    check_same(open_weights(tmp_path, variant="fp16"), halves)
    save(tmp_path / "pytorch_model.bin", tensors())
    check_same(open_weights(tmp_path), tensors())
    check_same(open_weights(tmp_path, variant="fp16"), halves)
    check_same(open_weights(tmp_path, variant="fp32"), tensors())


@pytest.mark.parametrize("index", ["safetensors.index.fp16.json", "fp16.safetensors.index.json"])
def test_shards_of_halves(tmp_path, index):
    save_sharded(tmp_path, "adapter_model.fp16.safetensors", tensors(), index=f"adapter_model.{index}")
    check_same(open_weights(tmp_path, "adapter_model"), tensors())


@pytest.mark.parametrize("stem", ["model", "diffusion_pytorch_model", "adapter_model"])
@pytest.mark.parametrize("variant", [None, "fp16", "int8"])
def test_what_is_downloaded_is_what_is_read(tmp_path, stem, variant):
    """Both choose by one rule; a folder with all that was downloaded reads as the whole folder."""
    pickled = "pytorch_model" if stem == "model" else stem
    every = [
        f"{name}{of}{suffix}"
        for name, suffix in ((stem, ".safetensors"), (pickled, ".bin"))
        for of in ("", ".bf16", ".fp16", ".ema")
    ]
    rng = random.Random(3)
    for case in range(30):
        names = rng.sample(every, rng.randint(1, len(every)))
        whole, taken = tmp_path / f"{case}.whole", tmp_path / f"{case}.taken"
        for folder, files in ((whole, names), (taken, choose_weights([*names, "config.json"], variant))):
            folder.mkdir()
            for name in files:
                (folder / name).touch()
        (read,) = find_weight_files(whole, stem, variant)
        assert [read.name] == [f.name for f in find_weight_files(taken, stem, variant)]
        assert {read.name} == choose_weights(names, variant)


def test_a_flipped_bit_of_a_pickle_is_found(tmp_path):
    file = tmp_path / "pytorch_model.bin"
    save(file, tensors())
    right = file.read_bytes()
    place = right.index(tensors()["a.weight"].numpy().tobytes()) + 3
    file.write_bytes(right[:place] + bytes([right[place] ^ 0x40]) + right[place + 1 :])
    opened = open_weights(tmp_path)
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin: damaged: the checksum of .* download"):
        opened.read("b.weight")
    file.write_bytes(right)
    check_same(open_weights(tmp_path), tensors())  # it is looked at again once it has changed
    torch.serialization.set_crc32_options(False)
    try:
        save(file, tensors())
    finally:
        torch.serialization.set_crc32_options(True)
    check_same(open_weights(tmp_path), tensors())  # a file that was written without checksums


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged or truncated: it is empty; download or copy it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a pointer of Git LFS and no weights; get"),
        (b"<html><body>404 Not Found", "damaged.*; download or copy it again"),
        (b"PK\x03\x04" + bytes(500), "damaged.*; download or copy it again"),
        (b"\x80\x02}q\x00." + b"x" * 90, "damaged.*; download or copy it again"),
    ],
)
def test_files_that_are_damaged(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name}: {message}") as caught:
        open_weights(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < len(str(tmp_path)) + 200


def test_one_file_and_shards_of_the_same_model(tmp_path):
    """transformers takes the one file, diffusers the shards."""
    for stem in ("model", "diffusion_pytorch_model"):
        save(tmp_path / f"{stem}.safetensors", tensors())
        save_sharded(tmp_path, f"{stem}.safetensors", tensors())
    assert len(find_weight_files(tmp_path)) == 1
    assert len(find_weight_files(tmp_path, "diffusion_pytorch_model")) == 2


def test_a_transposed_or_shared_tensor_of_a_pickle(tmp_path):
    whole = torch.randn(6, 4)
    save(tmp_path / "pytorch_model.bin", {"t": whole.T, "part": whole[2:4], "same": whole})
    opened = open_weights(tmp_path)
    check_same(opened, {"t": whole.T, "part": whole[2:4], "same": whole})
    assert opened.read("part").untyped_storage().nbytes() == 2 * 4 * 4  # no more than what was asked for


def test_a_file_that_changes_is_not_changed_by_readers(tmp_path):
    save(tmp_path / "pytorch_model.bin", tensors())
    before = (tmp_path / "pytorch_model.bin").read_bytes()
    open_weights(tmp_path).read("a.weight").zero_()
    assert (tmp_path / "pytorch_model.bin").read_bytes() == before
    assert torch.equal(open_weights(tmp_path).read("a.weight"), tensors()["a.weight"])


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("made-by-a-pickle",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": Hostile()}, "only tensors are read from a pickle"),
        ({"a": 3}, "'a' is a int, not a tensor"),
        ({"state_dict": {"a": torch.ones(1)}}, "'state_dict' is a dict, not a tensor"),
        (torch.ones(1), "holds a Tensor, not named tensors"),
        ({"a": torch.ones(2, 2).to_sparse()}, "sparse, quantised or complex"),
    ],
)
def test_pickles_that_are_refused(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=message) as caught:
        open_weights(tmp_path)
    assert "\n" not in str(caught.value) and not (tmp_path / "made-by-a-pickle").exists()


def test_folders_that_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no model.safetensors, pytorch_model.bin or index"):
        open_weights(tmp_path)
    save_sharded(tmp_path, "pytorch_model.bin", tensors())
    (tmp_path / "pytorch_model-00002-of-00002.bin").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(CheckpointError, match="00002-of-00002.bin: damaged or truncated"):
        open_weights(tmp_path)
    (tmp_path / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(CheckpointError, match="00002-of-00002.bin: no such file, but the index names it"):
        open_weights(tmp_path)
    for part in ("00001", "00002"):
        save(tmp_path / f"pytorch_model-{part}-of-00002.bin", {"twice": torch.ones(1)})
    with pytest.raises(CheckpointError, match="tensor twice is also in pytorch_model-00001-of-00002.bin"):
        open_weights(tmp_path)


def test_pickles_are_in_the_fingerprint_of_a_base(tmp_path):
    from g4v.train.fingerprints import fingerprint_folder

    found = set()
    for seed in range(2):
        (tmp_path / str(seed)).mkdir()
        save(tmp_path / str(seed) / "pytorch_model.bin", tensors(seed))
        found.add(fingerprint_folder(tmp_path / str(seed)))
    assert len(found) == 2
