from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mtl.code_identity.modules import NOTHING, Modules, Target, Use, library_versions

Build = Callable[[Mapping[str, str]], str]


def test_names_are_resolved_to_the_module_that_defines_them(build: Build) -> None:
    name = build(
        {
            "__init__.py": "from .a import f as g, a\nfrom . import b",
            "a.py": "f = 1\na = 2",
            "b/__init__.py": "from ..a import *\nfrom os import *",
            "b/c.py": "from ... import nothing\nfrom .. import g as k",
        }
    )
    modules = Modules()
    f, a = Target("definition", f"{name}.a", "f"), Target("definition", f"{name}.a", "a")
    expected = {
        "g": Use(f),
        "g.real": Use(f, ("real",)),
        "a": Use(a),  # the attribute of the package hides its module
        "a.f": Use(a, ("f",)),
        "b": Use(Target("module", f"{name}.b")),
        "b.f": Use(f),
        "b.path": Use(Target("library", "os", "os.path")),
        "b.c.k": Use(f),
        "b.c.missing": Use(Target("module", f"{name}.b.c"), ("missing",)),
    }
    for names, use in expected.items():
        assert modules.member(name, names.split(".")) == {use}, names


def test_circular_imports_end(build: Build) -> None:
    name = build({"a.py": "from .b import x", "b.py": "from .a import x"})
    assert Modules().member(f"{name}.a", ["x"]) == {Use(Target("module", f"{name}.a"), ("x",))}


def test_a_namespace_package_holds_modules(folder: Path, build: Build) -> None:
    name = build({"inner/a.py": "f = 1"})
    (folder / name / "__init__.py").unlink()
    f = {Use(Target("definition", f"{name}.inner.a", "f"))}
    assert Modules().member(f"{name}.inner.a", ["f"]) == Modules().member(name, ["inner", "a", "f"]) == f


def test_what_decides_no_result_is_nothing(build: Build) -> None:
    name = build({"__init__.py": "DECIDES_RESULTS = False", "a.py": "f = 1", "b.py": "DECIDES_RESULTS = True\nf = 1"})
    modules = Modules()
    assert modules.member(f"{name}.a", ["f", "real"]) == modules.member(name, ["a"]) == {Use(NOTHING)}
    assert modules.member(f"{name}.b", ["f"]) == {Use(Target("definition", f"{name}.b", "f"))}


@pytest.mark.parametrize(
    ("module", "is_library"),
    [("torch", True), ("yaml", True), ("math", True), ("sys", True), ("not_installed", True), ("mtl", False)],
)
def test_libraries_are_what_is_installed(module: str, is_library: bool) -> None:
    (use,) = Modules().member(module, ["x"])
    assert (use.target == Target("library", module, f"{module}.x")) is is_library


@pytest.mark.parametrize("place", ["site-packages", "dist-packages"])
def test_a_library_is_recognised_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    name = f"installed_in_{place.partition('-')[0]}"
    (tmp_path / place).mkdir()
    (tmp_path / place / f"{name}.py").write_text("f = 1")
    monkeypatch.syspath_prepend(tmp_path / place)
    assert Modules().member(name, ["f"]) == {Use(Target("library", name, f"{name}.f"))}


def test_a_loaded_module_without_a_file_is_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "made_up", types.ModuleType("made_up"))
    assert Modules().member("made_up", ["f"]) == {Use(Target("unknown", name="f"))}


def test_import_names_are_mapped_to_distributions() -> None:
    assert list(library_versions("yaml")) == ["PyYAML"]
    assert list(library_versions("sklearn")) == ["scikit-learn"]
    assert list(library_versions("transformers")) == ["transformers", "tokenizers"]
    assert list(library_versions("json")) == ["python"]
    assert library_versions("not_installed") == {"not_installed": "no version"}


def test_a_file_is_read_as_it_is_now(folder: Path, build: Build) -> None:
    name = build({"a.py": "f = 1"})
    first = Modules().get(f"{name}.a")
    (folder / name / "a.py").write_text("f = 2")
    second = Modules().get(f"{name}.a")
    assert first is not None
    assert second is not None
    assert first.syntax != second.syntax
