"""Trains a mixture and each of its tasks alone with the same number of the task's own updates, and tells both.

    python experiments/bench/against_single.py experiments/biomedical.yaml --out experiments/results

A task alone has the same batches in the same order, the same evaluations on dev and the same schedule of the learning
rate over its own updates. Every checkpoint is selected on dev; test is scored once per run. Runs that are done are
found by their `metrics.json` and not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mtl.arguments import take_mixture
from mtl.assembly import build_data
from mtl.data import make_plan
from mtl.loading import read_yaml
from mtl.mixture import Mixture
from mtl.versions import versions


def main() -> None:
    """Runs what is missing and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="a config of `mtl fit`")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs (default runs)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    mixture, _ = take_mixture(["--config", str(options.config), f"--mixture.seed={options.seed}"])
    assert mixture is not None
    epochs = read_yaml(options.config)["trainer"]["max_epochs"]
    updates = own_updates(mixture, epochs)
    together = run(options, mixture.name, [])
    alone = {}
    for task, number in updates.items():
        name = f"{mixture.name}-{task}"
        alone[task] = run(options, name, single_arguments(mixture, name, task, number // epochs))
    write(options, mixture, updates, together, alone)


def own_updates(mixture: Mixture, epochs: int) -> dict[str, int]:
    """How many updates of the mixture train each task."""
    data = build_data(mixture)
    data.setup()
    batches = make_plan(mixture, data.tasks, epochs).batches_of(epochs)
    return {task: batches[spec.same_rows_as or task] for task, spec in mixture.tasks.items()}


def single_arguments(mixture: Mixture, name: str, task: str, updates_per_epoch: int) -> list[str]:
    """The task alone: `temperature` over one task draws that task in every step."""
    assert mixture.sampler.name == "temperature"
    steps = f"--mixture.sampler.steps_per_epoch={updates_per_epoch}"
    return [f"--mixture.name={name}", f"--mixture.only=[{task}]", steps]


def run(options: argparse.Namespace, name: str, arguments: list[str]) -> dict[str, Any]:
    """Fits and tests, unless a run of that name has its test scores, and gives its metrics and its time."""
    common = ["--config", str(options.config), "--run.root", str(options.runs), f"--mixture.seed={options.seed}"]
    common += [*arguments, "--trainer.enable_progress_bar=false"]
    done = finished(options.runs / name, options.seed)
    if done is None:
        started = time.time()
        for command in (["fit", *common], ["test", *common, "--ckpt_path", "best"]):
            subprocess.run([sys.executable, "-m", "mtl", *command], check=True)
        done = finished(options.runs / name, options.seed)
        assert done is not None, f"{name} left no test scores"
        (done / "seconds.json").write_text(json.dumps(time.time() - started), encoding="utf-8")
    metrics: dict[str, Any] = json.loads((done / "metrics.json").read_text(encoding="utf-8"))
    metrics["baselines"] = json.loads((done / "baselines.json").read_text(encoding="utf-8"))
    seconds = done / "seconds.json"
    metrics["seconds"] = json.loads(seconds.read_text(encoding="utf-8")) if seconds.exists() else None
    return metrics


def finished(family: Path, seed: int) -> Path | None:
    """The newest run of that name and seed that has test scores."""
    for folder in sorted(family.glob(f"*-s{seed}*"), reverse=True):
        metrics = folder / "metrics.json"
        if metrics.exists() and "test" in json.loads(metrics.read_text(encoding="utf-8")):
            return folder
    return None


def write(
    options: argparse.Namespace,
    mixture: Mixture,
    updates: dict[str, int],
    together: dict[str, Any],
    alone: dict[str, dict[str, Any]],
) -> None:
    """The figures as JSON and as a table."""
    heads = build_data(mixture).heads
    rows = []
    for task in mixture.tasks:
        metric = heads[task].primary_metric
        trivial = together["baselines"]["test"][task]
        strongest = max(trivial, key=lambda name: trivial[name][metric])
        rows.append(
            {
                "task": task,
                "metric": metric,
                "own_updates": updates[task],
                "mixture": {split: together[split][task][metric] for split in ("dev", "test")},
                "alone": {split: alone[task][split][task][metric] for split in ("dev", "test")},
                "baseline": {"name": strongest, "test": trivial[strongest][metric]},
            }
        )
    seconds = {"mixture": together["seconds"], **{task: metrics["seconds"] for task, metrics in alone.items()}}
    content = {
        "command": f"python experiments/bench/against_single.py {options.config} --out {options.out}",
        "date": datetime.now(UTC).date().isoformat(),
        "seed": options.seed,
        "machine": machine(),
        "versions": versions(),
        "seconds": seconds,
        "tasks": rows,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{mixture.name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    page = "\n".join(_page(mixture, content))
    (options.out / f"{mixture.name}.md").write_text(page + "\n", encoding="utf-8")
    print(page)


def _page(mixture: Mixture, content: dict[str, Any]) -> list[str]:
    machine_line = ", ".join(str(value) for value in content["machine"].values())
    packages = ("torch", "transformers", "pytorch-lightning")
    packages_line = ", ".join(f"{name} {content['versions'][f'version.{name}']}" for name in packages)
    lines = [
        f"# {mixture.name}: together and alone",
        "",
        f"`{content['command']}`, {content['date']}, seed {content['seed']}; {machine_line}; {packages_line}.",
        f"Encoder {mixture.encoder.name}. One seed: differences between the columns are no evidence of transfer.",
        "",
        "| task | metric | own updates | mixture dev, test | | alone dev, test | | trivial, test | beaten |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in content["tasks"]:
        scores = [row["mixture"]["dev"], row["mixture"]["test"], row["alone"]["dev"], row["alone"]["test"]]
        shown = " | ".join(f"{score:.3f}" for score in scores)
        trivial = f"{row['baseline']['name']} {row['baseline']['test']:.3f}"
        beaten = "yes" if row["mixture"]["test"] > row["baseline"]["test"] else "no"
        lines.append(f"| {row['task']} | {row['metric']} | {row['own_updates']} | {shown} | {trivial} | {beaten} |")
    seconds = {name: value for name, value in content["seconds"].items() if value is not None}
    together = f"{seconds['mixture'] / 60:.0f}" if "mixture" in seconds else "an unknown number of"
    alone = sum(value for name, value in seconds.items() if name != "mixture") / 60
    lines += ["", f"Fit and test took {together} minutes together and {alone:.0f} for all tasks alone."]
    return lines


def machine() -> dict[str, Any]:
    """What a reader needs to place the times: no names of hosts or users."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory),
        "system": platform.system(),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


if __name__ == "__main__":
    main()
