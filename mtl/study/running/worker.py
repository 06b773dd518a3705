"""Trains the runs of a study, one after the other, beside any number of other workers.

    python -m mtl.study.running.worker WORK_FILE [NUMBER]

There is nobody who deals out the runs: a worker claims the next one that is open, trains it, and looks again. So a
worker that is killed costs its half-trained run and nothing else, and two drivers of one study help each other.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl.files import write_json
from mtl.study.running.ledger import Ledger

if TYPE_CHECKING:
    from mtl.study.design.run_spec import RunSpec

WAIT = 0.5
"""Seconds between two looks at runs that others are at work on."""


MAX_DEATHS = 2
"""Processes that may die over a run in one session, before the others leave it alone."""


@dataclass(frozen=True)
class Work:
    """What the workers of one command do.

    Args:
        orders: Sources before what needs them.
        ledger: Where results go.
        session: Of the command; a run that failed in it isn't tried again.
        study: For which the runs are trained.
    """

    orders: tuple[RunSpec, ...]
    ledger: Ledger
    session: str
    study: str

    def write(self, folder: Path) -> Path:
        """Leaves it in a folder for workers of other processes, and gives its file."""
        content = {
            "session": self.session,
            "study": self.study,
            "ledger": str(self.ledger.folder.absolute()),
            "orders": [order.to_dict() for order in self.orders],
        }
        path = folder.absolute() / f"work-{self.session}.json"  # workers may begin in another folder
        write_json(path, content)
        return path

    @classmethod
    def read(cls, path: Path) -> Work:
        """What `write` left."""
        from mtl.study.design.run_spec import RunSpec

        content = json.loads(path.read_text(encoding="utf-8"))
        orders = tuple(RunSpec.from_dict(order) for order in content["orders"])
        return cls(orders, Ledger(Path(content["ledger"])), content["session"], content["study"])

    def is_done(self, order: RunSpec) -> bool:
        """Whether a run needs no training. One whose encoder is gone does where a run that starts from it does."""
        dependants = [other for other in self.orders if other.source == order.key]
        waiting = any(not self.is_done(other) and not self._has_failed_itself(other) for other in dependants)
        return self.ledger.is_finished(order.key, with_encoder=waiting)

    def drop_encoder(self, source: str) -> None:
        """Drops a run's encoder, which takes most of its room, once all runs that start from it are finished.

        Args:
            source: The run's key.
        """
        if all(self.ledger.is_finished(order.key) for order in self.orders if order.source == source):
            self.ledger.encoder(source).unlink(missing_ok=True)

    def has_failed(self, order: RunSpec) -> bool:
        """Whether the run, or one that it starts from, failed under this command."""
        if self._has_failed_itself(order):
            return True
        source = next((other for other in self.orders if other.key == order.source), None)
        return source is not None and self.has_failed(source)

    def _has_failed_itself(self, order: RunSpec) -> bool:
        failure = self.ledger.failure(order.key)
        return failure is not None and self.session in failure.get("sessions", ())


def train_all(
    work: Work,
    *,
    finished: Callable[[RunSpec], None] = lambda order: None,
    is_wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Trains until no run is left that is neither finished nor failed, waiting for those that others train.

    Args:
        work: The runs.
        finished: Called after each run that this worker trained.
        is_wanted: Asked before each look at what is left; False ends the work.
    """
    while is_wanted():
        left = [order for order in work.orders if not work.is_done(order) and not work.has_failed(order)]
        if not left:
            return
        if not any(_attempt(order, work, finished) for order in left):
            time.sleep(WAIT)


def _attempt(order: RunSpec, work: Work, finished: Callable[[RunSpec], None]) -> bool:
    """Trains a run where it is free; False where it isn't, or waits for its source."""
    if order.source is not None and not work.ledger.encoder(order.source).is_file():
        return False
    claim = work.ledger.claim(order.key, work.session)
    if claim is None:
        return False
    with claim:
        if work.is_done(order) or work.has_failed(order):  # since it was looked at
            return True
        if claim.deaths >= MAX_DEATHS:
            told = f"{claim.deaths} processes that trained it were killed; was there too little memory?"
            work.ledger.fail(order.key, {"name": order.name, "told": told, "error": told}, work.session)
            return True
        _train(order, work)
    if order.source is not None:
        work.drop_encoder(order.source)
    # A trainer and its module know each other, and a few objects that hold gigabytes don't wake Python's collector.
    gc.collect()
    finished(order)
    return True


def _train(order: RunSpec, work: Work) -> None:
    from mtl.problems import InputError
    from mtl.study.running.train_run import train

    try:
        result, counts = train(order, work.ledger)
    except Exception as error:  # whatever a run dies of, the others go on
        is_problem = isinstance(error, InputError)
        if order.source is not None and not work.ledger.encoder(order.source).is_file():
            return  # another study, whose runs of this source are all finished, dropped it: it is trained once more
        kind = f"{type(error).__name__}; its message is in failure.json of {order.key[:12]}"
        failure: dict[str, Any] = {
            "name": order.name,
            "told": str(error) if is_problem else kind,  # what goes to MLflow: our own words quote no row, others' may
            "error": str(error),
            "traceback": "" if is_problem else traceback.format_exc(),
        }
        work.ledger.fail(order.key, failure, work.session)
        return
    owner = {"session": work.session, "study": work.study}
    before = work.ledger.result(order.key)
    if before is None:
        work.ledger.finish(order.key, {**result, **owner}, counts)
    else:  # its encoder had been dropped; the first result is the one that MLflow has
        differences = list(_differences(before["test"], result["test"]))
        work.ledger.note_repeat(order.key, {**owner, "cost": result["cost"], "differences": differences})


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """The test scores of a repeated run that aren't the first ones, to the last digit."""
    for target, scores in before.items():
        for name, score in scores.items():
            if now[target][name] != score:
                yield f"{target}/{name} {score} -> {now[target][name]}"


def main(arguments: Sequence[str]) -> None:
    """Works until nothing is left, or whoever started it is gone; with a number and GPUs, on the GPU of that number."""
    parent = os.getppid()
    from mtl.threads import set_thread_defaults

    set_thread_defaults()
    _choose_device(int(arguments[1]) if len(arguments) > 1 else 0)
    train_all(Work.read(Path(arguments[0])), is_wanted=lambda: os.getppid() == parent)


def _choose_device(number: int) -> None:
    """Spreads workers over the GPUs; before torch looks at them."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count > 1:
        torch.cuda.set_device(number % count)


if __name__ == "__main__":
    main(sys.argv[1:])
