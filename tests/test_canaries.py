"""No text of the data in streams, files, MLflow or reports: canaries in every field, searched for after every error."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from heads import Row
from heads.rows import row_from_dict
from mtl import commands as cli
from mtl import hashed_ids
from mtl.config.mixture import DataSpec, TaskSpec, build_head
from mtl.data.row_problems import row_problems
from tests import five_tasks
from tests.canaries import CANARY, ERRORS, HEAD, METHODS, WORD, assert_silent, files_with, planted
from tests.five_tasks import CPU, TASKS

Encoder = Callable[[str], Path]
QUICK = [*CPU, "--trainer.enable_progress_bar=false", "--trainer.max_epochs=1", "--run.baselines=false"]


@pytest.fixture(autouse=True)
def ids_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashed_ids._Process, "key", None)


# --- configs ----------------------------------------------------------------------------------------------------------

NOTES = {
    "text": f"{CANARY}.\nSmith was seen.\n",
    "a mapping": f"Patient: {CANARY}\n{CANARY}: 3\n",
    "one word before the colon": f"{WORD}: had a fever\n",
    "broken YAML": f"Patient: {CANARY}\nPlan: {{see: {CANARY}\n",
    "a tag": f"Patient: !{WORD} x\n",
    "an alias": f"Patient: *{WORD}\n",
    "a doubled key": f"{CANARY}: 1\n{CANARY}: 2\n",
    "an interpolation": f"Patient: ${{{CANARY}\n",
    "a variable": f"Patient: ${{oc.env:{CANARY}}}\n",
    "a long interpolation": f"{CANARY}: '${{oc.env:x,{'y' * 5000}}}'\n",
    "a chain of interpolations": f"tasks: {{{CANARY}: {{a: '${{tasks.{CANARY}.b}}', b: '${{tasks.{CANARY}.a}}'}}}}\n",
    "a value of another tag": f"Patient: !!int {CANARY}\n",
    "deep nesting": f"{CANARY}: {'[' * 200}{CANARY}{']' * 200}\n",
    "an alias in itself": f"&{WORD} {CANARY}: [*{WORD}]\nPatient: &{WORD} [*{WORD}]\n",
    "a list": f"- {CANARY}\n",
    "known keys": f"tasks: {CANARY}\nseed: {CANARY}\nencoder: {{name: ['{CANARY}'], {CANARY}: 3}}\n",
    "known keys of a task": f"head: {CANARY}\nlabels: {CANARY}\n{CANARY}: 1\n",
    "names of tasks": f"tasks: {{{CANARY}: {{head: x}}}}\n",
    "values of tasks": f"tasks: {{b: {{head: '{CANARY}', data: {{path: 1, reader: '{CANARY}'}}}}}}\n",
    "a config file": f"trainer: {{max_epochs: {CANARY}, {CANARY}: 1}}\nmodel: {CANARY}\nrun: {{root: ['{CANARY}']}}\n",
    "a seed": f"seed_everything: {CANARY}\n",
}


@pytest.mark.parametrize("note", NOTES)
def test_a_note_in_the_place_of_a_config_is_not_printed(
    note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text(NOTES[note])
    (tmp_path / "mixture.yaml").write_text("include: [notes.txt]\nname: x\n")
    (tmp_path / "whole.yaml").write_text(yaml.safe_dump({"name": "x", "tasks": {"a": task("none")}}))
    commands = [
        ["check", "mixture.yaml"],
        ["check", "--json", "mixture.yaml"],
        ["fit", "--mixture", "mixture.yaml"],
        ["fit", "--mixture", "whole.yaml", "--config", "notes.txt"],
        ["fit", "--config", "notes.txt"],
    ]
    if note != "one word before the colon":  # a file given by its name may show words that look like keys
        commands += [["check", "notes.txt"], ["tune", "notes.txt"]]
        commands += [["study", action, "notes.txt"] for action in ("plan", "run", "report")]
    for command in commands:
        with pytest.raises(SystemExit) as stopped:
            cli.main(command)
        printed = assert_silent(capfd)
        assert stopped.value.code == 2, (command, printed)


def task(path: str, **fields: Any) -> dict[str, Any]:
    return {"head": "classification", "labels": ["a", "b"], "data": {"reader": "jsonl", "path": path}, **fields}


# --- heads ------------------------------------------------------------------------------------------------------------


def rows_of(name: str) -> Iterator[Row]:
    import random

    for number in range(3):
        record = {"id": "1", "document": "d", **five_tasks.MAKERS[name](random.Random(number), number)}
        yield from (row_from_dict(changed) for changed in planted(record))


@pytest.mark.parametrize("name", TASKS)
def test_no_problem_of_a_head_shows_text_of_a_row(name: str) -> None:
    spec = TaskSpec(**copy.deepcopy(TASKS[name]), data={"reader": "jsonl", "path": "x"})
    head, data = build_head(spec, 8), DataSpec(reader="jsonl", path="x")
    rows = list(rows_of(name))
    problems = [problem for row in rows for problem in row_problems(name, head, {"train": [row]}, data)]  # type: ignore[dict-item]
    problems += row_problems(name, head, {"train": rows}, data)  # type: ignore[dict-item]
    assert len(problems) > 1
    assert [str(problem) for problem in problems if WORD in str(problem)] == []


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_an_error_of_a_users_head_shows_no_text_anywhere(
    method: str, tmp_path: Path, tiny_encoder: Encoder, lab: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    lab(heads=HEAD.format(**{**dict.fromkeys(METHODS, "pass"), method: ERRORS[method]}))
    place = tmp_path / "place"
    mixture = five_tasks.write(place, tiny_encoder("bert"), only=["kind"])
    fields = yaml.safe_load(mixture.read_text())
    fields["tasks"]["kind"]["head"] = "lab.heads.Ours"
    mixture.write_text(yaml.safe_dump(fields))
    for file in (place / "kind").iterdir():
        rows = [{**row, "text": f"{CANARY}: {row['text']}"} for row in five_tasks.read_lines(file)]
        five_tasks.write_lines(file, rows)
    with five_tasks.surroundings(place), pytest.raises(SystemExit) as stopped:
        cli.main(["fit", f"--mixture={mixture}", *QUICK])
    printed = assert_silent(capfd, five_tasks.SECRET)
    assert stopped.value.code == (2 if method in ("check", "encode") else 1), printed
    if method in ("collate", "loss", "decode"):
        assert "heads.py" in printed  # the traceback leads to the line
    hidden = (place / "cache", *(place / name for name in TASKS))
    assert files_with(place, WORD, *hidden) == []
    assert len(files_with(place / "kind", WORD)) == 3, "the search finds the planted text"


def test_a_message_is_shown_to_whoever_asks_for_it(
    tmp_path: Path, tiny_encoder: Encoder, lab: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtl.problems import InputError
    from mtl.redaction import SHOW_VARIABLE, crash_report

    def reported() -> str:
        try:
            raise ValueError(CANARY)
        except ValueError as error:
            return crash_report(error) + str(InputError([]))

    assert WORD not in reported()
    monkeypatch.setenv(SHOW_VARIABLE, "1")
    assert WORD in reported()


def test_names_that_other_code_takes_from_data_are_not_quoted() -> None:
    """Python quotes a name that is missing or unknown, which a head may have taken from a row."""
    from mtl.redaction import crash_report

    def report(code: str) -> str:
        try:
            exec(code, {"__name__": "heads_of_a_user", "text": CANARY})  # a module that is not ours
        except Exception as error:
            return crash_report(error)
        raise AssertionError

    for code in ("getattr(object(), text)", "dict.fromkeys(**{text: 1})", "(lambda: 0)(**{text: 1})"):
        assert WORD not in report(code)
    assert "'lenght'" in report("text.lenght")


# --- rows of predictions ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_problems_with_rows_to_predict_show_no_text(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, tiny_encoder: Encoder, capfd: pytest.CaptureFixture[str]
) -> None:
    run = five_tasks.trained(tmp_path_factory.mktemp, tiny_encoder("bert"))
    capfd.readouterr()
    records = [{"id": CANARY, "text": "a"}, {"id": CANARY, "text": "b"}, {"text": "a", CANARY: 1}, {"text": [CANARY]}]
    entity = {"id": "T1", "type": "Drug", "spans": [[0, 1]]}
    records += [{"text": "a", "entities": [changed]} for changed in planted(entity)]
    records += [{"text": "a", "entities": [entity], "relations": [{"head": CANARY, "tail": "T1"}]}]
    lines = [json.dumps(record) for record in records] + [CANARY, f'{{"text": "{CANARY}', f'["{CANARY}"]']
    for number, line in enumerate(lines):
        rows = tmp_path / f"{number}.jsonl"
        rows.write_text(f"{line}\n{line}\n")
        command = ["predict", f"--checkpoint={run}", f"--input={rows}", f"--output={tmp_path / 'out.jsonl'}"]
        with five_tasks.surroundings(tmp_path), pytest.raises(SystemExit):
            cli.main([*command, "--task", "kind"])
        assert_silent(capfd)


# --- hashed ids -------------------------------------------------------------------------------------------------------


def test_hashed_ids_leave_the_folder_of_a_run_only_as_hashes_and_can_be_mapped_back(
    tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "keys" / "id.key"
    monkeypatch.setenv(hashed_ids.KEY_VARIABLE, str(key))
    place = tmp_path / "place"
    data = {"reader": "jsonl", "path": str(place / "kind"), "exclude": ["train-1"], "on_bad_row": "skip"}
    tasks = {"kind": {**TASKS["kind"], "data": data}}
    mixture = five_tasks.write(place, tiny_encoder("bert"), tasks=tasks, privacy={"hash_ids": True})
    train = place / "kind" / "train.jsonl"
    lines = five_tasks.read_lines(train)
    five_tasks.write_lines(train, [*lines, lines[0], {**lines[1], "id": "kind-train-bad", "label": "maybe"}])
    dev = place / "kind" / "dev.jsonl"
    five_tasks.write_lines(
        dev, [{**row, "document": f"{WORD} {n}"} for n, row in enumerate(five_tasks.read_lines(dev))]
    )
    test = place / "kind" / "test.jsonl"  # its documents are in dev, and so they are named where leakage is shown
    five_tasks.write_lines(test, [{**row, "document": f"{WORD} 1"} for row in five_tasks.read_lines(test)])
    run = five_tasks.fit(place, mixture, "--run.predictions=true", "--run.baselines=false")
    with five_tasks.surroundings(place):
        assert cli.run(["check", "--json", str(mixture)]) == 0
        assert cli.run(["errors", str(run), "--task", "kind"]) == 0
        printed = assert_silent(capfd, "kind-train-", "kind-dev-", "train-1")
        assert cli.run(["ids", str(run)]) == 0
        mapped = dict(line.split("\t")[0::4] for line in capfd.readouterr().out.splitlines())
        some = hashed_ids.hashed("kind-dev-3", hashed_ids.read_key())
        assert cli.run(["ids", str(run), some, "id-0"]) == 1
        looked_up = capfd.readouterr().out.splitlines()
    assert key.stat().st_mode & 0o777 == 0o600
    assert {"kind-dev-0", "kind-train-0", "train-0"} <= set(mapped.values())
    assert looked_up == ["\t".join((some, "kind", "dev", "row", "kind-dev-3")), "id-0\tnot found"]
    hashes = {word.strip("\",: .'") for word in printed.split() if hashed_ids.PREFIX in word}
    assert hashed_ids.hashed("kind-train-0", hashed_ids.read_key()) in " ".join(hashes)
    outside = [place / "cache", place / "runs", *(place / name for name in TASKS)]
    for word in ("kind-dev-", "kind-train-", "train-1"):
        assert [file for file in files_with(place, word, *outside) if file != mixture] == []
    (kept,) = place.glob("mlruns/**/predictions/dev/kind.jsonl")
    assert {mapped[line["id"]] for line in five_tasks.read_lines(kept)} == {f"kind-dev-{n}" for n in range(8)}
    local = five_tasks.read_lines(run / "predictions" / "dev" / "kind.jsonl")
    assert {line["id"] for line in local} == {f"kind-dev-{n}" for n in range(8)}
