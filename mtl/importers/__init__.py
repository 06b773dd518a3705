"""Readers of other systems' predictions, one file per format, chosen by the suffix of the file.

To add a format, add a file with one subclass of `Importer`. An importer reads what a system found in each text, in the
terms of its file; `mtl.prediction.other_systems` turns this into predictions of a head, and compares ids with the gold
rows.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from heads import Entity, Row
from mtl.hashed_ids import shown_id
from mtl.messages import counted
from mtl.problems import InputError, Problem, did_you_mean

DECIDES_RESULTS = False

SHOWN_IDS = 20
"""Maximum number of ids that an error lists."""

Argument = str | int
"""What a relation joins or an attribute belongs to: the id of an entity or concept of the gold row, or the index of a
found mention."""


class FoundRelation(NamedTuple):
    """A relation that a system found."""

    head: Argument
    tail: Argument
    type: str


class FoundAttribute(NamedTuple):
    """A value of an attribute that a system gave to a mention."""

    mention: Argument
    name: str
    value: str


@dataclass(frozen=True)
class FoundRow:
    """What a system found in a text.

    Args:
        id: Id of the row.
        place: File and line, for errors.
        text: The text, if the file has it; it must be that of the row.
        mentions: The mentions, whose concepts may be given.
        relations: The relations.
        attributes: Attributes of mentions.
        answer: `label`, `labels`, `scores` or `value` of a text; empty if there are none.
        source: Who or what labelled the text; None if the file does not say.
        annotated: Labels that were looked for; None for all.
    """

    id: str
    place: str
    text: str | None = None
    mentions: tuple[Entity, ...] = ()
    relations: tuple[FoundRelation, ...] = ()
    attributes: tuple[FoundAttribute, ...] = ()
    answer: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None
    annotated: tuple[str, ...] | None = None


class Importer(ABC):
    """Base class of the importers.

    Args:
        path: The file.
        task: Name of the task, for files with the predictions of several tasks.
        lenient: Whether tags that do not follow their scheme make mentions too, as in the option `spans` of the head
            `token_classification`.
        relates: Whether relations are predicted, for formats whose lines are mentions or relations; None if unknown.
    """

    suffixes: ClassVar[tuple[str, ...]]
    """Suffixes of the files, in lower case."""

    lists_all_rows: ClassVar[bool] = True
    """Whether a file must have every text; otherwise nothing was found in those that it lacks."""

    def __init__(self, path: Path, task: str, *, lenient: bool = False, relates: bool | None = None) -> None:
        self.path, self.task, self.lenient, self.relates = path, task, lenient, relates
        self.problems: list[Problem] = []
        """Problems of lines, without their text."""
        self.left_out: Counter[str] = Counter()
        """How much of the file makes no prediction although it is no error, by what it is."""

    @abstractmethod
    def read(self, rows: Sequence[Row]) -> Iterator[FoundRow]:
        """What the system found in each text; bad lines are passed to `bad`.

        Args:
            rows: The gold rows in their order, which formats without ids need.
        """

    def bad(self, line: int, rule: str, found: str) -> None:
        """Records a bad line."""
        self.problems.append(Problem(self.place(line), f"{rule}, got {found}."))

    def bad_ids(self, rule: str, ids: Sequence[str]) -> None:
        """Records that some rows break a rule; the first are named."""
        if ids:
            more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
            listed = ", ".join(map(shown_id, ids[:SHOWN_IDS]))
            broken = f"Broken by {counted(len(ids), 'row')}: {listed}{more}."
            self.problems.append(Problem(str(self.path), f"{rule}. {broken}"))

    def place(self, line: int) -> str:
        """A line as errors name it."""
        return f"{self.path}:{line}"

    def lines(self) -> Iterator[tuple[int, str]]:
        """The lines of the file with their numbers from 1, without line ends and a byte-order mark.

        Raises:
            InputError: The file cannot be read, or is not UTF-8.
        """
        try:
            text = self.path.read_text(encoding="utf-8-sig")
        except OSError as error:
            message = f"The file cannot be read: {error.strerror}."
            raise InputError(Problem(str(self.path), message, "Check the path.")) from None
        except UnicodeDecodeError as error:
            line = 1 + error.object.count(b"\n", 0, error.start)
            found = f"byte 0x{error.object[error.start]:02x}"
            raise InputError(Problem(self.place(line), f"text must be UTF-8, got {found}.")) from None
        return ((number, line.removesuffix("\r")) for number, line in enumerate(text.split("\n"), start=1))


def importer_of(
    path: Path, task: str, format: str | None = None, *, lenient: bool = False, relates: bool | None = None
) -> Importer:
    """The importer of a file.

    Args:
        path: The file.
        task: Name of the task.
        format: Name of the format; None decides by the suffix.
        lenient: See `Importer`.
        relates: See `Importer`.

    Raises:
        InputError: The file does not exist, or no importer has its suffix or this format.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".PubTator") as file:
    ...     type(importer_of(Path(file.name), "diseases")).__name__
    'PubtatorImporter'
    """
    if not path.is_file():
        raise InputError(Problem(str(path), "The file does not exist.", "Check the path."))
    known = _all_importers()
    if format is not None:
        if format not in known:
            raise InputError(Problem("--format", f"There is no format '{format}'.", did_you_mean(format, known)))
        return known[format](path, task, lenient=lenient, relates=relates)
    for importer in known.values():
        if path.name.lower().endswith(importer.suffixes):
            return importer(path, task, lenient=lenient, relates=relates)
    suffixes = ", ".join(sorted(suffix for importer in known.values() for suffix in importer.suffixes))
    message = f"The suffix of '{path.name}' names no format of predictions."
    raise InputError(Problem(str(path), message, f"Use one of: {suffixes}; or set --format {'|'.join(known)}."))


def _all_importers() -> dict[str, type[Importer]]:
    """The importers by the names of their files."""
    found: dict[str, type[Importer]] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")):
        members = vars(importlib.import_module(f"{__name__}.{module}")).values()
        for member in members:
            if isinstance(member, type) and issubclass(member, Importer) and member is not Importer:
                found[module] = member
    return found
