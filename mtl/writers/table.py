"""Comma- and tab-separated tables: one row per text, or in the long form one row per entity, relation and label."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from mtl.private_files import replacing_private
from mtl.redaction import listed
from mtl.writers import PredictedRow, PredictionWriter

LONG_COLUMNS = ("task", "kind", "type", "start", "end", "text", "head", "tail", "score")
"""Columns of the long form, after the id, the document and the carried columns."""


class TableWriter(PredictionWriter):
    """A table with a header.

    One row per text: `id`, `document`, the carried columns, and for each task the columns `TASK.label` and `TASK.score`
    (multilabel: `TASK.labels`, joined by "|", and the probability of each label in `TASK.score.LABEL`; regression:
    `TASK.value`). Tasks that find, label or relate entities have them as JSON in `TASK.entities` and `TASK.relations`.

    The long form has one row per entity, attribute, relation, label and value, with the columns of `LONG_COLUMNS`:
    `kind` says which it is. `head` and `tail` of a relation, and `head` of an attribute, count the entities of the same
    text and task from 0. The value of an attribute is in `type`, that of a regression in `score`.
    """

    suffixes = (".csv", ".tsv")
    has_long_form = True

    def problem(self, path: Path, tasks: Sequence[str], texts: Sequence[str]) -> str | None:
        own = {"id", "document", *(LONG_COLUMNS if self.long else ())}
        starts = () if self.long else tuple(f"{task}." for task in tasks)
        clashes = [name for name in self.carried if name in own or name.startswith(starts)]
        return (
            f"the input has columns with names that the output needs: {listed(clashes)}"
            if clashes
            else super().problem(path, tasks, texts)
        )

    def write(self, path: Path, rows: Iterable[PredictedRow]) -> None:
        rest = iter(rows)
        first = list(itertools.islice(rest, 1))
        columns = LONG_COLUMNS if self.long else [name for row in first for name in _cells(row)]
        is_tsv = path.suffix.lower() == ".tsv"
        with replacing_private(path, newline="") as file:
            table = _TsvWriter(file) if is_tsv else csv.writer(file, lineterminator="\n")
            if self.is_first:
                table.writerow(["id", "document", *self.carried, *columns])
            for row in itertools.chain(first, rest):
                start = [row.id, row.document, *(_cell(row.carried.get(key)) for key in self.carried)]
                for cells in _long_cells(row) if self.long else [_cells(row)]:
                    table.writerow([*start, *(_cell(cells.get(name)) for name in columns)])


class _TsvWriter:
    """Writes rows without quotes, as reader `table` expects them; a tab or line break within a cell becomes a blank.

    Args:
        file: The file.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def writerow(self, cells: Iterable[Any]) -> None:
        """Writes a row."""
        self._file.write("\t".join(_BREAKS.sub(" ", str(cell)) for cell in cells) + "\n")


_BREAKS = re.compile(r"[\t\n\r]")


def _cells(row: PredictedRow) -> dict[str, Any]:
    """The cells of a row in the wide form, by column."""
    cells: dict[str, Any] = {}
    for task, prediction in row.predictions.items():
        for key, value in prediction.items():
            if key == "labels":
                cells[f"{task}.labels"] = "|".join(value)
            elif key != "scores":
                cells[f"{task}.{key}"] = value
        if "labels" in prediction:
            cells |= {f"{task}.score.{label}": score for label, score in prediction.get("scores", {}).items()}
    return cells


def _long_cells(row: PredictedRow) -> Iterator[Mapping[str, Any]]:
    for task, prediction in row.predictions.items():
        for index, entity in enumerate(prediction.get("entities", ())):
            places = {name: entity[name] for name in ("start", "end", "text")}
            yield {"task": task, "kind": "entity", "type": entity["type"], **places, "score": entity["score"]}
            for found in entity.get("attributes", {}).values():
                value = {"type": found["value"], "head": index, "score": found["score"]}
                yield {"task": task, "kind": "attribute", **places, **value}
        for relation in prediction.get("relations", ()):
            yield {"task": task, "kind": "relation", **relation}
        if "label" in prediction:
            yield {"task": task, "kind": "label", "type": prediction["label"], "score": prediction.get("score")}
        for label in prediction.get("labels", ()):
            yield {"task": task, "kind": "label", "type": label, "score": prediction.get("scores", {}).get(label)}
        if "value" in prediction:
            yield {"task": task, "kind": "value", "score": prediction["value"]}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
