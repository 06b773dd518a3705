"""The properties that every head must have, each written once.

The test module of a head gives `CASES`, a few heads with rows, and checks them with ``shared_test(CASES)``. It also
calls `assert_overfits` and `assert_many_corpora_score_like_each_alone`, which need a tiny encoder and random counts.

States are random numbers of the size `HIDDEN` unless a property says otherwise, so that nothing needs an encoder. The
special tokens of a head are added to a copy of the tokenizer.

Shapes: B examples, S sequences, T tokens, H hidden size, N rows, K counts.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor
from torch._subclasses import FakeTensorMode

from heads import IGNORE, Example, Head, PooledInput, Prediction, Row, pad, sequence_lengths

HIDDEN = 16
MAX_LENGTH = 48

LONG_TEXT = "ibuprofen inhibits cox-1 , and cox-2 ; aspirin reduces the risk of bleeding in patients . " * 4
"""A text of several windows of `MAX_LENGTH` tokens."""

Fields = dict[str, Tensor]
Corpora = tuple[Tensor, Tensor]
"""The counts of some rows, [N, K], and how many times each corpus contains each row, [B, N]."""


class FrozenEmbeddings:
    """A stand-in for a frozen encoder: the state of a token is a random vector of its id, [V, H]."""

    def __init__(self, tokenizer: Any, max_length: int = MAX_LENGTH) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length
        self.table = np.random.default_rng(0).normal(size=(len(tokenizer), HIDDEN)).astype(np.float32)

    def means(self, inputs: Sequence[PooledInput]) -> list[Any]:
        assert all(len(one.fields["input_ids"]) <= self.max_length for one in inputs)
        states = [self.table[one.fields["input_ids"]] for one in inputs]
        return [
            np.array([of_input[list(group)].mean(axis=0) for group in one.groups]).reshape(-1, HIDDEN)
            for of_input, one in zip(states, inputs, strict=True)
        ]


@dataclass(frozen=True)
class Case:
    """A head, and rows on which its properties are checked.

    Args:
        make: Makes the head from its options.
        rows: Labelled rows of different lengths.
        unlabelled: Valid rows without annotation.
        gold_logits: Logits that predict the gold annotation, from the collated fields.
        options: Options of the head.
        best: The best value of each metric for which it is not 1, or 0 if lower is better.
    """

    make: Callable[..., Head]
    rows: Sequence[Row]
    unlabelled: Sequence[Row]
    gold_logits: Callable[[Fields], Tensor]
    options: Mapping[str, Any] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def head(self) -> Head:
        return self.make(**self.options)


def attached(make: Callable[..., Head]) -> Callable[..., Head]:
    """Makes heads that are attached to a BERT without weights."""

    def make_attached(**options: Any) -> Head:
        from transformers import BertConfig

        head = make(**options)
        head.attach(SimpleNamespace(config=BertConfig(hidden_size=HIDDEN), shipped=None))
        return head

    return make_attached


def shared_test(cases: Mapping[str, Case], *, without: Sequence[Callable[..., None]] = ()) -> Callable[..., None]:
    """A test of every property in `EVERY_HEAD` on every case.

    Args:
        cases: The cases by name.
        without: Properties that the head lacks by design.
    """

    @pytest.mark.parametrize("case", cases.values(), ids=cases.keys())
    @pytest.mark.parametrize("has_property", [one for one in EVERY_HEAD if one not in without])
    def test(has_property: Callable[[Case, Any], None], case: Case, tokenizer: Any) -> None:
        assert case.head.read_tokenizer(with_special_tokens(case.head, tokenizer)) is None
        has_property(case, tokenizer)

    return test


# --- rows -> examples -------------------------------------------------------------------------------------------------


def assert_examples_are_in_the_order_of_the_rows(case: Case, tokenizer: Any) -> None:
    """Examples fit the maximum length, and for evaluation every row has at least one."""
    for training in (True, False):
        examples = encode(case.head, case.rows, tokenizer, training=training)
        order = [example["row"] for example in examples]
        assert order == sorted(order)
        assert set(order) <= set(range(len(case.rows)))
        for example in examples:
            assert all(0 < length <= MAX_LENGTH for length in sequence_lengths(example))
            assert sum(sequence_lengths(example)) == len(example["input_ids"])
        assert all(isinstance(example["truncated"], bool) for example in examples)
        assert training or set(order) == set(range(len(case.rows)))


def assert_examples_can_be_stored(case: Case, tokenizer: Any) -> None:
    """All examples have the same fields, and Arrow returns what was stored."""
    examples = encode(case.head, case.rows, tokenizer)
    assert all(set(example) == set(examples[0]) for example in examples)
    assert pa.Table.from_pylist(examples).to_pylist() == examples


def assert_encoding_is_pure(case: Case, tokenizer: Any) -> None:
    """The same rows give the same examples, whatever was encoded or drawn before."""
    for training in (True, False):
        first = encode(case.head, case.rows, tokenizer, training=training)
        encode(case.head, case.rows[1:], tokenizer, training=not training)
        torch.rand(3)
        assert encode(case.head, case.rows, tokenizer, training=training) == first


CHANGED: Mapping[str, Any] = {
    "dropout": 0.7,
    "distillation": {"temperature": 2.0, "share": 0.3},
    "rate": 0.7,
    "unit": "word",
    "selection": "exact",
    "replace": {"mask": 0.5, "keep": 0.5},
}
"""A value of each option that may change during a training; `class_weights` depend on the labels."""


def assert_changeable_options_change_only_the_training(case: Case, tokenizer: Any) -> None:
    """A head with another value has the same examples and weights, and predicts the same with them."""
    head = case.head.eval()
    plain, saved = with_special_tokens(head, tokenizer), head.state_dict()
    examples = head.encode(case.rows, plain, MAX_LENGTH, training=False)
    for option in head.changeable:
        value = {head.labels[0]: 3.0} if option == "class_weights" else CHANGED[option]
        other = case.make(**{**case.options, option: value})
        assert other.read_tokenizer(plain) is None
        other.load_state_dict(saved)
        for training in (True, False):
            found = other.encode(case.rows, plain, MAX_LENGTH, training=training)
            assert found == head.encode(case.rows, plain, MAX_LENGTH, training=training), option
        states = random_states(examples)
        of_heads = [outputs(one, examples, states) for one in (head, other)]
        assert all(torch.equal(*pair) for pair in zip(*of_heads, strict=True)), option
        assert decode(head, case.rows, examples, of_heads[0]) == decode(other, case.rows, examples, of_heads[1]), option


def assert_examples_do_not_depend_on_other_rows(case: Case, tokenizer: Any) -> None:
    """A row gives the same examples alone as with other rows."""
    together = encode(case.head, case.rows, tokenizer, training=False)
    alone = [
        example | {"row": index}
        for index, row in enumerate(case.rows)
        for example in encode(case.head, [row], tokenizer, training=False)
    ]
    assert alone == together


def assert_no_rows_give_no_examples(case: Case, tokenizer: Any) -> None:
    """A task may have no rows in a process."""
    assert encode(case.head, [], tokenizer) == []


def assert_an_empty_batch_counts_zero(case: Case, tokenizer: Any) -> None:
    """A process without examples in a step has a loss of zero, a count of zero and gradients of zero."""
    fields = case.head.collate([], 4)
    states = torch.zeros(0, 4, HIDDEN, requires_grad=True)
    total, count = case.head.loss(case.head(states, torch.zeros(0, 4, dtype=torch.bool), fields), fields)
    total.backward()
    assert (total.item(), count.item()) == (0, 0)
    assert all(p.grad is None or not p.grad.any() for p in case.head.parameters())


def assert_collate_pads(case: Case, tokenizer: Any) -> None:
    """Examples of different lengths become tensors with B rows, for any length of the batch."""
    examples = encode(case.head, case.rows, tokenizer)
    assert len({len(example["input_ids"]) for example in examples}) > 1, "the rows must differ in length"
    for length in (longest(examples), longest(examples) + 7):
        fields = case.head.collate(examples, length)
        assert {len(value) for value in fields.values()} == {len(examples)}
        sizes = {value.shape[1] for value in fields.values() if value.ndim > 1}
        assert all(size <= length or size == len(case.head.labels) for size in sizes)


# --- states -> loss ---------------------------------------------------------------------------------------------------


def assert_targets_add_up_to_the_count(case: Case, tokenizer: Any) -> None:
    """The count that the loss is divided by is the sum of the targets of the examples."""
    examples = encode(case.head, case.rows, tokenizer)
    _, count = loss(case.head, examples, random_states(examples))
    assert count.item() == sum(example["targets"] for example in examples) > 0


def assert_loss_adds_up_over_batches(case: Case, tokenizer: Any) -> None:
    """Losses and counts of parts of a batch add up to those of the batch, so accumulation and mixing change nothing."""
    examples = encode(case.head, case.rows, tokenizer)
    states = random_states(examples)
    whole, whole_count = loss(case.head, examples, states)
    for cut in range(1, len(examples)):
        place = num_sequences(examples[:cut])
        parts = [loss(case.head, examples[:cut], states[:place]), loss(case.head, examples[cut:], states[place:])]
        torch.testing.assert_close(parts[0][0] + parts[1][0], whole, rtol=1e-5, atol=1e-5)
        assert (parts[0][1] + parts[1][1]).item() == whole_count.item()


def assert_padding_changes_nothing(case: Case, tokenizer: Any) -> None:
    """The states of padding have no effect on the loss and the outputs."""
    examples = encode(case.head, case.rows, tokenizer)
    states = random_states(examples)
    mask = attention_mask(examples, states.shape[1])
    noise = torch.where(mask[..., None], states, torch.full_like(states, 37.0))
    longer = torch.cat([noise, torch.full_like(states[:, :5], -11.0)], dim=1)
    torch.testing.assert_close(
        loss(case.head, examples, longer), loss(case.head, examples, states), rtol=1e-5, atol=1e-5
    )
    for one, other in zip(outputs(case.head, examples, longer), outputs(case.head, examples, states), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def assert_gradients_reach_states_and_head(case: Case, tokenizer: Any) -> None:
    """Every parameter of the head and the states of every labelled example get a gradient."""
    head = case.head
    examples = encode(head, case.rows, tokenizer)
    states = random_states(examples).requires_grad_()
    head.zero_grad()
    total, _ = loss(head, examples, states)
    total.backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    assert states.grad is not None
    assert states.grad.isfinite().all()
    sizes = [len(sequence_lengths(example)) for example in examples]
    for example, gradients in zip(examples, states.grad.split(sizes), strict=True):
        for gradient in gradients:
            assert (gradient.abs().sum() > 0) == (example["targets"] > 0)
    head.zero_grad()


def assert_unlabelled_rows_are_masked(case: Case, tokenizer: Any) -> None:
    """Rows without annotation add nothing to targets, loss or counts, alone or with labelled rows."""
    head, unlabelled = case.head, case.unlabelled
    assert all(head.is_labelled(row) for row in case.rows)
    for row in unlabelled:
        assert not head.is_labelled(row)
        assert head.check(row) is None
        assert sum(head.label_counts(row).values()) == 0
    masked = encode(head, unlabelled, tokenizer, training=False)
    assert all(example["targets"] == 0 for example in masked)
    total, count = loss(head, masked, random_states(masked))
    assert (total.item(), count.item()) == (0, 0)
    for prediction, row in zip(predict(head, unlabelled, tokenizer), unlabelled, strict=True):
        counts = head.counts(prediction, row)
        assert len(counts) == 0 if head.reduction == "cat" else not counts.any()

    examples = encode(head, [*unlabelled, *case.rows], tokenizer, training=False)
    states = random_states(examples)
    labelled = [i for i, example in enumerate(examples) if example["row"] >= len(unlabelled)]
    alone = loss(head, [examples[i] for i in labelled], states[num_sequences(examples[: labelled[0]]) :])
    torch.testing.assert_close(loss(head, examples, states), alone, rtol=1e-5, atol=1e-5)


def assert_bf16_loses_little(case: Case, tokenizer: Any) -> None:
    """From logits in bf16, loss and outputs are computed in float32 and are close to those from float32 logits.

    They are computed outside autocast, which would cast some operations itself and hide a missing cast.
    """
    head = case.head
    examples = encode(head, case.rows, tokenizer)
    states = random_states(examples)
    full, _ = loss(head, examples, states)
    mask, fields = collate(head, examples)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(states.bfloat16(), mask, fields)
    half, _ = head.loss(logits.bfloat16(), fields)
    assert half.dtype == torch.float32
    assert all(output.dtype == torch.float32 for output in head.outputs(logits.detach().bfloat16(), mask, fields))
    torch.testing.assert_close(half, full, rtol=0.05, atol=0.05)


def assert_training_does_not_wait_for_the_device(case: Case, tokenizer: Any) -> None:
    """Neither `forward` nor `loss` reads values of tensors, which would make every step wait for a GPU.

    Fake tensors have shapes but no values, so reading one fails.
    """
    examples = encode(case.head, case.rows, tokenizer)
    states = random_states(examples)
    mask, fields = collate(case.head, examples)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        fields = {name: fake.from_tensor(value) for name, value in fields.items()}
        logits = case.head(fake.from_tensor(states), fake.from_tensor(mask), fields)
        total, count = case.head.loss(logits, fields)
    assert total.shape == count.shape == ()


# --- logits -> scores -------------------------------------------------------------------------------------------------


def assert_gold_scores_perfectly(case: Case, tokenizer: Any) -> None:
    """Logits that predict the gold annotation give the best value of every metric."""
    head = case.head
    examples = encode(head, case.rows, tokenizer, training=False)
    mask, fields = collate(head, examples)
    predictions = decode(head, case.rows, examples, head.outputs(case.gold_logits(fields), mask, fields))
    best = {name: float(name not in head.lower_is_better) for name in head.metrics} | dict(case.best)
    assert score(head, predictions, case.rows) == pytest.approx(best)


def assert_scores_are_finite(case: Case, tokenizer: Any) -> None:
    """Every metric is a finite float, for any prediction and without rows."""
    head = case.head
    predictions = predict(head, case.rows, tokenizer)
    full = reduce_counts(head, [head.counts(p, row) for p, row in zip(predictions, case.rows, strict=True)])
    empty = full[:0] if head.reduction == "cat" else torch.zeros_like(full)
    for counts in (full, empty):
        scores = head.score(counts)
        assert set(scores) == set(head.metrics)
        assert all(type(value) is float and math.isfinite(value) for value in scores.values()), scores
        report = head.report(counts)
        assert all(math.isfinite(value) for values in report.per_class.values() for value in values.values())


def assert_primary_metric_is_chosen_by_name(case: Case, tokenizer: Any) -> None:
    """The option `primary_metric` allows every metric for which higher is better; an error names all of them."""
    head = case.head
    choices = [name for name in head.metrics if name not in head.lower_is_better]
    assert head.primary_metric in choices
    for name in choices:
        assert case.make(**{**case.options, "primary_metric": name}).primary_metric == name
    for wrong in {"acuracy", *head.metrics}.difference(choices):
        with pytest.raises(ValueError, match="primary_metric") as error:
            case.make(**{**case.options, "primary_metric": wrong})
        assert all(name in str(error.value) for name in choices)


def assert_predictions_are_json(case: Case, tokenizer: Any) -> None:
    """A prediction that was written to JSON and read again has the same counts."""
    for prediction, row in zip(predict(case.head, case.rows, tokenizer), case.rows, strict=True):
        read = json.loads(json.dumps(prediction, allow_nan=False))
        assert torch.equal(case.head.counts(read, row), case.head.counts(prediction, row))


def assert_baselines_are_scored_like_the_model(case: Case, tokenizer: Any) -> None:
    """Every trivial predictor gives one prediction for each row, which is counted and scored like the model's."""
    head, rows = case.head, [*case.rows, *case.unlabelled]
    predictors = head.baselines(iter(rows))
    assert predictors
    for name, predictor in predictors.items():
        predictions = predictor(rows)
        assert len(predictions) == len(rows), name
        json.dumps(predictions, allow_nan=False)
        scores = score(head, predictions, rows)
        assert set(scores) == set(head.metrics), name
        assert all(math.isfinite(value) for value in scores.values()), name
        assert predictor(rows) == predictions, name
        assert predictor([]) == [], name
        decide = head.tuned_decision(rows, predictions)
        assert decide is None or set(score(head, list(map(decide, predictions)), rows)) == set(head.metrics), name


def assert_a_frozen_encoder_gives_predictions(case: Case, tokenizer: Any) -> None:
    """`frozen` gives one prediction for each row, which depends on no other row and is scored like the model's."""
    head, rows, encoder = case.head, [*case.rows, *case.unlabelled], FrozenEmbeddings(tokenizer)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    weights = head.fit_frozen(case.rows, encoder)
    assert weights is not None
    assert (weights.dtype, weights.ndim) == (np.float32, 2)
    assert np.isfinite(weights).all()
    predictions = head.predict_frozen(rows, weights, encoder)
    assert len(predictions) == len(rows)
    json.dumps(predictions, allow_nan=False)
    assert set(score(head, predictions, rows)) == set(head.metrics)
    alone = [head.predict_frozen([row], weights, encoder)[0] for row in rows]
    for one, other, row in zip(alone, predictions, rows, strict=True):
        torch.testing.assert_close(head.counts(one, row), head.counts(other, row))
    hidden = head.predict_frozen([head.without_gold(row) for row in rows], weights, encoder)
    assert hidden == predictions, "gold annotation has no influence"
    assert head.fit_frozen(case.unlabelled, encoder) is None
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())


def assert_a_temperature_changes_nothing_but_scores(case: Case, tokenizer: Any) -> None:
    """Whatever the temperature, the predictions are those of `decode`, and a higher one gives less certain scores."""
    head, rows = case.head, [*case.rows, *case.unlabelled]
    if not head.has_probabilities:
        return
    examples = encode(head, rows, tokenizer, training=False)
    of_examples = outputs(head, examples, random_states(examples))
    plain = decode(head, rows, examples, of_examples)
    found = {t: decode(head, rows, examples, of_examples, temperature=t) for t in (0.25, 1.0, 1.5, 20.0)}
    for predictions in found.values():
        assert without_scores(predictions) == without_scores(plain)
    confident = {t: sum(confidences(predictions)) for t, predictions in found.items()}
    if any(confidences(plain)):
        assert confident[0.25] > confident[1.0] > confident[1.5] > confident[20.0]
    thresholds = head.calibrated_thresholds(1.5)
    for prediction in found[1.5]:
        assert all(
            (prediction["scores"][name] >= least) == (name in prediction.get("labels", [prediction.get("label")]))
            for name, least in thresholds.items()
        )


def assert_decisions_are_those_of_the_loss(case: Case, tokenizer: Any) -> None:
    """The decisions with gold are the targets of the loss, and rows without annotation have none."""
    head, rows = case.head, [*case.rows, *case.unlabelled]
    if not head.has_probabilities:
        return
    examples = encode(head, rows, tokenizer, training=False)
    of_examples = outputs(head, examples, random_states(examples))
    for index, row in enumerate(rows):
        own = [i for i, example in enumerate(examples) if example["row"] == index]
        found = head.decisions(row, [examples[i] for i in own], [of_examples[i] for i in own])
        is_known = found.gold != IGNORE
        known = is_known if found.gold.dim() == 1 else is_known.all(1)
        assert known.sum() == sum(examples[i]["targets"] for i in own)
        assert len(found.probabilities) == len(found.gold) == len(found.chosen)
        assert (found.chosen >= 0).all()
        if found.gold.dim() == 1:
            torch.testing.assert_close(found.probabilities.sum(1), torch.ones(len(found.gold)))
        if found.spans is not None and head.is_labelled(row):
            prediction = head.decode(row, [examples[i] for i in own], [of_examples[i] for i in own])
            confusion = head.report(head.counts(prediction, row)).confusion
            assert confusion is not None
            assert found.spans[:, 2].sum() == sum(line[i] for i, line in enumerate(confusion))


def without_scores(predictions: Any) -> Any:
    """Predictions without their scores."""
    if isinstance(predictions, dict):
        return {name: without_scores(value) for name, value in predictions.items() if name not in ("score", "scores")}
    return [without_scores(one) for one in predictions] if isinstance(predictions, list) else predictions


def confidences(predictions: Any) -> list[float]:
    """The score of everything predicted: of a class, an entity or a relation, and how far a label is from 0.5."""
    if isinstance(predictions, list):
        return [value for one in predictions for value in confidences(one)]
    if not isinstance(predictions, dict):
        return []
    own = [predictions["score"]] if "score" in predictions else []
    if "label" in predictions:
        own.append(max(predictions["scores"].values()))
    if "labels" in predictions:
        own += [abs(value - 0.5) for value in predictions["scores"].values()]
    return own + [value for one in predictions.values() for value in confidences(one)]


EVERY_HEAD: tuple[Callable[[Case, Any], None], ...] = (
    assert_examples_are_in_the_order_of_the_rows,
    assert_examples_can_be_stored,
    assert_encoding_is_pure,
    assert_changeable_options_change_only_the_training,
    assert_examples_do_not_depend_on_other_rows,
    assert_no_rows_give_no_examples,
    assert_an_empty_batch_counts_zero,
    assert_collate_pads,
    assert_targets_add_up_to_the_count,
    assert_loss_adds_up_over_batches,
    assert_padding_changes_nothing,
    assert_gradients_reach_states_and_head,
    assert_unlabelled_rows_are_masked,
    assert_bf16_loses_little,
    assert_training_does_not_wait_for_the_device,
    assert_gold_scores_perfectly,
    assert_scores_are_finite,
    assert_primary_metric_is_chosen_by_name,
    assert_predictions_are_json,
    assert_a_temperature_changes_nothing_but_scores,
    assert_decisions_are_those_of_the_loss,
    assert_baselines_are_scored_like_the_model,
    assert_a_frozen_encoder_gives_predictions,
)


# --- properties that need more than a case ----------------------------------------------------------------------------


def assert_overfits(
    head: Head, rows: Sequence[Row], tokenizer: Any, encoder: Path, *, num_steps: int = 80, learning_rate: float = 3e-3
) -> None:
    """A tiny encoder and the head learn a few rows by heart.

    Args:
        head: The head.
        rows: Labelled rows.
        tokenizer: Tokenizer of the encoder.
        encoder: Folder of a tiny encoder (fixture `tiny_encoder`) with H = `HIDDEN`.
        num_steps: Number of updates on all rows.
        learning_rate: Learning rate.
    """
    (before, after), predictions = _learned(head, rows, rows, tokenizer, encoder, num_steps, learning_rate)
    assert after < 0.1 * before, (before, after)
    assert score(head, predictions, rows)[head.primary_metric] > 0.95


def assert_generalises(
    head: Head,
    rows: Sequence[Row],
    unseen: Sequence[Row],
    tokenizer: Any,
    encoder: Path,
    *,
    num_steps: int = 80,
    learning_rate: float = 3e-3,
) -> None:
    """What a tiny encoder and the head learn from some rows also predicts rows that they have not seen.

    Args:
        head: The head.
        rows: Labelled rows to train on.
        unseen: Labelled rows to score.
        tokenizer: Tokenizer of the encoder.
        encoder: Folder of a tiny encoder (fixture `tiny_encoder`) with H = `HIDDEN`.
        num_steps: Number of updates on all rows.
        learning_rate: Learning rate.
    """
    _, predictions = _learned(head, rows, unseen, tokenizer, encoder, num_steps, learning_rate)
    assert score(head, predictions, unseen)[head.primary_metric] > 0.95


def assert_many_corpora_score_like_each_alone(head: Head, corpora: Corpora) -> None:
    """The primary scores of many corpora are what `score` returns for each, with its rows repeated."""
    counts, times = corpora
    scores = head.primary_scores(counts, times)
    assert (scores.shape, scores.dtype) == (times.shape[:-1], torch.float64)
    for own_times, value in zip(times, scores.tolist(), strict=True):
        repeated = counts.repeat_interleave(own_times, dim=0)
        alone = head.score(repeated if head.reduction == "cat" else repeated.sum(0))[head.primary_metric]
        assert value == pytest.approx(alone, rel=0, abs=1e-12)
    assert torch.equal(head.primary_scores(counts, times[0]), scores[0])  # one corpus has no axis
    pairs = times[:2, None].double()
    assert torch.equal(head.primary_scores(counts, pairs), scores[:2, None])


# --- the steps of a run, in short -------------------------------------------------------------------------------------


def corpora(num_counts: int, unit: float = 1.0) -> st.SearchStrategy[Corpora]:
    """Counts of up to six rows and four corpora: every row once, no row, and two random ones.

    Args:
        num_counts: K. Any of them may be 0 in all rows.
        unit: All counts are multiples of it.
    """

    @st.composite
    def draw_corpora(draw: st.DrawFn) -> Corpora:
        num_rows = draw(st.integers(0, 6))
        counts = draw(arrays(np.int64, (num_rows, num_counts), elements=st.integers(0, 4)))
        kept = draw(arrays(np.int64, num_counts, elements=st.integers(0, 1), fill=st.just(1)))
        drawn = draw(arrays(np.int64, (2, num_rows), elements=st.integers(0, 3)))
        times = np.concatenate([np.ones_like(drawn[:1]), np.zeros_like(drawn[:1]), drawn])
        whole = torch.from_numpy(counts * kept)
        return whole if unit == 1 else whole.double() * unit, torch.from_numpy(times)

    return draw_corpora()


def with_special_tokens(head: Head, tokenizer: Any) -> Any:
    """The tokenizer, or a copy with the head's special tokens if it has any."""
    if not head.special_tokens():
        return tokenizer
    own = copy.deepcopy(tokenizer)
    own.add_tokens(list(head.special_tokens()), special_tokens=True)
    return own


def encode(
    head: Head, rows: Sequence[Row], tokenizer: Any, *, training: bool = True, max_length: int = MAX_LENGTH
) -> list[Example]:
    """The examples, as they are put in a batch if they are for training."""
    examples = head.encode(rows, with_special_tokens(head, tokenizer), max_length, training=training)
    return drawn(head, examples) if training else examples


def drawn(head: Head, examples: Sequence[Example], time: int = 0) -> list[Example]:
    """Examples for training as they are put in a batch, for the n-th time."""
    return [head.draw(example, np.random.default_rng([time, place])) for place, example in enumerate(examples)]


def lengths_of(examples: Sequence[Example]) -> list[int]:
    """The number of tokens of each sequence, [S]."""
    return [length for example in examples for length in sequence_lengths(example)]


def sequences(examples: Sequence[Example], name: str) -> list[list[int]]:
    """The values of a field of tokens for each sequence."""
    values = iter([value for example in examples for value in example[name]])
    return [list(islice(values, length)) for length in lengths_of(examples)]


def num_sequences(examples: Sequence[Example]) -> int:
    return len(lengths_of(examples))


def longest(examples: Sequence[Example]) -> int:
    return max(lengths_of(examples))


def attention_mask(examples: Sequence[Example], length: int) -> Tensor:
    """True at tokens, [S, T]."""
    return pad([[1] * number for number in lengths_of(examples)], length, 0).bool()


def collate(head: Head, examples: Sequence[Example], length: int | None = None) -> tuple[Tensor, Fields]:
    """The mask, [S, T], and the fields of some examples."""
    length = longest(examples) if length is None else length
    return attention_mask(examples, length), head.collate(examples, length)


def random_states(examples: Sequence[Example], seed: int = 0) -> Tensor:
    """Random states, [S, T, H]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_sequences(examples), longest(examples), HIDDEN, generator=generator)


def loss(head: Head, examples: Sequence[Example], states: Tensor) -> tuple[Tensor, Tensor]:
    """The summed loss and the count, without dropout."""
    mask, fields = collate(head.eval(), examples, states.shape[1])
    total, count = head.loss(head(states, mask, fields), fields)
    return total, count


def outputs(head: Head, examples: Sequence[Example], states: Tensor) -> list[Tensor]:
    mask, fields = collate(head.eval(), examples, states.shape[1])
    return head.outputs(head(states, mask, fields).detach(), mask, fields)


def decode(
    head: Head,
    rows: Sequence[Row],
    examples: Sequence[Example],
    of_examples: Sequence[Tensor],
    temperature: float | None = None,
) -> list[Prediction]:
    """One prediction for each row, from all its examples and their outputs; calibrated if there is a temperature."""
    predictions = []
    for index, row in enumerate(rows):
        own = [i for i, example in enumerate(examples) if example["row"] == index]
        given = row, [examples[i] for i in own], [of_examples[i] for i in own]
        predictions.append(head.decode(*given) if temperature is None else head.decode_calibrated(*given, temperature))
    return predictions


def predict(head: Head, rows: Sequence[Row], tokenizer: Any) -> list[Prediction]:
    """Predictions from random states."""
    examples = encode(head, rows, tokenizer, training=False)
    return decode(head, rows, examples, outputs(head, examples, random_states(examples)) if examples else [])


def reduce_counts(head: Head, counts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(counts)) if head.reduction == "cat" else torch.stack(list(counts)).sum(0)


def score(head: Head, predictions: Sequence[Prediction], rows: Sequence[Row]) -> dict[str, float]:
    return head.score(reduce_counts(head, [head.counts(p, row) for p, row in zip(predictions, rows, strict=True)]))


# --- private ----------------------------------------------------------------------------------------------------------


def _learned(
    head: Head,
    rows: Sequence[Row],
    scored_rows: Sequence[Row],
    tokenizer: Any,
    encoder: Path,
    num_steps: int,
    learning_rate: float,
) -> tuple[tuple[float, float], list[Prediction]]:
    """The mean loss before and after training on some rows, and the predictions for others."""
    from transformers import AutoModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModel.from_pretrained(encoder)
        model.resize_token_embeddings(len(with_special_tokens(head, tokenizer)), mean_resizing=False)
        head.read_tokenizer(tokenizer)
        head.attach(_without_weights(model))
        examples = head.encode(rows, with_special_tokens(head, tokenizer), MAX_LENGTH, training=True)
        losses = _fit(model, head, examples, num_steps, learning_rate)
    scored = encode(head, scored_rows, tokenizer, training=False)
    with torch.no_grad():
        return losses, decode(head, scored_rows, scored, outputs(head, scored, _encoder_states(model, scored)))


def _without_weights(model: torch.nn.Module) -> Any:
    """A model as heads see an encoder that ships no weights for them."""
    table = model.get_input_embeddings()
    return SimpleNamespace(
        config=model.config,
        model=model,
        shipped=None,
        token_embeddings=table,
        causal_lm_weights=lambda: None,
        masked_lm_weights=lambda: None,
    )


def _fit(
    model: torch.nn.Module, head: Head, examples: Sequence[Example], num_steps: int, learning_rate: float
) -> tuple[float, float]:
    """The mean loss before and after training on all examples at once."""
    optimizer = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=learning_rate)
    model.eval()  # fewer steps are enough without dropout
    losses = []
    for step in range(num_steps):
        batch = drawn(head, examples, step)
        total, count = loss(head, batch, _encoder_states(model, batch))
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
        losses.append((total / count).item())
    return losses[0], losses[-1]


def _encoder_states(model: torch.nn.Module, examples: Sequence[Example]) -> Tensor:
    length = longest(examples)
    ids = pad(sequences(examples, "input_ids"), length, 0)
    types: dict[str, Tensor] = {}
    if "token_type_ids" in examples[0]:
        types["token_type_ids"] = pad(sequences(examples, "token_type_ids"), length, 0)
    mask = attention_mask(examples, length).long()
    states: Tensor = model(input_ids=ids, attention_mask=mask, **types).last_hidden_state
    return states
