from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from mtl.config.loading import load_mixture
from mtl.problems import InputError
from mtl.tracking.run_folder import RunFolder
from mtl.training.assembly import build_module
from mtl.training.checkpoints import read_checkpoint
from mtl.training.recorder import RunRecorder
from mtl.training.run_description import training_cautions
from mtl.training.saving import checkpoint_callbacks
from tests.fitting import StopAt, StopError

Write = Callable[..., Path]
Train = Callable[..., Any]

TASKS = ["cause", "drugs", "risk", "bleed"]


class Weights(Callback):
    """Keeps the latest weights after each update, and the weights that each evaluation uses."""

    def __init__(self) -> None:
        self.updates: list[dict[str, Tensor]] = []
        self.evaluated: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        if trainer.global_step > len(self.updates):
            self.updates.append(copied(module))

    def on_validation_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int, *_: Any) -> None:
        if batch_idx == 0:
            self.evaluated.append(copied(module))


def copied(module: Any) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def ema(weights: list[dict[str, Tensor]], decay: float) -> dict[str, Tensor]:
    average = dict(weights[0])
    for step in weights[1:]:
        average = {name: decay * old + (1 - decay) * step[name] for name, old in average.items()}
    return average


def mean(weights: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([step[name] for step in weights]).mean(dim=0) for name in weights[0]}


def assert_close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    torch.testing.assert_close(one, {name: other[name] for name in one}, rtol=1e-5, atol=1e-6)


def test_an_exponential_average_equals_one_computed_by_hand(toy_mixture: Write, train: Train) -> None:
    watch = Weights()
    model = {"average": "ema", "average_decay": 0.8}
    trained = train(load_mixture(toy_mixture()), model=model, callbacks=[watch], max_epochs=2)
    assert len(watch.updates) == 28
    assert_close(watch.evaluated[0], ema(watch.updates[:14], 0.8))
    assert_close(watch.evaluated[1], ema(watch.updates, 0.8))
    assert_close(copied(trained.module), ema(watch.updates, 0.8))


def test_a_mean_starts_after_a_fraction_of_the_updates(toy_mixture: Write, train: Train) -> None:
    watch = Weights()
    trained = train(load_mixture(toy_mixture()), model={"average": "mean"}, callbacks=[watch], max_epochs=2)
    assert_close(watch.evaluated[0], watch.updates[13])  # before the start, the latest weights
    assert_close(copied(trained.module), mean(watch.updates[21:]))  # after 0.75 of 28 updates


@pytest.mark.parametrize(
    ("length", "ends"),
    [
        ({"max_epochs": 4}, [14, 28, 42, 56]),
        ({"max_steps": 36, "max_epochs": -1}, [14, 28, 36]),  # an epoch that is not complete ends too
        ({"max_epochs": 1}, [14]),
    ],
    ids=str,
)
def test_a_mean_of_the_last_checkpoints_is_that_of_the_ends_of_the_last_epochs(
    length: dict[str, int], ends: list[int], toy_mixture: Write, train: Train, tmp_path: Path
) -> None:
    folder, watch = RunFolder.create(tmp_path / "run", "toy", 1), Weights()
    callbacks = [watch, *checkpoint_callbacks(folder, TASKS)]
    model = {"average": "mean", "average_last": 2}
    mixture = load_mixture(toy_mixture())
    trained = train(mixture, model=model, callbacks=callbacks, enable_checkpointing=True, **length)
    assert len(watch.updates) == ends[-1]
    of_epochs = [watch.updates[end - 1] for end in ends]
    assert_close(copied(trained.module), mean(of_epochs[-2:]))
    assert_close(mean(of_epochs[-2:]), read_checkpoint(folder.resolve_checkpoint("last"))["state_dict"])
    if length.get("max_epochs") == 4:
        assert_close(watch.evaluated[1], of_epochs[1])  # before these epochs, the latest weights
        assert_close(watch.evaluated[2], of_epochs[2])
        assert_close(watch.evaluated[3], mean(of_epochs[2:]))


class EndsAfter(Callback):
    """Ends a training after some epochs, as early stopping does."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self._epochs


def test_a_training_that_ends_before_its_average_starts_says_so(
    toy_mixture: Write, train: Train, tmp_path: Path
) -> None:
    model = {"average": "mean", "average_last": 2}
    for epochs, expected in ((1, True), (4, False)):
        folder = RunFolder.create(tmp_path / "run", "toy", 1)
        callbacks = [RunRecorder(folder, None, {}, baselines=False), EndsAfter(epochs)]
        train(load_mixture(toy_mixture()), model=model, callbacks=callbacks, max_epochs=4)
        assert folder.info["not_averaged"] is expected
        assert any("average" in caution for caution in training_cautions(folder.info, {})) is expected


def test_averaging_does_not_change_the_training(toy_mixture: Write, train: Train) -> None:
    seen: dict[Any, Weights] = {None: Weights(), "ema": Weights(), "mean": Weights()}
    for average, watch in seen.items():
        train(load_mixture(toy_mixture()), model={"average": average}, callbacks=[watch], max_epochs=2)
    for watch in seen.values():
        for one, other in zip(watch.updates, seen[None].updates, strict=True):
            assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("average", "stop"),
    [
        *[({"average": "ema", "average_decay": 0.9}, stop) for stop in (8, 14, 24, 33)],
        *[({"average": "mean"}, stop) for stop in (8, 14, 24, 33)],
        *[({"average": "mean", "average_last": 2}, stop) for stop in (24, 33)],
    ],
    ids=str,
)
def test_a_run_that_is_stopped_and_resumed_has_the_same_average(
    average: dict[str, Any], stop: int, toy_mixture: Write, train: Train, tmp_path: Path
) -> None:
    mixture = load_mixture(toy_mixture())

    def go(folder: RunFolder, *callbacks: Callback, **more: Any) -> Any:
        kept = [*callbacks, *checkpoint_callbacks(folder, TASKS, save_every=2)]
        return train(mixture, model=average, callbacks=kept, max_epochs=3, enable_checkpointing=True, **more)

    folders = {name: RunFolder.create(tmp_path / name, "toy", 1) for name in ("whole", "stopped")}
    whole = go(folders["whole"])
    with pytest.raises(StopError):
        go(folders["stopped"], StopAt(stop))
    resumed = go(folders["stopped"], ckpt_path=folders["stopped"].resolve_checkpoint("last"))
    before, after = copied(whole.module), copied(resumed.module)
    assert all(torch.equal(before[name], after[name]) for name in before)
    one, other = (read_checkpoint(folder.resolve_checkpoint("last")) for folder in folders.values())
    for key in ("state_dict", "current_model_state"):
        assert all(torch.equal(one[key][name], other[key][name]) for name in one[key])
    best = [read_checkpoint(folder.resolve_checkpoint("best"))["state_dict"] for folder in folders.values()]
    assert all(torch.equal(best[0][name], best[1][name]) for name in best[0])


def test_the_best_checkpoint_has_the_weights_that_were_evaluated(
    toy_mixture: Write, train: Train, tmp_path: Path
) -> None:
    folder, watch = RunFolder.create(tmp_path / "run", "toy", 1), Weights()
    callbacks = [watch, *checkpoint_callbacks(folder, TASKS)]
    trained = train(
        load_mixture(toy_mixture()), model={"average": "ema"}, callbacks=callbacks, enable_checkpointing=True
    )
    state = read_checkpoint(folder.resolve_checkpoint("best"))["state_dict"]
    assert_close(watch.evaluated[0], state)
    assert not torch.equal(
        state["encoder.model.embeddings.word_embeddings.weight"],
        watch.updates[-1]["encoder.model.embeddings.word_embeddings.weight"],
    )
    scores = {task: result.scores for task, result in trained.module.results["dev"].items()}
    trained.trainer.validate(trained.module, datamodule=trained.data, verbose=False)
    assert {task: result.scores for task, result in trained.module.results["dev"].items()} == scores


def test_tuned_thresholds_are_kept_with_the_average(toy_mixture: Write, train: Train) -> None:
    """An evaluation tunes buffers, which are not averaged."""
    seen: list[float] = []

    class Tune(Callback):
        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            pl_module.encoder.tuned.fill_(len(seen) + 1.0)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append(float(pl_module.encoder.tuned))

    def add_buffer(module: Any, data: Any) -> None:
        module.encoder.register_buffer("tuned", torch.zeros(1))

    model = {"average": "ema"}
    trained = train(load_mixture(toy_mixture()), model=model, before=add_buffer, callbacks=[Tune()], max_epochs=2)
    assert seen == [1.0, 2.0]
    assert float(trained.module.encoder.tuned) == 2.0


@pytest.mark.parametrize(
    "model",
    [
        {"average_decay": 0.9},
        {"average_start": 0.5},
        {"average_last": 5},
        {"average": "mean", "average_decay": 0.9},
        {"average": "mean", "average_last": 0},
        {"average": "mean", "average_last": 5, "average_start": 0.5},
        {"average": "ema", "average_last": 5},
        {"average": "median"},
    ],
    ids=str,
)
def test_settings_of_an_average_without_effect_are_errors(model: dict[str, Any], toy_mixture: Write) -> None:
    with pytest.raises(InputError) as caught:
        build_module(load_mixture(toy_mixture()), **model)
    assert caught.value.problems[0].key.startswith("model")
