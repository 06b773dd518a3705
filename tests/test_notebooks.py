"""Every notebook runs from its first cell to its last, and is kept without outputs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))


def read(name: str) -> Any:
    return nbformat.read(FOLDER / name, as_version=4)


def printed(notebook: Any) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in outputs)


def test_all_notebooks_are_seen() -> None:
    assert NOTEBOOKS == [
        "01_quickstart.ipynb",
        "02_pairwise_transfer.ipynb",
        "03_from_a_run_to_a_served_model.ipynb",
        "04_calibration_and_subgroups.ipynb",
        "05_continued_pretraining.ipynb",
    ]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_kept_without_outputs(name: str) -> None:
    cells = [cell for cell in read(name).cells if cell.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


@pytest.fixture
def execute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Runs a notebook in its folder, and gives it with its outputs."""
    from nbclient import NotebookClient

    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MTL_RUN_FOLDER"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    def run(name: str) -> Any:
        notebook = read(name)
        place = {"metadata": {"path": str(FOLDER)}}
        NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=place).execute()
        return notebook

    yield run
    assert not (FOLDER / "runs").exists()
    assert not (FOLDER / "mlflow.db").exists()


def pictures(notebook: Any) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.slow
def test_the_quickstart_runs_and_its_run_learns(execute: Callable[[str], Any]) -> None:
    notebook = execute("01_quickstart.ipynb")
    assert pictures(notebook) == 1
    assert "FINISHED" in printed(notebook)
    curve = re.search(r"\(\[[\d, ]+\],\s+(\[[\d., e-]+\])\)", printed(notebook).replace("\n", " "))
    assert curve is not None
    values = json.loads(curve[1])
    assert len(values) == 4
    assert values[-1] > values[0]


@pytest.mark.slow
def test_the_study_is_trained_read_from_mlflow_and_claims_nothing(execute: Callable[[str], Any]) -> None:
    notebook = execute("02_pairwise_transfer.ipynb")
    text = printed(notebook)
    assert pictures(notebook) == 2
    assert "{'FINISHED': 12}" in text
    assert "No gain is significant" in text
    assert "{'unresolvable'} with 2 seeds: p is at least 0.5" in text
    assert re.search(r" 5 seeds: p at least 0.0625.*: no gain, however large", text)
    assert re.search(r" 6 seeds: p at least 0.0312.*: \d\.\d standard deviations", text)
    (study,) = Path(os.environ["TMPDIR"]).glob("*/runs/studies/notebook_study")
    findings = json.loads((study / "report" / "findings.json").read_text(encoding="utf-8"))
    (pairs,) = findings["families"]
    gains = {(gain["target"], gain["partner"]): sum(gain["differences"]) / 2 for gain in pairs["gains"]}
    assert len(gains) == 6
    (table,) = [_table(output) for cell in notebook.cells for output in cell.get("outputs", []) if _is_matrix(output)]
    shown = {(target, partner): value for partner, column in table.items() for target, value in column.items()}
    assert {pair: shown[pair] for pair in gains} == {
        pair: pytest.approx(100 * gain, abs=0.051) for pair, gain in gains.items()
    }


@pytest.mark.slow
def test_a_run_is_exported_registered_and_served_and_predicts_the_same(execute: Callable[[str], Any]) -> None:
    text = printed(execute("03_from_a_run_to_a_served_model.ipynb"))
    exported, ours = re.findall(r"\[\('.*\)\]", text)
    assert exported == ours
    assert "True\n" in text
    assert "Did you mean 'topics'?" in text
    assert "The server ended with 0" in text
    assert re.search(r"\{'mentions': \[.*, 5\], 'topics': \[4\]\}", text)


@pytest.mark.slow
def test_probabilities_are_calibrated_and_groups_are_scored(execute: Callable[[str], Any]) -> None:
    notebook = execute("04_calibration_and_subgroups.ipynb")
    assert pictures(notebook) == 1
    text = printed(notebook)
    scores = {
        name: float(value) for name, value in re.findall(r"topics +│ wording: (\w+) +│ micro_f1 .*?(0\.\d+) │", text)
    }
    assert scores.keys() == {"hidden", "told"}
    assert scores["told"] > scores["hidden"]
    assert "too few rows" in text  # 6 rows have new names
    assert re.search(r"\{'topics': \d\.\d+, 'adverse_events': \d\.\d+\}", text)
    held, single = (int(number) for number in re.findall(r"sets with .*: (\d+) of 80", text))
    assert held >= 54  # 72 on average; 54 is the 0.01% quantile of the beta-binomial law for 80 rows of dev
    assert single > 0


@pytest.mark.slow
def test_pretraining_is_continued_exported_and_fine_tuned_from(execute: Callable[[str], Any]) -> None:
    notebook = execute("05_continued_pretraining.ipynb")
    assert pictures(notebook) == 1
    text = printed(notebook)
    (curve,) = re.findall(r"^\[([\d., ]+)\]$", text, re.MULTILINE)
    perplexities = [float(value) for value in curve.split(", ")]
    assert len(perplexities) == 5
    assert perplexities[-1] < perplexities[0] / 2
    assert "'model.safetensors'" in text
    assert float(re.findall(r"F1 on dev: ([\d.]+)", text)[0]) > 0


def _is_matrix(output: Any) -> bool:
    return str(output.get("data", {}).get("text/plain", "")).startswith("partner ")


def _table(output: Any) -> dict[str, dict[str, float]]:
    """The matrix as the notebook shows it: by partner, then target."""
    head, _, *lines = output["data"]["text/plain"].splitlines()
    rows = {line.split()[0]: [float(value) for value in line.split()[1:]] for line in lines}
    return {
        partner: {target: values[number] for target, values in rows.items()}
        for number, partner in enumerate(head.split()[1:])
    }
