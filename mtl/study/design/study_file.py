"""How study files are loaded and checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from mtl.config import schema
from mtl.config.loading import load_mixture
from mtl.config.mixture import Mixture, TaskSpec
from mtl.config.yaml_files import find_file, merge, parse_overrides, read_yaml, resolve, with_numbers
from mtl.files import folder_name
from mtl.problems import InputError, Problem, did_you_mean
from mtl.redaction import strings
from mtl.study.design.arms import arm_problems
from mtl.study.design.budget import Amount, BudgetSpec, StageBudget
from mtl.study.design.crossing import cross_problems, with_cross_pairs
from mtl.study.design.designs import ARMS, CONTINUED, CONTROLS, CROSS, DESIGNS, REFINE_FINETUNE, comparisons
from mtl.study.design.folds import FoldsSpec, fold_problems
from mtl.study.design.pretraining import PRETRAINING_ARMS
from mtl.study.design.published_arms import PublishedArm, read_published_arms
from mtl.study.design.rates import Rates, StageRates, StudyOptimisation, rate_problems
from mtl.study.design.resources import TrainerSpec, launcher_problems
from mtl.study.design.runs import REPLICATE, SELF, SHUFFLED
from mtl.study.design.stages import REFINE, name_problems
from mtl.study.design.study_spec import ARM_DESIGNS, DesignEntry, StudySpec, parts_of


class Study(NamedTuple):
    """A study with its mixture, reduced to the tasks of the study.

    Args:
        spec: The study.
        mixture: Its tasks and their encoder.
        left_out: Tasks that the study would have, but whose data is absent (see `mtl.study.design.missing_data`).
        published: Published scores of its arms.
    """

    spec: StudySpec
    mixture: Mixture
    left_out: tuple[str, ...] = ()
    published: tuple[PublishedArm, ...] = ()


def load_study(path: Path | str, overrides: Sequence[str] = ()) -> Study:
    """Reads a study and its mixture.

    Args:
        path: Path of the YAML file.
        overrides: ``key=value`` with dotted keys.

    Raises:
        InputError: The study or the mixture is invalid; the error lists all problems.
    """
    path = Path(path)
    fields = read_yaml(path)
    if isinstance(fields.get("tasks"), Mapping) and "mixture" not in fields:
        message = "This is a mixture, not a study."
        raise InputError(Problem(str(path), message, "Write a study file whose key `mixture` names it."))
    mixture_fields = fields.pop("mixture", None)
    changes = parse_overrides(overrides)
    if "mixture" in changes:
        raise InputError(
            Problem("mixture", "The mixture cannot be overridden here.", "Edit the mixture file or the study file.")
        )
    written = merge(fields, changes)
    fields = {**with_numbers(resolve(written), written, StudySpec), "mixture": mixture_fields}
    if isinstance(mixture_fields, str):
        fields["mixture"] = resolve({"mixture": mixture_fields})["mixture"]
    return study_of(fields, path.parent)


def study_of(fields: Mapping[str, Any], folder: Path) -> Study:
    """Builds a study from its fields.

    Args:
        fields: Fields of the study file.
        folder: Folder in which paths are looked up first.

    Raises:
        InputError: The study or the mixture is invalid; the error lists all problems.
    """
    problems = (
        [Problem("mixture", "A study needs a mixture.", "Add the path of a mixture file.")]
        if not fields.get("mixture")
        else []
    )
    mismatches = schema.mismatches(TypeAdapter(StudySpec), dict(fields))
    problems += [
        schema.problem_of(mismatch, _section)
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
    published: tuple[PublishedArm, ...] = ()
    if mixture is not None and not problems:
        mixture = mixture.only(spec.tasks) if spec.tasks else mixture
        problems += arm_problems(mixture, spec)
        try:
            published = read_published_arms(folder / spec.published, mixture, spec.arms) if spec.published else ()
        except InputError as error:
            problems += error.problems
    if problems or mixture is None:
        texts = strings(dict(fields))
        raise InputError([problem.without(texts) for problem in dict.fromkeys(problems)])
    if spec.split is not None:
        spec = spec.model_copy(update={"split": spec.split.keeping(mixture.evaluation.unit)})
    return Study(spec, mixture, published=published)


def _mixture(source: Any, folder: Path) -> Mixture | None:
    if not source:
        return None
    if isinstance(source, Mapping):
        return load_mixture(source, folder=folder)
    if not isinstance(source, str):
        return None
    return load_mixture(find_file(source, folder, "file", "study"))


def _spec_problems(spec: StudySpec, mixture: Mixture | None, broken: set[str]) -> list[Problem]:
    """Problems that the types of the fields do not reveal."""
    problems = []
    try:
        folder_name(spec.name)
    except InputError as error:
        problems += error.problems
    if mixture is not None and mixture.curriculum:
        message = "has no place in a study: its steps count the updates of a run, which differ between runs."
        problems.append(Problem("mixture: curriculum", message, "Remove it, or use `mtl fit`."))
    if mixture is not None and mixture.init is not None and mixture.init.heads != "none":
        message = f"must be none in a study, whose runs start with heads of their own, got {mixture.init.heads}."
        problems.append(Problem("mixture: init.heads", message, "Remove it, or use `mtl fit`."))
    if "seeds" not in broken:
        problems += _seed_problems(spec)
    if spec.split is not None and not {"designs", "controls"} & broken:
        problems += fold_problems([part.name for part in spec.parts])
    problems += launcher_problems(spec.launcher) if "launcher" not in broken else []
    names = list(mixture.tasks) if mixture else None
    for name in spec.tasks:
        if names is not None and name not in names:
            problems.append(Problem("tasks", f"There is no task '{name}'.", did_you_mean(name, names)))
    if len(set(spec.tasks)) < len(spec.tasks):
        problems.append(
            Problem("tasks", f"Each task can be listed only once, got {list(spec.tasks)}.", "Remove the duplicate.")
        )
    listed = {part.name for part in parts_of(spec.controls)} if "controls" not in broken else set()
    if not spec.continued and CONTINUED in listed:
        message = "is false, but `controls` lists continued."
        problems.append(Problem("continued", message, "Remove one of the two."))
    is_misspelt = not set(spec.tasks) <= set(names or ())  # which is already reported
    tasks = {
        name: task
        for name, task in (mixture.tasks.items() if mixture else ())
        if not spec.tasks or is_misspelt or name in spec.tasks
    }
    problems += [
        Problem(
            f"tasks.{name}",
            f"Names that end with {suffix} are reserved for copies of tasks, got '{name}'.",
            "Rename the task.",
        )
        for name in names or ()
        for suffix in (SELF, SHUFFLED)
        if name.endswith(suffix)
    ]
    problems += design_problems(spec, tasks if names is not None else None, broken)
    if names is not None:
        problems += _name_problems(spec, tasks)
    if names is not None and "designs" not in broken:
        problems += _stage_problems(spec, tasks, can_compare=not problems)
    return problems


def design_problems(
    spec: StudySpec, tasks: Mapping[str, TaskSpec] | None, broken: Collection[str] = ()
) -> list[Problem]:
    """Problems with the names and options of designs and controls.

    Args:
        spec: The study.
        tasks: Its tasks; None if they are unknown.
        broken: Keys of the study that are not checked.
    """
    problems = []
    for kind, known in (("designs", DESIGNS), ("controls", CONTROLS)):
        parts = parts_of(getattr(spec, kind)) if kind not in broken else []
        twice = {part.name for part in parts if [other.name for other in parts].count(part.name) > 1}
        problems += [
            Problem(
                f"{kind}.{name}",
                f"'{name}' is listed more than once.",
                "Create a separate study for the other options.",
            )
            for name in sorted(twice)
        ]
        for part in parts:
            found = _part_problems(part, kind, known, None if tasks is None else list(tasks))
            if not found and part.name == CROSS and tasks is not None:
                found = cross_problems(part.options, tasks)
            problems += found
    with_arms = {part.name for part in parts_of(spec.designs) if part.name in ARM_DESIGNS} - {PRETRAINING_ARMS}
    if "designs" not in broken and len(with_arms) > 1:
        message = f"The arms of a study are those of one design, got {' and '.join(sorted(with_arms))}."
        problems.append(Problem("designs", message, "Create a separate study for each."))
    return problems


def _name_problems(spec: StudySpec, tasks: Collection[str]) -> list[Problem]:
    """Problems with tasks that other keys of the study name."""
    named = {"optional_tasks": list(spec.optional_tasks)}
    named |= {f"averages.{name}": list(members) for name, members in spec.averages.items()}
    problems = [
        Problem(key, f"There is no task '{task}'.", did_you_mean(task, tasks))
        for key, members in named.items()
        for task in members
        if task not in tasks
    ]
    problems += [Problem(f"averages.{name}", "must list tasks.") for name, found in spec.averages.items() if not found]
    if spec.published is not None and ARMS not in [part.name for part in spec.parts]:
        message = f"Published scores are those of arms, which the design {ARMS} has."
        problems.append(Problem("published", message, "Remove them, or add the design."))
    if spec.averages and REFINE_FINETUNE not in [part.name for part in spec.parts]:
        message = f"The averages are shown in the table of the stages, which needs the design {REFINE_FINETUNE}."
        problems.append(Problem("averages", message, "Remove them, or add the design."))
    return problems


def _stage_problems(spec: StudySpec, tasks: Mapping[str, TaskSpec], *, can_compare: bool) -> list[Problem]:
    """Problems with budgets and learning rates of single tasks and stages.

    Args:
        spec: The study.
        tasks: Its tasks.
        can_compare: Whether the designs are valid, so that their runs are known.
    """
    names = [part.name for part in spec.parts]
    stages = [stage for name in names if name in DESIGNS for stage in DESIGNS[name].stages]
    problems = name_problems("budget", spec.budget, list(tasks), stages)
    problems += name_problems("model", spec.model, list(tasks), stages)
    if can_compare:
        parts = with_cross_pairs(spec.parts, tasks)
        problems += rate_problems(spec.model, comparisons(parts, list(tasks), spec.seed_list[:1], lambda run: run))
    if "refine" in names and REFINE not in {*spec.budget.stages, *spec.model.stages}:
        message = f"compares runs of the stage {REFINE}, which has no budget and no learning rate of its own."
        problems.append(Problem("designs.refine", message, f"Set budget.stages.{REFINE}, or use the design joint."))
    return problems


def _part_problems(part: DesignEntry, kind: str, known: Mapping[str, Any], tasks: list[str] | None) -> list[Problem]:
    if part.name not in known:
        return [Problem(kind, f"There is no {kind[:-1]} '{part.name}'.", did_you_mean(part.name, known))]
    if tasks is None:
        return []
    if len(tasks) < known[part.name].min_tasks:
        message = f"The {kind[:-1]} compares tasks and needs at least two, got {len(tasks)}."
        return [Problem(f"{kind}.{part.name}", message, "Add tasks to the study or to its mixture.")]
    return [
        Problem(f"{kind}.{part.name}", message) for message in known[part.name].option_problems(part.options, tasks)
    ]


def _seed_problems(spec: StudySpec) -> list[Problem]:
    seeds = spec.seed_list
    if len(seeds) < 2:
        message = f"A study needs at least two seeds to estimate the spread of a difference, got {len(seeds)}."
        return [Problem("seeds", message, "Use 8: with 5 seeds, no gain can be significant at 0.05.")]
    if len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) >= REPLICATE:
        return [Problem("seeds", f"Seeds must be different and between 0 and {REPLICATE - 1}, got {list(seeds)}.")]
    return []


def _section(place: Sequence[str | int]) -> type[Any]:
    """The section of a study file that a key at this place belongs to."""
    *above, _ = place
    by_task, by_stage = "tasks" in above[1:], "stages" in above[1:]
    sections: dict[str | int, type[Any]] = {
        "budget": Amount if by_task else StageBudget if by_stage else BudgetSpec,
        "model": Rates if by_task else StageRates if by_stage else StudyOptimisation,
        "trainer": TrainerSpec,
        "split": FoldsSpec,
    }
    return sections.get(above[0], StudySpec) if above else StudySpec
