"""Which mentions of a row get a class, from which gold attribute, and in which part of the text they are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from heads._marking import Marked
from heads._pairs import Mention, hull, shifted
from heads.rows import Entity, Span, SpanRow, TextRow

Mark = Callable[[str, Sequence[Mention], Sequence[Mention]], Marked]
"""Marks the mentions of heads and tails in a text."""


class LabelledMention(NamedTuple):
    """A mention in the text in which it is read, with its class.

    Args:
        entity: Id of the entity.
        type: Its type.
        label: Its gold class; None if it is not known.
        marked: The text and the position of the mention, both as the head and as the tail, so that a window of the text
            is centred on it.
        is_cut: Whether the text is only a part of the sentence or document.
    """

    entity: str
    type: str
    label: str | None
    marked: Marked
    is_cut: bool

    def text_row(self) -> TextRow:
        """The marked text as a row."""
        return TextRow("", "", self.marked.text)


@dataclass(frozen=True)
class Labelling:
    """The rules that decide which mentions are labelled.

    Args:
        attribute: Name of the attribute whose value is the class of a mention.
        types: Types of the mentions; None for all.
        default: Class of a mention without the attribute, where the attribute was annotated; None if such mentions have
            no gold class.
        scope: Whether a mention is read in its sentence or in the document.
        excluded: Classes that pooled scores leave out.
    """

    attribute: str
    types: frozenset[str] | None = None
    default: str | None = None
    scope: Literal["sentence", "document"] = "sentence"
    excluded: tuple[str, ...] = ()

    def mentions(self, row: SpanRow) -> list[Entity]:
        """The mentions that get a class, in the order of the row."""
        return [entity for entity in row.entities if self.types is None or entity.type in self.types]

    def gold(self, row: SpanRow, entity: Entity) -> str | None:
        """The gold class of a mention; None if it is not known.

        >>> fever = Entity("T1", "Sign", ((3, 8),))
        >>> labelling = Labelling("negated", default="no")
        >>> labelling.gold(SpanRow("1", "1", "No fever", entities=(fever,)), fever)
        'no'
        >>> labelling.gold(SpanRow("1", "1", "No fever", entities=(fever,), annotated=("Sign",)), fever)
        """
        is_annotated = row.annotated is None or self.attribute in row.annotated
        return entity.attributes.get(self.attribute, self.default if is_annotated else None)

    def without_gold(self, entity: Entity) -> Entity:
        """The mention without the attribute."""
        kept = {name: value for name, value in entity.attributes.items() if name != self.attribute}
        return entity._replace(attributes=kept)

    def passage(self, row: SpanRow, entity: Entity) -> Span:
        """The part of the text in which a mention is read: its sentence, or the whole text.

        Several sentences are read if the mention crosses their ends, and the whole text if it is in none.

        >>> rows = SpanRow("1", "1", "Well. No fever.", sentences=((0, 5), (6, 15)))
        >>> Labelling("negated").passage(rows, Entity("T1", "Sign", ((9, 14),)))
        (6, 15)
        """
        start, end = hull(entity.spans)
        sentences = row.sentences if self.scope == "sentence" and row.sentences is not None else ()
        touched = [span for span in sentences if span[0] < end and start < span[1]]
        first, last = min(touched, default=(0, 0))[0], max((span[1] for span in touched), default=0)
        return (first, last) if first <= start and end <= last else (0, len(row.text))

    def marked(self, row: SpanRow, reach: int, mark: Mark) -> Iterator[LabelledMention]:
        """The mentions that get a class, each marked in the text around it.

        Args:
            row: The row.
            reach: Maximum number of characters to read on either side of a mention.
            mark: Marks a mention.
        """
        for entity in self.mentions(row):
            passage = self.passage(row, entity)
            start, end = nearby(row.text, passage, hull(entity.spans), reach)
            found = mark(row.text[start:end], shifted([entity.spans], -start), [])
            found = found._replace(tail=found.head)
            yield LabelledMention(entity.id, entity.type, self.gold(row, entity), found, (start, end) != passage)


def nearby(text: str, passage: Span, mention: Span, reach: int) -> Span:
    """A passage, or the part of it that has at most `reach` characters on either side of a mention.

    Words that the limit would cut are left out; a mention in the middle of a longer word keeps its side of the word.

    >>> nearby("There was no fever at all today.", (0, 32), (13, 18), 6)
    (10, 21)
    """
    first, last = max(passage[0], mention[0] - reach), min(passage[1], mention[1] + reach)
    if first > passage[0] and (blank := re.compile(r"\s").search(text, first - 1, mention[0])):
        first = blank.end()
    if last < passage[1] and (blanks := list(re.finditer(r"\s", text[mention[1] : last + 1]))):
        last = mention[1] + blanks[-1].start()
    return first, last
