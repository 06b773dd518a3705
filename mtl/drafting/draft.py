"""Drafts the tasks of a data file: reads all its rows, and writes the fields of the tasks that fit, with comments."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from heads.rows import Entity, Row, SpanRow, TextRow
from mtl.config.components import find
from mtl.drafting.guess import Guess, guess
from mtl.problems import InputError, Problem
from mtl.readers import SPLITS
from mtl.redaction import is_name

FRACTIONS = {"train": 0.8, "dev": 0.1, "test": 0.1}
"""Fractions of the documents for the splits of a file without splits."""

SHOWN = 12
"""Maximum number of labels that a comment counts."""


class TaskDraft(NamedTuple):
    """A task as it will be written.

    Args:
        name: Name of the task.
        fields: Its fields in the mixture.
        comments: Lines about its rows.
    """

    name: str
    fields: dict[str, Any]
    comments: list[str]


def draft_tasks(path: Path, name: str) -> list[TaskDraft]:
    """The tasks that fit a file, or a folder with a file per split.

    Args:
        path: The file or folder.
        name: Name of the task; a second task of the same rows gets an ending.

    Raises:
        InputError: No reader fits, rows are bad, or they have no labels.
    """
    found = guess(path)
    data: dict[str, Any] = {"reader": found.reader, "path": str(path), **found.options}
    splits = read(path, found)
    rows = [row for split in splits.values() for row in split]
    if not rows:
        raise InputError(Problem(str(path), "There are no rows.", "Check the file."))
    comments = [*found.notes, _sizes(splits)]
    if division := division_of(splits):
        data["split"] = division
    if isinstance(rows[0], SpanRow):
        return list(_span_tasks(name, data, comments, [row for row in rows if isinstance(row, SpanRow)]))
    return [_text_task(path, name, data, comments, [row for row in rows if isinstance(row, TextRow)])]


def read(path: Path, found: Guess) -> dict[str, list[Row]]:
    """The rows of each split of the source.

    Raises:
        InputError: Rows are bad.
    """
    reader = find("reader", found.reader, "reader")(str(path), **found.options)
    problems: list[Problem] = []
    splits: dict[str, list[Row]] = {}
    for split in reader.sources():
        try:
            splits[split] = list(reader.read(split))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return splits


def division_of(splits: Mapping[str, Sequence[Row]]) -> dict[str, Any] | None:
    """How to divide the train split so that there are train, dev and test, or at least dev; None if there are.

    >>> division_of({"train": [], "test": []})
    {'fractions': {'train': 0.9, 'dev': 0.1}}
    """
    missing = [split for split in SPLITS if split not in splits]
    if not missing or missing == ["test"]:
        return None
    if missing == ["dev"]:
        return {"fractions": {"train": 0.9, "dev": 0.1}}
    return {"fractions": dict(FRACTIONS)}


# --- tasks of texts ---------------------------------------------------------------------------------------------------


def _text_task(path: Path, name: str, data: dict[str, Any], comments: list[str], rows: Sequence[TextRow]) -> TaskDraft:
    labels = [row.label for row in rows if row.label is not None]
    if not labels:
        advice = "Write the task by hand and name the column of the label under `columns`."
        raise InputError(Problem(str(path), "No column looks like a label.", advice))
    fields: dict[str, Any]
    if all(isinstance(label, float | int) for label in labels):
        values = [float(label) for label in labels if isinstance(label, float | int)]
        low, high = _whole(min(values)), _whole(max(values), up=True)
        fields = {"head": "regression", "options": {"range": [low, high if high > low else low + 1]}}
        comments = [
            *comments,
            f"Labels are numbers from {min(values):g} to {max(values):g}: adapt `range` to the scale.",
        ]
    else:
        is_list = any(isinstance(label, tuple) for label in labels)
        counted = Counter(part for label in labels for part in (label if isinstance(label, tuple) else (str(label),)))
        fields = {"head": "multilabel" if is_list else "classification", "labels": sorted(counted)}
        comments = [*comments, f"Labels: {_counted(counted)}."]
        if all(re.fullmatch(r"[+-]?\d+", label) for label in counted) and len(counted) > 2:
            comments.append(
                "Numbers are read as names of classes; for a scale, use head: regression, label_type: number."
            )
    if any(row.text_pair for row in rows):
        comments.append("Each row is a pair of texts.")
    if unlabelled := len(rows) - len(labels):
        comments.append(f"{unlabelled} rows have no label; they are not trained.")
    return TaskDraft(name, {**fields, "data": data}, comments)


# --- tasks of mentions ------------------------------------------------------------------------------------------------


def _span_tasks(name: str, data: dict[str, Any], comments: list[str], rows: Sequence[SpanRow]) -> Iterator[TaskDraft]:
    types = Counter(entity.type for row in rows for entity in row.entities)
    related = Counter(relation.type for row in rows for relation in row.relations if relation.type)
    if not types:
        raise InputError(Problem(data["path"], "There are no entities.", "Check the file and the reader."))
    entities = {"head": "token_classification", "labels": sorted(types), "data": data}
    yield TaskDraft(name, entities, [*comments, f"Mentions: {_counted(types)}."])
    if related:
        pairs = sorted({pair for row in rows for pair in _type_pairs(row)})
        fields = {
            "head": "relation",
            "labels": [*sorted(related), "none"],
            "options": {"negative": "none", "pairs": [list(pair) for pair in pairs]},
            "data": data,
        }
        note = "All pairs of mentions of these types in a sentence are candidates; those without a relation are `none`."
        yield TaskDraft(f"{name}_relations", fields, [f"Relations: {_counted(related)}.", note])
    for attribute in sorted({key for row in rows for entity in row.entities for key in entity.attributes}):
        yield _attribute_task(name, data, attribute, [entity for row in rows for entity in row.entities])


def _attribute_task(name: str, data: dict[str, Any], attribute: str, entities: Sequence[Entity]) -> TaskDraft:
    """The task of an attribute of mentions; one that has a single value is taken for true or not."""
    having = [entity for entity in entities if attribute in entity.attributes]
    types = sorted({entity.type for entity in having})
    values = Counter(entity.attributes[attribute] for entity in having)
    lacking = sum(entity.type in types for entity in entities) - len(having)
    options: dict[str, Any] = {"attribute": attribute, "entity_types": types}
    comments = [f"Values of {attribute if is_name(attribute) else 'the attribute'}: {_counted(values)}."]
    if len(values) == 1:
        options["default"] = next(name for name in ("none", "no value") if name not in values)
    if lacking:
        note = f"`{options['default']}`" if "default" in options else "left out; set `default` if that means something"
        comments.append(f"{lacking} mentions of these types have no value: {note}.")
    labels = [*sorted(values), *([options["default"]] if "default" in options else [])]
    fields = {"head": "mention_classification", "labels": labels, "options": options, "data": data}
    return TaskDraft(re.sub(r"\W", "_", f"{name}_{attribute}", flags=re.ASCII), fields, comments)


def _type_pairs(row: SpanRow) -> Iterator[tuple[str, str]]:
    """The types of heads and tails of the relations of a row, which name mentions or concepts."""
    type_of = {entity.id: entity.type for entity in row.entities}
    type_of |= {concept: entity.type for entity in row.entities for concept in entity.concepts}
    for relation in row.relations:
        if relation.head in type_of and relation.tail in type_of:
            yield type_of[relation.head], type_of[relation.tail]


# --- comments and YAML ------------------------------------------------------------------------------------------------


def _sizes(splits: Mapping[str, Sequence[Row]]) -> str:
    texts = [row.text for rows in splits.values() for row in rows]
    words = sorted(len(text.split()) for text in texts)
    counts = ", ".join(f"{split} {len(rows)}" for split, rows in splits.items())
    return f"Rows: {counts}. Words per text: median {words[len(words) // 2]}, longest {words[-1]}."


def _counted(counts: Counter[str]) -> str:
    """The most frequent names with their counts; names that may be texts of rows are not shown."""
    parts = [f"{label if is_name(label) else f'(a name of {len(label)} characters)'} {count}"
             for label, count in counts.most_common(SHOWN)]  # fmt: skip
    return ", ".join(parts) + (f", and {len(counts) - SHOWN} more" if len(counts) > SHOWN else "")


def _whole(value: float, *, up: bool = False) -> int:
    return int(-(-value // 1)) if up else int(value // 1)


def as_yaml(name: str, tasks: Iterable[TaskDraft], encoder: str, max_length: int) -> str:
    """A commented mixture file.

    Args:
        name: Name of the mixture.
        tasks: Its tasks.
        encoder: Name of the encoder.
        max_length: Maximum number of tokens of an example.
    """
    tasks = list(tasks)
    lines = [
        f"# Drafted by `mtl init`. Read it, then: mtl check {name}.yaml",
        f"name: {_scalar(name)}",
        f"encoder: {{name: {_scalar(encoder)}, max_length: {max_length}}}  # or any Hugging Face encoder, or a folder",
    ]
    if len(tasks) > 1:
        lines.append("sampler: {name: temperature, temperature: 2.0}  # small tasks get more steps than their share")
    lines.append("tasks:")
    for task in tasks:
        lines.append(f"  {_scalar(task.name)}:")
        lines += [f"    # {comment}" for comment in task.comments]
        dumped = yaml.safe_dump(task.fields, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
        lines += [f"    {line}" for line in dumped.splitlines()]
    return "\n".join(lines) + "\n"


def _scalar(text: str) -> str:
    return yaml.safe_dump(text, allow_unicode=True).splitlines()[0]
