"""Which points of a run are new, and which a store lacks."""

from __future__ import annotations

import json
import math
from pathlib import Path

from mtl.tracking.points import Points


def written(tmp_path: Path, *lines: tuple[int, dict[str, float | None]], torn: str = "") -> Points:
    text = "".join(json.dumps({"step": step, "time": 5.0 + step, "metrics": metrics}) + "\n" for step, metrics in lines)
    path = tmp_path / "metrics.jsonl"
    path.write_text(text + torn, encoding="utf-8")
    return Points(path)


def test_a_point_is_new_unless_its_metric_has_its_step(tmp_path: Path) -> None:
    points = written(tmp_path, (0, {"a": 1.0}), (5, {"a": 2.0, "b": 3.0}))
    assert points.new({"a": 9.0, "b": 9.0}, step=0) == {"b": 9.0}
    assert points.new({"a": 2.0, "c": 1.0}, step=5) == {"c": 1.0}
    assert points.new({"a": 2.0}, step=6) == {"a": 2.0}


def test_another_value_can_count_as_new(tmp_path: Path) -> None:
    points = written(tmp_path, (5, {"a": 2.0, "b": None}))
    assert points.new({"a": 2.0, "b": math.nan}, step=5, only_same=True) == {}
    assert points.new({"a": 2.5, "b": 1.0}, step=5, only_same=True) == {"a": 2.5, "b": 1.0}


def test_a_store_lacks_the_points_after_its_latest_ones_by_its_own_names(tmp_path: Path) -> None:
    points = written(tmp_path, (0, {"f1 (x|y)": 1.0}), (5, {"f1 (x|y)": 2.0, "b": 3.0}))
    assert [tuple(number) for number in points.after({"f1 _x_y_": 0})] == [
        ("f1 (x|y)", 2.0, 10000, 5),
        ("b", 3.0, 10000, 5),
    ]
    assert points.after({"f1 _x_y_": 5, "b": 7}) == []
    assert len(points.after({})) == len(points) == 3


def test_a_repeated_point_counts_once_and_a_torn_line_not_at_all(tmp_path: Path) -> None:
    points = written(tmp_path, (1, {"a": 1.0}), (1, {"a": 1.5}), torn='{"step": 2, "time": 7.0, "metr')
    assert [tuple(number) for number in points] == [("a", 1.0, 6000, 1)]
    assert len(Points(tmp_path / "missing.jsonl")) == 0
