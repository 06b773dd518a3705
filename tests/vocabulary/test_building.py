"""A folder with a new vocabulary: old rows are kept to the last bit, and transformers and mixtures load it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForPreTraining, AutoTokenizer

from mtl.config.mixture import EncoderSpec
from mtl.encoder.pretrained import load_encoder, load_tokenizer
from mtl.problems import InputError
from mtl.tracking.run_folder import is_private_folder
from mtl.vocabulary.building import build
from mtl.vocabulary.vocabulary_file import Action, load_vocabulary
from tests.masked_lm_models import masked_lm_folder
from tests.vocabulary.corpora import DOCUMENTS, HELD_OUT, write_corpus, write_file

METHODS = ("random", "mean", "pieces_mean", "context", "distill")


def made(path: Path, action: Action, folder: Path, *overrides: str) -> dict[str, Any]:
    return build(load_vocabulary(path, overrides, action), action, folder)


@pytest.mark.parametrize("method", METHODS)
def test_old_rows_stay_bit_identical_and_new_ones_are_added(
    method: str, mlm_folder: Callable[..., Path], tmp_path: Path
) -> None:
    base = mlm_folder()
    path = write_file(tmp_path, base, add={"min_documents": 2}, init={"method": method})
    report = made(path, "extend", tmp_path / "out")
    before, after = (AutoModelForMaskedLM.from_pretrained(folder) for folder in (base, tmp_path / "out"))
    num_old = before.config.vocab_size
    assert (
        after.config.vocab_size
        == num_old + report["entries"]["new"]
        == len(AutoTokenizer.from_pretrained(tmp_path / "out"))
    )
    for name, weight in before.state_dict().items():
        found = after.state_dict()[name]
        assert torch.equal(found[: len(weight)] if found.shape != weight.shape else found, weight), name
    bias = after.cls.predictions.decoder.bias
    assert torch.allclose(bias[num_old:], bias[:num_old].mean())
    assert after.cls.predictions.decoder.weight is after.get_input_embeddings().weight
    rows = after.get_input_embeddings().weight[num_old:]
    assert rows.abs().sum(dim=1).min() > 0
    assert len(rows.unique(dim=0)) == (1 if method == "mean" else len(rows))


def test_the_tokenizer_of_the_folder_has_the_words_as_single_tokens(
    mlm_folder: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_file(tmp_path, mlm_folder(), add={"min_documents": 2})
    report = made(path, "extend", tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.tokenize("Metformin, HYPERTENSION") == ["metformin", ",", "hypertension"]
    assert tokenizer.tokenize("metformins")[0] == "m"
    assert report["never_seen"] == []
    old = AutoTokenizer.from_pretrained(mlm_folder())
    words = sum(len(text.split()) for text in HELD_OUT)
    for name, one in (("before", old), ("after", tokenizer)):
        tokens = sum(len(one.tokenize(text)) for text in HELD_OUT)
        assert report["fertility"][name] == {
            "tokens": tokens,
            "words": words,
            "unknown": 0,
            "ratio": round(tokens / words, 4),
        }
    assert report["fertility"]["after"]["ratio"] < report["fertility"]["before"]["ratio"]
    assert json.loads((tmp_path / "out" / "vocabulary.json").read_text()) == report


@pytest.mark.parametrize("action", ["train", "extend"])
def test_an_encoder_with_words_of_private_data_says_so(
    action: Action, mlm_folder: Callable[..., Path], tmp_path: Path
) -> None:
    for name, private in (("secret", True), ("open", False)):
        fields = {"data": {"reader": "text", "path": "corpus", "private": private}}
        fields |= {"add": {"min_documents": 2}} if action == "extend" else {"size": 120}
        made(write_file(tmp_path, mlm_folder(), **fields), action, tmp_path / name)
        assert is_private_folder(str(tmp_path / name)) is private
    assert not is_private_folder("bert-base-uncased")
    assert not is_private_folder(None)


def test_a_mixture_loads_the_folder(mlm_folder: Callable[..., Path], tmp_path: Path) -> None:
    made(write_file(tmp_path, mlm_folder(), add={"min_documents": 2}), "extend", tmp_path / "out")
    spec = EncoderSpec(name=str(tmp_path / "out"), max_length=64)
    tokenizer = load_tokenizer(spec, ["[E1]"])
    encoder = load_encoder(spec, tokenizer, seed=1)
    saved = AutoModel.from_pretrained(tmp_path / "out").get_input_embeddings().weight
    assert torch.equal(encoder.model.get_input_embeddings().weight[: len(saved)], saved)
    assert len(tokenizer) == len(saved) + 1


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "modernbert", "deberta-v2"])
def test_an_encoder_without_a_head_is_extended_in_every_family(
    family: str, tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    base = tiny_encoder(family)
    report = made(write_file(tmp_path, base, add={"min_documents": 2}), "extend", tmp_path / "out")
    assert not report["masked_lm_head"]
    before, after = (AutoModel.from_pretrained(folder) for folder in (base, tmp_path / "out"))
    table, changed = (model.get_input_embeddings().weight for model in (before, after))
    assert torch.equal(changed[: len(table)], table)
    others = [name for name, value in before.state_dict().items() if value.data_ptr() != table.data_ptr()]
    assert all(torch.equal(before.state_dict()[name], after.state_dict()[name]) for name in others)


@pytest.mark.parametrize("family", ["roberta", "distilbert", "electra", "modernbert", "deberta-v2"])
def test_the_head_of_every_family_is_kept(family: str, mlm_folder: Callable[..., Path], tmp_path: Path) -> None:
    base = mlm_folder(family)
    report = made(write_file(tmp_path, base, add={"min_documents": 2}), "extend", tmp_path / "out")
    assert report["masked_lm_head"]
    before, after = (AutoModelForMaskedLM.from_pretrained(folder).eval() for folder in (base, tmp_path / "out"))
    ids = AutoTokenizer.from_pretrained(base)("the patient has fever", return_tensors="pt")
    with torch.no_grad():
        logits, changed = before(**ids).logits, after(**ids).logits
    assert torch.equal(changed[..., : logits.shape[-1]], logits)


@pytest.mark.parametrize("family", ["roberta", "distilbert", "modernbert", "deberta-v2"])
def test_the_methods_that_read_text_run_in_other_families(
    family: str, mlm_folder: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_file(tmp_path, mlm_folder(family), add={"min_documents": 2})
    tables = {}
    for method in ("pieces_mean", "context", "distill"):
        options = [f"init.method={method}", *(["init.cross_entropy=true"] if method == "distill" else [])]
        made(path, "extend", tmp_path / method, *options)
        tables[method] = AutoModel.from_pretrained(tmp_path / method).get_input_embeddings().weight[134:]
    assert all(len(table) > 0 for table in tables.values())
    assert not torch.equal(tables["context"], tables["pieces_mean"])
    assert (tables["distill"] - tables["pieces_mean"]).abs().max().item() == pytest.approx(1e-4, rel=0.5)


def test_an_output_layer_with_its_own_table_gets_rows_of_that_table(
    tiny_encoder: Callable[[str], Path], tokenizer: Any, tmp_path: Path
) -> None:
    base = masked_lm_folder(tmp_path / "base", tiny_encoder("bert"), tokenizer, tie_word_embeddings=False)[1]
    report = made(write_file(tmp_path, base, add={"min_documents": 2}), "extend", tmp_path / "out")
    before, after = (AutoModelForMaskedLM.from_pretrained(folder) for folder in (base, tmp_path / "out"))
    old, new = before.cls.predictions.decoder.weight, after.cls.predictions.decoder.weight
    assert torch.equal(new[: len(old)], old)
    assert len(new) == len(old) + report["entries"]["new"]
    found = AutoTokenizer.from_pretrained(tmp_path / "out").convert_tokens_to_ids("metformin")
    pieces = tokenizer("metformin", add_special_tokens=False)["input_ids"]
    assert torch.allclose(new[found], old[pieces].mean(dim=0))


def test_the_pooler_of_the_checkpoint_is_kept_beside_its_head(
    tiny_encoder: Callable[[str], Path], tokenizer: Any, tmp_path: Path
) -> None:
    config = AutoModel.from_pretrained(tiny_encoder("bert")).config
    model: Any = AutoModelForPreTraining.from_config(config)
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    report = made(write_file(tmp_path, tmp_path / "base", add={"min_documents": 2}), "extend", tmp_path / "out")
    assert report["masked_lm_head"]
    found, loading = AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not loading["missing_keys"]
    assert torch.equal(found.pooler.dense.weight, model.bert.pooler.dense.weight)


@pytest.mark.parametrize("method", ["pieces_mean", "context", "distill"])
def test_a_trained_vocabulary_keeps_the_rows_of_tokens_that_both_have(
    method: str, mlm_folder: Callable[..., Path], tmp_path: Path
) -> None:
    base = mlm_folder()
    report = made(write_file(tmp_path, base, size=110, init={"method": method}), "train", tmp_path / "out")
    before, after = (AutoModelForMaskedLM.from_pretrained(folder) for folder in (base, tmp_path / "out"))
    old, new = (AutoTokenizer.from_pretrained(folder) for folder in (base, tmp_path / "out"))
    assert report["entries"]["after"] == after.config.vocab_size == len(new)
    shared = old.get_vocab().keys() & new.get_vocab().keys()
    assert report["entries"]["kept"] == len(shared) > 40
    for token in shared:
        rows = [
            (model.get_input_embeddings().weight[index], model.cls.predictions.decoder.bias[index])
            for model, index in ((before, old.get_vocab()[token]), (after, new.get_vocab()[token]))
        ]
        assert all(torch.equal(one, other) for one, other in zip(*rows, strict=True))
    assert type(new) is type(old)
    assert after.config.pad_token_id == new.pad_token_id
    assert new.tokenize("Metformin") == ["metformin"]


def test_a_token_of_a_list_that_never_occurs_is_reported_and_gets_the_mean_of_its_pieces(
    mlm_folder: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "words.txt").write_text("Metformin\nzopiclone\nfever\n\ntwo words\nmetformin\n", encoding="utf-8")
    base = mlm_folder()
    path = write_file(tmp_path, base, add={"words": "words.txt"}, init={"method": "context"})
    report = made(path, "extend", tmp_path / "out")
    assert report["never_seen"] == ["zopiclone"]
    assert report["words"] == {"already_tokens": ["fever"], "not_words": ["two words"]}
    old, new = (AutoTokenizer.from_pretrained(folder) for folder in (base, tmp_path / "out"))
    table = AutoModel.from_pretrained(tmp_path / "out").get_input_embeddings().weight
    pieces = old("zopiclone", add_special_tokens=False)["input_ids"]
    row = new.convert_tokens_to_ids("zopiclone")
    assert torch.allclose(table[row], table[pieces].mean(dim=0))
    other = new.convert_tokens_to_ids("metformin")
    pieces = old("metformin", add_special_tokens=False)["input_ids"]
    assert not torch.allclose(table[other], table[pieces].mean(dim=0))


@pytest.mark.parametrize("method", ["random", "distill"])
def test_the_seed_decides_the_rows(method: str, mlm_folder: Callable[..., Path], tmp_path: Path) -> None:
    path = write_file(tmp_path, mlm_folder(), add={"min_documents": 2}, init={"method": method})
    if method == "distill":
        write_file(tmp_path, mlm_folder(), add={"min_documents": 2}, init={"method": method, "batch_size": 2})
    tables = []
    for number, seed in enumerate((1, 1, 2)):
        made(path, "extend", tmp_path / str(number), f"seed={seed}")
        tables.append(AutoModel.from_pretrained(tmp_path / str(number)).get_input_embeddings().weight)
    assert torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])


def test_an_existing_folder_is_refused_and_untouched(mlm_folder: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError) as caught:
        made(write_file(tmp_path, mlm_folder()), "extend", tmp_path / "out")
    assert [problem.key for problem in caught.value.problems] == ["--to"]
    assert list((tmp_path / "out").iterdir()) == []


def test_a_build_that_fails_leaves_no_folder(
    mlm_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mtl.vocabulary.building.write_json", fail)
    with pytest.raises(InputError):
        made(write_file(tmp_path, mlm_folder(), add={"min_documents": 2}), "extend", tmp_path / "out")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".out", "out"))]


def test_an_empty_corpus_is_refused(mlm_folder: Callable[..., Path], tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", [""])
    with pytest.raises(InputError):
        made(write_file(tmp_path, mlm_folder()), "train", tmp_path / "out")


def test_a_causal_model_is_refused_by_name(tiny_encoder: Callable[[str], Path], tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus")
    with pytest.raises(InputError) as caught:
        made(write_file(tmp_path, tiny_encoder("llama")), "extend", tmp_path / "out")
    assert [problem.key for problem in caught.value.problems] == ["encoder.name"]
    assert "llama" in str(caught.value)


def test_a_corpus_without_a_split_train_is_refused(mlm_folder: Callable[..., Path], tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    (corpus / "train.txt").unlink()
    with pytest.raises(InputError) as caught:
        made(write_file(tmp_path, mlm_folder()), "extend", tmp_path / "out")
    assert [problem.key for problem in caught.value.problems] == ["data.path"]


def test_a_corpus_without_words_to_add_is_refused(mlm_folder: Callable[..., Path], tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", ["fever", "aspirin"])
    with pytest.raises(InputError) as caught:
        made(write_file(tmp_path, mlm_folder()), "extend", tmp_path / "out")
    assert [problem.key for problem in caught.value.problems] == ["add"]


def test_fertility_needs_held_out_text(mlm_folder: Callable[..., Path], tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", DOCUMENTS, [])
    report = made(write_file(tmp_path, mlm_folder(), add={"min_documents": 2}), "extend", tmp_path / "out")
    assert report["fertility"] is None
