"""The outside check of training: biomtl compared with `transformers.Trainer`, here with a tiny encoder."""

from __future__ import annotations

import dataclasses
import doctest
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parity
import parity_training
import pytest

WORDS = ["the", "patient", "patients", "with", "fever", "and", "nausea", "after", "treatment", "risk", "of", "bleeding"]
DRUGS = ["aspirin", "ibuprofen", "warfarin"]
NER = """
head: token_classification
data: {reader: jsonl, path: rows}
labels: [Drug]
"""
SENTENCE = """
head: relation
data: {reader: jsonl, path: rows}
labels: ["0", "1"]
options: {negative: "0", placeholders: ["@GENE$", "@DISEASE$"]}
"""

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]


Make = Callable[[str], Any]


@pytest.fixture
def make(tmp_path: Path, tiny_encoder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Make:
    """Gives a setting of one kind of task over synthetic rows, two to a document, with the script pointed at them."""
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(parity_training, "TASKS", tmp_path)

    def make_setting(kind: str) -> Any:
        (tmp_path / "task.yaml").write_text(NER if kind == "ner" else SENTENCE, encoding="utf-8")
        (tmp_path / "rows").mkdir(exist_ok=True)
        rng = random.Random(0)
        for split, number in (("train", 60), ("dev", 10), ("test", 20)):
            rows = [_row(kind, f"{split}{i}", f"{split}-{i // 2}", rng) for i in range(number)]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (tmp_path / "rows" / f"{split}.jsonl").write_text(text, encoding="utf-8")
        return parity_training.Setting("task", 40, 16, 6, 45, 1e-2, 0.0, exact=True, encoder=str(tiny_encoder("bert")))

    return make_setting


def _row(kind: str, name: str, document: str, rng: random.Random) -> dict[str, Any]:
    words = rng.choices(WORDS, k=rng.randint(3, 25))
    if kind == "sentence":
        label = rng.choice("01")
        text = " ".join(["@GENE$", "increases" if label == "1" else "reduces", "@DISEASE$", *words])
        return {"id": name, "document": document, "text": text, "label": label}
    place = rng.randrange(len(words))
    words[place] = rng.choice(DRUGS)
    start = sum(len(word) + 1 for word in words[:place])
    entity = {"id": "T1", "type": "Drug", "spans": [[start, start + len(words[place])]]}
    return {"id": name, "document": document, "text": " ".join(words), "entities": [entity]}


@pytest.mark.parametrize(("kind", "max_length"), [("ner", 16), ("ner", 48), ("sentence", 16)])
def test_losses_rates_gradients_weights_and_scores_agree_with_the_trainer_of_transformers(
    kind: str, max_length: int, make: Make, tmp_path: Path
) -> None:
    """With 16 tokens most texts are windows of one length; with 48 each is whole, so that theirs are padded."""
    setting = dataclasses.replace(make(kind), max_length=max_length)
    (tmp_path / "capped").mkdir()
    found = parity.exact(setting, parity_training.capped_mixture(setting, tmp_path / "capped"))
    assert found["agrees"]
    assert found["updates"] == 45
    assert found["loss"] <= 1e-5
    assert (found["rounding"] is None) == (max_length == 16)  # only short texts are padded in another way
    assert (found["rounding"] or 0.0) <= 1e-5
    assert found["gradient_norm"] <= 1e-4
    assert found["learning_rate"] <= 1e-12
    assert found["weights"] <= 1e-2
    # Training went somewhere, and some but not all gradients were clipped: otherwise agreement would say little.
    assert found["last_loss"] < found["first_loss"]
    assert 0 < found["clipped_updates"] < 45
    assert found["score"][0] == found["score"][1] > 0.6


def test_a_loss_that_is_one_per_mille_off_is_noticed(make: Make, tmp_path: Path) -> None:
    setting = dataclasses.replace(make("ner"), updates=5)
    (tmp_path / "capped").mkdir()
    mixture = parity_training.capped_mixture(setting, tmp_path / "capped")
    spec = mixture.tasks["task"].model_copy(update={"loss_weight": 1.001})
    assert not parity.exact(setting, mixture.model_copy(update={"tasks": {"task": spec}}))["agrees"]


def test_training_is_cut_to_whole_documents_and_dev_and_test_stay_whole(make: Make, tmp_path: Path) -> None:
    setting = dataclasses.replace(make("sentence"), examples=13)
    (tmp_path / "capped").mkdir()
    parity_training.capped_mixture(setting, tmp_path / "capped")
    rows = {
        split: [json.loads(line) for line in (tmp_path / "capped" / f"{split}.jsonl").read_text().splitlines()]
        for split in ("train", "dev", "test")
    }
    documents = [row["document"] for row in rows["train"]]
    assert len(documents) == 14  # two rows a document: the first even number that is not below 13
    assert all(documents.count(document) == 2 for document in documents)
    assert [len(rows["dev"]), len(rows["test"])] == [10, 20]


@pytest.mark.filterwarnings("ignore:Precision loss occurred")  # all seeds may have the same score
def test_finished_trainings_are_not_repeated_and_the_report_says_where_it_stands(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    setting = dataclasses.replace(make("sentence"), exact=False, warmup=0.1, updates=12)
    monkeypatch.setattr(parity, "SETTINGS", {"sentence": setting})
    monkeypatch.setattr(parity, "EXACT", {"sentence": make("sentence")})
    out = tmp_path / "results"
    parity.main(["scores", "--seeds", "2", "--out", str(out)])
    entries = parity.read_entries(out)
    assert [(e["seed"], e["framework"]) for e in entries] == [
        (seed, side) for seed in (0, 1) for side in ("biomtl", "transformers")
    ]
    assert all(0 <= entry["score"] <= 100 for entry in entries)

    def fail(*_: Any) -> float:
        raise AssertionError("a finished training was repeated")

    monkeypatch.setattr(parity, "one_score", fail)
    parity.main(["scores", "--seeds", "2", "--out", str(out)])
    assert parity.read_entries(out) == entries
    with pytest.raises(AssertionError, match="repeated"):
        parity.main(["scores", "--seeds", "3", "--out", str(out)])
    found = json.loads((out / "parity.json").read_text())["scores"]["sentence"]
    assert found["seeds"] == [0, 1]
    assert found["machine"]["version.accelerate"]
    assert f"| sentence (task) | test | {parity_training.precision(setting)} | 2 |" in (out / "parity.md").read_text()
    assert (out / "parity.md").read_text() in capsys.readouterr().out


def test_the_interval_of_the_difference_is_welchs() -> None:
    ours, theirs = [70.0, 72.0, 74.0, 76.0], [71.0, 72.0, 73.0]
    found = parity.difference(ours, theirs)
    # By hand: variances 20/3 and 1, so a = 5/3 and b = 1/3; freedom (a + b)^2 / (a^2 / 3 + b^2 / 2) = 4 / 0.98148.
    assert found["difference"] == 1.0
    low, high = found["interval"]
    quantile = 2.1242  # of Student's t at 0.95 with 4.0755 degrees of freedom, between 2.1318 (4) and 2.0150 (5)
    assert math.isclose(high - 1, 1 - low)
    assert math.isclose(high - 1, quantile * math.sqrt(2), rel_tol=2e-3)
    assert not found["within"]


@pytest.mark.parametrize(("shift", "within"), [(0.0, True), (1.8, False), (-1.8, False), (1.0, True)])
def test_within_asks_for_both_ends_of_the_interval(shift: float, within: bool) -> None:
    theirs = [70.0, 70.5, 71.0, 69.5, 69.0, 70.0]
    assert parity.difference([score + shift for score in theirs], theirs)["within"] is within


def test_examples_in_the_docstrings_hold() -> None:
    for module in (parity, parity_training):
        result = doctest.testmod(module)
        assert (result.failed, result.attempted) == (0, 2)
