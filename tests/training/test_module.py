import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor
from torch.utils.data import DataLoader

from mtl.batching.batch import Batch
from mtl.batching.data_module import EvaluationLoader, MixtureData
from mtl.config.loading import load_mixture
from mtl.data.examples import SplitData
from mtl.problems import InputError
from mtl.tracking.run_folder import RunFolder
from mtl.training.assembly import build_module
from mtl.training.module import CHECKPOINT_KEY, MultiTaskModule
from mtl.training.saving import checkpoint_callbacks

Write = Callable[..., Path]
Train = Callable[..., Any]
State = dict[str, Tensor]


class Kept(Logger):
    """Keeps logged metrics in memory."""

    name, version = "kept", 0

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.lines.append((step or 0, dict(metrics)))

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass


class HeadStates:
    """Records the weights and optimiser state of the encoder and each head before and after every update."""

    def __init__(self) -> None:
        self.updates: list[tuple[dict[str, State], dict[str, State]]] = []

    def __call__(self, module: MultiTaskModule, data: MixtureData) -> None:
        step = module.optimizer_step

        def noting(epoch: int, batch_idx: int, optimizer: Any, closure: Any = None) -> None:
            before = self._states(module, optimizer)
            step(epoch, batch_idx, optimizer, closure)
            self.updates.append((before, self._states(module, optimizer)))

        module.optimizer_step = noting  # type: ignore[method-assign]

    def _states(self, module: MultiTaskModule, optimizer: Any) -> dict[str, State]:
        return {
            name: {
                key: value.detach().clone()
                for parameter_name, parameter in part.named_parameters()
                for key, value in [
                    (parameter_name, parameter),
                    *((f"{parameter_name} {k}", v) for k, v in optimizer.state.get(parameter, {}).items()),
                ]
            }
            for name, part in [("encoder", module.encoder), *((task, module.head(task)) for task in module.heads)]
        }


def moved(before: State, after: State) -> bool:
    return before.keys() != after.keys() or any(not torch.equal(before[name], after[name]) for name in before)


def tasks_of(data: MixtureData, steps: Any) -> set[str]:
    """The tasks that have targets in some steps."""
    return {
        name
        for step in steps
        for ref in step
        for name in data.followers(ref.task)
        if name not in data.stopped and data.tasks[name]["train"].targets[data.schedule.indices(ref)].sum()
    }


# --- what moves -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_moves_neither_the_heads_that_it_does_not_train_nor_their_optimiser_state(
    accumulate: int, toy_mixture: Write, train: Train
) -> None:
    # Batches of one example, so that some steps hold only a row that `bleed` has no label for.
    mixture = load_mixture(toy_mixture(), ["tasks.cause.batch_size=1"])
    states = HeadStates()
    model = {"weight_decay": 0.5, "learning_rate": 1e-2, "warmup": 0.0, "schedule": "constant"}
    trained = train(mixture, before=states, model=model, limit_val_batches=0, accumulate_grad_batches=accumulate)
    schedule = trained.data.schedule.epoch(0)
    unmoved = dict.fromkeys(mixture.tasks, 0)
    for index, (before, after) in enumerate(states.updates):
        trains = tasks_of(trained.data, schedule[index * accumulate : (index + 1) * accumulate])
        assert {task for task in mixture.tasks if moved(before[task], after[task])} == trains
        assert moved(before["encoder"], after["encoder"])
        for task in set(mixture.tasks) - trains:
            unmoved[task] += before[task] != {}
    assert all(unmoved.values())


def test_a_step_whose_tasks_have_all_stopped_moves_nothing(toy_mixture: Write, train: Train) -> None:
    states = HeadStates()

    def stop(module: MultiTaskModule, data: MixtureData) -> None:
        module.stopped = {"cause", "bleed"}
        states(module, data)

    trained = train(load_mixture(toy_mixture()), before=stop, limit_val_batches=0)
    schedule = trained.data.schedule.epoch(0)
    empty = [index for index, step in enumerate(schedule) if step[0].task == "cause"]
    assert len(empty) == 7
    for index, (before, after) in enumerate(states.updates):
        assert {name for name in before if moved(before[name], after[name])} == (
            set() if index in empty else {"encoder", schedule[index][0].task}
        )


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`", r"ignore:Detected call of `lr_scheduler\.step")
@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_with_fp16_a_stopped_task_does_not_suppress_updates_of_other_tasks(
    accumulate: int, toy_mixture: Write, train: Train
) -> None:
    # With a gradient scaler, Lightning skips an update whose last batch has no loss, and the scaler refuses an update
    # without any gradient.
    states = HeadStates()

    def stop(module: MultiTaskModule, data: MixtureData) -> None:
        module.stopped = {"drugs"}
        states(module, data)

    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    plugin = MixedPrecision("16-mixed", "cpu", scaler=scaler)
    options = {"limit_val_batches": 0, "accumulate_grad_batches": accumulate, "precision": None, "plugins": [plugin]}
    trained = train(load_mixture(toy_mixture()), before=stop, **options)
    assert trained.trainer.precision == "16-mixed"
    schedule = trained.data.schedule.epoch(0)
    for index, (before, after) in enumerate(states.updates):
        trains = tasks_of(trained.data, schedule[index * accumulate : (index + 1) * accumulate])
        assert {task for task in trained.module.heads if moved(before[task], after[task])} == trains
        assert moved(before["encoder"], after["encoder"]) == bool(trains)


# --- same seed, same result -------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_weights_and_scores_and_another_seed_does_not(
    toy_mixture: Write, train: Train
) -> None:
    path = toy_mixture()
    torch.manual_seed(11)  # the state of the process must not matter
    one = train(load_mixture(path))
    torch.manual_seed(12)
    same = train(load_mixture(path))
    other = train(load_mixture(path, ["seed=2"]))
    assert not moved(one.weights, same.weights)
    assert one.module.results["dev"].keys() == {"cause", "drugs", "risk", "bleed"}
    assert {t: r.scores for t, r in one.module.results["dev"].items()} == {
        t: r.scores for t, r in same.module.results["dev"].items()
    }
    changed = {name for name in one.weights if not torch.equal(one.weights[name], other.weights[name])}
    assert {name.split(".")[1] for name in changed if name.startswith("heads")} == set(one.module.heads)
    assert one.module.train_losses == same.module.train_losses != other.module.train_losses


def test_evaluating_within_an_epoch_changes_no_weight(toy_mixture: Write, train: Train) -> None:
    mixture = load_mixture(toy_mixture())
    assert not moved(train(mixture).weights, train(mixture, val_check_interval=3).weights)
    assert not moved(train(mixture).weights, train(mixture, limit_val_batches=0, num_sanity_val_steps=1).weights)


# --- what is logged ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("every", "accumulate"), [(3, 1), (4, 2), (50, 1)])
def test_the_training_loss_of_a_task_is_its_mean_since_the_last_log(
    every: int, accumulate: int, toy_mixture: Write, train: Train
) -> None:
    steps: list[dict[str, tuple[float, int]]] = []

    def look(module: MultiTaskModule, data: MixtureData) -> None:
        for task in module.heads:
            loss = module.head(task).loss

            def noting(logits: Tensor, fields: Any, task: str = task, loss: Any = loss) -> Any:
                total, count = loss(logits, fields)
                steps[-1][task] = (float(total.detach()), int(count))
                return total, count

            module.head(task).loss = noting  # type: ignore[method-assign]
        start = module.on_train_batch_start

        def begin(batch: Any, batch_idx: int) -> None:
            start(batch, batch_idx)
            steps.append({})

        module.on_train_batch_start = begin  # type: ignore[method-assign]

    logger = Kept()
    train(
        load_mixture(toy_mixture(sampler={"name": "round_robin"})),
        before=look,
        logger=logger,
        log_every_n_steps=every if every < 50 else 14,
        limit_val_batches=0,
        accumulate_grad_batches=accumulate,
    )
    assert len(steps) == 14
    every = min(every, 14)
    chunks = [steps[start : start + every] for start in range(0, 14, every)]
    lines = [(step, line) for step, line in logger.lines if any(name.startswith("train/") for name in line)]
    assert len(lines) == len(chunks)
    for number, (chunk, (step, line)) in enumerate(zip(chunks, lines, strict=True), start=1):
        assert step == math.ceil(min(number * every, 14) / accumulate)
        expected: dict[str, tuple[float, int]] = {}
        for noted in chunk:
            for task, (total, count) in noted.items():
                before = expected.get(task, (0.0, 0))
                expected[task] = (before[0] + total, before[1] + count)
        assert line == {
            f"train/{task}/loss": pytest.approx(total / count, rel=1e-6)
            for task, (total, count) in expected.items()
            if count
        }


def test_scores_on_dev_are_logged_once_per_evaluation(toy_mixture: Write, train: Train) -> None:
    logger = Kept()
    trained = train(load_mixture(toy_mixture()), logger=logger, max_epochs=2)
    lines = [line for _, line in logger.lines if "val/selection" in line]
    assert len(lines) == 2
    scores = {f"val/{t}/{m}": v for t, r in trained.module.results["dev"].items() for m, v in r.scores.items()}
    assert {name: value for name, value in lines[-1].items() if name in scores} == pytest.approx(scores, rel=1e-6)


# --- options of the trainer -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "trainer", "word"),
    [
        ({}, {}, "cpu"),
        ({}, {"accumulate_grad_batches": 2}, "several backward passes"),
        ({"compile": True}, {}, "model.compile"),
    ],
)
def test_without_a_gpu_cuda_graphs_are_off_and_the_reason_is_logged(
    toy_mixture: Write,
    train: Train,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    model: dict[str, Any],
    trainer: dict[str, Any],
    word: str,
) -> None:
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: None)
    mixture = load_mixture(toy_mixture())
    plain, graphed = (
        train(mixture, model={**model, "cuda_graphs": graphs}, max_steps=2, max_epochs=-1, **trainer)
        for graphs in (False, True)
    )
    warnings = [record.message for record in caplog.records if "CUDA graphs are off" in record.message]
    assert len(warnings) == 1
    assert word in warnings[0]
    for name, weight in plain.module.state_dict().items():
        assert torch.equal(weight, graphed.module.state_dict()[name]), name


@pytest.mark.parametrize(
    "trainer",
    [
        {"fast_dev_run": True},
        {"fast_dev_run": 2},
        {"limit_train_batches": 3},
        {"limit_train_batches": 0.5},
        {"limit_val_batches": 3},
        {"limit_val_batches": 0.5},
        {"limit_val_batches": 0},
        {"max_steps": 5},
        {"max_steps": 5, "accumulate_grad_batches": 2},
        {"val_check_interval": 4},
        {"val_check_interval": 0.3, "accumulate_grad_batches": 4},
        {"check_val_every_n_epoch": None, "val_check_interval": 5},
        {"check_val_every_n_epoch": 2, "max_epochs": 3},
        {"num_sanity_val_steps": -1},
        {"overfit_batches": 2},
        {"log_every_n_steps": 0},
        {"gradient_clip_val": 0.1, "gradient_clip_algorithm": "value"},
        {"gradient_clip_val": 1.0, "precision": "bf16-mixed"},
        {"max_epochs": 0},
    ],
    ids=str,
)
def test_training_works_with_the_options_of_the_trainer(
    trainer: dict[str, Any], toy_mixture: Write, train: Train, tmp_path: Path
) -> None:
    mixture = load_mixture(toy_mixture())
    folder = RunFolder.create(tmp_path / "runs", "toy", 1)
    kept = checkpoint_callbacks(folder, list(mixture.tasks), save_every=3)
    trained = train(mixture, callbacks=kept, enable_checkpointing=True, **{"max_epochs": 2, **trainer})
    assert all(torch.isfinite(value).all() for value in trained.weights.values())
    saved = {path.name.partition("-")[0] for path in folder.checkpoints.glob("*")}
    if "fast_dev_run" in trainer or trainer.get("max_epochs") == 0:
        assert saved == set()
    else:
        assert "last" in saved
        # Lightning does not evaluate if `max_steps` ends within an epoch.
        evaluates = trainer.get("limit_val_batches") != 0 and "max_steps" not in trainer
        assert ("best" in saved) == evaluates


def test_a_limited_evaluation_covers_some_of_every_task(toy_mixture: Write, train: Train) -> None:
    mixture = load_mixture(toy_mixture(batch_size=1))  # dev has 9, 7 and 5 rows, in batches of 4
    trained = train(mixture, limit_val_batches=0.5)
    rows = {task: result.num_rows for task, result in trained.module.results["dev"].items()}
    assert rows == {"cause": 4, "drugs": 4, "risk": 4, "bleed": 3}  # a row of `cause` has no label for `bleed`
    some = train(mixture, limit_val_batches=1)
    rows = {task: result.num_rows for task, result in some.module.results["dev"].items()}
    assert rows == {"cause": 4, "drugs": 0, "risk": 0, "bleed": 3}
    assert math.isnan(some.trainer.callback_metrics["val/selection"])
    assert math.isnan(some.trainer.callback_metrics["val/drugs/f1"])


def test_a_training_without_an_end_is_an_input_error(toy_mixture: Write, train: Train) -> None:
    with pytest.raises(InputError, match=r"trainer\.max_steps.*-1") as caught:
        train(load_mixture(toy_mixture()), max_epochs=-1, max_time={"minutes": 1})
    assert [problem.key for problem in caught.value.problems] == ["trainer.max_epochs"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_heads_keep_bit_identical_weights_if_the_encoder_changes_precision(
    dtype: torch.dtype, toy_mixture: Write
) -> None:
    module = build_module(load_mixture(toy_mixture()))
    before = {name: value.clone() for name, value in module.heads.state_dict().items()}
    module.to(dtype)
    assert not moved(before, dict(module.heads.state_dict()))
    assert {value.dtype for value in module.encoder.parameters()} == {dtype}
    assert {value.device.type for value in module.to("meta").heads.parameters()} == {"meta"}


def test_a_training_without_batches_is_an_input_error(toy_mixture: Write, train: Train) -> None:
    with pytest.raises(InputError, match="0 of 14") as caught:
        train(load_mixture(toy_mixture()), limit_train_batches=0)
    assert [problem.key for problem in caught.value.problems] == ["trainer.limit_train_batches"]


# --- loaders of other data modules ------------------------------------------------------------------------------------


class Batches(pl.LightningDataModule):
    """A data module that is not ours: batches in lists, with or without the rows that they come from."""

    def __init__(self, train: list[Batch], dev: EvaluationLoader) -> None:
        super().__init__()
        self._train, self._dev = train, dev

    def train_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(cast(Any, self._train), batch_size=None)

    def val_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(cast(Any, list(self._dev)), batch_size=None)


class BatchesWithRows(Batches):
    def splits(self, split: str) -> Mapping[str, SplitData]:
        return self._dev.splits


def test_batches_of_another_data_module_give_the_same_weights_and_scores(toy_mixture: Write, train: Train) -> None:
    mixture = load_mixture(toy_mixture())
    batches: list[Batch] = []

    def collect(module: Any, data: MixtureData) -> None:
        step = module.training_step

        def noting(batch: Batch, batch_idx: int) -> Any:
            batches.append(copy.deepcopy(batch))
            return step(batch, batch_idx)

        module.training_step = noting

    ours = train(mixture, before=collect)
    other = build_module(mixture, learning_rate=1e-3)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    options = {"accelerator": "cpu", "precision": "32-true", "max_epochs": 1, "num_sanity_val_steps": 0, **quiet}
    pl.Trainer(**options).fit(other, datamodule=BatchesWithRows(batches, ours.data.val_dataloader()))
    assert not moved(ours.weights, dict(other.state_dict()))
    scores = [
        {task: result.scores for task, result in module.results["dev"].items()} for module in (ours.module, other)
    ]
    assert scores[0] == scores[1]

    with pytest.raises(InputError) as caught:
        pl.Trainer(**options).validate(other, datamodule=Batches(batches, ours.data.val_dataloader()), verbose=False)
    assert [problem.key for problem in caught.value.problems] == ["dev loader"]


# --- checkpoints ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_holds_plain_values_under_our_key_and_no_hyper_parameters_of_lightning(
    toy_mixture: Write, train: Train, tmp_path: Path
) -> None:
    mixture = load_mixture(toy_mixture())
    trained = train(mixture, limit_val_batches=0)
    trained.trainer.save_checkpoint(tmp_path / "x.ckpt")
    content = torch.load(tmp_path / "x.ckpt", weights_only=True)
    assert not [key for key in content if "hyper_parameters" in key]
    assert content[CHECKPOINT_KEY]["mixture"] == mixture.to_dict()
    assert content[CHECKPOINT_KEY]["stopped"] == []
    fresh = build_module(mixture, weights=False)
    fresh.load_state_dict(content["state_dict"])
    assert not moved(trained.weights, dict(fresh.state_dict()))


def test_every_weight_is_in_a_checkpoint_once(toy_mixture: Write) -> None:
    state = build_module(load_mixture(toy_mixture())).state_dict()
    assert {name.split(".")[0] for name in state} == {"encoder", "heads"}
    assert len(state) == len({value.data_ptr() for value in state.values()})


# --- several processes ------------------------------------------------------------------------------------------------


def test_ddp_reduces_the_encoder_except_its_token_embeddings_and_no_head(toy_mixture: Write, train: Train) -> None:
    module = train(load_mixture(toy_mixture()), limit_val_batches=0, max_steps=1).module
    ignored = module._ddp_params_and_buffers_to_ignore
    reduced = {  # by DDP's own rule (`DistributedDataParallel._build_params_for_reducer`)
        id(parameter)
        for place, part in module.named_modules()
        for name, parameter in part.named_parameters(recurse=False)
        if f"{place}.{name}" not in ignored
    }
    table = module.encoder.model.get_input_embeddings().weight
    assert reduced == {id(parameter) for parameter in module.encoder.parameters() if parameter is not table}
