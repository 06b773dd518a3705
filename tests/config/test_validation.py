from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from mtl.config.components import choices, find
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


def test_valid_fields_have_no_problems() -> None:
    assert mixture_problems(fields()) == []
    assert mixture_problems(changed(tasks__gad__rate=2.5, sampler__name="temperature", sampler__temperature=3)) == []
    assert mixture_problems(changed(tasks__rqe__same_rows_as="gad", evaluation__select="rqe/accuracy")) == []


# --- one key --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "rule", "shown"),
    [
        ("tasks.gad.loss_weight", -1, "above 0", "-1"),
        ("tasks.gad.loss_weight", 0, "above 0", "0"),
        ("tasks.gad.rate", float("inf"), "finite number", "inf"),
        ("tasks.gad.rate", "much", "a number", "'much'"),
        ("tasks.gad.learning_rate_factor", float("nan"), "finite number", "nan"),
        ("tasks.gad.batch_size", 0, "at least 1", "0"),
        ("tasks.gad.batch_size", 2.5, "integer", "2.5"),
        ("tasks.gad.batch_size", True, "integer", "true"),
        ("tasks.gad.max_length", 7, "at least 8", "7"),
        ("tasks.gad.labels", "a", "a list", "'a'"),
        ("tasks.gad.data", "rows", "mapping", "'rows'"),
        ("tasks.gad.data.path", 3, "string or a mapping", "3"),
        ("tasks.gad.data.limit", {}, "train, dev or test", "empty mapping"),
        ("tasks.gad.data.limit", {"seed": 1}, "train, dev or test", "(keys: seed)"),
        ("tasks.gad.data.limit.train", 0, "at least 1", "0"),
        ("tasks.gad.data.limit.dev", 2.5, "integer", "2.5"),
        ("tasks.gad.data.exclude", "d1", "a list", "'d1'"),
        ("tasks.gad.data.on_bad_row", True, "'error' or 'skip'", "true"),
        ("tasks.gad.data.on_bad_row", "ignore", "'error' or 'skip'", "'ignore'"),
        ("tasks.gad.data.permute", True, "mapping", "true"),
        ("tasks.gad.data.permute.seed", 1.5, "integer", "1.5"),
        ("tasks.gad.data.permute.mentions", 1, "true or false", "1"),
        ("tasks.gad.data.permute", {"mentions": True, "attribute": "a"}, "not both", "(keys: mentions, attribute)"),
        ("tasks.gad.options", [1], "mapping", "list of length 1"),
        ("tasks.gad", None, "mapping", "nothing"),
        ("encoder.dropout", 1, "below 1", "1"),
        ("encoder.attention", "flash", "'sdpa'", "'flash'"),
        ("seed", -1, "at least 0", "-1"),
        ("seed", "one", "integer", "'one'"),
        ("privacy.log_text", "yes", "true or false", "'yes'"),
    ],
)
def test_an_invalid_value_is_reported_with_its_key_the_rule_and_the_value(
    key: str, value: Any, rule: str, shown: str
) -> None:
    problem = only_problem(**{key.replace(".", "__"): value})
    assert problem.key == key
    assert rule in problem.message
    assert problem.message.endswith(f" {shown}.")


def test_a_permutation_names_the_attribute_that_the_head_predicts_and_no_other() -> None:
    head = {"head": "mention_classification", "options": {"attribute": "status"}}
    labels = {f"tasks__gad__{key}": value for key, value in head.items()}
    for permute, found in (({}, "nothing"), ({"attribute": "grade"}, "'grade'")):
        problem = only_problem(**labels, tasks__gad__data__permute=permute)
        assert problem.key == "tasks.gad.data.permute.attribute"
        assert "'status'" in problem.message
        assert problem.message.endswith(f" {found}.")
    assert mixture_problems(changed(**labels, tasks__gad__data__permute={"attribute": "status"})) == []
    problem = only_problem(tasks__gad__data__permute={"attribute": "status"})
    assert problem.key == "tasks.gad.data.permute.attribute"


def test_an_unknown_split_among_the_paths_is_reported_with_the_splits() -> None:
    problem = only_problem(tasks__gad__data__path={"train": "a", "devel": "b"})
    assert problem.key == "tasks.gad.data.path.devel"
    assert "'train', 'dev' or 'test'" in problem.message


@pytest.mark.parametrize(
    ("value", "shown", "read_as"),
    [(True, "true", "boolean"), (False, "false", "boolean"), (1, "1", "number"), (None, "nothing", "null")],
)
def test_a_label_that_yaml_does_not_read_as_a_string_gets_the_advice_to_quote_it(
    value: Any, shown: str, read_as: str
) -> None:
    problem = only_problem(tasks__gad__labels=["a", value])
    assert problem.key == "tasks.gad.labels.1"
    assert "string" in problem.message
    assert problem.message.endswith(f" {shown}.")
    assert "quotes" in problem.suggestion
    assert read_as in problem.suggestion


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
def test_an_unknown_key_gets_the_most_similar_one_as_advice(key: str, nearest: str | None) -> None:
    problem = only_problem(**{key.replace(".", "__"): 1})
    assert problem.key == key
    assert f"'{key.rpartition('.')[2]}'" in problem.message
    assert nearest is None or f"Did you mean '{nearest}'?" in problem.suggestion


def test_an_unknown_key_of_a_task_named_like_a_section_gets_the_choices_of_a_task() -> None:
    made = fields()
    made["tasks"] = {"sampler": {**made["tasks"]["gad"], "laebls": 1}}
    (problem,) = mixture_problems(made)
    assert "Did you mean 'labels'?" in problem.suggestion
    assert "same_rows_as" in problem.suggestion


@pytest.mark.parametrize("key", ["name", "tasks", "tasks.gad.head", "tasks.gad.data", "tasks.gad.data.path"])
def test_a_missing_key_is_reported(key: str) -> None:
    problem = only_problem(**{key.replace(".", "__"): ...})
    assert problem == Problem(key, f"The key '{key.rpartition('.')[2]}' is missing.", "Add it.")


def test_a_missing_key_is_recognized_in_a_misspelt_one() -> None:
    missing, _ = mixture_problems(changed(tasks__gad__head=..., tasks__gad__haed="classification"))
    assert "'haed'" in missing.suggestion


def test_an_override_of_a_misspelt_task_gets_the_right_one_as_advice() -> None:
    found = mixture_problems(changed(tasks__gda__rate=3))
    assert [problem.key for problem in found] == ["tasks.gda.head", "tasks.gda.data"]
    assert all("task 'gad'" in problem.suggestion for problem in found)


def test_a_wrong_option_does_not_hide_a_wrong_metric() -> None:
    task = {"head": "classification", "labels": ["no", "yes"], "data": {"reader": "jsonl", "path": "x"}}
    task |= {"options": {"poolling": "mean", "dropout": "much"}, "primary_metric": "f2"}
    problems = mixture_problems({"name": "m", "encoder": {"name": "e"}, "tasks": {"gad": task}})
    assert sorted(problem.key for problem in problems) == [
        "tasks.gad.options.dropout",
        "tasks.gad.options.poolling",
        "tasks.gad.primary_metric",
    ]


@pytest.mark.parametrize(
    ("head", "labels", "option", "value"),
    [("relation", ["binds"], "negative", False), ("regression", [], "range", True), ("regression", [], "range", [1])],
)
def test_a_required_option_with_a_wrong_value_is_one_problem(
    head: str, labels: list[str], option: str, value: Any
) -> None:
    task = {"head": head, "labels": labels, "data": {"reader": "jsonl", "path": "x"}, "options": {option: value}}
    problems = mixture_problems({"name": "m", "tasks": {"gad": task}})
    assert [problem.key for problem in problems] == [f"tasks.gad.options.{option}"]
    assert ("quotes" in problems[0].suggestion) == (value is False)
    assert readable_tasks({"name": "m", "tasks": {"gad": task}})["gad"].head is None


@pytest.mark.parametrize("head", choices("head"))
def test_no_value_of_an_option_is_more_than_a_problem(head: str) -> None:
    """Whatever YAML makes of a value that was written wrongly, it is reported, and nothing is raised."""
    needed: dict[str, Any] = {"relation": {"negative": "none"}, "regression": {"range": [0, 4]}}.get(head, {})
    labels = [] if head == "regression" else ["a", "b"]
    task = {"head": head, "labels": labels, "data": {"reader": "jsonl", "path": "x"}}
    options = inspect.signature(find("head", head, head)).parameters.keys() - {"labels", "hidden_size"}
    values: list[Any] = [True, None, [], {}, "x", -1, [1], [[1]], {True: 1}, {"a": None}, float("nan")]
    for option, value in itertools.product(options, values):
        fields = {"name": "m", "tasks": {"gad": {**task, "options": {**needed, option: value}}}}
        readable = readable_tasks(fields)["gad"]
        assert (readable.head is None) == bool(mixture_problems(fields)), (option, value)


def test_a_mixture_needs_a_task() -> None:
    assert only_problem(tasks={}).key == only_problem(tasks=["gad"]).key == "tasks"


@pytest.mark.parametrize("name", ["", " ", "../x", "a/b", "a\\b", ".hidden"])
def test_a_name_that_cannot_be_a_folder_is_invalid(name: str) -> None:
    assert only_problem(name=name).key == "name"


# --- names of tasks -------------------------------------------------------------------------------------------------


def named(*names: str) -> dict[str, Any]:
    made = fields()
    made["tasks"] = dict.fromkeys(names, made["tasks"]["gad"])
    return made


@pytest.mark.parametrize("name", ["", "a-b", "a b", "2013", "_x", "ä", "a.b", "a/b", "x" * 101])
def test_a_task_name_that_cannot_be_a_key_is_invalid(name: str) -> None:
    (problem,) = mixture_problems(named(name))
    assert problem.key == f"tasks.{name}"
    assert "100" in problem.message


@pytest.mark.parametrize(
    "name", ["keys", "items", "values", "pop", "update", "forward", "train", "eval", "type", "half", "training"]
)
def test_a_task_name_that_pytorch_reserves_is_invalid(name: str) -> None:
    (problem,) = mixture_problems(named(name))
    assert problem.key == f"tasks.{name}"
    assert "PyTorch" in problem.message
    assert f"{name}_task" in problem.suggestion


@pytest.mark.parametrize(
    "name", ["keys_task", "test", "dev", "loss", "data", "selection", "sampler", "best", "X" * 100]
)
def test_every_valid_task_name_is_a_valid_module_name(name: str) -> None:
    assert mixture_problems(named(name)) == []
    assert name in nn.ModuleDict({name: nn.Linear(1, 1)})


@pytest.mark.parametrize("word", ["True", "False"])
def test_a_task_name_that_is_a_boolean_gets_the_advice_to_quote_it(word: str) -> None:
    (problem,) = mixture_problems(named(word))
    assert problem.key == f"tasks.{word}"
    assert "quotes" in problem.suggestion


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"tasks__gad__primary_metric": True}, "tasks.gad.primary_metric"),
        ({"tasks__gad__options": {"pooling": False}}, "tasks.gad.options.pooling"),
        ({"tasks__gad__data__columns": {"text": True}}, "tasks.gad.data.columns.text"),
        ({"sampler__name": True}, "sampler.name"),
    ],
)
def test_a_boolean_in_the_place_of_a_word_gets_the_advice_to_quote_it(change: dict[str, Any], key: str) -> None:
    problem = only_problem(**change)
    assert problem.key == key
    assert "quotes" in problem.suggestion


def test_names_that_differ_only_in_case_are_invalid() -> None:
    (problem,) = mixture_problems(named("gad", "rqe", "GAD"))
    assert (problem.key, "'gad'" in problem.message) == ("tasks.GAD", True)


# --- components -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "nearest"),
    [
        ("tasks.gad.head", "clasification", "classification"),
        ("tasks.gad.data.reader", "jsnl", "jsonl"),
        ("sampler.name", "unifrom", "uniform"),
    ],
)
def test_an_unknown_component_gets_the_most_similar_one_as_advice(key: str, value: str, nearest: str) -> None:
    problem = only_problem(**{key.replace(".", "__"): value})
    assert problem.key == key
    assert f"'{value}'" in problem.message
    assert problem.suggestion.startswith(f"Did you mean '{nearest}'? Choices: ")


@pytest.mark.parametrize(
    ("changes", "key", "part"),
    [
        ({"labels": []}, "labels", "at least 2"),
        ({"labels": ["a"]}, "labels", "at least 2"),
        ({"labels": ["a", "a", "b"]}, "labels", "got a more than once"),
        ({"primary_metric": "f1"}, "primary_metric", "accuracy, macro_f1, micro_f1"),
        ({"options": {"primary_metric": "f1"}}, "options.primary_metric", "must be one of"),
        ({"primary_metric": "auruc"}, "primary_metric", "did you mean 'auroc'?"),
        ({"options": {"metrics": ["kapa"]}}, "options.metrics", "did you mean 'kappa'?"),
        ({"options": {"metrics": "kappa"}}, "options.metrics", "got 'kappa'"),
        ({"options": {"threshold": {"sensitivity": 0.95}}}, "options.threshold", "set positive"),
        ({"options": {"dropout": "much"}}, "options.dropout", "got 'much'"),
        ({"options": {"labels": ["a"]}}, "options.labels", "option 'labels'"),
        ({"head": "regression", "labels": []}, "options.range", "option 'range'"),
    ],
)
def test_what_the_head_rejects_is_reported_with_its_key(changes: Any, key: str, part: str) -> None:
    problem = only_problem(**{f"tasks__gad__{name}": value for name, value in changes.items()})
    assert problem.key == f"tasks.gad.{key}"
    assert part in problem.message


@pytest.mark.parametrize("sampler", ["proportional", "uniform", "round_robin"])
def test_a_rate_that_the_sampler_ignores_is_invalid(sampler: str) -> None:
    made = changed(tasks__gad__rate=2, sampler__name=sampler)
    from mtl.config.components import find

    expected = [] if find("sampler", sampler, "x").uses_rates else ["tasks.gad.rate"]
    assert [problem.key for problem in mixture_problems(made)] == expected
    assert find("sampler", "proportional", "x").uses_rates is False


def test_the_rules_of_a_sampler_are_checked_before_data_is_read() -> None:
    problem = only_problem(sampler__name="temperature", sampler__temperature=-2)
    assert (problem.key, "-2.0" in problem.message) == ("sampler.temperature", True)


# --- tasks that share rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "key", "part"),
    [
        ({"rqe__same_rows_as": "gda"}, "rqe.same_rows_as", "'gda'"),
        ({"rqe__same_rows_as": "rqe"}, "rqe.same_rows_as", "'rqe'"),
        ({"rqe__same_rows_as": "gad", "rqe__batch_size": 2}, "rqe.batch_size", "no effect"),
        ({"rqe__same_rows_as": "gad", "rqe__max_length": 64}, "rqe.max_length", "must be 128"),
        ({"rqe__same_rows_as": "gad", "gad__max_length": 64}, "rqe.max_length", "must be 64"),
    ],
)
def test_a_task_that_cannot_share_the_rows_of_another_is_invalid(changes: Any, key: str, part: str) -> None:
    problem = only_problem(**{f"tasks__{name}": value for name, value in changes.items()})
    assert problem.key == f"tasks.{key}"
    assert part in problem.message


@pytest.mark.parametrize("masked", ["gad", "rqe"])
def test_a_task_whose_head_changes_its_texts_shares_them_with_no_other(masked: str) -> None:
    changes = {f"tasks__{masked}__head": "masked_lm", f"tasks__{masked}__labels": [], f"tasks__{masked}__options": {}}
    problem = only_problem(tasks__rqe__same_rows_as="gad", **changes)
    assert problem.key == "tasks.rqe.same_rows_as"
    assert f"'{masked}'" in problem.message


def test_a_task_without_labels_has_none_to_permute() -> None:
    changes = {"head": "masked_lm", "labels": [], "options": {}, "data__permute": {}}
    problem = only_problem(**{f"tasks__gad__{name}": value for name, value in changes.items()})
    assert problem.key == "tasks.gad.data.permute"


def test_a_rate_has_no_effect_for_a_task_on_the_rows_of_another() -> None:
    problem = only_problem(tasks__rqe__same_rows_as="gad", tasks__rqe__rate=2, sampler__name="temperature")
    assert (problem.key, problem.suggestion) == ("tasks.rqe.rate", "Remove it.")


def test_tasks_cannot_share_rows_in_chains_or_circles() -> None:
    found = mixture_problems(changed(tasks__rqe__same_rows_as="gad", tasks__gad__same_rows_as="rqe"))
    assert [problem.key for problem in found][:2] == ["tasks.gad.same_rows_as", "tasks.rqe.same_rows_as"]


# --- selection ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("select", ["men", "gad", "gda/accuracy", "", "/accuracy"])
def test_an_unknown_selection_rule_is_reported_with_the_choices(select: str) -> None:
    problem = only_problem(evaluation__select=select)
    assert problem.key == "evaluation.select"
    assert "Choices: gad/<metric>, mean, rqe/<metric>, weighted, worst." in problem.suggestion


def test_a_task_without_data_that_shares_rows_with_no_task_is_reported_once() -> None:
    problem = only_problem(
        tasks__rqe={"head": "classification", "labels": ["a", "b"], "same_rows_as": "gda", "data": {}}
    )
    assert (problem.key, "'gda'" in problem.message) == ("tasks.rqe.same_rows_as", True)
    assert "'gad'" in problem.suggestion


def test_weights_need_existing_tasks_and_the_rule_that_uses_them() -> None:
    assert mixture_problems(changed(evaluation__select="weighted", evaluation__weights={"gad": 2})) == []
    assert only_problem(evaluation__select="weighted", evaluation__weights={"gda": 2}).key == "evaluation.weights.gda"
    problem = only_problem(evaluation__weights={"gad": 2})
    assert (problem.key, "select: mean" in problem.message) == ("evaluation.weights", True)
    of_kept = {"tasks__gad__rate": 0, "evaluation__select": "weighted", "evaluation__weights": {"gad": 2, "rqe": 1}}
    found = {problem.key for problem in mixture_problems(changed(**of_kept))}
    assert [key for key in found if key.startswith("evaluation")] == ["evaluation.weights.gad"]


# --- all at once ----------------------------------------------------------------------------------------------------


def test_problems_of_every_kind_are_reported_together() -> None:
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


def test_a_malformed_task_can_still_be_referred_to() -> None:
    made = changed(tasks__gad=3, tasks__rqe__same_rows_as="gad", evaluation__select="gad/accuracy")
    assert [problem.key for problem in mixture_problems(made)] == ["tasks.gad"]


def test_a_malformed_sampler_is_not_replaced_by_the_default_for_further_checks() -> None:
    assert [f.key for f in mixture_problems(changed(sampler="temperature", tasks__gad__rate=2))] == ["sampler"]


@pytest.mark.parametrize("only", ["gad", [], ["gda"]])
def test_only_must_be_a_list_of_tasks(only: Any) -> None:
    assert only_problem(only=only).key == "only"


@pytest.mark.parametrize("name", [False, 1, ["gad"], {"gad": 1}, None])
def test_only_must_have_names(name: Any) -> None:
    problem = only_problem(only=["gad", name])
    assert (problem.key, "'False'" in problem.message) == ("only.1", False)
    assert ("booleans" in problem.suggestion) == (name is False)


# --- data of malformed tasks ----------------------------------------------------------------------------------------


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
def test_data_is_read_if_its_own_keys_are_valid(change: Callable[[Any], None], has_head: bool | None) -> None:
    made = fields()
    change(made["tasks"]["gad"])
    found = readable_tasks(made)
    assert found["rqe"].head is not None
    assert (found["gad"].head is not None if "gad" in found else None) is has_head


# --- batches ----------------------------------------------------------------------------------------------------------


def test_a_step_cannot_have_more_tasks_than_the_mixture() -> None:
    problem = only_problem(tasks_per_step=3)
    assert problem.key == "tasks_per_step"
    assert "at most 2" in problem.message
    assert problem.message.endswith(" 3.")
    assert only_problem(tasks_per_step=2, tasks__rqe__same_rows_as="gad").key == "tasks_per_step"
    assert mixture_problems(changed(tasks_per_step=2)) == mixture_problems(changed(tasks_per_step="all")) == []
    assert only_problem(tasks_per_step="many").key == "tasks_per_step"


def test_a_rate_has_no_effect_if_every_step_trains_every_task() -> None:
    sampler = {"sampler__name": "temperature", "tasks__gad__rate": 2.0}
    assert only_problem(tasks_per_step="all", **sampler).key == "tasks.gad.rate"
    assert only_problem(tasks_per_step=2, **sampler).key == "tasks.gad.rate"
    assert mixture_problems(changed(tasks_per_step=1, **sampler)) == []


def test_a_sampler_that_cannot_mix_tasks_in_a_step_is_reported_before_data_is_read() -> None:
    anchored = {"sampler": {"name": "anchored", "main": "gad", "order": "main_last"}}
    assert only_problem(**anchored, tasks_per_step=2).key == "sampler.order"
    assert only_problem(**anchored, tasks_per_step="all").key == "sampler.order"


def test_a_task_cannot_limit_both_examples_and_tokens_per_batch() -> None:
    assert only_problem(tasks__gad__tokens_per_batch=512, tasks__gad__batch_size=4).key == "tasks.gad.tokens_per_batch"
    assert mixture_problems(changed(tokens_per_batch=512, tasks__gad__batch_size=4)) == []
    follower = only_problem(tasks__gad__tokens_per_batch=512, tasks__gad__same_rows_as="rqe")
    assert follower.key == "tasks.gad.tokens_per_batch"
