"""The i2b2/VA 2010 corpus: discharge summaries with files of concepts, assertions and relations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

from heads.rows import Entity, Relation, Span, SpanRow
from mtl.readers import OFFSET, OnBadRow, Reader
from mtl.readers._columns import MalformedError
from mtl.readers._members import ARCHIVES, Member, companions, content_lines, members
from mtl.readers._mentions import Offsets, between, checked_spans, numbered, renamed

CONCEPTS = ("problem", "test", "treatment")
ASSERTION = "assertion"

_CONCEPT = re.compile(rf'c="(.*)" ({OFFSET}):({OFFSET}) ({OFFSET}):({OFFSET})')
_PARTS = {"c": re.compile("(.+)"), **{letter: re.compile(rf'{letter}="([^"]+)"') for letter in "tar"}}
_SUFFIXES = (".con", ".ast", ".rel")
_UNANNOTATED = "unannotated"

_LEADING = "line with leading blanks, which its offsets count as a token"
_REPEATED = "repeated concept"

Place = tuple[int, int, int, int]
"""First line and token, last line and token of a concept; lines count from 1, tokens from 0."""


class I2B22010(Reader):
    r"""Discharge summaries with problems, tests and treatments, one row per summary.

    The layout is that of the release (Uzuner et al. 2011) as BLUE's `create_i2b2.py` and BigBIO's loader `n2c2_2010`
    read it: for each text a file of concepts (`.con`), of assertions on problems (`.ast`) and of relations (`.rel`),
    which count lines from 1 and the tokens of a line, which blanks separate, from 0. Lines are the sentences of the
    row, and tokens its words. The assertion of a problem (present, absent, possible, conditional, hypothetical,
    associated_with_someone_else) is its attribute `assertion`::

        23.txt  No fever .
        23.con  c="fever" 1:1 1:1||t="problem"
        23.ast  c="fever" 1:1 1:1||t="problem"||a="absent"
        23.rel  (c="…" 1:0 1:0||r="TrAP"||c="…" 1:4 1:5)
        SpanRow("23", "23", "No fever .", words=((0, 2), (3, 8), (9, 10)), sentences=((0, 10),),
                entities=(Entity("T1", "problem", ((3, 8),), attributes={"assertion": "absent"}),))

    A text without a file of relations is not annotated for relations, and one without assertions has no attributes.
    Texts in a folder `unannotated` are left out and counted. Files repeat the text of a concept in lower case, which is
    compared with the text at its offsets. Concepts are continuous; those that overlap are all kept and counted.

    Args:
        path: Folder of the release, with a folder or archive for each split.
        annotations: Folder or archive of the annotations of each split, relative to `path`, such as
            ``{test: reference_standard_for_test_data}``. By default, they are in the source of the split. Files belong
            together by their names, in whichever subfolders they are.
        types: Concept type in the file -> type in the row; several may be merged. Concepts of types that are not
            listed, and their relations, are left out and counted in `left_out`. The default keeps all types.
        offsets: What happens to concepts whose text differs from the text at their offsets. With `check`, their text is
            a bad row; with `trust`, only the offsets count, and the concepts are counted in `adjusted`.
        files: See `Reader`; the folder or archive of the texts of each split.
        on_bad_row: See `Reader`.
        encoding: See `Reader`.
    """

    suffixes: ClassVar[tuple[str, ...]] = ARCHIVES
    ids_are_file_names: ClassVar[bool] = True
    other_names = ("n2c2_2010", "i2b2")

    def __init__(
        self,
        path: str,
        *,
        annotations: Mapping[str, str] | None = None,
        types: Mapping[str, str] | None = None,
        offsets: Offsets = "check",
        files: Mapping[str, str] | None = None,
        on_bad_row: OnBadRow = "error",
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(path, files=files, on_bad_row=on_bad_row, encoding=encoding)
        self.annotations = annotations
        self.types = types
        self.offsets: Offsets = offsets

    def companions(self) -> dict[str, Path]:
        return companions(self, "annotations", self.annotations, lambda source: source)

    def rows(self, source: Path, split: str) -> Iterator[SpanRow]:
        found = self._files(source, (".txt", *_SUFFIXES))
        place = self.companions()[split]
        if place != source:
            for suffix, files in self._files(place, _SUFFIXES).items():
                found[suffix] |= files
        texts = found.pop(".txt")
        for files in found.values():
            for name, file in files.items():
                if name not in texts:
                    self.bad(file.place, None, "an annotation needs a .txt file with the same name", "none")
        for name, text in texts.items():
            if name not in found[".con"]:
                self.bad(text.place, None, "a .txt file needs a .con file with the same name (may be empty)", "none")
            else:
                yield from self._row(name, text, {suffix: files.get(name) for suffix, files in found.items()})

    def _files(self, source: Path, suffixes: Sequence[str]) -> dict[str, dict[str, Member]]:
        """The files of a folder or archive by suffix and name, in the order of names."""
        found: dict[str, dict[str, Member]] = {suffix: {} for suffix in suffixes}
        contents = members(self, source, lambda path: path.suffix in suffixes)
        for name in sorted(contents, key=lambda name: (PurePosixPath(name).name, name)):
            path = PurePosixPath(name)
            if _UNANNOTATED in path.parts[:-1]:
                self.left_out[f"file in a folder {_UNANNOTATED}"] += 1
            elif path.stem in found[path.suffix]:
                self.bad(source / name, None, "the names of texts must be unique within a split", "this one again")
            else:
                found[path.suffix][path.stem] = Member(source / name, contents[name])
        return found

    def _row(self, name: str, file: Member, annotations: Mapping[str, Member | None]) -> Iterator[SpanRow]:
        """The row of a text, or nothing if it is bad or empty."""
        written = self.decode(file.content, file.place)
        lines = {suffix: self._lines(own) for suffix, own in annotations.items() if own is not None}
        if written is None or any(own is None for own in lines.values()):
            return
        text = _Note(written.replace("\r\n", "\n"), self.offsets)
        if not text.words and not any(lines.values()):
            self.left_out["empty text"] += 1
            return
        for suffix, read in ((".con", text.concept), (".ast", text.assertion), (".rel", text.relation)):
            for number, line in lines.get(suffix) or ():
                try:
                    read(line)
                except MalformedError as error:
                    own = annotations[suffix]
                    assert own is not None, "it has lines"
                    self.bad(own.place, number, error.rule, error.found)
                    return
        self.adjusted.update(text.adjusted)
        self.left_out.update(text.left_out)
        yield self._finished(name, text, has_relations=".rel" in lines)

    def _finished(self, name: str, text: _Note, *, has_relations: bool) -> SpanRow:
        entities = renamed(numbered(text.concepts.values()), self.types, self.left_out)
        ids = {place: f"T{number}" for number, place in enumerate(text.concepts, start=1)}
        joined = [Relation(ids[head], ids[tail], kind) for head, tail, kind in dict.fromkeys(text.relations)]
        return SpanRow(
            id=name,
            document=name,
            text=text.text,
            words=tuple(text.words),
            sentences=tuple(text.sentences),
            entities=entities,
            relations=between(joined, entities, self.left_out),
            annotated=None if has_relations else self._types(),
        )

    def _types(self) -> tuple[str, ...]:
        """The entity types of the rows."""
        return CONCEPTS if self.types is None else tuple(dict.fromkeys(self.types.values()))

    def _lines(self, file: Member) -> list[tuple[int, str]] | None:
        """The lines of a file that are not blank; None if one is not valid."""
        lines = list(content_lines(self, file))
        if not all(line.is_valid for line in lines):
            return None
        return [(line.number, line.text.strip()) for line in lines if line.text.strip()]


class _Note:
    """A text with its tokens by line, and the annotations that have been read so far."""

    def __init__(self, text: str, offsets: Offsets) -> None:
        self.text = text
        self.adjusted: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.concepts: dict[Place, Entity] = {}
        self.relations: list[tuple[Place, Place, str]] = []
        self.sentences: list[Span] = []
        self._offsets: Offsets = offsets
        self._lines: list[list[Span]] = []
        start = 0
        for line in text.split("\n"):
            tokens = [(start + match.start(), start + match.end()) for match in re.finditer(r"\S+", line)]
            self._lines.append(tokens)
            self.sentences += [(tokens[0][0], tokens[-1][1])] if tokens else []
            start += len(line) + 1
        self.words = [token for tokens in self._lines for token in tokens]

    def concept(self, line: str) -> None:
        """Reads ``c="…" 1:0 1:2||t="…"``."""
        written, kind = _parts(line, "ct")
        place, mention = _place(written)
        if place in self.concepts and self.concepts[place].type == kind:
            self.left_out[_REPEATED] += 1
            return
        if place in self.concepts:
            raise MalformedError("a concept must have one type", "two at the same tokens")
        self.concepts[place] = Entity("", kind, self._spans(place, mention))

    def assertion(self, line: str) -> None:
        """Reads ``c="…" 1:0 1:2||t="…"||a="…"``."""
        written, kind, value = _parts(line, "cta")
        place = self._known(written)
        entity = self.concepts[place]
        if entity.type != kind:
            raise MalformedError("an assertion must have the type of its concept", "another type")
        if entity.attributes.get(ASSERTION, value) != value:
            raise MalformedError("a concept must have one assertion", "two")
        self.concepts[place] = entity._replace(attributes={ASSERTION: value})

    def relation(self, line: str) -> None:
        """Reads ``c="…" 1:0 1:2||r="…"||c="…" 1:4 1:5``."""
        head, kind, tail = _parts(line, "crc")
        self.relations.append((self._known(head), self._known(tail), kind))

    def _known(self, written: str) -> Place:
        place, _ = _place(written)
        if place not in self.concepts:
            raise MalformedError("a concept must be in the .con file", "other lines and tokens")
        return place

    def _spans(self, place: Place, mention: str) -> tuple[Span, ...]:
        """The span of a concept; where a line has leading blanks, its tokens may count from an empty one."""
        first_line, first, last_line, last = place
        spans = [self._span(place)]
        if self._is_indented(first_line):
            spans.append(self._span((first_line, first - 1, last_line, last - 1)))
        fitting = [span for span in spans if span and _normal(self.text[slice(*span)]) == _normal(mention)]
        if fitting:
            self.adjusted.update([_LEADING] if fitting[0] != spans[0] else [])
            return (fitting[0],)
        if spans[0] is None:
            raise MalformedError("lines and tokens must be in the text", ":".join(map(str, place)))
        return checked_spans(self.text, [spans[0]], mention, self._offsets, self.adjusted)

    def _span(self, place: Place) -> Span | None:
        first_line, first, last_line, last = place
        if not 1 <= first_line <= last_line <= len(self._lines):
            return None
        starts, ends = self._lines[first_line - 1], self._lines[last_line - 1]
        if not (0 <= first < len(starts) and 0 <= last < len(ends)) or starts[first][0] >= ends[last][1]:
            return None
        return starts[first][0], ends[last][1]

    def _is_indented(self, line: int) -> bool:
        """Whether a line starts with blanks."""
        tokens = self._lines[line - 1] if 1 <= line <= len(self._lines) else []
        return bool(tokens) and tokens[0][0] > 0 and self.text[tokens[0][0] - 1] != "\n"


def _parts(line: str, letters: str) -> list[str]:
    """The parts of a line: concepts as they are written, labels by their names.

    >>> _parts('c="fever" 1:1 1:1||t="problem"', "ct")
    ['c="fever" 1:1 1:1', 'problem']
    """
    parts = line.split("||")
    matches = [_PARTS[letter].fullmatch(part) for letter, part in zip(letters, parts, strict=False)]
    if len(parts) != len(letters) or not all(matches):
        form = "||".join(f'{letter}="…"' for letter in letters)
        raise MalformedError(f"a line must have the form {form}", f"{len(parts)} parts of another form")
    return [match[1] for match in matches if match]


def _place(written: str) -> tuple[Place, str]:
    match = _CONCEPT.fullmatch(written)
    if match is None:
        raise MalformedError('a concept must be c="…" line:token line:token', "another form")
    mention, *numbers = match.groups()
    first_line, first, last_line, last = map(int, numbers)
    return (first_line, first, last_line, last), mention


def _normal(text: str) -> str:
    return " ".join(text.lower().split())
