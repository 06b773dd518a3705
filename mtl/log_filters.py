"""Filters messages of other libraries on which the user cannot act."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

DECIDES_RESULTS = False

_UNASKED = (
    "GPU available",
    "TPU available",
    "HPU available",
    "💡 Tip",
    "`Trainer.fit` stopped",
    "Restoring states",
    "Using bfloat16",
    "Using 16bit",
)


def filter_logs() -> None:
    """Drops adverts, inventories and notes to developers; messages about the user's own run remain."""
    from transformers.utils import logging as transformers_logging

    cast(Any, transformers_logging).disable_progress_bar()
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(_is_wanted)
    logging.getLogger("transformers.modeling_utils").addFilter(_is_no_inventory)
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    warnings.filterwarnings("ignore", message=r".*`self.log\(.*sync_dist=True")  # our scores are already gathered
    warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`, callbacks")  # evaluation has none
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")  # a resumed run's
    # Losses and rates are also logged at the end of every epoch, however short it is.
    warnings.filterwarnings("ignore", message="The number of training batches .* is smaller than the logging interval")


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """A context that silences Lightning's notes on devices, workers and loaders, which are the same for all runs."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric)\.")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _is_wanted(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_UNASKED)


def _is_no_inventory(record: logging.LogRecord) -> bool:
    """Hides lists of weights that a mixture does not use (upper layers, a pooler), but not of missing weights."""
    message = record.getMessage()
    return "LOAD REPORT" not in message or any(word in message for word in ("MISSING", "MISMATCH", "CONVERSION"))
