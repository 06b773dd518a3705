"""Files of the predictions of a split."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from heads import Prediction, Row
from mtl.distributed import gather, rank, world_size
from mtl.files import not_writable
from mtl.hashed_ids import shared_id, without_texts
from mtl.private_files import open_private, private_folder

DECIDES_RESULTS = False


class PredictionFiles:
    """Writes the predictions of a split as rows are decoded: one file per task, one line per row.

    ``{"id": "dev-1", "prediction": "yes"}``

    Only their owner may read the files. Each rank writes its own part into the folder of the merged files, so all ranks
    must see the same folder.

    Args:
        folder: Folder of the split.
        tasks: Names of the tasks.
        with_text: Whether lines include the texts of their rows.

    Raises:
        InputError: A file cannot be written; so do all methods that write.
    """

    def __init__(self, folder: Path, tasks: Iterable[str], *, with_text: bool = False) -> None:
        self._folder, self._tasks, self._with_text = folder, list(tasks), with_text
        with _writing(folder):
            private_folder(folder)
            self._open = {task: open_private(self._part(task, rank())) for task in self._tasks}

    def add(self, task: str, row: Row, prediction: Prediction) -> None:
        """Writes the prediction of a task for a row."""
        texts = {"text": row.text, "text_pair": row.text_pair} if self._with_text else {}
        line = {"id": row.id, "prediction": prediction, **texts}
        with _writing(self._part(task, rank())):
            self._open[task].write(f"{json.dumps(line, ensure_ascii=False)}\n")

    def close(self) -> None:
        """Closes the parts of this rank and waits for the other ranks to close theirs."""
        with _writing(self._folder):
            self._close()
        gather(None)

    def records(self, task: str) -> Iterator[tuple[str, Prediction]]:
        """The id and the prediction of every row that all ranks wrote for a task, after `close` and before `merge`."""
        for number in range(world_size()):
            with self._part(task, number).open(encoding="utf-8") as lines:
                for record in map(json.loads, lines):
                    yield record["id"], record["prediction"]

    def merge(self) -> list[Path]:
        """Merges the parts of all ranks and returns the file of each task; one rank calls it, after `close`."""
        merged = []
        for task in self._tasks:
            path = self._folder / f"{task}.jsonl"
            first, *others = (self._part(task, number) for number in range(world_size()))
            with _writing(path), first.open("ab") as merged_file:
                for other in others:
                    with other.open("rb") as part:
                        shutil.copyfileobj(part, merged_file)
            first.replace(path)
            merged.append(path)
        self.discard()
        return merged

    def discard(self) -> None:
        """Removes the parts of all ranks."""
        self._close()
        for path in (self._part(task, number) for task in self._tasks for number in range(world_size())):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # it may hold predictions of an earlier evaluation
            self._folder.rmdir()

    def _close(self) -> None:
        for file in self._open.values():
            file.close()

    def _part(self, task: str, rank: int) -> Path:
        return self._folder / f".{task}-{rank}.part"


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Reports a file or folder that cannot be written, as on a full disk, by its name."""
    try:
        yield
    except OSError as error:
        raise not_writable(path, error) from error


def shared_copy(path: Path, copy: Path, labels: Collection[str] | None) -> Path:
    """Writes a copy of a file of predictions that may leave the folder of the run, and returns its path.

    Args:
        path: The file.
        copy: The copy.
        labels: Labels of the task. Other strings in a prediction, such as the ids of mentions, are kept if they look
            like ids. None keeps all texts.
    """
    private_folder(copy.parent)
    with path.open(encoding="utf-8") as lines, open_private(copy) as file:
        for line in lines:
            record = json.loads(line)
            record["id"] = shared_id(record["id"])
            if labels is not None:
                record["prediction"] = without_texts(record["prediction"], labels)
            file.write(f"{json.dumps(record, ensure_ascii=False)}\n")
    return copy
