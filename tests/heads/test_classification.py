"""One class for a text or a pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
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
    roc_curve,
)
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

from heads import IGNORE, TextRow
from heads.classification import Classification
from tests.heads import properties as has

LABELS = ("yes", "no", "maybe")
TEXTS = [
    ("aspirin reduces fever .", "no headache", "yes"),
    ("warfarin increases the risk of bleeding in patients with cancer", "warfarin", "no"),
    ("cox-2", "the gene induces a protein .", "maybe"),
    ("the patient was not with nausea", "nausea ?", "no"),
    ("ibuprofen inhibits cox-1 , cox-2 and cox-3", "a drug", "yes"),
    ("headache after treatment", "headache caused by treatment", "maybe"),
    ("disease of the cell", "cell disease", "yes"),
    ("a patient", "the patients", "no"),
]
PAIRS = [TextRow(str(i), str(i), text, pair, label) for i, (text, pair, label) in enumerate(TEXTS)]
SINGLES = [TextRow(str(i), str(i), text, label=label) for i, (text, _, label) in enumerate(TEXTS)]
UNLABELLED = [TextRow("u", "u", "aspirin"), TextRow("v", "v", "a drug", "fever")]
PAIRS_WITHOUT_LABEL = [TextRow("u", "u", "aspirin", "fever"), TextRow("v", "v", "a drug", "fever")]


def make(**options: Any) -> Classification:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Classification(LABELS, has.HIDDEN, **options)


def gold_logits(fields: dict[str, Tensor]) -> Tensor:
    return 9.0 * F.one_hot(fields["label"], len(LABELS)).float()


EVERYTHING = {"positive": "no", "threshold": 0.5, "metrics": ["auroc", "auprc", "mcc", "kappa"]}
OPTIONS = {"hidden_layer": 12, "class_weights": {"no": 3.0}, "excluded": ["no"], "positive": "maybe"}
CASES = {
    f"{name}-{kind}": has.Case(make, rows, UNLABELLED, gold_logits, options)
    for name, options in (("plain", {}), ("options", OPTIONS), ("everything", EVERYTHING))
    for kind, rows in (("pairs", PAIRS), ("singles", SINGLES), ("mixed", [*PAIRS[:4], *SINGLES[4:]]))
}
LONG_ROWS = [*PAIRS, TextRow("l", "l", has.LONG_TEXT, "fever", "no")]
CASES |= {
    "pooler": has.Case(has.attached(make), SINGLES, UNLABELLED, gold_logits, {"pooling": "pooler"}),
    "apart": has.Case(make, PAIRS, PAIRS_WITHOUT_LABEL, gold_logits, {"pair": "apart", "hidden_layer": 12}),
    "windows": has.Case(make, LONG_ROWS, UNLABELLED, gold_logits, {"long": "windows", "pooling": "mean"}),
    "apart-windows": has.Case(
        has.attached(make),
        LONG_ROWS,
        PAIRS_WITHOUT_LABEL,
        gold_logits,
        {"pair": "apart", "long": "windows", "window_pooling": "mean", "pooling": "pooler"},
    ),
}

test_property_of_every_head = has.shared_test(CASES)


def test_f1_is_a_metric_only_with_a_positive_class() -> None:
    assert make(positive="yes", primary_metric="f1").primary_metric == "f1"
    with pytest.raises(ValueError, match=r"primary_metric.*'f1'"):
        make(primary_metric="f1")


def test_it_overfits_a_few_rows(tokenizer: Any, tiny_encoder: Callable[[str], Path]) -> None:
    has.assert_overfits(make(), PAIRS, tokenizer, tiny_encoder("bert"))


def test_a_pair_is_encoded_first_text_first(tokenizer: Any) -> None:
    [example] = has.encode(make(), [TextRow("1", "1", "aspirin", "fever", "yes")], tokenizer)
    assert tokenizer.convert_ids_to_tokens(example["input_ids"]) == ["[CLS]", "aspirin", "[SEP]", "fever", "[SEP]"]
    assert example["token_type_ids"] == [0, 0, 0, 1, 1]


def test_the_longer_text_of_a_pair_is_cut_first(tokenizer: Any) -> None:
    row = TextRow("1", "1", "the drug " * 10, "fever .", "yes")
    [example] = has.encode(make(), [row], tokenizer, max_length=10)
    tokens = tokenizer.convert_ids_to_tokens(example["input_ids"])
    assert tokens == ["[CLS]", *["the", "drug"] * 2, "the", "[SEP]", "fever", ".", "[SEP]"]
    assert example["truncated"]


@pytest.mark.parametrize(("length", "truncated"), [(6, True), (7, False), (8, False)])
def test_only_a_row_that_lost_tokens_is_truncated(length: int, truncated: bool, tokenizer: Any) -> None:
    rows = [TextRow("1", "1", "the drug reduces fever .", label="yes"), TextRow("2", "2", "fever", label="no")]
    examples = has.encode(make(), rows, tokenizer, max_length=length)
    assert [example["truncated"] for example in examples] == [truncated, False]


def test_unlabelled_rows_are_left_out_of_training_only(tokenizer: Any) -> None:
    rows = [UNLABELLED[0], SINGLES[0], UNLABELLED[1], SINGLES[1]]
    assert [example["row"] for example in has.encode(make(), rows, tokenizer, training=True)] == [1, 3]
    assert [example["row"] for example in has.encode(make(), rows, tokenizer, training=False)] == [0, 1, 2, 3]


def test_the_loss_is_the_weighted_cross_entropy_and_the_count_ignores_weights() -> None:
    head = make(class_weights={"no": 3.0, "maybe": 0.5})
    logits = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [5.0, 5.0, 5.0]])
    total, count = head.loss(logits, {"label": torch.tensor([0, 1, 2, IGNORE])})
    by_hand = -np.log(np.e / (np.e + 2)) - 3 * np.log(np.e**2 / (np.e**2 + 2)) + 0.5 * np.log(3)
    assert float(total) == pytest.approx(by_hand, rel=1e-6)
    assert int(count) == 3


def test_weights_of_1_change_nothing() -> None:
    logits, fields = torch.randn(4, 3), {"label": torch.tensor([0, 1, 2, 1])}
    assert torch.equal(
        make(class_weights=dict.fromkeys(LABELS, 1.0)).loss(logits, fields)[0], make().loss(logits, fields)[0]
    )


def test_the_most_probable_class_is_predicted_with_all_probabilities() -> None:
    head = make()
    [probabilities] = head.outputs(torch.log(torch.tensor([[0.5, 1.5, 2.0]])), torch.ones(1, 1).bool(), {})
    prediction = head.decode(SINGLES[0], [{}], [probabilities])
    assert prediction["label"] == "maybe"
    assert prediction["scores"] == pytest.approx({"yes": 0.125, "no": 0.375, "maybe": 0.5})


def test_counts_are_a_confusion_matrix_with_gold_classes_as_rows() -> None:
    counts = make().counts({"label": "maybe"}, TextRow("1", "1", "a", label="no"))
    assert counts.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gold, predicted = rng.choice(LABELS, 50), rng.choice(LABELS, 50)
    head = make(excluded=["no"], positive="maybe")
    rows = [TextRow(str(i), str(i), "a", label=str(label)) for i, label in enumerate(gold)]
    scores = has.score(head, [{"label": label} for label in predicted], rows)
    assert scores == pytest.approx(
        {
            "accuracy": accuracy_score(gold, predicted),
            "macro_f1": f1_score(gold, predicted, average="macro"),
            "micro_f1": f1_score(gold, predicted, labels=["yes", "maybe"], average="micro"),
            "f1": f1_score(gold, predicted, labels=["maybe"], average="macro"),
        }
    )
    everything = has.score(make(), [{"label": label} for label in predicted], rows)
    assert everything["micro_f1"] == everything["accuracy"]


@pytest.mark.parametrize("classes", [LABELS, LABELS[:2]], ids=["all classes", "one class absent"])
@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_torchmetrics(seed: int, classes: Sequence[str]) -> None:
    rng = np.random.default_rng(seed)
    gold, predicted = (torch.from_numpy(rng.integers(0, len(classes), 50)) for _ in range(2))
    f1 = multiclass_f1_score(predicted, gold, num_classes=3, average="none")
    macro = float(multiclass_f1_score(predicted, gold, num_classes=3, average="macro"))
    accuracy = float(multiclass_accuracy(predicted, gold, num_classes=3, average="micro"))
    # torchmetrics computes in float32.
    assert scores_of(gold, predicted, positive="no") == pytest.approx(
        {"accuracy": accuracy, "micro_f1": accuracy, "macro_f1": macro, "f1": float(f1[1])}, rel=1e-6
    )


def test_an_absent_class_is_left_out_of_the_macro_f1() -> None:
    gold = predicted = torch.tensor([0, 1, 1])
    assert scores_of(gold, predicted)["macro_f1"] == 1.0


def test_false_positives_on_excluded_classes_count_unlike_with_ignore_index_in_torchmetrics() -> None:
    gold, predicted = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1])
    assert float(multiclass_f1_score(predicted, gold, num_classes=3, average="micro", ignore_index=1)) == 1
    assert scores_of(gold, predicted, excluded=["no"])["micro_f1"] == pytest.approx(2 / 3)


def scores_of(gold: Tensor, predicted: Tensor, **options: Any) -> dict[str, float]:
    """The scores of predictions and gold classes given as indices."""
    rows = [TextRow(str(i), str(i), "a", label=LABELS[c]) for i, c in enumerate(gold.tolist())]
    return has.score(make(**options), [{"label": LABELS[c]} for c in predicted.tolist()], rows)


@pytest.mark.parametrize(
    "metric",
    ["accuracy", "macro_f1", "micro_f1", "f1", "mcc", "kappa", "sensitivity", "specificity", "ppv", "npv"],
)
@given(corpora=has.corpora(9))
@settings(max_examples=25, deadline=None)
def test_many_corpora_score_like_each_alone(metric: str, corpora: has.Corpora) -> None:
    head = make(excluded=["no"], positive="maybe", primary_metric=metric)
    has.assert_many_corpora_score_like_each_alone(head, corpora)


def test_the_report_has_every_class_and_the_confusion() -> None:
    report = make().report(torch.tensor([2, 1, 0, 0, 3, 0, 0, 0, 0]))
    assert report.classes == LABELS
    assert report.confusion == [[2, 1, 0], [0, 3, 0], [0, 0, 0]]
    assert report.per_class["no"] == pytest.approx({"precision": 0.75, "recall": 1.0, "f1": 6 / 7, "support": 3})
    assert report.per_class["maybe"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0.0}


@pytest.mark.parametrize(
    ("label", "got"),
    [
        ("mabye", ["'mabye'", "'maybe'"]),
        ("unsure", ["'unsure'"]),
        ("Mr Miller was ill", ["text", "17"]),
        ("", ["text", "0"]),
        (1.0, ["number", "1.0"]),
        (("yes", "no"), ["list", "2"]),
    ],
)
def test_a_wrong_label_is_reported_with_the_choices(label: Any, got: list[str]) -> None:
    problem = make().check(TextRow("1", "1", "a", label=label))
    assert problem is not None
    assert all(name in problem for name in [*LABELS, *got])
    assert "Miller" not in problem


def test_valid_and_missing_labels_are_no_problem() -> None:
    assert [make().check(row) for row in [*PAIRS, *UNLABELLED]] == [None] * 10
    assert [make().label_counts(row) for row in PAIRS[:2]] == [{"yes": 1}, {"no": 1}]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_weights": {"mabye": 2.0}}, r"class_weights.*yes, no, maybe.*'mabye'"),
        ({"class_weights": {"maybe": 0.0}}, r"class_weights\.maybe.*got 0\.0"),
        ({"class_weights": {"maybe": float("nan")}}, r"class_weights\.maybe.*got nan"),
        ({"class_weights": {"maybe": float("inf")}}, r"class_weights\.maybe.*got inf"),
        ({"excluded": ["non"]}, r"excluded.*yes, no, maybe.*'non'"),
        ({"excluded": LABELS}, "excluded"),
        ({"positive": "Yes"}, "positive.*'Yes'"),
        ({"metrics": ["auroc", "sensitivity"]}, "metrics.*sensitivity.*positive"),
        ({"primary_metric": "npv"}, "primary_metric.*npv.*positive"),
        ({"metrics": ["auroq"]}, "metrics.*auprc.*'auroq'.*'auroc'"),
        ({"threshold": 0.5}, "threshold.*positive"),
        ({"threshold": 1.5, "positive": "yes"}, r"threshold.*1\.5"),
        ({"threshold": {"sensitvity": 0.9}, "positive": "yes"}, "threshold.*'sensitvity'.*'sensitivity'"),
    ],
)
def test_options_with_unknown_classes_or_invalid_weights_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.parametrize(("labels", "message"), [(["yes"], "at least 2.*got 1"), (["a", "b", "a"], "unique.*got a ")])
def test_labels_must_be_at_least_two_and_unique(labels: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Classification(labels, has.HIDDEN)


def test_the_majority_baseline_predicts_the_most_frequent_class_of_training() -> None:
    train = [TextRow(str(i), str(i), "a", label=label) for i, label in enumerate(["no", "no", "yes", "maybe"])]
    [prediction] = make().baselines(train)["majority"](SINGLES[:1])
    assert prediction == {"label": "no", "scores": {"yes": 0.25, "no": 0.5, "maybe": 0.25}}


def test_the_tfidf_baseline_finds_a_planted_word_and_a_planted_overlap() -> None:
    words = ["fever", "nausea", "cancer", "gene", "cell", "drug", "headache", "bleeding"]
    train = [
        TextRow(f"{i}{j}", "d", f"{one} of a patient", other, "yes" if one == other else "no")
        for i, one in enumerate(words[:6])
        for j, other in enumerate(words[:6])
        if i == j or (i + j) % 3 == 0
    ]
    predictions = make().baselines(train)["tfidf"](train)
    assert [p["label"] for p in predictions] == [row.label for row in train]
    single = [TextRow(str(i), "d", f"{w} {'not' if i % 2 else 'is'}", label=LABELS[i % 2]) for i, w in enumerate(words)]
    unseen = [TextRow("x", "d", "not protein", label="no"), TextRow("y", "d", "is protein", label="yes")]
    assert [p["label"] for p in make().baselines(single)["tfidf"](unseen)] == ["no", "yes"]


def test_with_one_class_or_none_there_are_fewer_baselines() -> None:
    assert set(make().baselines(SINGLES[:1])) == {"majority"}
    assert make().baselines(UNLABELLED) == {}


def test_class_weights_are_not_saved_in_a_checkpoint() -> None:
    assert set(make(class_weights={"no": 2.0}).state_dict()) == set(make().state_dict())


# --- metrics on request -----------------------------------------------------------------------------------------------


def drawn(seed: int, size: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Gold classes, [N], and probabilities with ties, [N, C]."""
    rng = np.random.default_rng(seed)
    probabilities = rng.integers(1, 5, (size, 3)).astype(float)
    return rng.integers(0, 3, size), probabilities / probabilities.sum(1, keepdims=True)


def rows_of(gold: np.ndarray) -> list[TextRow]:
    return [TextRow(str(i), str(i), "a", label=LABELS[c]) for i, c in enumerate(gold)]


def predictions_of(head: Classification, rows: Sequence[TextRow], probabilities: np.ndarray) -> list[Any]:
    return [head.decode(row, [{}], [torch.from_numpy(line)]) for row, line in zip(rows, probabilities, strict=True)]


@pytest.mark.parametrize("seed", range(5))
def test_metrics_on_request_equal_scikit_learn(seed: int) -> None:
    gold, probabilities = drawn(seed)
    head = make(metrics=["auroc", "auprc", "mcc", "kappa"], primary_metric="mcc")
    rows, predicted = rows_of(gold), probabilities.argmax(1)
    scores = has.score(head, predictions_of(head, rows, probabilities), rows)
    assert head.metrics == ("mcc", "accuracy", "macro_f1", "micro_f1", "auroc", "auprc", "kappa")
    assert list(scores) == list(head.metrics)
    one_hot = np.eye(3)[gold]
    expected = {
        "auroc": roc_auc_score(gold, probabilities, multi_class="ovr", average="macro"),
        "auprc": average_precision_score(one_hot, probabilities, average="macro"),
        "mcc": matthews_corrcoef(gold, predicted),
        "kappa": cohen_kappa_score(gold, predicted),
        "accuracy": accuracy_score(gold, predicted),
    }
    assert {name: scores[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_metrics_of_a_positive_class_equal_scikit_learn(seed: int) -> None:
    gold, probabilities = drawn(seed)
    head = make(positive="maybe", threshold=0.4, metrics=["auroc", "auprc"])
    rows = rows_of(gold)
    scores = has.score(head, predictions_of(head, rows, probabilities), rows)
    is_gold, is_predicted = gold == 2, probabilities[:, 2] >= np.float32(0.4)
    expected = {
        "auroc": roc_auc_score(is_gold, probabilities[:, 2]),
        "auprc": average_precision_score(is_gold, probabilities[:, 2]),
        "sensitivity": recall_score(is_gold, is_predicted),
        "specificity": recall_score(~is_gold, ~is_predicted),
        "ppv": precision_score(is_gold, is_predicted),
        "npv": precision_score(~is_gold, ~is_predicted),
        "f1": f1_score(is_gold, is_predicted),
    }
    assert {name: scores[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["auroc", "auprc", "accuracy", "ppv"])
@pytest.mark.parametrize("positive", ["yes", None])
def test_many_corpora_with_probabilities_score_like_each_alone(metric: str, positive: str | None) -> None:
    if positive is None and metric == "ppv":
        metric = "kappa"
    head = make(positive=positive, primary_metric=metric, metrics=["auroc"])
    gold, probabilities = drawn(3, 12)
    rows = rows_of(gold)
    counts = [head.counts(p, r) for p, r in zip(predictions_of(head, rows, probabilities), rows, strict=True)]
    times = torch.from_numpy(np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), 6))
    has.assert_many_corpora_score_like_each_alone(head, (torch.cat(counts), torch.cat([times, times[:1] * 0])))


def test_below_the_threshold_the_most_probable_other_class_is_predicted() -> None:
    head = make(positive="yes", threshold=0.7)
    lines = torch.tensor([[0.6, 0.1, 0.3], [0.8, 0.1, 0.1], [0.1, 0.5, 0.4]])
    assert [head.decode(SINGLES[0], [{}], [line])["label"] for line in lines] == ["maybe", "yes", "no"]


def test_an_operating_point_is_chosen_on_dev_and_reported() -> None:
    head = make(positive="yes", threshold={"sensitivity": 0.9})
    assert head.metrics[-4:] == ("sensitivity", "specificity", "ppv", "npv")
    gold, probabilities = drawn(1)
    rows = rows_of(gold)
    data = [head.tuning_data(r, [{}], [torch.from_numpy(p)]) for r, p in zip(rows, probabilities, strict=True)]
    head.tune(torch.cat([one for one in data if one is not None]))
    fpr, tpr, _ = roc_curve(gold == 0, probabilities[:, 0].astype(np.float32), drop_intermediate=False)
    scores = has.score(head, predictions_of(head, rows, probabilities), rows)
    assert scores["sensitivity"] >= 0.9
    assert scores["specificity"] == pytest.approx(1 - fpr[tpr >= 0.9].min())
    counts = has.reduce_counts(head, [head.counts({"label": "no"}, row) for row in rows])
    assert head.report(counts).per_class["yes"]["threshold"] == pytest.approx(float(head.threshold))
    assert "threshold" not in head.report(counts).per_class["no"]


def test_a_checkpoint_contains_a_threshold_from_dev_but_no_fixed_one() -> None:
    assert "threshold" in make(positive="yes", threshold="tuned").state_dict()
    assert "threshold" not in make(positive="yes", threshold=0.3).state_dict()
    assert not make(positive="yes", threshold=0.3).is_tuned
    assert not make().is_tuned


def test_the_proportions_of_a_document_are_counts_of_its_cases() -> None:
    head = make(positive="yes", metrics=["ppv"])
    counts = torch.stack([head.counts({"label": guess}, SINGLES[0]) for guess in ("yes", "no", "no")]).sum(0)[None]
    found = {name: (int(part), int(whole)) for name, (part, whole) in head.proportions(counts).items()}
    assert found == {"accuracy": (1, 3), "ppv": (1, 1)}
