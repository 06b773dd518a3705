"""The table of published scores next to a study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtl.study.design.study_file import load_study
from tests.study.design.test_arms import ARMS, problems

HEADER = "task,arm,variant,score,source\n"


def with_table(toy_study: Callable[..., Path], tmp_path: Path, table: str, **fields: Any) -> Path:
    (tmp_path / "published.csv").write_text(table)
    return toy_study(**{"designs": [{"arms": ARMS}], "tasks": ["cause"], "published": "published.csv", **fields})


def test_published_scores_are_read_with_their_source(toy_study: Callable[..., Path], tmp_path: Path) -> None:
    table = f"{HEADER}cause,mean,accuracy,81.5,Somebody 2020\n"
    (row,) = load_study(with_table(toy_study, tmp_path, table)).published
    assert row == ("cause", "mean", "accuracy", 81.5, "Somebody 2020")


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ("cuse,mean,accuracy,81.5,Somebody", "Did you mean 'cause'?"),
        ("cause,meen,accuracy,81.5,Somebody", "Did you mean 'mean'?"),
        ("cause,mean,macro_f1,81.5,Somebody", "accuracy"),
        ("cause,mean,accuracy,x,Somebody", "'x'"),
        ("cause,mean,accuracy,815,Somebody", "'815'"),
        ("cause,mean,accuracy,nan,Somebody", "'nan'"),
        ("cause,mean,accuracy,81.5,", "source"),
        ("cause,mean,accuracy", "got 3"),
    ],
)
def test_a_published_score_that_cannot_be_compared_is_an_error_with_its_line(
    toy_study: Callable[..., Path], tmp_path: Path, row: str, part: str
) -> None:
    table = f"{HEADER}cause,mean,accuracy,81.5,Somebody\n{row}\n"
    found = problems(with_table(toy_study, tmp_path, table))
    assert list(found) == ["published.csv:3"]
    assert part in found["published.csv:3"]


@pytest.mark.parametrize(
    ("table", "fields", "key"),
    [
        ("", {}, "published.csv:1"),
        ("task,score\n", {}, "published.csv:1"),
        (HEADER, {"published": "nothing.csv"}, "published"),
        (HEADER, {"designs": ["single"]}, "published"),
    ],
)
def test_a_table_that_is_none_is_an_error(
    toy_study: Callable[..., Path], tmp_path: Path, table: str, fields: dict[str, Any], key: str
) -> None:
    assert list(problems(with_table(toy_study, tmp_path, table, **fields))) == [key]
