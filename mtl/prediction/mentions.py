"""Mentions that an entity task finds as the candidates of a relation task, and the concepts that they refer to."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from heads import Entity, Head, Prediction, SpanRow
from mtl.problems import InputError, Problem, did_you_mean

DECIDES_RESULTS = False

Sources = dict[str, tuple[str, ...]]
"""The entity tasks that find the mentions of each relation task."""

Linker = Callable[[Sequence[Entity], str], Sequence[tuple[str, ...]]]
"""From the mentions of a text, and the text, to the concept ids of each mention."""

_WORD = re.compile(r"[^\W_]+|[^\w\s]|_")


def parse_choices(words: Sequence[str], heads: Mapping[str, Head]) -> Sources:
    """The entity tasks that the user chose for relation tasks, each as ``RELATION=TASK[,TASK…]``.

    Raises:
        InputError: A word has another form, or a task has another kind or does not exist.
    """
    choices: Sources = {}
    problems: list[Problem] = []
    for word in words:
        relation, equals, listed = word.partition("=")
        names = tuple(name.strip() for name in listed.split(",") if name.strip())
        if not equals or not names:
            problems.append(Problem("--mentions", "must be RELATION=TASK[,TASK…].", "Such as --mentions cdr=chemical."))
            continue
        wanted = [(relation, "predicts relations", _relation_tasks(heads))]
        wanted += [(name, "predicts mentions", _entity_tasks(heads)) for name in names]
        for name, what, known in wanted:
            if name not in known:
                advice = did_you_mean(name, known) if known else ""
                problems.append(Problem("--mentions", f"No task with the name '{name}' {what}.", advice))
        choices[relation] = names
    if problems:
        raise InputError(problems)
    return choices


def find_sources(heads: Mapping[str, Head], relation: str, chosen: Sequence[str] = ()) -> tuple[str, ...]:
    """The entity tasks that find the mentions of a relation task, decided by the types of the mentions.

    Each type of the relation task must be found by exactly one entity task. `merge_types` of the relation task applies
    to what the entity tasks find. A relation task without types takes the mentions of the only entity task.

    Args:
        heads: The head of each task.
        relation: Name of the relation task.
        chosen: Entity tasks that the user chose; empty considers all.

    Raises:
        InputError: No entity task finds a type, or several do.
    """
    finders = {task: _merged_types(heads[relation], heads[task]) for task in chosen or _entity_tasks(heads)}
    pairing = heads[relation].pairing
    assert pairing is not None, "the task predicts no relations"
    if pairing.types is None:
        tasks_of = {"": list(finders)}
    else:
        wanted = sorted({name for pair in pairing.types for name in pair})
        tasks_of = {name: [task for task, found in finders.items() if name in found] for name in wanted}
    key = f"tasks.{relation}"
    missing = [name for name, tasks in tasks_of.items() if not tasks]
    if missing:
        what = f"finds mentions of type {', '.join(missing)}" if any(missing) else "finds mentions"
        message = f"The relation task '{relation}' needs mentions, but no entity task of the run {what}."
        advice = "Give rows with entities, train an entity task for them too, or leave the task out with --task."
        raise InputError(Problem(key, message, advice))
    ambiguous = sorted({task for tasks in tasks_of.values() if len(tasks) > 1 for task in tasks})
    if ambiguous and not chosen:
        message = f"Several entity tasks find mentions for the relation task '{relation}': {', '.join(ambiguous)}."
        raise InputError(Problem(key, message, f"Choose with --mentions {relation}=TASK[,TASK…]."))
    return tuple(task for task in finders if any(task in tasks for tasks in tasks_of.values()))


def with_mentions(row: SpanRow, head: Head, predictions: Iterable[Prediction], link: Linker) -> SpanRow:
    """The row with predicted mentions as its entities, in text order, with ids ``T1``, ``T2`` and so on.

    Mentions of types that the relation task cannot pair are left out, and so is all but the first of equal mentions.

    Args:
        row: The row, whose own entities are replaced.
        head: Head of the relation task.
        predictions: Predictions of its entity tasks.
        link: Finds the concepts of the mentions.
    """
    assert head.pairing is not None, "the task predicts no relations"
    types, merge = head.pairing.types, head.pairing.merge
    wanted = None if types is None else {name for pair in types for name in pair}
    found: dict[tuple[int, int, str], str] = {}
    for entity in (entity for prediction in predictions for entity in prediction["entities"]):
        merged = merge.get(entity["type"], entity["type"])
        if wanted is None or merged in wanted:
            found.setdefault((entity["start"], entity["end"], merged), entity["type"])
    entities = [Entity(f"T{i}", found[place], (place[:2],)) for i, place in enumerate(sorted(found), start=1)]
    concepts = link(entities, row.text)
    linked = tuple(entity._replace(concepts=own) for entity, own in zip(entities, concepts, strict=True))
    return replace(row, entities=linked, relations=(), annotated=None)


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
        words = [match.span() for match in _WORD.finditer(surface)]
        parts = {surface[start:end] for i, (start, _) in enumerate(words) for _, end in words[i:]}
        known = [part for part in {surface, *parts} if (kind, part) in self._concepts]
        return self._concepts[kind, min(known, key=lambda part: (-len(part), surface.index(part)))] if known else ()

    def _type(self, entity: Entity) -> str:
        return self._merge.get(entity.type, entity.type)


def _merged_types(relation: Head, finder: Head) -> set[str]:
    """The types that an entity task finds, by the names that a relation task gives them."""
    assert relation.pairing is not None, "the task predicts no relations"
    return {relation.pairing.merge.get(name, name) for name in finder.mention_types}


def _surface(entity: Entity, text: str) -> str:
    return " ".join(text[start:end] for start, end in entity.spans).casefold()


def _entity_tasks(heads: Mapping[str, Head]) -> list[str]:
    return [name for name, head in heads.items() if head.mention_types]


def _relation_tasks(heads: Mapping[str, Head]) -> list[str]:
    return [name for name, head in heads.items() if head.pairing is not None]
