"""The quality benchmark: its summary by hand, and real trainings of both sides with a tiny encoder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quality
import torch
from scipy import stats


def runs(task: str = "rqe", rate: float = 1e-4, **scores: list[float]) -> list[dict[str, Any]]:
    recipe = {"task": task, "learning_rate": rate, "updates": 9}
    return [
        {**recipe, "side": side, "seed": seed, "score": value}
        for side, values in scores.items()
        for seed, value in enumerate(values)
    ]


def test_differences_are_paired_by_seed_for_each_task_and_for_their_mean() -> None:
    first = runs(ours=[0.5, 0.6, 0.7], plain=[0.5, 0.7, 0.6])
    second = runs("ner", ours=[0.1, 0.3, 0.8], plain=[0.2, 0.3, 0.6])
    one, two, mean = quality.summary([*first, *reversed(second)])
    differences = np.array([[0.0, -0.1, 0.1], [-0.1, 0.0, 0.2]])
    for cell, expected in ((one, differences[1]), (two, differences[0]), (mean, differences.mean(0))):
        assert cell["difference"] == pytest.approx(expected.mean())
        low, high = stats.ttest_1samp(expected, 0).confidence_interval(0.95)
        assert cell["interval"] == pytest.approx([low, high])
        assert cell["half_width"] == pytest.approx((high - low) / 2)
    assert [cell["task"] for cell in (one, two, mean)] == ["ner", "rqe", "mean"]


def test_seeds_count_that_both_sides_have_in_every_cell() -> None:
    first = runs(ours=[0.5, 0.6, 0.7], ours_bf16=[0.4, 0.5], plain=[0.5, 0.7, 0.6])
    second = runs("ner", ours=[0.1, 0.3, 0.8], ours_bf16=[0.1, 0.2, 0.3], plain=[0.2, 0.3, 0.6])
    found = quality.summary([*second, *first])
    assert {cell["side"]: cell["seeds"] for cell in found} == {"ours": 3, "ours_bf16": 2}
    bf16 = {cell["task"]: cell["difference"] for cell in found if cell["side"] == "ours_bf16"}
    assert bf16 == {name: pytest.approx(value) for name, value in (("ner", -0.1), ("rqe", -0.15), ("mean", -0.125))}


@pytest.mark.parametrize(("loss", "holds"), [(0.004, True), (0.012, False)])
def test_a_side_may_lose_less_than_the_margin(loss: float, holds: bool) -> None:
    plain = [0.5, 0.6, 0.7, 0.8]
    cell, _ = quality.summary(runs(ours=[score - loss for score in plain], plain=plain))
    assert cell["no_worse"] is holds


def test_collapses_are_counted_on_both_sides() -> None:
    cell, mean = quality.summary(runs(ours=[0.0, 0.6, 0.1, 0.7], plain=[0.6, 0.7, 0.2, 0.6]))
    assert cell["collapses"] == mean["collapses"] == {"ours": 2, "plain": 1}


@pytest.mark.slow
@pytest.mark.soak
def test_both_sides_train_and_finished_trainings_are_not_repeated(
    tmp_path: Path, training_options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "RECIPES", ((1e-3, 2),))
    words = ["--seeds", "2", "--most", "2", "--examples", "20", *training_options]
    quality.main(words)
    content = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert {(run["seed"], run["task"], run["side"]) for run in content["runs"]} == {
        (seed, task, side) for seed in (0, 1) for task in ("mentions", "topics") for side in ("ours", "plain")
    }
    assert len(content["runs"]) == 8
    assert [cell["seeds"] for cell in content["summary"]] == [2, 2, 2]
    monkeypatch.delattr(quality, "train")
    quality.main(words)
    assert json.loads((tmp_path / "out" / "quality.json").read_text())["runs"] == content["runs"]
    assert "| mentions | 0.001 | 1 | plain |" in (tmp_path / "out" / "quality.md").read_text()


def test_without_dropout_both_sides_take_the_same_first_step(
    tmp_path: Path, tiny_encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one batch that holds all examples, a plain update and ours move the weights alike."""
    monkeypatch.delenv("MTL_DATA", raising=False)
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    built = quality.built
    setting = quality.Setting("synthetic", 12, encoder=str(tiny_encoder("bert")))
    mixture = quality.prepare(setting, tmp_path / "work", dev_rows=2)
    for task in quality.TASKS["synthetic"]:
        entry = {"task": task, "seed": 0, "batch": 4000, "learning_rate": 1e-3, "updates": 1}
        off = ["encoder.dropout=0", f"tasks.{task}.options.dropout=0"]
        with monkeypatch.context() as patch:
            patch.setattr(quality, "built", lambda file, entry, *more, off=off: built(file, entry, *more, *off))
            (first, _), (second, _) = quality.ours(mixture, entry, "32-true"), quality.plain(mixture, entry)
        ours, plain = first.state_dict(), second.state_dict()
        assert set(ours) == set(plain)
        for name, value in ours.items():
            if not name.endswith("key.bias"):  # its gradient is rounding noise, which AdamW scales up
                torch.testing.assert_close(value, plain[name], rtol=1e-4, atol=1e-5, msg=name)
