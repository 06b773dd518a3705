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


# --- thresholds from dev ----------------------------------------------------------------------------------------------


def patients(*words_and_labels: tuple[str, str]) -> list[Row]:
    return [TextRow(str(i), str(i), words, label=label) for i, (words, label) in enumerate(words_and_labels)]


TRAIN = patients(*[("fever", "y")] * 3, ("fever", "n"), ("cough", "y"), *[("cough", "n")] * 3, *[("calm", "n")] * 7)
DEV = patients(*[("fever", "y")] * 4, *[("calm", "n")] * 5, ("cough", "y"))
TEST = patients(("fever", "y"), ("cough", "y"), ("cough", "n"), *[("calm", "n")] * 5)


def with_dev(head: Head, split: str = "test") -> dict[str, dict[str, float]]:
    data: Any = {"task": {"train": Rows(TRAIN), "dev": Rows(DEV), "test": Rows(TEST)}}
    return trivial_baselines({"task": head}, data, split)["task"]


def test_at_a_required_sensitivity_the_majority_predicts_the_class_everywhere() -> None:
    options: dict[str, Any] = {"positive": "y", "primary_metric": "specificity"}
    head = Classification(["y", "n"], 8, threshold={"sensitivity": 0.95}, **options)
    found = with_dev(head)
    assert (found["majority"]["sensitivity"], found["majority"]["specificity"]) == (1.0, 0.0)
    assert scores(head, TRAIN, TEST)["majority"]["specificity"] == 1.0, "without dev it never predicts the class"
    assert found["tfidf"]["sensitivity"] == 1.0
    assert found["tfidf"]["specificity"] == pytest.approx(5 / 6)
    assert float(head.threshold) == 0.5, "the head's own threshold stays"


def test_the_f1_of_trivial_predictors_is_tuned_like_that_of_the_model() -> None:
    head = Classification(["y", "n"], 8, positive="y", threshold="tuned", primary_metric="f1")
    plain = scores(Classification(["y", "n"], 8, positive="y", primary_metric="f1"), TRAIN, DEV)
    tuned = with_dev(head, "dev")
    assert (plain["majority"]["f1"], tuned["majority"]["f1"]) == pytest.approx((0.0, 2 * 5 / (5 + 10)))
    assert plain["tfidf"]["f1"] < tuned["tfidf"]["f1"] == 1.0


def test_a_predictor_that_cannot_reach_the_required_value_is_left_out() -> None:
    head = Classification(["y", "n"], 8, positive="y", threshold={"ppv": 0.9})
    assert set(with_dev(head)) == {"tfidf"}, "half of dev has the class, so the majority's PPV is 0.5"


def test_each_label_has_a_threshold_of_its_own() -> None:
    def labelled(rows: Sequence[Row]) -> list[Row]:
        return [TextRow(row.id, row.id, row.text, label=("y",) if row.label == "y" else ()) for row in rows]

    def found(**options: Any) -> dict[str, dict[str, float]]:
        data: Any = {name: Rows(labelled(rows)) for name, rows in (("train", TRAIN), ("dev", DEV), ("test", TEST))}
        return trivial_baselines({"task": Multilabel(["y"], 8, **options)}, {"task": data}, "test")["task"]

    tuned = found(threshold={"sensitivity": 0.95}, primary_metric="specificity")
    assert (tuned["majority"]["sensitivity"], tuned["majority"]["specificity"]) == (1.0, 0.0)
    assert tuned["tfidf"]["sensitivity"] == 1.0
    assert found()["majority"]["micro_f1"] == 0.0
    assert found(threshold="tuned")["majority"]["micro_f1"] == pytest.approx(2 * 2 / (2 + 8))
    assert "majority" not in found(threshold={"ppv": 0.9})
