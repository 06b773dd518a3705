"""The finished rows of a prediction, in a private file next to its output, so that an interrupted run can resume."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from mtl.private_files import make_private, open_private
from mtl.problems import InputError, Problem


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Makes an error of the output what it is for the user: invalid input."""
    try:
        yield
    except OSError as error:
        message = f"'{output}' cannot be written: {error.strerror or type(error).__name__}."
        raise InputError(Problem("--output", message, "Choose another path, or free some space.")) from error


class Progress:
    """The finished rows, one line each; the first line says what is predicted.

    After an error the file stays if any row is finished, and is removed otherwise.

    Args:
        output: The output of the prediction.
        signature: What the predictions depend on; a prediction resumes only if nothing of it has changed.
        resume: Whether to keep the rows of an interrupted prediction; if false, they are discarded.
        every: Number of rows at whose multiples a prediction resumes.

    Raises:
        InputError: The interrupted prediction was of something else, or the file cannot be written.
    """

    def __init__(self, output: Path, signature: Mapping[str, Any], *, resume: bool, every: int) -> None:
        self._output = output
        self.path = output.with_name(f".{output.name}.unfinished")
        self._header = json.dumps(dict(signature), sort_keys=True, default=str) + "\n"
        lines = self._finished_lines() if resume and self.path.is_file() else []
        kept = lines[: len(lines) - len(lines) % every]
        self.num_resumed = len(kept)
        """Number of rows that need not be predicted again."""
        self._num_rows = len(kept)
        with writing(output):
            self._file = self._open(kept)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # what is left in its buffer is predicted again
            self._file.close()
        if error is None or not self._num_rows:
            self.path.unlink(missing_ok=True)

    @property
    def num_rows(self) -> int:
        """Number of finished rows."""
        return self._num_rows

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds the predictions of the next rows, each by task; they survive a kill of this process.

        Raises:
            InputError: The file cannot be written.
        """
        with writing(self._output):
            for predictions in rows:
                self._file.write(json.dumps(predictions, ensure_ascii=False) + "\n")
                self._num_rows += 1
            self._file.flush()

    def read(self) -> Iterator[dict[str, Any]]:
        """The predictions of all finished rows."""
        with self.path.open(encoding="utf-8") as lines:
            next(lines)
            yield from map(json.loads, lines)

    def _finished_lines(self) -> Sequence[bytes]:
        content = self.path.read_bytes()
        if b"\n" not in content:  # killed before the first row
            return []
        header, *lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
        if header != self._header.encode():
            message = "The interrupted prediction was of another input, checkpoint or choice of options."
            raise InputError(Problem("--resume", message, "Repeat it with the same ones, or omit --resume."))
        return lines

    def _open(self, kept: Sequence[bytes]) -> IO[str]:
        if not kept:
            file = open_private(self.path, newline="")
            file.write(self._header)
            file.flush()
            return file
        size = len(self._header.encode()) + sum(map(len, kept))
        with self.path.open("r+b") as whole:
            whole.truncate(size)
        make_private(self.path)
        return self.path.open("a", encoding="utf-8", newline="")
