"""The README of experiments/studies agrees with the code: keys, defaults, designs, launchers and options."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from mtl.commands import run as run_mtl
from mtl.config.components import choices, find
from mtl.study.design.budget import BudgetSpec
from mtl.study.design.designs import CONTROLS, DESIGNS, comparisons
from mtl.study.design.folds import FoldsSpec
from mtl.study.design.plan import _all_runs
from mtl.study.design.rates import StudyOptimisation
from mtl.study.design.resources import LauncherSpec, TrainerSpec
from mtl.study.design.runs import Run, single_runs, without_stages
from mtl.study.design.stages import STAGES
from mtl.study.design.study_file import load_study
from mtl.study.design.study_spec import StudySpec
from mtl.study.report import conclusions
from mtl.study.report.presentation import MARKS
from mtl.study.statistics.significance import floor, power, smallest_gain
from mtl.training.hyperparameters import Optimisation

FOLDER = Path(__file__).parent.parent.parent / "experiments" / "studies"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
HEADINGS: dict[type[Any], str] = {
    StudySpec: "The study",
    FoldsSpec: "`split`",
    BudgetSpec: "`budget`",
    StudyOptimisation: "`model`",
    TrainerSpec: "`trainer`",
    LauncherSpec: "`launcher`",
}


def section(title: str) -> str:
    """The text under a heading, up to the next heading of any level."""
    match = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert match is not None, f"there is no section '{title}'"
    return match[1]


def rows(title: str) -> list[list[str]]:
    """The rows of the tables of a section, without their headings."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row, following in zip(cells, [*cells[1:], [""]], strict=True) if not _is_head(row, following)]


def rows_with_head(title: str) -> list[list[str]]:
    """The rows of the only table of a section, with its heading."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if not set("".join(row)) <= set("-|")]


def _is_head(row: list[str], following: list[str]) -> bool:
    return set("".join(row)) <= set("-|") or set("".join(following)) == set("-|")


def options(title: str) -> dict[str, Any]:
    """The options in the tables of a section, with their defaults."""
    found = re.findall(r"^\| `(\w+)` \| (required|`[^`]*`) \|", section(title), re.MULTILINE)
    return {name: yaml.safe_load(default.strip("`")) if default != "required" else ... for name, default in found}


def plain(value: Any) -> Any:
    """A default as a YAML value."""
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_defaults=True)
    if isinstance(value, Optimisation):
        return {}
    return list(value) if isinstance(value, tuple) else value


def names(title: str) -> list[str]:
    return [row[0].strip("`") for row in rows(title)]


@pytest.mark.parametrize("model", HEADINGS, ids=lambda model: model.__name__)
def test_every_key_of_a_study_is_documented_with_its_default(model: Any) -> None:
    fields = {
        name: ... if field.is_required() else plain(field.get_default(call_default_factory=True))
        for name, field in model.__pydantic_fields__.items()
    }
    written = options(HEADINGS[model])
    numbers = {name: float(value) for name, value in written.items() if isinstance(fields.get(name), float)}
    assert written | numbers == fields  # YAML reads 5e-5 as a string


def test_every_part_of_a_study_has_a_section() -> None:
    sections = {
        kind
        for field in StudySpec.model_fields.values()
        for kind in (field.annotation, *get_args(field.annotation))  # the section may be optional
        if inspect.isclass(kind) and issubclass(kind, BaseModel | Optimisation)
    }
    assert set(HEADINGS) == {StudySpec, *sections}


def test_every_stage_is_documented() -> None:
    assert names("Stages") == list(STAGES)


def test_every_design_and_control_is_documented() -> None:
    assert sorted(names("Designs")) == sorted(DESIGNS)
    assert sorted(names("Controls")) == sorted(CONTROLS)


@pytest.mark.parametrize("name", [*DESIGNS, *CONTROLS])
def test_the_documented_number_of_runs_of_a_design_is_correct(name: str) -> None:
    tasks, seeds = ["a", "b", "c", "d"], [0, 1, 2]
    arms: dict[str, Any] = {"x": {}, "y": {"z": 1}, "z": {"z": 2}}
    pretraining = {"task": "a", "arms": arms}
    options_of = {
        "groups": [["a", "b"], ["c"], ["b", "c", "d"]],
        "arms": arms,
        "pretraining": pretraining,
        "pretraining_arms": pretraining,
        "sizes": {"rows": [10, 20, 30]},
    }
    (row,) = [row for row in rows("Designs") + rows("Controls") if row[0] == f"`{name}`"]
    assert re.fullmatch(r"[STGA0-9 */()+-]+", row[-1])
    documented = eval(row[-1], {"S": len(seeds), "T": len(tasks), "G": 2, "A": 3})
    singles = single_runs(tasks, seeds)

    def canonical(run: Run) -> Run:
        return run if name == "refine" else without_stages(run)

    compared = comparisons([(name, options_of.get(name))], tasks, seeds, canonical)
    assert len(_all_runs(compared, singles)) - len(singles) == documented


@pytest.mark.parametrize("name", choices("launcher"))
def test_every_launcher_is_documented_with_its_options(name: str) -> None:
    assert name in names("Launchers")
    parameters = inspect.signature(find("launcher", name, "launcher.name")).parameters.values()
    assert options(f"`{name}`") == {p.name: plain(p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}


def test_the_table_lists_exactly_the_launchers_that_exist() -> None:
    assert names("Launchers") == choices("launcher")


def test_the_documented_smallest_p_is_that_of_the_sign_flip_test() -> None:
    numbers = re.findall(r"^ *\| (?:seeds|smallest p) \|(.*)\|$", section("Reading the verdicts"), re.MULTILINE)
    seeds, documented = ([float(cell) for cell in line.split("|")] for line in numbers)
    assert documented == pytest.approx([floor(int(number)) for number in seeds], abs=6e-5)
    assert f"q of at most {conclusions.SCREENING_Q}" in PAGE


def test_the_documented_power_is_that_of_the_simulation() -> None:
    head, *lines = (row for row in rows_with_head("Number of seeds"))
    seeds = [int(cell) for cell in head[1:]]
    five, twenty, power_of_three = ([float(cell) for cell in line[1:]] for line in lines)
    for number in (6, 8):
        place = seeds.index(number)
        assert five[place] == pytest.approx(smallest_gain(1.0, number, cells=5), abs=0.06)
        assert twenty[place] == pytest.approx(smallest_gain(1.0, number, cells=20), abs=0.06)
        assert power_of_three[place] == pytest.approx(power(3, number, 20, num_simulations=1_000), abs=0.01)


def test_every_verdict_is_explained_with_its_mark() -> None:
    explained = " ".join(row[0] for row in rows("Reading the verdicts"))
    for state, mark in MARKS.items():
        assert state == "control" or f"{mark} `{state}`".strip() in explained


def test_the_examples_are_valid_studies(tmp_path: Path) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    written, stages, arms, sizes, pretraining = (yaml.safe_load(block) for block in blocks)
    written["mixture"] = str((FOLDER / written["mixture"]).resolve())
    data = {"reader": "jsonl", "path": "rows"}
    tasks: dict[str, Any] = {
        name: {"head": "token_classification", "labels": ["X"], "data": data} for name in ("diseases", "chemicals")
    }
    texts = {"name": "texts", "tasks": {"mlm": {"head": "masked_lm", "data": data}, **tasks}}
    without_controls = {**written, **arms, "controls": []}
    others = [{"name": "words", "mixture": texts, **fields} for fields in (sizes, pretraining)]
    for number, fields in enumerate((written, {**written, **stages}, without_controls, *others)):
        study = tmp_path / f"study_{number}.yaml"
        study.write_text(yaml.safe_dump(fields, sort_keys=False), encoding="utf-8")
        assert list(load_study(study).mixture.tasks) == fields["tasks"]


def test_every_study_of_the_folder_is_listed_and_loads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MTL_DATA", str(tmp_path))
    files = sorted(path.name for path in FOLDER.glob("*.yaml"))
    assert files
    named = re.findall(r"^\| `([\w./]+)` \|", PAGE.partition("## ")[0], re.MULTILINE)
    assert sorted(name for name in named if name.endswith(".yaml")) == files
    for name in files:
        assert load_study(FOLDER / name).spec.name


def test_the_options_of_the_command_are_documented(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_mtl(["study", "--help"])
    accepted = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert set(re.findall(r"^\| `(--[a-z-]+)", section("The command"), re.MULTILINE)) == accepted


def test_the_keys_of_a_mixture_that_a_study_ignores_are_documented(
    toy_study: Callable[..., Path],
) -> None:
    from mtl.study.design.plan import make_plan

    study = load_study(toy_study(designs=["single"], tasks=["cause"]))
    sampler = study.mixture.sampler.model_copy(update={"name": "temperature"})
    task = study.mixture.tasks["cause"].model_copy(update={"rate": 3.0})
    mixture = study.mixture.model_copy(update={"sampler": sampler, "tasks": {"cause": task}, "tasks_per_step": 2})
    changed, same = make_plan(study._replace(mixture=mixture)), make_plan(study)
    assert [order.key for order in changed.run_specs] == [order.key for order in same.run_specs]
    assert "its sampler, rates, `same_rows_as`, `tasks_per_step` and `evaluation` are not" in PAGE


def test_every_link_leads_to_a_heading() -> None:
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)}
    links = re.findall(r"\]\(#([^)]+)\)", PAGE)
    assert len(links) == 16
    assert set(links) <= headings
