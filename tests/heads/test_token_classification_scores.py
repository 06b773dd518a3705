"""From logits to entities, and from entities to scores."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from sklearn.metrics import precision_recall_fscore_support
from torch import Tensor

from heads import Entity, Prediction, SpanRow
from heads._tags import tag_names, to_spans
from heads.token_classification import TokenClassification
from tests.heads import properties as has
from tests.heads.tagging import make, prediction_of, row_of, spans_of


def logits_for(head: TokenClassification, tags: Sequence[str], margin: float = 5.0) -> Tensor:
    logits = torch.zeros(1, len(tags), len(head.tags))
    for word, tag in enumerate(tags):
        logits[0, word, head.tags.index(tag)] = margin
    return logits


def decode_tags(head: TokenClassification, row: SpanRow, tags: Sequence[str], tokenizer: Any) -> Prediction:
    examples = has.encode(head, [row], tokenizer, training=False)
    mask, fields = has.collate(head, examples)
    return head.decode(row, examples, head.outputs(logits_for(head, tags), mask, fields))


def test_an_i_without_a_b_is_no_entity_with_the_linear_decoder(tokenizer: Any) -> None:
    row = row_of("aspirin in cancer patients")
    tags = ["I-Drug", "O", "B-Disease", "I-Drug"]
    assert spans_of(decode_tags(make(), row, tags, tokenizer)) == [(11, 17, "Disease")]


def test_the_crf_predicts_only_tags_that_follow_the_scheme(tokenizer: Any) -> None:
    row = row_of("aspirin in cancer patients")
    head = make(decoder="crf")
    logits = logits_for(head, ["I-Drug", "O", "O", "O"])
    logits[0, 0, head.tags.index("B-Drug")] = 4.0
    examples = has.encode(head, [row], tokenizer, training=False)
    mask, fields = has.collate(head, examples)
    [entity] = head.decode(row, examples, head.outputs(logits, mask, fields))["entities"]
    assert (entity["start"], entity["end"], entity["type"]) == (0, 7, "Drug")
    assert 0.85 < entity["score"] < 1.0  # exp(4) against O and B-Disease; no sequence may begin with I


def test_the_score_of_an_entity_is_the_mean_probability_of_its_tags(tokenizer: Any) -> None:
    row = row_of("aspirin in cancer patients")
    head = make()
    logits = logits_for(head, ["O", "O", "B-Disease", "I-Disease"])
    logits[0, 3] /= 2
    examples = has.encode(head, [row], tokenizer, training=False)
    mask, fields = has.collate(head, examples)
    [entity] = head.decode(row, examples, head.outputs(logits, mask, fields))["entities"]
    sure, unsure = np.exp(5) / (np.exp(5) + 4), np.exp(2.5) / (np.exp(2.5) + 4)
    assert entity["score"] == pytest.approx((sure + unsure) / 2, abs=1e-5)


@pytest.mark.parametrize("metric", TokenClassification.metrics)
@given(corpora=has.corpora(15))
@settings(max_examples=25, deadline=None)
def test_many_corpora_score_like_each_alone(metric: str, corpora: has.Corpora) -> None:
    has.assert_many_corpora_score_like_each_alone(make(primary_metric=metric), corpora)


def test_counts_are_the_confusion_of_spans_and_the_words_of_each_type() -> None:
    row = row_of(
        "aspirin in cancer patients with fever",
        ("Drug", "aspirin"),
        ("Disease", "cancer patients"),
        ("Disease", "fever"),
    )
    prediction = prediction_of((0, 7, "Disease"), (11, 17, "Disease"), (32, 37, "Disease"))
    counts = make().counts(prediction, row)
    #                              Drug       Disease    none          found   spurious missed
    assert counts.tolist() == [*(0, 1, 0), *(0, 1, 1), *(0, 1, 0), *(0, 2), *(0, 1), *(1, 1)]
    scores = make().score(counts)
    assert scores == pytest.approx(
        {
            "f1": 1 / 3,
            "precision": 1 / 3,
            "recall": 1 / 3,
            "macro_f1": (0 + 2 / 5) / 2,
            "word_macro_f1": (0 + 4 / 6) / 2,
            "word_micro_f1": 4 / 7,
        }
    )
    report = make().report(counts)
    assert report.classes == ("Drug", "Disease", "none")
    assert report.confusion == [[0, 1, 0], [0, 1, 1], [0, 1, 0]]
    assert report.per_class["Disease"] == pytest.approx(
        {"precision": 1 / 3, "recall": 1 / 2, "f1": 2 / 5, "support": 2, "word_f1": 4 / 6}
    )


def test_of_types_at_one_span_equal_ones_are_paired_first() -> None:
    labels = ["A", "B", "C"]
    spans = ((0, 6),)
    row = SpanRow("1", "d", "cancer", entities=(Entity("1", "A", spans), Entity("2", "B", spans)))
    counts = make(labels=labels).counts(prediction_of((0, 6, "B"), (0, 6, "C")), row)
    confusion = counts[:16].view(4, 4)
    assert confusion.nonzero().tolist() == [[0, 2], [1, 1]]


def test_a_repeated_entity_counts_once() -> None:
    row = SpanRow("1", "d", "cancer", entities=(Entity("1", "Drug", ((0, 6),)), Entity("2", "Drug", ((0, 6),))))
    counts = make().counts(prediction_of((0, 6, "Drug"), (0, 6, "Drug")), row)
    assert int(counts[:9].sum()) == 1


def test_partial_matches_are_scored_on_request() -> None:
    row = SpanRow("1", "d", "severe chest pain", entities=(Entity("1", "Disease", ((0, 17),)),))
    prediction = prediction_of((7, 17, "Disease"))
    head = make(metrics=["partial_f1", "type_recall"], primary_metric="strict_f1")
    scores = head.score(head.counts(prediction, row))
    assert head.metrics[0] == "strict_f1"
    assert set(scores) == {*TokenClassification.metrics, "strict_f1", "partial_f1", "type_recall"}
    assert (scores["strict_f1"], scores["partial_f1"], scores["type_recall"]) == (0.0, 0.5, 1.0)
    assert len(make().counts(prediction, row)) == 15


def test_predicted_tags_without_a_beginning_are_entities_only_if_spans_are_lenient(tokenizer: Any) -> None:
    row, tags = row_of("aspirin fever cancer"), ["I-Drug", "O", "I-Disease"]
    assert decode_tags(make(), row, tags, tokenizer) == {"entities": []}
    lenient = decode_tags(make(spans="lenient"), row, tags, tokenizer)
    assert spans_of(lenient) == [(0, 7, "Drug"), (14, 20, "Disease")]


@pytest.mark.parametrize("seed", range(3))
def test_strict_scores_of_tagged_entities_are_those_of_exact_matches(seed: int, tokenizer: Any) -> None:
    head = make(metrics=["strict_f1", "strict_precision", "strict_recall", "exact_f1", "partial_f1", "type_f1"])
    generator = np.random.default_rng(seed)
    names = tag_names(head.labels, "BIO")
    entities = to_spans(random_tags(generator, names, 40), "BIO")
    row = SpanRow(
        "1",
        "d",
        "fever " * 40,
        entities=tuple(Entity(str(i), s.type, ((6 * s.start, 6 * s.end - 1),)) for i, s in enumerate(entities)),
    )
    scores = head.score(head.counts(decode_tags(head, row, random_tags(generator, names, 40), tokenizer), row))
    for name in ("f1", "precision", "recall"):
        assert scores[f"strict_{name}"] == pytest.approx(scores[name])
    assert scores["strict_f1"] <= scores["exact_f1"] <= scores["partial_f1"]
    assert scores["strict_f1"] <= scores["type_f1"]


def random_tags(generator: np.random.Generator, names: Sequence[str], size: int) -> list[str]:
    weights = np.array([3.0, *[1.0] * (len(names) - 1)])
    return [str(tag) for tag in generator.choice(names, size=size, p=weights / weights.sum())]


def seqeval_scores(gold: list[list[str]], predicted: list[list[str]], scheme: Any, average: str) -> dict[str, float]:
    from seqeval.metrics import f1_score, precision_score, recall_score

    metrics = {"precision": precision_score, "recall": recall_score, "f1": f1_score}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval warns about types that are never predicted
        return {
            name: float(metric(gold, predicted, average=average, mode="strict", scheme=scheme, zero_division=0))
            for name, metric in metrics.items()
        }


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scheme", ["BIO", "BIOUL"])
def test_scores_equal_those_of_seqeval_in_strict_mode(scheme: Any, seed: int, tokenizer: Any) -> None:
    from seqeval.scheme import BILOU, IOB2

    head = make(labels=("Drug", "Disease", "Gene"), scheme=scheme)
    generator = np.random.default_rng(seed)
    names = tag_names(head.labels, scheme)
    rows, predictions, gold, predicted = [], [], [], []
    for number in range(30):
        size = int(generator.integers(1, 14))
        wanted = random_tags(generator, names, size)
        noise = random_tags(generator, names, size)
        got = [tag if generator.random() < 0.7 else other for tag, other in zip(wanted, noise, strict=True)]
        spans = to_spans(wanted, scheme)  # the tags need not follow the scheme; seqeval reads them strictly too
        entities = tuple(Entity(str(i), s.type, ((6 * s.start, 6 * s.end - 1),)) for i, s in enumerate(spans))
        row = SpanRow(str(number), "d", "fever " * size, entities=entities)
        rows.append(row)
        predictions.append(decode_tags(head, row, got, tokenizer))
        gold.append(wanted)
        predicted.append(got)
    counts = has.reduce_counts(head, [head.counts(p, row) for p, row in zip(predictions, rows, strict=True)])
    scores = head.score(counts)
    oracle = {"BIO": IOB2, "BIOUL": BILOU}[scheme]
    micro = seqeval_scores(gold, predicted, oracle, "micro")
    assert {name: scores[name] for name in micro} == pytest.approx(micro)
    assert 0 < micro["f1"] < 1
    assert scores["macro_f1"] == pytest.approx(seqeval_scores(gold, predicted, oracle, "macro")["f1"])


@pytest.mark.parametrize("seed", range(3))
def test_word_scores_equal_those_of_scikit_learn(seed: int, tokenizer: Any) -> None:
    head = make(labels=("P", "I", "O"), scheme="IO")
    generator = np.random.default_rng(seed)
    names = tag_names(head.labels, "IO")
    gold, predicted = random_tags(generator, names, 40), random_tags(generator, names, 40)
    entities = tuple(
        Entity(str(i), s.type, ((2 * s.start, 2 * s.end - 1),)) for i, s in enumerate(to_spans(gold, "IO"))
    )
    row = SpanRow("1", "d", "a " * 40, entities=entities)
    scores = head.score(head.counts(decode_tags(head, row, predicted, tokenizer), row))
    for average in ("macro", "micro"):
        expected = precision_recall_fscore_support(gold, predicted, labels=names[1:], average=average, zero_division=0)
        assert scores[f"word_{average}_f1"] == pytest.approx(expected[2])
