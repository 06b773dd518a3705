"""Writes what a study of the planted tasks found beside what is planted.

    python experiments/studies/planted/page.py --out experiments/results

Reads the finished studies `planted` and, where it is there, `planted_wide` (`experiments/studies/planted.yaml` tells
how both are run) from MLflow, and writes planted.md, planted.csv and planted.png.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from make import planted

from mtl.problems import InputError
from mtl.study.report.figures import heat_map
from mtl.study.report.presentation import p_value, points, span
from mtl.study.running.read_back import read_study
from mtl.study.statistics.findings import Findings

NARROW, WIDE = "planted", "planted_wide"
COMMANDS = {
    NARROW: (
        "python experiments/studies/planted/make.py runs/planted",
        "mtl study run experiments/studies/planted.yaml",
    ),
    WIDE: (
        "python experiments/studies/planted/make.py runs/wide --width 16",
        "PLANTED=runs/wide mtl study run experiments/studies/planted.yaml name=planted_wide"
        " seeds={seeds} 'tasks=[treats, causes, departments]'",
    ),
}
FOUND = {"helps": "helps", "hurts": "hurts", "nothing": "undecided"}
"""The verdict that each planted sign should get."""

HEAD = """# Planted relatedness, and what a study finds of it

Four invented tasks of which it is known which can help which, each a question about a made-up name, on an untrained
encoder with one layer. `experiments/studies/planted/make.py` makes both, and tells the mechanism.

- **related**, each helps the other: treats and causes. One map of drugs to classes under other labels, which separate
  heads absorb; each task trains on names that the other's training rows lack, a third of all.
- **competing**, each hurts the other: departments with treats and with causes. An independent map of the same drugs:
  a vector of width 3 is a point on a circle once it is normalised, with room for four arcs and not for four by four.
- **unrelated**, nothing: instruments with any other. Other names, so other vectors.
"""

NOTES = """## What to know

- A run on a circle can end in a local optimum, where two labels share an arc. Of the 120 runs of single tasks one did
  (treats, seed 4), of the 90 pairs with instruments four (seed 3 once, 9 once, 25 twice): this is what the wide
  intervals of the unrelated cells come from, and why they lean to the negative side.
- Updates, learning rate and pooling were chosen in looks at seeds 0 to 7, which are among the thirty. With 150 updates
  (and batches of 128, or a rate of 0.1 for the heads) four or five of 16 single runs ended in a local optimum, and
  instruments then seemed to help departments by 4 to 13 points on eight seeds; with a learning rate of 0.1 three of six
  did, with 128 inner units and 200 updates eight of 16, and all 16 where initial weights were 2.5 times as large, too.
  Reading [CLS] in place of the mean, at a rate of 0.02, the two single runs that were tried stayed at 0.5. At width 4
  departments lost 4 points beside treats on the one seed that was tried, and treats nothing.
- The tasks are not those of `make demo` but single questions about the names of its corpus. Those of `make demo` in an
  encoder without training were not studied: after 200 updates adverse_events, which needs two names at once, was at
  chance.
"""


def lines(findings: Findings) -> list[dict[str, Any]]:
    """The cells with what is planted in them."""
    family = findings.family("pairwise")
    assert family is not None
    signs = planted()
    found = []
    for gain in family.gains:
        sign, cell = signs[gain.target, gain.partner], gain.cell
        line = {"target": gain.target, "partner": gain.partner, "planted": sign, "seeds": cell.n, "gain": cell.mean}
        line |= {"low": cell.interval.low, "high": cell.interval.high, "sd": cell.sd}
        line |= {"adjusted_p": cell.adjusted_p, "verdict": cell.verdict, "recovered": cell.verdict == FOUND[sign]}
        found.append({"study": findings.study, **line})
    return sorted(found, key=lambda line: list(FOUND).index(line["planted"]))


def page(studies: Sequence[Findings], made_by: str) -> str:
    """The results as Markdown.

    Args:
        studies: The narrow encoder's, then the wide one's where it was run.
        made_by: Date, machine and versions.
    """
    parts = [HEAD]
    for findings in studies:
        found = lines(findings)
        claimed = sum(line["recovered"] for line in found if line["planted"] != "nothing")
        signs = sum(line["planted"] != "nothing" for line in found)
        quiet = sum(line["recovered"] for line in found if line["planted"] == "nothing")
        width = "3" if findings.study == NARROW else "16"
        parts.append(
            f"## Width {width}, {len(findings.seeds)} seeds\n\n{claimed} of {signs} planted signs claimed, {quiet} of"
            f" {len(found) - signs} unrelated cells left unclaimed."
            + ("" if findings.study == NARROW else " With room for both maps nothing has to compete.")
            + f"\n\n{_table(findings, found)}\n\n{_alone(findings)}\n"
        )
    parts.append(NOTES)
    commands = [command.format(seeds=len(f.seeds)) for f in studies for command in COMMANDS[f.study]]
    parts.append("\n".join(f"- `{command}`" for command in commands))
    seeds = "; ".join(f"{f.study}: seeds {f.seeds[0]} to {f.seeds[-1]}" for f in studies)
    parts.append(f"- {seeds}; page by `python experiments/studies/planted/page.py --out experiments/results`")
    parts.append(f"- {made_by}\n")
    return "\n".join(parts)


def _table(findings: Findings, found: Sequence[dict[str, Any]]) -> str:
    family = findings.family("pairwise")
    assert family is not None
    cells = {(gain.target, gain.partner): gain.cell for gain in family.gains}
    rows = [
        "| target | partner | planted | gain × 100 | 95% interval | adjusted p | verdict | as planted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for line in found:
        cell = cells[line["target"], line["partner"]]
        shown = [line["target"], line["partner"], line["planted"], points(cell.mean), span(cell.interval)]
        shown += [p_value(cell.adjusted_p), cell.verdict, "yes" if line["recovered"] else "no"]
        rows.append(f"| {' | '.join(shown)} |")
    return "\n".join(rows)


def _alone(findings: Findings) -> str:
    scores = [f"{name} {sum(t.single) / len(t.single):.3f}" for name, t in findings.targets.items()]
    return (
        f"Alone, mean accuracy on test: {', '.join(scores)}. treats and causes can reach 0.75 by themselves: a third of"
        " the names is unknown to them, and a guess is right for a quarter."
    )


def main() -> None:
    """Reads the command line and writes the files."""
    sys.path.append(str(Path(__file__).parents[2] / "bench"))
    from machine import machine, machine_line

    parser = argparse.ArgumentParser(description="Writes the page of the planted study.")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"), help="folder of the page")
    arguments = parser.parse_args()
    studies = [read_study(NARROW)]
    try:
        studies.append(read_study(WIDE))
    except InputError:
        sys.stderr.write(f"The study '{WIDE}' isn't there; the page is written without it.\n")
    (arguments.out / "planted.md").write_text(page(studies, machine_line(machine())), encoding="utf-8")
    found = [line for findings in studies for line in lines(findings)]
    with (arguments.out / "planted.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    heat_map(studies[0], "pairwise").savefig(arguments.out / "planted.png", dpi=150, bbox_inches="tight")


if __name__ == "__main__":
    main()
