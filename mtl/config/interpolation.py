"""Resolves `${…}` in the fields of a mixture, after a check that the result is not out of proportion.

OmegaConf resolves. It takes 0.2 ms for each value, so values that no interpolation can refer to do not pass through it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mtl.problems import InputError, Problem
from mtl.redaction import shown_key, without_quotes

Fields = dict[str, Any]
Path = tuple[str | int, ...]

MAX_TEXTS = 20_000
"""Maximum number of values with interpolations."""
MAX_LENGTH = 4096
"""Maximum length of a value with interpolations."""
MAX_EXPANDED = 200_000_000
"""Maximum size of all fields after they are resolved, in characters; each value counts `_OF_A_VALUE` more."""

MAX_PROBLEMS = 20
"""Maximum number of problems that are collected, each of which takes another pass."""

_LONGEST_CHAIN = 100
_OF_A_VALUE = 64
_KEPT = 1000
_INNERMOST = re.compile(r"\$\{([^${}]*)\}")
_USUAL = re.compile(r"\$\{(?:[A-Za-z_]\w*(?:\.\w+)*|oc\.env:\w+(?:,[\w./-]*)?)\}")
"""Interpolations that are valid, which OmegaConf's parser would take a millisecond each to find out."""
_VARIABLE = re.compile(r"\$\{oc\.env:[^${}]*\}")


def check_syntax(fields: Fields, where: str = "") -> None:
    """Checks the interpolations of a file, without resolving them.

    Args:
        fields: The content of the file.
        where: Prefix of keys in errors, which names the file.

    Raises:
        InputError: There are too many interpolations, or one is malformed.
    """
    seen: set[str] = set()
    for path, text in _checked_texts(fields, where):
        if text in seen or ("\\" not in text and "${" not in _USUAL.sub("", text)):
            continue
        seen.add(text)
        try:
            OmegaConf.create([text])
        except OmegaConfBaseException as error:
            raise InputError(_problem(error, f"{where}{_key(path)}")) from None
        except RecursionError:
            raise InputError(_too_deep(f"{where}{_key(path)}")) from None


def resolve(fields: Fields) -> Fields:
    """Fields with all interpolations resolved; containers are copied.

    Raises:
        InputError: Interpolations cannot be resolved, or their result is too large; the error lists all of them.
    """
    texts = dict(_checked_texts(fields, ""))
    _Growth(fields).check(texts)
    kept: dict[Path, Any] = {}
    config = _without_plain(fields, (), _references(texts.values()), kept)
    found = _resolved(config) if texts or config is not None else {}
    for path, value in kept.items():
        found = _put(found, path, value)
    return {str(key): value for key, value in found.items()}


def _resolved(config: Any) -> Any:
    problems: list[Problem] = []
    try:
        created = OmegaConf.create(config)
    except OmegaConfBaseException as error:  # a type that it does not know, which only a mapping in Python can have
        raise InputError(_problem(error, shown_key(error.full_key or "mixture"))) from None
    before: str | None = None
    while True:
        try:
            resolved = OmegaConf.to_container(created, resolve=True)
        except OmegaConfBaseException as error:
            problem = _problem(error, shown_key(error.full_key or "interpolation"))
            if not error.full_key or error.full_key == before:
                raise InputError([*problems, problem]) from None
            problems.append(problem)
            before = error.full_key
            if len(problems) == MAX_PROBLEMS:
                raise InputError(problems) from None
            OmegaConf.update(created, error.full_key, None)  # so that the next attempt reaches the next problem
            continue
        except RecursionError:
            raise InputError([*problems, _too_deep("interpolation")]) from None
        if problems:
            raise InputError(problems)
        return resolved


# --- values that do not pass through OmegaConf ----------------------------------------------------------------------


def _references(texts: Any) -> str | None:
    """All that interpolations refer to, in one string; None if it depends on values."""
    found = [_VARIABLE.sub("", text) for text in texts]
    parts = [part for text in found for part in _INNERMOST.findall(text)]
    is_simple = all(_INNERMOST.sub("", text).count("${") == 0 for text in found) and not any(":" in p for p in parts)
    return "\0".join(parts) if is_simple else None


def _without_plain(value: Any, path: Path, references: str | None, kept: dict[Path, Any]) -> Any:
    """A value in which None takes the place of plain ones that nothing refers to, which are copied to `kept`."""
    if references is not None and not any(str(key) in references for key in path) and _is_plain(value):
        kept[path] = copied(value)
        return None
    if type(value) is dict:
        return {key: _without_plain(inner, (*path, key), references, kept) for key, inner in value.items()}
    if type(value) is list:
        return [_without_plain(inner, (*path, index), references, kept) for index, inner in enumerate(value)]
    return value


def _is_plain(value: Any) -> bool:
    if type(value) is dict:
        return all(type(key) is str for key in value) and all(map(_is_plain, value.values()))
    if type(value) is list:
        return all(map(_is_plain, value))
    return value is None or type(value) in (int, float, bool) or (type(value) is str and "${" not in value)


def copied(value: Any) -> Any:
    """A copy of nested dictionaries and lists; what YAML aliases share is copied each time."""
    if isinstance(value, dict):
        return {key: copied(inner) for key, inner in value.items()}
    return [copied(inner) for inner in value] if isinstance(value, list) else value


def _put(value: Any, path: Path, inner: Any) -> Any:
    if not path:
        return inner
    value[path[0]] = _put(value[path[0]], path[1:], inner)
    return value


# --- growth -----------------------------------------------------------------------------------------------------------


class _Value(NamedTuple):
    """What an interpolation stands for: the start of its text, and the size of the whole."""

    text: str
    size: int


class _Growth:
    """Estimates the size of fields after they are resolved, without building them."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._values: dict[Path, _Value | None] = {}  # None while a value is being computed

    def check(self, texts: dict[Path, str]) -> None:
        try:
            largest = max(texts, key=lambda path: self._value(path).size, default=())
            total = self._value(()).size if texts else 0
        except RecursionError:
            raise InputError(_too_deep("interpolation")) from None
        if total > MAX_EXPANDED:
            key = _key(largest) or "interpolation"
            message = f"Interpolations must give at most {MAX_EXPANDED:,} characters in all, got {total:,}."
            raise InputError(Problem(key, message, "Refer to fewer or shorter values."))

    def _value(self, path: Path) -> _Value:
        """The value at a path; empty for a circle, which OmegaConf reports."""
        if path not in self._values:
            self._values[path] = None
            self._values[path] = self._computed(self._at(path), path)
        return self._values[path] or _Value("", 0)

    def _computed(self, value: Any, path: Path) -> _Value:
        if isinstance(value, dict):
            return _Value("", sum(self._value((*path, key)).size + _OF_A_VALUE for key in value))
        if isinstance(value, list | tuple):
            return _Value("", sum(self._value((*path, index)).size + _OF_A_VALUE for index in range(len(value))))
        if not isinstance(value, str):
            return _Value(str(value)[:_KEPT], len(str(value)))
        return self._expanded(value, path) if "${" in value else _Value(value[:_KEPT], len(value))

    def _expanded(self, text: str, path: Path) -> _Value:
        """Replaces interpolations from the inside to the outside."""
        more = 0

        def replaced(match: re.Match[str]) -> str:
            nonlocal more
            value = self._meant(match[1], path[:-1])
            short = value.text.replace("$", "S")  # so that nothing is replaced twice
            more += max(0, value.size - len(short))
            return short

        while (changed := _INNERMOST.sub(replaced, text)) != text:
            text = changed[:MAX_LENGTH]
            more += len(changed) - len(text)
        return _Value(text[:_KEPT], len(text) + more)

    def _meant(self, expression: str, folder: Path) -> _Value:
        name, colon, arguments = expression.partition(":")
        if not colon:
            found = self._find(expression, folder)
            return _Value("", 0) if found is None else self._value(found)
        if name.strip() == "oc.env":
            variable, _, default = arguments.partition(",")
            value = os.environ.get(variable.strip(), default.strip())
            return _Value(value[:_KEPT], len(value))
        values = [self._value(found) for part in arguments.split(",") if (found := self._find(part.strip(), folder))]
        return _Value(values[0].text if values else arguments, len(arguments) + sum(value.size for value in values))

    def _find(self, written: str, folder: Path) -> Path | None:
        """The path that a reference names, through values that are references themselves."""
        dots = len(written) - len(written.lstrip("."))
        path: Path = folder[: len(folder) - dots + 1] if dots else ()
        for key in re.findall(r"[^.\[\]]+", written):
            value = self._at(path)
            if isinstance(value, str):
                path = self._followed(path)
                value = self._at(path)
            if isinstance(value, list | tuple) and key.isascii() and key.isdecimal() and int(key[:9]) < len(value):
                path = (*path, int(key))
            elif isinstance(value, dict) and (same := [name for name in value if str(name) == key]):
                path = (*path, same[0])
            else:
                return None
        return path

    def _followed(self, path: Path) -> Path:
        """The path of the container that a value refers to."""
        for _ in range(_LONGEST_CHAIN):
            value = self._at(path)
            whole = _INNERMOST.fullmatch(value) if isinstance(value, str) else None
            found = whole and self._find(whole[1], path[:-1])
            if not found:
                return path
            path = found
        raise RecursionError

    def _at(self, path: Path) -> Any:
        value: Any = self._fields
        for key in path:
            value = value[key]
        return value


# --- problems -------------------------------------------------------------------------------------------------------


def _checked_texts(fields: Fields, where: str) -> Iterator[tuple[Path, str]]:
    """The values with interpolations, within the limits of their number and length."""
    for number, (path, text) in enumerate(_texts(fields, ()), start=1):
        if len(text) > MAX_LENGTH:
            message = f"A value with ${{…}} must have at most {MAX_LENGTH:,} characters, got {len(text):,}."
            raise InputError(Problem(f"{where}{_key(path)}", message))
        if number > MAX_TEXTS:
            message = f"There must be at most {MAX_TEXTS:,} values with ${{…}}, got more."
            raise InputError(Problem(f"{where}{_key(path)}", message))
        yield path, text


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, (*path, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*path, index))
    elif isinstance(value, str) and "${" in value:
        yield path, value


def _key(path: Path) -> str:
    """A path as keys are written in errors.

    >>> _key(("tasks", "a", "labels", 0)), _key(("Fever was high", "b"))
    ('tasks.a.labels[0]', '(a key of 14 characters).b')
    """
    parts = (f"[{part}]" if isinstance(part, int) else f".{shown_key(str(part))}" for part in path)
    return "".join(parts).removeprefix(".")


def _too_deep(key: str) -> Problem:
    return Problem(key, "Interpolations must not refer to each other in such a long chain.", "Write out a value.")


def _problem(error: OmegaConfBaseException, key: str) -> Problem:
    """The problem of an interpolation that cannot be resolved, without OmegaConf's lines about its own types."""
    reason = str(error).splitlines()[0].rstrip(".")
    reason = reason.replace("missing BRACE_CLOSE at '<EOF>'", "the closing } is missing")
    reason = re.sub(r"^\w+ raised while resolving interpolation: ", "", reason).strip('"')
    missing = re.fullmatch(r"Environment variable '(.+)' not found", reason)
    if missing and missing[1].isidentifier():
        message = f"The environment variable {missing[1]} is not set."
        return Problem(key, message, f"Set it, or add a default: ${{oc.env:{missing[1]},DEFAULT}}.")
    message = f"The value cannot be resolved: {without_quotes(reason)}."
    return Problem(key, message, "Write ${key} or ${oc.env:NAME,default}.")
