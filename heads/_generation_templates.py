"""Templates: sentences with fields in braces, which turn values into text and text back into values.

A text that a model has generated may differ from the template in case and in blanks around punctuation, because
tokenizers do not keep them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

EMPTY = "empty"
"""The text of a row without relations, or without labels."""

_FIELD = re.compile(r"\{(\w+)\}")
_PIECE = re.compile(r"\w+|\s+|[^\w\s]")
_STOP = re.compile(r"\s*\.?\s*$")


class Template:
    """A sentence with fields.

    Args:
        option: Name of the option that holds it, for errors.
        text: The sentence, such as ``"the answer is {label}"``.
        required: Names of the fields that it must have.
        optional: Names of the fields that it may have.

    Raises:
        ValueError: A field is missing, unknown, or occurs twice, or two fields have no text between them.

    >>> template = Template("template", "the interaction between {head} and {tail} is {type}", ["head", "tail", "type"])
    >>> text = template.render({"head": "aspirin", "tail": "COX-2", "type": "inhibition"})
    >>> text
    'the interaction between aspirin and COX-2 is inhibition'
    >>> template.values("The interaction between aspirin and COX-2  is inhibition")
    {'head': 'aspirin', 'tail': 'COX-2', 'type': 'inhibition'}
    """

    def __init__(self, option: str, text: str, required: Sequence[str], optional: Sequence[str] = ()) -> None:
        self.fields: tuple[str, ...] = tuple(_FIELD.findall(text))
        self._parts: list[str] = _FIELD.split(text.strip())  # text and names of fields in turn
        _check(option, self.fields, required=required, optional=optional, between=self._parts[2:-1:2])
        patterns = [_literal(part) if place % 2 == 0 else r"(.+?)" for place, part in enumerate(self._parts)]
        self._pattern = re.compile("".join(patterns), re.IGNORECASE | re.DOTALL)

    def render(self, values: Mapping[str, str]) -> str:
        """The sentence with the values of its fields."""
        return "".join(values[part] if place % 2 else part for place, part in enumerate(self._parts))

    def values(self, text: str) -> dict[str, str] | None:
        """The value of each field, without blanks around it; None if the text does not follow the template."""
        match = self._pattern.fullmatch(one_line(text))
        values = [] if match is None else [value.strip() for value in match.groups()]
        return dict(zip(self.fields, values, strict=True)) if match is not None and all(values) else None


def one_line(text: str) -> str:
    r"""The text with single blanks in place of all white space, and none at the ends.

    >>> one_line(" two\n  words ")
    'two words'
    """
    return " ".join(text.split())


def without_stop(text: str) -> str:
    """The text without one full stop at its end.

    >>> without_stop("the answer is yes . ")
    'the answer is yes'
    """
    return _STOP.sub("", text, count=1)


def normalised(text: str) -> str:
    """What two texts must share to count as the same: letters and digits, whatever their case.

    A text without any of them stands for itself.

    >>> normalised("COX-2 "), normalised("cox 2"), normalised("+")
    ('cox2', 'cox2', '+')
    """
    return "".join(character for character in text.casefold() if character.isalnum()) or one_line(text)


def _check(
    option: str, fields: Sequence[str], *, required: Sequence[str], optional: Sequence[str], between: Sequence[str]
) -> None:
    for name in required:
        if name not in fields:
            needed = ", ".join(f"{{{one}}}" for one in required)
            raise ValueError(f"{option} must have the fields {needed}, got {', '.join(fields) or 'none'}")
    known = [*required, *optional]
    unknown = [name for name in fields if name not in known]
    if unknown:
        raise ValueError(f"{option} must have no other fields than {', '.join(known)}, got {', '.join(unknown)}")
    if len(set(fields)) < len(fields):
        raise ValueError(f"{option} must have each field once, got {', '.join(fields)}")
    if any(not part.strip() for part in between):
        raise ValueError(f"{option} must have words between its fields, got two fields in a row")


def _literal(text: str) -> str:
    """The pattern of the words between fields."""
    patterns: list[str] = []
    for piece in _PIECE.findall(text):
        if piece.isspace():
            patterns.append(r"\s+")
        elif piece.isalnum():
            patterns.append(re.escape(piece))
        else:
            patterns.append(rf"\s*{re.escape(piece)}\s*")
    return "".join(patterns).replace(r"\s+\s*", r"\s*").replace(r"\s*\s+", r"\s*")
