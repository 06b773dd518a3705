"""What the labels of a run are worth: students trained on gold labels, on a run's labels, and on both.

    MTL_DATA=… python experiments/bench/weak_labels.py

For each task and seed, a few rows of train keep their gold labels, and a teacher is trained on them (`human`). It
labels the other rows, whose gold labels are put aside. Students are trained on the teacher's labels (`hard`), on its
probabilities (`soft`), on the gold rows and its probabilities (`both`), and, to see what wrong labels cost, on the gold
labels of all rows (`gold`). All have the same dev and test rows and `mtl fit`'s defaults, so that more rows mean more
updates. The seed also decides which rows are gold. The tasks are GAD as a classification of sentences, and the
diseases in sentences of NCBI's corpus.

Finished seeds are kept in OUT/weak_labels.jsonl, one line each, and not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import yaml
from json_lines import read
from machine import machine, machine_line

from heads import row_to_dict
from mtl.readers.conll import Conll
from mtl.readers.table import Table

ARMS = {
    "human": ("human", "the gold rows"),
    "hard": ("weak", "the labels of the teacher"),
    "soft": ("weak", "the probabilities of the teacher"),
    "both": ("both", "the gold rows and the probabilities"),
    "gold": ("gold", "the rows of `both`, all with gold labels"),
}
"""The file of training rows of each arm, and what it has."""

Rows = list[dict[str, Any]]


class Task(NamedTuple):
    """A task of the comparison.

    Args:
        title: What it is, for the page.
        spec: Its keys in a mixture, without the data.
        rows: Reads a split as lines of JSON.
        unlabelled: What a line without its labels has of them.
        metrics: Metrics to show, the primary one first.
        agreement: Metrics of agreement to show.
    """

    title: str
    spec: Mapping[str, Any]
    rows: Callable[[str], Rows]
    unlabelled: Mapping[str, Any]
    metrics: Sequence[str]
    agreement: Sequence[str]


def gad_rows(split: str) -> Rows:
    """The sentences of a split of GAD."""
    reader = Table(
        str(Path(os.environ["MTL_DATA"]) / "gad" / "blurb"),
        columns={"id": "index", "text": "sentence", "label": "label"},
    )
    return [{"id": f"{split}-{row.id}", "text": row.text, "label": row.label} for row in reader.read(split)]


def disease_rows(split: str) -> Rows:
    """The sentences of a split of NCBI-disease."""
    folder = Path(os.environ["MTL_DATA"]) / "ncbi_disease"
    reader = Conll(str(folder), files={"train": "train.tsv", "dev": "devel.tsv", "test": "test.tsv"})
    return [row_to_dict(row) for row in reader.read(split)]


TASKS = {
    "association": Task(
        "GAD as a classification of sentences",
        {"head": "classification", "labels": ["0", "1"], "options": {"positive": "1"}, "primary_metric": "f1"},
        gad_rows,
        {},
        ("f1", "accuracy"),
        ("accuracy", "kappa"),
    ),
    "disease": Task(
        "diseases in sentences of NCBI's corpus",
        {"head": "token_classification", "labels": ["Disease"]},
        disease_rows,
        {"entities": []},
        ("f1", "word_micro_f1"),
        ("f1",),
    ),
}


def main(arguments: Sequence[str]) -> None:
    """Trains what is missing and writes weak_labels.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs="+", choices=tuple(TASKS), default=list(TASKS), help="(default: both)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default 3)")
    parser.add_argument("--human", type=int, default=200, help="rows with gold labels (default 200)")
    parser.add_argument("--unlabelled", type=int, default=1000, help="rows that the teacher labels (default 1000)")
    parser.add_argument("--encoder", default="minilm-l6")
    parser.add_argument("--precision", default="32-true", help="precision of a training (default 32-true)")
    parser.add_argument("--updates", type=int, help="most updates of a training, to try the script")
    parser.add_argument("--workers", type=int, default=2, help="seeds at a time, with one thread each (default 2)")
    parser.add_argument("--work", type=Path, default=Path("runs/bench/weak_labels"), help="folder for rows and runs")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"), help="(default experiments/results)")
    options = parser.parse_args(arguments)
    seeds = finished(options)
    content: dict[str, Any] = {
        "command": f"python experiments/bench/weak_labels.py {' '.join(arguments)}".rstrip(),
        "machine": machine(),
        "seeds": seeds,
    }
    (options.out / "weak_labels.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    text = page(content)
    (options.out / "weak_labels.md").write_text(text, encoding="utf-8")
    print(text)


# --- the trainings ----------------------------------------------------------------------------------------------------


def finished(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The scores of each seed; trains the seeds that are missing."""
    setting = {name: getattr(options, name) for name in ("human", "unlabelled", "encoder", "precision", "updates")}
    wanted = [{**setting, "task": task, "seed": seed} for task in options.task for seed in range(options.seeds)]
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "weak_labels.jsonl"
    kept = read(file)
    missing = [entry for entry in wanted if not any(entry.items() <= line.items() for line in kept)]
    rows = {
        task: {split: TASKS[task].rows(split) for split in ("train", "dev", "test")}
        for task in {entry["task"] for entry in missing}
    }
    with ThreadPoolExecutor(options.workers) as pool:
        for line in pool.map(lambda entry: compare(entry, rows[entry["task"]], options.work), missing):
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line) + "\n")
    kept = read(file)
    return [next(line for line in kept if entry.items() <= line.items()) for entry in wanted]


def parts(
    rows: Sequence[Mapping[str, Any]], seed: int, human: int, unlabelled: int, blank: Mapping[str, Any]
) -> dict[str, list[Any]]:
    """Which rows of train are `human`, `unlabelled` (without their labels) and `gold` (both with their labels).

    Args:
        rows: The rows.
        seed: Decides which of them are used for what.
        human: Number of rows with gold labels.
        unlabelled: Number of rows without.
        blank: What a row without labels has in their place.

    Raises:
        SystemExit: There are too few rows.
    """
    if human + unlabelled > len(rows):
        raise SystemExit(f"--human and --unlabelled must be at most {len(rows)} rows in all, got {human + unlabelled}.")
    drawn = random.Random(seed).sample(list(rows), human + unlabelled)
    labels = ("label", "entities")
    without = [{key: value for key, value in row.items() if key not in labels} | blank for row in drawn[human:]]
    return {"human": drawn[:human], "unlabelled": without, "gold": drawn}


def compare(entry: Mapping[str, Any], rows: Mapping[str, Sequence[Any]], work: Path) -> dict[str, Any]:
    """Trains a teacher and its students, and gives their scores on test."""
    task, name = TASKS[entry["task"]], entry["task"]
    named = [name, Path(entry["encoder"]).name]
    named += [str(entry[key]) for key in ("human", "unlabelled", "precision", "seed")]
    folder = work / "_".join(named)
    folder.mkdir(parents=True, exist_ok=True)
    lines = parts(rows["train"], entry["seed"], entry["human"], entry["unlabelled"], task.unlabelled)
    for file, some in {**lines, "dev": rows["dev"], "test": rows["test"]}.items():
        write(folder / f"{file}.jsonl", some)
    mtl = partial(run, folder)
    trained = {"human": train(folder, entry, "human")}
    soft = ["--probabilities"] if task.spec["head"] == "token_classification" else []
    asked = ["predict", "runs/human", "--task", name]
    mtl(*asked, "--input", "unlabelled.jsonl", "--with-text", *soft, "--output", "weak.jsonl")
    mtl(*asked, "--input", "dev.jsonl", "--output", "weak_dev.jsonl")
    agreement = json.loads(mtl("agreement", "weak_dev.jsonl", "--run", "runs/human", "--task", name, "--json"))
    both = [(folder / f"{file}.jsonl").read_text(encoding="utf-8") for file in ("human", "weak")]
    (folder / "both.jsonl").write_text("".join(both), encoding="utf-8")
    trained |= {arm: train(folder, entry, arm) for arm in ARMS if arm not in trained}
    (source,) = agreement["sources"].values()
    return {**entry, "agreement": source["scores"], "test": trained}


def train(folder: Path, entry: Mapping[str, Any], arm: str) -> dict[str, float]:
    """The scores on test of a training on the rows of an arm, with the best checkpoint on dev."""
    task, name = TASKS[entry["task"]], entry["task"]
    paths = {"train": f"{ARMS[arm][0]}.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"}
    options = {**task.spec.get("options", {}), "distillation": {"share": 0.0 if arm == "hard" else 1.0}}
    data = {"reader": "jsonl", "path": paths, "predictions": name}
    mixture = {
        "name": arm,
        "seed": entry["seed"],
        "encoder": {"name": entry["encoder"], "max_length": 128},
        "leakage": {"documents": "warn", "texts": "warn"},
        "tasks": {name: {**task.spec, "options": options, "data": data}},
    }
    (folder / f"{arm}.yaml").write_text(yaml.safe_dump(mixture, sort_keys=False), encoding="utf-8")
    words = ["--mixture", f"{arm}.yaml", f"--trainer.precision={entry['precision']}"]
    if entry["updates"]:
        words.append(f"--trainer.max_steps={entry['updates']}")
    run(folder, "fit", *words)
    run(folder, "test", *words, "--ckpt_path", "best")
    newest = max((folder / "runs" / arm).glob("*/metrics.json"))
    scores = json.loads(newest.read_text(encoding="utf-8"))["test"][name]
    return {metric: scores[metric] for metric in task.metrics}


def run(folder: Path, *words: str) -> str:
    """What a command of `mtl` prints, run in a folder on one thread."""
    command = [sys.executable, "-m", "mtl", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"mtl {' '.join(words)} in {folder} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes rows as lines of JSON."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


# --- what they show ---------------------------------------------------------------------------------------------------


def page(content: Mapping[str, Any]) -> str:
    """A table of the arms over seeds for each task."""
    lines = [
        "# Students on a run's labels",
        "",
        f"`{content['command']}`; {machine_line(content['machine'])}.",
        "",
        "Mean and standard deviation on test. Differences are paired by seed.",
    ]
    for name in dict.fromkeys(line["task"] for line in content["seeds"]):
        lines += ["", *_table(TASKS[name], [line for line in content["seeds"] if line["task"] == name])]
    return "\n".join([*lines, ""])


def _table(task: Task, seeds: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    first, primary = seeds[0], task.metrics[0]
    yield f"## {task.title[0].upper()}{task.title[1:]}"
    yield ""
    yield (
        f"Encoder {first['encoder']}, {first['precision']}, {len(seeds)} seeds. {first['human']} rows are gold;"
        f" a teacher, trained on them, labels {first['unlabelled']} others."
    )
    yield ""
    yield f"| trained on | rows | {' | '.join(task.metrics)} | {primary} beyond `human` |"
    yield "|---|---|" + "---|" * (len(task.metrics) + 1)
    for arm, (file, meaning) in ARMS.items():
        rows = {"human": first["human"], "weak": first["unlabelled"]}.get(file, first["human"] + first["unlabelled"])
        cells = " | ".join(spread([line["test"][arm][metric] for line in seeds]) for metric in task.metrics)
        gains = [line["test"][arm][primary] - line["test"]["human"][primary] for line in seeds]
        gain = "" if arm == "human" else spread(gains, "+")
        yield f"| `{arm}`: {meaning} | {rows} | {cells} | {gain} |"
    agreed = {name: [line["agreement"][name] for line in seeds] for name in task.agreement}
    shown = ", ".join(f"{name} {spread(values)}" for name, values in agreed.items())
    yield ""
    yield f"Agreement of the teachers' labels with gold on dev: {shown}."


def spread(values: Sequence[float], sign: str = "") -> str:
    """The mean of some values, with their standard deviation if there are several.

    >>> spread([0.8, 0.9]), spread([0.01], "+")
    ('0.850 ± 0.071', '+0.010')
    """
    return f"{mean(values):{sign}.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main(sys.argv[1:])
