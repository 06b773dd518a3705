"""Training, evaluation and prediction with every head and sampler on a device other than the host."""

import json
import math
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, masking_utils
from transformers.models.deberta_v2 import modeling_deberta_v2

from mtl import commands
from mtl.config import components
from mtl.config.loading import load_mixture
from mtl.config.mixture import EncoderSpec, Mixture
from mtl.encoder.packing import Layout
from mtl.encoder.pretrained import load_encoder, load_tokenizer
from mtl.encoder.self_check import check_on_device
from mtl.evaluation import evaluator
from mtl.prediction.predicting import predict
from mtl.study.design import run_key
from mtl.study.design.study_file import load_study
from mtl.study.running.session import Session
from mtl.tracking.checkpoint_file import write_checkpoint
from mtl.tracking.run_folder import RunFolder
from mtl.training.guard import Guard
from tests import emulated, five_tasks
from tests.causal_models import causal_folder, causal_tokenizer
from tests.tiny_sizes import PACKED

DEVICES = ("emulated", "cpu")
QUIET = ["--trainer.enable_progress_bar=false", "--run.track=false", "--run.baselines=false"]
PAIRS = {"negative": "none", "pairs": [["Drug", "Event"]]}
RELATIONS = {"head": "relation", "labels": ["up", "down", "none"], "data": "links"}
TRENDS = {"head": "mention_classification", "labels": ["up", "down"], "data": "links"}
TASKS: dict[str, dict[str, Any]] = {
    "kind": {**five_tasks.TASKS["kind"], "data": "kind"},
    "kind_mean": {
        **five_tasks.TASKS["kind"],
        "data": "kind",
        "same_rows_as": "kind",
        "options": {"pooling": "mean", "hidden_layer": 8, "class_weights": {"yes": 2.0}},
    },
    "topics": {**five_tasks.TASKS["topics"], "data": "topics"},
    "score": {**five_tasks.TASKS["score"], "data": "score"},
    "mentions": {**five_tasks.TASKS["mentions"], "data": "mentions"},
    "mentions_crf": {
        **five_tasks.TASKS["mentions"],
        "data": "mentions",
        "options": {"stride": 4, "decoder": "crf", "scheme": "BIOUL"},
    },
    "links_cls": {**RELATIONS, "options": {**PAIRS, "input": "typed"}},
    "links_start": {**RELATIONS, "options": {**PAIRS, "input": "markers", "pooling": "entity_start"}},
    "links_max": {
        **RELATIONS,
        "options": {**PAIRS, "input": "original", "pooling": "mention_max", "class_weights": {"up": 2.0}},
    },
    "trends_cls": {**TRENDS, "options": {"attribute": "trend"}},
    "trends_max": {**TRENDS, "options": {"attribute": "trend", "input": "original", "pooling": "mention_max"}},
    "mlm": {"head": "masked_lm", "data": "kind", "options": {"rate": 0.3, "unit": "word"}},
}
CAUSAL_TASKS: dict[str, dict[str, Any]] = {
    "answered": {
        "head": "generation",
        "labels": ["yes", "no"],
        "data": "kind",
        "options": {"kind": "answer", "template": "it is {label}", "max_new_tokens": 6, "decode_limit": 2},
    },
    "kind": {**five_tasks.TASKS["kind"], "data": "kind"},
}
"""Tasks of a causal encoder."""

OWN_ATTENTION: dict[str, dict[str, Any]] = {
    "bert": {},
    "modernbert": {"local_attention": 8},
    "deberta-v2": {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["c2p", "p2c"]},
    "mpnet": {},
}
"""Families that are packed and padded, with the fields of their configuration that tiny encoders leave out."""

WAITING = ((masking_utils, "_ignore_bidirectional_mask_sdpa"), (modeling_deberta_v2, "make_log_bucket_position"))
"""Functions of transformers that wait for the device once in each padded pass, as `docs/about/limits.md` says."""

SAMPLER_OPTIONS: dict[str, dict[str, Any]] = {
    "anchored": {"main": "cause", "ratio": 0.5},
    "quota": {"batches": {"cause": 2, "drugs": 1, "risk": 1}},
}


@pytest.fixture(scope="module", autouse=True)
def device() -> None:
    emulated.register()


def write(folder: Path, encoder: Path, tasks: dict[str, dict[str, Any]] = TASKS, **changes: Any) -> Path:
    read = {
        name: {**task, "data": {"reader": "jsonl", "path": str(folder / task["data"])}} for name, task in tasks.items()
    }
    return five_tasks.write(folder, encoder, tasks=read, **changes)


class Outcome(NamedTuple):
    """Scores by split, and predictions by task, of the same weights on one device."""

    scores: dict[str, Any]
    predictions: dict[str, list[Any]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Callable[[str], Path]) -> Path:
    """A run that was trained on the device, with head weights replaced so that all kinds of outputs are predicted."""
    folder = tmp_path_factory.mktemp("device")
    options = ["--trainer.accelerator=emulated", "--trainer.max_epochs=1", "--trainer.limit_train_batches=8", *QUIET]
    run = five_tasks.fit(folder, write(folder, tiny_encoder("bert")), *options)
    path = RunFolder(run).resolve_checkpoint("best")
    checkpoint = torch.load(path, weights_only=True)
    generator = torch.Generator().manual_seed(4)
    for name, weight in checkpoint["state_dict"].items():
        if name.startswith("heads.") and weight.dim() == 2:
            weight.normal_(generator=generator)
    write_checkpoint(path, partial(torch.save, checkpoint))
    return run


@pytest.fixture(scope="module")
def outcomes(run: Path) -> dict[str, Outcome]:
    """The outcome of the run's weights on the device and on the host."""
    folder = run.parents[2]
    lines = [
        {name: value for name, value in row.items() if name not in ("label", "relations")}
        for task in ("kind", "links")
        for row in five_tasks.read_lines(folder / task / "test.jsonl")
    ]
    with_mentions = [line for line in lines if "entities" in line]
    pairs = [
        {name: value for name, value in row.items() if name != "label"}
        for row in five_tasks.read_lines(folder / "score" / "dev.jsonl")
    ]
    found = {}
    for name in DEVICES:
        with five_tasks.surroundings(folder):
            for command in ("validate", "test"):
                options = [f"--trainer.accelerator={name}", "--trainer.precision=32-true", *QUIET]
                assert commands.run([command, f"--mixture={folder / 'five.yaml'}", *options]) == 0
        trainer = {"accelerator": name, "precision": "32-true"}
        predictions = {}
        on_mentions = [name for name, task in TASKS.items() if task["data"] == "links"]
        others = [task for task in TASKS if task not in (*on_mentions, "score", "mlm")]  # `mlm` predicts nothing
        for tasks, given in (others, lines), (on_mentions, with_mentions), (["score"], pairs):
            five_tasks.write_lines(folder / "rows.jsonl", given)
            predict(run, folder / "rows.jsonl", folder / "out.jsonl", tasks=tasks, trainer=trainer)
            out = five_tasks.read_lines(folder / "out.jsonl")
            predictions |= {task: [line["predictions"][task] for line in out] for task in tasks}
        metrics = json.loads((run / "metrics.json").read_text())
        found[name] = Outcome(metrics, predictions)
    return found


def close(values: Any) -> Any:
    """Nested values in which floats compare equal up to about five digits."""
    if isinstance(values, dict):
        return {name: close(value) for name, value in values.items()}
    if isinstance(values, list):
        return [close(value) for value in values]
    return pytest.approx(values, rel=1e-5, abs=1e-5) if isinstance(values, float) else values


def test_the_tasks_cover_every_head() -> None:
    tasks = [*TASKS.values(), *CAUSAL_TASKS.values()]
    assert {task["head"] for task in tasks} == set(components.choices("head"))


@pytest.mark.parametrize("task", TASKS)
def test_the_device_gives_the_same_scores_as_the_host(outcomes: dict[str, Outcome], task: str) -> None:
    for split in ("dev", "test") if task != "score" else ("dev",):
        there, here = (outcomes[name].scores[split][task] for name in DEVICES)
        assert there == close(here)


@pytest.mark.parametrize("task", [task for task in TASKS if task != "mlm"])
def test_the_device_gives_the_same_predictions_as_the_host(outcomes: dict[str, Outcome], task: str) -> None:
    there, here = (outcomes[name].predictions[task] for name in DEVICES)
    assert there == close(here)
    assert len(here) == (8 if task == "score" else 7 if TASKS[task]["data"] == "links" else 14)
    predicted = [
        value for line in here for name, value in line.items() if name != "entities" or "relations" not in line
    ]
    assert any(value not in ([], None) for value in predicted), "nothing was predicted"


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))


def without_dropout(path: Path) -> Mixture:
    """The mixture without dropout in the encoder, since host and device draw it differently."""
    return load_mixture(path, ["encoder.dropout=0"])


@pytest.fixture
def mixture(tmp_path: Path, tiny_encoder: Callable[[str], Path]) -> Mixture:
    """A mixture of all heads that need no causal encoder."""
    return without_dropout(write(tmp_path, tiny_encoder("bert"), sampler={"name": "round_robin"}))


def encoder_of(family: str, folder: Path, tiny_encoder: Callable[[str], Path]) -> Path:
    """A tiny encoder with the attention of its family."""
    source = tiny_encoder(family)
    if not OWN_ATTENTION[family]:
        return source
    config = AutoConfig.from_pretrained(source)
    for name, value in OWN_ATTENTION[family].items():
        setattr(config, name, value)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


def no_update_waits(module: Any, data: Any) -> None:
    """Makes a wait within an update an error: in its passes, its loss, the clipping or the step of the optimiser."""
    update = module.optimizer_step

    def watched(*arguments: Any) -> None:
        with emulated.forbid_sync():
            update(*arguments)

    module.optimizer_step = watched


@pytest.mark.parametrize("family", PACKED)
def test_no_pass_of_a_packed_encoder_waits_for_the_device(family: str, tiny_encoder: Callable[[str], Path]) -> None:
    spec = EncoderSpec(name=str(tiny_encoder(family)), dropout=0.0)
    encoder = load_encoder(spec, load_tokenizer(spec), seed=0)
    layout = Layout([3, 90, 1, 17, 17])
    ids = torch.randint(5, 60, (layout.num_tokens,), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = encoder(ids, layout)
    encoder.to("emulated")
    ids, layout = ids.to("emulated"), layout.map(lambda values: values.to("emulated"))
    with emulated.forbid_sync():
        states = encoder(ids, layout)
        states.square().sum().backward()
    torch.testing.assert_close(states.cpu(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", OWN_ATTENTION)
def test_the_device_trains_like_the_host_and_no_update_waits_for_it(
    family: str,
    tmp_path: Path,
    tiny_encoder: Callable[[str], Path],
    train: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[str] = []

    def watch(module: Any, data: Any) -> None:
        no_update_waits(module, data)

    def checked(*arguments: Any) -> None:
        check_on_device(*arguments)
        waits.clear()  # of the checks when the encoder was loaded and before the first update

    def allowed(real: Callable[..., Any]) -> Callable[..., Any]:
        def waiting(*arguments: Any, **named: Any) -> Any:
            waits.append(real.__name__)
            with emulated.forbid_sync(forbidden=False):
                return real(*arguments, **named)

        return waiting

    for module, name in WAITING:
        monkeypatch.setattr(module, name, allowed(getattr(module, name)))
    monkeypatch.setattr("mtl.training.module.check_on_device", checked)
    encoder = encoder_of(family, tmp_path / family, tiny_encoder)
    tasks = list(TASKS) if family == "bert" else ["kind", "mentions"]
    mixture = without_dropout(write(tmp_path, encoder, sampler={"name": "round_robin"})).only(tasks)
    options = {
        "limit_train_batches": 16 if family == "bert" else 4,
        "limit_val_batches": 0,
        "gradient_clip_val": 1.0,
        "accumulate_grad_batches": 2,
    }
    there = train(mixture, accelerator="emulated", before=watch, **options)
    assert bool(waits) == (not there.module.encoder.packs)
    here = train(mixture, **options)
    assert set(there.module.train_losses) == set(tasks)
    assert there.module.train_losses == pytest.approx(here.module.train_losses, rel=1e-3)


def test_a_causal_encoder_trains_and_generates_on_the_device_like_on_the_host(
    tmp_path: Path, train: Callable[..., Any]
) -> None:
    words = causal_tokenizer(["it is yes no", f"the patient {five_tasks.SECRET} has cancer is well ."])
    path = write(tmp_path, causal_folder(tmp_path / "llama", "llama", words), CAUSAL_TASKS)
    mixture = load_mixture(path, ["encoder.kind=causal", "encoder.dropout=0", "encoder.max_length=64"])
    options = {"limit_train_batches": 4, "gradient_clip_val": 1.0, "model": {"learning_rate": 0.01}}
    there = train(mixture, accelerator="emulated", before=no_update_waits, **options)
    here = train(mixture, **options)
    assert there.module.train_losses == pytest.approx(here.module.train_losses, rel=1e-3)
    for done in (there, here):
        done.trainer.test(done.module, datamodule=done.data, verbose=False)
    for split in ("dev", "test"):
        for task in CAUSAL_TASKS:
            assert there.module.results[split][task].scores == close(here.module.results[split][task].scores)


@pytest.mark.parametrize("stopped", [("cause", "bleed"), ("cause", "bleed", "drugs", "risk")], ids=["some", "all"])
def test_tasks_that_stop_between_two_logs_are_trained_no_further(
    toy_mixture: Callable[..., Path], train: Callable[..., Any], stopped: tuple[str, ...]
) -> None:
    kept: list[dict[str, torch.Tensor]] = []

    def stop(module: Any, data: Any) -> None:
        step = module.training_step
        still = tuple("" if len(stopped) == 4 else f"heads.{task}." for task in stopped)

        def stopping(batch: Any, batch_idx: int) -> Any:
            if batch_idx == 2:
                module.stopped = set(stopped)
                weights = module.named_parameters()
                kept.append({name: weight.detach().clone() for name, weight in weights if name.startswith(still)})
            return step(batch, batch_idx)

        module.training_step = stopping
        no_update_waits(module, data)

    mixture = load_mixture(toy_mixture(), ["tasks_per_step=all", "encoder.dropout=0"])
    options = {"before": stop, "log_every_n_steps": 10, "limit_train_batches": 6, "limit_val_batches": 0}
    there, here = (train(mixture, accelerator=name, **options) for name in DEVICES)
    assert there.trainer.global_step == 6
    assert there.module.train_losses == pytest.approx(here.module.train_losses, rel=1e-3)
    for done, before in zip((there, here), kept, strict=True):
        assert len(before) > 2
        assert all(torch.equal(done.weights[name].cpu(), weight.cpu()) for name, weight in before.items())


def test_in_bf16_the_encoder_computes_in_bf16_and_heads_in_fp32(mixture: Mixture, train: Callable[..., Any]) -> None:
    seen: dict[str, set[torch.dtype]] = {"encoder": set(), "heads": set()}

    def watch(module: Any, data: Any) -> None:
        for name, layer in module.named_modules():
            if isinstance(layer, nn.Linear):
                types = seen[name.partition(".")[0]]
                layer.register_forward_hook(lambda layer, inputs, output, types=types: types.add(output.dtype))

    done = train(mixture, accelerator="emulated", precision="bf16-mixed", limit_train_batches=8, before=watch)
    done.trainer.test(done.module, datamodule=done.data, verbose=False)
    assert seen == {"encoder": {torch.bfloat16}, "heads": {torch.float32}}
    for split, tasks in {"dev": set(TASKS), "test": set(TASKS) - {"score"}}.items():
        losses = {task: result.scores["loss"] for task, result in done.module.results[split].items()}
        assert set(losses) == tasks
        assert all(map(math.isfinite, losses.values()))


def test_values_that_processes_gather_are_on_the_host(
    mixture: Mixture, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered = []

    def gather(value: Any) -> list[Any]:
        gathered.append(value)
        return [pickle.loads(pickle.dumps(value))]  # as in `all_gather_object`; tensors of the device cannot be pickled

    monkeypatch.setattr(evaluator, "gather", gather)
    done = train(mixture, accelerator="emulated", limit_train_batches=1)
    assert len(gathered) == len(TASKS) + 1, "expected the counts of each task and the data for tuning thresholds"
    assert set(done.module.results["dev"]) == set(TASKS)


@pytest.mark.parametrize("sampler", components.choices("sampler"))
def test_every_sampler_trains(toy_mixture: Callable[..., Path], train: Callable[..., Any], sampler: str) -> None:
    path = toy_mixture(sampler={"name": sampler, **SAMPLER_OPTIONS.get(sampler, {})})
    options = {"accelerator": "emulated", "limit_train_batches": 3, "limit_val_batches": 4}
    done = train(load_mixture(path), **options)
    assert done.trainer.global_step == 3
    assert done.trainer.strategy.root_device.type == "emulated"
    assert all(map(math.isfinite, done.module.train_losses.values()))


@pytest.mark.parametrize("spikes", ["allow", "clip", "skip"])
def test_updates_with_and_without_gradients_may_come_between_two_logs(
    toy_mixture: Callable[..., Path], train: Callable[..., Any], spikes: Any
) -> None:
    def stop(module: Any, data: Any) -> None:
        module.stopped = {"cause", "bleed"}

    options = {"log_every_n_steps": 10, "limit_train_batches": 9, "limit_val_batches": 0, "gradient_clip_val": 1.0}
    model = {"guard": Guard(spikes=spikes)}
    done = train(load_mixture(toy_mixture()), accelerator="emulated", before=stop, model=model, **options)
    assert {step[0].task for step in done.data.schedule.epoch(0)[:9]} == {"cause", "drugs", "risk"}
    assert done.trainer.global_step == 9
    assert set(done.module.train_losses) == {"drugs", "risk"}
    assert all(map(math.isfinite, done.module.train_losses.values()))
    assert done.module.marked == []


@pytest.mark.slow
def test_a_study_on_the_device_gives_the_scores_of_the_host(
    toy_study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = ["cause", "risk"]
    without_dropout = {
        "include": [str(tmp_path / "toy.yaml")],
        "encoder": {"dropout": 0.0},
        "tasks": {task: {"options": {"dropout": 0.0}} for task in tasks},
    }
    path = toy_study(tasks=tasks, mixture={"name": "toy", **without_dropout})
    found, real = {}, run_key.resolved_trainer
    for name in DEVICES:
        with monkeypatch.context() as patch:
            patch.setattr(run_key, "resolved_trainer", lambda spec, name=name: {**real(spec), "accelerator": name})
            session = Session(load_study(path), tmp_path / name)
            session.run("one")
        found[name] = {order.name: session.ledger.result(order.key) for order in session.plan.run_specs}
    assert found["cpu"].keys() == found["emulated"].keys()
    for run, there in found["emulated"].items():
        assert there["test"] == close(found["cpu"][run]["test"])


def test_a_run_resumed_within_an_epoch_gives_the_weights_of_an_uninterrupted_run(
    toy_mixture: Callable[..., Path], train: Callable[..., Any], tmp_path: Path
) -> None:
    mixture = load_mixture(toy_mixture())
    options = {"accelerator": "emulated", "log_every_n_steps": 4, "limit_train_batches": 9, "limit_val_batches": 0}
    whole = train(mixture, **options)

    class Stop(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 6:
                trainer.save_checkpoint(tmp_path / "six.ckpt")
                trainer.should_stop = True

    train(mixture, callbacks=[Stop()], **options)
    resumed = train(mixture, ckpt_path=tmp_path / "six.ckpt", **options)
    assert resumed.module.train_losses == whole.module.train_losses
    for name, value in whole.weights.items():
        assert torch.equal(resumed.weights[name], value), name
