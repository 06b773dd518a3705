import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchjd.scalarization import UW

from mtl.balancing import Balancing, TaskLoss
from mtl.balancing.uncertainty import Uncertainty
from mtl.problems import InputError
from tests.balancing import properties as has


def step(balancing: Balancing) -> None:
    """An update of the log-variances for tasks whose mean losses are 1, 2 and 3."""
    optimizer = torch.optim.SGD(balancing.parameters(), lr=0.1)
    optimizer.zero_grad()
    for number, task in enumerate(has.WEIGHTS, start=1):
        balancing.term(task, TaskLoss(torch.tensor(float(number)), torch.tensor(1), 1, 1.0)).backward()
    optimizer.step()


@given(
    losses=st.lists(st.floats(0.01, 10.0), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 8), max_size=5),
)
def test_the_terms_of_an_update_add_up_however_its_targets_are_spread(losses: list[float], cuts: list[int]) -> None:
    edges = sorted(min(cut, len(losses)) for cut in cuts)
    pieces = [end - start for start, end in zip([0, *edges], [*edges, len(losses)], strict=True)]
    has.adds_up(Uncertainty, losses, pieces)


def test_it_has_the_properties_of_every_method() -> None:
    has.leaves_other_tasks_alone(Uncertainty)
    has.scales_with_the_loss_weight(Uncertainty)
    has.resumes(Uncertainty, step)
    has.stays_in_single_precision(Uncertainty)


def test_the_loss_and_its_gradients_agree_with_torchjd() -> None:
    means = torch.tensor([0.2, 1.5, 4.0])
    ours, theirs = Uncertainty(dict.fromkeys("abc", 1.0)), UW(3)
    (log_variances,) = theirs.parameters()
    with torch.no_grad():
        for parameter, value in zip(ours.parameters(), [0.3, -0.4, 1.1], strict=True):
            parameter.fill_(value)
        log_variances.copy_(torch.tensor([0.3, -0.4, 1.1]))
    terms = [ours.term(task, TaskLoss(mean, torch.tensor(1), 1, 1.0)) for task, mean in zip("abc", means, strict=True)]
    loss, expected = sum(terms, torch.zeros(())), theirs(means)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    gradients = torch.stack([parameter.grad for parameter in ours.parameters() if parameter.grad is not None])
    torch.testing.assert_close(gradients, log_variances.grad)


def test_a_log_variance_converges_to_the_logarithm_of_the_loss() -> None:
    balancing = Uncertainty({"gad": 2.0})
    optimizer = torch.optim.SGD(balancing.parameters(), lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        balancing.term("gad", TaskLoss(torch.tensor(6.0), torch.tensor(4), 4, 1.0)).backward()
        optimizer.step()
    (log_variance,) = balancing.parameters()
    assert log_variance.item() == pytest.approx(math.log(2.0 * 6.0 / 4), abs=1e-4)


def test_a_task_may_have_the_name_of_a_dictionary_method() -> None:
    assert Uncertainty({"copy": 1.0, "keys": 1.0}).current_factors() == {"copy": 0.5, "keys": 0.5}


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_a_learning_rate_that_is_not_above_0_is_an_input_error(rate: float) -> None:
    with pytest.raises(InputError) as caught:
        Uncertainty({"gad": 1.0}, learning_rate=rate)
    assert [problem.key for problem in caught.value.problems] == ["balancing.learning_rate"]
