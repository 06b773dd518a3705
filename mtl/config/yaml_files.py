"""From YAML files to one resolved mapping: includes, overrides, interpolations and paths."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mtl.config.interpolation import Fields, check_syntax, copied, resolve
from mtl.config.mixture import Mixture, TaskSpec
from mtl.config.yaml_text import ValueLoader, load_yaml
from mtl.problems import InputError, Problem
from mtl.redaction import quoted, without_quotes

__all__ = ["merge", "parse_overrides", "read_mixture_fields", "read_yaml", "require_known_key", "resolve"]

MAX_INCLUDES = 100
"""Maximum number of files that include each other in a chain."""


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
    try:
        return _read_mixture_fields(source, overrides, folder or Path.cwd())
    except RecursionError:  # from a mapping in Python or an override with many dots; the depth of files is limited
        raise InputError(Problem("mixture", "Values must not be nested so deeply.")) from None


def _read_mixture_fields(source: str | Path | Mapping[str, Any], overrides: Sequence[str], folder: Path) -> Fields:
    problems: list[Problem] = []
    written: Fields = {}
    above: Fields = {}
    includes = _Includes()
    try:
        written = includes.file(Path(source)) if isinstance(source, str | Path) else includes.content(source, folder)
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
        loaded = load_yaml(text)
    except yaml.YAMLError as error:
        raise InputError(_yaml_problem(error, str(path))) from None
    if not isinstance(loaded, dict | None):
        found = "a list" if isinstance(loaded, list) else "a single value"
        raise InputError(Problem(str(path), f"The file must contain a mapping, got {found}."))
    fields = {str(key): value for key, value in (loaded or {}).items()}
    check_syntax(fields, f"{path}: ")
    return {key: copied(value) for key, value in fields.items()}  # aliases share values


def require_known_key(path: Path, fields: Fields, known: Collection[str]) -> None:
    """Refuses a file without any known key, such as a note in the place of a mixture, before its keys are shown.

    Raises:
        InputError: No key is known.
    """
    if fields and not fields.keys() & set(known):
        keys = f"{len(fields)} other key{'s' if len(fields) > 1 else ''}"
        message = f"The file must contain at least one of the keys {', '.join(sorted(known))}; got {keys}."
        raise InputError(Problem(str(path), message, "Check that it is the right file."))


class _Includes:
    """Reads files with their includes, each file once."""

    def __init__(self) -> None:
        self._done: dict[Path, Fields | InputError] = {}

    def file(self, path: Path, parents: tuple[Path, ...] = ()) -> Fields:
        """The fields of a file, merged over those of its includes."""
        path = path.resolve()
        if path in parents:
            circle = " -> ".join(parent.name for parent in (*parents, path))
            message = f"Files must not include each other in a circle, got {circle}."
            raise InputError(Problem(str(path), message, "Remove one include."))
        if len(parents) == MAX_INCLUDES:
            raise InputError(Problem(str(path), f"At most {MAX_INCLUDES} files may include each other in a chain."))
        if path not in self._done:
            try:
                self._done[path] = self._read(path, parents)
            except InputError as error:
                self._done[path] = error
        found = self._done[path]
        if isinstance(found, InputError):
            raise InputError(found.problems)
        return found

    def content(self, content: Mapping[str, Any], folder: Path) -> Fields:
        """The content of a mixture file, merged over its includes; the caller's mapping is unchanged."""
        fields = {str(key): value for key, value in copy.deepcopy(dict(content)).items()}
        return self._merged(_anchored(fields, folder), folder, (), "")

    def _read(self, path: Path, parents: tuple[Path, ...]) -> Fields:
        fields = read_yaml(path)
        if parents:
            require_known_key(path, fields, {*Mixture.model_fields, *TaskSpec.model_fields, "include", "only"})
        if "head" in fields and "tasks" not in fields:
            fields = {"tasks": {path.stem: fields}}
        return self._merged(_anchored(fields, path.parent), path.parent, (*parents, path), f"{path}: ")

    def _merged(self, fields: Fields, folder: Path, parents: tuple[Path, ...], where: str) -> Fields:
        """The fields merged over their includes; `where` is the prefix of keys in errors, which names the file."""
        includes = fields.pop("include", [])
        if not isinstance(includes, list) or not all(isinstance(name, str) for name in includes):
            raise InputError(Problem(f"{where}include", "must be a list of files.", "Write include: [FILE, FILE]."))
        merged: Fields = {}
        problems: list[Problem] = []
        for name in includes:
            try:
                path = folder / str(resolve({"include": name})["include"])
                if not _is_file(path):
                    message = f"The file '{path}' does not exist."
                    raise InputError(Problem(f"{where}include", message, "Check the path."))
                merged = merge(merged, self.file(path, parents))
            except InputError as error:
                problems += error.problems
        if problems:
            raise InputError(list(dict.fromkeys(problems)))  # several files can include the same one
        return merge(merged, fields)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or has a null character
        return False


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
            value = load_yaml(text, ValueLoader)
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
        message = f"Keys must be unique, got {quoted(name, 'a key')} twice."
        return Problem(place, message, "Remove or rename one of them.")
    began = error.context_mark.line + 1 if error.context_mark else error.problem_mark.line + 1
    context = f" {error.context} that starts in line {began}:" if error.context else ""
    advice = "Indent with spaces." if "tab character" in problem or "'\\t'" in problem else ""
    return Problem(place, f"The file is not valid YAML:{without_quotes(context)} {without_quotes(problem)}.", advice)
