"""From a task's data to its rows on disk, with everything that was read accounted for."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heads import Row, row_to_dict
from mtl.code_identity import code_identity
from mtl.config import components
from mtl.data.permutation import permuted_rows
from mtl.data.splits import SplitRule, assign
from mtl.data.store import RowTable, Store, content_key
from mtl.problems import InputError, Problem, did_you_mean
from mtl.readers import SPLITS, Reader
from mtl.seeding import stream

if TYPE_CHECKING:
    from mtl.config.mixture import DataSpec

# Keys of examples and runs have a hash of the rows instead.
DECIDES_RESULTS = False

LISTED = 20
"""Refused rows that are listed one by one; beyond, they are counted."""

SHOWN_DOCUMENTS = 5
"""Ids that a problem of many documents names."""


@dataclass(frozen=True)
class RowSummary:
    """What reading a split gave.

    Args:
        rows: Rows that were read and kept.
        documents: Different documents among them.
        refused: Malformed input, as file, line and rule; the first few.
        num_refused: How much malformed input there was.
        crossed: Rows dropped because their groups fell into different splits.
        limited: Rows left out because the split has enough (`limit`).
        excluded: Rows of documents that the mixture leaves out by name (`exclude`).
        left_out: What the reader left out on purpose (empty sentences, kinds of annotation), by reason.
        fingerprint: A hash of the rows' whole content.
        content: The same without the split's name in default ids, before anything was limited, excluded or permuted:
            two splits that read one file alike share it.
    """

    rows: int
    documents: int
    refused: list[str]
    num_refused: int
    crossed: int
    limited: int
    excluded: int
    left_out: dict[str, int]
    fingerprint: str
    content: str


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
        raise InputError(_under(key, spec, error.problems)) from None
    except ValueError as error:
        raise InputError(Problem(key, str(error))) from None
    unknown = [split for split in sources if split not in SPLITS]
    if unknown:
        raise InputError(
            [Problem(f"{key}.files.{s}", f"There is no split '{s}'.", did_you_mean(s, SPLITS)) for s in unknown]
        )
    identity = [
        code_identity(_RowBuild, reader_class),
        spec.model_dump(mode="json", exclude={"reader"}, exclude_none=True),
        _file_states(reader, sources),
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
        raise InputError(list(dict.fromkeys(problems)))  # splits cut from one source meet the same problems
    return found


def documents_within(num_rows: Mapping[str, int], most: int, seed: int, split: str) -> frozenset[str]:
    """The documents that a limit lets through, whole and drawn at random.

    Sorted documents are shuffled by the seed and taken in that order while they fit. One that would overshoot is
    skipped and the next is tried, so there are never more rows than the limit says, and often exactly as many. The
    order of the rows has no influence.

    Args:
        num_rows: Rows of each document of the split.
        most: Rows that may be taken.
        seed: Of the draw.
        split: Whose documents they are; each has a draw of its own.

    Raises:
        InputError: No document is small enough.

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
        message = f"A document must fit; found {most}, and {min(num_rows.values())} rows in the smallest document."
        raise InputError(Problem(f"limit.{split}", message, "Raise it: documents stay whole."))
    return frozenset(taken)


def _start_build(reader_class: type[Reader], split: str, source: str, spec: DataSpec) -> Any:
    """A build with accounts of its own: where a table has to be made twice, nothing is counted twice."""
    return _RowBuild(components.build(reader_class, **spec.reader_arguments), split, source, spec).start()


class _RowBuild:
    """One pass of a reader over one split, with its accounts."""

    def __init__(self, reader: Reader, split: str, source: str, spec: DataSpec) -> None:
        self._reader, self._split, self._source, self._spec = reader, split, source, spec
        self._crossed = self._limited = self._excluded = 0
        self._documents: set[str] = set()
        self._rows = 0
        self._hash, self._content = hashlib.sha256(), hashlib.sha256()

    def start(self) -> tuple[Iterator[dict[str, str]], Any]:
        return self._records(), self._summary

    def _records(self) -> Iterator[dict[str, str]]:
        for row in self._permuted(self._kept()):
            text = json.dumps(row_to_dict(row), ensure_ascii=False)
            self._rows += 1
            self._documents.add(row.document)
            self._hash.update(text.encode() + b"\n")
            yield {"id": row.id, "document": row.document, "json": text}

    def _permuted(self, rows: Iterable[Row]) -> Iterable[Row]:
        """The rows, of train with permuted labels if the data asks for it.

        This is the last step, so that the task trains on the same rows as without it.
        """
        permute = self._spec.permute
        return permuted_rows(rows, permute.seed, permute.mentions) if permute and self._split == "train" else rows

    def _kept(self) -> Iterator[Row]:
        """The rows of the split that are neither limited nor excluded."""
        read = self._cut()
        within = self._within_limit(read)
        excluded = frozenset(self._spec.exclude if self._split == "train" else ())
        met: set[str] = set()
        kept = 0
        for row in read(self._reader):
            self._note_content(row)
            met |= excluded & {row.document}
            if within is not None and row.document not in within:
                self._limited += 1
            elif row.document in excluded:
                self._excluded += 1
            else:
                kept += 1
                yield row
        _check_excluded(self._spec.exclude if excluded else (), met, kept)

    def _cut(self) -> Callable[[Reader], Iterator[Row]]:
        """What gives the rows of the split, before anything is left out, each time anew."""
        rule = SplitRule(**self._spec.split.model_dump()) if self._spec.split else None
        if rule is None or self._split not in rule.fractions:
            return lambda reader: reader.read(self._split)
        source = rule.source
        assignment = assign(self._scout().read(source), rule)
        self._crossed = assignment.num_dropped
        return lambda reader: assignment.rows(lambda: reader.read(source), self._split)

    def _within_limit(self, read: Callable[[Reader], Iterator[Row]]) -> frozenset[str] | None:
        """The documents that may stay; None where the split has no limit."""
        limit = self._spec.limit
        most: int | None = getattr(limit, self._split) if limit else None
        if limit is None or most is None:
            return None
        return documents_within(Counter(row.document for row in read(self._scout())), most, limit.seed, self._split)

    def _scout(self) -> Reader:
        """Another reader of the same, whose accounts don't count."""
        scout: Reader = components.build(type(self._reader), **self._spec.reader_arguments)
        return scout

    def _note_content(self, row: Row) -> None:
        fields = row_to_dict(row)
        bare = {name: fields[name].removeprefix(f"{self._split}-") for name in ("id", "document")}
        self._content.update(json.dumps(fields | bare).encode() + b"\n")

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
                left_out=dict(self._reader.left_out),
                fingerprint=self._hash.hexdigest(),
                content=self._content.hexdigest(),
            )
        )


def _check_excluded(exclude: Sequence[str], met: Collection[str], num_kept: int) -> None:
    """Refuses documents to leave out that aren't there, and a train that nothing is left of."""
    missing = [document for document in dict.fromkeys(exclude) if document not in met]
    if missing:
        shown = ", ".join(f"'{document}'" for document in missing[:SHOWN_DOCUMENTS])
        more = ", …" if len(missing) > SHOWN_DOCUMENTS else ""
        message = f"Every document must be one of train; found {len(missing)} that aren't: {shown}{more}."
        raise InputError(Problem("exclude", message, "Remove them, or check how the reader names documents."))
    if exclude and not num_kept:
        raise InputError(Problem("exclude", f"A row of train must remain; found all {len(met)} documents excluded."))


def _planned_splits(spec: DataSpec, sources: Mapping[str, Path], key: str) -> dict[str, str]:
    """Each split with the source split that its rows come from."""
    planned = {split: split for split in sources}
    if spec.split is None:
        return planned
    if spec.split.source not in sources:
        raise InputError(Problem(f"{key}.split.source", f"There is no split '{spec.split.source}' to cut."))
    planned.pop(spec.split.source)
    twice = [split for split in spec.split.fractions if split in planned]
    if twice:
        message = f"The data has this split already; it can't be cut from '{spec.split.source}' too."
        advice = "Leave it out of `fractions`, or name the files to read under `files`."
        raise InputError([Problem(f"{key}.split.fractions.{split}", message, advice) for split in twice])
    planned |= dict.fromkeys(spec.split.fractions, spec.split.source)
    return {split: planned[split] for split in SPLITS if split in planned}


def _file_states(reader: Reader, sources: Mapping[str, Path]) -> list[tuple[str, int, int]]:
    """Size and time of every file that reading touches.

    These are the sources, what lies in those that are folders, and files that the reader keeps as paths. Where no
    source is on disk under its own name, all that lies in the reader's folder counts.
    """
    places = {*sources.values(), *(value for value in vars(reader).values() if isinstance(value, Path))}
    folders = {path for path in sources.values() if path.is_dir()}
    if not any(path.exists() for path in sources.values()) and reader.path.is_dir():
        folders.add(reader.path)
    files = {path for path in places if path.is_file()}
    files |= {file for folder in folders for file in folder.rglob("*") if file.is_file()}
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(files)]


def _shared_source_problems(
    key: str, sources: Mapping[str, Path], found: Mapping[str, tuple[RowTable, RowSummary]]
) -> list[Problem]:
    """Splits that read the same rows of the same file: dev must never train, and test never select."""
    problems = []
    first: dict[tuple[Path, str], str] = {}
    for split, (_, summary) in found.items():
        if split in sources and summary.rows:
            other = first.setdefault((sources[split].resolve(), summary.content), split)
            if other != split:
                message = f"The splits must not share rows; '{other}' and '{split}' both read all of {sources[split]}."
                problems.append(Problem(key, message, "Name a file for each, or cut one of them with `split`."))
    return problems


def _few(key: str, problems: list[Problem]) -> list[Problem]:
    """The first problems, and how many more there are."""
    more = len(problems) - LISTED
    return [*problems[:LISTED], Problem(key, f"{more} more problems like these.")] if more > 0 else problems


def _under(key: str, spec: DataSpec, problems: Sequence[Problem]) -> list[Problem]:
    """Problems of the reader's options under the task's key; those of a file and line stay as they are."""
    own = {"path", "files", "split", "limit", "exclude"}
    options = {*own, *inspect.signature(components.find("reader", spec.reader, key)).parameters}
    placed = []
    for problem in problems:
        name, _, below = problem.key.partition(".")
        if name not in options:
            placed.append(problem)
            continue
        advice = problem.suggestion
        if name == "path" and isinstance(spec.path, str) and not Path(spec.path).is_absolute():
            advice += " A relative path is looked for beside the file that names it, then in the working folder."
        if name == "files" and not isinstance(spec.path, str):
            name = "path"  # a path per split is what the reader calls `files`
        placed.append(Problem(".".join(filter(None, (key, name, below))), problem.message, advice.strip()))
    return placed
