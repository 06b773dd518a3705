"""Checks of the annotation of a row from which relations are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from heads._mention_checks import check_mentions
from heads._text import describe
from heads.rows import Entity, SpanRow


def check_span_row(row: SpanRow, labels: Sequence[str], level: Literal["mention", "concept"]) -> str | None:
    """The first problem of a row in the form "rule, got value", or None.

    Args:
        row: The row.
        labels: Allowed relation types.
        level: Whether relations join mentions or concepts.
    """
    problem = check_mentions(row)
    if problem is not None:
        return problem
    ids = _argument_ids(row.entities, level)
    for relation in row.relations:
        if relation.type is not None and relation.type not in labels:
            return f"the type of a relation must be one of: {', '.join(labels)}; got {describe(relation.type, labels)}"
        for argument in (relation.head, relation.tail):
            if argument not in ids:
                kind = "entities" if level == "mention" else "concepts"
                return f"a relation must join ids of {kind} of the row, got {describe(argument)}"
    return None


def _argument_ids(entities: Sequence[Entity], level: Literal["mention", "concept"]) -> set[str]:
    if level == "mention":
        return {entity.id for entity in entities}
    return {concept for entity in entities for concept in entity.concepts}
