"""JSON from sources that nobody vouches for, shared by the readers of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from mtl.readers._columns import MalformedError, kind_of

ONE_OBJECT = "a line must be one JSON object"
"""The rule of JSON lines."""


def parse_object(line: str) -> dict[str, Any]:
    """The object in a line of JSON.

    Raises:
        MalformedError: The line is not one JSON object, or has a value that `parse_json` refuses.
    """
    try:
        record = parse_json(line, ONE_OBJECT)
    except json.JSONDecodeError as error:
        found = f"invalid JSON ({error.msg[0].lower()}{error.msg[1:]} at position {error.pos})"
        raise MalformedError(ONE_OBJECT, found) from None
    if not isinstance(record, dict):
        raise MalformedError(ONE_OBJECT, kind_of(record))
    return record


def parse_json(text: str, rule: str, unique: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """The value of a JSON text, whose strings are all valid Unicode.

    Args:
        text: The text.
        rule: The rule in errors, such as "a line must be one JSON object".
        unique: Makes an object from its pairs; None makes a dictionary.

    Raises:
        json.JSONDecodeError: The text is not JSON.
        MalformedError: A number has more than 4,300 digits, values are nested too deeply, or a string contains half
            a surrogate pair, which no file can store and tokenizers fail on.
    """
    try:
        value = json.loads(text, object_pairs_hook=unique)
        if "\\u" in text:  # only an escape can give half a pair
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError:
        raise
    except UnicodeEncodeError:
        raise MalformedError(rule, "half a surrogate pair") from None
    except RecursionError:
        raise MalformedError(rule, "values nested too deeply") from None
    except ValueError:
        raise MalformedError(rule, "a number of more than 4,300 digits") from None
    return value
