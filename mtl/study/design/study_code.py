"""The code that decides the results of the runs of a study, in groups, so that a run depends only on code that it uses.

Any other code that decides results, such as a new type of component of a mixture, must be added in `study_code`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from heads import Head
from mtl.balancing import Balancing
from mtl.code_identity import Root, code_identity, definitions
from mtl.data.permutation import permuted_rows
from mtl.data.store import FORMAT, content_key
from mtl.samplers.quota import Quota
from mtl.study.design.runs import SHUFFLED, original

TRAINING, PERMUTING, EVALUATING = "training", "permuting", "evaluating"


@dataclass(frozen=True)
class StudyCode:
    """The code of a study by group: training, each head, and shuffling labels or testing a source if a run does so.

    Args:
        head_groups: Name of the group of the head, by task.
        roots: Roots of each group (see `mtl.code_identity`).
    """

    head_groups: Mapping[str, str]
    roots: Mapping[str, tuple[Root, ...]]

    def groups_of(self, tasks: Iterable[str], *, evaluates: bool = False) -> list[str]:
        """Returns the groups that a run of these tasks uses; a copy of a task uses the head of the task."""
        heads = [self.head_groups[original(task)] for task in tasks]
        copies = [PERMUTING] if any(task.endswith(SHUFFLED) for task in tasks) else []
        return list(dict.fromkeys([TRAINING, *heads, *copies, *([EVALUATING] if evaluates else [])]))

    def key_of(self, tasks: Sequence[str], *, evaluates: bool = False) -> list[dict[str, str]]:
        """Returns hashes of all code that a run of these tasks uses: the shared code, and the head of each task."""
        heads = {task: self.head_groups[original(task)] for task in tasks}
        groups = self.groups_of(tasks, evaluates=evaluates)
        shared = [group for group in groups if group not in heads.values()]
        return [
            {group: self.identities[group] for group in shared},
            {task: self.identities[group] for task, group in heads.items()},
        ]

    @cached_property
    def identities(self) -> dict[str, str]:
        """The hash of each group."""
        return {name: content_key(FORMAT, code_identity(*roots)) for name, roots in self.roots.items()}

    @cached_property
    def definitions(self) -> dict[str, dict[str, str]]:
        """A short hash of each definition by group; other groups omit definitions of the training group."""
        found = {name: definitions(*roots) for name, roots in self.roots.items()}
        shared = found[TRAINING].items()
        return {n: own if n == TRAINING else dict(sorted(own.items() - shared)) for n, own in found.items()}


def study_code(
    heads: Mapping[str, Head],
    names: Mapping[str, str],
    balancing: type[Balancing],
    *,
    permutes: bool = False,
    evaluates: bool = False,
) -> StudyCode:
    """Returns the code of a study.

    Args:
        heads: Head of each task.
        names: Name of the head of each task, as in the mixture.
        balancing: Class of the balancing method.
        permutes: Whether a run has a task with shuffled labels.
        evaluates: Whether a run only tests its source.
    """
    head_groups = {task: f"head {name}" for task, name in names.items()}
    training: tuple[Root, ...] = (
        "mtl.study.running.train_run:train",  # by name, because mtl.study.design must not import mtl.study.running
        "heads.rows:row_from_dict",  # rows are stored as JSON
        Quota,
        balancing,
    )
    roots = {head_groups[task]: (type(head),) for task, head in heads.items()}
    others: dict[str, tuple[Root, ...]] = {PERMUTING: (permuted_rows,)} if permutes else {}
    others |= {EVALUATING: ("mtl.study.running.train_run:test_source",)} if evaluates else {}
    return StudyCode(head_groups, {TRAINING: training, **roots, **others})
