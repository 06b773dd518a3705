"""Relations as text: "the interaction between A and B is T; the interaction between C and D is T."."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor

from heads import Prediction, Row, scores
from heads._generation_kinds import PARSE_FAILURES, LabelledItems, Parsed, checked_labels
from heads._generation_templates import EMPTY, normalised, one_line, without_stop
from heads._mention_checks import check_mentions
from heads._text import describe
from heads.rows import Entity, Relation, SpanRow

_SEPARATOR = re.compile(r"\s*;\s*")


class Triple(NamedTuple):
    """A relation between two mentions, by their text."""

    head: str
    tail: str
    type: str

    def key(self, *, directed: bool) -> tuple[str, str, str]:
        """What two triples share that count as the same."""
        head, tail = normalised(self.head), normalised(self.tail)
        return (head, tail, self.type) if directed or head <= tail else (tail, head, self.type)


class Triples(LabelledItems):
    """The relations of a `SpanRow` in the order in which their heads occur in the text (Luo et al. 2022, BioGPT).

    A relation between concepts is written with the longest mention of each, and any of their mentions in the row counts
    as right. Texts are compared by `normalised`. A part between two semicolons that does not follow the template, or
    whose type is no label, counts as a wrong relation. With a single label, the template needs no field for the type.

    Args:
        labels: Names of the relation types.
        template: See `GeneratedKind`.
        directed: Whether (a, b) and (b, a) are two relations.
    """

    default_template = "the interaction between {head} and {tail} is {type}"
    required = ("head", "tail")
    optional = ("type",)
    metrics: ClassVar[tuple[str, ...]] = (
        "triple_micro_f1",
        "triple_document_f1",
        "triple_precision",
        "triple_recall",
        PARSE_FAILURES,
    )

    def __init__(self, labels: Sequence[str], template: str | None, *, directed: bool = True) -> None:
        super().__init__(checked_labels(labels, 1), template)
        self.directed = directed
        if "type" not in self.template.fields and len(self.labels) > 1:
            raise ValueError("template must have the field {type} to tell several labels apart, got none")
        self._types = {normalised(name): name for name in self.labels}

    def problem(self, row: Row) -> str | None:
        if not isinstance(row, SpanRow):
            return "the row must have entities and relations, got a label or a plain text"
        problem = check_mentions(row)
        if problem is not None:
            return problem
        for relation in row.relations:
            if relation.type is not None and relation.type not in self.labels:
                found = describe(relation.type, self.labels)
                return f"the type of a relation must be one of: {', '.join(self.labels)}; got {found}"
            for argument in (relation.head, relation.tail):
                if not _mentions(row, argument):
                    return f"a relation must join ids of mentions or concepts of the row, got {describe(argument)}"
        return None

    def items(self, row: Row) -> tuple[Triple, ...] | None:
        assert isinstance(row, SpanRow)
        if row.annotated is not None and not set(self.labels) <= set(row.annotated):
            return None
        return tuple(gold.triple for gold in self._gold(row))

    def render(self, items: Sequence[Triple]) -> str:
        return f"{'; '.join(self.template.render(triple._asdict()) for triple in items) or EMPTY}."

    def parse(self, text: str) -> Parsed:
        text = without_stop(text)
        if normalised(text) == EMPTY:
            return Parsed(())
        found: dict[tuple[str, str, str], Triple] = {}
        num_failed = 0
        for part in _SEPARATOR.split(text):
            triple = self._triple(part)
            if triple is None:
                num_failed += 1
            else:
                found.setdefault(triple.key(directed=self.directed), triple)
        return Parsed(tuple(found.values()), num_failed)

    def unreadable(self, row: Row) -> str | None:
        assert isinstance(row, SpanRow)
        for relation in _typed(row):
            one = SpanRow(row.id, row.document, row.text, entities=row.entities, relations=(relation,))
            items = self.items(one)
            if items is not None and self.parse(self.render(items)) != Parsed(items):
                ids = " and ".join(describe(argument) for argument in (relation.head, relation.tail))
                words = "';' or words of the template"
                return f"mentions must be readable from the text of the template, got a relation of {ids} with {words}"
        return super().unreadable(row)

    def label_counts(self, row: Row) -> Mapping[str, int]:
        return Counter(triple.type for triple in self.items(row) or ())

    def unknown_labels(self, row: Row) -> Sequence[str]:
        types = [relation.type for relation in row.relations] if isinstance(row, SpanRow) else []
        return [describe(name, self.labels) for name in types if name is not None and name not in self.labels]

    def prediction(self, parsed: Parsed) -> Prediction:
        """``{"triples": [{"head": {"text"}, "tail": {"text"}, "type"}, …], "failed"}``."""
        triples = [{"head": {"text": t.head}, "tail": {"text": t.tail}, "type": t.type} for t in parsed.items]
        return {"triples": triples, "failed": parsed.num_failed}

    def parsed(self, prediction: Prediction) -> Parsed:
        triples = [Triple(one["head"]["text"], one["tail"]["text"], one["type"]) for one in prediction["triples"]]
        return Parsed(tuple(triples), prediction["failed"])

    def label_of(self, item: Triple) -> str:
        return item.type

    def matches(self, items: Sequence[Triple], row: Row) -> list[Triple]:
        """The triples that take part in a largest matching with the gold, so that their order makes no difference."""
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import maximum_bipartite_matching

        assert isinstance(row, SpanRow)
        gold = self._gold(row)
        if not items or not gold:
            return []
        fits = csr_array([[one.accepts(triple, directed=self.directed) for one in gold] for triple in items])
        taken = maximum_bipartite_matching(fits, perm_type="column")
        return [triple for triple, place in zip(items, taken.tolist(), strict=True) if place >= 0]

    def notes(self, row: Row) -> Mapping[str, int]:
        """How many relations of concepts cannot be told apart, because their longest texts are the same."""
        assert isinstance(row, SpanRow)
        return {"merged": len(set(_typed(row))) - len(self._gold(row))}

    def score(self, counts: Tensor) -> dict[str, Tensor]:
        precision, recall, f1 = self.micro(counts)
        values = (f1, scores.ratio(counts[..., -2], counts[..., -1]), precision, recall, self.failure_rate(counts))
        return dict(zip(self.metrics, values, strict=True))

    def _gold(self, row: SpanRow) -> list[_GoldTriple]:
        """The gold triples in the order of the text, each once."""
        found: dict[tuple[str, str, str], _GoldTriple] = {}
        for relation in sorted(_typed(row), key=lambda one: _place(row, one)):
            heads, tails = (_texts(row, argument) for argument in (relation.head, relation.tail))
            # The longest text names a concept; the first of equals.
            triple = Triple(max(heads, key=len), max(tails, key=len), str(relation.type))
            gold = _GoldTriple(triple, frozenset(map(normalised, heads)), frozenset(map(normalised, tails)))
            found.setdefault(triple.key(directed=self.directed), gold)
        return list(found.values())

    def _triple(self, part: str) -> Triple | None:
        values = self.template.values(part)
        if values is None:
            return None
        kind = self._types.get(normalised(values["type"])) if "type" in values else self.labels[0]
        return None if kind is None else Triple(values["head"], values["tail"], kind)


class _GoldTriple(NamedTuple):
    """A gold triple, and the texts that count as its head and as its tail."""

    triple: Triple
    heads: frozenset[str]
    tails: frozenset[str]

    def accepts(self, triple: Triple, *, directed: bool) -> bool:
        head, tail = normalised(triple.head), normalised(triple.tail)
        fits = head in self.heads and tail in self.tails
        fits_swapped = not directed and tail in self.heads and head in self.tails
        return (fits or fits_swapped) and triple.type == self.triple.type


def _typed(row: SpanRow) -> Iterator[Relation]:
    return (relation for relation in row.relations if relation.type is not None)


def _mentions(row: SpanRow, argument: str) -> list[Entity]:
    """The mention with an id, or all mentions of a concept."""
    own = [entity for entity in row.entities if entity.id == argument]
    return own or [entity for entity in row.entities if argument in entity.concepts]


def _texts(row: SpanRow, argument: str) -> list[str]:
    """The text of a mention, or of all mentions of a concept."""
    return [
        one_line(" ".join(row.text[start:end] for start, end in entity.spans)) for entity in _mentions(row, argument)
    ]


def _place(row: SpanRow, relation: Relation) -> tuple[int, int]:
    head, tail = (
        min(entity.spans[0][0] for entity in _mentions(row, argument)) for argument in (relation.head, relation.tail)
    )
    return head, tail
