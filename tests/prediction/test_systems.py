"""`mtl score` and `mtl compare`: runs and files of predictions on the same gold rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl.commands import run as run_mtl
from tests import five_tasks
from tests.suites import toy

CPU = ["--trainer.accelerator", "cpu"]


@pytest.fixture(autouse=True)
def _surroundings(tested_run: Path, planted: None) -> Iterator[None]:
    with five_tasks.surroundings(tested_run.parents[2]):
        yield


@pytest.fixture
def task(tested_run: Path, tmp_path: Path) -> Path:
    """A task file of the run's task `mentions`."""
    mixture = yaml.safe_load((tested_run / "mixture.yaml").read_text())
    spec = {name: mixture["tasks"]["mentions"][name] for name in ("head", "labels", "data")}
    spec["data"] = {name: value for name, value in spec["data"].items() if value}
    (tmp_path / "mentions.yaml").write_text(yaml.safe_dump(spec))
    return tmp_path / "mentions.yaml"


@pytest.fixture
def predictions(tested_run: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that writes predictions of the words of the planted lexicon, without some of them."""

    def write(name: str, *without: str) -> Path:
        kinds = {"aspirin": "Drug", "fever": "Event", "risk": "Event"}
        records = []
        for row in five_tasks.read_lines(tested_run.parents[2] / "mentions" / "test.jsonl"):
            places = [(word, row["text"].find(word)) for word in kinds if word not in without]
            entities = [{"type": kinds[w], "start": a, "end": a + len(w)} for w, a in places if a >= 0]
            records.append({"id": row["id"], "entities": entities})
        five_tasks.write_lines(tmp_path / f"{name}.jsonl", records)
        return tmp_path / f"{name}.jsonl"

    return write


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_file_gets_the_scores_of_the_run_whose_predictions_it_has(
    tested_run: Path, task: Path, predictions: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    own = json.loads((tested_run / "metrics.json").read_text())
    assert run_mtl(["score", str(predictions("all")), "--task", str(task), "--json"]) == 0
    found = printed(capsys)
    expected = {name: value for name, value in own["test"]["mentions"].items() if name != "loss"}
    assert found["scores"] == pytest.approx(expected)
    assert found["intervals"]["f1"] == pytest.approx(own["interval"]["mentions"]["f1"])
    trivial = json.loads((tested_run / "baselines.json").read_text())["test"]["mentions"]
    assert found["baselines"]["lexicon"] == pytest.approx(trivial["lexicon"])
    of_run = ["--run", str(tested_run), "--task", "mentions"]
    assert run_mtl(["score", str(predictions("all")), *of_run, "--json"]) == 0
    assert printed(capsys) == found


def test_trivial_predictors_of_a_file_choose_their_threshold_on_dev(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "dev", "test"):
        labels = ["yes" if number == 0 else "no" for number in range(4)]
        rows = [
            {"id": f"{split}-{number}", "text": f"{label} {split}", "label": label}
            for number, label in enumerate(labels)
        ]
        five_tasks.write_lines(tmp_path / "kind" / f"{split}.jsonl", rows)
    options = {"positive": "yes", "threshold": {"sensitivity": 0.95}}
    spec = {"head": "classification", "labels": ["yes", "no"], "options": options}
    spec["data"] = {"reader": "jsonl", "path": str(tmp_path / "kind")}
    (tmp_path / "kind.yaml").write_text(yaml.safe_dump(spec))
    given = [{"id": f"test-{number}", "label": "no", "scores": {"yes": 0.25, "no": 0.75}} for number in range(4)]
    five_tasks.write_lines(tmp_path / "theirs.jsonl", given)
    assert run_mtl(["score", str(tmp_path / "theirs.jsonl"), "--task", str(tmp_path / "kind.yaml"), "--json"]) == 0
    majority = printed(capsys)["baselines"]["majority"]
    assert (majority["sensitivity"], majority["specificity"]) == (1.0, 0.0)


def test_what_the_run_predicts_in_any_layout_scores_like_the_run(
    tested_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = json.loads((tested_run / "metrics.json").read_text())["test"]["mentions"]
    for name in ("x.PubTator", "x.conll", "x.ddi", "x.jsonl"):
        split = ["--split", "test", "--task", "mentions"]
        assert run_mtl(["predict", str(tested_run), *split, "--output", str(tmp_path / name), *CPU]) == 0
        assert run_mtl(["score", str(tmp_path / name), "--run", str(tested_run), "--task", "mentions", "--json"]) == 0
        assert printed(capsys)["scores"]["f1"] == pytest.approx(own["f1"]), name


@pytest.mark.parametrize(("options", "kept"), [({}, False), ({"spans": "lenient"}, True), ({"scheme": "IO"}, True)])
def test_tags_without_a_beginning_are_scored_as_the_task_decodes_its_own(
    tested_run: Path,
    task: Path,
    tmp_path: Path,
    options: dict[str, Any],
    kept: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = ["--split", "test", "--task", "mentions", "--output", str(tmp_path / "x.conll")]
    assert run_mtl(["predict", str(tested_run), *output, *CPU]) == 0
    tagged = (tmp_path / "x.conll").read_text()
    task.write_text(yaml.safe_dump({**yaml.safe_load(task.read_text()), "options": options}))
    found = {}
    for prefix in "BI":
        (tmp_path / "x.conll").write_text(tagged.replace("\tB-", f"\t{prefix}-"))
        assert run_mtl(["score", str(tmp_path / "x.conll"), "--task", str(task), "--json"]) == 0
        found[prefix] = printed(capsys)
    assert found["B"]["scores"]["f1"] > 0
    assert found["I"]["scores"]["f1"] == (found["B"]["scores"]["f1"] if kept else 0)
    assert (found["B"]["left_out"], bool(found["I"]["left_out"])) == ({}, not kept)


@pytest.fixture
def suite(task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite in the working folder, with the task `toy_drugs` that scores the rows of `mentions` leniently."""
    spec = yaml.safe_load(task.read_text())
    drugs = {**toy.DRUGS, **spec, "options": {"spans": "lenient"}, "variant": "conlleval_entity_f1"}
    (tmp_path / "experiments" / "suites").mkdir(parents=True)
    fields = toy.fields(tasks={"toy_drugs": drugs})
    (tmp_path / "experiments" / "suites" / "toy.yaml").write_text(yaml.safe_dump(fields))
    monkeypatch.chdir(tmp_path)


def test_a_task_of_a_suite_is_known_by_its_name_and_scores_name_their_variant(
    suite: None, tested_run: Path, task: Path, predictions: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(predictions("all"))
    found = {}
    for name in ("toy_drugs", str(task)):
        assert run_mtl(["score", path, "--task", name, "--json"]) == 0
        found[name] = printed(capsys)
    ours, other = found["toy_drugs"], found[str(task)]
    assert (ours["variants"]["f1"], other["variants"]["f1"]) == ("conlleval_entity_f1", "strict_entity_f1")
    assert ours["variants"].keys() == {"f1", "word_macro_f1"}
    assert ours["scores"] == other["scores"], "mentions with offsets need no decoding"
    assert run_mtl(["compare", path, path, "--task", "toy_drugs", "--json"]) == 0
    assert printed(capsys)["variants"]["f1"] == "conlleval_entity_f1"
    assert run_mtl(["score", path, "--task", "toy_drugs"]) == 0
    assert "conlleval_entity_f1" in capsys.readouterr().out
    on_suite = [str(tested_run), "--task", "mentions", "--on", "toy_drugs", "--json", *CPU]
    assert run_mtl(["evaluate", *on_suite]) == 0
    scores = printed(capsys)
    assert (scores["on"], scores["variants"]["f1"]) == ("toy_drugs", "strict_entity_f1"), "as the run decodes"
    assert scores["scores"]["f1"] == pytest.approx(other["scores"]["f1"])


def test_a_run_and_a_file_with_the_same_predictions_do_not_differ(
    tested_run: Path, predictions: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", str(tested_run), str(predictions("all")), "--task", "mentions", "--json"]
    assert run_mtl([*words, *CPU]) == 0
    found = printed(capsys)
    assert found["systems"] == [tested_run.name, "all.jsonl"]
    assert found["documents"] == 4
    assert found["p"] == 1.0
    assert all(one["difference"] == one["low"] == one["high"] == 0 for one in found["metrics"].values())


def test_two_files_are_compared_on_the_documents_of_a_task_file(
    task: Path, predictions: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = predictions("all"), predictions("fewer", "aspirin", "fever")
    assert run_mtl(["compare", str(first), str(second), "--task", str(task), "--json"]) == 0
    found = printed(capsys)
    f1 = found["metrics"]["f1"]
    assert (f1["first"], f1["second"]) == (pytest.approx(6 / 7), 0.0)
    assert f1["difference"] == pytest.approx(6 / 7)
    # Each of the 4 documents has something that only the first system finds: 2 of 16 exchanges differ as much.
    assert found["p"] == pytest.approx(2 / 16)
    assert run_mtl(["compare", str(first), str(second), "--task", str(task)]) == 0
    assert "p = 0.1250" in capsys.readouterr().out


def test_a_run_that_counts_otherwise_is_not_compared(
    tested_run: Path, task: Path, predictions: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", str(tested_run), str(predictions("all")), "--task", str(task), "--json", *CPU]
    task.write_text(yaml.safe_dump({**yaml.safe_load(task.read_text()), "options": {"spans": "strict"}}))
    assert run_mtl(words) == 0, "which is the default"
    task.write_text(yaml.safe_dump({**yaml.safe_load(task.read_text()), "options": {"spans": "lenient"}}))
    capsys.readouterr()
    assert run_mtl(words) == 2
    (problem,) = json.loads(capsys.readouterr().out)["errors"]
    assert (problem["key"], "spans strict instead of lenient" in problem["message"]) == ("--task", True)


def test_a_file_without_some_rows_is_an_error_that_lists_them(
    task: Path, predictions: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = predictions("all")
    kept = five_tasks.read_lines(path)
    five_tasks.write_lines(path, [*kept[2:], kept[2]])
    assert run_mtl(["score", str(path), "--task", str(task), "--json"]) == 2
    duplicate, missing = printed(capsys)["errors"]
    assert kept[2]["id"] in duplicate["message"]
    assert all(one["id"] in missing["message"] for one in kept[:2])


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["score", "FILE"], "--task"),
        (["score", "FILE", "--task", "mentions"], "--task"),
        (["score", "FILE", "--run", "RUN"], "--task"),
        (["score", "FILE", "--run", "RUN", "--task", "mentoins"], "--task"),
        (["compare", "FILE", "FILE", "--task", "mentions"], "--task"),
        (["compare", "RUN", "nothing.jsonl"], "nothing.jsonl"),
    ],
)
def test_what_is_missing_is_an_error(
    tested_run: Path,
    predictions: Callable[..., Path],
    words: list[str],
    key: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = {"FILE": str(predictions("all")), "RUN": str(tested_run)}
    assert run_mtl([names.get(word, word) for word in words]) == 2
    assert capsys.readouterr().err.startswith(f"mtl: {key}: ")
