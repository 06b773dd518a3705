from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold

from heads.rows import Row, SpanRow, TextRow
from mtl.data.splits import SplitRule, assign
from mtl.problems import InputError

FRACTIONS = {"train": 0.7, "dev": 0.1, "test": 0.2}
PAIR = ("concept_1", "concept_2")


def documents(*sizes: int) -> list[Row]:
    """Rows of documents with these numbers of rows."""
    return [TextRow(f"{d}.{r}", f"d{d}", "text") for d, size in enumerate(sizes) for r in range(size)]


def pairs(*values: tuple[str, str]) -> list[Row]:
    return [TextRow(str(i), str(i), "text", meta=dict(zip(PAIR, value, strict=True))) for i, value in enumerate(values)]


@given(sizes=st.lists(st.integers(1, 4), min_size=10, max_size=40), seed=st.integers(0, 5))
def test_no_document_is_in_two_splits_and_no_row_is_lost(sizes: list[int], seed: int) -> None:
    rows = documents(*sizes)
    made = assign(rows, SplitRule(fractions=FRACTIONS, seed=seed))
    sides: dict[str, set[str | None]] = {}
    for row in rows:
        sides.setdefault(row.document, set()).add(made.split_of(row))
    assert all(len(side) == 1 for side in sides.values())
    assert Counter(made.split_of(row) for row in rows) == made.num_rows
    assert made.num_dropped == 0


@pytest.mark.parametrize(
    ("num", "sizes"),
    [
        (10, [7, 1, 2]),
        (100, [70, 10, 20]),
        (11, [8, 1, 2]),  # 7.7, 1.1, 2.2
        (14, [10, 1, 3]),  # 9.8, 1.4, 2.8
        (15, [11, 1, 3]),  # 10.5, 1.5, 3.0: of equal remainders, the first gets the remaining group
    ],
)
def test_groups_are_cut_by_largest_remainder(num: int, sizes: list[int]) -> None:
    made = assign(documents(*[1] * num), SplitRule(fractions=FRACTIONS))
    assert list(made.num_rows.values()) == sizes


def test_a_fraction_that_floats_cannot_represent_is_exact() -> None:
    made = assign(documents(*[1] * 100), SplitRule(fractions={"train": 0.71, "dev": 0.29}))
    assert made.num_rows == {"train": 71, "dev": 29}


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    rows = documents(*[1] * 50)
    first, again, other = (assign(rows, SplitRule(fractions=FRACTIONS, seed=seed)).splits for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_the_order_of_the_rows_has_no_influence() -> None:
    rows = documents(*[2] * 30)
    rule = SplitRule(fractions=FRACTIONS)
    assert assign(rows, rule).splits == assign(rows[::-1], rule).splits


def test_a_column_of_meta_is_the_group() -> None:
    rows: list[Row] = [SpanRow(str(i), str(i), "text", meta={"site": f"site {i % 10}"}) for i in range(100)]
    made = assign(rows, SplitRule(by="site", fractions=FRACTIONS))
    assert made.num_rows == {"train": 70, "dev": 10, "test": 20}
    assert set(made.splits) == {f"site {i}" for i in range(10)}


def test_a_pair_that_crosses_groups_is_dropped_and_counted() -> None:
    rows = pairs(*[(f"c{i}", f"c{i}") for i in range(4)], *[(f"c{i}", f"c{j}") for i in range(4) for j in range(i)])
    made = assign(rows, SplitRule(by=PAIR, fractions={"train": 0.5, "test": 0.5}))
    # Four concepts, two per split: each split keeps its two (c, c) and one pair; the four pairs across are dropped.
    assert made.num_rows == {"train": 3, "test": 3}
    assert made.num_dropped == 4
    assert sum(made.split_of(row) is None for row in rows) == 4


@given(values=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")), max_size=30))
def test_no_concept_is_in_two_splits_in_either_column(values: list[tuple[str, str]]) -> None:
    rows = pairs(*((c, c) for c in "abcdefgh"), *values)
    made = assign(rows, SplitRule(by=PAIR, fractions={"train": 0.5, "dev": 0.25, "test": 0.25}))
    seen: dict[str, set[str]] = {}
    for row in rows:
        split = made.split_of(row)
        for concept in row.meta.values() if split else ():
            seen.setdefault(concept, set()).add(str(split))
    assert all(len(splits) == 1 for splits in seen.values())
    assert sum(made.num_rows.values()) + made.num_dropped == len(rows)


def test_a_source_is_read_twice_and_never_held_in_memory() -> None:
    num_reads = 0

    def read() -> Iterator[Row]:
        nonlocal num_reads
        num_reads += 1
        yield from documents(*[2] * 20)

    made = assign(read(), SplitRule(fractions={"train": 0.75, "test": 0.25}))
    test = list(made.rows(read, "test"))
    assert num_reads == 2
    assert len(test) == made.num_rows["test"] == 10
    assert [row.id for row in test] == [row.id for row in documents(*[2] * 20) if row.id in {t.id for t in test}]


def test_rows_without_the_column_are_reported_with_their_number_and_the_first_id() -> None:
    rows = [*pairs(("a", "b"), ("c", "")), TextRow("9", "9", "secret text")]
    with pytest.raises(InputError) as error:
        assign(rows, SplitRule(by=PAIR, fractions={"train": 1.0}))
    second, first = error.value.problems
    assert second.key == first.key == "split.by"
    for part in ("'concept_2'", "got 2 ", "'1'"):
        assert part in second.message
    for part in ("'concept_1'", "got 1 ", "'9'"):
        assert part in first.message
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("sizes", [(), (1,), (5, 5)])
def test_a_split_without_rows_is_a_problem(sizes: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"split\.fractions\.dev: .* groups"):
        assign(documents(*sizes), SplitRule(fractions={"train": 0.9, "dev": 0.1}))


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"train": 0.8, "dev": 0.1}, r"split\.fractions: .* 1, got 0\.9\."),
        ({}, r"split\.fractions: .* 1, got 0\."),
        ({"train": float("nan")}, r"split\.fractions: .* 1, got nan"),
        ({"train": 1.2, "dev": -0.2}, r"split\.fractions\.dev: .* 0, got -0\.2"),
        ({"train": 0.8, "tests": 0.2}, r"split\.fractions\.tests: .*'tests'.*'test'\?"),
    ],
)
def test_invalid_fractions_are_reported(fractions: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SplitRule(fractions=fractions)


def test_all_problems_of_a_rule_are_reported_together() -> None:
    with pytest.raises(InputError) as error:
        SplitRule(source="all", by=(), fractions={"train": 0.5, "dev": 0})
    keys = [problem.key for problem in error.value.problems]
    assert keys == ["split.source", "split.fractions.dev", "split.fractions", "split.by"]


# --- folds ------------------------------------------------------------------------------------------------------------


def as_folds(rows: list[Row], folds: int, seed: int = 0) -> list[dict[str, str]]:
    """The split of each document with each fold as test."""
    rules = (SplitRule(folds=folds, fold=fold, seed=seed) for fold in range(folds))
    return [dict(assign(rows, rule).splits) for rule in rules]


@given(sizes=st.lists(st.integers(1, 4), min_size=5, max_size=30), folds=st.integers(3, 5), seed=st.integers(0, 3))
def test_folds_have_the_properties_of_group_k_fold(sizes: list[int], folds: int, seed: int) -> None:
    """The same must hold for scikit-learn's division of the same documents, which gives other folds."""
    rows = documents(*sizes)
    groups = [row.document for row in rows]
    theirs = [{groups[i] for i in test} for _, test in GroupKFold(folds).split(rows, groups=groups)]
    made = as_folds(rows, folds, seed)
    ours = [{document for document, split in splits.items() if split == "test"} for splits in made]
    for tests in (ours, theirs):
        assert Counter(document for test in tests for document in test) == dict.fromkeys(groups, 1)
    sizes_of_folds = [len(test) for test in ours]
    assert max(sizes_of_folds) - min(sizes_of_folds) <= 1
    for number, splits in enumerate(made):
        assert {document for document, split in splits.items() if split == "dev"} == ours[(number + 1) % folds]
        assert set(splits) == set(groups)


def test_folds_depend_on_the_seed_only() -> None:
    rows = documents(*[2] * 20)
    assert as_folds(rows, 4) == as_folds(rows[::-1], 4)
    assert as_folds(rows, 4) != as_folds(rows, 4, seed=1)


def test_folds_of_patients_keep_the_rows_of_a_patient_together() -> None:
    rows: list[Row] = [TextRow(str(i), str(i), "text", meta={"patient": f"p{i % 7}"}) for i in range(30)]
    tests = []
    for fold in range(3):
        made = assign(rows, SplitRule(by="patient", folds=3, fold=fold))
        patients = {split: {r.meta["patient"] for r in rows if made.split_of(r) == split} for split in made.num_rows}
        assert sum(map(len, patients.values())) == len(set.union(*patients.values())) == 7
        tests += [row.id for row in rows if made.split_of(row) == "test"]
    assert sorted(tests) == sorted(row.id for row in rows)


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ({"folds": 2}, ["split.folds"]),
        ({"folds": 4, "fold": 4}, ["split.fold"]),
        ({"folds": 4, "fold": -1}, ["split.fold"]),
        ({"folds": 4, "fractions": {"train": 0.5, "dev": 0.5}}, ["split.fractions"]),
    ],
)
def test_impossible_folds_are_reported(fields: dict[str, Any], keys: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        SplitRule(**fields)
    assert [problem.key for problem in caught.value.problems] == keys


def test_more_folds_than_groups_are_a_problem() -> None:
    with pytest.raises(InputError) as caught:
        assign(documents(1, 1), SplitRule(folds=3, fold=2))
    assert {problem.key for problem in caught.value.problems} == {"split.folds"}
