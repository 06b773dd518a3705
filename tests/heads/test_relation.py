"""Relations as classes of candidate pairs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from heads import IGNORE, Entity, Relation, Row, SpanRow, TextRow
from heads.relation import RelationClassification
from tests.heads import properties as has
from tests.heads.pairs import (
    LABELS,
    OPTIONS,
    PAIRS,
    READY,
    ROWS,
    SENTENCES,
    UNLABELLED,
    UNLABELLED_SENTENCES,
    make,
    row,
)


def gold_logits(fields: Mapping[str, Tensor]) -> Tensor:
    return 9.0 * F.one_hot(fields["label"][:, 0].clamp(min=0), len(LABELS)).float()


# --- shared properties ------------------------------------------------------------------------------------------------


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
