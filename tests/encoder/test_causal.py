"""Causal language models as encoders: packed or padded, no token sees a later one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel

from heads import Entity, SpanRow, TextRow
from heads.classification import Classification
from heads.token_classification import TokenClassification
from mtl.config.encoder_catalogue import catalogue, with_entry
from mtl.config.mixture import EncoderSpec
from mtl.encoder import packed_attention, pretrained
from mtl.encoder.families import batching
from mtl.encoder.model import Encoder
from mtl.encoder.packing import Layout
from mtl.encoder.pretrained import load_config, load_encoder, load_tokenizer
from mtl.encoder.self_check import sees_backwards_only
from mtl.problems import InputError
from tests import flash_kernel
from tests.causal_models import causal_folder, causal_tokenizer
from tests.heads import properties as has

PACKED, PADDED = ("llama", "gpt2", "mistral"), ("biogpt",)
LENGTHS = [5, 60, 1, 17, 128, 17, 2, 33]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that returns the folder of a tiny causal language model of a family."""
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            own = {"sliding_window": 7} if family == "mistral" else {}
            made[family] = causal_folder(tmp_path_factory.mktemp(family), family, **own)
        return made[family]

    return make


def load(folder: Path, **fields: Any) -> Encoder:
    spec = EncoderSpec(name=str(folder), **{"kind": "causal", "dropout": 0.0, **fields})
    return load_encoder(spec, load_tokenizer(spec), seed=0)


def sequences(seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 200, (length,), generator=generator).tolist() for length in LENGTHS]


def states(encoder: Encoder, ids: list[list[int]]) -> Tensor:
    layout = Layout([len(row) for row in ids])
    found: Tensor = encoder(layout.packed(ids), layout)
    return found


def of_transformers(model: Any, ids: list[list[int]]) -> Tensor:
    """The states of one padded pass of a model as transformers loads it, with zeros for padding."""
    longest = max(map(len, ids))
    padded = torch.tensor([[*row, *[0] * (longest - len(row))] for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
    found: Tensor = model(input_ids=padded, attention_mask=mask).last_hidden_state
    return found * mask[..., None]


def gradients(model: Any, found: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    (found * torch.randn(found.shape, generator=torch.Generator().manual_seed(3))).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", [*PACKED, *PADDED])
def test_states_and_gradients_equal_those_of_transformers(family: str, folder: Callable[[str], Path]) -> None:
    encoder = load(folder(family))
    assert encoder.is_causal
    assert encoder.packs == (family in PACKED)
    theirs = AutoModel.from_pretrained(folder(family), attn_implementation="eager").eval()
    ours, expected = states(encoder.eval(), sequences()), of_transformers(theirs, sequences())
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    found, wanted = gradients(encoder.model, ours), gradients(theirs, expected)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5 * max(1.0, float(value.abs().max())))


@pytest.mark.parametrize("family", [*PACKED, *PADDED])
def test_a_token_changes_neither_states_before_it_nor_other_sequences(
    family: str, folder: Callable[[str], Path]
) -> None:
    encoder, ids = load(folder(family)).eval(), sequences()
    changed = [list(row) for row in ids]
    changed[4][60] = 210
    with torch.no_grad():
        before, after = states(encoder, ids), states(encoder, changed)
    for place in range(len(ids)):
        if place != 4:
            assert torch.equal(before[place], after[place])
    assert torch.equal(before[4, :60], after[4, :60])
    assert not torch.isclose(before[4, 60:67], after[4, 60:67]).all(-1).any()


def test_dropout_reaches_every_rate_of_a_family(folder: Callable[[str], Path]) -> None:
    config = load_config(EncoderSpec(name=str(folder("gpt2")), kind="causal", dropout=0.3))
    assert [config.resid_pdrop, config.embd_pdrop, config.attn_pdrop] == [0.3] * 3


def test_frozen_embeddings_include_the_table_of_positions(folder: Callable[[str], Path]) -> None:
    encoder = load(folder("gpt2"), freeze_embeddings=True)
    frozen = {name for name, parameter in encoder.model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"wte.weight", "wpe.weight"}


def test_the_kind_must_be_that_of_the_family(
    folder: Callable[[str], Path], tiny_encoder: Callable[[str], Path]
) -> None:
    with pytest.raises(InputError) as causal:
        load_config(EncoderSpec(name=str(folder("gpt2"))))
    with pytest.raises(InputError) as bidirectional:
        load_config(EncoderSpec(name=str(tiny_encoder("bert")), kind="causal"))
    assert [problem.key for error in (causal, bidirectional) for problem in error.value.problems] == [
        "encoder.kind"
    ] * 2


def test_a_model_whose_tokens_see_later_ones_is_refused(
    tiny_encoder: Callable[[str], Path], folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "is_causal", lambda config: True)
    with pytest.raises(InputError) as error:
        load(tiny_encoder("bert"))
    assert [problem.key for problem in error.value.problems] == ["encoder.kind"]
    assert sees_backwards_only(load(folder("llama")).model)


def test_attention_in_both_directions_fails_the_check_and_pads(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    register = packed_attention.register
    monkeypatch.setattr(packed_attention, "register", lambda causal: register(causal=not causal))
    with caplog.at_level("INFO", logger="mtl"):
        encoder = load(folder("llama"))
    assert not encoder.packs
    (said,) = [record for record in caplog.records if record.name.startswith("mtl")]
    assert said.levelname == "WARNING"
    assert isinstance(said.args, tuple)
    assert said.args[:2] == (str(folder("llama")), "llama")
    theirs = AutoModel.from_pretrained(folder("llama")).eval()
    expected = of_transformers(theirs, sequences())
    torch.testing.assert_close(states(encoder.eval(), sequences()), expected, rtol=1e-5, atol=1e-5)


def test_the_last_token_is_read_by_default_and_the_first_cannot_be(folder: Callable[[str], Path]) -> None:
    encoder = load(folder("llama")).eval()
    ids = sequences()
    layout = Layout(LENGTHS)
    head, last = (Classification(["a", "b"], 16, dropout=0.0, pooling=pooling) for pooling in (None, "last"))
    last.load_state_dict(head.state_dict())
    for one in (head, last):
        assert one.encoder_problem(encoder.config) is None
        one.attach(encoder)
    found = states(encoder, ids)
    expected = torch.stack([found[place, length - 1] for place, length in enumerate(LENGTHS)])
    torch.testing.assert_close(head.pooling(found, layout.mask), expected)
    torch.testing.assert_close(head(found, layout.mask, {}), last(found, layout.mask, {}))
    for pooling in ("cls", "pooler"):
        problem = Classification(["a", "b"], 16, pooling=pooling).encoder_problem(encoder.config)
        assert problem is not None
        assert problem.startswith("pooling must be")
    assert Classification(["a", "b"], 16, pooling="mean").encoder_problem(encoder.config) is None


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_the_kernel_for_a_gpu_is_told_to_look_backwards_and_how_far(
    family: str, folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load(folder(family)).eval()
    expected = states(encoder, sequences())
    monkeypatch.setattr(packed_attention, "_has_kernel", lambda *_: True)
    flash_kernel.install(monkeypatch)
    assert encoder.packs
    torch.testing.assert_close(states(encoder, sequences()), expected, rtol=1e-5, atol=1e-5)


def test_other_heads_learn_from_it(tmp_path: Path) -> None:
    texts = ["aspirin helps", "fever hurts", "no aspirin", "a fever"]
    tokenizer = causal_tokenizer([*texts, "aspirin fever"])
    model = causal_folder(tmp_path, "llama", tokenizer)
    rows = [TextRow(str(i), str(i), text, label="yes" if "aspirin" in text else "no") for i, text in enumerate(texts)]
    head = Classification(["yes", "no"], has.HIDDEN, dropout=0.0)
    has.assert_overfits(head, rows, tokenizer, model, num_steps=80, learning_rate=0.01)
    spans = [
        SpanRow(row.id, row.id, row.text, entities=(Entity("1", "Drug", (place,)),) if place[0] >= 0 else ())
        for row in rows
        for place in [(row.text.find("aspirin"), row.text.find("aspirin") + 7)]
    ]
    tags = TokenClassification(["Drug"], has.HIDDEN, dropout=0.0)
    has.assert_overfits(tags, spans, tokenizer, model, num_steps=80, learning_rate=0.01)


def test_the_catalogue_packs_decoders_of_families_that_can_be_packed() -> None:
    assert batching(catalogue()["ettin-decoder-150m"]) == "packed"
    assert batching(catalogue()["biogpt"]) == "padded"
    assert with_entry({"name": "biogpt"})["kind"] == "causal"
    assert "kind" not in with_entry({"name": "pubmedbert"})
