"""Writes what `mtl calibrate` found about a run as a page with reliability diagrams.

    mtl fit --config experiments/calibration.yaml
    mtl calibrate runs/calibration
    python experiments/bench/calibration_page.py runs/calibration

RUN is the folder of a run, or of the runs of a mixture, of which the newest is taken.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from machine import machine, machine_line

from mtl.calibration.measures import Bin
from mtl.calibration.reliability_figure import reliability_figure
from mtl.calibration.saved import FILE
from mtl.calibration.task_calibration import Reliability

NUMBERS = ("ece", "brier", "nll", "aurc")
COUNTED = {
    "class": "one class of several",
    "label": "each label of each text",
    "span": "predicted spans",
}


def main(arguments: Sequence[str]) -> None:
    """Writes calibration.md and .json, and a figure of each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a calibrated run")
    parser.add_argument("--file", default="experiments/calibration.yaml", help="config of the run, for the page")
    parser.add_argument("--options", default="", help="options of `mtl fit` that the run had, for the page")
    parser.add_argument("--out", type=Path, default=Path("experiments/results"), help="(default experiments/results)")
    options = parser.parse_args(arguments)
    content = read(options.run)
    content["command"] = f"mtl fit --config {options.file} {options.options}".rstrip()
    options.out.mkdir(parents=True, exist_ok=True)
    for task, found in content["tasks"].items():
        states = [reliability(found[state]) for state in ("before", "after")]
        figure = reliability_figure(*states, f"{task}, test")
        figure.savefig(options.out / f"calibration_{task}.png", dpi=100, bbox_inches="tight")
    (options.out / "calibration.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    text = "\n".join(page(content)) + "\n"
    (options.out / "calibration.md").write_text(text, encoding="utf-8")
    print(text)


def read(folder: Path) -> dict[str, Any]:
    """The calibration of a run, with the machine and the seed.

    Raises:
        SystemExit: There is no calibrated run.
    """
    file = max([*folder.glob(FILE), *folder.glob(f"*/{FILE}")], default=None)
    if file is None:
        raise SystemExit(f"{folder} has no {FILE}. Run `mtl calibrate {folder}` first.")
    parameters = json.loads((file.parent / "params.json").read_text(encoding="utf-8"))
    own = {name: value for name, value in parameters.items() if name.startswith(("version.", "machine.", "git."))}
    calibration = json.loads(file.read_text(encoding="utf-8"))
    untested = sorted(task for task, found in calibration["tasks"].items() if found["before"] is None)
    if untested:
        raise SystemExit(f"{file}: these tasks have no test rows, so there is nothing to show: {', '.join(untested)}.")
    seed = json.loads((file.parent / "run.json").read_text(encoding="utf-8")).get("seed")
    return {"machine": {**machine(), **own}, "seed": seed, **calibration}


def reliability(found: Mapping[str, Any]) -> Reliability:
    """The measures of one state, as they were saved."""
    return Reliability(**{**found, "bins": [Bin(**one) for one in found["bins"]]})


def page(content: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the page."""
    yield "# Probabilities before and after calibration"
    yield ""
    yield f"`{content['command']}`, then `mtl calibrate`; seed {content['seed']}; {machine_line(content['machine'])}."
    yield ""
    yield (
        "Temperatures are fitted on dev; all numbers are of test. Below `change` is its 95% interval from resampled"
        " documents. [Calibrated probabilities](../../docs/calibration.md) explains the measures."
    )
    yield ""
    yield "| task | counted | n | temperature | state | ECE | Brier | NLL | AURC |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for task, found in content["tasks"].items():
        before, after = ([f"{found[state][name]:.3f}" for name in NUMBERS] for state in ("before", "after"))
        named = f"| {task} | {COUNTED[found['unit']]} | {found['num_test']} | {found['temperature']:.3f} |"
        yield f"{named} before | {' | '.join(before)} |"
        yield f"| | | | | after | {' | '.join(after)} |"
        change = found["intervals"].get("change")
        if change:
            spans = [f"{low:+.3f} to {high:+.3f}" for low, high in (change[name] for name in NUMBERS)]
            yield f"| | | | | change | {' | '.join(spans)} |"
    sets = [(task, *one) for task, found in content["tasks"].items() for one in found["conformal"].items()]
    if sets:
        yield ""
        yield "Conformal sets: the share of them that contain the gold class, and their mean size."
        yield ""
        yield "| task | stated coverage | on test | classes per set |"
        yield "|---|---|---|---|"
        for task, coverage, check in sets:
            yield f"| {task} | {coverage} | {check['coverage']:.3f} | {check['size']:.2f} |"
    for task in content["tasks"]:
        yield ""
        yield f"![reliability of {task}](calibration_{task}.png)"


if __name__ == "__main__":
    main(sys.argv[1:])
