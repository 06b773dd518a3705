"""From YAML files to one resolved mapping: includes, overrides, interpolation, paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mtl.faults import Fault, InputError

Fields = dict[str, Any]


def read_mixture_fields(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Fields:
    """The fields of a mixture with everything it includes, resolved.

    An include is a task file (it has a key `head`; its file name is the task's name) or another mixture. Later
    includes win over earlier ones, the including file over its includes, and overrides over all.

    Raises:
        InputError: A file is missing or no YAML, an include goes round in a circle, or an interpolation fails.
    """
    if isinstance(source, Mapping):
        fields = _with_includes(_anchored(dict(source), Path.cwd()), Path.cwd(), (), "the mixture")
    else:
        fields = _read_file(Path(source), ())
    fields = _merge(fields, _parse_overrides(overrides))
    fields = _resolve(fields)
    for task in _tasks(fields).values():
        _settle_paths(task)
    return fields


def read_yaml(path: Path) -> Fields:
    """A YAML file as a mapping, interpolation unresolved.

    Raises:
        InputError: The file is missing, no YAML (with line and column), or no mapping.
    """
    if not path.is_file():
        raise InputError(Fault(str(path), "The file doesn't exist.", "Check the path."))
    try:
        loaded = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (yaml.YAMLError, UnicodeDecodeError, OmegaConfBaseException, OSError) as error:
        raise InputError(Fault(str(path), f"The file isn't valid YAML: {_one_line(error)}.")) from None
    if not isinstance(loaded, dict):
        raise InputError(Fault(str(path), f"A mapping must stand here; found {type(loaded).__name__}."))
    return {str(key): value for key, value in loaded.items()}


def _read_file(path: Path, parents: tuple[Path, ...]) -> Fields:
    path = path.resolve()
    if path in parents:
        circle = " -> ".join(parent.name for parent in (*parents, path))
        raise InputError(Fault(str(path), f"Includes must not go round in a circle; found {circle}."))
    fields = read_yaml(path)
    if "head" in fields and "tasks" not in fields:
        fields = {"tasks": {path.stem: fields}}
    return _with_includes(_anchored(fields, path.parent), path.parent, (*parents, path), str(path))


def _with_includes(fields: Fields, folder: Path, parents: tuple[Path, ...], where: str) -> Fields:
    includes = fields.pop("include", [])
    if not isinstance(includes, list) or not all(isinstance(name, str) for name in includes):
        raise InputError(Fault("include", f"A list of files must stand here (in {where}); found {includes!r}."))
    merged: Fields = {}
    faults: list[Fault] = []
    for name in includes:
        try:
            merged = _merge(merged, _read_file(folder / _resolve_text(name), parents))
        except InputError as error:
            faults += [
                Fault(f"include ({name})", f"{fault.key}: {fault.message}", fault.suggestion) for fault in error.faults
            ]
    if faults:
        raise InputError(faults)
    return _merge(merged, fields)


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


def _parse_overrides(overrides: Sequence[str]) -> Fields:
    fields: Fields = {}
    faults = []
    for override in overrides:
        key, equals, text = override.partition("=")
        if not (key and equals):
            faults.append(Fault(override, "An override must be key=value.", "For example tasks.gad.rate=3."))
            continue
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            faults.append(Fault(key, f"The value isn't valid YAML: {_one_line(error)}."))
            continue
        for part in reversed(key.split(".")):
            value = {part: value}
        fields = _merge(fields, value)
    if faults:
        raise InputError(faults)
    return _anchored(fields, Path.cwd())


def _merge(below: Fields, above: Fields) -> Fields:
    """Mappings merge key by key; anything else from above replaces what is below."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _resolve(fields: Fields) -> Fields:
    try:
        resolved = OmegaConf.to_container(OmegaConf.create(fields), resolve=True)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "interpolation"
        raise InputError(Fault(str(key), f"It can't be resolved: {_one_line(error)}.")) from None
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _resolve_text(text: str) -> str:
    return str(_resolve({"text": text})["text"])


def _tasks(fields: Fields) -> Fields:
    tasks = fields.get("tasks")
    return tasks if isinstance(tasks, dict) else {}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
