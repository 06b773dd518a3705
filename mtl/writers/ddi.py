"""Submissions to SemEval-2013 task 9 (drug names and their interactions) in the two layouts that its scorer reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path

from mtl.private_files import replacing_private
from mtl.writers import PredictedRow, PredictionWriter
from mtl.writers._annotations import Annotations, Spans, annotated

NO_RELATION = "0|null"
"""End of the line of a pair without a relation."""


class DdiWriter(PredictionWriter):
    """One text is one sentence, whose id is that of the row.

    - A task that finds mentions (task 9.1): ``SENTENCE|START-END|TEXT|TYPE`` for each. END is the last character, and
      the parts of a discontinuous mention are joined with ``;``.
    - A task that relates mentions (task 9.2): ``SENTENCE|E1|E2|1|TYPE`` or ``SENTENCE|E1|E2|0|null`` for each pair of
      mentions, with the ids of the input. A mention that the input did not give has the id ``SENTENCE.e<number>``.

    The layouts are those that TEES writes for the scorer (github.com/jbjorne/TEES, `Utils/Convert/DDITools.py`).
    """

    suffixes = (".ddi", ".ddi.txt")
    only_mentions = True
    has_attributes = False

    def problem(self, path: Path, tasks: Sequence[str], texts: Sequence[str]) -> str | None:
        if len(tasks) > 1:
            return f"it holds the predictions of one task, got {', '.join(tasks)}"
        return super().problem(path, tasks, texts)

    def write(self, path: Path, rows: Iterable[PredictedRow]) -> None:
        with replacing_private(path) as file:
            for row in rows:
                relates = any("relations" in prediction for prediction in row.predictions.values())
                lines = _pairs if relates else _mentions
                file.writelines(f"{_cell(row.id)}|{line}\n" for line in lines(row, annotated(row)))


def _mentions(row: PredictedRow, found: Annotations) -> Iterator[str]:
    for mention in found.mentions:
        yield f"{_offsets(mention.spans)}|{_cell(mention.text)}|{_cell(mention.type)}"


def _pairs(row: PredictedRow, found: Annotations) -> Iterator[str]:
    ids = [_cell(one.id or f"{row.id}.e{number}") for number, one in enumerate(found.mentions)]
    types = {frozenset((link.head, link.tail)): f"1|{_cell(link.type)}" for link in found.links}
    for first, second in combinations(range(len(ids)), 2):
        yield f"{ids[first]}|{ids[second]}|{types.get(frozenset((first, second)), NO_RELATION)}"


def _offsets(spans: Spans) -> str:
    return ";".join(f"{start}-{end - 1}" for start, end in spans)


def _cell(text: str) -> str:
    return re.sub(r"[|\n\r]", " ", text)
