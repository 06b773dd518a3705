"""Balancing in a training: the input of a method, and the effects of its decisions."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mtl.config import components
from mtl.config.loading import load_mixture
from mtl.problems import InputError
from mtl.tracking.run_folder import RunFolder
from mtl.training.assembly import build_balancing
from mtl.training.saving import checkpoint_callbacks

Write = Callable[..., Path]
Train = Callable[..., Any]

NO_DROPOUT = [
    "encoder.dropout=0.0",
    *(f"tasks.{task}.options.dropout=0.0" for task in ("cause", "drugs", "risk", "bleed")),
]
PCGRAD = "tests.balancing.pcgrad.PCGrad"
FULL = {"name": "round_robin"}
METHODS = components.choices("balancing")


def gradients_of(mixture: Any, train: Train, **trainer: Any) -> dict[str, Tensor]:
    """The gradients of the first update, including those of the method's own parameters."""
    found: dict[str, Tensor] = {}

    def look(module: Any, data: Any) -> None:
        before = module.on_before_optimizer_step

        def keep(optimizer: Any) -> None:
            before(optimizer)
            found.update({name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None})

        module.on_before_optimizer_step = keep

    train(mixture, before=look, max_steps=1, limit_val_batches=0, **trainer)
    return found


def assert_close(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.parametrize("method", METHODS)
def test_accumulation_and_one_big_batch_give_the_same_gradients(method: str, toy_mixture: Write, train: Train) -> None:
    def first(batch_size: int, accumulate: int) -> dict[str, Tensor]:
        fields = {"balancing": {"name": method}, "batch_size": batch_size}
        mixture = load_mixture(toy_mixture(**fields), [*NO_DROPOUT, "tasks.risk.loss_weight=0.3"]).only(["risk"])
        return gradients_of(mixture, train, accumulate_grad_batches=accumulate)

    assert_close(first(9, 1), first(3, 3))


@pytest.mark.parametrize("method", METHODS)
def test_a_step_of_all_tasks_and_its_accumulated_batches_give_the_same_gradients(
    method: str, toy_mixture: Write, train: Train
) -> None:
    def first(tasks_per_step: Any, steps: int) -> dict[str, Tensor]:
        sampler = {"name": "round_robin", "steps_per_epoch": steps}
        fields = {"balancing": {"name": method}, "sampler": sampler, "tasks_per_step": tasks_per_step}
        mixture = load_mixture(toy_mixture(**fields), [*NO_DROPOUT, "tasks.risk.loss_weight=3"])
        return gradients_of(mixture, train, accumulate_grad_batches=steps)

    assert_close(first("all", 1), first(1, 3))


def test_a_log_variance_moves_only_in_steps_of_its_task(toy_mixture: Write, train: Train) -> None:
    mixture = load_mixture(toy_mixture(balancing={"name": "uncertainty", "learning_rate": 0.1}))
    moved: list[tuple[set[str], set[str]]] = []

    def look(module: Any, data: Any) -> None:
        step = module.optimizer_step
        tasks: set[str] = set()
        start = module.on_train_batch_start

        def begin(batch: Any, batch_idx: int) -> None:
            start(batch, batch_idx)
            tasks.clear()
            tasks.update(part.task for part in batch.parts)

        def noting(*arguments: Any) -> None:
            before = module.balancing.current_factors()
            step(*arguments)
            after = module.balancing.current_factors()
            moved.append((set(tasks), {task for task in before if before[task] != after[task]}))

        module.on_train_batch_start, module.optimizer_step = begin, noting

    trained = train(mixture, before=look, limit_val_batches=0, model={"warmup": 0.0, "schedule": "constant"})
    for tasks, changed in moved:
        # A batch may hold only rows that have no label for a task that shares them.
        assert changed <= tasks
        assert changed >= tasks - {"bleed"}
    groups = {group["name"]: group for group in trained.trainer.optimizers[0].param_groups}
    assert groups["balancing"]["lr"] == 0.1
    assert groups["balancing"]["weight_decay"] == 0.0


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_training_ends_with_the_same_weights(
    method: str, toy_mixture: Write, train: Train, tmp_path: Path
) -> None:
    mixture = load_mixture(toy_mixture(balancing={"name": method}))
    whole = train(mixture, max_epochs=4, limit_val_batches=0)
    folder = RunFolder.create(tmp_path / "runs", "toy", 1)
    kept = checkpoint_callbacks(folder, list(mixture.tasks), save_every=5)

    class Stop(Exception):  # interrupts the third epoch without any clean-up
        pass

    def interrupt(module: Any, data: Any) -> None:
        start = module.on_train_batch_start

        def begin(batch: Any, batch_idx: int) -> None:
            if module.trainer.current_epoch == 2 and batch_idx == 8:
                raise Stop
            start(batch, batch_idx)

        module.on_train_batch_start = begin

    with pytest.raises(Stop):
        train(mixture, before=interrupt, max_epochs=4, limit_val_batches=0, callbacks=kept, enable_checkpointing=True)
    path = folder.resolve_checkpoint("last")
    again = train(mixture, max_epochs=4, limit_val_batches=0, ckpt_path=path)
    assert again.weights.keys() == whole.weights.keys()
    assert all(torch.equal(again.weights[name], value) for name, value in whole.weights.items())
    factors = whole.module.balancing.current_factors()
    assert again.module.balancing.current_factors() == factors
    assert (factors == dict.fromkeys(factors, 1.0)) == (method == "fixed")


def test_factors_that_change_are_logged(toy_mixture: Write, train: Train) -> None:
    for method, is_logged in (("fixed", False), ("uncertainty", True), ("dynamic_average", True)):
        trained = train(load_mixture(toy_mixture(balancing={"name": method})), limit_val_batches=0)
        logged = {name for name in trained.trainer.callback_metrics if name.startswith("balancing/")}
        assert logged == ({f"balancing/{task}" for task in trained.module.heads} if is_logged else set())


# --- methods that need the losses of all tasks at once ----------------------------------------------------------------


def test_a_method_on_per_task_gradients_is_one_file(toy_mixture: Write, train: Train) -> None:
    fields = {"tasks_per_step": "all", "sampler": {"name": "uniform"}}
    plain = gradients_of(load_mixture(toy_mixture(**fields), NO_DROPOUT), train)
    single = {
        task: gradients_of(
            load_mixture(
                toy_mixture(**fields),
                [*NO_DROPOUT, *(f"tasks.{other}.loss_weight=1e-30" for other in OTHERS - {task})],
            ),
            train,
        )
        for task in OTHERS
    }
    found = gradients_of(load_mixture(toy_mixture(**fields, balancing={"name": PCGRAD}), NO_DROPOUT), train)
    names = [name for name in plain if name.startswith("encoder.")]
    rows = {task: torch.cat([gradients[name].flatten() for name in names]) for task, gradients in single.items()}
    order = ["cause", "bleed", "drugs", "risk"]
    expected = torch.zeros_like(rows["risk"])
    for task in order:
        row = rows[task]
        for other in order:
            if other != task and row @ rows[other] < 0:
                row = row - (row @ rows[other]) / (rows[other] @ rows[other]) * rows[other]
        expected += row
    torch.testing.assert_close(torch.cat([found[name].flatten() for name in names]), expected, rtol=1e-3, atol=1e-5)
    assert_close({n: g for n, g in found.items() if n not in names}, {n: g for n, g in plain.items() if n not in names})
    assert not torch.allclose(expected, torch.cat([plain[name].flatten() for name in names]), rtol=1e-3, atol=1e-5)


OTHERS = {"cause", "bleed", "drugs", "risk"}


@pytest.mark.parametrize("tasks_per_step", [1, 2])
def test_a_method_that_needs_all_tasks_is_refused_if_a_step_trains_fewer(
    tasks_per_step: int, toy_mixture: Write
) -> None:
    with pytest.raises(InputError) as caught:
        load_mixture(toy_mixture(balancing={"name": PCGRAD}, sampler=FULL, tasks_per_step=tasks_per_step))
    (problem,) = caught.value.problems
    assert problem.key == "tasks_per_step"
    assert PCGRAD in problem.message


def test_a_method_that_needs_all_tasks_is_refused_with_a_sampler_of_smaller_steps(toy_mixture: Write) -> None:
    with pytest.raises(InputError) as caught:
        load_mixture(toy_mixture(balancing={"name": PCGRAD}, sampler={"name": "proportional"}, tasks_per_step="all"))
    assert [problem.key for problem in caught.value.problems] == ["sampler.name"]


def test_a_method_that_needs_all_tasks_is_refused_with_accumulation(toy_mixture: Write, train: Train) -> None:
    mixture = load_mixture(toy_mixture(balancing={"name": PCGRAD}, sampler=FULL, tasks_per_step="all"))
    with pytest.raises(InputError) as caught:
        train(mixture, accumulate_grad_batches=2)
    (problem,) = caught.value.problems
    assert problem.key == "trainer.accumulate_grad_batches"
    assert "PCGrad" in problem.message


# --- the mixture ------------------------------------------------------------------------------------------------------


def test_the_mixture_names_the_method_and_its_options(toy_mixture: Write) -> None:
    mixture = load_mixture(toy_mixture(balancing={"name": "uncertainty", "learning_rate": 0.01}))
    balancing = build_balancing(mixture)
    assert type(balancing).__name__ == "Uncertainty"
    assert balancing.learning_rate == 0.01
    assert list(balancing.weights) == list(mixture.tasks)
    assert load_mixture(toy_mixture()).balancing.name == "fixed"


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"name": "uncertanty"}, "balancing.name"),
        ({"name": "uncertainty", "temperature": 2.0}, "balancing.temperature"),
        ({"name": "uncertainty", "learning_rate": -1.0}, "balancing.learning_rate"),
        ({"name": "dynamic_average", "temperature": "hot"}, "balancing.temperature"),
        ({"nmae": "uncertainty"}, "balancing.nmae"),
    ],
)
def test_an_invalid_name_or_option_is_named_by_its_key(fields: dict[str, Any], key: str, toy_mixture: Write) -> None:
    with pytest.raises(InputError) as caught:
        load_mixture(toy_mixture(balancing=fields))
    assert [problem.key for problem in caught.value.problems] == [key]


def test_a_step_without_a_task_is_refused_for_a_method_that_needs_all(toy_mixture: Write, train: Train) -> None:
    mixture = load_mixture(toy_mixture(tasks_per_step="all", sampler=FULL, balancing={"name": PCGRAD}))

    def stop_one(module: Any, data: Any) -> None:
        module.stopped.add("risk")

    with pytest.raises(InputError) as caught:
        train(mixture, before=stop_one, max_steps=1, limit_val_batches=0)
    assert [problem.key for problem in caught.value.problems] == ["balancing.name"]
    assert "risk" in caught.value.problems[0].message
