"""The shape of the code: imports go one way, packages are entered where they say so, and a name means one thing."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

LAYERS = (
    "heads",
    "mtl.redaction",
    "mtl.problems",
    "mtl.shipped",
    "mtl.seeding",
    "mtl.files",
    "mtl.hashed_ids",
    "mtl.private_files",
    "mtl.processes",
    "mtl.distributed",
    "mtl.messages",
    "mtl.markdown",
    "mtl.threads",
    "mtl.log_filters",
    "mtl.single_precision",
    "mtl.code_identity",
    "mtl.readers",
    "mtl.writers",
    "mtl.importers",
    "mtl.samplers",
    "mtl.balancing",
    "mtl.config",
    "mtl.drafting",
    "mtl.tracking",
    "mtl.encoder",
    "mtl.data",
    "mtl.batching",
    "mtl.evaluation",
    "mtl.training",
    "mtl.calibration",
    "mtl.prediction",
    "mtl.export",
    "mtl.serving",
    "mtl.study.design",
    "mtl.study.statistics",
    "mtl.study.report",
    "mtl.study.running",
    "mtl.suites",
    "mtl.tuning",
    "mtl.vocabulary",
    "mtl.planning",
    "mtl.commands",
    "mtl",
)
"""Each may import from those before it; `mtl` itself hands on public names, and runs the command."""

FILES = sorted(path for folder in ("heads", "mtl") for path in (REPOSITORY / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def layer(module: str) -> str:
    """The layer of a module: the longest of the names that it lies under."""
    return max((name for name in LAYERS if module == name or module.startswith(f"{name}.")), key=len)


def imports(module: str) -> Iterator[str]:
    """Our modules that a module imports, wherever in it, those for type checkers included."""
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("mtl", "heads"):
            for alias in node.names:
                deeper = f"{node.module}.{alias.name}"
                yield deeper if deeper in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_from_its_own_layer_and_those_below(module: str) -> None:
    above = [name for name in imports(module) if LAYERS.index(layer(name)) > LAYERS.index(layer(module))]
    assert above == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: set(imports(module)) - {module} for module in MODULES}
    while free := [module for module, found in graph.items() if not found & graph.keys()]:
        for module in free:
            del graph[module]
    assert graph == {}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_package_is_entered_through_the_modules_that_it_names(module: str) -> None:
    for name in imports(module):
        package, _, inner = name.rpartition(".")
        public = exported(package)
        if public is not None and layer(module) != layer(name):
            assert inner in public, f"{module} imports {name}, which {package} does not name in __all__"


def exported(package: str) -> set[str] | None:
    """The modules that a package names in `__all__`; None where it names none."""
    if package not in MODULES:
        return None
    for node in MODULES[package].body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = set(ast.literal_eval(node.value))
            return names if any(f"{package}.{name}" in MODULES for name in names) else None
    return None


@pytest.mark.parametrize(
    "package",
    sorted(name for name in MODULES if name.startswith("mtl.") and (REPOSITORY / name.replace(".", "/")).is_dir()),
)
def test_a_package_says_what_it_is_for_and_describes_every_module_in_it(package: str) -> None:
    text = ast.get_docstring(MODULES[package])
    assert text is not None
    assert len(text.splitlines()[0]) > 20
    for name in exported(package) or ():
        assert f"{package}.{name}" in MODULES
    inside = [name.removeprefix(f"{package}.") for name in MODULES if name.startswith(f"{package}.")]
    if exported(package):
        assert [name for name in inside if "." not in name and f"`{name}`" not in text] == []


@pytest.mark.parametrize("package", sorted(name for name in MODULES if exported(name)))
def test_a_package_names_only_modules_that_others_use(package: str) -> None:
    """The names that `mtl/__init__.py` hands on are imports of the layer `mtl`."""
    used = {name for module in MODULES for name in imports(module) if layer(module) != layer(name)}
    assert {f"{package}.{name}" for name in exported(package) or ()} - used == set()


def test_no_two_modules_have_the_same_name() -> None:
    names = Counter(module.rpartition(".")[2] for module in MODULES if not is_component(module))
    assert {name for name, number in names.items() if number > 1} == set()


def test_no_two_classes_have_the_same_name() -> None:
    """A private class may not take the name of another one either, with or without its underscore."""
    found: dict[str, list[str]] = defaultdict(list)
    for module, tree in MODULES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found[node.name.lstrip("_")].append(module)
    assert {name: modules for name, modules in found.items() if len(modules) > 1} == {}


def is_component(module: str) -> bool:
    """Whether a module is a file that YAML or the command line names, by a word of its kind."""
    return module.rpartition(".")[0] in (
        "heads",
        "mtl.readers",
        "mtl.writers",
        "mtl.importers",
        "mtl.samplers",
        "mtl.balancing",
        "mtl.study.running.launchers",
        "mtl.vocabulary.initialisers",
        "mtl.planning",
        "mtl.commands",
    )
