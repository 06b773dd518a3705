"""From YAML files to one resolved mapping: includes, overrides, interpolations and paths."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mtl.config.mixture import Mixture, TaskSpec
from mtl.problems import InputError, Problem
from mtl.redaction import quoted, shown_key, without_quotes

Fields = dict[str, Any]


def read_mixture_fields(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), *, folder: Path | None = None
) -> Fields:
    """The resolved fields of a mixture and of everything that it includes.

    An include is another mixture or a task file, which has a key `head` and is named like the task. Later includes
    override earlier ones, the including file overrides its includes, and `overrides` override everything.

    Args:
        source: A file, or its content.
        overrides: ``key=value`` with dotted keys.
        folder: Folder that is searched first for relative paths in a content; None means the working folder.

    Raises:
        InputError: A file is missing or not valid YAML, files include each other in a circle, or an interpolation
            fails.
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
    """A YAML file as a mapping, with unresolved interpolations.

    Raises:
        InputError: The file is missing, not valid YAML (the key then has the line), or not a mapping.
    """
    if not path.is_file():
        raise InputError(Problem(str(path), "The file does not exist.", "Check the path."))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + error.object.count(b"\n", 0, error.start)
        message = f"The file must be UTF-8, got byte 0x{error.object[error.start]:02x}."
        raise InputError(Problem(f"{path}:{line}", message, "Save it as UTF-8.")) from None
    except OSError as error:
        raise InputError(Problem(str(path), f"The file cannot be read: {error.strerror}.")) from None
    try:
        loaded = OmegaConf.to_container(OmegaConf.load(StringIO(text)), resolve=False)
    except OSError:  # raised by OmegaConf for content that is neither a mapping nor a list
        raise InputError(Problem(str(path), "The file must contain a mapping, got a single value.")) from None
    except yaml.YAMLError as error:
        raise InputError(_yaml_problem(error, str(path))) from None
    except OmegaConfBaseException as error:
        raise InputError(_interpolation_problem(error, f"{path}: ")) from None
    if not isinstance(loaded, dict):
        raise InputError(Problem(str(path), "The file must contain a mapping, got a list."))
    return {str(key): value for key, value in loaded.items()}


def require_known_key(path: Path, fields: Fields, known: Collection[str]) -> None:
    """Refuses a file without any known key, such as a note in the place of a mixture, before its keys are shown.

    Raises:
        InputError: No key is known.
    """
    if fields and not fields.keys() & set(known):
        keys = f"{len(fields)} other key{'s' if len(fields) > 1 else ''}"
        message = f"The file must contain at least one of the keys {', '.join(sorted(known))}; got {keys}."
        raise InputError(Problem(str(path), message, "Check that it is the right file."))


def resolve(fields: Fields) -> Fields:
    """Fields with all interpolations resolved.

    Raises:
        InputError: Interpolations cannot be resolved; the error lists all of them.
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
            OmegaConf.update(config, error.full_key, None)  # so that the next attempt reaches the next problem
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
            Problem(str(path), f"Files must not include each other in a circle, got {circle}.", "Remove one include.")
        )
    fields = read_yaml(path)
    if parents:
        require_known_key(path, fields, {*Mixture.model_fields, *TaskSpec.model_fields, "include", "only"})
    if "head" in fields and "tasks" not in fields:
        fields = {"tasks": {path.stem: fields}}
    return _with_includes(_anchored(fields, path.parent), path.parent, (*parents, path), f"{path}: ")


def _read_content(content: Mapping[str, Any], folder: Path) -> Fields:
    """The content of a mixture file, with its includes."""
    fields = {
        str(key): value for key, value in copy.deepcopy(dict(content)).items()
    }  # leaves the caller's mapping unchanged
    return _with_includes(_anchored(fields, folder), folder, (), "")


def _with_includes(fields: Fields, folder: Path, parents: tuple[Path, ...], where: str) -> Fields:
    """The fields merged over their includes; `where` is the prefix of keys in errors, which names the file."""
    includes = fields.pop("include", [])
    if not isinstance(includes, list) or not all(isinstance(name, str) for name in includes):
        raise InputError(Problem(f"{where}include", "must be a list of files.", "Write include: [FILE, FILE]."))
    merged: Fields = {}
    problems: list[Problem] = []
    for name in includes:
        try:
            path = folder / str(resolve({"include": name})["include"])
            if not path.is_file():
                raise InputError(Problem(f"{where}include", f"The file '{path}' does not exist.", "Check the path."))
            merged = merge(merged, _read_file(path, parents))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return merge(merged, fields)


def _anchored(fields: Fields, folder: Path) -> Fields:
    """Records next to every `data.path` the folder of the file that contains it."""
    for task in _tasks(fields).values():
        data = task.get("data") if isinstance(task, dict) else None
        if isinstance(data, dict) and "path" in data:
            data["_folder"] = str(folder)
    return fields


def _settle_paths(task: Any) -> None:
    """Makes `data.path` absolute if it exists relative to the folder of its YAML file."""
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
    relative = folder / path
    return str(relative.resolve()) if relative.exists() else path


def parse_overrides(overrides: Sequence[str]) -> Fields:
    """Fields from ``key=value`` with dotted keys; values are parsed as YAML.

    Raises:
        InputError: An override is not of this form, or its value is not valid YAML; the error lists all of them.
    """
    fields: Fields = {}
    problems = []
    for override in overrides:
        key, equals, text = override.partition("=")
        if not (key and equals):
            problems.append(
                Problem(override, "An override must have the form key=value.", "For example, write seed=3.")
            )
            continue
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            problem = getattr(error, "problem", None) or "it cannot be parsed"
            problems.append(Problem(key, f"The value '{text}' is not valid YAML: {without_quotes(str(problem))}."))
            continue
        for part in reversed(key.split(".")):
            value = {part: value}
        fields = merge(fields, value)
    if problems:
        raise InputError(problems)
    return _anchored(fields, Path.cwd())


def merge(below: Fields, above: Fields) -> Fields:
    """Merges mappings key by key; any other value of `above` replaces the value of `below`.

    A sampler or balancing method with another name is also replaced as a whole, because options of the one below do not
    apply to it.
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
        return Problem(path, f"The file is not valid YAML: {without_quotes(' '.join(str(error).split()))}.")
    place = f"{path}:{error.problem_mark.line + 1}"
    problem = str(error.problem)
    if problem.startswith("found duplicate key "):
        name = problem.removeprefix("found duplicate key ")
        return Problem(
            place, f"Keys must be unique, got {quoted(name, 'a key')} twice.", "Remove or rename one of them."
        )
    began = error.context_mark.line + 1 if error.context_mark else error.problem_mark.line + 1
    context = f" {error.context} that starts in line {began}:" if error.context else ""
    advice = "Indent with spaces." if "tab character" in problem or "'\\t'" in problem else ""
    return Problem(place, f"The file is not valid YAML:{without_quotes(context)} {without_quotes(problem)}.", advice)


def _interpolation_problem(error: OmegaConfBaseException, where: str) -> Problem:
    """The problem of an interpolation that cannot be resolved, without OmegaConf's lines about its own types."""
    reason = str(error).splitlines()[0].rstrip(".")
    reason = reason.replace("missing BRACE_CLOSE at '<EOF>'", "the closing } is missing")
    reason = re.sub(r"^\w+ raised while resolving interpolation: ", "", reason).strip('"')
    key = f"{where}{shown_key(error.full_key)}" if error.full_key else where.removesuffix(": ") or "interpolation"
    missing = re.fullmatch(r"Environment variable '(.+)' not found", reason)
    if missing and missing[1].isidentifier():
        message = f"The environment variable {missing[1]} is not set."
        return Problem(key, message, f"Set it, or add a default: ${{oc.env:{missing[1]},DEFAULT}}.")
    return Problem(
        key, f"The value cannot be resolved: {without_quotes(reason)}.", "Write ${key} or ${oc.env:NAME,default}."
    )
