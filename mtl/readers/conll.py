"""CoNLL files: tagged words in columns, one word per line and a blank line after each sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from heads.rows import Entity, Span, SpanRow
from mtl.readers import Line, OnBadRow, Reader
from mtl.readers._blocks import BadLine, Block, blocks, is_whole, refuse
from mtl.readers._words import word_spans
from mtl.redaction import shown

Scheme = Literal["BIO", "IOB1", "IO", "BIOES", "BILOU"]

_PREFIXES: dict[Scheme, str] = {"BIO": "BI", "IOB1": "BI", "IO": "I", "BIOES": "BIES", "BILOU": "BILU"}
_LAST = {"BIOES": "E", "BILOU": "L"}
"""The prefix of the last word of a longer mention, in schemes that mark it."""

_USUAL_MARK = "-DOCSTART-"  # used by CoNLL 2003 and later data sets; never a word of a sentence

_NO_ID = frozenset({"O", "-X-", "-", "_"})
"""Fillers in the other columns of a document mark without an id."""


class Tag(NamedTuple):
    """A prefix of the scheme and an entity type, which is empty for `O`."""

    prefix: str
    type: str


class Conll(Reader):
    r"""One `SpanRow` per sentence: its words joined by spaces, their offsets, and the tagged mentions.

    If the training file starts with ``Low<TAB>B-Finding`` / ``fever<TAB>I-Finding`` / ``.<TAB>O``, the first row has
    the text ``Low fever .``, ``Entity("T1", "Finding", ((0, 9),))`` and the id ``train-1``.

    The id of a row is `<split>-<line of its first word>`. Its document is the id in the last document mark, or
    `<split>-<line of the mark>` if the mark has no id; without marks, every row is its own document. A sentence with an
    invalid tag, or with another number of columns than the first line of the file, is skipped as a whole.

    Comments of CoNLL-U (lines such as `# sent_id = 1` before a sentence, without a tab) are skipped and counted in
    `left_out`; with spaces between the columns they need the option `comment`.

    Args:
        path: See `Reader`.
        token_column: Column of the word, counted from 0; negative numbers count from the end.
        tag_column: Column of the tag, counted in the same way.
        separator: Separator of the columns: one tab, or any number of spaces.
        scheme: Tagging scheme of the file. In BIO (or IOB2), a mention starts with B-. In IOB1, it starts with I-, and
            with B- directly after another of its type. In IO, adjacent mentions of one type are merged. In BIOES, a
            mention of one word is S-, and longer ones end with E-; in BILOU, these are U- and L-.
        document_mark: First column of a line that starts a document, such as "-DOCSTART-"; an id may follow it.
        comment: Start of lines to skip, such as "#".
        entity_type: Type of tags that consist of a prefix only (B, I).
        types: Type in the file -> type in the row. Several types may be merged; types that are not listed are left out
            and counted in `left_out`. The default keeps all types.
        files: See `Reader`.
        on_bad_row: See `Reader`.
        encoding: See `Reader`.
    """

    suffixes = (".tsv", ".conll", ".txt", ".bio", ".iob")
    other_names = ("bio", "iob", "iob2", "conll2003", "conll_2003", "conllu", "conll_u")

    def __init__(
        self,
        path: str,
        *,
        token_column: int = 0,
        tag_column: int = -1,
        separator: Literal["tab", "space"] = "tab",
        scheme: Scheme = "BIO",
        document_mark: str | None = None,
        comment: str | None = None,
        entity_type: str | None = None,
        types: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        on_bad_row: OnBadRow = "error",
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(path, files=files, on_bad_row=on_bad_row, encoding=encoding)
        self.token_column = token_column
        self.tag_column = tag_column
        self.separator = separator
        self.scheme = scheme
        self.document_mark = document_mark
        self.comment = comment
        self.entity_type = entity_type
        self.types = types

    def rows(self, source: Path, split: str) -> Iterator[SpanRow]:
        document: str | None = None
        width: int | None = None
        for block in blocks(self.all_lines(source)):
            sentence: Block = []
            for line in block:
                if self._is_comment(line, before=sentence):
                    self.left_out["comment"] += 1
                    continue
                mark = self._mark(line)
                if mark is None:
                    if width is None and line.is_valid and not line.text.startswith(("#", _USUAL_MARK)):
                        width = len(self._cells(line.text))
                    sentence.append(line)
                    continue
                yield from self._sentence(sentence, source, split, document, width)
                sentence, document = [], mark or f"{split}-{line.number}"
            yield from self._sentence(sentence, source, split, document, width)

    def _is_comment(self, line: Line, before: Block) -> bool:
        """Whether a line is a comment; by default, CoNLL-U's before the first word of a sentence."""
        if self.comment is not None:
            return line.text.startswith(self.comment)
        return self.separator == "tab" and not before and line.text.startswith("# ") and "\t" not in line.text

    def _mark(self, line: Line) -> str | None:
        """The id in a document mark, empty if it has no readable id; None for other lines."""
        first, *others = line.text.split()
        if self.document_mark is None or first != self.document_mark:
            return None
        return next((part for part in others if part not in _NO_ID), "") if line.is_valid else ""

    def _sentence(
        self, lines: Block, source: Path, split: str, document: str | None, width: int | None
    ) -> Iterator[SpanRow]:
        if not lines or not is_whole(lines):
            return
        words, tags, bad_lines = self._columns(lines, width)
        bad_lines = bad_lines or [BadLine(lines[index].number, *rest) for index, *rest in _invalid(tags, self.scheme)]
        if bad_lines:
            refuse(self, source, bad_lines)
            return
        offsets = word_spans(words)
        row_id = f"{split}-{lines[0].number}"
        yield SpanRow(
            id=row_id,
            document=document or row_id,
            text=" ".join(words),
            words=offsets,
            entities=self._entities(mentions(tags, self.scheme), offsets),
        )

    def _columns(self, lines: Block, width: int | None) -> tuple[list[str], list[Tag], list[BadLine]]:
        """The word and the tag of each line, and the problems of bad lines."""
        words, tags, bad_lines = [], [], []
        for number, line, _ in lines:
            if line.split()[0] == _USUAL_MARK:  # not the mark in the option, which `_mark` recognises
                rule = f'a line that starts a document needs the option document_mark: "{_USUAL_MARK}"'
                bad_lines.append(BadLine(number, rule, self.document_mark or "none"))
                continue
            cells = self._cells(line)
            word, tag = self._at(cells, self.token_column), self._at(cells, self.tag_column)
            if word is None or tag is None or len(cells) < 2:
                needed = f"{self.token_column} (word) and {self.tag_column} (tag)"
                rule = f"a line must have the columns {needed}, separated by a {self.separator}"
                bad_lines.append(BadLine(number, rule + self._advice(line), f"a total of {len(cells)}"))
            elif len(cells) != (width or len(cells)):
                rule = f"a line must have {width} columns, as the first line of the file"
                bad_lines.append(BadLine(number, rule + self._advice(line), str(len(cells))))
            elif not word:
                bad_lines.append(BadLine(number, "a word must not be empty", "no characters"))
            else:
                words.append(word)
                tags.append(self._tag(tag))
        return words, tags, bad_lines

    def _cells(self, line: str) -> list[str]:
        return line.split("\t") if self.separator == "tab" else [cell for cell in line.split(" ") if cell]

    def _advice(self, line: str) -> str:
        """The option that a line with a wrong number of columns may need."""
        if line.startswith("#"):
            return ' (or set comment: "#")'
        is_other = "\t" not in line and " " in line.strip() if self.separator == "tab" else "\t" in line
        return f" (or set separator: {'space' if self.separator == 'tab' else 'tab'})" if is_other else ""

    @staticmethod
    def _at(cells: Sequence[str], index: int) -> str | None:
        return cells[index] if -len(cells) <= index < len(cells) else None

    def _tag(self, text: str) -> Tag:
        prefix, _, kind = text.partition("-")
        return Tag(prefix, "" if text == "O" else kind or self.entity_type or "")

    def _entities(self, found: Sequence[tuple[int, int, str]], offsets: Sequence[Span]) -> tuple[Entity, ...]:
        entities: list[Entity] = []
        for first, last, kind in found:
            name = kind if self.types is None else self.types.get(kind)
            if name is None:
                self.left_out[shown(kind, "a type")] += 1
                continue
            span = (offsets[first][0], offsets[last][1])
            entities.append(Entity(f"T{len(entities) + 1}", name, (span,)))
        return tuple(entities)


def mentions(tags: Sequence[Tag], scheme: Scheme) -> list[tuple[int, int, str]]:
    """First word, last word and type of each mention of a sentence with valid tags.

    >>> mentions([Tag("B", "Drug"), Tag("I", "Drug"), Tag("O", ""), Tag("B", "Drug")], "BIO")
    [(0, 1, 'Drug'), (3, 3, 'Drug')]
    """
    found: list[tuple[int, int, str]] = []
    for index, tag in enumerate(tags):
        if tag.prefix == "O":
            continue
        if index and _continues(tags[index - 1], tag, scheme):
            found[-1] = (found[-1][0], index, tag.type)
        else:
            found.append((index, index, tag.type))
    return found


def _invalid(tags: Sequence[Tag], scheme: Scheme) -> Iterator[tuple[int, str, str]]:
    """Index, rule and finding for each tag that is invalid in the scheme."""
    outside = Tag("O", "")
    for index, (before, tag, after) in enumerate(zip([outside, *tags], tags, [*tags[1:], outside], strict=False)):
        if tag == outside:
            continue
        if tag.prefix not in set(_PREFIXES[scheme]):
            rule = f"in {scheme}, a tag must be O or start with {', '.join(_PREFIXES[scheme])} (see the option scheme)"
            yield index, rule, f"a tag of {len(tag.prefix) + len(tag.type)} characters"
        elif not tag.type:
            yield index, "a tag must have a type as in B-Drug (or set entity_type)", f"'{tag.prefix}'"
        elif tag.prefix in "IEL" and scheme not in ("IO", "IOB1") and not _continues(before, tag, scheme):
            advice = " (or set scheme: IOB1, or IO)" if scheme == "BIO" else ""
            yield index, f"in {scheme}, {tag.prefix} must continue a mention of its type{advice}", _after(before)
        elif tag.prefix in "BI" and scheme in _LAST and not _continues(tag, after, scheme):
            rule = f"in {scheme}, {tag.prefix} must be followed by I or {_LAST[scheme]} of its type"
            yield index, rule, _shown(after)


def _after(before: Tag) -> str:
    return f"it after {_shown(before)}"


def _shown(tag: Tag) -> str:
    """A tag's prefix if it belongs to a scheme; any other may be a word, because of a wrong `tag_column`."""
    return tag.prefix if tag.prefix in ("O", *"BIESLU") else "another tag"


def _continues(before: Tag, tag: Tag, scheme: Scheme) -> bool:
    """Whether a tag belongs to the mention of the tag before it."""
    inner = tag.prefix == "I" or tag.prefix == _LAST.get(scheme)
    return inner and before.prefix in ("B", "I") and before.type == tag.type
