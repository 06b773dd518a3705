"""Mentions and relations as formats write them: offsets that are compared with the text, and types to keep."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal

from heads.rows import Entity, Relation, Span
from mtl.readers._columns import MalformedError
from mtl.redaction import shown

Offsets = Literal["check", "trust"]
"""Whether the text of a mention must be the text at its offsets, or only its offsets count."""

TRIMMED = "mention with blanks at its ends, which are removed"
TRUSTED = "mention with another text than at its offsets, which are trusted"

_RULE = "the text of a mention must be the text at its offsets"

_SHIFTS = {
    (-1, -1): "the offsets count from 1 instead of 0",
    (0, 1): "the end is the last character instead of the one after it",
    (-1, 0): "the offsets count from 1 and the end is the last character",
    (1, 1): "the offsets are 1 too small",
}
"""How the offsets of a whole file are usually wrong: what to add to start and end, and its name."""

_FAR = 200
"""Largest distance at which a mention is searched, in characters."""

_LONG = 100_000
"""Length of a text, in characters, up to which other ways to count offsets are tried for each of its mentions."""


def checked_spans(
    text: str, spans: Sequence[Span], mention: str | None, offsets: Offsets, adjusted: Counter[str]
) -> tuple[Span, ...]:
    r"""The spans of a mention, without blanks at their ends.

    Args:
        text: The text.
        spans: The parts of the mention.
        mention: The text of the mention as the file repeats it, with a space between two parts; None if it does not.
            Blanks at its ends have no influence, and any blank equals a line break.
        offsets: What happens if it differs from the text at the offsets.
        adjusted: Counts mentions that are trimmed, or whose text differs.

    Raises:
        MalformedError: The spans are outside the text or hold nothing but blanks, or the text differs.

    >>> checked_spans("Low fever.", [(4, 9)], "fever ", "check", Counter())
    ((4, 9),)
    """
    if mention is not None:  # blanks after the text, as some tools mark them, are not in it
        blanks = len(mention) - len(mention.rstrip())
        spans = [(start, end if end - len(text) > blanks else min(end, len(text))) for start, end in spans]
    if any(not 0 <= start < end <= len(text) for start, end in spans):
        raise MalformedError(f"offsets must be inside the text{_reason(text, spans, mention)}", _wording(spans, text))
    if mention is not None and _on_one_line(_marked(text, spans)).strip() != _on_one_line(mention).strip():
        if offsets == "check":
            raise MalformedError(*_mismatch(text, spans, mention))
        adjusted[TRUSTED] += 1
    found = tuple(span for span in (_trimmed(text, *span) for span in spans) if span[0] < span[1])
    if not found:
        raise MalformedError("a mention must have visible characters", _wording(spans, text))
    if found != tuple(spans) or (mention is not None and mention != mention.strip()):
        adjusted[TRIMMED] += 1
    return found


def same_mention(text: str, spans: Sequence[Span], mention: str, normal: Callable[[str], str]) -> str:
    """The text at the spans if it equals the mention after both are normalised, else the mention as it is.

    For formats that write mentions in another way than the text, such as in lower case.

    >>> same_mention("Low Fever.", [(4, 9)], "fever", str.lower)
    'Fever'
    """
    marked = _marked(text, spans)
    return marked if normal(marked) == normal(mention) else mention


def numbered(entities: Iterable[Entity]) -> Iterator[Entity]:
    """The entities with the ids T1, T2 and so on, for formats without ids."""
    return (entity._replace(id=f"T{number}") for number, entity in enumerate(entities, start=1))


def renamed(entities: Iterable[Entity], types: Mapping[str, str] | None, left_out: Counter[str]) -> tuple[Entity, ...]:
    """The entities of the types to keep, with the new names of their types.

    Args:
        entities: The entities.
        types: Type -> new name; None keeps all types.
        left_out: Counts the entities of other types, by type.
    """
    entities = tuple(entities)
    if types is None:
        return entities
    left_out.update(shown(entity.type, "a type") for entity in entities if entity.type not in types)
    return tuple(entity._replace(type=types[entity.type]) for entity in entities if entity.type in types)


def between(relations: Iterable[Relation], entities: Sequence[Entity], left_out: Counter[str]) -> tuple[Relation, ...]:
    """The relations between the entities; others, whose entities have been left out, are counted by type."""
    ids = {entity.id for entity in entities}
    kept = []
    for relation in relations:
        if {relation.head, relation.tail} <= ids:
            kept.append(relation)
        else:
            left_out[shown(relation.type or "", "a type")] += 1
    return tuple(kept)


def _marked(text: str, spans: Sequence[Span]) -> str:
    """The text at the spans; nothing if they overlap, because many long parts would make a text of any size."""
    if sum(end - start for start, end in spans) > len(text):
        return ""
    return " ".join(text[start:end] for start, end in spans)


def _on_one_line(text: str) -> str:
    return re.sub(r"[\r\n\t]", " ", text)


def _trimmed(text: str, start: int, end: int) -> Span:
    marked = text[start:end]
    start += len(marked) - len(marked.lstrip())
    return start, start + len(marked.strip())


def _mismatch(text: str, spans: Sequence[Span], mention: str) -> tuple[str, str]:
    """The rule, with the reason if it is one of the usual ones, and what was found."""
    found = f"{len(mention)} other characters for {_wording(spans, text)}"
    reason = _reason(text, spans, mention)
    if not reason and _normal(_marked(text, spans)) == _normal(mention):
        reason = " (here they differ in case, blanks or special characters: set offsets: trust)"
    return f"{_RULE}{reason}", found


def _reason(text: str, spans: Sequence[Span], mention: str | None) -> str:
    """Why the offsets do not fit the mention, in parentheses, with all that may be the reason; empty if unknown."""
    if mention is None:
        return ""
    wanted = _on_one_line(mention)
    shifts = [
        reason
        for (first, last), reason in _SHIFTS.items()
        if all(0 <= start + first < end + last <= len(text) for start, end in spans)
        and _on_one_line(_marked(text, [(start + first, end + last) for start, end in spans])) == wanted
    ]
    reasons = shifts[:1] + _other_units(text, spans, wanted)
    if reasons:
        return f" (here {', or '.join(reasons)})"
    start = spans[0][0]
    if len(spans) == 1 and mention.strip() and mention in text[max(0, start - _FAR) : start + _FAR + len(mention)]:
        return f" (here the mention is within {_FAR} characters of them)"
    return ""


def _other_units(text: str, spans: Sequence[Span], wanted: str) -> list[str]:
    """What the offsets may count instead of characters, if the wanted text is then at them."""
    is_small = len(text) <= _LONG and sum(end - start for start, end in spans) <= 4 * len(wanted)
    if not (is_small and wanted.strip() and all(0 <= start < end for start, end in spans)):
        return []
    return [unit for unit, marked in _UNITS.items() if _on_one_line(marked(text, spans)) == wanted]


def _marked_in(encoding: str, unit_size: int, text: str, spans: Sequence[Span]) -> str:
    """The text at spans that count units of an encoding."""
    units = text.encode(encoding, "surrogatepass")
    parts = [units[start * unit_size : end * unit_size] for start, end in spans]
    return " ".join(part.decode(encoding, "replace") for part in parts)


def _marked_with_returns(text: str, spans: Sequence[Span]) -> str:
    """The text at spans that count a carriage return before each newline."""
    return _marked(text.replace("\n", "\r\n"), spans)


_UNITS: dict[str, Callable[[str, Sequence[Span]], str]] = {
    "the offsets count UTF-16 units, as Java and JavaScript do": partial(_marked_in, "utf-16-le", 2),
    "the offsets count bytes": partial(_marked_in, "utf-8", 1),
    "the offsets count line breaks as two characters": _marked_with_returns,
}
"""What offsets may count instead of characters."""


def _normal(text: str) -> str:
    """The letters and digits of a text without case and accents, Greek letters as Latin ones.

    >>> _normal("TNF-α"), _normal("Folic  acid")
    ('tnfa', 'folicacid')
    """
    plain = unicodedata.normalize("NFKD", text.translate(_GREEK)).casefold()
    return "".join(character for character in plain if character.isalnum())


_GREEK = str.maketrans("αβγδεκλμωΑΒΓΔ", "abgdeklmoABGD")


def _wording(spans: Sequence[Span], text: str) -> str:
    return f"{';'.join(f'{start}-{end}' for start, end in spans[:5])} in {len(text)} characters"
