"""Simulated findings of studies with planted gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mtl.study.statistics.findings import Cost, Curve, Family, Findings, Gain, Grouping, RunNote, TargetFacts
from mtl.study.statistics.learning import Learning
from mtl.study.statistics.significance import Interval, analyse, floor

METRICS = ("f1", "pearson", "accuracy", "micro_f1")
NAN = float("nan")

Pair = tuple[str, str]


def gains_of(
    pairs: Sequence[Pair], planted: Mapping[Pair, float], num_seeds: int, missing: Sequence[Pair] = (), seed: int = 0
) -> tuple[Gain, ...]:
    """Gains with an SD of 0.004 over seeds; their sample mean is exactly the planted gain, or 0.001 without one."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 0.004, (num_seeds, len(pairs)))
    noise -= noise.mean(axis=0)
    differences = noise + np.array([planted.get(pair, 0.001) for pair in pairs])
    differences[:, [pair in missing for pair in pairs]] = NAN
    gains = []
    for (target, partner), cell, column in zip(pairs, analyse(differences), differences.T, strict=True):
        documents = Interval(cell.interval.low - 0.01, cell.interval.high + 0.01) if cell.n else None
        reference = tuple(0.7 + 0.001 * i for i in range(num_seeds))
        treated = tuple(float(r + d) for r, d in zip(reference, column, strict=True))
        gains.append(Gain(target, partner, cell, documents, tuple(map(float, column)), reference, treated))
    return tuple(gains)


def with_training(findings: Findings, further: float) -> Findings:
    """The findings with a control `continued` with this mean gain for every target, and the pairs compared with it."""
    pairs = [(target, "itself before") for target in findings.targets]
    control = family("continued", pairs, dict.fromkeys(pairs, further), len(findings.seeds), is_control=True, seed=7)
    of_target = {gain.target: np.array(gain.differences) for gain in control.gains}
    pairwise = findings.families[0]
    differences = np.array([np.array(gain.differences) - of_target[gain.target] for gain in pairwise.gains]).T
    cells = analyse(differences)
    gains = tuple(replace(gain, beyond=cell) for gain, cell in zip(pairwise.gains, cells, strict=True))
    return replace(findings, families=(replace(pairwise, gains=gains), *findings.families[1:], control))


def with_collapse(findings: Findings, number: int = 0) -> Findings:
    """The findings with a collapsed run in a gain of the first design."""
    first = findings.families[0]
    gain = first.gains[number]
    name = f"{gain.target} + {gain.partner}, seed 3"
    learning = Learning(len(findings.seeds), (name,), (), 5)
    gain = replace(gain, learning=learning, collapsed=(name,))
    gains = (*first.gains[:number], gain, *first.gains[number + 1 :])
    note = RunNote(name, gain.target, 0.41, 0.5)
    families = (replace(first, gains=gains), *findings.families[1:])
    return replace(findings, families=families, collapsed=(note,))


def family(
    design: str,
    pairs: Sequence[Pair],
    planted: Mapping[Pair, float],
    num_seeds: int,
    *,
    missing: Sequence[Pair] = (),
    is_control: bool = False,
    seed: int = 0,
) -> Family:
    smallest = {target: np.inf if floor(num_seeds) > 0.05 else 0.012 for target, _ in pairs}
    gains = gains_of(pairs, planted, num_seeds, missing, seed)
    return Family(design, f"What does {design} show?", is_control, gains, floor(num_seeds), smallest)


def study(
    tasks: Sequence[str] = ("gad", "hoc", "biosses"),
    num_seeds: int = 8,
    *,
    planted: Mapping[Pair, float] | None = None,
    missing: Sequence[Pair] | None = None,
    designs: Sequence[str] = ("pairwise",),
    with_controls: bool = True,
) -> Findings:
    """By default the second task helps the first, the third hurts the second, and one gain is missing."""
    pairs = [(target, partner) for target in tasks for partner in tasks if target != partner]
    planted = {(tasks[0], tasks[1]): 0.03, (tasks[1], tasks[2]): -0.02} if planted is None else planted
    missing = [(tasks[2], tasks[0])] if missing is None else missing
    families = [family(name, pairs, planted, num_seeds, missing=missing, seed=i) for i, name in enumerate(designs)]
    if with_controls:
        replicates = [(task, "replicate") for task in tasks]
        shuffled = list(zip(tasks, [*tasks[1:], *tasks[:1]], strict=True))
        families.append(
            family("replicate", replicates, dict.fromkeys(replicates, 0.0), num_seeds, is_control=True, seed=9)
        )
        families.append(family("shuffled_partner", shuffled, {}, num_seeds, is_control=True))
    facts = {
        task: TargetFacts(
            metric=METRICS[i % len(METRICS)],
            unit="row" if i % 3 == 2 else "document",
            num_units=100 + i,
            updates=240,
            train_rows=2000 + i,
            baseline=("majority", 0.5) if i != 1 else ("tfidf", 0.75),
            single=tuple(0.7 + 0.001 * j for j in range(num_seeds)),
            dev_baseline=("majority", 0.5),
            test_unit=0.001,
            learning=Learning(num_seeds, (), (f"{task}, seed 1",), num_seeds - 1),
        )
        for i, task in enumerate(tasks)
    }
    return Findings(
        study="simulated",
        question="Which task helps which?",
        setup=("The encoder is tiny.", "Every run makes 240 updates on each target task."),
        seeds=tuple(range(num_seeds)),
        alpha=0.05,
        targets=facts,
        families=tuple(families),
        curves=tuple(curves(tasks)),
        costs=costs(pairs, num_seeds),
        outside_share=0.08,
        missing=("biosses + gad, seed 2: the run failed.",) if missing else (),
        deviations=("12 training documents of gad are in the test set of hoc and were left out.",),
        versions={"biomtl": "0.1.0", "torch": "2.13.0"},
    )


def curves(tasks: Sequence[str]) -> list[Curve]:
    found = []
    updates = (80, 160, 240)
    for i, target in enumerate(tasks):
        for j, partner in enumerate(["single", *(task for task in tasks if task != target)]):
            top = 0.7 + 0.01 * np.sin(3 * i + 2 * j)
            mean = tuple(float(top - 0.2 * np.exp(-u / 90)) for u in updates)
            found.append(Curve(target, partner, updates, mean, (0.02, 0.012, 0.008)))
    return found


def costs(pairs: Sequence[Pair], num_seeds: int) -> tuple[Cost, ...]:
    names = sorted({" + ".join(sorted(pair)) for pair in pairs})
    return tuple(
        Cost(f"{name}, seed {seed}", f"{i:04x}{seed:04x}", "pairwise", 100.0, 80.0, 12.0, 7680, 300_000, seed == 0)
        for i, name in enumerate(names)
        for seed in range(num_seeds)
    )


def grouping(tasks: Sequence[str], *, is_measured: bool) -> Grouping:
    groups = (tuple(tasks[:2]), tuple(tasks[2:]))
    predicted = {task: 0.01 * (i + 1) for i, task in enumerate(tasks)}
    total = sum(predicted.values())
    if not is_measured:
        return Grouping(2, groups, predicted, total, 960)
    measured = {task: gain / 2 for task, gain in predicted.items()}
    intervals = {task: Interval(gain - 0.02, gain + 0.02) for task, gain in measured.items()}
    return Grouping(2, groups, predicted, total, 960, measured, intervals)
