"""Estimates the cost of a study and the smallest gains that its seeds can detect: `mtl study plan`."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from mtl.messages import counted
from mtl.study.design.description import described
from mtl.study.design.designs import CONTROLS
from mtl.study.design.plan import StudyPlan
from mtl.study.design.run_spec import RunSpec
from mtl.study.design.runs import Run, original
from mtl.study.report.conclusions import duration
from mtl.study.running.ledger import Ledger
from mtl.study.running.session import Session
from mtl.study.running.train_run import train
from mtl.study.statistics.significance import floor, power, smallest_gain

RECOMMENDED_SEEDS = 8
"""With 6 seeds, a gain among 20 must be 3.7 SD to be significant with a power of 0.8; with 8 seeds, 2.1 SD."""

POWER_AT = (1, 2, 3, 4)
"""Sizes of a gain, in SD of the difference over seeds, for which a plan shows the power."""

PROBE = 5
"""Number of updates of a probe."""


class Pace(NamedTuple):
    """The time that a task takes on this machine, in seconds.

    Args:
        update: Time of one update.
        evaluation: Time of one pass over dev or test.
        overhead: Time of a run outside training and evaluation.
    """

    update: float
    evaluation: float
    overhead: float


def estimate(session: Session, *, probes: bool = True) -> dict[str, Any]:
    """Returns the plan and its cost as JSON types.

    Args:
        session: Session of the study.
        probes: Whether to time a few updates of each task that has no finished single-task run.
    """
    plan, spec = session.plan, session.spec
    done = [run_spec for run_spec in plan.run_specs if session.is_done(run_spec)]
    left = [run_spec for run_spec in plan.run_specs if run_spec not in done]
    paces = _paces(session, left, probes=probes)
    seconds = sum(_seconds(run_spec, paces) for run_spec in left) if paces is not None else None
    cells = {
        design: len({(one.target, one.partner) for one in plan.comparisons if one.design == design})
        for design in dict.fromkeys(one.design for one in plan.comparisons)
    }
    return {
        "study": spec.name,
        "setup": described(plan),
        "designs": {part.name: cells.get(part.name, 0) for part in spec.parts},
        "seeds": list(spec.seed_list),
        "runs": len(plan.run_specs),
        "finished": len(done),
        "to_train": len(left),
        "costs": _costs(left, paces),
        "trains": dict(Counter(run_spec.trains for run_spec in left)),
        "updates": plan.updates,
        "learning_rates": _learning_rates(plan, ""),
        "stages": {
            stage: {"updates": plan.settings.updates(stage), "learning_rates": _learning_rates(plan, stage)}
            for stage in plan.stages
        },
        "seconds": seconds,
        "wall_seconds": None if seconds is None else seconds / session.launcher().workers,
        "floor": floor(len(spec.seed_list)),
        "smallest_gains": _smallest_gains(session, cells),
        "power": _power(session, cells),
        "warnings": [*_warnings(session, cells), *session.history.changes()],
        "changed": session.history.changed(),
        "differ_only_in_code": session.takeover().possible(),
        "keys": {run_spec.name: run_spec.key for run_spec in plan.run_specs},
    }


def estimate_lines(estimated: Mapping[str, Any], file: str = "FILE") -> list[str]:
    """Returns the plan as lines of text.

    Args:
        estimated: Result of `estimate`.
        file: Path of the study file, for the suggested command.
    """
    lines = [f"Study {estimated['study']}", "", *(f"  {sentence}" for sentence in estimated["setup"]), ""]
    lines += _cost_lines(estimated)
    runs, done, left = estimated["runs"], estimated["finished"], estimated["to_train"]
    lines += ["", f"  {runs} distinct runs: {done} finished, {left} to train."]
    lines += [f"    {number} x {trains}" for trains, number in estimated["trains"].items()]
    if estimated["differ_only_in_code"]:
        old = counted(estimated["differ_only_in_code"], "finished run")
        lines.append(
            f"  Only code has changed since {old}: `mtl study run {file} --verify-old 3` can take over results."
        )
    if left and estimated["seconds"] is not None:
        wall = duration(estimated["wall_seconds"])
        lines.append(f"  Estimated time: {duration(estimated['seconds'])} of computation, {wall} of wall time.")
    lines += ["", f"  Smallest p-value that {len(estimated['seeds'])} seeds can give: {estimated['floor']:.3g}."]
    for design, found in estimated["power"].items():
        powers = ", ".join(f"{share:.2f} for a gain of {size} SD" for size, share in found["at"].items())
        number = counted(estimated["designs"][design], "gain")
        lines.append(f"  {design}: power among {number}: {powers}; 0.80 for {found['sd']:.1f} SD.")
    for design, gains in estimated["smallest_gains"].items():
        lines.append(f"  {design}: smallest gain that would be significant in 4 of 5 such studies:")
        lines += [f"    {target}: {_gain(gain)}" for target, gain in gains.items()]
    lines += [f"  Warning: {warning}" for warning in estimated["warnings"]]
    return lines


def _cost_lines(estimated: Mapping[str, Any]) -> list[str]:
    """The cells of each design, and what its missing runs cost; a run that several designs share counts once."""
    lines = []
    costs = estimated["costs"]
    for name in dict.fromkeys(["single", *estimated["designs"]]):
        cells = estimated["designs"].get(name)
        parts = [f"{cells} cells" if cells else "baselines"]
        if name in costs:
            parts.append(f"{counted(costs[name]['runs'], 'run')} to train")
            parts += [duration(costs[name]["seconds"])] if costs[name]["seconds"] is not None else []
        lines.append(f"  {name}: {', '.join(parts)}")
    return lines


def _learning_rates(plan: StudyPlan, stage: str) -> dict[str, dict[str, float | None]]:
    """By task, the rates of the encoder and of the heads in runs that train the task alone."""
    models = {task: plan.settings.model([task], stage) for task in plan.study.mixture.tasks}
    return {task: {"encoder": one.learning_rate, "heads": one.head_learning_rate} for task, one in models.items()}


# --- time -------------------------------------------------------------------------------------------------------------


def _costs(left: Sequence[RunSpec], paces: Mapping[str, Pace] | None) -> dict[str, dict[str, float | None]]:
    """By design, the number of runs to train and their time; a run counts for the first design that needs it."""
    found: dict[str, list[RunSpec]] = {}
    for run_spec in left:
        found.setdefault(run_spec.designs[0], []).append(run_spec)
    return {
        design: {
            "runs": len(runs),
            "seconds": None if paces is None else sum(_seconds(run_spec, paces) for run_spec in runs),
        }
        for design, runs in found.items()
    }


def _paces(session: Session, left: Sequence[RunSpec], *, probes: bool) -> dict[str, Pace] | None:
    """The pace of each task, from finished single-task runs or a probe; None if a probe is needed but not allowed."""
    paces = {}
    seeds = session.spec.seed_list
    for task in session.plan.study.mixture.tasks if left else ():
        run_specs = [session.plan.spec_of(Run((task,), seed)) for seed in seeds]
        costs = [result["cost"] for o in run_specs if (result := session.ledger.result(o.key)) is not None]
        if costs:
            paces[task] = _pace(costs, session.plan.updates[task], run_specs[0].evaluations + 1)
        elif probes:
            paces[task] = _pace([_probe(run_specs[0])], PROBE, 2)
        else:
            return None
    return paces


def _pace(costs: Sequence[Mapping[str, float]], updates: int, evaluations: int) -> Pace:
    def median(name: str) -> float:
        return float(statistics.median(cost[name] for cost in costs))

    training, evaluation = median("training_seconds"), median("evaluation_seconds")
    return Pace(training / updates, evaluation / evaluations, median("seconds") - training - evaluation)


def _probe(run_spec: RunSpec) -> Mapping[str, float]:
    """The cost of a few updates, one dev evaluation and one test evaluation."""
    (task,) = run_spec.tasks
    mixture = {**run_spec.mixture, "sampler": {"name": "quota", "batches": {task: PROBE}}}
    short = replace(run_spec, mixture=mixture, evaluations=1, keeps_encoder=False)
    with TemporaryDirectory() as folder:
        result, _ = train(short, Ledger(Path(folder)))
    cost: Mapping[str, float] = result["cost"]
    return cost


def _seconds(run_spec: RunSpec, paces: Mapping[str, Pace]) -> float:
    if run_spec.evaluates:
        return sum(paces[target].evaluation + paces[target].overhead for target in run_spec.targets)
    quota: Mapping[str, int] = run_spec.mixture["sampler"]["batches"]
    training = sum(quota[task] * run_spec.evaluations * paces[original(task)].update for task in run_spec.tasks)
    evaluation = sum((run_spec.evaluations + 1) * paces[target].evaluation for target in run_spec.targets)
    return training + evaluation + max(paces[original(task)].overhead for task in run_spec.tasks)


# --- what can be resolved ---------------------------------------------------------------------------------------------


def _smallest_gains(session: Session, cells: Mapping[str, int]) -> dict[str, dict[str, float | None]]:
    """By design and target, as a score difference if finished runs show the spread, else as a multiple of it."""
    seeds, alpha = len(session.spec.seed_list), session.spec.alpha
    spreads = _spreads(session)
    found: dict[str, dict[str, float | None]] = {}
    for design, number in cells.items():
        unit = smallest_gain(1.0, seeds, alpha=alpha, cells=number)
        if design in CONTROLS or math.isinf(unit):
            continue
        known = {target: unit * sd for target, sd in spreads.items()}
        found[design] = {**known} if known else {"times the standard deviation of the difference": unit}
    return found


def _power(session: Session, cells: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """By design, the power at several sizes of a gain, and the size with a power of 0.8, in standard deviations."""
    seeds, alpha = len(session.spec.seed_list), session.spec.alpha
    if floor(seeds) > alpha:
        return {}
    return {
        design: {
            "at": {size: power(size, seeds, number, alpha=alpha, num_simulations=1_000) for size in POWER_AT},
            "sd": smallest_gain(1.0, seeds, alpha=alpha, cells=number),
        }
        for design, number in cells.items()
        if design not in CONTROLS
    }


def _spreads(session: Session) -> dict[str, float]:
    """By task, the standard deviation of the difference of two independent single-task runs: sqrt(2) times their own.

    Runs of one seed see their examples in the same order, so the real differences may vary less. With folds there are
    none, because the scores that are compared are those of all folds together.
    """
    if session.plan.folds != ("",):
        return {}
    spreads = {}
    for task in session.plan.study.mixture.tasks:
        scores = []
        for seed in session.spec.seed_list:
            result = session.ledger.result(session.plan.spec_of(Run((task,), seed)).key)
            if result is not None:
                scores.append(result["test"][task][result["primary"][task]])
        scores = [score for score in scores if score is not None]
        if len(scores) > 2:
            spreads[task] = math.sqrt(2) * float(np.std(scores, ddof=1))
    return spreads


def _warnings(session: Session, cells: Mapping[str, int]) -> list[str]:
    seeds, alpha = len(session.spec.seed_list), session.spec.alpha
    lowest = floor(seeds)
    if not cells:
        return []
    if lowest <= alpha:
        return _too_few(seeds, max((n for design, n in cells.items() if design not in CONTROLS), default=0), alpha)
    needed = next(number for number in range(2, 64) if floor(number) <= alpha)
    return [
        f"No gain can become significant: with {seeds} seeds the two-sided sign-flip p is at least 2/2^{seeds} ="
        f" {lowest:.3g}, above alpha = {alpha:g}. Every cell will be 'unresolvable'; use {needed} seeds or more,"
        f" {RECOMMENDED_SEEDS} are recommended."
    ]


def _too_few(seeds: int, number: int, alpha: float) -> list[str]:
    """A warning if a study with fewer seeds than recommended can find only very large gains."""
    if seeds >= RECOMMENDED_SEEDS or not number:
        return []
    now, then = (smallest_gain(1.0, n, alpha=alpha, cells=number) for n in (seeds, RECOMMENDED_SEEDS))
    return [
        f"{RECOMMENDED_SEEDS} seeds are recommended: among {counted(number, 'gain')}, a gain must be {now:.1f} SD to be"
        f" significant with a power of 0.8 with {seeds} seeds, and {then:.1f} SD with {RECOMMENDED_SEEDS}."
    ]


def _gain(gain: float | None) -> str:
    return "unknown" if gain is None else f"{gain:.3f}"
