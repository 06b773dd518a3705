"""Another corpus for a task of a run: its rows, with the label names that the run's head knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mtl.config import components
from mtl.config.loading import load_mixture
from mtl.config.mixture import build_head
from mtl.config.yaml_files import read_yaml, require_known_key
from mtl.files import folder_name
from mtl.problems import InputError, Problem, did_you_mean

if TYPE_CHECKING:
    from mtl.config.mixture import DataSpec, Mixture, TaskSpec

FindTask = Callable[[str], "TaskSpec | None"]
"""Finds a task by its name, for example among those of the suites; None if there is none."""


class Corpus(NamedTuple):
    """A corpus that a task of a run can read.

    Args:
        name: Its name: that of a task, or of a file without its suffix.
        data: Its data, with the label names of the run.
    """

    name: str
    data: DataSpec


def parse_names(words: Sequence[str]) -> dict[str, str]:
    """New names of labels, each from ``THEIRS=OURS``.

    Raises:
        InputError: A word has another form.

    >>> parse_names(["GENE=Gene", "PRGE=Gene"])
    {'GENE': 'Gene', 'PRGE': 'Gene'}
    """
    pairs = [word.partition("=") for word in words]
    wrong = [word for word, (theirs, _, ours) in zip(words, pairs, strict=True) if not theirs or not ours]
    if wrong:
        advice = "For example, write --map GENE=Gene."
        raise InputError([Problem("--map", f"must be THEIRS=OURS, got '{word}'.", advice) for word in wrong])
    return {theirs: ours for theirs, _, ours in pairs}


def other_corpus(
    mixture: Mixture,
    task: str,
    on: str,
    names: Mapping[str, str] | None = None,
    *,
    find: FindTask = lambda name: None,
) -> Corpus:
    """A corpus for a task of a run.

    If the corpus lacks some labels of the task, its mentions and relations are scored on those that it has.

    Args:
        mixture: Mixture of the run.
        task: Name of the task.
        on: Name of another task of the mixture, a task file, a YAML file with `data` and perhaps `labels`, or the name
            of a task that `find` knows.
        names: Name in the run of each label that has another name in the corpus.
        find: Finds tasks that are neither files nor tasks of the mixture.

    Raises:
        InputError: There is no such corpus, it is of another type, or it has labels that the task does not have.
    """
    own, names = mixture.tasks[task], dict(names or {})
    name, spec, has_labels = _spec(mixture, own, on, find)
    if components.find("head", spec.head, "--on") is not components.find("head", own.head, "--task"):
        message = f"must be a corpus of the same type, {own.head}, got {spec.head}."
        raise InputError(Problem("--on", message, f"Choose a corpus for the head {own.head}."))
    head = build_head(own, hidden_size=8)
    labels = _named(spec.labels, names)
    if has_labels:
        problems = _unknown_labels(own.labels, spec.labels, names)
        problems += [] if head.pairing else _unknown_names(spec.labels, names)  # which also has types of entities
        if problems:
            raise InputError(problems)
    rename = {**names, **{theirs: names.get(ours, ours) for theirs, ours in (spec.data.rename or {}).items()}}
    annotated = None if spec.data.annotated is None else _named(spec.data.annotated, names)
    # Attributes of mentions are annotated by name, and a corpus may have fewer of their values.
    if annotated is None and has_labels and head.labelling is None and set(labels) < set(own.labels):
        annotated = labels
    return Corpus(name, spec.data.model_copy(update={"rename": rename or None, "annotated": annotated}))


def _spec(mixture: Mixture, own: TaskSpec, on: str, find: FindTask) -> tuple[str, TaskSpec, bool]:
    """The name of the corpus, its task, and whether its labels are known."""
    if on in mixture.tasks:
        return on, mixture.tasks[on], True
    path = Path(on)
    if not path.is_file():
        found = find(on)
        if found is not None:
            return on, found, True
        advice = f"Write a task file, a task of a suite, or a task of the run: {', '.join(mixture.tasks)}."
        raise InputError(Problem("--on", f"'{on}' is neither a file nor a task of the run or of a suite.", advice))
    return folder_name(path.stem), read_task(path, own), "labels" in read_yaml(path)


def read_task(path: Path, default: TaskSpec | None = None) -> TaskSpec:
    """The task of a task file.

    Args:
        path: The file.
        default: Task with the head, labels and options of a file that has only `data`; None requires a `head`.

    Raises:
        InputError: The file is not a task file, or invalid.
    """
    fields = read_yaml(path)
    require_known_key(path, fields, ("head", "data"))
    known: dict[str, Any] = {}
    if default is not None and "head" not in fields:
        known = default.model_dump(include={"head", "labels", "options", "primary_metric"})
    corpus = {"name": "corpus", "tasks": {"corpus": {**known, **fields}}}
    return load_mixture(corpus, folder=path.parent).tasks["corpus"]


def _unknown_labels(ours: Sequence[str], theirs: Sequence[str], names: Mapping[str, str]) -> list[Problem]:
    unknown = [label for label in theirs if names.get(label, label) not in ours]
    if not unknown:
        return []
    message = f"The corpus has labels that the task does not have: {', '.join(unknown)}."
    advice = f"Map each to one of {', '.join(ours)}, such as --map '{unknown[0]}={ours[0]}', or leave them out with"
    return [Problem("--on", message, f"{advice} `types` of the reader.")]


def _unknown_names(theirs: Sequence[str], names: Mapping[str, str]) -> list[Problem]:
    return [
        Problem("--map", f"The corpus has no label '{label}'.", did_you_mean(label, theirs))
        for label in names
        if label not in theirs
    ]


def _named(labels: Sequence[str], names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names.get(label, label) for label in labels))
