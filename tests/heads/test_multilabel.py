"""Any number of labels for a text or a pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    cohen_kappa_score,
    f1_score,
    matthews_corrcoef,
    precision_score,
    recall_score,
    roc_auc_score,
)
from torch import Tensor
from torchmetrics.functional.classification import multilabel_exact_match, multilabel_f1_score

from heads import IGNORE, TextRow
from heads.multilabel import Multilabel
from tests.heads import properties as has

LABELS = ("growth", "death", "immunity")
ROWS = [
    TextRow("0", "0", "aspirin reduces fever .", label=("growth",)),
    TextRow("1", "1", "warfarin increases the risk of bleeding in patients", label=("growth", "immunity")),
    TextRow("2", "2", "cox-2", label=()),
    TextRow("3", "3", "nausea after treatment", "headache ?", label=("death", "immunity")),
    TextRow("4", "4", "the gene induces a protein .", label=LABELS),
    TextRow("5", "5", "ibuprofen inhibits cox-1 , cox-2", label=()),
    TextRow("6", "6", "a disease of the cell", label=("death",)),
    TextRow("7", "7", "the patients", label=("immunity",)),
]
UNLABELLED = [TextRow("u", "u", "aspirin"), TextRow("v", "v", "a drug", "fever")]


def make(**options: Any) -> Multilabel:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Multilabel(LABELS, has.HIDDEN, **options)


def gold_logits(fields: dict[str, Tensor]) -> Tensor:
    return 18.0 * fields["labels"].float() - 9.0


CASES = {
    "plain": has.Case(make, ROWS, UNLABELLED, gold_logits),
    "options": has.Case(make, ROWS, UNLABELLED, gold_logits, {"hidden_layer": 12, "threshold": "tuned"}),
    "windows": has.Case(
        make,
        [*ROWS, TextRow("l", "l", has.LONG_TEXT, label=LABELS[:1])],
        UNLABELLED,
        gold_logits,
        {"long": "windows", "window_pooling": "mean"},
    ),
    "everything": has.Case(
        make,
        ROWS,
        UNLABELLED,
        gold_logits,
        {
            "score_by": "document",
            "threshold": {"sensitivity": 0.9},
            "metrics": ["auroc", "auprc", "mcc", "kappa", "example_based_f1"],
        },
    ),
}

test_property_of_every_head = has.shared_test(CASES)


def test_it_overfits_a_few_rows(tokenizer: Any, tiny_encoder: Callable[[str], Path]) -> None:
    has.assert_overfits(make(), ROWS, tokenizer, tiny_encoder("bert"), num_steps=120)


def test_an_empty_set_of_labels_is_trained_on_and_a_missing_one_is_not(tokenizer: Any) -> None:
    rows = [TextRow("1", "1", "fever", label=()), TextRow("2", "2", "fever")]
    head = make()
    nothing, unknown = has.encode(head, rows, tokenizer, training=False)
    assert (nothing["targets"], nothing["labels"]) == (1, [0, 0, 0])
    assert (unknown["targets"], unknown["labels"]) == (0, [IGNORE] * 3)
    assert [head.is_labelled(row) for row in rows] == [True, False]
    assert head.counts({"labels": []}, rows[0])[-1] == 1


def test_the_loss_of_a_row_is_the_mean_over_labels() -> None:
    logits = torch.tensor([[0.0, np.log(3.0), -np.log(3.0)], [50.0, -50.0, 0.0]])
    total, count = make().loss(logits, {"labels": torch.tensor([[1, 1, 1], [IGNORE] * 3])})
    by_hand = (np.log(2) + np.log(4 / 3) + np.log(4)) / 3
    assert float(total) == pytest.approx(by_hand, rel=1e-6)
    assert int(count) == 1


def test_a_label_is_predicted_if_its_probability_reaches_the_threshold() -> None:
    prediction = make(threshold=0.25).decode(ROWS[0], [{}], [torch.tensor([0.25, 0.24, 0.9])])
    assert prediction["labels"] == ["growth", "immunity"]
    assert prediction["scores"] == pytest.approx({"growth": 0.25, "death": 0.24, "immunity": 0.9})


def test_counts_by_hand() -> None:
    counts = make().counts({"labels": ["growth", "death"]}, ROWS[1])
    true_positive, false_positive, false_negative, true_negative = counts[:-3].reshape(4, 3).tolist()
    assert (true_positive, false_positive) == ([1, 0, 0], [0, 1, 0])
    assert (false_negative, true_negative) == ([0, 0, 1], [0, 0, 0])
    assert counts[-3:].tolist() == [0.5, 0, 1]


def test_example_f1_by_hand_is_1_for_two_empty_sets() -> None:
    predicted = [("growth",), ("growth",), (), ("growth",)]
    scores = has.score(make(), [{"labels": list(names)} for names in predicted], ROWS[:4])
    assert scores["example_f1"] == pytest.approx((1 + 2 / 3 + 1 + 0) / 4)
    assert scores["subset_accuracy"] == 0.5


def test_example_based_f1_by_hand_leaves_out_rows_without_gold() -> None:
    gold = [("growth", "death"), ("growth",), (), ("death",)]
    predicted = [("growth",), ("growth", "death"), ("immunity",), ()]
    rows = [TextRow(str(i), str(i), "a", label=label) for i, label in enumerate(gold)]
    head = make(primary_metric="example_based_f1")
    scores = has.score(head, [{"labels": list(names)} for names in predicted], rows)
    precision, recall = (1 + 1 / 2 + 0) / 3, (1 / 2 + 1 + 0) / 3
    assert scores["example_based_f1"] == pytest.approx(2 * precision * recall / (precision + recall))
    assert {name: scores[name] for name in Multilabel.metrics} == has.score(
        make(), [{"labels": list(names)} for names in predicted], rows
    )


@pytest.mark.parametrize("seed", range(5))
def test_example_based_f1_by_document_is_that_of_the_means_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gold, predicted, documents = rng.random((40, 3)) < 0.2, rng.random((40, 3)) < 0.2, rng.integers(0, 12, 40)
    rows = [TextRow(str(i), str(documents[i]), "a", label=names(line)) for i, line in enumerate(gold)]
    head = make(score_by="document", metrics=["example_based_f1"])
    by_document: dict[str, list[Tensor]] = {}
    for line, row in zip(predicted, rows, strict=True):
        by_document.setdefault(row.document, []).append(head.counts({"labels": names(line)}, row))
    scores = head.score(head.combined([head.document_counts(own) for own in by_document.values()]))
    unions = [[side[documents == int(d)].any(0) for d in by_document] for side in (gold, predicted)]
    truth, guess = (np.array([line for line, g in zip(side, unions[0], strict=True) if g.any()]) for side in unions)
    precision = precision_score(truth, guess, average="samples", zero_division=0.0)
    recall = recall_score(truth, guess, average="samples", zero_division=0.0)
    assert scores["example_based_f1"] == pytest.approx(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gold, predicted = rng.random((30, 3)) < 0.3, rng.random((30, 3)) < 0.4
    rows = [TextRow(str(i), str(i), "a", label=names(line)) for i, line in enumerate(gold)]
    assert has.score(make(), [{"labels": names(line)} for line in predicted], rows) == pytest.approx(
        {
            "micro_f1": f1_score(gold, predicted, average="micro"),
            "macro_f1": f1_score(gold, predicted, average="macro", zero_division=0.0),
            "example_f1": f1_score(gold, predicted, average="samples", zero_division=1.0),
            "subset_accuracy": accuracy_score(gold, predicted),
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_torchmetrics(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gold, predicted = rng.random((30, 3)) < 0.3, rng.random((30, 3)) < 0.4
    rows = [TextRow(str(i), str(i), "a", label=names(line)) for i, line in enumerate(gold)]
    pair = torch.from_numpy(predicted).int(), torch.from_numpy(gold).int()
    samples = (labels[..., None] for labels in pair)  # each row is a sample of its own: [N, C, 1]
    by_row = multilabel_f1_score(*samples, 3, average="micro", multidim_average="samplewise", zero_division=1)
    # torchmetrics computes in float32.
    assert has.score(make(), [{"labels": names(line)} for line in predicted], rows) == pytest.approx(
        {
            "micro_f1": float(multilabel_f1_score(*pair, 3, average="micro")),
            "macro_f1": float(multilabel_f1_score(*pair, 3, average="macro")),
            "example_f1": float(by_row.mean()),
            "subset_accuracy": float(multilabel_exact_match(*pair, 3)),
        },
        rel=1e-6,
    )


@pytest.mark.parametrize("metric", [*Multilabel.metrics, "mcc", "kappa", "sensitivity", "specificity", "ppv", "npv"])
@given(corpora=has.corpora(15, unit=1 / 3))  # the F1 of a row is a fraction
@settings(max_examples=25, deadline=None)
def test_many_corpora_score_like_each_alone(metric: str, corpora: has.Corpora) -> None:
    has.assert_many_corpora_score_like_each_alone(make(primary_metric=metric), corpora)


@given(corpora=has.corpora(18, unit=1 / 3))
@settings(max_examples=25, deadline=None)
def test_many_corpora_have_their_own_example_based_f1(corpora: has.Corpora) -> None:
    has.assert_many_corpora_score_like_each_alone(make(primary_metric="example_based_f1"), corpora)


def names(line: Any) -> tuple[str, ...]:
    return tuple(label for label, applies in zip(LABELS, line, strict=True) if applies)


def test_the_report_has_every_label_and_no_confusion_matrix() -> None:
    head = make()
    counts = head.counts({"labels": ["growth", "death"]}, ROWS[1]) + head.counts({"labels": []}, ROWS[0])
    report = head.report(counts)
    assert report.confusion is None
    assert report.per_class["growth"] == pytest.approx({"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 2})
    assert report.per_class["death"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0.0}


# --- thresholds -------------------------------------------------------------------------------------------------------


def test_thresholds_are_tuned_for_each_label_and_change_predictions() -> None:
    head = make(threshold="tuned")
    probabilities = torch.tensor([[0.1, 0.2, 0.9], [0.3, 0.6, 0.8], [0.2, 0.7, 0.1]])
    rows = [
        TextRow("0", "0", "a", label=("immunity",)),
        TextRow("1", "1", "a", label=("growth",)),
        TextRow("2", "2", "a", label=("death",)),
        TextRow("3", "3", "a"),
    ]
    data = [
        head.tuning_data(row, [{}], [line]) for row, line in zip(rows, [*probabilities, probabilities[0]], strict=True)
    ]
    assert [tuple(d.shape) for d in data if d is not None] == [(1, 7), (1, 7), (1, 7), (0, 7)]
    head.tune(torch.cat([d for d in data if d is not None]))
    assert head.thresholds.tolist() == pytest.approx([0.25, 0.65, 0.85])
    assert [head.decode(rows[i], [{}], [probabilities[i]])["labels"] for i in range(3)] == [
        ["immunity"],
        ["growth"],
        ["death"],
    ]


def test_tuning_again_replaces_the_first_thresholds() -> None:
    head = make(threshold="tuned")
    head.tune(torch.tensor([[0.1] * 3 + [1.0] * 3 + [0.0]]))
    head.tune(torch.zeros(0, 7))
    assert head.thresholds.tolist() == [0.5] * 3


def test_a_checkpoint_contains_tuned_thresholds_but_no_fixed_ones() -> None:
    head, other = make(threshold="tuned"), make(threshold="tuned")
    head.tune(torch.tensor([[0.1, 0.6, 0.9] + [1.0] * 3 + [0.0], [0.05, 0.7, 0.8] + [0.0] * 3 + [1.0]]))
    other.load_state_dict(head.state_dict())
    assert torch.equal(other.thresholds, head.thresholds)
    assert not torch.equal(head.thresholds, torch.full((3,), 0.5))
    assert "thresholds" not in make(threshold=0.3).state_dict()


def test_a_fixed_threshold_is_not_tuned() -> None:
    head = make(threshold=0.25)
    assert head.tuning_data(ROWS[0], [{}], [torch.rand(3)]) is None
    head.tune(torch.tensor([[0.1] * 3 + [1.0] * 3 + [0.0]]))
    assert head.thresholds.tolist() == [0.25] * 3


# --- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "got"),
    [
        (("growth", "deth"), ["'deth'", "'death'", *LABELS]),
        (("growth", "growth"), ["unique", "1"]),
        ("growth", ["list", "one name", "classification"]),
        ("growht", ["list", "'growht'", "'growth'"]),
        ("a long text of a row", ["list", "20"]),
        (3.0, ["list", "number", "3.0"]),
    ],
)
def test_a_wrong_label_is_reported_without_text_of_the_row(label: Any, got: list[str]) -> None:
    problem = make().check(TextRow("1", "1", "a", label=label))
    assert problem is not None
    assert all(part in problem for part in got)
    assert "long text" not in problem


def test_valid_and_missing_labels_are_no_problem() -> None:
    assert {make().check(row) for row in [*ROWS, *UNLABELLED]} == {None}
    assert make().label_counts(ROWS[3]) == {"death": 1, "immunity": 1}


def test_the_majority_baseline_predicts_the_most_frequent_set() -> None:
    train = [
        TextRow(str(i), "d", "a", label=label)
        for i, label in enumerate([("death",), LABELS[:2], LABELS[:2], ("growth",)])
    ]
    [prediction] = make().baselines(train)["majority"](ROWS[:1])
    assert prediction["labels"] == ["growth", "death"]


def test_the_tfidf_baseline_finds_planted_words() -> None:
    words = {"growth": "gene", "death": "cell", "immunity": "fever"}
    sets = [names([i & 1, i & 2, i & 4]) for i in range(8)] * 3
    train = [TextRow(str(i), "d", " ".join(["the", *(words[n] for n in s)]), label=s) for i, s in enumerate(sets)]
    predictions = make().baselines(train)["tfidf"](train)
    assert [tuple(p["labels"]) for p in predictions] == sets


def test_a_label_that_all_or_no_training_rows_have_is_constant_in_the_tfidf_baseline() -> None:
    train = [TextRow(str(i), "d", text, label=("growth",)) for i, text in enumerate(["a b", "c d"])]
    [prediction] = make().baselines(train)["tfidf"](ROWS[:1])
    assert prediction == {"labels": ["growth"], "scores": {"growth": 1.0, "death": 0.0, "immunity": 0.0}}
    assert make().baselines(UNLABELLED) == {}


# --- metrics on request -----------------------------------------------------------------------------------------------


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Gold labels and probabilities with ties, both [N, C]."""
    rng = np.random.default_rng(seed)
    return rng.random((40, 3)) < 0.3, rng.integers(1, 9, (40, 3)) / 10


def rows_of(gold: np.ndarray, documents: Sequence[int] | None = None) -> list[TextRow]:
    owners = range(len(gold)) if documents is None else documents
    return [TextRow(str(i), str(d), "a", label=names(g)) for i, (d, g) in enumerate(zip(owners, gold, strict=True))]


def predictions_of(head: Multilabel, rows: Sequence[TextRow], probabilities: np.ndarray) -> list[Any]:
    return [head.decode(row, [{}], [torch.from_numpy(line)]) for row, line in zip(rows, probabilities, strict=True)]


@pytest.mark.parametrize("seed", range(5))
def test_metrics_on_request_are_the_means_of_those_of_scikit_learn_over_the_labels(seed: int) -> None:
    gold, probabilities = drawn(seed)
    wanted = ["auroc", "auprc", "mcc", "kappa", "sensitivity", "specificity", "ppv", "npv"]
    head = make(metrics=wanted)
    rows, predicted = rows_of(gold), probabilities >= 0.5
    scores = has.score(head, predictions_of(head, rows, probabilities), rows)
    columns = list(zip(gold.T, predicted.T, strict=True))
    expected = {
        "auroc": roc_auc_score(gold, probabilities, average="macro"),
        "auprc": average_precision_score(gold, probabilities, average="macro"),
        "mcc": np.mean([matthews_corrcoef(*pair) for pair in columns]),
        "kappa": np.mean([cohen_kappa_score(*pair) for pair in columns]),
        "sensitivity": recall_score(gold, predicted, average="macro", zero_division=0),
        "specificity": recall_score(~gold, ~predicted, average="macro", zero_division=0),
        "ppv": precision_score(gold, predicted, average="macro", zero_division=0),
        "npv": precision_score(~gold, ~predicted, average="macro", zero_division=0),
        "micro_f1": f1_score(gold, predicted, average="micro"),
    }
    assert {name: scores[name] for name in expected} == pytest.approx(expected)


def test_a_label_that_no_row_has_is_left_out_of_the_mean_auroc() -> None:
    gold, probabilities = drawn(0)
    gold[:, 1] = False
    head = make(primary_metric="auroc")
    rows = rows_of(gold)
    expected = roc_auc_score(gold[:, ::2], probabilities[:, ::2], average="macro")
    assert has.score(head, predictions_of(head, rows, probabilities), rows)["auroc"] == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["auroc", "auprc", "micro_f1", "npv"])
def test_many_corpora_with_probabilities_score_like_each_alone(metric: str) -> None:
    head = make(primary_metric=metric, metrics=["auroc"])
    gold, probabilities = drawn(2)
    rows = rows_of(gold)
    counts = [head.counts(p, r) for p, r in zip(predictions_of(head, rows, probabilities), rows, strict=True)]
    times = torch.from_numpy(np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), 6))
    has.assert_many_corpora_score_like_each_alone(head, (torch.cat(counts), torch.cat([times, times[:1] * 0])))


def test_an_operating_point_is_chosen_for_each_label() -> None:
    gold, probabilities = drawn(4)
    head = make(threshold={"specificity": 0.8})
    assert {"sensitivity", "specificity", "ppv", "npv"} <= set(head.metrics)
    rows = rows_of(gold)
    data = [head.tuning_data(r, [{}], [torch.from_numpy(p)]) for r, p in zip(rows, probabilities, strict=True)]
    head.tune(torch.cat([one for one in data if one is not None]))
    predicted = probabilities >= head.thresholds.numpy()
    assert all((~predicted[:, c])[~gold[:, c]].mean() >= 0.8 for c in range(3))
    counts = has.reduce_counts(head, [head.counts({"labels": []}, row) for row in rows])
    reported = [own["threshold"] for own in head.report(counts).per_class.values()]
    assert reported == pytest.approx(head.thresholds.tolist())


@pytest.mark.parametrize("seed", range(4))
def test_scores_by_document_equal_those_of_scikit_learn_on_unions(seed: int) -> None:
    gold, probabilities = drawn(seed)
    documents = np.random.default_rng(seed).integers(0, 9, len(gold))
    head = make(score_by="document", metrics=["auroc"])
    rows = rows_of(gold, documents.tolist())
    by_document: dict[int, list[Tensor]] = {}
    for prediction, row in zip(predictions_of(head, rows, probabilities), rows, strict=True):
        by_document.setdefault(int(row.document), []).append(head.counts(prediction, row))
    scores = head.score(head.combined([head.document_counts(own) for own in by_document.values()]))
    union = np.array([gold[documents == d].any(0) for d in by_document])
    highest = np.array([probabilities[documents == d].max(0) for d in by_document])
    expected = {
        "micro_f1": f1_score(union, highest >= 0.5, average="micro"),
        "macro_f1": f1_score(union, highest >= 0.5, average="macro", zero_division=0.0),
        "example_f1": f1_score(union, highest >= 0.5, average="samples", zero_division=1.0),
        "subset_accuracy": accuracy_score(union, highest >= 0.5),
        "auroc": mean_auroc(union, highest),
    }
    assert scores == pytest.approx(expected)


def mean_auroc(gold: np.ndarray, probabilities: np.ndarray) -> float:
    columns = [(g, p) for g, p in zip(gold.T, probabilities.T, strict=True) if 0 < g.mean() < 1]
    return float(np.mean([roc_auc_score(*pair) for pair in columns])) if columns else 0.0


@pytest.mark.parametrize("seed", range(4))
def test_thresholds_by_document_have_the_best_f1_of_unions(seed: int) -> None:
    gold, probabilities = drawn(seed)
    documents = np.random.default_rng(seed).integers(0, 15, len(gold))
    head = make(score_by="document", threshold="tuned")
    rows = rows_of(gold, documents.tolist())
    predictions = predictions_of(head, rows, probabilities)
    data = [head.tuning_data(r, [{}], [torch.from_numpy(p)]) for r, p in zip(rows, probabilities, strict=True)]
    head.tune(torch.cat([one for one in data if one is not None]))

    union = np.array([gold[documents == d].any(0) for d in np.unique(documents)])
    highest = np.array([probabilities[documents == d].max(0) for d in np.unique(documents)])
    decide = head.tuned_decision(rows, predictions)
    assert decide is not None
    decided = [decide(prediction)["labels"] for prediction in predictions]
    for label, (name, threshold) in enumerate(zip(LABELS, head.thresholds.tolist(), strict=True)):
        best = max(f1_score(union[:, label], highest[:, label] >= t) for t in np.arange(0.05, 1, 0.1))
        assert f1_score(union[:, label], highest[:, label] >= threshold) == pytest.approx(best)
        of_trivial = np.array([name in labels for labels in decided])
        unions = [of_trivial[documents == d].any() for d in np.unique(documents)]
        assert f1_score(union[:, label], unions) == pytest.approx(best)


def test_thresholds_by_document_leave_out_rows_in_which_a_label_is_not_known() -> None:
    head = make(score_by="document", threshold="tuned")
    unknown = TextRow("1", "a", "text", label=(), annotated=("growth",))
    rows = [TextRow("0", "a", "text", label=("immunity",)), unknown, TextRow("2", "b", "text", label=())]
    probabilities = torch.tensor([[0.4, 0.1, 0.1], [0.9, 0.1, 0.1], [0.6, 0.1, 0.1]])
    data = [head.tuning_data(row, [{}], [line]) for row, line in zip(rows, probabilities, strict=True)]
    head.tune(torch.cat([one for one in data if one is not None]))
    index = head.labels.index("immunity")
    assert head.thresholds[index].item() < 0.4  # with the row that says nothing of immunity, 0.75 would be perfect


@pytest.mark.parametrize("metrics", [[], ["auroc"]])
def test_a_document_without_labelled_rows_counts_nothing(metrics: list[str]) -> None:
    head = make(score_by="document", metrics=metrics)
    unlabelled = head.counts({"labels": [], "scores": dict.fromkeys(LABELS, 0.5)}, UNLABELLED[0])
    assert not head.document_counts([unlabelled, unlabelled]).any()
    labelled = head.counts({"labels": [], "scores": dict.fromkeys(LABELS, 0.5)}, ROWS[0])
    assert torch.equal(head.document_counts([unlabelled, labelled]), labelled)


def test_rows_are_scored_one_by_one_by_default() -> None:
    head = make()
    counts = [head.counts({"labels": ["growth"]}, row) for row in ROWS[:2]]
    assert torch.equal(head.document_counts(counts), counts[0] + counts[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["exact"]}, "metrics.*micro_f1.*'exact'"),
        ({"score_by": "sentence"}, "score_by.*document.*'sentence'"),
        ({"threshold": 1.0}, r"threshold.*1\.0"),
    ],
)
def test_unknown_options_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)
