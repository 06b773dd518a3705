"""An encoder from nothing: its vocabulary, its training, its export, and a task that starts from it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForMaskedLM, AutoTokenizer

from mtl.tracking.run_folder import RunFolder
from tests.fitting import MTL, QUIET, environment

PAIRS = {"zorbitol": "hiccups", "menaquil": "vertigo", "tavirex": "insomnia", "ledocain": "eczema"}
SENTENCES = [f"{drug} relieves {event} within days" for drug, event in PAIRS.items()]


def mtl(*words: str) -> None:
    done = subprocess.run([str(MTL), *words], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def write(path: Path, content: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


@pytest.mark.slow
def test_a_corpus_becomes_an_encoder_that_tasks_start_from(
    tmp_path: Path, tiny_encoder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus").mkdir()
    for split, copies in (("train", 40), ("dev", 5)):
        text = "\n\n".join(f"{sentence} ." for _ in range(copies) for sentence in SENTENCES)
        (tmp_path / "corpus" / f"{split}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "shape").mkdir()
    shutil.copy(tiny_encoder("bert") / "config.json", tmp_path / "shape")  # no weights and no tokenizer
    corpus = {"reader": "text", "path": "corpus"}

    vocabulary = {"encoder": {"name": str(tiny_encoder("bert"))}, "data": corpus, "size": 200}
    mtl("vocabulary", "train", write(tmp_path / "vocabulary.yaml", vocabulary), "--to", "own")
    tokenizer = AutoTokenizer.from_pretrained("own")
    assert all(len(tokenizer.tokenize(word)) == 1 for pair in PAIRS.items() for word in pair)

    mixture = {
        "name": "scratch",
        "encoder": {"name": "shape", "weights": "random", "tokenizer": "own", "max_length": 16},
        "leakage": {"documents": "warn", "texts": "warn"},
        "tasks": {"mlm": {"head": "masked_lm", "data": corpus, "options": {"unit": "word", "rate": 0.25}}},
    }
    options = [*QUIET, "--model.learning_rate=3e-3"]
    words = ["--mixture", write(tmp_path / "scratch.yaml", mixture), "--trainer.max_epochs=60", *options]
    mtl("fit", *words)
    run = RunFolder.latest(Path("runs"), "scratch")
    points = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    perplexity = [one["metrics"]["val/mlm/perplexity"] for one in points if "val/mlm/perplexity" in one["metrics"]]
    assert perplexity[-1] < perplexity[0] / 2

    last = str(run.resolve_checkpoint("last"))  # the few masks of dev are all right long before
    mtl("export", last, "--encoder", "--to", "encoder")
    model, loading = AutoModelForMaskedLM.from_pretrained("encoder", output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained("encoder")
    for drug in PAIRS:
        inputs = tokenizer(f"{drug} relieves [MASK] within days .", return_tensors="pt")
        with torch.no_grad():
            logits = model.eval()(**inputs).logits[0]
        place = inputs["input_ids"][0].tolist().index(tokenizer.mask_token_id)
        assert tokenizer.convert_ids_to_tokens(int(logits[place].argmax())) in PAIRS.values()

    rows = [{"text": sentence, "label": f"{n % 2}"} for n, sentence in enumerate(SENTENCES)]
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "head": "classification",
        "labels": ["0", "1"],
        "data": {"reader": "jsonl", "path": {split: f"{split}.jsonl" for split in ("train", "dev")}},
    }
    start = {"name": "tuned", "init": {"run": last, "heads": "none"}, "tasks": {"kind": task}}
    start |= {"leakage": mixture["leakage"]}
    words = ["--mixture", write(tmp_path / "tuned.yaml", start), "--trainer.max_steps=1", *options]
    mtl("fit", *words, "--model.learning_rate=1e-9")
    tuned = RunFolder.latest(Path("runs"), "tuned")
    one, other = (torch.load(own.resolve_checkpoint("last"), weights_only=True)["state_dict"] for own in (run, tuned))
    shared = [name for name in one if name.startswith("encoder.") and name in other]
    assert len(shared) > 20
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in shared)
