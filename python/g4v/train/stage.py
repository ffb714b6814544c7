"""A stage with its data: the batches of this process, and the cache of features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from g4v._console import ProgressBar
from g4v.errors import VideoError
from g4v.train.assembly import Assembly
from g4v.train.batch_sampler import BatchSampler
from g4v.train.clips import Clip
from g4v.train.datasets import Rows
from g4v.train.errors import TrainingError
from g4v.train.features import FeatureCache, distinct, fill_cache
from g4v.train.module import StageModule
from g4v.train.rows import RowBatches
from g4v.train.settings import Settings


class Stage(StageModule):
    """A StageModule that reads its rows.

    assembly: the assistant, and what makes tensors of rows and clips. data: the rows. Other arguments as in
    `StageModule`.
    """

    def __init__(
        self,
        assembly: Assembly,
        settings: Settings,
        data: Rows,
        folder: Path,
        about: dict[str, Any],
        steps: int,
        resume: Path | None,
    ) -> None:
        super().__init__(assembly.model, settings, len(data), steps, folder, about, self._loader, resume)
        self.assembly, self.data = assembly, data
        self.read_clip: Callable[[Clip], NDArray[Any]] = assembly.reader or _no_vision
        self.blank: Callable[[], NDArray[Any]] = assembly.reader.blank if assembly.reader else _no_vision

    def setup(self, stage: str) -> None:
        """Fills the cache of features, where the settings name one, and reads clips from there."""
        reader, encoder = self.assembly.reader, self.model.encoder
        if self.settings.feature_cache is None or reader is None or encoder is None:
            return
        rank, world = self.trainer.global_rank, self.trainer.world_size
        cache = FeatureCache(Path(self.settings.feature_cache), self.assembly.fingerprints["encoder"], reader)
        device = self.trainer.strategy.root_device
        encoder = encoder.to(device)
        dtype = next(encoder.parameters()).dtype
        clips = list(distinct(clip for index in range(len(self.data)) for clip in self.data[index].clips))
        own = [clip for clip in clips[rank::world] if clip not in cache]
        hidden = not own or not self.settings.progress or rank > 0
        with ProgressBar("encoding clips", max(1, len(own)), quiet=hidden, lines=True) as bar:
            reasons = fill_cache(
                cache,
                own,
                reader,
                lambda pixels: encoder(pixels.to(device, dtype)),
                self.settings.num_workers,
                rank,
                lambda _: bar.step(),
            )
        self.trainer.strategy.barrier()
        cache.scan()
        if not cache.where:
            raise TrainingError(
                f"not one of {len(clips)} clips can be read: {next(iter(reasons.values()), '')}"
            )
        self.read_clip, self.blank = _CachedReader(cache, reasons), cache.blank
        self.model.encoder = None  # frees its memory

    def _loader(self, world: int, rank: int, first_step: int) -> DataLoader[Any]:
        s = self.settings
        sampler: Any = BatchSampler(
            len(self.data),
            s.batch_size,
            s.accumulate_grad_batches,
            world,
            rank,
            s.seed,
            first_step,
            self.steps,
        )
        return DataLoader(
            RowBatches(self.data, self.assembly.rows, self.read_clip, self.blank),
            batch_size=None,
            sampler=sampler,
            num_workers=s.num_workers,
            prefetch_factor=4 if s.num_workers else None,
            pin_memory=torch.cuda.is_available() and s.accelerator != "cpu",
        )


class _CachedReader:
    """Reads features; a clip that could not be encoded is refused with the reason of that time."""

    def __init__(self, cache: FeatureCache, reasons: dict[str, str]) -> None:
        self.cache, self.reasons = cache, reasons

    def __call__(self, clip: Clip) -> NDArray[Any]:
        reason = self.reasons.get(clip.key())
        if reason is not None:
            raise VideoError(reason)
        return self.cache(clip)


def _no_vision(*_: Any) -> NDArray[Any]:
    raise AssertionError("rows with clips are refused by the row encoder of an assistant without vision")
