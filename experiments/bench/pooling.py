"""Which pooling is best on average: `pooler`, `cls` and `mean` on public tasks of several kinds.

    MTL_DATA=… python experiments/bench/pooling.py

Each task is trained alone with each pooling and several seeds, on a limited number of rows for a fixed number of
passes, and scored on dev after each pass. Test is not used. Seeds are paired: the three poolings of a seed read the
same batches. Finished trainings are kept in WORK/pooling.jsonl, one line each, and not repeated.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml
from json_lines import read
from meter import QUIET

EXPERIMENTS = Path(__file__).parent.parent

TASKS = ("ehr_rel", "rqe", "hoc", "gad")
"""A similarity of pairs, a class of pairs, labels of abstracts, and a relation in a sentence; all have hundreds of dev
rows."""

POOLINGS = ("cls", "mean", "pooler")


def main(arguments: Sequence[str]) -> None:
    """Trains what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), help=f"task files (default {' '.join(TASKS)})")
    parser.add_argument("--poolings", nargs="+", choices=POOLINGS, default=list(POOLINGS))
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default 3)")
    parser.add_argument("--passes", type=int, default=20, help="passes over the training rows (default 20)")
    parser.add_argument("--rows", type=int, default=500, help="most training rows of a task (default 500)")
    parser.add_argument("--dev-rows", type=int, default=300, help="most dev rows of a task (default 300)")
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="of the encoder (default 1e-4)")
    parser.add_argument("--head-learning-rate", type=float, default=1e-3, help="of the head (default 1e-3)")
    parser.add_argument("--encoder", default="minilm-l6")
    parser.add_argument("--updates", type=int, help="most updates of a training, to try the script")
    parser.add_argument("--workers", type=int, default=2, help="trainings at a time (default 2)")
    parser.add_argument("--work", type=Path, default=Path("runs/bench"), help="folder of finished trainings")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    common = {
        name: getattr(options, name)
        for name in ("passes", "rows", "dev_rows", "learning_rate", "head_learning_rate", "encoder", "updates")
    }
    wanted = [
        {**common, "task": task, "pooling": pooling, "seed": seed}
        for seed in range(options.seeds)
        for task in options.tasks
        for pooling in options.poolings
    ]
    print(table(finished(wanted, options.work / "pooling.jsonl", options.workers)))


def finished(wanted: Sequence[dict[str, Any]], file: Path, workers: int) -> list[dict[str, Any]]:
    """The trainings with their scores; trains those that are missing."""
    kept = read(file)
    missing = [entry for entry in wanted if not any(entry.items() <= old.items() for old in kept)]
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(train, entry, file.parent, threads): entry for entry in missing}
        for done in as_completed(waiting):
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(waiting[done] | done.result()) + "\n")
    kept = read(file)
    return [next(run for run in kept if entry.items() <= run.items()) for entry in wanted]


def train(entry: dict[str, Any], work: Path, threads: int) -> dict[str, Any]:
    """One training: the primary metric on dev after each pass, the best and the last of them, and the seconds."""
    import pytorch_lightning as pl
    import torch

    from mtl.training.assembly import build_data, build_module
    from mtl.training.precision import natural_precision

    gc.collect()  # a trainer and its module refer to each other, so earlier trainings of this process are still there
    torch.set_num_threads(threads)
    start = time.perf_counter()
    mixture = mixture_of(entry, work)
    module = build_module(mixture, learning_rate=entry["learning_rate"], head_learning_rate=entry["head_learning_rate"])
    task, curve = entry["task"], []

    class Curve(pl.Callback):
        def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            curve.append(module.results["dev"][task].scores[module.head(task).primary_metric])

    limits = {"max_epochs": entry["passes"], "max_steps": entry["updates"] or -1, "num_sanity_val_steps": 0}
    trainer = pl.Trainer(
        **QUIET, **limits, callbacks=[Curve()], gradient_clip_val=1.0, precision=natural_precision("cpu")
    )
    trainer.fit(module, datamodule=build_data(mixture))
    if not curve:  # fewer updates than a pass has
        pl.Trainer(**QUIET, callbacks=[Curve()]).validate(module, datamodule=build_data(mixture), verbose=False)
    return {"curve": curve, "best": max(curve), "last": curve[-1], "seconds": round(time.perf_counter() - start, 1)}


def mixture_of(entry: dict[str, Any], work: Path) -> Any:
    """The mixture of a training: one task with limited rows."""
    from mtl.config.loading import load_mixture

    task = entry["task"]
    limit = {"train": entry["rows"], "dev": entry["dev_rows"]}
    content = {
        "name": f"pooling_{task}",
        "encoder": {"name": entry["encoder"], "max_length": 128},
        "include": [str((EXPERIMENTS / "tasks" / f"{task}.yaml").resolve())],
        "tasks": {task: {"data": {"limit": limit}}},
    }
    file = work / f"pooling_{task}.{os.getpid()}.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    try:
        return load_mixture(file, [f"seed={entry['seed']}", f"tasks.{task}.options.pooling={entry['pooling']}"])
    finally:
        file.unlink()


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Best and last dev score of each task and pooling, and the difference of the best from `cls` in the same seed.

    >>> run = {"task": "rqe", "seed": 0, "last": 0.5, "curve": [0.6, 0.5]}
    >>> print(table([{**run, "pooling": "cls", "best": 0.6}, {**run, "pooling": "mean", "best": 0.75}]))
    | task | pooling | seeds | best dev | SD | last dev | best - cls |
    |---|---|---|---|---|---|---|
    | rqe | cls | 1 | 0.600 | - | 0.500 | - |
    | rqe | mean | 1 | 0.750 | - | 0.500 | +0.150 |
    """
    lines = ["| task | pooling | seeds | best dev | SD | last dev | best - cls |", "|---|---|---|---|---|---|---|"]
    best = {(run["task"], run["pooling"], run["seed"]): run["best"] for run in runs}
    for task, pooling in dict.fromkeys((run["task"], run["pooling"]) for run in runs):
        own = [run for run in runs if (run["task"], run["pooling"]) == (task, pooling)]
        scores = [run["best"] for run in own]
        spread = f"{stdev(scores):.3f}" if len(scores) > 1 else "-"
        gains = [
            run["best"] - best[task, "cls", run["seed"]]
            for run in own
            if pooling != "cls" and (task, "cls", run["seed"]) in best
        ]
        gain = f"{mean(gains):+.3f}" if gains else "-"
        last = mean(run["last"] for run in own)
        lines.append(f"| {task} | {pooling} | {len(own)} | {mean(scores):.3f} | {spread} | {last:.3f} | {gain} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
