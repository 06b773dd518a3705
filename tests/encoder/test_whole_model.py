from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForPreTraining

from mtl.config.loading import load_mixture
from mtl.config.mixture import EncoderSpec
from mtl.encoder.whole_model import load_whole_model
from mtl.problems import InputError
from tests.masked_lm_models import masked_lm_folder
from tests.trained_runs import saved_run


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("kind", [AutoModel, AutoModelForMaskedLM, AutoModelForPreTraining])
def test_a_saved_model_has_the_weights_of_its_checkpoint(
    kind: Any, tiny_encoder: Callable[[str], Path], tokenizer: Any, tmp_path: Path
) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    kind.from_config(AutoConfig.from_pretrained(tiny_encoder("bert"))).save_pretrained(base)
    tokenizer.save_pretrained(base)
    found = load_whole_model(EncoderSpec(name=str(base)))
    assert found.has_masked_lm == (kind is not AutoModel)
    found.save(out)
    before, after = weights_of(base), weights_of(out)
    # The head for the next sentence is not kept.
    assert after.keys() == {name for name in before if "seq_relationship" not in name}
    assert all(torch.equal(value, before[name]) for name, value in after.items())


def test_a_pooler_that_the_checkpoint_lacks_is_not_saved(
    tiny_encoder: Callable[[str], Path], tokenizer: Any, tmp_path: Path
) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    encoder: Any = AutoModel.from_pretrained(tiny_encoder("bert"), add_pooling_layer=False)
    encoder.save_pretrained(base)
    tokenizer.save_pretrained(base)
    load_whole_model(EncoderSpec(name=str(base))).save(out)
    assert weights_of(out).keys() == weights_of(base).keys()
    assert not [name for name in weights_of(out) if "pooler" in name]


def test_the_logits_are_those_of_transformers(
    tiny_encoder: Callable[[str], Path], tokenizer: Any, tmp_path: Path
) -> None:
    model, folder = masked_lm_folder(tmp_path, tiny_encoder("bert"), tokenizer)
    found = load_whole_model(EncoderSpec(name=str(folder)))
    encoded = tokenizer("the patient has fever", return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(found.model(**encoded).logits, model(**encoded).logits)
    assert found.outputs is None


def test_an_output_layer_of_its_own_is_not_tied(
    tiny_encoder: Callable[[str], Path], tokenizer: Any, tmp_path: Path
) -> None:
    _, folder = masked_lm_folder(tmp_path, tiny_encoder("bert"), tokenizer, tie_word_embeddings=False)
    found = load_whole_model(EncoderSpec(name=str(folder)))
    assert found.outputs is not None
    assert not torch.equal(found.outputs, found.inputs)


def test_a_run_must_be_exported_first(tiny_encoder: Callable[[str], Path], tmp_path: Path) -> None:
    encoder = {"name": str(tiny_encoder("bert")), "max_length": 48}
    tasks = {"a": {"head": "classification", "labels": ["x", "y"], "data": {"reader": "jsonl", "path": "rows"}}}
    run, _ = saved_run(tmp_path / "runs", load_mixture({"name": "m", "encoder": encoder, "tasks": tasks}))
    with pytest.raises(InputError) as caught:
        load_whole_model(EncoderSpec(name=str(run.path)))
    assert [problem.key for problem in caught.value.problems] == ["encoder.name"]
