import torch

from mtl.balancing import TaskLoss
from mtl.balancing.fixed import Fixed
from tests.balancing import properties as has


def test_it_has_the_properties_of_every_method() -> None:
    has.adds_up(Fixed, [0.3, 1.2, 0.7, 2.0], [1, 0, 3])
    has.leaves_other_tasks_alone(Fixed)
    has.scales_with_the_loss_weight(Fixed)
    has.resumes(Fixed, lambda balancing: None)
    has.stays_in_single_precision(Fixed)


def test_the_factor_is_the_loss_weight_and_nothing_is_learned() -> None:
    balancing = Fixed(has.WEIGHTS)
    assert balancing.current_factors() == has.WEIGHTS
    assert not balancing.state_dict()


class _Shifted(Fixed):
    shift: torch.Tensor | float = 0.0

    def offset(self, task: str) -> torch.Tensor | float:
        return self.shift


def test_an_offset_counts_whether_it_is_a_float_or_a_tensor() -> None:
    balancing = _Shifted({"risk": 2.0})
    loss = TaskLoss(torch.tensor(6.0), torch.tensor(3.0), 4, 0.5)
    assert balancing.term("risk", loss).item() == 2.0 * 0.5 / 4 * 6.0
    for balancing.shift in (0.25, torch.tensor(0.25)):
        assert balancing.term("risk", loss).item() == 2.0 * 0.5 / 4 * 6.0 + 0.25 * 0.5 / 4 * 3.0
