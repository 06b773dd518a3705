"""Keys for comparing texts: equal keys mean equal letters and digits, whatever the case, spaces and punctuation.

Keys are 64-bit hashes. Those of texts and sentences are made by Python's `hash`, which is salted, so they can be
compared within one process only, and nothing about a text can be read from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

SHORTEST_SENTENCE = 20
"""Minimum number of letters and digits of a sentence that is compared; shorter ones occur in any corpus."""

RUN = 64
"""Number of letters and digits in a row that two texts must share for one to count as contained in the other."""

BLOCK = RUN // 2
"""Length of the blocks that find candidates: every run of `RUN` contains a whole block at a multiple of `BLOCK`."""

CHUNK = 1 << 20
"""Approximate number of characters that are hashed at once."""

Keys = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_OTHER = re.compile(r"[\W_]+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[^\sa-z])|\n+")
_PLACEHOLDER = re.compile(r"@[\w-]+\$")
_BARRIER = "\n"


def letters(text: str) -> str:
    """The letters and digits of a text in lower case.

    >>> letters("Low-dose ASPIRIN (75 mg).")
    'lowdoseaspirin75mg'
    """
    return _OTHER.sub("", text.casefold())


def sentences(text: str) -> list[str]:
    """The parts of a text that end with a full stop, a question mark, an exclamation mark or a line break.

    >>> sentences("Fever fell. No rash was seen!")
    ['Fever fell.', 'No rash was seen!']
    """
    return _SENTENCE_END.split(text)


def unmasked(text: str) -> str:
    """The letters and digits of a text with a barrier in place of each placeholder, such as @GENE$.

    A placeholder stands for different names, so what is on both sides of it does not belong to one run.
    """
    if "$" not in text:
        return letters(text)
    return _BARRIER.join(letters(part) for part in _PLACEHOLDER.split(text))


class KeyedUnits(NamedTuple):
    """Keys with the unit that each belongs to; a unit may have several keys.

    Args:
        keys: The keys.
        units: Index of the unit of each key: a document, text or sentence of a split.
        rows: Index of the row of each key.
    """

    keys: Keys
    units: Indices
    rows: Indices

    def where(self, mask: Flags) -> KeyedUnits:
        """The keys that are selected by a mask."""
        return KeyedUnits(self.keys[mask], self.units[mask], self.rows[mask])


class SplitTexts:
    """The texts of a split and their keys.

    Args:
        fields: The rows of the split as JSON types, in the format of `heads.row_to_dict`.
        units: Keys of `meta` whose values several documents share, such as a patient.
    """

    def __init__(self, fields: Iterable[Mapping[str, Any]], units: Iterable[str] = ()) -> None:
        self._units = tuple(units)
        self.documents: list[str] = []
        """The document of each row."""
        self._ids: list[tuple[int, int]] = []  # hash of an id of the document, row
        self._texts: list[tuple[int, int]] = []
        self._sentences: list[tuple[int, int]] = []
        self.plain: list[str] = []
        """The letters and digits of each text, with a barrier in place of each placeholder."""
        self._plain_rows: list[int] = []
        for row, record in enumerate(fields):
            self._add(row, record)
        numbers: dict[str, int] = {}
        self._numbers = np.array([numbers.setdefault(name, len(numbers)) for name in self.documents], dtype=np.int64)
        self._names = _keys([hash(name) for name in self.documents])
        self._text_rows = np.array(self._plain_rows, dtype=np.int64)

    def _add(self, row: int, record: Mapping[str, Any]) -> None:
        self.documents.append(record["document"])
        if record["document"] != record["id"]:
            self._ids.append((hash(record["document"]), row))
        if "pmid" in record.get("meta", ()):
            self._ids.append((hash(record["meta"]["pmid"]), row))
        for unit in self._units:
            if value := record.get("meta", {}).get(unit):
                self._ids.append((hash((unit, value)), row))
        pair = record.get("text_pair")
        whole = letters(record["text"]), letters(pair or "")
        if any(whole):
            self._texts.append((hash(whole), row))
        spans = record.get("sentences")
        parts = sentences(record["text"]) if spans is None else [record["text"][start:end] for start, end in spans]
        plain = whole[0] if len(parts) == 1 else None
        compared = [plain] if plain is not None else [letters(part) for part in parts]
        if pair is not None:
            compared += [letters(part) for part in sentences(pair)]
        self._sentences += [(hash(part), row) for part in compared if len(part) >= SHORTEST_SENTENCE]
        for text in (record["text"],) if pair is None else (record["text"], pair):
            self.plain.append(unmasked(text))
            self._plain_rows.append(row)

    @property
    def num_documents(self) -> int:
        return int(self._numbers.max(initial=-1)) + 1

    def ids(self) -> KeyedUnits:
        """Keys of documents: their ids, PubMed ids in `meta.pmid`, and the units that they belong to.

        An id that is also the id of its row is left out, because it may only be the number of the row.
        """
        keys, rows = _pairs(self._ids)
        return KeyedUnits(keys, self._numbers[rows], rows)

    def texts(self) -> KeyedUnits:
        """Keys of rows: all of their text, both texts of a pair. A row without letters and digits has none."""
        keys, rows = _pairs(self._texts)
        return KeyedUnits(keys, rows, rows)

    def is_part_of(self, other: SplitTexts) -> bool:
        """Whether the other split has all texts of this one."""
        return bool(np.isin(self.texts().keys, other.texts().keys).all())

    def sentences(self) -> KeyedUnits:
        """Keys of sentences with at least `SHORTEST_SENTENCE` letters and digits."""
        keys, rows = _pairs(self._sentences)
        return KeyedUnits(keys, np.arange(len(keys), dtype=np.int64), rows)

    def of_documents(self, parts: KeyedUnits) -> KeyedUnits:
        """Keys of documents that combine the document's id with the key of a part of its text."""
        mixed = (self._names[parts.rows] * _ODD) ^ parts.keys
        return KeyedUnits(mixed, self._numbers[parts.rows], parts.rows)

    def chunks(self) -> Iterator[Chunk]:
        """The runs of letters and digits of all texts, a part of the texts at a time."""
        start, size = 0, 0
        for index, text in enumerate(self.plain):
            size += len(text)
            if size >= CHUNK or index == len(self.plain) - 1:
                yield Chunk(self.plain[start : index + 1], start, self._text_rows)
                start, size = index + 1, 0


class Chunk:
    """The runs of letters and digits of some consecutive texts.

    Args:
        texts: The texts, from `SplitTexts.plain`.
        first: Index of the first one in its split.
        rows: Row of each text of the split.
    """

    def __init__(self, texts: Sequence[str], first: int, rows: Indices) -> None:
        text = _BARRIER.join(texts) + _BARRIER
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        self._starts = np.cumsum([0, *(len(text) + 1 for text in texts)])
        self._first, self._rows = first, rows
        self._barriers = np.concatenate([[0], np.cumsum(codes == ord(_BARRIER))])
        hashes = _scrambled(codes)
        width = 1
        while width < BLOCK:
            hashes = _doubled(hashes, width)
            width *= 2
        self.blocks: Keys = hashes
        """Key of the block that starts at each character."""
        self.runs: Keys = _doubled(hashes, BLOCK)
        """Key of the run that starts at each character."""

    def whole_blocks(self) -> Flags:
        """Whether the block at each character is inside one text."""
        return self._whole(BLOCK, len(self.blocks))

    def runs_around(self, blocks: Flags) -> Indices:
        """The starts of the runs inside one text that contain one of these blocks.

        Args:
            blocks: Whether a block is meant, for each character.
        """
        counts = np.concatenate([[0], np.cumsum(blocks)])
        around = counts[BLOCK + 1 :][: len(self.runs)] - counts[: len(self.runs)] > 0
        return np.flatnonzero(around & self._whole(RUN, len(self.runs)))

    def units(self, starts: Indices) -> KeyedUnits:
        """The runs at these characters, with their texts as units."""
        texts = self._first + np.searchsorted(self._starts, starts, side="right") - 1
        return KeyedUnits(self.runs[starts], texts, self._rows[texts])

    def _whole(self, width: int, number: int) -> Flags:
        found: Flags = self._barriers[width:][:number] == self._barriers[:number]
        return found


def joined(parts: Sequence[KeyedUnits]) -> KeyedUnits:
    """Several groups of keys of one split as one."""
    none = KeyedUnits(_keys([]), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    keys, units, rows = zip(none, *parts, strict=True)
    return KeyedUnits(np.concatenate(keys), np.concatenate(units), np.concatenate(rows))


_ODD = np.uint64(0x9E3779B97F4A7C15)
_BASE = 0xD1342543DE82EF95


def _scrambled(codes: npt.NDArray[Any]) -> Keys:
    values = (codes.astype(np.uint64) + _ODD) * np.uint64(0xBF58476D1CE4E5B9)
    return (values ^ (values >> np.uint64(29))) * _ODD


def _doubled(hashes: Keys, width: int) -> Keys:
    """Hashes of twice the width: a polynomial in `_BASE` modulo 2^64, whose coefficients are the characters."""
    if len(hashes) <= width:
        return hashes[:0]
    return hashes[:-width] * np.uint64(pow(_BASE, width, 1 << 64)) + hashes[width:]


def _keys(hashes: Sequence[int]) -> Keys:
    return np.array(hashes, dtype=np.int64).view(np.uint64)


def _pairs(found: Sequence[tuple[int, int]]) -> tuple[Keys, Indices]:
    return _keys([key for key, _ in found]), np.array([row for _, row in found], dtype=np.int64)
