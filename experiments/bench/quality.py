"""Whether what makes training fast costs quality: packed random batches, compared with a plain fp32 loop.

    python experiments/bench/quality.py

Two tasks whose texts differ in length, NER on sentences and inference on pairs, are trained alone with two recipes and
batches of 16, both sides from the same initial weights. `ours` trains as `mtl fit` does in fp32, and `ours_bf16` as it
does in bf16, which is what GPUs use. `plain` is a loop without any of it: random batches padded to their longest text,
eager attention, PyTorch's dropout and fp32.

Seeds are paired and added in eights, until the interval of every difference is narrow enough or there are 24.
Trainings run side by side. Finished ones are kept in OUT/quality.jsonl and not repeated; OUT/quality.json and
OUT/quality.md hold all of them, those of earlier calls, too.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median
from typing import Any
from unittest.mock import patch

from bench_data import Setting, prepare
from json_lines import read
from machine import machine, machine_line
from meter import QUIET

from mtl.study.statistics.significance import interval

TASKS = {"public": ("ncbi_disease", "rqe"), "synthetic": ("mentions", "topics")}
"""Tasks whose texts differ in length, by data."""

RECIPES = ((1e-4, 300), (2e-4, 120))
"""Learning rate of the encoder and number of updates; the second is where batches of similar length collapsed."""

BATCH = 16
"""Examples per update."""

STEP, MOST = 8, 24
"""Seeds that are added at a time, and the largest number."""

NARROW = 0.007
"""Half-width of the 95% interval of a difference at which no more seeds are added."""

MARGIN = 0.01
"""Largest loss of mean dev score that is accepted."""


def main(arguments: Sequence[str]) -> None:
    """Trains what is missing and writes quality.json and quality.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=STEP, help=f"seeds to start with (default {STEP})")
    parser.add_argument("--most", type=int, default=MOST, help=f"largest number of seeds (default {MOST})")
    parser.add_argument("--sides", nargs="+", choices=sorted(SIDES), default=["ours", "plain"])
    parser.add_argument("--updates", type=int, help="updates of every recipe, to try the script")
    parser.add_argument("--workers", type=int, default=2, help="trainings at a time (default 2)")
    parser.add_argument("--examples", type=int, default=1500, help="training examples per task at most")
    parser.add_argument("--encoder", default="minilm-l6")
    parser.add_argument("--work", type=Path, default=Path("runs/bench"), help="folder for rows and finished trainings")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"), help="(default experiments/results)")
    options = parser.parse_args(arguments)
    setting = Setting("public" if "MTL_DATA" in os.environ else "synthetic", options.examples, encoder=options.encoder)
    mixture = prepare(setting, options.work / "quality", dev_rows=300)
    recipes = [(rate, options.updates or updates) for rate, updates in RECIPES]
    common = {"data": setting.data, "examples": options.examples, "encoder": options.encoder, "batch": BATCH}
    command = f"python experiments/bench/quality.py {' '.join(arguments)}".rstrip()
    origin = {"command": command, "date": datetime.now(UTC).date().isoformat(), "machine": machine()}
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "quality.jsonl"
    number = options.seeds
    while True:
        wanted = [
            {**common, "task": task, "learning_rate": rate, "updates": updates, "seed": seed, "side": side}
            for seed in range(number)
            for rate, updates in recipes
            for task in TASKS[setting.data]
            for side in options.sides
        ]
        train_missing(wanted, mixture, file, origin, options.workers)
        runs = [run for run in read(file) if common.items() <= run.items()]
        found = summary(runs)
        asked = [cell for cell in found if cell["side"] in options.sides]
        if number + STEP > options.most or all(cell["half_width"] <= NARROW for cell in asked):
            break
        number += STEP
    content = {**common, "summary": found, "runs": runs}
    scores = [{name: value for name, value in run.items() if name not in origin} for run in runs]
    (options.out / "quality.json").write_text(json.dumps(content | {"runs": scores}, indent=2) + "\n", encoding="utf-8")
    (options.out / "quality.md").write_text(as_markdown(content), encoding="utf-8")
    print(as_markdown(content))


def train_missing(
    wanted: Sequence[dict[str, Any]], mixture: Path, file: Path, origin: dict[str, Any], workers: int
) -> None:
    """Trains what the file does not hold, and adds it with its score and origin."""
    missing = [entry for entry in wanted if not any(entry.items() <= old.items() for old in read(file))]
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(train, mixture, entry, threads): entry for entry in missing}
        for done in as_completed(waiting):
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(waiting[done] | {"score": done.result()} | origin) + "\n")


def train(mixture_file: Path, entry: dict[str, Any], threads: int) -> float:
    """The primary metric of the task on dev after a training."""
    import pytorch_lightning as pl
    import torch

    torch.set_num_threads(threads)
    module, data = SIDES[entry["side"]](mixture_file, entry)
    pl.Trainer(**QUIET, precision="32-true").validate(module, datamodule=data, verbose=False)
    (task,) = module.heads
    return float(module.results["dev"][task].scores[module.head(task).primary_metric])


def built(mixture_file: Path, entry: dict[str, Any], *overrides: str) -> tuple[Any, Any]:
    """The module and the data module of a training; both sides start from the same weights."""
    from mtl.config.loading import load_mixture
    from mtl.training.assembly import build_data, build_module

    words = [f"seed={entry['seed']}", f"batch_size={entry['batch']}", f"only=[{entry['task']}]", *overrides]
    mixture = load_mixture(mixture_file, words)
    module = build_module(mixture, learning_rate=entry["learning_rate"], head_learning_rate=HEAD_RATE)
    return module, build_data(mixture)


HEAD_RATE = 1e-3


def ours(mixture_file: Path, entry: dict[str, Any], precision: str = "32-true") -> tuple[Any, Any]:
    """Trains as `mtl fit` does in fp32, so that the figures do not depend on what the machine is faster in."""
    import pytorch_lightning as pl

    module, data = built(mixture_file, entry)
    limits = {"max_steps": entry["updates"], "max_epochs": -1, "limit_val_batches": 0, "gradient_clip_val": 1.0}
    trainer = pl.Trainer(**QUIET, **limits, precision=precision)
    trainer.fit(module, datamodule=data)
    return module, data


def ours_bf16(mixture_file: Path, entry: dict[str, Any]) -> tuple[Any, Any]:
    """Trains as `mtl fit` does in bf16."""
    return ours(mixture_file, entry, "bf16-mixed")


def plain(mixture_file: Path, entry: dict[str, Any]) -> tuple[Any, Any]:
    """Trains in a plain loop on random padded batches."""
    import torch

    import mtl.encoder.model
    from mtl.training.hyperparameters import Optimisation
    from mtl.training.optimisation import parameter_groups, schedule

    with patch.object(mtl.encoder.model, "replace_dropout", lambda model: None):
        module, data = built(mixture_file, entry, "encoder.attention=eager")
    data.setup()
    (task,) = module.heads
    head, encoder, total = module.head(task), module.encoder.model, entry["updates"]
    rates = Optimisation(learning_rate=entry["learning_rate"], head_learning_rate=HEAD_RATE).resolved()
    optimizer = torch.optim.AdamW(parameter_groups(module.encoder, {task: head}, rates, factors={}))
    factor = schedule(rates.schedule, warmup=round(rates.warmup * total), total=total)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    torch.manual_seed(entry["seed"])
    module.train()
    batches = random_batches(data.tasks[task]["train"].examples, head.collate, entry)
    for _, (inputs, fields) in zip(range(total), batches, strict=False):
        states = encoder(**inputs).last_hidden_state
        loss, targets = head.loss(head(states, inputs["attention_mask"].bool(), fields), fields)
        (loss / targets).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    return module, data


SIDES: dict[str, Callable[[Path, dict[str, Any]], tuple[Any, Any]]] = {
    "ours": ours,
    "ours_bf16": ours_bf16,
    "plain": plain,
}


def random_batches(examples: Any, collate: Callable[..., Any], entry: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """The inputs of the encoder and the fields of the head, for batches of random examples in pass after pass."""
    import numpy as np
    import torch
    from torch.nn.utils.rnn import pad_sequence

    random = np.random.default_rng(entry["seed"])
    while True:
        order = random.permutation(len(examples))
        for start in range(0, len(order), entry["batch"]):
            taken = examples.take(order[start : start + entry["batch"]])
            names = [name for name in ("input_ids", "token_type_ids") if taken[0].get(name) is not None]
            inputs = {name: pad_sequence([torch.tensor(one[name]) for one in taken], True) for name in names}
            lengths = torch.tensor([len(one["input_ids"]) for one in taken])
            inputs["attention_mask"] = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
            yield inputs, collate(taken, int(lengths.max()))


def summary(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The paired difference of each side and the plain one, for each task and recipe and for their mean.

    Seeds count that both sides have for every task and recipe.

    A training has collapsed if its score is less than half the median of the plain ones.

    >>> runs = [{"side": side, "seed": seed, "task": "gad", "learning_rate": 1e-4, "updates": 9, "score": score}
    ...         for side, scores in (("ours", [0.6, 0.7, 0.7]), ("plain", [0.6, 0.8, 0.7]))
    ...         for seed, score in enumerate(scores)]
    >>> cell, over_all = summary(runs)
    >>> cell["task"], cell["seeds"], round(cell["difference"], 3), cell["collapses"], cell["no_worse"]
    ('gad', 3, -0.033, {'ours': 0, 'plain': 0}, False)
    """
    cells: dict[tuple[Any, ...], dict[str, dict[int, float]]] = {}
    for run in runs:
        cell = cells.setdefault((run["task"], run["learning_rate"], run["updates"]), {})
        cell.setdefault(run["side"], {})[run["seed"]] = run["score"]
    found = []
    for side in sorted({run["side"] for run in runs} - {"plain"}):
        common = sorted(set.intersection(*(set(cell.get(s, ())) for cell in cells.values() for s in (side, "plain"))))
        if len(common) < 2:
            continue
        scores = {
            recipe: {s: [cell[s][seed] for seed in common] for s in (side, "plain")} for recipe, cell in cells.items()
        }
        compared = [
            _compared(side, scores[recipe], dict(zip(("task", "learning_rate", "updates"), recipe, strict=True)))
            for recipe in sorted(scores, key=lambda recipe: (recipe[1], recipe[0]))
        ]
        means = {
            s: [mean(values) for values in zip(*(c[s] for c in scores.values()), strict=True)] for s in (side, "plain")
        }
        over_all = _compared(side, means, {"task": "mean", "learning_rate": None, "updates": None})
        over_all["collapses"] = {s: sum(cell["collapses"][s] for cell in compared) for s in (side, "plain")}
        found += [*compared, over_all]
    return found


def _compared(side: str, scores: dict[str, list[float]], labels: dict[str, Any]) -> dict[str, Any]:
    differences = [a - b for a, b in zip(scores[side], scores["plain"], strict=True)]
    low, high = interval(differences)
    limit = median(scores["plain"]) / 2
    return {
        **labels,
        "side": side,
        "seeds": len(differences),
        "means": {name: mean(scores[name]) for name in (side, "plain")},
        "difference": mean(differences),
        "interval": [low, high],
        "half_width": (high - low) / 2,
        "no_worse": low > -MARGIN,
        "collapses": {name: sum(score < limit for score in scores[name]) for name in (side, "plain")},
    }


def as_markdown(content: dict[str, Any]) -> str:
    """The differences and all scores."""
    lines = [
        "# Quality of fast training",
        "",
        f"Primary metric on dev (up to 300 rows) after training alone on the {content['data']} data, up to"
        f" {content['examples']} training examples, batches of {content['batch']}. `plain`: a loop in fp32 on random"
        " padded batches with eager attention and PyTorch's dropout. Seeds are paired; intervals are 95% t intervals of"
        f" the difference in points. It must lie above -{100 * MARGIN:g} point. A training collapses if its score is"
        " below half the median of the plain ones.",
        "",
        f"Seeds are added in steps of {STEP}. Another number of seeds comes from an unfinished step, so that its"
        " intervals are provisional; seeds that are not finished in all rows of a side are listed, but not counted.",
        "",
        "| task | rate | updates | side | seeds | mean | plain | difference | interval | holds | collapses | plain |",
        f"|{'---|' * 12}",
    ]
    for cell in content["summary"]:
        low, high = (100 * bound for bound in cell["interval"])
        side = cell["side"]
        recipe = "| | " if cell["learning_rate"] is None else f"| {cell['learning_rate']:g} | {cell['updates']} "
        lines.append(
            f"| {cell['task']} {recipe}| {side} | {cell['seeds']} | {cell['means'][side]:.4f} |"
            f" {cell['means']['plain']:.4f} | {100 * cell['difference']:+.2f} | {low:+.2f} to {high:+.2f} |"
            f" {'yes' if cell['no_worse'] else 'no'} | {cell['collapses'][side]} | {cell['collapses']['plain']} |"
        )
    lines += ["", "| task | rate | seed | side | score |", "|---|---|---|---|---|"]
    for run in sorted(content["runs"], key=lambda run: (run["task"], run["learning_rate"], run["side"], run["seed"])):
        lines.append(
            f"| {run['task']} | {run['learning_rate']:g} | {run['seed']} | {run['side']} | {run['score']:.4f} |"
        )
    lines.append("")
    origins = {f"`{run['command']}`, {run['date']}; {machine_line(run['machine'])}" for run in content["runs"]}
    lines += [f"- {origin}" for origin in sorted(origins)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
