from collections.abc import Sequence
from typing import Any

import pytest
from sklearn.metrics import f1_score

from heads import Head, Row, SpanRow, TextRow
from heads.classification import Classification
from heads.multilabel import Multilabel
from heads.regression import Regression
from mtl.evaluation.baselines import trivial_baselines


class Rows:
    """The part of a split that `trivial_baselines` reads."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows


def texts(labels: str, **more: Any) -> list[Row]:
    words = {"y": "fever", "n": "calm", "?": "odd"}
    return [
        TextRow(str(i), str(i), f"the patient is {words[c]}", label=None if c == "?" else c, **more)
        for i, c in enumerate(labels)
    ]


def scores(head: Head, train: Sequence[Row], test: Sequence[Row]) -> dict[str, dict[str, float]]:
    data: Any = {"task": {"train": Rows(train), "test": Rows(test)}}
    return trivial_baselines({"task": head}, data, "test").get("task", {})


def test_the_scores_of_the_majority_predictor_agree_with_scikit_learn() -> None:
    found = scores(Classification(["y", "n"], 8), texts("yyn"), texts("ynnnn"))
    assert found["majority"]["accuracy"] == pytest.approx(0.2)
    assert found["majority"]["macro_f1"] == pytest.approx(
        f1_score(list("ynnnn"), list("yyyyy"), average="macro", zero_division=0)
    )


def test_the_linear_model_finds_the_words_that_decide_the_class() -> None:
    assert scores(Classification(["y", "n"], 8), texts("yynnyn"), texts("ynny"))["tfidf"]["accuracy"] == 1.0


def test_rows_that_the_model_is_not_scored_on_do_not_count() -> None:
    head = Classification(["y", "n"], 8)
    unusable: list[Row] = [*texts("??"), SpanRow("s", "s", "the"), TextRow("w", "w", "the", label="wrong")]
    assert scores(head, texts("yyn") + unusable, texts("ynn") + unusable) == scores(head, texts("yyn"), texts("ynn"))


def test_a_split_without_labels_has_no_baseline() -> None:
    assert scores(Classification(["y", "n"], 8), texts("yyn"), texts("??")) == {}


def test_a_task_without_the_split_is_left_out() -> None:
    data: Any = {"task": {"train": Rows(texts("yn")), "dev": Rows(texts("yn"))}}
    assert trivial_baselines({"task": Classification(["y", "n"], 8)}, data, "test") == {}


def test_the_mean_predictor_has_no_correlation_and_the_hand_computed_error() -> None:
    def numbers(*values: float) -> list[Row]:
        return [TextRow(str(i), str(i), "the drug", label=value) for i, value in enumerate(values)]

    found = scores(Regression([], 8, range=(0, 4)), numbers(1, 3), numbers(0, 4, 2))["mean"]
    assert found["pearson"] == 0.0
    assert found["mse"] == pytest.approx((4 + 4 + 0) / 3)


def test_documents_are_scored_as_a_whole_if_the_head_says_so() -> None:
    def sentences(*labels: tuple[str, ...]) -> list[Row]:
        return [TextRow(str(i), str(i // 2), "a", label=label) for i, label in enumerate(labels)]

    train = sentences(("y",), ("y",), ("y",), ())
    test = sentences(("y",), (), ("n",), ("y",))
    by_row = scores(Multilabel(["y", "n"], 8), train, test)["majority"]
    by_document = scores(Multilabel(["y", "n"], 8, score_by="document"), train, test)["majority"]
    assert (by_row["micro_f1"], by_document["micro_f1"]) == pytest.approx((4 / 7, 4 / 5))
    assert (by_row["subset_accuracy"], by_document["subset_accuracy"]) == (0.5, 0.5)
