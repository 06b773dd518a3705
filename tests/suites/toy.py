"""A suite of two tasks with invented data, and its file."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

ACCESS = {"agreement": True, "source": "the office", "terms": "a signature"}
RISK = {
    "title": "Risk",
    "head": "relation",
    "data": {"reader": "table", "path": "data/risk"},
    "labels": ["cause", "none"],
    "options": {"negative": "none", "placeholders": ["@A$", "@B$"]},
    "variant": "micro_f1_without_negative",
    "also": ["accuracy_with_negative"],
    "split": "by hand",
    "counts": {"unit": "positive_relations", "train": 2, "dev": 1, "test": 1},
    "access": {**ACCESS, "agreement": False},
}
DRUGS = {
    "title": "Drugs",
    "head": "token_classification",
    "data": {"reader": "conll", "path": "data/drugs"},
    "labels": ["Drug"],
    "variant": "strict_entity_f1",
    "split": "by hand",
    "counts": {"unit": "mentions", "train": 2, "dev": 1, "test": 1},
    "access": ACCESS,
}
SUITE: dict[str, Any] = {
    "name": "toy",
    "revision": "1",
    "title": "A toy suite",
    "about": "Two tasks.",
    "paper": "Nobody 2020",
    "url": "https://example.org",
    "aggregation": {"rule": "mean_of_tasks"},
    "sources": {"paper": {"citation": "Nobody 2020, Table 1", "url": "https://example.org", "protocol": "One run."}},
    "tasks": {"toy_risk": RISK, "toy_drugs": DRUGS},
}
HEADER = "source,model,task,variant,score,sd,seeds,secondary"


def fields(**changes: Any) -> dict[str, Any]:
    """The fields of the suite, with the values at dotted places changed; None removes a key."""
    suite = copy.deepcopy(SUITE)
    for place, value in changes.items():
        *parents, last = place.split("__")
        section = suite
        for parent in parents:
            section = section[parent]
        if value is None:
            del section[last]
        else:
            section[last] = value
    return suite


def write_suite(folder: Path, lines: list[str] | None = None, **changes: Any) -> Path:
    """Writes the suite, and its published scores if there are lines of them."""
    if lines is not None:
        changes["published"] = "published.csv"
        (folder / "published.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump(fields(**changes), sort_keys=False))
    return path


def write_data(folder: Path, *names: str) -> None:
    """Writes the data of tasks, with the published counts."""
    texts = {
        "risk": (".tsv", "text\tlabel\n", ["@A$ gave @B$ .\tcause\n@A$ and @B$ .\tnone\n"]),
        "drugs": (".tsv", "", ["Aspirin\tB-Drug\nhelps\tO\n\n"]),
    }
    for name in names:
        suffix, header, [unit] = texts[name]
        place = folder / "data" / name
        place.mkdir(parents=True)
        for split, times in (("train", 2), ("dev", 1), ("test", 1)):
            (place / f"{split}{suffix}").write_text(header + unit * times)
