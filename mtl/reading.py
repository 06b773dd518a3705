"""From a task's data to its rows on disk, with everything that was read accounted for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heads import Row, row_to_dict
from mtl import components
from mtl.components import source_hash
from mtl.faults import Fault, InputError
from mtl.splits import SplitRule, assign
from mtl.store import RowTable, Store, content_key

if TYPE_CHECKING:
    from mtl.mixture import DataSpec
    from mtl.readers import Reader

LISTED = 20
"""Refused rows that are listed one by one; beyond, they are counted."""


@dataclass(frozen=True)
class RowSummary:
    """What reading a split gave.

    Args:
        rows: Rows that were read and kept.
        documents: Different documents among them.
        refused: Malformed input, as file, line and rule; the first few.
        num_refused: How much malformed input there was.
        crossed: Rows dropped because their groups fell into different splits.
        left_out: What the reader left out on purpose (empty sentences, kinds of annotation), by reason.
        fingerprint: A hash of the rows' whole content.
    """

    rows: int
    documents: int
    refused: list[str]
    num_refused: int
    crossed: int
    left_out: dict[str, int]
    fingerprint: str


def read_rows(spec: DataSpec, key: str, store: Store) -> dict[str, tuple[RowTable, RowSummary]]:
    """The rows of every split that a task's data gives.

    Args:
        spec: The task's data.
        key: Where it stands in the mixture, for errors.
        store: Where tables are kept.

    Raises:
        InputError: Something is missing or malformed.
    """
    reader_class = components.find("reader", spec.reader, f"{key}.reader")
    try:
        reader = components.build(reader_class, **spec.reader_arguments)
        sources = reader.sources()
    except InputError as error:
        raise _under(key, error) from None
    except ValueError as error:
        raise InputError(Fault(key, str(error))) from None
    identity = [source_hash(reader_class), spec.model_dump(mode="json"), _file_states(reader, sources)]
    found: dict[str, tuple[RowTable, RowSummary]] = {}
    faults: list[Fault] = []
    for split, source in _planned_splits(spec, sources, key).items():
        build = _RowBuild(components.build(reader_class, **spec.reader_arguments), split, source, spec)
        try:
            table, summary = store.table(content_key("rows", split, identity), build.start)
        except InputError as error:
            faults += error.faults
            continue
        found[split] = RowTable(table), RowSummary(**summary)
    if faults:
        raise InputError(list(dict.fromkeys(faults)))  # splits cut from one source meet the same faults
    return found


class _RowBuild:
    """One pass of a reader over one split, with its accounts."""

    def __init__(self, reader: Reader, split: str, source: str, spec: DataSpec) -> None:
        self._reader, self._split, self._source, self._spec = reader, split, source, spec
        self._crossed = 0
        self._documents: set[str] = set()
        self._rows = 0
        self._hash = hashlib.sha256()

    def start(self) -> tuple[Iterator[dict[str, str]], Any]:
        return self._records(), self._summary

    def _records(self) -> Iterator[dict[str, str]]:
        for row in self._kept():
            text = json.dumps(row_to_dict(row), ensure_ascii=False)
            self._rows += 1
            self._documents.add(row.document)
            self._hash.update(text.encode() + b"\n")
            yield {"id": row.id, "document": row.document, "json": text}

    def _kept(self) -> Iterator[Row]:
        if self._source == self._split and self._spec.split is None:
            yield from self._reader.read(self._split)
            return
        rule = SplitRule(**self._spec.split.model_dump()) if self._spec.split else None
        if rule is None or self._split not in rule.fractions:
            yield from self._reader.read(self._split)
            return
        scout = components.build(type(self._reader), **self._spec.reader_arguments)
        assignment = assign(scout.read(rule.source), rule)
        for row in self._reader.read(rule.source):
            split = assignment.split_of(row)
            if split == self._split:
                yield row
            elif split is None:
                self._crossed += 1

    def _summary(self) -> dict[str, Any]:
        bad = self._reader.bad_rows
        return asdict(
            RowSummary(
                rows=self._rows,
                documents=len(self._documents),
                refused=[str(b) for b in bad[:LISTED]],
                num_refused=len(bad),
                crossed=self._crossed,
                left_out=dict(self._reader.skipped),
                fingerprint=self._hash.hexdigest(),
            )
        )


def _planned_splits(spec: DataSpec, sources: Mapping[str, Path], key: str) -> dict[str, str]:
    """Each split with the source split that its rows come from."""
    planned = {split: split for split in sources}
    if spec.split is None:
        return planned
    if spec.split.source not in sources:
        raise InputError(Fault(f"{key}.split.source", f"There is no split '{spec.split.source}' to cut."))
    planned.pop(spec.split.source)
    twice = [split for split in spec.split.fractions if split in planned]
    if twice:
        raise InputError(
            [Fault(f"{key}.split.fractions.{split}", "The split has a file of its own.") for split in twice]
        )
    return planned | dict.fromkeys(spec.split.fractions, spec.split.source)


def _file_states(reader: Reader, sources: Mapping[str, Path]) -> list[tuple[str, int, int]]:
    """Size and time of every file that reading may touch: the sources and what lies beside them."""
    folders = {path.parent if path.is_file() else path for path in sources.values()}
    folders |= {reader.path} if reader.path != Path() and reader.path.is_dir() else set()
    files = sorted({file for folder in folders if folder.is_dir() for file in folder.rglob("*") if file.is_file()})
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _under(key: str, error: InputError) -> InputError:
    return InputError([Fault(f"{key}.{fault.key}", fault.message, fault.suggestion) for fault in error.faults])
