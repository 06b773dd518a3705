"""Trains the runs of a study, one after the other, beside any number of other workers.

    python -m mtl.study.worker STUDY_FOLDER [NUMBER]

There is nobody who deals out the runs: a worker claims the next one that is open, trains it, and looks again. So a
worker that is killed costs its half-trained run and nothing else, and two drivers of one study help each other.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from mtl.study.ledger import Ledger

if TYPE_CHECKING:
    from mtl.study.training import Order

PLAN = "plan.json"
DRIVER = "MTL_STUDY_DRIVER"
"""Holds the process without which a worker of this machine ends after its run: a driver that was killed."""

WAIT = 0.5
"""Seconds between two looks at runs that others are at work on."""


@dataclass(frozen=True)
class Work:
    """What the workers of one command do.

    Args:
        orders: Sources before what needs them.
        ledger: Where results go.
        session: Of the command; a run that failed in it isn't tried again.
        study: For which the runs are trained.
    """

    orders: tuple[Order, ...]
    ledger: Ledger
    session: str
    study: str

    def write(self, folder: Path) -> None:
        """Leaves it in the study's folder for workers of other processes."""
        content = {
            "session": self.session,
            "study": self.study,
            "ledger": str(self.ledger.folder.absolute()),
            "orders": [order.to_dict() for order in self.orders],
        }
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{PLAN}.{os.getpid()}"
        part.write_text(json.dumps(content), encoding="utf-8")
        part.replace(folder / PLAN)

    @classmethod
    def read(cls, folder: Path) -> Work:
        """What `write` left."""
        from mtl.study.training import Order

        content = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        orders = tuple(Order.from_dict(order) for order in content["orders"])
        return cls(orders, Ledger(Path(content["ledger"])), content["session"], content["study"])

    def is_done(self, order: Order) -> bool:
        return self.ledger.is_finished(order.key, with_encoder=order.keeps_encoder)

    def has_failed(self, order: Order) -> bool:
        """Whether the run, or one that it starts from, failed under this command."""
        failure = self.ledger.failure(order.key)
        if failure is not None and failure.get("session") == self.session:
            return True
        source = next((other for other in self.orders if other.key == order.source), None)
        return source is not None and not self.is_done(source) and self.has_failed(source)


def train_all(
    work: Work,
    *,
    finished: Callable[[Order], None] = lambda order: None,
    is_wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Trains until no run is left that is neither finished nor failed, waiting for those that others train.

    Args:
        work: The runs.
        finished: Called after each run that this worker trained.
        is_wanted: Asked before each look at what is left; False ends the work.
    """
    left = list(work.orders)
    while left and is_wanted():
        left = [order for order in left if not work.is_done(order) and not work.has_failed(order)]
        if left and not any(_attempt(order, work, finished) for order in left):
            time.sleep(WAIT)


def _attempt(order: Order, work: Work, finished: Callable[[Order], None]) -> bool:
    """Trains a run where it is free; False where it isn't, or waits for its source."""
    if order.source is not None and not work.ledger.encoder(order.source).is_file():
        return False
    claim = work.ledger.claim(order.key)
    if claim is None:
        return False
    with claim:
        if work.is_done(order):  # since it was looked at
            return True
        _train(order, work)
    finished(order)
    return True


def _train(order: Order, work: Work) -> None:
    from mtl.faults import InputError
    from mtl.study.training import train

    try:
        result, counts = train(order, work.ledger)
    except Exception as error:  # whatever a run dies of, the others go on
        user = isinstance(error, InputError)
        failure: dict[str, Any] = {
            "session": work.session,
            "name": order.name,
            "error": str(error) if user else f"{type(error).__name__}: {error}",
            "traceback": "" if user else traceback.format_exc(),
        }
        work.ledger.fail(order.key, failure)
        return
    work.ledger.finish(order.key, {**result, "session": work.session, "study": work.study}, counts)


def main(arguments: Sequence[str]) -> None:
    """Works on a study's folder; with a number and GPUs, on the GPU of that number."""
    from mtl.cli import calm

    calm()
    folder, number = Path(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 0
    _choose_device(number)
    driver = os.environ.get(DRIVER)
    train_all(Work.read(folder), is_wanted=lambda: driver is None or psutil.pid_exists(int(driver)))


def _choose_device(number: int) -> None:
    """Spreads workers over the GPUs; before torch looks at them."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count > 1:
        torch.cuda.set_device(number % count)


if __name__ == "__main__":
    main(sys.argv[1:])
