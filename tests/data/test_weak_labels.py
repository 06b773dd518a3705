"""Rows with weak labels in train and in splits that are scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from heads import SpanRow, TextRow
from mtl.config.mixture import DataSpec, LabelSourceSpec
from mtl.data.permutation import permuted_rows
from mtl.data.reading import RowSummary, read_rows
from mtl.data.relabelling import relabelled_rows
from mtl.data.row_problems import row_rule
from mtl.data.store import RowTable, Store
from mtl.data.weak_labels import WeakLabels
from mtl.problems import InputError
from tests.heads.test_masked_lm import make as masked_lm
from tests.heads.test_multilabel import make as multilabel

GOLD = [{"id": f"g{n}", "text": f"gold {n}", "label": "a"} for n in range(3)]
WEAK = [
    {"id": f"w{n}", "text": f"weak {n}", "label": "b", "source": "model", "score": n / 10, "weight": 2}
    for n in range(10)
]
SOFT = {"id": "s", "text": "soft", "probabilities": {"a": 0.4, "b": 0.6}}


def read(tmp_path: Path, rows: list[dict[str, Any]], **options: Any) -> dict[str, tuple[RowTable, RowSummary]]:
    for split in ("train", "dev"):
        text = "".join(json.dumps({**row, "id": f"{split}-{row['id']}"}) + "\n" for row in rows)
        (tmp_path / f"{split}.jsonl").write_text(text)
    data = {"reader": "jsonl", "path": str(tmp_path), **options}
    return read_rows(DataSpec(**data), "tasks.t.data", Store(tmp_path / "cache"))


def test_sources_are_weighed_in_train_and_left_out_where_rows_are_scored(tmp_path: Path) -> None:
    found = read(tmp_path, [*GOLD, *WEAK, SOFT], sources={"model": {"weight": 0.25, "min_score": 0.7}})
    rows, summary = found["train"]
    assert [(row.id, row.weight) for row in rows] == [
        *((f"train-g{n}", 1.0) for n in range(3)),
        *((f"train-w{n}", 0.5) for n in (7, 8, 9)),
        ("train-s", 1.0),
    ]
    assert summary.left_out == {"weak labels below the minimum score": 7}
    assert (summary.sources, summary.weighted, summary.rows) == ({"model": 3}, 3, 7)
    rows, summary = found["dev"]
    assert [(row.id, row.weight) for row in rows] == [(f"dev-g{n}", 1.0) for n in range(3)]
    assert summary.left_out == {"weak labels, which are not scored": 11}


def test_gold_rows_are_scored_without_weights_and_soft_labels(tmp_path: Path) -> None:
    row = {"id": "1", "text": "x", "label": "a", "source": "expert", "weight": 3, "probabilities": {"a": 1}}
    found = read(tmp_path, [*GOLD, row], sources={"expert": {"gold": True}})
    (scored,) = [row for row in found["dev"][0] if row.source == "expert"]
    assert isinstance(scored, TextRow)
    assert (scored.label, scored.weight, scored.probabilities) == ("a", 1.0, None)
    assert all(row.probabilities is None for row in found["dev"][0])
    assert found["dev"][1].left_out == {}
    assert [row.weight for row in found["train"][0]] == [1.0, 1.0, 1.0, 3.0]


def test_a_split_that_is_cut_from_train_has_gold_only_and_limits_count_what_is_used(tmp_path: Path) -> None:
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*GOLD, *WEAK]))
    data = {
        "reader": "jsonl",
        "path": str(tmp_path / "all.jsonl"),
        "split": {"fractions": {"train": 0.5, "dev": 0.5}, "seed": 1},
        "sources": {"model": {"min_score": 0.5}},
        "limit": {"train": 4},
    }
    found = read_rows(DataSpec(**data), "tasks.t.data", Store(tmp_path / "cache"))
    train, dev = (found[split] for split in ("train", "dev"))
    assert all(row.source is None for row in dev[0])
    counts = [sum(summary.left_out.values()) + summary.limited + summary.rows for _, summary in (train, dev)]
    assert sum(counts) == 13
    assert train[1].rows == 4 or train[1].limited == 0
    assert all(row.score is None or row.score >= 0.5 for row in train[0])


def test_rows_without_a_score_do_not_reach_a_minimum() -> None:
    weak = WeakLabels({"m": LabelSourceSpec(min_score=0.0)}, is_train=True)
    assert weak.applied(TextRow("1", "1", "x", label="a", source="m")) is None
    assert weak.applied(SpanRow("1", "1", "x", source="m", score=0.0)) is not None
    assert weak.left_out == {"weak labels without a score": 1}


def test_a_source_that_train_does_not_have_is_an_error_without_text(tmp_path: Path) -> None:
    odd = {"id": "o", "text": "x", "label": "a", "source": "The fever was high."}
    with pytest.raises(InputError) as error:
        read(tmp_path, [*GOLD, *WEAK, odd], sources={"modle": {"weight": 0.5}})
    (problem,) = error.value.problems
    assert problem.key == "tasks.t.data.sources.modle"
    assert "'model'" in str(problem)
    assert "fever" not in str(problem)


def test_data_without_weak_labels_gives_the_rows_that_it_gave(tmp_path: Path) -> None:
    summary = read(tmp_path, GOLD)["train"][1]
    assert (summary.sources, summary.weighted, summary.left_out) == ({}, 0, {})


def test_new_names_of_labels_hold_for_soft_and_annotated_ones() -> None:
    rows = [
        TextRow("1", "1", "x", label="a", probabilities={"a": 0.2, "b": 0.3, "c": 0.5}),
        TextRow("2", "2", "x", label=("a",), annotated=("a", "b")),
        TextRow("3", "3", "x", label=("a",)),
        TextRow("4", "4", "x", label="a"),
    ]
    found = list(relabelled_rows(rows, {"a": "z", "b": "z"}, ["z"]))
    assert all(isinstance(row, TextRow) for row in found)
    assert found[0] == TextRow("1", "1", "x", label="z", probabilities={"z": 0.5, "c": 0.5})
    assert [row.annotated for row in found] == [None, ("z",), ("z",), None]


def test_permuted_rows_have_the_soft_label_of_the_row_whose_label_they_have() -> None:
    rows = [
        TextRow(str(n), str(n), "x", label=label, probabilities={"a": float(label == "a"), "b": float(label == "b")})
        for n, label in enumerate("aabbabab")
    ]
    found = permuted_rows(rows, seed=0)
    assert [row.label for row in found if isinstance(row, TextRow)] != [row.label for row in rows]
    assert all(isinstance(row, TextRow) and (row.probabilities or {})[str(row.label)] == 1 for row in found)


@pytest.mark.parametrize(
    ("row", "part"),
    [
        (SpanRow("1", "1", "x", weight=0.5), "weight"),
        (TextRow("1", "1", "x", probabilities={"a": 1.0}), "probabilities"),
        (TextRow("1", "1", "x", annotated=("a",)), "annotated"),
    ],
)
def test_a_head_that_cannot_use_weak_labels_refuses_them_by_name(row: Any, part: str) -> None:
    rule = row_rule(masked_lm(), row, training=False)
    assert rule is not None
    assert part in rule
    weak = TextRow("1", "1", "x", label=(), annotated=("death",), weight=2.0)
    assert row_rule(multilabel(), weak, training=True) is None
