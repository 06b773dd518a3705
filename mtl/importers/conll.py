"""Mentions of another system as tagged words, one per line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from heads import Entity, Row, Span
from heads._tags import to_spans
from mtl.importers import FoundRow, Importer
from mtl.redaction import shown

MARK = "-DOCSTART-"
"""First column of a line that starts a document."""

IGNORED = "tags I- that continue no mention"


class _Word(NamedTuple):
    line: int
    text: str
    tag: str


class ConllImporter(Importer):
    """A word in the first column and its tag (BIO) in the last, and a blank line after each text.

    Columns are separated by tabs or blanks. Texts have no ids: they must be those of the split, in its order, with the
    same letters. Words may be divided in other places. Tags are decoded as those of the task's own models: strictly,
    which leaves out an I that continues no mention, or leniently.
    """

    suffixes = (".conll", ".bio", ".iob", ".iob2", ".tsv")

    def read(self, rows: Sequence[Row]) -> Iterator[FoundRow]:
        texts = list(self._texts())
        if len(texts) != len(rows):
            number = min(len(texts), len(rows))
            line = texts[number][0].line if number < len(texts) else 0
            self.bad(line, f"the file must have the {len(rows)} texts of the split", f"{len(texts)}")
        for words, row in zip(texts, rows, strict=False):
            places = _places(row.text)
            letters = "".join("".join(word.text.split()) for word in words)
            if letters != "".join(row.text.split()):
                rule = "the words must be those of the row with this number in the split"
                self.bad(words[0].line, rule, f"{len(letters)} letters for {len(places)}")
                continue
            yield FoundRow(row.id, self.place(words[0].line), mentions=tuple(self._mentions(words, places)))

    def _texts(self) -> Iterator[list[_Word]]:
        words: list[_Word] = []
        for number, line in self.lines():
            cells = line.split("\t") if "\t" in line else line.split()
            if not line.strip() or cells[0] == MARK:
                if words:
                    yield words
                words = []
            elif len(cells) < 2 or (cells[-1] != "O" and cells[-1].partition("-")[0] not in ("B", "I")):
                self.bad(number, "a line must have a word and a tag: O, B-TYPE or I-TYPE", shown(cells[-1], "a tag"))
            else:
                words.append(_Word(number, cells[0], cells[-1]))
        if words:
            yield words

    def _mentions(self, words: Sequence[_Word], places: Sequence[int]) -> Iterator[Entity]:
        ends: list[int] = [0]
        for word in words:
            ends.append(ends[-1] + len("".join(word.text.split())))
        spans = to_spans([word.tag for word in words], "BIO", lenient=self.lenient)
        ignored = sum(word.tag != "O" for word in words) - sum(span.end - span.start for span in spans)
        if ignored:
            self.left_out[IGNORED] += ignored
        for number, span in enumerate(spans):
            first, last = ends[span.start], ends[span.end] - 1
            place: Span = (places[first], places[last] + 1)
            yield Entity(f"T{number}", span.type, (place,))


def _places(text: str) -> list[int]:
    """The offsets of the characters that are no blanks."""
    return [place for place, character in enumerate(text) if not character.isspace()]
