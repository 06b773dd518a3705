"""Any number of labels for a text or a pair."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score
from torch import Tensor
from torchmetrics.functional.classification import multilabel_exact_match, multilabel_f1_score

from heads import IGNORE, TextRow
from heads.multilabel import Multilabel, best_threshold
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


@pytest.mark.parametrize("metric", Multilabel.metrics)
@given(corpora=has.corpora(15, unit=1 / 3))  # the F1 of a row is a fraction
@settings(max_examples=25, deadline=None)
def test_many_corpora_score_like_each_alone(metric: str, corpora: has.Corpora) -> None:
    has.assert_many_corpora_score_like_each_alone(make(primary_metric=metric), corpora)


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


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.125, 0.375, 0.5, 0.625, 0.875, 1.0]) | st.floats(0, 1, width=32), st.booleans()
        )
    )
)
def test_no_threshold_is_better_than_the_tuned_one(pairs: list[tuple[float, bool]]) -> None:
    probabilities = torch.tensor([p for p, _ in pairs])
    gold = torch.tensor([g for _, g in pairs], dtype=torch.bool)
    tuned = best_threshold(probabilities, gold)
    assert 0 <= tuned <= 1
    best = f1_from(tuned, pairs)
    others = [0.5, *(p for p, _ in pairs), *np.linspace(0.01, 1, 40).tolist()]
    assert all(f1_from(other, pairs) <= best for other in others)
    if f1_from(0.5, pairs) == best:
        assert tuned == 0.5


def f1_from(threshold: float, pairs: list[tuple[float, bool]]) -> float:
    predicted = [p >= threshold for p, _ in pairs]
    true = sum(said and gold for said, (_, gold) in zip(predicted, pairs, strict=True))
    size = sum(predicted) + sum(gold for _, gold in pairs)
    return 2 * true / size if size else 0.0


def test_of_equally_good_thresholds_the_one_nearest_to_one_half_is_chosen() -> None:
    # In the gap (0.1, 0.2], three are predicted and two are right: 2*2/(3+2); in (0.6, 0.9], one is: 2*1/(1+2).
    assert best_threshold(torch.tensor([0.1, 0.2, 0.6, 0.9]), torch.tensor([0, 1, 0, 1]).bool()) == pytest.approx(0.15)
    # (0.1, 0.2] and (0.6, 0.7] are equally good: 2*2/(4+2) = 2*1/(1+2). Their midpoints are 0.15 and 0.65.
    probabilities = torch.tensor([0.1, 0.2, 0.3, 0.6, 0.7])
    assert best_threshold(probabilities, torch.tensor([0, 1, 0, 0, 1]).bool()) == pytest.approx(0.65)


def test_without_dev_rows_or_positives_the_threshold_is_one_half() -> None:
    assert best_threshold(torch.zeros(0), torch.zeros(0).bool()) == 0.5
    assert best_threshold(torch.tensor([0.2, 0.9]), torch.zeros(2).bool()) == 0.5


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
    assert [tuple(d.shape) for d in data if d is not None] == [(1, 6), (1, 6), (1, 6), (0, 6)]
    head.tune(torch.cat([d for d in data if d is not None]))
    assert head.thresholds.tolist() == pytest.approx([0.25, 0.65, 0.85])
    assert [head.decode(rows[i], [{}], [probabilities[i]])["labels"] for i in range(3)] == [
        ["immunity"],
        ["growth"],
        ["death"],
    ]


def test_tuning_again_replaces_the_first_thresholds() -> None:
    head = make(threshold="tuned")
    head.tune(torch.tensor([[0.1] * 3 + [1.0] * 3]))
    head.tune(torch.zeros(0, 6))
    assert head.thresholds.tolist() == [0.5] * 3


def test_a_checkpoint_contains_tuned_thresholds_but_no_fixed_ones() -> None:
    head, other = make(threshold="tuned"), make(threshold="tuned")
    head.tune(torch.tensor([[0.1, 0.6, 0.9] + [1.0] * 3, [0.05, 0.7, 0.8] + [0.0] * 3]))
    other.load_state_dict(head.state_dict())
    assert torch.equal(other.thresholds, head.thresholds)
    assert not torch.equal(head.thresholds, torch.full((3,), 0.5))
    assert "thresholds" not in make(threshold=0.3).state_dict()


def test_a_fixed_threshold_is_not_tuned() -> None:
    head = make(threshold=0.25)
    assert head.tuning_data(ROWS[0], [{}], [torch.rand(3)]) is None
    head.tune(torch.tensor([[0.1] * 3 + [1.0] * 3]))
    assert head.thresholds.tolist() == [0.25] * 3


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0, float("nan")])
def test_a_threshold_must_be_between_0_and_1(threshold: float) -> None:
    with pytest.raises(ValueError, match=f"threshold.*{threshold}"):
        make(threshold=threshold)


# --- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "got"),
    [
        (("growth", "deth"), ["'deth'", "'death'", *LABELS]),
        (("growth", "growth"), ["unique", "1"]),
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
