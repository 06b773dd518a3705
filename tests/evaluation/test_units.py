"""One unit of a split, for each kind of gold label."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from mtl.config.loading import load_mixture
from mtl.data.examples import prepare
from mtl.evaluation.units import unit_of
from mtl.training.assembly import build_heads


def test_the_unit_is_one_divided_by_the_number_of_gold_labels(toy_mixture: Callable[..., Path]) -> None:
    mixture = load_mixture(toy_mixture())
    heads, tokenizer = build_heads(mixture)
    data = prepare(mixture, heads, tokenizer)
    rows = {name: list(splits["test"].rows) for name, splits in data.items()}
    mentions = sum(len(row.entities) for row in rows["drugs"])  # type: ignore[union-attr]
    assert mentions > len(rows["drugs"])
    assert unit_of(heads["cause"], rows["cause"]) == pytest.approx(1 / 8)
    assert unit_of(heads["drugs"], rows["drugs"]) == pytest.approx(1 / mentions)
    assert unit_of(heads["risk"], rows["risk"]) == pytest.approx(1 / 4)  # numbers: the labelled texts
    labelled = sum(row.label is not None for row in rows["bleed"])  # type: ignore[union-attr]
    assert labelled < len(rows["bleed"])
    assert unit_of(heads["bleed"], rows["bleed"]) == pytest.approx(1 / labelled)
    assert math.isnan(unit_of(heads["cause"], []))


def test_one_more_correct_prediction_changes_the_accuracy_by_one_unit(toy_mixture: Callable[..., Path]) -> None:
    import torch

    mixture = load_mixture(toy_mixture())
    heads, tokenizer = build_heads(mixture)
    rows = list(prepare(mixture, heads, tokenizer)["cause"]["test"].rows)
    head = heads["cause"]
    scores = []
    for number in (3, 4):
        labels = [row.label if i < number else {"no": "yes", "yes": "no"}[str(row.label)] for i, row in enumerate(rows)]  # type: ignore[union-attr]
        counts = [head.counts({"label": label}, row) for label, row in zip(labels, rows, strict=True)]
        scores.append(head.score(torch.stack(counts).sum(dim=0))["accuracy"])
    assert scores[1] - scores[0] == pytest.approx(unit_of(head, rows))
