"""From logits to relations, and from relations to scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    cohen_kappa_score,
    f1_score,
    matthews_corrcoef,
    precision_score,
    recall_score,
)

from heads import TextRow
from heads.relation import RelationClassification
from mtl.evaluation.intervals import wilson
from tests.heads import properties as has
from tests.heads.pairs import LABELS, READY, ROWS, SENTENCES, make, row, score


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30))
def test_scores_equal_scikit_learn(outcomes: list[tuple[int, int]]) -> None:
    head = make(**READY)
    counts = sum(
        (
            head.counts({"label": LABELS[guess]}, TextRow("x", "x", "a", label=LABELS[truth]))
            for truth, guess in outcomes
        ),
        start=torch.zeros(9, dtype=torch.long),
    )
    truth, guess = [t for t, _ in outcomes], [g for _, g in outcomes]
    options: dict[str, Any] = {"labels": [0, 1], "average": "micro", "zero_division": 0}
    present = sorted({*truth, *guess} - {2})
    assert head.score(counts) == pytest.approx(
        {
            "micro_f1": f1_score(truth, guess, **options),
            "macro_f1": f1_score(truth, guess, **options | {"labels": present, "average": "macro"}) if present else 0.0,
            "precision": precision_score(truth, guess, **options),
            "recall": recall_score(truth, guess, **options),
            "accuracy": accuracy_score(truth, guess),
        }
    )
    report = head.report(counts)
    assert set(report.per_class) == {"cause", "treat"}
    assert report.classes == LABELS
    wanted = f1_score(truth, guess, labels=[0, 1], average=None, zero_division=0)
    assert [report.per_class[name]["f1"] for name in LABELS[:2]] == pytest.approx(wanted.tolist())


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30))
def test_metrics_on_request_equal_scikit_learn(outcomes: list[tuple[int, int]]) -> None:
    head = make(**READY, metrics=["mcc", "kappa", "cooccurrence_fpr"])
    rows = [TextRow("x", "x", "a", label=LABELS[truth]) for truth, _ in outcomes]
    scores = has.score(head, [{"label": LABELS[guess]} for _, guess in outcomes], rows)
    truth, guess = zip(*outcomes, strict=True)
    several = len({*truth, *guess}) > 1  # scikit-learn divides by 0 for one class
    assert scores["mcc"] == pytest.approx(matthews_corrcoef(truth, guess) if several else 0.0, abs=1e-12)
    assert scores["kappa"] == pytest.approx(cohen_kappa_score(truth, guess) if several else 0.0, abs=1e-12)
    # A row that is a sentence has one candidate.
    guesses = [g for t, g in outcomes if t == 2]
    assert scores["cooccurrence_fpr"] == pytest.approx(np.mean([g != 2 for g in guesses]) if guesses else 0.0)


def test_co_occurring_pairs_that_are_predicted_as_related_count_in_sentences_without_relations() -> None:
    text = "aspirin reduces fever . the headache was not with nausea or warfarin ."
    found = row("a", text, ("aspirin", "fever", "treat"), sentences=((0, 23), (24, len(text))))
    head = make(metrics=["cooccurrence_fpr"])
    # The second sentence has the pairs of warfarin with headache and with nausea.
    assert score(head, found, ("aspirin", "fever", "cause"))["cooccurrence_fpr"] == 0.0
    assert score(head, found, ("warfarin", "nausea", "cause"))["cooccurrence_fpr"] == 0.5
    one_sentence = row("a", text, ("aspirin", "fever", "treat"))
    assert score(head, one_sentence, ("warfarin", "nausea", "cause"))["cooccurrence_fpr"] == 0.0
    assert head.lower_is_better >= {"cooccurrence_fpr"}
    # No error among two pairs of a row, and no pairs at all, show little or nothing.
    for of, highest in ((found, 0.79), (one_sentence, 1.0)):
        counts = head.counts({"relations": []}, of)[None]
        part, whole = head.proportions(counts)["cooccurrence_fpr"]
        interval = wilson(part.numpy(), whole.numpy())
        assert interval.low == 0
        assert interval.high == pytest.approx(highest, abs=0.01)
    assert len(make().counts({"relations": []}, found)) == 9


@pytest.mark.parametrize("metric", [*RelationClassification.metrics, "mcc", "kappa"])
@given(corpora=has.corpora(9))
@settings(max_examples=25, deadline=None)
def test_many_corpora_score_like_each_alone(metric: str, corpora: has.Corpora) -> None:
    has.assert_many_corpora_score_like_each_alone(make(primary_metric=metric), corpora)


def test_predicting_only_the_negative_class_scores_0_except_for_accuracy() -> None:
    head = make()
    counts = sum((head.counts({"relations": []}, text) for text in ROWS), start=torch.zeros(9, dtype=torch.long))
    scores = head.score(counts)
    assert scores.pop("accuracy") == pytest.approx(3 / 8)
    assert set(scores.values()) == {0.0}


def test_scores_of_a_right_and_a_wrong_pair_by_hand() -> None:
    scores = score(make(), ROWS[0], ("aspirin", "fever", "treat"), ("aspirin", "headache", "cause"))
    assert (scores["precision"], scores["recall"], scores["micro_f1"]) == (0.5, 0.5, 0.5)


def test_a_gold_relation_that_is_not_a_candidate_is_missed(tokenizer: Any) -> None:
    text = row("x", "aspirin or fever . headache", ("aspirin", "fever", "treat"), ("aspirin", "headache", "cause"),
               sentences=((0, 18), (19, 27)))  # fmt: skip
    head = make()
    assert len(has.encode(head, [text], tokenizer, training=False)) == 1
    scores = score(head, text, ("aspirin", "fever", "treat"))
    assert (scores["precision"], scores["recall"]) == (1.0, 0.5)
    assert head.label_counts(text) == {"treat": 1, "cause": 1}


def test_a_row_whose_only_relation_is_not_a_candidate_is_labelled_and_scored() -> None:
    text = row("x", "aspirin . headache", ("aspirin", "headache", "cause"), sentences=((0, 9), (10, 18)))
    head = make()
    assert head.is_labelled(text)
    assert int(head.counts({"relations": []}, text).sum()) == 1


def test_a_prediction_on_a_pair_that_was_not_annotated_is_not_counted() -> None:
    text = row("x", "aspirin , fever , nausea", ("aspirin", "fever", None), ("aspirin", "nausea", "cause"))
    scores = score(make(), text, ("aspirin", "fever", "treat"), ("aspirin", "nausea", "cause"))
    assert scores["micro_f1"] == 1.0


def test_a_corpus_without_some_types_still_has_false_positives_of_the_others() -> None:
    """A candidate without a relation may have a type that is not annotated, but it has none of those that are."""
    words = "aspirin , fever , nausea"
    text = row("x", words, ("aspirin", "fever", "cause"), annotated=("cause",))
    head = make()
    right, wrong, unknown = (
        ("aspirin", "fever", "cause"),
        ("aspirin", "nausea", "cause"),
        ("aspirin", "nausea", "treat"),
    )
    assert score(head, text, right, wrong)["precision"] == 0.5
    assert score(head, text, right, unknown)["precision"] == 1.0
    assert score(head, text, unknown)["recall"] == 0.0
    assert score(head, text, right, wrong)["accuracy"] == 0.5
    assert score(head, text, right, unknown)["accuracy"] == 1.0, "what cannot be judged is left out"
    none = row("y", words, annotated=("cause",))
    assert head.is_labelled(none)
    assert score(head, none, wrong)["precision"] == 0.0
    assert head.label_counts(none) == {}, "nothing is learned from it"
    assert not head.is_labelled(row("z", words, annotated=("Chemical",)))


def test_a_pair_with_two_types_is_trained_on_both_and_a_prediction_matches_one(tokenizer: Any) -> None:
    text = row("x", "aspirin , fever", ("aspirin", "fever", "cause"), ("aspirin", "fever", "treat"))
    head = make()
    (example,) = has.encode(head, [text], tokenizer)
    assert (example["label"], example["targets"]) == ([0, 1], 2)
    scores = score(head, text, ("aspirin", "fever", "treat"))
    assert (scores["precision"], scores["recall"]) == (1.0, 0.5)
    assert head.label_counts(text) == {"cause": 1, "treat": 1}


@pytest.mark.parametrize(
    ("gold", "found", "precision", "recall"),
    [
        (["cause"], ["treat", "cause"], 0.5, 1.0),
        (["cause", "treat"], ["cause", "treat"], 1.0, 1.0),
        ([], ["cause", "treat"], 0.0, 0.0),
        (["cause"], ["treat"], 0.0, 0.0),
        (["cause"], ["cause", "cause", "none"], 1.0, 1.0),
    ],
)
def test_every_predicted_type_of_a_pair_counts_once_in_any_order(
    gold: list[str], found: list[str], precision: float, recall: float
) -> None:
    """As sets of triples count; other systems predict several types for one pair."""
    text = row("x", "aspirin , fever", *(("aspirin", "fever", name) for name in gold))
    for names in (found, found[::-1]):
        scores = score(make(), text, *(("aspirin", "fever", name) for name in names))
        assert (scores["precision"], scores["recall"]) == (precision, recall)


@given(*2 * [st.lists(st.sampled_from(LABELS[:2]), unique=True)])
def test_the_counts_of_a_pair_are_those_of_two_sets_of_triples(gold: list[str], found: list[str]) -> None:
    text = row("x", "aspirin , fever", *(("aspirin", "fever", name) for name in gold))
    relations = [{"head": "aspirin", "tail": "fever", "type": name} for name in found]
    confusion = make().counts({"relations": relations}, text).view(3, 3)
    right = int(confusion.diagonal()[:2].sum())
    assert right == len({*gold} & {*found})
    assert (int(confusion[:, :2].sum()), int(confusion[:2].sum())) == (len(found), len(gold))


def test_direction_matters_only_if_pairs_are_directed() -> None:
    text = row("x", "aspirin , fever", ("aspirin", "fever", "cause"))
    directed = make(input="markers", entity_types=["Chemical", "Disease"], directed=True)
    assert score(directed, text, ("fever", "aspirin", "cause"))["micro_f1"] == 0.0
    assert score(make(), text, ("fever", "aspirin", "cause"))["micro_f1"] == 1.0


def test_predictions_contain_the_pairs_that_are_not_negative(tokenizer: Any) -> None:
    head = make()
    examples = has.encode(head, [ROWS[0]], tokenizer, training=False)
    logits = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 5.0]])
    prediction = head.decode(ROWS[0], examples, head.outputs(logits, torch.ones(2, 3), {}))
    ((relation),) = prediction["relations"]
    assert relation["score"] == pytest.approx(float(logits[0].softmax(0)[1]))
    assert (relation["head"], relation["tail"], relation["type"]) == ("aspirin", "fever", "treat")


def test_a_sentence_with_placeholders_gets_a_class(tokenizer: Any) -> None:
    (prediction,) = has.predict(make(**READY), SENTENCES[:1], tokenizer)
    assert set(prediction["scores"]) == set(LABELS)
    assert prediction["label"] == max(prediction["scores"], key=prediction["scores"].get)
    assert sum(prediction["scores"].values()) == pytest.approx(1.0)


def test_relations_that_are_no_candidates_are_unreachable(tokenizer: Any) -> None:
    head = make()
    two = row("a", "aspirin . fever", ("aspirin", "fever", "treat"), sentences=((0, 9), (10, 15)))
    both = row("b", "aspirin for fever", ("aspirin", "fever", "treat"), ("aspirin", "fever", "cause"))
    for one, missed in ((two, 1), (both, 1), (ROWS[0], 0), (ROWS[2], 0)):
        assert head.unreachable(one, has.encode(head, [one], tokenizer, training=False)) == missed
