from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from heads import Entity, Relation, Row, SpanRow, TextRow
from heads.classification import Classification
from heads.multilabel import Multilabel
from heads.regression import Regression
from heads.relation import RelationClassification
from heads.token_classification import TokenClassification
from mtl.config.mixture import DataSpec
from mtl.data.row_problems import row_problems
from mtl.problems import Problem

SECRET = "Mr Miller of Ward 7"


def labelled(split: str, *labels: Any) -> list[Row]:
    return [TextRow(f"{split}-{n}", f"{split}-{n}", SECRET, label=label) for n, label in enumerate(labels, start=1)]


def reported(head: Any, rows: Mapping[str, Sequence[Row]], **data: Any) -> list[Problem]:
    """The problems of rows, which never contain their text."""
    found = row_problems("risk", head, cast(Any, rows), DataSpec(**{"reader": "jsonl", "path": "risk", **data}))
    assert SECRET not in "".join(map(str, found))
    return found


def yes_no() -> Classification:
    return Classification(["yes", "no"], 8)


def test_valid_rows_have_no_problems() -> None:
    assert reported(yes_no(), {"train": labelled("train", "yes", "no", None)}) == []


def test_an_unknown_label_in_many_rows_of_several_splits_is_one_problem_with_a_count() -> None:
    good = ["yes"] * 20
    rows = {"train": labelled("train", *good, *["odd"] * 6), "dev": labelled("dev", "yes", "odd")}
    (problem,) = reported(yes_no(), rows)
    assert problem.key == "tasks.risk.train (row train-21)"
    for part in ("'odd'", "7 rows (6 of train, 1 of dev): train-21, train-22, train-23, train-24, train-25, …."):
        assert part in problem.message
    for fix in ("`labels`", "`data.on_bad_row: skip`"):
        assert fix in problem.suggestion


def test_a_problem_of_a_single_row_has_its_key_and_no_count() -> None:
    (problem,) = reported(yes_no(), {"train": labelled("train", "yes", "odd", "no")})
    assert problem.key == "tasks.risk.train (row train-2)"
    assert "'odd'" in problem.message
    assert "`labels`" not in problem.suggestion
    assert "`data.on_bad_row: skip`" in problem.suggestion


def test_if_most_rows_have_an_unknown_label_one_problem_of_labels_is_reported() -> None:
    rows = {"train": labelled("train", "YES", "No", "YES", "yes"), "dev": labelled("dev", "YES", 3.0)}
    first, second = reported(yes_no(), rows)
    assert first.key == "tasks.risk.labels"
    for part in ("4 of 6 rows", "train-1 of train"):
        assert part in first.message
    assert first.message.endswith("got 'YES' (did you mean 'yes'?) in 3 rows, 'No' (did you mean 'no'?) in 1 row.")
    assert second.key == "tasks.risk.dev (row dev-2)"  # other problems are reported in addition
    assert "the number 3.0" in second.message


@pytest.mark.parametrize("label", ["1.0", 1.0, ("1.0",)])
def test_a_class_that_was_saved_as_a_float_gets_the_advice_to_write_it_as_an_integer(label: Any) -> None:
    head = (Multilabel if isinstance(label, tuple) else Classification)(["0", "1"], 8)
    for count in (1, 3):  # a kind of problem, or one of `labels`
        rows = labelled("train", *[("0",) if isinstance(label, tuple) else "0"] * 2, *[label] * count)
        (problem,) = reported(head, {"train": rows})
        assert "must be written 1, not 1.0" in problem.suggestion
    (problem,) = reported(Regression([], 8, range=(2, 4)), {"train": labelled("train", 1.0)})
    assert "must be written" not in problem.suggestion


def test_exactly_half_of_the_rows_are_not_most_of_them() -> None:
    (problem,) = reported(yes_no(), {"train": labelled("train", "odd", "yes", "odd", "no")})
    assert problem.key == "tasks.risk.train (row train-1)"


def test_up_to_ten_unknown_labels_are_named_and_more_are_only_counted() -> None:
    (problem,) = reported(yes_no(), {"train": labelled("train", *(f"k{n}" for n in range(10)), "k3")})
    assert "got 'k3' in 2 rows, 'k0' in 1 row, " in problem.message
    assert problem.message.count("' in ") == 10
    (problem,) = reported(
        yes_no(), {"train": labelled("train", *(f"k{n}" for n in range(11)))}
    )  # may be names of patients
    assert "got 11 " in problem.message
    assert "k3" not in problem.message


def test_a_text_instead_of_a_label_is_not_shown() -> None:
    (problem,) = reported(yes_no(), {"train": labelled("train", SECRET, SECRET)})
    assert problem.message.endswith(" of 19 characters in 2 rows.")


def test_rows_that_break_one_rule_are_one_problem_whatever_was_found() -> None:
    (problem,) = reported(Regression([], 8, range=(0, 4)), {"train": labelled("train", *map(float, range(5, 71)))})
    assert problem.key == "tasks.risk.train (row train-1)"
    assert "66 rows" in problem.message
    assert "65 other" in problem.message
    (problem,) = reported(yes_no(), {"train": labelled("train", "odd", "odd", "even", *["no"] * 9)})
    assert "'odd' in 2 rows, 'even' in 1 row" in problem.message


def test_twenty_kinds_of_problems_are_listed_and_the_rows_of_the_others_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head = Regression([], 8, range=(0, 4))
    monkeypatch.setattr(head, "check", lambda row: f"rule {row.label:g} must hold, got nothing")
    found = reported(head, {"train": labelled("train", *map(float, range(23)), 22.0)})
    assert len(found) == 21
    assert "rule 19 " in found[19].message
    assert found[20].key == "tasks.risk"
    assert found[20].message.startswith("4 ")


def test_a_row_from_a_divided_split_is_reported_with_its_source() -> None:
    cut = {"fractions": {"train": 0.8, "dev": 0.2}}
    rows = {"train": labelled("train", "no", "no", "no"), "dev": labelled("train", "yes", "yes", "yes", "even")}
    assert [problem.key for problem in reported(yes_no(), rows, split=cut)] == [
        "tasks.risk.dev (row train-4, cut from train)",
    ]


def test_every_head_with_labels_knows_which_are_unknown() -> None:
    spans = {"text": "ab cd", "id": "r", "document": "r"}
    a, b = Entity("T1", "Gene", ((0, 2),)), Entity("T2", "drug", ((3, 5),))
    entities = SpanRow(**spans, entities=(a, b))
    linked = SpanRow(**spans, entities=(a, b), relations=(Relation("T1", "T2", "odd"), Relation("T1", "T2", None)))
    tagging = TokenClassification(["Drug"], 8)
    relations = RelationClassification(["treats", "none"], 8, negative="none", pairs=[("Gene", "drug")])
    assert list(Multilabel(["a", "b"], 8).unknown_labels(TextRow("r", "r", "x", label=("a", "c")))) == ["'c'"]
    assert list(tagging.unknown_labels(entities)) == ["'Gene'", "'drug' (did you mean 'Drug'?)"]
    assert list(relations.unknown_labels(linked)) == ["'odd'"]
    assert list(relations.unknown_labels(TextRow("r", "r", "x", label="odd"))) == ["'odd'"]
    for head, row in ((tagging, SpanRow(**spans)), (relations, entities), (yes_no(), TextRow("r", "r", "x"))):
        assert list(head.unknown_labels(row)) == []
