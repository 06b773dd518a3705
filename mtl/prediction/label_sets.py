"""Sets of labels that contain the right one with a stated probability, for tasks that choose one label for a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtl.calibration.abstention import COVERAGES, prediction_sets
from mtl.problems import InputError, Problem


def set_quantiles(
    calibration: Mapping[str, Any], tasks: Sequence[str], coverage: float | None, output: Path | None
) -> dict[str, float]:
    """The conformal quantile of each task that has one; empty without a coverage.

    Args:
        calibration: The saved calibration of a checkpoint.
        tasks: Names of the tasks that are predicted.
        coverage: Share of the sets that shall contain the right label; None for no sets.
        output: File that is written; None for none.

    Raises:
        InputError: The coverage was not fitted, no task has a quantile, or the output has no place for sets.
    """
    if coverage is None:
        return {}
    if coverage not in COVERAGES:
        choices = ", ".join(f"{one:g}" for one in COVERAGES)
        raise InputError(Problem("--coverage", f"must be one of {choices}, got {coverage:g}."))
    if output is not None and output.suffix.lower() not in (".jsonl", ".ndjson"):
        raise InputError(Problem("--coverage", f"has no place in '{output.name}'.", "Write .jsonl."))
    found = {name: calibration[name]["conformal"] for name in tasks if name in calibration}
    quantiles = {name: float(one[f"{coverage:g}"]["quantile"]) for name, one in found.items() if one}
    if not quantiles:
        message = f"needs a calibrated task that chooses one label; of {', '.join(tasks)} none is."
        raise InputError(Problem("--coverage", message, "Run mtl calibrate RUN first."))
    return quantiles


def with_set(record: dict[str, Any], quantile: float | None) -> dict[str, Any]:
    """A prediction as it is written, with the set of its labels if it chooses one label and has a quantile.

    A label that a threshold chose joins the labels of its set, which can only raise the coverage. An empty set stays
    empty: it says that no label is likely enough.

    >>> with_set({"label": "yes", "scores": {"yes": 0.75, "no": 0.25}}, 0.5)["set"]
    ['yes']
    >>> with_set({"label": "yes", "scores": {"yes": 0.25, "no": 0.75}}, 0.5)["set"]
    ['yes', 'no']
    >>> with_set({"label": "yes", "scores": {"yes": 0.75, "no": 0.25}}, 0.1)["set"]
    []
    """
    if quantile is None or "label" not in record:
        return record
    names, probabilities = list(record["scores"]), np.array(list(record["scores"].values()))
    is_in = prediction_sets(probabilities, quantile)
    if is_in.any():
        is_in[names.index(record["label"])] = True
    return record | {"set": [names[place] for place in np.flatnonzero(is_in)]}
