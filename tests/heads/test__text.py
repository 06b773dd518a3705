from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heads._text import Reading, class_names, describe, encode_texts, pair_features, weights_of
from heads.regression import Regression


@pytest.mark.parametrize(("pooling", "expected"), [("cls", [2.0, 20.0]), ("mean", [4.0, 20.0])])
def test_pooling_reads_the_first_token_or_the_mean_over_tokens_without_padding(
    pooling: str, expected: list[float]
) -> None:
    states = torch.tensor([[[1.0, 1.0], [3.0, 3.0]], [[10.0, 10.0], [99.0, 99.0]]])
    mask = torch.tensor([[True, True], [True, False]])
    head = Regression([], 2, range=(0, 1), dropout=0.0, pooling=pooling)
    (linear,) = [part for part in head.output.modules() if isinstance(part, torch.nn.Linear)]
    torch.nn.init.ones_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    assert head(states, mask, {})[:, 0].tolist() == expected


@pytest.mark.parametrize(
    ("option", "value"),
    [("pooling", "clss"), ("pair", "appart"), ("long", "window"), ("window_pooling", "cls"), ("stride", -1)],
)
def test_an_invalid_option_of_reading_is_named(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{option} must .*{value}"):
        Reading(**{option: value}).check()


def test_texts_apart_are_compared_by_difference_and_product() -> None:
    u, v = torch.tensor([1.0, -2.0]), torch.tensor([3.0, 5.0])
    assert pair_features(torch.stack([u, v])[None])[0].tolist() == [1, -2, 3, 5, 2, 7, 3, -10]


def test_only_what_was_cut_off_counts_as_truncated(tokenizer: Any) -> None:
    text = "aspirin increases risk"
    (whole,) = encode_texts([text], tokenizer, 64)
    length = len(whole["input_ids"])
    assert [encode_texts([text], tokenizer, size)[0]["truncated"] for size in (length, length - 1)] == [False, True]
    long, short = "aspirin increases risk of bleeding", "aspirin"
    (pair,) = encode_texts([(long, short)], tokenizer, 6)
    assert len(pair["input_ids"]) == 6
    (alone,) = encode_texts([short], tokenizer, 64)
    kept = alone["input_ids"][1:-1]
    assert pair["input_ids"][-1 - len(kept) : -1] == kept  # the longer text is cut first
    assert encode_texts([], tokenizer, 8) == []


@given(st.text(min_size=33))
def test_a_description_never_quotes_a_long_text(text: str) -> None:
    assert describe(text) == f"a text of {len(text)} characters"


@pytest.mark.parametrize(
    ("labels", "at_least", "named"), [([], 1, "0"), (["a"], 2, "1"), (["a", "b", "a"], 2, "a more than once")]
)
def test_too_few_or_repeated_class_names_are_refused(labels: list[str], at_least: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        class_names(labels, at_least)
    assert class_names(["a", "b"], 2) == ("a", "b")


@pytest.mark.parametrize(
    ("weights", "named"),
    [({"yse": 2.0}, "'yes'"), ({"yes": 0.0}, "yes"), ({"no": float("inf")}, "no"), ({"no": float("nan")}, "no")],
)
def test_a_class_weight_must_be_positive_and_of_a_class(weights: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        weights_of(weights, ["yes", "no"])
    assert weights_of({"no": 2.5}, ["yes", "no"]).tolist() == [1.0, 2.5]
