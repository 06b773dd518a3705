"""Everything arrives in order and once, whatever fails on the way."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest

from mtl.tracking import send_queue
from mtl.tracking.mlflow_run import METRICS_AT_ONCE, MLflowRun, Number
from mtl.tracking.outages import Outages
from mtl.tracking.send_queue import SendQueue
from tests.mlflow_server import wait_for


class Store:
    """A store that keeps what arrives; `fails` says which attempts do not, and may say it half-way."""

    def __init__(self, fails: Callable[[], Exception | None] = lambda: None) -> None:
        self.fails = fails
        self.arrived: list[Any] = []
        self.states: list[str] = []

    def connect(self) -> MLflowRun:
        self.take()
        return cast(MLflowRun, self)

    def take(self, *items: object) -> None:
        error = self.fails()
        if error is not None:
            raise error
        self.arrived += items

    def log_metrics(self, numbers: Sequence[Number]) -> None:
        self.take(("metrics", [number.step for number in numbers]))

    def queue(self) -> SendQueue:
        def note(**values: str) -> None:
            self.states += [values["state"]] if "state" in values else []

        made = SendQueue(self.connect, Outages("demo", "http://me:secret@host", "All is on disk.", note))
        made.open()
        return made


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(send_queue, "SEND_EVERY", 0.001)
    monkeypatch.setattr(send_queue, "LAST_TRY", 0.001)
    before = set(threading.enumerate())  # other tests of this process may have left some
    yield
    assert not any(thread.name == "mtl-tracking" for thread in set(threading.enumerate()) - before)


@pytest.mark.parametrize("seed", range(5))
def test_operations_arrive_in_order_and_once_despite_failures(seed: int) -> None:
    rng = random.Random(seed)
    is_down = True

    def fails() -> Exception | None:
        return ConnectionError("away") if is_down and rng.random() < 0.4 else None

    store = Store(fails)
    queue = store.queue()
    for number in range(100):
        queue.put("number", lambda run, number=number: cast(Store, run).take(number))
    wait_for(lambda: len(store.arrived) > 50)
    is_down = False
    assert queue.close()
    assert store.arrived == list(range(100))


def test_an_outage_is_reported_once_when_it_begins_and_once_when_it_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    failures = iter([None, *[ConnectionError("no route to http://me:secret@host")] * 5, None])
    store = Store(lambda: next(failures, None))
    queue = store.queue()
    queue.put("file", lambda run: cast(Store, run).take("file"))
    wait_for(lambda: store.states[-1:] == ["ok"])
    assert queue.close()
    lines = capsys.readouterr().err.splitlines()
    assert [("unreachable" in line, "reachable again" in line) for line in lines] == [(True, False), (False, True)]
    assert store.states == ["lost"] * 5 + ["ok"]
    assert "secret" not in "".join(lines)


def test_a_refusal_is_reported_once_for_each_reason_and_blocks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(why: str) -> None:
        raise ValueError(why)

    store = Store()
    queue = store.queue()
    for why in ("too long", "too long", "too short"):
        queue.put("tags", lambda run, why=why: refuse(why))
    queue.put("file", lambda run: cast(Store, run).take("file"))
    assert queue.close()
    assert store.arrived == ["file"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.count("refused") for line in lines] == [1, 1]
    assert store.states == []


def test_a_store_that_refuses_to_open_loses_nothing() -> None:
    failures = iter([ValueError("the experiment was deleted")] * 3)
    store = Store(lambda: next(failures, None))
    queue = store.queue()
    queue.put("file", lambda run: cast(Store, run).take("file"))
    wait_for(lambda: store.arrived == ["file"])
    assert queue.close()


def test_the_rest_at_the_end_is_reported_kept_and_sent_after_reopening(
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = Store(lambda: ConnectionError("away"))
    queue = store.queue()
    for number in range(5):
        queue.put(f"run {number % 4}", lambda run, number=number: cast(Store, run).take(number))
    assert not queue.close()
    assert store.states[-1] == "incomplete"
    assert "run 0, run 1, run 2 and 1 more" in capsys.readouterr().err
    store.fails = lambda: None
    queue.open()
    assert queue.close()
    assert store.arrived == list(range(5))


def test_closing_waits_for_a_slow_store_but_not_for_one_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(threading.enumerate())
    monkeypatch.setattr(send_queue, "PATIENCE", 0.4)
    step = threading.Event()
    store = Store()
    queue = store.queue()
    for number in range(5):  # each takes most of the patience, and all of them more
        queue.put("number", lambda run, number=number: (step.wait(0.2), cast(Store, run).take(number)))
    assert queue.close()
    assert store.arrived == list(range(5))
    queue.open()
    queue.put("file", lambda run: step.wait(60))
    assert not queue.close()
    step.set()
    wait_for(lambda: not any(thread.name == "mtl-tracking" for thread in set(threading.enumerate()) - before))


def test_metrics_keep_their_order_and_share_requests_between_two_operations() -> None:
    entered, gate = threading.Event(), threading.Event()
    store = Store()
    queue = store.queue()
    queue.put("gate", lambda run: (entered.set(), gate.wait(60)))
    queue.wake()
    assert entered.wait(60)
    for step in range(METRICS_AT_ONCE + 1):
        queue.add([Number("f1", 0.5, 1000, step)])
    queue.put("file", lambda run: cast(Store, run).take("file"))
    queue.add([Number("f1", 0.5, 1000, -1)])
    gate.set()
    wait_for(lambda: len(store.arrived) == 4)
    assert queue.close()
    first, second, file, last = store.arrived
    assert first == ("metrics", list(range(METRICS_AT_ONCE)))
    assert (second, file, last) == (("metrics", [METRICS_AT_ONCE]), "file", ("metrics", [-1]))
