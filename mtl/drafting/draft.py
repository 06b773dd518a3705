"""Drafts the tasks of a data file: reads all its rows, and writes the fields of the tasks that fit, with comments."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from heads.rows import Entity, Row, SpanRow, TextRow
from mtl.config.components import find
from mtl.config.yaml_files import merge
from mtl.drafting.columns import MOST_CLASSES, label_type
from mtl.drafting.guess import Guess, guess
from mtl.messages import counted
from mtl.problems import InputError, Problem
from mtl.readers import SPLITS
from mtl.redaction import is_name, listed

Level = Literal["mention", "concept"]
"""What the relations of a corpus join."""

LEVELS: tuple[Level, ...] = ("mention", "concept")

FRACTIONS = {
    10: {"train": 0.8, "dev": 0.1, "test": 0.1},
    4: {"train": 0.6, "dev": 0.2, "test": 0.2},
    0: {"train": 0.5, "dev": 0.5},
}
"""Fractions for the splits of a file without splits, by the least number of documents, so that no split is empty."""

FRACTIONS_BESIDE_TEST = {10: {"train": 0.9, "dev": 0.1}, 0: {"train": 0.7, "dev": 0.3}}
"""The same where test is there."""

NEGATIVE = "none"
"""The label of pairs without a relation."""

ENOUGH_LABELS = 100
"""Number of labelled rows with which each of the splits has one, however few of all rows they are."""

ENOUGH_SHARE = 0.75
"""Share of labelled rows with which small splits very probably have some, too."""

MOST_BAD = 0.1
"""Largest share of bad rows that are skipped; more of them show that the source is read in the wrong way."""

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
        name: Name of the task; further tasks of the same rows get an ending.

    Raises:
        InputError: No reader fits, rows are bad, or they have no labels.
    """
    found = guess(path)
    try:
        splits = read(path, found)
    except InputError:
        skipping = _skipping_bad_rows(path, found)
        if skipping is None:
            raise
        found = skipping
        splits = read(path, found)
    data: dict[str, Any] = {"reader": found.reader, "path": str(path), **found.options}
    rows = [row for split in splits.values() for row in split]
    if not rows:
        raise InputError(Problem(str(path), "There are no rows.", "Check the file."))
    comments = [*found.notes, _sizes(splits)]
    if division := division_of(splits):
        data["split"] = division
    if isinstance(rows[0], SpanRow):
        return list(_span_tasks(name, data, comments, [row for row in rows if isinstance(row, SpanRow)]))
    first = _text_task(path, name, data, comments, [row for row in rows if isinstance(row, TextRow)])
    return _with_other_labels(path, found, first)


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


def _skipping_bad_rows(path: Path, found: Guess) -> Guess | None:
    """How to read a source without its bad rows, with a note about them; None if they are more than a few."""
    options = merge(found.options, {"on_bad_row": "skip"})
    reader = find("reader", found.reader, "reader")(str(path), **options)
    try:
        num_rows = sum(1 for split in reader.sources() for _ in reader.read(split))
    except InputError:  # not of a row
        return None
    bad = reader.bad_rows
    if not 0 < len(bad) <= MOST_BAD * num_rows:
        return None
    note = f"{counted(len(bad), 'row')} skipped as bad, first {bad[0]}. Fix what is wrong and remove on_bad_row."
    return found._replace(options=options, notes=(*found.notes, note))


def division_of(splits: Mapping[str, Sequence[Row]]) -> dict[str, Any] | None:
    """How to divide the train split so that there are train, dev and test, or at least dev; None if there are.

    >>> division_of({"train": [TextRow(str(number), str(number), "") for number in range(20)], "test": []})
    {'fractions': {'train': 0.9, 'dev': 0.1}}
    """
    missing = [split for split in SPLITS if split not in splits]
    if not missing or missing == ["test"]:
        return None
    choices = FRACTIONS_BESIDE_TEST if missing == ["dev"] else FRACTIONS
    num_documents = len({row.document for row in splits.get("train", ())})
    return {"fractions": next(dict(choice) for least, choice in choices.items() if num_documents >= least)}


# --- tasks of texts ---------------------------------------------------------------------------------------------------


def _text_task(path: Path, name: str, data: dict[str, Any], comments: list[str], rows: Sequence[TextRow]) -> TaskDraft:
    labels = [row.label for row in rows if row.label is not None]
    if not labels:
        advice = "Write the task by hand and name the column of the label under `columns`."
        raise InputError(Problem(str(path), "No column looks like a label.", advice))
    fields: dict[str, Any]
    values = _numbers(labels)
    if values:
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
        if len(counted) > MOST_CLASSES and not is_list:
            comments.append(
                f"These are {len(counted)} classes. If they are numbers, leave out units and words such as NA, and"
                " write points or set `decimal`."
            )
        if len(counted) == 1 and not is_list:
            advice = "Write the task by hand and name another column of the label under `columns`."
            raise InputError(Problem(str(path), "All labels are the same.", advice))
    if any(row.text_pair for row in rows):
        comments.append("Each row is a pair of texts.")
    if unlabelled := len(rows) - len(labels):
        comments.append(f"{unlabelled} rows have no label; they are not trained.")
        if fields["head"] == "multilabel" and "label_separator" in data:
            separator = data["label_separator"]
            comments.append(f"If an empty cell means that no label applies, write {separator!r} in it.")
    return TaskDraft(name, {**fields, "data": data}, comments)


def _numbers(labels: Sequence[str | tuple[str, ...] | float]) -> list[float]:
    """The labels as numbers, which files may have as texts; none if they are names."""
    if any(isinstance(label, tuple) for label in labels):
        return []
    is_scale = not any(isinstance(label, str) for label in labels) or label_type(labels)[0] == "number"
    return [float(label) for label in labels if not isinstance(label, tuple)] if is_scale else []


def _with_other_labels(path: Path, found: Guess, first: TaskDraft) -> list[TaskDraft]:
    """The task of the label and those of the other columns of labels, which share its rows.

    Columns that are not used are a comment of the first task.
    """
    tasks, unused = [first], list(found.unused)
    own = found.options.get("columns", {}).get("label", "label")
    if found.other_labels and is_name(own):  # each task has the name of its column
        tasks = [first._replace(name=f"{first.name}_{_as_name(own)}")]
    for number, (column, changes) in enumerate(found.other_labels.items(), start=2):
        ending = _as_name(column) if is_name(column) else str(number)
        name = f"{first.name}_{ending}"
        if name in [task.name for task in tasks]:
            name = f"{name}_{number}"
        task = _task_of_other_label(path, found, name, changes)
        if task is None:
            unused.append(column)
        else:
            fields = {"head": task.fields["head"], "same_rows_as": tasks[0].name, **task.fields}
            tasks.append(task._replace(fields=fields))
    if unused:
        names = listed(unused, "column") if found.options.get("header", True) else ", ".join(unused)
        tasks[0] = tasks[0]._replace(comments=[*first.comments, f"Columns that are not used: {names}."])
    return tasks


def _as_name(column: str) -> str:
    return re.sub(r"\W", "_", column, flags=re.ASCII)


def _task_of_other_label(path: Path, found: Guess, name: str, changes: dict[str, Any]) -> TaskDraft | None:
    """The task of another column of labels; None if the column cannot be learned.

    Args:
        path: The file or folder.
        found: How to read it.
        name: Name of the task.
        changes: The options that differ from those of the first task.
    """
    try:
        splits = read(path, found._replace(options=merge(found.options, changes)))
        rows = [row for split in splits.values() for row in split if isinstance(row, TextRow)]
        task = _text_task(path, name, changes, [], rows)
    except InputError:  # a value that is no label, such as "unknown" among numbers
        return None
    labelled = [sum(isinstance(row, TextRow) and row.label is not None for row in split) for split in splits.values()]
    has_labels = all(labelled) and sum(labelled) >= min(ENOUGH_LABELS, ENOUGH_SHARE * len(rows))
    has_classes = task.fields["head"] != "classification" or len(task.fields["labels"]) <= MOST_CLASSES
    return task if has_labels and has_classes else None


# --- tasks of mentions ------------------------------------------------------------------------------------------------


def _span_tasks(name: str, data: dict[str, Any], comments: list[str], rows: Sequence[SpanRow]) -> Iterator[TaskDraft]:
    types = Counter(entity.type for row in rows for entity in row.entities)
    if not types:
        raise InputError(Problem(data["path"], "There are no entities.", "Check the file and the reader."))
    entities = {"head": "token_classification", "labels": sorted(types), "data": data}
    relations = _relation_task(name, data, rows)
    comments = [*comments, f"Mentions: {_counted(types)}."]
    if relations is None and any(row.relations for row in rows):
        comments.append("There are relations without a type, or between a mention and a concept; no task reads them.")
    yield TaskDraft(name, entities, comments)
    if relations is not None:
        yield relations
    for attribute in sorted({key for row in rows for entity in row.entities for key in entity.attributes}):
        yield _attribute_task(name, data, attribute, [entity for row in rows for entity in row.entities])


def _relation_task(name: str, data: dict[str, Any], rows: Sequence[SpanRow]) -> TaskDraft | None:
    """The task of the relations; None if there are none that it can read."""
    others = {level: sum(not _joins(row, level) for row in rows) for level in LEVELS}
    level = min(LEVELS, key=lambda one: others[one])
    rows = [row for row in rows if _joins(row, level)]
    related = Counter(relation.type for row in rows for relation in row.relations if relation.type)
    pairs = sorted({pair for row in rows for pair in _type_pairs(row, level)})
    types = sorted(related.keys() - {NEGATIVE})
    if not types or not pairs:
        return None
    options: dict[str, Any] = {"negative": NEGATIVE, "pairs": [list(pair) for pair in pairs]}
    whole = "sentence" if any(row.sentences for row in rows) else "text"
    note = f"All pairs of mentions of these types in a {whole} are candidates"
    if level == "concept":
        options |= {"level": level, "scope": "document"}
        note = "Relations join concepts, so all pairs of concepts of these types in a document are candidates"
    comments = [f"Relations: {_counted(related)}.", f"{note}; those without a relation are `{NEGATIVE}`."]
    if level == "mention" and whole == "text":
        comments.append("With `sentences: split` in `data`, only pairs in the same sentence are.")
    if others[level]:
        data = {**data, "on_bad_row": "skip"}
        comments.append(f"{others[level]} rows have relations that do not join {level}s. They are skipped.")
    fields = {"head": "relation", "labels": [*types, NEGATIVE], "options": options, "data": data}
    return TaskDraft(f"{name}_relations", fields, comments)


def _joins(row: SpanRow, level: Level) -> bool:
    """Whether all relations of a row join what the level says."""
    types = _types(row, level)
    return all(relation.head in types and relation.tail in types for relation in row.relations)


def _type_pairs(row: SpanRow, level: Level) -> Iterator[tuple[str, str]]:
    """The types of heads and tails of the relations of a row."""
    types = _types(row, level)
    return ((types[relation.head], types[relation.tail]) for relation in row.relations)


def _types(row: SpanRow, level: Level) -> dict[str, str]:
    """The type of each mention, or of the first mention of each concept."""
    if level == "mention":
        return {entity.id: entity.type for entity in row.entities}
    return {concept: entity.type for entity in reversed(row.entities) for concept in entity.concepts}


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


def as_yaml(name: str, tasks: Iterable[TaskDraft], encoder: str, max_length: int, file: str) -> str:
    """A commented mixture file.

    Args:
        name: Name of the mixture.
        tasks: Its tasks.
        encoder: Name of the encoder.
        max_length: Maximum number of tokens of an example.
        file: The file, for the comment on what to do next.
    """
    tasks = list(tasks)
    lines = [
        f"# Drafted by `mtl init`. Read it, then: mtl check {file}",
        f"name: {_scalar(name)}",
        f"encoder: {{name: {_scalar(encoder)}, max_length: {max_length}}}  # or any Hugging Face encoder, or a folder",
    ]
    if len(tasks) > 1:
        lines.append("sampler: {name: temperature, temperature: 2.0}  # small tasks get more steps than their share")
    lines.append("tasks:")
    for task in tasks:
        lines.append(f"  {_scalar(task.name)}:")
        lines += [f"    # {comment}" for comment in task.comments]
        dumped = yaml.safe_dump(
            _without_interpolation(task.fields), sort_keys=False, allow_unicode=True, default_flow_style=None, width=110
        )
        lines += [f"    {line}" for line in dumped.splitlines()]
    return "\n".join(lines) + "\n"


def _without_interpolation(value: Any) -> Any:
    r"""The value with ``${`` in its texts, such as the names of labels, written so that it stands for itself."""
    if isinstance(value, Mapping):
        return {key: _without_interpolation(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_interpolation(inner) for inner in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def _scalar(text: str) -> str:
    return yaml.safe_dump(text, allow_unicode=True).splitlines()[0]
