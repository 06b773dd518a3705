"""Data of a suite against its published counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtl.suites.accepted import accepted_file, read_accepted, write_accepted
from mtl.suites.checking import SuiteCheck, check_suite
from mtl.suites.suite_file import load_suite
from tests.suites.toy import write_data, write_suite


def checked(folder: Path, accepted: Path | None = None, **changes: object) -> SuiteCheck:
    suite = load_suite(write_suite(folder, **changes))
    return check_suite(suite, {} if accepted is None else read_accepted(accepted))


def statuses(check: SuiteCheck, task: str) -> dict[str, str]:
    return {split: one.status for split, one in check.tasks[task].splits.items()}


def test_right_counts_of_every_task_are_complete(tmp_path: Path) -> None:
    write_data(tmp_path, "risk", "drugs")
    check = checked(tmp_path)
    assert (check.problems, check.is_complete) == ([], True)
    assert (
        statuses(check, "toy_drugs") == statuses(check, "toy_risk") == dict.fromkeys(("train", "dev", "test"), "equal")
    )
    assert len({task.fingerprint for task in check.tasks.values()}) == 2
    json.dumps(check.to_dict())


def test_a_task_whose_data_are_absent_is_missing_whatever_its_reader(tmp_path: Path) -> None:
    write_data(tmp_path, "risk")
    check = checked(tmp_path, tasks__toy_drugs__data={"reader": "not_yet_written", "path": "data/drugs"})
    assert check.tasks["toy_drugs"] == ("missing", {}, ())
    assert (check.problems, check.is_complete, check.found) == ([], False, ["toy_risk"])
    found = check.to_dict()
    assert (found["ok"], found["complete"], found["found"], found["total"]) == (True, False, 1, 2)
    assert found["tasks"]["toy_drugs"]["access"]["agreement"] is True
    assert found["tasks"]["toy_drugs"]["paths"] == ["data/drugs"]


def test_no_data_at_all_is_a_problem(tmp_path: Path) -> None:
    [problem] = checked(tmp_path).problems
    assert problem.key == "tasks"
    assert "MTL_DATA" in problem.suggestion


def test_a_wrong_count_names_task_split_found_and_published_number(tmp_path: Path) -> None:
    write_data(tmp_path, "drugs")
    check = checked(tmp_path, tasks__toy_drugs__counts={"unit": "mentions", "train": 2, "dev": 7})
    [problem] = check.problems
    assert problem.key == "tasks.toy_drugs.counts.dev"
    assert "must be 7 mentions as published, got 1" in problem.message
    assert "--accept-counts" in problem.suggestion
    assert statuses(check, "toy_drugs") == {"train": "equal", "dev": "wrong", "test": "unpublished"}


def test_a_known_difference_is_no_problem_but_another_one_is(tmp_path: Path) -> None:
    write_data(tmp_path, "drugs")
    counts = {"unit": "mentions", "train": 2, "dev": 7, "test": 7}
    differences = [
        {"split": "dev", "found": 1, "because": "one is enough"},
        {"split": "test", "found": 3, "because": "-"},
    ]
    check = checked(tmp_path, tasks__toy_drugs__counts=counts, tasks__toy_drugs__differences=differences)
    assert statuses(check, "toy_drugs") == {"train": "equal", "dev": "known", "test": "wrong"}
    assert check.tasks["toy_drugs"].splits["dev"].because == "one is enough"
    assert [problem.key for problem in check.problems] == ["tasks.toy_drugs.counts.test"]


def test_an_accepted_count_is_accepted_until_the_data_change(tmp_path: Path) -> None:
    write_data(tmp_path, "drugs", "risk")
    counts = {"tasks__toy_drugs__counts": {"unit": "mentions", "train": 2, "dev": 7, "test": 1}}
    file = accepted_file(tmp_path / "runs", "toy")
    first = checked(tmp_path, **counts)
    write_accepted(file, first.acceptable())
    assert json.loads(file.read_text())["toy_drugs"]["dev"] == {
        "found": 1,
        "published": 7,
        "unit": "mentions",
        "fingerprint": first.tasks["toy_drugs"].splits["dev"].fingerprint,
    }
    again = checked(tmp_path, file, **counts)
    assert again == first.accepting()
    assert (again.problems, statuses(again, "toy_drugs")["dev"]) == ([], "accepted")
    (tmp_path / "data" / "drugs" / "dev.tsv").write_text("Aspirin\tB-Drug\n\nIron\tB-Drug\n\n")
    assert [problem.key for problem in checked(tmp_path, file, **counts).problems] == ["tasks.toy_drugs.counts.dev"]


def test_other_rows_with_the_accepted_number_are_wrong_until_they_are_accepted(tmp_path: Path) -> None:
    write_data(tmp_path, "drugs", "risk")
    counts = {"tasks__toy_drugs__counts": {"unit": "mentions", "train": 2, "dev": 7, "test": 1}}
    file = accepted_file(tmp_path / "runs", "toy")
    write_accepted(file, checked(tmp_path, **counts).acceptable())
    (tmp_path / "data" / "drugs" / "dev.tsv").write_text("Iron\tB-Drug\n\n")
    changed = checked(tmp_path, file, **counts)
    [problem] = changed.problems
    assert problem.key == "tasks.toy_drugs.counts.dev"
    assert "got 1 and other rows" in problem.message
    write_accepted(file, changed.acceptable())
    assert statuses(checked(tmp_path, file, **counts), "toy_drugs")["dev"] == "accepted"


def test_what_was_accepted_before_stays_accepted(tmp_path: Path) -> None:
    file = accepted_file(tmp_path, "toy")
    write_accepted(file, {"a": {"dev": {"found": 1}}})
    write_accepted(file, {"a": {"test": {"found": 2}}, "b": {"dev": {"found": 3}}})
    assert read_accepted(file) == {
        "a": {"dev": {"found": 1}, "test": {"found": 2}},
        "b": {"dev": {"found": 3}},
    }


def test_a_published_split_that_is_not_there_is_wrong_and_cannot_be_accepted(tmp_path: Path) -> None:
    write_data(tmp_path, "drugs")
    (tmp_path / "data" / "drugs" / "test.tsv").unlink()
    check = checked(tmp_path)
    [problem] = check.problems
    assert problem.key == "tasks.toy_drugs.counts.test"
    assert "got no such split" in problem.message
    assert check.acceptable() == {"toy_drugs": {}}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"tasks__toy_drugs__data": {"reader": "conl", "path": "data/drugs"}}, "tasks.toy_drugs.data.reader"),
        ({"tasks__toy_drugs__labels": ["Gene"]}, "tasks.toy_drugs.labels"),
        ({"tasks__toy_drugs__data": {"reader": "table", "path": "data/drugs"}}, "tasks.toy_drugs.data.columns"),
    ],
)
def test_data_that_cannot_be_read_are_problems_of_the_task(
    tmp_path: Path, changes: dict[str, object], key: str
) -> None:
    write_data(tmp_path, "drugs", "risk")
    check = checked(tmp_path, **changes)
    assert check.tasks["toy_drugs"].state == "unreadable"
    assert key in " ".join(problem.key for problem in check.problems)
    assert check.tasks["toy_risk"].state == "found"


PUBLIC = {
    "blurb": {"blurb_ebm_pico", "blurb_bioasq"},
    "blue": {"blue_medsts", "blue_share", "blue_ddi", "blue_i2b2_2010", "blue_hoc", "blue_mednli"},
    "encoders11": {
        "encoders11_phenotype",
        "encoders11_cos",
        "encoders11_social_history",
        "encoders11_deid",
        "encoders11_anatem",
    },
}
"""Tasks of each suite whose data are not in the folder of public data sets."""


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_data_have_the_published_counts_or_known_differences(
    name: str, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTL_DATA", str(data_folder))
    check = check_suite(load_suite(name), {})
    assert check.problems == []
    assert {task for task, one in check.tasks.items() if one.state == "missing"} == PUBLIC[name]
    known = {f"{task}/{split}" for task in check.found for split, s in statuses(check, task).items() if s == "known"}
    chemprot = {f"{name}_chemprot/{split}" for split in ("train", "dev", "test")}
    assert known == chemprot | ({"blurb_bc5_disease/dev"} if name == "blurb" else set())
