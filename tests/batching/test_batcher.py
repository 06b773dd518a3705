from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl.batching.batcher import Batcher, by_length, shards

LENGTHS = st.lists(st.integers(2, 512), min_size=1, max_size=300).map(np.array)


@given(LENGTHS, st.integers(1, 40), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_every_example_occurs_exactly_once_per_pass(lengths: np.ndarray, batch_size: int, seed: int) -> None:
    batcher = Batcher(lengths, batch_size, seed, "gad")
    for number in range(3):
        start = number * batcher.batches_per_pass
        batches = [batcher[position] for position in range(start, start + batcher.batches_per_pass)]
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
        assert sum(len(batch) < batch_size for batch in batches) <= 1
        assert max(map(len, batches)) <= batch_size


@given(LENGTHS, st.integers(1, 40), st.lists(st.integers(0, 500), min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
def test_a_position_is_the_same_batch_in_any_order_of_reading(
    lengths: np.ndarray, batch_size: int, positions: list[int]
) -> None:
    one = Batcher(lengths, batch_size, 7, "gad")
    batches = [one[position].tolist() for position in positions]
    for position, batch in reversed(list(zip(positions, batches, strict=True))):
        assert Batcher(lengths, batch_size, 7, "gad")[position].tolist() == batch == one[position].tolist()


def test_seed_task_and_pass_each_change_the_order() -> None:
    lengths = np.arange(2, 202)

    def order(seed: int, task: str, number: int) -> list[int]:
        batcher = Batcher(lengths, 8, seed, task)
        return [i for place in range(25) for i in batcher[number * 25 + place].tolist()]

    base = order(0, "gad", 0)
    assert base == order(0, "gad", 0)
    for other in (order(1, "gad", 0), order(0, "rqe", 0), order(0, "gad", 1)):
        assert other != base


def test_batches_are_random() -> None:
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(3.5, 0.6, 5000).astype(int), 5, 512)
    for budget in (None, 2048):
        batcher = Batcher(lengths, 32, 0, "gad", token_budget=budget)
        batches = [batcher[position] for position in range(batcher.batches_per_pass)]
        # The variance of a mean of n random examples is that of one example divided by n.
        means = np.array([lengths[batch].mean() for batch in batches])
        expected = lengths.var() / np.mean([len(batch) for batch in batches])
        assert means.var() == pytest.approx(expected, rel=0.35)
        assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.25


def test_examples_are_grouped_anew_in_every_pass() -> None:
    lengths = np.full(400, 10)
    batcher = Batcher(lengths, 4, 0, "gad")
    pairs = Counter(frozenset(pair) for position in range(300) for pair in pairwise(sorted(batcher[position].tolist())))
    assert max(pairs.values()) < 3


@given(LENGTHS, st.integers(1, 40), st.integers(1, 3000))
@settings(max_examples=60, deadline=None)
def test_evaluation_batches_hold_each_example_once_within_the_budget(
    lengths: np.ndarray, batch_size: int, budget: int
) -> None:
    batches = by_length(np.arange(len(lengths)), lengths, batch_size, budget)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(len(b) <= batch_size for b in batches)
    assert all(len(b) == 1 or lengths[b].max() * len(b) <= budget for b in batches)
    assert all(lengths[a].min() >= lengths[b].max() for a, b in pairwise(batches))


@pytest.mark.parametrize("size", [0, 1])
def test_evaluation_batches_of_no_example_or_one_example(size: int) -> None:
    assert [b.tolist() for b in by_length(np.arange(size), np.array([9] * size), 4, 1)] == [[0]] * size


@given(LENGTHS, st.integers(0, 2000), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_batches_stay_within_the_token_budget_and_hold_every_example_once_per_pass(
    lengths: np.ndarray, spare: int, seed: int
) -> None:
    budget = int(lengths.max()) + spare
    batcher = Batcher(lengths, 32, seed, "gad", token_budget=budget)
    for number in range(3):
        positions = range(number * batcher.batches_per_pass, (number + 1) * batcher.batches_per_pass)
        batches = [batcher[position] for position in positions]
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
        assert all(len(batch) and lengths[batch].sum() <= budget for batch in batches)
        assert sum(batcher.weight(position) for position in positions) == pytest.approx(batcher.batches_per_pass)


def test_a_large_token_budget_is_used_almost_completely() -> None:
    lengths = np.random.default_rng(0).integers(5, 128, 4000)
    batcher = Batcher(lengths, 32, 0, "gad", token_budget=4096)
    used = [int(lengths[batcher[position]].sum()) for position in range(3 * batcher.batches_per_pass)]
    assert np.mean(used) > 0.94 * 4096
    assert sum(tokens < 0.9 * 4096 for tokens in used) <= 2 * 3  # one is cut in two where that gives the number


@given(st.lists(st.lists(st.integers(2, 512), min_size=1, max_size=40).map(np.array), max_size=8), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_ranks_share_every_batch_of_a_step_without_overlap_in_equal_numbers_and_tokens(
    batches: list[np.ndarray], world: int
) -> None:
    by_rank = [shards(batches, rank, world) for rank in range(world)]
    for lengths, shares in zip(batches, zip(*by_rank, strict=True), strict=True):
        assert sorted(np.concatenate(shares).tolist()) == list(range(len(lengths)))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    tokens = [sum(int(lengths[mine].sum()) for lengths, mine in zip(batches, own, strict=True)) for own in by_rank]
    assert max(tokens) - min(tokens) <= max((int(lengths.max()) for lengths in batches), default=0)


@pytest.mark.parametrize("tasks", [1, 4, 16, 32])
@pytest.mark.parametrize("world", [2, 4])
def test_ranks_get_about_as_many_tokens_however_many_tasks_share_a_step(tasks: int, world: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        lengths = np.clip(rng.lognormal(3.5, 0.6, 32 * world).astype(int), 5, 128)
        batches = np.split(lengths, tasks)
        tokens = [
            sum(batch[mine].sum() for batch, mine in zip(batches, shards(batches, rank, world), strict=True))
            for rank in range(world)
        ]
        assert max(tokens) <= 1.1 * np.mean(tokens)


def test_batches_with_a_token_budget_are_redrawn_and_shuffled_in_every_pass() -> None:
    lengths = np.repeat(np.arange(10, 60), 40)
    batcher = Batcher(lengths, 32, 0, "gad", token_budget=512)
    first, second = (
        {frozenset(batcher[number * batcher.batches_per_pass + i].tolist()) for i in range(batcher.batches_per_pass)}
        for number in range(2)
    )
    assert len(first & second) < len(first) / 10


def test_without_a_token_budget_all_batches_have_the_same_weight() -> None:
    batcher = Batcher(np.arange(5, 42), 4, 3, "gad")
    assert {batcher.weight(position) for position in range(10)} == {1.0}
