"""Properties that every balancing method must have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from mtl.balancing import Balancing, TaskLoss

Make = Callable[[Mapping[str, float]], Balancing]

WEIGHTS = {"gad": 1.0, "hoc": 0.5, "ner": 2.0}


def adds_up(make: Make, losses: Sequence[float], cuts: Sequence[int]) -> None:
    """The terms add up to that of one big batch, however the targets are spread over ranks and steps."""
    whole, parts = (_loss(make(WEIGHTS), losses, pieces) for pieces in ([len(losses)], cuts))
    torch.testing.assert_close(parts[0], whole[0], rtol=1e-6, atol=1e-6)
    assert parts[1].keys() == whole[1].keys()
    for name, gradient in whole[1].items():
        torch.testing.assert_close(parts[1][name], gradient, rtol=1e-6, atol=1e-6)


def leaves_other_tasks_alone(make: Make) -> None:
    """A step without a task gives the method's parameters of that task no gradient."""
    balancing = make(WEIGHTS)
    _term(balancing, "hoc", [1.0, 2.0], 2).backward()
    moved = {name for name, parameter in balancing.named_parameters() if parameter.grad is not None}
    assert all("hoc" in name for name in moved)


def scales_with_the_loss_weight(make: Make) -> None:
    """A task's loss weight multiplies the factor on its mean loss."""
    for task, weight in WEIGHTS.items():
        plain = make(dict.fromkeys(WEIGHTS, 1.0))
        assert make(WEIGHTS).current_factors()[task] == weight * plain.current_factors()[task]


def resumes(make: Make, train: Callable[[Balancing], None]) -> None:
    """The state dict holds everything that decides the factors of later updates."""
    before, after = make(WEIGHTS), make(WEIGHTS)
    train(before)
    after.load_state_dict(before.state_dict())
    assert after.current_factors() == before.current_factors()
    train(before)
    train(after)
    assert after.current_factors() == before.current_factors()


def stays_in_single_precision(make: Make) -> None:
    """Converting the model to another precision does not change the method."""
    balancing = make(WEIGHTS)
    before = balancing.current_factors()
    balancing.to(torch.bfloat16)
    assert {value.dtype for value in balancing.state_dict().values()} <= {torch.float32}
    assert balancing.current_factors() == before


def _loss(balancing: Balancing, losses: Sequence[float], pieces: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of an update and the method's gradients, with the targets of task "ner" split into pieces."""
    total = torch.zeros(())
    start = 0
    for size in pieces:
        total = total + _term(balancing, "ner", losses[start : start + size], len(losses))
        start += size
    assert start == len(losses)
    total.backward()
    return total.detach(), {name: p.grad for name, p in balancing.named_parameters() if p.grad is not None}


def _term(balancing: Balancing, task: str, losses: Sequence[float], update_targets: int) -> Tensor:
    total = torch.tensor(losses, requires_grad=True).sum()
    return balancing.term(task, TaskLoss(total, torch.tensor(len(losses)), update_targets, 0.5))
