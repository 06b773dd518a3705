from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from mtl.config.yaml_text import MAX_DEPTH, MAX_NODES, MAX_NUMBER, load_yaml


def line_of(text: str) -> int | None:
    with pytest.raises(yaml.YAMLError) as caught:
        load_yaml(text)
    mark = getattr(caught.value, "problem_mark", None)
    return None if mark is None else mark.line + 1


@pytest.mark.parametrize(
    "text",
    [
        "a: 1e-4\nb: 1e5\nc: 1_0e5\nd: 1.5e3\ne: .5e3\nf: -.5\ng: 1:20.5\nh: 1__0e5\n",
        "i: 1_0.\nj: 1.e3\nk: .inf\nl: 0x1f\n",
        "a: 2001-01-01\nb: yes\nc: null\nd: ~\ne: '1'\nf: ???\ng: 017\n",
        "<<: {b: 1}\na: 2\n",
        "a: &x {k: 1, m: 2}\nb: {z: 0, <<: *x, k: 2}\nc: *x\n",
        "a: &x {k: 1}\nb: &y {<<: *x, z: 1}\nc: {<<: *y, k: 3}\n",
        "1: a\n2.5: b\ntrue: c\n",
        "",
    ],
)
def test_a_file_has_the_values_that_omegaconf_reads(text: str) -> None:
    expected = OmegaConf.to_container(OmegaConf.load(StringIO(text)))
    found = load_yaml(text) or {}
    assert found == expected
    assert list(map(str, found)) == list(map(str, expected))
    assert [type(value) for value in found.values()] == [type(value) for value in expected.values()]


@given(st.from_regex(r"[-+]?[0-9.][0-9._]{0,4}([eE][-+]?[0-9]{0,2})?(:[0-9]{1,2})?", fullmatch=True))
def test_a_number_has_the_value_that_omegaconf_reads(text: str) -> None:
    try:
        expected: Any = OmegaConf.to_container(OmegaConf.load(StringIO(f"a: {text}\n")))
    except ValueError:
        assert line_of(f"a: {text}\n") is None
        return
    found = load_yaml(f"a: {text}\n")
    assert (found, type(found["a"])) == (expected, type(expected["a"]))


@pytest.mark.parametrize("number", ["1", "0x1", "01", "1.0", "1e1"])
def test_long_numbers_are_refused_with_the_line(number: str) -> None:
    digit = number[-1]
    assert line_of(f"a: 1\nb: {number}{digit * 5000}\n") == 2
    assert isinstance(load_yaml(f"b: '{number}{digit * 5000}'")["b"], str)
    assert load_yaml("b: " + "1" * MAX_NUMBER)["b"] == int("1" * MAX_NUMBER)


def test_sexagesimal_numbers_are_not_computed_at_any_length() -> None:
    assert line_of("a: 1" + ":1" * 100_000) == 1


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_depth_is_limited(opening: str) -> None:
    assert line_of(opening * (MAX_DEPTH + 1)) == 1
    assert line_of(opening * 100_000) == 1
    assert load_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH)


def test_aliases_count_as_often_as_they_are_used() -> None:
    lists = "".join(f"b{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
    assert line_of(f"a: &a0 [{','.join('x' * 10)}]\n{lists}") == 6
    merges = "".join(f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 10))
    assert line_of("a0: &a0 {k: 1}\n" + merges) is not None
    assert line_of("a: [" + "1," * (MAX_NODES + 1) + "]") == 1


@pytest.mark.parametrize("text", ["a: &a [*a]\n", "a: &a {b: *a}\n", "a: &a {<<: *a}\n"])
def test_a_value_that_contains_itself_is_refused(text: str) -> None:
    assert line_of(text) == 1


@pytest.mark.parametrize(
    "value",
    [
        '"\\ud800"',
        "!!int x",
        "!!int ''",
        "!!float x",
        "!!bool x",
        "!!timestamp x",
        "!!set {x}",
        "!!omap [a: 1]",
        "!!python/object/apply:os.system [ls]",
        "!!python/object/apply:pathlib.Path [1]",
        "{[a]: 1}",
        "{null: 1}",
        "*unknown",
    ],
)
def test_values_that_cannot_be_read_are_yaml_errors(value: str) -> None:
    line_of(f"a: {value}\n")


def test_a_text_with_half_a_surrogate_pair_is_refused() -> None:
    line_of("a: \ud800\n")


def test_a_duplicate_key_is_an_error_with_its_line_and_a_shared_mapping_is_none() -> None:
    assert line_of("a: 1\nb: {c: 1, d: 2,\n  c: 3}\n") == 3
    found: Any = load_yaml("x: &x {k: 1}\ny: &y {k: 2}\nb: &b {<<: [*x, *y]}\nc: {<<: *b}\nd: {<<: *b}\n")
    assert (found["b"], found["c"], found["d"]) == ({"k": 1}, {"k": 1}, {"k": 1})


def test_large_files_are_allowed() -> None:
    labels = "".join(f"- label {number}\n" for number in range(100_000))
    assert len(load_yaml(labels)) == 100_000
