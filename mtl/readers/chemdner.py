"""The CHEMDNER corpus of BioCreative IV: tables of abstracts and of the chemicals in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from heads.rows import Entity, SpanRow
from mtl.readers import SPLIT_NAMES, OnBadRow, Reader
from mtl.readers._abstracts import Abstract, Abstracts, span_of
from mtl.readers._columns import MalformedError
from mtl.readers._members import companions
from mtl.readers._mentions import Offsets, checked_spans, numbered, renamed


class ChemDNER(Reader):
    r"""Abstracts with chemicals, one row per document, whose text is the title, one space and the abstract.

    The layout is that of `chemdner_corpus.tar.gz` (Krallinger et al. 2015, doi 10.1186/1758-2946-7-S1-S2), as the
    parsers in spyysalo/chemdner-corpora and fnl/chemcheck read it. Offsets of a mention count from the start of the
    title (T) or of the abstract (A)::

        training.abstracts.txt    23 <TAB> Zinc salts <TAB> They are used.
        training.annotations.txt  23 <TAB> T <TAB> 0 <TAB> 4 <TAB> Zinc <TAB> SYSTEMATIC
        SpanRow("23", "23", "Zinc salts They are used.", entities=(Entity("T1", "SYSTEMATIC", ((0, 4),)),))

    Mentions are continuous and, by the guidelines, do not overlap; those that do are all kept and counted.

    Args:
        path: The unpacked corpus, whose splits are `training`, `development` and `evaluation`, each followed by
            `.abstracts.txt`; or one such file.
        types: Class in the file -> type in the row; several may be merged. Mentions of classes that are not listed are
            left out and counted in `left_out`. The default keeps all classes.
        annotations: File of the mentions of each split, relative to `path`. By default, the name of the abstracts with
            `annotations` in place of `abstracts`.
        offsets: What happens to mentions whose text differs from the text at their offsets. With `check`, their
            document is a bad row; with `trust`, only the offsets count, and the mentions are counted in `adjusted`.
        files: See `Reader`; the files of the abstracts.
        on_bad_row: See `Reader`.
        encoding: See `Reader`.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".abstracts.txt",)
    file_names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "train": ("training", *SPLIT_NAMES["train"]),
        "dev": ("development", *SPLIT_NAMES["dev"]),
        "test": ("evaluation", *SPLIT_NAMES["test"]),
    }

    def __init__(
        self,
        path: str,
        *,
        types: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        offsets: Offsets = "check",
        files: Mapping[str, str] | None = None,
        on_bad_row: OnBadRow = "error",
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(path, files=files, on_bad_row=on_bad_row, encoding=encoding)
        self.types = types
        self.annotations = annotations
        self.offsets: Offsets = offsets

    def companions(self) -> dict[str, Path]:
        return companions(
            self, "annotations", self.annotations, lambda p: p.with_name(p.name.replace("abstracts", "annotations"))
        )

    def rows(self, source: Path, split: str) -> Iterator[SpanRow]:
        place = self.companions()[split]
        documents = Abstracts(self, source, self.all_lines(source))
        mentions = documents.by_document(place, self.all_lines(place), 6)
        for document in documents:
            adjusted: Counter[str] = Counter()
            parse = partial(self._entity, document, adjusted)
            entities = documents.parsed(document.id, mentions.get(document.id, ()), parse)
            if not documents.is_refused(document.id):
                self.adjusted.update(adjusted)
                own = renamed(numbered(entities), self.types, self.left_out)
                yield SpanRow(document.id, document.id, document.text, entities=own)

    def _entity(self, document: Abstract, adjusted: Counter[str], cells: Sequence[str]) -> Entity:
        section, start, end, mention, kind = cells
        if section not in ("T", "A"):
            raise MalformedError("the second column must be T or A", f"{len(section)} other characters")
        if not kind:
            raise MalformedError("a mention must have a class", "none")
        part, shift = (document.title, 0) if section == "T" else (document.abstract, len(document.title) + 1)
        ((first, last),) = checked_spans(part, [span_of(start, end)], mention, self.offsets, adjusted)
        return Entity("", kind, ((first + shift, last + shift),))
