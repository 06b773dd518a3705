from __future__ import annotations

from typing import Any

import pytest

from heads import Entity, Head, Relation, SpanRow
from heads.classification import Classification
from heads.mention_classification import MentionClassification
from heads.relation import RelationClassification
from heads.token_classification import TokenClassification
from mtl.prediction.mentions import (
    ConceptLexicon,
    NameConcepts,
    by_surface,
    find_sources,
    parse_choices,
    with_mentions,
)
from mtl.problems import InputError


def finder(*labels: str) -> Head:
    return TokenClassification(labels, 4)


def relation(pairs: list[tuple[str, str]] | None = None, **options: Any) -> Head:
    pooling = {"input": "markers", "pooling": "entity_start"}
    return RelationClassification(["up", "none"], 4, negative="none", pairs=pairs, **pooling, **options)  # type: ignore[arg-type]


PAIRS = [("Drug", "Event")]


def test_the_entity_tasks_follow_from_the_types() -> None:
    heads = {"a": finder("Drug"), "b": finder("Event", "Gene"), "c": finder("Gene"), "r": relation(PAIRS)}
    assert find_sources(heads, "r") == ("a", "b")
    merged = {"a": finder("Brand"), "b": finder("Event"), "r": relation(PAIRS, merge_types={"Brand": "Drug"})}
    assert find_sources(merged, "r") == ("a", "b")
    assert find_sources({"a": finder("Drug"), "r": relation()}, "r") == ("a",)


def test_a_task_that_labels_mentions_finds_them_like_a_relation_task() -> None:
    def labels(*types: str) -> Head:
        return MentionClassification(["x", "y"], 4, attribute="negated", entity_types=types)

    heads = {"a": finder("Drug"), "b": finder("Event", "Gene"), "m": labels("Event"), "r": relation(PAIRS)}
    assert find_sources(heads, "m") == ("b",)
    assert parse_choices(["m=b"], heads) == {"m": ("b",)}
    assert find_sources({"a": finder("Drug", "Event"), "m": labels()}, "m") == ("a",)
    with pytest.raises(InputError, match="Sign"):
        find_sources({"a": finder("Drug"), "m": labels("Sign")}, "m")
    row = SpanRow("1", "d", "aspirin fever")
    made = with_mentions(
        row, labels("Event"), [{"entities": [entity("Drug", 0, 7), entity("Event", 8, 13)]}], by_surface
    )
    assert [e.spans for e in made.entities] == [((8, 13),)]


def test_types_that_no_task_finds_are_an_error_that_names_them() -> None:
    with pytest.raises(InputError) as caught:
        find_sources({"a": finder("Drug"), "k": Classification(["x", "y"], 4), "r": relation(PAIRS)}, "r")
    assert "Event" in caught.value.problems[0].message
    assert "Drug" not in caught.value.problems[0].message


def test_types_that_several_tasks_find_need_a_choice() -> None:
    heads = {"a": finder("Drug", "Event"), "b": finder("Event"), "c": finder("Drug"), "r": relation(PAIRS)}
    with pytest.raises(InputError) as caught:
        find_sources(heads, "r")
    assert "--mentions r=" in caught.value.problems[0].suggestion
    assert find_sources(heads, "r", ("c", "b")) == ("c", "b")
    assert parse_choices(["r=c,b"], heads) == {"r": ("c", "b")}


@pytest.mark.parametrize("word", ["r", "r=", "=a", "a=b", "r=k", "x=a"])
def test_a_choice_names_a_relation_task_and_entity_tasks(word: str) -> None:
    heads = {"a": finder("Drug"), "b": finder("Event"), "k": Classification(["x", "y"], 4), "r": relation(PAIRS)}
    with pytest.raises(InputError) as caught:
        parse_choices([word], heads)
    assert {problem.key for problem in caught.value.problems} == {"--mentions"}


def entity(kind: str, start: int, end: int) -> dict[str, Any]:
    return {"type": kind, "start": start, "end": end, "score": 0.5}


def test_predicted_mentions_become_entities_in_text_order_without_repeats() -> None:
    row = SpanRow("1", "d", "aspirin fever aspirin", entities=(Entity("x", "Drug", ((0, 1),)),))
    first = {"entities": [entity("Event", 8, 13), entity("Drug", 0, 7), entity("Gene", 0, 7)]}
    second = {"entities": [entity("Drug", 0, 7), entity("Drug", 14, 21)]}
    made = with_mentions(row, relation(PAIRS), [first, second], by_surface)
    assert [(e.id, e.type, e.spans) for e in made.entities] == [
        ("T1", "Drug", ((0, 7),)),
        ("T2", "Event", ((8, 13),)),
        ("T3", "Drug", ((14, 21),)),
    ]
    assert [e.concepts for e in made.entities] == [("T1",), ("T2",), ("T1",)]


def train(*mentions: tuple[str, str, str]) -> list[SpanRow]:
    return [
        SpanRow(str(i), "d", text, entities=(Entity("T1", kind, ((0, len(text)),), (concept,) if concept else ()),))
        for i, (text, kind, concept) in enumerate(mentions)
    ]


def concepts(lexicon: ConceptLexicon, text: str, kind: str = "Disease") -> tuple[str, ...]:
    (found,) = lexicon([Entity("T1", kind, ((0, len(text)),))], text)
    return found


def test_a_mention_has_the_concept_of_the_longest_equal_surface_form() -> None:
    rows = train(
        ("Renal failure", "Disease", "D2"),
        ("failure", "Disease", "D3"),
        ("Straße", "Disease", "D4"),
        ("renal", "Disease", ""),
        ("il-2", "Disease", "D5"),
    )
    lexicon = ConceptLexicon(rows)
    assert concepts(lexicon, "RENAL FAILURE") == ("D2",)
    assert concepts(lexicon, "acute renal failure") == ("D2",)
    assert concepts(lexicon, "heart failure") == ("D3",)
    assert concepts(lexicon, "STRASSE") == ("D4",)
    assert concepts(lexicon, "IL-2") == ("D5",)
    assert concepts(lexicon, "renal") == concepts(lexicon, "failures") == concepts(lexicon, "") == ()
    assert concepts(lexicon, "failure", "Chemical") == ()


def test_a_surface_form_has_its_most_frequent_concept_and_then_the_first() -> None:
    forms = [("rash", "Disease", "D9"), ("rash", "Disease", "D9"), ("Rash", "Disease", "D1")]
    assert concepts(ConceptLexicon(train(*forms)), "rash") == ("D9",)
    assert concepts(ConceptLexicon(train(*forms[1:])), "rash") == ("D1",)


def test_a_written_name_is_looked_up_among_the_types_that_its_relation_joins() -> None:
    # "Gold" is a chemical, and more often the name of a study.
    places = [("gold", "Chemical", "C1"), ("rash", "Disease", "D1"), *[("gold", "Study", "S1")] * 2]
    text = " ".join(name for name, _, _ in places)
    entities = [Entity(str(i), kind, ((5 * i, 5 * i + 4),), (id,)) for i, (_, kind, id) in enumerate(places)]
    row = SpanRow("1", "1", text, entities=tuple(entities), relations=(Relation("C1", "D1", "CID"),))
    written = [Relation("Gold", "rash", "CID"), Relation("rash", "gold", "CID"), Relation("gold", "rash", "other")]
    assert NameConcepts([row], directed=True)(written) == [Relation("C1", "D1", "CID")]
    assert NameConcepts([row], directed=False)(written) == [Relation("C1", "D1", "CID")] * 2
