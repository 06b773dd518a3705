"""Relations and attributes of predicted mentions, scored on planted predictions that are counted by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from heads.generation import Generation
from mtl.commands import run as command
from tests import five_tasks
from tests.causal_models import causal_folder, causal_tokenizer
from tests.prediction.conftest import INDUCED_TEST, INDUCED_TRAIN, TASKS, write
from tests.study.finished import client

TEMPLATE = "{head} causes {tail}"


@pytest.mark.usefixtures("planted")
def test_triples_and_attributes_are_scored_strictly_beside_the_score_on_gold_mentions(
    planted_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = planted_run.parents[2]
    five_tasks.test(folder, "--end-to-end", "--run.track=false", "--run.baselines=false")
    scores = json.loads((planted_run / "metrics.json").read_text())["test"]
    links, induced, asserted = scores["links"], scores["induced"], scores["asserted"]
    # 4 predicted, 5 gold, 1 right: F1 = 2 * 1 / (4 + 5).
    assert links["end_to_end_precision"] == pytest.approx(1 / 4)
    assert links["end_to_end_recall"] == pytest.approx(1 / 5)
    assert links["end_to_end_micro_f1"] == pytest.approx(2 / 9)
    # On gold mentions three of four candidates and one missed pair are "up", one is "down".
    assert links["micro_f1"] == pytest.approx(2 * 3 / (4 + 5))
    # One concept pair is found and right; the other disease has no concept.
    assert induced["end_to_end_precision"] == 1
    assert induced["end_to_end_recall"] == pytest.approx(1 / 2)
    # 3 predicted, 3 gold, 1 right; on gold mentions, two of three are "absent".
    assert [asserted[f"end_to_end_{name}"] for name in ("precision", "recall", "micro_f1")] == [
        pytest.approx(1 / 3)
    ] * 3
    assert asserted["accuracy"] == pytest.approx(2 / 3)
    assert "end_to_end_micro_f1" not in scores["mentions"]
    shown = capfd.readouterr().out
    assert shown.count("end_to_end_micro_f1") == 3
    assert "0.222" in shown
    with np.load(planted_run / "counts" / "test" / "links.end_to_end.npz") as file:
        counts = dict(file)
    assert counts["counts"].sum(0).tolist() == [1, 4, 4, 0, 0, 1], "right, predicted and gold of up, then of down"
    assert len(counts["documents"]) == 6
    with np.load(planted_run / "counts" / "test" / "asserted.end_to_end.npz") as file:
        counts = dict(file)
    assert counts["counts"].sum(0).tolist() == [1, 3, 2, 0, 0, 1], (
        "right, predicted and gold of absent, then of present"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("planted")
def test_the_scores_are_sent_to_mlflow_under_their_own_names(planted_run: Path) -> None:
    folder = planted_run.parents[2]
    five_tasks.test(folder, "--end-to-end", "--run.baselines=false")
    run_id = json.loads((planted_run / "run.json").read_text())["mlflow"]["run_id"]
    sent = client(folder / "mlflow.db").get_run(run_id).data.metrics
    scores = json.loads((planted_run / "metrics.json").read_text())["test"]
    for task, on_gold in (("links", "micro_f1"), ("induced", "micro_f1"), ("asserted", "macro_f1")):
        names = [on_gold, *(f"end_to_end_{name}" for name in ("precision", "recall", "micro_f1"))]
        assert {name: sent[f"test/{task}/{name}"] for name in names} == pytest.approx(
            {name: scores[task][name] for name in names}  # Lightning sends single precision
        )


def test_the_option_needs_a_relation_task_whose_mentions_are_found(
    tmp_path: Path, tiny_encoder: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    cases = [
        ("test", ["links", "kind"], "Drug, Event"),
        ("fit", list(TASKS), "mtl fit"),
        ("test", ["kind"], "--end-to-end"),
        ("test", ["asserted", "kind"], "Event"),
    ]
    with five_tasks.surroundings(tmp_path):
        for name, tasks, word in cases:
            mixture = write(tmp_path, tiny_encoder("bert"), tasks)
            assert command([name, f"--mixture={mixture}", *five_tasks.CPU, "--end-to-end"]) == 2
            assert word in capfd.readouterr().err


@pytest.mark.usefixtures("planted")
def test_both_ways_from_text_to_triples_are_scored_by_the_same_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entity task followed by a relation task, and a generation, on one encoder that predict the same."""
    rows = [*INDUCED_TRAIN, *INDUCED_TEST]
    known = INDUCED_TRAIN[0] | {"relations": [{"head": "D1", "tail": "D2", "type": "CID"}]}
    for split, own in (("train", [known, *INDUCED_TRAIN[1:]]), ("dev", [known]), ("test", INDUCED_TEST)):
        lines = [{**one, "id": f"{split}-{n}", "document": f"{split}-{n}"} for n, one in enumerate(own)]
        five_tasks.write_lines(tmp_path / "induced" / f"{split}.jsonl", lines)
    words = [one["text"] for one in rows]
    encoder = causal_folder(tmp_path / "model", "llama", causal_tokenizer([*words, TEMPLATE]))
    options = {"kind": "triples", "template": TEMPLATE, "max_new_tokens": 40}
    written = {"head": "generation", "labels": ["CID"], "options": options}
    tasks = {"findings": TASKS["findings"], "induced": TASKS["induced"], "written": written}
    fields = {
        "name": "five",
        "encoder": {"name": str(encoder), "kind": "causal", "max_length": 128},
        "leakage": dict.fromkeys(("documents", "texts", "sentences", "containment"), "warn"),
        "tasks": {
            name: {**task, "data": {"reader": "jsonl", "path": str(tmp_path / "induced")}}
            for name, task in tasks.items()
        },
    }
    mixture = tmp_path / "five.yaml"
    mixture.write_text(yaml.safe_dump(fields))
    run = five_tasks.fit(tmp_path, mixture, "--run.track=false", "--run.baselines=false", "--trainer.max_epochs=1")
    # A swapped pair and a name that is not in train have no concepts of the types that the relation joins.
    names = [("ibuprofen", "Severe bleeding"), ("Ibuprofen", "nausea"), ("bleeding", "ibuprofen"), ("x", "")]
    triples = [{"head": {"text": head}, "tail": {"text": tail}, "type": "CID"} for head, tail in names]
    monkeypatch.setattr(Generation, "decode", lambda *given: {"triples": triples, "failed": 0})
    five_tasks.test(tmp_path, "--end-to-end", "--run.track=false", "--run.baselines=false")
    scores = json.loads((run / "metrics.json").read_text())["test"]
    # Of gold D1 to D2 and D1 to D3, the first is found.
    expected = {"end_to_end_precision": 1, "end_to_end_recall": 1 / 2, "end_to_end_micro_f1": 2 / 3}
    for task in ("induced", "written"):
        found = {name: value for name, value in scores[task].items() if name.startswith("end_to_end")}
        assert found == pytest.approx(expected), task
