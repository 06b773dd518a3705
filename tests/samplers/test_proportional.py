from __future__ import annotations

from collections import Counter

from mtl.samplers import TaskSize
from mtl.samplers.proportional import Proportional

SIZES = {"a": TaskSize(80, 5), "b": TaskSize(48, 3), "c": TaskSize(16, 1)}


def test_every_batch_comes_exactly_once_in_an_epoch() -> None:
    for epoch in range(5):
        assert Counter(Proportional(SIZES, 1, 5).epoch(epoch)) == {"a": 5, "b": 3, "c": 1}


def test_every_position_in_the_order_is_equally_likely() -> None:
    sampler = Proportional(SIZES, 1, 900)
    places = Counter(sampler.epoch(epoch).index("c") for epoch in range(900))
    # 900 epochs, 9 places: 100 each, standard deviation 9.4
    assert set(places) == set(range(9))
    assert all(abs(count - 100) < 50 for count in places.values())


def test_rates_are_the_shares_of_the_batches_and_ignore_those_of_the_mixture() -> None:
    sizes = SIZES | {"c": TaskSize(16, 1, rate=100.0)}
    assert not Proportional.uses_rates
    assert Proportional(sizes, 1, 1).rates() == {"a": 5 / 9, "b": 3 / 9, "c": 1 / 9}
