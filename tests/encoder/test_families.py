"""Whether the catalogue says of a family what the engine does with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModel

from heads._causal import is_causal
from mtl.config.encoder_catalogue import catalogue
from mtl.config.mixture import EncoderSpec
from mtl.encoder.families import batching, padding_reasons
from mtl.encoder.pretrained import load_encoder, load_tokenizer
from tests.tiny_sizes import SIZES

FAMILIES = sorted({entry.family for entry in catalogue().values()})

OWN: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "electra": {"embedding_size": 8},
    "longformer": {"attention_window": [8, 8]},
    "modernbert": {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3},
    "modernbert-decoder": {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3},
    "ultrabert": {"bos_token_id": 2, "eos_token_id": 3},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_catalogue_says_what_the_engine_does_with_a_tiny_model_of_the_family(
    family: str, tokenizer: Any, tmp_path: Path
) -> None:
    (said,) = {batching(entry) for entry in catalogue().values() if entry.family == family}
    if family not in CONFIG_MAPPING:
        assert said == "not loadable"
        return
    sizes = {**SIZES, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, **OWN.get(family, {})}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModel.from_config(CONFIG_MAPPING[family](**sizes)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    kind = "causal" if is_causal(CONFIG_MAPPING[family]()) else None
    spec = EncoderSpec(name=str(tmp_path), kind=kind, max_length=16)
    encoder = load_encoder(spec, load_tokenizer(spec), seed=0)
    assert said == ("packed" if encoder.packs else "padded")


def test_families_of_both_kinds_are_in_the_catalogue() -> None:
    said: dict[str, set[str]] = {}
    for entry in catalogue().values():
        said.setdefault(batching(entry), set()).add(entry.family)
    assert {"bert", "electra", "modernbert"} <= said["packed"]
    assert {"biogpt", "deberta-v2", "longformer", "big_bird", "megatron-bert"} <= said["padded"]
    assert "gliner" in said["not loadable"]


@pytest.mark.parametrize(
    ("family", "architecture", "said"),
    [
        ("bert", "encoder", "packed"),
        ("bert", "decoder", "padded"),
        ("llama", "decoder", "packed"),
        ("biogpt", "decoder", "padded"),
        ("unheard-of", "encoder", "not loadable"),
    ],
)
def test_it_depends_on_family_and_architecture_alone(family: str, architecture: str, said: str) -> None:
    entry = catalogue()["gatortron"].model_copy(update={"family": family, "architecture": architecture})
    assert batching(entry) == said


def reason(family: str, attention: Any = "auto", *, packs: bool | None = None) -> str | None:
    """Why batches are padded."""
    spec = EncoderSpec(name="anything", attention=attention)
    found = padding_reasons(spec, CONFIG_MAPPING[family](), packs=packs)
    assert found.keys() <= {"encoder.attention"}
    return found.get("encoder.attention")


def test_a_packed_encoder_and_one_that_may_be_packed_need_no_reason() -> None:
    assert reason("bert") is reason("bert", packs=True) is None


def test_the_reasons_of_the_user_of_the_family_and_of_the_self_check_differ() -> None:
    asked, family, checked = reason("bert", "sdpa"), reason("deberta-v2"), reason("bert", packs=False)
    assert len({asked, family, checked, None}) == 4
    assert asked == reason("bert", "sdpa", packs=False) == reason("deberta-v2", "sdpa", packs=False)
    assert family == reason("deberta-v2", packs=False)
    assert "sdpa" in str(asked)
    assert "deberta-v2" in str(family)
    assert "bert" in str(checked)
