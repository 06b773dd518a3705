"""Shards of an input."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl.prediction.predicting import Shard
from tests.prediction.planted import many, predict

pytestmark = pytest.mark.usefixtures("planted")


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.PubTator"])
def test_concatenated_shards_are_the_whole(planted_run: Path, tmp_path: Path, name: str) -> None:
    tasks = ["mentions", "links"] if name == "x.PubTator" else ["mentions", "links", "kind"]
    source = many(tmp_path / "notes.jsonl")
    predict(planted_run, source, tmp_path / name, tasks=tasks)
    parts = []
    for number in (1, 2, 3, 4):
        predict(planted_run, source, tmp_path / f"{number}{name}", tasks=tasks, shard=f"{number}/4")
        parts.append((tmp_path / f"{number}{name}").read_bytes())
    assert b"".join(parts) == (tmp_path / name).read_bytes()
    assert sum(bool(part) for part in parts) == 3, "three chunks"


@pytest.mark.parametrize("num_rows", [0, 1, 64, 65, 1000])
@pytest.mark.parametrize("num_shards", [1, 2, 7])
def test_every_row_is_in_one_shard(num_rows: int, num_shards: int) -> None:
    shards = [Shard(number, num_shards).rows(num_rows) for number in range(1, num_shards + 1)]
    assert [row for rows in shards for row in rows] == list(range(num_rows))
