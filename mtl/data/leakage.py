"""Finds what a split that is scored shares with a split that is trained on, within a task and between tasks.

Four levels are compared, from whole documents to runs of letters; `LEVELS` describes them. Texts are compared by their
letters and digits in lower case (`mtl.data.text_keys`). Results contain counts and ids of documents, never text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from mtl.code_identity import code_identity
from mtl.data.reading import RowSummary
from mtl.data.store import RowTable, Store, content_key
from mtl.data.text_keys import BLOCK, Flags, Indices, KeyedUnits, Keys, SplitTexts, joined

DECIDES_RESULTS = False

LEVELS = ("documents", "texts", "sentences", "containment")
"""What is counted, in units of the scored split.

- `documents`: documents with the same id, or of the same patient or other unit. An id counts if it differs from the id
  of its row, or if it is a PubMed id (`meta.pmid`). Any other id may be the number of a row, so it counts only if the
  two documents also share a sentence or a run of letters.
- `texts`: rows with the same text, or the same two texts.
- `sentences`: sentences of at least 20 letters and digits that also occur in the other split.
- `containment`: texts of which 64 or more letters and digits in a row also occur in the other split.
"""

Rows = Mapping[str, Mapping[str, tuple[RowTable, RowSummary]]]
"""The rows of each split by task, from `mtl.data.reading.read_rows`."""


@dataclass(frozen=True)
class Overlap:
    """What a split that is scored shares with another split.

    Args:
        task: Task that is scored.
        split: Split of the task that is scored: dev or test.
        other_task: Task that has the other split; it may be the same task.
        other_split: `train`, or for test within a task also `dev`.
        is_published: Whether the source of the task has published this overlap: the other split is of the same task,
            or has only texts that train of the task has too, as when two tasks annotate the same corpus.
        counts: How many units of the scored split are shared, by level.
        documents: The documents of the other split that hold shared units, by level.
    """

    task: str
    split: str
    other_task: str
    other_split: str
    is_published: bool
    counts: Mapping[str, int]
    documents: Mapping[str, tuple[str, ...]]


def find_overlaps(rows: Rows, store: Store, units: Sequence[str] = ()) -> list[Overlap]:
    """Every overlap of a dev or test split with a train split, and of test with dev within a task.

    The result is kept in the store, so that the same rows are compared once.

    Args:
        rows: The rows of each task.
        store: Store of tables.
        units: Keys of the rows' `meta` whose values no train split may share with dev or test, such as a patient.

    Returns:
        Overlaps ordered by task, split and other task, without those that share nothing.
    """
    content = [
        [task, split, summary.fingerprint] for task, splits in rows.items() for split, (_, summary) in splits.items()
    ]
    key = content_key("leakage", code_identity(_compare), content, list(units))
    _, found = store.table(key, lambda: ((), lambda: [asdict(one) for one in _compare(rows, units)]))
    return [Overlap(**{**one, "documents": {k: tuple(v) for k, v in one["documents"].items()}}) for one in found]


class _Split(NamedTuple):
    task: str
    name: str


_Texts = Mapping[_Split, SplitTexts]
_Found = dict[tuple[_Split, _Split], "_Match"]


class _Match(NamedTuple):
    """The number of units of one split that another split has, and the rows of the other split that have them."""

    units: int
    rows: Indices


def _compare(rows: Rows, units: Sequence[str]) -> list[Overlap]:
    splits = {
        _Split(task, name): SplitTexts(table.fields(), units)
        for task, of_task in rows.items()
        for name, (table, _) in of_task.items()
    }
    scored = {split: texts for split, texts in splits.items() if split.name in ("dev", "test")}
    trained = {split: texts for split, texts in splits.items() if split.name == "train"}
    found = _overlaps(scored, trained)
    for task in rows:
        test, dev = _Split(task, "test"), _Split(task, "dev")
        if test in splits and dev in splits:
            found += _overlaps({test: splits[test]}, {dev: splits[dev]})
    order = {task: number for number, task in enumerate(rows)}
    return sorted(found, key=lambda o: (order[o.task], o.split, order[o.other_task], o.other_split != "train"))


def _overlaps(scored: _Texts, trained: _Texts) -> list[Overlap]:
    scored_runs, trained_runs = _shared_runs(scored, trained)
    sides = zip(_keys_by_level(scored, scored_runs), _keys_by_level(trained, trained_runs), strict=True)
    matches = {level: _matches(*keys) for level, keys in zip(LEVELS, sides, strict=True)}
    pairs = dict.fromkeys(pair for found in matches.values() for pair in found)
    return [_overlap(pair, {level: found.get(pair) for level, found in matches.items()}, trained) for pair in pairs]


def _keys_by_level(splits: _Texts, runs: Mapping[_Split, KeyedUnits]) -> list[Mapping[_Split, KeyedUnits]]:
    """The keys of splits at each of `LEVELS`, in its order."""
    sentences = {split: texts.sentences() for split, texts in splits.items()}
    documents = {
        split: joined([texts.ids(), texts.of_documents(sentences[split]), texts.of_documents(runs[split])])
        for split, texts in splits.items()
    }
    return [documents, {split: texts.texts() for split, texts in splits.items()}, sentences, runs]


def _overlap(pair: tuple[_Split, _Split], matches: Mapping[str, _Match | None], trained: _Texts) -> Overlap:
    split, other = pair
    names = trained[other].documents
    own = trained.get(_Split(split.task, "train"))
    return Overlap(
        *split,
        *other,
        is_published=split.task == other.task or (own is not None and trained[other].is_part_of(own)),
        counts={level: match.units if match else 0 for level, match in matches.items()},
        documents={
            level: tuple(sorted({names[row] for row in match.rows.tolist()})) if match else ()
            for level, match in matches.items()
        },
    )


# --- matching keys ----------------------------------------------------------------------------------------------------


def _matches(scored: Mapping[_Split, KeyedUnits], trained: Mapping[_Split, KeyedUnits]) -> _Found:
    """The pairs of splits that have a key in common."""
    splits = list(trained)
    keys, rows, owners = _stacked([trained[split] for split in splits])
    order = np.argsort(keys, kind="stable")
    keys, rows, owners = keys[order], rows[order], owners[order]
    found: _Found = {}
    for split, own in scored.items():
        wanted, numbers = np.unique(own.keys, return_inverse=True)
        first, last = np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
        which = np.repeat(np.arange(len(wanted)), last - first)
        positions = _ranges(first, last)
        for owner in np.unique(owners[positions]).tolist():
            is_owned = owners[positions] == owner
            has_key = np.zeros(len(wanted), dtype=bool)
            has_key[which[is_owned]] = True
            units = np.unique(own.units[has_key[numbers]])
            found[split, splits[owner]] = _Match(len(units), np.unique(rows[positions[is_owned]]))
    return found


def _stacked(parts: Sequence[KeyedUnits]) -> tuple[Keys, Indices, Indices]:
    """The keys of several splits with their rows and the number of their split."""
    whole = joined(parts)
    owners = np.repeat(np.arange(len(parts), dtype=np.int64), [len(part.keys) for part in parts])
    return whole.keys, whole.rows, owners


def _ranges(first: Indices, last: Indices) -> Indices:
    """All integers of some half-open ranges.

    >>> _ranges(np.array([3, 9]), np.array([5, 10])).tolist()
    [3, 4, 9]
    """
    lengths = last - first
    ends = np.cumsum(lengths)
    found: Indices = np.arange(lengths.sum(), dtype=np.int64) + np.repeat(first - (ends - lengths), lengths)
    return found


# --- runs of letters --------------------------------------------------------------------------------------------------


def _shared_runs(scored: _Texts, trained: _Texts) -> tuple[dict[_Split, KeyedUnits], dict[_Split, KeyedUnits]]:
    """The keys of runs that occur on both sides, by split.

    Hashing every run of the training texts would take 8 bytes per character. A shared run contains a whole block at a
    multiple of `BLOCK` in the training text, so blocks at these positions find the candidates, and only runs around a
    block that both sides have are compared.
    """
    blocks = _KeySet(_blocks_at_multiples(trained))
    near_scored, met = {}, []
    for split, texts in scored.items():
        parts = []
        for chunk in texts.chunks():
            is_known = blocks.has(chunk.blocks)
            met.append(np.unique(chunk.blocks[is_known]))
            parts.append(chunk.units(chunk.runs_around(is_known)))
        near_scored[split] = joined(parts)
    shared_blocks = _KeySet(met)
    wanted = _KeySet([found.keys for found in near_scored.values()])
    in_trained = {split: joined(list(_runs_at(texts, shared_blocks, wanted))) for split, texts in trained.items()}
    confirmed = _KeySet([found.keys for found in in_trained.values()])
    return {split: found.where(confirmed.has(found.keys)) for split, found in near_scored.items()}, in_trained


def _blocks_at_multiples(splits: _Texts) -> list[Keys]:
    return [
        np.unique(chunk.blocks[::BLOCK][chunk.whole_blocks()[::BLOCK]])
        for texts in splits.values()
        for chunk in texts.chunks()
    ]


def _runs_at(texts: SplitTexts, blocks: _KeySet, wanted: _KeySet) -> Iterator[KeyedUnits]:
    """The wanted runs around blocks at multiples of `BLOCK`."""
    for chunk in texts.chunks():
        is_known = np.zeros(len(chunk.blocks), dtype=bool)
        is_known[::BLOCK] = blocks.has(chunk.blocks[::BLOCK])
        starts = chunk.runs_around(is_known)
        yield chunk.units(starts[wanted.has(chunk.runs[starts])])


class _KeySet:
    """A set of keys that is asked for many keys at once.

    A table of bits rules most keys out, because a search in a large sorted array takes ten times as long.
    """

    def __init__(self, parts: Sequence[Keys]) -> None:
        self._sorted: Keys = np.unique(np.concatenate([np.zeros(0, dtype=np.uint64), *parts]))
        bits = min(max(len(self._sorted) * 8, 2).bit_length(), 27)
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, dtype=bool)
        self._table[self._sorted >> self._shift] = True

    def has(self, keys: Keys) -> Flags:
        """Whether each key is in the set."""
        found: Flags = self._table[keys >> self._shift]
        maybe = np.flatnonzero(found)
        if len(maybe):
            places = np.minimum(np.searchsorted(self._sorted, keys[maybe]), len(self._sorted) - 1)
            found[maybe] = self._sorted[places] == keys[maybe]
        return found
