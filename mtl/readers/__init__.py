"""Readers of file formats, one file each: from a path to rows.

To add a reader, add a file with one subclass of `Reader`; the file name is the reader's name in YAML. A reader yields
`TextRow`s or `SpanRow`s and reports bad rows with file, line and rule, never with the text of a row.
"""

from __future__ import annotations

import codecs
import inspect
import itertools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, ClassVar, Literal, NamedTuple

from heads.rows import Row, SpanRow
from mtl.hashed_ids import are_hashed, quoted_id, shown_id
from mtl.problems import InputError, Problem
from mtl.readers._limits import Budget, read_limit
from mtl.readers._parts import Discontinuous, num_discontinuous, with_parts
from mtl.readers._storage import Disk, Storage

SHOWN_LINES = 5
"""Maximum number of lines that an error names."""

SPLITS = ("train", "dev", "test")
SPLIT_NAMES = {"train": ("train",), "dev": ("dev", "validation", "devel", "valid"), "test": ("test",)}
"""The accepted file names of each split in a folder."""

OFFSET = r"\d{1,18}"
"""Pattern of an offset or a number of a sentence; Python refuses to convert integers of more than 4,300 digits."""

OnBadRow = Literal["error", "skip"]
"""What a reader does with bad rows."""


class BadRow(NamedTuple):
    """One bad row: its place, the rule that it breaks, and what was found (without text of the row)."""

    file: str
    line: int | None
    rule: str
    found: str

    def __str__(self) -> str:
        return f"{self._place}: {self.rule}, got {self.found}"

    @property
    def _place(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


class Line(NamedTuple):
    """A line of a text file: its number from 1, its text, and whether it is valid UTF-8.

    The text of an invalid line contains replacement characters.
    """

    number: int
    text: str
    is_valid: bool = True


def bad_row_problems(bad_rows: Iterable[BadRow], advice: str, *, by_folder: bool = False) -> list[Problem]:
    """The problems of bad rows; lines of a file that break the same rule are reported once, with a count.

    Args:
        bad_rows: The bad rows.
        advice: What to do about them.
        by_folder: Whether the files of a folder count as one, because each holds a single row.

    >>> rows = [BadRow("a.tsv", line, "label must be a number", f"{line} characters") for line in (3, 9)]
    >>> [problem.message for problem in bad_row_problems(rows, "Fix the rows.")]
    ['label must be a number, got 3 characters. The same rule is broken in 2 lines: 3, 9.']
    """
    kinds: dict[tuple[str, str], list[BadRow]] = {}
    for bad in bad_rows:
        place = str(Path(bad.file).parent) if by_folder else bad.file
        kinds.setdefault((place, bad.rule), []).append(bad)
    return [
        Problem(broken[0]._place, f"{rule}, got {broken[0].found}.{_others(broken)}", advice)
        for (_, rule), broken in kinds.items()
    ]


def _others(broken: Sequence[BadRow]) -> str:
    """How many lines or files break a rule, and the first of them; empty for a single one."""
    if len(broken) == 1:
        return ""
    files = list(dict.fromkeys(Path(bad.file).name for bad in broken))
    if len(files) > 1:
        what, places = "files", files
    elif any(bad.line is not None for bad in broken):
        what, places = "lines", [str(bad.line) for bad in broken]
    else:
        return f" The same rule is broken {len(broken)} times."
    shown = ", ".join(places[:SHOWN_LINES]) + ", …" * (len(places) > SHOWN_LINES)
    return f" The same rule is broken in {len(places)} {what}: {shown}."


class Reader(ABC):
    """Base class of the readers, each of which turns files of one format into rows.

    The options of a reader are the keyword-only arguments of its `__init__`. In YAML they are written under `data`,
    next to `reader` and `path`.

    Args:
        path: A folder, or a single file.
        files: File of each split, relative to `path`. By default, a folder contains `train`, `dev` (or `validation`,
            `devel`, `valid`) and `test` with one of the reader's suffixes, and a single file is the split `train`.
        on_bad_row: What to do with bad rows. `error` reads the whole file and then raises one error that lists
            all problems; `skip` skips the rows, and counts and lists them in `bad_rows`.
        encoding: Encoding of text files: `utf-8`, or another one that extends ASCII, such as `cp1252` for files that
            Excel has saved as CSV on Windows.

    Raises:
        InputError: The encoding does not exist, or does not extend ASCII.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    """Suffixes of the files that are searched in a folder."""

    file_names: ClassVar[Mapping[str, tuple[str, ...]]] = SPLIT_NAMES
    """The accepted file names of each split in a folder, without suffix."""

    other_names: ClassVar[tuple[str, ...]] = ()
    """Other names of the format, for the advice on an unknown reader."""

    ids_are_file_names: ClassVar[bool] = False
    """Whether the id of a row is the name of its file, which then is shown like an id."""

    discontinuous: Discontinuous = "keep"
    """How mentions in several parts are read; an option of the readers whose formats have them."""

    storage: Storage = Disk()
    """Where files are opened; a `Memory` lets a reader read bytes that are on no disk."""

    def __init__(
        self,
        path: str,
        *,
        files: Mapping[str, str] | None = None,
        on_bad_row: OnBadRow = "error",
        encoding: str = "utf-8",
    ) -> None:
        self.encoding = checked_encoding(encoding)
        self.path = Path(path)
        self.files = dict(files) if files is not None else None
        self.on_bad_row = on_bad_row
        self.bad_rows: list[BadRow] = []
        """Bad rows, which were not yielded, over all splits read so far."""
        self.left_out: Counter[str] = Counter()
        """Counts of input left out on purpose (such as empty sentences), by reason, over all splits read so far."""
        self.adjusted: Counter[str] = Counter()
        """Counts of input that is read differently from how it was written, by reason, over all splits read so far."""
        self.noted: Counter[str] = Counter()
        """Counts of mentions that a head may be unable to express, by kind, over all splits read so far."""

    @abstractmethod
    def rows(self, source: Path, split: str) -> Iterator[Row]:
        """The rows of one source in their original order. Bad rows are passed to `bad` and skipped."""

    def sources(self) -> dict[str, Path]:
        """The file of each available split.

        Raises:
            InputError: The path or a file in `files` does not exist, or the folder contains no split.
        """
        if self.files is not None:
            found = {split: self.path / name for split, name in self.files.items()}
            missing = [(split, path) for split, path in found.items() if not self.exists(path)]
            if missing and not self.exists(self.path):
                raise InputError(Problem("path", f"'{self.path}' does not exist.", "Check the path."))
            if missing:
                raise InputError([Problem(f"files.{split}", f"'{path}' does not exist.") for split, path in missing])
            return found
        if self.storage.is_file(self.path):
            return {"train": self.path}
        if not self.storage.is_dir(self.path):
            raise InputError(Problem("path", f"'{self.path}' does not exist.", "Check the path."))
        found = {}
        for split, names in self.file_names.items():
            candidates = [self.path / f"{name}{suffix}" for name in names for suffix in self.suffixes]
            present = [path for path in candidates if self.exists(path)]
            if present:
                found[split] = present[0]
        if not found:
            raise InputError(
                Problem(
                    "path",
                    f"'{self.path}' contains no train, dev or test ({', '.join(self.suffixes)}).",
                    "List the files under `files`.",
                )
            )
        return found

    def companions(self) -> dict[str, Path]:
        """The second file or folder of each split, for formats that keep annotations apart; none by default."""
        return {}

    def read(self, split: str) -> Iterator[Row]:
        """The rows of a split, with unique ids.

        Raises:
            InputError: The split does not exist, or there are bad rows and `on_bad_row` is `error`; the error lists
                all of them.
        """
        before = len(self.bad_rows)
        seen: set[str] = set()
        sources = self.sources()
        if split not in sources:
            raise InputError(Problem("split", f"There is no split '{split}'.", f"Choices: {', '.join(sources)}."))
        source = sources[split]
        for row in self.rows(source, split):
            if row.id in seen:
                self.bad(source, None, "ids must be unique within a split", f"{quoted_id(row.id)} again")
                continue
            seen.add(row.id)
            shaped = self._shaped(row, source) if isinstance(row, SpanRow) else row
            if shaped is not None:
                yield shaped
        if len(self.bad_rows) > before and self.on_bad_row == "error":
            advice = "Fix the row, or set `on_bad_row: skip`."
            raise InputError(bad_row_problems(self.bad_rows[before:], advice, by_folder=self.ids_are_file_names))

    def _shaped(self, row: SpanRow, source: Path) -> SpanRow | None:
        """The row with its discontinuous mentions read as the option says; None if it is refused for them."""
        if self.discontinuous == "refuse" and (parts := num_discontinuous(row)):
            found = f"{parts} of {len(row.entities)} mentions in parts in row {quoted_id(row.id)}"
            self.bad(source, None, "mentions must be continuous (see the option discontinuous)", found)
            return None
        row, changed, noted = with_parts(row, self.discontinuous)
        self.adjusted.update(changed)
        self.noted.update(noted)
        return row

    def bad(self, source: Path, line: int | None, rule: str, found: str) -> None:
        """Records one bad row.

        Args:
            source: File of the input.
            line: Number of the line from 1; None if the format has no lines.
            rule: The rule that the input breaks.
            found: What was found instead: offsets, lengths or codes, never the text of a row.
        """
        self.bad_rows.append(BadRow(str(self._shown(source)), line, rule, found))

    def _shown(self, source: Path) -> Path:
        """A file as errors name it."""
        if self.ids_are_file_names and are_hashed() and source not in self.sources().values():
            return source.with_name(f"{shown_id(source.stem)}{source.suffix}")
        return source

    def exists(self, path: Path) -> bool:
        """Whether there is a file or folder with this path."""
        return self.storage.is_file(path) or self.storage.is_dir(path)

    def open(self, source: Path) -> BinaryIO:
        """Opens a file.

        Raises:
            InputError: It does not exist, is not a file, or cannot be opened.
        """
        try:
            return self.storage.open(source)
        except (OSError, ValueError) as error:  # ValueError: a null character in the path
            raise _unreadable(self._shown(source), error) from None

    def content(self, source: Path, budget: Budget | None = None) -> bytes:
        """The bytes of a file.

        Args:
            source: The file.
            budget: What may still be read; None allows the limit for this file alone.

        Raises:
            InputError: The file cannot be read, or is larger than the limit.
        """
        try:
            with self.open(source) as file:
                return (budget or Budget(self._shown(source), "A file that is read as a whole")).read(file)
        except OSError as error:
            raise _unreadable(self._shown(source), error) from None

    def lines(self, source: Path) -> Iterator[tuple[int, str]]:
        """The lines of a text file with their numbers from 1; only newlines separate lines.

        A carriage return before the newline and a byte-order mark are removed. Lines that cannot be decoded are passed
        to `bad` and left out. Formats whose rows have several lines need `all_lines`, to know which are incomplete.
        """
        return ((line.number, line.text) for line in self.all_lines(source) if line.is_valid)

    def all_lines(self, source: Path) -> Iterator[Line]:
        """Like `lines`, but includes the lines that cannot be decoded, after passing them to `bad`."""
        for number, raw in self._raw_lines(source):
            content = raw.removesuffix(b"\n").removesuffix(b"\r")
            text = self.decode(content, source, number)
            yield Line(
                number, content.decode(self.encoding, errors="replace") if text is None else text, text is not None
            )

    def _raw_lines(self, source: Path) -> Iterator[tuple[int, bytes]]:
        limit = read_limit()
        try:
            with self.open(source) as file:
                for number in itertools.count(1):
                    raw = file.readline(limit + 1)
                    if not raw:
                        return
                    if len(raw) > limit:
                        Budget(Path(f"{source}:{number}"), "A line", limit).take(len(raw))
                    yield number, raw
        except OSError as error:
            raise _unreadable(source, error) from None

    def decode(self, raw: bytes, source: Path, first_line: int = 1) -> str | None:
        """Decodes text without a byte-order mark; invalid bytes are passed to `bad` and give None.

        Args:
            raw: A whole file, or a part of one.
            source: The file, for the error.
            first_line: Number of the line where the bytes start.
        """
        raw = raw.removeprefix(codecs.BOM_UTF8) if first_line == 1 and self.encoding == "utf-8" else raw
        try:
            return raw.decode(self.encoding)
        except UnicodeDecodeError as error:
            line = first_line + raw.count(b"\n", 0, error.start)
            place = error.start - (raw.rfind(b"\n", 0, error.start) + 1)
            found = f"byte 0x{raw[error.start]:02x} at position {place}"
            if first_line == 1 and raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                found = "the byte-order mark of UTF-16"
            self.bad(source, line, self._encoding_rule(), found)
            return None

    def _encoding_rule(self) -> str:
        if self.encoding != "utf-8":
            return f"text must be valid in the encoding {self.encoding}"
        takes_option = "encoding" in inspect.signature(type(self)).parameters
        advice = "; a file that Excel saved on Windows needs the option encoding: cp1252" if takes_option else ""
        return f"text must be UTF-8{advice}"


def checked_encoding(name: str) -> str:
    """The usual name of an encoding that extends ASCII, so that lines can be found before decoding.

    Raises:
        InputError: The encoding does not exist, or does not extend ASCII.
    """
    ascii_bytes = bytes(range(128))
    try:
        is_for_text = codecs.lookup(name).name not in ("idna", "punycode", "unicode-escape", "raw-unicode-escape")
        extends_ascii = is_for_text and ascii_bytes.decode(name) == ascii_bytes.decode("ascii")
    except (LookupError, ValueError):
        extends_ascii = False
    if not extends_ascii:
        message = f"must be an encoding that extends ASCII, such as utf-8 or cp1252, got {name[:40]!r}."
        raise InputError(Problem("encoding", message, "Save files in other encodings, such as UTF-16, as UTF-8."))
    return codecs.lookup(name).name


def _unreadable(source: Path, error: OSError | ValueError) -> InputError:
    reason = (isinstance(error, OSError) and error.strerror) or type(error).__name__
    return InputError(Problem(str(source), f"The file cannot be read: {reason}.", "Check the path."))
