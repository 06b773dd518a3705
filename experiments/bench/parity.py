"""Trains one task with biomtl and with plain `transformers.Trainer`, and tells whether they agree.

    python experiments/bench/parity.py exact              # same weights and batches, no dropout, fp32: the same losses
    python experiments/bench/parity.py scores --seeds 8   # everything on, each its own way: the same test scores

What is done is kept in OUT/parity.jsonl and not repeated; OUT/parity.json and OUT/parity.md are written after every
training. Both frameworks read the same encoded examples, and the same scorer reads both; the other side is
`AutoModelForTokenClassification` as it is, labelled at the first piece of each word, or for a sentence at [CLS] alone.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from machine import machine, machine_line
from parity_training import (
    Setting,
    build_theirs,
    capped_mixture,
    copy_weights,
    precision,
    rates,
    train_ours,
    train_theirs,
)
from scipy import stats

from mtl.batching.data_module import MixtureData
from mtl.config.mixture import Mixture
from mtl.training.assembly import build_data, build_module

LOSS_TOLERANCE = 1e-4
ROUNDING = 4
"""How much more than another padding changes in transformers itself counts as rounding, which grows by the update."""
MARGIN = 2.0
"""Points of the score within which the difference must lie."""

CONFIDENCE = 0.9
FRAMEWORKS = ("biomtl", "transformers")

# Tasks whose scores differ little between seeds: on NCBI-disease and GAD, 100 updates of 8 spread by 4 to 6 points, of
# which eight seeds tell nothing.
SETTINGS = {
    # With the usual overlap of 32 half of each short window would be read twice.
    "ner": Setting("bc5cdr_chemical", 1000, 64, 16, 150, 3e-4, options={"stride": 8}),
    # Test's questions are of another kind than train's, and noisy; dev's are like train's.
    "sentence": Setting("rqe", 1000, 64, 16, 120, 2e-4, split="dev"),
    # The windows of the two above are nearly all of one length. Of sentences, theirs are padded and ours packed.
    "lengths": Setting("ncbi_disease_sentences", 1500, 128, 16, 200, 2e-4),
}
# The first update has the learning rate 0 in transformers and peak/warm-up in biomtl, so there is no warm-up here.
# Small batches and a loss that stays above 0, because what rounding does to a weight grows from update to update.
EXACT = {
    "ner": Setting("ncbi_disease", 800, 64, 8, 100, 3e-4, warmup=0.0, exact=True, options={"stride": 8}),
    "sentence": Setting("gad", 1000, 64, 8, 100, 2e-4, warmup=0.0, exact=True),
    "lengths": Setting("ncbi_disease_sentences", 800, 128, 8, 100, 3e-4, warmup=0.0, exact=True),
}


# --- the two comparisons ----------------------------------------------------------------------------------------------


def exact(setting: Setting, mixture: Mixture) -> dict[str, Any]:
    """Trains both from the same weights on the same batches, and gives the largest differences of any update.

    If most examples are shorter than the maximum, theirs is trained once more, with each batch padded to the maximum.
    Only rounding tells the two apart.
    """
    module, data = build_module(mixture, **rates(setting)), build_data(mixture)
    data.setup()
    batches = first_batches(data, setting.updates)
    models = [build_theirs(setting, data, mixture.seed) for _ in range(2)]
    for model in models:
        copy_weights(module, setting.task, model)
    ours = train_ours(setting, module, data)
    theirs = train_theirs(setting, models[0], data, mixture.seed, batches)
    rounding = None
    if median(data.tasks[setting.task]["train"].lengths) < setting.max_length:
        padded = train_theirs(setting, models[1], data, mixture.seed, batches, pads_to_maximum=True)
        rounding = largest_difference(theirs.losses, padded.losses)
    found = largest_difference(ours.losses, theirs.losses)
    return {
        "updates": len(ours.losses),
        "loss": found,
        "rounding": rounding,
        "learning_rate": largest_difference(ours.learning_rates, theirs.learning_rates),
        "gradient_norm": largest_difference(ours.gradient_norms, theirs.gradient_norms),
        "first_loss": ours.losses[0],
        "last_loss": ours.losses[-1],
        "clipped_updates": sum(norm > 1 for norm in ours.gradient_norms),
        "score": [own.scores[module.head(setting.task).primary_metric] for own in (ours, theirs)],
        "weights": max(float((value - theirs.weights[name]).abs().max()) for name, value in ours.weights.items()),
        "agrees": found <= max(LOSS_TOLERANCE, ROUNDING * (rounding or 0.0)),
    }


def first_batches(data: MixtureData, number: int) -> list[list[int]]:
    """The examples of our first updates, over as many epochs as that takes."""
    epochs = range(math.ceil(number / data.schedule.steps_per_epoch()))
    slots = [slot for epoch in epochs for slot in data.schedule.epoch(epoch)]
    return [data.schedule.indices(pick).tolist() for (pick,) in slots[:number]]


def one_score(setting: Setting, mixture: Mixture, framework: str) -> float:
    """The primary metric after one training with everything on, last state, in points."""
    data = build_data(mixture)
    head = data.heads[setting.task]
    if framework == "biomtl":
        trained = train_ours(setting, build_module(mixture, **rates(setting)), data)
    else:
        data.setup()
        trained = train_theirs(setting, build_theirs(setting, data, mixture.seed), data, mixture.seed)
    return 100 * trained.scores[head.primary_metric]


def difference(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Welch's interval of the difference of means, and whether it lies within the margin.

    >>> found = difference([70.0, 71.0, 72.0], [70.0, 71.0, 72.0])
    >>> found["difference"], found["within"], round(found["interval"][1], 2)
    (0.0, True, 1.74)
    """
    low, high = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(CONFIDENCE)
    return {
        "biomtl": {"mean": mean(ours), "sd": stdev(ours), "scores": list(ours)},
        "transformers": {"mean": mean(theirs), "sd": stdev(theirs), "scores": list(theirs)},
        "difference": mean(ours) - mean(theirs),
        "interval": [float(low), float(high)],
        "within": bool(low >= -MARGIN and high <= MARGIN),
    }


def largest_difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Between values of the same update."""
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))


# --- running and reporting --------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> None:
    """Runs what is missing and prints the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", nargs="?", choices=["exact", "scores"], help="one of the two (default both)")
    parser.add_argument("--task", choices=list(SETTINGS), help="one of them (default all)")
    parser.add_argument("--seeds", type=int, default=8, help="of `scores` (default 8)")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"), help="(default experiments/results)")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    command = f"python experiments/bench/parity.py {' '.join(arguments)}"
    for check in [options.check] if options.check else ["exact", "scores"]:
        for name in [options.task] if options.task else list(SETTINGS):
            with tempfile.TemporaryDirectory() as folder:
                run(check, name, Path(folder), options, command)
    print(report(options.out))


def run(check: str, name: str, folder: Path, options: argparse.Namespace, command: str) -> None:
    """The trainings of one check of one task that are not done yet."""
    setting = (EXACT if check == "exact" else SETTINGS)[name]
    done = read_entries(options.out)
    common = {"check": check, "task": name, "setting": asdict(setting)}
    wanted: list[dict[str, Any]] = [common]
    if check == "scores":
        wanted = [{**common, "seed": seed, "framework": side} for seed in range(options.seeds) for side in FRAMEWORKS]
    missing = [entry for entry in wanted if not any(entry.items() <= old.items() for old in done)]
    mixture = capped_mixture(setting, folder) if missing else None
    for entry in missing:
        assert mixture is not None
        started = time.perf_counter()
        if check == "exact":
            result: dict[str, Any] = exact(setting, mixture)
        else:
            seeded = mixture.model_copy(update={"seed": entry["seed"]})
            result = {"score": one_score(setting, seeded, entry["framework"]), "precision": precision(setting)}
        seconds = round(time.perf_counter() - started, 1)
        entry |= {**result, "seconds": seconds, "command": command, "machine": machine()}
        with (options.out / "parity.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        report(options.out)


def read_entries(out: Path) -> list[dict[str, Any]]:
    """The trainings that are done, oldest first."""
    path = out / "parity.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def report(out: Path) -> str:
    """Writes parity.json and parity.md from what is done, and gives the latter."""
    entries = read_entries(out)
    found = {
        "exact": {name: entry for name in SETTINGS if (entry := exact_result(entries, name))},
        "scores": {name: result for name in SETTINGS if (result := scores_result(entries, name))},
    }
    text = as_markdown(found)
    (out / "parity.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (out / "parity.md").write_text(text, encoding="utf-8")
    return text


def exact_result(entries: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any] | None:
    """The latest comparison of the losses with the setting of now."""
    own = [e for e in entries if e["check"] == "exact" and e["setting"] == asdict(EXACT[name])]
    return dict(own[-1]) if own else None


def scores_result(entries: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any] | None:
    """The comparison of the scores over all seeds that both have finished with the setting of now."""
    runs = [e for e in entries if e["check"] == "scores" and e["setting"] == asdict(SETTINGS[name])]
    ours, theirs = ({e["seed"]: e["score"] for e in runs if e["framework"] == side} for side in FRAMEWORKS)
    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) < 2:
        return None
    return {
        **difference([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]),
        "seeds": seeds,
        "seconds": sum(e["seconds"] for e in runs),
        **{key: runs[-1][key] for key in ("precision", "setting", "command", "machine")},
    }


def as_markdown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The two tables, and where and how they came about."""
    lines = ["# biomtl compared with transformers.Trainer", ""]
    if found["exact"]:
        lines += [
            "Same initial weights, same batches in the same order, no dropout, fp32; largest difference of any update."
            " `rounding` is that between two runs of transformers, one of which pads each batch to the maximum length."
            f" Losses agree if they differ by at most {LOSS_TOLERANCE:g}, or by {ROUNDING} times `rounding`.",
            "",
            "| task | updates | loss from | to | difference of loss | rounding | of learning rate | of gradient norm "
            "| updates clipped | scores | losses agree |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
            *(_exact_line(name, entry) for name, entry in found["exact"].items()),
            "",
        ]
    if found["scores"]:
        lines += [
            "Everything on (dropout, warm-up, each framework's own shuffling and new weights): points.",
            "",
            "| task | split | precision | seeds | biomtl mean (SD) | transformers mean (SD) | difference "
            f"| 90% interval (Welch) | within ±{MARGIN:g} |",
            "|---|---|---|---|---|---|---|---|---|",
            *(_scores_line(name, entry) for name, entry in found["scores"].items()),
            "",
            *(f"{name}: {_reason(entry)}\n" for name, entry in found["scores"].items() if not entry["within"]),
            *(
                f"> **Old.** {name}: version 0.1.0 trained on batches of texts of similar length, which later versions"
                " no longer use.\n"
                for name, entry in found["scores"].items()
                if entry["machine"]["version.biomtl"] == "0.1.0"
            ),
        ]
    every = [entry for part in found.values() for entry in part.values()]
    lines += sorted({f"- `{entry['command']}`" for entry in every})
    lines += sorted({"- " + machine_line(entry["machine"]) for entry in every})
    lines += [f"- {check}, {name}: {entry['setting']}" for check, part in found.items() for name, entry in part.items()]
    return "\n".join(lines) + "\n"


def _exact_line(name: str, entry: Mapping[str, Any]) -> str:
    rounding = "" if entry.get("rounding") is None else f"{entry['rounding']:.1e}"
    gaps = f"{entry['loss']:.1e} | {rounding} | {entry['learning_rate']:.1e} | {entry['gradient_norm']:.1e}"
    both = " and ".join(f"{100 * score:.2f}" for score in entry["score"])
    return (
        f"| {name} ({entry['setting']['task']}) | {entry['updates']} | {entry['first_loss']:.4f} "
        f"| {entry['last_loss']:.4f} | {gaps} | {entry['clipped_updates']} | {both} "
        f"| {'yes' if entry['agrees'] else 'NO'} |"
    )


def _scores_line(name: str, entry: Mapping[str, Any]) -> str:
    sides = " | ".join(f"{entry[side]['mean']:.2f} ({entry[side]['sd']:.2f})" for side in FRAMEWORKS)
    low, high = entry["interval"]
    return (
        f"| {name} ({entry['setting']['task']}) | {entry['setting']['split']} | {entry['precision']} "
        f"| {len(entry['seeds'])} | {sides} "
        f"| {entry['difference']:+.2f} | {low:+.2f} to {high:+.2f} | {'yes' if entry['within'] else 'NO'} |"
    )


def _reason(entry: Mapping[str, Any]) -> str:
    """Why the interval is not within the margin: too few seeds for this spread, or a real difference."""
    low, high = entry["interval"]
    half = (high - low) / 2
    if abs(entry["difference"]) > MARGIN:
        return f"the means themselves differ by more than {MARGIN:g} points."
    room = MARGIN - abs(entry["difference"])
    needed = math.ceil(len(entry["seeds"]) * (half / room) ** 2) if room else math.inf
    return (
        f"the means differ by {entry['difference']:+.2f}, but the seeds spread so much that the interval reaches "
        f"{half:.2f} to either side; if spread and difference stay, about {needed} seeds would do."
    )


if __name__ == "__main__":
    main(sys.argv[1:])
