"""What a study knows of its tasks besides the results of its runs: sizes, units, and trivial predictors to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from heads import Head
from mtl.data.examples import TaskData
from mtl.data.store import RowTable
from mtl.evaluation.baselines import Frozen, trivial_baselines, usable_rows
from mtl.evaluation.resampling_units import DOCUMENT, unit_numbers, units_of
from mtl.evaluation.summary import strongest_baseline
from mtl.evaluation.units import unit_of

Scores = Mapping[str, Mapping[str, float]]


def target_facts(
    name: str,
    heads: Mapping[str, Head],
    folds: Sequence[Mapping[str, TaskData]],
    frozen: Frozen | None,
    unit: str = DOCUMENT,
) -> dict[str, Any]:
    """The facts about a task, as JSON types.

    With several folds, the test set is that of all folds together, and trivial predictors have their mean over folds.

    Args:
        name: The task.
        heads: Head of each task.
        folds: Prepared data of the tasks in each fold; a single one without cross-validation.
        frozen: Scores the predictor `frozen`; None leaves it out.
        unit: What intervals resample, as in `evaluation.unit`.

    Raises:
        InputError: The rows of test do not have such units.
    """
    head, data = heads[name], [fold[name] for fold in folds]
    metric = head.primary_metric
    scores = {
        split: _mean([trivial_baselines(heads, {name: one}, split, frozen)[name] for one in data])
        for split in ("dev", "test")
    }
    units = {split: [unit_of(head, one[split].rows) for one in data] for split in ("dev", "test")}
    return {
        "metric": metric,
        **_resampling(name, head, [one["test"].rows for one in data], unit),
        "train_rows": round(fmean(one["train"].example_summary.used for one in data)),
        "baseline": strongest_baseline(scores["test"], metric),
        "dev_baseline": strongest_baseline(scores["dev"], metric),
        "units": {"dev": fmean(units["dev"]), "test": _together(units["test"])},
    }


def _resampling(name: str, head: Head, folds: Sequence[RowTable], unit: str) -> dict[str, Any]:
    """What is resampled, how many there are, and the number of each scored document's unit unless it is itself one.

    Documents are numbered fold by fold and in the order of their ids, as counts are saved. Their names stay here.
    """
    units = [units_of(rows, unit, f"{name}, test") for rows in folds]
    if None in units:
        has_documents = any(row.document != row.id for row in folds[0])
        number = sum(len(set(rows.documents().tolist())) for rows in folds)
        return {"unit": "document" if has_documents else "row", "num_units": number}
    documents = [sorted({row.document for row in usable_rows(head, rows)}) for rows in folds]
    of_documents = [own[document] for own, names in zip(units, documents, strict=True) if own for document in names]
    numbers = unit_numbers(of_documents, {own: own for own in of_documents}).tolist()
    return {"unit": unit, "num_units": len(set(numbers)), "unit_of_documents": numbers}


def _together(units: Sequence[float]) -> float:
    """The unit of several test sets together, where a unit is 1 / the number of gold labels."""
    return units[0] if len(units) == 1 else 1 / sum(1 / unit for unit in units)


def _mean(folds: Sequence[Scores]) -> Scores:
    """The mean scores of the predictors that every fold has."""
    names = [name for name in folds[0] if all(name in fold for fold in folds)]
    return {name: {metric: fmean(fold[name][metric] for fold in folds) for metric in folds[0][name]} for name in names}
