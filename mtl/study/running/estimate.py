"""What a study would take, and what so many seeds can resolve: `mtl study plan`."""

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

from mtl.study.design.designs import CONTROLS, Run, original
from mtl.study.design.run_spec import RunSpec
from mtl.study.report.conclusions import duration
from mtl.study.running.history import counted
from mtl.study.running.ledger import Ledger
from mtl.study.running.session import Session
from mtl.study.running.train_run import train
from mtl.study.statistics.significance import floor, smallest_gain

PROBE = 5
"""Updates of a probe."""


class Pace(NamedTuple):
    """What a task takes on this machine, in seconds.

    Args:
        update: One update.
        evaluation: One pass over dev or test.
        beside: All else of a run.
    """

    update: float
    evaluation: float
    beside: float


def estimate(session: Session, *, probes: bool = True) -> dict[str, Any]:
    """The plan as JSON types.

    Args:
        session: Of the study.
        probes: Whether to train a few updates of each task of which no run is finished, to estimate the time.
    """
    plan, spec = session.plan, session.spec
    done = [order for order in plan.orders if session.is_done(order)]
    left = [order for order in plan.orders if order not in done]
    paces = _paces(session, left, probes=probes)
    seconds = sum(_seconds(order, paces) for order in left) if paces is not None else None
    cells = {
        design: len({(one.target, one.partner) for one in plan.comparisons if one.design == design})
        for design in dict.fromkeys(one.design for one in plan.comparisons)
    }
    return {
        "study": spec.name,
        "setup": plan.words(),
        "designs": {part.name: cells.get(part.name, 0) for part in spec.parts},
        "seeds": list(spec.seed_list),
        "runs": len(plan.orders),
        "finished": len(done),
        "to_train": len(left),
        "companies": dict(Counter(order.company for order in left)),
        "updates": dict(plan.updates),
        "seconds": seconds,
        "wall_seconds": None if seconds is None else seconds / spec.launcher.workers,
        "floor": floor(len(spec.seed_list)),
        "smallest_gains": _smallest_gains(session, cells),
        "warnings": [*_warnings(session, cells), *session.history.changes()],
        "changed": session.history.changed(),
        "differ_only_in_code": session.takeover().possible(),
        "keys": {order.name: order.key for order in plan.orders},
    }


def estimate_lines(found: Mapping[str, Any], file: str = "FILE") -> list[str]:
    """The plan for people.

    Args:
        found: What `estimate` gave.
        file: The study's file, for the command that is recommended.
    """
    lines = [f"Study {found['study']}", "", *(f"  {sentence}" for sentence in found["setup"]), ""]
    lines += [f"  {design}: {f'{cells} cells' if cells else 'baselines'}" for design, cells in found["designs"].items()]
    lines += [
        "",
        f"  {found['runs']} runs, each counted once: {found['finished']} finished, {found['to_train']} to train.",
    ]
    if found["differ_only_in_code"]:
        runs = counted(found["differ_only_in_code"], "finished run")
        lines.append(f"  Only code changed since {runs}: `mtl study run {file} --verify-old 3` can take over results.")
    lines += [f"    {number} x {company}" for company, number in found["companies"].items()]
    if found["to_train"] and found["seconds"] is not None:
        lines.append(f"  About {duration(found['seconds'])} of work, {duration(found['wall_seconds'])} on the clock.")
    lines += ["", f"  Smallest p that {len(found['seeds'])} seeds can give: {found['floor']:.3g}."]
    for design, gains in found["smallest_gains"].items():
        lines.append(f"  {design}: the smallest gain that would be claimed in 4 of 5 such studies is")
        lines += [f"    {target}: {_gain(gain)}" for target, gain in gains.items()]
    lines += [f"  Warning: {warning}" for warning in found["warnings"]]
    return lines


# --- time -------------------------------------------------------------------------------------------------------------


def _paces(session: Session, left: Sequence[RunSpec], *, probes: bool) -> dict[str, Pace] | None:
    """By task, from finished single runs, else from a probe; None where that isn't wanted."""
    paces = {}
    seeds = session.spec.seed_list
    for task in session.plan.study.mixture.tasks if left else ():
        orders = [session.plan.order_of(Run((task,), seed)) for seed in seeds]
        costs = [result["cost"] for o in orders if (result := session.ledger.result(o.key)) is not None]
        if costs:
            paces[task] = _pace(costs, session.plan.updates[task], orders[0].evaluations + 1)
        elif probes:
            paces[task] = _pace([_probe(orders[0])], PROBE, 2)
        else:
            return None
    return paces


def _pace(costs: Sequence[Mapping[str, float]], updates: int, evaluations: int) -> Pace:
    def median(name: str) -> float:
        return float(statistics.median(cost[name] for cost in costs))

    training, evaluation = median("training_seconds"), median("evaluation_seconds")
    return Pace(training / updates, evaluation / evaluations, median("seconds") - training - evaluation)


def _probe(order: RunSpec) -> Mapping[str, float]:
    """What a few updates, one evaluation on dev and one on test take."""
    (task,) = order.tasks
    mixture = {**order.mixture, "sampler": {"name": "quota", "batches": {task: PROBE}}}
    short = replace(order, mixture=mixture, evaluations=1, keeps_encoder=False)
    with TemporaryDirectory() as folder:
        result, _ = train(short, Ledger(Path(folder)))
    cost: Mapping[str, float] = result["cost"]
    return cost


def _seconds(order: RunSpec, paces: Mapping[str, Pace]) -> float:
    quota: Mapping[str, int] = order.mixture["sampler"]["batches"]
    training = sum(quota[task] * order.evaluations * paces[original(task)].update for task in order.tasks)
    evaluation = sum((order.evaluations + 1) * paces[target].evaluation for target in order.targets)
    return training + evaluation + max(paces[original(task)].beside for task in order.tasks)


# --- what can be resolved ---------------------------------------------------------------------------------------------


def _smallest_gains(session: Session, cells: Mapping[str, int]) -> dict[str, dict[str, float | None]]:
    """By design and target, as a difference of scores where finished runs tell the spread, else as a multiple of it."""
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


def _spreads(session: Session) -> dict[str, float]:
    """By task, how the difference of two independent single runs would spread: sqrt(2) times their own spread.

    Runs of one seed share their order of examples, so that real differences may spread less.
    """
    spreads = {}
    for task in session.plan.study.mixture.tasks:
        scores = []
        for seed in session.spec.seed_list:
            result = session.ledger.result(session.plan.order_of(Run((task,), seed)).key)
            if result is not None:
                scores.append(result["test"][task][result["primary"][task]])
        scores = [score for score in scores if score is not None]
        if len(scores) > 2:
            spreads[task] = math.sqrt(2) * float(np.std(scores, ddof=1))
    return spreads


def _warnings(session: Session, cells: Mapping[str, int]) -> list[str]:
    seeds, alpha = len(session.spec.seed_list), session.spec.alpha
    lowest = floor(seeds)
    if not cells or lowest <= alpha:
        return []
    needed = next(number for number in range(2, 64) if floor(number) <= alpha)
    return [
        f"No gain can become significant: with {seeds} seeds the two-sided sign-flip p is at least 2/2^{seeds} ="
        f" {lowest:.3g}, above alpha = {alpha:g}. Every cell will be 'unresolvable'; take {needed} seeds or more."
    ]


def _gain(gain: float | None) -> str:
    return "unknown" if gain is None else f"{gain:.3f}"
