from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.func import functional_call

from mtl.config.mixture import EncoderSpec
from mtl.encoder.whole_model import load_whole_model
from mtl.problems import InputError
from mtl.vocabulary.exchange import exchange_of
from mtl.vocabulary.initialisers import Setting
from mtl.vocabulary.initialisers.distill import Distill
from mtl.vocabulary.initialisers.pieces_mean import PiecesMean
from mtl.vocabulary.new_tokenizers import extended
from mtl.vocabulary.occurrences import occurrences_of
from tests.masked_lm_models import masked_lm_folder
from tests.vocabulary.corpora import DOCUMENTS


def setting_of(folder: Path, tokenizer: Any, words: list[str]) -> Setting:
    model = load_whole_model(EncoderSpec(name=str(folder)))
    new = extended(tokenizer, words)
    exchange = exchange_of(tokenizer, new, len(model.inputs))
    found = occurrences_of(exchange.ids, DOCUMENTS, new, most=100, length=50, seed=1)
    return Setting(model, tokenizer, new, exchange, found, 64, 1)


def test_a_first_step_starts_at_the_mean_squared_error_by_hand(mlm_folder: Callable[..., Path], tokenizer: Any) -> None:
    setting = setting_of(mlm_folder(), tokenizer, ["metformin"])
    text = "the metformin risk"
    occurrences = {setting.exchange.ids[0]: setting.occurrences[setting.exchange.ids[0]][:1]}
    occurrences = {key: [one._replace(text=text)] for key, (one,) in occurrences.items()}
    found = Distill(learning_rate=1e-9).rows(setting._replace(occurrences=occurrences))
    encoder, table = setting.model.encoder, setting.model.inputs
    pieces = tokenizer("metformin", add_special_tokens=False)["input_ids"]
    old_ids = tokenizer(text)["input_ids"]
    new_ids = [*old_ids[:2], len(table), *old_ids[2 + len(pieces) :]]
    assert new_ids == setting.new(text)["input_ids"]
    rows = torch.cat([table, table[pieces].mean(dim=0, keepdim=True)])
    name = next(name for name, one in encoder.named_parameters() if one is table)
    with torch.no_grad():
        student = functional_call(encoder, {name: rows}, (torch.tensor([new_ids]),)).last_hidden_state[0]
        teacher = encoder(torch.tensor([old_ids])).last_hidden_state[0]
    last = 1 + len(pieces)
    shared = torch.cat([teacher[:2], teacher[last:]])  # what precedes the word, and from its last piece
    assert len(shared) == len(student)
    assert found.report["first_loss"] == pytest.approx(float(((student - shared) ** 2).mean()), rel=1e-4)


@pytest.mark.parametrize("cross_entropy", [False, True])
def test_training_lowers_the_error_and_moves_only_new_rows(
    cross_entropy: bool, mlm_folder: Callable[..., Path], tokenizer: Any
) -> None:
    setting = setting_of(mlm_folder(), tokenizer, ["metformin", "hypertension"])
    before = {name: value.clone() for name, value in setting.model.model.state_dict().items()}
    method = Distill(learning_rate=0.01, epochs=60, batch_size=4, cross_entropy=cross_entropy)
    found = method.rows(setting)
    # Later tokens have other positions than in the old texts, so that a part of the error cannot be learned away.
    assert found.report["last_loss"] < 0.95 * found.report["first_loss"]
    assert all(torch.equal(value, before[name]) for name, value in setting.model.model.state_dict().items())
    start = PiecesMean().rows(setting).inputs
    assert (found.inputs - start).abs().amax(dim=1).min() > 1e-3


def test_a_token_without_texts_keeps_the_mean_of_its_pieces(mlm_folder: Callable[..., Path], tokenizer: Any) -> None:
    setting = setting_of(mlm_folder(), tokenizer, ["metformin", "zopiclone"])
    found = Distill(learning_rate=0.01).rows(setting).inputs
    start = PiecesMean().rows(setting).inputs
    assert torch.equal(found[1], start[1])
    assert not torch.equal(found[0], start[0])


def test_an_output_layer_with_its_own_table_is_trained_by_the_cross_entropy(
    tiny_encoder: Callable[[str], Path], tokenizer: Any, tmp_path: Path
) -> None:
    masked_lm_folder(tmp_path, tiny_encoder("bert"), tokenizer, tie_word_embeddings=False)
    setting = setting_of(tmp_path, tokenizer, ["metformin"])
    assert setting.model.outputs is not None
    pieces = list(setting.exchange.tokens[0].pieces)
    start = setting.model.outputs[pieces].mean(dim=0)
    without, trained = (
        Distill(learning_rate=0.01, cross_entropy=value).rows(setting).outputs for value in (False, True)
    )
    assert without is not None
    assert trained is not None
    assert torch.allclose(without[0], start)
    assert not torch.allclose(trained[0], start)


def test_the_cross_entropy_needs_a_head(tiny_encoder: Callable[[str], Path], tokenizer: Any) -> None:
    with pytest.raises(InputError) as caught:
        Distill(cross_entropy=True).rows(setting_of(tiny_encoder("bert"), tokenizer, ["metformin"]))
    assert [problem.key for problem in caught.value.problems] == ["init.cross_entropy"]
