"""A queue of operations for MLflow: a thread sends them in order and keeps each until it has succeeded."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from operator import methodcaller

from mtl.tracking.mlflow_run import METRICS_AT_ONCE, MLflowRun, Number, chunks
from mtl.tracking.outages import Outages, is_refusal

SEND_EVERY = 5.0
"""Seconds between two attempts to send."""

LAST_TRY = 1.0
"""Seconds between the last two attempts when the queue closes."""

PATIENCE = 30.0
"""Seconds without progress after which a caller stops waiting for MLflow."""


Send = Callable[[MLflowRun], object]
"""Sends something to a run. It must be safe to repeat, as it may have failed half-way."""


class SendQueue:
    """A queue of operations for MLflow: a thread sends them in order and keeps each until it has succeeded.

    An operation that MLflow refuses is reported and dropped. After any other failure, MLflow counts as unreachable, and
    the thread retries the same operation.

    Args:
        connect: Returns the run for the operations; retried until it succeeds.
        outages: Reports failures.
        before_send: Called in the thread before each attempt to send, with whether the queue is closing.
    """

    def __init__(
        self,
        connect: Callable[[], MLflowRun],
        outages: Outages,
        before_send: Callable[[bool], None] = lambda closing: None,
    ) -> None:
        self.outages = outages
        self._connect, self._before_send = connect, before_send
        self._operations: deque[tuple[str, Send]] = deque()
        self._numbers: list[Number] = []
        self._lock = threading.RLock()
        self._wake, self._tried = threading.Event(), threading.Event()
        self._run: MLflowRun | None = None
        self._thread: threading.Thread | None = None
        self._num_done = 0
        self._closing = False

    def open(self) -> None:
        """Starts the thread, or keeps a closing thread running."""
        with self._lock:
            self._closing = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="mtl-tracking", daemon=True)
                self._thread.start()

    def put(self, what: str, send: Send) -> None:
        """Adds an operation to the end of the queue.

        Args:
            what: Name of the data to send, for messages.
            send: Function that sends it.
        """
        with self._lock:
            self._seal()
            self._operations.append((what, send))

    def add(self, numbers: Sequence[Number]) -> None:
        """Adds values of metrics; values of one interval share a request."""
        with self._lock:
            self._numbers.extend(numbers)

    def wake(self) -> None:
        """Starts an attempt to send now, without waiting for it."""
        self._wake.set()

    def wait_connected(self) -> None:
        """Waits for the end of the first attempt to connect, successful or not."""
        self._tried.wait(PATIENCE)

    def close(self) -> bool:
        """Sends the rest and ends the thread; returns False, after a message, if something could not be sent.

        A slow server receives everything: waiting ends only after `PATIENCE` seconds without progress.
        """
        with self._lock:
            self._closing, thread = True, self._thread
        self._wake.set()
        num_done = -1
        while thread is not None and thread.is_alive() and num_done != self._num_done:
            num_done = self._num_done
            thread.join(PATIENCE)
        with self._lock:
            self._seal()
            left = [what for what, _ in self._operations]
        if left:
            self.outages.unsent(left)
        return not left

    def _work(self) -> None:
        is_lost = False
        while True:
            if self._run is not None or is_lost:  # the first connection is tried at once
                self._wake.wait(SEND_EVERY)
            self._wake.clear()
            closing = self._closing
            self._before_send(closing)
            is_lost = not self._send_all()
            if is_lost and closing:  # for example, another process has locked the database for a moment
                time.sleep(LAST_TRY)
                self._send_all()
            with self._lock:
                if closing and self._closing:
                    self._thread = None
                    return

    def _send_all(self) -> bool:
        """Sends everything in the queue; returns False if MLflow is unreachable."""
        try:
            if self._run is None:
                self._run = self._connect()
            while (operation := self._next()) is not None:
                self._send(self._run, *operation)
                with self._lock:
                    self._operations.popleft()
                    self._num_done += 1
        except Exception as error:  # no problem with a server or network may stop training
            self.outages.lost(error)
            return False
        else:
            self.outages.over()
            return True
        finally:
            self._tried.set()

    def _send(self, run: MLflowRun, what: str, send: Send) -> None:
        try:
            send(run)
        except Exception as error:  # stores raise different errors
            if not is_refusal(error):
                raise
            self.outages.refused(what, error)

    def _next(self) -> tuple[str, Send] | None:
        with self._lock:
            self._seal()
            return self._operations[0] if self._operations else None

    def _seal(self) -> None:
        """Turns the numbers so far into operations, so that the order is kept."""
        for chunk in chunks(self._numbers, METRICS_AT_ONCE):
            self._operations.append(("metrics", methodcaller("log_metrics", chunk)))
        self._numbers = []
