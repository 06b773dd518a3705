from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from mtl.commands import run as run_mtl
from mtl.config.loading import load_mixture
from mtl.config.mixture import Mixture
from mtl.encoder.packing import Layout
from mtl.export.hugging_face import export_encoder
from mtl.problems import InputError
from mtl.training.assembly import build_module
from tests.causal_models import causal_folder
from tests.conftest import FAMILIES
from tests.trained_runs import saved_run

Tiny = Callable[[str], Path]
TEXTS = ["aspirin reduces fever in patients", "the [MASK] of cancer"]


def mixture(encoder: Path, *tasks: str, **changes: Any) -> Mixture:
    heads: dict[str, Any] = {
        "mlm": {"head": "masked_lm", "data": {"reader": "text", "path": "corpus"}},
        "mlm_too": {"head": "masked_lm", "data": {"reader": "text", "path": "corpus"}},
        "drugs": {
            "head": "relation",
            "labels": ["helps", "harms", "none"],
            "options": {"negative": "none", "entity_types": ["Drug"]},
            "data": {"reader": "jsonl", "path": "secret/rows"},
        },
    }
    encoders = {"name": str(encoder), "max_length": 48}
    return load_mixture({"name": "m", "encoder": encoders, "tasks": {name: heads[name] for name in tasks}, **changes})


def states(module: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = module.encoder(ids.flatten(), Layout([ids.shape[1]] * len(ids)))
    return found


def inputs(tokenizer: Any) -> torch.Tensor:
    return torch.tensor([tokenizer(TEXTS[0])["input_ids"][:6], tokenizer(TEXTS[1])["input_ids"][:6]])


@pytest.mark.parametrize("family", FAMILIES)
def test_an_exported_encoder_has_the_states_of_the_run_and_the_scores_of_its_head(
    tmp_path: Path, tiny_encoder: Tiny, family: str
) -> None:
    run, module = saved_run(tmp_path / "runs", mixture(tiny_encoder(family), "mlm", "drugs"))
    found = export_encoder(run.path, tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    own = AutoTokenizer.from_pretrained(run.encoder)
    assert tokenizer.get_vocab() == own.get_vocab()
    assert set(module.head("drugs").special_tokens()) <= tokenizer.get_vocab().keys()
    ids = inputs(tokenizer)
    expected = states(module, ids)
    with torch.no_grad():
        model = AutoModel.from_pretrained(tmp_path / "out").eval()
        assert torch.allclose(model(input_ids=ids).last_hidden_state, expected, atol=1e-5)
        if family == "eurobert":  # its class has no layers before the vocabulary, and is not tied to the embeddings
            assert found.language_model is None
            assert found.note is not None
            return
        assert (found.language_model, found.note) == ("mlm", None)
        masked, loading = AutoModelForMaskedLM.from_pretrained(tmp_path / "out", output_loading_info=True)
        assert not loading["missing_keys"]
        assert not loading["unexpected_keys"]
        places = {"sequences": torch.tensor([[0], [1]]), "positions": torch.tensor([[2], [4]])}
        logits = module.head("mlm")(expected, torch.ones_like(ids, dtype=torch.bool), places)
        theirs = masked.eval()(input_ids=ids).logits[[0, 1], [2, 4]]
        assert torch.allclose(theirs, logits[:, 0], atol=1e-5)
        assert theirs.std() > 0.01


def test_a_mixture_trains_from_an_exported_folder_and_takes_its_head(tmp_path: Path, tiny_encoder: Tiny) -> None:
    run, module = saved_run(tmp_path / "runs", mixture(tiny_encoder("bert"), "mlm"))
    export_encoder(run.path, tmp_path / "out")
    again = build_module(mixture(tmp_path / "out", "mlm"), learning_rate=1e-3)
    assert again.head("mlm").first_weights != "random"
    for name, value in module.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_a_run_without_a_task_for_masked_language_modelling_gives_the_encoder_alone(
    tmp_path: Path, tiny_encoder: Tiny
) -> None:
    run, module = saved_run(tmp_path / "runs", mixture(tiny_encoder("bert"), "drugs"), "last")
    found = export_encoder(run.path, tmp_path / "out")
    assert found[1:] == ("BertModel", None, None)
    assert found.checkpoint.name == "last-step3.ckpt"
    model, loading = AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert {name.split(".")[0] for name in loading["missing_keys"]} <= {"pooler"}
    ids = inputs(AutoTokenizer.from_pretrained(tmp_path / "out"))
    assert torch.allclose(model.eval()(input_ids=ids).last_hidden_state, states(module, ids), atol=1e-5)


def test_the_readme_has_facts_of_the_run_and_no_path(tmp_path: Path, tiny_encoder: Tiny) -> None:
    run, _ = saved_run(tmp_path / "runs", mixture(tiny_encoder("bert"), "mlm", "drugs", seed=7))
    run.write_metrics("dev", {"mlm": {"perplexity": 12.345678}})
    export_encoder(run.path, tmp_path / "out")
    readme = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    _, head, body = readme.split("---\n", 2)
    assert yaml.safe_load(head) == {"library_name": "transformers", "tags": ["biomtl", "fill-mask"]}
    for fact in ("12.35", "| seed | 7 |", run.path.name, "after 3 updates", "relation"):
        assert fact in body
    assert str(tmp_path) not in readme
    assert "secret" not in readme


def test_one_of_several_heads_must_be_chosen(tmp_path: Path, tiny_encoder: Tiny) -> None:
    run, _ = saved_run(tmp_path / "runs", mixture(tiny_encoder("bert"), "mlm", "mlm_too"))
    for task in (None, "drugs"):
        with pytest.raises(InputError) as caught:
            export_encoder(run.path, tmp_path / "out", task=task)
        assert [problem.key for problem in caught.value.problems] == ["--task"]
    assert not (tmp_path / "out").exists()
    assert export_encoder(run.path, tmp_path / "out", task="mlm_too").language_model == "mlm_too"


def test_an_invalid_run_or_folder_is_refused(tmp_path: Path, tiny_encoder: Tiny, capsys: Any) -> None:
    run, _ = saved_run(tmp_path / "runs", mixture(tiny_encoder("bert"), "mlm"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    words = ["export", str(run.path), "--encoder", "--to"]
    assert run_mtl([*words, str(tmp_path / "full")]) == 2
    assert run_mtl([*words, str(tmp_path / "full" / "file")]) == 2
    assert run_mtl(["export", str(tmp_path / "full"), "--encoder", "--to", str(tmp_path / "a")]) == 2
    assert run_mtl(["export", str(run.path), "--to", str(tmp_path / "a")]) == 2
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["file"]
    (tmp_path / "empty").mkdir()
    assert run_mtl([*words, str(tmp_path / "empty")]) == 0
    assert "BertForMaskedLM" in capsys.readouterr().out
    for path in run.checkpoints.iterdir():
        path.unlink()
    assert run_mtl([*words, str(tmp_path / "a")]) == 2
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_exported_language_model_has_the_added_tokens_and_the_scores_of_the_run(tmp_path: Path, family: str) -> None:
    data = {"reader": "jsonl", "path": "secret/rows"}
    generation = {"head": "generation", "labels": ["yes", "no"], "options": {"kind": "answer", "soft_prompt": 3}}
    encoder = {"name": str(causal_folder(tmp_path / "model", family)), "kind": "causal", "max_length": 100}
    tasks = {
        "answer": {**generation, "data": data},
        "kind": {"head": "classification", "labels": ["a", "b"], "data": data},
    }
    own = load_mixture({"name": "m", "encoder": encoder, "tasks": tasks})
    run, module = saved_run(tmp_path / "runs", own)
    found = export_encoder(run.path, tmp_path / "out")
    assert (found.language_model, found.note) == ("answer", None)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    model, loading = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)
    ids = torch.tensor([tokenizer("a text<answer3>")["input_ids"]])
    assert int(ids[0, -1]) == len(tokenizer) - 1
    places = {
        "sequences": torch.zeros(1, ids.shape[1], dtype=torch.long),
        "positions": torch.arange(ids.shape[1])[None],
    }
    logits = module.head("answer")(states(module, ids), torch.ones_like(ids, dtype=torch.bool), places)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(input_ids=ids).logits, logits, atol=1e-5, rtol=1e-5)
    assert "text-generation" in (tmp_path / "out" / "README.md").read_text()
