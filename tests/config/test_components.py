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
from mtl.problems import InputError, Problem, did_you_mean
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
    """A kind whose package has another file, `brand_new.py`."""
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


def test_a_file_without_a_component_is_not_a_choice(new_file: Kind) -> None:
    assert "only_helpers" not in choices(new_file)
    with pytest.raises(InputError, match=r"x: .*'only_helpers'"):
        find(new_file, "only_helpers", "x")


@pytest.mark.parametrize("kind", sorted(PACKAGES))
@pytest.mark.parametrize("name", ["", "no such", "__init__", "a/b", "1"])
def test_an_unknown_name_is_reported_with_the_choices(kind: Kind, name: str) -> None:
    with pytest.raises(InputError) as error:
        find(kind, name, "tasks.gad.head")
    (problem,) = error.value.problems
    assert problem.key == "tasks.gad.head"
    assert f"{kind} '{name}'" in problem.message
    assert problem.suggestion == did_you_mean(name, choices(kind))


def test_a_misspelt_name_gets_the_most_similar_one_as_advice() -> None:
    with pytest.raises(InputError, match=r"sampler\.name: .*'proportonal'.*'proportional'\?"):
        find("sampler", "proportonal", "sampler.name")


def test_a_dotted_path_names_a_user_defined_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        ("no_such_package.Thing", "No module named 'no_such_package'"),
        ("mtl.samplers.uniform.Unifrom", "module 'mtl.samplers.uniform' has no attribute"),
        ("mtl.samplers.uniform.Uniform", r"subclass of mtl\.readers\.Reader"),
        ("mtl.seeding.stream", r"subclass of mtl\.readers\.Reader"),
    ],
)
def test_a_dotted_path_without_a_component_is_reported(path: str, rule: str) -> None:
    with pytest.raises(InputError, match=f"data.reader: '{path}' .*{rule}"):
        find("reader", path, "data.reader")


@pytest.mark.parametrize("path", [".x", "..samplers.uniform.Uniform", "../uniform"])
def test_a_relative_path_is_reported(path: str) -> None:
    with pytest.raises(InputError, match=r"package\.module\.Class"):
        find("sampler", path, "sampler.name")


def test_valid_options_have_no_problems() -> None:
    assert problems({"mode": "crf"}) == []
    assert problems({"mode": "linear", "layers": 2, "names": ["a", "b"], "limit": 1}) == []
    assert problems({"mode": "linear", "limit": None}) == []


def test_an_unknown_option_gets_the_most_similar_one_as_advice() -> None:
    (problem,) = problems({"mode": "crf", "layer": 2})
    assert problem.key == "tasks.gad.options.layer"
    assert "Invented" in problem.message
    assert problem.suggestion == did_you_mean("layer", ["layers", "limit", "mode", "names", "threshold"])


def test_a_missing_option_is_reported() -> None:
    (problem,) = problems({})
    assert problem.key == "tasks.gad.options.mode"
    assert "'mode'" in problem.message


def test_arguments_that_the_framework_passes_are_not_options() -> None:
    (problem,) = problems({"mode": "crf", "sizes": {}})
    assert problem.key == "tasks.gad.options.sizes"
    assert "'sizes'" in problem.message


@pytest.mark.parametrize(
    ("option", "value", "rule", "shown"),
    [
        ("mode", "crt", "'linear' or 'crf'", "'crt'"),
        ("layers", "many", "integer", "'many'"),
        ("layers", 1.5, "integer", "1.5"),
        ("layers", True, "integer", "true"),
        ("layers", None, "integer", "nothing"),
        ("limit", [1], "a number", "list of length 1"),
        ("limit", {"low": 1}, "a number", "(keys: low)"),
        ("threshold", "tunned", "a number or 'tuned'", "'tunned'"),
    ],
)
def test_an_invalid_value_is_reported_with_the_rule_and_the_value(
    option: str, value: Any, rule: str, shown: str
) -> None:
    (problem,) = problems({"mode": "crf"} | {option: value})
    assert problem.key == f"tasks.gad.options.{option}"
    assert rule in problem.message
    assert problem.message.endswith(f" {shown}.")


def test_an_invalid_item_of_a_list_is_reported_with_its_index() -> None:
    (problem,) = problems({"mode": "crf", "names": ["a", 3]})
    assert problem.key == "tasks.gad.options.names.1"


def test_all_problems_are_reported_together() -> None:
    keys = [
        problem.key.removeprefix("tasks.gad.options.") for problem in problems({"layers": "x", "limt": 1, "limit": "y"})
    ]
    assert sorted(keys) == ["layers", "limit", "limt", "mode"]


def test_the_options_of_a_subclass_come_from_its_own_signature() -> None:
    class Quiet(Invented):
        def __init__(self, sizes: Mapping[str, TaskSize], *, volume: int = 0) -> None: ...

    (problem,) = check_options(Quiet, {"layers": 1}, "sampler", frozenset({"sizes"}))
    assert problem.key == "sampler.layers"
    assert "Quiet" in problem.message


def test_options_are_converted_to_the_types_of_the_signature() -> None:
    class Ranged:
        def __init__(self, first: str, *, range: tuple[float, float], times: int = 1) -> None:
            self.given = (first, range, times)

    assert build(Ranged, "x", range=[0, "4"], times="2").given == ("x", (0.0, 4.0), 2)
    assert build(Ranged, "x", range=(0, 1)).given == ("x", (0.0, 1.0), 1)


@pytest.mark.parametrize(
    ("kind", "written", "meant"),
    [
        ("reader", "csv", "table"),
        ("reader", "TSV", "table"),
        ("reader", "json", "jsonl"),
        ("reader", "CoNLL-2003", "conll"),
        ("head", "text_classification", "classification"),
        ("head", "text-classification", "classification"),
        ("head", "ner", "token_classification"),
        ("head", "relation extraction", "relation"),
        ("head", "multi-label", "multilabel"),
    ],
)
def test_the_name_that_other_frameworks_use_gets_ours_as_advice(kind: Any, written: str, meant: str) -> None:
    with pytest.raises(InputError) as raised:
        find(kind, written, "key")
    assert f"'{meant}'" in raised.value.problems[0].suggestion


@pytest.mark.parametrize("kind", ["head", "reader"])
def test_other_names_are_unique_and_no_names_of_ours(kind: Any) -> None:
    names = choices(kind)
    others = [other for name in names for other in find(kind, name, "key").other_names]
    assert len({*others, *names}) == len(others) + len(names)
