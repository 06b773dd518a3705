"""Whether a mixture learns with any seed, number of threads and precision.

    python experiments/bench/robustness.py experiments/demo.yaml --out experiments/results

Each cell is a number of threads and a precision. Its runs are trained and tested by `mtl fit` and `mtl test`, one for
each seed. A task has collapsed in a run if its best checkpoint scores at or below the strongest trivial predictor on
dev. Finished runs are kept in RUNS and not repeated, as in `against_single.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from statistics import mean, median
from typing import Any

import against_single
import yaml
from machine import machine, machine_line

from mtl.training.assembly import build_data
from mtl.training.precision import precision_problems

THREADS = (1, 2)
PRECISIONS = ("32-true", "bf16-mixed")
"""By default, those of these that the machine supports itself: `mtl fit` refuses an emulated bf16."""

Run = tuple[int, str, int]
"""Threads, precision and seed."""


def main(arguments: Sequence[str]) -> None:
    """Trains what is missing and writes robustness.json and robustness.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="a config of `mtl fit`")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--runs", type=Path, default=Path("runs/robustness"), help="(default runs/robustness)")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)), help="(default 0 1 2 3 4)")
    parser.add_argument("--threads", type=int, nargs="+", default=list(THREADS), help="(default 1 2)")
    shown = f"(default those of {' '.join(PRECISIONS)} that the CPU supports)"
    parser.add_argument("--precisions", nargs="+", help=shown)
    options = parser.parse_args(arguments)
    options.precisions = options.precisions or [name for name in PRECISIONS if not precision_problems(name, "cpu")]
    metrics: dict[Run, dict[str, Any]] = {}
    for threads, precision in product(options.threads, options.precisions):
        runs = [(threads, precision, seed) for seed in options.seeds]
        with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // threads)) as pool:
            metrics |= zip(runs, pool.map(lambda run: trained(options, run), runs), strict=True)
    write(options, metrics)


def trained(options: argparse.Namespace, run: Run) -> dict[str, Any]:
    """The metrics of a run, which is trained unless it has been."""
    threads, precision, seed = run
    root = options.runs / f"{threads}-{precision}-{seed}"  # its own: `mtl test` takes the newest run of a folder
    root.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load(options.config.read_text(encoding="utf-8"))
    config["mixture"] = str((options.config.parent / config["mixture"]).resolve())
    config["trainer"] = {**config.get("trainer", {}), "precision": precision}
    file = root / "config.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return against_single.run(file, root, seed, threads=threads)


def write(options: argparse.Namespace, metrics: Mapping[Run, dict[str, Any]]) -> None:
    """The cells as JSON and as a table."""
    mixture = against_single.asked_mixture(options.config, options.seeds[0])
    heads = build_data(mixture).heads
    cells = cells_of({task: head.primary_metric for task, head in heads.items()}, metrics)
    named = f"--seeds {' '.join(map(str, options.seeds))}"
    content = {
        "command": f"python experiments/bench/robustness.py {options.config} {named} --out {options.out}",
        "seeds": options.seeds,
        "machine": {**machine(), "machine.threads": " or ".join(map(str, options.threads))},
        "cells": cells,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "robustness.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (options.out / "robustness.md").write_text(page_of(mixture.name, content), encoding="utf-8")
    print(page_of(mixture.name, content))


def cells_of(primary: Mapping[str, str], metrics: Mapping[Run, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The dev scores of each task by number of threads and precision, with the seeds in which it collapsed.

    >>> runs = {(1, "32-true", seed): {"dev": {"gad": {"f1": score}}, "baselines": {"dev": {"gad": {"x": {"f1": 0.5}}}}}
    ...         for seed, score in enumerate([0.7, 0.5, 0.8])}
    >>> cell, = cells_of({"gad": "f1"}, runs)
    >>> cell["collapsed"], cell["median"], cell["lowest"]
    ([1], 0.7, 0.5)
    """
    cells = []
    for task, (threads, precision) in product(primary, dict.fromkeys(run[:2] for run in metrics)):
        metric = primary[task]
        own = {run[2]: found for run, found in metrics.items() if run[:2] == (threads, precision)}
        scores = {seed: found["dev"][task][metric] for seed, found in own.items()}
        trivial = max(max(one[metric] for one in found["baselines"]["dev"][task].values()) for found in own.values())
        cells.append(
            {
                "task": task,
                "metric": metric,
                "threads": threads,
                "precision": precision,
                "scores": list(scores.values()),
                "trivial": trivial,
                "mean": mean(scores.values()),
                "median": median(scores.values()),
                "lowest": min(scores.values()),
                "collapsed": [seed for seed, score in scores.items() if not score > trivial],
            }
        )
    return cells


def page_of(name: str, content: Mapping[str, Any]) -> str:
    """The page: what collapsed, and each task by threads and precision."""
    cells = content["cells"]
    collapsed = ", ".join(
        f"{cell['task']} ({cell['threads']} threads, {cell['precision']}, seeds {cell['collapsed']})"
        for cell in cells
        if cell["collapsed"]
    )
    lines = [
        f"# {name}: seeds, threads and precisions",
        "",
        f"`{content['command']}`; {machine_line(content['machine'])}.",
        "",
        f"{f'Collapsed: {collapsed}.' if collapsed else 'No task collapsed in any run.'} Primary metric on dev of the"
        f" best checkpoint, over seeds {', '.join(map(str, content['seeds']))}; collapsed is a run at or below the"
        " strongest trivial predictor.",
        "",
        "| task | metric | threads | precision | trivial | lowest | median | mean | collapsed |",
        f"|{'---|' * 9}",
    ]
    lines += [
        f"| {cell['task']} | {cell['metric']} | {cell['threads']} | {cell['precision']} | {cell['trivial']:.3f} |"
        f" {cell['lowest']:.3f} | {cell['median']:.3f} | {cell['mean']:.3f} |"
        f" {', '.join(map(str, cell['collapsed'])) or 'none'} |"
        for cell in cells
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
