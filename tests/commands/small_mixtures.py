"""Rows of small mixtures, and what `check` finds in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mtl.planning.mixture_check import check
from mtl.problems import Problem

SECRET = "Mr Miller of Ward 7"  # in every invalid row, and must never be shown

Write = Callable[..., Path]
REGRESSION = {"head": "regression", "labels": [], "options": {"range": [0, 4]}}
TAGGING = {"head": "token_classification", "labels": ["Drug"]}


def classified(size: int) -> list[dict[str, Any]]:
    return [{"text": f"aspirin increases risk {n}", "label": ["low", "high"][n % 2]} for n in range(size)]


def scored(size: int) -> list[dict[str, Any]]:
    return [{"text": f"aspirin increases risk {n}", "label": float(n % 4)} for n in range(size)]


def tagged(size: int) -> list[dict[str, Any]]:
    entity = {"id": "T1", "type": "Drug", "spans": [[0, 7]], "text": "aspirin"}
    return [{"text": f"aspirin increases risk {n}", "entities": [entity]} for n in range(size)]


def problems(path: Path, *overrides: str) -> list[Problem]:
    """The problems; there must be no plan, and no text of a row in any problem."""
    found, plan = check(str(path), overrides)
    assert found
    assert plan == {}
    assert SECRET not in str([str(problem) for problem in found])
    return found


def plan(path: Path, *overrides: str) -> dict[str, Any]:
    found, made = check(str(path), overrides)
    assert [str(problem) for problem in found] == []
    return made
