"""Writes the results of a finished study as a page, a table and heat maps.

    python experiments/studies/page.py biomedical_pairwise --file experiments/studies/biomedical_pairwise.yaml
        --out experiments/results

Reads the study from MLflow; every sentence on the page is made from its numbers, and `--notes` adds a file of others.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from mtl.study.report.conclusions import beaten, mean_and_sd, summary
from mtl.study.report.figures import heat_map
from mtl.study.report.outcome import write_gains
from mtl.study.report.page import trained_on
from mtl.study.report.presentation import level, p_value, points, score, span, state
from mtl.study.running.read_back import read_study
from mtl.study.statistics.findings import Family, Findings

sys.path.insert(0, str(Path(__file__).parent.parent / "bench"))
from machine import machine, machine_line  # beside the benchmark


def main() -> None:
    """Writes NAME.md, NAME.csv and NAME_<design>.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the study in MLflow")
    parser.add_argument("--file", required=True, help="the study's file, for the command on the page")
    parser.add_argument("--notes", type=Path, help="Markdown that follows the tables")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"), help="(default experiments/results)")
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
    yield f"# {findings.study}\n\n{findings.question}\n\n**{found.headline}**\n"
    for design in found.designs:
        yield f"- **{design.design}**: {design.statement}"
        yield from (f"  - {claim.mark} {claim.text} {' '.join(claim.cautions)}".rstrip() for claim in design.claims)
        yield from (f"  - {limit}" for limit in design.limits)
    yield "\nWhat may not be claimed:\n"
    yield from (f"- {limit}" for limit in found.limits)
    yield "\n## How it was done\n"
    yield from (f"- {sentence}" for sentence in findings.setup)
    yield "\n## The tasks by themselves\n"
    yield "| task | metric | alone, mean | SD over seeds | strongest trivial predictor | beaten | test |"
    yield "|---|---|---|---|---|---|---|"
    for task, facts in findings.targets.items():
        _, mean, sd = mean_and_sd(facts.single)
        trivial = "–" if facts.baseline is None else f"{facts.baseline[0]} {score(facts.baseline[1])}"
        units = f"{facts.num_units} {facts.unit}s"
        scores = f"{score(mean)} | {score(sd)} | {trivial} | {beaten(findings, task)}"
        yield f"| {task} | {facts.metric} | {scores} | {units} |"
    for family in findings.families:
        yield from _family(findings, family)
    if notes:
        yield f"\n## Notes\n\n{notes}"
    if findings.missing or findings.deviations:
        yield "\n## Missing, and deviations\n"
        yield from (f"- {sentence}" for sentence in (*findings.missing, *findings.deviations))
    seconds = sum(cost.seconds for cost in findings.costs)
    yield f"\n- `mtl study run {file}`"
    yield (
        f"- {len(findings.costs)} runs, {seconds / 60:.0f} minutes of their own time together; of the commands' time"
        f" {findings.outside_share:.1%} was spent outside training and evaluation"
    )
    yield from (f"- {sentence}" for sentence in trained_on(findings))
    yield f"- {machine_line(machine())}\n"


def _family(findings: Findings, family: Family) -> Iterator[str]:
    yield f"\n## {family.design}\n\n{family.question}\n\n![{family.design}]({findings.study}_{family.design}.png)\n"
    yield (
        f"| target | partner | gain × 100 | {level(findings)} interval | over test documents too | p | adjusted p | q"
        " | can be claimed from | verdict |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for gain in family.gains:
        cell = gain.cell
        documents = "–" if gain.documents is None else span(gain.documents)
        numbers = f"{points(cell.mean)} | {span(cell.interval)} | {documents} | {p_value(cell.p)}"
        numbers += f" | {p_value(cell.adjusted_p)} | {p_value(cell.q)}"
        smallest = None if family.is_control else family.smallest_gains.get(gain.target)
        least = "–" if smallest is None else points(smallest, signed=False)
        yield f"| {gain.target} | {gain.partner} | {numbers} | {least} | {state(gain, family)} |"


if __name__ == "__main__":
    main()
