"""Times the report of a large study from MLflow alone: simulated runs with counts per document, no training.

    python experiments/bench/study_report.py                 # 10 tasks, 10 seeds: 550 runs
    python experiments/bench/study_report.py --tasks 4 --seeds 6

Writes the runs into an MLflow store of its own, as `mtl study run` would, then runs `mtl study report` in a process of
its own and prints what that took.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from machine import machine

from mtl.study.design.designs import comparisons
from mtl.study.design.run_spec import RunSpec
from mtl.study.design.runs import Run
from mtl.study.running.ledger import Ledger
from mtl.study.running.study_tracker import StudyTracker

DOCUMENTS = 200
LABELS = ["Chemical", "Disease", "Gene"]


def main() -> None:
    """Simulates, reports, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        num_runs = simulate(folder, options.tasks, options.seeds)
        started = time.perf_counter()
        command = [sys.executable, "-m", "mtl", "study", "report", "simulated"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment(folder), cwd=folder)
        seconds = time.perf_counter() - started
    found = {"runs": num_runs, "tasks": options.tasks, "seeds": options.seeds, "report_seconds": round(seconds, 1)}
    print(json.dumps({**found, **machine()}, indent=2))


def environment(folder: Path) -> dict[str, str]:
    """The environment of a command that uses the store in a folder."""
    return {**os.environ, "MLFLOW_TRACKING_URI": store(folder)}


def store(folder: Path) -> str:
    """The address of the store in a folder."""
    return f"sqlite:///{folder / 'mlflow.db'}"


def simulate(folder: Path, num_tasks: int, num_seeds: int) -> int:
    """Leaves the runs of a pairwise study in an MLflow store and returns their number."""
    tasks = [f"task{number}" for number in range(num_tasks)]
    seeds = list(range(num_seeds))
    runs = [Run(trains, seed) for seed in seeds for trains in [*((t,) for t in tasks), *combinations(tasks, 2)]]
    specs = {run: spec_of(run) for run in runs}
    ledger = Ledger(folder / "ledger")
    rng = np.random.default_rng(0)
    for spec in specs.values():
        ledger.finish(spec.key, result_of(spec, rng), {task: counts_of(rng) for task in spec.targets})
    tracker = StudyTracker("simulated", "biomtl-studies", store(folder))
    tracker.describe(description(tasks, seeds, specs))
    tracker.publish(list(specs.values()), ledger)
    tracker.close()
    return len(runs)


def spec_of(run: Run) -> RunSpec:
    """The spec of a run that is never trained."""
    design = ("single",) if len(run.tasks) == 1 else ("pairwise",)
    names = {"key": f"key of {run}", "configuration": "", "name": str(run), "trains": run.trains}
    return RunSpec(**names, tasks=run.tasks, targets=run.tasks, seed=run.seed, designs=design, mixture={},
                   evaluations=3, select="best", model={}, trainer={})  # fmt: skip


def counts_of(rng: np.random.Generator) -> dict[str, Any]:
    """Counts per document of a tagging head over three types: a confusion matrix, and three counts a type by words."""
    size = (len(LABELS) + 1) ** 2 + 3 * len(LABELS)
    counts = rng.poisson(2.0, (DOCUMENTS, size)).astype(np.int64)
    documents = np.array([f"document {number}" for number in range(DOCUMENTS)])
    return {"documents": documents, "counts": counts, "owners": np.arange(DOCUMENTS)}


def result_of(spec: RunSpec, rng: np.random.Generator) -> dict[str, Any]:
    """Scores around 0.6, a curve of three points, and a cost."""
    scores = {task: {"f1": float(rng.normal(0.6, 0.02)), "loss": 1.0} for task in spec.targets}
    updates = [dict.fromkeys(spec.tasks, 20 * number) for number in (1, 2, 3)]
    costs = ("seconds", "training_seconds", "evaluation_seconds", "examples", "tokens")
    return {
        "test": scores,
        "dev": scores,
        "primary": dict.fromkeys(spec.targets, "f1"),
        "selected": {task: {"evaluation": 3} for task in spec.targets},
        "curve": [{"updates": own, "dev": scores} for own in updates],
        "cost": dict.fromkeys(costs, 10),
        "study": "simulated",
        "session": "simulated",
    }


def description(tasks: list[str], seeds: list[int], specs: dict[Run, RunSpec]) -> dict[str, Any]:
    """The description that a session would send."""
    head = {"head": "token_classification", "labels": LABELS, "data": {"reader": "jsonl", "path": "none"}}
    facts = {"metric": "f1", "unit": "document", "num_units": DOCUMENTS, "updates": 60, "train_rows": 300}
    return {
        "study": "simulated",
        "question": "How long does a report take?",
        "setup": ["Nothing was trained."],
        "seeds": seeds,
        "alpha": 0.05,
        "max_encoders": 3,
        "proposal": [],
        "mixture": {"tasks": dict.fromkeys(tasks, head)},
        "targets": {task: {**facts, "baseline": ["lexicon", 0.4]} for task in tasks},
        "singles": {task: [specs[Run((task,), seed)].key for seed in seeds] for task in tasks},
        "comparisons": [
            [one.design, one.target, one.partner, one.seed, specs[one.treated].key, specs[one.reference].key]
            for one in comparisons([("pairwise", None)], tasks, seeds)
        ],
        "runs": {o.key: {"name": o.name, "trains": o.trains, "designs": list(o.designs)} for o in specs.values()},
        "failures": {},
        "sessions": [],
        "deviations": [],
        "versions": {},
    }


if __name__ == "__main__":
    main()
