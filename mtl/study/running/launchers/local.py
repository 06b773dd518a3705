"""The default launcher: trains in this process, one run after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mtl.study.running.launchers import Launcher

if TYPE_CHECKING:
    from mtl.study.design.run_spec import RunSpec
    from mtl.study.running.worker import Work


class Local(Launcher):
    """Trains in this process, so that imports and data are loaded once for all runs."""

    @classmethod
    def lacking(cls, workers: int) -> list[tuple[str, str]]:
        if workers == 1:
            return []
        return [(f"The launcher 'local' has one worker, got {workers}.", "Use the launcher 'processes'.")]

    def run(self, work: Work, folder: Path, watch: Callable[[], None], finished: Callable[[RunSpec], None]) -> None:
        from mtl.study.running.worker import train_all

        train_all(work, finished=finished)
