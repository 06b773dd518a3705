"""Packed batches against padded ones, for every family that can be packed and some that cannot."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mtl.config.mixture import EncoderSpec
from mtl.encoder import packed_attention, pretrained
from mtl.encoder.model import Encoder
from mtl.encoder.packing import GROUPS, Group, Layout, borders
from mtl.encoder.pretrained import load_encoder, load_tokenizer
from tests.tiny_sizes import PACKED, PADDED

Tiny = Callable[[str], Path]
LENGTHS = [5, 60, 1, 17, 128, 17, 2, 33]


def load(folder: Path, **fields: Any) -> Encoder:
    spec = EncoderSpec(name=str(folder), **{"dropout": 0.0, **fields})
    return load_encoder(spec, load_tokenizer(spec), seed=0)


def sequences(seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(5, 60, length).tolist() for length in LENGTHS]


def states(encoder: Encoder, ids: list[list[int]], types: list[list[int]] | None = None) -> Tensor:
    layout = Layout([len(row) for row in ids])
    result: Tensor = encoder(layout.packed(ids), layout, None if types is None else layout.packed(types))
    return result


def padded_states(encoder: Encoder, ids: list[list[int]], types: list[list[int]] | None = None) -> Tensor:
    """The states of one padded pass by transformers' own attention, with zeros for padding."""
    longest, pad = max(map(len, ids)), encoder.config.pad_token_id

    def padded(rows: list[list[int]], value: int) -> Tensor:
        return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])

    inputs = {"input_ids": padded(ids, pad), "attention_mask": padded([[1] * len(row) for row in ids], 0)}
    if types is not None:
        inputs["token_type_ids"] = padded(types, 0)
    result: Tensor = encoder.model(**inputs).last_hidden_state
    return result * inputs["attention_mask"][..., None]


def gradients(encoder: Encoder, found: Tensor) -> dict[str, Tensor]:
    encoder.zero_grad()
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(3))
    (found * weights).sum().backward()
    return {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


# --- the layout -------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(1, 4), st.sampled_from([1, 2]))
@settings(max_examples=200, deadline=None)
def test_groups_cost_the_least_of_all_splits(lengths: list[int], most: int, power: int) -> None:
    falling = -np.sort(-np.array(lengths))

    def cost(split: Any) -> int:
        return sum(len(chunk) * int(chunk[0]) ** power for chunk in np.split(falling, split))

    splits = (s for n in range(most) for s in itertools.combinations(range(1, len(lengths)), n))
    found = borders(falling, most, power)
    assert len(found) < most
    assert cost(found) == min(map(cost, splits))


def test_random_batches_of_sentences_are_padded_little() -> None:
    batches = np.random.default_rng(0).lognormal(np.log(34), 0.45, (100, 32)).astype(int).clip(4, 128)

    def padded(groups: list[Group]) -> int:
        return sum(group.num * group.longest for group in groups)

    layouts = [Layout(batch) for batch in batches]
    real = batches.sum()
    # As in batches of biomedical sentences, of which a single pass would compute 2.2 to 2.7 times as many tokens.
    assert 2.2 < 32 * batches.max(axis=1).sum() / real < 2.7
    for_attention = sum(padded(layout.groups) for layout in layouts) / real
    assert sum(padded(layout.passes) for layout in layouts) / real < min(1.16, for_attention)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_the_tensors_of_a_group_say_where_each_token_is(lengths: list[int]) -> None:
    layout = Layout(lengths)
    for groups in (layout.groups, layout.passes):
        assert [group.start for group in groups[1:]] == [group.stop for group in groups[:-1]]
        assert groups[-1].stop == layout.num_tokens
        of_groups = np.split(layout.lengths, np.cumsum([group.num for group in groups])[:-1])
        for group, of_group in zip(groups, of_groups, strict=True):
            mask = np.arange(group.longest) < of_group[:, None]
            assert np.array_equal(group.mask.numpy(), mask)
            assert np.array_equal(group.slots.numpy(), np.flatnonzero(mask))
            tokens = np.where(mask, mask.cumsum().reshape(mask.shape) - 1, 0)
            assert np.array_equal(group.tokens.numpy(), tokens.reshape(-1))
            assert group.is_full == mask.all()


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_packing_and_unpacking_lose_nothing(lengths: list[int]) -> None:
    rows = [[100 * number + place for place in range(length)] for number, length in enumerate(lengths)]
    layout = Layout(lengths)
    ids = layout.packed(rows)
    assert len(ids) == sum(lengths) == layout.num_tokens
    assert layout.mask.sum(dim=1).tolist() == lengths
    back = layout.states(ids[:, None].float() + 1)[..., 0]
    assert [[int(v) - 1 for v in row[mask]] for row, mask in zip(back, layout.mask, strict=True)] == rows
    assert not back[~layout.mask].any()
    assert len(layout.groups) <= GROUPS
    parts = zip(layout.groups, layout.split(ids), strict=True)
    assert torch.equal(torch.cat([group.packed(group.padded(part)) for group, part in parts]), ids)
    values = torch.randn(layout.num_tokens, 3, 2)  # heads and units
    for group, part in zip(layout.groups, layout.split(values), strict=True):
        by_head = group.heads_padded(part)
        assert torch.equal(group.heads_packed(by_head), part)
        assert torch.equal(by_head, group.padded(part).transpose(1, 2))


# --- families ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", PACKED)
def test_states_and_gradients_equal_those_of_a_padded_pass(family: str, tiny_encoder: Tiny) -> None:
    packed, padded = load(tiny_encoder(family)), load(tiny_encoder(family), attention="eager")
    assert packed.packs
    assert not padded.packs
    ids = sequences()
    ours, theirs = states(packed, ids), padded_states(padded, ids)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    found, expected = gradients(packed, ours), gradients(padded, theirs)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5 * max(1.0, float(value.abs().max())))


@pytest.mark.parametrize("family", [*PACKED, *PADDED])
def test_a_sequence_moves_no_state_of_another_by_a_bit(family: str, tiny_encoder: Tiny) -> None:
    encoder = load(tiny_encoder(family)).eval()
    ids, other = sequences(), sequences(1)
    with torch.no_grad():
        before = states(encoder, ids)
        after = states(encoder, [*ids[:3], other[3], *ids[4:]])
    assert torch.equal(before[:3], after[:3])
    assert torch.equal(before[4:], after[4:])
    assert not torch.equal(before[3], after[3])


@pytest.mark.parametrize("family", PADDED)
def test_a_family_that_cannot_be_packed_is_padded_in_groups(
    family: str, tiny_encoder: Tiny, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="mtl"):
        encoder = load(tiny_encoder(family))
    assert not encoder.packs
    assert [record.args for record in caplog.records] == [(str(tiny_encoder(family)), family)]
    ids, passes = sequences(), []
    encoder.model.register_forward_pre_hook(
        lambda _, args, kwargs: passes.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    ours = states(encoder, ids)
    assert 1 < len(passes) <= GROUPS
    assert sum(passes) < 1.25 * sum(LENGTHS)
    theirs = padded_states(encoder, ids)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    found, expected = gradients(encoder, ours), gradients(encoder, theirs)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5 * max(1.0, float(value.abs().max())))


@pytest.mark.parametrize("family", ["bert", "albert", "electra"])
def test_token_types_of_pairs_are_packed_with_the_tokens(family: str, tiny_encoder: Tiny) -> None:
    packed, padded = load(tiny_encoder(family)).eval(), load(tiny_encoder(family), attention="eager").eval()
    ids = sequences()
    types = [[int(place > len(row) // 2) for place in range(len(row))] for row in ids]
    found = states(packed, ids, types)
    torch.testing.assert_close(found, padded_states(padded, ids, types), rtol=1e-5, atol=1e-5)
    assert not torch.equal(found, states(packed, ids))


def test_an_encoder_whose_sequences_would_mix_is_padded(tiny_encoder: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "_POSITIONS_FROM_TWO", frozenset())  # so that RoBERTa's positions are wrong
    encoder = load(tiny_encoder("roberta"))
    assert not encoder.packs
    monkeypatch.undo()
    expected = padded_states(load(tiny_encoder("roberta"), attention="eager"), sequences())
    torch.testing.assert_close(states(encoder, sequences()), expected, rtol=1e-5, atol=1e-5)


def test_the_check_changes_neither_random_numbers_nor_modes(tiny_encoder: Tiny) -> None:
    before = torch.get_rng_state()
    encoder = load(tiny_encoder("bert"))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training for module in encoder.modules())
    assert encoder.config._attn_implementation == packed_attention.NAME


def test_dropout_of_packed_states_and_attention_follows_the_seed(tiny_encoder: Tiny) -> None:
    encoder, ids = load(tiny_encoder("bert"), dropout=0.3), sequences()

    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return states(encoder, ids)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


@pytest.mark.parametrize("family", [name for name in (*PACKED, *PADDED) if name not in ("albert", "mpnet")])
def test_gradient_checkpointing_changes_no_gradient(family: str, tiny_encoder: Tiny) -> None:
    plain = load(tiny_encoder(family))
    saving = load(tiny_encoder(family), gradient_checkpointing=True)
    assert any(getattr(module, "gradient_checkpointing", False) for module in saving.modules())
    expected = gradients(plain, states(plain, sequences()))
    found = gradients(saving, states(saving, sequences()))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_no_attention_on_a_gpu_makes_a_plan_for_every_shape(family: str, tiny_encoder: Tiny) -> None:
    torch.backends.cuda.enable_cudnn_sdp(enabled=True)
    load(tiny_encoder(family))
    assert not torch.backends.cuda.cudnn_sdp_enabled()
