"""Pairs that are read apart, windows, poolers and markers, from the rows to a trained module."""

from __future__ import annotations

import copy
import json
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from heads import sequence_lengths
from mtl.batching.batch import Batch, ExampleGroup, collate
from mtl.config.loading import load_mixture
from mtl.problems import InputError
from mtl.training.assembly import build_data, build_heads, build_module
from tests import five_tasks
from tests.tiny_sizes import PACKED

Write = Callable[..., Path]

READINGS: dict[str, dict[str, Any]] = {
    "apart": {"pair": "apart", "pooling": "mean"},
    "windows": {"long": "windows", "pooling": "mean", "stride": 2, "window_pooling": "attention"},
    "apart in windows": {"pair": "apart", "long": "windows", "pooling": "mean", "stride": 2},
}

LINKED = five_tasks.TASKS["links"]
OF_FAMILY: dict[str, dict[str, Any]] = {
    "pooled": {**five_tasks.TASKS["kind"], "data": "kind", "options": {"pooling": "pooler"}},
    "split": {
        **five_tasks.TASKS["score"],
        "data": "score",
        "max_length": 10,
        "options": {"range": [0, 4], **READINGS["apart in windows"], "window_pooling": "attention"},
    },
    "tagged": {**five_tasks.TASKS["mentions"], "data": "mentions", "max_length": 16},
} | {
    name: {**LINKED, "data": "links", "options": {**LINKED["options"], "input": text, "pooling": pooling}}
    for name, text, pooling in (
        ("typed", "typed", "pooler"),
        ("marked", "markers", "entity_start"),
        ("plain", "original", "mention_max"),
    )
}
"""Tasks that read the states of an encoder in all ways."""


@pytest.fixture(scope="module")
def read_batch(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Callable[[str], Path]) -> tuple[Path, Batch]:
    """The file of a mixture of these tasks, and a batch of all of them; tiny encoders share their tokenizer."""
    folder = tmp_path_factory.mktemp("read")
    read = {
        name: {**task, "data": {"reader": "jsonl", "path": str(folder / task["data"])}}
        for name, task in OF_FAMILY.items()
    }
    path = five_tasks.write(folder, tiny_encoder("bert"), tasks=read)
    with five_tasks.surroundings(folder):
        data = build_data(load_mixture(path))
        data.setup()
    groups = [ExampleGroup({task: data.tasks[task]["train"].examples.take(range(5))}) for task in OF_FAMILY]
    assert any(len(sequence_lengths(example)) > 2 for example in groups[1].examples["split"])
    return path, collate(groups, data.heads)


@pytest.fixture
def pairs(toy_mixture: Write, tmp_path: Path) -> Write:
    """A function that writes the toy mixture, where `risk` has pairs, some of them longer than 16 tokens."""

    def write(*arguments: Any) -> Path:
        path = toy_mixture(*arguments)
        for split in ("train", "dev", "test"):
            file = tmp_path / "risk" / f"{split}.jsonl"
            rng = random.Random(split)
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            lines = [{**row, "text_pair": "aspirin reduces fever " * rng.randint(1, 9)} for row in rows]
            file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        return path

    return write


def load(path: Path, reading: dict[str, Any], *words: str) -> Any:
    options = [f"tasks.risk.options.{name}={value}" for name, value in reading.items()]
    return load_mixture(path, ["tasks.risk.max_length=16", *options, *words])


def test_poolers_start_from_the_weights_of_the_encoder_and_this_is_logged(
    toy_mixture: Write, tiny_encoder: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    from transformers import AutoModel

    pooler: Any = AutoModel.from_pretrained(tiny_encoder("bert")).pooler
    mixture = load_mixture(toy_mixture(), ["tasks.cause.options.pooling=pooler", "tasks.risk.options.pooling=pooler"])
    with caplog.at_level(logging.WARNING):
        module = build_module(mixture)
    for task in ("cause", "risk"):
        state = module.head(task).state_dict()
        assert torch.equal(state["pooling.layers.dense.weight"], pooler.dense.weight)
        assert torch.equal(state["pooling.layers.dense.bias"], pooler.dense.bias)
    (message,) = [record.getMessage() for record in caplog.records if "pooler" in record.getMessage()]
    assert "cause, risk" in message  # its biases are 0, as in a pooler that was never trained
    assert not any("pooler" in name for name, _ in module.encoder.named_parameters())


def test_a_pooler_without_weights_of_the_encoder_is_drawn_for_its_task(
    toy_mixture: Write, caplog: pytest.LogCaptureFixture
) -> None:
    mixture = load_mixture(toy_mixture("roberta"), ["tasks.cause.options.pooling=pooler"])
    with caplog.at_level(logging.WARNING):
        whole = build_module(mixture).head("cause").state_dict()
    assert "random" in caplog.text
    alone = build_module(mixture.only(["cause"])).head("cause").state_dict()
    other = build_module(load_mixture(toy_mixture("roberta"), ["tasks.cause.options.pooling=pooler", "seed=2"]))
    name = "pooling.layers.dense.weight"
    assert torch.equal(whole[name], alone[name])
    assert not torch.equal(whole[name], other.head("cause").state_dict()[name])
    assert 0.015 < float(whole[name].std()) < 0.025


def test_a_missing_pooler_of_a_checkpoint_is_never_taken_from_the_random_one_of_transformers(
    toy_mixture: Write, tmp_path: Path, tiny_encoder: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path / "without"
    BertModel(BertConfig.from_pretrained(tiny_encoder("bert")), add_pooling_layer=False).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_encoder("bert")).save_pretrained(folder)
    mixture = load_mixture(toy_mixture(), [f"encoder.name={folder}", "tasks.cause.options.pooling=pooler"])
    with caplog.at_level(logging.WARNING, logger="mtl"):
        module = build_module(mixture)
    assert module.encoder.shipped == {}
    assert any("random" in record.getMessage() for record in caplog.records)


def test_a_module_without_weights_loads_the_pooler_of_a_run(toy_mixture: Write, caplog: Any) -> None:
    mixture = load_mixture(toy_mixture(), ["tasks.cause.options.pooling=pooler"])
    state = build_module(mixture).state_dict()
    caplog.clear()
    empty = build_module(mixture, weights=False)
    assert "pooler" not in caplog.text
    empty.load_state_dict(state)
    assert all(torch.equal(value, state[name]) for name, value in empty.state_dict().items())


def test_an_unknown_family_is_a_problem_of_every_task_with_a_pooler(
    toy_mixture: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heads._pooling.FAMILIES", {})
    words = ["tasks.cause.options.pooling=pooler", "tasks.risk.options.pooling=pooler"]
    with pytest.raises(InputError) as caught:
        build_heads(load_mixture(toy_mixture(), words))
    assert [problem.key for problem in caught.value.problems] == ["tasks.cause.options", "tasks.risk.options"]


@pytest.mark.parametrize(
    ("task", "option", "value"),
    [("drugs", "long", "windows"), ("drugs", "pooling", "mean"), ("cause", "pair", "alone"), ("risk", "long", "both")],
)
def test_an_option_that_a_head_does_not_have_is_a_problem(
    toy_mixture: Write, task: str, option: str, value: str
) -> None:
    with pytest.raises(InputError) as caught:
        load_mixture(toy_mixture(), [f"tasks.{task}.options.{option}={value}"])
    assert [problem.key for problem in caught.value.problems] == [f"tasks.{task}.options.{option}"]


def test_pairs_apart_need_rows_with_two_texts(toy_mixture: Write) -> None:
    data = build_data(load_mixture(toy_mixture(), ["tasks.risk.options.pair=apart"]).only(["risk"]))
    with pytest.raises(InputError) as caught:
        data.setup()
    assert all("risk" in problem.key and "text_pair" in problem.message for problem in caught.value.problems)


@pytest.mark.parametrize("reading", READINGS.values(), ids=READINGS)
def test_it_trains_every_weight_and_scores_the_same_packed_and_padded(
    reading: dict[str, Any], pairs: Write, train: Callable[..., Any]
) -> None:
    path = pairs()
    packed = train(load(path, reading).only(["risk"]))
    examples = packed.data.tasks["risk"]["train"].examples
    assert any(len(sequence_lengths(example)) > 2 - (reading.get("pair") == "together") for example in examples) or (
        reading.get("long") != "windows"
    )
    assert all(max(sequence_lengths(example)) <= 16 for example in examples)
    start = build_module(load(path, reading).only(["risk"]), learning_rate=1e-3).state_dict()
    moved = packed.module.state_dict()
    assert all(not torch.equal(start[name], moved[name]) for name, _ in packed.module.named_parameters())

    padded_mixture = load(path, reading, "encoder.attention=eager").only(["risk"])
    module, data = build_module(padded_mixture, weights=False), build_data(padded_mixture)
    module.load_state_dict(moved)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    pl.Trainer(**quiet, accelerator="cpu").validate(module, datamodule=data, verbose=False)
    assert not module.encoder.packs
    assert packed.module.encoder.packs
    expected = packed.module.results["dev"]["risk"].scores
    assert module.results["dev"]["risk"].scores == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("family", PACKED)
def test_logits_and_gradients_of_every_reading_are_the_same_packed_and_padded(
    family: str, read_batch: tuple[Path, Batch], tiny_encoder: Callable[[str], Path]
) -> None:
    path, batch = read_batch
    found = {}
    for attention in ("auto", "eager"):
        words = [f"encoder.name={tiny_encoder(family)}", f"encoder.attention={attention}"]
        module = build_module(load_mixture(path, words)).eval()
        assert module.encoder.packs == (attention == "auto")
        logits = module(batch)
        losses = [module.head(part.task).loss(logits[part.task], part.fields)[0] for part in batch.parts]
        torch.stack(losses).sum().backward()
        gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
        found[attention] = logits, gradients
    (packed, gradients), (padded, expected) = found.values()
    assert set(packed) == set(OF_FAMILY)
    for task, logits in padded.items():
        torch.testing.assert_close(packed[task], logits, rtol=1e-4, atol=1e-5)
    assert gradients.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(gradients[name], value, rtol=1e-4, atol=1e-5 * max(1.0, float(value.abs().max())))


@pytest.mark.parametrize("reading", READINGS.values(), ids=READINGS)
def test_a_text_changes_no_other_example_of_its_batch(reading: dict[str, Any], pairs: Write) -> None:
    mixture = load(pairs(), reading).only(["risk"])
    module, data = build_module(mixture).eval(), build_data(mixture)
    data.setup()
    examples = data.tasks["risk"]["train"].examples.take(range(6))
    changed = copy.deepcopy(examples)
    changed[1]["input_ids"][-2] = 30 if changed[1]["input_ids"][-2] != 30 else 31

    def logits(of: list[Any]) -> Tensor:
        with torch.no_grad():
            found: Tensor = module(collate([ExampleGroup({"risk": of})], dict(module.heads)))["risk"]
        return found

    before, after = logits(examples), logits(changed)
    others = [0, 2, 3, 4, 5]
    torch.testing.assert_close(after[others], before[others], rtol=0, atol=1e-6)
    assert not torch.allclose(after[1], before[1], rtol=0, atol=1e-6)
    alone = torch.cat([logits([example]) for example in examples])
    torch.testing.assert_close(alone, before, rtol=0, atol=1e-5)


def test_token_budgets_count_all_sequences_of_an_example(pairs: Write) -> None:
    mixture = load(pairs(), READINGS["apart in windows"], "tasks.risk.tokens_per_batch=150").only(["risk"])
    data = build_data(mixture)
    data.setup()
    train = data.tasks["risk"]["train"]
    assert train.lengths.tolist() == [sum(sequence_lengths(example)) for example in train.examples]
    batcher = data.schedule.batchers["risk"]
    seen = [batcher[position] for position in range(batcher.batches_per_pass)]
    assert all(train.lengths[indices].sum() <= 150 for indices in seen)
    assert sorted(index for indices in seen for index in indices.tolist()) == list(range(len(train.examples)))


def test_tasks_with_shared_rows_must_split_them_alike(toy_mixture: Write) -> None:
    path = toy_mixture()
    words = ["tasks.cause.options.long=windows", "tasks.cause.options.pooling=mean"]
    data = build_data(load_mixture(path, words).only(["cause", "bleed"]))
    with pytest.raises(InputError) as caught:
        data.setup()
    assert {problem.key for problem in caught.value.problems} == {"tasks.bleed.same_rows_as"}
    both = load_mixture(path, [*words, "tasks.bleed.options.long=windows"]).only(["cause", "bleed"])
    build_data(both).setup()


def test_a_run_with_several_sequences_per_example_resumes_to_the_same_weights(
    pairs: Write, train: Callable[..., Any], tmp_path: Path
) -> None:
    mixture = load(pairs(), READINGS["apart in windows"])
    path = tmp_path / "within.ckpt"

    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step == 9:
                trainer.save_checkpoint(path)

    whole = train(mixture, callbacks=[Save()]).weights
    resumed = train(mixture, ckpt_path=path).weights
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
