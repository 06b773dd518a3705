"""Writes the results of a finished study as a page, a table and heat maps.

    python experiments/studies/page.py biomedical_pairwise --file experiments/studies/biomedical_pairwise.yaml
        --out experiments/results

Reads the study from MLflow. Every sentence on the page is generated from its results; `--notes` adds a file of notes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from mtl.study.report.conclusions import beats_trivial, grouping_limits, grouping_statement, mean_and_sd, summary
from mtl.study.report.figures import heat_map
from mtl.study.report.outcome import write_gains
from mtl.study.report.page import trained_on
from mtl.study.report.presentation import (
    is_compared,
    level,
    p_value,
    points,
    score,
    settled,
    span,
    state,
    undertrained,
)
from mtl.study.running.read_back import read_study
from mtl.study.statistics.findings import Family, Findings

sys.path.insert(0, str(Path(__file__).parent.parent / "bench"))
from machine import machine, machine_line  # in experiments/bench


def main() -> None:
    """Writes NAME.md, NAME.csv and NAME_<design>.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="name of the study in MLflow")
    parser.add_argument("--file", required=True, help="file of the study, for the command on the page")
    parser.add_argument("--notes", type=Path, help="Markdown file with notes to add below the tables")
    parser.add_argument(
        "--out", type=Path, default=Path("experiments/results"), help="folder to write to (default experiments/results)"
    )
    options = parser.parse_args()
    findings = read_study(options.name)
    notes = options.notes.read_text(encoding="utf-8").strip() if options.notes else ""
    text = "\n".join(page(findings, options.file, notes))
    (options.out / f"{options.name}.md").write_text(text, encoding="utf-8")
    write_gains(findings, options.out / f"{options.name}.csv")
    for family in findings.families:
        path = options.out / f"{options.name}_{family.design}.png"
        heat_map(findings, family.design).savefig(path, dpi=120, bbox_inches="tight")


def page(findings: Findings, file: str, notes: str) -> Iterator[str]:
    """The lines of the page."""
    found = summary(findings)
    yield f"# {findings.study}\n\n{findings.question}\n\n**{found.headline}**"
    for family in findings.families:
        if not family.is_control:
            yield from _family(findings, family)
    yield "\n## Conclusions\n"
    for design in found.designs:
        yield f"- **{design.design}**: {design.statement}"
        yield from (f"  - {gain.mark} {gain.text} {' '.join(gain.caveats)}".rstrip() for gain in design.significant)
        yield from (f"  - {limit}" for limit in design.limits)
    if findings.grouping is not None:
        limits = grouping_limits(findings, findings.grouping)
        yield f"- {' '.join([grouping_statement(findings.grouping), *limits])}"
    yield "\nLimitations:\n"
    yield from (f"- {limit}" for limit in found.limits)
    yield "\n## Methods\n"
    yield from (f"- {sentence}" for sentence in findings.setup)
    yield from _single(findings)
    for family in findings.families:
        if family.is_control:
            yield from _family(findings, family)
    yield from _care(findings)
    if notes:
        yield f"\n## Notes\n\n{notes}"
    if findings.missing or findings.deviations:
        yield "\n## Missing runs and deviations\n"
        yield from (f"- {sentence}" for sentence in (*findings.missing, *findings.deviations))
    seconds = sum(cost.seconds for cost in findings.costs)
    yield f"\n- `mtl study run {file}`"
    yield (
        f"- {len(findings.costs)} runs took {seconds / 60:.0f} minutes in total; {findings.outside_share:.1%} of the"
        " time of the commands was spent outside training and evaluation"
    )
    yield from (f"- {sentence}" for sentence in trained_on(findings))
    yield f"- {machine_line(machine())}\n"


def _single(findings: Findings) -> Iterator[str]:
    yield "\n## Single-task results\n"
    yield (
        "| task | metric | mean | SD over seeds | best trivial predictor | beaten | test set | one unit × 100"
        " | undertrained runs | best before the last fifth |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for task, facts in findings.targets.items():
        _, mean, sd = mean_and_sd(facts.single)
        trivial = "–" if facts.baseline is None else f"{facts.baseline[0]} {score(facts.baseline[1])}"
        scores = f"{score(mean)} | {score(sd)} | {trivial} | {beats_trivial(findings, task)}"
        units = f"{facts.num_units} {facts.unit}s | {points(facts.test_unit, signed=False) if facts.test_unit else '–'}"
        learned = f"{undertrained(facts.learning)} | {settled(facts.learning)}"
        yield f"| {task} | {facts.metric} | {scores} | {units} | {learned} |"


def _care(findings: Findings) -> Iterator[str]:
    """The collapsed and the undertrained runs by name."""
    for name, notes in (("Collapsed", findings.collapsed), ("Undertrained", findings.undertrained)):
        if notes:
            yield f"\n## {name} runs\n"
            yield from (f"- {n.run}: {n.target} {score(n.score)} on dev, against {score(n.compared)}" for n in notes)


def _family(findings: Findings, family: Family) -> Iterator[str]:
    yield f"\n## {family.design}\n\n{family.question}\n\n![{family.design}]({findings.study}_{family.design}.png)\n"
    yield (
        f"| target | partner | gain × 100 | {level(findings)} interval over seeds | over seeds and documents | p"
        " | adjusted p | q | minimum detectable gain | more than further training | undertrained runs | verdict |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    for gain in family.gains:
        cell = gain.cell
        documents = "–" if gain.documents is None else span(gain.documents)
        numbers = f"{points(cell.mean)} | {span(cell.interval)} | {documents} | {p_value(cell.p)}"
        numbers += f" | {p_value(cell.adjusted_p)} | {p_value(cell.q)}"
        smallest = None if family.is_control else family.smallest_gains.get(gain.target)
        detectable = "–" if smallest is None else points(smallest, signed=False)
        beyond = gain.beyond if is_compared(gain) else None
        more = "–" if beyond is None else f"{points(beyond.mean)} ({span(beyond.interval)})"
        learned = undertrained(gain.learning) + (f", {len(gain.collapsed)} collapsed" if gain.collapsed else "")
        last = f"{detectable} | {more} | {learned} | {state(gain, family)}"
        yield f"| {gain.target} | {gain.partner} | {numbers} | {last} |"


if __name__ == "__main__":
    main()
