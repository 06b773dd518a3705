"""The properties a head can have, each written once; the test of a head lists those it has.

A property is a function ``assert_…(head, rows, tokenizer, …)``. States are random numbers of the head's hidden size
(`HIDDEN`) unless a property says otherwise, so that nothing needs an encoder. Special tokens of the head are added
to a copy of the tokenizer.

Shapes: B examples, T tokens, H hidden size.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor
from torch._subclasses import FakeTensorMode

from heads import Example, Head, Prediction, Row, pad

HIDDEN = 16
MAX_LENGTH = 48

Fields = dict[str, Tensor]
Corpora = tuple[Tensor, Tensor]
"""The counts of some rows [N, K], and how often corpora take each of them [B, N]."""
GoldLogits = Callable[[Fields], Tensor]


# --- the properties ---------------------------------------------------------------------------------------------------


def assert_examples_are_ordered_by_row(head: Head, rows: Sequence[Row], tokenizer: Any) -> None:
    """Examples are neighbours in the order of the rows, fit the maximum length, and every row has one to predict."""
    for training in (True, False):
        examples = encode(head, rows, tokenizer, training=training)
        order = [example["row"] for example in examples]
        assert order == sorted(order)
        assert set(order) <= set(range(len(rows)))
        assert all(0 < len(example["input_ids"]) <= MAX_LENGTH for example in examples)
        assert all(isinstance(example["truncated"], bool) for example in examples)
        assert training or set(order) == set(range(len(rows)))


def assert_examples_can_be_stored(head: Head, rows: Sequence[Row], tokenizer: Any) -> None:
    """Examples are alike in their fields, and Arrow gives back what it was given."""
    examples = encode(head, rows, tokenizer)
    assert all(set(example) == set(examples[0]) for example in examples)
    assert pa.Table.from_pylist(examples).to_pylist() == examples


def assert_encoding_is_pure(head: Head, rows: Sequence[Row], tokenizer: Any) -> None:
    """The same rows give the same examples, whatever was encoded or drawn before."""
    for training in (True, False):
        first = encode(head, rows, tokenizer, training=training)
        encode(head, rows[1:], tokenizer, training=not training)
        torch.rand(3)
        assert encode(head, rows, tokenizer, training=training) == first


def assert_a_row_is_encoded_alike_in_any_company(head: Head, rows: Sequence[Row], tokenizer: Any) -> None:
    """A row alone gives the examples that it gives among others."""
    together = encode(head, rows, tokenizer, training=False)
    alone = [
        example | {"row": index}
        for index, row in enumerate(rows)
        for example in encode(head, [row], tokenizer, training=False)
    ]
    assert alone == together


def assert_no_rows_give_no_examples(head: Head, tokenizer: Any) -> None:
    """A task without rows of its own on this rank is no special case."""
    assert encode(head, [], tokenizer) == []


def assert_an_empty_batch_counts_zero(head: Head) -> None:
    """A rank's empty share of a step has a loss of zero over a count of zero, with gradients of zero."""
    fields = head.collate([], 4)
    states = torch.zeros(0, 4, HIDDEN, requires_grad=True)
    total, count = head.loss(head(states, torch.zeros(0, 4, dtype=torch.bool), fields), fields)
    total.backward()
    assert (total.item(), count.item()) == (0, 0)


def assert_collate_pads(head: Head, rows: Sequence[Row], tokenizer: Any) -> None:
    """Examples of different lengths become tensors of one size, on any length asked for, each with B lines."""
    examples = encode(head, rows, tokenizer)
    assert len({len(example["input_ids"]) for example in examples}) > 1, "give rows of different lengths"
    for length in (longest(examples), longest(examples) + 7):
        fields = head.collate(examples, length)
        assert {len(value) for value in fields.values()} == {len(examples)}
        sizes = {value.shape[1] for value in fields.values() if value.ndim > 1}
        assert all(size <= length or size == len(head.labels) for size in sizes)


def assert_targets_add_up_to_the_count(head: Head, rows: Sequence[Row], tokenizer: Any) -> None:
    """What the examples say they add is what the loss is divided by."""
    examples = encode(head, rows, tokenizer)
    _, count = loss(head, examples, random_states(examples))
    assert count.item() == sum(example["targets"] for example in examples) > 0


def assert_loss_adds_up_over_batches(head: Head, rows: Sequence[Row], tokenizer: Any) -> None:
    """The sums and counts of split batches add up to those of the whole: accumulation and mixing change nothing."""
    examples = encode(head, rows, tokenizer)
    states = random_states(examples)
    whole, whole_count = loss(head, examples, states)
    for cut in range(1, len(examples)):
        parts = [loss(head, examples[:cut], states[:cut]), loss(head, examples[cut:], states[cut:])]
        torch.testing.assert_close(parts[0][0] + parts[1][0], whole, rtol=1e-5, atol=1e-5)
        assert (parts[0][1] + parts[1][1]).item() == whole_count.item()


def assert_padding_changes_nothing(head: Head, rows: Sequence[Row], tokenizer: Any) -> None:
    """States behind the end of an example reach neither its loss nor its outputs."""
    examples = encode(head, rows, tokenizer)
    states = random_states(examples)
    mask = attention_mask(examples, states.shape[1])
    noise = torch.where(mask[..., None], states, torch.full_like(states, 37.0))
    longer = torch.cat([noise, torch.full_like(states[:, :5], -11.0)], dim=1)
    torch.testing.assert_close(loss(head, examples, longer), loss(head, examples, states), rtol=1e-5, atol=1e-5)
    for one, other in zip(outputs(head, examples, longer), outputs(head, examples, states), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def assert_gradients_reach_states_and_head(head: Head, rows: Sequence[Row], tokenizer: Any) -> None:
    """Every parameter of the head, and every labelled example's states, get a gradient."""
    examples = encode(head, rows, tokenizer)
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
    for example, gradient in zip(examples, states.grad, strict=True):
        assert (gradient.abs().sum() > 0) == (example["targets"] > 0)
    head.zero_grad()


def assert_unlabelled_rows_are_masked(
    head: Head, rows: Sequence[Row], unlabelled: Sequence[Row], tokenizer: Any
) -> None:
    """Rows without annotation add nothing to targets, loss or counts, alone or beside labelled rows."""
    assert all(head.is_labelled(row) for row in rows)
    for row in unlabelled:
        assert not head.is_labelled(row)
        assert head.check(row) is None
        assert sum(head.label_counts(row).values()) == 0
    masked = encode(head, unlabelled, tokenizer, training=False)
    assert all(example["targets"] == 0 for example in masked)
    states = random_states(masked)
    total, count = loss(head, masked, states)
    assert (total.item(), count.item()) == (0, 0)
    for counts in (
        head.counts(p, row) for p, row in zip(predict(head, unlabelled, tokenizer), unlabelled, strict=True)
    ):
        assert len(counts) == 0 if head.reduction == "cat" else not counts.any()
    _assert_company_changes_no_loss(head, rows, unlabelled, tokenizer)


def assert_gold_scores_perfectly(
    head: Head,
    rows: Sequence[Row],
    tokenizer: Any,
    gold_logits: GoldLogits,
    perfect: Mapping[str, float] | None = None,
) -> None:
    """Logits that say the gold, decoded and counted, give the best value of every metric.

    Args:
        gold_logits: Makes such logits from the collated fields.
        perfect: The best value of each metric; by default 1, or 0 where less is better.
    """
    examples = encode(head, rows, tokenizer, training=False)
    mask, fields = collate(head, examples)
    decoded = decode(head, rows, examples, head.outputs(gold_logits(fields), mask, fields))
    scores = score(head, decoded, rows)
    best = {name: float(name not in head.lower_is_better) for name in scores}
    assert scores == pytest.approx(best if perfect is None else perfect)


def assert_overfits(
    head: Head, rows: Sequence[Row], tokenizer: Any, encoder: Path, *, num_steps: int = 80, learning_rate: float = 3e-3
) -> None:
    """A tiny real encoder and the head learn a few rows by heart.

    Args:
        encoder: Folder of a tiny encoder (fixture `tiny_encoder`) with H = `HIDDEN`.
    """
    from transformers import AutoModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModel.from_pretrained(encoder)
        model.resize_token_embeddings(len(with_special_tokens(head, tokenizer)), mean_resizing=False)
        examples = encode(head, rows, tokenizer)
        before, after = _fit(model, head, examples, num_steps, learning_rate)
    assert after < 0.1 * before, (before, after)
    scored = encode(head, rows, tokenizer, training=False)
    with torch.no_grad():
        decoded = decode(head, rows, scored, outputs(head, scored, _encoder_states(model, scored)))
    assert score(head, decoded, rows)[head.primary_metric] > 0.95


def assert_scores_are_finite(head: Head, rows: Sequence[Row], tokenizer: Any) -> None:
    """Every metric is a finite float, for any prediction and for no rows at all, and the primary one is among them."""
    predictions = predict(head, rows, tokenizer)
    full = reduce_counts(head, [head.counts(p, row) for p, row in zip(predictions, rows, strict=True)])
    empty = full[:0] if head.reduction == "cat" else torch.zeros_like(full)
    assert head.primary_metric in head.score(full)
    for counts in (full, empty):
        scores = head.score(counts)
        assert set(scores) == set(head.score(full))
        assert all(type(value) is float and math.isfinite(value) for value in scores.values()), scores
        report = head.report(counts)
        assert all(math.isfinite(value) for line in report.per_class.values() for value in line.values())


def assert_predictions_are_json(head: Head, rows: Sequence[Row], tokenizer: Any) -> None:
    """A prediction survives being written and read as JSON, and counts the same after."""
    for prediction, row in zip(predict(head, rows, tokenizer), rows, strict=True):
        read = json.loads(json.dumps(prediction, allow_nan=False))
        assert torch.equal(head.counts(read, row), head.counts(prediction, row))


def assert_baselines_score_on_the_same_path(head: Head, train: Sequence[Row], rows: Sequence[Row]) -> None:
    """Every trivial predictor gives one prediction a row, which counts and scores like the model's."""
    predictors = head.baselines(iter(train))
    assert predictors
    for name, predictor in predictors.items():
        predictions = predictor(rows)
        assert len(predictions) == len(rows), name
        json.dumps(predictions, allow_nan=False)
        scores = score(head, predictions, rows)
        assert head.primary_metric in scores, name
        assert all(math.isfinite(value) for value in scores.values()), name
        assert predictor(rows) == predictions, name
        assert predictor([]) == [], name


def assert_bf16_loses_little(head: Head, rows: Sequence[Row], tokenizer: Any) -> None:
    """From logits in bf16 the loss and the outputs are computed in float32, and near those of float32.

    Both stand outside autocast, which would cast some operations by itself and hide a missing cast.
    """
    examples = encode(head, rows, tokenizer)
    states = random_states(examples)
    full, _ = loss(head, examples, states)
    mask, fields = collate(head, examples)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(states.bfloat16(), mask, fields)
    half, _ = head.loss(logits.bfloat16(), fields)
    assert half.dtype == torch.float32
    assert all(output.dtype == torch.float32 for output in head.outputs(logits.detach().bfloat16(), mask, fields))
    torch.testing.assert_close(half, full, rtol=0.05, atol=0.05)


def assert_training_waits_for_no_device(head: Head, rows: Sequence[Row], tokenizer: Any) -> None:
    """Logits and loss hang on no number's value by their shape, and nothing reads one: a GPU would be waited for.

    Fake tensors have shapes and no numbers, so that whatever needs one fails.
    """
    examples = encode(head, rows, tokenizer)
    states = random_states(examples)
    mask, fields = collate(head, examples)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        fields = {name: fake.from_tensor(value) for name, value in fields.items()}
        logits = head(fake.from_tensor(states), fake.from_tensor(mask), fields)
        total, count = head.loss(logits, fields)
    assert total.shape == count.shape == ()


def assert_primary_metric_is_chosen_by_name(build: Callable[..., Head], metrics: Sequence[str]) -> None:
    """The option `primary_metric` takes every metric of the head and refuses any other, naming the choices.

    Args:
        build: Makes the head from keyword arguments.
        metrics: All names of the head's metrics.
    """
    for metric in metrics:
        assert build(primary_metric=metric).primary_metric == metric
    with pytest.raises(ValueError, match="primary_metric") as error:
        build(primary_metric="acuracy")
    assert all(metric in str(error.value) for metric in metrics)


def assert_many_corpora_score_like_each_alone(head: Head, corpora: Corpora) -> None:
    """Many corpora at once have the primary metric that `score` gives to each, with its rows copied so many times."""
    counts, times = corpora
    scores = head.primary_scores(counts, times)
    assert (scores.shape, scores.dtype) == (times.shape[:-1], torch.float64)
    for line, found in zip(times, scores.tolist(), strict=True):
        copied = counts.repeat_interleave(line, dim=0)
        alone = head.score(copied if head.reduction == "cat" else copied.sum(0))[head.primary_metric]
        assert found == pytest.approx(alone, rel=0, abs=1e-12)
    assert torch.equal(head.primary_scores(counts, times[0]), scores[0])  # one corpus has no axis
    pairs = times[:2, None].double()
    assert torch.equal(head.primary_scores(counts, pairs), scores[:2, None])


# --- the path that a run takes, in short ------------------------------------------------------------------------------


def corpora(num_counts: int, unit: float = 1.0) -> st.SearchStrategy[Corpora]:
    """Counts of up to six rows, whole multiples of a unit, with any of the K left out of all rows.

    Of the corpora the first takes every row once, the second none, and two draw.
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
    """The tokenizer, or a copy that knows the head's special tokens."""
    if not head.special_tokens():
        return tokenizer
    own = copy.deepcopy(tokenizer)
    own.add_tokens(list(head.special_tokens()), special_tokens=True)
    return own


def encode(
    head: Head, rows: Sequence[Row], tokenizer: Any, *, training: bool = True, max_length: int = MAX_LENGTH
) -> list[Example]:
    return head.encode(rows, with_special_tokens(head, tokenizer), max_length, training=training)


def longest(examples: Sequence[Example]) -> int:
    return max(len(example["input_ids"]) for example in examples)


def attention_mask(examples: Sequence[Example], length: int) -> Tensor:
    """Where there are tokens, [B, T]."""
    return pad([[1] * len(example["input_ids"]) for example in examples], length, 0).bool()


def collate(head: Head, examples: Sequence[Example], length: int | None = None) -> tuple[Tensor, Fields]:
    """The mask [B, T] and the fields of some examples."""
    length = longest(examples) if length is None else length
    return attention_mask(examples, length), head.collate(examples, length)


def random_states(examples: Sequence[Example], seed: int = 0) -> Tensor:
    """Random states [B, T, H]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(examples), longest(examples), HIDDEN, generator=generator)


def loss(head: Head, examples: Sequence[Example], states: Tensor) -> tuple[Tensor, Tensor]:
    """Sum and count, without dropout."""
    mask, fields = collate(head.eval(), examples, states.shape[1])
    total, count = head.loss(head(states, mask, fields), fields)
    return total, count


def outputs(head: Head, examples: Sequence[Example], states: Tensor) -> list[Tensor]:
    mask, fields = collate(head.eval(), examples, states.shape[1])
    return head.outputs(head(states, mask, fields).detach(), mask, fields)


def decode(head: Head, rows: Sequence[Row], examples: Sequence[Example], found: Sequence[Tensor]) -> list[Prediction]:
    """One prediction a row, from all its examples."""
    predictions = []
    for index, row in enumerate(rows):
        own = [i for i, example in enumerate(examples) if example["row"] == index]
        predictions.append(head.decode(row, [examples[i] for i in own], [found[i] for i in own]))
    return predictions


def predict(head: Head, rows: Sequence[Row], tokenizer: Any) -> list[Prediction]:
    """Predictions from random states."""
    examples = encode(head, rows, tokenizer, training=False)
    found = outputs(head, examples, random_states(examples)) if examples else []
    return decode(head, rows, examples, found)


def reduce_counts(head: Head, counts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(counts)) if head.reduction == "cat" else torch.stack(list(counts)).sum(0)


def score(head: Head, predictions: Sequence[Prediction], rows: Sequence[Row]) -> dict[str, float]:
    return head.score(reduce_counts(head, [head.counts(p, row) for p, row in zip(predictions, rows, strict=True)]))


# --- private ----------------------------------------------------------------------------------------------------------


def _assert_company_changes_no_loss(head: Head, rows: Sequence[Row], unlabelled: Sequence[Row], tokenizer: Any) -> None:
    examples = encode(head, [*unlabelled, *rows], tokenizer, training=False)
    states = random_states(examples)
    labelled = [i for i, example in enumerate(examples) if example["row"] >= len(unlabelled)]
    alone = loss(head, [examples[i] for i in labelled], states[labelled])
    torch.testing.assert_close(loss(head, examples, states), alone, rtol=1e-5, atol=1e-5)


def _fit(
    model: torch.nn.Module, head: Head, examples: Sequence[Example], num_steps: int, learning_rate: float
) -> tuple[float, float]:
    """The mean loss before and after training on all examples at once."""
    optimizer = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=learning_rate)
    model.eval()  # without dropout few steps suffice
    losses = []
    for _ in range(num_steps):
        total, count = loss(head, examples, _encoder_states(model, examples))
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
        losses.append((total / count).item())
    return losses[0], losses[-1]


def _encoder_states(model: torch.nn.Module, examples: Sequence[Example]) -> Tensor:
    length = longest(examples)
    ids = pad([example["input_ids"] for example in examples], length, 0)
    kinds: dict[str, Tensor] = {}
    if "token_type_ids" in examples[0]:
        kinds["token_type_ids"] = pad([example["token_type_ids"] for example in examples], length, 0)
    mask = attention_mask(examples, length).long()
    states: Tensor = model(input_ids=ids, attention_mask=mask, **kinds).last_hidden_state
    return states
