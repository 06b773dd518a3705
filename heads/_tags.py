"""Tagging schemes: typed spans of words as one tag per word, and back.

| scheme | single word | first | inside | last | remark |
|---|---|---|---|---|---|
| BIO | B | B | I | I | also called IOB2 |
| BIOUL | U | B | I | L | also called BILOU or IOBES |
| IO | I | I | I | I | adjacent entities of one type merge |

(Ramshaw and Marcus 1995 for BIO; Ratinov and Roth 2009 for BIOUL.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

Scheme = Literal["BIO", "BIOUL", "IO"]

_PREFIXES: dict[Scheme, str] = {"BIO": "BI", "BIOUL": "BIUL", "IO": "I"}
_OPENS: dict[Scheme, str] = {"BIO": "B", "BIOUL": "BU", "IO": "I"}
_CONTINUES: dict[Scheme, str] = {"BIO": "I", "BIOUL": "IL", "IO": "I"}


class TypedSpan(NamedTuple):
    """A half-open span of words or characters, from `start` up to but not including `end`, and its entity type."""

    start: int
    end: int
    type: str


def tag_names(types: Sequence[str], scheme: Scheme) -> tuple[str, ...]:
    """All tags of the entity types, O first.

    >>> tag_names(["Drug", "Gene"], "BIO")
    ('O', 'B-Drug', 'I-Drug', 'B-Gene', 'I-Gene')
    """
    return ("O", *(f"{prefix}-{name}" for name in types for prefix in _PREFIXES[scheme]))


def to_tags(spans: Iterable[TypedSpan], num_words: int, scheme: Scheme) -> list[str]:
    """One tag per word, from spans of words that do not overlap.

    >>> to_tags([TypedSpan(0, 2, "Drug"), TypedSpan(3, 4, "Gene")], 5, "BIOUL")
    ['B-Drug', 'L-Drug', 'O', 'U-Gene', 'O']
    """
    tags = ["O"] * num_words
    for span in spans:
        tags[span.start : span.end] = [f"{p}-{span.type}" for p in _prefixes_of(span.end - span.start, scheme)]
    return tags


def to_spans(tags: Sequence[str], scheme: Scheme, *, lenient: bool = False) -> list[TypedSpan]:
    """The entities in a sequence of tags.

    A BIO entity is a B with all I of its type that directly follow; an I without a B is ignored. A BIOUL entity is a
    U, or a B, any number of I and an L. An IO entity is a run of one type. For BIO and BIOUL, this is seqeval's strict
    mode (IOB2, BILOU).

    Args:
        tags: One tag per word.
        scheme: Their scheme.
        lenient: Whether tags that do not follow the scheme make entities too: any tag that continues no entity begins
            one, and a BIOUL entity needs no L. This is how conlleval and seqeval's default mode read tags.

    >>> to_spans(["I-Drug", "O", "B-Drug", "I-Drug", "I-Gene"], "BIO")
    [TypedSpan(start=2, end=4, type='Drug')]
    >>> [span.type for span in to_spans(["I-Drug", "O", "B-Drug", "I-Drug", "I-Gene"], "BIO", lenient=True)]
    ['Drug', 'Drug', 'Gene']
    """
    spans: list[TypedSpan] = []
    span: TypedSpan | None = None
    for index, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        if span is not None and kind == span.type and prefix in _CONTINUES[scheme]:
            span = span._replace(end=index + 1)
        else:
            if span is not None and (lenient or scheme != "BIOUL"):
                spans.append(span)
            opens = prefix != "O" if lenient else prefix in _OPENS[scheme]
            span = TypedSpan(index, index + 1, kind) if opens else None
        if span is not None and prefix in "UL":
            spans.append(span)
            span = None
    return spans


def is_legal(before: str, after: str, scheme: Scheme) -> bool:
    """Whether one tag may follow another. The beginning and end of a text count as O.

    >>> is_legal("O", "I-Drug", "BIO"), is_legal("B-Drug", "I-Drug", "BIO"), is_legal("B-Drug", "O", "BIOUL")
    (False, True, False)
    """
    if scheme == "IO":
        return True
    is_open = before[0] in "BI"
    if after[0] in _CONTINUES[scheme]:
        return is_open and before[1:] == after[1:]
    return scheme == "BIO" or not is_open


def _prefixes_of(length: int, scheme: Scheme) -> str:
    if scheme == "IO":
        return "I" * length
    if scheme == "BIO":
        return "B" + "I" * (length - 1)
    return "U" if length == 1 else "B" + "I" * (length - 2) + "L"
