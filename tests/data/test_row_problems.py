from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

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


def told(head: Any, rows: Mapping[str, Sequence[Row]], **data: Any) -> list[Problem]:
    """The problems of some rows, which never hold their text."""
    found = row_problems("risk", head, cast(Any, rows), DataSpec(**{"reader": "jsonl", "path": "risk", **data}))
    assert SECRET not in "".join(map(str, found))
    return found


def yes_no() -> Classification:
    return Classification(["yes", "no"], 8)


def test_rows_without_a_problem_give_none() -> None:
    assert told(yes_no(), {"train": labelled("train", "yes", "no", None)}) == []


def test_one_wrong_label_in_many_rows_of_several_splits_is_one_problem_that_counts_them() -> None:
    good = ["yes"] * 20
    rows = {"train": labelled("train", *good, *["odd"] * 6), "dev": labelled("dev", "yes", "odd")}
    (problem,) = told(yes_no(), rows)
    assert problem.key == "tasks.risk.train (row train-21)"
    assert "'odd'" in problem.message
    assert problem.message.endswith(
        "7 rows (6 of train, 1 of dev): train-21, train-22, train-23, train-24, train-25, …."
    )
    assert all(key in problem.suggestion for key in ("`labels`", "`data.on_bad_row: skip`"))


def test_a_single_row_is_told_as_the_rows_problem() -> None:
    (problem,) = told(yes_no(), {"train": labelled("train", "yes", "odd", "no")})
    assert problem.key == "tasks.risk.train (row train-2)"
    assert "'odd'" in problem.message
    assert "`labels`" not in problem.suggestion
    assert "`data.on_bad_row: skip`" in problem.suggestion


def test_where_most_rows_have_an_unknown_label_the_problem_is_that_of_labels() -> None:
    rows = {"train": labelled("train", "YES", "No", "YES", "yes"), "dev": labelled("dev", "YES", 3.0)}
    first, second = told(yes_no(), rows)
    assert first == Problem(
        "tasks.risk.labels",
        "Most rows have a label that isn't among them: 4 of 6 rows, first train-1 of train; found "
        "'YES' (did you mean 'yes'?) in 3 rows, 'No' (did you mean 'no'?) in 1 row.",
        "Mend `labels` in the mixture, or check what the reader takes for the label.",
    )
    assert second.key == "tasks.risk.dev (row dev-2)"  # what is wrong otherwise is told beside it
    assert "the number 3.0" in second.message


def test_exactly_half_of_the_rows_are_not_most_of_them() -> None:
    (problem,) = told(yes_no(), {"train": labelled("train", "odd", "yes", "odd", "no")})
    assert problem.key == "tasks.risk.train (row train-1)"


def test_ten_unknown_labels_are_named_and_more_of_them_only_counted() -> None:
    (problem,) = told(yes_no(), {"train": labelled("train", *(f"k{n}" for n in range(10)), "k3")})
    assert "found 'k3' in 2 rows, 'k0' in 1 row, " in problem.message
    assert problem.message.count("' in ") == 10
    (problem,) = told(yes_no(), {"train": labelled("train", *(f"k{n}" for n in range(11)))})  # names of patients, maybe
    assert problem.message.endswith("found 11 different ones.")


def test_a_text_in_the_place_of_the_label_is_not_told() -> None:
    (problem,) = told(yes_no(), {"train": labelled("train", SECRET, SECRET)})
    assert problem.message.endswith("found a text of 19 characters in 2 rows.")


def test_twenty_kinds_are_listed_and_the_rows_of_the_others_counted() -> None:
    numbers = [float(n) for n in range(5, 28)]
    found = told(Regression([], 8, range=(0, 4)), {"train": labelled("train", *numbers, 27.0, 1.0)})
    assert len(found) == 21
    assert "the number 24." in found[19].message
    assert found[20] == Problem("tasks.risk", "4 more rows break a rule like these.")  # 25, 26 and twice 27


def test_a_row_that_was_cut_from_another_split_says_so() -> None:
    cut = {"fractions": {"train": 0.8, "dev": 0.2}}
    rows = {"train": labelled("train", "odd", "no", "no"), "dev": labelled("train", "yes", "yes", "yes", "even")}
    assert [problem.key for problem in told(yes_no(), rows, split=cut)] == [
        "tasks.risk.train (row train-1)",
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
