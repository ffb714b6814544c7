"""Settings of the libraries that load a run's models."""

from __future__ import annotations

import warnings


def quiet_libraries() -> None:
    """Turns off notes, future warnings and progress bars of transformers and diffusers.

    They write to stderr, where the command draws its own progress bar.
    """
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    warnings.simplefilter("ignore", FutureWarning)
    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
