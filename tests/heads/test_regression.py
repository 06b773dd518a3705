"""A number for a text or a pair."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from heads import Head, TextRow
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


def gold_logits(fields: dict[str, Tensor]) -> Tensor:
    return fields["label"][:, None] / 4


HEADS = [make(), make((-1, 5), hidden_layer=12, pooling="mean", primary_metric="spearman")]


@pytest.mark.parametrize("rows", [ROWS, SINGLES], ids=["pairs", "singles"])
@pytest.mark.parametrize("head", HEADS, ids=["plain", "options"])
@pytest.mark.parametrize(
    "has_property",
    [
        has.assert_examples_are_ordered_by_row,
        has.assert_examples_can_be_stored,
        has.assert_encoding_is_pure,
        has.assert_a_row_is_encoded_alike_in_any_company,
        has.assert_collate_pads,
        has.assert_targets_add_up_to_the_count,
        has.assert_loss_adds_up_over_batches,
        has.assert_padding_changes_nothing,
        has.assert_gradients_reach_states_and_head,
        has.assert_scores_are_finite,
        has.assert_predictions_are_json,
        has.assert_training_waits_for_no_device,
        has.assert_bf16_loses_little,
    ],
)
def test_property(has_property: Callable[..., None], head: Head, rows: list[TextRow], tokenizer: Any) -> None:
    has_property(head, rows, tokenizer)


@pytest.mark.parametrize("head", HEADS, ids=["plain", "options"])
def test_properties_with_arguments(head: Head, tokenizer: Any) -> None:
    has.assert_no_rows_give_no_examples(head, tokenizer)
    has.assert_an_empty_batch_counts_zero(head)
    has.assert_unlabelled_rows_are_masked(head, ROWS, UNLABELLED, tokenizer)
    has.assert_baselines_score_on_the_same_path(head, [*ROWS, *UNLABELLED], ROWS)
    has.assert_baselines_score_on_the_same_path(head, SINGLES, SINGLES)


def test_the_gold_scores_perfectly(tokenizer: Any) -> None:
    has.assert_gold_scores_perfectly(make(), ROWS, tokenizer, gold_logits)


def test_the_primary_metric_is_a_correlation_because_less_mse_is_better() -> None:
    has.assert_primary_metric_is_chosen_by_name(make, ["pearson", "spearman"])
    assert make().lower_is_better == {"loss", "mse"}
    with pytest.raises(ValueError, match="primary_metric must be one of: pearson, spearman; found 'mse'"):
        make(primary_metric="mse")


def test_it_overfits_a_few_rows(tokenizer: Any, tiny_encoder: Callable[[str], Path]) -> None:
    has.assert_overfits(make(), ROWS, tokenizer, tiny_encoder("bert"), num_steps=120)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_loss_is_the_squared_error_on_the_range_as_0_to_1(scale: float) -> None:
    fields = {"label": torch.tensor([1.0, 3.0, 0.0]) * scale, "labelled": torch.tensor([True, True, False])}
    total, count = make((0, 4 * scale)).loss(torch.tensor([[0.5], [0.25], [9.0]]), fields)
    assert float(total) == pytest.approx(0.25**2 + 0.5**2)
    assert int(count) == 2


def test_a_prediction_is_in_the_rows_units_and_not_clipped() -> None:
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


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_ranks_equal_scipy(values: list[float]) -> None:
    assert ranks(torch.tensor(values, dtype=torch.double)).tolist() == stats.rankdata(values).tolist()


@given(vectors)
def test_no_score_is_nan_and_correlations_stay_within_1(pairs: list[tuple[float, float]]) -> None:
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
def test_a_diverged_prediction_scores_worst_and_not_nan(value: float) -> None:
    counts = torch.tensor([[value, 1.0], [1.0, 2.0], [2.0, 3.0]])
    assert make().score(counts) == {"pearson": 0.0, "spearman": 0.0, "mse": math.inf}


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
@given(corpora=st.one_of(has.corpora(2, unit) for unit in (1.0, 0.1, 1e-200, 1e200)))
@settings(max_examples=60, deadline=None)
def test_many_corpora_score_like_each_alone(metric: str, corpora: has.Corpora) -> None:
    has.assert_many_corpora_score_like_each_alone(make(primary_metric=metric), corpora)


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_only_corpora_that_take_a_diverged_prediction_score_0(metric: str, value: float) -> None:
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
    ("label", "found"),
    [
        (4.01, "the number 4.01"),
        (-1e-9, "the number -1e-09"),
        (math.nan, "the number nan"),
        (math.inf, "the number inf"),
        ("5", "the number 5"),
        ("high", "'high'"),
        ("a text of a patient", "a text of 19 characters"),
        (("1",), "a list of 1"),
    ],
)
def test_a_label_outside_the_range_is_told(label: Any, found: str) -> None:
    problem = make().check(TextRow("1", "1", "a", label=label))
    assert problem == f"the label must be a number from 0 to 4; found {found}"


def test_both_ends_of_the_range_and_missing_labels_are_no_problem() -> None:
    labels: list[Any] = [0.0, 4, "2.5", None]
    assert {make().check(TextRow("1", "1", "a", label=label)) for label in labels} == {None}


def test_a_number_written_as_text_is_that_number(tokenizer: Any) -> None:
    head, row = make(), TextRow("1", "1", "a", label="2.5")
    assert has.encode(head, [row], tokenizer)[0]["label"] == 2.5
    assert head.counts({"value": 1.0}, row).tolist() == [[1.0, 2.5]]


@pytest.mark.parametrize("range", [(4, 0), (1, 1), (0, math.inf), (math.nan, 1)])
def test_a_range_must_grow(range: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="range must be two finite numbers, the lower first"):
        make(range)


def test_a_regression_has_no_labels() -> None:
    with pytest.raises(ValueError, match="labels must be empty for a regression; found 2"):
        Regression(["low", "high"], has.HIDDEN, range=(0, 1))


# --- baselines --------------------------------------------------------------------------------------------------------


def test_the_mean_baseline_has_a_correlation_of_0_and_the_variance_as_mse() -> None:
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


def test_the_ridge_baseline_finds_a_planted_word_and_singles_have_no_cosine() -> None:
    rows = [TextRow(str(i), "d", "high fever" if i % 2 else "low fever", label=4.0 * (i % 2)) for i in range(10)]
    baselines = make().baselines(rows)
    assert set(baselines) == {"mean", "tfidf"}
    high, low = baselines["tfidf"]([TextRow("x", "d", "high risk"), TextRow("y", "d", "low risk")])
    assert high["value"] > 2.5
    assert low["value"] < 1.5


def test_no_labelled_rows_leave_no_baseline() -> None:
    assert make().baselines(UNLABELLED) == {}


def test_what_is_read_is_the_first_token_or_the_mean_over_the_tokens_that_are_there() -> None:
    states = torch.randn(2, 5, has.HIDDEN)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
    for pooling, vectors in (("cls", states[:, 0]), ("mean", [states[0, :3].mean(0), states[1].mean(0)])):
        head = make(pooling=pooling).eval()
        expected = torch.stack([head.output(vector) for vector in vectors])
        torch.testing.assert_close(head(states, mask, {}), expected)
    with pytest.raises(ValueError, match="pooling must be one of: cls, mean; found 'max'"):
        make(pooling="max")
