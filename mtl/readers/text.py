"""Plain text without labels: documents separated by blank lines, one per file, or in JSON lines."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from heads.rows import DOCUMENT_BREAK, TextRow
from mtl.problems import InputError, Problem, did_you_mean
from mtl.readers import Line, OnBadRow, Reader
from mtl.readers._columns import MalformedError, name_of, text_of
from mtl.readers._json import parse_object

Documents = Literal["blank_lines", "files", "json_lines"]
Chunk = Literal["document", "stream"]

_JSON = (".jsonl", ".ndjson")
_FIELDS = ("text", "id")

_HEAD = 8192
"""Number of bytes of a file that are searched for the null byte of a binary file."""


class Text(Reader):
    r"""A row per document, or per stream of documents.

    Two documents, the first of two paragraphs, with ``blank_lines: 2``::

        Aspirin helps.

        It reduces fever.


        Warfarin does not.
        TextRow("train-1", "train-1", "Aspirin helps.\n\nIt reduces fever.")
        TextRow("train-6", "train-6", "Warfarin does not.")

    A split is a file, or a folder whose files are read in the order of their names. The id of a document is that in
    its JSON, the path of its file, or `<split>-<line>`, with the path of the file before the line if there are several.

    Args:
        path: See `Reader`. A folder without train, dev and test is the split train.
        documents: How a file is divided: by blank lines, not at all, or by lines of JSON objects. By default, the
            suffix decides: lines for `.jsonl` and `.ndjson`, otherwise blank lines.
        blank_lines: Number of blank lines in a row that separate documents; fewer separate paragraphs.
        columns: `text` and `id` -> key of the JSON objects. Other keys are ignored.
        chunk: "document" for a row per document; "stream" for rows of several documents in their order, with
            `DOCUMENT_BREAK` between them, so that an encoder's inputs are full.
        stream_size: With "stream", number of characters from which a row is complete. Documents are not divided.
        repeated: Number of documents from which a line that is in all of them is boilerplate, and left out; None keeps
            all lines. The corpus is then read twice.
        files: See `Reader`.
        on_bad_row: See `Reader`.
        encoding: See `Reader`.

    Raises:
        InputError: A number is below 1, or `columns` has a key that is not a field.
    """

    suffixes = ("", ".txt", *_JSON)
    other_names = ("txt", "plain", "plain_text", "corpus", "documents")
    ids_are_file_names = True

    def __init__(
        self,
        path: str,
        *,
        documents: Documents | None = None,
        blank_lines: int = 1,
        columns: Mapping[str, str] | None = None,
        chunk: Chunk = "document",
        stream_size: int = 50_000,
        repeated: int | None = None,
        files: Mapping[str, str] | None = None,
        on_bad_row: OnBadRow = "error",
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(path, files=files, on_bad_row=on_bad_row, encoding=encoding)
        self.documents, self.blank_lines, self.chunk, self.stream_size = documents, blank_lines, chunk, stream_size
        self.repeated = repeated
        self._columns = {"text": "text", "id": "id", **(columns or {})}
        numbers = {"blank_lines": blank_lines, "stream_size": stream_size}
        problems = [Problem(key, f"must be at least 1, got {value}.") for key, value in numbers.items() if value < 1]
        if repeated is not None and repeated < 2:
            problems.append(Problem("repeated", f"must be at least 2, got {repeated}.", "Use null to keep all lines."))
        problems += [
            Problem(f"columns.{name}", f"A document has no field '{name}'.", did_you_mean(name, _FIELDS))
            for name in columns or {}
            if name not in _FIELDS
        ]
        if problems:
            raise InputError(problems)

    def sources(self) -> dict[str, Path]:
        try:
            return super().sources()
        except InputError:
            if self.files is None and self.storage.is_dir(self.path) and self._shards(self.path):
                return {"train": self.path}
            raise

    def rows(self, source: Path, split: str) -> Iterator[TextRow]:
        shards = [source] if self.storage.is_file(source) else self._shards(source)
        if not shards:
            raise InputError(Problem(str(source), "must have at least one file, got none.", "Check the path."))
        found = self._rows(shards, source, split)
        if self.repeated is not None:
            found = self._without(self._boilerplate(shards, source, split), found)
        yield from found if self.chunk == "document" else self._streams(found)

    def _rows(self, shards: Sequence[Path], source: Path, split: str) -> Iterator[TextRow]:
        return (row for shard in shards for row in self._checked(shard, self._documents(shard, source, split)))

    def _boilerplate(self, shards: Sequence[Path], source: Path, split: str) -> set[int]:
        """Hashes of the lines that are in many documents."""
        known = len(self.bad_rows), Counter(self.adjusted)
        hashes = array("Q")  # a table of the lines would take nine times as much memory
        for row in self._rows(shards, source, split):
            hashes.extend({_hash(line) for line in row.text.split("\n") if line.strip()})
        lines, documents = np.unique(np.frombuffer(hashes, dtype=np.uint64), return_counts=True)
        self.adjusted = known[1]  # the rows are read again
        del self.bad_rows[known[0] :]
        return set(lines[documents >= (self.repeated or math.inf)].tolist())

    def _without(self, boilerplate: Collection[int], rows: Iterable[TextRow]) -> Iterator[TextRow]:
        """The rows without these lines; a document that has no others is left out."""
        for row in rows:
            lines = row.text.split("\n")
            kept = [line for line in lines if not line.strip() or _hash(line) not in boilerplate]
            num_left_out = len(lines) - len(kept)
            if not num_left_out:
                yield row
                continue
            self.adjusted["lines of boilerplate"] += num_left_out
            if text := "\n".join(kept).strip():
                yield replace(row, text=text)
            else:
                self.adjusted["documents of boilerplate only"] += 1

    def _shards(self, folder: Path) -> list[Path]:
        """The files of a folder and its subfolders, by name; those that begin with a dot are left out."""
        files = self.storage.files_below(folder)
        return sorted(file for file in files if not any(p.startswith(".") for p in file.relative_to(folder).parts))

    def _checked(self, shard: Path, rows: Iterable[TextRow]) -> Iterator[TextRow]:
        """The documents of a file; one that is binary or empty is a bad row."""
        with self.open(shard) as file:
            place = file.read(_HEAD).find(b"\0")
        if place >= 0:
            self.bad(shard, None, "a file must be text (in UTF-8, not UTF-16)", f"a null byte at byte {place}")
            return
        num_rows, num_bad = 0, len(self.bad_rows)
        for row in rows:
            num_rows += 1
            if "\0" in row.text:  # beyond the head
                self.bad(shard, None, "a file must be text (in UTF-8, not UTF-16)", "a null byte")
                return
            yield row
        if not num_rows and len(self.bad_rows) == num_bad:
            self.bad(shard, None, "a file must have at least one document", "none")

    def _documents(self, shard: Path, source: Path, split: str) -> Iterator[TextRow]:
        how = self.documents or ("json_lines" if shard.suffix in _JSON else "blank_lines")
        name = shard.name if shard == source else shard.relative_to(source).as_posix()
        if how == "files":
            return self._file(shard, name)
        prefix = f"{split}-" if shard == source else f"{split}-{name}-"
        return self._json_lines(shard, prefix) if how == "json_lines" else self._blank_lines(shard, prefix)

    def _file(self, shard: Path, name: str) -> Iterator[TextRow]:
        text = self.decode(self.content(shard), shard)
        if text is not None and text.strip():
            yield self._row(name, text.replace("\r\n", "\n").strip())

    def _blank_lines(self, shard: Path, prefix: str) -> Iterator[TextRow]:
        for lines in self._blocks(self.all_lines(shard)):
            if all(line.is_valid for line in lines):
                yield self._row(f"{prefix}{lines[0].number}", "\n".join(line.text for line in lines).strip())

    def _blocks(self, lines: Iterable[Line]) -> Iterator[list[Line]]:
        """The lines of each document, from its first to its last that is not blank."""
        block: list[Line] = []
        blanks: list[Line] = []
        for line in lines:
            if not line.text.strip():
                blanks.append(line)
                continue
            if block and len(blanks) >= self.blank_lines:
                yield block
                block, blanks = [], []
            block += [*blanks, line] if block else [line]
            blanks = []
        if block:
            yield block

    def _json_lines(self, shard: Path, prefix: str) -> Iterator[TextRow]:
        for number, line in self.lines(shard):
            if not line.strip():
                continue
            try:
                record = parse_object(line)
                text = text_of("text", record.get(self._columns["text"]))
                own = record.get(self._columns["id"])
                row_id = f"{prefix}{number}" if own is None else name_of("id", own)
                if text.isspace():
                    raise MalformedError("text must not be blank", f"{len(text)} blank characters")
            except MalformedError as error:
                self.bad(shard, number, error.rule, error.found)
            else:
                yield self._row(row_id, text.strip())

    def _row(self, row_id: str, text: str) -> TextRow:
        if DOCUMENT_BREAK in text:
            self.adjusted["form feeds"] += text.count(DOCUMENT_BREAK)
            text = text.replace(DOCUMENT_BREAK, "\n")
        return TextRow(row_id, row_id, text)

    def _streams(self, documents: Iterable[TextRow]) -> Iterator[TextRow]:
        """Documents joined to rows, each with the id of its first document."""
        waiting: list[TextRow] = []
        size = 0
        for row in documents:
            waiting.append(row)
            size += len(row.text)
            if size >= self.stream_size:
                yield _stream(waiting)
                waiting, size = [], 0
        if waiting:
            yield _stream(waiting)


def _hash(line: str) -> int:
    """Eight bytes in the place of a line, which are equal in every process."""
    return int.from_bytes(hashlib.blake2b(line.strip().encode(), digest_size=8).digest())


def _stream(rows: list[TextRow]) -> TextRow:
    return TextRow(rows[0].id, rows[0].document, DOCUMENT_BREAK.join(row.text for row in rows))
