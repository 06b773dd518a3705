"""BioC files, XML or JSON: documents in passages with annotations and relations (Comeau et al. 2013).

The XML is read by our own parser, which has limits; the package `bioc` uses lxml without them.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from heads.rows import Entity, Relation, Span, SpanRow
from mtl.readers import OFFSET, OnBadRow, Reader
from mtl.readers._columns import MalformedError, kind_of, name_of
from mtl.readers._concepts import concept_ids
from mtl.readers._json import parse_json
from mtl.readers._mentions import Offsets, checked_spans
from mtl.readers._parts import Discontinuous
from mtl.readers._xml import XmlError, parse_xml
from mtl.redaction import quoted_code, shown

if TYPE_CHECKING:
    from xml.etree import ElementTree

_RULE = "the file must be BioC in XML or JSON"
_TYPES = ("type", "relation")
"""Infons that hold the type of an annotation or a relation; the first that is there counts."""


class BioC(Reader):
    """One `SpanRow` per document, whose text is that of its passages (or their sentences), joined with spaces.

    Offsets in the file count from the start of the document; they become offsets in the text of the row. If all
    passages have sentences, the row has them too.

    A document and its row::

        {"id": "7", "passages": [{"offset": 0, "text": "Aspirin"}, {"offset": 8, "text": "Headache followed.",
         "annotations": [{"id": "1", "infons": {"type": "Disease", "identifier": "MESH:D006261"}, "text": "Headache",
                          "locations": [{"offset": 8, "length": 8}]}]}]}
        SpanRow("7", "7", "Aspirin Headache followed.",
                entities=(Entity("1", "Disease", ((8, 16),), ("MESH:D006261",)),))

    The type of an annotation or a relation is its infon `type` (or `relation`). A relation has two nodes that refer to
    annotations, or two infons that are concepts of the document, as in BC5CDR and BioRED. These may have their type in
    front, ``Chemical|MESH:D008094``, or be objects with an `identifier`, as in files from PubTator 3. Its infon
    `novel` goes to `meta` under "<type> <head> <tail>". Relations with more nodes or none are counted in `left_out`,
    like annotations without a type or without a location. A file of JSON is a collection, or has a document or a
    collection in each line.

    Args:
        path: See `Reader`.
        types: Entity type in the file -> type in the row. Several types may be merged; types that are not listed, and
            their relations, are left out and counted in `left_out`. The default keeps all types.
        relations: Relation type in the file -> type in the row, in the same way.
        concepts: Infons of an annotation that hold concept ids, separated by "|", "+", "," or ";".
        offsets: What happens to mentions whose text differs from the text at their offsets. With `check`, their
            document is a bad row; with `trust`, only the offsets count, and the mentions are counted in `adjusted`.
        discontinuous: How mentions in several parts are read: `keep`, `outer`, `split` or `refuse`; see
            `mtl.readers._parts`.
        files: See `Reader`.
        on_bad_row: See `Reader`.
        encoding: See `Reader`.
    """

    suffixes = (".xml", ".json", ".jsonl", ".bioc.xml", ".bioc.json", ".BioC.XML", ".BioC.JSON")
    other_names = ("bioc_xml", "bioc_json", "bioc_jsonl", "xml")

    def __init__(
        self,
        path: str,
        *,
        types: Mapping[str, str] | None = None,
        relations: Mapping[str, str] | None = None,
        concepts: Sequence[str] = ("identifier", "MESH"),
        offsets: Offsets = "check",
        discontinuous: Discontinuous = "keep",
        files: Mapping[str, str] | None = None,
        on_bad_row: OnBadRow = "error",
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(path, files=files, on_bad_row=on_bad_row, encoding=encoding)
        self.types = types
        self.relations = relations
        self.concepts = tuple(concepts)
        self.offsets: Offsets = offsets
        self.discontinuous = discontinuous

    def rows(self, source: Path, split: str) -> Iterator[SpanRow]:
        text = self.decode(self.content(source), source)
        if text is None or not text.strip():
            return
        for line, document in self._xml(text, source) if text.lstrip().startswith("<") else self._json(text, source):
            try:
                yield self._row(_BioCDocument(document, self.concepts, self.offsets))
            except MalformedError as error:
                self.bad(source, line, error.rule, error.found)

    def _xml(self, text: str, source: Path) -> Iterator[tuple[int | None, Any]]:
        """The documents with their lines, in the form that JSON has."""
        try:
            root, documents = parse_xml(text, "document")
        except XmlError as error:
            self.bad(source, error.line, error.rule, error.found)
            return
        if root.tag != "collection":
            self.bad(source, 1, _RULE, "another root than <collection>")
            return
        yield from ((line, _fields(document)) for line, document in documents)

    def _json(self, text: str, source: Path) -> Iterator[tuple[int | None, Any]]:
        try:
            yield from _documents(parse_json(text, _RULE), None)
        except json.JSONDecodeError as error:
            if not _is_line_of_json(text):
                self.bad(source, error.lineno, _RULE, "invalid JSON")
                return
            yield from self._json_lines(text, source)
        except MalformedError as error:
            self.bad(source, None, error.rule, error.found)

    def _json_lines(self, text: str, source: Path) -> Iterator[tuple[int | None, Any]]:
        for number, line in enumerate(text.split("\n"), start=1):
            try:
                yield from _documents(parse_json(line, _RULE), number) if line.strip() else ()
            except json.JSONDecodeError:
                self.bad(source, number, _RULE, "invalid JSON")
            except MalformedError as error:
                self.bad(source, number, error.rule, error.found)

    def _row(self, document: _BioCDocument) -> SpanRow:
        self.left_out.update(document.left_out)
        self.adjusted.update(document.adjusted)
        entities = tuple(
            entity._replace(type=name) for entity in document.entities if (name := self._name(entity.type, self.types))
        )
        ends = {entity.id for entity in entities} | {name for entity in entities for name in entity.concepts}
        return SpanRow(
            id=document.id,
            document=document.id,
            text=document.text,
            sentences=document.sentences,
            entities=entities,
            relations=tuple(self._relations(document, ends)),
            meta=document.meta,
        )

    def _relations(self, document: _BioCDocument, ends: Collection[str]) -> Iterator[Relation]:
        for relation in document.relations:
            assert relation.type is not None
            if relation.head not in ends or relation.tail not in ends:
                self.left_out[shown(relation.type, "a type")] += 1
            elif name := self._name(relation.type, self.relations):
                yield relation._replace(type=name)

    def _name(self, kind: str, names: Mapping[str, str] | None) -> str | None:
        """The name of a type in the row; types that are not listed are counted and give None."""
        if names is None or kind in names:
            return kind if names is None else names[kind]
        self.left_out[shown(kind, "a type")] += 1
        return None


# --- from a file to documents in the form of JSON -------------------------------------------------------------------


def _is_line_of_json(text: str) -> bool:
    """Whether the first line alone is an object."""
    try:
        return isinstance(parse_json(text.lstrip().partition("\n")[0], _RULE), dict)
    except (json.JSONDecodeError, MalformedError):
        return False


def _documents(value: Any, line: int | None) -> Iterator[tuple[int | None, Any]]:
    """The documents of a collection, of a list of collections, as PubTator 3 gives it, or of a document itself."""
    if isinstance(value, dict) and "passages" in value:
        yield line, value
        return
    found = value
    if isinstance(value, dict):
        found = next((value[key] for key in ("documents", "PubTator3") if key in value), None)
    if not isinstance(found, list):
        raise MalformedError("a collection must have a list of documents", kind_of(found))
    for item in found:
        if isinstance(item, dict) and "documents" in item:
            yield from ((line, document) for document in _list(item["documents"], "documents"))
        else:
            yield line, item


def _fields(element: ElementTree.Element) -> dict[str, Any]:
    """An element of a document in XML in the form of JSON."""
    return {
        "id": element.get("id") or element.findtext("id", ""),
        "infons": {infon.get("key", ""): infon.text or "" for infon in element.findall("infon")},
        "offset": element.findtext("offset", "0"),
        "text": element.findtext("text", ""),
        "locations": [dict(location.attrib) for location in element.findall("location")],
        "nodes": [dict(node.attrib) for node in element.findall("node")],
        **{f"{tag}s": [_fields(child) for child in element.findall(tag)] for tag in _PARTS.get(element.tag, ())},
    }


_PARTS = {
    "document": ("passage", "annotation", "relation"),
    "passage": ("sentence", "annotation", "relation"),
    "sentence": ("annotation", "relation"),
}
"""The elements inside each element that are read."""


# --- one document -----------------------------------------------------------------------------------------------------


class _Segment(NamedTuple):
    """A text of the file, with its start in the file's offsets and in the text of the row."""

    offset: int
    start: int
    text: str


class _BioCDocument:
    """The content of one document.

    Raises:
        MalformedError: The document breaks a rule.
    """

    def __init__(self, document: Any, concepts: Sequence[str], offsets: Offsets) -> None:
        self._concepts, self._offsets = concepts, offsets
        self.left_out: Counter[str] = Counter()
        self.adjusted: Counter[str] = Counter()
        self.meta: dict[str, str] = {}
        self.id = name_of("the id of a document", _object(document, "a document").get("id"))
        passages = _parts(document, "passages")
        pieces = [sentence for passage in passages for sentence in _parts(passage, "sentences") or [passage]]
        self._segments = list(_segments(pieces))
        self._in_order = sorted(self._segments)
        self._offsets_in_order = [segment.offset for segment in self._in_order]
        self.text = " ".join(segment.text for segment in self._segments)
        if not self.text.strip():
            raise MalformedError("a document must have a text", "none")
        self.sentences = self._spans() if all(_parts(passage, "sentences") for passage in passages) else None
        groups = [document, *passages, *(sentence for passage in passages for sentence in _parts(passage, "sentences"))]
        self._related = {
            name for group in groups for one in _parts(group, "relations") for names in _named(one) for name in names
        }
        self.entities: list[Entity] = []
        self._ids: set[str] = set()
        names = [self._annotated(group) for group in groups]
        self._ends = {name for entity in self.entities for name in entity.concepts}
        self.relations: list[Relation] = []
        for group, own in zip(groups, names, strict=True):
            for relation in _parts(group, "relations"):
                self._relate(relation, own)

    def _spans(self) -> tuple[Span, ...]:
        return tuple((one.start, one.start + len(one.text)) for one in self._segments if one.text.strip())

    def _annotated(self, group: Any) -> dict[str, str]:
        """Adds the annotations of a passage; gives the entity of each annotation id."""
        names: dict[str, str] = {}
        for annotation in _parts(group, "annotations"):
            infons = _infons(annotation)
            kind = next((infons[key] for key in _TYPES if infons.get(key)), "")
            locations = _parts(annotation, "locations")
            if not kind or not locations:
                self.left_out[f"annotation without a {'location' if kind else 'type'}"] += 1
                continue
            written = name_of("the id of an annotation", annotation.get("id") or f"T{len(self.entities) + 1}")
            if written in names:
                rule = "ids of annotations must be unique within a passage"
                raise MalformedError(rule, f"{quoted_code(written)} again")
            # Ids are often counted from 0 in each passage.
            names[written] = written if written not in self._ids else f"{written}.{len(self.entities) + 1}"
            self._ids.add(names[written])
            self.entities.append(self._entity(names[written], kind, annotation, locations))
        return names

    def _entity(self, name: str, kind: str, annotation: Mapping[str, Any], locations: Sequence[Any]) -> Entity:
        spans = sorted(self._span(location) for location in locations)
        mention = annotation.get("text")
        if not isinstance(mention, str | None):
            raise MalformedError("the text of an annotation must be a string", kind_of(mention))
        infons = _infons(annotation)
        fields = [infons[key] for key in self._concepts if infons.get(key)]
        concepts = dict.fromkeys(one for field in fields for one in concept_ids(field, self._related))
        found = checked_spans(self.text, spans, mention or None, self._offsets, self.adjusted)
        return Entity(name, kind, found, tuple(concepts))

    def _span(self, location: Any) -> Span:
        """The span of a location in the text of the row."""
        place = _object(location, "a location")
        offset, length = _number(place.get("offset"), "an offset"), _number(place.get("length"), "a length")
        # The last segment that starts at or before it: an end outside of the segment is an error of the mention.
        index = bisect_right(self._offsets_in_order, offset)
        if not index:
            raise MalformedError("offsets must be inside the passages", f"{offset} before the first")
        segment = self._in_order[index - 1]
        start = segment.start + offset - segment.offset
        return start, start + length

    def _relate(self, relation: Any, names: Mapping[str, str]) -> None:
        infons = _infons(relation)
        kind = next((infons[key] for key in _TYPES if infons.get(key)), "")
        nodes = [str(_object(node, "a node").get("refid", "")) for node in _parts(relation, "nodes")]
        ends = [names.get(node, node) for node in nodes]
        if len(ends) != 2 or not self._ends.union(self._ids).issuperset(ends):
            # The only node of a relation from PubTator 3 refers to nothing.
            concepts = [name for one in _named(relation) if (name := next((n for n in one if n in self._ends), None))]
            ends = concepts if len(concepts) == 2 else ends
        if not kind or len(ends) != 2:
            self.left_out["relation without a type and two ends"] += 1
            return
        missing = [end for end in ends if end not in self._ids and end not in self._ends]
        if missing:
            raise MalformedError("a relation must refer to annotations of its document", quoted_code(missing[0]))
        self.relations.append(Relation(ends[0], ends[1], kind))
        if infons.get("novel"):
            self.meta[f"{kind} {ends[0]} {ends[1]}"] = infons["novel"]


def _segments(pieces: Sequence[Any]) -> Iterator[_Segment]:
    start = 0
    for piece in pieces:
        text = _object(piece, "a passage").get("text") or ""
        if not isinstance(text, str):
            raise MalformedError("the text of a passage must be a string", kind_of(text))
        yield _Segment(_number(piece.get("offset", 0), "an offset"), start, text)
        start += len(text) + 1


def _infons(value: Any) -> dict[str, str]:
    """The infons with a value that is a string or a number."""
    infons = _object(_object(value, "an annotation").get("infons") or {}, "infons")
    return {key: str(one) for key, one in infons.items() if isinstance(one, str | int) and not isinstance(one, bool)}


def _named(relation: Any) -> list[tuple[str, str]]:
    """The names that each infon of a relation may stand for: its value, and the concept after a type."""
    infons = _object(_object(relation, "a relation").get("infons") or {}, "infons")
    found = []
    for key, value in infons.items():
        name = value.get("identifier") if isinstance(value, dict) else value
        if key not in (*_TYPES, "novel") and isinstance(name, str | int) and not isinstance(name, bool):
            found.append((str(name), str(name).partition("|")[2]))
    return found


def _parts(value: Any, name: str) -> list[Any]:
    return _list(_object(value, "a part of a document").get(name) or [], name)


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise MalformedError(f"{what} must be an object", kind_of(value))
    return value


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedError(f"{name} must be a list", kind_of(value))
    return value


def _number(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str) or not re.fullmatch(OFFSET, str(value), re.ASCII):
        raise MalformedError(f"{what} must be an integer of at least 0", kind_of(value))
    return int(value)
