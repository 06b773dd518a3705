"""`mtl suite` as its users type it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtl.commands import run as run_mtl
from tests.suites.toy import write_data, write_suite


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))


def test_a_suite_whose_other_data_are_missing_would_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_data(tmp_path, "risk")
    path = write_suite(tmp_path)
    assert run_mtl(["suite", "check", str(path)]) == 0
    out = capsys.readouterr().out
    assert "toy_drugs" in out
    for words in ("the office", "a signature", "data/drugs", "1 of 2"):
        assert words in out
    assert run_mtl(["suite", "check", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["complete"]) == (True, False)
    assert found["tasks"]["toy_risk"]["splits"]["train"]["found"] == 2


def test_some_tasks_can_be_checked_and_an_unknown_one_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(tmp_path, "risk")
    path = str(write_suite(tmp_path))
    assert run_mtl(["suite", "check", path, "--tasks", "toy_risk", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["tasks"]) == ["toy_risk"]
    assert run_mtl(["suite", "check", path, "--tasks", "toy_rsk", "--json"]) == 2
    assert [error["key"] for error in json.loads(capsys.readouterr().out)["errors"]] == ["--tasks"]


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["check", "--encoder", "minilm-l6", "--as", "joint"], ["--encoder", "--as"]),
        (["run", "--accept-counts"], ["--accept-counts"]),
        (["report", "--tasks", "toy_risk", "budget.updates=3"], ["key=value", "--tasks"]),
    ],
)
def test_options_that_an_action_would_ignore_are_refused(
    words: list[str], keys: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    action, *options = words
    assert run_mtl(["suite", action, str(write_suite(tmp_path)), *options, "--json"]) == 2
    assert [error["key"] for error in json.loads(capsys.readouterr().out)["errors"]] == keys


def test_a_wrong_count_exits_with_2_until_it_is_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_data(tmp_path, "risk", "drugs")
    path = write_suite(tmp_path, tasks__toy_drugs__counts={"unit": "mentions", "train": 3})
    assert run_mtl(["suite", "check", str(path), "--json"]) == 2
    assert [error["key"] for error in json.loads(capsys.readouterr().out)["errors"]] == ["tasks.toy_drugs.counts.train"]
    assert run_mtl(["suite", "check", str(path), "--accept-counts"]) == 0
    assert Path("runs/suites/toy/accepted_counts.json").is_file()
    assert "accepted" in capsys.readouterr().out
    assert run_mtl(["suite", "check", str(path)]) == 0
    assert run_mtl(["suite", "check", str(path), "--root", "elsewhere"]) == 2


def test_an_override_changes_what_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_data(tmp_path, "risk")
    assert run_mtl(["suite", "check", str(write_suite(tmp_path)), "tasks.toy_risk.counts.dev=9", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["tasks"]["toy_risk"]["splits"]["dev"]["published"] == 9


def test_no_data_and_an_invalid_file_exit_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_suite(tmp_path, seeds=0)
    assert run_mtl(["suite", "check", str(path), "--json"]) == 2
    assert [error["key"] for error in json.loads(capsys.readouterr().out)["errors"]] == ["seeds"]
    assert run_mtl(["suite", "check", str(write_suite(tmp_path)), "--json"]) == 2
    assert [error["key"] for error in json.loads(capsys.readouterr().out)["errors"]] == ["tasks"]
    assert run_mtl(["suite", "check", "blub"]) == 2
    assert "Did you mean 'blurb'?" in capsys.readouterr().err


def test_page_prints_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_mtl(["suite", "page", str(write_suite(tmp_path))]) == 0
    assert capsys.readouterr().out.startswith("# A toy suite\n")
