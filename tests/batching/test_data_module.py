import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import bench_data
import numpy as np
import pytest
import torch
import yaml
from meter import rss_anon_mib
from torch import Tensor

from mtl.batching.batch import ExampleGroup, UpdateShare, collate
from mtl.batching.data_module import MixtureData
from mtl.batching.loaders import EvaluationLoader, TrainLoader, _Update
from mtl.config.loading import load_mixture
from mtl.config.mixture import Mixture
from mtl.problems import InputError
from mtl.training.assembly import build_data, build_module

REPOSITORY = Path(__file__).parents[2]

Write = Callable[..., Path]
Train = Callable[..., Any]

NO_DROPOUT = ["encoder.dropout=0", *(f"tasks.{t}.options.dropout=0" for t in ("cause", "drugs", "risk", "bleed"))]


class Gradients:
    """Records the gradient of every weight before each update."""

    def __init__(self) -> None:
        self.updates: list[dict[str, Tensor]] = []

    def __call__(self, module: Any, data: MixtureData) -> None:
        def keep(optimizer: Any) -> None:
            named = module.named_parameters()
            self.updates.append({name: p.grad.clone() for name, p in named if p.grad is not None})

        module.on_before_optimizer_step = keep


def first_update(mixture: Mixture, train: Train, **trainer: Any) -> dict[str, Tensor]:
    gradients = Gradients()
    train(mixture, before=gradients, max_steps=1, limit_val_batches=0, **trainer)
    assert len(gradients.updates) == 1
    return gradients.updates[0]


def by_hand(mixture: Mixture, weights: Mapping[str, float], examples: Mapping[str, list[int]]) -> dict[str, Tensor]:
    """The gradients of the weighted sum of the tasks' mean losses, one pass of the encoder per task."""
    module, data = build_module(mixture), build_data(mixture)
    data.setup()
    total = torch.zeros(())
    for task, indices in examples.items():
        share = ExampleGroup({task: data.tasks[task]["train"].examples.take(indices)}, {task: 1.0})
        batch = collate([share], data.heads)
        loss, count = module.head(task).loss(module(batch)[task], batch.parts[0].fields)
        if count:
            total = total + weights[task] * loss / count
    total.backward()
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def assert_close(one: Mapping[str, Tensor], other: Mapping[str, Tensor], tolerance: float) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=tolerance, atol=tolerance, msg=name)


def first_batches(mixture: Mixture, num_steps: int) -> list[tuple[str, list[int]]]:
    """Task and examples of the first steps of a training."""
    data = build_data(mixture)
    data.setup()
    steps = data.schedule.epoch(0)[:num_steps]
    return [(ref.task, data.schedule.indices(ref).tolist()) for step in steps for ref in step]


@pytest.mark.parametrize("task", ["cause", "drugs", "risk"])
def test_accumulated_batches_give_the_gradient_of_one_big_batch(task: str, toy_mixture: Write, train: Train) -> None:
    mixture = load_mixture(toy_mixture(), NO_DROPOUT).only([task])
    accumulated = first_update(mixture, train, accumulate_grad_batches=3)
    examples = [index for _, indices in first_batches(mixture, 3) for index in indices]
    assert len(examples) > 8
    assert_close(accumulated, by_hand(mixture, {task: 1.0}, {task: examples}), 1e-6)


def test_an_update_over_several_tasks_is_the_mean_over_its_batches(toy_mixture: Write, train: Train) -> None:
    sampler = {"name": "round_robin"}
    mixture = load_mixture(toy_mixture(sampler=sampler), NO_DROPOUT).only(["cause", "drugs", "risk"])
    accumulated = first_update(mixture, train, accumulate_grad_batches=5)
    examples: dict[str, list[int]] = {}
    for task, indices in first_batches(mixture, 5):
        examples.setdefault(task, []).extend(indices)
    assert {task: len(indices) for task, indices in examples.items()} == {"cause": 8, "drugs": 8, "risk": 4}
    weights = {"cause": 2 / 5, "drugs": 2 / 5, "risk": 1 / 5}
    assert_close(accumulated, by_hand(mixture, weights, examples), 1e-6)


def test_a_shorter_last_update_is_the_mean_over_its_own_batches(toy_mixture: Write, train: Train) -> None:
    mixture = load_mixture(toy_mixture(), NO_DROPOUT).only(["risk"])
    # There are three batches, of 4, 4 and 1 examples. An update of four has only these; a limit of two leaves two.
    whole = first_update(mixture, train, accumulate_grad_batches=4)
    assert_close(whole, by_hand(mixture, {"risk": 1.0}, {"risk": list(range(9))}), 1e-6)
    cut = first_update(mixture, train, accumulate_grad_batches=4, limit_train_batches=2)
    examples = [index for _, indices in first_batches(mixture, 2) for index in indices]
    assert_close(cut, by_hand(mixture, {"risk": 1.0}, {"risk": examples}), 1e-6)


def test_the_weight_of_a_task_multiplies_its_gradient(toy_mixture: Write, train: Train) -> None:
    path = toy_mixture()
    plain = first_update(load_mixture(path, NO_DROPOUT).only(["risk"]), train)
    weighted = first_update(load_mixture(path, [*NO_DROPOUT, "tasks.risk.loss_weight=2.5"]).only(["risk"]), train)
    assert_close(weighted, {name: 2.5 * value for name, value in plain.items()}, 1e-6)


def test_two_heads_on_one_pass_have_the_gradients_of_two_passes(toy_mixture: Write, train: Train) -> None:
    mixture = load_mixture(toy_mixture(), [*NO_DROPOUT, "tasks.bleed.loss_weight=0.5"]).only(["cause", "bleed"])
    for accumulate in (1, 3):
        shared = first_update(mixture, train, accumulate_grad_batches=accumulate)
        examples = [index for _, indices in first_batches(mixture, accumulate) for index in indices]
        separate = by_hand(mixture, {"cause": 1.0, "bleed": 0.5}, dict.fromkeys(("cause", "bleed"), examples))
        assert any(name.startswith("heads.bleed") for name in shared)
        assert_close(shared, separate, 1e-5)


@pytest.mark.parametrize("tasks_per_step", [2, 3, "all"])
def test_a_step_of_several_tasks_has_the_gradient_of_separate_passes(
    tasks_per_step: Any, toy_mixture: Write, train: Train
) -> None:
    changes = [*NO_DROPOUT, "tasks.risk.loss_weight=3", "tasks.bleed.loss_weight=0.5"]
    mixture = load_mixture(toy_mixture(sampler={"name": "uniform"}, tasks_per_step=tasks_per_step), changes)
    chosen = dict(first_batches(mixture, 1))
    assert len(chosen) == (3 if tasks_per_step == "all" else tasks_per_step)
    weights = {name: mixture.tasks[name].loss_weight / len(chosen) for name in chosen}
    if "cause" in chosen:  # `bleed` reads the same texts
        chosen["bleed"], weights["bleed"] = chosen["cause"], 0.5 / len(chosen)
    together = first_update(mixture, train)
    assert_close(together, by_hand(mixture, weights, chosen), 1e-5)


def test_a_batch_has_the_same_weight_in_a_step_with_fewer_tasks(toy_mixture: Write, train: Train) -> None:
    # 26, 15 and 9 examples are 7, 4 and 3 batches of 4: 7 steps of two tasks each, though three tasks are allowed.
    mixture = load_mixture(toy_mixture(tasks_per_step=3), NO_DROPOUT)
    chosen = dict(first_batches(mixture, 1))
    assert len(chosen) == 2
    if "cause" in chosen:
        chosen["bleed"] = chosen["cause"]
    assert_close(first_update(mixture, train), by_hand(mixture, dict.fromkeys(chosen, 1 / 3), chosen), 1e-5)


def test_a_step_of_several_tasks_equals_accumulating_their_batches(toy_mixture: Write, train: Train) -> None:
    def gradients(tasks_per_step: Any, steps: int) -> dict[str, Tensor]:
        sampler = {"name": "round_robin", "steps_per_epoch": steps}
        mixture = load_mixture(toy_mixture(sampler=sampler, tasks_per_step=tasks_per_step), NO_DROPOUT)
        return first_update(mixture, train, accumulate_grad_batches=steps)

    assert_close(gradients("all", 1), gradients(1, 3), 1e-5)


def test_a_step_of_several_tasks_is_one_pass_of_the_encoder(toy_mixture: Write, train: Train) -> None:
    sizes = []

    def count(module: Any, data: MixtureData) -> None:
        module.encoder.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[1].lengths)))

    mixture = load_mixture(toy_mixture(tasks_per_step="all", sampler={"name": "uniform"}))
    train(mixture, before=count, max_steps=4, limit_val_batches=0)
    schedule = ready(mixture).schedule
    steps = schedule.epoch(0)[:4]
    assert sizes == [sum(len(schedule.indices(ref)) for ref in step) for step in steps]


def ready(mixture: Mixture) -> MixtureData:
    data = build_data(mixture)
    data.setup()
    return data


def test_with_a_token_budget_every_example_has_the_same_weight(toy_mixture: Write, train: Train) -> None:
    mixture = load_mixture(toy_mixture(tokens_per_batch=40), NO_DROPOUT).only(["risk"])
    data = ready(mixture)
    sizes = [len(indices) for _, indices in first_batches(mixture, data.schedule.steps_per_epoch())]
    assert len(set(sizes)) > 1
    assert sum(sizes) == 9
    whole = first_update(mixture, train, accumulate_grad_batches=len(sizes))
    assert_close(whole, by_hand(mixture, {"risk": 1.0}, {"risk": list(range(9))}), 1e-6)
    first = first_update(mixture, train)
    _, indices = first_batches(mixture, 1)[0]
    weight = len(indices) / (9 / len(sizes))
    assert_close(first, by_hand(mixture, {"risk": weight}, {"risk": indices}), 1e-6)


def test_a_token_budget_below_the_longest_example_is_an_input_error_that_names_it(toy_mixture: Write) -> None:
    mixture = load_mixture(toy_mixture(tokens_per_batch=9), ["tasks.drugs.tokens_per_batch=8"])
    with pytest.raises(InputError) as error:
        _ = ready(mixture).schedule
    keys = [problem.key for problem in error.value.problems]
    assert keys[0] == "tokens_per_batch"
    assert "tasks.drugs.tokens_per_batch" in keys
    data = ready(mixture)
    for problem, task in zip(error.value.problems, ("cause", "drugs"), strict=False):
        train_split = data.tasks[task]["train"]
        row = train_split.rows[int(train_split.example_rows[int(train_split.lengths.argmax())])].id
        assert {f"'{row}';", task + ","} <= set(problem.message.split())
        numbers = [int(number) for number in re.findall(r"(?<![\w-])\d+(?![\w-])", problem.message)]
        assert numbers == [train_split.lengths.max(), mixture.tokens_per_batch_of(task)]


def test_an_annealed_sampler_ends_with_the_training(toy_mixture: Write, train: Train) -> None:
    mixture = load_mixture(toy_mixture(sampler={"name": "annealed"}))
    trained = train(mixture, max_steps=5, max_epochs=-1, limit_val_batches=0)
    steps = trained.data.schedule.steps_per_epoch()
    assert trained.data.schedule.sampler.num_epochs == pytest.approx(5 / steps)


def test_an_unlabelled_row_adds_nothing_to_the_gradient(toy_mixture: Write, train: Train) -> None:
    mixture = load_mixture(toy_mixture(), NO_DROPOUT).only(["cause", "bleed"])
    data = build_data(mixture)
    data.setup()
    labelled = np.flatnonzero(data.tasks["bleed"]["train"].targets)
    assert 0 < len(labelled) < 26
    assert labelled.tolist() == [n for n in range(26) if n % 3 != 1]
    update = first_update(mixture, train, accumulate_grad_batches=7)
    examples = {"cause": list(range(26)), "bleed": labelled.tolist()}
    assert_close(update, by_hand(mixture, {"cause": 1.0, "bleed": 1.0}, examples), 1e-5)


@pytest.mark.parametrize(
    ("trainer", "updates"),
    [
        ({"max_epochs": 2}, 28),
        ({"max_epochs": 2, "accumulate_grad_batches": 4}, 8),
        ({"max_epochs": 3, "limit_train_batches": 5}, 15),
        ({"max_epochs": 2, "limit_train_batches": 5, "accumulate_grad_batches": 3}, 4),
        ({"max_epochs": 1, "limit_train_batches": 0.5}, 7),
        ({"max_epochs": 1, "limit_train_batches": 100}, 14),
        ({"max_epochs": 5, "max_steps": 9}, 9),
        ({"max_epochs": -1, "max_steps": 17}, 17),
        ({"max_epochs": 1, "max_steps": 99}, 14),
        ({"fast_dev_run": True}, 1),
        ({"overfit_batches": 2, "max_epochs": 2}, 4),
    ],
)
def test_the_number_of_updates_is_known_before_training(
    trainer: dict[str, Any], updates: int, toy_mixture: Write, train: Train
) -> None:
    known: list[int] = []

    def ask(module: Any, data: MixtureData) -> None:
        module.on_train_start = lambda: known.append(data.total_updates())

    mixture = load_mixture(toy_mixture(), ["encoder.num_layers=1"])
    trained = train(mixture, before=ask, **{"limit_val_batches": 0, **trainer})
    assert known == [updates] == [trained.trainer.global_step]


def test_a_training_reads_every_example_exactly_once_per_epoch(toy_mixture: Write, train: Train) -> None:
    mixture = load_mixture(toy_mixture())
    seen: Counter[tuple[str, str]] = Counter()

    def look(module: Any, data: MixtureData) -> None:
        def note(batch: Any, batch_idx: int) -> None:
            for part in batch.parts:
                padded = batch.layout.states(batch.input_ids[:, None])[part.start : part.stop, :, 0]
                for ids, mask in zip(padded, batch.mask[part.start : part.stop], strict=True):
                    seen[part.task, str(ids[mask].tolist())] += 1

        module.on_train_batch_start = note

    trained = train(mixture, before=look, max_epochs=3, limit_val_batches=0)
    for task, splits in trained.data.tasks.items():
        texts = Counter(str(example["input_ids"]) for example in splits["train"].examples)
        assert {text: count for (name, text), count in seen.items() if name == task} == {
            text: 3 * count for text, count in texts.items()
        }


def test_a_partner_changes_neither_the_order_of_a_task_nor_its_examples(toy_mixture: Write) -> None:
    mixture = load_mixture(toy_mixture())

    def batches(other: Mixture) -> list[list[int]]:
        data = build_data(other)
        data.setup()
        return [data.schedule.batchers["drugs"][position].tolist() for position in range(12)]

    assert batches(mixture) == batches(mixture.only(["drugs"])) == batches(mixture.only(["risk", "drugs"]))


def test_a_partner_does_not_change_the_dropout_of_a_task(toy_mixture: Write, train: Train) -> None:
    path = toy_mixture()

    def states(tasks: list[str], *changes: str) -> list[Tensor]:
        """The states from the frozen encoder in each update of `drugs`."""
        trained: list[set[str]] = []
        found: list[Tensor] = []

        def record(module: Any, data: MixtureData) -> None:
            module.register_forward_pre_hook(
                lambda _, arguments: trained.append({part.task for part in arguments[0].parts})
            )
            module.encoder.register_forward_hook(lambda _, __, output: found.append(output.detach().clone()))

        mixture = load_mixture(path, ["encoder.freeze_layers=2", *changes]).only(tasks)
        train(mixture, before=record, max_epochs=3, limit_val_batches=0)
        return [output for names, output in zip(trained, found, strict=True) if names == {"drugs"}]

    alone, together = states(["drugs"]), states(["drugs", "risk"], "sampler.name=round_robin")
    assert min(len(alone), len(together)) > 6
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=False))
    without = states(["drugs"], "encoder.dropout=0")
    assert not any(torch.equal(one, other) for one, other in zip(alone, without, strict=True))


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_ranks_divide_an_evaluation_by_document_and_cover_all_rows(
    world: int, toy_mixture: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = build_data(load_mixture(toy_mixture()))
    data.setup()
    for split in ("dev", "test"):
        seen: dict[str, list[tuple[int, int]]] = {name: [] for name in data.tasks}
        for rank in range(world):
            monkeypatch.setattr(data, "rank_and_world_size", lambda rank=rank: (rank, world))
            loader = data.val_dataloader() if split == "dev" else data.test_dataloader()
            batches = list(loader)
            assert len(batches) == len(loader) > 0  # otherwise Lightning would skip a rank, and the others would wait
            for part in (part for batch in batches for part in batch.parts):
                seen[part.task] += [(rank, example["row"]) for example in part.examples]
        for task, found in seen.items():
            content = data.tasks[task][split]
            assert sorted(row for _, row in found) == content.example_rows.tolist()
            documents = content.rows.documents()
            assert len({(rank, documents[row]) for rank, row in found}) == len(set(documents))


@pytest.mark.parametrize("fields", [{"batch_size": 8}, {"tokens_per_batch": 96}])
@pytest.mark.parametrize("world", [2, 3, 5])
def test_ranks_divide_a_step_into_parts_of_similar_cost(
    world: int, fields: dict[str, Any], toy_mixture: Write, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixture = load_mixture(toy_mixture(**fields, tasks_per_step=2), NO_DROPOUT)
    trained = train(mixture, max_steps=1, limit_val_batches=0)
    loader, schedule = trained.data.train_dataloader(), trained.data.schedule
    assert len(schedule.epoch(0)) > 3
    for step in schedule.epoch(0):
        by_rank = []
        for rank in range(world):
            monkeypatch.setattr(trained.data, "rank_and_world_size", lambda rank=rank: (rank, world))
            by_rank.append(loader._shards(step))
        tokens, longest = np.zeros(world), 0
        for ref, places in zip(step, zip(*by_rank, strict=True), strict=True):
            lengths = trained.data.tasks[ref.task]["train"].lengths[schedule.indices(ref)]
            assert sorted(np.concatenate(places).tolist()) == list(range(len(lengths)))
            assert max(map(len, places)) - min(map(len, places)) <= 1
            tokens += [lengths[mine].sum() for mine in places]
            longest = max(longest, int(lengths.max()))
        assert max(tokens) - min(tokens) <= longest


def test_ranks_read_about_as_many_tokens_of_steps_of_many_tasks(toy_mixture: Write, tmp_path: Path) -> None:
    path, rng = toy_mixture(), random.Random(0)
    tasks = {}
    for number in range(16):
        place = tmp_path / f"task{number}"
        place.mkdir()
        for split, size in (("train", 24), ("dev", 2)):
            texts = [" ".join(["risk"] * min(40, round(rng.lognormvariate(2.3, 0.7)))) for _ in range(size)]
            rows = [
                {"id": f"{split}{n}", "text": f"{text} {split} {number} {n}", "label": "ab"[n % 2]}
                for n, text in enumerate(texts)
            ]
            (place / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        data_spec = {"reader": "jsonl", "path": str(place)}
        tasks[place.name] = {"head": "classification", "labels": ["a", "b"], "data": data_spec}
    fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    fields |= {"tasks": tasks, "tasks_per_step": "all", "batch_size": 4, "sampler": {"name": "round_robin"}}
    data = build_data(load_mixture(fields))
    data.setup()
    steps = [step for epoch in range(3) for step in data.schedule.epoch(epoch)]
    assert all(len(step) == 16 for step in steps)
    for step in steps:
        tokens = []
        for rank in range(2):
            data.rank_and_world_size = lambda rank=rank: (rank, 2)  # type: ignore[method-assign]
            batch = TrainLoader(data)._batch(step, _Update(data, [step]), ())
            assert {part.stop - part.start for part in batch.parts} == {2}
            tokens.append(len(batch.input_ids))
        assert max(tokens) <= 1.1 * np.mean(tokens)


def test_ranks_take_turns_with_the_share_of_most_tokens(toy_mixture: Write) -> None:
    data = build_data(load_mixture(toy_mixture(batch_size=3)).only(["cause"]))
    data.setup()
    heaviest = []
    for (ref,) in data.schedule.epoch(0)[:8]:
        lengths, tokens = data.tasks["cause"]["train"].lengths[data.schedule.indices(ref)], []
        for rank in range(2):
            data.rank_and_world_size = lambda rank=rank: (rank, 2)  # type: ignore[method-assign]
            tokens.append(lengths[TrainLoader(data)._shards([ref])[0]].sum())
        heaviest.append(int(np.argmax(tokens)))
    assert 2 <= sum(heaviest) <= 6


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_ranks_divide_a_training_batch_and_a_rank_without_examples_adds_nothing(
    world: int, toy_mixture: Write, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixture = load_mixture(toy_mixture(), NO_DROPOUT).only(["risk"])
    trained = train(mixture, max_steps=1, limit_val_batches=0)
    loader, schedule = trained.data.train_dataloader(), trained.data.schedule
    for step in schedule.epoch(0):
        count, labels, updates = 0, [], set()
        for rank in range(world):
            monkeypatch.setattr(trained.data, "rank_and_world_size", lambda rank=rank: (rank, world))
            part = loader._batch(step, _Update(trained.data, [step]), ()).parts[0]
            if part.update.share:
                count += part.stop - part.start
                labels += part.fields["label"].tolist()
                updates.add(part.update)
            else:
                assert part.stop - part.start == 1
        indices = schedule.indices(step[0])
        assert count == len(indices)
        assert updates == {UpdateShare(len(indices), 1.0)}
        whole = trained.data.tasks["risk"]["train"].examples.take(indices)
        assert sorted(labels) == sorted(example["label"] for example in whole)


def test_a_stopped_task_leaves_its_steps_empty_and_does_not_change_the_others(toy_mixture: Write, train: Train) -> None:
    mixture = load_mixture(toy_mixture())
    trained = train(mixture, limit_val_batches=0)
    loader, schedule = trained.data.train_dataloader(), trained.data.schedule
    before = [loader._batch(step, _Update(trained.data, [step]), ()) for step in schedule.epoch(0)]
    trained.module.stopped = {"drugs", "bleed"}
    after = [loader._batch(step, _Update(trained.data, [step]), trained.data.stopped) for step in schedule.epoch(0)]
    for one, other in zip(before, after, strict=True):
        tasks = [part.task for part in one.parts]
        assert [part.task for part in other.parts] == [task for task in tasks if task not in trained.module.stopped]
        if other.parts:
            assert torch.equal(one.input_ids, other.input_ids)
            assert {p.task: p.update for p in one.parts}.items() >= {p.task: p.update for p in other.parts}.items()
    trained.module.stopped = {"cause"}
    followed = [loader._batch(step, _Update(trained.data, [step]), trained.data.stopped) for step in schedule.epoch(0)]
    assert {part.task for batch in followed for part in batch.parts} == {"drugs", "risk", "bleed"}


def test_evaluation_reads_long_texts_first_and_keeps_examples(toy_mixture: Write) -> None:
    data = build_data(load_mixture(toy_mixture()))
    data.setup()
    batches = list(EvaluationLoader(data, "dev"))
    for task in data.mixture.leaders():
        widths = [batch.layout.longest for batch in batches if batch.parts[0].task == task]
        assert widths == sorted(widths, reverse=True)
    assert all(len(part.examples) == part.stop - part.start for batch in batches for part in batch.parts)


def test_a_task_without_a_test_split_is_evaluated_on_dev_only(toy_mixture: Write, tmp_path: Path) -> None:
    path = toy_mixture()
    (tmp_path / "risk" / "test.jsonl").unlink()
    data = build_data(load_mixture(path))
    data.setup()
    assert {part.task for batch in data.val_dataloader() for part in batch.parts} == set(data.tasks)
    assert {part.task for batch in data.test_dataloader() for part in batch.parts} == {"cause", "drugs", "bleed"}
    assert set(data.splits("test")) == {"cause", "drugs", "bleed"}


# --- memory ---------------------------------------------------------------------------------------------------------

TRAINS_A_LITTLE = """
import sys

import pytorch_lightning as pl
from meter import QUIET, rss_anon_mib

from mtl.training.assembly import build_data, build_module
from mtl.config.loading import load_mixture

most = 0.0

class Watch(pl.Callback):
    def on_train_batch_end(self, *_):
        global most
        most = max(most, rss_anon_mib())

mixture = load_mixture(sys.argv[1])
trainer = pl.Trainer(**QUIET, max_steps=20, max_epochs=-1, limit_val_batches=0, callbacks=[Watch()])
trainer.fit(build_module(mixture), datamodule=build_data(mixture))
assert trainer.global_step == 20
print(most)
"""


@pytest.mark.slow
@pytest.mark.soak
def test_anonymous_memory_of_a_training_does_not_grow_with_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not rss_anon_mib():
        pytest.skip("RssAnon in /proc/self/status is not available")
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "experiments" / "bench")]))
    setting = bench_data.Setting("synthetic", max_length=32)
    few, many = 2_000, 60_000

    def most_mib(rows: int) -> float:
        """Peak memory of a training in its own process, which finds the examples in the cache."""
        mixture = bench_data.prepare_rows(setting, tmp_path, rows)
        command = [sys.executable, "-W", "ignore", "-c", TRAINS_A_LITTLE, str(mixture)]
        trained = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert trained.returncode == 0, trained.stderr
        return float(trained.stdout.splitlines()[-1])

    assert most_mib(many) - most_mib(few) < 300 * (many - few) / 1_000_000  # 300 MiB for a million rows
