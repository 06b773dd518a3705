"""Trains a mixture and each of its tasks alone with the same number of target updates, and reports both.

    python experiments/bench/against_single.py experiments/demo.yaml --seeds 0 1 2 3 4 --out experiments/results

A task alone has the same batches in the same order, the same evaluations on dev and the same schedule of the learning
rate over its target updates; they are spread evenly over the epochs, so that the remainder (less than one per epoch) is
left out. Every checkpoint is selected on dev; test is scored once per run. A run that has test scores is not
repeated where it was asked for the same: its mixture apart from name and places of files, and what the config says.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import yaml
from machine import machine, machine_line
from pydantic import ValidationError

from mtl.batching.schedule import make_schedule
from mtl.commands.arguments import take_mixture
from mtl.config.config_file import read_config
from mtl.config.mixture import Mixture
from mtl.problems import InputError, Problem
from mtl.training.assembly import build_data

SPLITS = ("dev", "test")


def main(arguments: Sequence[str]) -> None:
    """Runs what is missing and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="a config of `mtl fit`")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs (default runs)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds of the runs (default 0)")
    options = parser.parse_args(arguments)
    epochs = asked_config(options.config)["trainer"]["max_epochs"]
    pairs = []
    for seed in options.seeds:
        mixture = asked_mixture(options.config, seed)
        updates = own_updates(mixture, epochs)  # which the seed decides where the sampler draws tasks
        together = run(options.config, options.runs, seed)
        single = {task: single_arguments(mixture, task, count // epochs) for task, count in updates.items()}
        alone = {task: run(options.config, options.runs, seed, words) for task, words in single.items()}
        pairs.append(Pair(updates, together, alone))
    write(options, asked_mixture(options.config, options.seeds[0]), pairs)


class Pair(NamedTuple):
    """The runs of one seed: the updates of each task, and the metrics of both arms."""

    updates: dict[str, int]
    together: dict[str, Any]
    alone: dict[str, dict[str, Any]]


def asked_mixture(config: Path, seed: int, arguments: Sequence[str] = ()) -> Mixture:
    """What a run with these arguments trains."""
    mixture, _ = take_mixture(["--config", str(config), f"--mixture.seed={seed}", *arguments])
    assert mixture is not None
    return mixture


def asked_config(config: Path) -> dict[str, Any]:
    """What else the config says that decides results."""
    return {key: value for key, value in read_config(config).rest.items() if key != "run"}


def own_updates(mixture: Mixture, epochs: int) -> dict[str, int]:
    """How many updates of the mixture train each task."""
    data = build_data(mixture)
    data.setup()
    batches = make_schedule(mixture, data.tasks, epochs).batches_of(epochs)
    return {task: batches[spec.same_rows_as or task] for task, spec in mixture.tasks.items()}


def single_arguments(mixture: Mixture, task: str, updates_per_epoch: int) -> list[str]:
    """The task alone: `temperature` over one task draws that task in every step.

    Raises:
        InputError: The mixture has another sampler, or gives the task less than an update per epoch.
    """
    if mixture.sampler.name != "temperature":
        found = f"It must be temperature, whose epochs can have any number of steps; found '{mixture.sampler.name}'."
        raise InputError(Problem("sampler.name", found, "Take temperature: with temperature: 1 shares follow sizes."))
    if updates_per_epoch < 1:
        message = "It must get an update per epoch in the mixture, or it cannot train as long alone; it gets fewer."
        raise InputError(Problem(f"tasks.{task}", message, "Give it a higher rate."))
    steps = f"--mixture.sampler.steps_per_epoch={updates_per_epoch}"
    return [f"--mixture.name={mixture.name}-{task}", f"--mixture.only=[{task}]", steps]


def run(
    config: Path, root: Path, seed: int, arguments: Sequence[str] = (), threads: int | None = None
) -> dict[str, Any]:
    """Fits and tests, unless `root` has such a run with its test scores, and gives its metrics and its time."""
    common = ["--config", str(config), "--run.root", str(root), f"--mixture.seed={seed}"]
    common += [*arguments, "--trainer.enable_progress_bar=false"]
    mixture = asked_mixture(config, seed, arguments)
    asked = asked_config(config)
    done = finished(root, mixture, asked)
    if done is None:
        started = time.time()
        mtl(["fit", *common], threads)
        mtl(["test", *common, "--ckpt_path", "best"], threads)
        done = finished(root, mixture, asked)
        assert done is not None, f"{mixture.name} left no test scores"
        (done / "seconds.json").write_text(json.dumps(time.time() - started), encoding="utf-8")
    metrics: dict[str, Any] = json.loads((done / "metrics.json").read_text(encoding="utf-8"))
    metrics["baselines"] = json.loads((done / "baselines.json").read_text(encoding="utf-8"))
    seconds = done / "seconds.json"
    metrics["seconds"] = json.loads(seconds.read_text(encoding="utf-8")) if seconds.exists() else None
    parameters = json.loads(path.read_text(encoding="utf-8")) if (path := done / "params.json").exists() else {}
    of_the_run = ("version.", "machine.", "git.")
    metrics["machine"] = {key: value for key, value in parameters.items() if key.startswith(of_the_run)}
    return metrics


def mtl(words: Sequence[str], threads: int | None = None) -> None:
    """Runs a command in a process of its own, so that each run starts from nothing."""
    limit = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    subprocess.run([sys.executable, "-m", "mtl", *words], check=True, env=os.environ | limit)


def finished(root: Path, mixture: Mixture, config: Mapping[str, Any]) -> Path | None:
    """The newest run under that name that trained this mixture under this config and has test scores."""
    for metrics in sorted((root / mixture.name).glob("*/metrics.json"), reverse=True):
        folder = metrics.parent
        fields = yaml.safe_load((folder / "mixture.yaml").read_text(encoding="utf-8"))
        values = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        if (
            "test" in json.loads(metrics.read_text(encoding="utf-8"))
            and same(fields, mixture)
            and holds(values, config)
        ):
            return folder
    return None


def same(fields: Mapping[str, Any], mixture: Mixture) -> bool:
    """Whether the fields of a run's mixture are those of this one, apart from name and places of data."""
    try:
        found = Mixture(**fields)  # a key that is newer than the run has its default
    except ValidationError:
        return False
    return without_places(found) == without_places(mixture)


def without_places(mixture: Mixture) -> dict[str, Any]:
    """What of a mixture decides its results."""
    fields = mixture.to_dict()
    del fields["name"]
    for task in fields["tasks"].values():
        del task["data"]["path"]
    return fields


def holds(found: Any, asked: Any) -> bool:
    """Whether everything that is asked for is there with that value.

    >>> holds({"trainer": {"max_epochs": 3, "devices": "auto"}}, {"trainer": {"max_epochs": 3}})
    True
    """
    if isinstance(asked, Mapping) and isinstance(found, Mapping):
        return all(key in found and holds(found[key], value) for key, value in asked.items())
    return bool(found == asked)


def write(options: argparse.Namespace, mixture: Mixture, pairs: Sequence[Pair]) -> None:
    """The figures as JSON and as a table."""
    heads = build_data(mixture).heads
    rows = []
    for task in mixture.tasks:
        metric = heads[task].primary_metric
        trivial = pairs[0].together["baselines"]["test"][task]
        strongest = max(trivial, key=lambda name: trivial[name][metric])
        rows.append(
            {
                "task": task,
                "metric": metric,
                "own_updates": [pair.updates[task] for pair in pairs],
                "mixture": {split: [pair.together[split][task][metric] for pair in pairs] for split in SPLITS},
                "alone": {split: [pair.alone[task][split][task][metric] for pair in pairs] for split in SPLITS},
                "baseline": {"name": strongest, "test": trivial[strongest][metric]},
                "undertrained": {
                    "mixture": [is_undertrained(pair.together, task) for pair in pairs],
                    "alone": [is_undertrained(pair.alone[task], task) for pair in pairs],
                },
            }
        )
    seconds = {"mixture": [pair.together["seconds"] for pair in pairs]}
    seconds |= {task: [pair.alone[task]["seconds"] for pair in pairs] for task in mixture.tasks}
    named = f" --seeds {' '.join(map(str, options.seeds))}"
    content = {
        "command": f"python experiments/bench/against_single.py {options.config}{named} --out {options.out}",
        "seeds": options.seeds,
        "machine": {**machine(), **pairs[0].together["machine"]},
        "seconds": seconds,
        "tasks": rows,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{mixture.name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    page = "\n".join(_page(mixture, content))
    (options.out / f"{mixture.name}.md").write_text(page + "\n", encoding="utf-8")
    print(page)


def is_undertrained(metrics: Mapping[str, Any], task: str) -> bool:
    """Whether the task was still improving at the last evaluation on dev; false for runs that do not say so.

    >>> is_undertrained({"train": {"gad": {"loss": 0.5, "undertrained": True}}}, "gad")
    True
    """
    return bool(metrics.get("train", {}).get(task, {}).get("undertrained"))


def _page(mixture: Mixture, content: dict[str, Any]) -> list[str]:
    seeds = content["seeds"]
    shown = "mean and standard deviation" if len(seeds) > 1 else "one seed: differences are no evidence of transfer"
    lines = [
        f"# {mixture.name}: together and alone",
        "",
        f"`{content['command']}`; {machine_line(content['machine'])}.",
        "",
        f"Encoder {mixture.encoder.name}, seeds {', '.join(map(str, seeds))} ({shown}). The last two columns count the"
        " seeds whose score on test is above the trivial predictor's, and above that of the task alone.",
        "",
        "| task | metric | own updates | mixture, dev | mixture, test | alone, dev | alone, test | trivial, test |"
        " above trivial | above alone |",
        f"|{'---|' * 10}",
    ]
    for row in content["tasks"]:
        together, alone, trivial = row["mixture"], row["alone"], row["baseline"]
        marks = {arm: " *" * any(values) for arm, values in row["undertrained"].items()}
        scores = [spread(row[arm][split]) + mark for arm, mark in marks.items() for split in SPLITS]
        beaten = sum(score > trivial["test"] for score in together["test"])
        higher = sum(score > single for score, single in zip(together["test"], alone["test"], strict=True))
        lines.append(
            f"| {row['task']} | {row['metric']} | {mean(row['own_updates']):.0f} | {' | '.join(scores)} |"
            f" {trivial['name']} {trivial['test']:.3f} | {beaten} of {len(seeds)} | {higher} of {len(seeds)} |"
        )
    own = dict(content["seconds"])
    together = minutes(own.pop("mixture"))
    alone = minutes([value for values in own.values() for value in values])
    if any(any(values) for row in content["tasks"] for values in row["undertrained"].values()):
        lines += ["", "\\*: in at least one seed still improving at the last evaluation on dev (undertrained)."]
    lines += ["", f"Fit and test took {together} minutes together and {alone} for all tasks alone."]
    return lines


def spread(scores: Sequence[float]) -> str:
    """The mean of some scores, with their standard deviation if there are several.

    >>> spread([0.8, 0.9]), spread([0.8])
    ('0.850 ± 0.071', '0.800')
    """
    return f"{mean(scores):.3f}" + (f" ± {stdev(scores):.3f}" if len(scores) > 1 else "")


def minutes(seconds: Sequence[float | None]) -> str:
    """The sum, where all are known.

    >>> minutes([100.0, 80.0]), minutes([100.0, None])
    ('3', 'an unknown number of')
    """
    known = [value for value in seconds if value is not None]
    return f"{sum(known) / 60:.0f}" if len(known) == len(seconds) else "an unknown number of"


if __name__ == "__main__":
    main(sys.argv[1:])
