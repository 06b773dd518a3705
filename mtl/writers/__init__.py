"""Writers of predictions, one file per output format, chosen by the suffix of the output.

To add a format, add a file with one subclass of `PredictionWriter`. Everything that a writer leaves on disk is private,
because predictions contain text of the data: the mentions.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from heads import Span
from mtl.problems import InputError, Problem

DECIDES_RESULTS = False


@dataclass(frozen=True)
class PredictedRow:
    """A text with its predictions.

    Args:
        id: Id of the row.
        document: Document of the row.
        text: The text, to which the offsets of entities refer.
        predictions: Prediction of each task: `{"entities"}` (each with `attributes` if the task labels them),
            `{"entities", "relations"}`, `{"label", "score", "scores"}`, `{"labels", "scores"}` or `{"value"}`.
        carried: Further keys or columns of the input, which are copied to the output.
        title_end: Length of the title if the input separates a title from an abstract; None if it does not.
        words: Words of the input; None if it has none.
    """

    id: str
    document: str
    text: str
    predictions: Mapping[str, Mapping[str, Any]]
    carried: Mapping[str, Any] = field(default_factory=dict)
    title_end: int | None = None
    words: tuple[Span, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The row as a line of the JSON lines output.

        >>> PredictedRow("1", "d", "Fever.", {"acute": {"label": "yes"}}, {"site": "A"}).to_dict()
        {'id': '1', 'document': 'd', 'site': 'A', 'predictions': {'acute': {'label': 'yes'}}}
        """
        head = {"id": self.id, "document": self.document}
        return head | dict(self.carried) | {"predictions": {task: dict(p) for task, p in self.predictions.items()}}


class PredictionWriter(ABC):
    """Base class of the writers.

    Args:
        carried: Keys or columns of the whole input that are copied to the output, in order.
        long: Whether a table has one row per entity, attribute, relation and label instead of one row per text.
        is_first: Whether this is the first shard; only its table has a header, so that shards can be concatenated.
    """

    suffixes: ClassVar[tuple[str, ...]]
    """Suffixes of the output, in lower case."""

    only_mentions: ClassVar[bool] = False
    """Whether the format can hold only mentions and relations, and no labels of texts."""

    only_labels: ClassVar[bool] = False
    """Whether the format can hold only labels of texts, and no mentions and relations."""

    has_attributes: ClassVar[bool] = True
    """Whether the format has a place for attributes of mentions."""

    has_long_form: ClassVar[bool] = False
    """Whether `long` has an effect."""

    def __init__(self, *, carried: Sequence[str] = (), long: bool = False, is_first: bool = True) -> None:
        self.carried = tuple(carried)
        self.long = long
        self.is_first = is_first

    def problem(self, path: Path, tasks: Sequence[str], texts: Sequence[str]) -> str | None:
        """Why predictions cannot be written to this path, without text of a row; None if they can.

        Args:
            path: The output.
            tasks: Names of the tasks.
            texts: The first texts of the input: at most two.
        """
        return "it is a folder" if path.is_dir() else None

    @abstractmethod
    def write(self, path: Path, rows: Iterable[PredictedRow]) -> None:
        """Writes all rows and replaces what was at the path once they are complete.

        Raises:
            OSError: The path cannot be written.
        """


def writer_class(path: Path) -> type[PredictionWriter]:
    """The writer for the suffix of an output.

    Raises:
        InputError: No writer has this suffix.

    >>> writer_class(Path("found.PubTator")).__name__
    'PubtatorWriter'
    """
    writers = _all_writers()
    name = path.name.lower()
    for writer in writers:
        if name.endswith(writer.suffixes):
            return writer
    known = ", ".join(sorted(suffix for writer in writers for suffix in writer.suffixes))
    message = f"The suffix of '{path.name}' names no output format."
    raise InputError(Problem("--output", message, f"Use one of: {known}."))


def _all_writers() -> list[type[PredictionWriter]]:
    found: list[type[PredictionWriter]] = []
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")):
        members = vars(importlib.import_module(f"{__name__}.{module}")).values()
        found += [
            member
            for member in members
            if isinstance(member, type) and issubclass(member, PredictionWriter) and member is not PredictionWriter
        ]
    return found
