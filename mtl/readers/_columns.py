"""From the columns of a table to the fields of a `TextRow`, shared by the readers of tables."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from heads.rows import TextRow
from mtl.problems import InputError, Problem, did_you_mean
from mtl.redaction import is_name

LabelType = Literal["text", "number", "list"]

Decimal = Literal[".", ","]

_USUAL_NAMES = frozenset(
    (
        *("abstract", "answer", "category", "class", "concept", "doc", "document", "gold", "hypothesis", "id", "idx"),
        *("index", "key", "label", "labels", "name", "note", "note_id", "passage", "patient_id", "pmid", "premise"),
        *("question", "question1", "question2", "report", "score", "sentence", "sentence1", "sentence2", "source"),
        *("subject_id", "target", "text", "text1", "text2", "text_pair", "title", "type", "value"),
    )
)
"""Usual names of columns, one of which nearly every header has, and hardly any first row."""

_SHOWN_LENGTHS = 10
"""Maximum number of columns whose lengths an error names."""

_WITH_COMMA = re.compile(r"[+-]?\d+,\d+")

FIELDS = ("id", "document", "text", "text_pair", "label")


class MalformedError(ValueError):
    """A row breaks a rule; `found` contains offsets, lengths and codes, never the text of the row."""

    def __init__(self, rule: str, found: str) -> None:
        super().__init__(f"{rule}, got {found}")
        self.rule = rule
        self.found = found


@dataclass(frozen=True)
class Columns:
    """The column of each field.

    Args:
        names: Field of `TextRow` -> column. A field that is not listed is read from the column with its name, if there
            is one.
        meta: Columns copied to `meta`.
        label_type: Type of the labels.
        label_separator: Separator of the names in a list of labels.
        decimal: Character before the fraction of a label that is a number.

    Raises:
        InputError: `names` has a key that is not a field, or the separator is empty.
    """

    names: Mapping[str, str]
    meta: Sequence[str] = ()
    label_type: LabelType = "text"
    label_separator: str = ","
    decimal: Decimal = "."

    def __post_init__(self) -> None:
        problems = [
            Problem(f"columns.{name}", f"A row has no field '{name}'.", did_you_mean(name, FIELDS))
            for name in self.names
            if name not in FIELDS
        ]
        if not self.label_separator:
            problems.append(
                Problem("label_separator", "must have at least one character, got none.", "Quote it in YAML.")
            )
        if problems:
            raise InputError(problems)

    def within(self, header: Sequence[str], source: str, *, is_schema: bool = False) -> Columns:
        """The same columns, plus those in the header that have the name of a field and are not read as another field.

        Args:
            header: Names of the columns of the table.
            source: Name of the table, for errors.
            is_schema: Whether the format itself names the columns, so that the header cannot be a row.

        Raises:
            InputError: Columns are missing from the header or occur twice; the error lists all of them.
        """
        taken = set(self.names.values())
        own = {field: field for field in FIELDS if field == "text" or (field in header and field not in taken)}
        names = own | dict(self.names)
        wanted = [(f"columns.{field}", column) for field, column in names.items()]
        wanted += [("meta", column) for column in self.meta]
        expected = {column for _, column in wanted}
        problems = [
            Problem(key, f"'{source}' has no column '{column}'.", _nearest_column(column, header, expected, is_schema))
            for key, column in wanted
            if column not in header
        ]
        problems += [
            Problem(key, f"'{source}' has the column '{column}' more than once.", "Rename one of them.")
            for key, column in wanted
            if header.count(column) > 1
        ]
        if problems:
            raise InputError(problems)
        return replace(self, names=names)

    def used(self) -> list[str]:
        """The distinct columns that are read."""
        return list(dict.fromkeys([*self.names.values(), *self.meta]))

    def row(self, cells: Mapping[str, Any], default_id: str) -> TextRow:
        """One row.

        Raises:
            MalformedError: A cell is invalid for its field.

        >>> row = Columns({"text": "sentence"}).row({"sentence": "Aspirin helps."}, "train-1")
        >>> row.id, row.document, row.text, row.label
        ('train-1', 'train-1', 'Aspirin helps.', None)
        """
        values = {field: cells[column] for field, column in self.names.items()}
        row_id = name_of("id", values["id"]) if "id" in values else default_id
        return TextRow(
            id=row_id,
            document=name_of("document", values["document"]) if "document" in values else row_id,
            text=text_of("text", values["text"]),
            # In a table, only an empty cell can express that there is no second text.
            text_pair=text_of("text_pair", values["text_pair"]) if values.get("text_pair") else None,
            label=self._label(values.get("label")),
            meta={column: as_string(cells[column]) for column in self.meta if cells[column] is not None},
        )

    def _label(self, value: Any) -> str | tuple[str, ...] | float | None:
        if value is None or value == "":
            return None
        if self.label_type == "number":
            return number_of("label", value, self.decimal)
        if self.label_type == "list":
            return self._names(value)
        return name_of("label", value)

    def _names(self, value: Any) -> tuple[str, ...]:
        """The names in a list; a separator alone is the empty list (annotated, but no label applies)."""
        if value == self.label_separator:
            return ()
        parts = value.split(self.label_separator) if isinstance(value, str) else value
        if not isinstance(parts, list):
            raise MalformedError("label must be a list", kind_of(value))
        return tuple(name_of("label", part.strip() if isinstance(part, str) else part) for part in parts)


def _nearest_column(column: str, header: Sequence[str], known: Collection[str] = (), is_schema: bool = False) -> str:
    """A sentence with the most similar column and the other choices, or with their number.

    In a file without a header, the first row is read as one. The columns are shown only if they look like a header:
    they differ, and two of them are names that are expected or usual. Of those, names that are too long or have blanks
    are only counted. With one such name, which a row may have by chance, only it and names like the wanted one are
    shown.

    >>> _nearest_column("lable", ["id", "label", "Comment of the nurse"])
    "Did you mean 'label'? Choices: id, label. Not shown: 1 with several words or too long."
    >>> _nearest_column("label", ["note", "Smith", "MRN0042"])
    'Choices: note. Not shown: 2.'
    >>> _nearest_column("label", ["p1", "Fever was high."])
    'The header has 2 columns of 2 and 15 characters. If it is a row, use the reader table with header: false.'
    """
    usual = [name for name in header if name in known or name.casefold() in _USUAL_NAMES]
    if not is_schema and not (usual and len(set(header)) == len(header)):
        lengths = [str(len(name)) for name in header[:_SHOWN_LENGTHS]] + ["…"] * (len(header) > _SHOWN_LENGTHS)
        sizes = " and ".join(lengths) if len(lengths) < 3 else ", ".join(lengths)
        columns = f"{len(header)} column{'' if len(header) == 1 else 's'}"
        advice = "If it is a row, use the reader table with header: false."
        return f"The header has {columns} of {sizes} characters. {advice}"
    names = [name for name in header if is_name(name)]
    if not is_schema and len(usual) == 1 and len(header) > 2:  # one word of a row may be such a name by chance
        names = [name for name in names if name in usual or difflib.get_close_matches(column, [name])]
        more = f" Not shown: {len(header) - len(names)}." if len(names) < len(header) else ""
        return did_you_mean(column, names) + more
    more = f" Not shown: {len(header) - len(names)} with several words or too long." if len(names) < len(header) else ""
    return did_you_mean(column, names) + more


def text_of(field: str, value: Any) -> str:
    """Returns a non-empty string that is valid Unicode.

    Raises:
        MalformedError: The value is anything else.
    """
    if not isinstance(value, str) or not value:
        raise MalformedError(f"{field} must be a non-empty string", kind_of(value))
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can contain half a surrogate pair, on which tokenizers fail
        found = f"half a surrogate pair at position {error.start}"
        raise MalformedError(f"{field} must be valid Unicode", found) from None
    return value


def name_of(field: str, value: Any) -> str:
    """Returns a name or code, which may be a string or an integer.

    Raises:
        MalformedError: The value is anything else, such as a boolean, which may be an unquoted yes or no.
    """
    if isinstance(value, bool):
        raise MalformedError(f"{field} must be in quotes if it looks like a boolean", "a boolean")
    return str(value) if isinstance(value, int) else text_of(field, value)


def number_of(field: str, value: Any, decimal: Decimal = ".") -> float:
    """Returns a finite number from a number or a string.

    Raises:
        MalformedError: The value is anything else.

    >>> number_of("label", "2.5"), number_of("label", "2,5", ",")
    (2.5, 2.5)
    """
    if isinstance(value, str) and _WITH_COMMA.fullmatch(value.strip()):
        if decimal == ".":
            raise MalformedError(f"{field} must be a number; for decimal commas, set decimal", kind_of(value))
        value = value.replace(",", ".")
    if isinstance(value, bool):
        raise MalformedError(f"{field} must be in quotes if it looks like a boolean", "a boolean")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise MalformedError(f"{field} must be a number", kind_of(value)) from None
    if not math.isfinite(number):
        raise MalformedError(f"{field} must be a finite number", str(number))
    return number


def as_string(value: Any) -> str:
    """A value of `meta`: strings are unchanged, other values become JSON.

    >>> as_string("site 1"), as_string(2019)
    ('site 1', '2019')
    """
    return value if isinstance(value, str) else json.dumps(value, default=str)


def kind_of(value: Any) -> str:
    """The type and length of a value, without its content.

    >>> kind_of("some words"), kind_of([1, 2]), kind_of(None)
    ('a string of 10 characters', 'a list of length 2', 'nothing')
    """
    if isinstance(value, str):
        return f"a string of {len(value)} characters"
    if isinstance(value, list):
        return f"a list of length {len(value)}"
    names = {type(None): "nothing", bool: "a boolean", int: "an integer", float: "a number", dict: "an object"}
    return names.get(type(value), f"a value of type {type(value).__name__}")
