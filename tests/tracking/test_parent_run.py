"""What all parent runs in MLflow share: order, one status, and patience with MLflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from mtl.tracking import send_queue
from mtl.tracking.mlflow_run import MLflowRun
from mtl.tracking.parent_run import ParentRun


class Recorded:
    """A run of MLflow that keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def end(self, status: str) -> None:
        self.sent.append(status)


class Parent(ParentRun):
    """A parent run whose store answers unless `fails` gives an error."""

    def __init__(self, fails: Callable[[], Exception | None] = lambda: None) -> None:
        super().__init__("search", "http://me:secret@host:5000", "All is on disk.")
        self.fails, self.run, self.num_connected = fails, Recorded(), 0

    def _connect(self) -> MLflowRun:
        if (error := self.fails()) is not None:
            raise error
        self.num_connected += 1
        self._parent = cast(MLflowRun, self.run)
        return self._parent

    def send(self, what: str) -> None:
        self._put(what, lambda run: cast(Recorded, run).sent.append(what))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"PATIENCE": 1.0, "SEND_EVERY": 0.02, "LAST_TRY": 0.02}.items():
        monkeypatch.setattr(send_queue, name, seconds)


def test_records_arrive_in_order_before_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    parent = Parent()
    names = [f"trial {number}" for number in range(5)]
    for name in names:
        parent.send(name)
    parent.end("FINISHED")
    parent.close()
    assert parent.run.sent == [*names, "FINISHED"]
    assert parent.num_connected == 1
    assert capsys.readouterr().err == ""


def test_a_command_that_sent_nothing_does_not_contact_mlflow_and_ends_no_run() -> None:
    parent = Parent()
    parent.end("FAILED")
    parent.close()
    assert (parent.num_connected, parent.run.sent) == (0, [])


def test_nothing_is_lost_while_mlflow_is_unreachable(capsys: pytest.CaptureFixture[str]) -> None:
    errors: list[Exception] = [ConnectionError("no route"), ConnectionError("no route")]
    parent = Parent(lambda: errors.pop() if errors else None)
    parent.send("trial")
    parent.end("FINISHED")
    parent.close()
    assert parent.run.sent == ["trial", "FINISHED"]
    assert len(capsys.readouterr().err.splitlines()) == 2, "once for the outage and once for its end"


def test_what_is_missing_in_the_end_is_named_with_where_it_is_and_without_a_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parent = Parent(lambda: ConnectionError("no route"))
    parent.send("trial 7")
    parent.end("KILLED")
    parent.close()
    last = capsys.readouterr().err.splitlines()[-1]
    assert all(part in last for part in ("mtl: search: ", "host:5000", "trial 7", "status", "All is on disk."))
    assert "secret" not in last
    assert parent.run.sent == []
