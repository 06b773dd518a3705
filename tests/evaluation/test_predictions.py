from __future__ import annotations

import json
from pathlib import Path

import pytest

from heads import TextRow
from mtl.evaluation import predictions
from mtl.evaluation.predictions import PredictionFiles
from mtl.problems import InputError

ROW = TextRow("dev-1", "d", "Mrs. Miller has a fever.", text_pair="Überweisung")


def lines(path: Path) -> list[object]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("with_text", [False, True])
def test_a_line_has_the_id_and_the_prediction_and_texts_only_if_asked_for(tmp_path: Path, with_text: bool) -> None:
    files = PredictionFiles(tmp_path / "dev", ["gad"], with_text=with_text)
    files.add("gad", ROW, ["a", "b"])
    files.close()
    (path,) = files.merge()
    texts = {"text": ROW.text, "text_pair": ROW.text_pair} if with_text else {}
    assert lines(path) == [{"id": "dev-1", "prediction": ["a", "b"], **texts}]
    assert [file.name for file in (tmp_path / "dev").iterdir()] == ["gad.jsonl"]


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    files = PredictionFiles(tmp_path / "dev", ["gad"])
    files._open["gad"].close()
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        files._open["gad"] = full
        files.add("gad", ROW, "a")
        with pytest.raises(InputError, match=str(tmp_path / "dev")):
            files.close()


def test_the_parts_of_all_ranks_are_merged_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "world_size", lambda: 2)
    monkeypatch.setattr(predictions, "gather", lambda value: [value])
    parts = []
    for rank in range(2):
        monkeypatch.setattr(predictions, "rank", lambda rank=rank: rank)
        parts.append(PredictionFiles(tmp_path, ["gad", "rqe"]))
        parts[-1].add("gad", TextRow(f"r{rank}", "d", "x"), rank)
        parts[-1].close()
    merged = parts[0].merge()
    assert [path.name for path in merged] == ["gad.jsonl", "rqe.jsonl"]
    assert lines(merged[0]) == [{"id": "r0", "prediction": 0}, {"id": "r1", "prediction": 1}]
    assert lines(merged[1]) == []


def test_discarded_predictions_leave_nothing_and_keep_those_of_an_earlier_evaluation(tmp_path: Path) -> None:
    folder = tmp_path / "dev"
    first = PredictionFiles(folder, ["gad"])
    first.discard()
    assert not folder.exists()
    second = PredictionFiles(folder, ["gad"])
    second.add("gad", ROW, "yes")
    second.close()
    second.merge()
    third = PredictionFiles(folder, ["gad"])
    third.add("gad", ROW, "no")
    third.discard()
    assert [line["prediction"] for line in lines(folder / "gad.jsonl")] == ["yes"]  # type: ignore[index]
