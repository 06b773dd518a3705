"""Reads the data of a task to tables of rows on disk, and counts what was left out and why."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heads import Row, SpanRow, TextRow, row_to_dict
from mtl.code_identity import code_identity
from mtl.config import components
from mtl.data.permutation import permuted_rows
from mtl.data.relabelling import relabelled_rows
from mtl.data.sentence_spans import with_sentences
from mtl.data.splits import SplitRule, assign
from mtl.data.store import RowTable, Store, content_key
from mtl.data.weak_labels import WeakLabels
from mtl.hashed_ids import are_hashed, quoted_id
from mtl.problems import InputError, Problem, did_you_mean
from mtl.readers import SPLITS, Reader
from mtl.redaction import listed, reason
from mtl.seeding import stream

if TYPE_CHECKING:
    from mtl.config.mixture import DataSpec

# Keys of examples and runs contain a hash of the rows instead.
DECIDES_RESULTS = False

LISTED = 20
"""Maximum number of bad rows that are listed; the others are only counted."""

SHOWN_DOCUMENTS = 5
"""Maximum number of documents that an error names."""


@dataclass(frozen=True)
class RowSummary:
    """Counts of what happened to the input of a split when it was read.

    Args:
        rows: Number of rows that were kept.
        documents: Number of distinct documents among them.
        refused: The first bad rows, each with file, line and rule.
        num_refused: Number of bad rows.
        crossed: Number of rows dropped because their groups fell into different splits.
        limited: Number of rows left out by `limit`.
        excluded: Number of rows left out by `exclude`.
        left_out: Counts of what the reader left out on purpose (such as empty sentences), by reason.
        adjusted: Counts of what the reader read differently from how it was written (such as blanks that it removed
            from mentions), by reason.
        noted: Counts of mentions that a head may be unable to express, such as discontinuous ones, by kind.
        contradictory: Number of texts that occur with several labels.
        sources: Number of kept rows with a source, by source.
        weighted: Number of kept rows with a weight other than 1.
        fingerprint: Hash of the full content of the rows.
        content: Hash of the rows before they were limited, excluded or permuted, without the split's name in default
            ids; equal for two splits that read the same rows of the same file.
    """

    rows: int
    documents: int
    refused: list[str]
    num_refused: int
    crossed: int
    limited: int
    excluded: int
    left_out: dict[str, int]
    adjusted: dict[str, int]
    noted: dict[str, int]
    contradictory: int
    fingerprint: str
    content: str
    sources: dict[str, int] = field(default_factory=dict)
    weighted: int = 0


def read_rows(spec: DataSpec, key: str, store: Store) -> dict[str, tuple[RowTable, RowSummary]]:
    """The rows of every split of a task, with their summaries.

    Args:
        spec: Data of the task.
        key: Key of the data in the mixture, for errors.
        store: Store of the tables.

    Raises:
        InputError: Files are missing or have bad rows.
    """
    reader_class = components.find("reader", spec.reader, f"{key}.reader")
    try:
        reader = components.build(reader_class, **spec.reader_arguments)
        sources = reader.sources()
        states = _file_states(reader, sources)
    except InputError as error:
        raise InputError(_under(key, spec, error.problems)) from None
    except ValueError as error:
        raise InputError(Problem(key, reason(error))) from None
    unknown = [split for split in sources if split not in SPLITS]
    if unknown:
        raise InputError(
            [Problem(f"{key}.files.{s}", f"There is no split '{s}'.", did_you_mean(s, SPLITS)) for s in unknown]
        )
    identity = [
        _code_of(reader_class),  # type: ignore[arg-type]  # mypy: every class is hashable
        spec.model_dump(mode="json", exclude={"reader"}, exclude_none=True),
        states,
        *(["hashed ids"] if are_hashed() else []),  # the stored summary lists bad rows, as they are shown
    ]
    found: dict[str, tuple[RowTable, RowSummary]] = {}
    problems: list[Problem] = []
    for split, source in _planned_splits(spec, sources, key).items():
        build = partial(_start_build, reader_class, split, source, spec)
        try:
            table, summary = store.table(content_key("rows", split, source, identity), build)
        except InputError as error:
            problems += _few(f"{key} ({split})", _under(key, spec, error.problems))
            continue
        found[split] = RowTable(table), RowSummary(**summary)
    problems += _shared_source_problems(key, sources, found)
    if problems:
        raise InputError(list(dict.fromkeys(problems)))  # splits cut from the same source have the same problems
    return found


def absent_files(spec: DataSpec, key: str) -> list[Problem]:
    """The files of a task that do not exist, one problem each; empty if all exist, or if there are other problems.

    Args:
        spec: Data of the task.
        key: Key of the data in the mixture, for the problems.
    """
    try:
        components.build(components.find("reader", spec.reader, f"{key}.reader"), **spec.reader_arguments).sources()
    except InputError as error:
        is_absence = all(problem.key.partition(".")[0] in ("path", "files") for problem in error.problems)
        return _under(key, spec, error.problems) if is_absence else []
    except ValueError:
        return []
    return []


def documents_within(num_rows: Mapping[str, int], most: int, seed: int, split: str) -> frozenset[str]:
    """A random choice of whole documents within a limit of rows.

    The sorted documents are shuffled by the seed and taken in that order. A document that would exceed the limit is
    skipped and the next one is tried, so the number of rows never exceeds the limit and often equals it. The order of
    the rows has no influence.

    Args:
        num_rows: Number of rows of each document of the split.
        most: Maximum number of rows.
        seed: Seed of the draw.
        split: Name of the split; each split has its own draw.

    Raises:
        InputError: Every document exceeds the limit.

    >>> sorted(documents_within({"a": 3, "b": 3, "c": 1}, 4, 0, "train")) in (["a", "c"], ["b", "c"])
    True
    """
    documents = sorted(num_rows)
    taken: set[str] = set()
    room = most
    for index in stream(seed, "limit", split).permutation(len(documents)).tolist():
        if num_rows[documents[index]] <= room:
            taken.add(documents[index])
            room -= num_rows[documents[index]]
    if documents and not taken:
        smallest = min(num_rows.values())
        message = f"must be at least {smallest}, the number of rows of the smallest document, got {most}."
        raise InputError(Problem(f"limit.{split}", message, "Raise the limit: documents are never divided."))
    return frozenset(taken)


def _start_build(reader_class: type[Reader], split: str, source: str, spec: DataSpec) -> Any:
    """A build with a new reader and new counts, so that nothing is counted twice if a table is built twice."""
    return _RowBuild(components.build(reader_class, **spec.reader_arguments), split, source, spec).start()


class _RowBuild:
    """One pass of a reader over one split, with its counts."""

    def __init__(self, reader: Reader, split: str, source: str, spec: DataSpec) -> None:
        self._reader, self._split, self._source, self._spec = reader, split, source, spec
        self._crossed = self._limited = self._excluded = self._weighted = 0
        self._weak = self._new_weak_labels()
        self._documents: set[str] = set()
        self._rows = 0
        self._hash, self._content = hashlib.sha256(), hashlib.sha256()
        self._labels: dict[bytes, int | None] = {}  # hash of a text -> hash of its label, None if it has several

    def start(self) -> tuple[Iterator[dict[str, str]], Any]:
        return self._records(), self._summary

    def _records(self) -> Iterator[dict[str, str]]:
        for row in self._permuted(self._relabelled(self._divided(self._kept()))):
            text = json.dumps(row_to_dict(row), ensure_ascii=False)
            self._rows += 1
            self._documents.add(row.document)
            self._weighted += row.weight != 1
            self._note_label(row)
            self._hash.update(text.encode() + b"\n")
            yield {"id": row.id, "document": row.document, "json": text}

    def _divided(self, rows: Iterable[Row]) -> Iterable[Row]:
        divides = self._spec.sentences == "split"
        return (with_sentences(row) if divides and isinstance(row, SpanRow) else row for row in rows)

    def _relabelled(self, rows: Iterable[Row]) -> Iterable[Row]:
        names, annotated = self._spec.rename, self._spec.annotated
        return rows if names is None and annotated is None else relabelled_rows(rows, names or {}, annotated)

    def _permuted(self, rows: Iterable[Row]) -> Iterable[Row]:
        """The rows; those of train have permuted labels if the data has `permute`.

        This is the last step, so that the task trains on the same rows as without permutation.
        """
        permute = self._spec.permute
        if permute is None or self._split != "train":
            return rows
        return permuted_rows(rows, permute.seed, permute.mentions, permute.attribute)

    def _kept(self) -> Iterator[Row]:
        """The rows of the split that are neither limited nor excluded."""
        read = self._cut()
        within = self._within_limit(read)
        excluded = frozenset(self._spec.exclude if self._split == "train" else ())
        met: set[str] = set()
        kept = 0
        for given in read(self._reader):
            self._note_content(given)
            row = self._weak.applied(given)
            met |= excluded & {given.document}
            if row is None:
                continue
            if within is not None and row.document not in within:
                self._limited += 1
            elif row.document in excluded:
                self._excluded += 1
            else:
                kept += 1
                yield row
        _check_excluded(self._spec.exclude if excluded else (), met, kept)
        self._check_sources()

    def _cut(self) -> Callable[[Reader], Iterator[Row]]:
        """A function that reads the rows of the split from a reader, before anything is left out."""
        rule = SplitRule(**self._spec.split.model_dump()) if self._spec.split else None
        if rule is None or self._split not in rule.splits:
            return lambda reader: reader.read(self._split)
        source = rule.source
        assignment = assign(self._new_reader().read(source), rule)
        self._crossed = assignment.num_dropped
        return lambda reader: assignment.rows(lambda: reader.read(source), self._split)

    def _within_limit(self, read: Callable[[Reader], Iterator[Row]]) -> frozenset[str] | None:
        """The documents to keep; None if the split has no limit."""
        limit = self._spec.limit
        most: int | None = getattr(limit, self._split) if limit else None
        if limit is None or most is None:
            return None
        weak = self._new_weak_labels()
        used = (row for row in map(weak.applied, read(self._new_reader())) if row is not None)
        return documents_within(Counter(row.document for row in used), most, limit.seed, self._split)

    def _new_weak_labels(self) -> WeakLabels:
        return WeakLabels(self._spec.sources or {}, is_train=self._split == "train")

    def _check_sources(self) -> None:
        """Raises an error if no row of train has a source that `sources` names."""
        missing = [name for name in self._spec.sources or {} if name not in self._weak.met]
        if missing and self._split == "train":
            there = f"Train has {listed(self._weak.met, 'source') or 'none'}."
            raise InputError(
                [Problem(f"sources.{name}", "No row of train has this source.", there) for name in missing]
            )

    def _new_reader(self) -> Reader:
        """Another reader of the same source, for passes whose counts are ignored."""
        reader: Reader = components.build(type(self._reader), **self._spec.reader_arguments)
        return reader

    def _note_content(self, row: Row) -> None:
        fields = row_to_dict(row)
        ids = {name: fields[name].removeprefix(f"{self._split}-") for name in ("id", "document")}
        self._content.update(json.dumps(fields | ids).encode() + b"\n")

    def _note_label(self, row: Row) -> None:
        """Finds texts with several labels; hashes, because the texts of a large corpus would fill the memory."""
        if not isinstance(row, TextRow) or row.label is None:
            return
        text = " ".join(f"{row.text}\0{row.text_pair or ''}".split()).casefold()
        key = hashlib.blake2b(text.encode(), digest_size=8).digest()
        label = hash(frozenset(row.label) if isinstance(row.label, tuple) else row.label)
        if self._labels.setdefault(key, label) != label:
            self._labels[key] = None

    def _summary(self) -> dict[str, Any]:
        bad = self._reader.bad_rows
        return asdict(
            RowSummary(
                rows=self._rows,
                documents=len(self._documents),
                refused=[str(b) for b in bad[:LISTED]],
                num_refused=len(bad),
                crossed=self._crossed,
                limited=self._limited,
                excluded=self._excluded,
                left_out=dict(self._reader.left_out + self._weak.left_out),
                adjusted=dict(self._reader.adjusted),
                noted=dict(self._reader.noted),
                contradictory=sum(label is None for label in self._labels.values()),
                fingerprint=self._hash.hexdigest(),
                content=self._content.hexdigest(),
                sources=dict(self._weak.kept),
                weighted=self._weighted,
            )
        )


_ROOTS = (_RowBuild, relabelled_rows, WeakLabels, with_sentences)
"""What makes rows. Modules of roots count, although they decide no result beyond the rows, which keys of runs hash."""


@cache
def _code_of(reader_class: type[Reader]) -> str:
    """A hash of the code that makes rows, computed once per reader."""
    return code_identity(*_ROOTS, reader_class)


def _check_excluded(exclude: Sequence[str], met: Collection[str], num_kept: int) -> None:
    """Raises an error if an excluded document does not exist, or if no row of train is left."""
    missing = [document for document in dict.fromkeys(exclude) if document not in met]
    if missing:
        shown = ", ".join(map(quoted_id, missing[:SHOWN_DOCUMENTS]))
        more = ", …" if len(missing) > SHOWN_DOCUMENTS else ""
        message = f"must list documents of train, got {len(missing)} that are not in train: {shown}{more}."
        raise InputError(Problem("exclude", message, "Remove them, or check how the reader names documents."))
    if exclude and not num_kept:
        raise InputError(Problem("exclude", f"must leave rows in train, got all {len(met)} of its documents."))


def _planned_splits(spec: DataSpec, sources: Mapping[str, Path], key: str) -> dict[str, str]:
    """The source split that the rows of each split come from."""
    planned = {split: split for split in sources}
    if spec.split is None:
        return planned
    if spec.split.source not in sources:
        raise InputError(Problem(f"{key}.split.source", f"There is no split '{spec.split.source}' to cut."))
    planned.pop(spec.split.source)
    twice = [split for split in spec.split.splits if split in planned]
    if twice:
        message = f"The data already has this split, so it cannot be cut from '{spec.split.source}'."
        advice = "Remove it from `fractions`, or list the files to read under `files`."
        if spec.split.folds is not None:
            raise InputError(Problem(f"{key}.split.folds", message, "List only the file to divide under `files`."))
        raise InputError([Problem(f"{key}.split.fractions.{split}", message, advice) for split in twice])
    planned |= dict.fromkeys(spec.split.splits, spec.split.source)
    return {split: planned[split] for split in SPLITS if split in planned}


def _file_states(reader: Reader, sources: Mapping[str, Path]) -> list[tuple[str, int, int]]:
    """Path, size and modification time of every file that may be read.

    These are the sources and their companions, all files in those that are folders, and files that the reader has as
    attributes. If no source exists on disk under its own name, all files in the reader's folder are included.
    """
    read = {*sources.values(), *reader.companions().values()}
    places = {*read, *(value for value in vars(reader).values() if isinstance(value, Path))}
    folders = {path for path in read if path.is_dir()}
    if not any(path.exists() for path in sources.values()) and reader.path.is_dir():
        folders.add(reader.path)
    files = {path for path in places if path.is_file()}
    files |= {file for folder in folders for file in folder.rglob("*") if file.is_file()}
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(files)]


def _shared_source_problems(
    key: str, sources: Mapping[str, Path], found: Mapping[str, tuple[RowTable, RowSummary]]
) -> list[Problem]:
    """Problems of splits with the same rows of the same file: dev must not be trained on, nor test used to select."""
    problems = []
    first: dict[tuple[Path, str], str] = {}
    for split, (_, summary) in found.items():
        if split in sources and summary.rows:
            other = first.setdefault((sources[split].resolve(), summary.content), split)
            if other != split:
                message = f"Splits must not share rows, but '{other}' and '{split}' both read all of {sources[split]}."
                problems.append(Problem(key, message, "Use a file for each, or cut one of them with `split`."))
    return problems


def _few(key: str, problems: list[Problem]) -> list[Problem]:
    """The first problems, and the number of the others."""
    more = len(problems) - LISTED
    return [*problems[:LISTED], Problem(key, f"{more} more problems like these.")] if more > 0 else problems


def _under(key: str, spec: DataSpec, problems: Sequence[Problem]) -> list[Problem]:
    """The problems with the task's key before the names of reader options; keys with a file and line are kept."""
    own = {"path", "files", "split", "limit", "exclude", "sources"}
    options = {*own, *inspect.signature(components.find("reader", spec.reader, key)).parameters}
    placed = []
    for problem in problems:
        name, _, below = problem.key.partition(".")
        if name not in options:
            placed.append(problem)
            continue
        advice = problem.suggestion
        if name == "path" and isinstance(spec.path, str) and not Path(spec.path).is_absolute():
            advice += " A relative path is searched in the folder of its YAML file, then in the working folder."
        if name == "files" and not isinstance(spec.path, str):
            name = "path"  # the reader gets one path per split as `files`
        placed.append(Problem(".".join(filter(None, (key, name, below))), problem.message, advice.strip()))
    return placed
