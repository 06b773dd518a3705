"""What a study's findings become: files in a folder, and metrics and tables in MLflow."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtl.files import finite
from mtl.study.report.conclusions import summary
from mtl.study.report.figures import study_figures
from mtl.study.report.page import gains_columns, heat_map_page, report_page
from mtl.study.statistics.findings import Findings


class Outcome(NamedTuple):
    """What MLflow shows of a study's findings beside the files of its report.

    Args:
        metrics: Such as ``gain/<target>/<partner>``.
        tables: By path, ending with .json: columns.
        note: What may be claimed, in Markdown.
        is_whole: Whether no run is missing.
    """

    metrics: Mapping[str, float]
    tables: Mapping[str, Mapping[str, Sequence[Any]]]
    note: str
    is_whole: bool


def write_report(findings: Findings, folder: Path) -> list[Path]:
    """Writes `report.html`, the tables and the pictures, in place of what an earlier report left; gives their paths.

    Args:
        findings: Of the study.
        folder: What is no part of a report stays there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in ("heat_map_*.png", "heat_map_*.html", "forest_*.png", "curves_*.png"):
        for old in folder.glob(pattern):  # of designs and tasks that the study may not have any more
            old.unlink()
    figures = study_figures(findings)
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=150, bbox_inches="tight")
    texts = {f"heat_map_{family.design}.html": heat_map_page(findings, family.design) for family in findings.families}
    texts["report.html"] = report_page(findings, figures)
    texts["findings.json"] = json.dumps(finite(findings.to_dict()), indent=1)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    write_gains(findings, folder / "gains.csv")
    return [folder / name for name in (*(f"{name}.png" for name in figures), *texts, "gains.csv")]


def write_gains(findings: Findings, path: Path) -> None:
    """Writes every gain with its statistics as a table, a line each."""
    columns = gains_columns(findings)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def outcome(findings: Findings) -> Outcome:
    """What stands in MLflow beside these files."""
    return Outcome(_metrics(findings), _tables(findings), _note(findings), not findings.missing)


def _metrics(findings: Findings) -> dict[str, float]:
    """What MLflow's page of the study compares: ``gain/<target>/<partner>``, other designs with their name before."""
    found = {"cost/outside_share": findings.outside_share, "cost/runs": float(len(findings.costs))}
    found["cost/seconds"] = sum(cost.seconds for cost in findings.costs)
    for family in findings.families:
        prefix = "gain" if family.design == "pairwise" else f"{family.design}/gain"
        for gain in family.gains:
            found[f"{prefix}/{gain.target}/{gain.partner}"] = gain.cell.mean
    for target, facts in findings.targets.items():
        known = [score for score in facts.single if not math.isnan(score)]
        if known:
            found[f"single/{target}"] = sum(known) / len(known)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _tables(findings: Findings) -> dict[str, dict[str, list[Any]]]:
    """MLflow's tables: the gains, and what every run took."""
    costs = [vars(cost) for cost in findings.costs]
    columns = {name: [cost[name] for cost in costs] for name in (costs[0] if costs else {})}
    gains = {name: [finite(value) for value in values] for name, values in gains_columns(findings).items()}
    return {"gains.json": gains, "costs.json": columns}


def _note(findings: Findings) -> str:
    """The description of the run in MLflow."""
    found = summary(findings)
    lines = [findings.question, f"**{found.headline}**"]
    for design in found.designs:
        lines.append(f"{design.design}: {design.statement}")
        lines += [" ".join(("-", claim.mark, claim.text, *claim.cautions)) for claim in design.claims]
    if findings.missing:
        lines.append(f"Missing: {len(findings.missing)} gains lack runs; `report.html` names them.")
    lines.append("All of it is in the artefact `report.html`; the runs are nested below this one.")
    return "\n\n".join(lines)
