"""Filters of the catalogue, against plain conditions on its entries."""

from __future__ import annotations

from typing import Any

import pytest

from mtl.config.encoder_catalogue import catalogue
from mtl.config.encoder_filters import FILTERS, matching
from mtl.config.encoder_terms import TERMS
from mtl.problems import InputError


def names(**wanted: Any) -> set[str]:
    return {entry.name for entry in matching(catalogue().values(), {name: [value] for name, value in wanted.items()})}


def test_without_a_filter_all_entries_match() -> None:
    assert names() == set(catalogue())


def test_filters_that_were_looked_up_by_hand() -> None:
    french = {f"moderncamembert-bio{version}{size}" for version in ("", "-v2") for size in ("", "-large")}
    assert names(language="fr") == french
    sizes = ("17m", "32m", "68m", "150m", "400m", "1b")
    assert names(architecture="decoder") == {"biogpt", *(f"ettin-decoder-{size}" for size in sizes)}
    assert names(domain="clinical", pretraining="scratch") == {"gatortron"}
    assert names(family="megatron-bert") == {"biomegatron", "gatortron"}
    assert names(knowledge="search_logs") == {"medcpt-query", "medcpt-article", "medcpt-cross"}
    assert names(weights="safetensors", domain="clinical", max_length=8192, max_parameters=150) == {
        "bioclinical-modernbert",
        "bio-modernbert",
        "modernbert-bio",
        "moderncamembert-bio",
    }


def test_the_maximum_length_is_at_least_and_the_parameters_are_at_most_the_value() -> None:
    entries = catalogue().values()
    for length in (512, 513, 4096, 8192):
        expected = {one.name for one in entries if isinstance(one.max_length, int) and one.max_length >= length}
        assert names(max_length=length) == expected
    assert {"minilm-l6", "ettin-17m", "ettin-decoder-17m"} == names(max_parameters=22.7)
    assert {"ettin-17m", "ettin-decoder-17m"} == names(max_parameters=22.6)


def test_a_filter_with_two_values_needs_both() -> None:
    both = {entry.name for entry in matching(catalogue().values(), {"domain": ["clinical", "general"]})}
    assert both == names(domain="clinical") & names(domain="general") == {"gatortron"}


@pytest.mark.parametrize("name", FILTERS)
def test_a_fact_that_is_unknown_never_matches(name: str) -> None:
    one = FILTERS[name]
    values = TERMS.get(one.field, {"bert": ""} if name == "family" else {})
    others = {"cased": [True, False], "mlm_head": [True, False], "max_length": [1], "max_parameters": [1e9]}
    wanted = list(values) or others[name]
    found = set().union(*(names(**{name: value}) for value in wanted))
    unknown = {entry.name for entry in catalogue().values() if getattr(entry, one.field) == "unknown"}
    assert found
    assert found & unknown == set()


def test_an_unknown_term_is_an_error_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"--domain: .*'clincal'.*'clinical'"):
        names(domain="clincal")
