import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quality


def runs(**scores: list[float]) -> list[dict[str, Any]]:
    return [
        {"side": side, "seed": seed, "scores": {"gad": value, "rqe": value + 0.2}}
        for side, values in scores.items()
        for seed, value in enumerate(values)
    ]


@pytest.mark.parametrize(("ours", "no_worse"), [([0.5, 0.6, 0.7], True), ([0.4, 0.4, 0.4], False)])
def test_ours_may_be_worse_by_no_more_than_seeds_differ(ours: list[float], no_worse: bool) -> None:
    found = quality.summary(runs(ours=ours, plain=[0.5, 0.6, 0.7]))
    assert found["means"]["plain"] == pytest.approx([0.6, 0.7, 0.8])
    assert found["noise"] == pytest.approx(0.1)
    (against,) = found["against_plain"].values()
    assert against["difference"] == pytest.approx(np.mean(ours) - 0.6)
    assert against["no_worse"] is no_worse
    assert against["interval"][0] <= against["difference"] <= against["interval"][1]


@pytest.mark.slow
def test_both_sides_train_and_finished_trainings_are_not_repeated(
    tmp_path: Path, tiny_encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MTL_DATA", raising=False)
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    words = ["--seeds", "2", "--updates", "2", "--examples", "20", "--encoder", str(tiny_encoder("bert"))]
    words += ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    quality.main(words)
    content = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert [(run["seed"], run["side"]) for run in content["runs"]] == [
        (seed, side) for seed in (0, 1) for side in quality.SIDES
    ]
    assert all(len(run["scores"]) == 5 for run in content["runs"])
    monkeypatch.delattr(quality, "train")
    quality.main(words)
    assert json.loads((tmp_path / "out" / "quality.json").read_text())["runs"] == content["runs"]
    assert "| 1 | plain |" in (tmp_path / "out" / "quality.md").read_text()
