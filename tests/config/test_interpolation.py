from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from mtl.config.interpolation import MAX_LENGTH, MAX_PROBLEMS, MAX_TEXTS, check_syntax, resolve
from mtl.problems import InputError, Problem


def problems(fields: dict[str, Any]) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        resolve(fields)
    return caught.value.problems


FIELDS: dict[str, Any] = {
    "seed": 3,
    "name": "m",
    "which": "a",
    "tasks": {
        "a": {"rate": "${seed}", "labels": ["x", "y"], "data": {"path": "${oc.env:MTL_TEST_NONE,data}/x"}},
        "b": {"labels": "${tasks.a.labels}", "note": "${name}-${tasks.a.labels[0]}", "same": "${.note}"},
        "c": {"chosen": "${tasks.${which}.labels}", "up": "${..b.note}", "kept": {"deep": [1, 2.5, None, True, {}]}},
        "d": {"selected": "${oc.select:tasks.no,7}", "decoded": "${oc.decode:'[1, 2]'}", "escaped": "\\${seed}"},
    },
    "alias": "${tasks.a}",
    "through": "${alias.labels[1]}",
}


def test_values_are_those_of_omegaconf_alone() -> None:
    assert resolve(FIELDS) == OmegaConf.to_container(OmegaConf.create(FIELDS), resolve=True)
    simple = {key: value for key, value in FIELDS.items() if key in ("seed", "name", "tasks")}
    simple["tasks"] = {name: task for name, task in FIELDS["tasks"].items() if name in "ab"}
    assert resolve(simple) == OmegaConf.to_container(OmegaConf.create(simple), resolve=True)
    assert list(resolve(simple)["tasks"]["a"]) == ["rate", "labels", "data"]


def test_containers_are_copied() -> None:
    shared = {"path": "x"}
    found = resolve({"a": shared, "b": shared, "c": "${a}", "d": [[]]})
    found["a"]["path"] = "y"
    assert (shared["path"], found["b"]["path"], found["c"]["path"]) == ("x", "x", "x")


@pytest.mark.parametrize(
    "reference",
    ["${a%d}", "${.a%d}", "${oc.select:a%d}", "${oc.decode:'${a%d}'}", "${${n%d}}", "${oc.env:MTL_TEST_NONE,${a%d}}"],
)
def test_text_does_not_grow_without_limit(reference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MTL_TEST_NONE", raising=False)
    fields = {"a0": "x" * 10} | {f"a{i}": (reference % (i - 1)) * 10 for i in range(1, 10)}
    fields |= {f"n{i}": f"a{i}" for i in range(10)}
    (problem,) = problems(fields)
    assert problem.key == "a9"
    few = {key: value for key, value in fields.items() if key[1:] < "3"}
    assert resolve(few)["a2"] == "x" * 1000


def test_lists_do_not_grow_without_limit() -> None:
    fields: dict[str, Any] = {"a0": ["x"] * 10} | {f"a{i}": [f"${{a{i - 1}}}"] * 10 for i in range(1, 10)}
    assert len(problems(fields)) == 1
    fields = {"a0": ["x"] * 10, "alias": "${hidden}", "hidden": {"a1": "${a0}"}, "b": "${alias.a1}"}
    assert resolve(fields)["b"] == ["x"] * 10


def test_a_long_chain_and_a_deep_nest_are_problems() -> None:
    chain = {"a0": "x"} | {f"a{i}": f"${{a{i - 1}}}" for i in range(1, 3000)}
    assert resolve(chain)["a2999"] == "x"
    assert len(problems(dict(reversed(chain.items())))) == 1
    with pytest.raises(InputError) as caught:
        check_syntax({"a": {"b": ["${" * 1000 + "b" + "}" * 1000]}}, "m.yaml: ")
    assert caught.value.problems[0].key == "m.yaml: a.b[0]"


def test_circles_are_problems() -> None:
    assert len(problems({"a": "${b}", "b": "${a}"})) >= 1
    assert len(problems({"a": "${b.x}", "b": "${a.x}"})) >= 1
    assert len(problems({"a": {"b": "${a}"}})) >= 1


def test_length_and_number_of_interpolations_are_limited() -> None:
    for fields in ({"a": "${b}" + "x" * MAX_LENGTH}, {"a": ["${b}"] * (MAX_TEXTS + 1)}):
        with pytest.raises(InputError) as caught:
            check_syntax(fields)
        assert caught.value.problems[0].key.startswith("a")


def test_the_first_problems_are_enough() -> None:
    assert len(problems({f"a{i}": "${no}" for i in range(1000)})) == MAX_PROBLEMS


def test_a_malformed_interpolation_is_a_problem_with_its_key() -> None:
    with pytest.raises(InputError) as caught:
        check_syntax({"a": ["${b", "${c}"]}, "m.yaml: ")
    assert caught.value.problems[0].key == "m.yaml: a[0]"


def test_keys_that_are_numbers_and_texts_may_hold_values_of_one_size() -> None:
    fields = {"a": "x", "b": "${a}", 9: ["${a}", "${b}"]}
    assert resolve(fields) == {"a": "x", "b": "x", "9": ["x", "x"]}
