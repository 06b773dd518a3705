"""A study with the design `sizes`, from the file to the report in MLflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mtl.study.design.study_file import load_study
from mtl.study.report.outcome import write_report
from mtl.study.running.read_back import read_study
from mtl.study.running.session import Session

pytestmark = pytest.mark.usefixtures("trained_once")


def test_gains_at_each_size_are_those_of_runs_on_the_same_rows_and_are_shown_as_curves(
    toy_study: Callable[..., Path], tmp_path: Path
) -> None:
    designs = [{"sizes": {"rows": {"cause": [8, "all"]}}}]
    path = toy_study(tasks=["cause", "drugs"], designs=designs, continued=True, frozen=False)
    session = Session(load_study(path), Path("runs"))
    session.run("one session")
    session.tracker.close()
    findings = session.findings()
    assert findings.missing == ()
    family, further = (findings.family(name) for name in ("sizes", "continued"))
    assert family is not None
    assert further is not None

    def scores(trains: str) -> list[float]:
        specs = [spec for spec in session.plan.run_specs if spec.trains == trains]
        results = [session.ledger.result(spec.key) for spec in specs]
        return [result["test"]["cause"][result["primary"]["cause"]] for result in results if result is not None]

    small, whole = family.gains
    assert (small.partner, whole.partner) == ("drugs at 8 rows", "drugs at all rows")
    assert list(small.treated) == scores("cause + drugs (cause at 8 rows)")
    assert list(small.reference) == scores("cause (cause at 8 rows)")
    assert list(whole.reference) == scores("cause")
    again = {gain.partner: gain for gain in further.gains}
    limited = again["itself before at 8 rows"]
    assert limited.reference == small.reference
    assert list(limited.treated) == scores("cause (cause at 8 rows) then cause (cause at 8 rows) with its heads")
    assert small.beyond is not None
    assert small.beyond.mean == pytest.approx(small.cell.mean - limited.cell.mean)
    assert {(one.partner, one.num_rows): one.cell for one in findings.sizes} == {
        ("drugs", 8): small.cell,
        ("drugs", 26): whole.cell,
        ("", 8): limited.cell,
        ("", 26): again["itself before"].cell,
    }
    assert read_study("toy_study").sizes == findings.sizes
    files = {file.name for file in write_report(findings, tmp_path / "report")}
    assert "sizes.png" in files
    assert 'class="sizes"' in (tmp_path / "report" / "report.html").read_text()
