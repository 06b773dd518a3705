"""brat standoff annotation: a `.txt` file with a text, and an `.ann` file with its mentions and relations.

Format: https://brat.nlplab.org/standoff.html. The files of a split may be in a folder, a `.zip` or a `.tar.gz`.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from heads.rows import Entity, Relation, Span, SpanRow
from mtl.hashed_ids import quoted_id
from mtl.problems import InputError, Problem
from mtl.readers import OFFSET, OnBadRow, Reader
from mtl.readers._columns import MalformedError
from mtl.readers._members import ARCHIVES, members
from mtl.readers._mentions import Offsets, checked_spans
from mtl.readers._parts import Discontinuous
from mtl.redaction import quoted_code, shown

_ROLE = r"\S[^\s:]*"  # not \S+?, with which a line of colons takes cubic time
_RELATION = re.compile(rf"(\S+) {_ROLE}:(\S+) {_ROLE}:(\S+) *")
_MENTION = re.compile(rf"(\S+) ({OFFSET} {OFFSET}(?:;{OFFSET} {OFFSET})*)")
DIVIDED = "mention divided at a line break, which is joined"

_NO_RETURNS = "text with offsets that do not count carriage returns, which are removed"
_WITH_MARK = "text with offsets that count its byte-order mark"
_TRIGGER = re.compile(r"[^\s:]+:(\S+)(?: .*)?")
_ATTRIBUTE = re.compile(r"(\S+) ([TE]\S*) *(.*)")
_UNREAD = re.compile(r"([A-Za-z]\S*)[ :][A-Z*#]\d+.*")
"""The second column of the other lines: `Type:T1 …` of an event, `Type T1 …` of an attribute and others."""
_NOTE = re.compile(r"([A-Za-z]+) [AEMNRT]\d+")
"""The second column of a note; its text is in the third, but tools that write no tabs put it here."""


class Brat(Reader):
    r"""Texts with mentions (T lines), the relations between them (R lines) and their attributes (A and M lines).

    An attribute without a value is "true": ``A1 Negation T3`` gives T3 the attributes ``{"Negation": "true"}``. An
    attribute of an event belongs to the mention that triggers the event.

    Events, normalisations and notes (E, N, *, # lines), and relations between events, are not read but counted by kind
    in `left_out`. A bad line makes the whole file pair a bad row, because a text without one of its mentions would
    teach that there is none.

    Offsets count the characters of the text, including carriage returns and excluding a byte-order mark. A text whose
    mentions fit only if carriage returns are not counted is read without them, and a byte-order mark is counted where
    only that fits; both are counted in `adjusted`, like mentions with blanks at their ends, which are removed, and
    mentions that brat divides at a line break, which are joined.

    A text and its row::

        12_1.txt   Aspirin caused a rash.
        12_1.ann   T1  Drug 0 7    Aspirin
                   T2  Effect 17 21    rash
                   R1  causes Arg1:T1 Arg2:T2
        SpanRow("12_1", "12_1", "Aspirin caused a rash.",
                entities=(Entity("T1", "Drug", ((0, 7),)), Entity("T2", "Effect", ((17, 21),))),
                relations=(Relation("T1", "T2", "causes"),))

    Args:
        path: A folder that contains `train`, `dev` and `test` as folders or archives, or one archive.
        types: Entity types to keep, each with its new name; types with the same new name are merged. Mentions of other
            types, and their relations and attributes, are left out and counted in `left_out`. The default keeps all
            types.
        offsets: What happens to mentions whose text differs from the text at their offsets. With `check`, their text
            is a bad row; with `trust`, only the offsets count, and the mentions are counted in `adjusted`.
        document: Regular expression that is searched in a file name without its suffix; its first group is the
            document. By default, each text is a document.
        discontinuous: How mentions in several parts are read: `keep`, `outer`, `split` or `refuse`; see
            `mtl.readers._parts`.
        files: See `Reader`.
        on_bad_row: See `Reader`.
        encoding: See `Reader`.
    """

    suffixes: ClassVar[tuple[str, ...]] = ARCHIVES
    ids_are_file_names: ClassVar[bool] = True
    other_names = ("standoff", "ann")

    def __init__(
        self,
        path: str,
        *,
        types: Mapping[str, str] | None = None,
        document: str | None = None,
        offsets: Offsets = "check",
        discontinuous: Discontinuous = "keep",
        files: Mapping[str, str] | None = None,
        on_bad_row: OnBadRow = "error",
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(path, files=files, on_bad_row=on_bad_row, encoding=encoding)
        self.types = None if types is None else dict(types)
        self.document = None if document is None else _pattern(document)
        self.offsets: Offsets = offsets
        self.discontinuous = discontinuous

    def rows(self, source: Path, split: str) -> Iterator[SpanRow]:
        found = members(self, source, lambda path: path.suffix in (".txt", ".ann"))
        for name in sorted(found):
            stem, _, suffix = name.rpartition(".")
            if suffix == "ann" and f"{stem}.txt" not in found:
                self.bad(source / name, None, "an .ann file needs a .txt file with the same name", "none")
            elif suffix == "txt" and f"{stem}.ann" not in found:
                self.bad(
                    source / name, None, "a .txt file needs an .ann file with the same name (may be empty)", "none"
                )
            elif suffix == "txt":
                annotation = f"{stem}.ann"
                texts = [self.decode(found[part], source / part) for part in (name, annotation)]
                if texts[0] is not None and texts[1] is not None:
                    has_mark = found[name].startswith(codecs.BOM_UTF8)
                    yield from self._row(texts[0], texts[1], source / annotation, has_mark)

    def _row(self, text: str, annotation: str, place: Path, has_mark: bool) -> Iterator[SpanRow]:
        """The row of a text, or nothing if it is bad or empty."""
        match = None if self.document is None else self.document.search(place.stem)
        if self.document is not None and (match is None or not match[1]):
            self.bad(place, None, f"file names must match '{self.document.pattern}'", quoted_id(place.stem))
            return
        if not text.strip() and not annotation.strip():
            self.left_out["empty text"] += 1
            return
        try:
            text, found = self._fitting(text, annotation, has_mark)
        except _AnnotationError as error:
            self.bad(place, error.line, error.rule, error.found)
            return
        self.left_out.update(found.unread)
        self.adjusted.update(found.adjusted)
        entities = tuple(self._renamed(found.entities))
        yield SpanRow(
            id=place.stem,
            document=place.stem if match is None else match[1],
            text=text,
            entities=entities,
            relations=tuple(self._between(found.relations, {entity.id for entity in entities})),
        )

    def _fitting(self, text: str, annotation: str, has_mark: bool) -> tuple[str, _Annotation]:
        """The text whose offsets fit all mentions, and its annotation; the text as it is if none fits."""
        others = [(text.replace("\r\n", "\n"), _NO_RETURNS, 0)] if "\r\n" in text else []
        others += [(text, _WITH_MARK, 1)] if has_mark else []
        first_error: _AnnotationError | None = None
        for other, reason, shift in [(text, "", 0), *others]:
            try:
                found = _read("\ufeff" * shift + other, annotation)
            except _AnnotationError as error:
                first_error = first_error or error
                continue
            if shift and any(start == 0 for entity in found.entities for start, _ in entity.spans):
                continue  # a mention cannot start at the mark
            found.adjusted.update([reason] if reason else [])
            return other, found._replace(entities=[_shifted(entity, -shift) for entity in found.entities])
        assert first_error is not None
        if self.offsets == "check":
            raise first_error
        return text, _read(text, annotation, "trust")

    def _renamed(self, entities: list[Entity]) -> Iterator[Entity]:
        for entity in entities:
            if self.types is None:
                yield entity
            elif entity.type in self.types:
                yield entity._replace(type=self.types[entity.type])
            else:
                self.left_out[f"T {shown(entity.type, 'a type')}"] += 1
                self.left_out.update(f"A {shown(name, 'a type')}" for name in entity.attributes)

    def _between(self, relations: list[Relation], entity_ids: set[str]) -> Iterator[Relation]:
        for relation in relations:
            if relation.head in entity_ids and relation.tail in entity_ids:
                yield relation
            else:
                self.left_out[f"R {shown(relation.type or '', 'a type')}"] += 1


class _Annotation(NamedTuple):
    """The content of an .ann file.

    Args:
        entities: Mentions.
        relations: Relations between them.
        unread: Counts of the lines that are not read, by kind.
        adjusted: Counts of what is read differently from how it was written, by reason.
    """

    entities: list[Entity]
    relations: list[Relation]
    unread: Counter[str]
    adjusted: Counter[str]


class _AnnotationError(Exception):
    """A line of an .ann file breaks a rule."""

    def __init__(self, line: int, rule: str, found: str) -> None:
        super().__init__(rule)
        self.line = line
        self.rule = rule
        self.found = found


def _pattern(document: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(document)
    except re.error as error:
        raise InputError(Problem("document", f"must be a regular expression, got an error: {error}.")) from error
    if pattern.groups == 0:
        raise InputError(Problem("document", "must have a group, got none.", "Put parentheses around the document id."))
    return pattern


def _read(text: str, annotation: str, offsets: Offsets = "check") -> _Annotation:
    adjusted: Counter[str] = Counter()
    entities: dict[str, Entity] = {}
    relations: dict[int, Relation] = {}
    attributes: dict[int, _AttributeLine] = {}
    triggers: dict[str, str] = {}
    unread: Counter[str] = Counter()
    for number, line in enumerate(annotation.split("\n"), start=1):
        fields = line.removesuffix("\r").split("\t")
        if not line.strip():
            continue
        if line[0] == "T":
            entity = _entity(fields, text, number, offsets, adjusted)
            if entity.id in entities:
                raise _AnnotationError(number, "ids must be unique within a file", f"{quoted_code(entity.id)} again")
            entities[entity.id] = entity
        elif line[0] == "R":
            relations[number] = _relation(fields, number)
        elif line[0] in "AM" and len(fields) > 1 and (match := _ATTRIBUTE.fullmatch(fields[1])):
            attributes[number] = _AttributeLine(match[1], match[2], match[3].rstrip() or "true")
        elif line[0] in "EAMN*#" and len(fields) > 1:
            unread[_kind(fields)] += 1
            if line[0] == "E":
                match = _TRIGGER.fullmatch(fields[1])
                triggers[fields[0]] = match[1] if match else ""
        else:
            raise _AnnotationError(
                number, "a line must start with T, R, E, A, M, N, * or # and have a tab", "another form"
            )
    _attach(attributes, entities, triggers)
    return _Annotation(list(entities.values()), _joined(entities, relations, set(triggers), unread), unread, adjusted)


def _kind(fields: list[str]) -> str:
    """The kind of a line that is not read."""
    kind = (_NOTE if fields[0][0] == "#" else _UNREAD).fullmatch(fields[1])
    return f"{fields[0][0]} {shown(kind[1], 'a type') if kind else 'of another form'}"


class _AttributeLine(NamedTuple):
    """Name and value of an attribute, and the id of the mention or event that has it."""

    name: str
    of: str
    value: str


def _attach(attributes: Mapping[int, _AttributeLine], entities: dict[str, Entity], triggers: Mapping[str, str]) -> None:
    """Gives the attributes, by line, to their mentions; those of an event go to its trigger."""
    for line, (name, of, value) in attributes.items():
        entity = entities.get(triggers.get(of, of))
        if entity is None:
            rule = "an attribute must refer to a mention, or to an event with a trigger, in its file"
            raise _AnnotationError(line, rule, quoted_code(of))
        if entity.attributes.get(name, value) != value:
            raise _AnnotationError(line, "an attribute must have one value per mention", f"two for {quoted_code(of)}")
        entities[entity.id] = entity._replace(attributes={**entity.attributes, name: value})


def _joined(
    entities: dict[str, Entity], relations: dict[int, Relation], events: set[str], unread: Counter[str]
) -> list[Relation]:
    """The relations between mentions; relations with an event are left out like the event."""
    kept = []
    for line, relation in relations.items():
        ends = {relation.head, relation.tail}
        if ends <= entities.keys():
            kept.append(relation)
        elif ends <= entities.keys() | events:
            unread[f"R {shown(relation.type or '', 'a type')}"] += 1
        else:
            found = min(ends - entities.keys() - events)
            raise _AnnotationError(line, "a relation must refer to ids in its file", quoted_code(found))
    return kept


def _entity(fields: list[str], text: str, line: int, offsets: Offsets, adjusted: Counter[str]) -> Entity:
    r"""A mention, with its parts in text order.

    >>> _entity(["T1", "Effect 8 12;0 4", "rash skin"], "skin or rash", 1, "check", Counter()).spans
    ((0, 4), (8, 12))
    """
    match = _MENTION.fullmatch(fields[1]) if len(fields) > 2 and not any(fields[3:]) else None
    if match is None:
        raise _AnnotationError(
            line, "a mention must have an id, 'type start end[;start end]' and its text", "another form"
        )
    # brat writes the parts in the order in which they were marked, and their text too.
    spans = [(int(start), int(end)) for start, end in (part.split() for part in match[2].split(";"))]
    try:
        found = sorted(checked_spans(text, spans, fields[2], offsets, adjusted))
    except MalformedError as error:
        raise _AnnotationError(line, error.rule, error.found) from None
    return Entity(fields[0], match[1], _over_line_breaks(text, found, adjusted))


def _over_line_breaks(text: str, spans: Sequence[Span], adjusted: Counter[str]) -> tuple[Span, ...]:
    """The parts of a mention, joined where only a line break lies between them: brat divides a mention there."""
    joined = [spans[0]]
    for start, end in spans[1:]:
        gap = text[joined[-1][1] : start]
        if "\n" in gap and not gap.strip():
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    adjusted.update([DIVIDED] if len(joined) < len(spans) else [])
    return tuple(joined)


def _shifted(entity: Entity, by: int) -> Entity:
    return entity._replace(spans=tuple((start + by, end + by) for start, end in entity.spans)) if by else entity


def _relation(fields: list[str], line: int) -> Relation:
    match = _RELATION.fullmatch(fields[1]) if len(fields) > 1 else None
    if match is None:
        raise _AnnotationError(line, "a relation must have an id and 'type Arg1:id Arg2:id'", "another form")
    return Relation(match[2], match[3], match[1])
