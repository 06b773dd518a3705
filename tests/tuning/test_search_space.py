"""Values of searched keys on their way to Optuna and to the command line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl.config.yaml_text import load_yaml
from mtl.tuning.search_space import (
    Choices,
    NumberRange,
    fit_overrides,
    mixture_overrides,
    num_combinations,
    written_value,
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        ["cls", "no", "true", "null", "1e-4", "a b", "~", "x: y", "", "-", "on", "[1]", "0x10", "1_0", "é"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "name"]), inner, max_size=2),
    max_leaves=4,
)


@given(VALUES)
def test_a_written_value_is_read_as_the_same_value(value: Any) -> None:
    found = load_yaml(written_value(value))
    assert found == value
    assert type(found) is type(value)


@given(VALUES)
def test_a_choice_survives_its_way_through_optuna(value: Any) -> None:
    choices = Choices((value,))
    assert choices.value(choices.written[0]) == value


def test_one_and_true_are_different_choices() -> None:
    assert len(set(Choices((1, True, 1.0)).written)) == 3


def test_values_become_overrides_of_the_mixture_or_options_of_fit() -> None:
    values = {"model.learning_rate": 1e-5, "tasks.gad.options.pooling": "mean", "sampler": {"name": "uniform"}}
    assert fit_overrides(values) == [
        "--model.learning_rate=1e-05",
        "--mixture.tasks.gad.options.pooling=mean",
        '--mixture.sampler={"name": "uniform"}',
    ]
    assert mixture_overrides(values) == ["tasks.gad.options.pooling=mean", 'sampler={"name": "uniform"}']


@pytest.mark.parametrize(
    ("interval", "size"),
    [
        (NumberRange(1, 5), 5),
        (NumberRange(1, 5, step=2), 3),
        (NumberRange(0.0, 1.0, step=0.1), 11),
        (NumberRange(0, 1.0), None),
    ],
)
def test_the_number_of_combinations_is_the_product_of_the_values(interval: NumberRange, size: int | None) -> None:
    found = num_combinations({"a": interval, "b": Choices(("x", "y"))})
    assert found == (float("inf") if size is None else 2 * size)
