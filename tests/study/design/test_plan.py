import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl.batching.schedule import make_schedule
from mtl.config.mixture import Mixture, PermuteSpec
from mtl.data.examples import prepare
from mtl.problems import InputError
from mtl.study.design.description import described
from mtl.study.design.plan import StudyPlan, make_plan
from mtl.study.design.run_spec import RunSpec
from mtl.study.design.runs import Run
from mtl.study.design.study_file import load_study


def plan_of(path: Path, *overrides: str) -> StudyPlan:
    return make_plan(load_study(path, overrides))


def keys(plan: StudyPlan) -> dict[str, str]:
    return {order.name: order.key for order in plan.run_specs}


def set_in_mixture(folder: Path, **settings: Any) -> None:
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **settings}, sort_keys=False))


def batches(plan: StudyPlan, run: Run, task: str) -> list[list[int]]:
    """The examples of the updates of a task, in order."""
    order = plan.spec_of(run)
    mixture = Mixture(**order.mixture)
    from mtl.training.assembly import build_heads

    heads, tokenizer = build_heads(mixture)
    steps = make_schedule(mixture, prepare(mixture, heads, tokenizer), order.evaluations)
    slots = [slot for epoch in range(order.evaluations) for slot in steps.epoch(epoch)]
    return [steps.indices(pick).tolist() for slot in slots for pick in slot if pick.task == task]


def test_a_target_has_the_same_updates_on_the_same_examples_in_every_run(
    toy_study: Callable[..., Path],
) -> None:
    plan = plan_of(toy_study(designs=["pairwise", "joint"], controls=["self_partner", "shuffled_partner"]))
    alone = batches(plan, Run(("cause",), 1), "cause")
    assert len(alone) == 4
    co_trained = {run for run in plan.runs if "cause" in run.tasks and run.seed == 1 and len(run.tasks) > 1}
    assert len(co_trained) == 5
    for run in co_trained:
        assert batches(plan, run, "cause") == alone


def test_an_unavailable_precision_is_reported_before_any_data_is_read(toy_study: Callable[..., Path]) -> None:
    study = load_study(toy_study(trainer={"accelerator": "cpu", "precision": "16-mixed"}))
    with pytest.raises(InputError) as caught:
        make_plan(study)
    assert [problem.key for problem in caught.value.problems] == ["trainer.precision"]


def test_a_balancing_method_that_needs_all_tasks_in_every_update_is_an_error(
    toy_study: Callable[..., Path], tmp_path: Path
) -> None:
    path = toy_study()
    balancing, sampler = {"name": "tests.balancing.pcgrad.PCGrad"}, {"name": "round_robin"}
    set_in_mixture(tmp_path, balancing=balancing, sampler=sampler, tasks_per_step="all")
    with pytest.raises(InputError) as caught:
        make_plan(load_study(path))
    assert [problem.key for problem in caught.value.problems] == ["balancing.name"]


def test_the_balancing_method_and_its_options_are_in_every_key(toy_study: Callable[..., Path], tmp_path: Path) -> None:
    path = toy_study()
    found = []
    for balancing in ({}, {"name": "dynamic_average"}, {"name": "dynamic_average", "temperature": 3.0}):
        set_in_mixture(tmp_path, balancing=balancing)
        found.append(keys(plan_of(path)))
    assert all(len({of_plan[name] for of_plan in found}) == 3 for name in found[0])


def test_a_copy_of_a_task_sees_the_rows_in_a_different_order(toy_study: Callable[..., Path]) -> None:
    plan = plan_of(toy_study(designs=["single"], controls=["self_partner"]))
    run = Run(("cause", "cause__self"), 0)
    assert batches(plan, run, "cause__self") != batches(plan, run, "cause")


def test_passes_become_updates_rounded_up_to_whole_evaluations(toy_study: Callable[..., Path]) -> None:
    plan = plan_of(toy_study(budget={"passes": 2, "evaluations": 3}))
    # 26, 15 and 9 rows in batches of 4 are 7, 4 and 3 batches a pass.
    assert plan.updates == {"cause": 15, "drugs": 9, "risk": 6}


def test_runs_that_designs_share_are_planned_once_and_sources_before_their_dependants(
    toy_study: Callable[..., Path],
) -> None:
    plan = plan_of(toy_study(designs=["single", "pairwise", "sequential", "refine_finetune", "leave_one_out", "joint"]))
    # Of each seed: 3 single, 3 pairs (which leaving one out shares), 1 joint, 6 sequential, 3 fine-tuned from the joint
    # run and 3 from themselves.
    assert len(plan.run_specs) == 2 * (3 + 3 + 1 + 6 + 3 + 3)
    assert len({order.key for order in plan.run_specs}) == len(plan.run_specs)
    place = {order.key: number for number, order in enumerate(plan.run_specs)}
    assert all(place[order.source] < place[order.key] for order in plan.run_specs if order.source)
    assert [order.seed for order in plan.run_specs] == sorted(order.seed for order in plan.run_specs)
    kept = {order.key for order in plan.run_specs if order.keeps_encoder}
    assert kept == {order.source for order in plan.run_specs if order.source}


def test_a_run_is_labelled_with_the_designs_that_need_it(toy_study: Callable[..., Path]) -> None:
    plan = plan_of(toy_study(controls=["replicate"], continued=True))
    labels = {order.trains: order.designs for order in plan.run_specs if order.seed == 1}
    assert labels["cause"] == ("single",)
    assert labels["cause + risk"] == ("pairwise",)
    assert labels["cause then cause with its heads"] == ("continued",)
    assert {order.designs for order in plan.run_specs if order.seed > 1_000} == {("replicate",)}


def test_a_key_depends_only_on_what_decides_the_result(toy_study: Callable[..., Path], tmp_path: Path) -> None:
    path = toy_study()
    first = keys(plan_of(path))
    same = ["name=other", "question=Why?", "launcher={name: processes, workers: 2}", "experiment=x", "alpha=0.1"]
    assert keys(plan_of(path, *same)) == first
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("cause", "drugs", "risk", "bleed"):
        (tmp_path / name).rename(moved / name)
    mixture = yaml.safe_load((tmp_path / "toy.yaml").read_text())
    for name, task in mixture["tasks"].items():
        task["data"]["path"] = str(moved / name)
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump({**mixture, "name": "renamed", "seed": 9}, sort_keys=False))
    assert keys(plan_of(path)) == first
    different = [
        "budget.updates=6",
        "model.learning_rate=0.01",
        "trainer.threads=2",
        "select=last",
        "budget.train_rows=8",
    ]
    for override in different:
        assert not set(keys(plan_of(path, override)).values()) & set(first.values())


def test_other_rows_change_the_keys_of_the_runs_that_read_them(toy_study: Callable[..., Path], tmp_path: Path) -> None:
    path = toy_study()
    first = keys(plan_of(path))
    file = tmp_path / "risk" / "train.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[0]["label"] = 1.5 if lines[0]["label"] != 1.5 else 2.5
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    changed = {name for name, key in keys(plan_of(path)).items() if key != first[name]}
    assert changed == {name for name in first if "risk" in name}


def test_a_shuffled_partner_is_the_task_with_its_training_labels_permuted_by_the_sample_seed(
    toy_study: Callable[..., Path],
) -> None:
    control = {"shuffled_partner": {"cause": "drugs", "risk": "cause"}}
    path = toy_study(designs=["single"], controls=[control], budget={"updates": 4, "evaluations": 2, "sample_seed": 5})
    plan = plan_of(path)
    for target, partner, mentions in (("cause", "drugs", True), ("risk", "cause", False)):
        copy = f"{partner}__shuffled"
        mixture = Mixture(**plan.spec_of(Run((target, copy), 0)).mixture)
        assert mixture.tasks[copy].data.permute == PermuteSpec(seed=5, mentions=mentions)
        original = plan.study.mixture.tasks[partner]
        assert mixture.tasks[copy].data.model_copy(update={"permute": None}) == original.data
    before, after = keys(plan), keys(plan_of(path, "budget.sample_seed=6"))
    assert {name for name in before if after[name] != before[name]} == {name for name in before if "__shuffled" in name}


def test_a_shuffled_partner_that_labels_mentions_has_its_attribute_permuted(
    toy_study: Callable[..., Path], tmp_path: Path
) -> None:
    path = toy_study(
        designs=["single"], tasks=["cause", "status"], controls=[{"shuffled_partner": {"cause": "status"}}]
    )
    (tmp_path / "status").mkdir()
    for split in ("train", "dev", "test"):
        found = [
            {"id": "T", "type": "S", "spans": [[3, 8]], "attributes": {"status": ("y", "n")[n % 2]}} for n in range(8)
        ]
        lines = [{"id": f"{split}-{n}", "text": "no fever", "entities": [one]} for n, one in enumerate(found)]
        (tmp_path / "status" / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    mixture = yaml.safe_load((tmp_path / "toy.yaml").read_text())
    data = {"reader": "jsonl", "path": str(tmp_path / "status")}
    options = {"attribute": "status"}
    mixture["tasks"]["status"] = {
        "head": "mention_classification",
        "labels": ["y", "n"],
        "options": options,
        "data": data,
    }
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(mixture))
    made = Mixture(**plan_of(path).spec_of(Run(("cause", "status__shuffled"), 0)).mixture)
    assert made.tasks["status__shuffled"].data.permute == PermuteSpec(attribute="status")


def test_more_tasks_or_seeds_do_not_change_the_keys_of_existing_runs(toy_study: Callable[..., Path]) -> None:
    small = set(keys(plan_of(toy_study(tasks=["cause", "drugs"]))).values())
    large = set(keys(plan_of(toy_study(seeds=3))).values())
    assert small < large


def test_a_run_spec_survives_json(toy_study: Callable[..., Path]) -> None:
    orders = plan_of(toy_study(designs=["sequential"])).run_specs
    assert [RunSpec.from_dict(json.loads(json.dumps(order.to_dict()))) for order in orders] == list(orders)


def test_documents_in_training_of_one_task_and_test_of_another_are_reported_by_id_or_excluded(
    toy_study: Callable[..., Path], tmp_path: Path
) -> None:
    path = toy_study(seeds=2)
    test = [json.loads(line) for line in (tmp_path / "cause" / "test.jsonl").read_text().splitlines()]
    train = tmp_path / "drugs" / "train.jsonl"
    leaked: dict[str, Any] = {"id": "leak-1", "document": "doc-77", "text": test[0]["text"], "entities": []}
    train.write_text(train.read_text() + json.dumps(leaked) + "\n")
    with pytest.raises(InputError) as caught:
        plan_of(path)
    (problem,) = caught.value.problems
    assert problem.key == "tasks.drugs"
    assert all(word in problem.message for word in ("'drugs'", "test of 'cause'", "doc-77"))
    assert "exclude: documents" in problem.suggestion
    plan = plan_of(path, "exclude=documents")
    assert plan.study.mixture.tasks["drugs"].data.exclude == ("doc-77",)
    assert any(sentence.endswith(": 1 of drugs.") for sentence in described(plan))


def test_a_task_without_a_test_split_is_an_error(toy_study: Callable[..., Path], tmp_path: Path) -> None:
    path = toy_study()
    (tmp_path / "risk" / "test.jsonl").unlink()
    with pytest.raises(InputError) as caught:
        plan_of(path)
    assert [problem.key for problem in caught.value.problems] == ["tasks.risk.data"]


def test_the_description_has_updates_and_sizes_of_each_task(toy_study: Callable[..., Path]) -> None:
    words = " ".join(described(plan_of(toy_study(budget={"updates": 5, "evaluations": 2, "train_rows": 8}))))
    assert ": cause 6, drugs 6, risk 6." in words
    assert "Budget: 5 updates per task" in words
    assert "sub-sampled" in words
    assert ": cause 8/9/8" in words


def test_the_description_says_whether_gains_are_compared_with_further_training(
    toy_study: Callable[..., Path],
) -> None:
    path = toy_study()
    found = {
        value: [sentence for sentence in described(plan_of(path, f"continued={value}")) if "continued" in sentence]
        for value in ("true", "false")
    }
    assert len(found["true"]) == len(found["false"]) == 1
    assert "switched off (continued: false)" in found["false"][0]
    assert not any("continued" in sentence for sentence in described(plan_of(path, "designs=[single]")))


def test_the_description_counts_texts_that_are_in_train_and_test_of_a_task(
    toy_study: Callable[..., Path], tmp_path: Path
) -> None:
    path = toy_study(designs=["single"])

    def texts_of_test_in_train() -> int:
        notes = " ".join(sentence for sentence in described(plan_of(path)) if sentence.startswith("cause: "))
        found = re.search(r"(\d+) texts?\b.* of test ", notes)
        return int(found[1]) if found else 0

    before = texts_of_test_in_train()
    row = json.loads((tmp_path / "cause" / "train.jsonl").read_text().splitlines()[0])
    with (tmp_path / "cause" / "test.jsonl").open("a") as file:
        file.write(json.dumps({**row, "id": "again"}) + "\n")
    assert texts_of_test_in_train() == before + 1
