"""A seeded split of one source into several, so that no document, or group of rows, is on both sides.

Groups, not rows, are shuffled and cut, so the fractions are fractions of the groups. Rows are read twice and never
held: once by `assign`, once by whoever asks `Assignment.split_of` for each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from heads.rows import Row
from mtl.problems import InputError, Problem, did_you_mean
from mtl.readers import SPLITS
from mtl.seeding import stream


@dataclass(frozen=True, kw_only=True)
class SplitRule:
    """How a source is split.

    Args:
        source: The split that is cut.
        by: `document`, or the names of columns in a row's `meta`. The values of several columns (the two concepts
            of a pair) share one pool: a concept belongs to one split in whichever column it stands.
        fractions: The share of the groups by split.
        seed: Of the shuffle; its own, so that runs with other seeds train on the same split.

    Raises:
        InputError: A split has no such name, or the fractions are not above 0 or don't add up to 1.
    """

    source: str = "train"
    by: str | tuple[str, ...] = "document"
    fractions: Mapping[str, float]
    seed: int = 0

    def __post_init__(self) -> None:
        problems = [
            Problem(f"split.{key}", f"There is no split '{name}'.", did_you_mean(name, SPLITS))
            for key, name in (("source", self.source), *((f"fractions.{name}", name) for name in self.fractions))
            if name not in SPLITS
        ]
        problems += [
            Problem(f"split.fractions.{name}", f"It must be above 0; found {fraction}.", "Leave the split out.")
            for name, fraction in self.fractions.items()
            if not fraction > 0
        ]
        total = sum(self.fractions.values())
        if not abs(total - 1) < 1e-6:
            problems.append(Problem("split.fractions", f"They must add up to 1; found {total:.6g}."))
        if not self.columns:
            problems.append(Problem("split.by", "It must be document or the names of columns; found nothing."))
        if problems:
            raise InputError(problems)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the grouping columns."""
        return (self.by,) if isinstance(self.by, str) else tuple(self.by)

    def groups(self, row: Row) -> tuple[str, ...]:
        """A row's group in each column; an empty string where it has none."""
        if self.by == "document":
            return (row.document,)
        return tuple(row.meta.get(column, "") for column in self.columns)


@dataclass(frozen=True)
class Assignment:
    """Which split each group belongs to, and what that makes of the rows.

    Args:
        rule: What it was made by.
        splits: Split by group.
        num_rows: Rows by split.
        num_dropped: Rows whose groups fell into different splits. They belong to none.
    """

    rule: SplitRule
    splits: Mapping[str, str]
    num_rows: Mapping[str, int]
    num_dropped: int

    def split_of(self, row: Row) -> str | None:
        """The split of a row that `assign` saw; None where the row is dropped."""
        return _common([self.splits[group] for group in self.rule.groups(row)])

    def rows(self, read: Callable[[], Iterable[Row]], split: str) -> Iterator[Row]:
        """The rows of one split in their own order, from a source that can be read again."""
        return (row for row in read() if self.split_of(row) == split)


def assign(rows: Iterable[Row], rule: SplitRule) -> Assignment:
    """Assigns every group of some rows to a split.

    The sorted groups are shuffled by the rule's seed and cut at its fractions; sizes are rounded by largest
    remainder, so they are exact and add up. The order of the rows has no influence.

    Raises:
        InputError: A row lacks a grouping column, or a split is left without rows.

    >>> from heads.rows import TextRow
    >>> rows = [TextRow(str(i), f"document {i // 2}", "") for i in range(20)]
    >>> made = assign(rows, SplitRule(fractions={"train": 0.8, "dev": 0.2}))
    >>> dict(made.num_rows), made.num_dropped
    ({'train': 16, 'dev': 4}, 0)
    """
    found = _count_groups(rows, rule)
    groups = sorted({group for combination in found for group in combination})
    order = stream(rule.seed, "split").permutation(len(groups)).tolist()
    sizes = _sizes(len(groups), rule.fractions)
    names = [name for name, size in sizes.items() for _ in range(size)]
    splits = {groups[index]: name for index, name in zip(order, names, strict=True)}
    return _checked(_counted(found, rule, splits), len(groups))


def _count_groups(rows: Iterable[Row], rule: SplitRule) -> Counter[tuple[str, ...]]:
    """How often each combination of groups occurs."""
    found: Counter[tuple[str, ...]] = Counter()
    lacking: dict[str, list[str]] = {}
    for row in rows:
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
                    f"Every row must have '{column}'; found {len(ids)} without it, first '{ids[0]}'.",
                    f"Of a table, name the column in data.meta: [{column}]; else fill it in, or split by another.",
                )
                for column, ids in lacking.items()
            ]
        )
    return found


def _sizes(num_groups: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Groups by split: the whole parts, and one more for the largest remainders (of equals, the first)."""
    # Rounded, because 0.29 * 100 is 28.999999999999996.
    quotas = {name: round(fraction * num_groups, 6) for name, fraction in fractions.items()}
    sizes = {name: int(quota) for name, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda name: sizes[name] - quotas[name])
    for name in by_remainder[: num_groups - sum(sizes.values())]:
        sizes[name] += 1
    return sizes


def _counted(found: Mapping[tuple[str, ...], int], rule: SplitRule, splits: Mapping[str, str]) -> Assignment:
    num_rows = dict.fromkeys(rule.fractions, 0)
    num_dropped = 0
    for combination, count in found.items():
        split = _common([splits[group] for group in combination])
        if split is None:
            num_dropped += count
        else:
            num_rows[split] += count
    return Assignment(rule, splits, num_rows, num_dropped)


def _checked(assignment: Assignment, num_groups: int) -> Assignment:
    problems = [
        Problem(
            f"split.fractions.{name}",
            f"Every split must get a row; found {num_groups} groups and {assignment.num_dropped} rows that cross.",
            "Use larger fractions or fewer splits.",
        )
        for name, count in assignment.num_rows.items()
        if not count
    ]
    if problems:
        raise InputError(problems)
    return assignment


def _common(splits: list[str]) -> str | None:
    return splits[0] if len(set(splits)) == 1 else None
