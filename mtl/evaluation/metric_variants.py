"""The vocabulary of metric variants: scores with the same variant mean the same and may stand side by side.

Benchmarks and papers use one name, such as F1, for several metrics. A variant says which one: it is either a metric of
a head with certain options, or known from publications only.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from mtl.config import components
from mtl.problems import InputError, Problem, did_you_mean

DECIDES_RESULTS = False


SCORING_OPTIONS = ("spans", "score_by", "negative", "level", "directed")
"""Options of heads that decide what is counted."""


class Variant(NamedTuple):
    """What a score means.

    Args:
        definition: One sentence.
        head: Name of the head that computes it; None for a variant that is known from publications only.
        metric: Name of the head's metric.
        options: Options that the head must have, with their values.
    """

    definition: str
    head: str | None = None
    metric: str | None = None
    options: Mapping[str, Any] = {}


VARIANTS: Mapping[str, Variant] = {
    "strict_entity_f1": Variant(
        "F1 of entities whose type and both offsets are right, pooled over the types; predicted tags that do not follow"
        " the scheme are no entities",
        "token_classification",
        "f1",
        {"spans": "strict"},
    ),
    "conlleval_entity_f1": Variant(
        "as strict_entity_f1, but a predicted tag that continues no entity begins one, as in conlleval and seqeval's"
        " default mode",
        "token_classification",
        "f1",
        {"spans": "lenient"},
    ),
    "near_entity_f1": Variant(
        "F1 of entities whose type is right and whose offsets are wrong by at most one character, as in HunFlair2",
        "token_classification",
        "near_f1",
    ),
    "joined_entity_f1": Variant(
        "as strict_entity_f1, after the parts of discontinuous entities were joined",
    ),
    "word_macro_f1": Variant(
        "mean over the entity types of the F1 of the words that their entities cover",
        "token_classification",
        "word_macro_f1",
    ),
    "micro_f1_without_negative": Variant(
        "F1 of candidate pairs, pooled over all classes but the negative one; with two classes, F1 of the positive one",
        "relation",
        "micro_f1",
        {"level": "mention"},
    ),
    "macro_f1_without_negative": Variant(
        "mean F1 of candidate pairs over all classes but the negative one",
        "relation",
        "macro_f1",
        {"level": "mention"},
    ),
    "accuracy_with_negative": Variant(
        "share of candidate pairs with the right class, the negative class included, which is their micro F1 over all"
        " classes",
        "relation",
        "accuracy",
        {"level": "mention"},
    ),
    "concept_pair_f1": Variant(
        "F1 of pairs of concepts in a document, without the negative class, as BioCreative V scores chemicals and the"
        " diseases that they induce",
        "relation",
        "micro_f1",
        {"level": "concept", "scope": "document"},
    ),
    "accuracy": Variant("share of texts with the right class", "classification", "accuracy"),
    "pearson": Variant(
        "Pearson's correlation of predicted and gold scores; 0 if one of them is constant", "regression", "pearson"
    ),
    "micro_f1_by_text": Variant(
        "F1 of the labels of texts, pooled over the labels", "multilabel", "micro_f1", {"score_by": "row"}
    ),
    "micro_f1_by_document": Variant(
        "F1 of the labels of documents, pooled over the labels; a document has the labels of all of its sentences",
        "multilabel",
        "micro_f1",
        {"score_by": "document"},
    ),
    "example_based_f1": Variant(
        "harmonic mean of the mean precision and the mean recall over documents with at least one gold label",
        "multilabel",
        "example_based_f1",
        {"score_by": "document"},
    ),
    "f1_averaging_unclear": Variant(
        "an F1 whose averaging, classes or matching the source leaves open, so it cannot be compared with any other",
    ),
}


def variants_of(head: str, options: Mapping[str, Any]) -> dict[str, str]:
    """The variants of the metrics of a head, by metric.

    Args:
        head: Name of the head.
        options: Options of the head as written.

    >>> variants_of("multilabel", {"score_by": "document"})
    {'micro_f1': 'micro_f1_by_document', 'example_based_f1': 'example_based_f1'}
    """
    own, found = components.find("head", head, "head"), _with_defaults(head, options)
    return {
        variant.metric: name
        for name, variant in VARIANTS.items()
        if variant.head is not None
        and variant.metric is not None
        and components.find("head", variant.head, "head") is own
        and all(found.get(option) == needed for option, needed in variant.options.items())
    }


def scoring_options(head: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a head that decide what is counted, with their defaults.

    Args:
        head: Name of the head.
        options: Options of the head as written.

    >>> scoring_options("token_classification", {"spans": "lenient", "crf": True})
    {'spans': 'lenient'}
    """
    found = _with_defaults(head, options)
    return {name: found[name] for name in SCORING_OPTIONS if name in found}


def scored_by(head: str) -> list[str]:
    """The variants that a head computes.

    >>> scored_by("regression")
    ['pearson']
    """
    return [name for name, variant in VARIANTS.items() if variant.head == head]


def unknown_variant(key: str, name: str) -> Problem:
    """The problem that there is no variant of a name."""
    return Problem(key, f"There is no variant '{name}'.", did_you_mean(name, VARIANTS))


def variant_problems(key: str, name: str, head: str, options: Mapping[str, Any]) -> list[Problem]:
    """Why a task with a head and its options cannot be scored by a variant.

    Args:
        key: Key of the variant.
        name: Name of the variant.
        head: Name of the head.
        options: Options of the head as written.
    """
    if name not in VARIANTS:
        return [unknown_variant(key, name)]
    variant = VARIANTS[name]
    if variant.head != head:
        what = "is known from publications only" if variant.head is None else f"belongs to the head {variant.head}"
        advice = f"Choices for the head {head}: {', '.join(scored_by(head)) or 'none'}."
        return [Problem(key, f"'{name}' {what}, and the task has the head {head}.", advice)]
    found = _with_defaults(head, options)
    return [
        Problem(key, f"'{name}' needs the option {option}: {needed}, got {found.get(option)}.", "Change one of them.")
        for option, needed in variant.options.items()
        if found.get(option) != needed
    ]


def _with_defaults(head: str, options: Mapping[str, Any]) -> dict[str, Any]:
    try:
        parameters = inspect.signature(components.find("head", head, "head")).parameters
    except InputError:  # reported with the other problems of the task
        return dict(options)
    return {name: parameter.default for name, parameter in parameters.items()} | dict(options)
