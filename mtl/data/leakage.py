"""What the splits of a task share, and what of a task's dev and test lies in another task's train.

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
"""Letters and digits that a text must have to count as found inside another: less is found anywhere."""


class Crossing(NamedTuple):
    """What of a task's dev or test is trained on by another task.

    Args:
        target: The task that is scored.
        partner: The task that trains on it.
        split: Of the target: dev or test.
        documents: Of the partner's train, those that have to go; `data.exclude` takes them.
        texts: Rows of the target's split whose text stands word for word in the partner's train.
    """

    target: str
    partner: str
    split: str
    documents: tuple[str, ...]
    texts: int


def shared(splits: Mapping[str, SplitData]) -> dict[str, dict[str, int]]:
    """For each pair of splits that share something: how many documents, and how many rows' texts.

    A text is compared by its letters and digits alone, in lower case, a pair by both texts. Documents count only
    where the source knows any, that is where a document's id isn't just its row's id.

    Returns:
        ``{"test in train": {"documents": 3, "texts": 8}}``: of test, 3 documents and 8 rows are in train, too.
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
    """What would flatter the later split, a phrase for each pair of splits.

    >>> shared_notes({"test in train": {"documents": 1, "texts": 8}})
    ['1 document and 8 texts of test in train, too']
    """
    return [
        " and ".join(f"{n} {kind if n > 1 else kind[:-1]}" for kind, n in counts.items() if n) + f" of {pair}, too"
        for pair, counts in shared_by_pair.items()
    ]


def crossing(tasks: Mapping[str, TaskData]) -> list[Crossing]:
    """Every split of a task, dev or test, of which something lies in the train of another task.

    A document of the partner's train crosses where one of its texts is a text of the target's split (a pair, where
    both texts are). It also crosses where the target's split has a document of the same id, and a text of the one
    holds a text of the other, as an abstract holds its sentences: two corpora may well both call a document "12", so
    an id alone says nothing. Texts without letters and digits are not compared.

    In memory are hashes of texts, and ids; texts are read again from disk, for ids that two tasks share.

    Args:
        tasks: The splits of each task by name, as `mtl.data.examples.prepare` gives them.

    Returns:
        In the order of the tasks, the split and the partner; nothing where nothing crosses.
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
    """A split as it is compared: the hash of each row's text, None where that is empty, and its document."""

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
    alike = [text for text in scored.prints if text is not None and text in trained.by_print]
    documents = {document for text in alike for document in trained.by_print[text]}
    same_id = (scored.by_document.keys() & trained.by_document.keys()) - documents
    documents |= {name for name in same_id if _one_holds_another(scored.texts_of(name), trained.texts_of(name))}
    return Crossing(target, partner, split, tuple(sorted(documents)), len(alike))


def _one_holds_another(some: Sequence[str], others: Sequence[str]) -> bool:
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
