from dataclasses import asdict

from mtl.study.design.rates import StudyOptimisation
from mtl.training.hyperparameters import Optimisation

MODEL = StudyOptimisation(
    learning_rate=1e-4,
    head_learning_rate=1e-3,
    warmup=0.2,
    tasks={"a": {"learning_rate": 2e-4}, "b": {"head_learning_rate": 2e-3}},
    stages={
        "refine": {"learning_rate": 3e-4},
        "finetune": {"learning_rate": 4e-4, "tasks": {"a": {"learning_rate": 5e-4}}},
    },
)


def rates(*tasks: str, stage: str = "") -> tuple[float | None, float | None]:
    found = MODEL.of(tasks, stage)
    assert found.warmup == 0.2
    assert type(found) is Optimisation
    return found.learning_rate, found.head_learning_rate


def test_the_rates_of_a_task_are_those_of_runs_that_train_it_alone() -> None:
    assert rates("a") == rates("a", "a") == (2e-4, 1e-3)
    assert rates("b") == (1e-4, 2e-3)
    assert rates("c") == rates("a", "c") == (1e-4, 1e-3)


def test_a_stage_has_its_own_rates_and_within_it_a_task() -> None:
    assert rates("a", stage="finetune") == (5e-4, 1e-3)
    assert rates("b", stage="finetune") == (4e-4, 2e-3)


def test_in_the_stage_refine_a_task_alone_has_the_rate_of_the_joint_run() -> None:
    assert {rates("a", "b", stage="refine"), rates("a", stage="refine"), rates("b", stage="refine")} == {(3e-4, 1e-3)}


def test_settings_without_tasks_and_stages_are_written_as_before_they_existed() -> None:
    own = {"learning_rate": 1e-4, "weight_decay": 0.0, "layer_decay": 0.9}
    assert StudyOptimisation(**own).to_dict() == asdict(Optimisation(**own))
    assert MODEL.to_dict()["tasks"]["a"] == {"learning_rate": 2e-4, "head_learning_rate": None}
