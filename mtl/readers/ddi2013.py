"""The DDI corpus of SemEval-2013 task 9: a zip archive with one XML document per drug label or abstract.

``<document id><sentence id text><entity id charOffset type text/>…<pair e1 e2 ddi type/>…</sentence>…</document>``
(Herrero-Zazo et al. 2013). Each sentence becomes a row. The file lists every pair of its entities, so a pair without a
`Relation` is a true negative.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Literal

from heads.rows import Entity, Relation, Span, SpanRow
from mtl.hashed_ids import quoted_id
from mtl.problems import InputError, Problem
from mtl.readers import OFFSET, SPLITS, OnBadRow, Reader
from mtl.readers._archives import DamagedError, open_zip, read_zip_member
from mtl.readers._columns import MalformedError
from mtl.readers._limits import Budget
from mtl.readers._parts import Discontinuous
from mtl.readers._xml import XmlError, parse_xml

if TYPE_CHECKING:
    from xml.etree import ElementTree
    from zipfile import ZipFile

ENTITY_TYPES = ("drug", "brand", "group", "drug_n")

_TEST_FOLDERS = {"ddi": "Test for DDI Extraction task", "ner": "Test for DrugNER task"}
_OFFSETS = re.compile(rf"{OFFSET}-{OFFSET}(;{OFFSET}-{OFFSET})*")
_PAIR_ID = re.compile(r"(.+)\.s\d+\.p\d+")


class DDI2013(Reader):
    r"""Sentences with drug mentions and the interactions between them.

    A pair with ``ddi="true"`` is a relation of its type. One such pair of the corpus has no type; its relation has type
    None and is masked. If the `text` attribute of a mention differs from the text at its offsets, the offsets are used
    and the attribute is counted in `left_out`, as are sentences without text. Any other problem skips the whole
    sentence, because a sentence without one of its mentions or pairs would teach wrong negatives.

    A sentence and its row (offsets in the file include the last character)::

        <sentence id="d0.s0" text="Aspirin and warfarin."><entity id="d0.s0.e0" charOffset="0-6" type="drug" …/>
        SpanRow("d0.s0", "d0", "Aspirin and warfarin.", entities=(Entity("d0.s0.e0", "drug", ((0, 7),)), …), …)

    Args:
        path: Folder of the archives `train.zip` and `test.zip`, or one archive.
        test: Which of the two test sets is the split `test`: the one for interactions (`ddi`) or the one for drug names
            (`ner`). The latter is not annotated for interactions, which its rows record in `annotated`.
        dev_ids: A file, relative to the folder, whose first tab-separated column has pair ids, such as BLURB's
            `dev.tsv`. The documents of these pairs are moved from `train` to `dev`.
        discontinuous: How mentions in several parts are read: `keep`, `outer`, `split` or `refuse`; see
            `mtl.readers._parts`.
        files: See `Reader`. An archive that contains both `Train` and `Test` can be used for both splits.
        on_bad_row: See `Reader`.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".zip",)

    def __init__(
        self,
        path: str,
        *,
        test: Literal["ddi", "ner"] = "ddi",
        dev_ids: str | None = None,
        discontinuous: Discontinuous = "keep",
        files: Mapping[str, str] | None = None,
        on_bad_row: OnBadRow = "error",
    ) -> None:
        super().__init__(path, files=files, on_bad_row=on_bad_row)
        self.test = test
        self.discontinuous = discontinuous
        folder = self.path.parent if self.path.is_file() else self.path
        self.dev_ids = None if dev_ids is None else folder / dev_ids

    def sources(self) -> dict[str, Path]:
        found = super().sources()
        if self.dev_ids is None:
            return found
        if not self.storage.is_file(self.dev_ids):
            raise InputError(Problem("dev_ids", f"'{self.dev_ids}' is not a file.", "Write it relative to `path`."))
        if "train" not in found or "dev" in found:
            message = "needs a train file and no dev file, because it moves documents from train to dev"
            raise InputError(Problem("dev_ids", f"{message}, got {', '.join(found)}."))
        found["dev"] = found["train"]
        return {split: found[split] for split in SPLITS if split in found}

    def rows(self, source: Path, split: str) -> Iterator[SpanRow]:
        dev = {} if self.dev_ids is None or split == "test" else self._dev_documents(self.dev_ids)
        met = set()
        for name, document in self._documents(source, split):
            document_id = document.get("id", "")
            met.add(document_id)
            if not dev or (document_id in dev) == (split == "dev"):
                yield from self._sentences(document, document_id, source / name, split)
        for document_id, line in dev.items():
            if document_id not in met:
                assert self.dev_ids is not None
                self.bad(self.dev_ids, line, f"documents must be in {source.name}", quoted_id(document_id))

    def _dev_documents(self, path: Path) -> dict[str, int]:
        """The documents of the listed pairs, each with the first line that mentions it."""
        found: dict[str, int] = {}
        for number, line in self.lines(path):
            match = _PAIR_ID.fullmatch(line.split("\t")[0])
            if match is None:
                self.bad(path, number, "the first column must be a pair id 'document.sN.pN'", "another form")
            else:
                found.setdefault(match[1], number)
        return found

    def _documents(self, source: Path, split: str) -> Iterator[tuple[str, ElementTree.Element]]:
        with self.open(source) as file:
            yield from self._archived(file, source, split)

    def _archived(self, file: BinaryIO, source: Path, split: str) -> Iterator[tuple[str, ElementTree.Element]]:
        try:
            archive = open_zip(file)
        except DamagedError:
            self.bad(source, None, "must be a zip archive", f"{file.seek(0, io.SEEK_END)} other bytes")
            return
        budget = Budget(source, "An archive, after decompression,")
        with archive:
            names = sorted(name for name in archive.namelist() if self._belongs(name, split))
            if not names:
                wanted = f"'{_TEST_FOLDERS[self.test]}'" if split == "test" else "a folder other than 'Test'"
                self.bad(source, None, f"the archive must contain XML files in {wanted}", "none")
            for name in names:
                document = self._document(archive, name, source / name, budget)
                if document is not None:
                    yield name, document

    def _belongs(self, name: str, split: str) -> bool:
        path = PurePosixPath(name)
        if path.suffix != ".xml":
            return False
        return _TEST_FOLDERS[self.test] in path.parts if split == "test" else "Test" not in path.parts

    def _document(self, archive: ZipFile, name: str, place: Path, budget: Budget) -> ElementTree.Element | None:
        try:
            text = self.decode(read_zip_member(archive, name, budget), place)
            return None if text is None else parse_xml(text)[0]
        except XmlError as error:
            self.bad(place, error.line, error.rule, error.found)
        except DamagedError as error:
            self.bad(place, None, "must be an intact file of the archive", str(error))
        return None

    def _sentences(self, document: ElementTree.Element, document_id: str, place: Path, split: str) -> Iterator[SpanRow]:
        for sentence in document.iter("sentence"):
            if not sentence.get("text", "").strip() and sentence.find("entity") is None:
                self.left_out["empty sentence"] += 1
                continue
            try:
                yield self._row(sentence, document_id, place, split)
            except MalformedError as error:
                self.bad(place, None, error.rule, f"{error.found} in sentence {quoted_id(sentence.get('id', ''))}")

    def _row(self, sentence: ElementTree.Element, document_id: str, place: Path, split: str) -> SpanRow:
        text = _attribute(sentence, "text")
        entities = tuple(self._entity(element, text) for element in sentence.iter("entity"))
        relations = _relations(sentence, {entity.id for entity in entities})
        only_names = split == "test" and self.test == "ner"
        meta = {"source": place.parent.name}
        if meta["source"] == "MedLine":
            meta["pmid"] = place.stem
        return SpanRow(
            id=_attribute(sentence, "id"),
            document=document_id,
            text=text,
            entities=entities,
            relations=() if only_names else relations,
            annotated=ENTITY_TYPES if only_names else None,
            meta=meta,
        )

    def _entity(self, element: ElementTree.Element, text: str) -> Entity:
        spans = _spans(_attribute(element, "charOffset"), len(text))
        # The attribute joins parts with a space, but not after a hyphen, so the comparison ignores blanks.
        if _no_blanks("".join(text[start:end] for start, end in spans)) != _no_blanks(_attribute(element, "text")):
            self.left_out["text attribute of a mention that differs from its offsets"] += 1
        return Entity(_attribute(element, "id"), _attribute(element, "type"), tuple(sorted(spans)))


def _attribute(element: ElementTree.Element, name: str) -> str:
    value = element.get(name)
    if value is None:
        raise MalformedError(f"<{element.tag}> must have the attribute '{name}'", "none")
    return value


def _spans(offsets: str, length: int) -> list[Span]:
    """Half-open spans in the order of the attribute.

    >>> _spans("0-4;9-11", 12)
    [(0, 5), (9, 12)]
    """
    if _OFFSETS.fullmatch(offsets) is None:
        raise MalformedError(
            "charOffset must be start-end, with parts separated by ';'", f"{len(offsets)} other characters"
        )
    pairs = [part.split("-") for part in offsets.split(";")]
    spans = [(int(start), int(end) + 1) for start, end in pairs]
    if sum(end - start for start, end in spans) > length:  # many long parts would make a text of any size
        raise MalformedError("the parts of a mention must not be longer than the sentence", f"{length} characters")
    if any(not start < end <= length for start, end in spans):
        raise MalformedError("charOffset must be inside the sentence", f"{offsets} in {length} characters")
    return spans


def _relations(sentence: ElementTree.Element, entity_ids: set[str]) -> tuple[Relation, ...]:
    relations = []
    listed = set()
    for pair in sentence.iter("pair"):
        head, tail = _attribute(pair, "e1"), _attribute(pair, "e2")
        listed.add(frozenset((head, tail)))
        truth = _attribute(pair, "ddi")
        if truth not in ("true", "false"):
            raise MalformedError("ddi must be 'true' or 'false'", f"{len(truth)} other characters")
        if truth == "true":
            relations.append(Relation(head, tail, pair.get("type")))
    possible = len(entity_ids) * (len(entity_ids) - 1) // 2
    if len(listed) != possible or listed != {frozenset(pair) for pair in combinations(entity_ids, 2)}:
        raise MalformedError("every pair of entities must be listed", f"{len(listed)} of {possible} pairs")
    return tuple(relations)


def _no_blanks(text: str) -> str:
    return "".join(text.split())
