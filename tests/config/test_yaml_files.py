from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtl.config.yaml_files import read_mixture_fields, read_yaml
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


def test_a_task_file_brings_the_task_of_its_name_and_the_including_file_overrides_its_fields(tmp_path: Path) -> None:
    write(tmp_path, gad=TASK, m="name: m\ninclude: [gad.yaml]\ntasks:\n  gad: {loss_weight: 0.5, labels: [c, d]}\n")
    fields = read_mixture_fields(tmp_path / "m.yaml")
    task = fields["tasks"]["gad"]
    assert (task["head"], task["loss_weight"], task["labels"]) == ("classification", 0.5, ["c", "d"])
    assert "include" not in fields


def test_a_mixture_can_include_a_mixture_and_later_wins_over_earlier(tmp_path: Path) -> None:
    write(tmp_path, gad=TASK)
    write(tmp_path, one="name: one\nseed: 1\nbatch_size: 4\ninclude: [gad.yaml]\n", two="seed: 2\nbatch_size: 8\n")
    write(tmp_path, m="name: m\nbatch_size: 16\ninclude: [one.yaml, two.yaml]\n")
    fields = read_mixture_fields(tmp_path / "m.yaml", ["tasks.gad.rate=3"])
    assert (fields["name"], fields["seed"], fields["batch_size"], fields["tasks"]["gad"]["rate"]) == ("m", 2, 16, 3)


def test_a_file_that_two_includes_share_is_no_circle(tmp_path: Path) -> None:
    write(tmp_path, gad=TASK, one="include: [gad.yaml]\n", two="include: [gad.yaml]\n")
    write(tmp_path, m="name: m\ninclude: [one.yaml, two.yaml]\n")
    assert list(read_mixture_fields(tmp_path / "m.yaml")["tasks"]) == ["gad"]


def test_an_include_in_a_circle_is_told_with_its_way(tmp_path: Path) -> None:
    write(tmp_path, a="name: a\ninclude: [b.yaml]\n", b="include: [c.yaml]\n", c="include: [a.yaml]\n")
    (problem,) = problems(tmp_path / "a.yaml")
    assert problem.key == str(tmp_path / "a.yaml")
    assert "a.yaml -> b.yaml -> c.yaml -> a.yaml" in problem.message


def test_every_missing_include_is_told_with_the_file_that_names_it(tmp_path: Path) -> None:
    write(tmp_path, m="name: m\ninclude: [x.yaml, deeper/y.yaml]\n")
    assert [(f.key, f.message) for f in problems(tmp_path / "m.yaml")] == [
        (f"{tmp_path / 'm.yaml'}: include", f"The file '{tmp_path / name}' doesn't exist.")
        for name in ("x.yaml", "deeper/y.yaml")
    ]


@pytest.mark.parametrize("include", ["gad.yaml", "{gad: 1}", "[1, 2]"])
def test_an_include_that_is_no_list_of_files_is_refused(tmp_path: Path, include: str) -> None:
    write(tmp_path, m=f"name: m\ninclude: {include}\n")
    (problem,) = problems(tmp_path / "m.yaml")
    assert problem == Problem(
        f"{tmp_path / 'm.yaml'}: include", "It must be a list of files.", "Write include: [FILE, FILE]."
    )


# --- paths ----------------------------------------------------------------------------------------------------------


def test_a_relative_path_belongs_to_the_file_that_writes_it(tmp_path: Path) -> None:
    for folder in ("tasks", "mixtures"):
        (tmp_path / folder / "rows").mkdir(parents=True)
    write(tmp_path / "tasks", gad=TASK)
    write(tmp_path / "mixtures", m="name: m\ninclude: [../tasks/gad.yaml]\ntasks:\n  gad: {rate: 2}\n")
    data = read_mixture_fields(tmp_path / "mixtures" / "m.yaml")["tasks"]["gad"]["data"]
    assert data == {"reader": "jsonl", "path": str(tmp_path / "tasks" / "rows")}
    write(tmp_path / "mixtures", n="name: n\ninclude: [../tasks/gad.yaml]\ntasks:\n  gad: {data: {path: rows}}\n")
    data = read_mixture_fields(tmp_path / "mixtures" / "n.yaml")["tasks"]["gad"]["data"]
    assert data == {"reader": "jsonl", "path": str(tmp_path / "mixtures" / "rows")}


def test_a_path_that_is_not_beside_the_file_stays_as_written(tmp_path: Path) -> None:
    write(tmp_path, m=f"name: m\ntasks:\n  gad:\n    {TASK.replace(chr(10), chr(10) + '    ')}\n")
    assert read_mixture_fields(tmp_path / "m.yaml")["tasks"]["gad"]["data"]["path"] == "rows"


def test_each_path_of_a_path_per_split_is_found_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    content = {"tasks": {"gad": {"data": {"path": {"train": "a.jsonl", "dev": "b.jsonl"}}}}}
    data = read_mixture_fields(content, folder=tmp_path)["tasks"]["gad"]["data"]
    assert data["path"] == {"train": str(tmp_path / "a.jsonl"), "dev": "b.jsonl"}


def test_a_path_in_an_override_belongs_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there" / "rows").mkdir(parents=True)
    (tmp_path / "here" / "rows").mkdir(parents=True)
    write(tmp_path / "there", m=f"name: m\ntasks:\n  gad:\n    {TASK.replace(chr(10), chr(10) + '    ')}\n")
    monkeypatch.chdir(tmp_path / "here")
    read = read_mixture_fields(tmp_path / "there" / "m.yaml", ["tasks.gad.data.path=rows"])
    assert read["tasks"]["gad"]["data"]["path"] == str(tmp_path / "here" / "rows")


# --- overrides ------------------------------------------------------------------------------------------------------


def test_a_sampler_of_another_name_brings_its_own_options_alone(tmp_path: Path) -> None:
    write(tmp_path, m="name: m\nsampler: {name: temperature, temperature: 2.0}\n")
    other = read_mixture_fields(tmp_path / "m.yaml", ["sampler.name=anchored", "sampler.main=gad"])
    assert other["sampler"] == {"name": "anchored", "main": "gad"}
    same = read_mixture_fields(tmp_path / "m.yaml", ["sampler={name: temperature, cap: 9}"])
    assert same["sampler"] == {"name": "temperature", "temperature": 2.0, "cap": 9}


def test_overrides_are_read_as_yaml_and_the_last_wins(tmp_path: Path) -> None:
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


def test_problems_of_the_file_and_of_the_overrides_come_together(tmp_path: Path) -> None:
    found = problems(tmp_path / "no.yaml", ["rate", "=3", "a=[1"])
    assert [problem.key for problem in found] == [str(tmp_path / "no.yaml"), "rate", "=3", "a"]
    assert found[1].message == "An override must be key=value."
    assert found[3].message.startswith("The value '[1' isn't valid YAML: expected ',' or ']'")


# --- interpolation --------------------------------------------------------------------------------------------------


def test_interpolation_reads_the_environment_its_default_and_other_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTL_TEST_FOLDER", "/somewhere")
    monkeypatch.delenv("MTL_TEST_NONE", raising=False)
    write(tmp_path, m="a: ${oc.env:MTL_TEST_FOLDER}/x\nb: ${oc.env:MTL_TEST_NONE,data}/y\nc: ${d.e}\nd: {e: 5}\n")
    fields = read_mixture_fields(tmp_path / "m.yaml", ["d.e=6"])
    assert (fields["a"], fields["b"], fields["c"]) == ("/somewhere/x", "data/y", 6)


def test_an_include_is_found_by_interpolation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTL_TEST_FOLDER", str(tmp_path))
    write(tmp_path, gad=TASK, m="name: m\ninclude: ['${oc.env:MTL_TEST_FOLDER}/gad.yaml']\n")
    assert "gad" in read_mixture_fields(tmp_path / "m.yaml")["tasks"]


def test_all_failing_interpolations_are_told_with_their_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MTL_TEST_NONE", raising=False)
    write(tmp_path, m="a: {b: '${oc.env:MTL_TEST_NONE}/x'}\nc: [1, '${no.such}']\nd: 4\n")
    assert problems(tmp_path / "m.yaml") == [
        Problem(
            "a.b",
            "The environment variable MTL_TEST_NONE isn't set.",
            "Set it, or write a default: ${oc.env:MTL_TEST_NONE,DEFAULT}.",
        ),
        Problem(
            "c[1]",
            "It can't be filled in: Interpolation key 'no.such' not found.",
            "Write ${key} or ${oc.env:NAME,default}.",
        ),
    ]


def test_a_malformed_interpolation_is_told_with_file_and_key(tmp_path: Path) -> None:
    write(tmp_path, m="a: '${oc.env:X'\n")
    (problem,) = problems(tmp_path / "m.yaml")
    assert (problem.key, problem.message) == (
        f"{tmp_path / 'm.yaml'}: a",
        "It can't be filled in: the closing } is missing.",
    )


# --- files that are no YAML -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (b"a: 1\nb: [1, 2\nc: {\n", 3, "isn't valid YAML: while parsing a flow sequence that begins in line 2"),
        (b"a: 1\nb: 2\na: 3\n", 3, "A key must stand once; found 'a' again."),
        (b"tasks:\n  x: 1\n  y: 2\n  x: 3\n", 4, "A key must stand once; found 'x' again."),
        (b"a:\n\tb: 1\n", 2, "isn't valid YAML"),
        (b"a: 1\n# caf\xe9\n", 2, "The file must be UTF-8; found byte 0xe9."),
    ],
)
def test_a_file_that_cant_be_read_is_told_with_its_line(tmp_path: Path, text: bytes, line: int, message: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(text)
    (problem,) = problems(path)
    assert problem.key == f"{path}:{line}"
    assert message in problem.message
    assert "\n" not in str(problem)
    assert str(path) not in problem.message


def test_a_tab_brings_the_advice_to_use_spaces(tmp_path: Path) -> None:
    write(tmp_path, m="name: t\n\tencoder: x\n")
    assert problems(tmp_path / "m.yaml")[0].suggestion == "Indent with spaces."


@pytest.mark.parametrize(("text", "found"), [("- a\n- b\n", "a list"), ("3\n", "a single value")])
def test_a_file_without_keys_is_refused(tmp_path: Path, text: str, found: str) -> None:
    write(tmp_path, m=text)
    assert problems(tmp_path / "m.yaml")[0].message == f"The file must hold keys with values; found {found}."


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_bytes(b"name: m\nencoder: {name: x}\n")
    (tmp_path / "windows.yaml").write_bytes(b"\xef\xbb\xbfname: m\r\nencoder: {name: x}\r\n")
    assert read_yaml(tmp_path / "plain.yaml") == read_yaml(tmp_path / "windows.yaml")


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    for path in (tmp_path / "no.yaml", tmp_path):
        assert problems(path) == [Problem(str(path), "The file doesn't exist.", "Check the path.")]


def test_an_empty_file_holds_no_fields(tmp_path: Path) -> None:
    write(tmp_path, m="")
    assert read_mixture_fields(tmp_path / "m.yaml") == {}


def test_numbers_that_name_tasks_become_text(tmp_path: Path) -> None:
    write(tmp_path, m="tasks: {2013: {head: x}}\n")
    assert list(read_mixture_fields(tmp_path / "m.yaml")["tasks"]) == ["2013"]
