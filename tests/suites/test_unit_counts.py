"""What published counts count, by hand."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from heads import Entity, Head, Relation, Row, SpanRow, TextRow
from mtl.config.mixture import TaskSpec, build_head
from mtl.suites.unit_counts import Unit, count_units


def head_of(name: str, labels: list[str], **options: Any) -> Head:
    spec = TaskSpec(head=name, labels=tuple(labels), data={"reader": "jsonl", "path": "none"}, options=options)
    head: Head = build_head(spec, 8)
    return head


WORDS = ((0, 1), (2, 3), (4, 5), (6, 7))
SPANS: list[Row] = [
    SpanRow(
        "1",
        "d1",
        "a b c d",
        words=WORDS,
        sentences=((0, 3), (4, 7)),
        entities=(
            Entity("T1", "X", ((0, 3),)),
            Entity("T2", "X", ((2, 3),)),
            Entity("T3", "Y", ((2, 3), (6, 7))),
        ),
        relations=(Relation("T1", "T3", "R"),),
    ),
    SpanRow("2", "d1", "a b c d", words=WORDS, entities=(Entity("T1", "X", ((0, 1),)),)),
]
RELATION = head_of("relation", ["R", "none"], negative="none", pairs=[["X", "Y"]], scope="document")
TOKENS = head_of("token_classification", ["X", "Y"])
ONLY_X = head_of("token_classification", ["X"])
PARTS: list[Row] = [
    SpanRow(
        "1",
        "d1",
        "a b c d",
        entities=(Entity("T1", "X", ((0, 1),)), Entity("T1.2", "X", ((4, 5),)), Entity("T2.2", "X", ((2, 3),))),
    )
]
TEXTS: list[Row] = [TextRow(str(i), f"d{i // 2}", "@A$ @B$", label=label) for i, label in enumerate(["R", "none", "R"])]
READY = head_of("relation", ["R", "none"], negative="none", placeholders=["@A$", "@B$"])


@pytest.mark.parametrize(
    ("unit", "head", "rows", "expected"),
    [
        ("mentions", TOKENS, SPANS, 4),
        ("mentions", TOKENS, PARTS, 3),
        ("undivided_mentions", TOKENS, PARTS, 2),
        ("undivided_mentions", TOKENS, SPANS, 4),
        ("labelled_words", TOKENS, SPANS, 2 + 2 + 1),
        ("labelled_words", ONLY_X, SPANS, 2 + 1),
        ("candidate_pairs", RELATION, SPANS, 2),
        ("candidate_pairs", READY, TEXTS, 3),
        ("positive_relations", RELATION, SPANS, 1),
        ("positive_relations", READY, TEXTS, 2),
        ("sentences", READY, TEXTS, 3),
        ("abstracts", READY, TEXTS, 2),
    ],
)
def test_units_are_counted(unit: Unit, head: Head, rows: list[Row], expected: int) -> None:
    assert count_units(unit, head, rows) == expected


@pytest.mark.parametrize("unit", get_args(Unit))
def test_every_unit_of_no_rows_is_0(unit: Unit) -> None:
    assert count_units(unit, READY, []) == 0
