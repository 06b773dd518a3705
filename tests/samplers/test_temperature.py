from __future__ import annotations

from collections import Counter

import pytest
from scipy.stats import chisquare

from mtl.problems import InputError
from mtl.samplers import TaskSize
from mtl.samplers.temperature import Temperature

SIZES = {"a": TaskSize(900, 50), "b": TaskSize(400, 30), "c": TaskSize(25, 10)}


def rates(**options: float | None) -> list[float]:
    return list(Temperature(SIZES, 1, 3, **options).rates().values())  # type: ignore[arg-type]


def test_temperature_one_gives_the_shares_of_the_examples() -> None:
    assert rates(temperature=1) == pytest.approx([900 / 1325, 400 / 1325, 25 / 1325])


def test_temperature_two_gives_the_shares_of_the_square_roots() -> None:
    assert rates(temperature=2.0) == pytest.approx([30 / 55, 20 / 55, 5 / 55])  # square roots of the sizes


def test_examples_above_the_cap_do_not_count() -> None:
    assert rates(temperature=2.0, max_examples=100) == pytest.approx([10 / 25, 10 / 25, 5 / 25])


def test_a_high_temperature_gives_nearly_equal_shares() -> None:
    assert rates(temperature=1e6) == pytest.approx([1 / 3] * 3, abs=1e-5)


def test_a_rate_of_the_mixture_replaces_the_computed_one() -> None:
    sizes = SIZES | {"b": TaskSize(400, 30, rate=5.0)}
    assert list(Temperature(sizes, 1, 3).rates().values()) == pytest.approx([30 / 40, 5 / 40, 5 / 40])


def test_frequencies_follow_the_rates() -> None:
    sampler = Temperature(SIZES, 5, 3, steps_per_epoch=20_000)
    counts = Counter(sampler.epoch(1))
    expected = [20_000 * rate for rate in sampler.rates().values()]
    assert chisquare([counts[task] for task in SIZES], expected).pvalue > 0.001


def test_frequencies_at_another_temperature_do_not_follow_these_rates() -> None:
    counts = Counter(Temperature(SIZES, 5, 3, temperature=3.0, steps_per_epoch=20_000).epoch(1))
    expected = [20_000 * rate for rate in rates(temperature=2.0)]
    assert chisquare([counts[task] for task in SIZES], expected).pvalue < 1e-6


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_options_must_be_above_zero(value: float) -> None:
    with pytest.raises(InputError) as error:
        Temperature(SIZES, 1, 3, temperature=value, max_examples=-5)
    assert [problem.key for problem in error.value.problems] == ["sampler.temperature", "sampler.max_examples"]
    assert repr(value) in error.value.problems[0].message


def test_a_temperature_at_which_rates_overflow_is_an_input_error() -> None:
    with pytest.raises(InputError) as error:
        rates(temperature=0.001)
    assert [problem.key for problem in error.value.problems] == ["sampler"]
