"""Scores on mentions that are known from train, and on those that are not.

The surface form of a mention is its words, from its first to its last character, ignoring case; blanks, accents and
invisible characters make no difference. A mention is

- seen if its surface form is that of a mention in train, of whatever type, and unseen otherwise;
- ambiguous if its surface form also occurs in train as a mention of another type, or where no mention is annotated.

The scores on seen mentions count the gold mentions that are seen, and the predicted ones whose own surface form is
seen. A predicted mention with the boundaries of a gold one has the same surface form, so each mention counts in exactly
one of the two parts, and the true positives, false positives and false negatives of the parts add up to those of the
whole.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from heads import Entity, Head, Prediction, Row, Span, SpanRow
from heads._invisible import JOINER, MARK, simplified
from mtl.evaluation.baselines import usable_rows
from mtl.evaluation.evaluator import TaskResult
from mtl.evaluation.intervals import ScoreInterval, score_intervals
from mtl.evaluation.resampling_units import Units
from mtl.evaluation.scoring import score_rows

DECIDES_RESULTS = False

WORD = re.compile(r"[^\W_]+|[^\w\s]|_")
"""A run of letters and digits, or any other visible character."""

_PLACE = re.compile(rf"[^\W_](?:[{MARK}{JOINER}]*[^\W_])*|[^\w\s]|_")
"""A word in a text that `simplified` has changed, in which marks and joiners are part of the word around them."""

METRICS = ("f1", "precision", "recall")
"""The metrics of a part, as far as the head has them: those of exact matches."""

Form = tuple[str, ...]
"""A surface form: its words in lower case."""

_INVISIBLE = frozenset({"Mn", "Mc", "Me", "Cf", "Cc", "Co", "Cn", "Cs"})
"""Unicode categories of accents and of characters without a shape."""


class MentionOverlap(NamedTuple):
    """How many mentions of a split train knows.

    Args:
        mentions: Number of gold mentions; equal ones in a row count once.
        seen: Number of these whose surface form is that of a mention in train.
        ambiguous: Number of those whose surface form occurs in train with another type or unlabelled.
        other_type: Number of those whose surface form is that of a mention of another type in train.
        unlabelled: Number of those whose surface form occurs in train where no mention is annotated.
    """

    mentions: int
    seen: int
    ambiguous: int
    other_type: int
    unlabelled: int

    @property
    def seen_share(self) -> float:
        """Share of seen mentions; NaN without mentions."""
        return self.seen / self.mentions if self.mentions else float("nan")

    @property
    def ambiguous_share(self) -> float:
        """Share of ambiguous mentions; NaN without mentions."""
        return self.ambiguous / self.mentions if self.mentions else float("nan")

    def described(self, split: str) -> str:
        """What train knows of the mentions of a split, in words.

        >>> MentionOverlap(mentions=40, seen=30, ambiguous=5, other_type=1, unlabelled=4).described("test")
        '75.0% of the 40 mentions of test are seen in train, and 12.5% are ambiguous there'
        """
        if not self.mentions:
            return f"{split} has no mentions"
        shares = f"{self.seen_share:.1%} of the {self.mentions} mentions of {split} are seen in train"
        return f"{shares}, and {self.ambiguous_share:.1%} are ambiguous there"


class SurfaceScores(NamedTuple):
    """The scores of a task on seen and on unseen mentions.

    Args:
        overlap: What train knows of the gold mentions.
        parts: Scores and counts per document of `seen` and `unseen`; without a part that has no gold mention.
    """

    overlap: MentionOverlap
    parts: Mapping[str, TaskResult]

    def scores(self) -> dict[str, float]:
        """The scores of both parts, such as `unseen_f1`, and the shares of seen and of ambiguous mentions."""
        found = {"seen_share": self.overlap.seen_share, "ambiguous_share": self.overlap.ambiguous_share}
        for part, result in self.parts.items():
            found |= {f"{part}_{name}": result.scores[name] for name in METRICS if name in result.scores}
        return found

    def intervals(self, head: Head, units: Units | None = None) -> dict[str, ScoreInterval]:
        """95% intervals of the scores of both parts; `units` as in `score_intervals`."""
        return {
            f"{part}_{name}": interval
            for part, result in self.parts.items()
            for name, interval in score_intervals(head, result, units=units).items()
            if name in METRICS
        }


class TrainMentions:
    """The surface forms of training rows.

    Args:
        rows: The training rows; they are read again to find unlabelled occurrences.
        types: Entity types of the task.

    >>> entity = Entity("T1", "Drug", ((0, 7),))
    >>> train = TrainMentions([SpanRow("1", "1", "Aspirin and warfarin", entities=(entity,))], ["Drug"])
    >>> train.is_seen(("aspirin",)), train.is_seen(("warfarin",)), train.unlabelled({("warfarin",), ("aspirin",)})
    (True, False, {('warfarin',)})
    """

    def __init__(self, rows: Iterable[Row], types: Sequence[str]) -> None:
        self._rows, self._all_types = rows, frozenset(types)
        self._types: defaultdict[Form, set[str]] = defaultdict(set)
        for row in _span_rows(rows):
            for entity in mentions_of(row, self._all_types):
                self._types[form_of(row.text, entity)].add(entity.type)

    def is_seen(self, form: Form) -> bool:
        """Whether a surface form is that of a mention."""
        return form in self._types

    def has_other_type(self, form: Form, kind: str) -> bool:
        """Whether a surface form is that of a mention of another type."""
        return bool(self._types.get(form, set()) - {kind})

    def unlabelled(self, forms: Iterable[Form]) -> set[Form]:
        """The surface forms that occur where they overlap no mention, in rows that are annotated for all types."""
        wanted = {form for form in forms if form}
        lengths: defaultdict[str, set[int]] = defaultdict(set)
        for form in wanted:
            lengths[form[0]].add(len(form))
        found: set[Form] = set()
        for row in _span_rows(self._rows):
            if row.annotated is None or self._all_types <= set(row.annotated):
                found |= wanted.intersection(_outside(row, lengths))
        return found


def mention_overlap(head: Head, train: TrainMentions, rows: Iterable[Row]) -> MentionOverlap:
    """How many gold mentions train knows.

    Args:
        head: Head of the task, which predicts mentions.
        train: Surface forms of train.
        rows: Rows of the split.
    """
    gold = [
        (form_of(row.text, entity), entity.type)
        for row in _span_rows(usable_rows(head, rows))
        for entity in _distinct(mentions_of(row, head.mention_types))
    ]
    unlabelled = train.unlabelled({form for form, _ in gold})
    other = [train.has_other_type(form, kind) for form, kind in gold]
    outside = [form in unlabelled for form, _ in gold]
    return MentionOverlap(
        mentions=len(gold),
        seen=sum(train.is_seen(form) for form, _ in gold),
        ambiguous=sum(one or another for one, another in zip(other, outside, strict=True)),
        other_type=sum(other),
        unlabelled=sum(outside),
    )


def surface_scores(
    head: Head, train_rows: Iterable[Row], rows: Iterable[Row], predictions: Mapping[str, Prediction]
) -> SurfaceScores | None:
    """The scores on seen and on unseen mentions; None for a head that predicts no mentions.

    Args:
        head: Head of the task.
        train_rows: Rows that it was trained on.
        rows: Rows of the split.
        predictions: Predictions by row id; rows without one are left out.
    """
    if not head.mention_types:
        return None
    train = TrainMentions(train_rows, head.mention_types)
    scored = [row for row in _span_rows(usable_rows(head, rows)) if row.id in predictions]
    overlap = mention_overlap(head, train, scored)
    sizes = {"seen": overlap.seen, "unseen": overlap.mentions - overlap.seen}
    parts = {
        part: score_rows(head, (_part(row, predictions[row.id], train, seen=part == "seen") for row in scored))
        for part, size in sizes.items()
        if size
    }
    return SurfaceScores(overlap, parts)


def mentions_of(row: SpanRow, types: Iterable[str]) -> Iterator[Entity]:
    """The gold mentions of a row that count: those of a task's types, if the row is annotated for them."""
    known = set(types) if row.annotated is None else {*types} & {*row.annotated}
    return (entity for entity in row.entities if entity.type in known)


def form_of(text: str, entity: Entity) -> Form:
    """The surface form of a mention, from its first to its last character.

    >>> form_of("The IL-2 gene", Entity("T1", "Gene", ((4, 13),)))
    ('il', '-', '2', 'gene')
    """
    return tuple(word for word, _ in _words(text[_start(entity) : _end(entity)]))


def _words(text: str) -> Iterator[tuple[str, Span]]:
    """The visible words of a text in lower case and without accents, with their places."""
    for match in _PLACE.finditer(simplified(text)):
        word = text[slice(*match.span())]
        if not (word.isascii() and word.isprintable()):
            characters = unicodedata.normalize("NFD", word)
            word = "".join(c for c in characters if unicodedata.category(c) not in _INVISIBLE and c != "\ufffd")
        if word:
            yield word.casefold(), match.span()


def _outside(row: SpanRow, lengths: Mapping[str, Iterable[int]]) -> Iterator[Form]:
    """The word sequences of a row that overlap no mention, if they have one of the lengths of their first word."""
    words = list(_words(row.text))
    covered = [(_start(entity), _end(entity)) for entity in row.entities]
    for place, (word, (start, _)) in enumerate(words):
        for length in lengths.get(word, ()):
            part = words[place : place + length]
            if len(part) == length and not any(start < last and first < part[-1][1][1] for first, last in covered):
                yield tuple(one for one, _ in part)


def _part(row: SpanRow, prediction: Prediction, train: TrainMentions, *, seen: bool) -> tuple[Row, Prediction]:
    """The row and its prediction with the seen mentions alone, or with the others alone."""
    found = [
        entity
        for entity in prediction["entities"]
        if train.is_seen(form_of(row.text, Entity("", "", ((entity["start"], entity["end"]),)))) == seen
    ]
    gold = tuple(entity for entity in row.entities if train.is_seen(form_of(row.text, entity)) == seen)
    return replace(row, entities=gold), {**prediction, "entities": found}


def _distinct(entities: Iterable[Entity]) -> list[Entity]:
    """Entities without those with the type and boundaries of another one, which heads count once."""
    return list({(entity.type, _start(entity), _end(entity)): entity for entity in entities}.values())


def _span_rows(rows: Iterable[Row]) -> Iterator[SpanRow]:
    return (row for row in rows if isinstance(row, SpanRow))


def _start(entity: Entity) -> int:
    return min(start for start, _ in entity.spans)


def _end(entity: Entity) -> int:
    return max(end for _, end in entity.spans)
