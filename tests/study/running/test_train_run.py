import math
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModel

from mtl.config.mixture import Mixture
from mtl.data.examples import prepare
from mtl.evaluation.evaluator import Evaluator
from mtl.problems import InputError
from mtl.study.design.plan import StudyPlan, make_plan
from mtl.study.design.runs import Run
from mtl.study.design.study_file import load_study
from mtl.study.running.ledger import Ledger
from mtl.study.running.train_run import _Watch, train
from mtl.training.assembly import build_heads
from mtl.training.module import MultiTaskModule
from mtl.training.selection import Selection
from tests import emulated

TABLE = "encoder.model.embeddings.word_embeddings.weight"


def plan_of(path: Path, *overrides: str) -> StudyPlan:
    return make_plan(load_study(path, overrides))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    cost = {name: value for name, value in result["cost"].items() if "seconds" not in name}
    return {**result, "cost": cost}


def test_the_same_spec_gives_the_same_result_and_another_seed_a_different_one(
    toy_study: Callable[..., Path], ledger: Ledger
) -> None:
    plan = plan_of(toy_study())
    first, second = (train(plan.spec_of(Run(("cause", "drugs"), 0)), ledger) for _ in range(2))
    assert without_times(first[0]) == without_times(second[0])
    assert (first[1]["drugs"]["counts"] == second[1]["drugs"]["counts"]).all()
    other, _ = train(plan.spec_of(Run(("cause", "drugs"), 1)), ledger)
    assert other["test"] != first[0]["test"]


def test_a_run_equals_training_of_the_same_mixture_by_lightning(
    toy_study: Callable[..., Path], ledger: Ledger, train: Callable[..., Any]
) -> None:
    from mtl.study.running.train_run import train as train_run

    order = plan_of(toy_study(select="last")).spec_of(Run(("cause", "risk"), 1))
    result, _ = train_run(order, ledger)
    whole = train(Mixture(**order.mixture), model={"learning_rate": 1e-3}, max_epochs=2, gradient_clip_val=1.0)
    (scores,) = whole.trainer.test(whole.module, datamodule=whole.data, verbose=False)
    assert result["test"]["risk"]["pearson"] == pytest.approx(scores["test/risk/pearson"], abs=1e-6)
    assert result["test"]["cause"]["loss"] == pytest.approx(scores["test/cause/loss"], abs=1e-6)


def test_a_run_on_a_device_gives_the_result_of_the_host(toy_study: Callable[..., Path], ledger: Ledger) -> None:
    emulated.register()
    here = plan_of(toy_study()).spec_of(Run(("cause", "drugs"), 0))
    there = replace(here, trainer={**here.trainer, "accelerator": "emulated"})
    (expected, counts), (result, device_counts) = train(here, ledger), train(there, ledger)
    for target in ("cause", "drugs"):
        assert result["test"][target] == pytest.approx(expected["test"][target], abs=1e-5)
        assert result["dev"][target] == pytest.approx(expected["dev"][target], abs=1e-5)
        assert (device_counts[target]["counts"] == counts[target]["counts"]).all()
    assert result["cost"]["tokens"] == expected["cost"]["tokens"]


def test_every_target_is_tested_in_its_best_state_on_dev(toy_study: Callable[..., Path], ledger: Ledger) -> None:
    path = toy_study(budget={"updates": 12, "evaluations": 6}, model={"learning_rate": 5e-3})
    order = plan_of(path).spec_of(Run(("cause", "drugs"), 0))
    result, _ = train(order, ledger)
    for target, metric in result["primary"].items():
        curve = [point["dev"][target][metric] for point in result["curve"]]
        chosen = result["selected"][target]["evaluation"]
        assert curve[chosen - 1] == max(curve)
        assert curve.index(max(curve)) == chosen - 1
        assert result["dev"][target][metric] == max(curve)
    assert [point["updates"] for point in result["curve"]] == [{"cause": 2 * n, "drugs": 2 * n} for n in range(1, 7)]


@pytest.mark.parametrize(
    ("scores", "best"),
    [([0.2, 0.8, 0.8], 2), ([0.8, math.nan, 0.5], 1), ([math.nan, 0.1, 0.3], 3), ([math.nan, math.nan, math.nan], 1)],
)
def test_an_undefined_score_is_best_only_among_undefined_scores(
    toy_study: Callable[..., Path], scores: list[float], best: int
) -> None:
    watch = _Watch(plan_of(toy_study(designs=["single"])).run_specs[0])
    head = SimpleNamespace(primary_metric="accuracy")
    selection = Selection({"cause": "accuracy"})
    for score in scores:
        found = SimpleNamespace(scores={"accuracy": score})
        selection.add({"cause": found.scores})
        module: Any = SimpleNamespace(results={"dev": {"cause": found}}, selection=selection, state_dict=dict)
        watch.on_validation_end(None, module)  # type: ignore[arg-type]
    selected = watch.scores({}, {"cause": head})["selected"]
    assert selected == {"cause": {"evaluation": best}}


def test_counts_of_documents_reproduce_the_score(toy_study: Callable[..., Path], ledger: Ledger) -> None:
    plan = plan_of(toy_study())
    result, counts = train(plan.spec_of(Run(("drugs", "risk"), 0)), ledger)
    for target, found in counts.items():
        head = plan.heads[target]
        rows = torch.from_numpy(found["counts"])
        score = head.score(rows if head.reduction == "cat" else rows.sum(0))[head.primary_metric]
        assert score == pytest.approx(result["test"][target][head.primary_metric])
        assert len(found["owners"]) == len(rows)


def test_targets_that_find_mentions_are_scored_on_seen_and_unseen_ones(
    toy_study: Callable[..., Path], ledger: Ledger
) -> None:
    result, _ = train(plan_of(toy_study()).spec_of(Run(("cause", "drugs"), 0)), ledger)
    assert result["surfaces"].keys() == {"drugs"}
    found = result["surfaces"]["drugs"]
    assert found["seen_share"] == 1.0  # each name of a drug is in train
    assert found["seen_f1"] == pytest.approx(result["test"]["drugs"]["f1"])


def test_a_copy_beside_a_target_is_trained_and_not_scored(toy_study: Callable[..., Path], ledger: Ledger) -> None:
    plan = plan_of(toy_study(controls=["self_partner", {"shuffled_partner": {"cause": "risk"}}]))
    for partner in ("cause__self", "risk__shuffled"):
        result, counts = train(plan.spec_of(Run(("cause", partner), 0)), ledger)
        assert set(result["test"]) == set(counts) == {"cause"}
        alone, _ = train(plan.spec_of(Run(("cause",), 0)), ledger)
        assert result["cost"]["examples"] > alone["cost"]["examples"]


def test_a_shuffled_partner_has_its_own_texts_with_shuffled_labels_only_in_training(
    toy_study: Callable[..., Path],
) -> None:
    plan = plan_of(toy_study(designs=["pairwise"], controls=[{"shuffled_partner": {"cause": "risk"}}]))
    mixture = Mixture(**plan.spec_of(Run(("cause", "risk__shuffled"), 0)).mixture)
    heads, tokenizer = build_heads(mixture)
    found = prepare(mixture, heads, tokenizer)["risk__shuffled"]
    for split in ("train", "dev"):
        true: Any = list(plan.data["risk"][split].rows)
        permuted: Any = list(found[split].rows)
        assert [row.text for row in permuted] == [row.text for row in true]
        labels, others = [row.label for row in true], [row.label for row in permuted]
        assert sorted(others) == sorted(labels)
        assert (others != labels) == (split == "train")


def test_a_later_run_starts_from_the_encoder_of_its_source(toy_study: Callable[..., Path], ledger: Ledger) -> None:
    plan = plan_of(toy_study(designs=["sequential"], model={"learning_rate": 1e-12}))
    run = Run(("risk",), 0, source=Run(("cause",), 0))
    source, order = plan.spec_of(run.source or run), plan.spec_of(run)
    train(source, ledger)
    kept = torch.load(ledger.encoder(source.key), weights_only=True)
    noisy = {name: value + 0.5 if value.is_floating_point() else value for name, value in kept.items()}
    from_kept, _ = train(order, ledger)
    torch.save(noisy, ledger.encoder(source.key))
    from_noisy, _ = train(order, ledger)
    assert from_kept["test"]["risk"]["loss"] != from_noisy["test"]["risk"]["loss"]


@pytest.mark.parametrize("heads", ["kept", "fresh"])
def test_fine_tuning_with_kept_heads_and_a_tiny_step_gives_the_scores_of_the_joint_run(
    toy_study: Callable[..., Path], ledger: Ledger, heads: str
) -> None:
    path = toy_study(designs=[{"refine_finetune": {"heads": heads}}], budget={"updates": 1, "evaluations": 1})
    plan = plan_of(path)
    joint = Run(("cause", "drugs", "risk"), 0)
    before, _ = train(plan.spec_of(joint), ledger)
    order = plan.spec_of(Run(("cause",), 0, source=joint, keeps_heads=heads == "kept"))
    still = replace(
        order, model={**order.model, "learning_rate": 1e-12, "head_learning_rate": 1e-12, "weight_decay": 0.0}
    )
    after, _ = train(still, ledger)
    same = pytest.approx(before["test"]["cause"]["loss"], abs=1e-6)
    assert (after["test"]["cause"]["loss"] == same) == (heads == "kept")


def study_of_pair(toy_study: Callable[..., Path], folder: Path, **fields: Any) -> Path:
    """A study of `cause` and of a relation task, `pair`, which has tokens of its own."""
    path = toy_study(designs=["sequential"], tasks=["cause", "pair"], **fields)
    (folder / "pair").mkdir()
    for split, number in {"train": 6, "dev": 3, "test": 3}.items():
        lines = [
            f'{{"id": "{split}-{n}", "text": "@DRUG$ reduces @RISK$ {n} .", "label": "{n % 2}"}}' for n in range(number)
        ]
        (folder / "pair" / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    mixture = folder / "toy.yaml"
    content = yaml.safe_load(mixture.read_text())
    content["tasks"]["pair"] = {
        "head": "relation",
        "labels": ["0", "1"],
        "data": {"reader": "jsonl", "path": "pair"},
        "options": {"negative": "0", "placeholders": ["@DRUG$", "@RISK$"]},
    }
    mixture.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_new_tokens_of_a_target_get_embeddings_next_to_those_of_the_source(
    toy_study: Callable[..., Path], tmp_path: Path, ledger: Ledger
) -> None:
    path = study_of_pair(toy_study, tmp_path)
    plan = plan_of(path)
    for source, target in (("cause", "pair"), ("pair", "cause")):
        run = Run((target,), 0, source=Run((source,), 0))
        assert run.source is not None
        order = plan.spec_of(run)
        assert order.known_tokens == (("@DRUG$", "@RISK$") if source == "pair" else ())
        train(plan.spec_of(run.source), ledger)
        result, _ = train(order, ledger)
        assert math.isfinite(result["test"][target]["loss"])


@pytest.mark.parametrize("num_spare", [0, 8])
def test_new_tokens_of_a_target_start_as_in_a_single_task_run_even_if_the_source_has_spare_rows(
    num_spare: int, toy_study: Callable[..., Path], tmp_path: Path, tiny_encoder: Callable[[], Path], ledger: Ledger
) -> None:
    encoder = AutoModel.from_pretrained(tiny_encoder())
    encoder.resize_token_embeddings(encoder.config.vocab_size + num_spare)
    padded = tmp_path / "padded"
    shutil.copytree(tiny_encoder(), padded)
    encoder.save_pretrained(padded)
    path = study_of_pair(
        toy_study, tmp_path, model={"learning_rate": 1e-12, "head_learning_rate": 1e-12, "weight_decay": 0.0}
    )
    mixture = tmp_path / "toy.yaml"
    content = yaml.safe_load(mixture.read_text())
    mixture.write_text(yaml.safe_dump({**content, "encoder": {"name": str(padded)}}, sort_keys=False))
    plan, source = plan_of(path), Run(("cause",), 0)
    tables = []
    for run in (source, Run(("pair",), 0), Run(("pair",), 0, source=source)):
        order = replace(plan.spec_of(run), keeps_encoder=True)
        train(order, ledger)
        tables.append(torch.load(ledger.encoder(order.key), weights_only=True)[TABLE])
    before, alone, after = tables
    new = slice(encoder.config.vocab_size - num_spare, encoder.config.vocab_size - num_spare + 2)
    assert torch.allclose(after[new], alone[new], atol=1e-6)
    assert not num_spare or not torch.allclose(after[new], before[new], atol=1e-3)


def test_the_curve_has_the_training_losses_of_every_evaluation(toy_study: Callable[..., Path], ledger: Ledger) -> None:
    order = plan_of(toy_study(budget={"updates": 6, "evaluations": 3})).spec_of(Run(("cause", "drugs"), 0))
    result, _ = train(order, ledger)
    losses = [point["train_loss"] for point in result["curve"]]
    assert len(losses) == 3
    assert all(set(loss) == {"cause", "drugs"} and all(map(math.isfinite, loss.values())) for loss in losses)
    assert len({loss["cause"] for loss in losses}) == 3


@pytest.mark.parametrize(
    ("part", "method", "advice"),
    [(MultiTaskModule, "backward", "encoder.gradient_checkpointing"), (Evaluator, "add", "--trainer.accelerator")],
)
def test_a_device_without_enough_memory_is_a_problem_that_names_the_tasks(
    part: type,
    method: str,
    advice: str,
    toy_study: Callable[..., Path],
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    order = plan_of(toy_study()).spec_of(Run(("cause", "drugs"), 0))
    monkeypatch.setattr(part, method, fail)
    with pytest.raises(InputError) as caught:
        train(order, ledger)
    (problem,) = caught.value.problems
    assert problem.key == "batch_size"
    assert any(f" {task} with " in problem.message for task in order.tasks)
    assert advice in problem.suggestion


UNDECIDING = {
    "heads.rows._entity_to_dict",
    "heads.rows.row_to_dict",
    "mtl.batching.gated_data",
    "mtl.code_identity",
    "mtl.config",
    "mtl.data.reading",
    "mtl.data.row_problems",
    "mtl.data.splits",
    "mtl.data.store",
    "mtl.data.weak_labels",
    "mtl.encoder.location",
    "mtl.encoder.self_check",
    "mtl.encoder.trained_run.is_trained",
    "mtl.evaluation.baselines",
    "mtl.evaluation.predictions",
    "mtl.evaluation.scoring",
    "mtl.evaluation.surfaces",
    "mtl.files",
    "mtl.hashed_ids",
    "mtl.log_filters",
    "mtl.private_files",
    "mtl.problems",
    "mtl.readers",
    "mtl.study.design.run_spec",
    "mtl.study.running.ledger",
    "mtl.study.running.run_costs",
    "mtl.tracking",
    "mtl.training.checkpoints",
    "mtl.training.guard",
    "mtl.training.hyperparameters",
    "mtl.training.matching_heads",
    "mtl.training.memory",
}
"""What a run may execute although it is not in its key: rows, settings and files are there by their content."""


def test_all_code_that_a_run_executes_is_in_its_key_unless_it_decides_no_result(
    toy_study: Callable[..., Path], ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(toy_study())
    order = plan.spec_of(Run(("cause", "drugs"), 0))
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "empty"))  # so that the run reads and prepares its data
    executed: set[tuple[str, str]] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] in ("mtl", "heads") and not frame.f_code.co_filename.startswith("<"):
            executed.add((module, frame.f_code.co_qualname.partition(".<")[0]))

    sys.setprofile(note)
    try:
        train(order, ledger)
    finally:
        sys.setprofile(None)
    found = {name for group in plan.code.groups_of(order.tasks) for name in plan.code.definitions[group]}
    functions = {f"{module}.{name}" for module, name in executed if not name.startswith("<")}
    functions = {name for name in functions if not UNDECIDING & prefixes(name)}
    assert {name for name in functions if not found & prefixes(name)} == set()
    assert len(functions) > 150


def prefixes(name: str) -> set[str]:
    """A dotted name, and what is around it."""
    parts = name.split(".")
    return {".".join(parts[:size]) for size in range(1, len(parts) + 1)}
