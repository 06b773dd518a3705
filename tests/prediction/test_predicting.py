import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from heads import Head, row_from_dict, row_to_dict
from mtl import commands as cli
from mtl.config.mixture import Mixture
from mtl.data.row_problems import row_rule
from mtl.encoder.model import Encoder
from mtl.encoder.packing import Layout
from mtl.prediction.predicting import predict
from mtl.prediction.predictor import task_names
from mtl.problems import InputError
from mtl.readers.jsonl import Jsonl
from mtl.tracking.run_folder import RunFolder
from mtl.training.assembly import build_heads
from mtl.training.checkpoints import checkpoint_mixture, located
from mtl.training.module import MultiTaskModule
from tests import five_tasks
from tests.five_tasks import TASKS

FP32 = {"accelerator": "cpu", "precision": "32-true"}
ON_ONE_TEXT = sorted(set(TASKS) - {"score", "links"})
"""Tasks that need neither a second text nor mentions."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Callable[[str], Path]) -> Path:
    return five_tasks.trained(tmp_path_factory.mktemp, tiny_encoder("bert"))


@pytest.fixture
def predicted(run: Path, tmp_path: Path) -> Callable[..., five_tasks.Rows]:
    """Predicts some lines with the run's best checkpoint."""

    def make(lines: five_tasks.Rows, tasks: list[str] | None = None, checkpoint: Path = run) -> five_tasks.Rows:
        five_tasks.write_lines(tmp_path / "rows.jsonl", lines)
        predict(checkpoint, tmp_path / "rows.jsonl", tmp_path / "out.jsonl", tasks=tasks, trainer=FP32)
        return five_tasks.read_lines(tmp_path / "out.jsonl")

    return make


def heads_of(run: Path) -> dict[str, Head]:
    path = RunFolder(run).resolve_checkpoint("best")
    return build_heads(located(checkpoint_mixture(path), path))[0]


def data_of(run: Path) -> Path:
    return run.parents[2]


def words(*numbers: int) -> five_tasks.Rows:
    return [{"text": " ".join(["aspirin", "fever", *["the"] * n])} for n in numbers]


# --- what is written --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", sorted(set(TASKS) - {"score"}))
def test_predictions_score_as_the_evaluation_of_the_same_rows(
    run: Path, predicted: Callable[..., five_tasks.Rows], task: str
) -> None:
    rows = five_tasks.read_lines(data_of(run) / task / "test.jsonl")
    out = predicted(rows, [task])
    head = heads_of(run)[task]
    made = [five_tasks.by_entity_ids(line["predictions"][task], row) for line, row in zip(out, rows, strict=True)]
    counts = [head.counts(prediction, row_from_dict(row)) for prediction, row in zip(made, rows, strict=True)]
    recorded = json.loads((run / "metrics.json").read_text())["test"][task]
    found = head.score(torch.stack(counts).sum(0))
    assert found == pytest.approx({name: value for name, value in recorded.items() if name in found})


def test_gold_labels_of_the_input_are_ignored(run: Path, predicted: Callable[..., five_tasks.Rows]) -> None:
    rows = five_tasks.read_lines(data_of(run) / "kind" / "test.jsonl")
    wrong = [{**row, "label": "no such class"} for row in rows]
    bare = [{key: value for key, value in row.items() if key != "label"} for row in rows]
    assert predicted(rows, ["kind"]) == predicted(wrong, ["kind"]) == predicted(bare, ["kind"])
    mentions = five_tasks.read_lines(data_of(run) / "mentions" / "test.jsonl")
    raw = [{"id": row["id"], "text": row["text"]} for row in mentions]
    found, again = predicted(mentions, ["mentions"]), predicted(raw, ["mentions"])
    assert [line["predictions"] for line in found] == [line["predictions"] for line in again]


def test_lines_are_in_the_order_of_the_input(predicted: Callable[..., five_tasks.Rows]) -> None:
    lines = words(*(40 * (n % 3) + n for n in range(70)))
    out = predicted([{**line, "id": f"r{n}"} for n, line in enumerate(lines)], ON_ONE_TEXT)
    assert [line["id"] for line in out] == [f"r{n}" for n in range(70)], "and the input is more than one chunk"
    assert all(set(line["predictions"]) == set(ON_ONE_TEXT) for line in out)


def test_a_row_gets_the_same_prediction_alone_and_among_others(predicted: Callable[..., five_tasks.Rows]) -> None:
    lines = words(3, 60, 9)
    among = predicted(lines, ["kind", "mentions"])
    for line, expected in zip(lines, among, strict=True):
        alone = predicted([line], ["kind", "mentions"])[0]["predictions"]
        assert alone["kind"]["scores"] == pytest.approx(expected["predictions"]["kind"]["scores"], abs=1e-5)
        spans = [(e["start"], e["end"]) for e in expected["predictions"]["mentions"]["entities"]]
        assert [(e["start"], e["end"]) for e in alone["mentions"]["entities"]] == spans


def test_a_row_without_an_id_is_named_by_its_line(
    predicted: Callable[..., five_tasks.Rows], tmp_path: Path, run: Path
) -> None:
    (tmp_path / "gap.jsonl").write_text('{"text": "aspirin"}\n\n{"text": "fever"}\n')
    predict(run, tmp_path / "gap.jsonl", tmp_path / "out.jsonl", tasks=["kind"], trainer=FP32)
    assert [line["id"] for line in five_tasks.read_lines(tmp_path / "out.jsonl")] == ["row-1", "row-3"]


def test_mentions_in_a_long_text_have_the_right_offsets(
    predicted: Callable[..., five_tasks.Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    from heads.token_classification import TokenClassification

    def outputs(self: Any, logits: Tensor, mask: Tensor, fields: dict[str, Tensor]) -> list[Tensor]:
        first = torch.nn.functional.one_hot(torch.tensor(self.tags.index("B-Disease")), len(self.tags)).float()
        return [first.expand(n, -1) for n in fields["word_mask"].sum(1).tolist()]

    monkeypatch.setattr(TokenClassification, "outputs", outputs)
    text = "𝒜é " + " ".join(f"w{n}" for n in range(60))
    found = predicted([{"text": text}], ["mentions"])[0]["predictions"]["mentions"]["entities"]
    assert [text[e["start"] : e["end"]] for e in found] == text.split()


def test_a_relation_is_read_from_the_mentions_of_the_row(
    run: Path, predicted: Callable[..., five_tasks.Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    from heads.relation import RelationClassification

    def outputs(self: Any, logits: Tensor, *_: Any) -> list[Tensor]:
        return list(torch.tensor([0.7, 0.2, 0.1]).expand(len(logits), -1))

    monkeypatch.setattr(RelationClassification, "outputs", outputs)
    row = five_tasks.read_lines(data_of(run) / "links" / "test.jsonl")[0]
    given = {key: row[key] for key in ("text", "entities", "sentences")}
    found = predicted([given], ["links"])[0]["predictions"]["links"]
    assert [(r["head"], r["tail"], r["type"]) for r in found["relations"]] == [(0, 1, "up"), (0, 2, "up")]
    assert [entity["text"] for entity in found["entities"]] == ["aspirin", "fever", "cancer"]
    assert [entity["score"] for entity in found["entities"]] == [None] * 3, "they were given, not predicted"


def test_a_relation_task_whose_mentions_no_task_finds_is_an_error_on_raw_text(
    predicted: Callable[..., five_tasks.Rows],
) -> None:
    with pytest.raises(InputError) as caught:
        predicted(words(1, 2), ["links", "mentions"])
    assert [problem.key for problem in caught.value.problems] == ["tasks.links"]
    assert all(name in caught.value.problems[0].message for name in ("Drug", "Event"))
    assert "--task" in caught.value.problems[0].suggestion


def test_a_row_without_an_example_of_a_task_is_still_written(
    predicted: Callable[..., five_tasks.Rows],
) -> None:
    entity = {"id": "T1", "type": "Drug", "spans": [[0, 7]]}
    lines = [{**line, "entities": [entity]} for line in words(1, 2, 3)]
    out = predicted(lines, ["links"])
    assert [line["predictions"]["links"]["relations"] for line in out] == [[]] * 3
    both = predicted(lines, ["links", "kind"])
    assert all(line["predictions"]["kind"]["label"] in ("yes", "no") for line in both)


def test_an_empty_input_gives_an_empty_output(predicted: Callable[..., five_tasks.Rows]) -> None:
    assert predicted([]) == []


# --- how it is computed -----------------------------------------------------------------------------------------------


def test_a_text_is_encoded_once_for_all_tasks_with_the_same_input(
    predicted: Callable[..., five_tasks.Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[tuple[int, ...]] = []
    forward = Encoder.forward

    def counting(self: Any, input_ids: Tensor, layout: Layout, *more: Any) -> Tensor:
        encoded.extend(tuple(tokens.tolist()) for tokens in input_ids.split(layout.lengths.tolist()))
        return forward(self, input_ids, layout, *more)

    monkeypatch.setattr(Encoder, "forward", counting)
    short = words(*range(10))
    predicted(short, ["kind", "topics", "mentions"])
    assert len(encoded) == len(set(encoded)) == len(short)
    encoded.clear()
    several_windows = {"text": " ".join(str(n) for n in range(60))}
    predicted([*short, several_windows], ["kind", "topics", "mentions"])
    assert len(encoded) == len(set(encoded)), "a text that tasks cut differently leaves the others shared"
    assert len(encoded) > len(short) + 2


def test_a_run_that_moved_predicts_without_its_data_its_encoder_or_a_network(
    tmp_path: Path, tiny_encoder: Callable[[str], Path]
) -> None:
    encoder = tmp_path / "encoder"
    shutil.copytree(tiny_encoder("bert"), encoder)
    run = five_tasks.train(
        tmp_path / "here", encoder, "--run.track=false", "--run.baselines=false", "--trainer.max_epochs=1"
    )
    rows = tmp_path / "rows.jsonl"
    five_tasks.write_lines(rows, words(1, 2))
    predict(run, rows, tmp_path / "before.jsonl", tasks=ON_ONE_TEXT, trainer=FP32)
    shutil.move(run, tmp_path / "moved")
    shutil.rmtree(encoder)
    shutil.rmtree(tmp_path / "here")
    predict(tmp_path / "moved", rows, tmp_path / "after.jsonl", tasks=ON_ONE_TEXT, trainer=FP32)
    assert (tmp_path / "after.jsonl").read_bytes() == (tmp_path / "before.jsonl").read_bytes()
    kind = tmp_path / "moved" / "checkpoints" / "best-kind.ckpt"
    predict(kind, rows, tmp_path / "kind.jsonl", tasks=["kind"], trainer=FP32)
    assert len(five_tasks.read_lines(tmp_path / "kind.jsonl")) == 2


def test_predictions_with_their_texts_are_rows_with_weak_labels(run: Path, tmp_path: Path) -> None:
    lines = [line | {"source": "teacher"} for line in words(3, 60)]
    five_tasks.write_lines(tmp_path / "rows.jsonl", lines)
    predict(run, tmp_path / "rows.jsonl", tmp_path / "out.jsonl", tasks=ON_ONE_TEXT, with_text=True, trainer=FP32)
    out = five_tasks.read_lines(tmp_path / "out.jsonl")
    heads = heads_of(run)
    for task in ON_ONE_TEXT:
        rows = list(Jsonl(str(tmp_path / "out.jsonl"), predictions=task).read("train"))
        assert [(row.text, row.source) for row in rows] == [(line["text"], "teacher") for line in lines]
        assert [row_rule(heads[task], row, training=True) for row in rows] == [None, None]
        assert all(heads[task].is_labelled(row) for row in rows)
        for row, line in zip(rows, out, strict=True):
            scores = line["predictions"][task].get("scores")
            assert scores is None or row_to_dict(row)["probabilities"] == scores


def test_soft_labels_of_words_are_read_by_a_student_with_the_words_of_its_teacher(run: Path, tmp_path: Path) -> None:
    (line,) = words(3)
    five_tasks.write_lines(tmp_path / "rows.jsonl", [line | {"entities": [], "words": [[0, 3], [3, 13]]}, *words(60)])
    options: dict[str, Any] = {"tasks": ["mentions", "kind"], "with_text": True, "trainer": FP32}
    predict(run, tmp_path / "rows.jsonl", tmp_path / "out.jsonl", probabilities=True, **options)
    predict(run, tmp_path / "rows.jsonl", tmp_path / "plain.jsonl", **options)
    out, plain = (five_tasks.read_lines(tmp_path / name) for name in ("out.jsonl", "plain.jsonl"))
    soft = [line["predictions"]["mentions"].pop("probabilities") for line in out]
    assert out == plain
    assert [[word["start"], word["end"]] for word in soft[0]] == [[0, 3], [3, 13]]
    assert len(soft[1]) == 62
    for word in (word for of_row in soft for word in of_row):
        assert sum(word["tags"].values()) == pytest.approx(1, abs=1e-3)
    rows = list(Jsonl(str(tmp_path / "out.jsonl"), predictions="mentions").read("train"))
    assert [row_rule(heads_of(run)["mentions"], row, training=True) for row in rows] == [None, None]


@pytest.mark.parametrize(("task", "output"), [("kind", "out.jsonl"), ("mentions", "out.csv")])
def test_soft_labels_of_words_need_a_task_that_tags_words_and_json_lines(
    run: Path, tmp_path: Path, task: str, output: str
) -> None:
    with pytest.raises(InputError) as caught:
        predict(run, ["aspirin"], tmp_path / output, tasks=[task], probabilities=True, trainer=FP32)
    assert [problem.key for problem in caught.value.problems] == ["--probabilities"]
    assert not (tmp_path / output).exists()


# --- what can be wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["notes.jsonl", "again.jsonl"])
def test_an_output_never_replaces_the_input(run: Path, tmp_path: Path, name: str) -> None:
    notes = tmp_path / "notes.jsonl"
    notes.write_text('{"text": "Fever."}\n', encoding="utf-8")
    if name != notes.name:
        os.link(notes, tmp_path / name)
    with pytest.raises(InputError) as caught:
        predict(run, notes, tmp_path / name, tasks=ON_ONE_TEXT[:1])
    assert caught.value.problems[0].key == "--output"
    assert notes.read_text(encoding="utf-8") == '{"text": "Fever."}\n'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "rows.jsonl:2"),
        ('{"id": "x"}', "rows.jsonl:2"),
        ('{"text": "secret words", "predictions": 1}', "rows.jsonl:2"),
        ('{"text": "secret words", "entities": [{"id": "T", "type": "Drug", "spans": [[0, 99]]}]}', "rows.jsonl:2"),
    ],
)
def test_an_invalid_line_is_reported_before_any_prediction(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    message: str,
) -> None:
    monkeypatch.setattr(MultiTaskModule, "predict_step", None)
    (tmp_path / "rows.jsonl").write_text('{"text": "aspirin"}\n' + line + "\n")
    code = cli.run(
        [
            "predict",
            "--checkpoint",
            str(run),
            "--input",
            str(tmp_path / "rows.jsonl"),
            "--output",
            str(tmp_path / "out.jsonl"),
        ]
    )
    error = capsys.readouterr().err
    assert code == 2
    assert "on_bad_row" not in error  # prediction has no such option
    assert message in error
    assert "secret" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_row_that_a_task_cannot_read_is_an_error(predicted: Callable[..., five_tasks.Rows]) -> None:
    pair = {"id": "r7", "text": "the drug", "text_pair": "the gene"}
    with pytest.raises(InputError) as caught:
        predicted([pair], ["mentions"])
    assert [problem.key for problem in caught.value.problems] == ["tasks.mentions"]
    assert all(word in caught.value.problems[0].message for word in ("r7", "'mentions'", "text_pair"))
    assert predicted([pair], ["score"])[0]["predictions"].keys() == {"score"}


def test_a_task_on_pairs_names_itself_and_the_second_text_that_it_needs(
    predicted: Callable[..., five_tasks.Rows],
) -> None:
    with pytest.raises(InputError) as caught:
        predicted(words(1, 2), ["score", "kind"])
    (problem,) = caught.value.problems
    assert problem.key == "tasks.score"
    assert all(word in problem.message for word in ("'score'", "2 rows", "'text_pair'", "row-1", "row-2"))
    assert "--task kind" in problem.suggestion
    assert len(predicted(words(1, 2), ["kind", "mentions"])) == 2


def test_a_task_that_learns_from_texts_alone_is_left_out_and_refused_by_name() -> None:
    data = {"reader": "text", "path": "notes"}
    tasks = {"mlm": {"head": "masked_lm", "data": data}, "kind": {**TASKS["kind"], "data": data}}
    mixture = Mixture.model_validate({"name": "two", "tasks": tasks})
    assert task_names(mixture, None) == task_names(mixture, ["kind"]) == ["kind"]
    for of_mixture, names in ((mixture, ["kind", "mlm"]), (mixture.only(["mlm"]), None)):
        with pytest.raises(InputError) as error:
            task_names(of_mixture, names)
        (problem,) = error.value.problems
        assert (problem.key, "mlm" in problem.message) == ("--task", True)


def test_an_unknown_task_is_an_error_with_the_nearest_name(predicted: Callable[..., five_tasks.Rows]) -> None:
    with pytest.raises(InputError, match=r"--task: There is no task 'kidn'\. Did you mean 'kind'\?"):
        predicted(words(1), ["kidn"])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("checkpoint", "nowhere.ckpt", "nowhere.ckpt: "),
        ("checkpoint", ".", "run.json"),
        ("input", "nowhere.jsonl", "--input: "),
        ("input", ".", "--input: "),
        ("output", "nowhere/out.jsonl", "--output: 'nowhere/out.jsonl'"),
        ("output", "out.docx", "--output: "),
        ("output", "folder.jsonl", "--output: 'folder.jsonl'"),
        ("input", "notes.docx", "--input: "),
        ("shard", "3/2", "--shard: "),
        ("mentions", "links=mentions,kind", "--mentions: "),
        ("long", "", "--long: "),
        ("trainer.devices", "2", "--trainer.devices: "),
        ("trainer.precison", "32", "Did you mean '--trainer.precision'"),
        ("trainer.accelerator", "abacus", "--trainer"),
    ],
)
def test_an_invalid_argument_is_an_error(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    field: str,
    value: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    five_tasks.write_lines(tmp_path / "rows.jsonl", words(1))
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "notes.docx").touch()
    given = {"checkpoint": str(run), "input": "rows.jsonl", "output": "out.jsonl", "task": "kind", field: value}
    code = cli.run(["predict", *(f"--{name}={text}" if text else f"--{name}" for name, text in given.items())])
    assert code == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.jsonl", "notes.docx", "rows.jsonl"]


def test_a_failure_leaves_the_old_output(
    run: Path, tmp_path: Path, predicted: Callable[..., five_tasks.Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = predicted(words(1), ["kind"])

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(MultiTaskModule, "predict_step", fail)
    with pytest.raises(ZeroDivisionError):
        predicted(words(1, 2), ["kind"])
    assert five_tasks.read_lines(tmp_path / "out.jsonl") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "rows.jsonl"]


@pytest.mark.slow
def test_the_command_shows_a_bar_and_passes_trainer_options_on(run: Path, tmp_path: Path) -> None:
    five_tasks.write_lines(tmp_path / "rows.jsonl", words(*range(5)))
    names = ["--checkpoint", str(run), "--input", "rows.jsonl", "--output", "out.jsonl", "--task", "kind", "topics"]
    options = ["--trainer.accelerator", "cpu", "--trainer.precision=32-true"]
    done = subprocess.run(
        [sys.executable, "-m", "mtl", "predict", *names, *options],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "5/5" in done.stderr
    assert [line for line in done.stderr.replace("\r", "\n").splitlines() if line and "predict:" not in line] == []
    lines = five_tasks.read_lines(tmp_path / "out.jsonl")
    assert [set(line["predictions"]) for line in lines] == [{"kind", "topics"}] * 5


def test_a_split_of_the_runs_own_data_is_predicted_with_its_ids_and_words(run: Path, tmp_path: Path) -> None:
    words = ["predict", str(run), "--split", "test", "--trainer.accelerator", "cpu", "--task"]
    assert cli.run([*words, "links", "--output", str(tmp_path / "found.ddi")]) == 0
    rows = five_tasks.read_lines(run.parents[2] / "links" / "test.jsonl")
    pairs = [tuple(line.split("|")[:3]) for line in (tmp_path / "found.ddi").read_text().splitlines()]
    expected = [
        (row["id"], first["id"], second["id"])
        for row in rows
        for first, second in itertools.combinations(row["entities"], 2)
    ]
    assert pairs == expected
    assert cli.run([*words, "kind", "--output", str(tmp_path / "found.bioasq.json")]) == 0
    answers = json.loads((tmp_path / "found.bioasq.json").read_text())["questions"]
    assert [one["id"] for one in answers] == [f"kind-test-{n}" for n in range(five_tasks.SIZES["test"])]
    assert {one["exact_answer"] for one in answers} <= {"yes", "no"}


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["--split", "test", "--output", "x.jsonl"], "--split"),
        (["--split", "test", "--task", "score", "--output", "x.jsonl"], "--split"),
        (["--split", "test", "--task", "mentions", "--output", "x.bioasq.json"], "--output"),
        (["--split", "test", "--text", "a", "--task", "kind", "--output", "x.jsonl"], "--input"),
    ],
)
def test_a_split_needs_a_task_that_has_it_and_an_output_that_can_hold_it(
    run: Path, words: list[str], key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["predict", str(run), *words]) == 2
    assert capsys.readouterr().err.startswith(f"mtl: {key}: ")


def test_predictions_are_printed_only_if_that_is_asked_for(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["predict", str(run), "--text", "aspirin reduces fever", "--task", "kind", "--trainer.accelerator", "cpu"]
    assert cli.run(words) == 2
    assert capsys.readouterr().err.startswith("mtl: --output: ")
    assert cli.run([*words, "--output", "-"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert (
        json.loads(line) == predict(run, ["aspirin reduces fever"], tasks=["kind"], trainer={"accelerator": "cpu"})[0]
    )
    assert cli.run([*words, "--output", "-", "--resume"]) == 2
    assert capsys.readouterr().err.startswith("mtl: --resume: ")
    assert list(tmp_path.iterdir()) == []
