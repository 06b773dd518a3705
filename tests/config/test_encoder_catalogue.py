"""Which encoder a name in a mixture means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtl.config.encoder_catalogue import catalogue, entry_of, entry_reasons, near_names, with_entry
from mtl.config.loading import load_mixture
from mtl.config.mixture import EncoderSpec

TASK = {"head": "classification", "labels": ["a", "b"], "data": {"reader": "jsonl", "path": "rows"}}


def encoder(**fields: Any) -> EncoderSpec:
    return load_mixture({"name": "m", "encoder": fields, "tasks": {"t": TASK}}).encoder


@pytest.mark.parametrize("written", ["pubmedbert", "PubMedBERT", "PubMed-BERT", "pubmed_bert", "BiomedBERT"])
def test_case_hyphens_and_aliases_do_not_matter(written: str) -> None:
    found = encoder(name=written)
    assert (found.name, found.revision) == ("pubmedbert", catalogue()["pubmedbert"].revision)


def test_every_name_and_alias_leads_to_its_entry() -> None:
    for entry in catalogue().values():
        for name in (entry.name, *entry.aliases):
            assert entry_of(name) is entry
            assert with_entry({"name": name})["name"] == entry.name


def test_what_the_user_has_written_is_kept() -> None:
    found = encoder(name="Clinical-Longformer", revision="v2", max_length=1024)
    assert (found.name, found.revision, found.max_length) == ("clinical-longformer", "v2", 1024)


def test_an_entry_may_have_a_default_length() -> None:
    assert encoder(name="clinical-longformer").max_length == 512
    assert encoder(name="pubmedbert").max_length == EncoderSpec().max_length


def test_an_entry_without_a_revision_loads_main() -> None:
    assert catalogue()["bioptimus"].revision == "unknown"
    assert encoder(name="bioptimus") == EncoderSpec(name="bioptimus")


@pytest.mark.parametrize("name", ["minilm-l6", "MiniLM-L6", "all-MiniLM-L6-v2"])
def test_an_encoder_that_comes_in_a_package_has_no_revision(name: str) -> None:
    assert encoder(name=name) == EncoderSpec(name="minilm-l6")
    assert encoder() == EncoderSpec()


def test_a_hub_name_is_taken_as_it_is() -> None:
    name = catalogue()["bioclinical-modernbert"].hub
    assert encoder(name=name) == EncoderSpec(name=name)
    assert entry_reasons(EncoderSpec(name=name)) == {}


def test_a_folder_comes_before_an_entry_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert encoder(name="biobert").revision is not None
    (tmp_path / "biobert").mkdir()
    assert encoder(name="biobert") == EncoderSpec(name="biobert")


def test_a_mixture_that_is_read_again_is_the_same() -> None:
    first = load_mixture({"name": "m", "encoder": {"name": "BlueBERT P+M"}, "tasks": {"t": TASK}})
    assert load_mixture(first.to_dict()) == first
    assert first.encoder.name == "bluebert-pm"


def test_an_override_may_name_an_entry() -> None:
    mixture = load_mixture({"name": "m", "tasks": {"t": TASK}}, ["encoder.name=SciBERT"])
    assert mixture.encoder.name == "scibert"


@pytest.mark.parametrize(
    ("written", "nearest"),
    [("pubmedbrt", "pubmedbert"), ("bio-lnkbert", "biolinkbert"), ("Clinical-Bert2", "clinicalbert")],
)
def test_near_names(written: str, nearest: str) -> None:
    found = near_names(written)
    assert found[0] == nearest
    assert len(found) <= 3
    assert near_names("xyzzy") == []


def test_the_reasons_say_where_revision_and_length_come_from() -> None:
    pinned = catalogue()["clinical-longformer"].revision
    default = entry_reasons(encoder(name="clinical-longformer"))
    assert pinned[:12] in default["encoder.name"]
    assert default["encoder.max_length"].startswith("512 (default of 'clinical-longformer': ")
    own = entry_reasons(encoder(name="clinical-longformer", revision="v2", max_length=64))
    assert "v2 (set" in own["encoder.name"]
    assert own["encoder.max_length"].startswith("64 (set")
    assert "main" in entry_reasons(encoder(name="bioptimus"))["encoder.name"]
    assert entry_reasons(EncoderSpec()) == {}
