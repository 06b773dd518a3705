"""What the columns of a table hold, guessed from their names and values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mtl.redaction import is_name

LABEL_NAMES = ("label", "labels", "class", "category", "gold", "target", "score", "answer", "rating", "diagnosis")
TEXT_NAMES = ("text", "note", "sentence", "sentence1", "abstract", "report", "question", "body", "premise", "text1")
ID_NAMES = ("id", "row_id", "note_id", "idx", "index", "pmid", "uid")
DOCUMENT_NAMES = ("document", "doc", "doc_id", "document_id", "patient", "patient_id", "subject_id", "hadm_id")
GROUP_NAMES = ("age", "annotator", "date", "fold", "gender", "hospital", "sex", "site", "source", "split", "year")
"""Columns that say where a row comes from, which are a label only if no other column is."""

_OF_DOCUMENTS = frozenset(("patient", "subject", "document", "doc", "case", "id", "key", "nr", "no", "num", "number"))
"""Words of names of columns that say whose text a row is, such as Patient-Nr."""

MOST_CLASSES = 50
"""Number of distinct values above which a column is not taken for class names."""

MOST_OTHERS = 20
"""Maximum number of further columns of labels that become tasks."""

SEPARATORS = (";", "|", ",")
"""Separators of several names in a cell, in the order in which they are tried."""

_NAMES_ROWS = re.compile(r"(.*[\W_])?(id|nr|no|num|number)([\W_]?\d+)?", re.IGNORECASE)
_USUAL = frozenset((*LABEL_NAMES, *TEXT_NAMES, *ID_NAMES, *DOCUMENT_NAMES, *GROUP_NAMES))
_DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}(\D.*)?", re.DOTALL)


class Roles(NamedTuple):
    """The column of each field; None if no column fits.

    Args:
        text: Column of the text.
        text_pair: Column of a second text.
        label: Column of the label.
        label_type: `text`, `number`, `decimal` (numbers with commas) or `list`.
        separator: Separator of the names in a list.
        id: Column of the id.
        document: Column of the document.
        other_labels: Further columns that look like labels, in the order of the file.
    """

    text: str | None
    text_pair: str | None = None
    label: str | None = None
    label_type: str = "text"
    separator: str = ","
    id: str | None = None
    document: str | None = None
    other_labels: tuple[str, ...] = ()


def roles(columns: Mapping[str, Sequence[Any]]) -> Roles:
    """The roles of columns, by their names first and by their values second.

    Args:
        columns: Values of each column, in the order of the file; None or an empty string if there is none.

    >>> found = roles({"nr": ["1", "2"], "note": ["No fever today.", "A rash on the arm."], "urgent": ["yes", "no"]})
    >>> found.text, found.label, found.label_type, found.other_labels
    ('note', 'urgent', 'text', ())
    """
    values = {name: filled(cells) for name, cells in columns.items()}
    values = {name: cells for name, cells in values.items() if cells}
    texts = [name for name, cells in values.items() if is_text(cells)]
    text = _named(texts, TEXT_NAMES) or max(texts, key=lambda name: _words(values[name]), default=None)
    if text is None:
        return Roles(None)
    pair = next((name for name in texts if name != text and _is_second(text, name, values)), None)
    if pair is not None and list(values).index(pair) < list(values).index(text):
        text, pair = pair, text
    left = [name for name in values if name not in (text, pair) and name not in texts]
    row_id = next((name for name in left if name.casefold() in ID_NAMES and _is_unique(values[name])), None)
    document = next((name for name in left if name.casefold() in DOCUMENT_NAMES), None)
    document = document or next((name for name in left if _is_document(name, values[name])), None)
    if row_id is None and document is None:  # ids that repeat are those of patients or documents
        document = next((name for name in left if name.casefold() in ID_NAMES), None)
    left = [name for name in left if name not in (row_id, document)]
    labels = [name for name in left if _is_label(name, values[name])]
    targets = [name for name in labels if not _is_group(name, values[name])]
    label = _named(left, LABEL_NAMES) or next(reversed(targets or labels), None)
    kind, separator = ("text", ",") if label is None else label_type(values[label])
    others = [name for name in targets if name != label]
    return Roles(text, pair, label, kind, separator, row_id, document, tuple(others[:MOST_OTHERS]))


def is_header(names: Iterable[str]) -> bool:
    """Whether one of the names, or a word in it, is usual, as in nearly every header and hardly any first row.

    >>> is_header(["mean_score", "CUI_1"]), is_header(["Rash on both arms", "p1"])
    (True, False)
    """
    words = (word for name in names if is_name(name) for word in (name, *re.split(r"[\W\d_]+", name)))
    return not _USUAL.isdisjoint(word.casefold() for word in words)


def filled(cells: Sequence[Any]) -> list[Any]:
    """The values that are not missing."""
    return [value for value in cells if value not in (None, "")]


def label_type(cells: Sequence[Any]) -> tuple[str, str]:
    """The type of labels, and the separator of the names in a list.

    Whole numbers of up to ten kinds are taken for names of classes.

    >>> label_type(["0.5", "2", "3.25"]), label_type(["0,5", "2"]), label_type(["a;b", "b", "a"]), label_type([1, 0, 1])
    (('number', ','), ('decimal', ','), ('list', ';'), ('text', ','))
    """
    if isinstance(cells[0], list):
        return "list", ","
    texts = [str(cell) for cell in cells]
    if all(_is_number(text) for text in texts):
        if any("," in text for text in texts):
            return "decimal", ","
        whole = all(re.fullmatch(r"[+-]?\d+", text) for text in texts)
        return ("text" if whole and len(set(texts)) <= 10 else "number"), ","
    for separator in SEPARATORS:
        parts = {part.strip() for text in texts for part in text.split(separator)}
        if any(separator in text for text in texts) and len(parts) < min(len(set(texts)), MOST_CLASSES + 1):
            return "list", separator
    return "text", ","


def is_text(cells: Sequence[Any]) -> bool:
    """Whether values look like texts: they have several words, and most of them occur once.

    >>> is_text(["No fever today.", "A rash on the arm."]), is_text(["very likely", "not likely", "very likely"] * 9)
    (True, False)
    """
    if not all(isinstance(cell, str) for cell in cells):
        return False
    several = sum(len(cell.split()) > 2 for cell in cells) > len(cells) / 2
    return several and (len(set(cells)) > len(cells) / 10 or _words(cells) > 8)


def _named(names: Sequence[str], usual: Sequence[str]) -> str | None:
    by_letters: dict[str, str] = {}
    for name in names:
        by_letters.setdefault(name.casefold(), name)
    return next((by_letters[name] for name in usual if name in by_letters), None)


def _is_second(text: str, name: str, values: Mapping[str, Sequence[Any]]) -> bool:
    """Whether a column of texts is the partner of another, and not one of several notes about the same thing."""
    pairs = (("question", "answer"), ("premise", "hypothesis"), ("question", "context"), ("question", "passage"))
    one, other = text.casefold(), name.casefold()
    if {one, other} in [set(pair) for pair in pairs]:
        return True
    is_numbered: Callable[[str], bool] = lambda word: bool(re.search(r"([_ ]?[12ab])$", word))  # noqa: E731
    return other.endswith("_pair") or (is_numbered(one) and is_numbered(other) and one[:-1] == other[:-1])


def _is_label(name: str, cells: Sequence[Any]) -> bool:
    """Whether there are few different values, but more than one, or numbers that repeat or have a usual name."""
    if isinstance(cells[0], list):
        return all(isinstance(cell, list) and all(isinstance(part, str) for part in cell) for cell in cells)
    texts = [str(cell) for cell in cells]
    if len(set(texts)) == 1 or any(isinstance(cell, bool) for cell in cells):  # which readers do not take for names
        return False
    few = len(set(texts)) <= min(MOST_CLASSES, max(2, len(texts) // 2))
    return few or (all(map(_is_number, texts)) and (name.casefold() in LABEL_NAMES or not _is_unique(texts)))


def _is_group(name: str, cells: Sequence[Any]) -> bool:
    """Whether a column says which row it is, or where or when it comes from."""
    is_named = name.casefold() in GROUP_NAMES or _NAMES_ROWS.fullmatch(name) is not None
    return is_named or all(_DATE.fullmatch(str(cell)) for cell in cells)


def _is_document(name: str, cells: Sequence[Any]) -> bool:
    """Whether a column says whose text a row is: its name has only words for that, and its values repeat.

    >>> _is_document("Patient-Nr", ["1", "1", "2"]), _is_document("patientID", ["1", "2", "2"])
    (True, True)
    >>> _is_document("Nr", ["1", "1", "2"]), _is_document("patient_age", ["61", "61"])
    (False, False)
    """
    words = {word.casefold() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
    return len(words) > 1 and words <= _OF_DOCUMENTS and len({str(cell) for cell in cells}) < len(cells)


def _is_unique(cells: Sequence[Any]) -> bool:
    texts = [str(cell) for cell in cells]
    return len(set(texts)) == len(texts)


def _words(cells: Sequence[Any]) -> float:
    return sum(len(str(cell).split()) for cell in cells) / len(cells)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?|[+-]?\d+,\d+", text) is not None
