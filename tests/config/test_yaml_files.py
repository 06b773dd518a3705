from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtl.config.yaml_files import find_file, parse_overrides, read_mixture_fields, read_yaml
from mtl.problems import InputError, Problem

TASK = "head: classification\ndata: {reader: jsonl, path: rows}\nlabels: [a, b]\n"


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def problems(*arguments: Any, **options: Any) -> list[Problem]:
    with pytest.raises(InputError) as error:
        read_mixture_fields(*arguments, **options)
    return error.value.problems


# --- includes -------------------------------------------------------------------------------------------------------


def test_a_task_file_defines_the_task_of_its_name_and_the_including_file_overrides_its_fields(tmp_path: Path) -> None:
    write(tmp_path, gad=TASK, m="name: m\ninclude: [gad.yaml]\ntasks:\n  gad: {loss_weight: 0.5, labels: [c, d]}\n")
    fields = read_mixture_fields(tmp_path / "m.yaml")
    task = fields["tasks"]["gad"]
    assert (task["head"], task["loss_weight"], task["labels"]) == ("classification", 0.5, ["c", "d"])
    assert "include" not in fields


def test_a_mixture_can_include_mixtures_and_later_ones_override_earlier_ones(tmp_path: Path) -> None:
    write(tmp_path, gad=TASK)
    write(tmp_path, one="name: one\nseed: 1\nbatch_size: 4\ninclude: [gad.yaml]\n", two="seed: 2\nbatch_size: 8\n")
    write(tmp_path, m="name: m\nbatch_size: 16\ninclude: [one.yaml, two.yaml]\n")
    fields = read_mixture_fields(tmp_path / "m.yaml", ["tasks.gad.rate=3"])
    assert (fields["name"], fields["seed"], fields["batch_size"], fields["tasks"]["gad"]["rate"]) == ("m", 2, 16, 3)


def test_a_file_that_is_included_twice_is_not_a_circle(tmp_path: Path) -> None:
    write(tmp_path, gad=TASK, one="include: [gad.yaml]\n", two="include: [gad.yaml]\n")
    write(tmp_path, m="name: m\ninclude: [one.yaml, two.yaml]\n")
    assert list(read_mixture_fields(tmp_path / "m.yaml")["tasks"]) == ["gad"]


def test_a_circle_of_includes_is_reported_with_its_files(tmp_path: Path) -> None:
    write(tmp_path, a="name: a\ninclude: [b.yaml]\n", b="include: [c.yaml]\n", c="include: [a.yaml]\n")
    (problem,) = problems(tmp_path / "a.yaml")
    assert problem.key == str(tmp_path / "a.yaml")
    assert "a.yaml -> b.yaml -> c.yaml -> a.yaml" in problem.message


def test_every_missing_include_is_reported_with_the_including_file(tmp_path: Path) -> None:
    write(tmp_path, m="name: m\ninclude: [x.yaml, deeper/y.yaml]\n")
    found = problems(tmp_path / "m.yaml")
    assert [problem.key for problem in found] == [f"{tmp_path / 'm.yaml'}: include"] * 2
    for problem, name in zip(found, ("x.yaml", "deeper/y.yaml"), strict=True):
        assert f"'{tmp_path / name}'" in problem.message


@pytest.mark.parametrize("include", ["gad.yaml", "{gad: 1}", "[1, 2]"])
def test_an_include_must_be_a_list_of_files(tmp_path: Path, include: str) -> None:
    write(tmp_path, m=f"name: m\ninclude: {include}\n")
    (problem,) = problems(tmp_path / "m.yaml")
    assert problem.key == f"{tmp_path / 'm.yaml'}: include"
    assert "list of files" in problem.message
    assert "include: [FILE, FILE]" in problem.suggestion


# --- paths ----------------------------------------------------------------------------------------------------------


def test_a_relative_path_is_relative_to_the_file_that_contains_it(tmp_path: Path) -> None:
    for folder in ("tasks", "mixtures"):
        (tmp_path / folder / "rows").mkdir(parents=True)
    write(tmp_path / "tasks", gad=TASK)
    write(tmp_path / "mixtures", m="name: m\ninclude: [../tasks/gad.yaml]\ntasks:\n  gad: {rate: 2}\n")
    data = read_mixture_fields(tmp_path / "mixtures" / "m.yaml")["tasks"]["gad"]["data"]
    assert data == {"reader": "jsonl", "path": str(tmp_path / "tasks" / "rows")}
    write(tmp_path / "mixtures", n="name: n\ninclude: [../tasks/gad.yaml]\ntasks:\n  gad: {data: {path: rows}}\n")
    data = read_mixture_fields(tmp_path / "mixtures" / "n.yaml")["tasks"]["gad"]["data"]
    assert data == {"reader": "jsonl", "path": str(tmp_path / "mixtures" / "rows")}


def test_a_path_that_does_not_exist_next_to_the_file_is_unchanged(tmp_path: Path) -> None:
    write(tmp_path, m=f"name: m\ntasks:\n  gad:\n    {TASK.replace(chr(10), chr(10) + '    ')}\n")
    assert read_mixture_fields(tmp_path / "m.yaml")["tasks"]["gad"]["data"]["path"] == "rows"


def test_paths_per_split_are_searched_next_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    content = {"tasks": {"gad": {"data": {"path": {"train": "a.jsonl", "dev": "b.jsonl"}}}}}
    data = read_mixture_fields(content, folder=tmp_path)["tasks"]["gad"]["data"]
    assert data["path"] == {"train": str(tmp_path / "a.jsonl"), "dev": "b.jsonl"}


def test_a_path_in_an_override_is_relative_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there" / "rows").mkdir(parents=True)
    (tmp_path / "here" / "rows").mkdir(parents=True)
    write(tmp_path / "there", m=f"name: m\ntasks:\n  gad:\n    {TASK.replace(chr(10), chr(10) + '    ')}\n")
    monkeypatch.chdir(tmp_path / "here")
    read = read_mixture_fields(tmp_path / "there" / "m.yaml", ["tasks.gad.data.path=rows"])
    assert read["tasks"]["gad"]["data"]["path"] == str(tmp_path / "here" / "rows")


# --- overrides ------------------------------------------------------------------------------------------------------


def test_a_sampler_of_another_name_drops_the_options_of_the_first(tmp_path: Path) -> None:
    write(tmp_path, m="name: m\nsampler: {name: temperature, temperature: 2.0}\n")
    other = read_mixture_fields(tmp_path / "m.yaml", ["sampler.name=anchored", "sampler.main=gad"])
    assert other["sampler"] == {"name": "anchored", "main": "gad"}
    same = read_mixture_fields(tmp_path / "m.yaml", ["sampler={name: temperature, cap: 9}"])
    assert same["sampler"] == {"name": "temperature", "temperature": 2.0, "cap": 9}


def test_overrides_are_parsed_as_yaml_and_the_last_one_wins(tmp_path: Path) -> None:
    write(tmp_path, m="name: m\nencoder: {name: x, max_length: 64}\n")
    words = ["seed=1", "seed=2", "encoder.max_length=32", "a.b=[x, 1]", "c=", "d=k=v", "e='3'"]
    fields = read_mixture_fields(tmp_path / "m.yaml", words)
    assert fields["encoder"] == {"name": "x", "max_length": 32}
    assert (fields["seed"], fields["a"], fields["c"], fields["d"], fields["e"]) == (
        2,
        {"b": ["x", 1]},
        None,
        "k=v",
        "3",
    )


def test_problems_of_the_file_and_of_the_overrides_are_reported_together(tmp_path: Path) -> None:
    found = problems(tmp_path / "no.yaml", ["rate", "=3", "a=[1"])
    assert [problem.key for problem in found] == [str(tmp_path / "no.yaml"), "rate", "=3", "a"]
    assert "key=value" in found[1].message
    assert "'[1'" in found[3].message
    assert "expected ',' or ']'" in found[3].message


# --- interpolation --------------------------------------------------------------------------------------------------


def test_interpolations_read_the_environment_defaults_and_other_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTL_TEST_FOLDER", "/somewhere")
    monkeypatch.delenv("MTL_TEST_NONE", raising=False)
    write(tmp_path, m="a: ${oc.env:MTL_TEST_FOLDER}/x\nb: ${oc.env:MTL_TEST_NONE,data}/y\nc: ${d.e}\nd: {e: 5}\n")
    fields = read_mixture_fields(tmp_path / "m.yaml", ["d.e=6"])
    assert (fields["a"], fields["b"], fields["c"]) == ("/somewhere/x", "data/y", 6)


def test_an_include_can_contain_an_interpolation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTL_TEST_FOLDER", str(tmp_path))
    write(tmp_path, gad=TASK, m="name: m\ninclude: ['${oc.env:MTL_TEST_FOLDER}/gad.yaml']\n")
    assert "gad" in read_mixture_fields(tmp_path / "m.yaml")["tasks"]


def test_all_failing_interpolations_are_reported_with_their_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MTL_TEST_NONE", raising=False)
    write(tmp_path, m="a: {b: '${oc.env:MTL_TEST_NONE}/x'}\nc: [1, '${no.such}']\nd: 4\n")
    variable, key = problems(tmp_path / "m.yaml")
    assert (variable.key, key.key) == ("a.b", "c[1]")
    assert "MTL_TEST_NONE" in variable.message
    assert "${oc.env:MTL_TEST_NONE,DEFAULT}" in variable.suggestion
    assert "'no.such'" in key.message


def test_a_malformed_interpolation_is_reported_with_file_and_key(tmp_path: Path) -> None:
    write(tmp_path, m="a: '${oc.env:X'\n")
    (problem,) = problems(tmp_path / "m.yaml")
    assert problem.key == f"{tmp_path / 'm.yaml'}: a"
    assert "closing }" in problem.message


# --- invalid files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (b"a: 1\nb: [1, 2\nc: {\n", 3, "in line 2"),
        (b"a: 1\nb: 2\na: 3\n", 3, "'a'"),
        (b"tasks:\n  x: 1\n  y: 2\n  x: 3\n", 4, "'x'"),
        (b"a:\n\tb: 1\n", 2, "YAML"),
        (b"a: 1\n# caf\xe9\n", 2, "byte 0xe9"),
    ],
)
def test_an_unreadable_file_is_reported_with_the_line(tmp_path: Path, text: bytes, line: int, message: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(text)
    (problem,) = problems(path)
    assert problem.key == f"{path}:{line}"
    assert message in problem.message
    assert "\n" not in str(problem)
    assert str(path) not in problem.message


def test_a_tab_gets_the_advice_to_use_spaces(tmp_path: Path) -> None:
    write(tmp_path, m="name: t\n\tencoder: x\n")
    assert problems(tmp_path / "m.yaml")[0].suggestion == "Indent with spaces."


@pytest.mark.parametrize(("text", "found"), [("- a\n- b\n", "a list"), ("3\n", "a single value")])
def test_a_file_must_contain_a_mapping(tmp_path: Path, text: str, found: str) -> None:
    write(tmp_path, m=text)
    (problem,) = problems(tmp_path / "m.yaml")
    assert problem.key == str(tmp_path / "m.yaml")
    assert problem.message.endswith(f" {found}.")


def test_windows_line_endings_and_a_byte_order_mark_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_bytes(b"name: m\nencoder: {name: x}\n")
    (tmp_path / "windows.yaml").write_bytes(b"\xef\xbb\xbfname: m\r\nencoder: {name: x}\r\n")
    assert read_yaml(tmp_path / "plain.yaml") == read_yaml(tmp_path / "windows.yaml")


def test_a_missing_file_and_a_folder_are_reported(tmp_path: Path) -> None:
    for path in (tmp_path / "no.yaml", tmp_path):
        (problem,) = problems(path)
        assert (problem.key, problem.suggestion) == (str(path), "Check the path.")


def test_an_empty_file_has_no_fields(tmp_path: Path) -> None:
    write(tmp_path, m="")
    assert read_mixture_fields(tmp_path / "m.yaml") == {}


def test_task_names_that_are_numbers_become_strings(tmp_path: Path) -> None:
    write(tmp_path, m="tasks: {2013: {head: x}}\n")
    assert list(read_mixture_fields(tmp_path / "m.yaml")["tasks"]) == ["2013"]


# --- hostile files --------------------------------------------------------------------------------------------------


def test_every_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(18):
        both = f"d{number + 1}.yaml"
        write(tmp_path, **{f"d{number}": f"include: [{both}, {both}]\nk{number}: 1\n"})
    write(tmp_path, d18="name: d\n")
    read: list[Path] = []
    monkeypatch.setattr("mtl.config.yaml_files.read_yaml", lambda path: read.append(path) or read_yaml(path))
    assert len(read_mixture_fields(tmp_path / "d0.yaml")) == 19
    assert len(read) == 19
    write(tmp_path, d18="k: [\n")
    assert len(problems(tmp_path / "d0.yaml")) == 1


def test_a_chain_of_includes_has_a_limit(tmp_path: Path) -> None:
    for number in range(150):
        write(tmp_path, **{f"c{number}": f"include: [c{number + 1}.yaml]\n"})
    write(tmp_path, c150="name: a\n")
    assert len(problems(tmp_path / "c0.yaml")) == 1
    assert read_mixture_fields(tmp_path / "c60.yaml") == {"name": "a"}


@pytest.mark.parametrize("text", ["a: 1\nb: " + "9" * 5000 + "\n", "a: 1\nb: " + "[" * 5000 + "\n", "a: 1\nb: &b [*b]"])
def test_what_exceeds_a_limit_is_reported_with_the_line(tmp_path: Path, text: str) -> None:
    write(tmp_path, m=text)
    assert problems(tmp_path / "m.yaml")[0].key == f"{tmp_path / 'm.yaml'}:2"


def test_overrides_and_mappings_have_the_same_limits() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    assert problems({}, ["seed=" + "9" * 5000])[0].key == "seed"
    assert problems({}, ["seed=" + "[" * 5000])[0].key == "seed"
    assert len(problems({}, ["a" + ".a" * 50_000 + "=1"])) == 1
    assert len(problems(deep)) == 1


@pytest.mark.parametrize("name", ['"a\\0b"', "a" * 5000])
def test_an_include_with_an_impossible_name_does_not_exist(tmp_path: Path, name: str) -> None:
    write(tmp_path, m=f"include: [{name}]\n")
    assert problems(tmp_path / "m.yaml")[0].key == f"{tmp_path / 'm.yaml'}: include"


def test_a_hundred_thousand_labels_and_a_thousand_tasks_are_allowed(tmp_path: Path) -> None:
    labels = "".join(f"    - label {number}\n" for number in range(100_000))
    write(tmp_path, m=f"tasks:\n  a:\n    data: {{path: '${{oc.env:MTL_TEST_NONE,data}}'}}\n    labels:\n{labels}")
    assert len(read_mixture_fields(tmp_path / "m.yaml")["tasks"]["a"]["labels"]) == 100_000
    tasks = "".join(f"  t{n}: {{head: x, data: {{path: '${{oc.env:MTL_TEST_NONE,data}}'}}}}\n" for n in range(1200))
    write(tmp_path, m=f"tasks:\n{tasks}")
    assert len(read_mixture_fields(tmp_path / "m.yaml")["tasks"]) == 1200


# --- files as people have them --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("tasks: {no: {head: x}}", "tasks.false"),
        ("tasks: {a: {options: {class_weights: {yes: 2}}}}", "tasks.a.options.class_weights.true"),
        ("tasks: {a: {data: {types: {NO: Sign}}}}", "tasks.a.data.types.false"),
        ("on: 1", "true"),
        ("a: [{off: 1}]", "a.0.false"),
    ],
)
def test_a_key_that_yaml_reads_as_a_boolean_gets_the_advice_to_quote_it(text: str, key: str, tmp_path: Path) -> None:
    write(tmp_path, m=f"name: m\n{text}\n")
    (problem,) = problems(tmp_path / "m.yaml")
    assert problem.key == f"{tmp_path / 'm.yaml'}: {key}"
    assert "quotes" in problem.suggestion


def test_overrides_have_the_values_of_files() -> None:
    assert parse_overrides(["name=2026-11-27", "labels=[2020-01-01, x]", "rate=1e-4"]) == {
        "name": "2026-11-27",
        "labels": ["2020-01-01", "x"],
        "rate": 1e-4,
    }
    with pytest.raises(InputError) as raised:
        parse_overrides(["tasks.a.options={class_weights: {no: 2}}"])
    assert [problem.key for problem in raised.value.problems] == ["tasks.a.options.class_weights.false"]


@pytest.mark.parametrize("text", ["a:\n\tb: 1\n", "a:\n  b:\n  \tc: 1\n", "a:\n  - b\n\t- c\n"])
def test_a_tab_as_indentation_is_named_with_its_line(text: str, tmp_path: Path) -> None:
    write(tmp_path, m=text)
    (problem,) = problems(tmp_path / "m.yaml")
    number = 1 + next(index for index, line in enumerate(text.splitlines()) if "\t" in line)
    assert problem.key == f"{tmp_path / 'm.yaml'}:{number}"
    assert "tab" in problem.message


def test_numbers_of_the_environment_are_numbers_where_the_mixture_needs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBER", "3")
    monkeypatch.setenv("TRUTH", "true")
    text = "name: ${oc.env:NUMBER}\nseed: ${oc.env:NUMBER}\nbatch_size: ${oc.env:UNSET_NUMBER,8}\n"
    text += "privacy: {hash_ids: '${oc.env:TRUTH}'}\n"
    write(
        tmp_path,
        m=f"{text}tasks:\n  a: {{head: x, batch_size: '${{oc.env:NUMBER}}', labels: ['${{oc.env:NUMBER}}']}}\n",
    )
    fields = read_mixture_fields(tmp_path / "m.yaml")
    assert (fields["name"], fields["seed"], fields["batch_size"]) == ("3", 3, 8)
    assert fields["privacy"] == {"hash_ids": True}
    assert fields["tasks"]["a"]["batch_size"] == 3
    assert fields["tasks"]["a"]["labels"] == ["3"]
    monkeypatch.setenv("NUMBER", "three")
    assert read_mixture_fields(tmp_path / "m.yaml")["seed"] == "three"
    write(tmp_path, m="name: m\nseed: '3'\ntasks: {a: {head: x}}\n")
    assert read_mixture_fields(tmp_path / "m.yaml")["seed"] == "3"


def test_home_folders_and_variables_in_paths_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DATA", str(tmp_path))
    write(tmp_path, gad=TASK)
    text = "name: m\ninclude: [~/gad.yaml]\nencoder: {name: ~/model}\ntasks:\n  gad: {data: {path: $DATA/rows}}\n"
    write(tmp_path, m=text + "  b: {data: {path: {train: ~/rows}}}\n")
    fields = read_mixture_fields(tmp_path / "m.yaml")
    assert fields["encoder"]["name"] == str(tmp_path / "model")
    assert fields["tasks"]["gad"]["data"]["path"] == str(tmp_path / "rows")
    assert fields["tasks"]["b"]["data"]["path"] == {"train": str(tmp_path / "rows")}
    monkeypatch.delenv("DATA")
    (problem,) = problems(tmp_path / "m.yaml")
    assert (problem.key, "DATA" in problem.message) == ("tasks.gad.data.path", True)


def test_a_file_is_found_beside_the_one_that_names_it_then_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for place in (here, there, here / "$DATA"):
        place.mkdir()
        write(place, m="name: m")
    monkeypatch.chdir(there)
    monkeypatch.setenv("HOME", str(there))
    monkeypatch.setenv("DATA", str(there))
    paths = ("m.yaml", "~/m.yaml", "$DATA/m.yaml", "${DATA}/m.yaml")
    found = [find_file(path, here, "mixture", "study").resolve() for path in paths]
    assert found == [here / "m.yaml", there / "m.yaml", here / "$DATA" / "m.yaml", there / "m.yaml"]
    (here / "m.yaml").unlink()
    assert find_file("m.yaml", here, "mixture", "study").resolve() == there / "m.yaml"
    for path, shown in (("~/no.yaml", str(there)), ("$NOWHERE/m.yaml", "NOWHERE"), ("a\0", "a"), ("x" * 300, "x")):
        with pytest.raises(InputError) as caught:
            find_file(path, here, "mixture", "study")
        (problem,) = caught.value.problems
        assert (problem.key, shown in problem.message) == ("mixture", True)


def test_a_dollar_in_the_name_of_a_folder_that_exists_is_no_variable(tmp_path: Path) -> None:
    (tmp_path / "$rows").mkdir()
    write(tmp_path, m="name: m\ntasks:\n  gad: {data: {path: $rows}}\n")
    assert read_mixture_fields(tmp_path / "m.yaml")["tasks"]["gad"]["data"]["path"] == str(tmp_path / "$rows")


def test_a_task_with_the_rows_of_another_inherits_its_data(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").touch()
    first = "{head: x, data: {reader: table, path: rows.csv, columns: {text: note, label: a}}}"
    others = "  b: {same_rows_as: a, data: {columns: {label: b}}}\n  c: {same_rows_as: a}\n  d: {same_rows_as: none}\n"
    write(tmp_path, m=f"name: m\ntasks:\n  a: {first}\n{others}")
    tasks = read_mixture_fields(tmp_path / "m.yaml")["tasks"]
    path = str(tmp_path / "rows.csv")
    assert tasks["a"]["data"] == {"reader": "table", "path": path, "columns": {"text": "note", "label": "a"}}
    assert tasks["b"]["data"] == {"reader": "table", "path": path, "columns": {"text": "note", "label": "b"}}
    assert tasks["c"]["data"] == tasks["a"]["data"]
    assert "data" not in tasks["d"]


def test_a_run_to_start_from_becomes_the_encoder_and_is_searched_next_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "runs" / "one").mkdir(parents=True)
    write(tmp_path, mixture="encoder: {max_length: 64}\ninit: {run: runs/one}")
    fields = read_mixture_fields(tmp_path / "mixture.yaml")
    run = str((tmp_path / "runs" / "one").resolve())
    assert fields["init"] == {"run": run}
    assert fields["encoder"] == {"max_length": 64, "name": run}
    assert read_mixture_fields(fields) == fields


@pytest.mark.parametrize(("key", "value"), [("name", "other"), ("weights", "random"), ("tokenizer", "x")])
def test_a_run_to_start_from_excludes_what_else_says_where_the_encoder_starts(key: str, value: str) -> None:
    fields = {"encoder": {key: value}, "init": {"run": "runs/one"}}
    assert [problem.key for problem in problems(fields)] == [f"encoder.{key}"]
    assert read_mixture_fields(fields, [f"encoder.{key}=null"])["encoder"]["name"] == "runs/one"


def test_an_encoder_that_starts_with_a_dot_is_searched_next_to_the_file(tmp_path: Path) -> None:
    for folder in ("shape", "inner", "owner"):
        (tmp_path / folder).mkdir()
    write(tmp_path / "inner", mixture="encoder: {name: ../shape, tokenizer: ./absent}", plain="encoder: {name: owner}")
    encoder = read_mixture_fields(tmp_path / "inner" / "mixture.yaml")["encoder"]
    assert encoder == {"name": str((tmp_path / "shape").resolve()), "tokenizer": "./absent"}
    assert read_mixture_fields(tmp_path / "inner" / "plain.yaml")["encoder"] == {"name": "owner"}
