"""The checkpoints of a run: which files there are, which names point to them, and which may be deleted.

A file is named after its kind and the update after which it was saved. `last-step28.ckpt` holds everything that a
resumed run needs, `best-step14.ckpt` the weights of an evaluation. `checkpoints.json` points from `best` and
`best:<task>` to files, several names to one file if the same evaluation was the best for them. The name `last` is the
last file with the most updates that is not damaged, so it needs no pointer; the pointer is for readers of the file.

A process may be killed between any two steps. Therefore a file is complete before a pointer names it, and is deleted
only when no pointer names it any more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mtl.distributed import is_rank_zero
from mtl.files import read_json, write_json
from mtl.messages import say
from mtl.problems import InputError, Problem, did_you_mean
from mtl.tracking.checkpoint_file import damage, read_note

LAST, BEST = "last", "best"
POINTERS = "checkpoints.json"

_NAME = re.compile(r"(last|best)-step(\d+)\.ckpt")


class CheckpointFolder:
    """The folder `checkpoints` of a run, and the file with the pointers next to it.

    Args:
        run: Folder of the run.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self.path = run / "checkpoints"

    def file(self, kind: str, step: int) -> Path:
        """The file for a checkpoint.

        Args:
            kind: `last` or `best`.
            step: Number of updates so far.
        """
        return self.path / f"{kind}-step{step}.ckpt"

    def files(self, kind: str) -> list[Path]:
        """The existing files of a kind, those with the most updates first."""
        found = [(int(match[2]), path) for path, match in self._named() if match[1] == kind]
        return [path for _, path in sorted(found, reverse=True)]

    def _named(self) -> list[tuple[Path, re.Match[str]]]:
        return [(path, match) for path in self.path.glob("*.ckpt") if (match := _NAME.fullmatch(path.name))]

    # --- names ----------------------------------------------------------------------------------------------------

    def pointers(self, *, ignored: Path | None = None) -> dict[str, Any]:
        """The checkpoint of each name, ``{name: {"path": …, "score": …}}``, with paths relative to the run's folder.

        Rebuilt from the checkpoints, with a message, if the file is damaged, or missing although there are checkpoints.

        Args:
            ignored: A checkpoint that may lack a pointer, because it was just saved.
        """
        file = self._run / POINTERS
        try:
            known = read_json(file) if file.is_file() else None
            if known is not None and all(map(_is_pointer, known.values())):
                return known
            problem = "is missing" if known is None else "is damaged"
        except InputError:
            problem = "is damaged"
        found = self._rebuilt(ignored)
        if found or file.is_file():
            say(f"{file} {problem}; it was rebuilt from the checkpoints: {', '.join(found) or 'none'}.")
            if is_rank_zero():
                write_json(file, found)
        return found

    @property
    def selected(self) -> str:
        """The name of the checkpoint to use after the training: `best`, or `last` if none was selected on dev."""
        return BEST if BEST in self.pointers() else LAST

    def _rebuilt(self, ignored: Path | None) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path in reversed(self.files(BEST)):  # an evaluation was the best for its names until a later one was
            if path != ignored and damage(path) is None:
                scores = read_note(path).get("scores", {BEST: None})
                found |= {name: {"path": self._relative(path), "score": score} for name, score in scores.items()}
        lasts = [path for path in self.files(LAST) if path != ignored]
        return found | ({LAST: {"path": self._relative(lasts[0]), "score": None}} if lasts else {})

    def point(self, path: Path, scores: Mapping[str, float | None]) -> None:
        """Points names to a checkpoint.

        Args:
            path: The checkpoint.
            scores: The score that selected it for each name (`best`, `best:<task>`, `last`).
        """
        path = Path(path).absolute()
        if is_rank_zero():
            entries = {name: {"path": self._relative(path), "score": score} for name, score in scores.items()}
            write_json(self._run / POINTERS, {**self.pointers(ignored=path), **entries})

    def _relative(self, path: Path) -> str:
        """The path as in the file of pointers: relative if possible, so that a moved run still resolves."""
        return (path.relative_to(self._run) if path.is_relative_to(self._run) else path).as_posix()

    def resolve(self, name: str | Path) -> Path:
        """Returns the undamaged file of a checkpoint.

        Args:
            name: `best`, `last`, `best:<task>`, or a path, relative to the working folder or the folder of the run.

        Raises:
            InputError: There is no such checkpoint, or it is damaged; the message lists those that exist. A damaged
                `last` is named in a message, and the previous one is used.
        """
        pointers = self.pointers()
        if str(name) == LAST and (paths := self._lasts(pointers)):
            return self._first_undamaged(paths, pointers)
        if str(name) in pointers:
            path = self._run / str(pointers[str(name)]["path"])
            if (found := damage(path)) is not None:
                raise InputError(Problem(str(path), f"The checkpoint '{name}' {found}.", self._others(pointers, name)))
            return path
        for path in (Path(name).absolute(), self._run / name):
            if path.is_file():
                if (found := damage(path)) is not None:
                    raise InputError(Problem(str(path), f"The file {found}.", self._others(pointers, name)))
                return path
            for pointer in {**pointers, LAST: None}:
                if path == self.path / f"{pointer.replace(':', '-')}.ckpt":
                    return self.resolve(pointer)
        raise InputError(
            Problem(f"{self._run}: ckpt_path", f"There is no checkpoint '{name}'.", _available(pointers, name))
        )

    def last(self) -> Path | None:
        """The file of `last`; None if there is none, or if all are damaged. Damaged ones are named in a message."""
        try:
            return self.resolve(LAST)
        except InputError as error:
            if self.files(LAST):
                for problem in error.problems:
                    say(str(problem))
            return None

    def _lasts(self, pointers: Mapping[str, Any]) -> list[Path]:
        """The files that `last` may mean, the first choice first; the one that the pointer names may be gone."""
        files = self.files(LAST)
        pointed = [self._run / str(pointers[LAST]["path"])] if LAST in pointers else []
        return [*(path for path in pointed if path not in files), *files]

    def _first_undamaged(self, paths: list[Path], pointers: Mapping[str, Any]) -> Path:
        problems: list[Problem] = []
        for path in paths:
            if (found := damage(path)) is None:
                for problem in problems:
                    say(f"{problem.key}: {problem.message} The previous one is used: {path.name}.")
                return path
            problems.append(Problem(str(path), f"The checkpoint '{LAST}' {found}.", self._others(pointers, LAST)))
        raise InputError(problems)

    def _others(self, pointers: Mapping[str, Any], name: str | Path) -> str:
        """Which other checkpoints can be used instead of a damaged one."""
        others = [other for other in pointers if other != str(name) and pointers[other] != pointers.get(str(name))]
        others = [other for other in others if damage(self._run / str(pointers[other]["path"])) is None]
        return f"Undamaged checkpoints of this run: {', '.join(sorted(others)) or 'none'}."

    # --- deletion -------------------------------------------------------------------------------------------------

    def prune(self, *, newest: Path | None = None, keep: int = 1) -> None:
        """Deletes checkpoints that are no longer needed; other files in the folder stay.

        Args:
            newest: The checkpoint that was just saved as `last`; None keeps all checkpoints of this kind. Those with
                more updates are deleted too: the run resumed from an older one, because they were damaged, or because
                the user chose so.
            keep: Number of checkpoints to keep as `last`.
        """
        if not is_rank_zero():
            return
        pointed = {str(entry["path"]) for entry in self.pointers().values()}
        unused = [path for path in self.files(BEST) if self._relative(path) not in pointed]
        lasts = self.files(LAST)
        if newest in lasts:  # a plugin that writes in the background may not have written it yet
            place = lasts.index(newest)
            unused += [*lasts[:place], *lasts[place + keep :]]
        for path in unused:
            with suppress(OSError):
                path.unlink()


def _available(pointers: Mapping[str, Any], name: str | Path = "") -> str:
    if not pointers:
        return "This run has no checkpoints yet."
    advice = "The best checkpoints of single tasks are saved with run.best_per_task. " if ":" in str(name) else ""
    return advice + did_you_mean(str(name), pointers)


def _is_pointer(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("path"), str)
