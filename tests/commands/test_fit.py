import csv as csv_module
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from mtl.commands import run
from mtl.commands import run as run_mtl
from mtl.commands.fit_options import check_trainer
from mtl.config.encoder_catalogue import catalogue
from mtl.config.loading import load_mixture
from mtl.encoder import pretrained
from mtl.encoder.model import Encoder
from mtl.evaluation.evaluator import Evaluator
from mtl.problems import InputError
from mtl.tracking.run_folder import RunFolder
from mtl.training import assembly, run_watch, saving
from mtl.training.assembly import build_heads
from tests import five_tasks
from tests.fitting import NO_DROPOUT, PRIMARY, QUIET, command, environment, equal, in_process, latest, mtl
from tests.masked_lm_models import mlm_and_risk

Write = Callable[..., Path]
Train = Callable[..., Any]

REPOSITORY = Path(__file__).parents[2]


# --- two processes ----------------------------------------------------------------------------------------------------

SCRIPT = """
import json
import sys
import warnings

import pytorch_lightning as pl
import torch

from mtl.training.assembly import build_data, build_module
from mtl.config.encoder_catalogue import catalogue
from mtl.config.loading import load_mixture

warnings.simplefilter("ignore")
mixture_path, out, devices, trainings = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
kept = []
for overrides, accumulate, stopped, options, is_like_gpu in trainings:
    mixture = load_mixture(mixture_path, overrides)
    module = build_module(mixture, learning_rate=1e-3)
    data = build_data(mixture)
    if module.balancing.needs == "whole":
        accumulate, stopped = 1, []
    module.stopped = set(stopped)
    if is_like_gpu:
        module._tables_outside_ddp = lambda device: []
    seen = []
    step = module.training_step

    def noting(batch, batch_idx):
        seen.append([(part.task, part.stop - part.start if part.update.share else 0) for part in batch.parts])
        return step(batch, batch_idx)

    module.training_step = noting
    trainer = pl.Trainer(
        accelerator="cpu", precision="32-true", devices=devices, strategy="ddp" if devices > 1 else "auto",
        max_epochs=3, accumulate_grad_batches=accumulate, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, log_every_n_steps=5, **options,
    )
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data, verbose=False)
    counts = {
        split: {task: (r.documents, [c.tolist() for c in r.counts], r.num_rows) for task, r in results.items()}
        for split, results in module.results.items()
    }
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    kept.append({"weights": weights, "counts": counts, "seen": seen, "losses": module.train_losses})
torch.save(kept, f"{out}-{trainer.global_rank}.pt")
"""


VARIANTS = (
    ["tasks_per_step=1"],
    ["tasks_per_step=2", "balancing.name=uncertainty", "tasks.risk.loss_weight=0.3"],
    ["tokens_per_batch=40", "balancing.name=dynamic_average"],
    ["encoder.freeze_layers=2"],  # the whole encoder
    ["tasks_per_step=all", "sampler.name=round_robin", "balancing.name=tests.balancing.pcgrad.PCGrad"],
)
SCENARIOS: tuple[tuple[int, list[str], dict[str, Any]], ...] = (
    (1, [], {}),
    (2, ["drugs"], {}),  # some updates end with the batch of a task that has stopped
    (3, ["cause", "risk"], {"gradient_clip_val": 0.1}),
)
LIKE_A_GPU = (SCENARIOS[1], (1, ["drugs"], {}))
"""On a GPU, DDP averages the table of embeddings, too. The last has updates in which all tasks have stopped."""


def trained_by_one_and_two(trainings: list[Any], mixture: Path, folder: Path) -> list[list[Any]]:
    """What a single process kept of the trainings, then what each of two processes did."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    for devices in ("1", "2"):
        done = subprocess.run(
            [
                sys.executable,
                str(script),
                str(mixture),
                str(folder / f"world{devices}"),
                devices,
                json.dumps(trainings),
            ],
            cwd=folder,
            env=environment(PYTHONPATH=str(REPOSITORY)),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{name}.pt") for name in ("world1-0", "world2-0", "world2-1")]


@pytest.mark.slow
def test_two_processes_pretrain_what_one_does_also_after_a_change(toy_mixture: Write, tmp_path: Path) -> None:
    """The table of embeddings is the decoder too, so its gradient is dense; masks and changes follow the updates."""
    path = toy_mixture(
        tasks=mlm_and_risk(tmp_path),
        curriculum=[
            {"from_step": 4, "tasks.mlm.options.rate": 0.4, "tasks.risk.loss_weight": 0.5},
            {"from_step": 9, "tasks.mlm.options.unit": "word", "tasks.risk.rate": 0},
        ],
        sampler={"name": "weighted"},
    )
    overrides = ["encoder.dropout=0", "tasks.risk.options.dropout=0", "tasks_per_step=1"]
    trainings = [(overrides, accumulate, [], {}, False) for accumulate in (1, 2)]
    for single, first, second in zip(*trained_by_one_and_two(trainings, path, tmp_path), strict=True):
        assert equal(first["weights"], second["weights"])
        for name, value in single["weights"].items():
            if not name.endswith("key.bias"):
                torch.testing.assert_close(first["weights"][name], value, rtol=1e-6, atol=5e-6, msg=name)
        assert first["losses"] == second["losses"] == pytest.approx(single["losses"], rel=1e-4)
        drawn = [task for parts in single["seen"] for task, _ in parts]
        assert set(drawn) == {"mlm", "risk"}


@pytest.mark.slow
def test_two_processes_train_what_one_does_and_evaluate_each_example_once(toy_mixture: Write, tmp_path: Path) -> None:
    # Batches of 2, 3 and 1 examples occur, so shares are uneven, and sometimes a rank has none.
    path = toy_mixture()
    trainings = [([*NO_DROPOUT, *variant], *scenario, False) for variant in VARIANTS for scenario in SCENARIOS]
    trainings += [([*NO_DROPOUT], *scenario, True) for scenario in LIKE_A_GPU]
    one, *ranks = trained_by_one_and_two(trainings, path, tmp_path)
    for single, first, second in zip(one, *ranks, strict=True):
        assert equal(first["weights"], second["weights"])
        for name, value in single["weights"].items():
            if not name.endswith("key.bias"):  # its gradient is rounding noise, which AdamW scales up
                # Processors add up in other orders; a missing or doubled gradient would move a weight by about 1e-3.
                torch.testing.assert_close(first["weights"][name], value, rtol=1e-6, atol=5e-6, msg=name)
        assert first["counts"] == second["counts"]
        for split in ("dev", "test"):
            for task, (documents, counts, num_rows) in single["counts"][split].items():
                assert first["counts"][split][task][::2] == (documents, num_rows)
                if task != "risk":
                    assert first["counts"][split][task][1] == counts
                else:  # predicted values, of other batches, so not to the last bit
                    np.testing.assert_allclose(
                        np.concatenate(first["counts"][split][task][1]), np.concatenate(counts), atol=1e-4
                    )
        for parts, *shares in zip(single["seen"], first["seen"], second["seen"], strict=True):
            for (task, size), (task0, size0), (task1, size1) in zip(parts, *shares, strict=True):
                assert task == task0 == task1
                assert size == size0 + size1
        assert first["losses"] == second["losses"] == pytest.approx(single["losses"], rel=1e-4)
    of_all_tasks = slice(0, len(VARIANTS) * len(SCENARIOS), len(SCENARIOS))
    for by_rank in zip(*(rank[of_all_tasks] for rank in ranks), strict=True):
        assert any(size == 0 for trained in by_rank for parts in trained["seen"] for _, size in parts)
    assert [] in one[-1]["seen"]


def test_checking_the_options_leaves_a_strategy_for_the_training() -> None:
    import pytorch_lightning as pl
    from pytorch_lightning.strategies import DDPStrategy

    strategy = DDPStrategy()
    arguments = {"accelerator": "cpu", "devices": 2, "strategy": strategy}
    check_trainer(arguments)
    assert pl.Trainer(**arguments, logger=False, enable_checkpointing=False).strategy is strategy


@pytest.mark.slow
def test_mtl_fit_on_two_devices_is_one_run_logged_once(toy_mixture: Write, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    path = toy_mixture()
    ddp = ("--trainer.devices=2", "--trainer.strategy=ddp", "--run.track=true", "--trainer.max_epochs=2")
    done = mtl("fit", path, *ddp, "--trainer.log_every_n_steps=7", "--run.predictions=true", "--run.profile=true")
    assert done.stdout.count("Run folder:") == 1
    assert "sync_dist" not in done.stderr
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "biomtl"]
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == "FINISHED"
    history = client.get_metric_history(tracked.info.run_id, "val/selection")
    assert len(history) == len({metric.step for metric in history}) == 2
    assert len(list((tmp_path / "runs" / "toy").glob("*/run.json"))) == 1
    folder = latest(path)
    for task, size in {"cause": 9, "drugs": 4, "risk": 5, "bleed": 6}.items():
        with np.load(folder.path / "counts" / "dev" / f"{task}.npz") as counts:
            assert len(counts["documents"]) == size == len(set(counts["documents"].tolist()))
    kept = {file.name: file.read_text().splitlines() for file in (folder.path / "predictions" / "dev").iterdir()}
    assert {name: len(lines) for name, lines in kept.items()} == {
        "cause.jsonl": 9,
        "drugs.jsonl": 7,
        "risk.jsonl": 5,
        "bleed.jsonl": 9,
    }
    assert all(len({json.loads(line)["id"] for line in lines}) == len(lines) for lines in kept.values())
    assert [file.name for file in folder.path.glob("fit-phases*")] == ["fit-phases.txt"]
    assert (folder.path / "fit-phases.txt").read_text().count("Profiler Report") == 1
    mtl("test", path, "--trainer.devices=2", "--trainer.strategy=ddp", "--ckpt_path=best")
    assert set(folder.metrics["test"]) == set(PRIMARY)
    baselines = json.loads((folder.path / "baselines.json").read_text())
    assert all("frozen" in baselines[split][task] for split in ("dev", "test") for task in PRIMARY)


# --- errors and defaults ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh")
def test_a_run_on_a_full_disk_fails_with_the_file_and_its_status(
    toy_mixture: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy_mixture()
    write = saving.write_checkpoint

    def fill(path: Path, save: Callable[[Any], None]) -> None:
        def fail(file: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        write(path, fail if path.name == "last-step10.ckpt" else save)

    monkeypatch.setattr(saving, "write_checkpoint", fill)
    assert in_process("fit", path, "--run.save_every=5") == 2
    error = capsys.readouterr().err
    folder = latest(path)
    assert f"{folder.saved.file('last', 10)}: " in error
    assert "Traceback" not in error
    assert folder.info["status"] == "FAILED"
    assert {file.name for file in folder.checkpoints.iterdir()} == {"last-step5.ckpt"}


@pytest.mark.usefixtures("fresh")
def test_a_run_with_invalid_data_leaves_no_folder(
    toy_mixture: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy_mixture()
    (tmp_path / "risk" / "train.jsonl").write_text('{"text": "fever", "label": 9.0}\n')
    assert in_process("fit", path) == 2
    error = capsys.readouterr().err
    assert "risk" in error.partition(" ")[2].partition(": ")[0]
    assert "9" in error
    assert not (tmp_path / "runs").exists()


def leak(folder: Path) -> None:
    """Adds the text of a row of dev of `cause` to train of `drugs`, as a document of its own."""
    text = json.loads((folder / "cause" / "dev.jsonl").read_text().splitlines()[0])["text"]
    with (folder / "drugs" / "train.jsonl").open("a") as file:
        file.write(json.dumps({"id": "leak", "document": "doc-77", "text": text, "entities": []}) + "\n")


@pytest.mark.usefixtures("fresh")
def test_a_run_whose_tasks_leak_into_each_other_is_refused_before_it_has_a_folder(
    toy_mixture: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy_mixture()
    leak(tmp_path)
    assert in_process("fit", path) == 2
    error = capsys.readouterr().err
    assert "mtl: tasks.drugs: " in error
    assert "doc-77" in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("fresh")
def test_documents_that_leak_are_excluded_from_training_and_counted_in_the_run(
    toy_mixture: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy_mixture(leakage={"documents": "exclude"})
    leak(tmp_path)
    assert in_process("fit", path, "--trainer.max_steps=1", "--trainer.limit_val_batches=1") == 0
    captured = capsys.readouterr()
    assert "mtl: leakage: drugs: " in captured.err
    (run_folder,) = (path.parent for path in tmp_path.glob("runs/*/*/run.json"))
    report = json.loads((run_folder / "leakage.json").read_text())
    assert report["excluded"] == {"drugs": {"documents": 1, "rows": 1}}
    assert load_mixture(run_folder / "mixture.yaml").tasks["drugs"].data.exclude == ()


WHOLE = {
    "balancing": {"name": "tests.balancing.pcgrad.PCGrad"},
    "sampler": {"name": "round_robin"},
    "tasks_per_step": "all",
}
PHASE = {"curriculum": [{"from_step": 9, "tasks.risk.loss_weight": 0.5}]}


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("fields", "words", "message"),
    [
        ({"tokens_per_batch": 8}, (), "tokens_per_batch: "),
        ({}, ("--model.warmup=1.5",), "model.warmup: "),
        ({}, ("--trainer.precision=16-mixed",), "trainer.precision: "),
        ({}, ("--trainer.precision=16-true",), "trainer.precision: "),
        ({}, ("--trainer.precision=transformer-engine",), "--trainer: "),  # its package is missing
        ({}, ("--trainer.precision=bf16-mixed",), "trainer.precision: "),
        ({}, ("--trainer.limit_train_batches=0",), "trainer.limit_train_batches: "),
        ({}, ("--trainer.limit_train_batches=0.01",), "0.01 of 14"),
        ({}, ("--trainer.max_epochs=-1",), "trainer.max_epochs: "),
        (PHASE, ("--trainer.max_steps=9",), "curriculum.0.from_step: "),
        (PHASE, ("--trainer.max_epochs=3", "--trainer.limit_train_batches=3"), "curriculum.0.from_step: "),
        ({}, ("--trainer.max_epochs=-1", "--trainer.max_time=00:00:01:00"), "trainer.max_epochs: "),
        ({}, ("--trainer.strategy=fsdp",), "trainer.strategy: "),
        ({}, ("--trainer.strategy=deepspeed_stage_2",), "trainer.strategy: "),
        (WHOLE, ("--trainer.accumulate_grad_batches=2",), "trainer.accumulate_grad_batches: "),
        (WHOLE, ("--early_stopping.patience=1", "--early_stopping.per_task=true"), "early_stopping.per_task: "),
    ],
)
@pytest.mark.filterwarnings("ignore:You passed `Trainer")
def test_a_run_with_invalid_options_leaves_no_folder(
    fields: dict[str, Any],
    words: tuple[str, ...],
    message: str,
    toy_mixture: Write,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)  # a CPU without special capabilities
    assert run(["fit", "--mixture", str(toy_mixture(**fields)), "--trainer.accelerator=cpu", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("fresh")
def test_a_device_without_enough_memory_is_an_error_that_says_what_to_lower(
    toy_mixture: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Encoder, "forward", fail)
    assert run(["fit", "--mixture", str(toy_mixture(tasks_per_step="all")), "--trainer.accelerator=cpu", *QUIET]) == 2
    error = capsys.readouterr().err
    assert "batch_size: " in error
    assert "cause, bleed" in error
    assert re.search(r"\d+ tokens", error)
    assert "encoder.gradient_checkpointing" in error
    assert RunFolder.latest(tmp_path / "runs", "toy").info["status"] == "FAILED"


@pytest.mark.usefixtures("fresh")
def test_an_evaluation_without_enough_memory_is_an_error_too(
    toy_mixture: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    path, short = toy_mixture(), ("--trainer.max_epochs=1", "--trainer.limit_train_batches=1")
    assert in_process("fit", path, *short) == 0
    monkeypatch.setattr(Evaluator, "add", fail)
    monkeypatch.setattr(run_watch, "OTHER_ENDS", 0.0)  # there are no other processes
    for subcommand, options in (("validate", ()), ("test", ()), ("fit", short)):
        assert in_process(subcommand, path, *options) == 2
        error = capsys.readouterr().err
        assert "batch_size: " in error
        assert re.search(rf"evaluating ({'|'.join(PRIMARY)}).* with \d+ tokens", error)
        assert "gradient_checkpointing" not in error
    assert latest(path).info["status"] == "FAILED"


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(("family", "problem"), [("deberta-v2", None), ("bert", "The states differ.")])
def test_a_run_with_padded_batches_says_why_and_records_it(
    family: str,
    problem: str | None,
    toy_mixture: Write,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if problem is not None:
        monkeypatch.setattr(pretrained, "packing_problem", lambda *_: problem)
    path = toy_mixture(family)
    short = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1")
    assert in_process("fit", path, *short) == 0
    reason = latest(path).info["chosen"]["encoder.attention"]
    assert family in reason
    assert f"encoder.attention {reason}" in capsys.readouterr().out.splitlines()
    assert sum("self-check" in message for message in caplog.messages) == (problem is not None)
    assert ("self-check" in reason) == (problem is not None)


@pytest.mark.usefixtures("fresh")
def test_length_and_learning_rate_have_defaults_that_the_run_records(
    toy_mixture: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy_mixture()
    words = [word for word in command("fit", path, "--run.baselines=false")[1:] if "max_epochs" not in word]
    assert run([*words, "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1"]) == 0
    folder = latest(path)
    config = yaml.safe_load((folder.path / "config.yaml").read_text())
    assert config["trainer"]["max_epochs"] == 20  # for 26, 15 and 9 examples
    assert config["model"]["learning_rate"] == config["model"]["head_learning_rate"] == 1.5e-4
    assert torch.load(folder.resolve_checkpoint("last"), weights_only=True)["global_step"] == 20
    assert set(folder.info["chosen"]) == {"trainer.max_epochs", "model.learning_rate"}
    printed = capsys.readouterr().out
    assert "trainer.max_epochs 20 (" in printed
    assert "model.learning_rate 1.5e-4 (" in printed
    assert set(folder.metrics["train"]["cause"]) == {"loss", "undertrained"}


@pytest.mark.usefixtures("fresh")
def test_a_run_records_what_it_took_from_the_catalogue(
    toy_mixture: Write, tiny_encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("mtl.encoder.location", "mtl.encoder.pretrained"):
        monkeypatch.setattr(f"{module}.encoder_folder", lambda name: str(tiny_encoder("bert")))
    path = toy_mixture()
    words = command("fit", path, "--run.baselines=false", "--mixture.encoder.name=BioClinical-ModernBERT")[1:]
    assert run([*words, "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1"]) == 0
    folder = latest(path)
    entry = catalogue()["bioclinical-modernbert"]
    assert entry.hub in folder.info["chosen"]["encoder.name"]
    assert folder.info["chosen"]["model.learning_rate"].startswith("2.0e-5 (")
    config = yaml.safe_load((folder.path / "config.yaml").read_text())
    assert config["model"]["learning_rate"] == 2e-5
    mixture = load_mixture(folder.path / "mixture.yaml")
    assert (mixture.encoder.name, mixture.encoder.revision) == (entry.name, entry.revision)


@pytest.mark.usefixtures("fresh")
def test_a_number_of_steps_is_enough_to_limit_a_training(toy_mixture: Write) -> None:
    path = toy_mixture()
    words = [word for word in command("fit", path, "--run.baselines=false")[1:] if "max_epochs" not in word]
    assert run([*words, "--trainer.max_steps=45"]) == 0  # more than three epochs of 14 steps
    assert torch.load(latest(path).resolve_checkpoint("last"), weights_only=True)["global_step"] == 45


def test_an_evaluation_needs_no_limit_on_training() -> None:
    endless = {"accelerator": "cpu", "max_epochs": -1, "enable_progress_bar": False}
    check_trainer(endless, trains=False)
    check_trainer({**endless, "max_steps": 5})
    check_trainer({**endless, "max_epochs": None})  # Lightning takes 1000
    with pytest.raises(InputError, match=r"trainer\.max_epochs: .* -1 and -1\."):
        check_trainer(endless)
    with pytest.raises(InputError, match=r"trainer\.max_epochs: .* None and -1\."):
        check_trainer({**endless, "max_epochs": None, "max_time": "00:00:01:00"})


def test_processes_of_a_launcher_that_would_train_alone_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # The first process, because Lightning keeps the rank of the latest trainer for the whole process.
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "TORCHELASTIC_RUN_ID": "none"}.items():
        monkeypatch.setenv(name, value)
    alone = {"accelerator": "cpu", "max_steps": 1, "enable_progress_bar": False}
    with pytest.raises(InputError, match=r"trainer\.devices"):
        check_trainer(alone)
    check_trainer({**alone, "devices": 2, "strategy": "ddp"})


@pytest.mark.usefixtures("fresh")
def test_heads_and_tokenizer_are_built_once_for_a_training(toy_mixture: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def build(*arguments: Any) -> Any:
        built.append(build_heads(*arguments))
        return built[-1]

    monkeypatch.setattr(assembly, "build_heads", build)
    assert in_process("fit", toy_mixture(), "--trainer.max_steps=1", "--trainer.limit_val_batches=0") == 0
    assert len(built) == 1


# --- a head and a sampler of the user's -------------------------------------------------------------------------------

HEAD = '''
from heads.classification import Classification


class MeanClassification(Classification):
    """Reads the mean of all states.

    Args:
        labels: The class names.
        hidden_size: H of the encoder.
        scale: On the mean.
    """

    def __init__(self, labels, hidden_size: int, *, scale: float = 1.0) -> None:
        super().__init__(labels, hidden_size)
        self.scale = scale

    def forward(self, states, mask, fields):
        weights = mask[..., None].float()
        return self.output(self.scale * (states * weights).sum(1) / weights.sum(1))
'''

SAMPLER = '''
from mtl.samplers import Sampler


class Backwards(Sampler):
    """Trains the last task first, each `times` times."""

    uses_rates = False

    def __init__(self, sizes, seed: int, num_epochs: int, *, times: int = 1) -> None:
        super().__init__(sizes, seed, num_epochs)
        self.times = times

    def epoch(self, epoch):
        return [name for name in reversed(list(self.sizes)) for _ in range(self.times)]
'''


def with_own(path: Path, head: str, sampler: str) -> None:
    mixture = yaml.safe_load(path.read_text())
    mixture["tasks"]["cause"] |= {"head": head, "options": {"scale": 0.5}}
    mixture["sampler"] = {"name": sampler, "times": 2}
    path.write_text(yaml.safe_dump(mixture, sort_keys=False))


@pytest.mark.usefixtures("fresh")
def test_a_head_and_a_sampler_by_import_path_train(
    toy_mixture: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_head_of_tests.py").write_text(HEAD)
    (tmp_path / "my_sampler_of_tests.py").write_text(SAMPLER)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = toy_mixture()
    with_own(path, "my_head_of_tests.MeanClassification", "my_sampler_of_tests.Backwards")
    assert in_process("fit", path, "--trainer.max_epochs=2") == 0
    assert torch.load(latest(path).resolve_checkpoint("last"), weights_only=True)["global_step"] == 2 * 3 * 2
    assert set(latest(path).metrics["dev"]) == set(PRIMARY)
    with_own(path, "my_head_of_tests.MeanClassificatoin", "my_sampler_of_tests.Backwards")
    capsys.readouterr()
    assert in_process("fit", path) == 2
    assert "tasks.cause.head" in capsys.readouterr().err


@pytest.mark.slow
def test_a_head_and_a_sampler_are_one_new_file_each(toy_mixture: Write, tmp_path: Path) -> None:
    repository = REPOSITORY
    for package in ("mtl", "heads"):
        shutil.copytree(repository / package, tmp_path / "source" / package)
    (tmp_path / "source" / "heads" / "mean_classification.py").write_text(HEAD)
    (tmp_path / "source" / "mtl" / "samplers" / "backwards.py").write_text(SAMPLER)
    path = toy_mixture()
    with_own(path, "mean_classification", "backwards")
    words = [sys.executable, "-m", "mtl", *command("fit", path, "--run.baselines=false")[1:]]
    here = environment(PYTHONPATH=str(tmp_path / "source"))
    done = subprocess.run(words, cwd=tmp_path, env=here, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((latest(path).path / "metrics.json").read_text())["dev"].keys() == PRIMARY.keys()


# --- Lightning's own options ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_logger_of_the_user_gets_every_number_that_mlflow_gets(
    toy_mixture: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    csv = ("--trainer.logger=CSVLogger", f"--trainer.logger.save_dir={tmp_path / 'csv'}")
    words = command("fit", toy_mixture(), *csv, "--run.track=true", "--trainer.max_epochs=1")[1:]
    with five_tasks.surroundings(tmp_path):
        assert run_mtl(words) == 0
    folder = RunFolder.latest(tmp_path / "runs", "toy")
    lines = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    tracked = {name for line in lines for name in line["metrics"]}
    (path,) = (tmp_path / "csv").rglob("metrics.csv")
    with path.open() as file:
        theirs = set(csv_module.DictReader(file).fieldnames or ())
    assert theirs - {"epoch", "step"} == tracked - {"epoch"}
    assert {
        "val/selection",
        "train/cause/loss",
        "learning_rate/encoder",
        "baseline/dev/cause/majority/accuracy",
    } <= theirs


def test_without_a_logger_nothing_is_tracked(toy_mixture: Write, tmp_path: Path) -> None:
    words = command("fit", toy_mixture(), "--trainer.logger=false", "--run.track=true", "--trainer.max_epochs=1")[1:]
    with five_tasks.surroundings(tmp_path):
        assert run_mtl(words) == 0
    assert not (tmp_path / "mlflow.db").exists()
    assert RunFolder.latest(tmp_path / "runs", "toy").info["status"] == "FINISHED"


def test_callbacks_of_the_user_are_added_to_ours(toy_mixture: Write, tmp_path: Path) -> None:
    own = (
        "--trainer.callbacks+=Timer",
        "--trainer.callbacks.duration=01:00:00:00",
        "--trainer.callbacks+=ModelCheckpoint",
    )
    monitor = ("--trainer.callbacks.monitor=val/selection", f"--trainer.callbacks.dirpath={tmp_path / 'own'}")
    words = command("fit", toy_mixture(), *own, *monitor, "--trainer.max_epochs=1")[1:]
    with five_tasks.surroundings(tmp_path):
        assert run_mtl(words) == 0
    assert len(list((tmp_path / "own").glob("*.ckpt"))) == 1
    folder = RunFolder.latest(tmp_path / "runs", "toy")
    assert folder.resolve_checkpoint("best").is_file()
