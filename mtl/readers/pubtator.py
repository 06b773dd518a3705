"""PubTator files: titles and abstracts with mentions, concept ids and relations between concepts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from heads.rows import Entity, Relation, SpanRow
from mtl.hashed_ids import quoted_id
from mtl.readers import OFFSET, OnBadRow, Reader
from mtl.readers._blocks import BadLine, Block, blocks, is_whole, refuse
from mtl.readers._columns import MalformedError
from mtl.readers._concepts import concept_ids
from mtl.readers._mentions import Offsets, checked_spans
from mtl.redaction import shown

_TEXT_LINE = re.compile(r"([^|\t]+)\|([ta])\|(.*)", re.DOTALL)
_RELATION_CELLS = (4, 5)
_MENTION_CELLS = (5, 6, 7)


class Pubtator(Reader):
    """One `SpanRow` per document, whose text is the title, one space and the abstract, as offsets in the file assume.

    ``7|t|Aspirin`` / ``7|a|Headache followed.`` / ``7<TAB>8<TAB>16<TAB>Headache<TAB>Disease<TAB>D006261`` gives the
    text ``Aspirin Headache followed.`` with ``Entity("T1", "Disease", ((8, 16),), ("D006261",))``.

    A line with four or five columns whose third is no number is a relation between two concepts; the fifth column, as
    in BioRED, goes to `meta` under "<type> <concept> <concept>". Other lines with five to seven columns are mentions:
    the sixth column has the concept ids, separated by "|", "+", "," or ";" (-1 or - means none), and the seventh, with
    the parts of a composite mention, is not read. Ids of variants such as c|SUB|G|1691|A, and ids that a relation
    names as a whole, are not divided. Blanks at the ends of a mention are removed from its span, and the mention is
    counted in `adjusted`. Any other difference from the text at the offsets makes the document a bad row, because a row
    without that mention would teach that there is none.

    Args:
        path: See `Reader`.
        types: Entity type in the file -> type in the row. Several types may be merged. Mentions of types that are not
            listed, and relations of concepts that only they have, are left out and counted in `left_out`. The default
            keeps all types.
        relations: Relation type in the file -> type in the row, in the same way.
        offsets: What happens to mentions whose text differs from the text at their offsets. With `check`, their
            document is a bad row; with `trust`, only the offsets count, and the mentions are counted in `adjusted`.
        files: See `Reader`.
        on_bad_row: See `Reader`. A repeated document is a bad row.
        encoding: See `Reader`.
    """

    suffixes = (".txt", ".pubtator", ".PubTator.txt", ".PubTator")
    other_names = ("pubtator3", "pubtator_central", "biored")

    def __init__(
        self,
        path: str,
        *,
        types: Mapping[str, str] | None = None,
        relations: Mapping[str, str] | None = None,
        offsets: Offsets = "check",
        files: Mapping[str, str] | None = None,
        on_bad_row: OnBadRow = "error",
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(path, files=files, on_bad_row=on_bad_row, encoding=encoding)
        self.types = types
        self.relations = relations
        self.offsets: Offsets = offsets

    def rows(self, source: Path, split: str) -> Iterator[SpanRow]:
        for block in filter(is_whole, blocks(self.all_lines(source))):
            document = _Document(block, self.offsets)
            if document.bad_lines:
                refuse(self, source, document.bad_lines)
            else:
                yield self._row(document)

    def _row(self, document: _Document) -> SpanRow:
        self.adjusted.update(document.adjusted)
        entities = tuple(
            entity._replace(type=name) for entity in document.entities if (name := self._name(entity.type, self.types))
        )
        concepts = {concept for entity in entities for concept in entity.concepts}
        return SpanRow(
            id=document.id,
            document=document.id,
            text=document.text,
            entities=entities,
            relations=tuple(self._relations(document, concepts)),
            meta=document.meta,
        )

    def _relations(self, document: _Document, concepts: set[str]) -> Iterator[Relation]:
        for head, tail, kind in document.relations:
            assert kind is not None, "every relation line has a type"
            if not {head, tail} <= concepts:
                self.left_out[shown(kind, "a type")] += 1
            elif name := self._name(kind, self.relations):
                yield Relation(head, tail, name)

    def _name(self, kind: str, names: Mapping[str, str] | None) -> str | None:
        """The name of a type in the row; types that are not listed are counted and give None."""
        if names is None or kind in names:
            return kind if names is None else names[kind]
        self.left_out[shown(kind, "a type")] += 1
        return None


class _Document:
    """The parsed lines of one document; `bad_lines` has the problems of bad lines."""

    def __init__(self, block: Block, offsets: Offsets) -> None:
        self.bad_lines: list[BadLine] = []
        self.entities: list[Entity] = []
        self.relations: list[Relation] = []
        self.meta: dict[str, str] = {}
        self.adjusted: Counter[str] = Counter()
        self._offsets: Offsets = offsets
        self.id, self.text = self._head(block)
        if self.bad_lines:
            return
        lines: list[tuple[int, list[str]]] = [(line.number, line.text.split("\t")) for line in block[2:]]
        self._related = {concept for _, cells in lines if _is_relation(cells) for concept in cells[2:4]}
        for number, cells in lines:
            self._line(number, cells)
        concepts = {concept for entity in self.entities for concept in entity.concepts}
        for number, cells in lines:
            if _is_relation(cells):
                self._relation(number, cells, concepts)

    def _head(self, block: Block) -> tuple[str, str]:
        """Id and text from the first two lines, the title and the abstract."""
        found = []
        for line, kind in zip(block[:2], "ta", strict=False):
            match = _TEXT_LINE.fullmatch(line.text)
            if match is None or match[2] != kind:
                self._bad(line.number, "a document must start with id|t|title and id|a|abstract", "another line")
                return "", ""
            found.append((match[1], match[3]))
        if len(found) < 2:
            self._bad(block[0].number, "a document must start with id|t|title and id|a|abstract", "one line")
            return "", ""
        (row_id, title), (abstract_id, abstract) = found
        if row_id != abstract_id:
            self._bad(
                block[1].number,
                "title and abstract must have the same id",
                f"{quoted_id(row_id)} and {quoted_id(abstract_id)}",
            )
        return row_id, f"{title} {abstract}"

    def _line(self, number: int, cells: list[str]) -> None:
        if _TEXT_LINE.fullmatch(cells[0]):
            self._bad(number, "documents must be separated by a blank line", "a title or an abstract")
        elif cells[0] != self.id:
            self._bad(number, "a line must start with the id of its title", f"{len(cells[0])} other characters")
        elif _is_relation(cells):
            pass  # read when all concepts are known
        elif len(cells) in _MENTION_CELLS:
            self._mention(number, cells)
        else:
            self._bad(number, "a mention must have 5 to 7 columns, a relation 4 or 5", str(len(cells)))

    def _mention(self, number: int, cells: list[str]) -> None:
        _, first, last, mention, kind, *concepts = cells
        if not (re.fullmatch(OFFSET, first) and re.fullmatch(OFFSET, last)):
            self._bad(number, "start and end must be integers", f"{len(first)} and {len(last)} characters")
            return
        if not kind:
            self._bad(number, "a mention must have a type", "none")
            return
        try:
            spans = checked_spans(self.text, [(int(first), int(last))], mention, self._offsets, self.adjusted)
        except MalformedError as error:
            self._bad(number, error.rule, error.found)
            return
        name = f"T{len(self.entities) + 1}"
        self.entities.append(Entity(name, kind, spans, concept_ids(concepts[0], self._related) if concepts else ()))

    def _relation(self, number: int, cells: list[str], concepts: set[str]) -> None:
        _, kind, head, tail, *more = cells
        if kind and {head, tail} <= concepts:
            self.relations.append(Relation(head, tail, kind))
            self.meta |= {f"{kind} {head} {tail}": more[0]} if more else {}
        else:
            known = sum(end in concepts for end in (head, tail))
            rule = "a relation must have a type and two concepts of its document"
            self._bad(number, rule, f"{known} of its concepts")

    def _bad(self, line: int, rule: str, found: str) -> None:
        self.bad_lines.append(BadLine(line, rule, found))


def _is_relation(cells: Sequence[str]) -> bool:
    """Whether a line is a relation; one of five columns could be a mention without concepts, which has an offset."""
    return len(cells) in _RELATION_CELLS and (len(cells) == 4 or not re.fullmatch(r"[-+]?\d+", cells[2]))
