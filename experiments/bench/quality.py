"""Whether what makes training quick costs quality: all of it on, against plain fp32 on random batches.

    python experiments/bench/quality.py --seeds 3

All sides train the five tasks of the benchmark for the same number of updates: `ours` in the precision that is quicker
here, `ours_bf16` in bf16, which is what GPUs take. `plain` has batches of random examples, eager attention, torch's
dropout and fp32. Trainings run side by side, the threads shared out. Finished ones are kept in WORK/quality.jsonl and
not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import Any
from unittest.mock import patch

from bench_data import Setting, prepare
from machine import machine, machine_line
from meter import QUIET

from mtl.study.statistics.significance import interval

SIDES = ("ours", "ours_bf16", "plain")


def main(arguments: Sequence[str]) -> None:
    """Trains what is missing and writes quality.json and quality.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="of the encoder (default 1e-4)")
    parser.add_argument("--workers", type=int, default=2, help="trainings at a time (default 2)")
    parser.add_argument("--examples", type=int, default=1500, help="of training, per task at most")
    parser.add_argument("--encoder", default="minilm-l6")
    parser.add_argument("--work", type=Path, default=Path("runs/bench"), help="folder for rows and finished trainings")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"), help="(default experiments/results)")
    options = parser.parse_args(arguments)
    setting = Setting("public" if "MTL_DATA" in os.environ else "synthetic", options.examples, encoder=options.encoder)
    mixture = prepare(setting, options.work / "quality", dev_rows=300)
    common = {
        "data": setting.data,
        "updates": options.updates,
        "learning_rate": options.learning_rate,
        "examples": options.examples,
        "encoder": options.encoder,
    }
    finished = options.work / "quality.jsonl"
    entries = [{**common, "seed": seed, "side": side} for seed in range(options.seeds) for side in SIDES]
    missing = [entry for entry in entries if not any(entry.items() <= old.items() for old in read(finished))]
    threads = max(1, (os.cpu_count() or 1) // options.workers)
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(train, mixture, entry, threads): entry for entry in missing}
        for done in as_completed(waiting):
            with finished.open("a", encoding="utf-8") as file:
                file.write(json.dumps(waiting[done] | {"scores": done.result()}) + "\n")
    runs = [run for entry in entries for run in read(finished) if entry.items() <= run.items()]
    command = f"python experiments/bench/quality.py {' '.join(arguments)}".rstrip()
    content = {**common, **summary(runs), "runs": runs, "command": command, "machine": machine()}
    content["date"] = datetime.now(UTC).date().isoformat()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "quality.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (options.out / "quality.md").write_text(as_markdown(content), encoding="utf-8")
    print(as_markdown(content))


def train(mixture_file: Path, entry: dict[str, Any], threads: int) -> dict[str, float]:
    """The primary metric of each task on dev after a training."""
    import pytorch_lightning as pl
    import torch

    import mtl.encoder.model
    from mtl.config.loading import load_mixture
    from mtl.training.assembly import build_data, build_module
    from mtl.training.precision import natural_precision

    torch.set_num_threads(threads)
    plain, rate = entry["side"] == "plain", entry["learning_rate"]
    precisions = {"ours": natural_precision("cpu"), "ours_bf16": "bf16-mixed", "plain": "32-true"}
    quiet = {**QUIET, "precision": precisions[entry["side"]]}
    mixture = load_mixture(mixture_file, [f"seed={entry['seed']}", *(["encoder.attention=eager"] if plain else [])])
    with (
        patch.object(
            mtl.encoder.model,
            "replace_dropout",
            (lambda model: None) if plain else mtl.encoder.model.replace_dropout,
        ),
    ):
        module, data = build_module(mixture, learning_rate=rate, head_learning_rate=1e-3), build_data(mixture)
        trainer = pl.Trainer(
            **quiet, max_steps=entry["updates"], max_epochs=-1, gradient_clip_val=1.0, limit_val_batches=0
        )
        trainer.fit(module, datamodule=data)
    pl.Trainer(**quiet).validate(module, datamodule=data, verbose=False)
    return {task: result.scores[module.head(task).primary_metric] for task, result in module.results["dev"].items()}


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean score of each seed on each side, and whether ours is worse by more than plain's seeds differ.

    Plain's alone: where ours is unstable its own seeds differ by much, which is no excuse. Beside it stands the 95%
    paired t interval of the difference, which tells how large a loss so few seeds leave open.

    >>> runs = [{"side": side, "seed": seed, "scores": {"gad": score}}
    ...         for side, scores in (("ours", [0.6, 0.7]), ("plain", [0.6, 0.8])) for seed, score in enumerate(scores)]
    >>> found = summary(runs)
    >>> round(found["noise"], 3), round(found["against_plain"]["ours"]["difference"], 3)
    (0.141, -0.05)
    >>> found["against_plain"]["ours"]["no_worse"]
    True
    """
    means = {side: [mean(run["scores"].values()) for run in runs if run["side"] == side] for side in SIDES}
    noise = stdev(means["plain"])
    against_plain = {}
    for side, scores in means.items():
        if side != "plain" and scores:
            differences = [score - plain for score, plain in zip(scores, means["plain"], strict=True)]
            against_plain[side] = {
                "difference": mean(differences),
                "interval": list(interval(differences)),
                "no_worse": mean(differences) >= -noise,
            }
    return {"means": means, "noise": noise, "against_plain": against_plain}


def read(path: Path) -> list[dict[str, Any]]:
    """The trainings that are done."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def as_markdown(content: dict[str, Any]) -> str:
    """The table of scores."""
    tasks = list(content["runs"][0]["scores"])
    lines = [
        "# Quality with everything on that makes training quick",
        "",
        f"`{content['command']}`, {content['date']}; {machine_line(content['machine'])}.",
        "",
        f"{content['updates']} updates of 32 examples at a rate of {content['learning_rate']:g} on the "
        f"{content['data']} data, up to {content['examples']} training examples a task; primary metric on dev (up to "
        "300 rows). `plain`: fp32, random batches, eager attention, torch's dropout.",
        "",
        f"| seed | side | {' | '.join(tasks)} | mean |",
        f"|---|---|{'---|' * len(tasks)}---|",
    ]
    for run in content["runs"]:
        scores = [*run["scores"].values(), mean(run["scores"].values())]
        lines.append(f"| {run['seed']} | {run['side']} | {' | '.join(f'{score:.3f}' for score in scores)} |")
    lines += ["", f"The standard deviation between plain's seeds is {content['noise']:.4f}.", ""]
    for side, found in content["against_plain"].items():
        verdict = "no worse than" if found["no_worse"] else "WORSE than"
        low, high = found["interval"]
        lines.append(
            f"- Mean of `{side}` minus mean of `plain`: {found['difference']:+.4f} (95% paired t interval {low:+.4f} "
            f"to {high:+.4f}), {verdict} that noise allows."
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
