"""Writes a page that compares the results of the planted studies with the planted effects.

    python experiments/studies/planted/page.py --out experiments/results

Reads the finished study `planted` and, if it exists, `planted_wide` from MLflow and writes planted.md, planted.csv and
planted.png. `experiments/studies/planted.yaml` says how to run both.
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
"""The expected verdict for each planted effect."""

HEAD = """# Planted effects: does a study find them?

Four synthetic tasks, each a question about a made-up name, for which it is known which task can help which. The encoder
is untrained and has one layer. `experiments/studies/planted/make.py` makes both and explains the mechanism.

- **related** (each helps the other): treats and causes. Both map drugs to the same classes under different labels,
  which separate heads absorb. Each task trains on names that are missing from the other's training rows, a third of all
  names.
- **competing** (each hurts the other): departments with treats, and departments with causes. Departments are an
  independent map of the same drugs. A vector of width 3 is a point on a circle after normalisation: the circle has room
  for four arcs, but not for four by four.
- **unrelated** (no effect): instruments with any other task. Instruments have other names, so other vectors.
"""

NOTES = """## Notes

- A run on a circle can end in a local optimum in which two labels share an arc. This happened in one of the 120
  single-task runs (treats, seed 4) and in four of the 90 runs of pairs with instruments (seeds 3 and 9 once
  each, seed 25 twice). It explains the wide intervals of the unrelated pairs, and why they lean to the negative side.
- The number of updates, the learning rate and the pooling were chosen on seeds 0 to 7, which are among the thirty.
  With 150 updates (and batches of 128, or a learning rate of 0.1 for the heads), four or five of 16 single-task runs
  ended in a local optimum, and instruments then seemed to help departments by 4 to 13 points on eight seeds. With a
  learning rate of 0.1, three of six runs did; with 128 inner units and 200 updates, eight of 16; and with initial
  weights 2.5 times as large as well, all 16. With [CLS] pooling instead of the mean, at a learning rate of 0.02,
  the two single-task runs that were tried stayed at 0.5. At width 4, on the one seed that was tried, departments lost
  4 points with treats, and treats lost nothing.
- The tasks are not those of `make demo`, but single questions about the names of its corpus. The tasks of `make demo`
  were not studied with an untrained encoder: after 200 updates adverse_events, which needs two names at once, was at
  chance.
"""


def lines(findings: Findings) -> list[dict[str, Any]]:
    """The gains with their planted effects, one row for each."""
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
        studies: Findings with the narrow encoder, then with the wide one if that study was run.
        made_by: Line with date, machine and versions.
    """
    parts = [HEAD]
    for findings in studies:
        found = lines(findings)
        significant = sum(line["recovered"] for line in found if line["planted"] != "nothing")
        effects = sum(line["planted"] != "nothing" for line in found)
        not_significant = sum(line["recovered"] for line in found if line["planted"] == "nothing")
        width = "3" if findings.study == NARROW else "16"
        parts.append(
            f"## Width {width}, {len(findings.seeds)} seeds\n\n{significant} of {effects} planted effects are"
            f" significant and have the planted sign; {not_significant} of {len(found) - effects} unrelated pairs are"
            " not significant."
            + ("" if findings.study == NARROW else " There is room for both maps, so no tasks compete.")
            + f"\n\n{_table(findings, found)}\n\n{_single(findings)}\n"
        )
    parts.append(NOTES)
    commands = [command.format(seeds=len(f.seeds)) for f in studies for command in COMMANDS[f.study]]
    parts.append("\n".join(f"- `{command}`" for command in commands))
    seeds = "; ".join(f"{f.study}: seeds {f.seeds[0]} to {f.seeds[-1]}" for f in studies)
    parts.append(f"- {seeds}; page made by `python experiments/studies/planted/page.py --out experiments/results`")
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


def _single(findings: Findings) -> str:
    scores = [f"{name} {sum(t.single) / len(t.single):.3f}" for name, t in findings.targets.items()]
    return (
        f"Mean test accuracy of the single-task runs: {', '.join(scores)}. Alone, treats and causes can reach 0.75: a"
        " third of the names are not in their training rows, and a guess is right for a quarter of these."
    )


def main() -> None:
    """Reads the command line and writes the files."""
    sys.path.append(str(Path(__file__).parents[2] / "bench"))
    from machine import machine, machine_line

    parser = argparse.ArgumentParser(description="Writes the page of the planted studies.")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"), help="folder to write to")
    arguments = parser.parse_args()
    studies = [read_study(NARROW)]
    try:
        studies.append(read_study(WIDE))
    except InputError:
        sys.stderr.write(f"The study '{WIDE}' was not found; the page is written without it.\n")
    (arguments.out / "planted.md").write_text(page(studies, machine_line(machine())), encoding="utf-8")
    found = [line for findings in studies for line in lines(findings)]
    with (arguments.out / "planted.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    heat_map(studies[0], "pairwise").savefig(arguments.out / "planted.png", dpi=150, bbox_inches="tight")


if __name__ == "__main__":
    main()
