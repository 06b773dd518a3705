"""Seeded division of one source split into several that share no document, or no group of rows.

Groups, not rows, are shuffled and divided, so the fractions are fractions of the groups. Rows are read twice and never
held in memory: first by `assign`, then by `Assignment.rows`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from heads.rows import Row
from mtl.hashed_ids import quoted_id
from mtl.problems import InputError, Problem, did_you_mean, nearest
from mtl.readers import SPLITS
from mtl.seeding import stream


@dataclass(frozen=True, kw_only=True)
class SplitRule:
    """How a source split is divided.

    Args:
        source: Split to divide.
        by: `document`, or the names of columns in a row's `meta`. The values of several columns (such as the two
            concepts of a pair) share one pool: a concept belongs to one split, whichever column it is in.
        fractions: Fraction of the groups for each split; empty if there are folds.
        folds: Number of folds, of which one is test, the next is dev and the others are train; None for fractions.
            The sizes of the folds differ by at most one group.
        fold: Number of the fold that is test, from 0. Over all of them, each group is in test exactly once.
        seed: Seed of the shuffle, separate from the run's, so that all runs use the same splits.

    Raises:
        InputError: A split has an unknown name, or the fractions are not above 0 or do not add up to 1, or there are
            fewer than three folds or both folds and fractions, or there is no fold of this number.
    """

    source: str = "train"
    by: str | tuple[str, ...] = "document"
    fractions: Mapping[str, float] = field(default_factory=dict)
    folds: int | None = None
    fold: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        problems = [
            Problem(f"split.{key}", f"There is no split '{name}'.", did_you_mean(name, SPLITS))
            for key, name in (("source", self.source), *((f"fractions.{name}", name) for name in self.fractions))
            if name not in SPLITS
        ]
        problems += [
            Problem(f"split.fractions.{name}", f"must be above 0, got {fraction}.", "Remove the split.")
            for name, fraction in self.fractions.items()
            if not fraction > 0
        ]
        total = sum(self.fractions.values())
        if self.folds is not None:
            problems += self._fold_problems(self.folds)
        elif not abs(total - 1) < 1e-6:
            problems.append(Problem("split.fractions", f"must add up to 1, got {total:.6g}."))
        if not self.columns:
            problems.append(Problem("split.by", "must be document or the names of columns, got nothing."))
        if problems:
            raise InputError(problems)

    def _fold_problems(self, folds: int) -> Iterator[Problem]:
        if self.fractions:
            yield Problem("split.fractions", "must be empty if there are folds.", "Remove one of the two.")
        if folds < 3:
            yield Problem("split.folds", f"must be at least 3, for train, dev and test, got {folds}.")
        if not 0 <= self.fold < folds:
            yield Problem("split.fold", f"must be from 0 to {folds - 1}, got {self.fold}.")

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the source is divided into."""
        return tuple(self.fractions) or SPLITS

    def names(self, num_groups: int) -> list[str]:
        """The split of each group, in shuffled order."""
        if self.folds is None:
            sizes = _sizes(num_groups, self.fractions)
            return [name for name, size in sizes.items() for _ in range(size)]
        named = {0: "test", 1: "dev"}
        return [named.get((place - self.fold) % self.folds, "train") for place in range(num_groups)]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the grouping columns."""
        return (self.by,) if isinstance(self.by, str) else tuple(self.by)

    def groups(self, row: Row) -> tuple[str, ...]:
        """A row's group in each column; an empty string if it has none."""
        if self.by == "document":
            return (row.document,)
        return tuple(row.meta.get(column, "") for column in self.columns)


@dataclass(frozen=True)
class Assignment:
    """The split of each group.

    Args:
        rule: Rule of the division.
        splits: Split of each group.
        num_rows: Number of rows of each split.
        num_dropped: Number of rows whose groups fell into different splits; these rows belong to no split.
    """

    rule: SplitRule
    splits: Mapping[str, str]
    num_rows: Mapping[str, int]
    num_dropped: int

    def split_of(self, row: Row) -> str | None:
        """The split of a row that was passed to `assign`; None if the row is dropped."""
        return _common([self.splits[group] for group in self.rule.groups(row)])

    def rows(self, read: Callable[[], Iterable[Row]], split: str) -> Iterator[Row]:
        """The rows of one split in their original order; `read` reads the source again."""
        return (row for row in read() if self.split_of(row) == split)


def assign(rows: Iterable[Row], rule: SplitRule) -> Assignment:
    """Assigns every group of rows to a split.

    The sorted groups are shuffled by the rule's seed and divided by its fractions or folds. Sizes are rounded by the
    largest remainder method, so that they add up to the number of groups. The order of the rows has no influence.

    Raises:
        InputError: A row lacks a grouping column, or a split gets no rows.

    >>> from heads.rows import TextRow
    >>> rows = [TextRow(str(i), f"document {i // 2}", "") for i in range(20)]
    >>> made = assign(rows, SplitRule(fractions={"train": 0.8, "dev": 0.2}))
    >>> dict(made.num_rows), made.num_dropped
    ({'train': 16, 'dev': 4}, 0)
    """
    found = _count_groups(rows, rule)
    groups = sorted({group for combination in found for group in combination})
    order = stream(rule.seed, "split").permutation(len(groups)).tolist()
    splits = {groups[index]: name for index, name in zip(order, rule.names(len(groups)), strict=True)}
    return _checked(_counted(found, rule, splits), len(groups))


def _count_groups(rows: Iterable[Row], rule: SplitRule) -> Counter[tuple[str, ...]]:
    """The number of rows with each combination of groups."""
    found: Counter[tuple[str, ...]] = Counter()
    lacking: dict[str, list[str]] = {}
    known: set[str] = set()
    for row in rows:
        known.update(row.meta)
        groups = rule.groups(row)
        for column, group in zip(rule.columns, groups, strict=True):
            if not group:
                lacking.setdefault(column, []).append(row.id)
        found[groups] += 1
    if lacking:
        raise InputError(
            [
                Problem(
                    "split.by",
                    f"Every row must have '{column}', got {len(ids)} without it, first {quoted_id(ids[0])}.",
                    _advice(column, known),
                )
                for column, ids in lacking.items()
            ]
        )
    return found


def _advice(column: str, known: Collection[str]) -> str:
    """What to do about rows without a column, from the keys of `meta` that rows have."""
    if column in known:
        return "Fill in the values, or change `by`."
    close = nearest(column, known)
    return f"Did you mean '{close}'?" if close else f"For a table, add meta: [{column}] to the data, or change `by`."


def _sizes(num_groups: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Number of groups of each split: the integer parts, plus one for the largest remainders (the first of ties)."""
    # Rounded, because 0.29 * 100 is 28.999999999999996.
    quotas = {name: round(fraction * num_groups, 6) for name, fraction in fractions.items()}
    sizes = {name: int(quota) for name, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda name: sizes[name] - quotas[name])
    for name in by_remainder[: num_groups - sum(sizes.values())]:
        sizes[name] += 1
    return sizes


def _counted(found: Mapping[tuple[str, ...], int], rule: SplitRule, splits: Mapping[str, str]) -> Assignment:
    num_rows = dict.fromkeys(rule.splits, 0)
    num_dropped = 0
    for combination, count in found.items():
        split = _common([splits[group] for group in combination])
        if split is None:
            num_dropped += count
        else:
            num_rows[split] += count
    return Assignment(rule, splits, num_rows, num_dropped)


def _checked(assignment: Assignment, num_groups: int) -> Assignment:
    has_folds = assignment.rule.folds is not None
    problems = [
        Problem(
            "split.folds" if has_folds else f"split.fractions.{name}",
            f"The split '{name}' gets no rows ({num_groups} groups; {assignment.num_dropped} rows cross splits).",
            "Use fewer folds." if has_folds else "Use larger fractions or fewer splits.",
        )
        for name, count in assignment.num_rows.items()
        if not count
    ]
    if problems:
        raise InputError(problems)
    return assignment


def _common(splits: list[str]) -> str | None:
    return splits[0] if len(set(splits)) == 1 else None
