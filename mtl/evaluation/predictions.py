"""Predictions of a split, kept in files as rows are decoded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from heads import Prediction, Row
from mtl.distributed import gather, rank, world_size

DECIDES_RESULTS = False


class PredictionFiles:
    """Predictions of a split in a file per task, a line per row, written as rows are decoded.

    ``{"id": "dev-1", "prediction": "yes"}``

    Each rank writes a part of its own, beside the place of the whole, so all must see the same folder.

    Args:
        folder: Of the split.
        tasks: That are predicted.
        with_text: Whether lines carry the texts of their rows.
    """

    def __init__(self, folder: Path, tasks: Iterable[str], *, with_text: bool = False) -> None:
        self._folder, self._tasks, self._with_text = folder, list(tasks), with_text
        folder.mkdir(parents=True, exist_ok=True)
        self._open = {task: self._part(task, rank()).open("w", encoding="utf-8") for task in self._tasks}

    def add(self, task: str, row: Row, prediction: Prediction) -> None:
        texts = {"text": row.text, "text_pair": row.text_pair} if self._with_text else {}
        line = {"id": row.id, "prediction": prediction, **texts}
        self._open[task].write(f"{json.dumps(line, ensure_ascii=False)}\n")

    def close(self) -> None:
        """Ends this rank's parts, and waits for those of the others."""
        self._close()
        gather(None)

    def merge(self) -> list[Path]:
        """Makes one file of all ranks' parts for each task; to be called by one rank, after `close`."""
        merged = []
        for task in self._tasks:
            path = self._folder / f"{task}.jsonl"
            first, *others = (self._part(task, number) for number in range(world_size()))
            with first.open("ab") as whole:
                for other in others:
                    with other.open("rb") as part:
                        shutil.copyfileobj(part, whole)
            first.replace(path)
            merged.append(path)
        self.discard()
        return merged

    def discard(self) -> None:
        """Removes the parts of all ranks."""
        self._close()
        for path in (self._part(task, number) for task in self._tasks for number in range(world_size())):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # unless it holds what an earlier evaluation left
            self._folder.rmdir()

    def _close(self) -> None:
        for file in self._open.values():
            file.close()

    def _part(self, task: str, rank: int) -> Path:
        return self._folder / f".{task}-{rank}.part"
