"""The findings of a study as a self-contained page, as columns for MLflow and as tables for the terminal.

All conclusions come from `conclusions`. Only task names and numbers are shown, and all names are escaped.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mtl.markdown import MISSING
from mtl.study.design.designs import CROSS
from mtl.study.report import conclusions, presentation
from mtl.study.report.arm_table import arm_lines, arm_table, order_agreements
from mtl.study.report.figures import cell_colour, colour_limit, heat_map_legend, study_figures
from mtl.study.report.fold_table import fold_lines, fold_table
from mtl.study.report.presentation import State, family_of, matrix_of, nearer_bound, points, short, span, state
from mtl.study.report.score_matrix import CrossScore, score_matrix
from mtl.study.report.stage_table import COLUMNS as STAGE_COLUMNS
from mtl.study.report.stage_table import stage_lines, stage_table
from mtl.study.statistics.findings import Family, Findings, Gain

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from matplotlib.figure import Figure
    from rich.console import RenderableType
    from rich.table import Table

TERMINAL_ROWS = 20
"""Maximum number of rows of a table in the terminal; the page shows all gains."""


def report_page(findings: Findings, figures: Mapping[str, Figure] | None = None) -> str:
    """The report of a study as one HTML file that needs no network.

    Args:
        findings: Findings of the study.
        figures: Figures by the names of `study_figures`; None draws them. The page shows heat maps as tables and so
            ignores their figures.
    """
    images = list(_images(findings, study_figures(findings) if figures is None else figures))
    changes, partners = list(conclusions.changes(findings)), conclusions.partners(findings)
    controls = [_map_of(findings, f) for f in findings.families if f.is_control]
    return (
        _environment()
        .get_template("page.html")
        .render(
            findings=findings,
            trained_on=list(trained_on(findings)),
            contents=_contents(
                findings, partners=bool(partners), controls=bool(controls), figures=bool(images), change=bool(changes)
            ),
            summary=conclusions.summary(findings),
            partners=partners,
            grouping_limits=conclusions.grouping_limits(findings, findings.grouping) if findings.grouping else [],
            arms=arm_lines(findings),
            agreements=[conclusions.agreement_statement(one) for one in order_agreements(findings)],
            folds=fold_lines(findings),
            stages=stage_lines(findings),
            stage_headings=STAGE_COLUMNS,
            scores=[_Score.of(findings, target) for target in findings.targets],
            designs=[_map_of(findings, f) for f in findings.families if not f.is_control],
            controls=controls,
            images=images,
            changes=changes,
            costs=conclusions.costs(findings),
            level=presentation.level(findings),
            screening_q=conclusions.SCREENING_Q,
        )
    )


def heat_map_page(findings: Findings, design: str) -> str:
    """The interactive heat map of one design or control, as one HTML file that needs no network.

    Args:
        findings: Findings of the study.
        design: Name of a design or control.

    Raises:
        InputError: If the study has no design or control of this name.
    """
    family = family_of(findings, design)
    summary = conclusions.design_summary(findings, family)
    return (
        _environment()
        .get_template("heat_map.html")
        .render(
            findings=findings,
            map=_map_of(findings, family),
            statements=() if family.is_control else (summary.statement, *summary.limits),
            level=presentation.level(findings),
        )
    )


def gains_columns(findings: Findings) -> dict[str, list[Any]]:
    """All gains as columns, for `mlflow.log_table`; the verdict of a control is "control", unknown numbers are None."""
    lines = [_line(findings, family, gain) for family in findings.families for gain in family.gains]
    return {name: [_json_value(line[name]) for line in lines] for name in _COLUMNS}


def gains_text(findings: Findings) -> list[RenderableType]:
    """Text for the terminal: the conclusions, and for each design or control a table of its clearest gains.

    A study without gains shows the single-task scores instead.
    """
    from rich.text import Text

    shown: list[RenderableType] = [Text(conclusions.summary(findings).headline)]
    if not any(family.gains for family in findings.families):
        shown.append(_score_table(findings))
    if findings.folds:
        shown.append(fold_table(findings))
    if findings.stages:
        shown.append(stage_table(findings))
    if findings.arms:
        shown.append(arm_table(findings))
        shown += [Text(conclusions.agreement_statement(one)) for one in order_agreements(findings)]
    for family in findings.families:
        shown.append(_table(findings, family))
        if family.design == CROSS:
            shown.append(_cross_table(findings, family))
        if not family.is_control:
            shown.append(Text(conclusions.design_summary(findings, family).statement))
    if findings.grouping is not None:
        limits = conclusions.grouping_limits(findings, findings.grouping)
        shown.append(Text(" ".join([conclusions.grouping_statement(findings.grouping), *limits])))
    return shown


def trained_on(findings: Findings) -> Iterator[str]:
    """The code and the machines that the runs were trained with, in sentences."""
    for one in findings.trained_on:
        runs = f"{one.num_runs} {'run' if one.num_runs == 1 else 'runs'}"
        if not one.version:
            yield f"{runs}: code and machine were not recorded."
            continue
        changes = " with uncommitted changes" if one.is_changed else ""
        commit = f" at commit {one.commit[:7]}{changes}" if one.commit else ""
        threads = "1 thread" if one.threads == "1" else f"{one.threads} threads"
        yield f"{runs}: trained with biomtl {one.version}{commit}, on {one.device}, {threads}."


def _contents(
    findings: Findings, *, partners: bool, controls: bool, figures: bool, change: bool
) -> list[tuple[str, str]]:
    """Anchors and titles of the sections that are not empty."""
    sections = [
        ("summary", "Summary", True),
        ("matrix", "Which task helps which", True),
        ("conclusions", "Conclusions", True),
        ("setup", "Methods", True),
        ("partners", "Recommended partners", partners),
        ("scores", "Single-task results", True),
        ("folds", "Folds", bool(findings.folds)),
        ("arms", "Arms", bool(findings.arms)),
        ("stages", "Refined and fine-tuned", bool(findings.stages)),
        ("surfaces", "Seen and unseen mentions", bool(findings.surfaces)),
        ("controls", "Controls", controls),
        ("care", "Collapsed and undertrained runs", True),
        ("figures", "Figures", figures),
        ("change", "Relative change", change),
        ("grouping", "Grouping", findings.grouping is not None),
        ("costs", "Cost", bool(findings.costs)),
        ("missing", "Missing runs", True),
        ("deviations", "Deviations", True),
        ("versions", "Versions", True),
        ("glossary", "Glossary", True),
    ]
    return [(anchor, name) for anchor, name, is_shown in sections if is_shown]


# --- heat maps --------------------------------------------------------------------------------------------------------


class _HeatMapCell(NamedTuple):
    """A cell of the interactive heat map; `gain` is None if the pair is not part of the design."""

    identity: str
    gain: Gain | None
    state: str
    mark: str
    colour: str
    label: str


class _HeatMapRow(NamedTuple):
    target: str
    partner_phrase: str | None
    smallest_gain: float | None
    cells: list[_HeatMapCell]


class _HeatMap(NamedTuple):
    family: Family
    matrix: presentation.Matrix
    rows: list[_HeatMapRow]
    legend: str
    explanation: str
    limit: float
    colours: list[str]
    gains: list[tuple[Gain, State, str]]
    scores: list[list[CrossScore | None]]


def _map_of(findings: Findings, family: Family) -> _HeatMap:
    matrix = matrix_of(findings, family)
    limit = colour_limit(findings)
    prefix = f"f{findings.families.index(family)}"
    rows = []
    for i, target in enumerate(matrix.rows):
        gains = [matrix.cells.get((target, column)) for column in matrix.columns]
        cells = [_cell(findings, family, gain, f"{prefix}-{i}-{j}", limit) for j, gain in enumerate(gains)]
        phrase = None
        if matrix.has_one_column and gains[0]:
            phrase = presentation.partner_phrase(family, gains[0].partner)
        rows.append(_HeatMapRow(target, phrase, family.smallest_gains.get(target), cells))
    legend, explanation = heat_map_legend(findings, family), conclusions.CONTROLS.get(family.design, "")
    listed = [(gain, state(gain, family), _holds_zero(gain)) for gain in family.gains]
    colours = [cell_colour(limit * step / 4, limit) for step in range(-4, 5)]  # the scale below the matrix
    scores = score_matrix(findings, family) if family.design == CROSS else []
    return _HeatMap(family, matrix, rows, legend, explanation, limit, colours, listed, scores)


def _holds_zero(gain: Gain) -> str:
    if not presentation.is_known(gain.cell.interval):
        return MISSING
    return "yes" if presentation.holds(gain.cell.interval) else "no"


def _cell(findings: Findings, family: Family, gain: Gain | None, identity: str, limit: float) -> _HeatMapCell:
    if gain is None:
        return _HeatMapCell(identity, None, "absent", "", "", "not part of the design")
    found, words = state(gain, family), f"{gain.target} {presentation.partner_phrase(family, gain.partner)}"
    if found == "missing":
        return _HeatMapCell(identity, gain, found, "", "", f"{words}: missing, no seed has both runs.")
    label = (
        f"{words}: {found}. Mean gain {points(gain.cell.mean)} points of {findings.targets[gain.target].metric},"
        f" {presentation.level(findings)} interval {span(gain.cell.interval)}, {gain.cell.n} seeds."
    )
    if gain.collapsed:
        label += f" Caution: collapsed runs: {'; '.join(gain.collapsed)}."
    colour = cell_colour(nearer_bound(gain.cell.interval), limit)
    return _HeatMapCell(identity, gain, found, presentation.MARKS[found], colour, label)


# --- scores, figures --------------------------------------------------------------------------------------------------


class _Score(NamedTuple):
    """The single-task score of a task, compared with the best trivial predictor."""

    target: str
    n: int
    mean: float
    sd: float
    beats_trivial: str

    @classmethod
    def of(cls, findings: Findings, target: str) -> _Score:
        n, mean, sd = conclusions.mean_and_sd(findings.targets[target].single)
        return cls(target, n, mean, sd, conclusions.beats_trivial(findings, target))


class _Image(NamedTuple):
    kind: str
    target: str
    alternative: str
    source: str


def _images(findings: Findings, figures: Mapping[str, Figure]) -> Iterator[_Image]:
    if findings.sizes:
        text = "Gains against the number of training rows of the target, by target and partner."
        yield _Image("sizes", "", text, _inline(figures["sizes"]))
    for target, facts in findings.targets.items():
        for kind in ("forest", "curves"):
            figure = figures.get(f"{kind}_{target}")
            if figure is None:
                continue
            if kind == "forest":
                text = f"Forest plot of the gains of {target} in {facts.metric}; the numbers are in the tables above."
            else:
                text = f"Learning curves of {target}: {facts.metric} on dev against updates on {target}, by partner."
            yield _Image(kind, target, text, _inline(figure))


def _inline(figure: Figure) -> str:
    from matplotlib import rc_context

    out = io.BytesIO()
    with rc_context({"svg.hashsalt": "mtl"}):  # the same figure gives the same file
        figure.savefig(out, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(out.getvalue()).decode('ascii')}"


# --- columns and terminal ---------------------------------------------------------------------------------------------

_COLUMNS = (
    "design",
    "target",
    "partner",
    "metric",
    "n",
    "mean",
    "sd",
    "low",
    "high",
    "documents_low",
    "documents_high",
    "p",
    "adjusted_p",
    "q",
    "verdict",
    "single_mean",
    "baseline",
    "baseline_score",
    "smallest_gain",
    "beyond_training",
    "beyond_training_low",
    "beyond_training_high",
    "beyond_training_adjusted_p",
    "unit",
    "runs",
    "collapsed_runs",
    "undertrained_runs",
)


def _line(findings: Findings, family: Family, gain: Gain) -> dict[str, Any]:
    cell, facts, documents, beyond = gain.cell, findings.targets[gain.target], gain.documents, gain.beyond
    return {
        "design": family.design,
        "target": gain.target,
        "partner": gain.partner,
        "metric": facts.metric,
        "n": cell.n,
        "mean": cell.mean,
        "sd": cell.sd,
        "low": cell.interval.low,
        "high": cell.interval.high,
        "documents_low": documents.low if documents else None,
        "documents_high": documents.high if documents else None,
        "p": cell.p,
        "adjusted_p": cell.adjusted_p,
        "q": cell.q,
        "verdict": state(gain, family),
        "single_mean": conclusions.mean_and_sd(facts.single)[1],
        "baseline": facts.baseline[0] if facts.baseline else None,
        "baseline_score": facts.baseline[1] if facts.baseline else None,
        "smallest_gain": None if family.is_control else family.smallest_gains.get(gain.target),
        "beyond_training": beyond.mean if beyond else None,
        "beyond_training_low": beyond.interval.low if beyond else None,
        "beyond_training_high": beyond.interval.high if beyond else None,
        "beyond_training_adjusted_p": beyond.adjusted_p if beyond else None,
        "unit": facts.test_unit or None,
        "runs": gain.learning.num_runs,
        "collapsed_runs": len(gain.collapsed),
        "undertrained_runs": len(gain.learning.undertrained),
    }


def _json_value(value: Any) -> Any:
    """The value, or None for NaN and infinity, which JSON does not have."""
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def _score_table(findings: Findings) -> Table:
    from rich.table import Table
    from rich.text import Text

    made = Table("task", "metric", "test score", "SD", "seeds", "trivial predictor", "beaten", title="Single-task runs")
    for column in made.columns[2:5]:
        column.justify = "right"
    for target, facts in findings.targets.items():
        found = _Score.of(findings, target)
        trivial = f"{facts.baseline[0]} {presentation.score(facts.baseline[1])}" if facts.baseline else "–"
        numbers = (presentation.score(found.mean), presentation.score(found.sd), str(found.n))
        made.add_row(Text(short(target)), Text(facts.metric), *numbers, Text(trivial), found.beats_trivial)
    return made


def _table(findings: Findings, family: Family) -> Table:
    from rich.table import Table
    from rich.text import Text

    styles = {"helps": "green", "matched": "yellow", "hurts": "red", "missing": "yellow"}
    title = Text(f"{family.design}{' (control)' if family.is_control else ''}: gain × 100")
    columns = ("target", "partner", "gain", presentation.level(findings), "adj. p", "")
    made = Table(*columns, title=title, title_justify="left")
    for column in made.columns[2:5]:
        column.justify = "right"
    order = {"helps": 0, "matched": 1, "hurts": 2, "missing": 3}
    gains = sorted(family.gains, key=lambda g: order.get(state(g, family), len(order)))
    if len(gains) > TERMINAL_ROWS:
        gains = sorted(gains, key=lambda g: (order.get(state(g, family), len(order)), -abs(g.cell.mean)))
        gains = gains[:TERMINAL_ROWS]
        made.caption = f"{len(family.gains) - TERMINAL_ROWS} more gains in the report"
    for gain in gains:
        found, cell = state(gain, family), gain.cell
        p = MISSING if found == "unresolvable" else presentation.p_value(cell.adjusted_p)
        numbers = (points(cell.mean), span(cell.interval), p)
        caution = f" {presentation.CAUTION} collapsed run" if gain.collapsed else ""
        last = Text(f"{presentation.MARKS[found]} {found}{caution}".strip(), style=styles.get(found, ""))
        made.add_row(Text(short(gain.target)), Text(short(gain.partner)), *numbers, last)
    return made


def _cross_table(findings: Findings, family: Family) -> Table:
    from rich.table import Table
    from rich.text import Text

    rows = score_matrix(findings, family)
    made = Table("test corpus", "metric", title="Test score by training corpus (columns)", title_justify="left")
    for row in rows:
        made.add_column(Text(short(_tested(row).test)), justify="right")
    for row in rows:
        numbers = [MISSING if one is None else presentation.score(one.mean) for one in row]
        made.add_row(Text(short(_tested(row).test)), Text(_tested(row).metric), *numbers)
    return made


def _tested(row: list[CrossScore | None]) -> CrossScore:
    """Any score of a row of the matrix; each has that of the corpus on itself."""
    return next(score for score in row if score is not None)


def _breakable(name: str) -> Markup:
    """An escaped name that may be broken after an underscore."""
    from markupsafe import Markup, escape

    return escape(name).replace("_", Markup("_<wbr>"))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"marks": presentation.MARKS, "caution": presentation.CAUTION, "not_known": MISSING}
    made.filters |= {
        "points": points,
        "span": span,
        "score": presentation.score,
        "p": presentation.p_value,
        "p_statement": presentation.p_statement,
        "duration": conclusions.duration,
        "resolution": presentation.resolution,
        "breakable": _breakable,
        "undertrained": presentation.undertrained,
        "settled": presentation.settled,
        "partner_phrase": lambda gain, family: presentation.partner_phrase(family, gain.partner),
    }
    return made
