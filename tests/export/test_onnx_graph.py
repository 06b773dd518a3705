"""The ONNX graph of a run: its logits in onnxruntime, what it says about them, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mtl.calibration.saved import FILE as CALIBRATION
from mtl.commands import run as run_mtl
from mtl.config.loading import load_mixture
from mtl.config.mixture import Mixture
from mtl.export import onnx_graph
from mtl.export.onnx_graph import export_graph
from mtl.prediction.predicting import predict
from mtl.problems import InputError
from mtl.tracking.checkpoint_file import checksum
from mtl.tracking.run_folder import RunFolder
from tests.conftest import FAMILIES, REPOSITORY
from tests.trained_runs import saved_run

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

Tiny = Callable[[str], Path]
TEXTS = ["aspirin reduces fever in patients", "no bleeding", "the risk of cancer was not 2 - 1 ( 3 ) after treatment"]
TASKS: dict[str, dict[str, Any]] = {
    "kind": {"head": "classification", "labels": ["a", "b", "c"], "options": {"hidden_layer": 8, "pooling": "mean"}},
    "topics": {"head": "multilabel", "labels": ["x", "y"]},
    "sure": {
        "head": "classification",
        "labels": ["yes", "no"],
        "options": {"positive": "yes", "threshold": 0.25},
    },
    "score": {"head": "regression", "options": {"range": [1, 5], "pooling": "pooler"}},
    "drugs": {"head": "token_classification", "labels": ["Drug"]},
    "events": {"head": "token_classification", "labels": ["Event"], "options": {"decoder": "crf"}},
    "links": {
        "head": "relation",
        "labels": ["up", "none"],
        "options": {"negative": "none", "pairs": [["Drug", "Event"]], "input": "markers", "pooling": "entity_start"},
    },
    "read": {
        "head": "relation",
        "labels": ["up", "none"],
        "options": {"negative": "none", "pairs": [["Drug", "Event"]], "input": "markers"},
    },
    "long": {"head": "classification", "labels": ["a", "b"], "options": {"long": "windows"}},
    "mlm": {"head": "masked_lm", "data": {"reader": "text", "path": "corpus"}},
}
REFUSED = ("links", "long", "mlm")


def mixture(encoder: Path, names: tuple[str, ...] = tuple(TASKS)) -> Mixture:
    data = {"reader": "jsonl", "path": "secret/rows"}
    tasks = {name: {"data": data, **TASKS[name]} for name in names}
    return load_mixture({"name": "m", "encoder": {"name": str(encoder), "max_length": 48}, "tasks": tasks})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Tiny) -> Any:
    """The folder of a run, its module, and the folder of its graph."""
    folder = tmp_path_factory.mktemp("onnx")
    run, module = saved_run(folder / "runs", mixture(tiny_encoder("bert")))
    found = export_graph(run.path, folder / "graph")
    assert set(found.tasks) == set(TASKS) - set(REFUSED)
    assert [problem.key for problem in found.left_out] == [f"tasks.{name}" for name in REFUSED]
    return run.path, module, folder / "graph"


def outputs(folder: Path, texts: list[str]) -> dict[str, Any]:
    """The outputs of the graph for a batch of texts, by task."""
    from transformers import AutoTokenizer

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    encoded = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="np")
    found = session.run(None, {one.name: encoded[one.name].astype(np.int64) for one in session.get_inputs()})
    return dict(zip([one.name for one in session.get_outputs()], found, strict=True))


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[1:2]])
def test_probabilities_and_values_are_those_of_predict(exported: Any, texts: list[str]) -> None:
    run, _, folder = exported
    described = json.loads((folder / "graph.json").read_text(encoding="utf-8"))["tasks"]
    found = outputs(folder, texts)
    expected = [line["predictions"] for line in predict(run, texts, tasks=["kind", "topics", "score"]) or []]
    for number, line in enumerate(expected):
        for task, activation in (("kind", torch.softmax), ("topics", lambda x, _: x.sigmoid())):
            values = activation(torch.from_numpy(found[task][number]), -1).tolist()
            scores = dict(zip(described[task]["columns"], values, strict=True))
            assert scores == pytest.approx(line[task]["scores"], abs=1e-4)
        linear = described["score"]["activation"]
        value = linear["offset"] + linear["scale"] * found["score"][number].item()
        assert value == pytest.approx(line["score"]["value"], abs=1e-4)
    assert {task: one["activation"]["name"] for task, one in described.items()} == {
        "kind": "softmax",
        "topics": "sigmoid",
        "score": "linear",
        "drugs": "softmax",
        "events": "none",
        "read": "softmax",
        "sure": "softmax",
    }
    assert [task for task, one in described.items() if "reads" in one] == ["read"]
    assert described["topics"]["thresholds"] == [0.5, 0.5]
    assert (described["sure"]["positive"], described["sure"]["threshold"]) == ("yes", 0.25)
    assert "threshold" not in described["kind"]


def test_a_tagger_gives_the_scores_of_every_token(exported: Any) -> None:
    run, _, folder = exported
    columns = json.loads((folder / "graph.json").read_text(encoding="utf-8"))["tasks"]["drugs"]["columns"]
    probabilities = torch.from_numpy(outputs(folder, TEXTS[1:2])["drugs"][0]).softmax(-1)
    words = {"no": 1, "bleeding": 2}  # [CLS] is 0, and both words are one token
    line = (predict(run, TEXTS[1:2], tasks=["drugs"]) or [])[0]["predictions"]["drugs"]["entities"]
    best = {word: columns[int(probabilities[place].argmax())] for word, place in words.items()}
    starts = {entity["text"].split()[0]: entity for entity in line}
    assert {word for word, tag in best.items() if tag == "B-Drug"} == set(starts)
    for word, entity in starts.items():
        if entity["text"] == word:
            assert entity["score"] == pytest.approx(float(probabilities[words[word]].max()), abs=1e-4)


def test_the_scores_of_a_crf_decode_its_emissions_as_the_head_does(exported: Any) -> None:
    _, module, folder = exported
    head = module.head("events")
    crf = json.loads((folder / "graph.json").read_text(encoding="utf-8"))["tasks"]["events"]["crf"]
    start, transitions, end = (
        torch.tensor([[-torch.inf if v is None else v for v in row] for row in rows])
        for rows in ([crf["start"]], crf["transitions"], [crf["end"]])
    )
    emissions = torch.randn(3, len(head.tags), generator=torch.Generator().manual_seed(0))
    paths = torch.cartesian_prod(*[torch.arange(len(head.tags))] * 3)
    scores = [
        float(start[0, a] + transitions[a, b] + transitions[b, c] + end[0, c] + emissions[range(3), [a, b, c]].sum())
        for a, b, c in paths.tolist()
    ]
    assert paths[int(np.argmax(scores))].tolist() == head.crf.best_path(emissions)
    assert any(None in row for row in crf["transitions"])


@pytest.mark.parametrize("family", [pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES if name != "bert"])
def test_other_families_have_graphs(tmp_path: Path, tiny_encoder: Tiny, family: str) -> None:
    run, _ = saved_run(tmp_path / "runs", mixture(tiny_encoder(family), ("kind", "drugs")))
    found = export_graph(run.path, tmp_path / "graph")
    assert (found.tasks, found.left_out) == (("kind", "drugs"), [])
    assert 0 < found.difference < 1e-4


def refused(run: Path, folder: Path, *tasks: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        export_graph(run, folder, tasks=tasks)
    return [problem.key for problem in caught.value.problems]


def test_what_cannot_be_in_a_graph_is_refused_by_name(
    exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _, folder = exported
    assert refused(run, tmp_path / "out", "kind", *REFUSED) == [f"tasks.{name}" for name in REFUSED]
    assert refused(run, tmp_path / "out", "kindd") == ["--task"]
    assert refused(run, folder) == ["--to"]
    monkeypatch.setattr(onnx_graph, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="onnxruntime"):
        export_graph(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_graph_with_other_logits_is_not_written(
    exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _, folder = exported

    def write(graph: Any, path: Path) -> None:
        path.write_bytes((folder / "model.onnx").read_bytes())
        for parameter in graph.heads.parameters():
            parameter.data += 0.1

    monkeypatch.setattr(onnx_graph, "_write", write)
    assert refused(run, tmp_path / "out") == ["--format"]
    assert not (tmp_path / "out").exists()


def test_the_command_names_outputs_and_what_is_left_out(
    exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run, _, folder = exported
    monkeypatch.setattr(
        onnx_graph, "_write", lambda graph, path: path.write_bytes((folder / "model.onnx").read_bytes())
    )
    assert run_mtl(["export", str(run), "--format", "onnx", "--to", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in TASKS)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in folder.iterdir())


def test_temperatures_of_a_calibrated_run_are_in_the_description(
    exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _, folder = exported
    content = (folder / "model.onnx").read_bytes()
    monkeypatch.setattr(onnx_graph, "_write", lambda graph, path: path.write_bytes(content))
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    checkpoint = RunFolder(copy).resolve_checkpoint("best")
    tasks = {name: {"temperature": 1.75, "conformal": {}} for name in ("kind", "links", "events")}
    saved = {"checkpoint": checkpoint.name, "checksum": checksum(checkpoint), "tasks": tasks}
    (copy / CALIBRATION).write_text(json.dumps(saved), encoding="utf-8")
    export_graph(copy, tmp_path / "graph")
    described = json.loads((tmp_path / "graph" / "graph.json").read_text(encoding="utf-8"))["tasks"]
    assert {name: one["temperature"] for name, one in described.items() if "temperature" in one} == {
        "kind": 1.75,
        "events": 1.75,
    }
    (line_of_crf,) = (
        line for line in (tmp_path / "graph" / "README.md").read_text().splitlines() if line.startswith("| events ")
    )
    assert "marginals" in line_of_crf
    assert "logits /" not in line_of_crf, "the temperature is not one of emissions"
    found = torch.from_numpy(outputs(tmp_path / "graph", TEXTS[:1])["kind"][0] / 1.75).softmax(-1)
    line = (predict(copy, TEXTS[:1], tasks=["kind"]) or [])[0]["predictions"]["kind"]
    assert list(line["scores"].values()) == pytest.approx(found.tolist(), abs=1e-4)


def test_the_script_that_compares_the_speed_runs_both(exported: Any) -> None:
    import onnx_speed

    run, _, folder = exported
    lengths = onnx_speed.batch_lengths(2, 3, 20)
    assert [len(batch) for batch in lengths] == [3, 3]
    found = onnx_speed.measure(run, folder, lengths, 2)
    assert len(found) == 2
    assert all(one.ratio > 0 for one in found)
    assert onnx_speed.Round(3.0, 2.0).ratio == 1.5


def test_the_example_of_the_page_runs(exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes-onnx").symlink_to(exported[2])
    monkeypatch.chdir(tmp_path)
    exec(example("onnxruntime"), {})


def example(word: str) -> str:
    """The Python on the page about serving that holds a word."""
    page = (REPOSITORY / "docs" / "serving.md").read_text(encoding="utf-8")
    (found,) = (code for code in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL) if word in code)
    return found
