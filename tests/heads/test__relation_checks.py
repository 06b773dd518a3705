from __future__ import annotations

from typing import Any

import pytest

from heads._relation_checks import check_span_row
from heads.rows import Entity, Relation, SpanRow

TEXT = "Aspirin causes ulcers."
DRUG, ULCER = Entity("T1", "Drug", ((0, 7),), ("D1",)), Entity("T2", "Disease", ((15, 21),), ("C1",))


def row(**changes: Any) -> SpanRow:
    return SpanRow("1", "d", TEXT, **{"entities": (DRUG, ULCER), **changes})


@pytest.mark.parametrize("level", ["mention", "concept"])
def test_a_row_with_valid_relations_has_no_problem(level: Any) -> None:
    ids = ("T1", "T2") if level == "mention" else ("D1", "C1")
    assert check_span_row(row(relations=(Relation(*ids, "causes"),)), ["causes"], level) is None
    assert check_span_row(row(sentences=((0, len(TEXT)),)), ["causes"], level) is None


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"entities": (DRUG, Entity("T1", "Disease", ((15, 21),)))}, "T1"),
        ({"entities": (Entity("T1", "Drug", ((0, 99),)),)}, "0-99"),
        ({"entities": (Entity("T1", "Drug", ()),)}, "no position"),
        ({"entities": (Entity("T1", "Drug", ((8, 14), (0, 7))),)}, "8-14, 0-7"),
        ({"entities": (Entity("T1", "Drug", ((7, 7),)),)}, "7-7"),
        ({"sentences": ((0, 99),)}, "0-99"),
        ({"relations": (Relation("T1", "T2", "cuases"),)}, "'causes'"),
        ({"relations": (Relation("T1", "T9", "causes"),)}, "'T9'"),
        ({"relations": (Relation("D1", "C1", "causes"),)}, "'D1'"),
    ],
)
def test_the_first_problem_is_named_without_text_of_the_row(changes: dict[str, Any], named: str) -> None:
    problem = check_span_row(row(**changes), ["causes"], "mention")
    assert problem is not None
    assert named in problem
    assert "Aspirin" not in problem


def test_relations_between_concepts_name_concepts() -> None:
    relations = (Relation("D1", "C1", "causes"), Relation("T1", "C1", "causes"))
    problem = check_span_row(row(relations=relations), ["causes"], "concept")
    assert problem is not None
    assert "'T1'" in problem
