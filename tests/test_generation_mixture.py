"""A generation and a classification on one causal language model, from the rows to a prediction."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.callbacks import Callback

from mtl.batching.loaders import limited
from mtl.config.loading import load_mixture
from mtl.planning.mixture_check import check
from mtl.prediction.predicting import predict
from tests.causal_models import causal_folder, causal_tokenizer

MIXTURE = Path(__file__).parent.parent / "experiments" / "mixtures" / "generation.yaml"
DRUGS, SIGNS = ("aspirin", "warfarin", "ibuprofen"), ("fever", "rash", "nausea")
SENTENCES = "the interaction between and is effect empty . ; the answer to the question given the context is yes no"
FP32 = {"accelerator": "cpu", "precision": "32-true"}


def row(split: str, number: int) -> dict[str, Any]:
    drug, sign = DRUGS[number % 3], SIGNS[number // 3 % 3]
    text = f"{number} {drug} met {sign}"
    entities = [
        {"id": name, "type": "any", "spans": [[text.index(word), text.index(word) + len(word)]]}
        for name, word in (("T1", drug), ("T2", sign))
    ]
    relations = [{"head": "T1", "tail": "T2", "type": "effect"}] if number % 4 else []
    return {
        "id": f"{split}{number}",
        "document": f"{split}{number // 2}",
        "text": text,
        "entities": entities,
        "relations": relations,
    }


class SaveAt(Callback):
    """Saves a checkpoint after an update."""

    def __init__(self, step: int, path: Path) -> None:
        self._step, self._path = step, path

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self._step:
            trainer.save_checkpoint(self._path)


@pytest.fixture
def mixture_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A function that writes rows, a tiny model and a mixture, and returns the file of the mixture."""
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))

    def write(**encoder: Any) -> Path:
        for split, size in (("train", 18), ("dev", 10), ("test", 6)):
            rows = [row(split, number) for number in range(size)]
            answers = [
                {"id": one["id"], "text": f"is {one['text']} ?", "label": "yes" if "aspirin" in one["text"] else "no"}
                for one in rows
            ]
            for name, lines in (("related", rows), ("answered", answers)):
                (tmp_path / name).mkdir(exist_ok=True)
                (tmp_path / name / f"{split}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        words = [SENTENCES, *(row("train", number)["text"] for number in range(18))]
        folder = causal_folder(tmp_path / "model", "llama", causal_tokenizer(words))
        generated = {"max_new_tokens": 20, "soft_prompt": 2, "decode_limit": 3}
        tasks = {
            "related": {"head": "generation", "labels": ["effect"], "options": {"kind": "triples", **generated}},
            "answered": {"head": "classification", "labels": ["yes", "no"], "data": {"path": "answered"}},
            "asked": {
                "head": "generation",
                "labels": ["yes", "no"],
                "options": {"kind": "answer", "max_new_tokens": 20},
                "data": {"path": "answered"},
            },
        }
        for name, task in tasks.items():
            task["data"] = {"reader": "jsonl", "path": str(tmp_path / task.get("data", {}).get("path", name))}
        fields = {
            "name": "both",
            "encoder": {"name": str(folder), "kind": "causal", "max_length": 64, **encoder},
            "batch_size": 4,
            "tasks": tasks,
        }
        path = tmp_path / "both.yaml"
        path.write_text(yaml.safe_dump(fields, sort_keys=False))
        return path

    return write


def test_it_is_trained_resumed_tested_and_predicts(
    mixture_file: Callable[..., Path], train: Callable[..., Any], tmp_path: Path
) -> None:
    mixture = load_mixture(mixture_file())
    model = {"learning_rate": 5e-3}
    middle = tmp_path / "middle.ckpt"
    whole = train(mixture, model=model, max_epochs=2, callbacks=[SaveAt(7, middle)])
    saved = tmp_path / "whole.ckpt"
    whole.trainer.save_checkpoint(saved)
    assert whole.module.encoder.packs
    results = whole.module.results["dev"]
    assert results["related"].num_rows == 6  # the rows of three documents
    assert len(results["related"].documents) == 3
    rows = limited(whole.data.tasks["related"]["dev"], 3).rows  # those that trivial predictors are scored on
    assert {row.document for row in rows} == set(results["related"].documents)
    assert len(list(rows)) == 6
    assert results["answered"].num_rows == results["asked"].num_rows == 10

    resumed = train(mixture, model=model, max_epochs=2, ckpt_path=middle)
    for name, value in whole.weights.items():
        assert torch.equal(value, resumed.weights[name]), name

    whole.trainer.test(whole.module, datamodule=whole.data, verbose=False)
    tested = whole.module.results["test"]
    assert {name: result.num_rows for name, result in tested.items()} == {"related": 6, "answered": 6, "asked": 6}
    assert set(tested["related"].scores) == {
        "loss",
        "triple_micro_f1",
        "triple_document_f1",
        "triple_precision",
        "triple_recall",
        "parse_failure_rate",
    }

    rows = [
        {"id": one["id"], "document": one["document"], "text": one["text"], "entities": one["entities"]}
        for one in (row("test", number) for number in range(6))
    ]
    found = predict(saved, rows, tasks=["related"], trainer=FP32)
    assert found is not None
    gold = [row("test", number) for number in range(6)]
    head = whole.module.head("related")
    split = whole.data.tasks["related"]["test"]
    counts = [head.counts(one["predictions"]["related"], split.rows[place]) for place, one in enumerate(found)]
    by_document = [head.document_counts(counts[place : place + 2]) for place in (0, 2, 4)]
    assert [one["id"] for one in found] == [one["id"] for one in gold]
    expected = {name: value for name, value in tested["related"].scores.items() if name != "loss"}
    assert head.score(torch.stack(by_document).sum(0)) == pytest.approx(expected)
    for suffix in (".jsonl", ".csv"):
        predict(saved, rows, tmp_path / f"out{suffix}", tasks=["related"], trainer=FP32)
        assert (tmp_path / f"out{suffix}").stat().st_size


def test_check_says_where_the_language_model_head_comes_from_and_names_wrong_options(
    mixture_file: Callable[..., Path],
) -> None:
    path = mixture_file()
    problems, plan = check(path)
    assert problems == []
    assert plan["packed"]
    assert plan["tasks"]["related"]["first_weights"] == "checkpoint"
    keys = {
        "tasks.related.options.template=the relation": "tasks.related.options",
        "tasks.related.options.max_new_tokens=3": "tasks.related.train (row train1)",
        "tasks.related.max_length=22": "tasks.related",
        "tasks.answered.options.pooling=cls": "tasks.answered.options",
        "encoder.kind=null": "encoder.kind",
    }
    for word, key in keys.items():
        problems, _ = check(path, [word])
        assert {problem.key.rsplit(".template")[0] for problem in problems} == {key}, (word, problems)


def test_generation_needs_a_causal_encoder(
    mixture_file: Callable[..., Path], tiny_encoder: Callable[[str], Path]
) -> None:
    problems, _ = check(mixture_file(), [f"encoder.name={tiny_encoder('bert')}", "encoder.kind=null"])
    assert [problem.key for problem in problems] == ["tasks.related.options", "tasks.asked.options"]


def test_the_example_would_run_on_the_packaged_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    words = [SENTENCES, "the interaction between and is treats causes prevents"]
    folder = causal_folder(tmp_path / "model", "llama", causal_tokenizer(words), max_position_embeddings=300)
    # The tokenizer knows few words, so that texts have more tokens than those of the encoder that the file names.
    overrides = [f"encoder.name={folder}", "encoder.max_length=300", "tasks.relations.options.max_new_tokens=170"]
    problems, plan = check(MIXTURE, overrides)
    assert [str(problem) for problem in problems] == []
    used = {
        name: {split: found["used"] for split, found in task["splits"].items()} for name, task in plan["tasks"].items()
    }
    assert used["relations"] == {"train": 240, "dev": 80, "test": 80}
    assert {task["head"] for task in plan["tasks"].values()} == {"generation", "classification"}
