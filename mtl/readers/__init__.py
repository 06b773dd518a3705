"""File formats, one file each: from a path to rows.

A new reader is a new file here with one subclass of `Reader`; its file name is its name in YAML. A reader yields
`TextRow`s or `SpanRow`s and reports what is malformed with file, line and rule, never with the text of a row.
"""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from heads.rows import Row
from mtl.problems import InputError, Problem

SHOWN_LINES = 5
"""Lines that a problem of many names."""

SPLITS = ("train", "dev", "test")
SPLIT_NAMES = {"train": ("train",), "dev": ("dev", "validation", "devel", "valid"), "test": ("test",)}
"""The names under which a folder may hold a split."""

OnBadRow = Literal["error", "skip"]
"""What a reader does about malformed input."""


class BadRow(NamedTuple):
    """One refused piece of input: where, the rule it breaks, and what was found (no text of the row)."""

    file: str
    line: int | None
    rule: str
    found: str

    def __str__(self) -> str:
        return f"{self._place}: {self.rule}; found {self.found}"

    @property
    def _place(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


class Line(NamedTuple):
    """A line of a text file: its number from 1, its text, and whether that is what the file holds.

    A line that is not UTF-8 has replacement characters in its text, and `is_valid` is false.
    """

    number: int
    text: str
    is_valid: bool = True


def bad_row_problems(bad_rows: Iterable[BadRow], advice: str) -> list[Problem]:
    """What is told where malformed input stops the reading; of lines that are alike wrong, one problem.

    >>> rows = [BadRow("a.tsv", line, "A label must be a number", "'x'") for line in (3, 9)]
    >>> [problem.message for problem in bad_row_problems(rows, "Fix it.")]
    ["A label must be a number; found 'x'; the same in 2 lines: 3, 9."]
    """
    kinds: dict[tuple[str, str, str], list[BadRow]] = {}
    for bad in bad_rows:
        kinds.setdefault((bad.file, bad.rule, bad.found), []).append(bad)
    problems = []
    for (_, rule, found), alike in kinds.items():
        lines = [str(bad.line) for bad in alike if bad.line is not None]
        shown = ", ".join(lines[:SHOWN_LINES]) + ", …" * (len(lines) > SHOWN_LINES)
        more = f"; the same in {len(lines)} lines: {shown}" if len(lines) > 1 else ""
        problems.append(Problem(alike[0]._place, f"{rule}; found {found}{more}.", advice))
    return problems


class Reader(ABC):
    """Turns files of one format into rows.

    Options of a reader are the keyword-only arguments of its `__init__`; in YAML they stand beside `reader` and
    `path` under `data`.

    Args:
        path: A folder, or a file that holds everything.
        files: File per split, relative to `path`. Without it a folder holds `train`, `dev` (or `validation`,
            `devel`, `valid`) and `test` with one of the reader's suffixes, and a single file is the split `train`.
        on_bad_row: What malformed input does. `error` is an error with all of it, after the whole file was read;
            `skip` leaves it out, counted and listed in `bad_rows`.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    """Suffixes of the files that are looked for in a folder."""

    def __init__(self, path: str, *, files: Mapping[str, str] | None = None, on_bad_row: OnBadRow = "error") -> None:
        self.path = Path(path)
        self.files = dict(files) if files is not None else None
        self.on_bad_row = on_bad_row
        self.bad_rows: list[BadRow] = []
        """What `read` met and did not yield, over all splits read so far."""
        self.left_out: Counter[str] = Counter()
        """What is no part of the task (empty sentences, annotation of other types), by kind, over all splits so far."""

    @abstractmethod
    def rows(self, source: Path, split: str) -> Iterator[Row]:
        """The rows of one source in its own order. Malformed input goes to `bad` and is left out."""

    def sources(self) -> dict[str, Path]:
        """The file of each split that is there.

        Raises:
            InputError: The path, or a file that `files` names, is missing; or a folder holds no split.
        """
        if self.files is not None:
            found = {split: self.path / name for split, name in self.files.items()}
            missing = [(split, path) for split, path in found.items() if not path.exists()]
            if missing:
                raise InputError([Problem(f"files.{split}", f"'{path}' doesn't exist.") for split, path in missing])
            return found
        if self.path.is_file():
            return {"train": self.path}
        if not self.path.is_dir():
            raise InputError(Problem("path", f"'{self.path}' is neither a file nor a folder.", "Check the path."))
        found = {}
        for split, names in SPLIT_NAMES.items():
            candidates = [self.path / f"{name}{suffix}" for name in names for suffix in self.suffixes]
            present = [path for path in candidates if path.exists()]
            if present:
                found[split] = present[0]
        if not found:
            raise InputError(
                Problem(
                    "path",
                    f"'{self.path}' holds no train, dev or test ({', '.join(self.suffixes)}).",
                    "Name them under `files`.",
                )
            )
        return found

    def read(self, split: str) -> Iterator[Row]:
        """The rows of a split; ids are unique.

        Raises:
            InputError: There is no such split, or some input was malformed and `on_bad_row` is `error`. It
                lists all of it.
        """
        before = len(self.bad_rows)
        seen: set[str] = set()
        sources = self.sources()
        if split not in sources:
            raise InputError(Problem("split", f"There is no split '{split}'.", f"Choices: {', '.join(sources)}."))
        source = sources[split]
        for row in self.rows(source, split):
            if row.id in seen:
                self.bad(source, None, "An id must be unique in its split", f"'{row.id}' again")
                continue
            seen.add(row.id)
            yield row
        if len(self.bad_rows) > before and self.on_bad_row == "error":
            advice = "Fix the row, or set `on_bad_row: skip`."
            raise InputError(bad_row_problems(self.bad_rows[before:], advice))

    def bad(self, source: Path, line: int | None, rule: str, found: str) -> None:
        """Notes one piece of malformed input. `found` tells offsets, lengths and codes, never the text of a row."""
        self.bad_rows.append(BadRow(str(source), line, rule, found))

    def lines(self, source: Path) -> Iterator[tuple[int, str]]:
        """The lines of a UTF-8 file with their numbers from 1, split at newlines alone.

        A carriage return before the newline and a byte-order mark are dropped; a line that isn't UTF-8 goes to
        `bad`. A format in which rows have several lines needs `all_lines`, to know which rows lack one.
        """
        return ((line.number, line.text) for line in self.all_lines(source) if line.is_valid)

    def all_lines(self, source: Path) -> Iterator[Line]:
        """The same with the lines that aren't UTF-8, which are already reported to `bad`."""
        with source.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                content = raw.removesuffix(b"\n").removesuffix(b"\r")
                text = self.decode(content, source, number)
                yield Line(number, content.decode(errors="replace") if text is None else text, text is not None)

    def decode(self, raw: bytes, source: Path, first_line: int = 1) -> str | None:
        """Bytes as text, without a byte-order mark; what isn't UTF-8 goes to `bad` and gives None.

        Args:
            raw: A whole file, or a part of one.
            source: The file, for the message.
            first_line: The line on which the bytes begin.
        """
        raw = raw.removeprefix(codecs.BOM_UTF8) if first_line == 1 else raw
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            line = first_line + raw.count(b"\n", 0, error.start)
            place = error.start - (raw.rfind(b"\n", 0, error.start) + 1)
            self.bad(source, line, "Text must be UTF-8", f"byte 0x{raw[error.start]:02x} at {place}")
            return None
