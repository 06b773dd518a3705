"""Trains the runs of a study one after another, alongside any number of other workers.

    python -m mtl.study.running.worker WORK_FILE [NUMBER]

No process assigns the runs: a worker claims the next unfinished run, trains it, and repeats. So a killed worker costs
only its partly trained run, and two drivers of one study share the work.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl.files import write_json
from mtl.study.running.ledger import Ledger

if TYPE_CHECKING:
    from mtl.study.design.run_spec import RunSpec

WAIT = 0.5
"""Seconds between two checks of runs that other workers are training."""


MAX_DEATHS = 2
"""Number of processes that may die while training a run in one session; after that, the run counts as failed."""


@dataclass(frozen=True)
class Work:
    """The work of the workers of one command.

    Args:
        run_specs: Specs of the runs, with sources before the runs that start from them.
        ledger: Ledger for the results.
        session: Id of the command; a run that failed in it is not tried again.
        study: Name of the study.
    """

    run_specs: tuple[RunSpec, ...]
    ledger: Ledger
    session: str
    study: str

    def write(self, folder: Path) -> Path:
        """Writes the work to a folder for workers in other processes, and returns the path of the file."""
        content = {
            "session": self.session,
            "study": self.study,
            "ledger": str(self.ledger.folder.absolute()),
            "orders": [run_spec.to_dict() for run_spec in self.run_specs],
        }
        path = folder.absolute() / f"work-{self.session}.json"  # workers may start in another folder
        write_json(path, content)
        return path

    @classmethod
    def read(cls, path: Path) -> Work:
        """Returns the work that `write` wrote."""
        from mtl.study.design.run_spec import RunSpec

        content = json.loads(path.read_text(encoding="utf-8"))
        run_specs = tuple(RunSpec.from_dict(run_spec) for run_spec in content["orders"])
        return cls(run_specs, Ledger(Path(content["ledger"])), content["session"], content["study"])

    def is_done(self, run_spec: RunSpec) -> bool:
        """Returns whether a run needs no training; a missing encoder counts only if another run still needs it."""
        dependants = [other for other in self.run_specs if other.source == run_spec.key]
        waiting = any(not self.is_done(other) and not self._has_failed_itself(other) for other in dependants)
        return self.ledger.is_finished(run_spec.key, with_encoder=waiting)

    def drop_encoder(self, source: str) -> None:
        """Deletes the encoder of a run, its largest file, once all runs that start from it are finished.

        Args:
            source: Key of the run.
        """
        if all(self.ledger.is_finished(run_spec.key) for run_spec in self.run_specs if run_spec.source == source):
            self.ledger.encoder(source).unlink(missing_ok=True)

    def has_failed(self, run_spec: RunSpec) -> bool:
        """Returns whether the run, or a run that it starts from, failed under this command."""
        if self._has_failed_itself(run_spec):
            return True
        source = next((other for other in self.run_specs if other.key == run_spec.source), None)
        return source is not None and self.has_failed(source)

    def _has_failed_itself(self, run_spec: RunSpec) -> bool:
        failure = self.ledger.failure(run_spec.key)
        return failure is not None and self.session in failure.get("sessions", ())


def train_all(
    work: Work,
    *,
    finished: Callable[[RunSpec], None] = lambda run_spec: None,
    is_wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Trains runs until all are finished or failed, and waits for those that other workers train.

    Args:
        work: The runs.
        finished: Called after each run that this worker trained.
        is_wanted: Called before each pass over the remaining runs; False ends the work.
    """
    while is_wanted():
        left = [run_spec for run_spec in work.run_specs if not work.is_done(run_spec) and not work.has_failed(run_spec)]
        if not left:
            return
        if not any(_attempt(run_spec, work, finished) for run_spec in left):
            time.sleep(WAIT)


def _attempt(run_spec: RunSpec, work: Work, finished: Callable[[RunSpec], None]) -> bool:
    """Trains a run; False if another worker has claimed it, or it still needs its source."""
    if run_spec.source is not None and not work.ledger.encoder(run_spec.source).is_file():
        return False
    claim = work.ledger.claim(run_spec.key, work.session)
    if claim is None:
        return False
    with claim:
        if work.is_done(run_spec) or work.has_failed(run_spec):  # in the meantime
            return True
        if claim.deaths >= MAX_DEATHS:
            message = f"{claim.deaths} processes that trained this run were killed, possibly for lack of memory."
            work.ledger.fail(run_spec.key, {"name": run_spec.name, "told": message, "error": message}, work.session)
            return True
        _train(run_spec, work)
    if run_spec.source is not None:
        work.drop_encoder(run_spec.source)
    # A trainer and its module form a reference cycle, and too few objects are involved to trigger garbage collection.
    gc.collect()
    finished(run_spec)
    return True


def _train(run_spec: RunSpec, work: Work) -> None:
    from mtl.hashed_ids import hash_from_now_on
    from mtl.problems import InputError
    from mtl.redaction import crash_report, reason
    from mtl.study.running.train_run import test_source, train

    try:
        if run_spec.mixture.get("privacy", {}).get("hash_ids"):
            hash_from_now_on()
        result, counts = (test_source if run_spec.evaluates else train)(run_spec, work.ledger)
    except Exception as error:  # a failed run must not stop the others
        is_problem = isinstance(error, InputError)
        if run_spec.source is not None and not work.ledger.encoder(run_spec.source).is_file():
            return  # another study has deleted the encoder after its last use; the source is trained again
        kind = f"{type(error).__name__}; see failure.json of run {run_spec.key[:12]} for the traceback"
        failure: dict[str, Any] = {
            "name": run_spec.name,
            "told": str(error) if is_problem else kind,  # sent to MLflow: our messages quote no rows, but others may
            "error": str(error) if is_problem else reason(error),
            "traceback": "" if is_problem else crash_report(error),
        }
        work.ledger.fail(run_spec.key, failure, work.session)
        return
    owner = {"session": work.session, "study": work.study}
    before = work.ledger.result(run_spec.key)
    if before is None:
        try:
            work.ledger.finish(run_spec.key, {**result, **owner}, counts)
        except InputError as error:  # there is no room for results, so training others would be in vain
            told = {"name": run_spec.name, "told": str(error), "error": str(error)}
            with suppress(InputError):
                work.ledger.fail(run_spec.key, told, work.session)
            raise
    else:  # its encoder had been deleted; MLflow has the first result
        differences = list(_differing_scores(before["test"], result["test"]))
        work.ledger.note_repeat(run_spec.key, {**owner, "cost": result["cost"], "differences": differences})


def _differing_scores(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """The test scores of a repeated run that differ from the first ones, even in the last digit."""
    for target, scores in before.items():
        for name, score in scores.items():
            if now[target][name] != score:
                yield f"{target}/{name} {score} -> {now[target][name]}"


def main(arguments: Sequence[str]) -> None:
    """Works until nothing is left or the parent process has ended; a worker number selects one of several GPUs."""
    parent = os.getppid()
    from mtl.threads import set_thread_defaults

    set_thread_defaults()
    _choose_device(int(arguments[1]) if len(arguments) > 1 else 0)
    train_all(Work.read(Path(arguments[0])), is_wanted=lambda: os.getppid() == parent)


def _choose_device(number: int) -> None:
    """Assigns a GPU to the worker, before torch initialises the devices."""
    import torch

    if num_gpus() > 1:
        torch.cuda.set_device(number % num_gpus())


def num_gpus() -> int:
    """The number of GPUs that this process may use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


if __name__ == "__main__":
    main(sys.argv[1:])
