"""Submissions to SemEval-2013 task 9: drug names, or pairs of drugs with their interaction."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from heads import Entity, Row, SpanRow
from mtl.hashed_ids import quoted_id
from mtl.importers import FoundRelation, FoundRow, Importer
from mtl.readers import OFFSET

_OFFSETS = re.compile(rf"{OFFSET}-{OFFSET}(?:;{OFFSET}-{OFFSET})*")

_KINDS = {False: "SENTENCE|START-END|TEXT|TYPE", True: "SENTENCE|E1|E2|0 or 1|TYPE"}
"""The lines of predictions of mentions and of relations."""


class DdiImporter(Importer):
    """``SENTENCE|START-END|TEXT|TYPE`` for each mention, or ``SENTENCE|E1|E2|1|TYPE`` or ``…|0|null`` for each pair.

    END is the last character. Sentences without mentions or pairs have no lines. Predictions of relations must list all
    pairs of the mentions of each row. A file has lines of one kind.
    """

    suffixes = (".ddi", ".ddi.txt")
    lists_all_rows = False

    def read(self, rows: Sequence[Row]) -> Iterator[FoundRow]:
        mentions: dict[str, dict[str, Entity]] = {}
        pairs: dict[str, dict[frozenset[str], FoundRelation | None]] = {}
        first: dict[str, int] = {}
        for number, line in self.lines():
            cells = line.split("|")
            if not line.strip():
                continue
            if len(cells) == 4 and _OFFSETS.fullmatch(cells[1]) and not self.relates:
                found = mentions.setdefault(cells[0], {})
                self._add(found, f"{cells[1]}|{cells[3]}", _mention(cells, len(found)), number, cells[0])
            elif len(cells) == 5 and cells[3] in ("0", "1") and self.relates is not False:
                relation = FoundRelation(cells[1], cells[2], cells[4]) if cells[3] == "1" else None
                self._add(pairs.setdefault(cells[0], {}), frozenset(cells[1:3]), relation, number, cells[0])
            else:
                rule = " or ".join(_KINDS[kind] for kind in (False, True) if self.relates in (None, kind))
                self.bad(number, f"a line must be {rule}", f"{len(cells)} columns")
                continue
            first.setdefault(cells[0], number)
        if self.relates or pairs:
            lacking = [row.id for row in rows if _pairs_of(row) - pairs.get(row.id, {}).keys()]
            self.bad_ids("every pair of the mentions of a row must be listed", lacking)
        for name, number in first.items():
            relations = tuple(relation for relation in pairs.get(name, {}).values() if relation is not None)
            yield FoundRow(name, self.place(number), None, tuple(mentions.get(name, {}).values()), relations)

    def _add(self, found: dict[Any, Any], key: object, value: object, line: int, row_id: str) -> None:
        if key in found:
            self.bad(line, "a mention or pair must be listed once", f"it again in {quoted_id(row_id)}")
        found[key] = value


def _pairs_of(row: Row) -> set[frozenset[str]]:
    entities = row.entities if isinstance(row, SpanRow) else ()
    return {frozenset((first.id, second.id)) for first, second in combinations(entities, 2)}


def _mention(cells: Sequence[str], number: int) -> Entity:
    parts = [part.split("-") for part in cells[1].split(";")]
    return Entity(f"T{number}", cells[3], tuple((int(start), int(end) + 1) for start, end in parts))
