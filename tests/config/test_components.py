from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest

import heads
import mtl.readers
import mtl.samplers
from heads import Head
from mtl.config.components import Kind, build, check_options, choices, find
from mtl.problems import InputError, Problem
from mtl.readers import Reader
from mtl.samplers import Sampler, TaskSize

PACKAGES: dict[Kind, tuple[ModuleType, type[Any]]] = {
    "head": (heads, Head),
    "reader": (mtl.readers, Reader),
    "sampler": (mtl.samplers, Sampler),
}
SOURCE = """
    from {module} import {base}

    class Whole({base}):
        pass

    for name in Whole.__abstractmethods__:
        setattr(Whole, name, lambda self, *arguments: None)
    Whole.__abstractmethods__ = frozenset()

    class _Private(Whole):
        pass

    class Unfinished({base}):
        pass
"""


class Invented:
    def __init__(
        self,
        sizes: Mapping[str, TaskSize],
        *,
        mode: Literal["linear", "crf"],
        layers: int = 1,
        names: Sequence[str] = (),
        limit: float | None = None,
        threshold: float | Literal["tuned"] = 0.5,
    ) -> None: ...


def problems(options: dict[str, Any]) -> list[Problem]:
    return check_options(Invented, options, "tasks.gad.options", frozenset({"sizes"}))


@pytest.fixture(params=sorted(PACKAGES))
def new_file(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A kind in whose package stands one more file, `brand_new.py`."""
    package, base = PACKAGES[request.param]
    source = SOURCE.format(module=package.__name__, base=base.__name__)
    (tmp_path / "brand_new.py").write_text(textwrap.dedent(source))
    (tmp_path / "only_helpers.py").write_text(f"from {package.__name__} import {base.__name__}\n")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    yield request.param
    for name in ("brand_new", "only_helpers"):
        sys.modules.pop(f"{package.__name__}.{name}", None)
        vars(package).pop(name, None)


def test_a_component_is_added_by_one_new_file(new_file: Kind) -> None:
    assert "brand_new" in choices(new_file)
    found = find(new_file, "brand_new", "x")
    assert found.__name__ == "Whole"
    assert issubclass(found, PACKAGES[new_file][1])


def test_a_file_without_a_component_is_no_choice(new_file: Kind) -> None:
    assert "only_helpers" not in choices(new_file)
    with pytest.raises(InputError, match="There is no"):
        find(new_file, "only_helpers", "x")


@pytest.mark.parametrize("kind", sorted(PACKAGES))
@pytest.mark.parametrize("name", ["", "no such", "__init__", "a/b", "1"])
def test_a_name_that_is_no_file_is_refused_with_the_choices(kind: Kind, name: str) -> None:
    with pytest.raises(InputError) as error:
        find(kind, name, "tasks.gad.head")
    (problem,) = error.value.problems
    assert problem.key == "tasks.gad.head"
    assert problem.message == f"There is no {kind} '{name}'."
    assert problem.suggestion == f"Choices: {', '.join(choices(kind))}."


def test_a_misspelt_name_brings_the_nearest() -> None:
    with pytest.raises(InputError, match=r"There is no sampler 'proportonal'\. Did you mean 'proportional'\?"):
        find("sampler", "proportonal", "sampler.name")


def test_a_dotted_path_names_a_class_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "invented_package"
    folder.mkdir()
    (folder / "__init__.py").touch()
    source = SOURCE.format(module="mtl.readers", base="Reader")
    (folder / "lab.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(tmp_path)
    assert find("reader", "invented_package.lab.Whole", "x").__module__ == "invented_package.lab"


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("no_such_package.Thing", "can't be imported: No module named 'no_such_package'"),
        ("mtl.samplers.uniform.Unifrom", "can't be imported: module 'mtl.samplers.uniform' has no attribute"),
        ("mtl.samplers.uniform.Uniform", r"is no subclass of mtl\.readers\.Reader"),
        ("mtl.seeding.stream", r"is no subclass of mtl\.readers\.Reader"),
    ],
)
def test_a_dotted_path_that_leads_nowhere_is_told(path: str, rule: str) -> None:
    with pytest.raises(InputError, match=f"data.reader: '{path}' {rule}"):
        find("reader", path, "data.reader")


@pytest.mark.parametrize("path", [".x", "..samplers.uniform.Uniform", "../uniform"])
def test_a_relative_path_is_told(path: str) -> None:
    with pytest.raises(InputError, match=r"It must be package\.module\.Class"):
        find("sampler", path, "sampler.name")


def test_right_options_have_no_problem() -> None:
    assert problems({"mode": "crf"}) == []
    assert problems({"mode": "linear", "layers": 2, "names": ["a", "b"], "limit": 1}) == []
    assert problems({"mode": "linear", "limit": None}) == []


def test_an_unknown_option_brings_the_nearest() -> None:
    (problem,) = problems({"mode": "crf", "layer": 2})
    assert problem.key == "tasks.gad.options.layer"
    assert problem.message == "Invented has no option 'layer'."
    assert problem.suggestion == "Did you mean 'layers'? Choices: layers, limit, mode, names, threshold."


def test_a_missing_option_is_asked_for() -> None:
    assert problems({}) == [Problem("tasks.gad.options.mode", "Invented needs the option 'mode'.", "Add it.")]


def test_what_the_framework_passes_is_no_option() -> None:
    (problem,) = problems({"mode": "crf", "sizes": {}})
    assert problem.message == "Invented has no option 'sizes'."


@pytest.mark.parametrize(
    ("option", "value", "wording"),
    [
        ("mode", "crt", "It must be 'linear' or 'crf'; found 'crt'."),
        ("layers", "many", "It must be a whole number; found 'many'."),
        ("layers", 1.5, "It must be a whole number; found 1.5."),
        ("layers", True, "It must be a whole number; found true."),
        ("layers", None, "It must be a whole number; found nothing."),
        ("limit", [1], "It must be a number; found a list of 1."),
        ("limit", {"low": 1}, "It must be a number; found keys with values (low)."),
        ("threshold", "tunned", "It must be a number or 'tuned'; found 'tunned'."),
    ],
)
def test_a_wrong_value_is_told_with_rule_and_found(option: str, value: Any, wording: str) -> None:
    (problem,) = problems({"mode": "crf"} | {option: value})
    assert (problem.key, problem.message) == (f"tasks.gad.options.{option}", wording)


def test_a_wrong_part_of_a_list_is_named_by_its_place() -> None:
    (problem,) = problems({"mode": "crf", "names": ["a", 3]})
    assert problem.key == "tasks.gad.options.names.1"


def test_all_problems_are_told_at_once() -> None:
    keys = [
        problem.key.removeprefix("tasks.gad.options.") for problem in problems({"layers": "x", "limt": 1, "limit": "y"})
    ]
    assert sorted(keys) == ["layers", "limit", "limt", "mode"]


def test_options_of_a_subclass_are_those_of_its_own_signature() -> None:
    class Quiet(Invented):
        def __init__(self, sizes: Mapping[str, TaskSize], *, volume: int = 0) -> None: ...

    (problem,) = check_options(Quiet, {"layers": 1}, "sampler", frozenset({"sizes"}))
    assert problem.message == "Quiet has no option 'layers'."


def test_options_are_built_as_the_types_of_the_signature() -> None:
    class Ranged:
        def __init__(self, first: str, *, range: tuple[float, float], times: int = 1) -> None:
            self.given = (first, range, times)

    assert build(Ranged, "x", range=[0, "4"], times="2").given == ("x", (0.0, 4.0), 2)
    assert build(Ranged, "x", range=(0, 1)).given == ("x", (0.0, 1.0), 1)
