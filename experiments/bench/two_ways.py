"""Puts several ways to do one task in one table: their scores in the metrics that all have, on the same documents.

    python experiments/bench/two_ways.py RUN:TASK RUN:TASK … [--end-to-end]

Each RUN is the folder of a run after `mtl test`, each TASK one of its tasks. Scores have the 95% intervals over
documents that `mtl test` computed; the same documents are easy or hard for all ways, so two ways may differ although
their intervals overlap. With `--end-to-end`, the table has the strict scores that `mtl test --end-to-end` adds, which
have no interval. Ways that were scored on different documents are refused.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

PREFIX = "end_to_end_"


class Way(NamedTuple):
    """One way to do the task.

    Args:
        run: Folder of the run.
        task: Name of the task in it.
        scores: Its scores on test.
        intervals: The lower and the upper end of the intervals of those scores that have one.
        documents: The documents that were scored.
    """

    run: Path
    task: str
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    documents: frozenset[str]


def read(word: str, *, end_to_end: bool) -> Way:
    """The scores of a task of a run, given as ``RUN:TASK``."""
    run, _, task = word.rpartition(":")
    file = Path(run) / "metrics.json"
    if not file.is_file():
        raise SystemExit(f"{word}: {file} does not exist. Give the folder of a run and a task, as RUN:TASK.")
    metrics = json.loads(file.read_text(encoding="utf-8"))
    found, spans = (metrics.get(part, {}).get(task, {}) for part in ("test", "interval"))
    intervals = {name: (one["low"], one["high"]) for name, one in spans.items()}
    scores = {name: value for name, value in found.items() if name.startswith(PREFIX) == end_to_end and name != "loss"}
    if not scores:
        option = " with --end-to-end" if end_to_end else ""
        raise SystemExit(f"{word}: '{task}' has no such scores on test. Run `mtl test`{option} first.")
    with np.load(Path(run) / "counts" / "test" / f"{task}{'.end_to_end' if end_to_end else ''}.npz") as counts:
        return Way(Path(run), task, scores, intervals, frozenset(counts["documents"].tolist()))


def table(words: Sequence[str], *, end_to_end: bool) -> list[str]:
    """The lines of a Markdown table."""
    first, *others = ways = [read(word, end_to_end=end_to_end) for word in words]
    for way in others:
        different = len(way.documents ^ first.documents)
        if different:
            raise SystemExit(f"{way.run} and {first.run} must have the same documents, but differ in {different}.")
    shared = [name for name in first.scores if all(name in way.scores for way in others)]
    lines = [f"| run | task | {' | '.join(shared)} |", f"|{'---|' * (2 + len(shared))}"]
    for way in ways:
        values = " | ".join(_shown(way, name) for name in shared)
        lines.append(f"| {way.run.parent.name}/{way.run.name} | {way.task} | {values} |")
    return [*lines, f"\n{len(first.documents)} documents of test."]


def _shown(way: Way, name: str) -> str:
    if name not in way.intervals:
        return f"{way.scores[name]:.3f}"
    low, high = way.intervals[name]
    return f"{way.scores[name]:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="+", metavar="RUN:TASK", help="a finished run and a task of it")
    parser.add_argument("--end-to-end", action="store_true", help="the scores of `mtl test --end-to-end`")
    options = parser.parse_args()
    print("\n".join(table(options.ways, end_to_end=options.end_to_end)))
