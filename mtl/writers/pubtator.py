"""PubTator files: title, abstract, mentions with concept ids, and relations between concepts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from mtl.private_files import replacing_private
from mtl.writers import PredictedRow, PredictionWriter
from mtl.writers._annotations import Annotations, Mention, annotated

_BREAKS = re.compile(r"[\n\r\t]")  # each would end a line or a column
_NO_CONCEPT = "-1"


class PubtatorWriter(PredictionWriter):
    """One document per text; offsets count the characters of the title, one space and the abstract.

    A text from another format is the title if it has one line; otherwise its first line is. Line breaks and tabs become
    blanks, so offsets stay the same. A discontinuous mention is written from its first to its last character. PubTator
    relates concepts: a mention without a concept id gets the id `T<number>` if it takes part in a relation. Relations
    have no score in this format, and mentions no attributes.
    """

    suffixes = (".pubtator", ".pubtator.txt")
    only_mentions = True
    has_attributes = False

    def write(self, path: Path, rows: Iterable[PredictedRow]) -> None:
        with replacing_private(path) as file:
            for row in rows:
                file.writelines(f"{line}\n" for line in _lines(row))
                file.write("\n")


def _lines(row: PredictedRow) -> Iterator[str]:
    name = re.sub(r"[|\s]", "_", row.id)
    text = _BREAKS.sub(" ", row.text)
    title_end = _title_end(row)
    yield f"{name}|t|{text[:title_end]}"
    yield f"{name}|a|{text[title_end + 1 :]}"
    found = annotated(row)
    concepts = _concepts(found)
    for mention, concept in zip(found.mentions, concepts, strict=True):
        start, end = mention.spans[0][0], mention.spans[-1][1]
        yield "\t".join((name, str(start), str(end), text[start:end], _cell(mention.type), concept or _NO_CONCEPT))
    pairs = ((link.type, concepts[link.head], concepts[link.tail]) for link in found.links)
    for kind, head, tail in dict.fromkeys(pairs):
        # A mention with several concepts is related by the first of them.
        yield "\t".join((name, _cell(kind), head.split("|")[0], tail.split("|")[0]))


def _title_end(row: PredictedRow) -> int:
    """The position of the character between title and abstract."""
    if row.title_end is not None:
        return row.title_end
    match = re.search(r"[\n\r]", row.text)
    return len(row.text) if match is None else match.start()


def _concepts(found: Annotations) -> list[str]:
    """The concept cell of each mention; empty if it has no concept and no relation."""
    related = {index for link in found.links for index in (link.head, link.tail)}
    return [_own_concepts(mention) or f"T{i + 1}" * (i in related) for i, mention in enumerate(found.mentions)]


def _own_concepts(mention: Mention) -> str:
    return "|".join(map(_cell, mention.concepts))


def _cell(text: str) -> str:
    return _BREAKS.sub(" ", text)
