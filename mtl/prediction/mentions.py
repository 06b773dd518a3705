"""Mentions that an entity task finds for a task that relates or labels mentions, and their concepts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from heads import Entity, Head, Prediction, Relation, SpanRow
from mtl.evaluation.surfaces import WORD
from mtl.problems import InputError, Problem, did_you_mean

Sources = dict[str, tuple[str, ...]]
"""The entity tasks that find the mentions of each task that reads mentions."""

SAME_TEXT = "same text as "
"""Start of the concept id of mentions that the input gives without any, and that are one concept by their text."""

Linker = Callable[[Sequence[Entity], str], Sequence[tuple[str, ...]]]
"""From the mentions of a text, and the text, to the concept ids of each mention."""


@dataclass(frozen=True)
class MentionInput:
    """Which mentions a task reads.

    Args:
        types: Their types; None for all.
        merge: New names for entity types, applied before their types are compared.
    """

    types: frozenset[str] | None = None
    merge: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, head: Head) -> MentionInput | None:
        """The mentions that a head relates or labels; None if it reads none."""
        if head.labelling is not None:
            return cls(head.labelling.types)
        if head.pairing is None:
            return None
        pairs = head.pairing.types
        return cls(None if pairs is None else frozenset(name for pair in pairs for name in pair), head.pairing.merge)

    def merged(self, kind: str) -> str:
        """The name that the task gives to an entity type."""
        return self.merge.get(kind, kind)

    def takes(self, kind: str) -> bool:
        """Whether the task reads mentions of an entity type."""
        return self.types is None or self.merged(kind) in self.types


def parse_choices(words: Sequence[str], heads: Mapping[str, Head]) -> Sources:
    """The entity tasks that the user chose for tasks that read mentions, each as ``NAME=TASK[,TASK…]``.

    Raises:
        InputError: A word has another form, or a task has another kind or does not exist.
    """
    choices: Sources = {}
    problems: list[Problem] = []
    for word in words:
        reading, equals, listed = word.partition("=")
        names = tuple(name.strip() for name in listed.split(",") if name.strip())
        if not equals or not names:
            problems.append(Problem("--mentions", "must be NAME=TASK[,TASK…].", "Such as --mentions cdr=chemical."))
            continue
        wanted = [(reading, "relates or labels mentions", _reading_tasks(heads))]
        wanted += [(name, "predicts mentions", _entity_tasks(heads)) for name in names]
        for name, what, known in wanted:
            if name not in known:
                advice = did_you_mean(name, known) if known else ""
                problems.append(Problem("--mentions", f"No task with the name '{name}' {what}.", advice))
        choices[reading] = names
    if problems:
        raise InputError(problems)
    return choices


def find_sources(heads: Mapping[str, Head], task: str, chosen: Sequence[str] = ()) -> tuple[str, ...]:
    """The entity tasks that find the mentions of another task, decided by the types of the mentions.

    Each type that the other task reads must be found by exactly one entity task. `merge_types` of a relation task
    applies to what the entity tasks find. A task that reads mentions of all types takes those of the only entity task.

    Args:
        heads: The head of each task.
        task: Name of the task that relates or labels mentions.
        chosen: Entity tasks that the user chose; empty considers all.

    Raises:
        InputError: No entity task finds a type, or several do.
    """
    read = MentionInput.of(heads[task])
    assert read is not None, "the task reads no mentions"
    finders = {name: set(map(read.merged, heads[name].mention_types)) for name in chosen or _entity_tasks(heads)}
    if read.types is None:
        tasks_of = {"": list(finders)}
    else:
        tasks_of = {kind: [name for name, found in finders.items() if kind in found] for kind in sorted(read.types)}
    key = f"tasks.{task}"
    missing = [kind for kind, names in tasks_of.items() if not names]
    if missing:
        what = f"finds mentions of type {', '.join(missing)}" if any(missing) else "finds mentions"
        message = f"The task '{task}' needs mentions, but no entity task of the run {what}."
        advice = "Give rows with entities, train an entity task for them too, or leave the task out with --task."
        raise InputError(Problem(key, message, advice))
    ambiguous = sorted({name for names in tasks_of.values() if len(names) > 1 for name in names})
    if ambiguous and not chosen:
        message = f"Several entity tasks find mentions for the task '{task}': {', '.join(ambiguous)}."
        raise InputError(Problem(key, message, f"Choose with --mentions {task}=TASK[,TASK…]."))
    return tuple(name for name in finders if any(name in names for names in tasks_of.values()))


def with_mentions(row: SpanRow, head: Head, predictions: Iterable[Prediction], link: Linker) -> SpanRow:
    """The row with predicted mentions as its entities, in text order, with ids ``T1``, ``T2`` and so on.

    Mentions of types that the task does not read are left out, and so is all but the first of equal mentions.

    Args:
        row: The row, whose own entities are replaced.
        head: Head of the task that relates or labels the mentions.
        predictions: Predictions of its entity tasks.
        link: Finds the concepts of the mentions.
    """
    read = MentionInput.of(head)
    assert read is not None, "the task reads no mentions"
    found: dict[tuple[int, int, str], str] = {}
    for entity in (entity for prediction in predictions for entity in prediction["entities"]):
        if read.takes(entity["type"]):
            found.setdefault((entity["start"], entity["end"], read.merged(entity["type"])), entity["type"])
    entities = [Entity(f"T{i}", found[place], (place[:2],)) for i, place in enumerate(sorted(found), start=1)]
    concepts = link(entities, row.text)
    linked = tuple(entity._replace(concepts=own) for entity, own in zip(entities, concepts, strict=True))
    return replace(row, entities=linked, relations=(), annotated=None)


def with_concepts(row: SpanRow, head: Head) -> SpanRow:
    """The row whose mentions all have concepts, if the head relates concepts; otherwise the row as it is.

    A mention without a concept id gets the ids of the first mention of its type and text, ignoring case, that has some.
    If there is none, these mentions are one concept, whose id is `SAME_TEXT` and the id of the first of them.

    Args:
        row: The row.
        head: Head of the task that reads it.

    >>> from heads.relation import RelationClassification
    >>> rules = {"negative": "none", "input": "markers", "level": "concept", "scope": "document"}
    >>> head = RelationClassification(["induces", "none"], 4, **rules)
    >>> known, other = Entity("T1", "Sign", ((0, 5),), ("D1",)), Entity("T2", "Sign", ((12, 15),))
    >>> row = SpanRow("1", "1", "fever Fever flu", entities=(known, Entity("T3", "Sign", ((6, 11),)), other))
    >>> [entity.concepts for entity in with_concepts(row, head).entities]
    [('D1',), ('D1',), ('same text as T2',)]
    """
    if head.pairing is None or head.pairing.level != "concept":
        return row
    merge = head.pairing.merge
    keys = {one.id: (merge.get(one.type, one.type), _surface(one, row.text)) for one in row.entities}
    known: dict[tuple[str, str], tuple[str, ...]] = {}
    for entity in sorted(row.entities, key=lambda entity: not entity.concepts):  # those with concepts first
        known.setdefault(keys[entity.id], entity.concepts or (f"{SAME_TEXT}{entity.id}",))
    linked = (entity._replace(concepts=entity.concepts or known[keys[entity.id]]) for entity in row.entities)
    return replace(row, entities=tuple(linked))


def by_surface(entities: Sequence[Entity], text: str) -> list[tuple[str, ...]]:
    """One concept for each type and text, ignoring case; its id is that of the first such mention.

    >>> by_surface([Entity("T1", "Drug", ((0, 7),)), Entity("T2", "Drug", ((8, 15),))], "Aspirin aspirin")
    [('T1',), ('T1',)]
    """
    first: dict[tuple[str, str], str] = {}
    return [(first.setdefault((entity.type, _surface(entity, text)), entity.id),) for entity in entities]


class ConceptLexicon:
    """The concept ids of surface forms in training documents.

    A mention gets the concepts of the longest surface form, ignoring case, that is equal to the mention or to some of
    its consecutive words; the first of equally long ones counts. A surface form has its most frequent concepts, the
    alphabetically first of equally frequent ones. A mention without such a surface form has no concept.

    Args:
        rows: Training rows with concept ids.
        merge: New names for entity types.

    >>> row = SpanRow("1", "1", "Renal failure.", entities=(Entity("T1", "Disease", ((0, 13),), ("D051437",)),))
    >>> lexicon = ConceptLexicon([row])
    >>> lexicon([Entity("T1", "Disease", ((0, 20),)), Entity("T2", "Disease", ((0, 5),))], "acute renal failure.")
    [('D051437',), ()]
    """

    def __init__(self, rows: Iterable[SpanRow], merge: Mapping[str, str] | None = None) -> None:
        self._merge = dict(merge or {})
        counts: defaultdict[tuple[str, str], Counter[tuple[str, ...]]] = defaultdict(Counter)
        for row in rows:
            for entity in row.entities:
                if entity.concepts:
                    counts[self._type(entity), _surface(entity, row.text)][entity.concepts] += 1
        self._concepts = {
            form: min(own, key=lambda concepts, own=own: (-own[concepts], concepts))  # type: ignore[misc]
            for form, own in counts.items()
        }

    def __call__(self, entities: Sequence[Entity], text: str) -> list[tuple[str, ...]]:
        return [self._linked(self._type(entity), _surface(entity, text)) for entity in entities]

    def _linked(self, kind: str, surface: str) -> tuple[str, ...]:
        words = [match.span() for match in WORD.finditer(surface)]
        parts = {surface[start:end] for i, (start, _) in enumerate(words) for _, end in words[i:]}
        known = [part for part in {surface, *parts} if (kind, part) in self._concepts]
        return self._concepts[kind, min(known, key=lambda part: (-len(part), surface.index(part)))] if known else ()

    def _type(self, entity: Entity) -> str:
        return self._merge.get(entity.type, entity.type)


class NameConcepts:
    """Relations between names as relations between concepts, by a `ConceptLexicon`.

    A name has no type. As a relation task pairs mentions of given types, the head of a relation is looked up among the
    mentions of those types that heads of its relation type have in training, and the tail likewise.

    Args:
        rows: Training rows with concept ids.
        directed: Whether heads and tails are told apart; otherwise names that fit only the other way round do so.

    >>> text, kinds = "Ibuprofen, renal failure.", ("Chemical", "Disease")
    >>> mentions = [Entity(str(i), kinds[i], ((0, 9), (11, 24))[i : i + 1], (f"D{i}",)) for i in range(2)]
    >>> row = SpanRow("1", "1", text, entities=tuple(mentions), relations=(Relation("D0", "D1", "CID"),))
    >>> written = [Relation("ibuprofen", "Acute renal failure", "CID"), Relation("renal failure", "ibuprofen", "CID")]
    >>> NameConcepts([row], directed=True)(written)
    [Relation(head='D0', tail='D1', type='CID')]
    """

    def __init__(self, rows: Iterable[SpanRow], *, directed: bool) -> None:
        known = list(rows)
        self._types, self._directed = _argument_types(known), directed
        self._lexicons = {
            types: ConceptLexicon(known, dict.fromkeys(types, "")) for pair in self._types.values() for types in pair
        }

    def __call__(self, relations: Iterable[Relation]) -> list[Relation]:
        return [Relation(head, tail, relation.type) for relation in relations for head, tail in self._pairs(relation)]

    def _pairs(self, relation: Relation) -> list[tuple[str, str]]:
        if relation.type not in self._types:
            return []
        heads, tails = self._types[relation.type]
        ways = [(relation.head, relation.tail)] + [(relation.tail, relation.head)] * (not self._directed)
        found = (list(product(self._concepts(head, heads), self._concepts(tail, tails))) for head, tail in ways)
        return next((pairs for pairs in found if pairs), [])

    def _concepts(self, name: str, types: frozenset[str]) -> tuple[str, ...]:
        (found,) = self._lexicons[types]([Entity("", "", ((0, len(name)),))], name)
        return found


def _argument_types(rows: Iterable[SpanRow]) -> dict[str | None, tuple[frozenset[str], frozenset[str]]]:
    """The types of the mentions of heads and of tails, by relation type."""
    found: defaultdict[str | None, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for row in rows:
        for relation in row.relations:
            for concept, types in zip((relation.head, relation.tail), found[relation.type], strict=True):
                types.update(entity.type for entity in row.entities if concept in entity.concepts)
    return {kind: (frozenset(heads), frozenset(tails)) for kind, (heads, tails) in found.items()}


def _surface(entity: Entity, text: str) -> str:
    return " ".join(text[start:end] for start, end in entity.spans).casefold()


def _entity_tasks(heads: Mapping[str, Head]) -> list[str]:
    return [name for name, head in heads.items() if head.mention_types]


def _reading_tasks(heads: Mapping[str, Head]) -> list[str]:
    return [name for name, head in heads.items() if MentionInput.of(head) is not None]
