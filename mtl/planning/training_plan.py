"""The plan of a training: tasks, rows, steps and first weights."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mtl.batching.passes import DefaultLength, default_length
from mtl.batching.schedule import StepSchedule, UpdateGrid, make_schedule, planned_updates
from mtl.config.curriculum import end_problems
from mtl.config.encoder_catalogue import entry_reasons
from mtl.config.mixture import Mixture, PhaseSpec
from mtl.data.examples import SplitData, accounts
from mtl.data.leakage_gate import Leakage
from mtl.data.row_problems import shown_refusals
from mtl.encoder.families import padding_reasons
from mtl.encoder.location import start_reasons
from mtl.encoder.outline import EncoderOutline
from mtl.encoder.pretrained import load_config
from mtl.evaluation.resampling_units import unit_counts
from mtl.evaluation.surfaces import TrainMentions, mention_overlap
from mtl.hashed_ids import shown_id
from mtl.messages import counted
from mtl.problems import InputError
from mtl.redaction import shown
from mtl.seeding import separate_draws
from mtl.training.learning_rates import default_rate, rate_reason

MixturePlan = dict[str, Any]
"""What would run, as JSON types; `mtl check --json` prints it."""

SHOWN_LABELS = 10
"""Maximum number of labels that a note names."""


class TrainingSettings(NamedTuple):
    """What a config file of `mtl fit` sets; None where it sets nothing."""

    max_epochs: int | None = None
    max_steps: int | None = None
    accumulate: int = 1
    learning_rate: float | None = None


def make_plan(
    mixture: Mixture,
    built: tuple[Mapping[str, Any], Any],
    data: Mapping[str, Mapping[str, SplitData]],
    leakage: Leakage,
    settings: TrainingSettings,
) -> MixturePlan:
    """The plan of a training.

    Args:
        mixture: The mixture.
        built: The head of each task, and the tokenizer of the encoder.
        data: Rows and examples of each task by split.
        leakage: What splits and tasks share.
        settings: What a config file sets.

    Raises:
        InputError: The training does not reach a change of the curriculum, or the encoder has problems.
    """
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
            with separate_draws():
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
    return [*notes, *_label_notes(data), *head.advice(len(train.rows), train.rows.num_pairs)]


def _label_notes(data: Mapping[str, SplitData]) -> Iterator[str]:
    """Labels that have no training example, and labels that are probably one."""
    labels = data["train"].example_summary.labels
    absent = [label for label, number in labels.items() if not number]
    if absent and len(absent) < len(labels):
        more = f" and {len(absent) - SHOWN_LABELS} more" if len(absent) > SHOWN_LABELS else ""
        yield f"train has no example of {', '.join(map(repr, absent[:SHOWN_LABELS]))}{more}"
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for label in labels:
        alike[" ".join(label.casefold().split())].append(label)
    for names in alike.values():
        if len(names) > 1:
            yield f"the labels {', '.join(map(repr, names))} differ only in case or blanks; rename them if they are one"


def _unit_notes(data: Mapping[str, SplitData], unit: str) -> Iterator[str]:
    """How many units the intervals of dev and test resample, and how many of these are in train as well."""
    for split, counts in unit_counts(data, unit).items():
        shared = f"; {counts.in_train} of them are in train too, so scores may be inflated" if counts.in_train else ""
        yield f"{split}: intervals resample {counted(counts.units, 'value')} of '{unit}'{shared}"


def _length(schedule: StepSchedule, settings: TrainingSettings) -> DefaultLength:
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
