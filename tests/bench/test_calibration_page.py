"""The page of a calibrated run, from a folder as `mtl calibrate` leaves it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import calibration_page
import pytest
import torch

from heads import Decisions
from mtl.calibration.task_calibration import TaskCalibration, calibrated


def decisions(num: int, seed: int) -> Decisions:
    """Overconfident decisions between three classes."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num, 3, generator=generator)
    gold = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
    probabilities = (logits * 3).softmax(-1)
    return Decisions(probabilities, gold, probabilities.argmax(-1))


@pytest.fixture
def found() -> TaskCalibration:
    return calibrated(decisions(200, 0), 200, decisions(200, 1))


def folder(path: Path, found: TaskCalibration) -> Path:
    run = path / "20260101-000000"
    run.mkdir(parents=True)
    (run / "params.json").write_text(json.dumps({"version.biomtl": "0.9", "encoder.name": "x"}))
    (run / "run.json").write_text(json.dumps({"seed": 7}))
    (run / "calibration.json").write_text(json.dumps({"checkpoint": "b.ckpt", "tasks": {"qa": found.to_dict()}}))
    return path


def test_the_page_has_the_numbers_of_the_run(tmp_path: Path, found: TaskCalibration) -> None:
    out = tmp_path / "out"
    calibration_page.main([str(folder(tmp_path / "run", found)), "--out", str(out)])
    page = (out / "calibration.md").read_text()
    assert found.before is not None
    assert found.after is not None
    assert found.after.ece < found.before.ece  # otherwise the fixture would show nothing
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    before, after = rows[1], rows[2]
    assert before[:5] == ["qa", "one class of several", "200", f"{found.temperature:.3f}", "before"]
    for row, state in ((before, found.before), (after, found.after)):
        assert row[5:] == [f"{value:.3f}" for value in state.numbers().values()]
    assert [row[1] for row in rows if row[0] == "qa"][1:] == list(found.conformal)
    assert "seed 7" in page
    assert "biomtl 0.9" in page
    assert "encoder" not in page.split("\n\n")[1]
    assert (out / "calibration_qa.png").stat().st_size > 5_000
    assert json.loads((out / "calibration.json").read_text())["tasks"]["qa"] == json.loads(json.dumps(found.to_dict()))


def test_a_run_without_calibration_or_test_rows_is_refused(tmp_path: Path, found: TaskCalibration) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="mtl calibrate"):
        calibration_page.main([str(tmp_path / "empty"), "--out", str(tmp_path)])
    untested = folder(tmp_path / "untested", replace(found, before=None, after=None))
    with pytest.raises(SystemExit, match=r"no test rows.*qa"):
        calibration_page.main([str(untested), "--out", str(tmp_path)])
