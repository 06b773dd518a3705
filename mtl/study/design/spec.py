"""What a study file may say, and how it is loaded: a mixture, designs, seeds, a budget, and where it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, TypeAdapter

from mtl.config import components, schema
from mtl.config.loading import load_mixture
from mtl.config.mixture import Mixture
from mtl.config.yaml_files import merge, parse_overrides, read_yaml, resolve
from mtl.files import folder_name
from mtl.problems import InputError, Problem, did_you_mean
from mtl.study.design.designs import CONTROLS, DESIGNS, REPLICATE, SELF, SHUFFLED
from mtl.training.options import Optimisation

Count = Annotated[StrictInt, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BudgetSpec(_Spec):
    """How long every run trains each of its tasks; the partner's updates come on top of the target's.

    Args:
        updates: Own updates of each task.
        passes: Passes over the task's training rows, in place of `updates`.
        evaluations: On dev, evenly spread; own updates are rounded up to a multiple of it.
        train_rows: Training rows of a task at most, sub-sampled by document; None takes all.
        dev_rows: The same of dev, so that evaluating doesn't outweigh training.
        test_rows: The same of test.
        sample_seed: Of the sub-samples, which are the same in every run.
    """

    updates: Count | None = None
    passes: Positive | None = None
    evaluations: Count = 3
    train_rows: Count | None = None
    dev_rows: Count | None = None
    test_rows: Count | None = None
    sample_seed: StrictInt = 0


class TrainerSpec(_Spec):
    """On what each run trains. A run has one device; several runs at once are the launcher's business.

    Args:
        threads: Of each run. It decides the last digits, so it belongs to the study and not to the launcher.
        accelerator: Lightning's name. `auto` is decided where the command runs; name it where a cluster's nodes differ.
        precision: Lightning's name; `auto` takes bf16 on a GPU that has it, and 32-true on a CPU. (`mtl fit` times a
            CPU first; a study's precision is in its runs' keys and must not hang on a timing.)
        gradient_clip_val: The largest norm of a gradient.
    """

    threads: Count = 1
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true"] = "auto"
    gradient_clip_val: Positive = 1.0


class LauncherSpec(BaseModel):
    """Where the runs are trained; options of the launcher stand beside its name.

    Args:
        name: A file of `mtl/study/running/launchers`.
        workers: Runs at once.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: StrictStr = "local"
    workers: Count = 1

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class DesignEntry(NamedTuple):
    """A design or a control by its name, with its options."""

    name: str
    options: Any


class StudySpec(_Spec):
    """A study. `load_study` reads one from a file.

    Args:
        name: Of the study, in MLflow and in its folder.
        mixture: A mixture file, looked for beside the study, or a mixture itself.
        question: In a sentence, for the report.
        tasks: Some of the mixture's; empty takes all.
        designs: What is compared: a name, or the name with options as `{groups: [[a, b], [c]]}`.
        controls: What is shown beside the matrix: replicate, self_partner, continued, shuffled_partner.
        seeds: How many, counted from 0, or which.
        budget: Of every run.
        select: `best` tests the evaluation with the target's best primary metric on dev; `last` the last one.
        model: Learning rates and their schedule, as `mtl fit` takes them under `model`.
        trainer: Threads, device, precision.
        launcher: Where it runs.
        alpha: The chance of any wrong claim in one matrix.
        exclude: `documents` leaves training documents out that lie in dev or test of another task; None refuses.
        max_encoders: For the grouping that is predicted from the pairs.
        experiment: MLflow's.
    """

    name: StrictStr
    mixture: StrictStr | dict[str, Any]
    question: StrictStr = "Which task helps which?"
    tasks: tuple[StrictStr, ...] = ()
    designs: tuple[StrictStr | dict[StrictStr, Any], ...] = ("pairwise",)
    controls: tuple[StrictStr | dict[StrictStr, Any], ...] = ()
    seeds: StrictInt | tuple[StrictInt, ...] = 6
    budget: BudgetSpec = BudgetSpec(passes=3)
    select: Literal["best", "last"] = "best"
    model: Optimisation = Optimisation()
    trainer: TrainerSpec = TrainerSpec()
    launcher: LauncherSpec = LauncherSpec()
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    exclude: Literal["documents"] | None = None
    max_encoders: Count = 2
    experiment: StrictStr = "biomtl-studies"

    @property
    def seed_list(self) -> tuple[int, ...]:
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def parts(self) -> list[DesignEntry]:
        """The designs, then the controls."""
        return [part for written in (*self.designs, *self.controls) for part in _parts(written)]

    def with_groups(self, groups: Sequence[Sequence[str]]) -> StudySpec:
        """The study with these groups beside those of its design `groups`, each once."""
        options = {part.name: part.options for written in self.designs for part in _parts(written)}
        there = options.get("groups") or []
        new = [list(group) for group in groups if frozenset(group) not in map(frozenset, there)]
        options["groups"] = [*there, *new]
        designs = tuple(name if found is None else {name: found} for name, found in options.items())
        return self.model_copy(update={"designs": designs})


class Study(NamedTuple):
    """A study with its mixture, whose tasks are those of the study."""

    spec: StudySpec
    mixture: Mixture


def load_study(path: Path | str, overrides: Sequence[str] = ()) -> Study:
    """Reads a study and its mixture.

    Args:
        path: The YAML file.
        overrides: ``key=value`` with dotted keys.

    Raises:
        InputError: With every problem of both at once.
    """
    path = Path(path)
    fields = read_yaml(path)
    mixture_fields = fields.pop("mixture", None)
    given = parse_overrides(overrides)
    if "mixture" in given:
        raise InputError(
            Problem("mixture", "It can't be overridden here.", "Change the mixture's file, or the study's.")
        )
    fields = {**resolve(merge(fields, given)), "mixture": mixture_fields}
    if isinstance(mixture_fields, str):
        fields["mixture"] = resolve({"mixture": mixture_fields})["mixture"]
    return study_of(fields, path.parent)


def study_of(fields: Mapping[str, Any], folder: Path) -> Study:
    """A study from its fields; paths are looked for in `folder` first.

    Raises:
        InputError: With every problem.
    """
    problems = [Problem("mixture", "A study needs a mixture.", "Name its file.")] if not fields.get("mixture") else []
    mismatches = schema.mismatches(TypeAdapter(StudySpec), dict(fields))
    problems += [
        _schema_problem(mismatch)
        for mismatch in mismatches
        if mismatch.place[:1] != ("mixture",) or fields.get("mixture")
    ]
    mixture = None
    try:
        mixture = _mixture(fields.get("mixture"), folder)
    except InputError as error:
        problems += [Problem(f"mixture: {f.key}", f.message, f.suggestion) for f in error.problems]
    broken = {str(mismatch.place[0]) for mismatch in mismatches if mismatch.place}
    whole = {"name": "unnamed", "mixture": {}} | {key: value for key, value in fields.items() if key not in broken}
    known = {key: value for key, value in whole.items() if key in StudySpec.model_fields}
    spec = StudySpec(**known)
    problems += _spec_problems(spec, mixture, broken)
    if problems or mixture is None:
        raise InputError(list(dict.fromkeys(problems)))
    return Study(spec, mixture.only(spec.tasks) if spec.tasks else mixture)


def _mixture(written: Any, folder: Path) -> Mixture | None:
    if not written:
        return None
    if isinstance(written, Mapping):
        return load_mixture(written, folder=folder)
    if not isinstance(written, str):
        return None
    places = [place for place in (folder / written, Path(written)) if place.is_file()]
    if not places:
        advice = "Check the path; it is looked for beside the study, then in the working folder."
        raise InputError(Problem("file", f"'{written}' doesn't exist.", advice))
    return load_mixture(places[0])


def _spec_problems(spec: StudySpec, mixture: Mixture | None, broken: set[str]) -> list[Problem]:
    """What the types don't tell."""
    problems = []
    try:
        folder_name(spec.name)
    except InputError as error:
        problems += error.problems
    if "seeds" not in broken:
        problems += _seed_problems(spec)
    if "budget" not in broken and (spec.budget.updates is None) == (spec.budget.passes is None):
        problems.append(
            Problem("budget", "It must have updates or passes, and not both.", "Write budget: {passes: 3}.")
        )
    problems += _launcher_problems(spec) if "launcher" not in broken else []
    names = list(mixture.tasks) if mixture else None
    for name in spec.tasks:
        if names is not None and name not in names:
            problems.append(Problem("tasks", f"There is no task '{name}'.", did_you_mean(name, names)))
    if len(set(spec.tasks)) < len(spec.tasks):
        problems.append(Problem("tasks", f"A task stands once; found {list(spec.tasks)}.", "Remove the second one."))
    is_misspelt = not set(spec.tasks) <= set(names or ())  # what is told of it is enough
    tasks = [name for name in names or () if not spec.tasks or is_misspelt or name in spec.tasks]
    problems += [
        Problem(f"tasks.{name}", f"A name that ends with {suffix} stands for a copy; found '{name}'.", "Rename it.")
        for name in names or ()
        for suffix in (SELF, SHUFFLED)
        if name.endswith(suffix)
    ]
    for kind, known in (("designs", DESIGNS), ("controls", CONTROLS)):
        parts = [part for written in getattr(spec, kind) for part in _parts(written)] if kind not in broken else []
        twice = {part.name for part in parts if [other.name for other in parts].count(part.name) > 1}
        problems += [
            Problem(f"{kind}.{name}", "It stands more than once.", "Make a study of its own for the other.")
            for name in sorted(twice)
        ]
        for part in parts:
            problems += _part_problems(part, kind, known, tasks if names is not None else None)
    return problems


def _part_problems(part: DesignEntry, kind: str, known: Mapping[str, Any], tasks: list[str] | None) -> list[Problem]:
    if part.name not in known:
        return [Problem(kind, f"There is no {kind[:-1]} '{part.name}'.", did_you_mean(part.name, known))]
    if tasks is None:
        return []
    if len(tasks) < 2 and part.name not in ("single", "replicate", "self_partner", "continued"):
        message = f"It compares tasks, and needs at least two; found {len(tasks)}."
        return [Problem(f"{kind}.{part.name}", message, "Add tasks to the study, or to its mixture.")]
    return [
        Problem(f"{kind}.{part.name}", message) for message in known[part.name].option_problems(part.options, tasks)
    ]


def _seed_problems(spec: StudySpec) -> list[Problem]:
    seeds = spec.seed_list
    if len(seeds) < 2:
        message = f"A difference has no spread with fewer than two seeds; found {len(seeds)}."
        return [Problem("seeds", message, "Take 6 or more: with 5 no gain can be significant at 0.05.")]
    if len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) >= REPLICATE:
        return [Problem("seeds", f"They must differ and be from 0 to {REPLICATE - 1}; found {list(seeds)}.")]
    return []


def _launcher_problems(spec: StudySpec) -> list[Problem]:
    """What is wrong with the launcher's name and options, and what it lacks here."""
    launcher = spec.launcher
    try:
        cls = components.find("launcher", launcher.name, "launcher.name")
    except InputError as error:
        return error.problems
    problems = components.check_options(cls, launcher.options, "launcher", frozenset({"workers", "threads"}))
    if problems:
        return problems
    return [Problem("launcher", message, advice) for message, advice in cls.lacking(launcher.workers)]


def _schema_problem(mismatch: schema.Mismatch) -> Problem:
    key, error = ".".join(map(str, mismatch.place)), mismatch.errors[0]
    if mismatch.is_unknown_key:
        name, models = str(mismatch.place[-1]), {"budget": BudgetSpec, "model": Optimisation, "trainer": TrainerSpec}
        model: Any = models.get(str(mismatch.place[0]), StudySpec) if len(mismatch.place) > 1 else StudySpec
        return Problem(key, f"There is no key '{name}' here.", did_you_mean(name, schema.keys_of(model)))
    if error["type"] == "missing":
        return Problem(key, f"The key '{mismatch.place[-1]}' is missing.", "Add it.")
    return Problem(key, mismatch.message)


def _parts(written: str | Mapping[str, Any]) -> list[DesignEntry]:
    return (
        [DesignEntry(written, None)]
        if isinstance(written, str)
        else [DesignEntry(n, options) for n, options in written.items()]
    )
