"""Batches prepared ahead by a thread, so that a device does not wait for the host to make the next one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Made = TypeVar("Made")


def ahead(batches: Iterable[Made], depth: int, prepare: Callable[[Made], Made]) -> Iterator[Made]:
    """The same batches in the same order, of which up to `depth` are ready before they are asked for.

    The thread ends with the batches, and also when the iterator is closed early. An error while a batch is made is
    raised where that batch is asked for.

    Args:
        batches: The batches; the thread iterates over them.
        depth: Largest number of batches that wait, at least 1.
        prepare: Last step for each batch, in the thread, such as a copy to pinned memory.

    >>> list(ahead(range(3), 2, lambda number: number * 10))
    [0, 10, 20]
    """
    ready: queue.Queue[tuple[Made] | BaseException | None] = queue.Queue(depth)
    closed = threading.Event()

    def put(item: tuple[Made] | BaseException | None) -> bool:
        while not closed.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for batch in batches:
                if not put((prepare(batch),)):
                    return
        except BaseException as error:  # raised again in the reader's thread
            put(error)
        else:
            put(None)

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        closed.set()
        thread.join()
