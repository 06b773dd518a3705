"""How words are tagged: the options of the reader `conll`, guessed from the lines of its files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

from mtl.readers.conll import Scheme

Separator = Literal["tab", "space"]

_TAG = re.compile(r"[BIESLUO]|[BIESLU]-\S+")
_MARK = "-DOCSTART-"
_COMMENT = re.compile(r"#+ ?")


def separator_of(lines: Sequence[str]) -> Separator | None:
    r"""The separator of tagged words; None if the last column of some line is no tag, or nothing is tagged.

    >>> separator_of(["# 1", "Low\tB-Finding", "", "today O"]), separator_of(["Low B-Finding", "today O"])
    (None, 'space')
    """
    words = [line for line in lines if line.strip() and not line.startswith(("#", _MARK))]
    separators: tuple[Separator, ...] = ("tab", "space")
    for separator in separators:
        tags = [_tag(_cells(line, separator)) for line in words]
        if all(tags) and any(tag != "O" for tag in tags):
            return separator
    return None


def options_of(lines: Sequence[str], separator: Separator) -> tuple[dict[str, Any], tuple[str, ...]]:
    r"""The options of the reader other than the files, and what was assumed.

    Args:
        lines: All lines of all files, with a blank line between two files.
        separator: Separator of the columns.

    >>> options_of(["# 1", "Low I-Finding", "fever I-Finding", "rash B-Finding"], "space")[0]
    {'separator': 'space', 'comment': '# ', 'scheme': 'IOB1'}
    """
    options: dict[str, Any] = {} if separator == "tab" else {"separator": separator}
    notes = []
    comment, num_lost = _comment(lines, separator)
    if comment is not None:
        options["comment"] = comment
    if num_lost:
        notes.append(f"{num_lost} lines that look like tagged words start as the comments do, and are skipped.")
    tags = [
        "" if not line.strip() or line.startswith(_MARK) else _tag(_cells(line, separator)) or ""
        for line in lines
        if comment is None or not line.startswith(comment)
    ]
    scheme = scheme_of(tags)
    if scheme != "BIO":
        options["scheme"] = scheme
    if scheme == "IOB1":
        notes.append("Some mentions start with I-, so that the tags are read as IOB1; B- starts a mention there too.")
    if any(line.startswith(_MARK) for line in lines):
        options["document_mark"] = _MARK
    if any(len(tag) == 1 and tag != "O" for tag in tags):
        options["entity_type"] = "Entity"
    return options, tuple(notes)


def scheme_of(tags: Iterable[str]) -> Scheme:
    """The tagging scheme of tags, with an empty string between two sentences.

    >>> scheme_of(["B-Drug", "I-Drug", "O"]), scheme_of(["O", "I-Drug", "B-Drug"]), scheme_of(["U-Drug"])
    ('BIO', 'IOB1', 'BILOU')
    """
    tags = list(tags)
    prefixes = {tag[:1] for tag in tags}
    if prefixes & {"L", "U"}:
        return "BILOU"
    if prefixes & {"E", "S"}:
        return "BIOES"
    if "B" not in prefixes:
        return "IO"
    starts = (tag[:1] == "I" and not _is_same_mention(before, tag) for before, tag in pairwise(["", *tags]))
    return "IOB1" if any(starts) else "BIO"


def _is_same_mention(before: str, tag: str) -> bool:
    return before[:1] in ("B", "I") and before[1:] == tag[1:]


def _comment(lines: Sequence[str], separator: Separator) -> tuple[str | None, int]:
    """What comments start with, and the number of tagged words that start with it; None if there are no comments.

    A line that starts with "#" is a word if it has a tag and as many columns as the other words.
    """
    others = (line for line in lines if line.strip() and not line.startswith(("#", _MARK)))
    width = next((len(_cells(line, separator)) for line in others), 0)
    words: list[str] = []
    comments: list[str] = []
    for line in lines:
        if line.startswith("#"):
            cells = _cells(line, separator)
            (words if len(cells) == width and _tag(cells) else comments).append(line)
    if not comments:
        return None, 0
    # Only the signs, which are no text of a row.
    starts = {found[0] for line in comments if (found := _COMMENT.match(line))}
    start = starts.pop() if len(starts) == 1 else "#"
    return start, sum(line.startswith(start) for line in words)


def _cells(line: str, separator: Separator) -> list[str]:
    return line.split("\t") if separator == "tab" else [cell for cell in line.split(" ") if cell]


def _tag(cells: Sequence[str]) -> str | None:
    """The tag in the last column; None if there is none."""
    return cells[-1] if len(cells) > 1 and _TAG.fullmatch(cells[-1]) else None
