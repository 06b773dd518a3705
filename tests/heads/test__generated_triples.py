"""Relations as text, read back, and scored in both published ways."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from heads._generated_triples import Triple, Triples
from heads._generation_kinds import Parsed
from heads.rows import Entity, Relation, SpanRow

LABELS = ("effect", "advise", "int")
KIND = Triples(LABELS, None)
NAMES = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9(),\- ]{0,12}[a-zA-Z0-9]", fullmatch=True).map(
    lambda text: " ".join(text.split())
)
TRIPLES = st.lists(
    st.builds(Triple, NAMES, NAMES, st.sampled_from(LABELS)),
    max_size=4,
    unique_by=lambda triple: triple.key(directed=False),
)


def row_of(*pairs: tuple[str, str, str], number: int = 0, document: str = "d") -> SpanRow:
    """A row whose text lists the mentions of some triples."""
    text, entities, relations = "", [], []
    for place, (head, tail, kind) in enumerate(pairs):
        for side, name in (("h", head), ("t", tail)):
            entities.append(Entity(f"{side}{place}", "drug", ((len(text), len(text) + len(name)),)))
            text += f"{name} . "
        relations.append(Relation(f"h{place}", f"t{place}", kind))
    return SpanRow(str(number), document, text or "nothing", entities=tuple(entities), relations=tuple(relations))


@given(TRIPLES, st.booleans())
def test_parsing_undoes_rendering(triples: list[Triple], directed: bool) -> None:
    separated = [f" {name} ".lower() for triple in triples for name in triple[:2]]
    assume(not any(word in name for name in separated for word in (" and ", " is ")))
    kind = Triples(LABELS, None, directed=directed)
    assert kind.parse(kind.render(triples)) == Parsed(tuple(triples))


@given(st.text(max_size=80))
def test_any_text_can_be_parsed_and_what_is_read_is_read_again(text: str) -> None:
    parsed = KIND.parse(text)
    again = KIND.parsed(KIND.prediction(parsed))
    assert again == parsed
    assert parsed.items or parsed.num_failed or not any(c.isalnum() for c in text.replace("empty", ""))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the interaction between a and b is int.", Parsed((Triple("a", "b", "int"),))),
        (
            "The interaction between A and B is INT ; the interaction between c and d is effect .",
            Parsed((Triple("A", "B", "int"), Triple("c", "d", "effect"))),
        ),
        (
            "the interaction between a and b is int; the interaction between A and b is int.",
            Parsed((Triple("a", "b", "int"),)),
        ),
        ("the interaction between a and b is unknown.", Parsed((), 1)),
        ("the interaction between a and b is int; the interaction", Parsed((Triple("a", "b", "int"),), 1)),
        ("empty.", Parsed(())),
        ("", Parsed((), 1)),
    ],
)
def test_a_text_is_read_part_by_part(text: str, expected: Parsed) -> None:
    assert KIND.parse(text) == expected


@pytest.mark.parametrize(("directed", "right_predicted_gold"), [(True, [2, 3, 3]), (False, [2, 2, 2])])
def test_the_order_of_the_arguments_counts_only_if_relations_have_a_direction(
    *, directed: bool, right_predicted_gold: list[int]
) -> None:
    kind = Triples(LABELS, None, directed=directed)
    row = row_of(("a", "b", "int"), ("b", "a", "int"), ("c", "d", "effect"))
    said = [Triple("A", "B", "int"), Triple("d", "c", "effect"), Triple("b", "a", "int")]
    found = kind.parse(kind.render(said))
    assert kind.unreadable(row) is None
    table = kind.counts(kind.prediction(found), row)[:-4].reshape(-1, 3)
    assert table.sum(0).tolist() == right_predicted_gold


@given(st.permutations(range(3)))
def test_the_order_of_what_is_written_does_not_change_the_counts(order: list[int]) -> None:
    """A text that names two concepts fits either: each triple must find a gold of its own, where there is one."""
    entities = (
        Entity("T1", "D", ((0, 6),), ("D1", "D2")),
        Entity("T2", "D", ((7, 14),), ("D1",)),
        Entity("T3", "C", ((15, 19),), ("D9",)),
    )
    relations = (Relation("D9", "D1", "int"), Relation("D9", "D2", "int"))
    row = SpanRow("1", "1", "x or y xsyndro drug", entities=entities, relations=relations)
    said = [*(KIND.items(row) or ()), Triple("drug", "nothing", "int")]
    found = KIND.parse(KIND.render([said[place] for place in order]))
    table = KIND.counts(KIND.prediction(found), row)[:-4].reshape(-1, 3)
    assert table.sum(0).tolist() == [2, 3, 2]
    assert KIND.notes(row) == {"merged": 0}


def test_relations_of_concepts_with_the_same_text_are_counted_as_merged() -> None:
    entities = (Entity("T1", "D", ((0, 5),), ("D1", "D2")), Entity("T2", "C", ((6, 10),), ("D9",)))
    relations = (Relation("D9", "D1", "int"), Relation("D9", "D2", "int"))
    row = SpanRow("1", "1", "fever drug", entities=entities, relations=relations)
    assert (len(KIND.items(row) or ()), KIND.notes(row)) == (1, {"merged": 1})


def test_heads_follow_the_order_of_the_text() -> None:
    row = row_of(("a", "b", "int"), ("c", "d", "effect"))
    mixed = SpanRow("1", "d", row.text, entities=row.entities, relations=row.relations[::-1])
    assert KIND.items(mixed) == (Triple("a", "b", "int"), Triple("c", "d", "effect"))
    assert KIND.render(KIND.items(mixed) or ()) == (
        "the interaction between a and b is int; the interaction between c and d is effect."
    )


@pytest.mark.parametrize("name", ["acid; base", "salt and water"])
def test_a_mention_that_the_template_cannot_carry_is_refused_by_its_id(name: str) -> None:
    row = row_of(("a", "b", "int"), (name, "d", "int"))
    problem = KIND.unreadable(row)
    assert problem is not None
    assert "'h1' and 't1'" in problem
    assert name not in problem
    assert KIND.unreadable(row_of(("a", "b", "int"))) is None


@pytest.mark.parametrize(
    ("relation", "part"),
    [(Relation("h0", "t0", "other"), "type of a relation"), (Relation("h0", "x", "int"), "join ids")],
)
def test_relations_need_known_types_and_mentions(relation: Relation, part: str) -> None:
    row = row_of(("a", "b", "int"))
    broken = SpanRow("1", "d", row.text, entities=row.entities, relations=(relation,))
    assert part in (KIND.problem(broken) or "")
    assert KIND.problem(row) is None


def test_any_mention_of_a_concept_is_right_and_the_longest_is_written() -> None:
    text = "ASA or aspirin causes rash"
    row = SpanRow(
        "1",
        "d",
        text,
        entities=(
            Entity("1", "drug", ((0, 3),), ("D1",)),
            Entity("2", "drug", ((7, 14),), ("D1",)),
            Entity("3", "sign", ((22, 26),), ("D2",)),
        ),
        relations=(Relation("D1", "D2", "int"),),
    )
    assert KIND.items(row) == (Triple("aspirin", "rash", "int"),)
    for name, right in (("asa", 1), ("Aspirin", 1), ("ibuprofen", 0)):
        assert len(KIND.matches([Triple(name, "rash", "int")], row)) == right
    assert len(KIND.matches([Triple("asa", "rash", "int"), Triple("aspirin", "rash", "int")], row)) == 1


def test_both_published_scores_are_those_computed_by_hand() -> None:
    # Document 1: one of four triples found, nothing wrong: F1 0.4. Document 2: its only one, with a wrong one: 2/3.
    # Document 3 has no triple and none is predicted; document 4 has none and a part that cannot be read.
    first = row_of(*((name, "x", "int") for name in "abcd"))
    second, third, fourth = row_of(("e", "f", "effect")), row_of(), row_of()
    found = [
        Parsed((Triple("a", "x", "int"),)),
        Parsed((Triple("e", "f", "effect"), Triple("e", "f", "int"))),
        Parsed(()),
        Parsed((), 1),
    ]
    counts = [
        KIND.counts(KIND.prediction(parsed), row)
        for parsed, row in zip(found, (first, second, third, fourth), strict=True)
    ]
    scores = {name: float(value) for name, value in KIND.score(torch.stack(counts).sum(0)).items()}
    assert scores == pytest.approx(
        {
            "triple_micro_f1": 4 / 9,
            "triple_document_f1": (0.4 + 2 / 3 + 0) / 3,
            "triple_precision": 2 / 4,
            "triple_recall": 2 / 5,
            "parse_failure_rate": 1 / 4,
        }
    )
    together = KIND.document_counts(torch.stack(counts))
    pooled = {name: float(value) for name, value in KIND.score(together).items()}
    assert pooled["triple_document_f1"] == pooled["triple_micro_f1"] == pytest.approx(4 / 9)


def test_rows_that_are_not_annotated_are_not_scored() -> None:
    row = SpanRow("1", "d", "text", annotated=("effect",))
    assert KIND.items(row) is None
    assert not KIND.counts(KIND.prediction(Parsed(())), row).any()


def test_one_label_needs_no_type_and_several_do() -> None:
    one = Triples(["induces"], "the relation between {head} and {tail} exists")
    items = (Triple("a", "b", "induces"), Triple("c", "d", "induces"))
    assert one.render(items) == "the relation between a and b exists; the relation between c and d exists."
    assert one.parse(one.render(items)) == Parsed(items)
    with pytest.raises(ValueError, match=r"^template .*\{type\}"):
        Triples(LABELS, "the relation between {head} and {tail} exists")
    with pytest.raises(ValueError, match=r"^template .*\{tail\}"):
        Triples(LABELS, "the relation of {head} is {type}")
    with pytest.raises(ValueError, match=r"^labels must differ"):
        Triples(["a-b", "A b"], None)
