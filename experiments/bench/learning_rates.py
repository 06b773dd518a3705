"""At which learning rates no seed collapses: the search behind the default rates.

    python experiments/bench/learning_rates.py

The search trains the demo mixture and three public tasks (where MTL_DATA is set) with each rate and seed, with the
default number of passes, on few rows: a training reads 80,000 to 170,000 tokens, which takes MiniLM two to five minutes
on one thread. Seeds come one after the other, so fewer `--seeds` are a start of the same search. A task collapses in a
training if its dev score is at or below the strongest trivial predictor while the median over the seeds is above it; if
the median is not above it either, all seeds have collapsed, provided that the median is above it at another rate. The
default is half of the highest rate at which nothing collapses.

Finished trainings are kept in WORK/learning_rates.jsonl, one line each, and not repeated.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import yaml
from json_lines import read
from machine import machine, machine_line
from meter import QUIET

EXPERIMENTS = Path(__file__).resolve().parent.parent

RATES = (5e-5, 1e-4, 1.5e-4, 2e-4, 3e-4)
"""Learning rates of the search."""

ROWS = {"demo": 60, "ncbi_disease_sentences": 150, "biosses": 64, "gad": 150}
"""Training rows per task, by data."""

DEV_ROWS = 200
"""Dev rows per task at most."""


def main(arguments: Sequence[str]) -> None:
    """Trains what is missing and writes learning_rates.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds (default 5)")
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES), help="rates of the search")
    parser.add_argument("--data", nargs="+", choices=list(ROWS), help="data of the search (default: all there is)")
    parser.add_argument("--head-rate", type=float, help="learning rate of the heads (default: that of the encoder)")
    parser.add_argument("--threads", type=int, default=1, help="threads of a training (default 1)")
    parser.add_argument("--precision", default="32-true", help="precision of a training (default 32-true)")
    parser.add_argument("--updates", type=int, help="updates of every training, to try the script")
    parser.add_argument("--workers", type=int, default=2, help="trainings at a time (default 2)")
    parser.add_argument("--encoder", default="minilm-l6")
    parser.add_argument("--work", type=Path, default=Path("runs/bench"), help="folder for finished trainings")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"), help="(default experiments/results)")
    options = parser.parse_args(arguments)
    runs = finished(search(options), options)
    cells = summary(runs)
    highest = highest_rate(cells)
    content: dict[str, Any] = {
        "command": f"python experiments/bench/learning_rates.py {' '.join(arguments)}".rstrip(),
        "encoder": options.encoder,
        "machine": machine(),
        "highest": highest,
        "cells": cells,
        "runs": runs,
    }
    page = search_page(content)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "learning_rates.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (options.out / "learning_rates.md").write_text(page, encoding="utf-8")
    print(page)


# --- the trainings ----------------------------------------------------------------------------------------------------


def search(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The trainings of the search: every rate and seed on each data, seed by seed."""
    there = options.data or [name for name in ROWS if name == "demo" or "MTL_DATA" in os.environ]
    common = {
        "encoder": options.encoder,
        "updates": options.updates,
        "threads": options.threads,
        "precision": options.precision,
        "head_learning_rate": options.head_rate,
    }
    return [
        {**common, "data": data, "rows": ROWS[data], "learning_rate": rate, "seed": seed}
        for seed, data, rate in product(range(options.seeds), there, options.rates)
    ]


def finished(wanted: Sequence[dict[str, Any]], options: argparse.Namespace) -> list[dict[str, Any]]:
    """The trainings with their scores; trains those that are missing."""
    file = options.work / "learning_rates.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    before = read(file)
    missing = [entry for entry in wanted if not any(entry.items() <= old.items() for old in before)]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(train, entry): entry for entry in missing}
        for done in as_completed(waiting):
            line = waiting[done] | done.result()
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line) + "\n")
            scores = ", ".join(f"{task} {score:.3f}" for task, score in line["scores"].items())
            print(f"{line['data']} {line['learning_rate']} seed {line['seed']}: {scores}", file=sys.stderr)
    kept = read(file)
    return [next(run for run in kept if entry.items() <= run.items()) for entry in wanted]


def train(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The primary metric of each task on dev after a training, and that of the strongest trivial predictor."""
    import pytorch_lightning as pl
    import torch

    from mtl.batching.passes import default_length
    from mtl.batching.schedule import make_schedule
    from mtl.config.loading import load_mixture
    from mtl.evaluation.baselines import trivial_baselines
    from mtl.evaluation.frozen import FrozenBaseline
    from mtl.evaluation.summary import strongest_baseline
    from mtl.training.assembly import build_data, build_module

    gc.collect()  # a trainer and its module refer to each other, so earlier trainings of this process are still there
    torch.set_num_threads(entry["threads"])
    mixture = load_mixture(fields(entry), list(overrides(entry)), folder=EXPERIMENTS)
    rates = {name: entry[name] for name in ("learning_rate", "head_learning_rate") if entry[name] is not None}
    module, data = build_module(mixture, **rates), build_data(mixture)
    data.setup()
    length = {"max_epochs": default_length(make_schedule(mixture, data.tasks, 1)).epochs}
    if entry["updates"]:
        length = {"max_epochs": -1, "max_steps": entry["updates"]}
    started = time.monotonic()
    trainer = pl.Trainer(**QUIET, **length, precision=entry["precision"], gradient_clip_val=1.0, limit_val_batches=0)
    trainer.fit(module, datamodule=data)
    seconds = time.monotonic() - started
    pl.Trainer(**QUIET, precision=entry["precision"]).validate(module, datamodule=data, verbose=False)
    primary = {task: module.head(task).primary_metric for task in mixture.tasks}
    baselines = trivial_baselines(data.heads, data.tasks, "dev", FrozenBaseline(mixture))
    strongest = {task: strongest_baseline(baselines[task], metric) for task, metric in primary.items()}
    return {
        "scores": {task: float(module.results["dev"][task].scores[metric]) for task, metric in primary.items()},
        "trivial": {task: None if one is None else one.value for task, one in strongest.items()},
        "trained_updates": trainer.global_step,
        "seconds": round(seconds, 1),
    }


def fields(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The mixture of a training before its overrides."""
    path = f"mixtures/{entry['data']}.yaml" if entry["data"] == "demo" else f"tasks/{entry['data']}.yaml"
    content = {} if entry["data"] == "demo" else {"name": entry["data"]}
    return {"include": [str(EXPERIMENTS / path)], "name": "demo", **content}


def overrides(entry: Mapping[str, Any]) -> Iterator[str]:
    """The settings of a training that differ from the file of its data."""
    yield f"seed={entry['seed']}"
    yield f"encoder.name={entry['encoder']}"
    for task in task_names(entry["data"]):
        yield f"tasks.{task}.data.limit={{train: {entry['rows']}, dev: {DEV_ROWS}}}"


def task_names(data: str) -> list[str]:
    """The tasks of the demo, or the task of that name."""
    if data != "demo":
        return [data]
    return list(yaml.safe_load((EXPERIMENTS / "mixtures" / "demo.yaml").read_text(encoding="utf-8"))["tasks"])


# --- what they show ---------------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """A task of some data at one learning rate, over all seeds."""

    data: str
    task: str
    learning_rate: float | None


def summary(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The scores of each task and setting, with the seeds that collapsed.

    >>> common = {"data": "gad", "trivial": {"gad": 0.5}}
    >>> runs = [{**common, "learning_rate": rate, "seed": seed, "scores": {"gad": score}}
    ...         for rate, scores in ((1e-4, [0.7, 0.8, 0.7]), (2e-4, [0.7, 0.5, 0.8]), (3e-4, [0.5, 0.5, 0.4]))
    ...         for seed, score in enumerate(scores)]
    >>> [(cell["learning_rate"], cell["median"], cell["collapsed"]) for cell in summary(runs)]
    [(0.0001, 0.7, []), (0.0002, 0.7, [1]), (0.0003, 0.5, [0, 1, 2])]
    >>> highest_rate(summary(runs))
    0.0001
    """
    scores: dict[Cell, dict[int, float]] = {}
    trivial: dict[Cell, float] = {}
    for run in runs:
        for task, score in run["scores"].items():
            cell = Cell(run["data"], task, run["learning_rate"])
            scores.setdefault(cell, {})[run["seed"]] = score
            value = run["trivial"].get(task)
            trivial[cell] = -float("inf") if value is None else value
    learns = {(cell.data, cell.task) for cell, by_seed in scores.items() if median(by_seed.values()) > trivial[cell]}
    found = []
    for cell, by_seed in scores.items():
        at_or_below = [seed for seed, score in sorted(by_seed.items()) if not score > trivial[cell]]
        found.append(
            {
                **cell._asdict(),
                "trivial": trivial[cell] if trivial[cell] > -float("inf") else None,
                "median": median(by_seed.values()),
                "lowest": min(by_seed.values()),
                "seeds": len(by_seed),
                "collapsed": at_or_below if (cell.data, cell.task) in learns else [],
                "learns": median(by_seed.values()) > trivial[cell],
            }
        )
    return found


def highest_rate(cells: Sequence[Mapping[str, Any]]) -> float | None:
    """The highest learning rate at which no seed collapses on any task; None if there is none."""
    fails = {cell["learning_rate"] for cell in cells if cell["collapsed"]}
    return max({cell["learning_rate"] for cell in cells} - fails, default=None)


def search_page(content: Mapping[str, Any]) -> str:
    """The page of the search: the rates at which no task fails, and the median of each task by rate."""
    cells = content["cells"]
    rates = sorted({cell["learning_rate"] for cell in cells})
    highest, fails = content["highest"], {cell["learning_rate"] for cell in cells if cell["collapsed"]}
    safe = ", ".join(f"{rate:g}" for rate in rates if rate not in fails)
    found = (
        f"No training collapses at {safe}; the highest of these is **{highest:g}**."
        if highest is not None
        else "Some task collapses at every rate."
    )
    numbers = sorted({cell["seeds"] for cell in cells})
    lines = [
        "# Learning rates",
        "",
        f"`{content['command']}`; {machine_line(content['machine'])}.",
        "",
        f"Encoder {content['encoder']}, {' to '.join(map(str, numbers))} seeds. {found} Median primary metric on dev"
        " over the seeds; in brackets the seeds that collapsed: at or below the strongest trivial predictor, with the"
        " median above it at this rate or another.",
        "",
        f"| data | task | trivial | {' | '.join(f'{rate:g}' for rate in rates)} |",
        f"|{'---|' * (3 + len(rates))}",
    ]
    for data, task in dict.fromkeys((cell["data"], cell["task"]) for cell in cells):
        by_rate = {cell["learning_rate"]: cell for cell in cells if (cell["data"], cell["task"]) == (data, task)}
        trivial = next(iter(by_rate.values()))["trivial"]
        shown = " | ".join(_median(by_rate[rate]) if rate in by_rate else "" for rate in rates)
        lines.append(f"| {data} | {task} | {'' if trivial is None else f'{trivial:.3f}'} | {shown} |")
    never = sorted({cell["task"] for cell in cells} - {cell["task"] for cell in cells if cell["learns"]})
    if never:
        lines += ["", f"Not above the trivial predictor at any rate, so without a say here: {', '.join(never)}."]
    return "\n".join(lines) + "\n"


def _median(cell: Mapping[str, Any]) -> str:
    seeds = ", ".join(map(str, cell["collapsed"]))
    return f"{cell['median']:.3f}{f' ({seeds})' if seeds else ''}"


if __name__ == "__main__":
    main(sys.argv[1:])
