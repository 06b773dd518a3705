"""From YAML files to one resolved mapping: includes, overrides, interpolations and paths."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from mtl.config.encoder_catalogue import with_entry
from mtl.config.interpolation import Fields, check_syntax, copied, resolve
from mtl.config.mixture import Mixture, TaskSpec
from mtl.config.schema import QUOTE_BOOLEANS, mismatches
from mtl.config.yaml_text import load_yaml
from mtl.problems import InputError, Problem
from mtl.redaction import quoted, shown_key, strings, without_quotes

__all__ = [
    "find_file",
    "merge",
    "parse_overrides",
    "read_mixture_fields",
    "read_yaml",
    "require_known_key",
    "resolve",
    "with_numbers",
]

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
    merged = merge(written, above)
    fields = resolve(merged)
    if "tasks" in fields and isinstance(fields["tasks"], dict):
        fields["tasks"] = {str(name): task for name, task in fields["tasks"].items()}
    _inherit_data(_tasks(fields))
    problems = [problem for name, task in _tasks(fields).items() for problem in _settle_paths(task, str(name))]
    problems += settle_encoder(fields)
    if problems:
        raise InputError(problems)
    return with_numbers(fields, merged, Mixture)


def settle_encoder(fields: Fields) -> list[Problem]:
    """Expands the paths of the encoder, and names it after its entry of the catalogue, or after the run in `init`.

    Args:
        fields: Fields of a mixture, which change.
    """
    problems: list[Problem] = []
    encoder, init = fields.get("encoder"), fields.get("init")
    if isinstance(init, dict) and isinstance(init.get("run"), str):
        run = _expanded(init["run"], "init.run", problems)
        init["run"] = str(Path(run).resolve()) if _exists(Path(run)) else run
        encoder = {} if encoder is None else encoder
        problems += _init_problems(encoder, init["run"])
        fields["encoder"] = {**encoder, "name": init["run"]} if isinstance(encoder, dict) else encoder
        if init.get("heads") == "keep" and isinstance(fields.get("tasks"), dict):
            fields["tasks"] |= _kept_tasks(Path(init["run"]), fields["tasks"])
        return problems
    if isinstance(encoder, dict):
        for key in _ENCODER_PATHS:
            if isinstance(encoder.get(key), str):
                encoder[key] = _expanded(encoder[key], f"encoder.{key}", problems)
        fields["encoder"] = with_entry(encoder)
    return problems


def _init_problems(encoder: Any, run: str) -> list[Problem]:
    """Keys of the encoder that say where it starts, other than `init`."""
    written = encoder if isinstance(encoder, dict) else {}
    keys = [key for key in ("name", "revision", "weights", "tokenizer") if written.get(key) not in (None, run)]
    advice = "Remove one of the two; `null` removes a key that an include has."
    return [Problem(f"encoder.{key}", "must be left out with init, which starts from a run.", advice) for key in keys]


def _kept_tasks(run: Path, own: Fields) -> Fields:
    """The tasks of a run that a mixture does not have, to be evaluated but not trained; none if there is no such run.

    Args:
        run: Folder of the run, or one of its checkpoints.
        own: Tasks of the mixture.
    """
    file = (run.parent.parent if run.suffix == ".ckpt" else run) / "mixture.yaml"
    if not _is_file(file):
        return {}  # reported with the other problems of `init.run`
    fields = read_yaml(file)
    length = fields["encoder"]["max_length"]
    return {
        name: {**task, "rate": 0, "same_rows_as": None, "max_length": task["max_length"] or length}
        for name, task in _tasks(fields).items()
        if name not in own
    }


def _inherit_data(tasks: Fields) -> None:
    """Gives a task with `same_rows_as` the data of that task, below its own keys, unless it names a reader itself."""
    for task in tasks.values():
        leader = tasks.get(str(task.get("same_rows_as"))) if isinstance(task, dict) else None
        own = task.get("data") or {} if isinstance(task, dict) else None
        theirs = leader.get("data") if isinstance(leader, dict) else None
        if isinstance(own, dict) and isinstance(theirs, dict) and "reader" not in own:
            task["data"] = merge(copied(theirs), own)


def with_numbers(fields: Fields, written: Fields, model: type[Any]) -> Fields:
    """The fields with numbers and booleans from environment variables, which are strings, where the model needs them.

    Args:
        fields: Resolved fields, which change.
        written: The fields before interpolations are resolved.
        model: A pydantic class of the fields.
    """
    if not any(_is_variable(text) for text in strings(written)):
        return fields
    for mismatch in mismatches(TypeAdapter(model), fields):
        if not (mismatch.place and _is_variable(_at(written, mismatch.place))):
            continue
        *above, last = mismatch.place
        target = _at(fields, above)
        try:
            value = load_yaml(str(target[last]))
        except yaml.YAMLError:
            continue
        if isinstance(value, bool | int | float):
            target[last] = value
    return fields


def _is_variable(text: Any) -> bool:
    """Whether a value is an environment variable as a whole."""
    return isinstance(text, str) and re.fullmatch(r"\$\{oc\.env:[^${}]*\}", text) is not None


def _at(value: Any, place: Sequence[str | int]) -> Any:
    """The value at a place; None if there is none."""
    for part in place:
        if isinstance(value, list) and isinstance(part, int):
            value = value[part] if part < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value


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
        raise InputError(_yaml_problem(error, str(path), text)) from None
    if not isinstance(loaded, dict | None):
        found = "a list" if isinstance(loaded, list) else "a single value"
        raise InputError(Problem(str(path), f"The file must contain a mapping, got {found}."))
    booleans = list(_boolean_keys(loaded or {}))
    if booleans:
        message = "A key must be a string or a number, got a boolean."
        raise InputError([Problem(f"{path}: {key}", message, QUOTE_BOOLEANS) for key in booleans])
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
                path = folder / _expanded(str(resolve({"include": name})["include"]), f"{where}include", problems)
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


_ENCODER_PATHS = ("name", "tokenizer")
"""Keys of an encoder that may be paths."""


def _anchored(fields: Fields, folder: Path) -> Fields:
    """Records next to every `data.path` the folder of the file that contains it.

    A run to start from that exists relative to this folder becomes absolute, and so does an encoder whose name starts
    with a dot; others may be models of the hub.
    """
    for section, keys in (("encoder", _ENCODER_PATHS), ("init", ("run",))):
        content = fields.get(section)
        content = content if isinstance(content, dict) else {}
        for key in keys:
            path = content.get(key)
            if isinstance(path, str) and (section == "init" or path.startswith(".")) and _exists(folder / path):
                content[key] = str((folder / path).resolve())
    for task in _tasks(fields).values():
        data = task.get("data") if isinstance(task, dict) else None
        if isinstance(data, dict) and "path" in data:
            data["_folder"] = str(folder)
    return fields


def _settle_paths(task: Any, name: str) -> list[Problem]:
    """Makes `data.path` absolute if it exists relative to the folder of its YAML file, after `~` and variables."""
    problems: list[Problem] = []
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict):
        return problems
    folder = Path(data.pop("_folder", "."))
    key = f"tasks.{name}.data.path"
    path = data.get("path")
    if isinstance(path, str):
        data["path"] = _settled(path, folder, key, problems)
    elif isinstance(path, dict):
        data["path"] = {
            split: _settled(p, folder, f"{key}.{split}", problems) if isinstance(p, str) else p
            for split, p in path.items()
        }
    return problems


def _settled(path: str, folder: Path, key: str, problems: list[Problem]) -> str:
    if not _exists(folder / path):
        path = _expanded(path, key, problems)
    relative = folder / path
    return str(relative.resolve()) if _exists(relative) else path


def _expanded(path: str, key: str, problems: list[Problem]) -> str:
    """A path with the home folder for `~` and the values of environment variables such as `$DATA`."""
    expanded = os.path.expandvars(path)
    if expanded.startswith("~/"):
        expanded = str(Path(expanded).expanduser())
    missing = re.search(r"\$([A-Za-z_]\w*)", expanded)
    if missing:
        message = f"The environment variable {missing[1]} is not set."
        problems.append(Problem(key, message, f"Set it, or write ${{oc.env:{missing[1]},DEFAULT}}."))
    return expanded


def find_file(path: str, folder: Path, key: str, kind: str) -> Path:
    """A file that another file names: next to that file, otherwise in the working folder.

    Args:
        path: The path as it is written; `~` and environment variables such as `$DATA` are expanded.
        folder: Folder of the file that names it.
        key: Key of the path, for errors.
        kind: What the file that names it is, such as "study", for errors.

    Raises:
        InputError: There is no such file, or an environment variable is not set.
    """
    problems: list[Problem] = []
    expanded = _expanded(path, key, problems)
    for place in (folder / path, Path(path), folder / expanded, Path(expanded)):
        if _is_file(place):
            return place
    advice = f"Check the path; it is looked up next to the {kind} file, then in the working folder."
    raise InputError(problems or [Problem(key, f"The file '{expanded}' does not exist.", advice)])


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or has a null character
        return False


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
            value = load_yaml(text)
        except yaml.YAMLError as error:
            problem = getattr(error, "problem", None) or "it cannot be parsed"
            problems.append(Problem(key, f"The value '{text}' is not valid YAML: {without_quotes(str(problem))}."))
            continue
        problems += [
            Problem(f"{key}.{name}", "A key must be a string or a number, got a boolean.", QUOTE_BOOLEANS)
            for name in _boolean_keys(value)
        ]
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


def _boolean_keys(value: Any, place: str = "") -> Iterator[str]:
    """The dotted places of all keys that YAML has read as booleans, such as an unquoted no."""
    if isinstance(value, dict):
        for key, inner in value.items():
            is_boolean = isinstance(key, bool)
            here = f"{place}{str(key).lower() if is_boolean else shown_key(str(key))}"
            yield from [here] * is_boolean
            yield from _boolean_keys(inner, f"{here}.")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _boolean_keys(inner, f"{place}{index}.")


def _tasks(fields: Fields) -> Fields:
    tasks = fields.get("tasks")
    return tasks if isinstance(tasks, dict) else {}


def _yaml_problem(error: yaml.YAMLError, path: str, text: str) -> Problem:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Problem(path, f"The file is not valid YAML: {without_quotes(' '.join(str(error).split()))}.")
    place = f"{path}:{error.problem_mark.line + 1}"
    problem = str(error.problem)
    if problem.startswith("found duplicate key "):
        name = problem.removeprefix("found duplicate key ")
        message = f"Keys must be unique, got {quoted(name, 'a key')} twice."
        return Problem(place, message, "Remove or rename one of them.")
    if problem == "mapping values are not allowed here":
        message = "The file is not valid YAML: a key cannot stand here."
        return Problem(place, message, "Check the indentation of this line and of the one above it.")
    lines = text.splitlines()
    line = lines[error.problem_mark.line] if error.problem_mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return Problem(place, "The file is not valid YAML: the line is indented with a tab.", "Indent with spaces.")
    began = error.context_mark.line + 1 if error.context_mark else error.problem_mark.line + 1
    context = f" {error.context} that starts in line {began}:" if error.context else ""
    return Problem(place, f"The file is not valid YAML:{without_quotes(context)} {without_quotes(problem)}.")
