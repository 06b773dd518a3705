"""Files of counts per document, which studies and comparisons resample."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np

from mtl.evaluation.evaluator import TaskResult
from mtl.files import make_folder, replacing

DECIDES_RESULTS = False


def write_counts(path: Path, result: TaskResult) -> None:
    """Writes the counts per document as an npz archive of the arrays of `TaskResult.stacked_counts`.

    Args:
        path: File to write; its folder is created.
        result: Result of the task.

    Raises:
        InputError: The file cannot be written.
    """
    make_folder(path.parent)
    with replacing(path) as file:
        np.savez_compressed(file, **cast(Any, result.stacked_counts()))
