"""ShARe/CLEF eHealth 2013, task 1: clinical reports, and files with the offsets of the disorders in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import ClassVar

from heads.rows import Entity, SpanRow
from mtl.readers import OFFSET, OnBadRow, Reader
from mtl.readers._columns import MalformedError
from mtl.readers._members import ARCHIVES, Member, companions, content_lines, members
from mtl.readers._mentions import checked_spans
from mtl.readers._parts import Discontinuous

_ANNOTATION = re.compile(r"(.+?)(?:\.pipe\.txt|\.pipe)")
_NO_CONCEPT = "CUI-less"


class ShARe2013(Reader):
    r"""Reports with disorders, one row per report.

    The layout is that of the release on PhysioNet (Pradhan et al. 2013), as BLUE's `create_clefe_bert.py` and other
    public parsers read it: a text for each report and, in another folder, a file with a line for each mention: name of
    the report, type, UMLS concept, and start and end of each part, separated by two bars::

        ALLREPORTS/23.txt       Knee pain and hip pain.
        …/23.pipe.txt           23.txt||Disease_Disorder||C0231749||0||9
                                23.txt||Disease_Disorder||CUI-less||10||13||18||22
        SpanRow("23", "23", "Knee pain and hip pain.",
                entities=(Entity("T1", "Disease_Disorder", ((0, 9),), ("C0231749",)),
                          Entity("T2", "Disease_Disorder", ((10, 13), (18, 22)))))

    About a tenth of the mentions are in several parts. BLUE tags the words of each part and none between them, which
    comes closest to `discontinuous: split`. Overlapping mentions are all kept and counted.

    The files do not repeat the text of a mention, so wrong offsets inside the text are not noticed.

    Args:
        path: Folder of the release.
        annotations: Folder or archive of the files with the mentions of each split, relative to `path`. By default,
            they are in the source of the split, with names that end in `.pipe.txt` or `.pipe`; elsewhere, they may also
            have the names of the reports.
        discontinuous: How mentions in several parts are read: `keep`, `outer`, `split` or `refuse`; see
            `mtl.readers._parts`.
        files: See `Reader`; the folder or archive of the reports of each split.
        on_bad_row: See `Reader`.
        encoding: See `Reader`.
    """

    suffixes: ClassVar[tuple[str, ...]] = ARCHIVES
    ids_are_file_names: ClassVar[bool] = True

    def __init__(
        self,
        path: str,
        *,
        annotations: Mapping[str, str] | None = None,
        discontinuous: Discontinuous = "keep",
        files: Mapping[str, str] | None = None,
        on_bad_row: OnBadRow = "error",
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(path, files=files, on_bad_row=on_bad_row, encoding=encoding)
        self.annotations = annotations
        self.discontinuous = discontinuous

    def companions(self) -> dict[str, Path]:
        return companions(self, "annotations", self.annotations, lambda source: source)

    def rows(self, source: Path, split: str) -> Iterator[SpanRow]:
        reports, mentions = self._files(source, self.companions()[split])
        for name, file in mentions.items():
            if name not in reports:
                self.bad(file.place, None, "a file of mentions needs a report with the same name", "none")
        for name, file in reports.items():
            if name not in mentions:
                self.bad(
                    file.place, None, "a report needs a file of mentions with the same name (may be empty)", "none"
                )
            else:
                yield from self._row(name, file, mentions[name])

    def _files(self, source: Path, place: Path) -> tuple[dict[str, Member], dict[str, Member]]:
        """The reports and the files of mentions, by the name of the report."""
        found = [
            Member(folder / name, content)
            for folder in dict.fromkeys((source, place))
            for name, content in members(self, folder, _is_text).items()
        ]
        reports: dict[str, Member] = {}
        mentions: dict[str, Member] = {}
        for file in sorted(found):
            match = _ANNOTATION.fullmatch(file.place.name)
            is_mentions = match is not None or (place != source and place in file.place.parents)
            files, name = mentions if is_mentions else reports, match[1] if match else file.place.stem
            if name in files:
                self.bad(file.place, None, "the names of reports must be unique within a split", "this one again")
            files.setdefault(name, file)
        return reports, mentions

    def _row(self, name: str, report: Member, mentions: Member) -> Iterator[SpanRow]:
        """The row of a report, or nothing if it is bad or empty."""
        text = self.decode(report.content, report.place)
        if text is None:
            return
        entities: list[Entity] = []
        adjusted: Counter[str] = Counter()
        for line in content_lines(self, mentions):
            if not line.is_valid:
                return
            if not line.text.strip():
                continue
            try:
                entities.append(_entity(line.text, f"T{len(entities) + 1}", name, text, adjusted))
            except MalformedError as error:
                self.bad(mentions.place, line.number, error.rule, error.found)
                return
        if not text.strip():
            self.left_out["empty text"] += 1
            return
        self.adjusted.update(adjusted)
        yield SpanRow(name, name, text, entities=tuple(entities))


def _is_text(path: PurePosixPath) -> bool:
    return path.suffix in (".txt", ".text", ".pipe")


def _entity(line: str, entity_id: str, report: str, text: str, adjusted: Counter[str]) -> Entity:
    """A mention, with its parts in text order.

    >>> line = "a.txt||Disease_Disorder||CUI-less||10||13||18||22"
    >>> _entity(line, "T1", "a", "Knee pain and hip pain.", Counter()).spans
    ((10, 13), (18, 22))
    """
    name, *cells = line.strip().split("||")
    if name.removesuffix(".txt").removesuffix(".text") != report:
        raise MalformedError("a line must start with the name of its report", f"{len(name)} other characters")
    if len(cells) < 4 or len(cells) % 2 or not cells[0]:
        raise MalformedError("a line must have a type, a concept, and pairs of offsets", f"{len(cells)} columns")
    kind, concept, *offsets = cells
    if not all(re.fullmatch(OFFSET, offset) for offset in offsets):
        raise MalformedError("offsets must be integers", "other characters")
    edges = list(map(int, offsets))
    spans = sorted(zip(edges[::2], edges[1::2], strict=True))
    concepts = () if concept in ("", _NO_CONCEPT) else (concept,)
    return Entity(entity_id, kind, checked_spans(text, spans, None, "check", adjusted), concepts)
