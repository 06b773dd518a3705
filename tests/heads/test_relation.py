"""Relations as classes of candidate pairs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
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
from torch import Tensor

from heads import IGNORE, Entity, Relation, Row, SpanRow, TextRow
from heads.relation import RelationClassification
from mtl.evaluation.intervals import wilson
from tests.heads import properties as has

LABELS = ("cause", "treat", "none")
PAIRS = [("Chemical", "Disease")]
WORDS = {"aspirin": "Chemical", "ibuprofen": "Chemical", "warfarin": "Chemical", "cox-2": "Gene"} | dict.fromkeys(
    ("fever", "headache", "bleeding", "nausea", "cancer"), "Disease"
)


def make(**options: Any) -> RelationClassification:
    options = {"negative": "none", **options}
    if "placeholders" not in options and "entity_types" not in options:
        options.setdefault("pairs", PAIRS)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return RelationClassification(options.pop("labels", LABELS), has.HIDDEN, **options)


def row(name: str, text: str, *relations: tuple[str, str, str | None], **fields: Any) -> SpanRow:
    """A row whose entities are the known words of its text, with their own text as ids and as concepts."""
    found = [(text.find(word), word) for word in WORDS if word in text]
    entities = tuple(
        Entity(word, WORDS[word], ((start, start + len(word)),), (word.upper(),)) for start, word in sorted(found)
    )
    return SpanRow(name, name, text, entities=entities, relations=tuple(Relation(*r) for r in relations), **fields)


ROWS = [
    row("a", "aspirin reduces fever and headache .", ("aspirin", "fever", "treat"), ("aspirin", "headache", "treat")),
    row("b", "bleeding was caused by warfarin , not by nausea .", ("warfarin", "bleeding", "cause")),
    row("c", "the patient with cancer was not with aspirin or ibuprofen ."),
    row("d", "ibuprofen reduces headache , and increases nausea", ("ibuprofen", "headache", "treat"),
        ("ibuprofen", "nausea", "cause")),
]  # fmt: skip
UNLABELLED = [
    row("u", "warfarin for headache", annotated=("Chemical", "Disease")),
    row("v", "aspirin after nausea", ("aspirin", "nausea", None)),
]
SENTENCES = [
    TextRow("1", "1", "@GENE$ is a risk of @DISEASE$ in patients", label="cause"),
    TextRow("2", "2", "no risk of @DISEASE$ with @GENE$", label="none"),
    TextRow("3", "3", "the treatment of @DISEASE$ is @GENE$ and a protein in the cell", label="treat"),
    TextRow("4", "4", "@DISEASE$ was not with @GENE$ , but with cox-2", label="none"),
]
UNLABELLED_SENTENCES = [TextRow("u", "u", "@GENE$ in @DISEASE$")]
READY = {"placeholders": ("@GENE$", "@DISEASE$")}


def gold_logits(fields: Mapping[str, Tensor]) -> Tensor:
    return 9.0 * F.one_hot(fields["label"][:, 0].clamp(min=0), len(LABELS)).float()


def score(head: RelationClassification, row: Row, *predicted: tuple[str, str, str]) -> dict[str, float]:
    relations = [{"head": h, "tail": t, "type": name, "score": 1.0} for h, t, name in predicted]
    return head.score(head.counts({"relations": relations}, row))


def tokens_of(head: RelationClassification, row: Row, tokenizer: Any, **options: Any) -> list[list[str]]:
    """The tokens of each candidate of a row."""
    own = has.with_special_tokens(head, tokenizer)
    examples = has.encode(head, [row], tokenizer, **{"training": False, **options})
    return [own.convert_ids_to_tokens(example["input_ids"]) for example in examples]


# --- shared properties ------------------------------------------------------------------------------------------------


OPTIONS: dict[str, dict[str, Any]] = {
    "typed": {},
    "markers": {"input": "markers", "pooling": "entity_start"},
    "markers_max": {"input": "markers", "pooling": "mention_max", "hidden_layer": 12},
    "original": {"input": "original", "pooling": "mention_max", "class_weights": {"cause": 3.0}},
    "ambiguous": {"input": "original", "allow_ambiguous": True},
    "metrics": {"metrics": ["mcc", "kappa", "cooccurrence_fpr"]},
    "directed": {"input": "markers", "entity_types": ["Chemical", "Disease"], "directed": True},
}
READY_OPTIONS = {"ready_made": READY, "ready_made_start": {**READY, "pooling": "entity_start"}}
# A relation without a type masks only one order of a directed pair, so the second row would be labelled.
CASES = {
    name: has.Case(make, ROWS, UNLABELLED[:1] if name == "directed" else UNLABELLED, gold_logits, options)
    for name, options in OPTIONS.items()
} | {
    name: has.Case(make, SENTENCES, UNLABELLED_SENTENCES, gold_logits, options)
    for name, options in READY_OPTIONS.items()
}
CASES |= {
    "mean": has.Case(make, ROWS, UNLABELLED, gold_logits, {"pooling": "mean"}),
    "pooler": has.Case(has.attached(make), ROWS, UNLABELLED, gold_logits, {"pooling": "pooler"}),
}

test_property_of_every_head = has.shared_test(CASES)


@pytest.mark.parametrize("name", CASES)
def test_unlabelled_rows_are_left_out_of_training(name: str, tokenizer: Any) -> None:
    assert has.encode(CASES[name].head, CASES[name].unlabelled, tokenizer, training=True) == []


@pytest.mark.parametrize("name", ["typed", "markers", "original", "ready_made"])
def test_it_overfits_a_few_rows(name: str, tokenizer: Any, tiny_encoder: Callable[[str], Path]) -> None:
    case = CASES[name]
    has.assert_overfits(make(**case.options), case.rows, tokenizer, tiny_encoder("bert"))


def test_many_candidates_are_encoded_like_few(tokenizer: Any) -> None:
    text = row("x", "aspirin , ibuprofen , warfarin : fever , headache , bleeding , nausea , cancer")
    rows = [replace(text, id=str(i)) for i in range(100)]  # 1500 candidates need more than one call of the tokenizer
    few = has.encode(make(), rows[:1], tokenizer)
    assert has.encode(make(), rows, tokenizer) == [example | {"row": i} for i in range(100) for example in few]


# --- what the encoder reads -------------------------------------------------------------------------------------------


def test_a_placeholder_replaces_its_own_entity(tokenizer: Any) -> None:
    head = make(pairs=[("Chemical", "Gene")])
    (tokens,) = tokens_of(head, row("x", "cox-2 is not by aspirin"), tokenizer)
    assert tokens == ["[CLS]", "@GENE$", "is", "not", "by", "@CHEMICAL$", "[SEP]"]


def test_each_candidate_replaces_its_own_two_mentions(tokenizer: Any) -> None:
    first, second = tokens_of(make(), ROWS[0], tokenizer)
    assert " ".join(first) == "[CLS] @CHEMICAL$ reduces @DISEASE$ and headache . [SEP]"
    assert " ".join(second) == "[CLS] @CHEMICAL$ reduces fever and @DISEASE$ . [SEP]"


def test_a_candidate_is_read_in_its_sentence_only(tokenizer: Any) -> None:
    text = row("x", "no risk . aspirin reduces fever . not a gene", sentences=((0, 9), (10, 33), (34, 44)))
    assert " ".join(*tokens_of(make(), text, tokenizer)) == "[CLS] @CHEMICAL$ reduces @DISEASE$ . [SEP]"


def test_with_document_scope_the_whole_document_is_read(tokenizer: Any) -> None:
    text = row("x", "no aspirin . a fever", sentences=((0, 12), (13, 20)))
    assert " ".join(*tokens_of(make(scope="document"), text, tokenizer)) == "[CLS] no @CHEMICAL$ . a @DISEASE$ [SEP]"


def test_concepts_are_marked_at_all_their_mentions(tokenizer: Any) -> None:
    text = SpanRow(
        "x", "x", "aspirin , no drug but aspirin , for fever",
        entities=(
            Entity("1", "Chemical", ((0, 7),), ("D1",)),
            Entity("2", "Chemical", ((22, 29),), ("D1",)),
            Entity("3", "Disease", ((36, 41),), ("D2",)),
        ),
        relations=(Relation("D1", "D2", "treat"),),
    )  # fmt: skip
    head = make(scope="document", level="concept")
    assert head.check(text) is None
    (example,) = has.encode(head, [text], tokenizer)
    assert (example["head"], example["tail"], example["label"]) == ("D1", "D2", [1])
    (tokens,) = tokens_of(head, text, tokenizer)
    assert tokens.count("@CHEMICAL$") == 2
    assert [tokens[i] for i in example["head_tokens"]] == ["@CHEMICAL$"] * 2


def test_special_tokens_follow_from_the_options() -> None:
    assert make(pairs=[("drug", "gene")]).special_tokens() == ("@DRUG$", "@GENE$", "@DRUG-GENE$")
    assert make(entity_types=["a", "b"]).special_tokens() == (
        "@A$", "@B$", "@A-A$", "@A-B$", "@B-A$", "@B-B$",
    )  # fmt: skip
    assert make(input="markers").special_tokens() == ("[E1]", "[/E1]", "[E2]", "[/E2]")
    assert make(input="original", pooling="mention_max").special_tokens() == ()
    assert make(**READY).special_tokens() == ("@GENE$", "@DISEASE$")


def test_merged_types_share_a_placeholder(tokenizer: Any) -> None:
    head = make(pairs=[("Thing", "Disease")], merge_types={"Chemical": "Thing", "Gene": "Thing"})
    tokens = tokens_of(head, row("x", "aspirin and cox-2 in cancer"), tokenizer)
    assert [" ".join(line) for line in tokens] == [
        "[CLS] @THING$ and cox - 2 in @DISEASE$ [SEP]",
        "[CLS] aspirin and @THING$ in @DISEASE$ [SEP]",
    ]


def test_a_text_that_is_too_long_keeps_both_mentions_and_is_scored(tokenizer: Any) -> None:
    text = row("x", "aspirin" + " of the cell" * 40 + " fever", ("aspirin", "fever", "treat"))
    head = make()
    (example,) = has.encode(head, [text], tokenizer, training=False, max_length=10)
    (tokens,) = tokens_of(head, text, tokenizer, max_length=10)
    assert example["truncated"] is True
    assert len(tokens) == 10
    assert {"@CHEMICAL$", "@DISEASE$"} <= set(tokens)


# --- pooling ----------------------------------------------------------------------------------------------------------


def pooled(head: RelationClassification, fields: Mapping[str, Tensor], states: Tensor) -> Tensor:
    """The input of the classifier."""
    read: list[Tensor] = []
    hook = head.classifier.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    head(states, torch.ones(states.shape[:2]).bool(), fields)
    hook.remove()
    return read[0]


def test_each_pooling_reads_its_tokens(tokenizer: Any) -> None:
    text = row("x", "no aspirin in fever")  # [CLS] no [E1] aspirin [/E1] in [E2] fever [/E2] [SEP]
    states = torch.randn(1, 10, has.HIDDEN)
    expected = {
        "cls": states[0, 0],
        "entity_start": torch.cat([states[0, 2], states[0, 6]]),
        "mention_max": torch.cat([states[0, 3], states[0, 7]]),
    }
    for pooling, wanted in expected.items():
        head = make(input="markers", pooling=pooling)
        _, fields = has.collate(head, has.encode(head, [text], tokenizer))
        torch.testing.assert_close(pooled(head, fields, states)[0], wanted)


def test_mention_max_is_the_maximum_over_the_tokens_of_a_mention(tokenizer: Any) -> None:
    head = make(pairs=[("Gene", "Disease")], input="original", pooling="mention_max")
    examples = has.encode(head, [row("x", "cox-2 in fever")], tokenizer)  # [CLS] cox - 2 in fever [SEP]
    states = torch.randn(1, 7, has.HIDDEN)
    wanted = torch.cat([states[0, 1:4].amax(0), states[0, 5]])
    torch.testing.assert_close(pooled(head, head.collate(examples, 7), states)[0], wanted)


def test_a_mention_without_tokens_is_read_as_the_first_token(tokenizer: Any) -> None:
    head = make(**READY, pooling="mention_max")
    examples = has.encode(head, [TextRow("x", "x", "no risk of @GENE$", label="none"),
                                 TextRow("y", "y", "no risk", label="none")], tokenizer)  # fmt: skip
    states = torch.randn(2, 6, has.HIDDEN)
    read = pooled(head, head.collate(examples, 6), states)
    torch.testing.assert_close(read[0], torch.cat([states[0, 4]] * 2))
    torch.testing.assert_close(read[1], torch.cat([states[1, 0]] * 2))


# --- loss and negatives -----------------------------------------------------------------------------------------------


def test_loss_is_the_sum_of_cross_entropies() -> None:
    logits = torch.randn(3, 3)
    label = torch.tensor([[0, IGNORE], [IGNORE, IGNORE], [2, 1]])
    total, count = make().loss(logits, {"label": label})
    logs = logits.log_softmax(-1)
    torch.testing.assert_close(total, -(logs[0, 0] + logs[2, 2] + logs[2, 1]))
    assert int(count) == 3
    weighted, same = make(class_weights={"none": 0.5}).loss(logits, {"label": label})
    torch.testing.assert_close(weighted, -(logs[0, 0] + 0.5 * logs[2, 2] + logs[2, 1]))
    assert int(same) == 3


MANY = [
    row(str(i), "aspirin or ibuprofen in fever or nausea", *([("aspirin", "fever", "treat")] if i % 5 == 0 else []))
    for i in range(100)
]


def labels_of(head: RelationClassification, rows: list[SpanRow], tokenizer: Any, *, training: bool) -> Counter[int]:
    return Counter(example["label"][0] for example in has.encode(head, rows, tokenizer, training=training))


def test_a_share_of_the_negatives_is_kept_for_training_only(tokenizer: Any) -> None:
    head = make(keep_negatives=0.25)
    assert labels_of(head, MANY, tokenizer, training=False) == {2: 380, 1: 20}
    kept = labels_of(head, MANY, tokenizer, training=True)
    assert kept[1] == 20
    assert 60 < kept[2] < 130  # 95 expected of 380, standard deviation 8.4
    assert labels_of(make(keep_negatives=0.0), MANY, tokenizer, training=True) == {1: 20}
    assert labels_of(make(), MANY, tokenizer, training=True) == {2: 380, 1: 20}


def test_keeping_a_negative_does_not_depend_on_other_rows_and_a_larger_share_keeps_it_too(tokenizer: Any) -> None:
    def kept(share: float, rows: list[SpanRow]) -> set[tuple[str, str, str]]:
        examples = has.encode(make(keep_negatives=share), rows, tokenizer, training=True)
        return {(rows[example["row"]].id, example["head"], example["tail"]) for example in examples}

    assert kept(0.5, MANY) == kept(0.5, MANY[:30]) | kept(0.5, MANY[30:][::-1])
    assert kept(0.2, MANY) < kept(0.5, MANY)


def test_negatives_with_placeholders_are_subsampled_too(tokenizer: Any) -> None:
    rows = [TextRow(str(i), str(i), "@GENE$", label="none" if i % 2 else "cause") for i in range(100)]
    head = make(**READY, keep_negatives=0.3)
    kept = Counter(rows[example["row"]].label for example in has.encode(head, rows, tokenizer, training=True))
    assert kept["cause"] == 50
    assert 5 < kept["none"] < 26
    assert len(has.encode(head, rows, tokenizer, training=False)) == 100


# --- scores -----------------------------------------------------------------------------------------------------------


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
    # No error among two pairs, and no pairs at all, show little or nothing.
    for of, highest in ((found, 0.66), (one_sentence, 1.0)):
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


# --- baselines --------------------------------------------------------------------------------------------------------


def test_the_majority_and_type_pair_baselines_predict_the_most_frequent_type_in_training() -> None:
    head = make(pairs=[("Chemical", "Disease"), ("Gene", "Disease")])
    train = [
        row("a", "aspirin , fever", ("aspirin", "fever", "treat")),
        row("b", "warfarin , nausea", ("warfarin", "nausea", "treat")),
        row("c", "warfarin , bleeding", ("warfarin", "bleeding", "cause")),
        row("d", "cox-2 , cancer , fever , nausea , headache"),
    ]
    predictors = head.baselines(iter(train))
    assert set(predictors) == {"majority", "tfidf", "type_pair"}
    new = row("x", "ibuprofen and cox-2 in cancer")
    assert predictors["majority"]([new]) == [{"relations": []}]
    (prediction,) = predictors["type_pair"]([new])
    assert prediction == {
        "relations": [{"head": "ibuprofen", "tail": "cancer", "type": "treat", "score": pytest.approx(2 / 3)}]
    }


def test_a_majority_of_a_positive_class_is_predicted_everywhere() -> None:
    predictors = make().baselines(ROWS[:1])
    relations = predictors["majority"](ROWS[2:3])[0]["relations"]
    assert {(r["head"], r["tail"], r["type"]) for r in relations} == {
        ("aspirin", "cancer", "treat"),
        ("ibuprofen", "cancer", "treat"),
    }


def test_sentences_with_placeholders_have_text_baselines_only() -> None:
    predictors = make(**READY).baselines(SENTENCES)
    assert set(predictors) == {"majority", "tfidf"}
    assert [p["label"] for p in predictors["tfidf"](SENTENCES)] == [text.label for text in SENTENCES]
    assert make().baselines(UNLABELLED) == {}


# --- problems ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"negative": "nothing"}, "negative.*cause, treat, none"),
        ({"labels": ("none",)}, "labels.*at least 2.*got 1"),
        ({"labels": ("cause", "cause", "none")}, "labels.*unique.*got cause "),
        ({"keep_negatives": 1.5}, r"keep_negatives.*got 1\.5"),
        ({"keep_negatives": -0.1}, r"keep_negatives.*got -0\.1"),
        ({"class_weights": {"caus": 1.0}}, "class_weights.*'caus'.*'cause'"),
        ({"class_weights": {"cause": 0.0}}, r"class_weights\.cause.*got 0\.0"),
        ({"pairs": []}, "^pairs.*empty"),
        ({"pairs": PAIRS, "entity_types": ["Gene"]}, "entity_types.*pairs"),
        ({"pairs": None}, "typed.*pairs.*entity_types.*placeholders"),
        ({"level": "concept"}, "concept.*scope.*document"),
        ({"input": "original"}, "original.*pooling"),
        ({"directed": True, "pairs": [("a", "a")]}, "directed.*typed.*markers"),
        ({"directed": True, "pairs": [("a", "b"), ("b", "a")]}, "directed.*typed.*markers"),
    ],
)
def test_options_that_are_invalid_or_contradict_each_other_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_an_ablation_may_show_the_same_text_for_all_pairs(tokenizer: Any) -> None:
    head = make(input="original", allow_ambiguous=True)
    pairs = tokens_of(head, ROWS[0], tokenizer)
    assert len(pairs) > 1
    assert all(tokens == pairs[0] for tokens in pairs)


def test_directed_pairs_with_typed_input_are_allowed_in_one_order() -> None:
    assert make(directed=True).pairing.directed


def entity(name: str, *spans: tuple[int, int]) -> Entity:
    return Entity(name, "Chemical", spans, (f"D{name}",))


@pytest.mark.parametrize(
    ("entities", "relations", "message"),
    [
        ([entity("1", (0, 7)), entity("1", (8, 9))], [], "entity ids.*got 1"),
        ([entity("1", (0, 99))], [], "got 1 at 0-99.*20"),
        ([entity("1", (-1, 3))], [], "got 1 at -1-3"),
        ([entity("1", (3, 3))], [], "got 1 at 3-3"),
        ([entity("1", (8, 9), (0, 7))], [], "got 1 at 8-9, 0-7"),
        ([entity("1")], [], "got 1 at no"),
        ([entity("1", (0, 7))], [("1", "1", "caus")], "cause, treat, none.*'caus'.*'cause'"),
        ([entity("1", (0, 7))], [("1", "2", "cause")], "relation.*ids.*'2'"),
        ([entity("1", (0, 7))], [("D1", "1", "cause")], "relation.*ids.*'D1'"),
    ],
)  # fmt: skip
def test_invalid_annotation_is_reported(
    entities: list[Entity], relations: list[tuple[str, str, str]], message: str
) -> None:
    text = SpanRow("x", "x", "aspirin and warfarin", entities=tuple(entities),
                   relations=tuple(Relation(*r) for r in relations))  # fmt: skip
    problem = make().check(text)
    assert problem is not None
    assert re.search(message, problem)
    assert "warfarin" not in problem


def test_concept_relations_join_concepts_and_not_mentions() -> None:
    head = make(level="concept", scope="document")
    joined = row("x", "aspirin , fever", ("ASPIRIN", "FEVER", "cause"))
    assert head.check(joined) is None
    problem = head.check(row("x", "aspirin , fever", ("aspirin", "fever", "cause")))
    assert problem is not None
    assert re.search("relation.*concepts.*'aspirin'", problem)


def test_other_problems_of_a_row_are_reported() -> None:
    head = make()
    assert re.search("sentence.*0-99.*5", str(head.check(row("x", "fever", sentences=((0, 99),)))))
    assert "text_pair" in str(head.check(TextRow("x", "x", "a", "b", label="none")))
    assert "'nothing'" in str(head.check(TextRow("x", "x", "a", label="nothing")))
    assert "list of length 1" in str(head.check(TextRow("x", "x", "a", label=("none",))))
    assert "entity_types" in str(make(**READY).check(ROWS[0]))
    assert all(head.check(text) is None for text in [*ROWS, *UNLABELLED, *SENTENCES])


# --- real data --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_ddi_test_set_gives_its_published_candidates(data_folder: Path, tokenizer: Any) -> None:
    """5716 pairs, and the texts of BLURB, which replaces every type by @DRUG$."""
    from mtl.readers.ddi2013 import DDI2013, ENTITY_TYPES

    rows = list(DDI2013(str(data_folder / "ddi2013")).read("test"))
    head = RelationClassification(
        ["mechanism", "effect", "advise", "int", "false"],
        has.HIDDEN,
        negative="false",
        pairs=[("drug", "drug")],
        merge_types=dict.fromkeys(ENTITY_TYPES, "drug"),
    )
    assert [head.check(text) for text in rows if head.check(text) is not None] == []
    gold = sum((Counter(head.label_counts(text)) for text in rows), start=Counter())
    assert gold == {"mechanism": 302, "effect": 360, "advise": 221, "int": 96, "false": 4737}
    assert len(head.encode(rows, has.with_special_tokens(head, tokenizer), 128, training=False)) == 5716
    ours = Counter((item.marked.text.strip(), *item.types) for text in rows for item in head._items(text))
    lines = (data_folder / "ddi2013" / "blurb" / "test.tsv").read_text(encoding="utf-8").split("\n")
    fields = [line.split("\t") for line in lines if line]
    assert ours == Counter((text.strip(), label.removeprefix("DDI-")) for _, text, label in fields)


def test_every_relation_of_bc5cdr_is_a_candidate(data_folder: Path) -> None:
    from mtl.readers.pubtator import Pubtator

    files = {"test": "CDR_TestSet.PubTator.txt"}
    rows = list(Pubtator(str(data_folder / "bc5cdr_pubtator"), files=files).read("test"))
    options: dict[str, Any] = {"negative": "none", "pairs": PAIRS, "scope": "document", "level": "concept"}
    head = RelationClassification(["CID", "none"], has.HIDDEN, **options)
    assert [head.check(text) for text in rows if head.check(text) is not None] == []
    counts = sum((Counter(head.label_counts(text)) for text in rows), start=Counter())
    assert counts["CID"] == 1066
    assert counts.total() == sum(len(concepts(text, "Chemical")) * len(concepts(text, "Disease")) for text in rows)


def concepts(text: Row, kind: str) -> set[str]:
    assert isinstance(text, SpanRow)
    return {concept for entity in text.entities if entity.type == kind for concept in entity.concepts}


@pytest.mark.parametrize("name", ["typed", "markers", "original"])
@pytest.mark.parametrize("lower", [True, False])
def test_characters_that_a_tokenizer_drops_leave_markers_and_mentions(name: str, lower: bool, tokenizer: Any) -> None:
    from transformers import BertTokenizer

    own = tokenizer if lower else BertTokenizer(vocab=tokenizer.get_vocab(), do_lower_case=False)
    head = make(**OPTIONS[name])
    expected = {"typed": [1, 1], "markers": [2, 2], "original": [0, 0]}[name]
    for character in "\u00ad\u200b\u200d\ufeff\x00\ue000\ufffd\u0301\u0941":
        text = f"{character}aspirin{character}, {character} fe{character}ver{character}."
        spans = [match.span() for match in re.finditer(r"[^ ,.]*(?:asp|fe)[^ ,.]*", text)]
        entities = tuple(
            Entity(f"T{i}", kind, (span,)) for i, (kind, span) in enumerate(zip(PAIRS[0], spans, strict=True))
        )
        [example] = has.encode(head, [SpanRow("1", "1", text, entities=entities)], own, training=False)
        assert all((example["head_tokens"], example["tail_tokens"])), repr(character)
        tokens = has.with_special_tokens(head, own).convert_ids_to_tokens(example["input_ids"])
        marks = [sum(mark in tokens for mark in marks) for marks in _MARKS_OF[name]]
        assert marks == expected, (repr(character), tokens)


_MARKS_OF: dict[str, list[tuple[str, ...]]] = {
    "typed": [("@CHEMICAL$",), ("@DISEASE$",)],
    "markers": [("[E1]", "[/E1]"), ("[E2]", "[/E2]")],
    "original": [(), ()],
}


def test_relations_that_are_no_candidates_are_unreachable(tokenizer: Any) -> None:
    head = make()
    two = row("a", "aspirin . fever", ("aspirin", "fever", "treat"), sentences=((0, 9), (10, 15)))
    both = row("b", "aspirin for fever", ("aspirin", "fever", "treat"), ("aspirin", "fever", "cause"))
    for one, missed in ((two, 1), (both, 1), (ROWS[0], 0), (ROWS[2], 0)):
        assert head.unreachable(one, has.encode(head, [one], tokenizer, training=False)) == missed
