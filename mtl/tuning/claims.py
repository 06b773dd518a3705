"""Which process works on a trial.

A claim is a lock on a file, which the operating system releases when the last process that has the file open ends. The
training process inherits it. So a trial whose `mtl tune` was killed stays claimed until its training, which nobody
stopped, has ended, and two trainings never write to the same folder.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from mtl.files import make_folder


class TrialClaim:
    """The right to work on a trial; used in a `with` statement, which gives it up.

    Args:
        handle: Descriptor of the locked file, which training processes inherit.
    """

    def __init__(self, handle: int) -> None:
        self.handle = handle

    @classmethod
    def take(cls, path: Path) -> TrialClaim | None:
        """Returns the claim on a file; None if another process has it.

        Args:
            path: The file to lock; it is created if it does not exist.
        """
        make_folder(path.parent)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return cls(handle)

    def __enter__(self) -> TrialClaim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.handle)
