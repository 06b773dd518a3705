"""Signals that end a run: it saves first, on one process and on several.

SIGTERM (`scancel`, a preempted job, `kill`) and SIGUSR1 (Slurm's `--signal=USR1@120`) are only noted when they arrive.
A run acts on them between two updates or two batches of an evaluation: it saves `last`, records that it was KILLED and
ends. Processes that train together stop at the same update, whichever of them got the signal.

Lightning's own handler broadcasts while it handles the signal, in the middle of whatever the process is doing. With
several processes, that can block all of them for ever, so it is not installed.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.exceptions import SIGTERMException

from mtl.distributed import max_over_ranks, world_size

if TYPE_CHECKING:
    from mtl.training.saving import LastCheckpoint

DECIDES_RESULTS = False

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)

ASK_EVERY = 1.0
"""Seconds between two points at which the ranks ask each other whether one of them got a signal."""

_EVALUATION_PROGRESS = "epoch_loop.val_loop.batch_progress"


class Stopped(SIGTERMException):
    """Ends a run after a signal. Lightning, the recorder and the tracker treat it as a request to stop."""


class StopSignals:
    """A context that notes SIGTERM and SIGUSR1, and passes the first one on to the processes that train together.

    While `waits` is not set, there is nothing to save, and the signal raises `Stopped` at once.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        """The signal that the main thread has handled."""
        self.arrived: signal.Signals | None = None
        """The signal that `look` has found, handled or not."""
        self.arrived_at = 0.0
        """When that was, by the monotonic clock, as all times here."""
        self.waits = False
        """Whether a callback acts on the signal, between two updates or batches."""
        self.stops = False
        """Whether all ranks have agreed to stop."""
        self.ends_since: float | None = None
        """When the run began to end, by a signal or an error; None before."""
        self.last_progress = 0.0
        """When the run last reached a point where it acts on a signal."""
        self.pass_on: list[Callable[[int], object]] = []
        """Functions that send a signal to another process of the run."""
        self._before: dict[signal.Signals, Any] = {}
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():  # no other thread may install handlers
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
            self._fd_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            os.register_at_fork(after_in_child=self._restore)  # a worker of a loader ends as it would by itself
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
        self._reader.close()
        self._writer.close()

    def _restore(self) -> None:
        if self._before:
            signal.set_wakeup_fd(self._fd_before)
        while self._before:
            signal.signal(*self._before.popitem())

    def look(self) -> None:
        """Notes signals that have arrived while the main thread is blocked, and so cannot handle them.

        Any thread may call this. A collective operation whose other side has died may block the main thread for ever.
        """
        with suppress(OSError):  # nothing has arrived
            for number in self._reader.recv(64):
                if number in SIGNALS and self.arrived is None:
                    self.arrived, self.arrived_at = signal.Signals(number), time.monotonic()

    def progress(self) -> None:
        """Notes that the run is not stuck."""
        self.last_progress = time.monotonic()

    def end(self) -> None:
        """Notes that the run is ending, which no further signal may interrupt."""
        self.waits = True
        if self.ends_since is None:
            self.ends_since = time.monotonic()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:  # the run is already stopping, and a save must not be interrupted
            return
        self.received = signal.Signals(number)
        for send in self.pass_on:
            with suppress(OSError):  # that process has ended
                send(number)
        if not self.waits:
            self.end()
            raise Stopped


class StopOnSignal(Callback):
    """Saves `last` and ends the run after a signal.

    It acts after the current update. If an evaluation is due then, or under way, the checkpoint is one from which a
    resumed run repeats that evaluation. Otherwise it would skip it.

    Args:
        signals: Notes the signals.
        last: Saves `last`; None saves nothing.
    """

    def __init__(self, signals: StopSignals, last: LastCheckpoint | None) -> None:
        self._signals, self._last = signals, last
        self._question = Question()
        self._is_evaluating = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        _replace_lightnings_handlers(trainer)

    # --- training -------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._signals.waits = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._signals.stops:  # `last` was saved at the end of the epoch
            self._stop(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        signals, loop = self._signals, trainer.fit_loop.epoch_loop
        signals.progress()
        if loop._should_accumulate():
            return
        signals.stops = signals.stops or self._question.ask(trainer, self._got_one, step=trainer.global_step)
        evaluates = loop._should_check_val_fx(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]
        if signals.stops and not evaluates and not loop._is_training_done:
            self._stop(trainer, saves=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._signals.stops or self._question.ask(trainer, self._got_one):
            self._stop(trainer)  # the last epoch has saved `last`; a resumed run only records its results
        self._signals.waits = False

    # --- evaluation -----------------------------------------------------------------------------------------------

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._signals.waits = True
        loop = trainer.fit_loop.epoch_loop.val_loop
        if loop.restarted_mid_evaluation:
            loop.batch_progress.reset()  # see `on_save_checkpoint`
        if self._signals.stops:
            self._leave_evaluation(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self._signals.progress()
        if self._got_one and self._question.ask(trainer, True):
            self._leave_evaluation(trainer)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Ranks have different numbers of batches. One that leaves early waits for the others here.
        if self._question.ask(trainer, self._got_one):
            self._leave_evaluation(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._signals.progress()
        self._signals.waits = trainer.state.fn == "fit" and not trainer.sanity_checking

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_validation_start(trainer, pl_module)

    def on_test_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any, **__: Any) -> None:
        self.on_validation_batch_end(trainer, pl_module)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_validation_epoch_end(trainer, pl_module)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_validation_end(trainer, pl_module)

    # --- the end --------------------------------------------------------------------------------------------------

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if not self._is_evaluating:
            return
        # Lightning recognises an interrupted evaluation by one batch that was started and not processed. It then
        # evaluates from the first batch that is not completed, which here is the first of all.
        counts = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
        progress = {"total": dict(counts), "current": dict(counts), "is_last_batch": False}
        checkpoint["loops"]["fit_loop"][_EVALUATION_PROGRESS] = progress

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._signals.end()

    @property
    def _got_one(self) -> bool:
        return self._signals.received is not None

    def _leave_evaluation(self, trainer: pl.Trainer) -> None:
        self._is_evaluating = True
        self._stop(trainer, saves=trainer.state.fn == "fit" and not trainer.sanity_checking)

    def _stop(self, trainer: pl.Trainer, *, saves: bool = False) -> None:
        self._signals.stops = True
        if saves and self._last is not None:
            self._last.save_now(trainer)
        raise Stopped


class Question:
    """Lets the ranks find out, all at the same point, whether one of them got a signal.

    Asking is a collective operation, for which the host waits. In training, the ranks therefore ask only about once in
    `ASK_EVERY` seconds, and compute from the same numbers after how many updates that is.
    """

    def __init__(self) -> None:
        self._due = self._step = 0
        self._asked = time.monotonic()

    def ask(self, trainer: pl.Trainer, answer: bool, *, step: int | None = None) -> bool:
        """Whether one rank answers yes. All ranks must call this.

        Args:
            trainer: The trainer, whose device the answers are exchanged on.
            answer: The answer of this rank.
            step: Number of updates so far. Without it, the ranks always ask; with it, False is returned until the next
                question is due.
        """
        if world_size() == 1:
            return answer
        if step is not None and step < self._due:
            return False
        now = time.monotonic()
        values = torch.tensor([float(answer), now - self._asked], device=trainer.strategy.root_device)
        yes, seconds = max_over_ranks(values).tolist()
        if step is not None:
            num_updates = max(1, step - self._step)
            # No more than twice as many as before, because later updates may take longer.
            self._due = step + max(1, min(2 * num_updates, int(num_updates * ASK_EVERY / max(seconds, 1e-6))))
            self._step, self._asked = step, now
        return bool(yes)


def _replace_lightnings_handlers(trainer: pl.Trainer) -> None:
    """Keeps Lightning from handling SIGTERM and SIGUSR1, and from broadcasting in every step whether one arrived."""
    connector: Any = trainer._signal_connector

    def remember() -> None:  # they are restored when the trainer has finished, as SIGINT is ignored after Ctrl-C
        connector._original_handlers = connector._get_current_signal_handlers()

    connector.register_signal_handlers = remember
    loop: Any = trainer.fit_loop.epoch_loop
    loop._broadcast_sigterm_tensor = lambda: None
