"""False positives of a relation head in sentences whose mentions only occur together.

A model that has learned that mentions in one sentence are related, whatever the sentence says, also predicts relations
in sentences that have none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from heads._pairs import Key


def cooccurrence_counts(
    sentences: Iterable[Sequence[Key]], gold: Mapping[Key, Sequence[str]], related: Collection[Key], negative: str
) -> tuple[int, int]:
    """How many candidates are predicted as related in sentences without a related one, and the number of candidates.

    A sentence is left out unless all its candidates are known to be unrelated.

    Args:
        sentences: The candidates of each sentence.
        gold: The relation types of annotated candidates.
        related: The candidates that are predicted as related.
        negative: The class that means "no relation".

    >>> sentences = [[("a", "b"), ("a", "c")], [("d", "e")], [("f", "g")]]
    >>> gold = {("a", "b"): ["none"], ("a", "c"): ["none"], ("d", "e"): ["cause"]}
    >>> cooccurrence_counts(sentences, gold, [("a", "c"), ("d", "e"), ("f", "g")], "none")
    (1, 2)
    """
    unrelated = [
        key for keys in sentences if all(tuple(gold.get(key, ())) == (negative,) for key in keys) for key in keys
    ]
    return sum(key in related for key in unrelated), len(unrelated)
