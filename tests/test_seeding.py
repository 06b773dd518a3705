from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl.seeding import derive, seed_dropout, separate_draws, stream
from tests import emulated

KEYS = st.lists(st.one_of(st.text("abc1", max_size=3), st.integers(0, 99)), max_size=3)


def test_the_same_key_gives_the_same_numbers() -> None:
    assert stream(1, "order", "gad").random(5).tolist() == stream(1, "order", "gad").random(5).tolist()


def test_a_derived_seed_never_changes_between_versions() -> None:
    # A change here would change every run: first 8 bytes of sha256(b"1\x1forder\x1fgad"), halved.
    assert derive(1, "order", "gad") == 8408320598271848013


@pytest.mark.parametrize("other", [(2, "order", "gad"), (1, "sampler", "gad"), (1, "order", "rqe"), (1, "order")])
def test_another_seed_purpose_or_task_gives_other_numbers(other: tuple[int | str, ...]) -> None:
    seed, *key = other
    assert stream(int(seed), *key).random() != stream(1, "order", "gad").random()


def test_the_boundaries_between_parts_of_a_key_matter() -> None:
    assert derive(1, "ab", "c") != derive(1, "a", "bc")
    assert derive(1, 2) != derive(12)


def test_the_order_of_the_parts_matters() -> None:
    assert derive(1, "a", "b") != derive(1, "b", "a")


@given(seed=st.integers(-(2**70), 2**70), key=KEYS)
def test_a_derived_seed_fits_into_63_bits(seed: int, key: list[str | int]) -> None:
    assert 0 <= derive(seed, *key) < 2**63


def test_streams_of_neighbouring_epochs_are_not_correlated() -> None:
    import numpy as np

    draws = np.array([stream(1, "sampler", epoch).random(2000) for epoch in range(10)])
    correlations = np.corrcoef(draws)[~np.eye(10, dtype=bool)]
    assert np.abs(correlations).max() < 0.11  # five standard deviations of 1 / sqrt(2000)


@pytest.mark.parametrize("device", ["cpu", "emulated"])
def test_dropout_is_drawn_as_after_seeding_everything(device: str) -> None:
    emulated.register()
    before = torch.initial_seed()
    torch.manual_seed(7)
    expected = torch.rand(3), torch.rand(3, device=device).cpu()
    torch.manual_seed(before)
    seed_dropout(7, torch.device(device))
    assert torch.rand(3).tolist() == expected[0].tolist()
    assert torch.rand(3, device=device).tolist() == expected[1].tolist()


def test_separate_draws_change_those_of_no_device() -> None:
    emulated.register()
    devices = ["cpu", "emulated"]
    torch.manual_seed(7)
    expected = [torch.rand(3, device=device).tolist() for device in devices]
    torch.manual_seed(7)
    with separate_draws(1):
        inside = torch.rand(3)
    assert [torch.rand(3, device=device).tolist() for device in devices] == expected
    with separate_draws(1):
        assert torch.equal(torch.rand(3), inside)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), inside)


def test_separate_draws_without_a_seed_continue_the_ones_outside() -> None:
    with separate_draws():
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), inside)
