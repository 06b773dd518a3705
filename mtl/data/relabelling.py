"""New names for the labels of a corpus, and which types it annotates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from heads import Row, TextRow

DECIDES_RESULTS = False


def relabelled_rows(
    rows: Iterable[Row], names: Mapping[str, str], annotated: Sequence[str] | None = None
) -> Iterator[Row]:
    """Rows with other names for their labels: classes, entity types and relation types.

    Args:
        rows: The rows.
        names: New name of each label that changes; the others keep their names.
        annotated: Entity types, relation types and labels, by their new names, that the corpus annotates. It holds for
            rows with mentions or a list of labels that do not say so themselves; None leaves them as they are.

    >>> (row,) = relabelled_rows([TextRow("1", "1", "Fever.", label=("A", "B", "C"))], {"A": "x", "B": "x"})
    >>> row.label
    ('x', 'C')
    """
    types = None if annotated is None else tuple(annotated)
    return (_relabelled(row, names, types) for row in rows)


def _relabelled(row: Row, names: Mapping[str, str], annotated: tuple[str, ...] | None) -> Row:
    if isinstance(row, TextRow):
        return _relabelled_text(row, names, annotated)
    return replace(
        row,
        entities=tuple(entity._replace(type=names.get(entity.type, entity.type)) for entity in row.entities),
        relations=tuple(
            relation if relation.type is None else relation._replace(type=names.get(relation.type, relation.type))
            for relation in row.relations
        ),
        annotated=annotated if row.annotated is None else _named(row.annotated, names),
        probabilities=None
        if row.probabilities is None
        else tuple(word._replace(tags=_merged_tags(word.tags, names)) for word in row.probabilities),
    )


def _merged_tags(tags: Mapping[str, float], names: Mapping[str, str]) -> dict[str, float]:
    """The probabilities of tags such as ``B-Drug`` under the new names of their types.

    >>> _merged_tags({"O": 0.5, "B-Brand": 0.25, "B-Drug": 0.25}, {"Brand": "Drug"})
    {'O': 0.5, 'B-Drug': 0.5}
    """
    return _merged(tags, {tag: f"{tag[:2]}{names[tag[2:]]}" for tag in tags if tag[2:] in names})


def _relabelled_text(row: TextRow, names: Mapping[str, str], annotated: tuple[str, ...] | None) -> TextRow:
    label = row.label
    if isinstance(label, tuple):
        label = _named(label, names)
    elif isinstance(label, str):
        label = names.get(label, label)
    known = row.annotated if row.annotated is None else _named(row.annotated, names)
    if known is None and isinstance(label, tuple):
        known = annotated
    soft = None if row.probabilities is None else _merged(row.probabilities, names)
    return replace(row, label=label, probabilities=soft, annotated=known)


def _merged(probabilities: Mapping[str, float], names: Mapping[str, str]) -> dict[str, float]:
    """The probabilities by new names; those of labels with one name are added."""
    merged: dict[str, float] = {}
    for label, value in probabilities.items():
        name = names.get(label, label)
        merged[name] = min(1.0, merged.get(name, 0.0) + value)
    return merged


def _named(labels: Sequence[str], names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names.get(label, label) for label in labels))
