"""Pydantic's errors as messages for people who write YAML, one for each place in the value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from mtl.problems import InputError, Problem, did_you_mean
from mtl.redaction import is_id, quoted, shown_key

T = TypeVar("T")


QUOTE_BOOLEANS = "Put it in quotes: YAML reads unquoted yes, no, on, off, true and false as booleans."


class Mismatch(NamedTuple):
    """Pydantic's errors for the value at one place: more than one if the value fits none of several types."""

    place: tuple[str | int, ...]
    errors: list[Mapping[str, Any]]

    @property
    def message(self) -> str:
        """The rule and the value, in terms of YAML instead of Python.

        >>> mismatches(TypeAdapter(int), "many")[0].message
        "must be an integer, got 'many'."
        """
        rules = list(dict.fromkeys(_rule(error) for error in self.errors))
        alternatives = [rule.removeprefix("must be ") for rule in rules[1:]]
        return f"{' or '.join([rules[0], *alternatives])}, got {_shown(self.errors[0]['input'])}."

    @property
    def advice(self) -> str:
        """What to do if YAML has read an unquoted word as something other than a string; empty otherwise.

        >>> mismatches(TypeAdapter(str), 3)[0].advice
        'Put it in quotes: YAML reads unquoted digits as a number.'
        """
        strings = [error["input"] for error in self.errors if error["type"] in ("string_type", "string_sub_type")]
        choices = [error["input"] for error in self.errors if error["type"] == "literal_error"]
        if any(isinstance(value, bool) for value in [*strings, *choices]):
            return QUOTE_BOOLEANS
        if any(isinstance(value, int | float) for value in strings):
            return "Put it in quotes: YAML reads unquoted digits as a number."
        return "Put it in quotes: YAML reads an unquoted null or ~ as no value." if None in strings else ""

    @property
    def is_unknown_key(self) -> bool:
        """Whether the place is a key that does not exist."""
        return self.errors[0]["type"] in ("extra_forbidden", "unexpected_keyword_argument")

    @property
    def is_missing_key(self) -> bool:
        """Whether the place is a key that must be there and is not."""
        return bool(self.errors[0]["type"] == "missing")


def keys_of(cls: type[Any]) -> list[str]:
    """The names of the fields of a pydantic model or dataclass."""
    return list(getattr(cls, "model_fields", None) or cls.__dataclass_fields__)


def mismatches(adapter: TypeAdapter[Any], value: Any, *, strict: bool = False) -> list[Mismatch]:
    """Where and why a value does not have a type; empty if it does."""
    try:
        adapter.validate_python(value, strict=strict or None)  # False would override the type's own strictness
    except ValidationError as error:
        return _by_place(error.errors(), value)
    return []


def checked(cls: type[T], fields: Mapping[str, Any], key: str) -> T:
    """An instance of a pydantic class.

    Args:
        cls: The class.
        fields: Fields as written by the user.
        key: Key that holds the fields, for errors.

    Raises:
        InputError: Values are invalid or keys are unknown; the error lists all of them.
    """
    found = mismatches(TypeAdapter(cls), dict(fields))
    if found:
        raise InputError([problem_of(one, lambda _: cls, key) for one in found])
    return cls(**fields)


def problem_of(mismatch: Mismatch, section: Callable[[Sequence[str | int]], type[Any]], prefix: str = "") -> Problem:
    """The problem of a place in a file.

    Args:
        mismatch: The place.
        section: Gives the pydantic model or dataclass that the last key of a place belongs to; asked for unknown keys.
        prefix: Key that holds the value, if the value is not the whole file.
    """
    place = ".".join([*filter(None, [prefix]), *(shown_key(str(part)) for part in mismatch.place)])
    if not (mismatch.is_unknown_key or mismatch.is_missing_key):
        return Problem(place, mismatch.message, mismatch.advice)
    name = str(mismatch.place[-1])
    if mismatch.is_missing_key:
        return Problem(place, f"The key {quoted(name, 'a key')} is missing.", "Add the key.")
    advice = did_you_mean(name, keys_of(section(mismatch.place)))
    return Problem(place, f"There is no key {quoted(name, 'a key')}.", advice)


def _by_place(errors: Sequence[Mapping[str, Any]], value: Any) -> list[Mismatch]:
    found: dict[tuple[str | int, ...], list[Mapping[str, Any]]] = {}
    for error in errors:
        found.setdefault(_place(error, value), []).append(error)
    # If several types were possible, the user meant the one that matched further into the value.
    return [
        Mismatch(place, errors)
        for place, errors in found.items()
        if not any(len(other) > len(place) and other[: len(place)] == place for other in found)
    ]


def _place(error: Mapping[str, Any], value: Any) -> tuple[str | int, ...]:
    """The location of an error without pydantic's names of types, which are not keys in the user's file."""
    place: list[str | int] = []
    for part in error["loc"]:
        indices = range(len(value)) if isinstance(value, list | tuple) else ()
        if part in (value if isinstance(value, Mapping) else indices):
            value = value[part]
            place.append(part)
    if error["type"] == "missing" and not _is_list_too_short(error):
        place.append(error["loc"][-1])
    return tuple(place)


def _is_list_too_short(error: Mapping[str, Any]) -> bool:
    """Whether a list lacks an item, which is a problem of the list; a missing key is one of the key."""
    return error["type"] == "missing" and isinstance(error["loc"][-1], int)


def _rule(error: Mapping[str, Any]) -> str:
    if _is_list_too_short(error):
        return "must have more items"
    rule = _RULES.get(error["type"], "").format(**error.get("ctx", {}))
    rule = rule or str(error["msg"]).removeprefix("Value error, ")
    return rule.replace("Input should be", "must be").replace("Input should have", "must have").rstrip(".")


_RULES = {
    **dict.fromkeys(("string_type", "string_sub_type"), "must be a string"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be an integer"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("list_type", "tuple_type"), "must be a list"),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type"), "must be a mapping"),
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "too_long": "must have at most {max_length} items",
}


def _shown(value: Any) -> str:
    """A value as YAML writes it; the type and size of a mapping, a list or a long string."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"a mapping (keys: {', '.join(shown_key(str(key)) for key in value)})" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return f"a list of length {len(value)}"
    written = str(value)
    return repr(value) if is_id(written) or not written else f"a string of {len(written)} characters"
