"""Compares mentions with the text at their offsets, shared by the readers whose formats give offsets."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from heads.rows import Span
from mtl.readers._columns import MalformedError

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
    if any(not 0 <= start < end <= len(text) for start, end in spans):
        raise MalformedError("offsets must be inside the text and not empty", _wording(spans, len(text)))
    if mention is not None and not _is_at(text, spans, mention):
        if offsets == "check":
            raise MalformedError(*_mismatch(text, spans, mention))
        adjusted[TRUSTED] += 1
    found = tuple(span for span in (_trimmed(text, *span) for span in spans) if span[0] < span[1])
    if not found:
        raise MalformedError("a mention must have visible characters", _wording(spans, len(text)))
    if found != tuple(spans) or (mention is not None and mention != mention.strip()):
        adjusted[TRIMMED] += 1
    return found


def _is_at(text: str, spans: Sequence[Span], mention: str) -> bool:
    # The lengths come first, because many long parts would make a text of any size.
    if sum(end - start for start, end in spans) > len(text):
        return False
    return _on_one_line(" ".join(text[start:end] for start, end in spans)) == _on_one_line(mention)


def _on_one_line(text: str) -> str:
    return re.sub(r"[\r\n\t]", " ", text).strip()


def _trimmed(text: str, start: int, end: int) -> Span:
    marked = text[start:end]
    start += len(marked) - len(marked.lstrip())
    return start, start + len(marked.strip())


def _mismatch(text: str, spans: Sequence[Span], mention: str) -> tuple[str, str]:
    """The rule with the reason why a mention differs, if it is one of the usual ones, and what was found."""
    found = f"{len(mention)} other characters for {_wording(spans, len(text))}"
    for (first, last), reason in _SHIFTS.items():
        shifted = [(start + first, end + last) for start, end in spans]
        if all(0 <= start < end <= len(text) for start, end in shifted) and _is_at(text, shifted, mention):
            return f"{_RULE} (here {reason})", found
    start, end = spans[0][0], spans[-1][1]
    if _normal(text[start:end][: 4 * len(mention) + _FAR]) == _normal(mention):
        return f"{_RULE} (here they differ in case, blanks or special characters: set offsets: trust)", found
    near = text.find(mention, max(0, start - _FAR), start + _FAR + len(mention)) if mention else -1
    if near >= 0 and len(spans) == 1:
        where = f"{abs(near - start)} characters {'after' if near > start else 'before'} its offsets"
        return f"{_RULE} (here it is near them)", f"it {where} {_wording(spans, len(text))}"
    return _RULE, found


def _normal(text: str) -> str:
    """A text without case, blanks, accents and marks; what has no letter in ASCII is one placeholder.

    >>> _normal("TNF-α") == _normal("TNF-a"), _normal("folic\\u00a0acid") == _normal("Folic acid")
    (True, True)
    """
    plain = unicodedata.normalize("NFKD", text.translate(_GREEK)).casefold()
    return "".join(character for character in plain if character.isalnum())


_GREEK = str.maketrans("αβγδεκλμωΑΒΓΔ", "abgdeklmoABGD")


def _wording(spans: Sequence[Span], length: int) -> str:
    return f"{';'.join(f'{start}-{end}' for start, end in spans[:5])} in {length} characters"
