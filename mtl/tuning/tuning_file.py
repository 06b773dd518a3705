"""The keys of tuning files, and how they are loaded: mixture, searched values, seeds and objective.

All problems of a file are reported together: its own keys, every searched value, the mixture and its data. The values
are checked by the functions that check the arguments of `mtl check` and `mtl fit`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, TypeAdapter

from mtl.config import schema
from mtl.config.loading import parse_mixture
from mtl.config.mixture import Count, Mixture, Section, TaskSpec, build_head
from mtl.config.validation import mixture_problems
from mtl.config.yaml_files import (
    find_file,
    merge,
    parse_overrides,
    read_mixture_fields,
    read_yaml,
    require_known_key,
    resolve,
    with_numbers,
)
from mtl.files import folder_name
from mtl.problems import InputError, Problem, did_you_mean
from mtl.redaction import strings
from mtl.training.assembly import build_heads
from mtl.tuning.search_space import (
    FIT_SECTIONS,
    Choices,
    NumberRange,
    SearchSpace,
    Values,
    fit_sections,
    is_of_fit,
    mixture_overrides,
    num_combinations,
    written_value,
)
from mtl.tuning.suggestions import MIN_WILCOXON_SEEDS

SELECTION = "val/selection"
"""The objective by default: the score that selects the best evaluation of a mixture on dev."""

MAX_CHECKED = 500
"""Largest number of combinations of a grid that are all checked before anything trains."""

DEFAULT_TRIALS = 20

_OTHER_MEASURE = {
    "name": "it names the folder of the runs",
    "seed": "each trial is trained with every seed of `seeds`",
    "evaluation": "it would change what the objective measures",
    "leakage": "it would change what the objective measures",
    "privacy": "it has no influence on scores",
    "tasks": "tasks are searched by one of their keys",
    "include": "each trial would be another mixture",
    "only": "it would change what the objective measures",
}
"""Why keys of a mixture cannot be searched."""

_OTHER_MEASURE_OF_TASK = ("head", "data", "labels", "primary_metric")
_TRAINER_BOOKKEEPING = {
    **dict.fromkeys(
        ("logger", "callbacks", "default_root_dir", "profiler", "plugins"), "it has no influence on scores"
    ),
    **dict.fromkeys(("enable_checkpointing", "barebones"), "runs are resumed from their checkpoints"),
    **dict.fromkeys(("fast_dev_run", "limit_val_batches", "overfit_batches"), "it would change what is evaluated"),
}


class RangeSpec(Section):
    """The keys of a range of numbers; see `NumberRange`.

    Args:
        low: Lowest value; a range whose bounds are integers has integers.
        high: Highest value.
        log: Whether values are drawn on a logarithmic scale.
        step: Distance between values; None draws any value of the range.
    """

    low: StrictInt | StrictFloat
    high: StrictInt | StrictFloat
    log: StrictBool = False
    step: StrictInt | StrictFloat | None = None


class TuningSpec(Section):
    """A search. `load_tuning` reads one from a file.

    Args:
        name: Name of the search, in MLflow and of its folder.
        mixture: Path of a mixture file, relative to the tuning file, or the fields of a mixture.
        search: Searched values by key: a list of values, or `{low, high, log, step}`. Keys are those of `mtl fit`
            (`model.learning_rate`, `trainer.max_epochs`) and those of the mixture (`tasks.gad.rate`).
        sampler: `grid` tries all combinations, `tpe` prefers values like those that were good, `random` draws.
        sampler_seed: Seed of the sampler.
        trials: Number of trials; None takes 20, and with `grid` all combinations.
        seeds: Number of seeds of each trial, counted from 0, or a list of seeds.
        objective: Score on dev that is searched for: `val/selection`, or `val/TASK/METRIC`.
        prune: How bad trials are ended early: `median` stops a training whose evaluations are below the median of the
            earlier trials, `wilcoxon` leaves out the remaining seeds of a trial that is significantly worse than the
            best one; None ends none.
        model: Learning rates and their schedule, as in `model` of `mtl fit`.
        trainer: Options of the trainer, as in `trainer` of `mtl fit`.
        early_stopping: When a training stops by itself, as in `early_stopping` of `mtl fit`.
        guard: What happens to updates that would harm the training, as in `guard` of `mtl fit`.
        experiment: Name of the MLflow experiment.
    """

    name: StrictStr
    mixture: StrictStr | dict[str, Any]
    search: dict[StrictStr, list[Any] | RangeSpec]
    sampler: Literal["grid", "tpe", "random"] = "tpe"
    sampler_seed: StrictInt = 0
    trials: Count | None = None
    seeds: StrictInt | tuple[StrictInt, ...] = 2
    objective: StrictStr = SELECTION
    prune: Literal["median", "wilcoxon"] | None = None
    model: dict[str, Any] = Field(default_factory=dict)
    trainer: dict[str, Any] = Field(default_factory=dict)
    early_stopping: dict[str, Any] = Field(default_factory=dict)
    guard: dict[str, Any] = Field(default_factory=dict)
    experiment: StrictStr = "biomtl-tuning"

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """The fixed options of `mtl fit`, by section."""
        return {name: getattr(self, name) for name in FIT_SECTIONS if getattr(self, name)}


class Checks(NamedTuple):
    """The validators of `mtl check` and `mtl fit`.

    Args:
        mixture: Returns the problems of the fields of a mixture and of its data, and its plan.
        options: Returns the problems of options of `mtl fit`, by section.
    """

    mixture: Callable[[Mapping[str, Any]], tuple[list[Problem], dict[str, Any]]]
    options: Callable[[Mapping[str, Mapping[str, Any]]], list[Problem]]


class MixtureSource(NamedTuple):
    """Where the mixture of a search is.

    Args:
        origin: The mixture file, or its fields.
        folder: Folder in which relative paths of the fields are looked up first.
    """

    origin: Path | Mapping[str, Any]
    folder: Path

    def fields(self, values: Mapping[str, Any], *more: str) -> dict[str, Any]:
        """The fields of the mixture with values of a trial and further overrides."""
        folder = None if isinstance(self.origin, Path) else self.folder.absolute()
        return read_mixture_fields(self.origin, [*mixture_overrides(values), *more], folder=folder)


@dataclass(frozen=True)
class Tuning:
    """A search that can start.

    Args:
        spec: Its settings.
        space: The searched values by key, in the order of the file.
        source: Where the mixture is.
        is_minimized: Whether a lower objective is better.
        fingerprints: Fingerprints of the rows of train and dev, by task and split.
    """

    spec: TuningSpec
    space: SearchSpace
    source: MixtureSource
    is_minimized: bool
    fingerprints: Mapping[str, Any]

    @property
    def num_trials(self) -> int:
        """Number of trials to ask for, at most."""
        size = num_combinations(self.space)
        wanted = size if self.spec.sampler == "grid" else self.spec.trials or DEFAULT_TRIALS
        return int(wanted)

    def mixture(self, values: Mapping[str, Any], seed: int) -> Mixture:
        """The mixture of a trial.

        Args:
            values: Values of the trial by key.
            seed: Seed of the training.

        Raises:
            InputError: The mixture is invalid.
        """
        return parse_mixture(self.source.fields(values, f"seed={seed}"))

    def description(self) -> dict[str, Any]:
        """What makes trials comparable; a search is only resumed if it is the same."""
        spec = self.spec
        return {
            "mixture": self.mixture(first_values(self.space), 0).to_dict(),
            "options": spec.sections,
            "search": {key: values.__dict__ for key, values in self.space.items()},
            "seeds": list(spec.seed_list),
            "objective": spec.objective,
            "sampler": [spec.sampler, spec.sampler_seed],
            "prune": spec.prune,
            "data": self.fingerprints,
        }


def first_values(space: SearchSpace) -> dict[str, Any]:
    """The first value of each key, with which the values of the other keys are checked."""
    return {key: values.examples[0] for key, values in space.items()}


def load_tuning(path: Path | str, overrides: Sequence[str], checks: Checks) -> Tuning:
    """Reads a tuning file and its mixture.

    Args:
        path: Path of the YAML file.
        overrides: ``key=value`` with dotted keys of the file.
        checks: The validators of `mtl check` and `mtl fit`.

    Raises:
        InputError: The file, the mixture or a searched value is invalid; the error lists all problems.
    """
    path = Path(path)
    fields = read_yaml(path)
    require_known_key(path, fields, schema.keys_of(TuningSpec))
    # Interpolations of the mixture belong to it, and keys of `search` have dots.
    apart: dict[str, Any] = {name: fields.pop(name) for name in ("mixture", "search") if name in fields}
    changes = parse_overrides(overrides)
    refused = [
        Problem(name, "cannot be overridden here.", "Edit the tuning file.") for name in apart if name in changes
    ]
    if refused:
        raise InputError(refused)
    written = merge(fields, changes)
    fields = {**with_numbers(resolve(written), written, TuningSpec), **apart}
    for name, value in apart.items():
        if name == "search" or isinstance(value, str):
            fields[name] = resolve({name: value})[name]
    return tuning_of(fields, path.parent, checks)


def tuning_of(fields: Mapping[str, Any], folder: Path, checks: Checks) -> Tuning:
    """Builds a search from its fields.

    Args:
        fields: Fields of the tuning file.
        folder: Folder in which paths are looked up first.
        checks: The validators of `mtl check` and `mtl fit`.

    Raises:
        InputError: As for `load_tuning`.
    """
    mismatches = schema.mismatches(TypeAdapter(TuningSpec), dict(fields))
    problems = [schema.problem_of(mismatch, _section) for mismatch in mismatches]
    broken = {str(mismatch.place[0]) for mismatch in mismatches if mismatch.place}
    whole: dict[str, Any] = {"name": "unnamed", "mixture": {}, "search": {}}
    whole |= {key: value for key, value in fields.items() if key not in broken}
    spec = TuningSpec(**{key: value for key, value in whole.items() if key in TuningSpec.model_fields})
    search = fields.get("search")
    space, found = _space(search if isinstance(search, Mapping) else {})
    problems += found
    problems += _spec_problems(spec, space, broken)
    tuning = None
    try:
        source = _source(spec.mixture, folder) if "mixture" not in broken else None
        if source is not None:
            tuning, found = _checked(spec, space, source, checks, broken)
            problems += found
    except InputError as error:
        problems += [Problem(f"mixture: {one.key}", one.message, one.suggestion) for one in error.problems]
    if problems or tuning is None:
        texts = strings(dict(fields))
        raise InputError([problem.without(texts) for problem in dict.fromkeys(problems)])
    return tuning


# --- the file's own keys ----------------------------------------------------------------------------------------------


def _section(place: Sequence[str | int]) -> type[Any]:
    """The section of a tuning file that a key at this place belongs to."""
    return RangeSpec if place[:1] == ("search",) else TuningSpec


def _spec_problems(spec: TuningSpec, space: SearchSpace, broken: set[str]) -> list[Problem]:
    problems: list[Problem] = []
    try:
        folder_name(spec.name)
    except InputError as error:
        problems += error.problems
    seeds = spec.seed_list
    if "seeds" not in broken and (not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0):
        problems.append(
            Problem("seeds", f"must be at least one different seed of at least 0, got {spec.seeds}.", "Write seeds: 2.")
        )
    elif spec.prune == "wilcoxon" and len(seeds) < MIN_WILCOXON_SEEDS:
        message = f"'wilcoxon' compares seeds and needs at least {MIN_WILCOXON_SEEDS}, got {len(seeds)}."
        problems.append(Problem("prune", message, "Use more seeds, or prune: median."))
    if not {"sampler", "trials", "search"} & broken and spec.sampler == "grid":
        problems += _grid_problems(spec, space)
    return problems


def _grid_problems(spec: TuningSpec, space: SearchSpace) -> list[Problem]:
    problems = [
        Problem(f"search.{key}", "must be a list of values for the sampler 'grid', got a range.", "List values.")
        for key, values in space.items()
        if isinstance(values, NumberRange)
    ]
    size = num_combinations(space)
    if not problems and spec.trials is not None and spec.trials < size:
        message = f"must be at least {size}, the number of combinations of a grid, got {spec.trials}."
        problems.append(Problem("trials", message, "Leave it out, or use the sampler tpe or random."))
    return problems


def _space(search: Mapping[Any, Any]) -> tuple[dict[str, Values], list[Problem]]:
    """The searched values that are valid so far, and the problems of the others."""
    space: dict[str, Values] = {}
    problems: list[Problem] = []
    if not search:
        problems.append(
            Problem("search", "must have at least one key.", "Write search: {model.learning_rate: [1e-4]}.")
        )
    for key, written in search.items():
        found = [*_key_problems(str(key)), *_values_problems(str(key), written)]
        problems += found
        if not found and isinstance(written, list):
            space[str(key)] = Choices(tuple(written))
        elif not found and not schema.mismatches(TypeAdapter(RangeSpec), written):
            space[str(key)] = NumberRange(**RangeSpec(**written).model_dump())
    return space, problems


def _key_problems(key: str) -> list[Problem]:
    """A problem if values of a key cannot be compared, or have no influence."""
    first, _, rest = key.partition(".")
    reason = None
    if first in FIT_SECTIONS and not rest:
        reason = "options are searched one by one"
    elif first == "trainer":
        reason = _TRAINER_BOOKKEEPING.get(rest.partition(".")[0])
    elif first == "run":
        reason = "it has no influence on scores"
    elif first == "tasks" and rest.count("."):
        reason = "it would change what the objective measures" if rest.split(".")[1] in _OTHER_MEASURE_OF_TASK else None
    elif first not in FIT_SECTIONS:
        reason = _OTHER_MEASURE.get(first)
    return [] if reason is None else [Problem(f"search.{key}", f"cannot be searched: {reason}.", "Remove the key.")]


def _values_problems(key: str, written: Any) -> list[Problem]:
    if isinstance(written, list):
        if not written:
            return [Problem(f"search.{key}", "must have at least one value, got none.", "List values.")]
        texts = Choices(tuple(written)).written
        if len(set(texts)) < len(texts):
            return [Problem(f"search.{key}", "must not list a value twice.", "Remove the duplicate.")]
        return []
    if schema.mismatches(TypeAdapter(RangeSpec), written):
        return []  # which the schema reports
    number_range = NumberRange(**RangeSpec(**written).model_dump())
    if not number_range.low < number_range.high:
        return [Problem(f"search.{key}.high", f"must be above low ({number_range.low}), got {number_range.high}.")]
    if number_range.log and number_range.low <= 0:
        return [Problem(f"search.{key}.low", f"must be above 0 with log: true, got {number_range.low}.")]
    if number_range.step is not None and (number_range.log or number_range.step <= 0):
        return [Problem(f"search.{key}.step", "must be above 0, and cannot be combined with log: true.")]
    return []


def _source(mixture: str | Mapping[str, Any], folder: Path) -> MixtureSource:
    if not isinstance(mixture, str):
        return MixtureSource(mixture, folder)
    return MixtureSource(find_file(mixture, folder, "file", "tuning").resolve(), folder)


# --- the mixture, the options and the searched values -----------------------------------------------------------------


def _checked(
    spec: TuningSpec, space: SearchSpace, source: MixtureSource, checks: Checks, broken: set[str]
) -> tuple[Tuning | None, list[Problem]]:
    """The search, and every problem of its mixture, its options and its values."""
    of_mixture = {key: values for key, values in space.items() if not is_of_fit(key)}
    first = first_values(of_mixture)

    def mixture_with(values: Mapping[str, Any]) -> tuple[list[Problem], dict[str, Any]]:
        return checks.mixture(source.fields({**first, **values}))

    base, plan = mixture_with({})
    problems = [
        Problem(f"mixture: {one.key}", one.message, one.suggestion)
        for one in base
        if not any(_is_about(one.key, key) for key in of_mixture)
    ]
    for key, value in _examples(of_mixture):
        found = base if value == first[key] else mixture_with({key: value})[0]
        own = [one for one in found if _is_about(one.key, key) or one not in base]
        problems += [_of_value(key, value, one) for one in own]
    fixed = {name: section for name, section in spec.sections.items() if name not in broken}
    problems += _option_problems(fixed, space, checks)
    if not problems and spec.sampler == "grid":
        problems += _combination_problems(space, source)
    is_minimized, found = _objective_problems(spec.objective, _valid_mixture(source, first))
    if base:
        return None, problems + found
    fingerprints = {
        task: {split: about["splits"][split]["fingerprint"] for split in ("train", "dev") if split in about["splits"]}
        for task, about in plan.get("tasks", {}).items()
    }
    return Tuning(spec, space, source, is_minimized, fingerprints), problems + found


def _valid_mixture(source: MixtureSource, first: Mapping[str, Any]) -> Mixture | None:
    """The mixture with the first values, or without the searched ones; None if both are invalid."""
    for values in (first, {}):
        try:
            return parse_mixture(source.fields(values))
        except InputError:  # which is reported elsewhere
            continue
    return None


def _examples(space: SearchSpace) -> Iterator[tuple[str, Any]]:
    """The values to check, with their keys."""
    return ((key, value) for key, values in space.items() for value in values.examples)


def _is_about(problem: str, key: str) -> bool:
    """Whether a problem with this key is one of the searched key: the same, or one inside the other."""
    return problem == key or problem.startswith(f"{key}.") or key.startswith(f"{problem}.")


def _of_value(key: str, value: Any, problem: Problem) -> Problem:
    """A problem of one of the values of a searched key."""
    where = "" if problem.key == key else f"{problem.key}: "
    return Problem(f"search.{key}", f"value {written_value(value)}: {where}{problem.message}", problem.suggestion)


def _option_problems(fixed: Mapping[str, Mapping[str, Any]], space: SearchSpace, checks: Checks) -> list[Problem]:
    """The problems of fixed and searched options of `mtl fit`."""
    of_fit = {key: values for key, values in space.items() if is_of_fit(key)}
    first = first_values(of_fit)
    base = checks.options(fit_sections(fixed, first))
    problems = [one for one in base if not any(_is_about(one.key, key) for key in of_fit)]
    for key, value in _examples(of_fit):
        found = base if value == first[key] else checks.options(fit_sections(fixed, {**first, key: value}))
        own = [one for one in found if _is_about(one.key, key) or one not in base]
        problems += [_of_value(key, value, one) for one in own]
    return problems


def _combination_problems(space: SearchSpace, source: MixtureSource) -> list[Problem]:
    """Problems of values that are only invalid together, of the first combination that has any."""
    if num_combinations(space) > MAX_CHECKED:
        return []
    for combination in itertools.product(*(values.examples for values in space.values())):
        values = dict(zip(space, combination, strict=True))
        found = mixture_problems(source.fields(values))
        if found:
            together = ", ".join(f"{key}={written_value(value)}" for key, value in values.items())
            return [Problem("search", f"values together ({together}): {one}") for one in found]
    return []


def _objective_problems(objective: str, mixture: Mixture | None) -> tuple[bool, list[Problem]]:
    """Whether the objective is minimised, and a problem if it is not a score of the mixture on dev."""
    if objective == SELECTION:
        return False, []
    kind, _, rest = objective.partition("/")
    task, _, metric = rest.partition("/")
    if kind != "val" or not metric:
        message = f"must be '{SELECTION}' or 'val/TASK/METRIC', a score on dev, got '{objective}'."
        return False, [Problem("objective", message, "Test scores select nothing.")]
    if mixture is None:
        return False, []
    if task not in mixture.tasks:
        return False, [Problem("objective", f"There is no task '{task}'.", did_you_mean(task, mixture.tasks))]
    heads, _ = build_heads(mixture)
    known = ["loss", *heads[task].metrics]
    if metric not in known:
        if _has_on_request(mixture.tasks[task], metric):
            advice = f"Add it to tasks.{task}.options.metrics of the mixture."
        else:
            advice = did_you_mean(metric, known)
        return False, [Problem("objective", f"The task '{task}' has no metric '{metric}'.", advice)]
    return metric in heads[task].lower_is_better, []


def _has_on_request(spec: TaskSpec, metric: str) -> bool:
    """Whether the head of a task computes a metric if its option `metrics` names it."""
    requested = {"metrics": [*spec.options.get("metrics", ()), metric]}
    try:
        build_head(spec.model_copy(update={"options": {**spec.options, **requested}}), hidden_size=1)
    except ValueError:
        return False
    return True
