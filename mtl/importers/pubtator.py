"""Mentions and relations of another system in PubTator's format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from heads import Row, SpanRow
from mtl.importers import FoundRelation, FoundRow, Importer
from mtl.problems import Problem
from mtl.readers.pubtator import Pubtator


class PubtatorImporter(Importer):
    """Documents with title, abstract, mentions and relations between concepts, as the reader `pubtator` reads them.

    A document without mentions has its two lines of text.
    """

    suffixes = (".pubtator", ".pubtator.txt")

    def read(self, rows: Sequence[Row]) -> Iterator[FoundRow]:
        reader = Pubtator("", files={"test": str(self.path)}, on_bad_row="skip")
        for row in reader.read("test"):
            assert isinstance(row, SpanRow)
            relations = tuple(FoundRelation(r.head, r.tail, r.type or "") for r in row.relations)
            yield FoundRow(row.id, str(self.path), row.text, row.entities, relations)
        self.problems += [
            Problem(bad.file if bad.line is None else f"{bad.file}:{bad.line}", f"{bad.rule}, got {bad.found}.")
            for bad in reader.bad_rows
        ]
