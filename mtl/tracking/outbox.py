"""Operations on their way to MLflow, which may be away: sent in order by a thread, and kept until they arrive."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mtl.tracking.mlflow_client import Number, Operation, chunks, is_refusal, send_metrics

if TYPE_CHECKING:
    from mlflow import MlflowClient

SEND_EVERY = 5.0
"""Seconds between two sends."""

BATCH = 500  # metrics per request; MLflow takes 1000, and 1 MB


class Outbox:
    """Operations on their way to MLflow: sent in order by a thread, and kept until they arrive.

    An operation that MLflow refuses is dropped and told; any other failure means MLflow is away.
    """

    def __init__(
        self,
        connect: Callable[[], tuple[MlflowClient, str]],
        lost: Callable[[Exception], None],
        back: Callable[[], None],
        refused: Callable[[Exception], None],
        sample: Callable[..., None],
    ) -> None:
        self._connect, self._lost, self._back, self._refused, self._sample = connect, lost, back, refused, sample
        self._operations: deque[Operation] = deque()
        self._numbers: list[Number] = []
        self._lock = threading.RLock()
        self._wake, self._tried = threading.Event(), threading.Event()
        self._link: tuple[MlflowClient, str] | None = None
        self._thread: threading.Thread | None = None
        self._is_lost = self._closing = False

    def open(self) -> None:
        """Starts the thread, or keeps one from ending that is about to."""
        with self._lock:
            self._closing = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mtl-tracking", daemon=True)
                self._thread.start()

    def put(self, operation: Operation) -> None:
        with self._lock:
            self._seal()
            self._operations.append(operation)

    def add(self, numbers: Iterator[Number]) -> None:
        with self._lock:
            self._numbers.extend(numbers)

    def wake(self) -> None:
        self._wake.set()

    def wait_connected(self, timeout: float) -> None:
        """Waits for the first attempt to reach MLflow, whatever came of it."""
        self._tried.wait(timeout)

    def close(self, timeout: float) -> bool:
        """Sends what is left and ends the thread; False where something is left after all."""
        with self._lock:
            self._closing, thread = True, self._thread
        self._wake.set()
        if thread is not None:
            thread.join(timeout)
        return not self._operations and not self._numbers

    def _run(self) -> None:
        self._sample(starting=True, closing=False)
        while True:
            if self._link is not None or self._is_lost:  # the first connection is not waited for
                self._wake.wait(SEND_EVERY)
            self._wake.clear()
            closing = self._closing
            self._sample(starting=False, closing=closing)
            if not self._send() and closing:  # such as a database that another process holds for a moment
                time.sleep(1.0)
                self._send()
            with self._lock:
                if closing and self._closing:
                    self._thread = None
                    return

    def _send(self) -> bool:
        """Sends all there is; False where MLflow is away."""
        try:
            if self._link is None:
                self._link = self._connect()
                self._sample(starting=True, closing=False)
            while operation := self._next():
                self._perform(operation)
                self._operations.popleft()
            self._found()
        except Exception as error:  # whatever a server or a network does, training goes on
            self._is_lost = True
            self._lost(error)
        finally:
            self._tried.set()
        return not self._is_lost

    def _perform(self, operation: Operation) -> None:
        assert self._link is not None
        try:
            operation(*self._link)
        except Exception as error:  # stores differ in what they raise
            if not is_refusal(error):
                raise
            self._refused(error)

    def _found(self) -> None:
        if self._is_lost:
            self._is_lost = False
            self._back()

    def _next(self) -> Operation | None:
        with self._lock:
            self._seal()
            return self._operations[0] if self._operations else None

    def _seal(self) -> None:
        """Turns the numbers so far into operations, so that they keep their place in the order."""
        for chunk in chunks(self._numbers, BATCH):
            self._operations.append(send_metrics(chunk))
        self._numbers = []
