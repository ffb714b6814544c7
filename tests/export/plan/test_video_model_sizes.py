"""Estimates of published text-to-video models at their real sizes, beside what their exports took."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from g4v.export.checkpoint.overrides import Overrides
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.precision import parse_precisions
from g4v.export.plan.export_estimate import estimate_export

from ... import video_model_sizes as sizes
from ... import wan_folder

MEASURED = Path(__file__).parents[3] / "benchmarks" / "results" / "export-video-models.json"
ROWS = json.loads(MEASURED.read_text("utf-8"))["exports"]
LIMIT = 12 * 2**30  # bytes of memory of an export


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: sizes.write(folder / name, name, sizes.write_empty) for name in sizes.NAMES}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join((row["model"], row["part"], row["precision"])))
def test_disk_and_memory_are_within_15_percent(row: dict[str, object], folders: dict[str, Path]) -> None:
    """Of the files' headers alone: there are no numbers in them."""
    checkpoint = Checkpoint.open(None, Overrides(t2v=str(folders[str(row["model"])])))
    part = str(row["part"])
    precisions = parse_precisions(f"{part}={row['precision']}")
    (found,) = estimate_export(checkpoint, precisions, [part])
    assert found.weights == row["weights"]
    assert math.isclose(found.disk, float(str(row["bytes"])), rel_tol=0.02)
    assert math.isclose(found.peak, float(str(row["peak_bytes"])), rel_tol=0.15)
    assert float(str(row["peak_bytes"])) < LIMIT


def test_every_part_was_measured() -> None:
    measured = {(row["model"], row["part"]) for row in ROWS}
    assert measured == {(name, part) for name in sizes.NAMES for part in sizes.PARTS}


def test_pickles_do_not_stay_in_their_files(tmp_path: Path) -> None:
    folder = wan_folder.write_wan(tmp_path)
    overrides = Overrides(t2v=str(folder), frames=5, video_size=(32, 48))

    def peak() -> int:
        (found,) = estimate_export(Checkpoint.open(None, overrides), parse_precisions([]), ["transformer"])
        return found.peak

    mapped, network = peak(), folder / "transformer"
    tensors = wan_folder.transformer().state_dict()
    for file in network.glob("*.safetensors*"):
        file.unlink()
    torch.save(tensors, network / "diffusion_pytorch_model.bin")
    assert peak() > mapped
