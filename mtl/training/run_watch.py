"""Ends a run whose processes cannot continue: one of them was killed, or a signal finds them stuck.

With several processes, a collective operation waits for all of them, on a GPU for many minutes after one has died.
Lightning kills the others within seconds, often before rank 0 has recorded why. Here a thread in each process watches
the others, says which one ended, and sees to it that the status of the run is true.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher

from mtl.tracking.run_folder import BEAT
from mtl.training.signals import StopSignals

DECIDES_RESULTS = False

LOOK_EVERY = 0.5
"""Seconds between two looks at the other processes."""

GRACE = 10.0
"""Seconds in which a process may end by itself, with an error about the lost one or after it has saved."""

AFTER_SIGNAL = 25.0
"""Seconds after a signal until which MLflow may get the rest of the run; the status in the folder is set before."""

STUCK = 20.0
"""Seconds without progress after a signal, with several processes, after which a run ends without saving."""

OTHER_ENDS = 2.0
"""Seconds that a process waits after an error, to see whether it came from the end of another one."""

PARENT = "MTL_RANK_0_PROCESS"
"""Variable with the id of the process that started those of the other ranks."""


class RunRecord(Protocol):
    """Where the end of a run is recorded."""

    def is_running(self) -> bool:
        """Whether the run has no final status yet."""

    def beat(self) -> None:
        """Records that the run is alive."""

    def note(self, reason: str) -> None:
        """Records the reason for which a run is going to end."""

    def end(self, status: str, reason: str) -> None:
        """Records the status of a run that is still running, and its reason; any rank may call this."""


class RunWatch:
    """A context around the work of a trainer that ends this process if the others, or it itself, cannot continue.

    Only processes that Lightning started are watched; other launchers, such as torchrun, watch theirs.

    Args:
        trainer: The trainer.
        signals: Notes signals. The first one is passed on to the other processes.
        record: Where the end of the run is recorded.
        leave: Ends this process at once.
    """

    def __init__(
        self, trainer: pl.Trainer, signals: StopSignals, record: RunRecord, *, leave: Callable[[int], Any] = os._exit
    ) -> None:
        self._signals, self._record, self._leave = signals, record, leave
        self._is_one_of_several = trainer.world_size > 1
        launcher = trainer.strategy.launcher
        self._launcher = launcher if isinstance(launcher, _SubprocessScriptLauncher) else None
        environment = self._launcher and self._launcher.cluster_environment
        is_child = isinstance(environment, LightningEnvironment) and environment.local_rank() > 0
        self._parent = int(os.environ[PARENT]) if is_child else None
        self._done = threading.Event()
        self._ending = threading.Lock()
        self._has_reported = False
        self._thread = threading.Thread(target=self._watch, name="mtl-run-watch", daemon=True)

    def __enter__(self) -> RunWatch:
        if self._parent is None:
            os.environ[PARENT] = str(os.getpid())
        self._signals.pass_on = [self._send]
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An error about a lost connection may come a moment before the system reports the end of the other process.
        until = time.monotonic() + OTHER_ENDS
        is_error = error is not None and not isinstance(error, SystemExit)
        while is_error and not self._done.wait(OTHER_ENDS / 20) and time.monotonic() < until:
            if (lost := self._lost_parent()) is not None:
                self._end(*lost)
            elif (lost := self._lost_child()) is not None:
                self._done.set()
                self._report(lost[1])
        self._done.set()

    @property
    def _status(self) -> str:
        return "FAILED" if self._signals.arrived is None else "KILLED"

    def _send(self, number: int) -> None:
        if self._parent is not None and os.getppid() == self._parent:
            os.kill(self._parent, number)
        self._send_to_children(number)

    def _send_to_children(self, number: int) -> None:
        for child in self._launcher.procs if self._launcher else ():
            child.send_signal(number)

    # --- the thread -----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        last_beat = -BEAT
        while not self._done.wait(LOOK_EVERY):
            if time.monotonic() - last_beat > BEAT:
                last_beat = time.monotonic()
                self._record.beat()
            _retire_lightnings_observer()
            self._signals.look()
            is_ending = self._signals.ends_since is not None
            problem = self._lost_parent() or (None if is_ending else self._lost_child()) or self._stuck()
            if problem is not None:
                self._end(*problem)
                return

    def _lost_parent(self) -> tuple[str, str, float] | None:
        """The status, the reason and the seconds to wait, if the process of rank 0 has ended before this one."""
        if self._parent is None or os.getppid() == self._parent:
            return None
        return self._status, f"The process of rank 0 ({self._parent}) has ended.", 0.0

    def _lost_child(self) -> tuple[str, str, float] | None:
        """The same, if another process has ended that should not have."""
        for rank, child in enumerate(self._launcher.procs if self._launcher else (), start=1):
            code = child.poll()
            if code and not (self._signals.stops and code > 0):  # after a signal, the others may end a moment earlier
                how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
                return self._status, f"The process of rank {rank} ({child.pid}) {how}.", GRACE
        return None

    def _stuck(self) -> tuple[str, str, float] | None:
        """The same, if a signal arrived and this process does not end."""
        signals, arrived, now = self._signals, self._signals.arrived, time.monotonic()
        if arrived is None:
            return None
        if signals.ends_since is not None:
            is_late = now > max(signals.ends_since + GRACE, signals.arrived_at + AFTER_SIGNAL)
            return ("KILLED", f"{arrived.name}: the run has stopped.", 0.0) if is_late else None
        is_stuck = now - max(signals.last_progress, signals.arrived_at) > STUCK
        if self._is_one_of_several and is_stuck and not signals.stops:
            reason = f"{arrived.name}: the processes made no progress for {STUCK:.0f} seconds, so nothing was saved."
            return "KILLED", reason, 0.0
        return None

    def _report(self, reason: str) -> None:
        if not self._has_reported:
            self._has_reported = True
            sys.stderr.write(f"mtl: {reason}\n")
            sys.stderr.flush()
            self._record.note(reason)

    def _end(self, status: str, reason: str, seconds: float) -> None:
        """Ends this process and those that it started, after it had some seconds to end by itself."""
        with self._ending:  # the thread and the end of the context may both come here, and one leaves for both
            if self._record.is_running():
                self._report(reason)
            if self._done.wait(seconds):
                return
            # The server of MLflow may not answer, and a process of another rank has not loaded its client yet.
            record = threading.Thread(target=self._record.end, args=(status, reason), daemon=True)
            record.start()
            record.join(2 * GRACE if self._signals.arrived is None else GRACE / 2)
            self._send_to_children(signal.SIGKILL)
            self._leave(1)
            self._done.set()


def _retire_lightnings_observer() -> None:
    """Leaves Lightning's thread nothing to observe, which ends it when it first looks, after five seconds."""
    for thread in threading.enumerate():
        if thread.name == "child-process-observer":
            vars(thread)["_child_processes"] = []
