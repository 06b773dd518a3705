"""`mtl study` as its users type it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mtl.commands import run as run_mtl

pytestmark = pytest.mark.usefixtures("trained_once")


def finite(text: str) -> object:
    """JSON as the standard has it: NaN and Infinity are refused."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_plan_has_runs_time_and_a_warning_if_there_are_too_few_seeds(
    toy_study: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    toy_study(designs=["pairwise", "joint"], controls=["replicate"], seeds=5)
    assert run_mtl(["study", "plan", "study.yaml"]) == 0
    out = capsys.readouterr().out
    assert "pairwise: 6 cells" in out
    assert "50 distinct runs: 0 finished, 50 to train." in out
    assert "5 x cause + drugs + risk" in out
    assert "Estimated time: " in out
    assert "5 seeds can give: 0.0625." in out
    assert "Warning: " in out
    assert "6 seeds or more" in out
    assert not Path("runs/ledger").exists()


def test_a_plan_as_json_has_finished_runs_and_the_smallest_gains(
    toy_study: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    toy_study(designs=["single"], seeds=6, tasks=["cause", "risk"])
    assert run_mtl(["study", "run", "study.yaml", "--json"]) == 0
    found = finite(capsys.readouterr().out)
    assert isinstance(found, dict)
    assert found["families"] == []
    assert run_mtl(["study", "run", "study.yaml"]) == 0
    printed = capsys.readouterr().out
    for task, facts in found["targets"].items():
        assert f"{np.mean(facts['single']):.4f}".replace("-", "−") in printed
        assert task in printed
    assert run_mtl(["study", "plan", "study.yaml", "designs=[pairwise]", "--json", "--no-probe"]) == 0
    plan = finite(capsys.readouterr().out)
    assert isinstance(plan, dict)
    assert (plan["runs"], plan["finished"], plan["to_train"]) == (18, 12, 6)
    assert plan["trains"] == {"cause + risk": 6}
    assert plan["seconds"] > 0
    assert plan["smallest_gains"]["pairwise"]["risk"] > 0
    (warning,) = plan["warnings"]
    assert "8 seeds are recommended" in warning
    powers = list(plan["power"]["pairwise"]["at"].values())
    assert powers == sorted(powers)
    assert powers[0] < 0.8 < powers[-1]
    assert plan["costs"] == {"pairwise": {"runs": 6, "seconds": pytest.approx(plan["seconds"])}}


def test_a_plan_shows_what_the_control_continued_costs_and_how_to_switch_it_off(
    toy_study: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    toy_study(seeds=8, tasks=["cause", "risk"], continued=True)
    assert run_mtl(["study", "plan", "study.yaml"]) == 0
    out = capsys.readouterr().out
    assert "continued: 2 cells, 16 runs to train, " in out
    assert "pairwise: power among 2 gains: " in out
    assert "40 distinct runs: " in out
    assert run_mtl(["study", "plan", "study.yaml", "--json", "--no-probe"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert {design: cost["runs"] for design, cost in plan["costs"].items()} == {
        "single": 16,
        "pairwise": 8,
        "continued": 16,
    }
    assert plan["warnings"] == []
    assert run_mtl(["study", "plan", "study.yaml", "--json", "--no-probe", "continued=false"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == 24


@pytest.mark.slow
def test_run_and_report_write_tables_figures_and_a_page(
    toy_study: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    toy_study(controls=["replicate"])
    assert run_mtl(["study", "run", "study.yaml"]) == 0
    out = capsys.readouterr().out
    assert "unresolvable" in out
    assert "MLflow: mlflow ui" in out
    folder = Path("runs/studies/toy_study/report")
    names = {path.name for path in folder.iterdir()}
    assert {"report.html", "gains.csv", "findings.json", "heat_map_pairwise.png", "heat_map_pairwise.html"} <= names
    assert {"forest_cause.png", "curves_risk.png", "heat_map_replicate.png"} <= names
    lines = (folder / "gains.csv").read_text().splitlines()
    assert len(lines) == 1 + 6 + 3
    assert run_mtl(["study", "report", "toy_study", "--out", "elsewhere"]) == 0
    assert (Path("elsewhere") / "gains.csv").read_text().splitlines() == lines


@pytest.mark.slow
def test_groups_that_pairs_predict_are_trained_and_compared_with_the_prediction(
    toy_study: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    toy_study(max_encoders=2, designs=["pairwise", {"groups": [["risk", "cause"]]}])
    assert run_mtl(["study", "verify", "study.yaml"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("mtl: designs: ")
    assert run_mtl(["study", "run", "study.yaml"]) == 0
    capsys.readouterr()
    assert run_mtl(["study", "verify", "study.yaml", "--json"]) == 0
    verified = json.loads(capsys.readouterr().out)
    grouping, (groups,) = verified["grouping"], [one for one in verified["families"] if one["design"] == "groups"]
    assert {("cause", "risk"), ("risk", "cause")} <= {(gain["target"], gain["partner"]) for gain in groups["gains"]}
    assert len(grouping["groups"]) <= 2
    assert set(grouping["measured"]) == set(grouping["predicted"]) == {"cause", "drugs", "risk"}
    for group in grouping["groups"]:
        if len(group) == 2:  # a pair is its own verification
            assert grouping["measured"][group[0]] == pytest.approx(grouping["predicted"][group[0]])
    assert run_mtl(["study", "run", "study.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["families"] == verified["families"]
    assert run_mtl(["study", "plan", "study.yaml", "--json", "designs=[single]"]) == 0
    assert set(json.loads(capsys.readouterr().out)["designs"]) == {"single"}


def test_too_many_tasks_to_group_are_an_error(
    toy_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mtl.study.statistics.grouping.MAX_TASKS", 2)
    toy_study()
    assert run_mtl(["study", "verify", "study.yaml"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mtl: tasks: ")
    assert "at most 2 tasks, got 3." in error


def test_problems_of_the_study_are_printed_without_a_traceback(
    toy_study: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    toy_study(designs=["pairwse"])
    assert run_mtl(["study", "run", "study.yaml"]) == 2
    assert "There is no design 'pairwse'. Did you mean 'pairwise'?" in capsys.readouterr().err
    assert run_mtl(["study", "plan", "study.yaml", "--no-probe", "bugdet.updates=3", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (set(found), found["ok"]) == ({"ok", "errors"}, False)
    assert [error["key"] for error in found["errors"]] == ["bugdet", "designs"]
    toy_study(tasks=["cause", "cuase", "risk"], designs=["pairwise"])
    assert run_mtl(["study", "plan", "study.yaml"]) == 2
    (problem,) = capsys.readouterr().err.splitlines()
    assert "There is no task 'cuase'" in problem
    toy_study(tasks=["cause", "risk", "cause"])
    assert run_mtl(["study", "plan", "study.yaml"]) == 2
    assert capsys.readouterr().err.startswith("mtl: tasks: ")
    assert run_mtl(["study", "report", "nothing"]) == 2
    assert "has no study 'nothing'" in capsys.readouterr().err
