"""The points of a run's curves that an earlier process has written, so that a resumed run has each point once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mtl.tracking.mlflow_run import Number, allowed_name


class Points:
    """The points in a `metrics.jsonl`: one per metric and step.

    A point that was written several times counts with its first value. Lines that a kill has cut off do not count.

    Args:
        path: The file; without it there are no points.

    >>> Points(Path("missing")).new({"loss": 0.5}, step=1)
    {'loss': 0.5}
    """

    def __init__(self, path: Path) -> None:
        self._numbers: dict[tuple[str, int], Number] = {}
        for number in _read(path):
            self._numbers.setdefault((number.name, number.step), number)

    def __iter__(self) -> Iterator[Number]:
        return iter(self._numbers.values())

    def __len__(self) -> int:
        return len(self._numbers)

    def new(self, metrics: Mapping[str, float], step: int, *, only_same: bool = False) -> dict[str, float]:
        """The metrics of a step without those whose point is already there.

        Args:
            metrics: Values by metric.
            step: Step of the values.
            only_same: Whether a point with another value counts as new, as of an evaluation of another checkpoint.
        """
        return {name: value for name, value in metrics.items() if not self._has(name, value, step, only_same)}

    def _has(self, name: str, value: float, step: int, only_same: bool) -> bool:
        known = self._numbers.get((name, step))
        if known is None:
            return False
        both_undefined = not math.isfinite(value) and not math.isfinite(known.value)
        return not only_same or known.value == value or both_undefined

    def after(self, latest: Mapping[str, int]) -> list[Number]:
        """The points that a store lacks. It has got them in order, so they are those after its latest ones.

        Args:
            latest: Latest step of each metric of the store, by its name there.
        """
        return [number for number in self if number.step > latest.get(allowed_name(number.name), -1)]


def _read(path: Path) -> Iterator[Number]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            line = _parsed(text)
            metrics = line.get("metrics")
            for name, value in metrics.items() if isinstance(metrics, dict) else ():
                yield Number(name, math.nan if value is None else value, round(1000 * line["time"]), line["step"])


def _parsed(text: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    is_complete = isinstance(line, dict) and isinstance(line.get("step"), int) and "time" in line
    return line if is_complete else {}
