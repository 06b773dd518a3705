"""`mtl encoders`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mtl.commands.encoders import main
from mtl.config.encoder_catalogue import catalogue
from mtl.config.encoder_entry import FACTS, is_known
from mtl.problems import InputError


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["encoders", *words]) == 0
    return capsys.readouterr().out


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    return json.loads(printed(capsys, *words, "--json"))


def test_all_entries_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys)
    assert [name for name in catalogue() if f" {name} " not in text] == []
    assert f"{len(catalogue())} of {len(catalogue())} encoders" in text


def test_filters_are_combined(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--domain", "clinical", "--language", "en", "--max-length", "8192", "--max-parameters", "150")
    found = {entry["name"] for entry in as_json(capsys, *words)}
    assert found == {"bio-modernbert", "bioclinical-modernbert", "clinical-modernbert", "modernbert-bio"}
    assert as_json(capsys, *words, "--cased", "no") == []
    assert {entry["name"] for entry in as_json(capsys, "--domain", "clinical", "--domain", "general")} == {"gatortron"}


def test_json_has_all_fields_and_what_happens_to_batches(capsys: pytest.CaptureFixture[str]) -> None:
    (entry,) = as_json(capsys, "--family", "longformer", "--domain", "clinical")
    assert entry["batches"] == "padded"
    assert entry["defaults"]["max_length"] == 512
    assert {**entry, "batches": None} == {
        **catalogue()["clinical-longformer"].model_dump(mode="json"),
        "batches": None,
    }


@pytest.mark.parametrize("name", ["biolinkbert", "BioLinkBERT-base", "michiyasunaga/BioLinkBERT-base"])
def test_one_entry_is_shown_with_the_source_of_each_fact(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    entry = catalogue()["biolinkbert"]
    lines = printed(capsys, name).splitlines()
    numbers = {f"[{number}]": source for number, source in enumerate(entry.sources, 1)}
    for field in FACTS:
        if is_known(getattr(entry, field)):
            (line,) = [line for line in lines if line.split()[0] == field]
            assert field in numbers[line.split()[-1]].of
    assert [line for line in lines if line.split()[0] == "unknown"] == ["  unknown       mlm_head"]
    assert [f"{number} {source.at}" for number, source in numbers.items()] == lines[-len(numbers) :]
    assert as_json(capsys, name)["name"] == "biolinkbert"


def test_the_defaults_of_an_entry_are_shown_with_their_reason(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "bioclinical-modernbert-large")
    defaults = catalogue()["bioclinical-modernbert-large"].defaults
    assert defaults is not None
    assert f"learning_rate 2e-05 ({defaults.reason})" in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--domain", "clinicl"], "'clinical'"),
        (["--pretraining", "scrach"], "'scratch'"),
        (["--licence", "mit"], "'MIT'"),
        (["pubmedbrt"], "'pubmedbert'"),
        (["zzz"], "mtl encoders"),
        (["bert", "--domain", "general"], "filters"),
    ],
)
def test_what_is_unknown_is_an_error_with_near_matches(words: list[str], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        main(["encoders", *words])
    assert expected in str(caught.value)


@pytest.mark.parametrize("words", [["--cased", "maybe"], ["--max-length", "long"], ["--colour", "red"]])
def test_a_value_of_the_wrong_type_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["encoders", *words])


def test_markdown_has_only_the_entries_that_match(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--language", "fr", "--markdown")
    assert [line for line in text.splitlines() if line.startswith("### ")] == [
        "### moderncamembert-bio",
        "### moderncamembert-bio-large",
        "### moderncamembert-bio-v2",
        "### moderncamembert-bio-v2-large",
    ]
