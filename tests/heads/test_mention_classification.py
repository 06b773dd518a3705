"""Attributes of mentions as classes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, matthews_corrcoef
from torch import Tensor

from heads import IGNORE, Entity, Row, SpanRow, TextRow
from heads.mention_classification import MentionClassification
from heads.relation import RelationClassification
from tests.heads import properties as has

LABELS = ("absent", "present", "possible")
WORDS = dict.fromkeys(("fever", "headache", "nausea"), "Sign") | {"cancer": "Disease", "bleeding": "Disease"}


def make(**options: Any) -> MentionClassification:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        options = {"attribute": "assertion", **options}
        return MentionClassification(options.pop("labels", LABELS), has.HIDDEN, **options)


def row(name: str, text: str, **classes: str) -> SpanRow:
    """A row whose entities are the known words of its text, with their own text as ids."""
    found = sorted((text.find(word), word) for word in WORDS if word in text)
    entities = [Entity(word, WORDS[word], ((start, start + len(word)),)) for start, word in found]
    known = [e._replace(attributes={"assertion": classes[e.id]}) if e.id in classes else e for e in entities]
    return SpanRow(name, name, text, entities=tuple(known))


ROWS = [
    row("a", "no fever , but headache in the patient .", fever="absent", headache="present"),
    row("b", "the patient was treatment - not with risk of cancer", cancer="possible"),
    row("c", "bleeding after nausea", bleeding="present", nausea="present"),
    row("d", "no nausea ; fever and headache", nausea="absent", fever="present"),  # headache is masked
]
UNLABELLED = [row("u", "warfarin for headache and nausea"), row("v", "fever after aspirin")]
PARTLY = [replace(one, annotated=("Sign",)) for one in UNLABELLED]


def gold_logits(fields: Mapping[str, Tensor]) -> Tensor:
    return 9.0 * F.one_hot(fields["label"].clamp(min=0), len(LABELS)).float()


def tokens_of(head: MentionClassification, row: Row, tokenizer: Any, **options: Any) -> list[str]:
    """The tokens of each mention of a row, separated by blanks."""
    own = has.with_special_tokens(head, tokenizer)
    examples = has.encode(head, [row], tokenizer, **{"training": False, **options})
    return [" ".join(own.convert_ids_to_tokens(example["input_ids"])) for example in examples]


def predicted(head: MentionClassification, **classes: str) -> dict[str, Any]:
    name = head.labelling.attribute
    return {"attributes": [{"entity": e, "name": name, "value": v, "score": 1.0} for e, v in classes.items()]}


# --- shared properties ------------------------------------------------------------------------------------------------

OPTIONS: dict[str, dict[str, Any]] = {
    "markers": {},
    "mean": {"pooling": "mean", "excluded": ["present"]},
    "entity_start": {"pooling": "entity_start", "metrics": ["mcc", "kappa"]},
    "original": {"input": "original", "pooling": "mention_max", "class_weights": {"absent": 3.0}, "hidden_layer": 12},
}
CASES = {name: has.Case(make, ROWS, UNLABELLED, gold_logits, options) for name, options in OPTIONS.items()}
CASES |= {
    "default": has.Case(make, ROWS, PARTLY, gold_logits, {"default": "present"}),
    "pooler": has.Case(has.attached(make), ROWS, UNLABELLED, gold_logits, {"pooling": "pooler"}),
}

test_property_of_every_head = has.shared_test(CASES)


@pytest.mark.parametrize("name", ["markers", "entity_start", "original"])
def test_it_overfits_a_few_rows(name: str, tokenizer: Any, tiny_encoder: Callable[[str], Path]) -> None:
    case = CASES[name]
    has.assert_overfits(make(**case.options), case.rows, tokenizer, tiny_encoder("bert"))


@pytest.mark.parametrize("name", ["markers", "original"])
def test_a_planted_negation_is_learned_for_findings_that_were_never_negated(
    name: str, tokenizer: Any, tiny_encoder: Callable[[str], Path]
) -> None:
    def both(first: str, second: str) -> SpanRow:
        return row(first + second, f"no {first} but {second} .", **{first: "absent", second: "present"})

    findings = ("fever", "headache", "cancer", "nausea")
    train = [both(a, b) for a, b in product(findings[:3], findings) if a != b]
    head = make(labels=LABELS[:2], **CASES[name].options | {"class_weights": None})
    test = [both("nausea", b) for b in findings[:3]]
    has.assert_generalises(head, train, test, tokenizer, tiny_encoder("bert"), num_steps=60)


# --- what the encoder reads -------------------------------------------------------------------------------------------


def test_each_mention_is_marked_in_its_own_example(tokenizer: Any) -> None:
    assert tokens_of(make(), ROWS[2], tokenizer) == [
        "[CLS] [E1] bleeding [/E1] after nausea [SEP]",
        "[CLS] bleeding after [E1] nausea [/E1] [SEP]",
    ]
    original = make(**OPTIONS["original"])
    assert tokens_of(original, ROWS[2], tokenizer) == ["[CLS] bleeding after nausea [SEP]"] * 2
    examples = has.encode(original, ROWS[2:3], tokenizer)
    assert [example["mention_tokens"] for example in examples] == [[1], [3]]
    assert [example["entity"] for example in examples] == ["bleeding", "nausea"]


def test_the_markers_are_those_of_relations_so_that_both_tasks_share_them() -> None:
    relation = RelationClassification(LABELS, has.HIDDEN, negative="absent", input="markers")
    assert make().special_tokens() == relation.special_tokens()[:2] == ("[E1]", "[/E1]")
    assert make(**OPTIONS["original"]).special_tokens() == ()


def test_entity_start_reads_the_marker_and_mention_max_the_mention(tokenizer: Any) -> None:
    start, whole = (
        has.encode(make(pooling=pooling), ROWS[:1], tokenizer)[0]["mention_tokens"]
        for pooling in ("entity_start", "mention_max")
    )
    assert (start, whole) == ([2], [3])  # [CLS] no [E1] fever [/E1] …


def test_a_mention_is_read_in_its_sentence_or_in_the_document(tokenizer: Any) -> None:
    text = replace(row("x", "no risk . fever in a cell . no gene"), sentences=((0, 9), (10, 27), (28, 35)))
    assert tokens_of(make(), text, tokenizer) == ["[CLS] [E1] fever [/E1] in a cell . [SEP]"]
    whole = tokens_of(make(scope="document"), text, tokenizer)
    assert whole == ["[CLS] no risk . [E1] fever [/E1] in a cell . no gene [SEP]"]
    crossing = replace(text, sentences=((0, 12), (12, 27), (28, 35)))
    assert tokens_of(make(), crossing, tokenizer) == ["[CLS] no risk . [E1] fever [/E1] in a cell . [SEP]"]
    outside = replace(text, sentences=((0, 9), (28, 35)))
    assert tokens_of(make(), outside, tokenizer) == whole


@pytest.mark.parametrize("place", [0, 1, 9])
@pytest.mark.parametrize("pooling", ["cls", "mention_max", "entity_start"])
def test_a_mention_of_a_long_text_is_never_cut_off(place: int, pooling: str, tokenizer: Any) -> None:
    head = make(pooling=pooling)
    text = has.LONG_TEXT * place + "no fever " + has.LONG_TEXT * (9 - place)
    start = text.index("fever")
    one = SpanRow("x", "x", text, entities=(Entity("T", "Sign", ((start, start + 5),), (), {"assertion": "absent"}),))
    (example,) = has.encode(head, [one], tokenizer)
    own = has.with_special_tokens(head, tokenizer)
    tokens = own.convert_ids_to_tokens(example["input_ids"])
    assert "no [E1] fever [/E1]" in " ".join(tokens)
    assert example["truncated"]
    assert len(tokens) == has.MAX_LENGTH
    assert [tokens[i] for i in example["mention_tokens"]] == ["[E1]" if pooling == "entity_start" else "fever"]


def test_a_discontinuous_mention_is_marked_from_its_first_to_its_last_part(tokenizer: Any) -> None:
    text = SpanRow("x", "x", "fever and headache", entities=(Entity("T", "Sign", ((0, 5), (10, 18))),))
    assert tokens_of(make(), text, tokenizer) == ["[CLS] [E1] fever and headache [/E1] [SEP]"]
    head = make(**OPTIONS["original"])
    assert has.encode(head, [text], tokenizer, training=False)[0]["mention_tokens"] == [1, 3]


# --- gold -------------------------------------------------------------------------------------------------------------


def test_only_labelled_mentions_are_trained_and_all_are_predicted(tokenizer: Any) -> None:
    trained = has.encode(make(), [ROWS[3]], tokenizer, training=True)
    assert [example["entity"] for example in trained] == ["nausea", "fever"]
    scored = has.encode(make(), [ROWS[3]], tokenizer, training=False)
    assert [(example["entity"], example["targets"], example["label"]) for example in scored] == [
        ("nausea", 1, 0),
        ("fever", 1, 1),
        ("headache", 0, IGNORE),
    ]
    (prediction,) = has.predict(make(), [ROWS[3]], tokenizer)
    assert [one["entity"] for one in prediction["attributes"]] == ["nausea", "fever", "headache"]
    assert {one["name"] for one in prediction["attributes"]} == {"assertion"}
    assert all(1 / 3 <= one["score"] <= 1 and one["value"] in LABELS for one in prediction["attributes"])


def test_a_default_is_the_class_of_mentions_without_the_attribute_where_it_was_annotated() -> None:
    head = make(default="present")
    assert head.label_counts(ROWS[3]) == {"absent": 1, "present": 2}
    assert make().label_counts(ROWS[3]) == {"absent": 1, "present": 1}
    for annotated, count in (((), 1), (("Sign",), 1), (("Sign", "assertion"), 2), (None, 2)):
        assert head.label_counts(replace(ROWS[3], annotated=annotated))["present"] == count
    assert not head.is_labelled(head.without_gold(ROWS[3]))


def test_other_entity_types_are_left_out_and_counted(tokenizer: Any) -> None:
    head = make(entity_types=["Disease"])
    assert tokens_of(head, ROWS[2], tokenizer) == ["[CLS] [E1] bleeding [/E1] after nausea [SEP]"]
    assert head.notes(ROWS[2]) == {"mentions_without_a_label": 0, "mentions_of_other_types": 1}
    assert make().notes(ROWS[3]) == {"mentions_without_a_label": 1, "mentions_of_other_types": 0}
    assert head.label_counts(ROWS[2]) == {"present": 1}
    assert head.check(row("x", "nausea", nausea="unknown")) is None, "an attribute that is not read may have any value"


def test_hiding_the_gold_keeps_other_attributes() -> None:
    entity = Entity("T", "Sign", ((0, 5),), ("C1",), {"assertion": "absent", "severity": "high"})
    hidden: Any = make().without_gold(SpanRow("x", "x", "fever", entities=(entity,)))
    assert hidden.entities == (entity._replace(attributes={"severity": "high"}),)


# --- scores -----------------------------------------------------------------------------------------------------------


def test_scores_agree_with_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    gold, guess = (torch.randint(3, (60,), generator=generator).tolist() for _ in range(2))
    head = make(excluded=["present"], metrics=["mcc", "kappa"])
    counts = torch.stack(
        [
            head.counts(predicted(head, fever=LABELS[b]), row("x", "fever", fever=LABELS[a]))
            for a, b in zip(gold, guess, strict=True)
        ]
    )
    found = head.score(counts.sum(0))
    assert found == pytest.approx(
        {
            "accuracy": accuracy_score(gold, guess),
            "macro_f1": f1_score(gold, guess, average="macro"),
            "micro_f1": f1_score(gold, guess, average="micro", labels=[0, 2]),
            "mcc": matthews_corrcoef(gold, guess),
            "kappa": cohen_kappa_score(gold, guess),
        }
    )
    assert make().score(counts.sum(0))["micro_f1"] == pytest.approx(accuracy_score(gold, guess))
    report = head.report(counts.sum(0)).per_class
    assert [report[name]["f1"] for name in LABELS] == pytest.approx(f1_score(gold, guess, average=None))
    assert [report[name]["support"] for name in LABELS] == [gold.count(c) for c in range(3)]
    part, whole = head.proportions(counts)["accuracy"]
    assert float(part.sum() / whole.sum()) == pytest.approx(accuracy_score(gold, guess))


def test_every_labelled_mention_counts_once() -> None:
    head = make()
    counts = head.counts(predicted(head, nausea="absent", fever="possible", headache="absent"), ROWS[3])
    assert counts.reshape(3, 3).tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert head.error(predicted(head, nausea="absent", fever="possible", headache="absent"), ROWS[3]) == 1


RESAMPLED = make(excluded=["present"])


@given(has.corpora(9))
@settings(deadline=None, max_examples=30)
def test_resampled_corpora_score_like_each_alone(corpora: has.Corpora) -> None:
    has.assert_many_corpora_score_like_each_alone(RESAMPLED, corpora)


# --- baselines --------------------------------------------------------------------------------------------------------


def values(predictions: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [{one["entity"]: one["value"] for one in prediction["attributes"]} for prediction in predictions]


def test_the_trivial_predictors() -> None:
    train = [
        row("a", "no fever and no headache and no nausea", fever="absent", headache="absent", nausea="absent"),
        row("b", "cancer and bleeding", cancer="present", bleeding="present"),
    ]
    predictors = make().baselines(iter([*train, *UNLABELLED]))
    assert set(predictors) == {"majority", "tfidf", "entity_type"}
    test = row("x", "cancer but no fever")
    found = {name: values(predict([test]))[0] for name, predict in predictors.items()}
    assert found["majority"] == {"cancer": "absent", "fever": "absent"}
    assert found["entity_type"] == {"cancer": "present", "fever": "absent"}
    assert values(predictors["tfidf"](train)) == [{e.id: e.attributes["assertion"] for e in r.entities} for r in train]
    assert set(make().baselines(train[:1])) == {"majority"}, "one class and one type"
    assert make().baselines(UNLABELLED) == {}


def test_tfidf_reads_only_the_text_near_the_mention() -> None:
    train = [row("a", "no fever", fever="absent"), row("b", "headache", headache="present")]
    predict = make().baselines(train)["tfidf"]
    texts = ("nausea", "nausea" + " in the cell" * 20 + " no risk", "nausea in the cell no risk")
    alone, far, near = (predict([row("x", text)])[0]["attributes"][0]["score"] for text in texts)
    assert alone == far != near


# --- problems ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ("a",)}, "labels.*at least 2.*got 1"),
        ({"default": "abset"}, "default.*'abset'.*'absent'"),
        ({"excluded": ["x"]}, "excluded.*'x'"),
        ({"excluded": LABELS}, "excluded.*at least one"),
        ({"class_weights": {"absent": 0.0}}, r"class_weights\.absent.*got 0\.0"),
        ({"input": "original"}, "original.*mention_max"),
        ({"pooling": "max"}, "pooling.*'max'"),
    ],
)
def test_options_that_are_invalid_or_contradict_each_other_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_invalid_rows_are_reported_without_their_text() -> None:
    head = make()
    wrong = row("x", "fever and nausea", fever="absent", nausea="abscent")
    problem = str(head.check(wrong))
    assert re.search(r"'assertion'.*absent, present, possible; got 'abscent' \(did you mean 'absent'", problem)
    assert head.unknown_labels(wrong) == ["'abscent' (did you mean 'absent'?)"]
    assert "0-99" in str(head.check(SpanRow("x", "x", "fever", entities=(Entity("T", "Sign", ((0, 99),)),))))
    assert "text_pair" in str(head.check(SpanRow("x", "x", "fever", "pair")))
    assert all(head.check(one) is None for one in [*ROWS, *UNLABELLED, *PARTLY])
    assert make().row_type is SpanRow
    assert not issubclass(TextRow, MentionClassification.row_type)


# --- real data --------------------------------------------------------------------------------------------------------


def test_characters_that_a_tokenizer_drops_leave_markers_and_mentions(tokenizer: Any) -> None:
    for character in "\u00ad\u200b\ufeff\x00\ue000\ufffd\u0301":
        text = f"no fe{character}ver{character}."
        one = SpanRow("1", "1", text, entities=(Entity("T", "Sign", ((3, len(text) - 1),)),))
        (example,) = has.encode(make(**OPTIONS["original"]), [one], tokenizer, training=False)
        assert example["mention_tokens"], repr(character)
        (tokens,) = tokens_of(make(), one, tokenizer)
        assert tokens.count("E1]") == 2, repr(character)


def test_speculated_events_of_phee_are_the_triggers_with_the_attribute(data_folder: Path, tokenizer: Any) -> None:
    from mtl.readers.brat import Brat

    types = ("Adverse_event", "Potential_therapeutic_event")
    rows: Any = list(Brat(str(data_folder / "phee" / "brat"), types=dict(zip(types, types, strict=True))).read("dev"))
    head = make(labels=["no", "true"], attribute="Speculated", default="no")
    assert [head.check(one) for one in rows if head.check(one) is not None] == []
    counts = sum((Counter(head.label_counts(one)) for one in rows), start=Counter())
    assert counts == {"no": 923, "true": 75}
    assert len(has.encode(head, rows[:100], tokenizer)) == sum(len(one.entities) for one in rows[:100])


@pytest.mark.slow
def test_every_reaction_of_tac_has_a_status_and_is_in_its_window(data_folder: Path, tokenizer: Any) -> None:
    from mtl.readers.tac2017 import TAC2017

    files = {"train": "train_xml.tar.gz"}
    rows: Any = list(TAC2017(str(data_folder / "tac2017_adr"), files=files).read("train"))
    labels = ["affirmed", "hypothetical", "negated"]
    head = make(labels=labels, attribute="status", entity_types=["AdverseReaction"], pooling="entity_start")
    assert [head.check(one) for one in rows if head.check(one) is not None] == []
    counts = sum((Counter(head.label_counts(one)) for one in rows), start=Counter())
    assert counts == {"affirmed": 12070, "hypothetical": 1564, "negated": 161}
    own = has.with_special_tokens(head, tokenizer)
    marker = own.convert_tokens_to_ids("[E1]")
    for example in has.encode(head, rows[:5], tokenizer, max_length=128):
        assert [example["input_ids"][i] for i in example["mention_tokens"]] == [marker]
        assert len(example["input_ids"]) <= 128
