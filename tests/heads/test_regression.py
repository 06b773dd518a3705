"""A number for a text or a pair."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import mean_squared_error
from torch import Tensor

from heads import TextRow
from heads.regression import Regression, pearson, ranks
from tests.heads import properties as has

TEXTS = [
    ("aspirin reduces fever .", "aspirin reduces fever", 4.0),
    ("warfarin increases the risk of bleeding in patients", "nausea", 0.0),
    ("cox-2", "the gene induces a protein .", 0.5),
    ("the patient was not with nausea", "nausea ?", 2.0),
    ("ibuprofen inhibits cox-1 , cox-2 and cox-3", "cox-2 inhibits", 2.5),
    ("headache after treatment", "headache caused by treatment", 3.0),
    ("disease of the cell", "cell disease", 3.5),
    ("a patient", "the patients", 3.75),
]
ROWS = [TextRow(str(i), str(i), text, pair, label) for i, (text, pair, label) in enumerate(TEXTS)]
SINGLES = [TextRow(str(i), str(i), text, label=label) for i, (text, _, label) in enumerate(TEXTS)]
UNLABELLED = [TextRow("u", "u", "aspirin", "fever"), TextRow("v", "v", "a drug", "fever")]

vectors = st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), max_size=20)


def make(range: tuple[float, float] = (0, 4), **options: Any) -> Regression:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Regression((), has.HIDDEN, range=range, **options)


def gold_logits(fields: dict[str, Tensor], low: float = 0, high: float = 4) -> Tensor:
    return (fields["label"][:, None] - low) / (high - low)


APART: dict[str, Any] = {"pair": "apart", "pooling": "mean"}
LONG: dict[str, Any] = {"long": "windows", "window_pooling": "attention", "stride": 2, "pooling": "mean"}
WIDE = {"range": (-1, 5), "hidden_layer": 12, "pooling": "mean", "primary_metric": "spearman"}
CASES = {
    f"{name}-{kind}": has.Case(make, rows, UNLABELLED, logits, options)
    for name, options, logits in (("plain", {}, gold_logits), ("options", WIDE, partial(gold_logits, low=-1, high=5)))
    for kind, rows in (("pairs", ROWS), ("singles", SINGLES))
}
LONG_ROWS = [*ROWS, TextRow("l", "l", "fever", has.LONG_TEXT, 1.0)]
CASES |= {
    "apart": has.Case(make, ROWS, UNLABELLED, gold_logits, APART),
    "windows": has.Case(make, LONG_ROWS, UNLABELLED, gold_logits, LONG),
    "apart-windows": has.Case(make, LONG_ROWS, UNLABELLED, gold_logits, APART | LONG),
}

test_property_of_every_head = has.shared_test(CASES)


def test_mse_is_the_metric_for_which_lower_is_better() -> None:
    assert make().lower_is_better == {"loss", "mse"}


def test_it_overfits_a_few_rows(tokenizer: Any, tiny_encoder: Callable[[str], Path]) -> None:
    has.assert_overfits(make(), ROWS, tokenizer, tiny_encoder("bert"), num_steps=120)


def test_texts_apart_start_from_the_cosine_of_their_vectors_in_the_range_of_the_labels(tokenizer: Any) -> None:
    head = make((-1, 5), **APART)
    assert not list(head.parameters())
    examples = has.encode(head, ROWS, tokenizer)
    states = has.random_states(examples)
    means = [own[:length].mean(0) for own, length in zip(states, has.lengths_of(examples), strict=True)]
    found = [float(output) for output in has.outputs(head, examples, states)]
    cosines = [float(u @ v / (u.norm() * v.norm())) for u, v in zip(means[::2], means[1::2], strict=True)]
    assert found == pytest.approx([-1 + 6 * cosine for cosine in cosines], abs=1e-5)


def test_texts_apart_have_no_hidden_layer() -> None:
    with pytest.raises(ValueError, match="hidden_layer"):
        make(pair="apart", hidden_layer=8)


@pytest.mark.parametrize(
    ("options", "num_rows", "num_pairs", "expected"),
    [({}, 64, 64, 1), ({}, 64, 63, 0), ({}, 1000, 1000, 0), (APART, 64, 64, 0)],
)
def test_few_pairs_are_recommended_to_be_read_apart(
    options: dict[str, Any], num_rows: int, num_pairs: int, expected: int
) -> None:
    advice = make(**options).advice(num_rows, num_pairs)
    assert len(advice) == expected
    assert all("apart" in note for note in advice)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_loss_is_the_squared_error_with_the_range_mapped_to_0_to_1(scale: float) -> None:
    fields = {"label": torch.tensor([1.0, 3.0, 0.0]) * scale, "labelled": torch.tensor([True, True, False])}
    total, count = make((0, 4 * scale)).loss(torch.tensor([[0.5], [0.25], [9.0]]), fields)
    assert float(total) == pytest.approx(0.25**2 + 0.5**2)
    assert int(count) == 2


def test_predictions_are_in_the_units_of_the_labels_and_not_clipped() -> None:
    head = make((-1, 5))
    outputs = head.outputs(torch.tensor([[0.0], [0.5], [1.5]]), torch.ones(3, 1).bool(), {})
    assert [head.decode(ROWS[0], [{}], [output]) for output in outputs] == [{"value": v} for v in (-1.0, 2.0, 8.0)]


def test_counts_keep_prediction_and_gold_in_full_precision() -> None:
    counts = make().counts({"value": 0.1}, TextRow("1", "1", "a", label=0.3))
    assert counts.tolist() == [[0.1, 0.3]]


# --- scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("decimals", [6, 0], ids=["few ties", "many ties"])
def test_scores_equal_scipy(seed: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    gold = rng.uniform(0, 4, 40).round(decimals)
    predicted = (gold + rng.normal(size=40)).round(decimals)
    scores = make().score(torch.tensor(np.stack([predicted, gold], axis=1)))
    assert scores == pytest.approx(
        {
            "pearson": stats.pearsonr(predicted, gold).statistic,
            "spearman": stats.spearmanr(predicted, gold).statistic,
            "mse": np.mean((predicted - gold) ** 2),
        },
        abs=1e-12,
    )


def test_scores_of_a_large_corpus_with_many_equal_labels_equal_scipy() -> None:
    # The int32 ranks of torchmetrics 1.9 overflow from 65,536 equal values.
    rng = np.random.default_rng(0)
    gold = np.where(rng.random(100_000) < 0.7, 0.0, rng.uniform(0, 4, 100_000))
    predicted = gold + rng.normal(size=100_000)
    scores = make().score(torch.tensor(np.stack([predicted, gold], axis=1)))
    assert scores["pearson"] == pytest.approx(stats.pearsonr(predicted, gold).statistic, rel=1e-12)
    assert scores["spearman"] == pytest.approx(stats.spearmanr(predicted, gold).statistic, rel=1e-12)
    assert scores["mse"] == pytest.approx(mean_squared_error(gold, predicted), rel=1e-12)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_ranks_equal_scipy(values: list[float]) -> None:
    assert ranks(torch.tensor(values, dtype=torch.double)).tolist() == stats.rankdata(values).tolist()


@given(vectors)
def test_no_score_is_nan_and_correlations_are_between_minus_1_and_1(pairs: list[tuple[float, float]]) -> None:
    scores = make().score(torch.tensor(pairs, dtype=torch.double).reshape(-1, 2))
    assert -1 <= scores["pearson"] <= 1
    assert -1 <= scores["spearman"] <= 1
    assert scores["mse"] >= 0


@pytest.mark.parametrize("constant", [0.1, 0.0, 1e30])
def test_the_correlation_of_a_constant_is_0(constant: float) -> None:
    varying, same = torch.linspace(0, 4, 7).double(), torch.full((7,), constant, dtype=torch.double)
    for columns in ([same, varying], [varying, same], [same, same]):
        scores = make().score(torch.stack(columns, dim=1))
        assert (scores["pearson"], scores["spearman"]) == (0.0, 0.0)


@pytest.mark.parametrize("unit", [1e-200, 1.0, 1e200])
def test_the_correlation_does_not_depend_on_the_unit(unit: float) -> None:
    one, other = torch.tensor([1.0, 2.0, 4.0]).double(), torch.tensor([1.0, 3.0, 2.0]).double()
    assert pearson(one * unit, other) == pytest.approx(stats.pearsonr(one, other).statistic)


def test_one_row_has_no_correlation() -> None:
    assert make().score(torch.tensor([[1.0, 3.0]])) == {"pearson": 0.0, "spearman": 0.0, "mse": 4.0}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_prediction_that_is_not_finite_gives_the_worst_scores_and_not_nan(value: float) -> None:
    counts = torch.tensor([[value, 1.0], [1.0, 2.0], [2.0, 3.0]])
    assert make().score(counts) == {"pearson": 0.0, "spearman": 0.0, "mse": math.inf}


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
@given(corpora=st.one_of(has.corpora(2, unit) for unit in (1.0, 0.1, 1e-200, 1e200)))
@settings(max_examples=60, deadline=None)
def test_many_corpora_score_like_each_alone(metric: str, corpora: has.Corpora) -> None:
    has.assert_many_corpora_score_like_each_alone(make(primary_metric=metric), corpora)


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_only_corpora_with_a_prediction_that_is_not_finite_score_0(metric: str, value: float) -> None:
    counts = torch.tensor([[0.5, 1.0], [1.0, 2.5], [value, 2.0], [3.0, 2.0]], dtype=torch.double)
    corpora = counts, torch.tensor([[1, 1, 1, 1], [1, 2, 0, 1]])
    head = make(primary_metric=metric)
    has.assert_many_corpora_score_like_each_alone(head, corpora)
    assert (head.primary_scores(*corpora) != 0).tolist() == [False, True]


def test_a_regression_has_no_classes_to_report() -> None:
    assert make().report(torch.tensor([[1.0, 2.0]])) == ({}, (), None)
    assert make().label_counts(ROWS[0]) == {}


# --- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "got"),
    [
        (4.01, ["4.01"]),
        (-1e-9, ["-1e-09"]),
        (math.nan, ["nan"]),
        (math.inf, ["inf"]),
        ("5", ["number 5"]),
        ("high", ["'high'"]),
        ("a text of a patient", ["text", "19"]),
        (("1",), ["list", "1"]),
    ],
)
def test_a_label_outside_the_range_is_reported(label: Any, got: list[str]) -> None:
    problem = make().check(TextRow("1", "1", "a", label=label))
    assert problem is not None
    assert all(part in problem for part in ["from 0 to 4", *got])
    assert "patient" not in problem


def test_the_limits_of_the_range_and_missing_labels_are_no_problem() -> None:
    labels: list[Any] = [0.0, 4, "2.5", None]
    assert {make().check(TextRow("1", "1", "a", label=label)) for label in labels} == {None}


def test_a_label_may_be_a_number_as_text(tokenizer: Any) -> None:
    head, row = make(), TextRow("1", "1", "a", label="2.5")
    assert has.encode(head, [row], tokenizer)[0]["label"] == 2.5
    assert head.counts({"value": 1.0}, row).tolist() == [[1.0, 2.5]]


@pytest.mark.parametrize("range", [(4, 0), (1, 1), (0, math.inf), (math.nan, 1)])
def test_the_range_must_be_finite_and_ascending(range: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=re.escape(str(list(range)))):
        make(range)


def test_labels_must_be_empty() -> None:
    with pytest.raises(ValueError, match=r"labels.*got 2"):
        Regression(["low", "high"], has.HIDDEN, range=(0, 1))


# --- baselines --------------------------------------------------------------------------------------------------------


def test_the_mse_of_the_mean_baseline_is_the_variance_and_its_correlation_is_0() -> None:
    predictions = make().baselines(ROWS)["mean"](ROWS)
    gold = [row.label for row in ROWS]
    assert predictions == [{"value": np.mean(gold)}] * 8
    assert has.score(make(), predictions, ROWS) == {
        "pearson": 0.0,
        "spearman": 0.0,
        "mse": pytest.approx(np.var(gold)),
    }


def test_the_cosine_baseline_finds_planted_similarity() -> None:
    words = ["fever", "nausea", "cancer", "gene", "cell"]
    rows = [
        TextRow(str(i), "d", " ".join(words), " ".join([*words[:i], *["drug"] * (5 - i)]), float(i)) for i in range(6)
    ]
    baselines = make((0, 5)).baselines(rows)
    assert has.score(make((0, 5)), baselines["cosine"](rows), rows)["pearson"] > 0.9
    assert baselines["cosine"]([TextRow("x", "d", "gene cell", "gene cell")])[0]["value"] > 4


def test_the_ridge_baseline_finds_a_planted_word_and_single_texts_have_no_cosine() -> None:
    rows = [TextRow(str(i), "d", "high fever" if i % 2 else "low fever", label=4.0 * (i % 2)) for i in range(10)]
    baselines = make().baselines(rows)
    assert set(baselines) == {"mean", "tfidf"}
    high, low = baselines["tfidf"]([TextRow("x", "d", "high risk"), TextRow("y", "d", "low risk")])
    assert high["value"] > 2.5
    assert low["value"] < 1.5


def test_without_labelled_rows_there_are_no_baselines() -> None:
    assert make().baselines(UNLABELLED) == {}


def test_pooling_takes_the_first_token_or_the_mean_over_tokens_without_padding() -> None:
    states = torch.randn(2, 5, has.HIDDEN)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
    for pooling, vectors in (("cls", states[:, 0]), ("mean", [states[0, :3].mean(0), states[1].mean(0)])):
        head = make(pooling=pooling).eval()
        expected = torch.stack([head.output(vector) for vector in vectors])
        torch.testing.assert_close(head(states, mask, {}), expected)
    with pytest.raises(ValueError, match=r"pooling.*cls, mean.*'max'"):
        make(pooling="max")


@given(corpora=has.corpora(2))
@settings(max_examples=25, deadline=None)
def test_all_metrics_of_many_corpora_are_those_of_each_alone(corpora: has.Corpora) -> None:
    counts, times = corpora[0].double(), corpora[1]
    head = make()
    found = head.many_scores(counts, times, head.metrics)
    for place, own_times in enumerate(times):
        alone = head.score(counts.repeat_interleave(own_times, dim=0))
        assert {name: float(values[place]) for name, values in found.items()} == pytest.approx(alone, abs=1e-12)


def test_a_prediction_that_is_not_finite_makes_the_error_of_its_corpora_infinite() -> None:
    counts = torch.tensor([[math.nan, 1.0], [1.0, 2.0]], dtype=torch.double)
    found = make().many_scores(counts, torch.tensor([[1, 1], [0, 2]]), ("mse", "pearson"))
    assert found["mse"].tolist() == [math.inf, 1.0]
    assert found["pearson"].tolist() == [0.0, 0.0]
