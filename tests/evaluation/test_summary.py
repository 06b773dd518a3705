import io
import math
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from heads import ClassReport
from mtl.evaluation.intervals import ScoreInterval
from mtl.evaluation.summary import (
    Baseline,
    ResultLine,
    confusion_figure,
    per_class_table,
    result_table,
    strongest_baseline,
)


def shown(results: list[ResultLine]) -> list[list[str]]:
    """The cells of the table in a terminal of 100 columns."""
    out = io.StringIO()
    Console(file=out, width=100).print(result_table(results))
    return [
        [cell.strip() for cell in line.strip("│┃ ").split("│")] for line in out.getvalue().splitlines() if "│" in line
    ]


def report(num_classes: int = 2) -> ClassReport:
    names = tuple(f"class {i}" for i in range(num_classes))
    confusion = [[10 * (i == j) + (i + 1 == j) for j in range(num_classes)] for i in range(num_classes)]
    return ClassReport({name: {"f1": 0.5} for name in names}, names, confusion)


def test_an_undertrained_task_is_marked_in_the_table() -> None:
    lines = [ResultLine("gad", "f1", dev=0.5, is_undertrained=True), ResultLine("rqe", "f1", dev=0.5)]
    assert [cells[0] for cells in shown(lines)] == ["gad *", "rqe"]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_row_shows_task_metric_scores_and_whether_the_baseline_is_beaten() -> None:
    rows = shown(
        [
            ResultLine("gad", "f1", 0.81234, 0.79996, Baseline("majority", 0.5)),
            ResultLine("rqe", "accuracy", 0.9, 0.4, Baseline("tfidf", 0.5)),
        ]
    )
    assert rows == [
        ["gad", "f1", "0.812", "0.800", "majority 0.500"],
        ["rqe", "accuracy", "0.900", "0.400", "not tfidf 0.500"],
    ]


def test_an_interval_stands_beside_the_test_score_or_else_the_dev_score() -> None:
    interval = ScoreInterval(0.75, 0.846, "bootstrap")
    rows = shown([ResultLine("a", "f1", 0.9, 0.8, None, interval), ResultLine("b", "f1", 0.8, interval=interval)])
    assert [row[2:4] for row in rows] == [["0.900", "0.800 [0.75, 0.85]"], ["0.800 [0.75, 0.85]", "–"]]


def test_a_missing_score_is_a_dash_and_beats_nothing() -> None:
    assert shown([ResultLine("gad", "f1"), ResultLine("rqe", "f1", baseline=Baseline("majority", 0.25))]) == [
        ["gad", "f1", "–", "–", "–"],
        ["rqe", "f1", "–", "–", "(majority 0.250)"],
    ]


def test_a_name_that_looks_like_markup_is_shown_unchanged() -> None:
    assert shown([ResultLine("gad", "f1", 0.5, 0.5, Baseline("[bold]x", 0.1))])[0][-1] == "[bold]x 0.100"


def test_an_equal_or_undefined_score_does_not_beat_the_baseline() -> None:
    baseline = Baseline("majority", 0.5)
    assert ResultLine("gad", "f1", 0.9, 0.5, baseline).is_beaten is False
    assert ResultLine("gad", "f1", 0.9, math.nan, baseline).is_beaten is False


def test_without_a_test_score_the_dev_score_is_compared() -> None:
    assert ResultLine("gad", "f1", 0.6, None, Baseline("majority", 0.5)).is_beaten is True


def test_the_strongest_baseline_is_the_best_by_the_primary_metric() -> None:
    scores = {
        "broken": {"f1": math.nan, "accuracy": 1.0},
        "majority": {"f1": 0.0, "accuracy": 0.9},
        "tfidf": {"f1": 0.4, "accuracy": 0.7},
        "lexicon": {"f1": 0.4},
    }
    assert strongest_baseline(scores, "f1") == Baseline("tfidf", 0.4)
    assert strongest_baseline(scores, "pearson") is None
    assert strongest_baseline({}, "f1") is None


def test_the_columns_of_the_per_class_table_have_the_same_length() -> None:
    example = ClassReport({"a": {"precision": 0.5, "f1": 0.4}, "b": {"f1": 0.3, "support": 7.0}}, ("a", "b"), None)
    assert per_class_table(example) == {
        "class": ["a", "b"],
        "precision": [0.5, None],
        "f1": [0.4, 0.3],
        "support": [None, 7.0],
    }


def test_every_count_is_in_the_row_of_its_gold_class_and_the_column_of_its_prediction() -> None:
    example = ClassReport({}, ("no", "yes"), [[7, 2], [0, 5]])
    figure = confusion_figure(example, "gad, dev")
    axes = figure.axes[0]
    cells = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "7", (0, 1): "2", (1, 0): "0", (1, 1): "5"}
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("gad, dev", "predicted", "gold")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["no", "yes"]


def test_colours_are_shares_of_the_gold_class_and_the_row_of_an_absent_class_is_blank() -> None:
    example = ClassReport({}, ("a", "b", "c"), [[3, 1, 0], [0, 0, 0], [2, 0, 2]])
    image = confusion_figure(example, "").axes[0].images[0]
    assert image.get_array().tolist() == [[0.75, 0.25, 0.0], [0.0, 0.0, 0.0], [0.5, 0.0, 0.5]]
    assert image.get_clim() == (0.0, 1.0)


@pytest.mark.parametrize("num_classes", [1, 20])
def test_counts_in_neighbouring_cells_do_not_overlap(tmp_path: Path, num_classes: int) -> None:
    figure = confusion_figure(report(num_classes), "t")
    figure.savefig(tmp_path / "picture.png")
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == num_classes**2
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_a_class_name_with_dollar_signs_is_not_a_formula(tmp_path: Path) -> None:
    figure = confusion_figure(ClassReport({}, ("@A$ x_1 @B$", "$\\bad$"), [[1, 0], [0, 1]]), "$\\task$")
    figure.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 0
