"""ChemProt as BioCreative VI released it: tables of abstracts, of chemicals and proteins, and of their relations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

from heads.rows import Entity, Relation, SpanRow
from mtl.readers import SPLIT_NAMES, OnBadRow, Reader
from mtl.readers._abstracts import Abstract, Abstracts, Cells, span_of
from mtl.readers._columns import MalformedError
from mtl.readers._members import ARCHIVES, Member, content_lines, members
from mtl.readers._mentions import Offsets, between, checked_spans, renamed
from mtl.redaction import quoted_code

RelationNames = Literal["gold_standard", "groups", "names"]

_TABLES = ("abstracts", "entities", "relations", "gold_standard")
_ARGUMENT = re.compile(r"Arg[12]:(\S+)")


class ChemProt(Reader):
    r"""Abstracts with chemicals and proteins and the relations between them, one row per document.

    The layout is that of `ChemProt_Corpus.zip` (Krallinger et al. 2017), as BigBIO's loader `chemprot` reads it. The
    text of a row is the title, one space and the abstract::

        …_abstracts.tsv      23 <TAB> Zinc blocks ACE. <TAB> It binds.
        …_entities.tsv       23 <TAB> T1 <TAB> CHEMICAL <TAB> 0 <TAB> 4 <TAB> Zinc
                             23 <TAB> T2 <TAB> GENE-Y <TAB> 12 <TAB> 15 <TAB> ACE
        …_gold_standard.tsv  23 <TAB> CPR:4 <TAB> Arg1:T1 <TAB> Arg2:T2
        SpanRow("23", "23", "Zinc blocks ACE. It binds.",
                entities=(Entity("T1", "CHEMICAL", ((0, 4),)), Entity("T2", "GENE-Y", ((12, 15),))),
                relations=(Relation("T1", "T2", "CPR:4"),))

    A pair may have several relations. The corpus has no sentences, so a relation head needs `scope: document`. Mentions
    are continuous; those that overlap are all kept and counted.

    The sentences with placeholders that BLUE and others made of this corpus are another task, which `table` reads.

    Args:
        path: Folder of the three folders or archives `chemprot_training`, `chemprot_development` and
            `chemprot_test_gs`, or one archive.
        relations: What the types of relations are. `gold_standard`: the five groups that were evaluated (CPR:3, 4, 5, 6
            and 9), so that pairs of other groups have no relation, as in BLUE and BLURB; `groups`: all groups (CPR:0 to
            CPR:10); `names`: the names of relations that the groups merge, such as INHIBITOR.
        types: Entity type in the file -> type in the row; several may be merged, such as GENE-Y and GENE-N. Mentions of
            types that are not listed, and their relations, are left out and counted in `left_out`. The default keeps
            all types.
        offsets: What happens to mentions whose text differs from the text at their offsets. With `check`, their
            document is a bad row; with `trust`, only the offsets count, and the mentions are counted in `adjusted`.
        files: See `Reader`; the folder or archive of each split.
        on_bad_row: See `Reader`.
        encoding: See `Reader`.
    """

    suffixes: ClassVar[tuple[str, ...]] = ARCHIVES
    file_names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "train": ("chemprot_training", *SPLIT_NAMES["train"]),
        "dev": ("chemprot_development", *SPLIT_NAMES["dev"]),
        "test": ("chemprot_test_gs", *SPLIT_NAMES["test"]),
    }

    def __init__(
        self,
        path: str,
        *,
        relations: RelationNames = "gold_standard",
        types: Mapping[str, str] | None = None,
        offsets: Offsets = "check",
        files: Mapping[str, str] | None = None,
        on_bad_row: OnBadRow = "error",
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(path, files=files, on_bad_row=on_bad_row, encoding=encoding)
        self.relations: RelationNames = relations
        self.types = types
        self.offsets: Offsets = offsets

    def rows(self, source: Path, split: str) -> Iterator[SpanRow]:
        tables = self._tables(source)
        if tables is None:
            return
        abstracts = tables["abstracts"]
        documents = Abstracts(self, abstracts.place, content_lines(self, abstracts))
        mentions = self._by_document(documents, tables["entities"], 6)
        table = tables["gold_standard" if self.relations == "gold_standard" else "relations"]
        related = self._by_document(documents, table, 4 if self.relations == "gold_standard" else 6)
        for document in documents:
            yield from self._row(documents, document, mentions.get(document.id, ()), related.get(document.id, ()))

    def _tables(self, source: Path) -> dict[str, Member] | None:
        """The tables of a split by what they hold; None if one is missing."""
        found: dict[str, Member] = {}
        for name, content in members(self, source, lambda path: bool(_table_of(path.name))).items():
            table = _table_of(name)
            if table in found:
                self.bad(source / name, None, f"a split must have one table of {table}", "another one")
            found.setdefault(table, Member(source / name, content))
        needed = ("abstracts", "entities", "gold_standard" if self.relations == "gold_standard" else "relations")
        missing = [table for table in needed if table not in found]
        if missing:
            self.bad(source, None, f"a split must have the tables {', '.join(needed)}", f"no {', '.join(missing)}")
        return None if missing else found

    def _by_document(self, documents: Abstracts, table: Member, num_columns: int) -> Mapping[str, list[Cells]]:
        return documents.by_document(table.place, content_lines(self, table), num_columns)

    def _row(
        self, documents: Abstracts, document: Abstract, mentions: Sequence[Cells], related: Sequence[Cells]
    ) -> Iterator[SpanRow]:
        """The row of a document, or nothing if it is bad."""
        adjusted: Counter[str] = Counter()
        names: set[str] = set()
        entities = documents.parsed(document.id, mentions, partial(self._entity, document.text, names, adjusted))
        relations = documents.parsed(document.id, related, partial(self._relation, names))
        if documents.is_refused(document.id):
            return
        self.adjusted.update(adjusted)
        kept = renamed(entities, self.types, self.left_out)
        inside = between(dict.fromkeys(relations), kept, self.left_out)
        yield SpanRow(document.id, document.id, document.text, entities=kept, relations=inside)

    def _entity(self, text: str, names: set[str], adjusted: Counter[str], cells: Sequence[str]) -> Entity:
        name, kind, start, end, mention = cells
        if not name or not kind:
            raise MalformedError("a mention must have an id and a type", f"{len(name)} and {len(kind)} characters")
        if name in names:
            raise MalformedError("ids of mentions must be unique within a document", f"{quoted_code(name)} again")
        names.add(name)
        return Entity(name, kind, checked_spans(text, [span_of(start, end)], mention, self.offsets, adjusted))

    def _relation(self, names: set[str], cells: Sequence[str]) -> Relation:
        kind = cells[2] if self.relations == "names" else cells[0]
        head, tail = (_ARGUMENT.fullmatch(cell.strip()) for cell in cells[-2:])
        if not kind or head is None or tail is None:
            raise MalformedError("a relation must have a type, Arg1:id and Arg2:id", "another form")
        for end in (head[1], tail[1]):
            if end not in names:
                raise MalformedError("a relation must join mentions of its document", quoted_code(end))
        return Relation(head[1], tail[1], kind)


def _table_of(name: str) -> str:
    """What a table holds, by the name of its file; empty for other files."""
    path = PurePosixPath(name)
    return next((table for table in _TABLES if table in path.name), "") if path.suffix == ".tsv" else ""
