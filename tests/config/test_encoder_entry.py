"""The form of an entry, and that every committed one has it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl.config.encoder_catalogue import catalogue, read_entry, spelling
from mtl.config.encoder_entry import FACTS, is_known
from mtl.config.encoder_terms import TERMS
from mtl.problems import InputError

ENTRY: dict[str, Any] = {
    "name": "tiny",
    "hub": "someone/tiny",
    "revision": "a" * 40,
    "family": "bert",
    "architecture": "encoder",
    "pretraining": "scratch",
    "objectives": ["masked_lm"],
    "vocabulary": {"origin": "own", "size": 100},
    "corpora": {"pubmed": "3 B words"},
    "domains": ["literature"],
    "languages": ["en"],
    "cased": False,
    "max_length": 512,
    "parameters": 110,
    "licence": "MIT",
    "weights": ["pickle"],
    "mlm_head": True,
    "sources": [{"of": [field for field in FACTS if field not in ("parent", "knowledge")], "at": "a paper"}],
}


@pytest.fixture
def problems(tmp_path: Path) -> Callable[..., list[str]]:
    """A function that returns the problems of the entry with some fields replaced; None removes a field."""

    def read(**fields: Any) -> list[str]:
        content = {name: value for name, value in {**ENTRY, **fields}.items() if value is not None}
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        try:
            read_entry(tmp_path / "tiny.yaml")
        except InputError as error:
            return [str(problem) for problem in error.problems]
        return []

    return read


def without(*fields: str) -> list[dict[str, Any]]:
    """The sources of the entry without some fields."""
    return [{"of": [field for field in ENTRY["sources"][0]["of"] if field not in fields], "at": "a paper"}]


def test_the_entry_of_these_tests_is_valid(problems: Callable[..., list[str]]) -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("field", "value", "key", "near"),
    [
        ("domains", ["literature", "clinicl"], "domains.1", "'clinical'"),
        ("objectives", ["masked_lms"], "objectives.0", "'masked_lm'"),
        ("architecture", "encodr", "architecture", "'encoder'"),
        ("licence", "Apache 2.0", "licence", "'Apache-2.0'"),
        ("weights", ["safetensor"], "weights.0", "'safetensors'"),
        ("vocabulary", {"origin": "ownn", "size": 1}, "vocabulary.origin", "'own'"),
        ("corpora", {"pubmd": "unknown"}, "corpora", "'pubmed'"),
        ("languages", ["english"], "languages.0", "en, fr"),
    ],
)
def test_an_unknown_term_is_an_error_at_its_place_with_the_nearest_term(
    field: str, value: Any, key: str, near: str, problems: Callable[..., list[str]]
) -> None:
    (found,) = problems(**{field: value})
    assert found.startswith(f"encoders/tiny.yaml.{key}")
    assert near in found


def test_all_problems_of_a_file_are_reported_together(problems: Callable[..., list[str]]) -> None:
    found = problems(domains=["clinicl"], cased="perhaps", colour="red", max_length=0, hub="tiny")
    keys = [problem.partition(": ")[0].removeprefix("encoders/tiny.yaml.") for problem in found]
    assert sorted(keys) == ["cased", "colour", "domains.0", "hub", "max_length"]


@pytest.mark.parametrize("field", ["cased", "licence", "weights", "corpora", "parameters", "vocabulary"])
def test_a_fact_needs_a_source_and_what_is_unknown_must_not_have_one(
    field: str, problems: Callable[..., list[str]]
) -> None:
    nothing = {"origin": "unknown", "size": "unknown"} if field == "vocabulary" else "unknown"
    assert [field in problem for problem in problems(sources=without(field))] == [True]
    assert [field in problem for problem in problems(**{field: nothing})] == [True]
    assert problems(**{field: nothing}, sources=without(field)) == []


def test_a_source_names_facts_that_exist(problems: Callable[..., list[str]]) -> None:
    (found,) = problems(sources=[*ENTRY["sources"], {"of": ["licens"], "at": "a page"}])
    assert "'licens'" in found
    assert "'licence'" in found


@pytest.mark.parametrize(
    ("pretraining", "parent", "is_valid"),
    [
        ("scratch", None, True),
        ("scratch", "bert", False),
        ("continued", "bert", True),
        ("continued", None, False),
        ("adapted", "bert", True),
        ("adapted", None, False),
    ],
)
def test_only_a_model_that_did_not_start_from_scratch_has_a_parent(
    pretraining: str, parent: str | None, is_valid: bool, problems: Callable[..., list[str]]
) -> None:
    sources = [*ENTRY["sources"], *([{"of": ["parent"], "at": "a page"}] if parent else [])]
    found = problems(pretraining=pretraining, parent=parent, sources=sources)
    assert ["parent" in problem for problem in found] == [True] * (not is_valid)


@pytest.mark.parametrize("revision", ["main", "a" * 39, "A" * 40])
def test_a_revision_is_a_whole_commit(revision: str, problems: Callable[..., list[str]]) -> None:
    assert [problem.partition(": ")[0] for problem in problems(revision=revision)] == ["encoders/tiny.yaml.revision"]


def test_the_name_is_that_of_the_file(problems: Callable[..., list[str]]) -> None:
    assert [problem.partition(": ")[0] for problem in problems(name="other")] == ["encoders/tiny.yaml.name"]


def test_a_file_that_is_no_mapping_is_an_error(tmp_path: Path) -> None:
    for text in ("- a\n", "a: [\n"):
        (tmp_path / "tiny.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=r"encoders/tiny\.yaml"):
            read_entry(tmp_path / "tiny.yaml")


# --- the committed entries --------------------------------------------------------------------------------------------

NEEDED = """
bert biobert bluebert-p bluebert-pm scibert clinicalbert pubmedbert pubmedbert-abstract pubmedbert-large biolinkbert
biolinkbert-large bioptimus sapbert bioelectra biomegatron clinical-longformer clinical-bigbird bioclinical-modernbert
bioclinical-modernbert-large bio-modernbert bio-modernbert-large modernbert-bio modernbert-bio-large clinical-modernbert
modernbiobert ultrabert-150m ettin-17m ettin-32m ettin-68m ettin-150m ettin-400m ettin-1b ettin-decoder-17m
ettin-decoder-32m ettin-decoder-68m ettin-decoder-150m ettin-decoder-400m ettin-decoder-1b modernbert
modernbert-large medcpt-query medcpt-article medcpt-cross gliner-biomed-small gliner-biomed-base gliner-biomed-large
gliner-biomed-bi-small gliner-biomed-bi-base gliner-biomed-bi-large bluebert-large-p bluebert-large-pm biogpt minilm-l6
moderncamembert-bio moderncamembert-bio-large moderncamembert-bio-v2 moderncamembert-bio-v2-large
"""


def test_every_committed_entry_is_valid_and_none_that_is_needed_is_missing() -> None:
    assert len(catalogue()) >= 60
    assert set(NEEDED.split()) - set(catalogue()) == set()


def test_a_name_or_alias_means_one_entry_however_it_is_written() -> None:
    written = [spelling(name) for entry in catalogue().values() for name in (entry.name, *entry.aliases)]
    assert sorted({name for name in written if written.count(name) > 1}) == []
    assert not [name for entry in catalogue().values() for name in entry.aliases if "/" in name]
    hubs = [entry.hub for entry in catalogue().values()]
    assert len(set(hubs)) == len(hubs)


def test_a_parent_is_an_entry_a_hub_name_or_a_name_in_words() -> None:
    parents = {entry.parent for entry in catalogue().values() if entry.parent}
    assert {name for name in parents if name not in catalogue() and "/" not in name and " " not in name} == set()


def test_every_fact_has_an_address_or_says_where_it_is_from() -> None:
    for entry in catalogue().values():
        places = {source.at for source in entry.sources} - {"as its parent"}
        assert all(place.startswith(("https://", "files of the package")) for place in places), entry.name
        assert entry.parent is not None or len(places) == len(entry.sources), entry.name


def test_a_pin_on_the_hub_stands_in_the_address_of_its_source() -> None:
    pinned = [entry for entry in catalogue().values() if is_known(entry.revision)]
    assert len(pinned) >= 20
    for entry in pinned:
        (place,) = [source.at for source in entry.sources if "revision" in source.of]
        assert entry.revision in place, entry.name


def test_the_licence_on_the_hub_is_that_of_a_page_of_the_makers() -> None:
    """Not that of a model which somebody else has made from theirs."""
    for entry in catalogue().values():
        for source in entry.sources:
            if "licence" in source.of and "huggingface.co" in source.at:
                assert entry.hub.split("/")[0] in source.at, entry.name


def test_every_term_has_a_meaning_and_most_are_used() -> None:
    used = {
        field: {term for entry in catalogue().values() for term in _terms(getattr(entry, field))} for field in TERMS
    }
    assert all(meaning for terms in TERMS.values() for meaning in terms.values())
    unused = {term for field, terms in TERMS.items() for term in terms if term not in used[field]}
    # Terms of the survey, for entries to come.
    assert unused == {"encoder_decoder", "extended", "social_media", "protein", "dna"}


def _terms(fact: Any) -> list[str]:
    if isinstance(fact, str):
        return [fact]
    return [fact.origin] if hasattr(fact, "origin") else list(fact)
