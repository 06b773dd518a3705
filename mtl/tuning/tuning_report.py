"""A search as a page, as JSON and as lines for the terminal."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from mtl.files import finite, write_json, write_text
from mtl.markdown import table
from mtl.training.undertrained import undertrained_caution
from mtl.tuning.records import SearchRecord, TrialRecord

NO_TEST = "No trial was evaluated on test."


def write_search_report(record: SearchRecord, folder: Path) -> list[Path]:
    """Writes `report.md` and `report.json` and returns their paths.

    Args:
        record: The search.
        folder: Folder of the search.
    """
    write_text(folder / "report.md", search_page(record))
    write_json(folder / "report.json", search_json(record))
    return [folder / "report.md", folder / "report.json"]


def search_json(record: SearchRecord) -> dict[str, Any]:
    """The search as JSON types, for scripts."""
    best = record.best
    content = {
        "name": record.name,
        "ok": best is not None,
        "objective": record.objective,
        "direction": "minimize" if record.is_minimized else "maximize",
        "sampler": record.sampler,
        "seeds": list(record.seeds),
        "trials": {"wanted": record.wanted, **record.counts},
        "best": None if best is None else {**best.to_dict(), "command": command(record)},
        "importance": dict(record.importance),
        "caution": caution(record),
        "all": [trial.to_dict() for trial in record.trials],
    }
    found: dict[str, Any] = finite(content)
    return found


def command(record: SearchRecord) -> str:
    """The command that trains with the best values; empty if no trial is finished."""
    arguments = record.fit_arguments
    return shlex.join(["mtl", "fit", *arguments]) if arguments else ""


def caution(record: SearchRecord) -> str:
    """What the score of the best trial does not say."""
    trained = _num_scored(record)
    if trained < 2:
        return NO_TEST
    score = "lowest" if record.is_minimized else "highest"
    return (
        f"The best of {trained} settings has the {score} mean on the dev rows and seeds that chose it, so its score is"
        f" biased {'downward' if record.is_minimized else 'upward'}: expect worse on other rows and seeds. Report a"
        f" training with other seeds, scored on test once. {NO_TEST}"
    )


def summary_lines(record: SearchRecord) -> list[str]:
    """The result of the search for the terminal and for MLflow's description."""
    best = record.best
    lines = [_counted_trials(record)]
    if best is None:
        return [*lines, "No trial is finished, so there are no best values."]
    values = ", ".join(f"{key} = {value}" for key, value in best.values.items())
    lines.append(f"Best: trial {best.number}, {record.objective} {_mean(best)}: {values}")
    close = _num_close(record, best)
    if close:
        lines.append(f"{close} other trial{'s are' if close > 1 else ' is'} within one standard deviation of the best.")
    if best.undertrained:
        lines.append(undertrained_caution(best.undertrained))
    return [*lines, caution(record)]


def search_page(record: SearchRecord) -> str:
    """The report in Markdown."""
    parts = [f"# {record.name}", *summary_lines(record)]
    if record.best is not None:
        parts += ["Train with the best values:", f"```bash\n{command(record)}\n```"]
    parts += ["## Trials", _table(record)]
    parts.append(
        f"Objective: {record.objective}, the best evaluation of each training, as mean and standard deviation (sd) over"
        f" the seeds {', '.join(map(str, record.seeds))}. Sampler: {record.sampler}."
    )
    if record.importance:
        shares = [(key, f"{share:.2f}") for key, share in record.importance.items()]
        parts += ["## Importance", "\n".join(table(["key", "share"], shares)).strip()]
        parts.append("Optuna's estimate of how much each key explains of the differences between finished trials.")
    return "\n\n".join(parts) + "\n"


def _table(record: SearchRecord) -> str:
    keys = list(dict.fromkeys(key for trial in record.trials for key in trial.values))
    heads = ["trial", *keys, "mean", "sd", *(f"seed {seed}" for seed in record.seeds), "state"]
    rows = []
    best, sign = record.best, 1 if record.is_minimized else -1
    for trial in sorted(record.trials, key=lambda one: (one.mean is None, sign * (one.mean or 0.0), one.number)):
        scores = [_shown(trial.scores.get(str(seed))) for seed in record.seeds]
        values = [trial.values.get(key, "") for key in keys]
        number = f"**{trial.number}**" if trial == best else str(trial.number)
        rows.append([number, *values, _shown(trial.mean), _shown(trial.spread), *scores, _state(trial)])
    return "\n".join(table(heads, rows)).strip()


def _state(trial: TrialRecord) -> str:
    repeats = "" if trial.repeats is None else f", repeats trial {trial.repeats}"
    reason = f": {trial.reason}" if trial.reason else ""
    unfinished = f", undertrained: {', '.join(trial.undertrained)}" if trial.undertrained else ""
    return f"{trial.state}{repeats}{reason}{unfinished}"


def _counted_trials(record: SearchRecord) -> str:
    counts = record.counts
    named = [f"{counts[state]} {state}" for state in ("finished", "pruned", "failed")]
    named += [f"{counts['running']} running"] if counts["running"] else []
    repeated = f"; {counts['repeated']} repeat the values of an earlier one" if counts["repeated"] else ""
    return f"Trials: {', '.join(named)} (of {record.wanted}){repeated}."


def _num_scored(record: SearchRecord) -> int:
    """Number of different settings with a score."""
    return sum(trial.state == "finished" and trial.repeats is None for trial in record.trials)


def _num_close(record: SearchRecord, best: TrialRecord) -> int:
    """Number of other settings whose mean is within the spread of the best trial."""
    others = [one for one in record.trials if one.state == "finished" and one != best and one.repeats is None]
    return sum(abs((one.mean or 0.0) - (best.mean or 0.0)) <= (best.spread or 0.0) for one in others)


def _mean(trial: TrialRecord) -> str:
    return _shown(trial.mean) + (f" (sd {trial.spread:.4f})" if trial.spread is not None else "")


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
