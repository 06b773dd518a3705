from collections import Counter

import pytest

from mtl.problems import InputError
from mtl.samplers import TaskSize
from mtl.samplers.quota import Quota

SIZES = {"a": TaskSize(80, 5), "b": TaskSize(48, 3)}


def test_every_epoch_trains_each_task_as_often_as_its_quota() -> None:
    sampler = Quota(SIZES, 1, 3, batches={"a": 2, "b": 7})
    for epoch in range(4):
        assert Counter(sampler.epoch(epoch)) == {"a": 2, "b": 7}
    assert sampler.steps_per_epoch(0) == 9


def test_the_order_of_the_quotas_has_no_effect() -> None:
    one, other = Quota(SIZES, 1, 3, batches={"a": 2, "b": 7}), Quota(SIZES, 1, 3, batches={"b": 7, "a": 2})
    assert one.epoch(1) == other.epoch(1)


def test_all_problems_of_the_quotas_are_reported() -> None:
    with pytest.raises(InputError) as caught:
        Quota(SIZES, 1, 3, batches={"a": 2, "c": 1})
    assert [problem.key for problem in caught.value.problems] == ["sampler.batches.c", "sampler.batches.b"]
    with pytest.raises(InputError, match=r"sampler\.batches\.a: .* 0\.$"):
        Quota(SIZES, 1, 3, batches={"a": 0, "b": 1})
