"""`mtl check`: checks everything that can be checked without training; prints the plan, or every problem."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from mtl.batching.passes import DefaultLength, default_length
from mtl.batching.schedule import StepSchedule, UpdateGrid, make_schedule, planned_updates
from mtl.commands.arguments import read_config
from mtl.config.curriculum import end_problems
from mtl.config.encoder_catalogue import entry_reasons
from mtl.config.loading import parse_mixture
from mtl.config.mixture import EncoderSpec, Mixture, PhaseSpec
from mtl.config.validation import Readable, leaders, readable_tasks, without_repeats
from mtl.config.yaml_files import read_mixture_fields, read_yaml
from mtl.data.examples import SplitData, TaskData, accounts, prepare, split_problems
from mtl.data.leakage_gate import Leakage, find_leakage
from mtl.data.reading import RowSummary, read_rows
from mtl.data.row_problems import head_problems, shown_refusals
from mtl.data.store import RowTable, Store
from mtl.encoder.families import padding_reasons
from mtl.encoder.location import start_reasons
from mtl.encoder.outline import EncoderOutline
from mtl.encoder.pretrained import load_config
from mtl.evaluation.resampling_units import unit_counts, unit_problems
from mtl.evaluation.surfaces import MentionOverlap, TrainMentions, mention_overlap
from mtl.hashed_ids import shown_id
from mtl.messages import counted
from mtl.problems import InputError, Problem, did_you_mean
from mtl.readers import SPLITS
from mtl.redaction import shown
from mtl.training.assembly import build_heads
from mtl.training.learning_rates import default_rate, rate_reason

MixturePlan = dict[str, Any]


class CheckResult(NamedTuple):
    """What a check of a mixture found.

    Args:
        problems: Every problem in the mixture and its data.
        plan: What would run, as `mtl check --json` prints it: encoder, number of steps and epochs, learning rate, and
            for each task its rows, rate and maximum length. Empty if there are problems.
    """

    problems: list[Problem]
    plan: MixturePlan


def check(source: Any, overrides: Sequence[str] = (), *, epochs: int | None = None) -> CheckResult:
    """Checks a mixture and its data, without training.

    >>> check({"name": "inference", "tasks": {}}).problems[0].key
    'tasks'

    Args:
        source: A mixture file, a config file of `mtl fit` that names one, or the fields of a mixture.
        overrides: ``key=value`` with dotted keys.
        epochs: Number of epochs to plan for; None takes the number in the config file, or the default for the sizes of
            the tasks.
    """
    try:
        fields, settings = _read(source, overrides)
        if epochs is not None:
            settings = settings._replace(max_epochs=epochs, max_steps=None)
    except InputError as error:
        return CheckResult(error.problems, {})
    problems: list[Problem] = []
    try:
        mixture = parse_mixture(fields)
        fields = mixture.to_dict()  # without the tasks that `only` excludes
        leakage = find_leakage(mixture)
        problems += leakage.problems()
        heads, tokenizer = build_heads(mixture)
        problems += _metric_problems(mixture, heads)
        if not problems:
            mixture = leakage.applied(mixture)
        data = prepare(mixture, heads, tokenizer)
        problems += _group_problems(mixture, data)
        problems += unit_problems(data, mixture.evaluation.unit)
        plan = _plan(mixture, (heads, tokenizer), data, leakage, settings)
    except InputError as error:
        found = [*error.problems, *problems, *_encoder_problems(fields), *_data_problems(fields)]
        return CheckResult(without_repeats(found, leaders(fields)), {})
    return CheckResult(problems, {} if problems else plan)


def main(arguments: Sequence[str]) -> int:
    """Runs `mtl check FILE… [key=value…] [--json]`; returns 0 if every file is valid, else 2."""
    parser = argparse.ArgumentParser("mtl check", description="Prints what would run, or every problem.")
    parser.add_argument(
        "words", nargs="+", metavar="FILE | KEY=VALUE", help="mixture files, and overrides that apply to all of them"
    )
    parser.add_argument("--json", action="store_true", help="print JSON with `ok`, `errors` and `plan` for each file")
    parser.add_argument(
        "--epochs",
        type=_epochs,
        help="number of epochs to plan for (default: as `mtl fit` would train)",
    )
    options = parser.parse_args(arguments[1:])
    files = [word for word in options.words if "=" not in word or Path(word).is_file()]
    overrides = [word for word in options.words if word not in files]
    if not files:
        parser.error("at least one mixture file is required")
    outcomes = [(word, *_outcome(word, overrides, options.epochs)) for word in files]
    if options.json:
        print(json.dumps(_json(outcomes), indent=2))
    else:
        for file, problems, plan in outcomes:
            _print(file, problems, plan)
    return 2 if any(problems for _, problems, _ in outcomes) else 0


def _outcome(word: str, overrides: Sequence[str], epochs: int | None) -> CheckResult:
    """The problems and the plan of an argument that is not an override."""
    if Path(word).is_file():
        return check(word, overrides, epochs=epochs)
    message = "This is neither an existing file nor an override of the form key=value."
    return CheckResult([Problem(word, message, "Check the path, or write KEY=VALUE.")], {})


class _Settings(NamedTuple):
    """What a config file of `mtl fit` sets; None where it sets nothing."""

    max_epochs: int | None = None
    max_steps: int | None = None
    accumulate: int = 1
    learning_rate: float | None = None


def _read(source: Any, overrides: Sequence[str]) -> tuple[dict[str, Any], _Settings]:
    """The fields of a mixture, which a Lightning config file may name, and the settings of that file."""
    folder, settings = None, _Settings()
    content = read_yaml(Path(source)) if isinstance(source, str | Path) else {}
    if content.get("mixture") is not None and "tasks" not in content:
        config = read_config(Path(source))
        source, folder, overrides = config.mixture, config.folder, [*config.overrides, *overrides]
        settings = _settings(config.rest)
    return read_mixture_fields(source, overrides, folder=folder), settings


def _settings(content: Mapping[str, Any]) -> _Settings:
    trainer, model = (part if isinstance(part := content.get(name), dict) else {} for name in ("trainer", "model"))

    def number(value: Any) -> int | None:
        return value if isinstance(value, int) and value > 0 else None

    rate = model.get("learning_rate")
    return _Settings(
        number(trainer.get("max_epochs")),
        number(trainer.get("max_steps")),
        number(trainer.get("accumulate_grad_batches")) or 1,
        rate if isinstance(rate, int | float) else None,
    )


def _encoder_problems(fields: Mapping[str, Any]) -> list[Problem]:
    """Problems with the encoder of a mixture that has problems elsewhere; those of `init` are reported already."""
    if fields.get("init") is not None:
        return []
    try:
        load_config(EncoderSpec(**fields.get("encoder", {})))
    except InputError as error:
        return error.problems
    except (ValidationError, TypeError):
        pass  # its keys are invalid, which is already reported
    return []


def _data_problems(fields: Mapping[str, Any]) -> list[Problem]:
    """Problems in the data of all tasks that can be read despite other problems."""
    store = Store()
    return [problem for name, task in readable_tasks(fields).items() for problem in _rows_problems(name, task, store)]


def _rows_problems(name: str, task: Readable, store: Store) -> list[Problem]:
    key = f"tasks.{name}.data"
    try:
        splits = read_rows(task.data, key, store)
    except InputError as error:
        # Read again without the bad rows, to report problems in the other rows as well.
        lenient = task.data.model_copy(update={"on_bad_row": "skip"})
        try:
            splits = read_rows(lenient, key, store)
        except InputError:
            return error.problems
        whole = [s for s in SPLITS if s not in splits or not splits[s][1].num_refused]
        return [*error.problems, *split_problems(key, splits, whole), *_head_problems(name, task, splits)]
    return [*split_problems(key, splits), *_head_problems(name, task, splits)]


def _head_problems(name: str, task: Readable, splits: Mapping[str, tuple[RowTable, RowSummary]]) -> list[Problem]:
    rows = {split: table for split, (table, _) in splits.items()}
    return [] if task.head is None else head_problems(name, task.head, rows, task.data, shared=task.shared)


def _group_problems(mixture: Mixture, data: Mapping[str, TaskData]) -> list[Problem]:
    """A problem for each group that no row of any task can be in."""
    lacking = set(mixture.evaluation.groups)
    rows = (row for splits in data.values() for content in splits.values() for row in content.rows)
    for row in rows if lacking else ():
        lacking -= row.meta.keys()
        if not lacking:
            break
    return [
        Problem("evaluation.groups", f"No row has '{field}' in its meta.", "Name it in the `meta` of a task's reader.")
        for field in mixture.evaluation.groups
        if field in lacking
    ]


def _metric_problems(mixture: Mixture, heads: Mapping[str, Any]) -> list[Problem]:
    """A problem if the selection metric is not a metric of its task."""
    task, slash, metric = mixture.evaluation.select.partition("/")
    if not slash:
        return []
    known = ["loss", *heads[task].metrics]
    if metric in known:
        return []
    return [Problem("evaluation.select", f"The task '{task}' has no metric '{metric}'.", did_you_mean(metric, known))]


def _plan(
    mixture: Mixture,
    built: tuple[Mapping[str, Any], Any],
    data: Mapping[str, Mapping[str, SplitData]],
    leakage: Leakage,
    settings: _Settings,
) -> MixturePlan:
    heads, tokenizer = built
    schedule = make_schedule(mixture, data, 1)
    length = _length(schedule, settings)
    epochs = length.epochs
    updates = UpdateGrid(-(-schedule.steps_per_epoch() // settings.accumulate), settings.accumulate)
    problems = end_problems(mixture, planned_updates(updates.per_epoch, epochs, settings.max_steps or -1))
    if problems:
        raise InputError(problems)
    schedule = make_schedule(mixture, data, epochs, updates)
    encoder = load_config(mixture.encoder)
    padded = padding_reasons(mixture.encoder, encoder)
    rate, of_encoder = settings.learning_rate, mixture.encoder.name
    rates = schedule.rates()
    batches = schedule.batches_of(epochs)
    starts = _starts(mixture, heads)
    tasks = {}
    for name, spec in mixture.tasks.items():
        leader = spec.same_rows_as or name
        tasks[name] = {
            "head": spec.head,
            "primary_metric": heads[name].primary_metric,
            "splits": _split_plans(heads[name], data[name], _unknown_token(tokenizer)),
            "batch_size": None if mixture.tokens_per_batch_of(name) else mixture.batch_size_of(name),
            "tokens_per_batch": mixture.tokens_per_batch_of(name),
            "max_length": mixture.max_length_of(name),
            "loss_weight": spec.loss_weight,
            "same_rows_as": spec.same_rows_as,
            "rate": rates.get(leader, 0.0),
            "batches": batches[leader],
            "passes": batches[leader] / schedule.batchers[leader].batches_per_pass if batches[leader] else 0.0,
            "shared": leakage.within(name),
            "first_weights": heads[name].first_weights,
            "notes": [
                *_task_notes(heads[name], data[name]),
                *starts[name],
                *_unit_notes(data[name], mixture.evaluation.unit),
            ],
        }
    return {
        "name": mixture.name,
        "encoder": mixture.encoder.name,
        "encoder_reasons": {**entry_reasons(mixture.encoder), **start_reasons(mixture.encoder), **padded},
        "packed": not padded,
        "sampler": mixture.sampler.name,
        "balancing": mixture.balancing.name,
        "select": mixture.evaluation.select,
        "seed": mixture.seed,
        "epochs": epochs,
        "epochs_reason": length.reason,
        "learning_rate": default_rate(encoder.hidden_size, of_encoder).learning_rate if rate is None else rate,
        "learning_rate_reason": rate_reason(rate, encoder.hidden_size, of_encoder),
        "tasks_per_step": schedule.tasks_per_step,
        "steps": schedule.steps_per_epoch() * epochs,
        "curriculum": [_phase_plan(phase, updates) for phase in mixture.curriculum],
        "leakage": {**leakage.to_dict(name=shown_id), "notes": {name: leakage.notes_of(name) for name in tasks}},
        "tasks": tasks,
    }


def _phase_plan(phase: PhaseSpec, updates: UpdateGrid) -> dict[str, Any]:
    """An entry of the curriculum: its first update, the epoch of that, and what changes."""
    return {"from_step": phase.from_step, "epoch": phase.from_step // updates.per_epoch, "changes": phase.options}


def _starts(mixture: Mixture, heads: Mapping[str, Any]) -> dict[str, list[str]]:
    """What there is to say about the first weights of each head, after attaching it to an outline of the encoder."""
    outline = EncoderOutline(mixture.encoder)
    found: dict[str, list[str]] = {}
    for name, head in heads.items():
        try:
            with torch.random.fork_rng():
                note = head.attach(outline)
        except InputError:  # the weights are not on this machine yet
            note = "whether the encoder has weights for this head is unknown until it is downloaded"
        taken = [f"first weights from the {head.first_weights}"] if head.first_weights not in (None, "random") else []
        found[name] = [*taken, *([note] if note is not None else [])]
    if mixture.init is not None and mixture.init.heads != "none":
        from mtl.training.matching_heads import load_matching, matching_tasks  # imports Lightning, which takes seconds

        matching = matching_tasks(mixture)
        load_matching(heads, mixture, matching)
        found |= {name: [f"first weights from the {heads[name].first_weights}"] for name in matching}
    return found


def _task_notes(head: Any, data: Mapping[str, SplitData]) -> list[str]:
    train = data["train"]
    notes = [] if "test" in data else ["no test split, so no test scores are reported"]
    return [*notes, *head.advice(len(train.rows), train.rows.num_pairs)]


def _unit_notes(data: Mapping[str, SplitData], unit: str) -> Iterator[str]:
    """How many units the intervals of dev and test resample, and how many of these are in train as well."""
    for split, counts in unit_counts(data, unit).items():
        shared = f"; {counts.in_train} of them are in train too, so scores may be inflated" if counts.in_train else ""
        yield f"{split}: intervals resample {counted(counts.units, 'value')} of '{unit}'{shared}"


def _length(schedule: StepSchedule, settings: _Settings) -> DefaultLength:
    """The number of epochs to plan for, with its reason; the last epoch may be cut short by `max_steps`."""
    if settings.max_epochs is None and settings.max_steps is None:
        return default_length(schedule)
    updates_per_epoch = -(-schedule.steps_per_epoch() // settings.accumulate)
    by_steps = None if settings.max_steps is None else -(-settings.max_steps // updates_per_epoch)
    limits = [limit for limit in (settings.max_epochs, by_steps) if limit is not None]
    return DefaultLength(min(limits), "set")


def _unknown_token(tokenizer: Any) -> int | None:
    """The id of the token for what is not in the vocabulary; None if there is none of its own."""
    others = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id}
    found: int | None = tokenizer.unk_token_id
    return None if found in others else found


def _split_plans(head: Any, data: Mapping[str, SplitData], unknown: int | None) -> dict[str, dict[str, Any]]:
    """The plan of each split; dev and test of a task with mentions have what train knows of them."""
    plans = {split: _split_plan(content, unknown) for split, content in data.items()}
    if head.mention_types:
        train = TrainMentions(data["train"].rows, head.mention_types)
        for split in plans.keys() - {"train"}:
            plans[split]["surfaces"] = mention_overlap(head, train, data[split].rows)._asdict()
    return plans


def _split_plan(content: SplitData, unknown: int | None) -> dict[str, Any]:
    rows, examples = content.row_summary, content.example_summary
    num_examples = len(content.examples)
    return {
        **accounts(content),
        "documents": rows.documents,
        "labels": examples.labels,
        "truncated": examples.truncated / num_examples if num_examples else 0.0,
        "tokens": int(content.lengths.sum()),
        "unknown_tokens": content.examples.num_equal("input_ids", unknown)
        if unknown is not None and num_examples
        else 0,
        "notes": examples.notes,
        "refused_rows": [*rows.refused, *shown_refusals(examples.refused, content.rows)],
        "left_out": rows.left_out,
        "adjusted": rows.adjusted,
        "noted": rows.noted,
        "contradictory": rows.contradictory,
        "sources": _shown_sources(rows.sources),
        "weighted": rows.weighted,
        "fingerprint": rows.fingerprint,
    }


def _shown_sources(sources: Mapping[str, int]) -> dict[str, int]:
    """The number of rows by source; of a source that is not a name, and may be text of a row, only the length."""
    found: Counter[str] = Counter()
    for source, rows in sources.items():
        found[shown(source, "a source")] += rows
    return dict(found)


def _json(outcomes: Sequence[tuple[str, list[Problem], MixturePlan]]) -> dict[str, Any]:
    """The report of one file, or the reports of several files as a list under `files`."""
    reports = [
        {"file": file, "ok": not problems, "errors": [problem.to_dict() for problem in problems], "plan": plan}
        for file, problems, plan in outcomes
    ]
    return reports[0] if len(reports) == 1 else {"ok": all(report["ok"] for report in reports), "files": reports}


def _print(file: str, problems: Sequence[Problem], plan: MixturePlan) -> None:
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


def _epochs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be an integer of at least 1")
    return int(text)


def _right(*names: str) -> list[Column]:
    return [Column(name, justify="right") for name in names]
