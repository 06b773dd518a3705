"""Hallmarks of Cancer (Baker et al. 2016) in BLURB's format: a table of sentences with a flag for each hallmark."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from heads.rows import TextRow
from mtl.hashed_ids import quoted_id
from mtl.problems import InputError, Problem
from mtl.readers import OFFSET, Line, OnBadRow, Reader

HALLMARKS = (
    "activating invasion and metastasis",
    "avoiding immune destruction",
    "cellular energetics",
    "enabling replicative immortality",
    "evading growth suppressors",
    "genomic instability and mutation",
    "inducing angiogenesis",
    "resisting cell death",
    "sustaining proliferative signaling",
    "tumor promoting inflammation",
)
"""The names of the classes 0 to 9."""

_HEADER = ["labels", "sentence", "index"]
_FLAGS = re.compile(",".join(f"{number}_[01]" for number in range(len(HALLMARKS))))
_INDEX = re.compile(rf"(\d+)_s({OFFSET})")


class HoC(Reader):
    """Abstracts, or their sentences, labelled with any number of hallmarks.

    Two sentences, and the row of their document::

        0_0,1_0,…,7_1,8_0,9_0   Cells died .    123_s0
        0_1,1_0,…,7_0,8_0,9_0   Others moved .  123_s1
        TextRow("123", "123", "Cells died . Others moved .",
                label=("activating invasion and metastasis", "resisting cell death"))

    Args:
        path: Folder of `train.tsv`, `dev.tsv` and `test.tsv`.
        unit: What a row is. A document consists of its sentences in order, joined by spaces, and has the labels of all
            of them. A document with a bad sentence is skipped, because its labels are not known.
        files: See `Reader`.
        on_bad_row: See `Reader`.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".tsv",)

    def __init__(
        self,
        path: str,
        *,
        unit: Literal["document", "sentence"] = "document",
        files: Mapping[str, str] | None = None,
        on_bad_row: OnBadRow = "error",
    ) -> None:
        super().__init__(path, files=files, on_bad_row=on_bad_row)
        self.unit = unit

    def rows(self, source: Path, split: str) -> Iterator[TextRow]:
        refused: set[str] = set()
        sentences = self._sentences(source, refused)
        if self.unit == "sentence":
            yield from (TextRow(s.id, s.document, s.text, label=_names(s.classes)) for s in sentences)
            return
        documents: dict[str, list[_Sentence]] = defaultdict(list)
        for sentence in sentences:
            documents[sentence.document].append(sentence)
        for document, parts in documents.items():
            if document in refused:
                continue
            parts.sort(key=lambda sentence: sentence.number)
            if [sentence.number for sentence in parts] != list(range(len(parts))):
                # A line with a bad index leaves a gap: the labels of the missing sentence are not known.
                found = f"{len(parts)} sentences up to s{parts[-1].number} in document {quoted_id(document)}"
                self.bad(source, None, "the sentences of a document must be numbered from 0 without gaps", found)
                continue
            label = _names(frozenset().union(*(sentence.classes for sentence in parts)))
            yield TextRow(document, document, " ".join(sentence.text for sentence in parts), label=label)

    def _sentences(self, source: Path, refused: set[str]) -> Iterator[_Sentence]:
        """The valid sentences of a file; documents with bad sentences are added to `refused`."""
        seen: set[str] = set()
        lines = self.all_lines(source)
        _check_header(next(lines, Line(1, "")), source)
        for line in lines:
            fields = line.text.split("\t")
            index = _INDEX.fullmatch(fields[-1])
            rule = _broken_rule(fields, index, seen)
            if line.is_valid and rule is None:
                assert index is not None
                seen.add(index[0])
                classes = frozenset(n for n, flag in enumerate(fields[0].split(",")) if flag.endswith("1"))
                yield _Sentence(index[0], index[1], int(index[2]), fields[1].strip(), classes)
                continue
            is_counted = self.unit == "document" and index is not None and index[1] in refused
            if rule is not None and line.is_valid and not is_counted:
                self.bad(source, line.number, *rule)
            if index is not None:
                refused.add(index[1])


class _Sentence(NamedTuple):
    id: str
    document: str
    number: int
    text: str
    classes: frozenset[int]


def _check_header(header: Line, source: Path) -> None:
    """Rejects a file without the expected header, which would have another format or lose its first row."""
    columns = header.text.split("\t")
    if columns != _HEADER:
        message = f"The header must be {', '.join(_HEADER)}, got {len(columns)} other columns."
        raise InputError(Problem(f"{source}:{header.number}", message, "Check that it is the right file."))


def _broken_rule(fields: list[str], index: re.Match[str] | None, seen: set[str]) -> tuple[str, str] | None:
    """The rule that a line breaks, and what was found; None for a valid line."""
    if len(fields) != len(_HEADER):
        return "a line must have 3 columns", f"{len(fields)}"
    if index is None:
        return "index must have the form PMID_sN", f"{len(fields[2])} other characters"
    if index[0] in seen:
        return "index must be unique", f"{quoted_id(index[0])} again"
    if _FLAGS.fullmatch(fields[0]) is None:
        return "labels must be 0_0 or 0_1 to 9_0 or 9_1, separated by commas", f"{len(fields[0])} other characters"
    if not fields[1].strip():
        return "sentence must not be empty", "no text"
    return None


def _names(classes: frozenset[int]) -> tuple[str, ...]:
    return tuple(HALLMARKS[number] for number in sorted(classes))
