"""Another reader's rows, of which train is told the wrong labels: the control that keeps marginals, not knowledge.

Whoever learns from such a partner learns from its texts, its label shares and one more task beside one's own, but not
from what its labels say of its texts.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from heads.rows import Entity, Relation, Row, Span, SpanRow, TextRow
from mtl.config import components
from mtl.problems import InputError, Problem
from mtl.readers import Reader
from mtl.seeding import stream


class Permuted(Reader):
    """The rows of another reader; what trains of them has its labels permuted.

    Splits are read as they are. Once train is cut, limited and relieved of excluded documents, `mtl.data.reading` lets
    `permute` change it, so that dev and test keep their labels even where one file holds all three.

    - Texts with a label: the labels are dealt anew to the labelled rows.
    - Texts with mentions and relations: what is said of a pair (nothing, most often) is dealt anew to the pairs of the
      same two entity types. See `_Pairing` for what a pair is.
    - Texts with mentions alone: each row keeps the number, the types and the lengths in words of its mentions, which
      lie on other words, side by side.

    ``TextRow("1", "1", "Aspirin helps.", label="yes")`` may become
    ``TextRow("1", "1", "Aspirin helps.", label="no")``, and another row's "no" its "yes".

    Args:
        path: Of the wrapped reader.
        of: The wrapped reader: a file of `mtl/readers`, or the import path of a class.
        options: Of the wrapped reader; `files` and `refuse_bad_rows` stand beside, as for every reader.
        mentions: Whether mentions are moved, or else relations dealt anew. None moves mentions where no row of train
            has a relation. Say so where a head reads the mentions of rows that have relations, too.
        seed: Of the permutation; another seed, another one.
        files: See `Reader`.
        refuse_bad_rows: See `Reader`.

    Raises:
        InputError: There is no such reader, or it refuses its options.
    """

    def __init__(
        self,
        path: str,
        *,
        of: str,
        options: Mapping[str, Any] | None = None,
        mentions: bool | None = None,
        seed: int = 0,
        files: Mapping[str, str] | None = None,
        refuse_bad_rows: bool = False,
    ) -> None:
        super().__init__(path, files=files, refuse_bad_rows=refuse_bad_rows)
        self.mentions = mentions
        self.seed = seed
        wrapped = components.find("reader", of, "of")
        if issubclass(wrapped, Permuted):
            raise InputError(
                Problem("of", "It must be a reader of files; found this one again.", "Name what it wraps.")
            )
        self._options = {*inspect.signature(wrapped).parameters, *(options or {})} - _COMMON
        with self._own_keys():
            self.reader: Reader = _build(wrapped, path, files, options or {}, refuse_bad_rows)
        self.bad_rows, self.left_out = self.reader.bad_rows, self.reader.left_out

    def sources(self) -> dict[str, Path]:
        with self._own_keys():
            return self.reader.sources()

    def rows(self, source: Path, split: str) -> Iterator[Row]:
        return self.reader.rows(source, split)

    def read(self, split: str) -> Iterator[Row]:
        with self._own_keys():
            yield from self.reader.read(split)

    def permute(self, rows: Iterable[Row]) -> list[Row]:
        """Rows with permuted labels, in their order. All of them are held in memory."""
        held = list(rows)
        texts = iter(_with_other_labels([row for row in held if isinstance(row, TextRow)], self.seed))
        spans = iter(self._permuted_spans([row for row in held if isinstance(row, SpanRow)]))
        return [next(texts) if isinstance(row, TextRow) else next(spans) for row in held]

    def _permuted_spans(self, rows: Sequence[SpanRow]) -> Iterable[SpanRow]:
        moves = not any(row.relations for row in rows) if self.mentions is None else self.mentions
        return (_with_other_words(row, self.seed) for row in rows) if moves else _with_other_pairs(rows, self.seed)

    @contextmanager
    def _own_keys(self) -> Iterator[None]:
        """Tells problems of the wrapped reader's options under `options`, where they are written."""
        try:
            yield
        except InputError as error:
            raise InputError([self._own_key(problem) for problem in error.problems]) from None

    def _own_key(self, problem: Problem) -> Problem:
        is_option = problem.key.partition(".")[0] in self._options
        return Problem(f"options.{problem.key}", problem.message, problem.suggestion) if is_option else problem


_COMMON = frozenset({"path", "files", "refuse_bad_rows"})
"""Options that stand beside `of`, not below `options`."""


def _build(
    wrapped: type[Reader], path: str, files: Mapping[str, str] | None, options: Mapping[str, Any], refuses: bool
) -> Reader:
    """The wrapped reader; some readers know no `files`, so it gets only what was given."""
    misplaced = [
        Problem(f"options.{name}", f"The option '{name}' must stand beside 'of'; found it here.", "Move it up.")
        for name in sorted(_COMMON & set(options))
    ]
    if misplaced:
        raise InputError(misplaced)
    beside = (
        {"path": path} | ({} if files is None else {"files": files}) | ({"refuse_bad_rows": True} if refuses else {})
    )
    problems = components.check_options(wrapped, {**beside, **options}, "", frozenset())
    if problems:
        raise InputError(
            [Problem(problem.key.removeprefix("."), problem.message, problem.suggestion) for problem in problems]
        )
    reader: Reader = components.build(wrapped, **beside, **options)
    return reader


# --- texts with a label -----------------------------------------------------------------------------------------------


def _with_other_labels(rows: Sequence[TextRow], seed: int) -> list[TextRow]:
    labels = [row.label for row in rows if row.label is not None]
    order = iter(stream(seed, "permuted", "labels").permutation(len(labels)).tolist())
    return [row if row.label is None else replace(row, label=labels[next(order)]) for row in rows]


# --- mentions ---------------------------------------------------------------------------------------------------------

_WORD = re.compile(r"\w(?:\S*\w)?")  # what stands between blanks, without the punctuation around it


def _with_other_words(row: SpanRow, seed: int) -> SpanRow:
    """The row with its mentions on other words. A discontinuous mention counts as its hull, and becomes one part.

    Where the mentions overlap so much that they can't all lie side by side, they are drawn apart from each other.
    """
    words = row.words if row.words is not None else tuple(match.span() for match in _WORD.finditer(row.text))
    if not row.entities or not words:
        return row
    lengths = [_num_words(entity, words) for entity in row.entities]
    starts = _places(lengths, len(words), stream(seed, "permuted", "mentions", row.id))
    entities = tuple(
        entity._replace(spans=((words[start][0], words[start + length - 1][1]),))
        for entity, start, length in zip(row.entities, starts, lengths, strict=True)
    )
    return replace(row, entities=entities)


def _num_words(entity: Entity, words: Sequence[Span]) -> int:
    """How many words a mention touches; at least one, for what is no word."""
    start, end = _hull(entity)
    return max(1, sum(first < end and start < last for first, last in words))


def _places(lengths: Sequence[int], num_words: int, draw: np.random.Generator) -> list[int]:
    """The first word of each mention: every arrangement side by side is as likely as any other."""
    room = num_words - sum(lengths)
    if room < 0:
        return [int(draw.integers(num_words - length + 1)) for length in lengths]
    # With each mention shrunk to a point, these are points among `room` free words.
    points = sorted(draw.choice(room + len(lengths), len(lengths), replace=False).tolist())
    starts, shift = [0] * len(lengths), 0
    for point, mention in zip(points, draw.permutation(len(lengths)).tolist(), strict=True):
        starts[mention] = point + shift
        shift += lengths[mention] - 1
    return starts


# --- relations --------------------------------------------------------------------------------------------------------

_Kind = tuple[str, ...]
"""The two entity types of a pair in the order of the alphabet, and the types that its row is annotated for, if few."""

_Said = tuple[tuple[bool, str], ...]
"""The relations of a pair: whether from its second end to its first, and the type."""


class _End(NamedTuple):
    """An entity or a concept, and the sentence of a row that holds it (None where none does)."""

    id: str
    type: str
    sentence: int | None


class _Pair(NamedTuple):
    """Two ends in the order of their types, or where these are alike, of the text."""

    first: str
    second: str
    kind: _Kind
    said: _Said


@dataclass(frozen=True)
class _Pairing:
    """What the pairs are, among which relations are dealt.

    They are all pairs of entities of a row, or of concepts where relations join concepts, each pair once, with the
    ends in the order of their types: a relation keeps its direction between types. Where every relation joins mentions
    of one sentence, pairs do so, too. Of rows that aren't annotated for every type, only pairs with a relation count,
    and among themselves. What is no such pair keeps what is said of it: an end with itself, and what a relation
    without a type leaves open.
    """

    of_concepts: bool
    in_sentences: bool
    types: frozenset[str]

    @classmethod
    def of(cls, rows: Sequence[SpanRow]) -> _Pairing:
        of_concepts = any(
            {relation.head, relation.tail} - {entity.id for entity in row.entities}
            for row in rows
            for relation in row.relations
        )
        types = frozenset(relation.type for row in rows for relation in row.relations if relation.type is not None)
        wide = cls(of_concepts, False, types)
        in_sentences = not of_concepts and all(
            ends[relation.head].sentence == ends[relation.tail].sentence is not None
            for row in rows
            for ends in [wide._ends(row)]
            for relation in row.relations
        )
        return cls(of_concepts, in_sentences, types)

    def pairs(self, row: SpanRow) -> Iterator[_Pair]:
        """The pairs of a row, always in the same order."""
        partly = row.annotated if row.annotated is not None and not self.types <= set(row.annotated) else ()
        found: defaultdict[frozenset[str], list[Relation]] = defaultdict(list)
        for relation in row.relations:
            found[frozenset((relation.head, relation.tail))].append(relation)
        for one, other in combinations(self._ends(row).values(), 2):
            first, second = (one, other) if one.type <= other.type else (other, one)
            relations = found.get(frozenset((first.id, second.id)), [])
            if self.in_sentences and not first.sentence == second.sentence is not None:
                continue
            if any(relation.type is None for relation in relations) or (partly and not relations):
                continue
            said = tuple((relation.head == second.id, str(relation.type)) for relation in relations)
            yield _Pair(first.id, second.id, (first.type, second.type, *partly), said)

    def _ends(self, row: SpanRow) -> dict[str, _End]:
        """Entities in text order, or concepts in that of their first mention, with the type they have there."""
        ends: dict[str, _End] = {}
        for entity in sorted(row.entities, key=_hull):
            sentence = None if self.of_concepts else _sentence(row, entity)
            for name in entity.concepts if self.of_concepts else (entity.id,):
                ends.setdefault(name, _End(name, entity.type, sentence))
        return ends


def _with_other_pairs(rows: Sequence[SpanRow], seed: int) -> Iterator[SpanRow]:
    """The rows with what is said of pairs dealt anew among the pairs of a kind.

    Pairs are counted and met again, never held: a long text has thousands, and few of them are related.
    """
    pairing = _Pairing.of(rows)
    sizes: Counter[_Kind] = Counter()
    said: defaultdict[_Kind, list[_Said]] = defaultdict(list)
    for row in rows:
        for pair in pairing.pairs(row):
            sizes[pair.kind] += 1
            if pair.said:
                said[pair.kind].append(pair.said)
    dealt = {
        kind: dict(zip(_drawn(sizes[kind], len(found), stream(seed, "permuted", *kind)), found, strict=True))
        for kind, found in said.items()
    }
    met: Counter[_Kind] = Counter()
    for row in rows:
        relations = list(row.relations)
        for pair in pairing.pairs(row):
            for relation in _relations(pair, pair.said):
                relations.remove(relation)
            relations += _relations(pair, dealt.get(pair.kind, {}).get(met[pair.kind], ()))
            met[pair.kind] += 1
        yield replace(row, relations=tuple(relations))


def _relations(pair: _Pair, said: _Said) -> list[Relation]:
    ends = pair.first, pair.second
    return [Relation(ends[backward], ends[not backward], kind) for backward, kind in said]


def _drawn(size: int, number: int, draw: np.random.Generator) -> list[int]:
    """Different places below `size`, in random order."""
    places: list[int] = draw.choice(size, number, replace=False).tolist()
    return places


def _sentence(row: SpanRow, entity: Entity) -> int | None:
    start, end = _hull(entity)
    sentences = row.sentences if row.sentences is not None else ((0, len(row.text)),)
    inside = (number for number, (first, last) in enumerate(sentences) if first <= start and end <= last)
    return next(inside, None)


def _hull(entity: Entity) -> Span:
    return entity.spans[0][0], entity.spans[-1][1]
