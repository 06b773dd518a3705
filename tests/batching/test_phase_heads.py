"""Trainings whose options, rates and loss weights change at exact updates."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import torch

from mtl.batching.phase_heads import PhaseHeads
from mtl.config.loading import load_mixture
from mtl.config.mixture import Mixture
from mtl.encoder import pretrained
from mtl.problems import InputError
from mtl.training.assembly import build_data, build_heads, build_module
from tests.masked_lm_models import mlm_and_risk

Write = Callable[..., Path]
Train = Callable[..., Any]

BOUNDARY = 4
RATE = {"from_step": BOUNDARY, "tasks.mlm.options.rate": 0.9}
CURRICULUM = [
    {**RATE, "tasks.mlm.options.selection": "exact", "tasks.risk.loss_weight": 0.5},
    {"from_step": 6, "tasks.risk.rate": 0},
]


@pytest.fixture
def mixture(toy_mixture: Write, tmp_path: Path) -> Callable[..., Mixture]:
    """A function that gives the mixture of a masked language model and a regression, with a curriculum."""

    def make(*curriculum: dict[str, Any], **fields: Any) -> Mixture:
        sampler = {"name": "weighted", "steps_per_epoch": 12}
        return load_mixture(
            toy_mixture(tasks=mlm_and_risk(tmp_path), curriculum=list(curriculum), sampler=sampler, **fields)
        )

    return make


class Seen(NamedTuple):
    """What a batch was trained with."""

    update: int
    task: str
    masked: float
    weights: dict[str, float]


class Watch:
    """Records every batch of a training."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def __call__(self, module: Any, data: Any) -> None:
        step = module.training_step

        def training_step(batch: Any, batch_idx: int) -> Any:
            for part in batch.parts:
                masked = part.fields["num_masked"].sum().item() if part.task == "mlm" else 0
                share = masked / (len(batch.input_ids) - 2 * len(batch))
                self.seen.append(Seen(module.global_step, part.task, share, dict(module.balancing.weights)))
            return step(batch, batch_idx)

        module.training_step = training_step


class SaveAt(pl.Callback):
    """Saves a checkpoint after some numbers of updates.

    Args:
        folder: Where to save ``N.ckpt``.
        steps: The numbers.
    """

    def __init__(self, folder: Path, *steps: int) -> None:
        self._folder, self._steps = folder, steps

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        if trainer.global_step in self._steps and (index + 1) % trainer.accumulate_grad_batches == 0:
            trainer.save_checkpoint(self._folder / f"{trainer.global_step}.ckpt")


def are_equal(weights: dict[str, Any], others: dict[str, Any]) -> bool:
    assert weights.keys() == others.keys()
    return all(torch.equal(value, others[name]) for name, value in weights.items())


def test_each_update_has_the_head_of_its_phase(mixture: Callable[..., Mixture]) -> None:
    made = mixture(RATE, {"from_step": 9, "tasks.mlm.options.unit": "word", "tasks.risk.rate": 3})
    heads, tokenizer = build_heads(made)
    of_phase = PhaseHeads.of(made, heads, tokenizer)
    found = [of_phase.at("mlm", update) for update in (0, 3, 4, 8, 9, 100)]
    assert [(head.masking.rate, head.masking.unit) for head in found] == [
        *[(0.15, "token")] * 2,
        *[(0.9, "token")] * 2,
        *[(0.9, "word")] * 2,
    ]
    assert found[0] is found[1] is heads["mlm"]
    assert all(of_phase.at("risk", update) is heads["risk"] for update in (0, 4, 9))


@pytest.mark.parametrize("accumulate", [1, 5])  # the last update of an epoch of 12 steps has 2 steps
def test_everything_changes_at_the_exact_update(accumulate: int, mixture: Callable[..., Mixture], train: Train) -> None:
    watch, plain = Watch(), Watch()
    options = {"max_epochs": 4, "accumulate_grad_batches": accumulate, "limit_val_batches": 0}
    train(mixture(*CURRICULUM), before=watch, **options)
    train(mixture(), before=plain, **options)
    assert max(seen.update for seen in watch.seen) == 4 * math.ceil(12 / accumulate) - 1
    assert [seen for seen in watch.seen if seen.update < BOUNDARY] == [
        seen for seen in plain.seen if seen.update < BOUNDARY
    ]
    for seen in watch.seen:
        after = seen.update >= BOUNDARY
        assert seen.weights == {"mlm": 1.0, "risk": 0.5 if after else 1.0}
        if seen.task == "mlm":
            assert (seen.masked > 0.7) == after
        else:
            assert seen.update < 6
    assert {seen.task for seen in watch.seen if seen.update < 6} == {"mlm", "risk"}
    assert any(seen.task == "risk" and seen.update >= 6 for seen in plain.seen)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_training_resumed_before_at_and_after_a_boundary_ends_with_the_same_weights(
    accumulate: int, mixture: Callable[..., Mixture], train: Train, tmp_path: Path
) -> None:
    saved = (BOUNDARY - 1, BOUNDARY, BOUNDARY + 1)

    options = {"max_epochs": 2, "accumulate_grad_batches": accumulate, "limit_val_batches": 0}
    whole = train(mixture(*CURRICULUM), callbacks=[SaveAt(tmp_path, *saved)], **options).weights
    for step in saved:
        resumed = train(mixture(*CURRICULUM), ckpt_path=tmp_path / f"{step}.ckpt", **options).weights
        assert are_equal(whole, resumed), step
    assert not are_equal(whole, train(mixture(CURRICULUM[1]), **options).weights)


def test_heads_that_take_over_read_no_weights(mixture: Callable[..., Mixture], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(pretrained, "masked_lm_weights", lambda spec: read.append(spec.name))
    module = build_module(mixture(*CURRICULUM, {"from_step": 9, "tasks.mlm.options.unit": "word"}))
    assert len(read) == 1
    assert module.head("mlm").transform is not None


def test_a_step_of_several_tasks_leaves_out_those_without_a_rate(
    mixture: Callable[..., Mixture], train: Train, toy_mixture: Write, tmp_path: Path
) -> None:
    made = mixture({"from_step": 2, "tasks.risk.rate": 0})
    third = made.tasks["risk"].model_copy(update={"loss_weight": 2.0})
    three = made.model_copy(update={"tasks": {**made.tasks, "other": third}, "tasks_per_step": 2})
    watch = Watch()
    train(three, before=watch, max_epochs=1, limit_val_batches=0)
    tasks = [{seen.task for seen in watch.seen if seen.update == update} for update in range(12)]
    assert any("risk" in found for found in tasks[:2])
    assert tasks[2:] == [{"mlm", "other"}] * 10


def test_a_training_that_ends_before_a_change_is_refused(mixture: Callable[..., Mixture], train: Train) -> None:
    with pytest.raises(InputError) as error:
        train(mixture(RATE), max_steps=BOUNDARY)
    assert [problem.key for problem in error.value.problems] == ["curriculum.0.from_step"]
    train(mixture(RATE), max_steps=BOUNDARY + 1, limit_val_batches=0)


# --- options that `forward` and `loss` read ---------------------------------------------------------------------------

OTHER = {
    "tasks.cause.options.class_weights": {"yes": 3.0},
    "tasks.cause.options.dropout": 0.5,
    "tasks.bleed.options.class_weights": {"no": 2.0},
    "tasks.drugs.options.dropout": 0.4,
}
"""Changed options; `bleed` trains on the batches of `cause`."""

BACK: dict[str, Any] = {**dict.fromkeys(OTHER, 0.1), **{key: None for key in OTHER if key.endswith("class_weights")}}
"""The values at the start."""

CHANGE = {"from_step": BOUNDARY, **OTHER}
TEN_STEPS = {"name": "weighted", "steps_per_epoch": 10}


@pytest.fixture
def supervised(toy_mixture: Write) -> Callable[..., Mixture]:
    """A function that gives a mixture of four tasks; the head of `cause` has layers of the encoder's pooler."""

    def make(*curriculum: dict[str, Any], options: dict[str, Any] | None = None, **fields: Any) -> Mixture:
        made = load_mixture(toy_mixture(curriculum=list(curriculum), sampler=TEN_STEPS, **fields))
        tasks = dict(made.tasks)
        for key, value in {"tasks.cause.options.pooling": "pooler", **(options or {})}.items():
            _, name, _, option = key.split(".")
            tasks[name] = tasks[name].model_copy(update={"options": {**tasks[name].options, option: value}})
        return made.model_copy(update={"tasks": tasks})

    return make


@pytest.mark.parametrize(
    ("accumulate", "fields"), [(1, {}), (2, {}), (1, {"tasks_per_step": "all"})], ids=["plain", "accumulated", "mixed"]
)
def test_a_training_with_a_change_equals_two_trainings_by_hand(
    accumulate: int, fields: dict[str, Any], supervised: Callable[..., Mixture], train: Train, tmp_path: Path
) -> None:
    options = {"accumulate_grad_batches": accumulate, "limit_val_batches": 0}
    plain = train(supervised(**fields), callbacks=[SaveAt(tmp_path, BOUNDARY)], **options).weights
    by_hand = train(supervised(options=OTHER, **fields), ckpt_path=tmp_path / f"{BOUNDARY}.ckpt", **options).weights
    changed = train(supervised(CHANGE, **fields), **options).weights
    assert are_equal(changed, by_hand)
    assert not are_equal(changed, plain)


def test_a_change_that_is_taken_back_equals_three_trainings_by_hand(
    supervised: Callable[..., Mixture], train: Train, tmp_path: Path
) -> None:
    first, second = tmp_path / "2.ckpt", tmp_path / "5.ckpt"
    train(supervised(), callbacks=[SaveAt(tmp_path, 2)], limit_val_batches=0)
    train(supervised(options=OTHER), callbacks=[SaveAt(tmp_path, 5)], ckpt_path=first, limit_val_batches=0)
    by_hand = train(supervised(), ckpt_path=second, limit_val_batches=0).weights
    there_and_back = supervised({"from_step": 2, **OTHER}, {"from_step": 5, **BACK})
    assert are_equal(train(there_and_back, limit_val_batches=0).weights, by_hand)


def test_a_change_at_step_0_is_the_start(supervised: Callable[..., Mixture], train: Train) -> None:
    changed = train(supervised({"from_step": 0, **OTHER}), limit_val_batches=0).weights
    assert are_equal(changed, train(supervised(options=OTHER), limit_val_batches=0).weights)


def test_changed_options_resume_exactly_before_at_and_after_a_boundary(
    supervised: Callable[..., Mixture], train: Train, tmp_path: Path
) -> None:
    steps = (BOUNDARY - 1, BOUNDARY, BOUNDARY + 1)
    whole = train(supervised(CHANGE), callbacks=[SaveAt(tmp_path, *steps)], limit_val_batches=0).weights
    for step in steps:
        resumed = train(supervised(CHANGE), ckpt_path=tmp_path / f"{step}.ckpt", limit_val_batches=0).weights
        assert are_equal(whole, resumed), step


def test_evaluations_use_the_options_at_the_start(supervised: Callable[..., Mixture], train: Train) -> None:
    def losses(module: Any) -> dict[str, float]:
        return {name: result.scores["loss"] for name, result in module.results["dev"].items()}

    def evaluated(mixture: Mixture) -> dict[str, float]:
        module = build_module(mixture, weights=False)
        module.load_state_dict(trained.weights)
        trained.trainer.validate(module, datamodule=build_data(mixture), verbose=False)
        return losses(module)

    trained = train(supervised(CHANGE))
    at_the_end = losses(trained.module)
    assert evaluated(supervised()) == at_the_end
    other = evaluated(supervised(options=OTHER))
    assert {name for name, value in other.items() if value != at_the_end[name]} == {"cause", "bleed"}


def test_the_head_that_takes_over_has_the_weights_of_the_own_head_wherever_they_are(
    supervised: Callable[..., Mixture],
) -> None:
    module = build_module(supervised(CHANGE))
    names, own, device = set(module.state_dict()), module.head("cause").to("meta"), torch.device("meta")
    of_phase = module._phase_heads
    of_phase.share_weights(device)
    other = of_phase.at("cause", BOUNDARY)
    assert of_phase.at("cause", BOUNDARY - 1) is own
    assert other is not own
    assert [name for name, _ in other.named_parameters()] == [name for name, _ in own.named_parameters()]
    assert all(other.get_parameter(name) is weight for name, weight in own.named_parameters())
    assert {name: buffer.device for name, buffer in other.named_buffers()}.get("_class_weights") == device
    assert {id(weight) for weight in other.parameters()} <= {id(weight) for weight in module.parameters()}
    assert names == set(build_module(supervised(), weights=False).state_dict())


def test_an_option_that_changes_the_shapes_of_weights_is_refused(supervised: Callable[..., Mixture]) -> None:
    heads, _ = build_heads(supervised())
    wider, _ = build_heads(supervised(options={"tasks.drugs.options.hidden_layer": 3}))
    with pytest.raises(ValueError, match="drugs"):
        PhaseHeads(heads, [(3, {"drugs": wider["drugs"]})]).share_weights(torch.device("cpu"))


def test_changed_options_use_the_same_cached_examples(
    supervised: Callable[..., Mixture], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = build_data(supervised())
    data.setup()
    for cls in {type(head) for head in data.heads.values()}:
        monkeypatch.setattr(cls, "encode", None)
    build_data(supervised(options=OTHER)).setup()
    with pytest.raises(TypeError):
        build_data(supervised(options={"tasks.drugs.options.scheme": "IO"})).setup()
