"""In this process, one run after the other: the embedded default, which needs nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mtl.study.running.launchers import Launcher

if TYPE_CHECKING:
    from mtl.study.design.run_spec import RunSpec
    from mtl.study.running.worker import Work


class Local(Launcher):
    """Trains in this process. What is imported and loaded once serves all runs."""

    @classmethod
    def lacking(cls, workers: int) -> list[tuple[str, str]]:
        if workers == 1:
            return []
        return [(f"The launcher 'local' is one worker; found {workers}.", "Take the launcher processes for more.")]

    def run(self, work: Work, folder: Path, watch: Callable[[], None], finished: Callable[[RunSpec], None]) -> None:
        from mtl.study.running.worker import train_all

        train_all(work, finished=finished)
