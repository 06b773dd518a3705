"""Which corpora the design `cross` trains on, and on which others it tests."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from mtl.config.mixture import TaskSpec, build_head
from mtl.evaluation.metric_variants import scoring_options
from mtl.problems import Problem
from mtl.study.design.designs import CROSS


def cross_pairs(options: Any, tasks: Mapping[str, TaskSpec]) -> list[tuple[str, str]]:
    """The ordered pairs of a corpus to train on and another one to test on.

    A model can be tested on a corpus if its task has the same head, labels and metrics, and counts alike.

    Args:
        options: Options of the design: `train` and `test` list tasks; a missing list means all tasks.
        tasks: The tasks of the study.
    """
    listed = {side: (options or {}).get(side) or list(tasks) for side in ("train", "test")}
    kinds = {name: _kind(spec) for name, spec in tasks.items()}
    return [
        (train, test)
        for train in listed["train"]
        for test in listed["test"]
        if train != test and kinds[train] == kinds[test]
    ]


def cross_problems(options: Any, tasks: Mapping[str, TaskSpec]) -> list[Problem]:
    """Problems with tasks that have no counterpart; the names in the options must be valid."""
    pairs = cross_pairs(options, tasks)
    rule = "needs two tasks with the same head, labels (in the same order), metrics and options of scoring"
    advice = "Give both corpora the same label names with `rename` or `types` in their data."
    if not pairs:
        return [Problem(f"designs.{CROSS}", f"The design {rule}.", advice)]
    paired = {side: {pair[place] for pair in pairs} for place, side in enumerate(("train", "test"))}
    return [
        Problem(f"designs.{CROSS}.{side}", f"'{name}' has no counterpart: the design {rule}.", advice)
        for side in ("train", "test")
        for name in (options or {}).get(side) or ()
        if name not in paired[side]
    ]


def with_cross_pairs(parts: Sequence[tuple[str, Any]], tasks: Mapping[str, TaskSpec]) -> list[tuple[str, Any]]:
    """Designs and controls with their options, where those of `cross` are its pairs."""
    return [(name, {"pairs": cross_pairs(options, tasks)} if name == CROSS else options) for name, options in parts]


def _kind(spec: TaskSpec) -> Hashable:
    head = build_head(spec, hidden_size=8)
    scoring = tuple(scoring_options(spec.head, spec.head_options).items())
    return type(head), head.labels, head.metrics, head.primary_metric, scoring
