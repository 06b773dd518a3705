"""The table of scores on seen and on unseen mentions, for MLflow."""

from __future__ import annotations

import math
from typing import Any

from mtl.study.statistics.findings import Findings


def surface_columns(findings: Findings) -> dict[str, list[Any]]:
    """The table as columns; empty if no run has kept these scores, and unknown numbers are NaN."""
    lines = [vars(one) for one in findings.surfaces]
    return {name: [line[name] for line in lines] for name in lines[0]} if lines else {}


def surface_metrics(findings: Findings) -> dict[str, float]:
    """Mean scores of the single-task runs: ``seen_f1/<task>`` and ``unseen_f1/<task>``."""
    single = [one for one in findings.surfaces if not one.design]
    found = {f"{name}/{one.target}": getattr(one, name) for one in single for name in ("seen_f1", "unseen_f1")}
    return {name: value for name, value in found.items() if math.isfinite(value)}
