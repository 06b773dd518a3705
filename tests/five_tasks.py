"""A mixture of five synthetic tasks, one per head, with all special cases of evaluation.

Documents hold several rows, a mention is far into a long text, rows have no candidate pair, a task has no test split,
thresholds are tuned, and every row holds the word `SECRET`, which must never leave the data.
"""

from __future__ import annotations

import json
import os
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from mtl.commands import run

SECRET = "zyzzyvaquux"
CPU = ["--trainer.accelerator=cpu", "--trainer.precision=32-true"]
SIZES = {"train": 12, "dev": 8, "test": 7}

Rows = list[dict[str, Any]]


def write(folder: Path, encoder: Path, **changes: Any) -> Path:
    """Writes the data and the mixture, and gives the mixture's file."""
    for split, size in SIZES.items():
        for task, make in MAKERS.items():
            if (task, split) == ("score", "test"):
                continue
            rng = random.Random(f"{task} {split}")
            rows = [{"id": f"{task}-{split}-{i}", "document": f"{split}-{i // 2}", **make(rng, i)} for i in range(size)]
            write_lines(folder / task / f"{split}.jsonl", rows)
    fields = {
        "name": "five",
        "encoder": {"name": str(encoder), "max_length": 24},
        "batch_size": 4,
        "seed": 3,
        "tasks": {
            name: {**task, "data": {"reader": "jsonl", "path": str(folder / name)}} for name, task in TASKS.items()
        },
        **changes,
    }
    path = folder / "five.yaml"
    path.write_text(yaml.safe_dump(fields, sort_keys=False), encoding="utf-8")
    return path


def write_lines(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_lines(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@contextmanager
def surroundings(folder: Path) -> Iterator[None]:
    """Cache, tracking and working folder inside `folder`."""
    names = {"MTL_CACHE": str(folder / "cache"), "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    before, place = dict(os.environ), Path.cwd()
    os.environ.update(names)
    os.chdir(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the libraries, among each other
            yield
    finally:
        os.chdir(place)
        os.environ.clear()
        os.environ.update(before)


def train(folder: Path, encoder: Path, *arguments: str, **changes: Any) -> Path:
    """Writes and trains the mixture in this process, and gives the run's folder."""
    return fit(folder, write(folder, encoder, **changes), *arguments)


def fit(folder: Path, mixture: Path, *arguments: str) -> Path:
    """Trains a mixture that is written."""
    options = [*CPU, "--trainer.max_epochs=2", "--model.learning_rate=0.01", "--trainer.enable_progress_bar=false"]
    with surroundings(folder):
        assert run(["fit", f"--mixture={mixture}", *options, *arguments]) == 0
    return newest(folder)


def test(folder: Path, *arguments: str) -> None:
    """Scores the newest run's best checkpoint on test."""
    with surroundings(folder):
        options = [*CPU, "--trainer.enable_progress_bar=false", *arguments]
        assert run(["test", f"--mixture={folder / 'five.yaml'}", *options]) == 0


def newest(folder: Path) -> Path:
    family = folder / "runs" / "five"
    return family / (family / "latest").read_text(encoding="utf-8").strip()


def by_entity_ids(made: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """A prediction of `mtl predict` whose relations join ids of the row's entities, as heads predict them."""
    if "relations" not in made:
        return made
    ids = [entity["id"] for entity in row["entities"]]
    relations = [
        {**relation, "head": ids[relation["head"]], "tail": ids[relation["tail"]]} for relation in made["relations"]
    ]
    return {"relations": relations}


_trained: dict[str, Path] = {}


def trained(make_folder: Callable[[str], Path], encoder: Path) -> Path:
    """The folder of one tracked run, trained and tested, which the tests of a process share and don't change."""
    if "run" not in _trained:
        folder = make_folder("five")
        run_folder = train(folder, encoder, "--trainer.log_every_n_steps=2")
        test(folder)
        _trained["run"] = run_folder
    return _trained["run"]


# --- rows -----------------------------------------------------------------------------------------------------------


def _kind(rng: random.Random, i: int) -> dict[str, Any]:
    label = rng.choice(["yes", "no"])
    return {"text": f"the patient {SECRET} {'has cancer' if label == 'yes' else 'is well'} .", "label": label}


def _topics(rng: random.Random, i: int) -> dict[str, Any]:
    label = [name for name in ("heart", "skin") if rng.random() < 0.5]
    return {"text": f"{SECRET} about {' and '.join(label) or 'a gene'}", "label": label}


def _score(rng: random.Random, i: int) -> dict[str, Any]:
    value = rng.randint(0, 4)
    return {"text": f"risk {SECRET}", "text_pair": " ".join(["fever"] * (value + 1)), "label": float(value)}


def _mentions(rng: random.Random, i: int) -> dict[str, Any]:
    words = [SECRET, *rng.choices(["the", "of", "risk", "and"], k=rng.randint(1, 40))]
    names = [("aspirin", "@CHEMICAL$"), ("fever", "Disease")]
    found = [rng.choice(names) for _ in range(i % 3)]
    text, entities = " ".join(words), []
    for n, (word, kind) in enumerate(found):
        entities.append({"id": f"T{n}", "type": kind, "spans": [[len(text) + 1, len(text) + 1 + len(word)]]})
        text += f" {word}"
    return {"text": text, "entities": entities}


def _links(rng: random.Random, i: int) -> dict[str, Any]:
    """Pairs in one sentence; every third row has its only relation across two, which no candidate can find.

    The trend of the first event is known.
    """
    kind = rng.choice(["up", "down"])
    first = f"aspirin {SECRET} {'increases' if kind == 'up' else 'reduces'}"
    text = f"{first} . fever" if i % 3 == 2 else f"{first} fever and cancer ."
    places = {"T0": ("aspirin", "Drug"), "T1": ("fever", "Event"), "T2": ("cancer", "Event")}
    entities = [
        {"id": name, "type": kind_of, "spans": [[text.index(word), text.index(word) + len(word)]]}
        for name, (word, kind_of) in places.items()
        if word in text
    ]
    entities[1]["attributes"] = {"trend": kind}
    end = text.index(".") + 1
    sentences = [[0, end]] + ([[end + 1, len(text)]] if end < len(text) else [])
    relations = [{"head": "T0", "tail": "T1", "type": kind}]
    return {"text": text, "entities": entities, "relations": relations, "sentences": sentences}


MAKERS: dict[str, Callable[[random.Random, int], dict[str, Any]]] = {
    "kind": _kind,
    "topics": _topics,
    "score": _score,
    "mentions": _mentions,
    "links": _links,
}
TASKS: dict[str, dict[str, Any]] = {
    "kind": {"head": "classification", "labels": ["yes", "no"]},
    "topics": {"head": "multilabel", "labels": ["heart", "skin"], "options": {"threshold": "tuned"}},
    "score": {"head": "regression", "options": {"range": [0, 4]}},
    "mentions": {"head": "token_classification", "labels": ["@CHEMICAL$", "Disease"], "options": {"stride": 4}},
    "links": {
        "head": "relation",
        "labels": ["up", "down", "none"],
        "options": {"negative": "none", "pairs": [["Drug", "Event"]], "input": "markers", "pooling": "entity_start"},
    },
}
