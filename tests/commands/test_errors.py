import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

from heads import Entity, Relation, SpanRow, TextRow
from heads.classification import Classification
from heads.multilabel import Multilabel
from heads.regression import Regression
from heads.relation import RelationClassification
from heads.token_classification import TokenClassification
from mtl import commands as cli
from mtl.commands import errors
from mtl.commands.errors import task_errors
from mtl.prediction.predicting import predict
from mtl.problems import InputError
from tests import five_tasks
from tests.five_tasks import SECRET, TASKS


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Callable[[str], Path]) -> Path:
    return five_tasks.trained(tmp_path_factory.mktemp, tiny_encoder("bert"))


@pytest.fixture(autouse=True)
def _cache(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTL_CACHE", str(run.parents[2] / "cache"))


# --- what a head calls wrong ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_class_is_one_error_or_none() -> None:
    head, row = Classification(["y", "n"], 8), TextRow("1", "1", "", label="y")
    assert [head.error({"label": label}, row) for label in ("y", "n")] == [0, 1]


def test_missed_and_spurious_labels_are_added_up() -> None:
    head, row = Multilabel(["a", "b", "c"], 8), TextRow("1", "1", "", label=("a", "b"))
    assert [head.error({"labels": names}, row) for names in (["b", "a"], ["a"], ["c"], [])] == [0, 1, 3, 2]


def test_a_number_is_wrong_beyond_a_tenth_of_its_range() -> None:
    head, row = Regression([], 8, range=(0, 4)), TextRow("1", "1", "", label=2.0)
    assert [head.error({"value": v}, row) for v in (2.0, 2.375, 1.625)] == [0, 0, 0]
    assert [head.error({"value": v}, row) for v in (3.0, 1.0, 6.0)] == [0.25, 0.25, 1.0]
    assert head.error({"value": float("nan")}, row) == float("inf")


def test_a_missed_spurious_or_mistyped_mention_is_an_error() -> None:
    head = TokenClassification(["Drug", "Disease"], 8)
    row = SpanRow("1", "1", "aspirin fever", entities=(Entity("T", "Drug", ((0, 7),)),))
    right, other = ({"type": kind, "start": 0, "end": 7, "score": 1.0} for kind in ("Drug", "Disease"))
    more = {"type": "Disease", "start": 8, "end": 13, "score": 1.0}
    found = [head.error({"entities": entities}, row) for entities in ([right], [], [other], [right, more], [more])]
    assert found == [0, 1, 1, 1, 2]


def test_a_relation_without_a_candidate_is_an_error() -> None:
    head = RelationClassification(["up", "none"], 8, negative="none", pairs=[("Drug", "Event")])
    entities = (Entity("A", "Drug", ((0, 7),)), Entity("B", "Event", ((10, 15),)))
    row = SpanRow("1", "1", "aspirin . fever", None, None, ((0, 9), (10, 15)), entities, (Relation("A", "B", "up"),))
    assert head.error({"relations": []}, row) == 1


def test_a_row_without_gold_is_not_wrong() -> None:
    assert Classification(["y", "n"], 8).error({"label": "y"}, TextRow("1", "1", "")) == 0
    assert Regression([], 8, range=(0, 1)).error({"value": 9.0}, TextRow("1", "1", "")) == 0
    assert Multilabel(["a"], 8).error({"labels": ["a"]}, TextRow("1", "1", "")) == 0


# --- what is listed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", sorted(TASKS))
def test_the_wrong_rows_are_those_whose_prediction_differs_from_gold(run: Path, tmp_path: Path, task: str) -> None:
    source = run.parents[2] / task / "dev.jsonl"
    rows = {row["id"]: row for row in five_tasks.read_lines(source)}
    predict(run, source, tmp_path / "out.jsonl", tasks=[task], trainer={"accelerator": "cpu"})
    expected = []
    for line in five_tasks.read_lines(tmp_path / "out.jsonl"):
        row = rows[line["id"]]
        made = five_tasks.by_entity_ids(line["predictions"][task], row)
        if task == "score":
            wrong = abs(made["value"] - row["label"]) > 0.4
        elif task == "kind":
            wrong = made["label"] != row["label"]
        elif task == "topics":
            wrong = set(made["labels"]) != set(row["label"])
        elif task == "mentions":
            gold = {(e["type"], *e["spans"][0]) for e in row["entities"]}
            wrong = {(e["type"], e["start"], e["end"]) for e in made["entities"]} != gold
        else:
            relations = {(r["head"], r["tail"], r["type"]) for r in row["relations"]}
            wrong = {(r["head"], r["tail"], r["type"]) for r in made["relations"]} != relations
        expected += [line["id"]] * wrong
    found = task_errors(run, task).wrong
    assert sorted(wrong.row.id for wrong in found) == sorted(expected)
    sizes = [wrong.error for wrong in found]
    assert sizes == sorted(sizes, reverse=True), "largest error first"


def test_the_requested_split_is_used(run: Path) -> None:
    found = task_errors(run, "links", "test").wrong
    assert len(found) >= 2, "two rows have a relation that cannot be found"
    assert all(wrong.row.id.startswith("links-test-") for wrong in found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("knd",), "--task: There is no task 'knd'. Did you mean 'kind'?"),
        (("score", "test"), "--split: The task 'score' has no split 'test'."),
    ],
)
def test_a_wrong_name_is_an_error(run: Path, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError) as caught:
        task_errors(run, *arguments)
    assert message in str(caught.value)


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json"):
        task_errors(tmp_path, "kind")


# --- what is shown ----------------------------------------------------------------------------------------------------


def shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.run(["errors", *arguments]) == 0
    captured = capsys.readouterr()
    assert SECRET not in captured.err
    return captured.out


def test_without_a_terminal_no_text_is_shown(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown([str(run), "--task", "links", "--limit", "100"], capsys)
    found = task_errors(run, "links").wrong
    assert found
    for wrong in found:
        assert wrong.row.id in out
        assert json.dumps(wrong.prediction) in out
    assert SECRET not in out
    assert out.endswith(f"{len(found)} wrong in dev of links\nTexts are shown only on a terminal.\n")


def test_a_task_with_mentions_has_the_share_that_train_knows(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown([str(run), "--task", "mentions"], capsys)
    rows = five_tasks.read_lines(run.parents[2] / "mentions" / "dev.jsonl")
    number = sum(len(row["entities"]) for row in rows)
    assert f"100.0% of the {number} mentions of dev are seen in train" in out
    assert "seen_f1 " in out


def test_the_limit_reports_how_many_rows_are_hidden(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    number = len(task_errors(run, "links").wrong)
    out = shown([str(run), "--task", "links", "--limit", "1"], capsys)
    assert f"{number} wrong in dev of links, {number - 1} not shown" in out
    assert out.count("predicted") == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_markup_and_emoji_codes_are_shown_unchanged(run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mtl.commands import errors

    row = TextRow("[bold]1", "1", "take :pill: [red]now[/red] " + "x" * 200, label="yes")
    wrong = [errors.Wrong(row, {"label": "no"}, 1.0, ["yes", "no"])]
    monkeypatch.setattr(errors, "task_errors", lambda *_: errors.TaskErrors(wrong, None))
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    assert cli.run(["errors", "anything", "--task", "kind"]) == 0
    assert row.text in out.getvalue()
    assert "[bold]1" in out.getvalue()


def test_texts_stay_hidden_on_a_terminal_on_request(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    assert cli.run(["errors", str(run), "--task", "links", "--no-text"]) == 0
    assert "predicted" in out.getvalue()
    assert SECRET not in out.getvalue()


@pytest.mark.slow
def test_texts_are_shown_on_a_terminal(run: Path, tmp_path: Path) -> None:
    """A real terminal, as `script` would give."""
    found = task_errors(run, "links").wrong
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mtl", "errors", str(run), "--task", "links", "--limit", "100"]
    environment = {**os.environ, "TERM": "dumb"}
    out = b""
    with (tmp_path / "stderr").open("wb") as stderr:
        process = subprocess.Popen(command, stdout=theirs, stderr=stderr, env=environment)
        os.close(theirs)
        with suppress(OSError):  # Linux says so when the other side has closed
            while chunk := os.read(ours, 4096):
                out += chunk
        os.close(ours)
        code = process.wait(60)
    error = (tmp_path / "stderr").read_text()
    assert code == 0, error
    assert SECRET not in error
    for wrong in found:
        assert wrong.row.id in out.decode()
        assert wrong.row.text in out.decode()


def test_a_label_that_is_a_text_is_hidden_even_if_it_looks_like_an_id() -> None:
    row = TextRow("t1", "t1", "the term", label="Tachycardia")
    output = io.StringIO()
    wrong = errors.Wrong(row, {"text": "Bradycardia"}, 1.0, ())
    errors._print(Console(file=output, width=120), wrong, show_text=False)
    assert "t1" in output.getvalue()
    assert "cardia" not in output.getvalue()
    errors._print(Console(file=output, width=120), wrong, show_text=True)
    assert output.getvalue().count("cardia") == 2
