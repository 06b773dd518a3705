"""What pydantic has against a value, place by place, in words that need no Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from mtl.problems import InputError, Problem, did_you_mean

T = TypeVar("T")


class Mismatch(NamedTuple):
    """What pydantic has against the value at one place: several errors where none of several types fits."""

    place: tuple[str | int, ...]
    errors: list[Mapping[str, Any]]

    @property
    def message(self) -> str:
        """The rule and what was found, in words that need no Python.

        >>> mismatches(TypeAdapter(int), "many")[0].message
        "It must be a whole number; found 'many'."
        """
        rules = list(dict.fromkeys(_rule(error) for error in self.errors))
        alternatives = [rule.removeprefix("It must be ") for rule in rules[1:]]
        return f"{' or '.join([rules[0], *alternatives])}; found {_kind_of(self.errors[0]['input'])}."

    @property
    def is_unknown_key(self) -> bool:
        """Whether the place is a key that does not exist."""
        return self.errors[0]["type"] in ("extra_forbidden", "unexpected_keyword_argument")


def keys_of(cls: type[Any]) -> list[str]:
    """The names of the fields of a pydantic model or dataclass."""
    return list(getattr(cls, "model_fields", None) or cls.__dataclass_fields__)


def mismatches(adapter: TypeAdapter[Any], value: Any, *, strict: bool = False) -> list[Mismatch]:
    """What keeps a value from being of a type, place by place; empty where nothing does."""
    try:
        adapter.validate_python(value, strict=strict or None)  # False would overrule what the type says
    except ValidationError as error:
        return _by_place(error.errors(), value)
    return []


def checked(cls: type[T], fields: Mapping[str, Any], key: str) -> T:
    """An instance of a pydantic class.

    Args:
        cls: The class.
        fields: Its fields as written by the user.
        key: The key under which the fields stand, for errors.

    Raises:
        InputError: With every field that has a wrong value, and every key that is no field.
    """
    found = mismatches(TypeAdapter(cls), dict(fields))
    if found:
        raise InputError([_problem(one, cls, key) for one in found])
    return cls(**fields)


def _problem(mismatch: Mismatch, cls: type[Any], key: str) -> Problem:
    place = ".".join([key, *map(str, mismatch.place)])
    if not mismatch.is_unknown_key:
        return Problem(place, mismatch.message)
    name = str(mismatch.place[-1])
    return Problem(place, f"There is no key '{name}' here.", did_you_mean(name, keys_of(cls)))


def _by_place(errors: Sequence[Mapping[str, Any]], value: Any) -> list[Mismatch]:
    found: dict[tuple[str | int, ...], list[Mapping[str, Any]]] = {}
    for error in errors:
        found.setdefault(_place(error, value), []).append(error)
    # Of several types the one meant is the one that got further into the value.
    return [
        Mismatch(place, errors)
        for place, errors in found.items()
        if not any(len(other) > len(place) and other[: len(place)] == place for other in found)
    ]


def _place(error: Mapping[str, Any], value: Any) -> tuple[str | int, ...]:
    """The location of an error without pydantic's names for types, which are no keys of the user's."""
    place: list[str | int] = []
    for part in error["loc"]:
        inside = (
            part in value if isinstance(value, Mapping) else isinstance(value, list | tuple) and isinstance(part, int)
        )
        if inside:
            value = value[part]
            place.append(part)
    if error["type"] == "missing":
        place.append(error["loc"][-1])
    return tuple(place)


def _rule(error: Mapping[str, Any]) -> str:
    rule = _RULES.get(error["type"], "").format(**error.get("ctx", {}))
    rule = rule or str(error["msg"]).removeprefix("Value error, ")
    return rule.replace("Input should be", "It must be").replace("Input should have", "It must have").rstrip(".")


_RULES = {
    **dict.fromkeys(("string_type", "string_sub_type"), "It must be a text"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "It must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "It must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "It must be true or false"),
    **dict.fromkeys(("list_type", "tuple_type"), "It must be a list"),
    **dict.fromkeys(
        ("dict_type", "mapping_type", "model_type", "model_attributes_type"), "It must be keys with values"
    ),
    "greater_than": "It must be above {gt:g}",
    "greater_than_equal": "It must be at least {ge:g}",
    "less_than": "It must be below {lt:g}",
    "less_than_equal": "It must be at most {le:g}",
}


def _kind_of(value: Any) -> str:
    """What was found, as YAML writes it; what is long is told by its kind."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"keys with values ({', '.join(map(str, value))})" if value else "nothing"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    written = repr(value)
    return written if len(written) <= 80 else f"a text of {len(str(value))} characters"
