"""Selects entries of the catalogue of encoders by their facts. A fact that is unknown never matches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from mtl.config.encoder_entry import EncoderEntry
from mtl.config.encoder_terms import TERMS, UNKNOWN, check_term


class Filter(NamedTuple):
    """A condition on entries.

    Args:
        field: The field of an entry that it reads.
        meaning: What it selects, for the help of the command.
        accepts: Compares the fact, which is known, with the wanted value.
    """

    field: str
    meaning: str
    accepts: Callable[[Any, Any], bool]


def _is(fact: Any, wanted: Any) -> bool:
    return bool(fact == wanted)


def _has(facts: Iterable[Any], wanted: Any) -> bool:
    return wanted in facts


FILTERS = {
    "domain": Filter("domains", "trained on this kind of text", _has),
    "language": Filter("languages", "trained on this language", _has),
    "corpus": Filter("corpora", "trained on this corpus", _has),
    "objective": Filter("objectives", "trained with this objective", _has),
    "knowledge": Filter("knowledge", "trained on this knowledge besides running text", _has),
    "pretraining": Filter("pretraining", "what its weights started from", _is),
    "architecture": Filter("architecture", "what a token sees", _is),
    "family": Filter("family", "model_type of transformers", _is),
    "vocabulary": Filter("vocabulary", "origin of its vocabulary", lambda fact, wanted: bool(fact.origin == wanted)),
    "licence": Filter("licence", "licence of its weights", _is),
    "weights": Filter("weights", "format of its weights", _has),
    "cased": Filter("cased", "whether it distinguishes upper and lower case", _is),
    "mlm_head": Filter("mlm_head", "whether it has a head for masked language modelling", _is),
    "max_length": Filter("max_length", "reads at least this number of tokens", lambda fact, least: bool(fact >= least)),
    "max_parameters": Filter(
        "parameters", "has at most this number of million parameters", lambda fact, most: bool(fact <= most)
    ),
}
"""The filters by name. One whose field has terms takes such a term."""


def matching(entries: Iterable[EncoderEntry], wanted: Mapping[str, Iterable[Any]]) -> list[EncoderEntry]:
    """The entries that match all values of all filters.

    Args:
        entries: The entries to select from.
        wanted: Values by name of the filter.

    Raises:
        InputError: A filter has no such term.
    """
    pairs = [(name, value) for name, values in wanted.items() for value in values]
    for name, value in pairs:
        if FILTERS[name].field in TERMS:
            check_term(FILTERS[name].field, value, f"--{name.replace('_', '-')}")
    return [entry for entry in entries if all(_matches(entry, FILTERS[name], value) for name, value in pairs)]


def _matches(entry: EncoderEntry, one: Filter, value: Any) -> bool:
    fact = getattr(entry, one.field)
    return fact != UNKNOWN and one.accepts(fact, value)
