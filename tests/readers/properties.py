"""The properties a reader can have, each written once; the test of a reader lists those it has.

A property is a function ``assert_…(sample, folder)``. A `Sample` is a small valid input of a reader, and what it holds
is stated beside it, so that every count has something to be compared with. Its texts contain the word `SECRET`, which
no error may contain.

The groups: `EVERY_READER`; `TEXT_FILES` for formats of text, whose lines, encoding and byte-order mark can vary;
`SPANS` for readers of mentions. Of the two properties of an empty file, each reader has one.
"""

from __future__ import annotations

import io
import random
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from heads.rows import Row, Span, SpanRow, TextRow
from mtl.problems import InputError, Problem
from mtl.readers import BadRow, Reader

SECRET = "Zaphod"
"""A word that every text of a sample contains, and no id, label or name does."""

CANARY = "Qxcanary was seen today"
"""A text that takes the place of each part of a file in turn; no error may contain its first word."""

NUM_DAMAGES = 40

Files = Mapping[str, bytes]
Pack = Callable[[Path, Files], None]


class Malformed(NamedTuple):
    """A change of a valid sample that makes exactly one bad row.

    Args:
        file: The file that is changed.
        old: What is replaced; it is in the file once.
        new: What takes its place.
        line: The line that the error names, counted in the changed file; None if it names only the file.
        place: The file that the error names; empty for the changed one.
        lost: How many rows are lost.
    """

    file: str
    old: str
    new: str
    line: int | None
    place: str = ""
    lost: int = 1


def write_files(folder: Path, files: Files) -> None:
    """Writes the files of a sample into a folder: the usual `pack`."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def pack_tar(name: str) -> Pack:
    """Packs the files of a sample into one archive with this name."""

    def pack(folder: Path, files: Files) -> None:
        with tarfile.open(folder / name, "w:gz") as archive:
            for path, content in files.items():
                member = tarfile.TarInfo(path)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))

    return pack


@dataclass(frozen=True)
class Sample:
    """A small valid input without malformed rows.

    Args:
        reader: The reader.
        files: Names and contents of its files, which the reader finds in their folder.
        rows: The rows of the split, in order: of texts with a label the label, of others the texts of the mentions.
        options: Options of the reader.
        split: The split that is read.
        row_type: The type of its rows.
        left_out: How much the reader leaves out, as it counts it.
        malformed: Changes that make one bad row each.
        rows_in_file: Rows that are lost with a line of each file that is not UTF-8. A file that is not listed loses the
            one row of that line.
        headers: Files whose first line names the columns: nothing can be read without it.
        verbatim: Files whose line ends count, because offsets count them.
        pack: Writes the files into a folder: a format may keep them in an archive.
    """

    reader: type[Reader]
    files: Mapping[str, str | bytes]
    rows: tuple[Any, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    split: str = "train"
    row_type: type[Row] = TextRow
    left_out: int = 0
    malformed: tuple[Malformed, ...] = ()
    rows_in_file: Mapping[str, int] = field(default_factory=dict)
    headers: frozenset[str] = frozenset()
    verbatim: frozenset[str] = frozenset()
    pack: Pack = write_files

    @property
    def content(self) -> dict[str, bytes]:
        """The files as bytes."""
        return {name: text.encode() if isinstance(text, str) else text for name, text in self.files.items()}

    @property
    def texts(self) -> dict[str, bytes]:
        """The files that are text."""
        return {name: text.encode() for name, text in self.files.items() if isinstance(text, str)}


class Reading(NamedTuple):
    """What a reader gave: rows, bad rows, and the problems that stopped it."""

    rows: list[Row]
    bad_rows: list[BadRow]
    problems: list[Problem]
    num_left_out: int = 0

    @property
    def messages(self) -> list[str]:
        return [*map(str, self.bad_rows), *map(str, self.problems)]


# --- every reader -----------------------------------------------------------------------------------------------------


def assert_every_row_is_read(sample: Sample, folder: Path) -> None:
    """The rows are those that the sample holds, of the declared type, and what is left out is counted."""
    found = read(sample, folder)
    assert (found.bad_rows, found.problems) == ([], [])
    assert {type(row) for row in found.rows} == {sample.row_type}
    assert [_gold(row) for row in found.rows] == list(sample.rows)
    assert found.num_left_out == sample.left_out
    assert len(found.rows) > 1, "give several rows"
    assert all(SECRET in row.text for row in found.rows), "give every text the word SECRET"


def assert_ids_are_unique(sample: Sample, folder: Path) -> None:
    """Ids differ before `Reader.read` would report one that stands twice, and no row lacks a document."""
    reader = build(sample, folder)
    rows = list(reader.rows(reader.sources()[sample.split], sample.split))
    ids = [row.id for row in rows]
    assert len(set(ids)) == len(ids)
    assert all(row.id and row.document for row in rows)


def assert_reading_twice_gives_the_same_rows(sample: Sample, folder: Path) -> None:
    """A reader can be read again, also after a pass that stopped halfway, and another reader gives the same."""
    reader = build(sample, folder)
    first = list(reader.read(sample.split))
    next(iter(reader.read(sample.split)))
    assert list(reader.read(sample.split)) == first
    assert read(sample, folder).rows == first


def assert_a_split_that_is_not_there_is_an_error(sample: Sample, folder: Path) -> None:
    """A wrong name of a split is an error with the names that are there."""
    with pytest.raises(InputError) as raised:
        list(build(sample, folder).read("trian"))
    (problem,) = raised.value.problems
    assert problem.key == "split"
    assert sample.split in problem.suggestion


def assert_malformed_rows_are_counted_and_named(sample: Sample, folder: Path) -> None:
    """A malformed row is one bad row with its file and line; it is the only one that is lost, and none changes."""
    whole = read(sample, folder).rows
    for change in sample.malformed:
        text = sample.content[change.file].decode()
        assert text.count(change.old) == 1, change
        files = {**sample.content, change.file: text.replace(change.old, change.new).encode()}
        found = read(sample, folder, files)
        _assert_lost(found, whole, change.lost, change)
        (bad,) = found.bad_rows
        assert bad.file.endswith(change.place or change.file), (change, bad)
        assert bad.line == change.line, (change, bad)
        _assert_errors_are_the_bad_rows(sample, folder, files, found)


def assert_damage_is_never_another_error(sample: Sample, folder: Path) -> None:
    """Whatever bytes are lost, doubled or changed: rows, bad rows or an `InputError`, and no text in a message.

    What the disk holds is damaged, so that of an archive it is the archive.
    """
    for seed in range(NUM_DAMAGES):
        place = _written(sample, folder, sample.content)
        _damage(place, random.Random(seed))
        skipped = _read(sample, place, "skip")
        stopped = _read(sample, place, "error")
        assert stopped.rows == skipped.rows
        assert bool(stopped.problems) == bool(skipped.problems or skipped.bad_rows)
        assert [text for text in (*skipped.messages, *stopped.messages) if SECRET in text] == []


def assert_no_part_of_a_file_is_shown(sample: Sample, folder: Path) -> None:
    """Text in the place of an id, label, offset, key, tag, value or column name appears in no message or count."""
    for name, content in sample.content.items():
        for part, changed in _with_canaries(name, content):
            place = _written(sample, folder, {**sample.content, name: changed})
            for on_bad_row in ("skip", "error"):
                reader = _build(sample, place, on_bad_row)
                problems: list[Problem] = []
                try:
                    list(reader.read(sample.split))
                except InputError as error:
                    problems = error.problems
                shown = [*map(str, reader.bad_rows), *map(str, problems), *reader.left_out]
                assert [line for line in shown if "Qxcanary" in line] == [], (name, part)


# --- formats of text --------------------------------------------------------------------------------------------------


def assert_the_line_ends_of_windows_change_nothing(sample: Sample, folder: Path) -> None:
    """CRLF gives the rows of LF, in all files and in each."""
    whole = read(sample, folder).rows
    changed = {name: text.replace(b"\n", b"\r\n") for name, text in sample.texts.items() if name not in sample.verbatim}
    assert any(b"\r\n" in text for text in changed.values()), "give files of several lines"
    for some in (changed, *({name: text} for name, text in changed.items())):
        found = read(sample, folder, {**sample.content, **some})
        assert (found.rows, found.messages) == (whole, [])


def assert_a_byte_order_mark_changes_nothing(sample: Sample, folder: Path) -> None:
    """A file that begins with a byte-order mark gives the rows of one that does not."""
    whole = read(sample, folder).rows
    for name, text in sample.texts.items():
        found = read(sample, folder, {**sample.content, name: b"\xef\xbb\xbf" + text})
        assert (found.rows, found.messages) == (whole, [])


def assert_bad_bytes_are_counted_and_named(sample: Sample, folder: Path) -> None:
    """A byte that is no UTF-8 is one bad row with file and line, in whichever line; the other rows are as before.

    Where the line names the columns, it is an `InputError`.
    """
    whole = read(sample, folder).rows
    for name, line, files in _with_bad_bytes(sample):
        found = read(sample, folder, files)
        if name in sample.headers and line == 1:
            (problem,) = found.problems
            assert name in str(problem)
            assert found.rows == []
            continue
        _assert_lost(found, whole, sample.rows_in_file.get(name, 1), (name, line))
        (bad,) = found.bad_rows
        assert (bad.file.endswith(name), bad.line) == (True, line), (name, line, bad)
        _assert_errors_are_the_bad_rows(sample, folder, files, found)


# --- mentions ---------------------------------------------------------------------------------------------------------


def assert_spans_lie_inside_the_text(sample: Sample, folder: Path) -> None:
    """Spans of mentions, words and sentences hold characters of the text, in order and without overlap.

    That they are the right ones is shown by `assert_every_row_is_read`; the texts hold a character outside the Basic
    Multilingual Plane in front of a mention, so that offsets count characters, not bytes or UTF-16 units.
    """
    rows = [row for row in read(sample, folder).rows if isinstance(row, SpanRow)]
    wide = [row.text.find(max(row.text)) for row in rows if max(row.text) > "\uffff"]
    assert wide, "give a text a character such as 𝛼"
    for row in rows:
        for spans in (*(entity.spans for entity in row.entities), row.words or (), row.sentences or ()):
            assert _are_in_order(spans, len(row.text))
        ends = {entity.id for entity in row.entities} | {name for entity in row.entities for name in entity.concepts}
        assert {end for relation in row.relations for end in (relation.head, relation.tail)} <= ends
        assert len({entity.id for entity in row.entities}) == len(row.entities)


# --- empty files ------------------------------------------------------------------------------------------------------


def assert_an_empty_file_is_an_error(sample: Sample, folder: Path) -> None:
    """An empty file is an error that says where it is; with `on_bad_row: skip` it may be a bad row."""
    for on_bad_row, place in _with_an_empty_file(sample, folder):
        found = _read(sample, place, on_bad_row)
        assert found.rows == []
        assert found.problems or (on_bad_row == "skip" and found.bad_rows)
        assert all(str(place) in message for message in found.messages)


def assert_an_empty_file_gives_no_rows(sample: Sample, folder: Path) -> None:
    """An empty file is a split without rows, which `mtl.data` reports as such."""
    for on_bad_row, place in _with_an_empty_file(sample, folder):
        assert _read(sample, place, on_bad_row) == Reading([], [], [])


EVERY_READER = (
    assert_every_row_is_read,
    assert_ids_are_unique,
    assert_reading_twice_gives_the_same_rows,
    assert_a_split_that_is_not_there_is_an_error,
    assert_malformed_rows_are_counted_and_named,
    assert_damage_is_never_another_error,
    assert_no_part_of_a_file_is_shown,
)
TEXT_FILES = (
    assert_the_line_ends_of_windows_change_nothing,
    assert_a_byte_order_mark_changes_nothing,
    assert_bad_bytes_are_counted_and_named,
)
SPANS = (assert_spans_lie_inside_the_text,)


# --- reading a sample -------------------------------------------------------------------------------------------------


def build(sample: Sample, folder: Path, files: Files | None = None, on_bad_row: str = "error") -> Reader:
    """The reader of a sample, or of other contents of its files, which are written below the folder."""
    return _build(sample, _written(sample, folder, sample.content if files is None else files), on_bad_row)


def read(sample: Sample, folder: Path, files: Files | None = None, on_bad_row: str = "skip") -> Reading:
    """What the reader gives for a sample, or for other contents of its files."""
    return _read(sample, _written(sample, folder, sample.content if files is None else files), on_bad_row)


def _written(sample: Sample, folder: Path, files: Files) -> Path:
    place = Path(tempfile.mkdtemp(dir=folder))
    sample.pack(place, files)
    return place


def _build(sample: Sample, place: Path, on_bad_row: str) -> Reader:
    options: dict[str, Any] = {**sample.options, "on_bad_row": on_bad_row}
    return sample.reader(str(place), **options)


def _read(sample: Sample, place: Path, on_bad_row: str) -> Reading:
    reader = _build(sample, place, on_bad_row)
    rows: list[Row] = []
    problems: list[Problem] = []
    try:
        rows.extend(reader.read(sample.split))
    except InputError as error:
        problems = error.problems
    return Reading(rows, reader.bad_rows, problems, reader.left_out.total())


# --- private ----------------------------------------------------------------------------------------------------------


def _gold(row: Row) -> Any:
    if isinstance(row, TextRow):
        return row.label
    return tuple(" ".join(row.text[start:end] for start, end in entity.spans) for entity in row.entities)


def _assert_lost(found: Reading, whole: list[Row], lost: int, case: Any) -> None:
    assert found.problems == [], case
    assert len(found.rows) + lost == len(whole), (case, found)
    assert [row for row in found.rows if row not in whole] == [], case
    assert not any(SECRET in message for message in found.messages), case


def _assert_errors_are_the_bad_rows(sample: Sample, folder: Path, files: Files, skipped: Reading) -> None:
    """What `skip` leaves out stops `error`, after the same rows, and the advice is to skip it."""
    stopped = read(sample, folder, files, "error")
    assert stopped.rows == skipped.rows
    (bad,), (problem,) = skipped.bad_rows, stopped.problems
    name, _, line = problem.key.rpartition(":") if bad.line is not None else (problem.key, "", "")
    assert (Path(name).name, line) == (Path(bad.file).name, "" if bad.line is None else str(bad.line))
    assert "on_bad_row: skip" in problem.suggestion


def _with_canaries(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """A file with the canary in the place of each part of its text, or of each column and column name of a table."""
    if name.endswith(".parquet"):
        yield from _tables_with_canaries(content)
    elif not name.endswith((".zip", ".gz")):
        for part in re.finditer(rb"[^\s|,:;=\"'{}()\[\]<>/]+", content):
            yield str(part), content[: part.start()] + CANARY.encode() + content[part.end() :]


def _tables_with_canaries(content: bytes) -> Iterator[tuple[str, bytes]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = pq.read_table(io.BytesIO(content)).to_pydict()
    size = len(next(iter(columns.values())))
    changes = [{**columns, CANARY: [CANARY] * size}]
    for name in columns:
        changes += [{**columns, name: [value] * size} for value in (CANARY, [CANARY], {CANARY: CANARY})]
        changes.append({CANARY if other == name else other: values for other, values in columns.items()})
    for changed in changes:
        file = io.BytesIO()
        pq.write_table(pa.table(changed), file)
        yield str(list(changed)), file.getvalue()


def _with_bad_bytes(sample: Sample) -> Iterator[tuple[str, int, Files]]:
    """The files with a bad byte in the middle of each line in turn, with the file's name and the line.

    Blank lines are left alone: one with a byte is no longer the blank line that stands between two rows.
    """
    for name, text in sample.texts.items():
        lines = text.split(b"\n")
        for number, line in enumerate(lines, start=1):
            if line.strip():
                middle = len(line) // 2
                while line[middle] & 0b1100_0000 == 0b1000_0000:  # not inside a character
                    middle -= 1
                bad = line[:middle] + b"\xff" + line[middle:]
                changed = b"\n".join([*lines[: number - 1], bad, *lines[number:]])
                yield name, number, {**sample.content, name: changed}


def _with_an_empty_file(sample: Sample, folder: Path) -> Iterator[tuple[str, Path]]:
    """Folders in which one file is empty, of an archive the archive, once for each way to treat bad rows."""
    names = [file.relative_to(place) for place in [_written(sample, folder, sample.content)] for file in _files(place)]
    for name in names:
        for on_bad_row in ("error", "skip"):
            place = _written(sample, folder, sample.content)
            (place / name).write_bytes(b"")
            yield on_bad_row, place


def _files(place: Path) -> list[Path]:
    return sorted(file for file in place.rglob("*") if file.is_file())


def _damage(place: Path, draw: random.Random) -> None:
    """Changes, removes, doubles or inserts some bytes of one file."""
    path = draw.choice(_files(place))
    data = path.read_bytes()
    start = draw.randrange(len(data) + 1)
    end = min(len(data), start + draw.choice((1, 1, 4, 40, len(data))))
    middle = draw.choice((b"", data[start:end] * 2, draw.randbytes(end - start), draw.randbytes(1) + data[start:end]))
    path.write_bytes(data[:start] + middle + data[end:])


def _are_in_order(spans: tuple[Span, ...], length: int) -> bool:
    flat = [0, *(offset for span in spans for offset in span), length]
    return flat == sorted(flat) and all(start < end for start, end in spans)
