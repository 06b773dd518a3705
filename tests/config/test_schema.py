from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from mtl.config.schema import checked, keys_of, mismatches
from mtl.problems import InputError

SECRET = "The patient, Mrs. Miller of 12 Long Street, was given aspirin after her second fall this winter."


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Options:
    rate: Annotated[float, Field(gt=0)] = 1.0
    names: tuple[str, ...] = ()
    kind: Literal["linear", "cosine"] = "linear"


@pytest.mark.parametrize(
    ("hint", "value", "message"),
    [
        (int, "many", "must be an integer, got 'many'."),
        (int, 1.5, "must be an integer, got 1.5."),
        (float, None, "must be a number, got nothing."),
        (str, 3, "must be a string, got 3."),
        (bool, "perhaps", "must be true or false, got 'perhaps'."),
        (list[int], {"a": 1, "b": 2}, "must be a list, got a mapping (keys: a, b)."),
        (dict[str, int], [1, 2, 3], "must be a mapping, got a list of length 3."),
        (dict[str, int], {}, None),
        (Annotated[int, Field(ge=1)], 0, "must be at least 1, got 0."),
        (int | list[int], "x", "must be an integer or a list, got 'x'."),
        (tuple[float, float], [1], "must have more items, got a list of length 1."),
        (tuple[float, float], [], "must have more items, got a list of length 0."),
        (tuple[float, float], [1, 2, 3], "must have at most 2 items, got a list of length 3."),
        (int, SECRET, f"must be an integer, got a string of {len(SECRET)} characters."),
        (int, True, None),
    ],
)
def test_a_message_gives_the_rule_and_the_value_in_terms_of_yaml(hint: Any, value: Any, message: str | None) -> None:
    found = mismatches(TypeAdapter(hint), value)
    assert [one.message for one in found] == ([] if message is None else [message])


def test_the_place_of_a_mismatch_has_the_users_keys_and_indices() -> None:
    found = mismatches(TypeAdapter(dict[str, list[int] | dict[str, int]]), {"a": [1, "x"], "b": {"c": "y"}})
    assert sorted(one.place for one in found) == [("a", 1), ("b", "c")]
    found = mismatches(TypeAdapter(dict[str, tuple[float, float]]), {"a": [1], "b": ["x", 2], "c": [1, 2, 3]})
    assert sorted(one.place for one in found) == [("a",), ("b", 0), ("c",)]


def test_all_problems_of_a_class_are_reported_with_suggestions_for_unknown_keys() -> None:
    with pytest.raises(InputError) as caught:
        checked(Options, {"rate": 0, "nmaes": ["a"], "kind": "cosin", "names": [1]}, "model")
    problems = {problem.key: problem for problem in caught.value.problems}
    assert set(problems) == {"model.rate", "model.nmaes", "model.kind", "model.names.0"}
    assert "'names'" in problems["model.nmaes"].suggestion
    assert checked(Options, {"names": ["a"]}, "model") == Options(names=("a",))
    assert keys_of(Options) == ["rate", "names", "kind"]
