"""Which tasks write the probabilities of the tags of words, as soft labels for another model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from heads import Head
from mtl.problems import InputError, Problem


def tagging_tasks(heads: Mapping[str, Head], output: Path | None, *, wanted: bool) -> list[str]:
    """The tasks whose words get probabilities; none unless they are wanted.

    Args:
        heads: Head of each task that is predicted.
        output: File that is written; None for none.
        wanted: Whether probabilities of words were asked for.

    Raises:
        InputError: They were, but no task tags words, or the output has no place for them.
    """
    if not wanted:
        return []
    if output is not None and output.suffix.lower() not in (".jsonl", ".ndjson"):
        raise InputError(Problem("--probabilities", f"has no place in '{output.name}'.", "Write .jsonl."))
    names = [name for name, head in heads.items() if head.tags_words]
    if not names:
        message = f"needs a task that tags words; of {', '.join(heads)} none does."
        raise InputError(Problem("--probabilities", message, "Labels of texts always have their probabilities."))
    return names
