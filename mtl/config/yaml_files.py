"""From YAML files to one resolved mapping: includes, overrides, interpolation, paths."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mtl.problems import InputError, Problem

Fields = dict[str, Any]


def read_mixture_fields(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), *, folder: Path | None = None
) -> Fields:
    """The fields of a mixture with everything it includes, resolved.

    An include is a task file (it has a key `head`; its file name is the task's name) or another mixture. Later
    includes win over earlier ones, the including file over its includes, and overrides over all.

    Args:
        source: A file, or its content.
        overrides: ``key=value`` with dotted keys.
        folder: Where paths in a content are looked for first; None takes the working folder.

    Raises:
        InputError: A file is missing or no YAML, an include goes round in a circle, or an interpolation fails.
    """
    folder = folder or Path.cwd()
    problems: list[Problem] = []
    written: Fields = {}
    above: Fields = {}
    try:
        written = _read_file(Path(source), ()) if isinstance(source, str | Path) else _read_content(source, folder)
    except InputError as error:
        problems += error.problems
    try:
        above = parse_overrides(overrides)
    except InputError as error:
        problems += error.problems
    if problems:
        raise InputError(problems)
    fields = resolve(merge(written, above))
    if "tasks" in fields and isinstance(fields["tasks"], dict):
        fields["tasks"] = {str(name): task for name, task in fields["tasks"].items()}
    for task in _tasks(fields).values():
        _settle_paths(task)
    return fields


def read_yaml(path: Path) -> Fields:
    """A YAML file as a mapping, interpolation unresolved.

    Raises:
        InputError: The file is missing, no YAML (with its line), or no mapping.
    """
    if not path.is_file():
        raise InputError(Problem(str(path), "The file doesn't exist.", "Check the path."))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + error.object.count(b"\n", 0, error.start)
        message = f"The file must be UTF-8; found byte 0x{error.object[error.start]:02x}."
        raise InputError(Problem(f"{path}:{line}", message, "Save it as UTF-8.")) from None
    except OSError as error:
        raise InputError(Problem(str(path), f"The file can't be read: {error.strerror}.")) from None
    try:
        loaded = OmegaConf.to_container(OmegaConf.load(StringIO(text)), resolve=False)
    except OSError:  # what OmegaConf calls content that is neither a mapping nor a list
        raise InputError(Problem(str(path), "The file must hold keys with values; found a single value.")) from None
    except yaml.YAMLError as error:
        raise InputError(_yaml_problem(error, str(path))) from None
    except OmegaConfBaseException as error:
        raise InputError(_interpolation_problem(error, f"{path}: ")) from None
    if not isinstance(loaded, dict):
        raise InputError(Problem(str(path), "The file must hold keys with values; found a list."))
    return {str(key): value for key, value in loaded.items()}


def resolve(fields: Fields) -> Fields:
    """Fields with every interpolation filled in.

    Raises:
        InputError: Some can't be; it lists them all.
    """
    problems: list[Problem] = []
    config = OmegaConf.create(fields)
    while True:
        try:
            resolved = OmegaConf.to_container(config, resolve=True)
        except OmegaConfBaseException as error:
            problem = _interpolation_problem(error, "")
            if not error.full_key or (problems and problem.key == problems[-1].key):
                raise InputError([*problems, problem]) from None
            problems.append(problem)
            OmegaConf.update(config, error.full_key, None)  # and on to the next one
            continue
        if problems:
            raise InputError(problems)
        assert isinstance(resolved, dict)
        return {str(key): value for key, value in resolved.items()}


def _read_file(path: Path, parents: tuple[Path, ...]) -> Fields:
    path = path.resolve()
    if path in parents:
        circle = " -> ".join(parent.name for parent in (*parents, path))
        raise InputError(
            Problem(str(path), f"Includes must not go round in a circle; found {circle}.", "Remove one of them.")
        )
    fields = read_yaml(path)
    if "head" in fields and "tasks" not in fields:
        fields = {"tasks": {path.stem: fields}}
    return _with_includes(_anchored(fields, path.parent), path.parent, (*parents, path), f"{path}: ")


def _read_content(content: Mapping[str, Any], folder: Path) -> Fields:
    """The content of a mixture file, with its includes."""
    fields = {str(key): value for key, value in copy.deepcopy(dict(content)).items()}  # the caller's stays as it is
    return _with_includes(_anchored(fields, folder), folder, (), "")


def _with_includes(fields: Fields, folder: Path, parents: tuple[Path, ...], where: str) -> Fields:
    """The fields over what they include; `where` is the place of their file before a key, for errors."""
    includes = fields.pop("include", [])
    if not isinstance(includes, list) or not all(isinstance(name, str) for name in includes):
        raise InputError(Problem(f"{where}include", "It must be a list of files.", "Write include: [FILE, FILE]."))
    merged: Fields = {}
    problems: list[Problem] = []
    for name in includes:
        try:
            path = folder / str(resolve({"include": name})["include"])
            if not path.is_file():
                raise InputError(Problem(f"{where}include", f"The file '{path}' doesn't exist.", "Check the path."))
            merged = merge(merged, _read_file(path, parents))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return merge(merged, fields)


def _anchored(fields: Fields, folder: Path) -> Fields:
    """Notes beside every `data.path` in which folder it was written."""
    for task in _tasks(fields).values():
        data = task.get("data") if isinstance(task, dict) else None
        if isinstance(data, dict) and "path" in data:
            data["_folder"] = str(folder)
    return fields


def _settle_paths(task: Any) -> None:
    """Makes `data.path` absolute where the file is found beside the YAML that names it."""
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict):
        return
    folder = Path(data.pop("_folder", "."))
    path = data.get("path")
    if isinstance(path, str):
        data["path"] = _settled(path, folder)
    elif isinstance(path, dict):
        data["path"] = {split: _settled(p, folder) if isinstance(p, str) else p for split, p in path.items()}


def _settled(path: str, folder: Path) -> str:
    beside = folder / path
    return str(beside.resolve()) if beside.exists() else path


def parse_overrides(overrides: Sequence[str]) -> Fields:
    """Fields from ``key=value`` with dotted keys; values are read as YAML.

    Raises:
        InputError: Some are no such pairs, or their values no YAML.
    """
    fields: Fields = {}
    problems = []
    for override in overrides:
        key, equals, text = override.partition("=")
        if not (key and equals):
            problems.append(Problem(override, "An override must be key=value.", "Write seed=3, for example."))
            continue
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            problem = getattr(error, "problem", None) or "it can't be read"
            problems.append(Problem(key, f"The value '{text}' isn't valid YAML: {problem}."))
            continue
        for part in reversed(key.split(".")):
            value = {part: value}
        fields = merge(fields, value)
    if problems:
        raise InputError(problems)
    return _anchored(fields, Path.cwd())


def merge(below: Fields, above: Fields) -> Fields:
    """Mappings merge key by key; anything else from above replaces what is below.

    So does a sampler or balancing method of another name, to which the options of the one below mean nothing.
    """
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        is_other = (
            both
            and key in ("sampler", "balancing")
            and value.get("name", merged[key].get("name")) != merged[key].get("name")
        )
        merged[key] = merge(merged[key], value) if both and not is_other else value
    return merged


def _tasks(fields: Fields) -> Fields:
    tasks = fields.get("tasks")
    return tasks if isinstance(tasks, dict) else {}


def _yaml_problem(error: yaml.YAMLError, path: str) -> Problem:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Problem(path, f"The file isn't valid YAML: {' '.join(str(error).split())}.")
    place = f"{path}:{error.problem_mark.line + 1}"
    problem = str(error.problem)
    if problem.startswith("found duplicate key "):
        name = problem.removeprefix("found duplicate key ")
        return Problem(place, f"A key must stand once; found '{name}' again.", "Remove one of the two, or rename it.")
    began = error.context_mark.line + 1 if error.context_mark else error.problem_mark.line + 1
    context = f" {error.context} that begins in line {began}:" if error.context else ""
    advice = "Indent with spaces." if "tab character" in problem or "'\\t'" in problem else ""
    return Problem(place, f"The file isn't valid YAML:{context} {problem}.", advice)


def _interpolation_problem(error: OmegaConfBaseException, where: str) -> Problem:
    """An interpolation that is malformed or leads nowhere; OmegaConf adds lines about its own types."""
    reason = str(error).splitlines()[0].rstrip(".")
    reason = reason.replace("missing BRACE_CLOSE at '<EOF>'", "the closing } is missing")
    reason = re.sub(r"^\w+ raised while resolving interpolation: ", "", reason).strip('"')
    key = f"{where}{error.full_key}" if error.full_key else where.removesuffix(": ") or "interpolation"
    missing = re.fullmatch(r"Environment variable '(.+)' not found", reason)
    if missing:
        message = f"The environment variable {missing[1]} isn't set."
        return Problem(key, message, f"Set it, or write a default: ${{oc.env:{missing[1]},DEFAULT}}.")
    return Problem(key, f"It can't be filled in: {reason}.", "Write ${key} or ${oc.env:NAME,default}.")
