"""A parent run in MLflow whose records are sent in order by a thread of its own; problems with MLflow stop nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod

from mtl.tracking.mlflow_client import ui_hint
from mtl.tracking.mlflow_run import MLflowRun
from mtl.tracking.outages import Outages
from mtl.tracking.send_queue import Send, SendQueue


class ParentRun(ABC):
    """Sends to the parent run of a study or a search.

    Args:
        topic: Topic of its messages.
        uri: Address of MLflow.
        kept: A sentence that says where everything is if MLflow is unreachable.
    """

    def __init__(self, topic: str, uri: str, kept: str) -> None:
        self._uri = uri
        self._outages = Outages(topic, uri, kept)
        self._queue = SendQueue(self._connect, self._outages)
        self._parent: MLflowRun | None = None
        self._has_begun = False

    @abstractmethod
    def _connect(self) -> MLflowRun:
        """Finds the parent run, or creates it, and sets `_parent`."""

    def end(self, status: str) -> None:
        """Queues the status of the parent run (FINISHED, FAILED or KILLED) if this command has sent anything."""
        if self._has_begun:
            self._put("status", lambda parent: parent.end(status))

    def close(self) -> None:
        """Waits until MLflow has everything, or makes no progress for a while; then reports what it lacks."""
        self._queue.close()

    def ui_hint(self) -> str:
        """Returns the command that opens MLflow, or the address of the parent run."""
        return ui_hint(self._uri, self._parent)

    def _put(self, what: str, send: Send) -> None:
        self._has_begun = True
        self._queue.open()
        self._queue.put(what, send)
        self._queue.wake()
