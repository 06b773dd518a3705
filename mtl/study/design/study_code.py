"""The code that decides the results of a study's runs, in groups, so that each run depends only on what it uses.

What else decides results, such as a new kind of component that a mixture names, joins the roots in `study_code`.
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
from mtl.study.design.designs import SHUFFLED, original

TRAINING, PERMUTING = "training", "permuting"


@dataclass(frozen=True)
class StudyCode:
    """The code of a study by group: of training, of each head, and of permuting labels where a run needs it.

    Args:
        head_groups: The group of each task's head.
        roots: The roots of each group.
    """

    head_groups: Mapping[str, str]
    roots: Mapping[str, tuple[Root, ...]]

    def groups_of(self, tasks: Iterable[str]) -> list[str]:
        """The groups that a run of these tasks uses; a copy of a task uses the task's head."""
        heads = [self.head_groups[original(task)] for task in tasks]
        copies = [PERMUTING] if any(task.endswith(SHUFFLED) for task in tasks) else []
        return list(dict.fromkeys([TRAINING, *heads, *copies]))

    def key_of(self, tasks: Sequence[str]) -> list[dict[str, str]]:
        """A hash of all code that a run of these tasks uses: of what all its tasks share, and of each task's head."""
        heads = {task: self.head_groups[original(task)] for task in tasks}
        shared = [group for group in self.groups_of(tasks) if group not in heads.values()]
        return [
            {group: self.identities[group] for group in shared},
            {task: self.identities[group] for task, group in heads.items()},
        ]

    @cached_property
    def identities(self) -> dict[str, str]:
        """A hash of each group."""
        return {name: content_key(FORMAT, code_identity(*roots)) for name, roots in self.roots.items()}

    @cached_property
    def definitions(self) -> dict[str, dict[str, str]]:
        """A short hash of each definition by group, without what the group of training has anyway."""
        found = {name: definitions(*roots) for name, roots in self.roots.items()}
        shared = found[TRAINING].items()
        return {n: own if n == TRAINING else dict(sorted(own.items() - shared)) for n, own in found.items()}


def study_code(
    heads: Mapping[str, Head], names: Mapping[str, str], balancing: type[Balancing], *, permutes: bool = False
) -> StudyCode:
    """The code of a study.

    Args:
        heads: The head of each task.
        names: The name of each task's head, as in the mixture.
        balancing: The balancing method.
        permutes: Whether a run has a task with permuted labels.
    """
    head_groups = {task: f"head {name}" for task, name in names.items()}
    training: tuple[Root, ...] = (
        "mtl.study.running.train_run:train",  # by name: the design of a study does not import its running
        "heads.rows:row_from_dict",  # rows are kept as JSON
        Quota,
        balancing,
    )
    roots = {head_groups[task]: (type(head),) for task, head in heads.items()}
    permuting: dict[str, tuple[Root, ...]] = {PERMUTING: (permuted_rows,)} if permutes else {}
    return StudyCode(head_groups, {TRAINING: training, **roots, **permuting})
