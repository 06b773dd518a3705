"""Recognizing question entailment, AMIA 2016 (Ben Abacha & Demner-Fushman 2016): pairs of questions in XML."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from heads.rows import TextRow
from mtl.hashed_ids import quoted_id
from mtl.readers import Reader
from mtl.readers._limits import Budget
from mtl.readers._xml import XmlError, parse_xml

if TYPE_CHECKING:
    from xml.etree import ElementTree


class RQE(Reader):
    """Pairs of a consumer health question (chq) and a frequently asked question (faq), labelled with their entailment.

    The label is true if answers to the faq also answer the chq. The attribute `type` describes how a pair was made and
    reveals the label, so it is never read. A chq occurs in several pairs; its hash is the document of the row, and is
    also in `meta` for splits grouped by it.

    A pair and its row::

        <pair pid="1" type="…" value="true"><chq> How …? </chq><faq> What …? </faq></pair>
        TextRow("1", "0fe0cf7a20b4", "How …?", "What …?", label="true", meta={"chq": "0fe0cf7a20b4"})
    """

    suffixes: ClassVar[tuple[str, ...]] = (".xml",)

    def rows(self, source: Path, split: str) -> Iterator[TextRow]:
        for line, pair in self._pairs(source):
            pid, label = pair.get("pid", ""), pair.get("value", "")
            chq, faq = (pair.findtext(tag, "").strip() for tag in ("chq", "faq"))
            if not pid:
                self.bad(source, line, "a pair must have a pid", "none")
            elif label not in ("true", "false"):
                self.bad(
                    source,
                    line,
                    "value must be 'true' or 'false'",
                    f"{len(label)} other characters, pid {quoted_id(pid)}",
                )
            elif not chq or not faq:
                self.bad(source, line, f"{'faq' if chq else 'chq'} must not be empty", f"no text, pid {quoted_id(pid)}")
            else:
                group = question_hash(chq)
                yield TextRow(pid, group, chq, faq, label=label, meta={"chq": group})

    def _pairs(self, source: Path) -> Iterator[tuple[int, ElementTree.Element]]:
        """The pairs with their lines; nothing if the file is not well-formed, because its pairs are then unclear."""
        before = len(self.bad_rows)
        budget = Budget(source, "A file that is read as a whole")
        lines = []
        for _, line in self.lines(source):
            budget.take(len(line))
            lines.append(line)
        if len(self.bad_rows) > before:
            return
        try:
            pairs = parse_xml("\n".join(lines), "pair")[1]
        except XmlError as error:
            self.bad(source, error.line, error.rule, error.found)
        else:
            yield from pairs


def question_hash(question: str) -> str:
    """A short hash of a question that ignores case and blanks.

    >>> question_hash("What is  asthma?") == question_hash("what is asthma?")
    True
    """
    return hashlib.sha256(" ".join(question.lower().split()).encode()).hexdigest()[:12]
