"""The logs of a run, TensorBoard's and a table, which may fail without ending the run."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from transformers.utils import logging as transformers_logging

from g4v._console import report_warning
from g4v._files import one_line


def build_loggers(folder: Path, first_step: int) -> list[Any]:
    """Loggers into `folder`/tensorboard and `folder`/csv, for a run that goes on from `first_step`."""
    version = f"from-{first_step}"
    return [
        TensorBoardLog(folder, name="tensorboard", version=version, first_step=first_step),
        TableLog(folder, name="csv", version=version, first_step=first_step),
    ]


class _Log:
    """Counts steps from the start of the stage, where Lightning counts from that of the process.

    A log that cannot be written costs one line and not the run: the next checkpoint says whether the disk is
    still full.
    """

    def __init__(self, *arguments: Any, first_step: int, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.first_step = first_step
        self.warned = self.broken = False

    def _try(self, write: Callable[..., Any], *arguments: Any) -> None:
        if self.broken:
            return
        try:
            write(*arguments)
        except (OSError, ValueError) as error:  # Lightning turns TensorBoard's into a ValueError
            cause = error.__context__ if isinstance(error, ValueError) else error
            if not isinstance(cause, OSError):
                raise
            self.broken = isinstance(self, TensorBoardLogger)  # its thread that writes has ended
            if not self.warned:
                name = self.name  # type: ignore[attr-defined]
                report_warning(f"the {name} log cannot be written: {one_line(cause)}", "g4v.train")
            self.warned = True

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        self._try(super().log_metrics, metrics, (step or 0) + self.first_step)  # type: ignore[misc]

    def log_hyperparams(self, *arguments: Any, **_: Any) -> None:
        self._try(super().log_hyperparams, *arguments)  # type: ignore[misc]

    def save(self) -> None:
        self._try(super().save)  # type: ignore[misc]

    def finalize(self, status: str) -> None:
        self._try(super().finalize, status)  # type: ignore[misc]


class TensorBoardLog(_Log, TensorBoardLogger):  # type: ignore[misc]  # rank_zero_only hides the signature
    """Events for TensorBoard."""


class TableLog(_Log, CSVLogger):  # type: ignore[misc]
    """metrics.csv, a row for each logged step."""


def silence_libraries() -> None:
    """Hides advice and progress bars of Lightning, transformers and PyTorch that do not apply here."""
    warnings.filterwarnings("ignore", module="lightning")
    # DDP's about tensors of one row, and names that transformers keeps until its next release.
    warnings.filterwarnings("ignore", message="Grad strides do not match|.*gradient_checkpointing")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    threading.excepthook = _skip_disk_errors


def _skip_disk_errors(about: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread dies of a full disk with a traceback; its logger says the same in one line."""
    is_tensorboard = type(about.thread).__module__.partition(".")[0] == "tensorboard"
    if not (is_tensorboard and isinstance(about.exc_value, OSError)):
        threading.__excepthook__(about)
