"""Finds texts and documents that splits of a task share, or that one task is scored on and another trained on.

Texts are compared by hashes of their letters and digits in lower case.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, permutations
from typing import NamedTuple

from heads import Row
from mtl.data.examples import SplitData, TaskData
from mtl.data.store import RowTable

SHORTEST = 20
"""Minimum number of letters and digits for a text to count as part of another; shorter texts occur anywhere."""


class Crossing(NamedTuple):
    """Overlap of a task's dev or test with the train of another task.

    Args:
        target: Task that is scored.
        partner: Task that trains on the shared data.
        split: Split of the target, dev or test.
        documents: Documents of the partner's train that contain shared data; list them in `data.exclude`.
        texts: Number of rows of the target's split whose text also occurs in the partner's train.
    """

    target: str
    partner: str
    split: str
    documents: tuple[str, ...]
    texts: int


def shared(splits: Mapping[str, SplitData]) -> dict[str, dict[str, int]]:
    """Counts of documents and texts that two splits share, for each pair of splits with an overlap.

    Texts are compared by their letters and digits in lower case, pairs by both texts. Documents are compared only if
    the source has them, that is, if the document of a row has another id than the row.

    Returns:
        ``{"test in train": {"documents": 3, "texts": 8}}``: 3 documents and 8 rows of test are also in train.
    """
    found = {}
    seen = {
        split: (_documents(content.rows), [_print(row) for row in content.rows]) for split, content in splits.items()
    }
    for earlier, later in combinations([split for split in ("train", "dev", "test") if split in seen], 2):
        texts = set(seen[earlier][1])
        counts = {
            "documents": len(seen[earlier][0] & seen[later][0]),
            "texts": sum(text in texts for text in seen[later][1]),
        }
        if any(counts.values()):
            found[f"{later} in {earlier}"] = counts
    return found


def shared_notes(shared_by_pair: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A phrase for each pair of splits with an overlap, which inflates the scores of the later split.

    >>> shared_notes({"test in train": {"documents": 1, "texts": 8}})
    ['1 document and 8 texts of test are also in train']
    """
    found = []
    for pair, counts in shared_by_pair.items():
        later, earlier = pair.split(" in ")
        what = " and ".join(f"{n} {kind if n > 1 else kind[:-1]}" for kind, n in counts.items() if n)
        found.append(f"{what} of {later} {'is' if sum(counts.values()) == 1 else 'are'} also in {earlier}")
    return found


def crossing(tasks: Mapping[str, TaskData]) -> list[Crossing]:
    """Every overlap of a task's dev or test with the train of another task.

    A document of the partner's train overlaps if one of its texts (both texts, for a pair) is a text of the target's
    split. It also overlaps if the target's split has a document with the same id, and a text of one document contains a
    text of the other, as an abstract contains its sentences. An equal id is not enough, because two corpora may both
    have a document "12". Texts without letters and digits are not compared.

    Only ids and hashes of texts are held in memory. For ids that two tasks share, texts are read again from disk.

    Args:
        tasks: The splits of each task by name, from `mtl.data.examples.prepare`.

    Returns:
        Overlaps ordered by target, split and partner.
    """
    seen = {
        (name, split): _Seen.of(content.rows)
        for name, splits in tasks.items()
        for split, content in splits.items()
        if split in ("train", "dev", "test")
    }
    found = [
        _crossing(target, partner, split, seen[target, split], seen[partner, "train"])
        for target, partner in permutations(tasks, 2)
        for split in ("dev", "test")
        if (target, split) in seen and (partner, "train") in seen
    ]
    places = {name: place for place, name in enumerate(tasks)}
    found.sort(key=lambda one: (places[one.target], one.split, places[one.partner]))
    return [one for one in found if one.documents]


class _Seen:
    """A split for comparison: the hash of each row's text (None if it has no letters and digits) and its document."""

    def __init__(self, rows: RowTable, prints: Sequence[bytes | None], documents: Sequence[str]) -> None:
        self.rows, self.prints, self.documents = rows, prints, documents
        self.by_print: defaultdict[bytes, set[str]] = defaultdict(set)
        self.by_document: defaultdict[str, list[int]] = defaultdict(list)
        for index, (text, document) in enumerate(zip(prints, documents, strict=True)):
            self.by_document[document].append(index)
            if text is not None:
                self.by_print[text].add(document)

    @classmethod
    def of(cls, rows: RowTable) -> _Seen:
        prints = [_print(row) if any(_letters(text) for text in _texts(row)) else None for row in rows]
        return cls(rows, prints, [str(document) for document in rows.documents()])

    def texts_of(self, document: str) -> list[str]:
        """The letters and digits of each text of a document, read from disk."""
        return [_letters(text) for index in self.by_document[document] for text in _texts(self.rows[index])]


def _crossing(target: str, partner: str, split: str, scored: _Seen, trained: _Seen) -> Crossing:
    equal = [text for text in scored.prints if text is not None and text in trained.by_print]
    documents = {document for text in equal for document in trained.by_print[text]}
    same_id = (scored.by_document.keys() & trained.by_document.keys()) - documents
    documents |= {name for name in same_id if _one_contains_another(scored.texts_of(name), trained.texts_of(name))}
    return Crossing(target, partner, split, tuple(sorted(documents)), len(equal))


def _one_contains_another(some: Sequence[str], others: Sequence[str]) -> bool:
    pairs = (sorted((one, other), key=len) for one in some for other in others)
    return any(len(shorter) >= SHORTEST and shorter in longer for shorter, longer in pairs)


def _documents(rows: Iterable[Row]) -> set[str]:
    return {row.document for row in rows if row.document != row.id}


def _texts(row: Row) -> list[str]:
    return [row.text] if row.text_pair is None else [row.text, row.text_pair]


def _print(row: Row) -> bytes:
    kept = f"{_letters(row.text)}\x1f{_letters(row.text_pair or '')}"
    return hashlib.sha256(kept.encode()).digest()[:12]


def _letters(text: str) -> str:
    """The letters and digits of a text in lower case."""
    return "".join(character for character in text.casefold() if character.isalnum())
