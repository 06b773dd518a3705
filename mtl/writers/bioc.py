"""BioC XML (Comeau et al. 2013): a collection of documents, each with one passage, its annotations and relations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from mtl.private_files import replacing_private
from mtl.writers import PredictedRow, PredictionWriter
from mtl.writers._annotations import Annotations, annotated

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot represent."""

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE collection SYSTEM "BioC.dtd">
<collection>
  <source>biomtl</source>
  <date>{date:%Y%m%d}</date>
  <key>biomtl.key</key>
"""


class BiocWriter(PredictionWriter):
    """One document per text. Offsets and lengths count characters, as in PubTator's exports.

    Labels and numbers of text tasks, and carried keys, are infons of the document: `TASK`, and `TASK.score` for the
    probability. Attributes of mentions are infons of their annotations: `NAME` and `NAME.score`. Relations are elements
    of the passage whose nodes refer to annotations. Characters that XML cannot represent become blanks, so offsets stay
    the same.
    """

    suffixes = (".xml",)

    def write(self, path: Path, rows: Iterable[PredictedRow]) -> None:
        with replacing_private(path, newline="") as file:
            file.write(_HEAD.format(date=datetime.now(UTC)))
            for row in rows:
                file.writelines(f"{line}\n" for line in _document(row))
            file.write("</collection>\n")


def _document(row: PredictedRow) -> Iterator[str]:
    yield "  <document>"
    yield f"    <id>{_text(row.id)}</id>"
    carried = {"document": row.document} if row.document != row.id else {}
    for key, value in (carried | dict(row.carried) | _labels(row.predictions)).items():
        yield f"    {_infon(key, value)}"
    yield "    <passage>"
    yield "      <offset>0</offset>"
    yield f"      <text>{_text(row.text)}</text>"
    yield from _elements(annotated(row))
    yield "    </passage>"
    yield "  </document>"


def _elements(found: Annotations) -> Iterator[str]:
    for number, mention in enumerate(found.mentions, start=1):
        yield f'      <annotation id="T{number}">'
        yield f"        {_infon('type', mention.type)}"
        if mention.score is not None:
            yield f"        {_infon('score', mention.score)}"
        if mention.concepts:
            yield f"        {_infon('identifier', '|'.join(mention.concepts))}"
        for name, attribute in mention.attributes.items():
            yield f"        {_infon(name, attribute.value)}"
            yield f"        {_infon(f'{name}.score', attribute.score)}"
        for start, end in mention.spans:
            yield f'        <location offset="{start}" length="{end - start}"/>'
        yield f"        <text>{_text(mention.text)}</text>"
        yield "      </annotation>"
    for number, link in enumerate(found.links, start=1):
        yield f'      <relation id="R{number}">'
        yield f"        {_infon('type', link.type)}"
        yield f"        {_infon('score', link.score)}"
        yield f'        <node refid="T{link.head + 1}" role="head"/>'
        yield f'        <node refid="T{link.tail + 1}" role="tail"/>'
        yield "      </relation>"


def _labels(predictions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    infons: dict[str, Any] = {}
    for task, prediction in predictions.items():
        if "label" in prediction:
            infons[task] = prediction["label"]
            if "score" in prediction:
                infons[f"{task}.score"] = prediction["score"]
        elif "labels" in prediction:
            infons[task] = "|".join(prediction["labels"])
            infons |= {f"{task}.score.{label}": score for label, score in prediction.get("scores", {}).items()}
        elif "value" in prediction:
            infons[task] = prediction["value"]
    return infons


def _infon(key: str, value: Any) -> str:
    return f"<infon key={quoteattr(_FORBIDDEN.sub(' ', key))}>{_text(str(value))}</infon>"


def _text(text: str) -> str:
    # A parser would replace a bare carriage return and thereby move all offsets.
    return escape(_FORBIDDEN.sub(" ", text), {"\r": "&#13;"})
