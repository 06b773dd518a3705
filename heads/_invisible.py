"""Characters without a shape of their own: tokenizers drop them, and PDFs and web pages scatter them over texts.

Three kinds matter for words and mentions:

- marks (accents, Arabic and Hindi vowel signs) belong to the character before them
- joiners (soft hyphen, joiners of zero width, controls, private use, U+FFFD for a lost character) are part of a word
  if they are inside it, and nothing otherwise
- separators (blanks, and U+200B, the blank of zero width) are between words
"""

from __future__ import annotations

import unicodedata

from heads.rows import Span

MARK, JOINER, SEPARATOR = "\u0300", "\u00ad", " "
"""The characters that stand for all of their kind in `simplified`."""

_MARKS = frozenset({"Mn", "Mc", "Me"})
_JOINERS = frozenset({"Cf", "Cc", "Co", "Cn", "Cs"})
_ZERO_WIDTH_BLANK, _LOST = "\u200b", "\ufffd"


def simplified(text: str) -> str:
    r"""The text with one character for all marks, one for all joiners and one for all separators; its length is kept.

    >>> simplified("cafe\u0301 hyper\u00adtension\u200b") == "cafe\u0300 hyper\u00adtension "
    True
    """
    if text.isascii() and text.isprintable():
        return text
    return text.translate({ord(character): _kind(character) or character for character in set(text)})


def trimmed(text: str, start: int, end: int) -> Span:
    r"""A span without the marks, joiners and separators at its ends; unchanged if it has nothing else.

    >>> trimmed("\u200basthma ", 0, 8), trimmed("a \u200b", 1, 3)
    ((1, 7), (1, 3))
    """
    first, last = start, end
    while first < last and _kind(text[first]) is not None:
        first += 1
    while last > first and _kind(text[last - 1]) is not None:
        last -= 1
    return (first, last) if first < last else (start, end)


def _kind(character: str) -> str | None:
    """The character that stands for a mark, joiner or separator; None for any other character."""
    if character.isspace() or character == _ZERO_WIDTH_BLANK:
        return SEPARATOR
    category = unicodedata.category(character)
    if category in _MARKS:
        return MARK
    return JOINER if category in _JOINERS or character == _LOST else None
