"""What `mtl check` prints for a file: its problems, or the plan of its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from mtl.evaluation.surfaces import MentionOverlap
from mtl.messages import counted
from mtl.planning.training_plan import MixturePlan
from mtl.problems import Problem


def print_outcome(file: str, problems: Sequence[Problem], plan: MixturePlan) -> None:
    """Prints the problems of a file; its plan if there are none."""
    console = Console(highlight=False)
    console.width = max(console.width, 120)
    if problems:
        console.print(f"{file}: {counted(len(problems), 'problem')}", style="bold red", markup=False, soft_wrap=True)
        for problem in problems:
            console.print(f"  {problem}", markup=False, soft_wrap=True)
        return
    mixed = f", {plan['tasks_per_step']} tasks per step" if plan["tasks_per_step"] > 1 else ""
    packed = "packed, if the self-check agrees" if plan["packed"] else "padded"
    how = f"sampler {plan['sampler']}, balancing {plan['balancing']}"
    console.print(
        f"{plan['name']}: encoder {plan['encoder']} ({packed}), {how}, {counted(plan['steps'], 'step')} in "
        f"{counted(plan['epochs'], 'epoch')}{mixed}, select by {plan['select']}",
        style="bold",
        markup=False,
        soft_wrap=True,
    )
    for key, reason in plan["encoder_reasons"].items():
        console.print(f"{key} {reason}", markup=False, soft_wrap=True)
    console.print(f"trainer.max_epochs {plan['epochs']} ({plan['epochs_reason']})", markup=False, soft_wrap=True)
    console.print(f"model.learning_rate {plan['learning_rate_reason']}", markup=False, soft_wrap=True)
    console.print(_task_table(plan))
    console.print(_split_table(plan))
    for phase in plan["curriculum"]:
        changes = ", ".join(f"{key}={value}" for key, value in phase["changes"].items())
        line = f"from step {phase['from_step']} (epoch {phase['epoch']}, counted from 0): {changes}"
        console.print(line, markup=False, soft_wrap=True)
    for name, task in plan["tasks"].items():
        overlaps = _overlap_notes(task["splits"])
        for note in [*task["notes"], *plan["leakage"]["notes"][name], *_split_notes(task["splits"]), *overlaps]:
            console.print(f"{name}: {note}", markup=False, soft_wrap=True)


def _task_table(plan: MixturePlan) -> Table:
    numeric = _right("share", "batches", "passes", "batch size", "max length", "loss weight")
    table = Table("task", "head", "metric", *numeric)
    for name, task in plan["tasks"].items():
        rate = f"with {task['same_rows_as']}" if task["same_rows_as"] else f"{task['rate']:.3f}"
        passes = f"{task['passes']:.2f}"
        batch = task["batch_size"] or f"{task['tokens_per_batch']} tokens"
        numbers = (task["batches"], passes, batch, task["max_length"], task["loss_weight"])
        table.add_row(name, task["head"], task["primary_metric"], rate, *map(str, numbers))
    return table


def _split_table(plan: MixturePlan) -> Table:
    table = Table("task", "split", *_right("rows", "documents", "examples", "truncated"), "labels")
    for name, task in plan["tasks"].items():
        for split, content in task["splits"].items():
            numbers = (content["used"], content["documents"], content["examples"], f"{content['truncated']:.1%}")
            # As Text, because rich would interpret a label in square brackets as a style.
            table.add_row(name, split, *map(str, numbers), Text(_listed(content["labels"])))
    return table


def _overlap_notes(splits: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What train knows of the mentions of dev and test."""
    return [
        MentionOverlap(**content["surfaces"]).described(split)
        for split, content in splits.items()
        if "surfaces" in content
    ]


def _split_notes(splits: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Notes on unused rows and on gold that a head cannot represent; splits with the same note share a line."""
    notes: dict[str, list[str]] = {}
    for split, content in splits.items():
        for note in _notes(content):
            notes.setdefault(note, []).append(split)
    return [f"{', '.join(where)}: {note}" for note, where in notes.items()]


def _notes(content: Mapping[str, Any]) -> list[str]:
    notes = []
    if content["refused"]:
        notes.append(f"{counted(content['refused'], 'row')} skipped as bad, first {content['refused_rows'][0]}")
    if content["crossed"]:
        notes.append(f"{counted(content['crossed'], 'row')} dropped: their groups are in different splits")
    if content["limited"]:
        notes.append(f"{counted(content['limited'], 'row')} excluded by `limit`")
    if content["excluded"]:
        notes.append(f"{counted(content['excluded'], 'row')} excluded by `exclude` or `leakage`")
    if content["unlabelled"]:
        notes.append(f"{counted(content['unlabelled'], 'row')} without a label for this task (not used)")
    left_out = {reason: count for reason, count in sorted(content["left_out"].items()) if count}
    if left_out:
        notes.append(f"excluded by the reader: {_listed(left_out)}")
    if content["sources"] or content["weighted"]:
        of_sources = f" ({_listed(content['sources'])})" if content["sources"] else ""
        rows = counted(sum(content["sources"].values()), "row")
        notes.append(f"{rows} with a source{of_sources}, {counted(content['weighted'], 'row')} with a weight")
    adjusted = {reason: count for reason, count in sorted(content["adjusted"].items()) if count}
    if adjusted:
        notes.append(f"adjusted by the reader: {_listed(adjusted)}")
    noted = {kind: count for kind, count in sorted(content["noted"].items()) if count}
    if noted:
        notes.append(f"mentions: {_listed(noted)}")
    if content["unknown_tokens"]:
        share = content["unknown_tokens"] / content["tokens"]
        notes.append(
            f"{counted(content['unknown_tokens'], 'token')} ({share:.2%}) not in the vocabulary of the encoder"
        )
    if content["contradictory"]:
        notes.append(f"{counted(content['contradictory'], 'text')} with several different labels")
    kinds = {kind.replace("_", " "): count for kind, count in content["notes"].items() if count}
    if kinds:
        notes.append(f"not read as annotated: {_listed(kinds)}")
    num_off = content["notes"].get("off_by_one", 0)
    if 2 * num_off > sum(content["labels"].values()):
        notes.append(
            f"{counted(num_off, 'mention')} off by one character: offsets count from 0, and ends are exclusive"
        )
    return notes


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _right(*names: str) -> list[Column]:
    return [Column(name, justify="right") for name in names]
