"""Checks everything about a mixture and its data that can be checked without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from mtl.config.config_file import read_config
from mtl.config.loading import parse_mixture
from mtl.config.mixture import EncoderSpec, Mixture
from mtl.config.validation import Readable, leaders, readable_tasks, without_repeats
from mtl.config.yaml_files import read_mixture_fields, read_yaml
from mtl.data.examples import TaskData, prepare, split_problems
from mtl.data.leakage_gate import find_leakage
from mtl.data.reading import RowSummary, read_rows
from mtl.data.row_problems import head_problems
from mtl.data.store import RowTable, Store
from mtl.encoder.pretrained import load_config
from mtl.evaluation.resampling_units import unit_problems
from mtl.planning.training_plan import MixturePlan, TrainingSettings, make_plan
from mtl.problems import InputError, Problem, did_you_mean
from mtl.readers import SPLITS
from mtl.training.assembly import build_heads


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
        plan = make_plan(mixture, (heads, tokenizer), data, leakage, settings)
    except InputError as error:
        found = [*error.problems, *problems, *_encoder_problems(fields), *_data_problems(fields)]
        return CheckResult(without_repeats(found, leaders(fields)), {})
    return CheckResult(problems, {} if problems else plan)


def _read(source: Any, overrides: Sequence[str]) -> tuple[dict[str, Any], TrainingSettings]:
    """The fields of a mixture, which a Lightning config file may name, and the settings of that file."""
    folder, settings = None, TrainingSettings()
    content = read_yaml(Path(source)) if isinstance(source, str | Path) else {}
    if content.get("mixture") is not None and "tasks" not in content:
        config = read_config(Path(source))
        source, folder, overrides = config.mixture, config.folder, [*config.overrides, *overrides]
        settings = _settings(config.rest)
    return read_mixture_fields(source, overrides, folder=folder), settings


def _settings(content: Mapping[str, Any]) -> TrainingSettings:
    trainer, model = (part if isinstance(part := content.get(name), dict) else {} for name in ("trainer", "model"))

    def number(value: Any) -> int | None:
        return value if isinstance(value, int) and value > 0 else None

    rate = model.get("learning_rate")
    return TrainingSettings(
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
