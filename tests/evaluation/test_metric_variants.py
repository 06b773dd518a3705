"""Golden scores of every variant, by hand and against other implementations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr
from seqeval.metrics import f1_score as seqeval_f1
from seqeval.scheme import IOB2
from sklearn.metrics import accuracy_score, f1_score

from heads import Entity, Head, Prediction, Relation, Row, SpanRow, TextRow
from heads._tags import Scheme, TypedSpan, to_spans, to_tags
from mtl.config.mixture import TaskSpec, build_head
from mtl.evaluation.baselines import score_predictions
from mtl.evaluation.metric_variants import VARIANTS, scored_by, variant_problems, variants_of

Golden = Callable[[], tuple[float, float]]
"""Returns a score of ours and the right one."""

DATA = {"reader": "jsonl", "path": "none"}


def head_of(variant: str, labels: Sequence[str], **options: Any) -> Head:
    """The head that a suite builds for a task with a variant."""
    chosen = VARIANTS[variant]
    assert chosen.head is not None
    fields = {"head": chosen.head, "labels": labels, "data": DATA, "primary_metric": chosen.metric}
    head: Head = build_head(TaskSpec(**fields, options={**chosen.options, **options}), 8)
    return head


def score(variant: str, head: Head, rows: Sequence[Row], predictions: Sequence[Prediction]) -> float:
    metric = VARIANTS[variant].metric
    assert metric is not None
    return score_predictions(head, rows, predictions)[metric]


# --- entities ---------------------------------------------------------------------------------------------------------


def words_row(name: str, num_words: int, entities: Sequence[TypedSpan]) -> SpanRow:
    """A row of words of one letter, with entities given as spans of words."""
    found = tuple(Entity(f"T{i}", span.type, ((2 * span.start, 2 * span.end - 1),)) for i, span in enumerate(entities))
    words = tuple((2 * i, 2 * i + 1) for i in range(num_words))
    return SpanRow(name, name, " ".join("w" * num_words), words=words, entities=found)


def entities(tags: Sequence[str], scheme: Scheme, *, lenient: bool = False) -> Prediction:
    """The prediction that tags of words stand for."""
    spans = to_spans(tags, scheme, lenient=lenient)
    return {"entities": [{"type": s.type, "start": 2 * s.start, "end": 2 * s.end - 1, "score": 1.0} for s in spans]}


def tagged(seed: int) -> list[tuple[list[str], list[str]]]:
    """Gold and predicted tags of some sentences; the predicted ones need not follow the scheme."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(20):
        gold = to_tags([TypedSpan(1, 3, "A"), TypedSpan(3, 4, "A"), TypedSpan(6, 7, "B")], 8, "BIO")
        changed = [str(rng.choice(["O", "B-A", "I-A", "I-B"])) if rng.random() < 0.3 else tag for tag in gold]
        pairs.append((gold, changed))
    return pairs


def entity_f1(variant: str, *, lenient: bool) -> tuple[float, float]:
    pairs = tagged(0)
    head = head_of(variant, ["A", "B"])
    rows = [words_row(str(i), len(gold), to_spans(gold, "BIO")) for i, (gold, _) in enumerate(pairs)]
    found = score(variant, head, rows, [entities(guess, "BIO", lenient=lenient) for _, guess in pairs])
    gold, guesses = ([pair[side] for pair in pairs] for side in (0, 1))
    mode = {} if lenient else {"mode": "strict", "scheme": IOB2}
    return found, seqeval_f1(gold, guesses, **mode)


def near_entity_f1() -> tuple[float, float]:
    row = SpanRow("1", "1", "x" * 60, entities=(Entity("T1", "A", ((10, 20),)), Entity("T2", "A", ((30, 40),))))
    spans = [(9, 21, "A"), (30, 42, "A"), (50, 55, "A")]
    prediction = {"entities": [{"start": s, "end": e, "type": t, "score": 1.0} for s, e, t in spans]}
    return score("near_entity_f1", head_of("near_entity_f1", ["A"]), [row], [prediction]), 2 / 5


def word_macro_f1() -> tuple[float, float]:
    """PICO: seqeval on words that are entities of their own."""
    rng = np.random.default_rng(0)
    names = ["O", "I-P", "I-I", "I-O"]
    pairs = [([str(t) for t in rng.choice(names, 12)], [str(t) for t in rng.choice(names, 12)]) for _ in range(9)]
    rows = [words_row(str(i), 12, to_spans(gold, "IO")) for i, (gold, _) in enumerate(pairs)]
    head = head_of("word_macro_f1", ["P", "I", "O"], scheme="IO")
    found = score("word_macro_f1", head, rows, [entities(guess, "IO") for _, guess in pairs])
    alone = [[[tag.replace("I-", "B-") for tag in pair[side]] for pair in pairs] for side in (0, 1)]
    return found, seqeval_f1(*alone, average="macro", mode="strict", scheme=IOB2)


# --- relations --------------------------------------------------------------------------------------------------------

GOLD = ["cause", "treat", "none", "none", "none", "cause", "none", "treat", "none", "none"]
GUESS = ["cause", "none", "none", "cause", "none", "treat", "none", "treat", "none", "treat"]


def relation(variant: str, gold: Sequence[str], guess: Sequence[str], labels: Sequence[str], negative: str) -> float:
    head = head_of(variant, labels, negative=negative, placeholders=["@A$", "@B$"])
    rows = [TextRow(str(i), str(i), "@A$ gave @B$", label=label) for i, label in enumerate(gold)]
    predictions = [{"label": label, "scores": dict.fromkeys(labels, 0.0)} for label in guess]
    return score(variant, head, rows, predictions)


def pairs_of_types(variant: str, average: str) -> tuple[float, float]:
    labels = ["cause", "treat", "none"]
    expected = f1_score(GOLD, GUESS, labels=["cause", "treat"], average=average, zero_division=0.0)
    return relation(variant, GOLD, GUESS, labels, "none"), expected


def accuracy_with_negative() -> tuple[float, float]:
    found = relation("accuracy_with_negative", GOLD, GUESS, ["cause", "treat", "none"], "none")
    assert f1_score(GOLD, GUESS, average="micro") == pytest.approx(accuracy_score(GOLD, GUESS))
    return found, 6 / 10


def concept_pair_f1() -> tuple[float, float]:
    """Two documents: one pair found, one missed across sentences, one invented, one found twice by mention."""
    head = head_of("concept_pair_f1", ["CID", "none"], negative="none", pairs=[["C", "D"]])
    rows = [
        SpanRow(
            "1",
            "1",
            "aa bb aa . cc dd",
            sentences=((0, 10), (11, 16)),
            entities=(
                Entity("T1", "C", ((0, 2),), ("C1",)),
                Entity("T2", "D", ((3, 5),), ("D1",)),
                Entity("T3", "C", ((6, 8),), ("C1",)),
                Entity("T4", "D", ((14, 16),), ("D2",)),
            ),
            relations=(Relation("C1", "D1", "CID"), Relation("C1", "D2", "CID")),
        ),
        SpanRow(
            "2",
            "2",
            "aa bb",
            entities=(Entity("T1", "C", ((0, 2),), ("C1",)), Entity("T2", "D", ((3, 5),), ("D1",))),
        ),
    ]
    found = [{"head": "C1", "tail": "D1", "type": "CID", "score": 1.0}]
    predictions: list[Prediction] = [{"relations": found}, {"relations": found}]
    return score("concept_pair_f1", head, rows, predictions), 2 * 1 / (2 + 2)


# --- texts ------------------------------------------------------------------------------------------------------------

LABELS = ["a", "b", "c"]


def sets_of(seed: int, size: int) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [[name for name in LABELS if rng.random() < 0.3] for _ in range(size)]


def labelled(variant: str) -> tuple[float, list[set[str]], list[set[str]]]:
    """A score of sentences, and the gold and predicted labels of their documents."""
    gold, guess, documents = sets_of(1, 40), sets_of(2, 40), [str(i // 4) for i in range(40)]
    rows = [
        TextRow(str(i), document, "a", label=tuple(names))
        for i, (document, names) in enumerate(zip(documents, gold, strict=True))
    ]
    predictions = [{"labels": names, "scores": {}} for names in guess]
    found = score(variant, head_of(variant, LABELS), rows, predictions)
    names: dict[str, list[set[str]]] = {document: [set(), set()] for document in documents}
    for document, *sides in zip(documents, gold, guess, strict=True):
        for union, side in zip(names[document], sides, strict=True):
            union.update(side)
    return found, [one for one, _ in names.values()], [other for _, other in names.values()]


def pooled_f1(gold: Sequence[set[str]], guess: Sequence[set[str]]) -> float:
    true = sum(len(a & b) for a, b in zip(gold, guess, strict=True))
    return 2 * true / sum(len(a) + len(b) for a, b in zip(gold, guess, strict=True))


def micro_f1_by_document() -> tuple[float, float]:
    found, gold, guess = labelled("micro_f1_by_document")
    return found, pooled_f1(gold, guess)


def micro_f1_by_text() -> tuple[float, float]:
    found, _, _ = labelled("micro_f1_by_text")
    return found, pooled_f1([set(names) for names in sets_of(1, 40)], [set(names) for names in sets_of(2, 40)])


def example_based_f1() -> tuple[float, float]:
    """As BLUE's script: means of precision and recall over abstracts with a label, then their harmonic mean."""
    found, gold, guess = labelled("example_based_f1")
    pairs = [(a, b) for a, b in zip(gold, guess, strict=True) if a]
    precision = np.mean([len(a & b) / len(b) if b else 0.0 for a, b in pairs])
    recall = np.mean([len(a & b) / len(a) for a, b in pairs])
    by_abstract = np.mean([2 * len(a & b) / (len(a) + len(b)) for a, b in pairs])
    expected = 2 * precision * recall / (precision + recall)
    assert expected != pytest.approx(by_abstract)
    return found, float(expected)


def accuracy() -> tuple[float, float]:
    head = head_of("accuracy", ["yes", "no", "maybe"])
    gold, guess = ["yes", "no", "maybe", "yes"], ["yes", "yes", "no", "yes"]
    rows = [TextRow(str(i), str(i), "a", label=label) for i, label in enumerate(gold)]
    return score("accuracy", head, rows, [{"label": label, "scores": {}} for label in guess]), 0.5


def correlation(gold: Sequence[float], guess: Sequence[float]) -> float:
    rows = [TextRow(str(i), str(i), "a", "b", label=value) for i, value in enumerate(gold)]
    return score("pearson", head_of("pearson", [], range=[0, 4]), rows, [{"value": value} for value in guess])


def pearson() -> tuple[float, float]:
    gold, guess = [0.0, 1.0, 2.5, 4.0, 3.0], [0.3, 0.9, 3.0, 3.1, 2.2]
    return correlation(gold, guess), float(pearsonr(gold, guess).statistic)


GOLDEN: dict[str, Golden] = {
    "strict_entity_f1": lambda: entity_f1("strict_entity_f1", lenient=False),
    "conlleval_entity_f1": lambda: entity_f1("conlleval_entity_f1", lenient=True),
    "near_entity_f1": near_entity_f1,
    "word_macro_f1": word_macro_f1,
    "micro_f1_without_negative": lambda: pairs_of_types("micro_f1_without_negative", "micro"),
    "macro_f1_without_negative": lambda: pairs_of_types("macro_f1_without_negative", "macro"),
    "accuracy_with_negative": accuracy_with_negative,
    "concept_pair_f1": concept_pair_f1,
    "accuracy": accuracy,
    "pearson": pearson,
    "micro_f1_by_text": micro_f1_by_text,
    "micro_f1_by_document": micro_f1_by_document,
    "example_based_f1": example_based_f1,
}


def test_every_variant_with_a_scorer_has_a_golden_score() -> None:
    assert set(GOLDEN) == {name for name, variant in VARIANTS.items() if variant.head is not None}
    assert {"f1_averaging_unclear", "joined_entity_f1"} == set(VARIANTS) - set(GOLDEN)


@pytest.mark.parametrize("variant", GOLDEN)
def test_the_score_of_a_variant_is_right(variant: str) -> None:
    found, expected = GOLDEN[variant]()
    assert 0 < expected < 1
    assert found == pytest.approx(expected)


def test_strict_and_lenient_entities_are_scored_apart() -> None:
    assert GOLDEN["strict_entity_f1"]()[0] != pytest.approx(GOLDEN["conlleval_entity_f1"]()[0])


@pytest.mark.parametrize(("scheme", "number"), [("BIO", 2), ("BIOUL", 2), ("IO", 1)])
def test_adjacent_entities_are_two_with_a_beginning_and_one_without(scheme: Scheme, number: int) -> None:
    adjacent = [TypedSpan(0, 2, "A"), TypedSpan(2, 3, "A")]
    prediction = entities(to_tags(adjacent, 4, scheme), scheme)
    assert len(prediction["entities"]) == number
    head = head_of("strict_entity_f1", ["A"], scheme=scheme)
    assert score("strict_entity_f1", head, [words_row("1", 4, adjacent)], [prediction]) == (number == 2)


@pytest.mark.parametrize("variant", ["micro_f1_without_negative", "macro_f1_without_negative"])
def test_relations_score_0_if_everything_is_negative(variant: str) -> None:
    labels = ["cause", "treat", "none"]
    assert relation(variant, GOLD, ["none"] * 10, labels, "none") == 0
    assert relation("accuracy_with_negative", GOLD, ["none"] * 10, labels, "none") == 0.6


def test_gad_differs_by_its_two_conventions() -> None:
    gold, guess = ["1", "1", "1", "0", "0", "0"], ["1", "0", "0", "0", "0", "1"]
    positive = relation("micro_f1_without_negative", gold, guess, ["0", "1"], "0")
    both = relation("accuracy_with_negative", gold, guess, ["0", "1"], "0")
    assert positive == pytest.approx(f1_score(gold, guess, pos_label="1"))
    assert both == pytest.approx(f1_score(gold, guess, average="micro"))
    assert (positive, both) == pytest.approx((0.4, 0.5))


def test_ddi_differs_by_its_two_averages() -> None:
    micro, macro = (pairs_of_types(f"{a}_f1_without_negative", a)[0] for a in ("micro", "macro"))
    assert (micro, macro) == pytest.approx((2 * 2 / (4 + 5), (0.5 + 0.4) / 2))


@pytest.mark.parametrize(("gold", "guess"), [([0.0, 1.0, 2.0], [1.5, 1.5, 1.5]), ([2.0, 2.0, 2.0], [0.0, 1.0, 2.0])])
def test_a_constant_correlates_with_nothing(gold: list[float], guess: list[float]) -> None:
    assert correlation(gold, guess) == 0


def test_a_variant_says_what_it_needs_of_a_task() -> None:
    assert variant_problems("key", "strict_entity_f1", "token_classification", {}) == []
    assert variant_problems("key", "conlleval_entity_f1", "token_classification", {"spans": "lenient"}) == []
    [problem] = variant_problems("key", "concept_pair_f1", "relation", {"scope": "document"})
    assert "level: concept, got mention" in problem.message
    [problem] = variant_problems("key", "joined_entity_f1", "token_classification", {})
    assert all(name in problem.suggestion for name in scored_by("token_classification"))
    assert variant_problems("key", "accuracy", "lab.heads.Mine", {})[0].key == "key"


@pytest.mark.parametrize("name", [name for name, variant in VARIANTS.items() if variant.head is not None])
def test_each_variant_is_found_again_from_the_head_and_options_that_compute_it(name: str) -> None:
    variant = VARIANTS[name]
    assert variants_of(str(variant.head), variant.options)[str(variant.metric)] == name


def test_a_metric_with_other_options_has_no_variant_and_a_head_may_be_a_path() -> None:
    assert (
        variants_of("heads.token_classification.TokenClassification", {"spans": "lenient"})["f1"]
        == "conlleval_entity_f1"
    )
    assert variants_of("relation", {"level": "concept", "scope": "sentence"}) == {}
    assert variants_of("masked_lm", {}) == {}
