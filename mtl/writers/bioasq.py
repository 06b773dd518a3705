"""Answers to yes/no questions in BioASQ's JSON for task B."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mtl.private_files import replacing_private
from mtl.problems import InputError, Problem
from mtl.writers import PredictedRow, PredictionWriter


class BioasqWriter(PredictionWriter):
    """``{"questions": [{"id": "…", "type": "yesno", "exact_answer": "yes"}]}``, as BioASQ's scorer reads it.

    One text is one question, whose id is that of the row. The task must predict one class, whose names are `yes` and
    `no`; case makes no difference.
    """

    suffixes = (".bioasq.json",)
    only_labels = True

    def problem(self, path: Path, tasks: Sequence[str], texts: Sequence[str]) -> str | None:
        if len(tasks) > 1:
            return f"it holds the answers of one task, got {', '.join(tasks)}"
        return super().problem(path, tasks, texts)

    def write(self, path: Path, rows: Iterable[PredictedRow]) -> None:
        with replacing_private(path) as file:
            file.write('{"questions": [')
            for number, row in enumerate(rows):
                file.write(f"{',' * bool(number)}\n{json.dumps(_question(row), ensure_ascii=False)}")
            file.write("\n]}\n")


def _question(row: PredictedRow) -> dict[str, Any]:
    ((task, prediction),) = row.predictions.items()
    answer = str(prediction.get("label", "")).lower()
    if answer not in ("yes", "no"):
        message = f"An answer must be yes or no, but the task '{task}' predicts something else."
        raise InputError(Problem("--output", message, "Write .jsonl or .csv."))
    return {"id": row.id, "type": "yesno", "exact_answer": answer}
