from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from mtl.config.validation import mixture_problems, readable_tasks
from mtl.problems import Problem


def fields(**extra: Any) -> dict[str, Any]:
    data = {"reader": "jsonl", "path": "rows"}
    tasks = {name: {"head": "classification", "labels": ["a", "b"], "data": dict(data)} for name in ("gad", "rqe")}
    return {"name": "m", "tasks": tasks, **extra}


def changed(**changes: Any) -> dict[str, Any]:
    """The fields with some values set at dotted keys, in which `__` stands for a dot."""
    made = copy.deepcopy(fields())
    for key, value in changes.items():
        *parents, last = key.split("__")
        target = made
        for part in parents:
            target = target.setdefault(part, {})
        if value is ...:
            del target[last]
        else:
            target[last] = value
    return made


def only_problem(**changes: Any) -> Problem:
    found = mixture_problems(changed(**changes))
    assert len(found) == 1, [str(problem) for problem in found]
    return found[0]


def test_right_fields_have_no_problem() -> None:
    assert mixture_problems(fields()) == []
    assert mixture_problems(changed(tasks__gad__rate=2.5, sampler__name="temperature", sampler__temperature=3)) == []
    assert mixture_problems(changed(tasks__rqe__same_rows_as="gad", evaluation__select="rqe/accuracy")) == []


# --- one key --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("tasks.gad.loss_weight", -1, "It must be above 0; found -1."),
        ("tasks.gad.loss_weight", 0, "It must be above 0; found 0."),
        ("tasks.gad.rate", float("inf"), "It must be a finite number; found inf."),
        ("tasks.gad.rate", "much", "It must be a number; found 'much'."),
        ("tasks.gad.learning_rate_factor", float("nan"), "It must be a finite number; found nan."),
        ("tasks.gad.batch_size", 0, "It must be at least 1; found 0."),
        ("tasks.gad.batch_size", 2.5, "It must be a whole number; found 2.5."),
        ("tasks.gad.batch_size", True, "It must be a whole number; found true."),
        ("tasks.gad.max_length", 7, "It must be at least 8; found 7."),
        ("tasks.gad.labels", "a", "It must be a list; found 'a'."),
        ("tasks.gad.data", "rows", "It must be keys with values; found 'rows'."),
        ("tasks.gad.data.path", 3, "It must be a text or keys with values; found 3."),
        ("tasks.gad.data.path", {"train": "a", "devel": "b"}, None),
        ("tasks.gad.data.limit", {}, "It must limit train, dev or test; found nothing."),
        ("tasks.gad.data.limit", {"seed": 1}, "It must limit train, dev or test; found keys with values (seed)."),
        ("tasks.gad.data.limit.train", 0, "It must be at least 1; found 0."),
        ("tasks.gad.data.limit.dev", 2.5, "It must be a whole number; found 2.5."),
        ("tasks.gad.data.exclude", "d1", "It must be a list; found 'd1'."),
        ("tasks.gad.data.on_bad_row", True, "It must be 'error' or 'skip'; found true."),
        ("tasks.gad.data.on_bad_row", "ignore", "It must be 'error' or 'skip'; found 'ignore'."),
        ("tasks.gad.data.permute", True, "It must be keys with values; found true."),
        ("tasks.gad.data.permute.seed", 1.5, "It must be a whole number; found 1.5."),
        ("tasks.gad.data.permute.mentions", 1, "It must be true or false; found 1."),
        ("tasks.gad.options", [1], "It must be keys with values; found a list of 1."),
        ("tasks.gad", None, "It must be keys with values; found nothing."),
        ("encoder.dropout", 1, "It must be below 1; found 1."),
        ("encoder.attention", "flash", None),
        ("seed", -1, "It must be at least 0; found -1."),
        ("seed", "one", "It must be a whole number; found 'one'."),
        ("privacy.log_text", "yes", "It must be true or false; found 'yes'."),
    ],
)
def test_a_wrong_value_is_told_by_key_rule_and_what_was_found(key: str, value: Any, rule: str | None) -> None:
    problem = only_problem(**{key.replace(".", "__"): value})
    if rule is None:
        assert problem.key.startswith(key)
        assert "It must be '" in problem.message
    else:
        assert (problem.key, problem.message) == (key, rule)


@pytest.mark.parametrize(
    ("value", "found", "advice"),
    [
        (True, "true", "Put it in quotes: YAML reads a bare yes, no, on, off, true or false as a boolean."),
        (False, "false", "Put it in quotes: YAML reads a bare yes, no, on, off, true or false as a boolean."),
        (1, "1", "Put it in quotes: YAML reads bare digits as a number."),
        (None, "nothing", "Put it in quotes: YAML reads a bare null or ~ as nothing."),
    ],
)
def test_a_label_that_yaml_read_as_something_else_brings_the_advice_to_quote(
    value: Any, found: str, advice: str
) -> None:
    problem = only_problem(tasks__gad__labels=["a", value])
    assert problem == Problem("tasks.gad.labels.1", f"It must be a text; found {found}.", advice)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("taks", "tasks"),
        ("encoder.maxlength", "max_length"),
        ("tasks.gad.laebls", "labels"),
        ("evaluation.selct", "select"),
        ("privacy.log_txt", "log_text"),
        ("sampler.steps_per_epoc", None),
        ("tasks.gad.data.on_bad_rows", "on_bad_row"),
        ("tasks.gad.data.refuse_bad_rows", "on_bad_row"),
        ("tasks.gad.data.limit.trian", "train"),
        ("tasks.gad.data.permute.mention", "mentions"),
        ("tasks.gad.options.dropuot", "dropout"),
    ],
)
def test_an_unknown_key_brings_the_nearest_right_one(key: str, nearest: str | None) -> None:
    problem = only_problem(**{key.replace(".", "__"): 1})
    assert problem.key == key
    assert problem.message.startswith(
        ("There is no key", "Jsonl has no option", "Classification has no", "Proportional")
    )
    assert nearest is None or f"Did you mean '{nearest}'?" in problem.suggestion


def test_a_task_named_like_a_section_gets_the_choices_of_a_task() -> None:
    made = fields()
    made["tasks"] = {"sampler": {**made["tasks"]["gad"], "laebls": 1}}
    (problem,) = mixture_problems(made)
    assert "Did you mean 'labels'?" in problem.suggestion
    assert "same_rows_as" in problem.suggestion


@pytest.mark.parametrize("key", ["name", "tasks", "tasks.gad.head", "tasks.gad.data", "tasks.gad.data.path"])
def test_a_missing_key_is_asked_for(key: str) -> None:
    problem = only_problem(**{key.replace(".", "__"): ...})
    assert problem == Problem(key, f"The key '{key.rsplit('.', maxsplit=1)[-1]}' is missing.", "Add it.")


def test_a_missing_key_is_recognised_in_a_misspelt_one() -> None:
    missing, _ = mixture_problems(changed(tasks__gad__head=..., tasks__gad__haed="classification"))
    assert missing.suggestion == "Add it; or is it what 'haed' should be?"


def test_an_override_of_a_misspelt_task_brings_the_right_one() -> None:
    found = mixture_problems(changed(tasks__gda__rate=3))
    assert [problem.key for problem in found] == ["tasks.gda.head", "tasks.gda.data"]
    assert {problem.suggestion for problem in found} == {"Add it; or is the task 'gad' meant?"}


def test_a_mixture_without_tasks_is_refused() -> None:
    assert only_problem(tasks={}).message == "A mixture must have a task; found none."
    assert only_problem(tasks=["gad"]).message == "It must be keys with values; found a list of 1."


@pytest.mark.parametrize("name", ["", " ", "../x", "a/b", "a\\b", ".hidden"])
def test_a_name_that_cant_be_the_folder_of_its_runs_is_refused(name: str) -> None:
    problem = only_problem(name=name)
    assert problem.key == "name"
    assert problem.message.startswith("It must be usable as the name of a folder")


# --- names of tasks -------------------------------------------------------------------------------------------------


def named(*names: str) -> dict[str, Any]:
    made = fields()
    made["tasks"] = dict.fromkeys(names, made["tasks"]["gad"])
    return made


@pytest.mark.parametrize("name", ["", "a-b", "a b", "2013", "_x", "ä", "a.b", "a/b", "x" * 101])
def test_a_task_name_that_cant_be_a_key_is_refused(name: str) -> None:
    (problem,) = mixture_problems(named(name))
    assert problem.key == f"tasks.{name}"
    assert problem.message.startswith("A task's name must be at most 100 letters, digits and '_'")


@pytest.mark.parametrize(
    "name", ["keys", "items", "values", "pop", "update", "forward", "train", "eval", "type", "half", "training"]
)
def test_a_task_name_that_pytorch_keeps_is_refused(name: str) -> None:
    (problem,) = mixture_problems(named(name))
    assert problem == Problem(
        f"tasks.{name}", f"PyTorch keeps the name '{name}' for itself.", f"Rename it, to {name}_task for example."
    )


@pytest.mark.parametrize(
    "name", ["keys_task", "test", "dev", "loss", "data", "selection", "sampler", "best", "X" * 100]
)
def test_every_name_that_is_allowed_can_hold_a_head(name: str) -> None:
    assert mixture_problems(named(name)) == []
    assert name in nn.ModuleDict({name: nn.Linear(1, 1)})


def test_names_that_differ_in_case_alone_are_refused() -> None:
    (problem,) = mixture_problems(named("gad", "rqe", "GAD"))
    assert (problem.key, "found 'gad' too" in problem.message) == ("tasks.GAD", True)


# --- components -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "message", "nearest"),
    [
        ("tasks.gad.head", "clasification", "There is no head 'clasification'.", "classification"),
        ("tasks.gad.data.reader", "jsnl", "There is no reader 'jsnl'.", "jsonl"),
        ("sampler.name", "unifrom", "There is no sampler 'unifrom'.", "uniform"),
    ],
)
def test_an_unknown_component_brings_the_nearest(key: str, value: str, message: str, nearest: str) -> None:
    problem = only_problem(**{key.replace(".", "__"): value})
    assert (problem.key, problem.message) == (key, message)
    assert problem.suggestion.startswith(f"Did you mean '{nearest}'? Choices: ")


@pytest.mark.parametrize(
    ("changes", "key", "part"),
    [
        ({"labels": []}, "labels", "at least 2"),
        ({"labels": ["a"]}, "labels", "at least 2"),
        ({"labels": ["a", "a", "b"]}, "labels", "found a more than once"),
        ({"primary_metric": "f1"}, "primary_metric", "accuracy, macro_f1, micro_f1; got 'f1'."),
        ({"options": {"primary_metric": "f1"}}, "options", "primary_metric must be one of"),
        ({"options": {"dropout": "much"}}, "options.dropout", "It must be a number; found 'much'."),
        ({"options": {"labels": ["a"]}}, "options.labels", "has no option 'labels'"),
        ({"head": "regression", "labels": []}, "options.range", "needs the option 'range'"),
    ],
)
def test_what_the_head_refuses_is_told_under_the_key_where_it_stands(changes: Any, key: str, part: str) -> None:
    problem = only_problem(**{f"tasks__gad__{name}": value for name, value in changes.items()})
    assert problem.key == f"tasks.gad.{key}"
    assert part in problem.message


@pytest.mark.parametrize("sampler", ["proportional", "uniform", "round_robin"])
def test_a_rate_is_refused_where_the_sampler_ignores_it(sampler: str) -> None:
    made = changed(tasks__gad__rate=2, sampler__name=sampler)
    from mtl.config.components import find

    expected = [] if find("sampler", sampler, "x").uses_rates else ["tasks.gad.rate"]
    assert [problem.key for problem in mixture_problems(made)] == expected
    assert find("sampler", "proportional", "x").uses_rates is False


def test_a_samplers_own_rules_are_checked_before_any_data_is_read() -> None:
    problem = only_problem(sampler__name="temperature", sampler__temperature=-2)
    assert (problem.key, problem.message) == ("sampler.temperature", "It must be a finite number above 0; found -2.0.")


# --- tasks that share rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "key", "part"),
    [
        ({"rqe__same_rows_as": "gda"}, "rqe.same_rows_as", "must name another task; found 'gda'"),
        ({"rqe__same_rows_as": "rqe"}, "rqe.same_rows_as", "must name another task; found 'rqe'"),
        ({"rqe__same_rows_as": "gad", "rqe__batch_size": 2}, "rqe.batch_size", "no effect"),
        ({"rqe__same_rows_as": "gad", "rqe__max_length": 64}, "rqe.max_length", "must be that of 'gad', 128"),
        ({"rqe__same_rows_as": "gad", "gad__max_length": 64}, "rqe.max_length", "must be that of 'gad', 64"),
    ],
)
def test_a_task_that_cant_follow_another_is_told(changes: Any, key: str, part: str) -> None:
    problem = only_problem(**{f"tasks__{name}": value for name, value in changes.items()})
    assert problem.key == f"tasks.{key}"
    assert part in problem.message


def test_a_written_rate_of_a_follower_has_no_effect_whatever_the_sampler() -> None:
    problem = only_problem(tasks__rqe__same_rows_as="gad", tasks__rqe__rate=2, sampler__name="temperature")
    assert (problem.key, problem.suggestion) == ("tasks.rqe.rate", "Remove it.")


def test_followers_of_followers_and_circles_are_refused() -> None:
    found = mixture_problems(changed(tasks__rqe__same_rows_as="gad", tasks__gad__same_rows_as="rqe"))
    assert [problem.key for problem in found][:2] == ["tasks.gad.same_rows_as", "tasks.rqe.same_rows_as"]


# --- what selects ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("select", ["men", "gad", "gda/accuracy", "", "/accuracy"])
def test_a_rule_of_selection_that_doesnt_exist_is_told_with_the_choices(select: str) -> None:
    problem = only_problem(evaluation__select=select)
    assert problem.key == "evaluation.select"
    assert "Choices: gad/<metric>, mean, rqe/<metric>, weighted, worst." in problem.suggestion


def test_weights_need_tasks_and_the_rule_that_uses_them() -> None:
    assert mixture_problems(changed(evaluation__select="weighted", evaluation__weights={"gad": 2})) == []
    assert only_problem(evaluation__select="weighted", evaluation__weights={"gda": 2}).key == "evaluation.weights.gda"
    problem = only_problem(evaluation__weights={"gad": 2})
    assert (problem.key, problem.message) == ("evaluation.weights", "They have no effect: select is 'mean'.")


# --- all at once ----------------------------------------------------------------------------------------------------


def test_problems_of_every_kind_are_told_in_one_go() -> None:
    made = changed(
        tasks__gad__labels=[True, False],
        tasks__gad__options={"dropuot": 1},
        tasks__rqe__head="regresion",
        tasks__rqe__data__reader="jsnl",
        tasks__keys=fields()["tasks"]["gad"],
        tasks__other={"head": "x"},
        taks=1,
        seed="x",
        sampler__name="unifrom",
        evaluation__select="men",
        encoder__max_length=2,
    )
    assert {problem.key for problem in mixture_problems(made)} == {
        "tasks.gad.labels.0",
        "tasks.gad.labels.1",
        "tasks.gad.options.dropuot",
        "tasks.rqe.head",
        "tasks.rqe.data.reader",
        "tasks.keys",
        "tasks.other.data",
        "taks",
        "seed",
        "sampler.name",
        "evaluation.select",
        "encoder.max_length",
    }


def test_a_task_that_cant_be_read_may_still_be_named() -> None:
    made = changed(tasks__gad=3, tasks__rqe__same_rows_as="gad", evaluation__select="gad/accuracy")
    assert [problem.key for problem in mixture_problems(made)] == ["tasks.gad"]


def test_a_malformed_sampler_brings_no_problems_of_the_default_one() -> None:
    assert [f.key for f in mixture_problems(changed(sampler="temperature", tasks__gad__rate=2))] == ["sampler"]


@pytest.mark.parametrize("only", ["gad", [], ["gda"]])
def test_only_must_be_a_list_of_tasks(only: Any) -> None:
    assert only_problem(only=only).key == "only"


# --- what can be read all the same ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "has_head"),
    [
        (lambda task: task.update(rate=-1), True),
        (lambda task: task.update(labels=[True]), False),
        (lambda task: task.update(head="x"), False),
        (lambda task: task.update(head=3), False),
        (lambda task: task.pop("head"), False),
        (lambda task: task.update(options={"dropuot": 1}), False),
        (lambda task: task.update(data=3), None),
        (lambda task: task["data"].update(reader="x"), None),
        (lambda task: task["data"].update(colums={}), None),
    ],
)
def test_data_is_read_wherever_its_own_keys_are_right(change: Callable[[Any], None], has_head: bool | None) -> None:
    made = fields()
    change(made["tasks"]["gad"])
    found = readable_tasks(made)
    assert found["rqe"].head is not None
    assert (found["gad"].head is not None if "gad" in found else None) is has_head


# --- batches ----------------------------------------------------------------------------------------------------------


def test_a_step_of_more_tasks_than_there_are_is_refused() -> None:
    problem = only_problem(tasks_per_step=3)
    assert str(problem) == (
        "tasks_per_step: There are 2 tasks with batches of their own; found 3. Write all, or a smaller number."
    )
    assert only_problem(tasks_per_step=2, tasks__rqe__same_rows_as="gad").key == "tasks_per_step"
    assert mixture_problems(changed(tasks_per_step=2)) == mixture_problems(changed(tasks_per_step="all")) == []
    assert only_problem(tasks_per_step="many").key == "tasks_per_step"


def test_a_rate_has_no_effect_where_every_step_trains_every_task() -> None:
    sampler = {"sampler__name": "temperature", "tasks__gad__rate": 2.0}
    assert only_problem(tasks_per_step="all", **sampler).key == "tasks.gad.rate"
    assert only_problem(tasks_per_step=2, **sampler).key == "tasks.gad.rate"
    assert mixture_problems(changed(tasks_per_step=1, **sampler)) == []


def test_a_sampler_that_cannot_mix_is_told_before_the_data_is_read() -> None:
    anchored = {"sampler": {"name": "anchored", "main": "gad", "order": "main_last"}}
    assert only_problem(**anchored, tasks_per_step=2).key == "sampler.order"
    assert only_problem(**anchored, tasks_per_step="all").key == "sampler.order"


def test_a_task_has_batches_of_examples_or_of_tokens() -> None:
    assert only_problem(tasks__gad__tokens_per_batch=512, tasks__gad__batch_size=4).key == "tasks.gad.tokens_per_batch"
    assert mixture_problems(changed(tokens_per_batch=512, tasks__gad__batch_size=4)) == []
    follower = only_problem(tasks__gad__tokens_per_batch=512, tasks__gad__same_rows_as="rqe")
    assert follower.key == "tasks.gad.tokens_per_batch"
