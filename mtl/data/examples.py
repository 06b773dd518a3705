"""Reads and encodes the tasks of a mixture to tables on disk, and counts what happens to every row.

Rows read = used + unlabelled + refused (bad rows). Rows that a reader or a split rule left out earlier are counted by
reason.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from heads import Example, Head, Row
from heads.rows import row_from_dict
from mtl.code_identity import code_identity
from mtl.config.validation import without_repeats
from mtl.data.reading import LISTED, RowSummary, read_rows
from mtl.data.row_problems import row_problems, row_rule, row_type_problem
from mtl.data.store import CHUNK, FieldError, RowTable, Store, StoredTable, content_key
from mtl.encoder.pretrained import tokenizer_fingerprint
from mtl.messages import counted
from mtl.problems import InputError, Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from mtl.config.mixture import Mixture, TaskSpec

CHARACTERS = 500_000
"""Number of characters from which a chunk of rows is encoded. A token takes about 100 bytes meanwhile."""


@dataclass(frozen=True)
class ExampleSummary:
    """Counts of what happened to the rows of a split when they were encoded.

    Args:
        used: Number of rows with gold annotation.
        unlabelled: Number of rows without gold annotation to train on or to score.
        refused: The first bad rows, which break a rule of the head, each with its id and the rule.
        num_refused: Number of these bad rows.
        truncated: Number of examples whose text was cut at the maximum length.
        rows_without_examples: Indices of used rows without examples (such as a text without a candidate pair), which
            are still scored.
        labels: Count of each label in the gold annotation of the used rows.
        notes: Counts of gold annotation that the head cannot express, by kind.
    """

    used: int
    unlabelled: int
    refused: list[str]
    num_refused: int
    truncated: int
    rows_without_examples: list[int] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SplitData:
    """One split of a task, on disk."""

    rows: RowTable
    row_summary: RowSummary
    examples: StoredTable
    example_summary: ExampleSummary

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of tokens of each example, over all its sequences."""
        return self.examples.lengths("input_ids") if len(self.examples) else np.zeros(0, dtype=np.int64)

    @cached_property
    def targets(self) -> npt.NDArray[np.int64]:
        """Number of targets of each example, over which the loss is averaged."""
        return self.examples.column("targets").astype(np.int64) if len(self.examples) else np.zeros(0, dtype=np.int64)

    @cached_property
    def example_rows(self) -> npt.NDArray[np.int64]:
        """The row index of each example, in non-decreasing order."""
        return self.examples.column("row").astype(np.int64) if len(self.examples) else np.zeros(0, dtype=np.int64)


TaskData = dict[str, SplitData]
"""The splits of one task by name."""


def prepare(
    mixture: Mixture,
    task_heads: Mapping[str, Head],
    tokenizer: PreTrainedTokenizerBase,
    *,
    splits: Sequence[str] = ("train", "dev", "test"),
    store: Store | None = None,
) -> dict[str, TaskData]:
    """Reads and encodes the tasks of a mixture; tables that are already in the store are reused.

    Args:
        mixture: The mixture.
        task_heads: The head of each task by name.
        tokenizer: The encoder's tokenizer, with the special tokens of the heads.
        splits: Names of the splits to encode.
        store: Store of the tables; None uses the default folder.

    Raises:
        InputError: Data is missing or invalid; the error lists the problems of all tasks.
    """
    store = store or Store()
    fingerprint = tokenizer_fingerprint(tokenizer)
    leaders = {spec.same_rows_as for spec in mixture.tasks.values()}
    data: dict[str, TaskData] = {}
    problems: list[Problem] = []
    for name, spec in mixture.tasks.items():
        shared = name in leaders or spec.same_rows_as is not None
        task = _TaskPreparation(
            name, spec, task_heads[name], tokenizer, mixture.max_length_of(name), shared, fingerprint, store
        )
        try:
            data[name] = task.run(splits)
        except InputError as error:
            problems += error.problems
    problems += _sharing_problems(mixture, data)
    if problems:
        sharing = {name: spec.same_rows_as for name, spec in mixture.tasks.items() if spec.same_rows_as is not None}
        raise InputError(without_repeats(problems, sharing))
    return data


def accounts(content: SplitData) -> dict[str, int]:
    """Counts of the rows of a split: read = used + unlabelled + refused (bad rows) + crossed + limited + excluded.

    Args:
        content: Data of the split, with summaries of its rows and examples.
    """
    rows, examples = content.row_summary, content.example_summary
    return {
        "read": rows.rows + rows.num_refused + rows.crossed + rows.limited + rows.excluded,
        "used": examples.used,
        "unlabelled": examples.unlabelled,
        "refused": rows.num_refused + examples.num_refused,
        "crossed": rows.crossed,
        "limited": rows.limited,
        "excluded": rows.excluded,
        "examples": len(content.examples),
    }


def document_ranks(split: SplitData, world: int) -> npt.NDArray[np.int64]:
    """The rank that evaluates each row; rows of one document are evaluated by the same rank."""
    return split.rows.document_numbers() % world


def split_problems(
    key: str, rows: Mapping[str, tuple[RowTable, RowSummary]], splits: Sequence[str] = ("train", "dev", "test")
) -> list[Problem]:
    """Problems of required splits that are missing, and of splits without rows."""
    available = ", ".join(rows) or "none"
    problems = [
        Problem(
            key,
            f"Training needs the splits train and dev, but '{split}' is missing. Available: {available}.",
            "Name its file under `files`, or cut the split from another with `split`.",
        )
        for split in ("train", "dev")
        if split in splits and split not in rows
    ]
    for split, (table, summary) in rows.items():
        if split in splits and not table:
            reasons = {
                "skipped as bad rows": summary.num_refused,
                "dropped because their groups cross splits": summary.crossed,
            }
            lost = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
            message = f"The split '{split}' has no rows{f' ({lost})' if lost else ''}."
            problems.append(Problem(key, message, "Check its file."))
    return problems


class _BadRowsError(Exception):
    """A split has bad rows: they break a rule of its head."""


@dataclass(frozen=True)
class _TaskPreparation:
    name: str
    spec: TaskSpec
    head: Head
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    shared: bool
    tokenizer_hash: str
    store: Store

    def run(self, splits: Sequence[str]) -> TaskData:
        key = f"tasks.{self.name}.data"
        rows = read_rows(self.spec.data, key, self.store)
        problems = split_problems(key, rows, splits)
        data: TaskData = {}
        has_bad_rows = False
        code = _code_of(type(self.head))
        for split, (table, summary) in rows.items():
            if split not in splits or not table:
                continue
            try:
                examples, example_summary = self._examples(split, table, summary, code)
            except _BadRowsError:
                has_bad_rows = True
                continue
            except InputError as error:
                problems += error.problems
                continue
            data[split] = SplitData(table, summary, examples, example_summary)
            if not _can_be_used(split, data[split]):
                message = (
                    f"The split '{split}' has no labelled rows for this task"
                    f" (read {len(table)}, skipped {example_summary.num_refused} as bad rows)."
                )
                problems.append(Problem(key, message, "Check the labels, or remove the split if you do not need it."))
        if has_bad_rows:
            tables = {split: table for split, (table, _) in rows.items() if split in splits}
            problems += row_problems(self.name, self.head, tables, self.spec.data, shared=self.shared)
        if problems:
            raise InputError(problems)
        return data

    def _examples(
        self, split: str, rows: RowTable, summary: RowSummary, code: str
    ) -> tuple[StoredTable, ExampleSummary]:
        training = split == "train" and not self.shared
        identity = [
            code,
            self.spec.labels,
            {name: value for name, value in self.spec.head_options.items() if name not in self.head.changeable},
            self.spec.data.skips_bad_rows,
            self.max_length,
            training,
            self.shared,
            self.tokenizer_hash,
            summary.fingerprint,
        ]

        def build() -> tuple[Iterator[Example], Any]:
            return _ExampleBuild(self, rows, split, training, weighted=summary.weighted > 0).start()

        try:
            table, found = self.store.table(content_key("examples", identity), build)
        except FieldError as error:
            raise InputError(
                Problem(f"tasks.{self.name}", f"The examples of the head cannot be stored. {error}")
            ) from error
        return table, ExampleSummary(**found)


@cache
def _code_of(head_class: type[Head]) -> str:
    """A hash of the code that makes examples, computed once per head."""
    # The table of rows contains JSON, which `row_from_dict` reads.
    return code_identity(_ExampleBuild, row_from_dict, row_rule, head_class)


class _ExampleBuild:
    """One pass of a head over the rows of a split, with its counts."""

    def __init__(self, task: _TaskPreparation, rows: RowTable, split: str, training: bool, *, weighted: bool) -> None:
        self._task, self._rows, self._split, self._training = task, rows, split, training
        self._weighted = weighted  # whether examples have the field `weight`, which all of a table have or none
        self._used = self._unlabelled = self._truncated = 0
        self._problems: list[tuple[str, str]] = []
        self._notes: Counter[str] = Counter()
        self._rows_without_examples: list[int] = []
        self._labels: Counter[str] = Counter(dict.fromkeys(task.spec.labels, 0))

    def start(self) -> tuple[Iterator[Example], Any]:
        return self._records(), self._summary

    def _records(self) -> Iterator[Example]:
        for chunk in _chunks(self._rows):
            usable = [(index, row) for index, row in chunk if self._is_usable(row)]
            yield from self._encode(usable)
        if self._problems and not self._task.spec.data.skips_bad_rows:
            raise _BadRowsError

    def _is_usable(self, row: Row) -> bool:
        head = self._task.head
        problem = row_type_problem(f"tasks.{self._task.name}", head, row)
        if problem is not None:
            raise InputError(problem)  # every row of the split has the same problem
        broken = row_rule(head, row, training=self._split == "train")
        if broken is not None:
            self._problems.append((row.id, broken))
            return False
        if not head.is_labelled(row):
            self._unlabelled += 1
            return self._task.shared  # tasks that share rows encode the same ones
        self._labels.update(head.label_counts(row))
        self._notes.update(head.notes(row))
        self._used += 1
        return True

    def _encode(self, numbered: Sequence[tuple[int, Row]]) -> Iterator[Example]:
        if not numbered:
            return
        task = self._task
        rows = [row for _, row in numbered]
        parts: Counter[int] = Counter()  # number of examples of each row so far
        try:
            examples = task.head.encode(rows, task.tokenizer, task.max_length, training=self._training)
        except ValueError as error:
            raise InputError(Problem(f"tasks.{task.name}", f"{str(error).rstrip('.')}.")) from error
        self._note_unreachable(rows, examples)
        for example in examples:
            row = example["row"]
            self._truncated += bool(example["truncated"])
            weight = {"weight": rows[row].weight} if self._weighted else {}
            yield {**example, **weight, "row": numbered[row][0], "part": parts[row]}
            parts[row] += 1
        self._rows_without_examples += [index for place, (index, _) in enumerate(numbered) if not parts[place]]

    def _note_unreachable(self, rows: Sequence[Row], examples: Sequence[Example]) -> None:
        of_row: defaultdict[int, list[Example]] = defaultdict(list)
        for example in examples:
            of_row[example["row"]].append(example)
        head = self._task.head
        self._notes["unreachable"] += sum(head.unreachable(row, of_row[index]) for index, row in enumerate(rows))

    def _summary(self) -> dict[str, Any]:
        listed = [f"row {row}: {problem}" for row, problem in self._problems[:LISTED]]
        summary = ExampleSummary(
            used=self._used,
            unlabelled=self._unlabelled,
            refused=listed,
            num_refused=len(self._problems),
            truncated=self._truncated,
            rows_without_examples=self._rows_without_examples,
            labels=dict(self._labels),
            notes=dict(+self._notes),
        )
        return asdict(summary)


def _chunks(rows: Iterable[Row]) -> Iterator[list[tuple[int, Row]]]:
    """Numbered rows in chunks that fit into memory with their tokens: long texts make shorter chunks."""
    chunk: list[tuple[int, Row]] = []
    size = 0
    for index, row in enumerate(rows):
        chunk.append((index, row))
        size += len(row.text)
        if len(chunk) == CHUNK or size >= CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _sharing_problems(mixture: Mixture, data: Mapping[str, TaskData]) -> list[Problem]:
    problems = []
    for name, spec in mixture.tasks.items():
        leader = spec.same_rows_as
        if leader is None or leader not in data or name not in data:
            continue
        for split in ("train", "dev", "test"):
            one, other = data[name].get(split), data[leader].get(split)
            if not _same_inputs(one, other):
                problems.append(_sharing_problem(name, one, leader, other, split))
    return problems


def _sharing_problem(name: str, one: SplitData | None, leader: str, other: SplitData | None, split: str) -> Problem:
    key = f"tasks.{name}.same_rows_as"
    refused = {
        task: content.example_summary.num_refused
        for task, content in ((name, one), (leader, other))
        if content is not None and content.example_summary.num_refused
    }
    if refused:
        counts = " and ".join(f"{counted(number, 'row')} for '{task}'" for task, number in refused.items())
        message = f"Both tasks must read the same rows, but `on_bad_row: skip` leaves out {counts} in '{split}'."
        return Problem(key, message, "Fix these rows, leave their labels empty, or remove same_rows_as.")
    message = f"The inputs must be exactly those of '{leader}', but they differ in '{split}'."
    advice = "Use the same data, max_length and options pair and long for both tasks, or remove same_rows_as."
    return Problem(key, message, advice)


def _same_inputs(one: SplitData | None, other: SplitData | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.examples.equals(other.examples, ("row", "input_ids", "sequence_lengths"))


def _can_be_used(split: str, data: SplitData) -> bool:
    """Whether a split has anything to train on or to score; gold annotation without a candidate counts as missed."""
    return bool(data.targets.any()) or (split != "train" and bool(data.example_summary.rows_without_examples))
