"""Decides what happens to the overlaps of splits in a mixture: an error, a warning, or documents left out of training.

`mtl check`, `mtl fit` and studies all use `find_leakage`. The key `leakage` of the mixture has a policy for each kind:

- `documents`: documents with the same id or of the same patient, and rows with the same text, in train of one task and
  dev or test of another. Patients are the values of `evaluation.unit`, and of the key by which a task is split.
- `texts`: the same within one task, between the splits that its source has published. Two tasks that annotate the same
  corpus count as one: train of the other task has no text that train of this task lacks.
- `sentences`, `containment`: single sentences, and runs of 64 letters and digits, within a task and between tasks.

Test is also compared with dev of the same task. Dev trains nothing, so this is only a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mtl.data.leakage import Overlap, Rows, find_overlaps
from mtl.data.reading import read_rows
from mtl.data.store import Store
from mtl.hashed_ids import shown_id
from mtl.messages import counted
from mtl.problems import InputError, Problem

if TYPE_CHECKING:
    from mtl.config.mixture import LeakageSpec, Mixture

DECIDES_RESULTS = False

SHOWN_DOCUMENTS = 5
"""Maximum number of documents that an error or a report names."""

SHOWN_OVERLAPS = 10
"""Maximum number of overlaps of a task that are described."""

_NOUNS = {"documents": "document", "texts": "text", "sentences": "sentence"}


@dataclass(frozen=True)
class Leakage:
    """The overlaps of a mixture's splits, and what the policy makes of them.

    Args:
        policy: What happens to each kind of overlap.
        overlaps: All overlaps.
        excluded: The documents to leave out of train, by task.
        num_excluded_rows: Number of rows of these documents, by task.
        emptied: Tasks that would have no row of train left.
    """

    policy: LeakageSpec
    overlaps: tuple[Overlap, ...] = ()
    excluded: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    num_excluded_rows: Mapping[str, int] = field(default_factory=dict)
    emptied: tuple[str, ...] = ()

    def problems(self) -> list[Problem]:
        """The overlaps that are errors, and the tasks that would have no row of train left."""
        found = [
            _overlap_problem(overlap, kind, levels)
            for overlap in self.overlaps
            for kind, levels in _kinds(overlap)
            if getattr(self.policy, kind) == "error" and overlap.other_split == "train"
        ]
        message = "must leave rows in train, but every document of it is shared with dev or test."
        return found + [Problem(f"tasks.{task}.data", message, "Choose other splits.") for task in self.emptied]

    def applied(self, mixture: Mixture) -> Mixture:
        """The mixture without the training documents to leave out."""
        tasks = dict(mixture.tasks)
        for name, documents in self.excluded.items():
            data = tasks[name].data
            exclude = tuple(sorted({*data.exclude, *documents}))
            tasks[name] = tasks[name].model_copy(update={"data": data.model_copy(update={"exclude": exclude})})
        return mixture.model_copy(update={"tasks": tasks})

    def within(self, task: str) -> dict[str, dict[str, int]]:
        """Counts of documents and texts that two splits of a task share.

        Returns:
            ``{"test in train": {"documents": 3, "texts": 8}}``: 3 documents and 8 rows of test are also in train.
        """
        return {
            f"{overlap.split} in {overlap.other_split}": counts
            for overlap in self.overlaps
            if overlap.task == overlap.other_task == task
            if any((counts := {level: overlap.counts[level] for level in ("documents", "texts")}).values())
        }

    def notes_of(self, task: str) -> list[str]:
        """What dev and test of a task share with train, and what is left out of its train, without ids."""
        own = [overlap for overlap in self.overlaps if overlap.task == task]
        own.sort(key=lambda overlap: [-overlap.counts[level] for level in overlap.counts])
        found = [_described(overlap) for overlap in own[:SHOWN_OVERLAPS]]
        if len(own) > SHOWN_OVERLAPS:
            found.append(f"{counted(len(own) - SHOWN_OVERLAPS, 'smaller overlap')} with other splits")
        if task in self.excluded:
            documents = counted(len(self.excluded[task]), "document")
            rows = counted(self.num_excluded_rows[task], "row")
            found.append(f"`leakage` excludes {documents} of train ({rows})")
        return found

    def to_dict(self, *, name: Callable[[str], str] | None = str) -> dict[str, Any]:
        """The policy and all counts as JSON types.

        Args:
            name: How the first documents of each overlap are named, from their ids; None names none. The ids as they
                are may not leave the folder of a run.
        """
        overlaps = []
        for overlap in self.overlaps:
            names = name and {
                level: [name(document) for document in found[:SHOWN_DOCUMENTS]]
                for level, found in overlap.documents.items()
                if found
            }
            overlaps.append(
                {
                    "task": overlap.task,
                    "split": overlap.split,
                    "other_task": overlap.other_task,
                    "other_split": overlap.other_split,
                    **overlap.counts,
                    **({"first_documents": names} if names is not None else {}),
                }
            )
        excluded = {
            task: {"documents": len(documents), "rows": self.num_excluded_rows[task]}
            for task, documents in self.excluded.items()
        }
        return {"policy": self.policy.model_dump(), "overlaps": overlaps, "excluded": excluded}


def find_leakage(mixture: Mixture, *, policy: LeakageSpec | None = None, store: Store | None = None) -> Leakage:
    """The overlaps of a mixture's splits.

    Tasks that share their rows by `same_rows_as` count as one. If the rows of a task cannot be read, nothing is
    compared: reading them again to train reports the problem.

    Args:
        mixture: The mixture.
        policy: What happens to each kind of overlap; None takes the mixture's.
        store: Store of the tables; None uses the default folder.
    """
    policy = policy or mixture.leakage
    store = store or Store()
    try:
        rows: Rows = {name: read_rows(spec.data, f"tasks.{name}.data", store) for name, spec in mixture.tasks.items()}
    except InputError:
        return Leakage(policy)
    overlaps = tuple(find_overlaps({name: rows[name] for name in mixture.leaders()}, store, _units(mixture)))
    excluded: dict[str, set[str]] = {}
    for overlap in overlaps:
        for kind, levels in _kinds(overlap):
            if getattr(policy, kind) == "exclude" and overlap.other_split == "train":
                documents = excluded.setdefault(overlap.other_task, set())
                documents.update(*(overlap.documents[level] for level in levels))
    return _with_excluded(Leakage(policy, overlaps), excluded, mixture, rows)


def _units(mixture: Mixture) -> list[str]:
    """The keys of `meta` whose values must not be in train and in dev or test: those of patients, for example."""
    rules = [spec.data.split for spec in mixture.tasks.values() if spec.data.split is not None]
    found = {mixture.evaluation.unit, *(rule.by for rule in rules if isinstance(rule.by, str))}
    return sorted(found - {"document"})


def shared_with_train(rows: Rows, task: str, store: Store | None = None) -> list[str]:
    """What dev and test of a task share with train of any task, without ids.

    Args:
        rows: The rows of each split by task.
        task: Name of the task.
        store: Store of the tables; None uses the default folder.
    """
    return [_described(overlap) for overlap in find_overlaps(rows, store or Store()) if overlap.task == task]


def _with_excluded(leakage: Leakage, excluded: Mapping[str, set[str]], mixture: Mixture, rows: Rows) -> Leakage:
    documents: dict[str, tuple[str, ...]] = {}
    num_rows: dict[str, int] = {}
    emptied = []
    for task, spec in mixture.tasks.items():
        leader = spec.same_rows_as or task
        if leader not in excluded:
            continue
        is_excluded = np.isin(rows[leader]["train"][0].documents().astype(str), list(excluded[leader]))
        own = rows[task]["train"][0].documents()
        if len(own) != len(is_excluded):
            continue  # `prepare` reports that the rows of the two tasks differ
        documents[task] = tuple(sorted(set(own[is_excluded].tolist())))
        num_rows[task] = int(is_excluded.sum())
        if is_excluded.all():
            emptied.append(task)
    return Leakage(leakage.policy, leakage.overlaps, documents, num_rows, tuple(emptied))


def _kinds(overlap: Overlap) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The keys of the policy that an overlap concerns, each with the levels that it has there."""
    levels = {
        "texts" if overlap.is_published else "documents": ("documents", "texts"),
        "sentences": ("sentences",),
        "containment": ("containment",),
    }
    for kind, of_kind in levels.items():
        found = tuple(level for level in of_kind if overlap.counts[level])
        if found:
            yield kind, found


def _overlap_problem(overlap: Overlap, kind: str, levels: tuple[str, ...]) -> Problem:
    documents = sorted({name for level in levels for name in overlap.documents[level]})
    shown = ", ".join(map(shown_id, documents[:SHOWN_DOCUMENTS]))
    more = f" and {len(documents) - SHOWN_DOCUMENTS} more" if len(documents) > SHOWN_DOCUMENTS else ""
    message = (
        f"Train of '{overlap.other_task}' must not overlap with {overlap.split} of '{overlap.task}', got"
        f" {_listed(overlap, levels)} of {overlap.split} that are also in train, in these documents: {shown}{more}."
    )
    study = " (in a study also exclude: documents)" if kind == "documents" else ""
    advice = f"Set leakage.{kind}: exclude{study} to leave them out of training, or warn to keep them."
    return Problem(f"tasks.{overlap.other_task}", message, advice)


def _described(overlap: Overlap) -> str:
    """What a split shares with another one, without ids.

    >>> counts = {"documents": 1, "texts": 8, "sentences": 8, "containment": 20}
    >>> _described(Overlap("gad", "test", "gad", "train", True, counts, {}))
    '1 document, 8 texts and 8 sentences of test are also in train; 20 texts share 64 or more letters in a row with it'
    """
    other = (
        overlap.other_split if overlap.task == overlap.other_task else f"{overlap.other_split} of {overlap.other_task}"
    )
    whole = [level for level in _NOUNS if overlap.counts[level]]
    runs = overlap.counts["containment"]
    if not whole:
        return f"{_runs(runs)} of {overlap.split} {_share(runs)} with {other}"
    total = sum(overlap.counts[level] for level in whole)
    found = f"{_listed(overlap, whole)} of {overlap.split} {'is' if total == 1 else 'are'} also in {other}"
    return f"{found}; {_runs(runs)} {_share(runs)} with it" if runs else found


def _listed(overlap: Overlap, levels: Any) -> str:
    parts = [
        f"{_runs(overlap.counts[level])} with 64 or more letters in a row"
        if level == "containment"
        else counted(overlap.counts[level], _NOUNS[level])
        for level in levels
    ]
    return " and ".join([*([", ".join(parts[:-1])] if parts[:-1] else []), parts[-1]])


def _runs(count: int) -> str:
    return counted(count, "text")


def _share(count: int) -> str:
    return f"{'shares' if count == 1 else 'share'} 64 or more letters in a row"
