from __future__ import annotations

from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError

from mtl.tracking.outages import LISTED, Outages, is_refusal, reason


@pytest.fixture
def notes() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def outages(notes: list[dict[str, Any]]) -> Outages:
    return Outages("run", "http://me:secret@host:5000", "Kept in runs/x.", lambda **values: notes.append(values))


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_an_outage_is_reported_once_and_so_is_its_end(
    outages: Outages, notes: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    outages.over()  # nothing was lost
    for _ in range(3):
        outages.lost(OSError("no route"))
    outages.over()
    outages.over()
    outages.lost(OSError("no route"))
    assert [("unreachable" in line, "reachable again" in line) for line in lines(capsys)] == [
        (True, False),
        (False, True),
        (True, False),
    ]
    assert [note["state"] for note in notes] == ["lost"] * 3 + ["ok", "lost"]


def test_a_refusal_is_reported_once_for_each_reason(outages: Outages, capsys: pytest.CaptureFixture[str]) -> None:
    for why in ("too long", "too long", "bad key"):
        outages.refused("a parameter", ValueError(why))
    assert len(lines(capsys)) == 2


def test_what_was_not_sent_is_listed_up_to_a_limit(outages: Outages, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"run {number}" for number in range(LISTED + 2)]
    outages.unsent([*names, *names])
    (line,) = lines(capsys)
    assert all(name in line for name in names[:LISTED])
    assert "2 more" in line
    assert names[-1] not in line


def test_no_message_has_a_password(outages: Outages, capsys: pytest.CaptureFixture[str]) -> None:
    outages.lost(OSError("no route to http://me:secret@host:5000/api"))
    outages.unsent(["run"])
    assert all("secret" not in line and "host" in line for line in lines(capsys))


def test_a_reason_is_one_short_line_and_never_empty() -> None:
    assert reason(ValueError("a\n  b\tc")) == "a b c"
    assert len(reason(ValueError("x" * 999))) == 200
    assert reason(TimeoutError()) == "TimeoutError"


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (MlflowException("x", error_code=3), False),
        (MlflowException.invalid_parameter_value("x"), True),
        (FileNotFoundError("x"), True),
        (ConnectionError("x"), False),
        (OperationalError("x", {}, Exception()), False),
        (ValueError("x"), True),
    ],
)
def test_only_errors_that_stay_are_refusals(error: Exception, refused: bool) -> None:
    assert is_refusal(error) is refused
