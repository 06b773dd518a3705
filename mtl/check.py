"""`mtl check`: reads everything that can be read without training, and prints the plan or every fault."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.table import Table

from mtl.assembly import build_heads
from mtl.data import make_plan
from mtl.faults import Fault, InputError, did_you_mean
from mtl.loading import read_mixture_fields
from mtl.mixture import Mixture, build_head, parse_mixture, readable_tasks
from mtl.preparation import SplitData, prepare
from mtl.reading import LISTED, read_rows
from mtl.recorder import accounts
from mtl.store import Store

Plan = dict[str, Any]


def check(source: Any, overrides: Sequence[str] = (), *, epochs: int = 1) -> tuple[list[Fault], Plan]:
    """Every fault of a mixture and of its data, and the plan of what would run where there is none.

    Args:
        source: A mixture file, a config of `mtl fit` that names one, or the fields of a mixture.
        overrides: ``key=value`` with dotted keys.
        epochs: For how many epochs the passes are counted.
    """
    try:
        fields = read_mixture_fields(source, overrides)
    except InputError as error:
        return error.faults, {}
    try:
        mixture = parse_mixture(fields)
    except InputError as error:
        return [*error.faults, *_data_faults(fields)], {}
    try:
        heads, tokenizer = build_heads(mixture)
    except InputError as error:
        return [*error.faults, *_data_faults(fields)], {}
    try:
        data = prepare(mixture, heads, tokenizer)
        plan = _plan(mixture, heads, data, epochs)
    except InputError as error:
        return [*error.faults, *_metric_faults(mixture, heads)], {}
    return _metric_faults(mixture, heads), plan


def main(arguments: Sequence[str]) -> int:
    """Runs `mtl check FILE… [key=value…] [--json]`; 0 when all would run, 2 when not."""
    parser = argparse.ArgumentParser("mtl check", description="Prints what would run, and every fault at once.")
    parser.add_argument("words", nargs="+", metavar="FILE | KEY=VALUE", help="mixture files, and overrides for all")
    parser.add_argument("--json", action="store_true", help="the same for machines")
    parser.add_argument("--epochs", type=int, default=1, help="count passes over the data for this many (default 1)")
    options = parser.parse_args(arguments[1:])
    overrides = [word for word in options.words if "=" in word]
    files = [word for word in options.words if "=" not in word]
    if not files:
        parser.error("name at least one mixture file")
    outcomes = [(file, *check(file, overrides, epochs=options.epochs)) for file in files]
    if options.json:
        print(json.dumps(_for_machines(outcomes), indent=2))  # noqa: T201
    else:
        for file, faults, plan in outcomes:
            _print(file, faults, plan)
    return 2 if any(faults for _, faults, _ in outcomes) else 0


def _data_faults(fields: Mapping[str, Any]) -> list[Fault]:
    """Faults of the data of those tasks that can be read although the mixture as a whole can't."""
    faults: list[Fault] = []
    store = Store()
    for name, spec in readable_tasks(fields).items():
        with suppress(ValueError):  # a fault of the names or options, which is already listed
            head = build_head(spec, hidden_size=8)
            try:
                splits = read_rows(spec.data, f"tasks.{name}.data", store)
            except InputError as error:
                faults += error.faults
                continue
            for split, (rows, _) in splits.items():
                problems = [(row.id, head.check(row)) for row in rows if isinstance(row, head.row_type)]
                wrong = [(row, problem) for row, problem in problems if problem][:LISTED]
                faults += [Fault(f"tasks.{name}.{split} (row {row})", f"{problem}.") for row, problem in wrong]
    return faults


def _metric_faults(mixture: Mixture, heads: Mapping[str, Any]) -> list[Fault]:
    """The metric that selects must be one that its task has."""
    task, slash, metric = mixture.evaluation.select.partition("/")
    if not slash:
        return []
    known = ["loss", *heads[task].metrics]
    if metric in known:
        return []
    return [Fault("evaluation.select", f"The task '{task}' has no metric '{metric}'.", did_you_mean(metric, known))]


def _plan(mixture: Mixture, heads: Mapping[str, Any], data: Mapping[str, Mapping[str, SplitData]], epochs: int) -> Plan:
    plan = make_plan(mixture, data, epochs)  # type: ignore[arg-type]  # dict is invariant in its values
    rates = plan.sampler.rates()
    batches = plan.batches_of(epochs)
    tasks = {}
    for name, spec in mixture.tasks.items():
        leader = spec.same_rows_as or name
        tasks[name] = {
            "head": spec.head,
            "primary_metric": heads[name].primary_metric,
            "splits": {split: _split_plan(content) for split, content in data[name].items()},
            "batch_size": mixture.batch_size_of(name),
            "max_length": mixture.max_length_of(name),
            "loss_weight": spec.loss_weight,
            "same_rows_as": spec.same_rows_as,
            "rate": rates[leader],
            "batches": batches[leader],
            "passes": batches[leader] / plan.batchers[leader].batches_per_pass,
            "notes": [] if "test" in data[name] else ["no test split: nothing will be reported on test"],
        }
    return {
        "name": mixture.name,
        "encoder": mixture.encoder.name,
        "sampler": mixture.sampler.name,
        "select": mixture.evaluation.select,
        "seed": mixture.seed,
        "epochs": epochs,
        "steps": plan.slots_per_epoch() * epochs,
        "tasks": tasks,
    }


def _split_plan(content: SplitData) -> dict[str, Any]:
    rows, examples = content.row_summary, content.example_summary
    num_examples = len(content.examples)
    return {
        **accounts(content),
        "documents": rows.documents,
        "labels": examples.labels,
        "truncated": examples.truncated / num_examples if num_examples else 0.0,
        "notes": examples.notes,
        "refused_rows": rows.refused + examples.refused,
        "left_out": rows.left_out,
        "fingerprint": rows.fingerprint,
    }


def _for_machines(outcomes: Sequence[tuple[str, list[Fault], Plan]]) -> Any:
    reports = [
        {"file": file, "ok": not faults, "faults": [fault.to_dict() for fault in faults], "plan": plan}
        for file, faults, plan in outcomes
    ]
    return reports[0] if len(reports) == 1 else reports


def _print(file: str, faults: Sequence[Fault], plan: Plan) -> None:
    console = Console(highlight=False)
    console.width = max(console.width, 120)
    if faults:
        console.print(f"[bold red]{file}: {len(faults)} fault{'s' if len(faults) > 1 else ''}[/]")
        for fault in faults:
            console.print(f"  {fault}", markup=False, soft_wrap=True)
        return
    console.print(
        f"[bold]{plan['name']}[/]: encoder {plan['encoder']}, sampler {plan['sampler']}, "
        f"{plan['steps']} steps in {plan['epochs']} epoch(s), select by {plan['select']}"
    )
    console.print(_task_table(plan))
    console.print(_split_table(plan))
    for name, task in plan["tasks"].items():
        for note in [*task["notes"], *_accounts_notes(task)]:
            console.print(f"{name}: {note}", markup=False, soft_wrap=True)


def _task_table(plan: Plan) -> Table:
    table = Table("task", "head", "metric", *_right("rate", "batches", "passes", "batch", "length", "weight"))
    for name, task in plan["tasks"].items():
        rate = f"with {task['same_rows_as']}" if task["same_rows_as"] else f"{task['rate']:.3f}"
        passes = f"{task['passes']:.2f}"
        numbers = (task["batches"], passes, task["batch_size"], task["max_length"], task["loss_weight"])
        table.add_row(name, task["head"], task["primary_metric"], rate, *map(str, numbers))
    return table


def _split_table(plan: Plan) -> Table:
    table = Table("task", "split", *_right("rows", "documents", "examples", "truncated"), "labels")
    for name, task in plan["tasks"].items():
        for split, content in task["splits"].items():
            labels = ", ".join(f"{label} {count}" for label, count in content["labels"].items())
            numbers = (content["used"], content["documents"], content["examples"], f"{content['truncated']:.1%}")
            table.add_row(name, split, *map(str, numbers), labels)
    return table


def _accounts_notes(task: Mapping[str, Any]) -> list[str]:
    """Where rows went that aren't used."""
    notes = []
    for split, content in task["splits"].items():
        notes += [f"{split}: left out: {count} x {reason}" for reason, count in content["left_out"].items()]
        notes += [f"{split}: {count} labels {kind.replace('_', ' ')}" for kind, count in content["notes"].items()]
        if content["crossed"]:
            notes.append(f"{split}: {content['crossed']} rows dropped, their groups are in different splits")
        if content["unlabelled"]:
            notes.append(f"{split}: {content['unlabelled']} rows without a label aren't used")
        if content["refused"]:
            notes.append(f"{split}: {content['refused']} refused; the first: {content['refused_rows'][0]}")
    return notes


def _right(*names: str) -> list[Any]:
    from rich.table import Column

    return [Column(name, justify="right") for name in names]
