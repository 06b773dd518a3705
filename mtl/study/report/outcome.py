"""The output of a study: report files in a folder, and metrics, tables and a description for MLflow."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtl.files import finite
from mtl.study.design.designs import CROSS
from mtl.study.report.arm_table import arm_columns, order_agreements
from mtl.study.report.conclusions import agreement_statement, single_scores, summary
from mtl.study.report.figures import study_figures
from mtl.study.report.fold_table import fold_lines
from mtl.study.report.page import gains_columns, heat_map_page, report_page
from mtl.study.report.score_matrix import score_columns
from mtl.study.report.stage_table import stage_columns, stage_metrics
from mtl.study.report.surface_table import surface_columns, surface_metrics
from mtl.study.statistics.findings import Findings


class Outcome(NamedTuple):
    """What MLflow shows of a study in addition to the files of its report.

    Args:
        metrics: Metrics by name, such as ``gain/<target>/<partner>``.
        tables: Columns of each table, by the path of its .json file.
        note: Description of the study with its conclusions, in Markdown.
        is_whole: Whether no run is missing.
    """

    metrics: Mapping[str, float]
    tables: Mapping[str, Mapping[str, Sequence[Any]]]
    note: str
    is_whole: bool


def write_report(findings: Findings, folder: Path) -> list[Path]:
    """Writes `report.html`, the tables and the figures, replaces those of an earlier report and returns their paths.

    Args:
        findings: Findings of the study.
        folder: Folder to write to; files that are not part of a report are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in ("heat_map_*.png", "heat_map_*.html", "forest_*.png", "curves_*.png", "sizes.png"):
        for old in folder.glob(pattern):  # the study may no longer have these designs and tasks
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
    """Writes a CSV table with one row for each gain and its statistics."""
    columns = gains_columns(findings)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def outcome(findings: Findings) -> Outcome:
    """What MLflow shows in addition to these files."""
    return Outcome(_metrics(findings), _tables(findings), _note(findings), not findings.missing)


def _metrics(findings: Findings) -> dict[str, float]:
    """Metrics of the study in MLflow: ``gain/<target>/<partner>``, prefixed with the design if it is not pairwise."""
    found = {"cost/outside_share": findings.outside_share, "cost/runs": float(len(findings.costs))}
    found["cost/seconds"] = sum(cost.seconds for cost in findings.costs)
    found |= {"runs/collapsed": float(len(findings.collapsed)), "runs/undertrained": float(len(findings.undertrained))}
    for family in findings.families:
        prefix = "gain" if family.design == "pairwise" else f"{family.design}/gain"
        for gain in family.gains:
            found[f"{prefix}/{gain.target}/{gain.partner}"] = gain.cell.mean
    for target, facts in findings.targets.items():
        known = [score for score in facts.single if not math.isnan(score)]
        if known:
            found[f"single/{target}"] = sum(known) / len(known)
    found |= {f"mean_of_folds/{line.target}": line.mean for line in fold_lines(findings)}
    found |= stage_metrics(findings) | surface_metrics(findings)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _tables(findings: Findings) -> dict[str, dict[str, list[Any]]]:
    """Tables of the study in MLflow: gains, the cost of each run, and scores by stage, arm, corpus or mention."""
    costs = [vars(cost) for cost in findings.costs]
    columns = {name: [cost[name] for cost in costs] for name in (costs[0] if costs else {})}
    crossed = findings.family(CROSS)
    tables = {
        "gains.json": gains_columns(findings),
        "stages.json": stage_columns(findings),
        "arms.json": arm_columns(findings),
        "surfaces.json": surface_columns(findings),
        "cross_scores.json": {} if crossed is None else score_columns(findings, crossed),
    }
    finite_tables = {
        name: {column: [finite(value) for value in values] for column, values in table.items()}
        for name, table in tables.items()
        if name == "gains.json" or any(table.values())
    }
    return {**finite_tables, "costs.json": columns}


def _note(findings: Findings) -> str:
    """The description of the study in MLflow."""
    found = summary(findings)
    lines = [findings.question, f"**{found.headline}**"]
    for design in found.designs:
        lines.append(f"{design.design}: {design.statement}")
        lines += [" ".join(("-", gain.mark, gain.text, *gain.caveats)) for gain in design.significant]
    if not found.designs:
        lines += list(single_scores(findings))
    lines += [agreement_statement(agreement) for agreement in order_agreements(findings)]
    if findings.collapsed:
        lines.append(f"Collapsed runs: {'; '.join(dict.fromkeys(note.run for note in findings.collapsed))}.")
    if findings.missing:
        lines.append(f"Missing runs affect {len(findings.missing)} gains or baselines; `report.html` lists them.")
    lines.append("The full report is the artifact `report.html`; the runs are nested below this one.")
    return "\n\n".join(lines)
