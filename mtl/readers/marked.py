"""Sentences in which the two mentions of a relation are between marks: JSON lines, as in SciBERT's ChemProt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from heads.rows import Entity, Relation, SpanRow
from mtl.problems import InputError, Problem
from mtl.readers import OnBadRow, Reader
from mtl.readers._columns import MalformedError, name_of, text_of
from mtl.readers._json import parse_object

CHEMPROT = {"CHEMICAL": ("[[ ", " ]]"), "GENE": ("<< ", " >>")}
"""The marks of SciBERT's ChemProt; their blanks count, because names of chemicals contain brackets."""


class _Marks(NamedTuple):
    """A mention in the text with its marks, in characters: where each mark begins and ends."""

    opening: int
    start: int
    end: int
    closing: int


class MarkedPairs(Reader):
    """Rows with two mentions and the relation between them, from sentences with marks around both.

    Marks, and blanks between them and the mention, are no part of the text of a row. Lines with the same text are one
    document, because a sentence stands in a line for each of its pairs::

        {"text": "<< COX-2 >> is inhibited by [[ aspirin ]].", "label": "INHIBITOR", "metadata": []}
        SpanRow("train-1", "5e70…", "COX-2 is inhibited by aspirin.",
                entities=(Entity("T1", "CHEMICAL", ((22, 29),)), Entity("T2", "GENE", ((0, 5),))),
                relations=(Relation("T1", "T2", "INHIBITOR"),))

    Only the keys `text` and `label` are read. The other pairs of a sentence, and pairs without a relation, are in
    other lines or missing.

    Args:
        path: See `Reader`.
        marks: Entity type -> the mark before a mention and the one after it; the head of the relation first. The
            default is that of SciBERT's ChemProt, `{CHEMICAL: ["[[ ", " ]]"], GENE: ["<< ", " >>"]}`.
        files: See `Reader`.
        on_bad_row: See `Reader`.
        encoding: See `Reader`.

    Raises:
        InputError: `marks` does not have two types with two marks each, all different.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".jsonl")
    other_names = ("scibert", "scierc")

    def __init__(
        self,
        path: str,
        *,
        marks: Mapping[str, Sequence[str]] | None = None,
        files: Mapping[str, str] | None = None,
        on_bad_row: OnBadRow = "error",
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(path, files=files, on_bad_row=on_bad_row, encoding=encoding)
        self.marks = {kind: tuple(pair) for kind, pair in (CHEMPROT if marks is None else marks).items()}
        every = [mark for pair in self.marks.values() for mark in pair]
        if len(self.marks) != 2 or [len(pair) for pair in self.marks.values()] != [2, 2] or len({*every, ""}) != 5:
            advice = 'For example, write {CHEMICAL: ["[[ ", " ]]"], GENE: ["<< ", " >>"]}.'
            raise InputError(Problem("marks", "must be two entity types, each with two different marks.", advice))

    def rows(self, source: Path, split: str) -> Iterator[SpanRow]:
        for number, line in self.lines(source):
            if line.strip():
                try:
                    row = self._row(parse_object(line), f"{split}-{number}")
                except MalformedError as error:
                    self.bad(source, number, error.rule, error.found)
                else:
                    yield row

    def _row(self, record: Mapping[str, Any], name: str) -> SpanRow:
        marked = text_of("text", record.get("text"))
        label = name_of("the label", record.get("label"))
        found = [_find(marked, *pair) for pair in self.marks.values()]
        cut = sorted(cut for one in found for cut in ((one.opening, one.start), (one.end, one.closing)))
        if any(end > start for (_, end), (start, _) in pairwise(cut)):
            raise MalformedError("the marks of the two mentions must not overlap", "overlapping marks")
        starts, ends = ([one[side] for one in cut] for side in (0, 1))
        text = "".join(marked[begin:end] for begin, end in zip([0, *ends], [*starts, len(marked)], strict=True))
        spans = [(one.start - _length(cut, one.start), one.end - _length(cut, one.end)) for one in found]
        entities = tuple(
            Entity(f"T{number}", kind, (span,))
            for number, (kind, span) in enumerate(zip(self.marks, spans, strict=True), start=1)
        )
        document = hashlib.sha256(text.encode()).hexdigest()[:12]
        return SpanRow(name, document, text, entities=entities, relations=(Relation("T1", "T2", label),))


def _find(text: str, before: str, after: str) -> _Marks:
    """The mention between a mark that stands once and the next mark after it, without blanks at its ends."""
    opening = text.find(before)
    if text.count(before) != 1:
        raise MalformedError("the mark before a mention must stand once in a text", f"{text.count(before)} times")
    start = opening + len(before)
    end = text.find(after, start)
    if end < 0:
        raise MalformedError("the mark after a mention must follow the one before it", "none")
    mention = text[start:end]
    if not mention.strip():
        raise MalformedError("a mention must not be empty", f"{len(mention)} blanks")
    blanks = len(mention) - len(mention.lstrip())
    return _Marks(opening, start + blanks, start + len(mention.rstrip()), end + len(after))


def _length(cut: Sequence[tuple[int, int]], position: int) -> int:
    """The number of characters that are cut before a position."""
    return sum(end - start for start, end in cut if end <= position)
