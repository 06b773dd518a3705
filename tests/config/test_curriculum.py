"""What may change during a training, and the mixture from each step on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl.config.curriculum import end_problems, phases
from mtl.config.loading import load_mixture
from mtl.config.mixture import Mixture
from mtl.config.validation import mixture_problems
from mtl.problems import Problem

DATA = {"reader": "jsonl", "path": "rows"}
GAD = {"head": "classification", "labels": ["a", "b"], "data": DATA}
FIELDS: dict[str, Any] = {
    "name": "two",
    "sampler": {"name": "weighted"},
    "tasks": {
        "mlm": {"head": "masked_lm", "data": DATA, "options": {"rate": 0.15}},
        "gad": GAD,
    },
}


def fields(*curriculum: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**FIELDS, "curriculum": list(curriculum), **changes}


def problem(*curriculum: dict[str, Any], **changes: Any) -> Problem:
    found = mixture_problems(fields(*curriculum, **changes))
    assert len(found) == 1, [str(one) for one in found]
    return found[0]


def mixture(*curriculum: dict[str, Any], **changes: Any) -> Mixture:
    made = fields(*curriculum, **changes)
    assert mixture_problems(made) == []
    return Mixture.model_validate(made)


def test_changes_add_up_from_step_to_step() -> None:
    found = phases(
        mixture(
            {"from_step": 10, "tasks.mlm.options.rate": 0.3, "tasks.gad.rate": 0.5},
            {"from_step": 20, "tasks.mlm.options.unit": "word", "tasks.gad.loss_weight": 2},
            {"from_step": 30, "tasks.mlm.options.replace": {"mask": 1.0}, "tasks.gad.rate": 0},
            {"from_step": 40, "tasks.gad.options.class_weights": {"a": 2.0}, "tasks.gad.options.dropout": 0.3},
            {"from_step": 50, "tasks.gad.options.class_weights": None},
        )
    )
    assert [phase.from_step for phase in found] == [0, 10, 20, 30, 40, 50]
    tasks = [phase.mixture.tasks for phase in found]
    assert [own["gad"].options for own in tasks[3:]] == [
        {},
        {"class_weights": {"a": 2.0}, "dropout": 0.3},
        {"class_weights": None, "dropout": 0.3},
    ]
    assert [own["mlm"].options for own in tasks[:4]] == [
        {"rate": 0.15},
        {"rate": 0.3},
        {"rate": 0.3, "unit": "word"},
        {"rate": 0.3, "unit": "word", "replace": {"mask": 1.0}},
    ]
    assert [(own["gad"].rate, own["gad"].loss_weight) for own in tasks[:4]] == [(None, 1), (0.5, 1), (0.5, 2), (0, 2)]


def test_without_a_curriculum_there_is_one_phase_and_step_0_changes_the_start() -> None:
    plain = mixture()
    assert phases(plain) == [(0, plain)]
    (only,) = phases(mixture({"from_step": 0, "tasks.gad.rate": 0}))
    assert (only.from_step, only.mixture.tasks["gad"].rate) == (0, 0)


def test_a_file_and_a_dump_give_the_same_curriculum(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(yaml.safe_dump(fields({"from_step": 5, "tasks.mlm.options.replace": {"mask": 1.0}})))
    loaded = load_mixture(path)
    assert loaded.curriculum[0].options == {"tasks.mlm.options.replace": {"mask": 1.0}}
    assert Mixture(**loaded.to_dict()) == loaded


def test_fewer_tasks_keep_their_own_changes_only() -> None:
    whole = mixture(
        {"from_step": 5, "tasks.mlm.options.rate": 0.3, "tasks.gad.rate": 0},
        {"from_step": 9, "tasks.gad.rate": 1},
    )
    assert [phase.model_dump() for phase in whole.only(["mlm"]).curriculum] == [
        {"from_step": 5, "tasks.mlm.options.rate": 0.3}
    ]
    assert whole.only(["mlm", "gad"]) == whole


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tasks.mlm.data", DATA),
        ("tasks.mlm.data.path", "other"),
        ("tasks.gad.labels", ["a"]),
        ("tasks.mlm.max_length", 64),
        ("tasks.mlm.head", "classification"),
        ("tasks.mlm.options.words", "whitespace"),
        ("tasks.mlm.options.replace.mask", 1.0),
        ("tasks.gad.options.hidden_layer", 8),
        ("tasks.gad.options.pooling", "mean"),
        ("tasks.gad.options.positive", "a"),
        ("tasks.gad.options.class_weights.a", 2.0),
        ("tasks.gad.batch_size", 2),
        ("tasks.gad", {"rate": 1}),
        ("tasks.mlm.options", {"rate": 0.2}),
        ("encoder.dropout", 0.1),
        ("seed", 3),
    ],
)
def test_what_cannot_change_is_refused_with_what_can(key: str, value: Any) -> None:
    found = problem({"from_step": 5, key: value})
    assert found.key == f"curriculum.0.{key}"
    assert "loss_weight" in found.suggestion
    assert ("options.rate" in found.suggestion) == key.startswith("tasks.mlm.")
    assert ("options.dropout" in found.suggestion) == key.startswith("tasks.gad.")


def test_a_key_without_tasks_is_completed() -> None:
    found = problem({"from_step": 5, "mlm.options.rate": 0.2})
    assert (found.key, found.suggestion) == ("curriculum.0.mlm.options.rate", "Write tasks.mlm.options.rate.")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tasks.mlm.options.rate", 1.0),
        ("tasks.mlm.options.rate", "much"),
        ("tasks.mlm.options.unit", "piece"),
        ("tasks.mlm.options.replace", {"mask": 0.5}),
        ("tasks.gad.options.dropout", 1.5),
        ("tasks.gad.options.dropout", "much"),
        ("tasks.gad.options.class_weights", {"c": 2.0}),
        ("tasks.gad.options.class_weights", {"a": 0}),
        ("tasks.gad.options.distillation", {"share": 2}),
        ("tasks.gad.rate", -1),
        ("tasks.gad.rate", True),
        ("tasks.gad.rate", float("inf")),
        ("tasks.gad.loss_weight", 0),
        ("tasks.gda.rate", 1),
    ],
)
def test_a_wrong_value_is_refused_at_its_place(key: str, value: Any) -> None:
    found = problem({"from_step": 5, "tasks.gad.loss_weight": 2}, {"from_step": 6, key: value})
    assert found.key.startswith(f"curriculum.1.{key}")


def test_steps_are_in_order_and_whole_numbers() -> None:
    change = {"tasks.gad.rate": 2}
    for second in (4, 5):
        assert problem({"from_step": 5, **change}, {"from_step": second, **change}).key == "curriculum.1.from_step"
    for wrong in (-1, 2.5, True):
        assert problem({"from_step": wrong, **change}).key == "curriculum.0.from_step"
    assert problem(change).key == "curriculum.0.from_step"
    assert problem({"from_step": 5}).key == "curriculum.0"


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": {"name": "proportional"}},
        {"tasks_per_step": "all"},
        {"tasks_per_step": 2},
        {
            "tasks": {
                **FIELDS["tasks"],
                "rqe": FIELDS["tasks"]["gad"],
                "gad": {**FIELDS["tasks"]["gad"], "same_rows_as": "rqe"},
            }
        },
    ],
)
def test_a_rate_that_would_have_no_effect_is_refused(changes: dict[str, Any]) -> None:
    found = problem({"from_step": 5, "tasks.gad.rate": 2}, **changes)
    assert (found.key, "no effect" in found.message) == ("curriculum.0.tasks.gad.rate", True)


def test_some_task_must_always_be_trained() -> None:
    found = problem({"from_step": 5, "tasks.gad.rate": 0}, {"from_step": 9, "tasks.mlm.rate": 0})
    assert (found.key, "step 9" in found.message) == ("curriculum", True)
    assert mixture_problems(fields({"from_step": 5, "tasks.gad.rate": 0, "tasks.mlm.rate": 1})) == []


def test_all_problems_of_a_curriculum_are_found_at_once_and_next_to_others() -> None:
    found = mixture_problems(
        fields(
            {"from_step": 5, "tasks.gad.rate": -1, "tasks.mlm.options.rate": 2},
            {"from_step": 3, "seed": 1},
            batch_size=0,
        )
    )
    assert sorted(one.key for one in found) == [
        "batch_size",
        "curriculum.0.tasks.gad.rate",
        "curriculum.0.tasks.mlm.options.rate",
        "curriculum.1.from_step",
        "curriculum.1.seed",
    ]


def test_an_entry_that_the_training_does_not_reach_is_a_problem() -> None:
    whole = mixture({"from_step": 5, "tasks.gad.rate": 2}, {"from_step": 9, "tasks.gad.rate": 0})
    assert end_problems(whole, 10) == []
    assert [one.key for one in end_problems(whole, 9)] == ["curriculum.1.from_step"]
    assert [one.key for one in end_problems(whole, 5)] == ["curriculum.0.from_step", "curriculum.1.from_step"]
