"""No text of the data in what test, errors, tune, study and predict print or leave, nor of two processes."""

from __future__ import annotations

import gc
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mtl import commands as cli
from mtl import hashed_ids
from tests import five_tasks, signal_matrix
from tests.canaries import CANARY, ERRORS, HEAD, METHODS, WORD, assert_silent, files_with
from tests.five_tasks import CPU, SECRET, TASKS

Encoder = Callable[[str], Path]
QUICK = [*CPU, "--trainer.enable_progress_bar=false", "--run.baselines=false"]


@pytest.fixture(autouse=True)
def ids_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashed_ids._Process, "key", None)


def run(place: Path, *words: str) -> int:
    """Runs a command in a working folder, and gives its exit status."""
    with five_tasks.surroundings(place), pytest.raises(SystemExit) as stopped:
        cli.main(words)
    return int(stopped.value.code or 0)


def assert_nowhere(place: Path, capfd: pytest.CaptureFixture[str], *but: Path) -> str:
    """No text of a row in what was printed, nor in any file but the data, the cache and some others."""
    printed = assert_silent(capfd, SECRET)
    data = (place / "cache", *(place / name for name in TASKS), *but)
    assert [file for word in (WORD, SECRET) for file in files_with(place, word, *data)] == []
    assert files_with(place, WORD), "the search finds the canary where it was planted"
    return printed


def with_canaries(row: Mapping[str, Any]) -> dict[str, Any]:
    """A valid row with the canary in its text, in `meta` and in the ids of mentions and concepts."""
    changed = {**row, "text": f"{row['text']} {CANARY}", "note": CANARY}
    if "entities" in row:
        names = {entity["id"]: f"{CANARY} {entity['id']}" for entity in row["entities"]}
        changed["entities"] = [{**one, "id": names[one["id"]], "concepts": [CANARY]} for one in row["entities"]]
        ends = [{**one, "head": names[one["head"]], "tail": names[one["tail"]]} for one in row.get("relations", ())]
        changed |= {"relations": ends} if ends else {}
    return changed


def write(place: Path, encoder: Path, *tasks: str, **changes: Any) -> Path:
    """Writes the mixture of some of the five tasks; their rows have canaries wherever a valid row may have them."""
    mixture = five_tasks.write(place, encoder, **changes)
    content = yaml.safe_load(mixture.read_text())
    for name in TASKS:
        for file in (place / name).glob("*.jsonl"):
            five_tasks.write_lines(file, [with_canaries(row) for row in five_tasks.read_lines(file)])
        content["tasks"][name]["data"]["meta"] = ["note"]
    content["tasks"] = {name: task for name, task in content["tasks"].items() if name in (tasks or TASKS)}
    mixture.write_text(yaml.safe_dump(content, sort_keys=False))
    return mixture


# --- a run ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def canary_run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Encoder) -> Iterator[Path]:
    """The working folder of a run of five tasks, whose relation head relates every pair."""
    from heads.relation import RelationClassification

    place = tmp_path_factory.mktemp("canaries")
    with pytest.MonkeyPatch.context() as patch:
        likely = torch.tensor([0.75, 0.125, 0.125])
        patch.setattr(RelationClassification, "outputs", lambda _, logits, *__: list(likely.expand(len(logits), -1)))
        five_tasks.fit(place, write(place, tiny_encoder("bert")), "--run.predictions=true")
        yield place


@pytest.mark.slow
def test_no_text_is_in_what_a_run_its_scores_on_test_and_its_errors_show(
    canary_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place, found = canary_run, five_tasks.newest(canary_run)
    assert run(place, "test", f"--mixture={place / 'five.yaml'}", *QUICK, "--run.predictions=true") == 0
    for task in TASKS:
        for split in ("train", "dev"):
            assert run(place, "errors", str(found), "--task", task, "--split", split) == 0
    printed = assert_nowhere(place, capfd, found / "predictions" / "dev", found / "predictions" / "test")
    assert "links-dev-" in printed
    (shared,) = place.glob("mlruns/**/predictions/test/links.jsonl")
    assert any(line["prediction"]["relations"] for line in five_tasks.read_lines(shared))
    assert files_with(found / "predictions", WORD), "ids of mentions are as they are in the folder of the run"


ROWS: dict[str, str] = {
    "label": json.dumps({"id": "a", "text": SECRET, "label": CANARY}),
    "id": json.dumps({"id": CANARY, "text": SECRET, "label": [CANARY]}),
    "key": json.dumps({"id": "a", "text": SECRET, "label": "yes", CANARY: CANARY}),
    "text": json.dumps({"id": "a", "text": [CANARY], "label": "yes"}),
    "line": CANARY,
}


@pytest.mark.parametrize("part", ROWS)
def test_bad_rows_of_test_show_no_text(
    part: str, canary_run: Path, tiny_encoder: Encoder, capfd: pytest.CaptureFixture[str]
) -> None:
    file = canary_run / "kind" / "test.jsonl"
    before = file.read_text()
    file.write_text(before + 2 * f"{ROWS[part]}\n")
    try:
        words = [f"--mixture={canary_run / 'five.yaml'}", *QUICK]
        codes = [run(canary_run, "test", *words), run(canary_run, "test", *words, SKIPS)]
        newest = str(five_tasks.newest(canary_run))
        codes.append(run(canary_run, "errors", newest, "--task", "kind", "--split", "test"))
    finally:
        file.write_text(before)
    assert codes[0] == codes[2] == 2
    assert_nowhere(canary_run, capfd, five_tasks.newest(canary_run) / "predictions")


SKIPS = "--mixture.tasks.kind.data.on_bad_row=skip"


def quoting(*methods: str) -> str:
    """The code of a head some of whose methods quote a text in an error."""
    return HEAD.format(**{method: ERRORS[method] if method in methods else "pass" for method in METHODS})


def with_own_head(mixture: Path) -> Path:
    mixture.write_text(mixture.read_text().replace("head: classification", "head: lab.heads.Ours"))
    return mixture


@pytest.mark.slow
def test_a_head_that_quotes_a_text_on_test_shows_none(
    tmp_path: Path, tiny_encoder: Encoder, lab: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    lab(heads=quoting())
    place = tmp_path / "place"
    mixture = with_own_head(write(place, tiny_encoder("bert"), "kind"))
    found = str(five_tasks.fit(place, mixture, "--trainer.max_epochs=1", *QUICK))
    to_predict = (f"--input={place / 'kind' / 'test.jsonl'}", f"--output={place / 'out.jsonl'}")
    commands = {
        "test": ("test", f"--mixture={mixture}", *QUICK),
        "errors": ("errors", found, "--task", "kind", "--import", "lab.heads"),
        "predict": ("predict", found, *to_predict, "--import", "lab.heads"),
    }
    used = {"check": ("test", "predict"), "encode": ("errors",), "collate": ("predict",), "decode": tuple(commands)}
    for method, names in used.items():
        lab(heads=quoting(method))
        assert all(run(place, *commands[name]) for name in names), method
        assert_nowhere(place, capfd)


# --- predictions ------------------------------------------------------------------------------------------------------

BIOC = (
    "<collection><source>s</source><date>d</date><key>k</key><document><id>{0}</id><passage><offset>0</offset>"
    '<text>aspirin {1}</text><annotation id="{2}"><infon key="type">{3}</infon><location offset="{4}" length="{5}"/>'
    "<text>{6}</text></annotation></passage></document></collection>"
)
INPUTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "rows.jsonl": ('{{"id": "{0}", "text": "{1}", "{2}": "{3}"}}\n{4}\n', ("a", "fever", "note", "x", '{"text": "y"}')),
    "rows.csv": ('id,text,{0}\n{1},{2},{3}\n"{4}\n', ("note", "a", "fever", "x", "b")),
    "rows.tsv": ("id\ttext\t{0}\n{1}\t{2}\t{3}\n{4}\n", ("note", "a", "fever", "x", "b")),
    "rows.txt": ("{0}\n", ("fever",)),
    "rows.PubTator": (
        "{0}|t|{1}\n{0}|a|fever\n{0}\t{2}\t{3}\t{4}\t{5}\t{6}\n{7}\n",
        ("1", "aspirin", "0", "7", "aspirin", "Drug", "D1", ""),
    ),
    "rows.xml": (BIOC, ("1", "fever", "T1", "Drug", "0", "7", "aspirin")),
}


def planted_inputs(name: str) -> Iterator[bytes]:
    """An input of a format with the canary in the place of each part in turn, and of all of them."""
    form, parts = INPUTS[name]
    for place in range(len(parts)):
        yield form.format(*(CANARY if place == other else part for other, part in enumerate(parts))).encode()
    yield form.format(*[CANARY] * len(parts)).encode() + b"\xff\n"


def parquet_inputs() -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [{"text": [[CANARY]]}, {"text": ["a"], CANARY: [CANARY]}, {CANARY: [CANARY]}, {"text": [None]}]
    tables += [{"text": ["a", "a"], "id": [CANARY, CANARY]}, {"text": ["a"], "predictions": [CANARY]}]
    for columns in tables:
        file = io.BytesIO()
        pq.write_table(pa.table(columns), file)
        yield file.getvalue()


@pytest.mark.parametrize("name", [*INPUTS, "rows.parquet"])
def test_bad_rows_to_predict_show_no_text_in_any_format(
    name: str, canary_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    codes = []
    for content in parquet_inputs() if name == "rows.parquet" else planted_inputs(name):
        (tmp_path / name).write_bytes(content)
        job = (str(five_tasks.newest(canary_run)), f"--input={tmp_path / name}", f"--output={tmp_path / 'out.jsonl'}")
        for task in ("kind", "links"):
            codes += [run(canary_run, "predict", *job, "--task", task, *how) for how in ((), ("--on-bad-row", "skip"))]
            assert_silent(capfd, SECRET)
    assert set(codes) == {0, 2}


# --- searches and studies ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_search_shows_no_text_whether_its_trainings_work_or_not(
    tmp_path: Path,
    tiny_encoder: Encoder,
    lab: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from mtl.tuning import training_process

    place = tmp_path / "place"
    with_own_head(write(place, tiny_encoder("bert"), "kind"))
    search = {"mixture": "five.yaml", "search": {"model.learning_rate": [1e-3, 1e-2]}, "sampler": "grid", "seeds": 1}
    search |= {"objective": "val/kind/accuracy", "trainer": {"max_epochs": 1, "accelerator": "cpu"}}
    lab(heads=quoting())
    (place / "search.yaml").write_text(yaml.safe_dump({"name": "search", **search}))

    def train(order: training_process.TrainingOrder) -> int:
        monkeypatch.delenv("MTL_RUN_FOLDER", raising=False)
        number = len(list(place.rglob("s*.yaml")))
        lab(heads=quoting("loss") if number == 2 else quoting())  # the second training fails
        with pytest.raises(SystemExit) as stopped:
            cli.main(["fit", "--config", str(order.config), "--ckpt_path", "auto"])
        order.watch()
        return int(stopped.value.code or 0)

    monkeypatch.setattr(training_process, "train", train)
    assert run(place, "tune", "search.yaml") == 0
    printed = assert_nowhere(place, capfd)
    assert "1 failed" in printed
    report = next(place.rglob("report.md")).read_text()
    assert "exit code 1" in report


@pytest.mark.slow
def test_a_study_shows_no_text_whether_its_runs_work_or_not(
    tmp_path: Path, tiny_encoder: Encoder, lab: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "place"
    with_own_head(write(place, tiny_encoder("bert"), "kind", "mentions"))
    study = {"name": "study", "mixture": "five.yaml", "designs": ["pairwise"], "seeds": 2}
    study |= {"budget": {"updates": 2, "evaluations": 1}}
    (place / "study.yaml").write_text(yaml.safe_dump(study))
    lab(heads=quoting("collate"))
    gc.freeze()  # each run of a study collects garbage
    assert run(place, "study", "run", "study.yaml") == 1
    assert_nowhere(place, capfd)
    (failure, *_) = place.glob("runs/ledger/*/*/failure.json")
    assert "heads.py" in json.loads(failure.read_text())["traceback"]  # it leads to the line
    lab(heads=quoting())
    assert run(place, "study", "run", "study.yaml") == 0
    assert run(place, "study", "report", "study") == 0
    assert_nowhere(place, capfd)
    assert list(place.rglob("report.html"))


# --- several processes ------------------------------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.parametrize("method", ["collate", "loss", "decode"])
def test_two_processes_show_no_text_if_a_head_quotes_one(
    method: str, toy_mixture: Callable[..., Path], tmp_path: Path
) -> None:
    mixture = toy_mixture(only=["cause"])
    mixture.write_text(mixture.read_text().replace("head: classification", "head: lab.heads.Ours"))
    for file in tmp_path.glob("*/*.jsonl"):
        five_tasks.write_lines(file, [{**row, "text": CANARY} for row in five_tasks.read_lines(file)])
    training = signal_matrix.Run(mixture, tmp_path / "run", 2)
    (training.root / "lab").mkdir()
    (training.root / "lab" / "__init__.py").touch()
    (training.root / "lab" / "heads.py").write_text(quoting(method))
    assert training.start(pause=0.0).wait(300) == 1
    assert "heads.py" in training.output
    assert files_with(tmp_path, WORD)
    assert [file for file in files_with(training.root, WORD) if "cache" not in file.parts] == []
