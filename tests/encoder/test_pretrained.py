import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import AlbertConfig, AutoModel, AutoTokenizer, BertConfig

from mtl.config.loading import load_mixture
from mtl.config.mixture import EncoderSpec
from mtl.encoder import packed_attention
from mtl.encoder.location import encoder_identity
from mtl.encoder.packing import Layout
from mtl.encoder.pretrained import (
    is_said_to_pack,
    load_config,
    load_encoder,
    load_tokenizer,
    longest_input,
    supports_packing,
    tokenizer_fingerprint,
)
from mtl.problems import InputError

FAMILIES = ["bert", "roberta", "deberta-v2", "electra", "distilbert", "modernbert", "eurobert"]
Tiny = Callable[[str], Path]


def spec(folder: Path, **fields: Any) -> EncoderSpec:
    return EncoderSpec(name=str(folder), **{"max_length": 48, **fields})


def load(folder: Path, tokens: tuple[str, ...] = (), seed: int = 0, **fields: Any) -> Any:
    described = spec(folder, **fields)
    return load_encoder(described, load_tokenizer(described, tokens), seed)


def states(encoder: Any, ids: list[int]) -> torch.Tensor:
    inputs = torch.tensor(ids)
    with torch.no_grad():
        return encoder(inputs, Layout([len(ids)]), torch.zeros_like(inputs))


def new_row(encoder: Any, folder: Path, tokens: tuple[str, ...], token: str) -> torch.Tensor:
    index = load_tokenizer(spec(folder), tokens).convert_tokens_to_ids(token)
    return encoder.model.get_input_embeddings().weight.detach()[index]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_step_with_two_heads_gives_every_trained_weight_a_gradient(
    family: str, toy_mixture: Callable[..., Path], train: Callable[..., Any]
) -> None:
    # DDP fails on weights without gradients, so there must be no pooler and no unused layer.
    missing: list[str] = []
    steps: list[int] = []

    def look(module: Any, data: Any) -> None:
        def before_step(optimizer: Any) -> None:
            steps.append(1)
            trained = [(n, p) for n, p in module.encoder.named_parameters() if p.requires_grad]
            missing.extend(name for name, parameter in trained if parameter.grad is None)

        module.on_before_optimizer_step = before_step

    path = toy_mixture(family)
    mixture = load_mixture(path).only(["cause", "drugs"])
    train(mixture, before=look, limit_val_batches=0)
    assert len(steps) == 7 + 4
    assert missing == []


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_freezing_and_dropout_have_an_effect(family: str, tiny_encoder: Tiny) -> None:
    folder = tiny_encoder(family)
    ids = [2, 20, 21, 22, 3]
    whole = load(folder, dropout=0.0)
    assert torch.equal(states(whole, ids), states(whole, ids))
    dropping = load(folder, dropout=0.5)
    assert not torch.equal(states(dropping, ids), states(dropping, ids))
    assert torch.equal(states(dropping.eval(), ids), states(whole, ids))
    shallow = load(folder, num_layers=1, dropout=0.0)
    assert sum(p.numel() for p in shallow.parameters()) < sum(p.numel() for p in whole.parameters())
    assert not torch.allclose(states(shallow, ids), states(whole, ids))
    names = dict(whole.named_parameters())
    assert all(torch.equal(value, names[name]) for name, value in shallow.named_parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_layers_and_all_below_them_keep_their_weights(family: str, tiny_encoder: Tiny) -> None:
    encoder = load(tiny_encoder(family), freeze_layers=1)
    encoder(torch.tensor([2, 20, 21, 3]), Layout([4])).pow(2).sum().backward()
    trained = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    frozen = {name for name, parameter in encoder.named_parameters() if not parameter.requires_grad}
    layers = next(name for name in ("layer.", "layers.") if any(f".{name}0." in n for n in trained | frozen))
    assert all(f".{layers}0." not in name and "embeddings" not in name for name in trained)
    assert any(f".{layers}1." in name for name in trained)
    assert any(f".{layers}0." in name for name in frozen)
    assert all(parameter.grad is None for name, parameter in encoder.named_parameters() if name in frozen)
    assert all(parameter.grad is not None for name, parameter in encoder.named_parameters() if name in trained)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_trained_if_all_layers_are_frozen(family: str, tiny_encoder: Tiny) -> None:
    """Not a final norm or a table of relative positions either: tasks that are kept score as before."""
    encoder = load(tiny_encoder(family), freeze_layers=2)
    assert [name for name, parameter in encoder.named_parameters() if parameter.requires_grad] == []


def test_dropout_is_on_in_training(toy_mixture: Callable[..., Path], train: Callable[..., Any]) -> None:
    seen: list[bool] = []

    def look(module: Any, data: Any) -> None:
        forward = module.encoder.forward

        def noting(*inputs: Any) -> torch.Tensor:
            seen.append(all(part.training for part in module.encoder.modules()) == module.training)
            seen.append(module.training)
            return forward(*inputs)

        module.encoder.forward = noting

    path = toy_mixture()
    train(load_mixture(path).only(["risk"]), before=look)
    assert seen[:2] == [True, True]
    assert all(seen[0::2])
    assert not seen[-1]  # off again in the evaluation at the end


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_are_added_whole_and_the_embedding_grows(family: str, tiny_encoder: Tiny) -> None:
    folder = tiny_encoder(family)
    described = spec(folder)
    tokenizer = load_tokenizer(described, ["@CHEMICAL$", "@DISEASE$", "@CHEMICAL$"])
    size = len(AutoTokenizer.from_pretrained(folder))
    assert len(tokenizer) == size + 2
    ids = tokenizer("aspirin @CHEMICAL$ inhibits")["input_ids"]
    assert ids.count(tokenizer.convert_tokens_to_ids("@CHEMICAL$")) == 1
    encoder = load_encoder(described, tokenizer, seed=0)
    assert encoder.model.get_input_embeddings().weight.shape[0] == size + 2
    assert encoder.config.vocab_size == size + 2
    old = AutoModel.from_pretrained(folder).get_input_embeddings().weight
    assert torch.equal(encoder.model.get_input_embeddings().weight[:size], old)
    assert states(encoder, ids).shape == (1, len(ids), encoder.hidden_size)


def test_a_new_embedding_does_not_depend_on_other_new_tokens(tiny_encoder: Tiny) -> None:
    folder = tiny_encoder("bert")
    alone, together = ("@B$",), ("@A$", "@B$", "@C$")
    row = new_row(load(folder, alone), folder, alone, "@B$")
    assert torch.equal(row, new_row(load(folder, together), folder, together, "@B$"))
    assert not torch.equal(row, new_row(load(folder, together), folder, together, "@A$"))
    assert not torch.equal(row, new_row(load(folder, alone, seed=1), folder, alone, "@B$"))


def test_a_new_embedding_is_close_to_the_mean_of_the_old_ones(tiny_encoder: Tiny) -> None:
    folder = tiny_encoder("bert")
    tokens = tuple(f"@T{n}$" for n in range(200))
    encoder = load(folder, tokens)
    table = encoder.model.get_input_embeddings().weight.detach()
    old, new = table[:-200], table[-200:]
    assert (new - old.mean(0)).mean().abs() < 0.002
    assert (new - old.mean(0)).std() == pytest.approx(0.02, rel=0.05)


def test_unused_rows_of_the_embedding_table_are_redrawn_for_new_tokens(tiny_encoder: Tiny, tmp_path: Path) -> None:
    # Some encoders (DeBERTa-v3) have more rows than tokens; a new embedding must not depend on its index.
    model = AutoModel.from_pretrained(tiny_encoder("bert"))
    model.resize_token_embeddings(model.config.vocab_size + 8)
    folder = tmp_path / "padded"
    shutil.copytree(tiny_encoder("bert"), folder)
    model.save_pretrained(folder)
    alone, together = ("@B$",), ("@A$", "@B$")
    encoder = load(folder, together)
    assert encoder.model.get_input_embeddings().weight.shape[0] == model.config.vocab_size
    row = new_row(encoder, folder, together, "@B$")
    assert torch.equal(row, new_row(load(folder, alone), folder, alone, "@B$"))


def test_a_known_token_keeps_its_embedding(tiny_encoder: Tiny) -> None:
    folder = tiny_encoder("bert")
    known = load(folder, ("aspirin", "@A$"))
    assert torch.equal(
        new_row(known, folder, ("aspirin", "@A$"), "aspirin"), new_row(load(folder), folder, (), "aspirin")
    )


def test_without_weights_the_architecture_is_the_same(tiny_encoder: Tiny) -> None:
    described = spec(tiny_encoder("bert"), num_layers=1)
    tokenizer = load_tokenizer(described, ["@A$"])
    whole = load_encoder(described, tokenizer, 0).state_dict()
    bare = load_encoder(described, tokenizer, 0, weights=False).state_dict()
    assert {n: v.shape for n, v in whole.items()} == {n: v.shape for n, v in bare.items()}
    table = "model.embeddings.word_embeddings.weight"
    assert not torch.equal(whole[table], bare[table])


@pytest.mark.parametrize(("family", "longest"), [("bert", 130), ("roberta", 128), ("modernbert", 130)])
def test_the_longest_input_is_the_longest_that_the_encoder_accepts(
    family: str, longest: int, tiny_encoder: Tiny
) -> None:
    folder = tiny_encoder(family)
    assert longest_input(load_config(spec(folder))) == longest
    assert states(load(folder), [20] * longest).shape[1] == longest
    with pytest.raises(InputError, match=rf"encoder\.max_length: .* {longest} .* got {longest + 1}\."):
        load_config(spec(folder, max_length=longest + 1))


@pytest.mark.parametrize("field", ["num_layers", "freeze_layers"])
def test_more_layers_than_the_encoder_has_are_an_error(field: str, tiny_encoder: Tiny) -> None:
    with pytest.raises(InputError, match=rf"encoder\.{field}: .* 2, got 3\."):
        load_config(spec(tiny_encoder("bert"), **{field: 3}))


def test_layers_that_share_their_weights_cannot_be_frozen_separately(tmp_path: Path) -> None:
    AlbertConfig(num_hidden_layers=3, num_hidden_groups=1).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"encoder\.freeze_layers: "):
        load_config(spec(tmp_path, freeze_layers=1))
    load_config(spec(tmp_path))


@pytest.mark.parametrize("family", ["albert", "mpnet"])
def test_a_family_without_gradient_checkpointing_is_reported(family: str, tiny_encoder: Tiny) -> None:
    with pytest.raises(InputError) as caught:
        load(tiny_encoder(family), gradient_checkpointing=True)
    assert [problem.key for problem in caught.value.problems] == ["encoder.gradient_checkpointing"]


def test_all_problems_of_an_encoder_are_reported_together(tiny_encoder: Tiny) -> None:
    with pytest.raises(InputError) as caught:
        load_config(spec(tiny_encoder("bert"), num_layers=9, freeze_layers=9, max_length=999))
    assert [problem.key for problem in caught.value.problems] == [
        "encoder.num_layers",
        "encoder.freeze_layers",
        "encoder.max_length",
    ]


@pytest.mark.parametrize("name", ["no/such-encoder", "./nowhere", "someone/unknown-encoder-of-tests"])
@pytest.mark.parametrize("what", [load_config, load_tokenizer])
def test_an_encoder_that_does_not_exist_is_reported(name: str, what: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match=rf"encoder\.name: '{name}'") as caught:
        what(EncoderSpec(name=name))
    assert "minilm-l6" in caught.value.problems[0].suggestion


def test_a_misspelt_packaged_encoder_gets_its_name_as_advice() -> None:
    with pytest.raises(InputError) as caught:
        load_config(EncoderSpec(name="minilm-16"))
    (problem,) = caught.value.problems
    assert problem.key == "encoder.name"
    assert "'minilm-l6'" in problem.suggestion
    assert "'minilm-16'" in problem.message


@pytest.mark.parametrize("name", ["MiniLM-L6", "minilm_l6"])
def test_capitals_dashes_and_underscores_of_a_name_do_not_matter(name: str) -> None:
    assert load_config(EncoderSpec(name=name)).hidden_size == 384


def test_a_folder_may_have_a_name_similar_to_a_packaged_encoder(
    tiny_encoder: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_encoder("bert"), tmp_path / "minilm-l6-ours")
    assert load_config(EncoderSpec(name="minilm-l6-ours")).hidden_size == 16


@pytest.mark.slow
def test_an_unreachable_hub_is_asked_only_once(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound and not listening, so that every connection is refused
        taken.bind(("127.0.0.1", 0))
        hub = {
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path),
            "HF_ENDPOINT": f"http://127.0.0.1:{taken.getsockname()[1]}",
        }
        script = (
            "from mtl.encoder.pretrained import load_config, load_tokenizer\n"
            "from mtl.config.mixture import EncoderSpec\n"
            "for load in (load_config, load_tokenizer):\n"
            "    try: load(EncoderSpec(name='someone/bert-bse-uncased'))\n"
            "    except ValueError as error: print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, **hub}, capture_output=True, text=True, check=True
        )
    assert done.stdout.count("encoder.name: 'someone/bert-bse-uncased' ") == 2
    assert "Retrying" not in done.stderr


def test_a_folder_without_weights_is_reported(tiny_encoder: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(tiny_encoder("bert"), folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"encoder\.name"):
        load(folder)


def test_damaged_weights_are_reported(tiny_encoder: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_encoder("bert"), folder)
    (folder / "model.safetensors").write_bytes(b"none")
    with pytest.raises(InputError, match=r"encoder\.name"):
        load(folder)


def test_a_configuration_that_is_not_json_is_reported(tiny_encoder: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny_encoder("bert"), folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"encoder\.name"):
        load_config(spec(folder))


def test_the_fingerprint_distinguishes_tokenizers_and_ignores_earlier_calls(tiny_encoder: Tiny) -> None:
    described = spec(tiny_encoder("bert"))
    tokenizer = load_tokenizer(described)
    before = tokenizer_fingerprint(tokenizer)
    tokenizer(["aspirin", "aspirin inhibits cox - 2"], padding=True, truncation=True, max_length=4)
    assert tokenizer_fingerprint(tokenizer) == before == tokenizer_fingerprint(load_tokenizer(described))
    assert tokenizer_fingerprint(load_tokenizer(described, ["@A$"])) != before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("truncation_side", "left"),
        ("padding_side", "left"),
        ("model_input_names", ["input_ids", "attention_mask"]),
        ("split_special_tokens", True),
    ],
)
def test_the_fingerprint_distinguishes_settings_of_one_backend(tiny_encoder: Tiny, name: str, value: Any) -> None:
    described = spec(tiny_encoder("bert"))
    tokenizer = load_tokenizer(described)
    before, backend = tokenizer_fingerprint(tokenizer), tokenizer.backend_tokenizer.to_str()
    setattr(tokenizer, name, value)
    assert tokenizer.backend_tokenizer.to_str() == backend
    assert tokenizer_fingerprint(tokenizer) != before


def test_the_fingerprint_distinguishes_classes_with_one_backend(tiny_encoder: Tiny) -> None:
    described = spec(tiny_encoder("bert"))
    tokenizer, other = load_tokenizer(described), load_tokenizer(described)
    other.__class__ = type("AnotherTokenizer", (type(tokenizer),), {})
    assert tokenizer_fingerprint(other) != tokenizer_fingerprint(tokenizer)


def test_the_encoder_needs_no_network(tiny_encoder: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert (
        load(tiny_encoder("bert")).hidden_size
        == json.loads((tiny_encoder("bert") / "config.json").read_text())["hidden_size"]
    )


# --- attention --------------------------------------------------------------------------------------------------------


def test_the_source_of_a_family_says_whether_it_can_be_packed(tiny_encoder: Tiny) -> None:
    configs = [load_config(spec(tiny_encoder(family))) for family in FAMILIES]
    expected = [supports_packing(config) for config in configs]
    assert set(expected) == {True, False}
    assert [is_said_to_pack(config) for config in configs] == expected


def test_a_family_that_is_not_in_transformers_is_asked_itself() -> None:
    class OwnConfig(BertConfig):
        model_type = "own-family"

    assert OwnConfig.__module__ == __name__
    assert not is_said_to_pack(OwnConfig())


def test_a_family_that_needs_an_argument_that_packed_attention_lacks_is_padded_and_the_argument_is_logged(
    tiny_encoder: Tiny, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    check = packed_attention._check_arguments
    monkeypatch.setattr(packed_attention, "_check_arguments", lambda others: check({**others, "s_aux": 1}))
    assert not load(tiny_encoder("bert")).packs
    assert "s_aux" in caplog.text


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_requested_attention_is_kept_and_pads(attention: str, tiny_encoder: Tiny) -> None:
    encoder = load(tiny_encoder("bert"), attention=attention).eval()
    assert encoder.config._attn_implementation == attention
    assert not encoder.packs
    ids = [2, 20, 21, 22, 3]
    torch.testing.assert_close(
        states(load(tiny_encoder("bert")).eval(), ids), states(encoder, ids), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_random_weights_are_those_of_the_seed_and_of_no_checkpoint(family: str, tiny_encoder: Tiny) -> None:
    folder = tiny_encoder(family)
    first, again, other = (load(folder, seed=seed, weights="random") for seed in (0, 0, 1))
    weights = {name: value for name, value in first.named_parameters() if value.std() > 0}
    pretrained = dict(load(folder).named_parameters())
    assert weights
    for name, value in first.named_parameters():
        assert torch.equal(value, again.get_parameter(name))
    for name, value in weights.items():
        assert not torch.equal(value, other.get_parameter(name)), name
        assert not torch.equal(value, pretrained[name]), name
    assert first.masked_lm_weights() == {}
    assert first.shipped == {}


def test_random_weights_need_a_configuration_and_a_tokenizer_only_and_take_its_vocabulary(
    tmp_path: Path, tiny_encoder: Tiny, tokenizer: Any
) -> None:
    config = json.loads((tiny_encoder("bert") / "config.json").read_text())
    (tmp_path / "shape").mkdir()
    (tmp_path / "shape" / "config.json").write_text(json.dumps({**config, "vocab_size": 7, "pad_token_id": 3}))
    larger = type(tokenizer)(vocab={**tokenizer.get_vocab(), "naproxen": len(tokenizer)})
    larger.save_pretrained(tmp_path / "words")
    described = spec(tmp_path / "shape", weights="random", tokenizer=str(tmp_path / "words"))
    found = load_tokenizer(described)
    assert len(found) == len(tokenizer) + 1
    encoder = load_encoder(described, found, 0)
    assert len(encoder.token_embeddings.weight) == len(found)
    assert encoder.config.pad_token_id == found.pad_token_id
    row = encoder.token_embeddings.weight[found.convert_tokens_to_ids("fever")]
    assert 0.005 < row.std() < 0.05  # initializer_range 0.02


def test_the_identity_of_random_weights_is_in_the_configuration_and_the_tokenizer(
    tmp_path: Path, tiny_encoder: Tiny
) -> None:
    copy = shutil.copytree(tiny_encoder("bert"), tmp_path / "copy")
    random = spec(tiny_encoder("bert"), weights="random")
    assert encoder_identity(random) == encoder_identity(spec(copy, weights="random"))
    others = [spec(copy), spec(copy, weights="random", tokenizer=str(tiny_encoder("roberta")))]
    assert encoder_identity(random) not in [encoder_identity(other) for other in others]


def test_a_tokenizer_that_is_absent_is_reported_by_its_own_key(tmp_path: Path, tiny_encoder: Tiny) -> None:
    with pytest.raises(InputError) as caught:
        load_config(spec(tiny_encoder("bert"), weights="random", tokenizer=str(tmp_path / "absent")))
    assert [problem.key for problem in caught.value.problems] == ["encoder.tokenizer"]


@pytest.mark.parametrize("fields", [{"tokenizer": "x"}, {"weights": "random", "reinit_layers": 1}])
def test_settings_that_random_weights_exclude_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EncoderSpec(**fields)
