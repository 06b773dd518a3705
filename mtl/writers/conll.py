"""CoNLL files: a word and its tag per line, in the scheme BIO, and a blank line after each text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from heads import SpanRow
from heads._tags import TypedSpan, to_tags
from heads._words import flat, words_of
from mtl.private_files import replacing_private
from mtl.writers import PredictedRow, PredictionWriter
from mtl.writers._annotations import annotated


class ConllWriter(PredictionWriter):
    """``Low<TAB>B-Finding`` / ``fever<TAB>I-Finding``, as `conlleval` and seqeval read it.

    The words are those of the input, or those that the entity tasks tag if it has none. A word has one tag: of
    mentions that share a word, the longest is written. A discontinuous mention is written from its first to its last
    word. Texts have no ids in this format, so their order must be kept.
    """

    suffixes = (".conll", ".bio")
    only_mentions = True
    has_attributes = False

    def write(self, path: Path, rows: Iterable[PredictedRow]) -> None:
        with replacing_private(path) as file:
            for row in rows:
                file.writelines(f"{line}\n" for line in _lines(row))
                file.write("\n")


def _lines(row: PredictedRow) -> Iterator[str]:
    words = words_of(SpanRow(row.id, row.document, row.text, words=row.words))
    mentions = [TypedSpan(one.spans[0][0], one.spans[-1][1], one.type) for one in annotated(row).mentions]
    for (start, end), tag in zip(words, to_tags(flat(mentions, words), len(words), "BIO"), strict=True):
        word = "".join(row.text[start:end].split())  # a blank could end a column; readers compare letters
        yield f"{word}\t{tag}"
