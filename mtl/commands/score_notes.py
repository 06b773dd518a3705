"""What `mtl score`, `mtl compare` and `mtl evaluate` print below their scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def variant_notes(variants: Mapping[str, str]) -> Iterator[str]:
    """Which metric variants the scores are; nothing if none is known.

    >>> list(variant_notes({"f1": "strict_entity_f1"}))
    ['Variants: f1 is strict_entity_f1']
    """
    if variants:
        yield "Variants: " + ", ".join(f"{metric} is {variant}" for metric, variant in variants.items())


def left_out_notes(name: str, left_out: Mapping[str, int]) -> Iterator[str]:
    """What was left out of a file of predictions.

    >>> list(left_out_notes("theirs.iob", {"tags I- that continue no mention": 3}))
    ['Left out of theirs.iob: 3 tags I- that continue no mention']
    """
    for what, number in left_out.items():
        yield f"Left out of {name}: {number} {what}"
