"""Predictions of another system as predictions of a head, so that both are scored by the same code."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from heads import Entity, Head, Prediction, Row, SpanRow
from mtl.importers import Argument, FoundRelation, FoundRow, Importer, importer_of
from mtl.problems import InputError
from mtl.redaction import shown

Typed = TypeVar("Typed", Entity, FoundRelation)


class Imported(NamedTuple):
    """The predictions of a system for the rows of a split.

    Args:
        rows: The rows. Concepts that only the system found are added, without a mention in gold, to rows whose
            relations it joins to them, so that these relations count as spurious.
        predictions: The prediction of each row, by its id.
        left_out: How much of the file makes no prediction although it is no error, by what it is.
    """

    rows: list[Row]
    predictions: dict[str, Prediction]
    left_out: Mapping[str, int]


def import_predictions(
    path: Path,
    task: str,
    head: Head,
    rows: Sequence[Row],
    *,
    names: Mapping[str, str] | None = None,
    ignored: Collection[str] = (),
    format: str | None = None,
    lenient: bool = False,
) -> Imported:
    """The predictions in a file.

    Args:
        path: The file.
        task: Name of the task.
        head: Its head; its weights do not matter.
        rows: The gold rows of the split, in their order.
        names: Label of the task for each label with another name in the file; the task's own labels are known.
        ignored: Types of mentions and relations of the file that are not read.
        format: Name of the format; None decides by the suffix.
        lenient: Whether tags that do not follow their scheme make mentions too.

    Raises:
        InputError: The file is malformed, has ids twice, lacks some or has others than the rows, or has predictions
            that the head cannot score; the error lists all problems.
    """
    relates = head.pairing is not None
    importer = importer_of(path, task, format, lenient=lenient, relates=relates)
    found = list(importer.read(rows))
    by_id = {row.id: row for row in rows}
    _check_ids(importer, [one.id for one in found], by_id)
    conversion = Conversion(head, names or {}, ignored)
    made = Imported([], {}, importer.left_out)
    of_system = {one.id: one for one in found}
    for row in rows:
        kept, prediction = conversion.of(row, of_system.get(row.id, FoundRow(row.id, str(path))))
        made.rows.append(kept)
        made.predictions[row.id] = prediction
    for rule, ids in conversion.broken.items():
        importer.bad_ids(rule, ids)
    if importer.problems:
        raise InputError(importer.problems)
    return made


def _check_ids(importer: Importer, ids: Sequence[str], by_id: Mapping[str, Row]) -> None:
    times = Counter(ids)
    importer.bad_ids("an id must occur once", [name for name, number in times.items() if number > 1])
    importer.bad_ids("an id must be that of a row of the split", [name for name in times if name not in by_id])
    if importer.lists_all_rows:
        importer.bad_ids("every row of the split needs a prediction", [name for name in by_id if name not in times])


class Conversion:
    """Turns what a system found into predictions; rules that rows break are collected in `broken`, by rule."""

    def __init__(self, head: Head, names: Mapping[str, str], ignored: Collection[str]) -> None:
        self._head, self._names, self._ignored = head, names, frozenset(ignored)
        self.broken: defaultdict[str, list[str]] = defaultdict(list)

    def of(self, row: Row, found: FoundRow) -> tuple[Row, Prediction]:
        if isinstance(row, SpanRow) and self._head.mention_types:
            return row, self._mentions(row, found)
        if isinstance(row, SpanRow) and self._head.pairing is not None:
            return self._relations(row, found)
        if isinstance(row, SpanRow) and self._head.labelling is not None:
            return row, self._attributes(row, found)
        return row, self._answer(row, found)

    # --- texts with mentions --------------------------------------------------------------------------------------

    def _mentions(self, row: SpanRow, found: FoundRow) -> Prediction:
        self._check_text(row, found)
        entities = []
        for mention in self._read(found.mentions):
            start, end = mention.spans[0][0], mention.spans[-1][1]
            kind = self._label(row, mention.type, self._head.mention_types)
            if not 0 <= start < end <= len(row.text):
                self._break(row, "a mention must be inside the text and not empty")
            elif kind is not None:
                entities.append({"type": kind, "start": start, "end": end, "score": 1.0})
        return {"entities": entities}

    def _relations(self, row: SpanRow, found: FoundRow) -> tuple[Row, Prediction]:
        self._check_text(row, found)
        pairing = self._head.pairing
        relations: list[dict[str, Any]] = []
        assert pairing is not None, "the task predicts no relations"
        spurious: dict[str, Entity] = {}
        resolve = self._concept if pairing.level == "concept" else self._mention
        for relation in self._read(found.relations):
            kind = self._label(row, relation.type, self._head.labels)
            head, tail = (resolve(row, found, one, spurious) for one in (relation.head, relation.tail))
            if kind is not None and kind != self._head.negative and head is not None and tail is not None:
                relations.append({"head": head, "tail": tail, "type": kind, "score": 1.0})
        kept = replace(row, entities=(*row.entities, *spurious.values())) if spurious else row
        known = {pairing.key(one.head.id, one.tail.id) for one in pairing.candidates(kept)}
        known |= {pairing.key(relation.head, relation.tail) for relation in row.relations}
        if any(pairing.key(one["head"], one["tail"]) not in known for one in relations):
            self._break(row, "a relation must join two mentions or concepts that the task can pair")
        return kept, {"relations": relations}

    def _attributes(self, row: SpanRow, found: FoundRow) -> Prediction:
        """The value of each mention; those without one have the task's `default`, as in gold."""
        self._check_text(row, found)
        labelling = self._head.labelling
        assert labelling is not None, "the task labels no mentions"
        values: dict[str, str] = {}
        for one in found.attributes:
            if one.name == labelling.attribute:
                mention = self._mention(row, found, one.mention)
                value = self._label(row, one.value, self._head.labels)
                if mention is not None and value is not None and values.setdefault(mention, value) != value:
                    self._break(row, "a mention must have one value of an attribute")
        if labelling.default is not None:
            values = {entity.id: labelling.default for entity in labelling.mentions(row)} | values
        gold = [entity.id for entity in labelling.mentions(row) if labelling.gold(row, entity) is not None]
        if not values.keys() >= set(gold):
            self._break(row, f"every mention must have a value of the attribute '{labelling.attribute}'")
        listed = [{"entity": name, "name": labelling.attribute, "value": value} for name, value in values.items()]
        return {"attributes": [one | {"score": 1.0} for one in listed]}

    def _mention(
        self, row: SpanRow, found: FoundRow, name: Argument, spurious: dict[str, Entity] | None = None
    ) -> str | None:
        """The id of the gold mention that an argument is."""
        carriers = [one for one in found.mentions if name in one.concepts]
        if isinstance(name, int) or len(carriers) == 1:
            mention = found.mentions[name] if isinstance(name, int) else carriers[0]
            same = [entity for entity in row.entities if entity.spans == mention.spans]
            same = [entity for entity in same if entity.type == self._named(mention.type)] or same
            same = [entity for entity in same if entity.id == mention.id] or same
            name = same[0].id if same else ""
        if name in {entity.id for entity in row.entities}:
            return str(name)
        self._break(row, "relations and attributes must be those of gold mentions of the row")
        return None

    def _concept(self, row: SpanRow, found: FoundRow, name: Argument, spurious: dict[str, Entity]) -> str | None:
        """The id of the concept that an argument is; one that the row does not have is added to `spurious`."""
        if isinstance(name, int):
            concepts = found.mentions[name].concepts
            if len(concepts) != 1:
                self._break(row, "an argument of a relation must be one concept")
                return None
            (name,) = concepts
        if not any(name in entity.concepts for entity in row.entities):
            kinds = [mention.type for mention in found.mentions if name in mention.concepts]
            if not kinds:
                self._break(row, "a concept that the row does not have needs a mention with its type")
                return None
            place = (0, len(row.text))
            spurious[name] = Entity(f"spurious {name}", self._named(kinds[0]), (place,), (name,))
        return name

    def _check_text(self, row: SpanRow, found: FoundRow) -> None:
        if found.text is not None and _plain(found.text) != _plain(row.text):
            self._break(row, "the text must be that of the row")

    # --- texts with labels ----------------------------------------------------------------------------------------

    def _answer(self, row: Row, found: FoundRow) -> Prediction:
        answer: dict[str, Any] = dict(found.answer)
        if "scores" in answer:
            answer["scores"] = {self._named(name): value for name, value in answer["scores"].items()}
        if "label" in answer and self._head.labels:
            answer["label"] = self._label(row, str(answer["label"]), self._head.labels)
        if "labels" in answer:
            answer["labels"] = [self._label(row, str(name), self._head.labels) for name in answer["labels"]]
        if not any(row.id in ids for ids in self.broken.values()):
            self._check_answer(row, answer)
        return answer

    def _check_answer(self, row: Row, answer: Prediction) -> None:
        """Checks that the answer has what the metrics of the task need."""
        try:
            self._head.counts(answer, row)
        except KeyError as error:
            self._break(row, f"a prediction needs the key {shown(str(error.args[0]), 'a key')}")
        except (TypeError, ValueError, RuntimeError):
            self._break(row, "a prediction must have labels as text and numbers as numbers")

    # --- details --------------------------------------------------------------------------------------------------

    def _read(self, found: Iterable[Typed]) -> Iterator[Typed]:
        return (one for one in found if one.type not in self._ignored)

    def _named(self, label: str) -> str:
        return label if label in self._head.labels else self._names.get(label, label)

    def _label(self, row: Row, label: str, known: Sequence[str]) -> str | None:
        name = self._named(label)
        if name in known:
            return name
        rule = f"a label must be one of {', '.join(known)}, not {shown(label, 'a label')}"
        self._break(row, f"{rule} (--map renames and --ignore leaves out)")
        return None

    def _break(self, row: Row, rule: str) -> None:
        if row.id not in self.broken[rule]:
            self.broken[rule].append(row.id)


def _plain(text: str) -> str:
    """The text with one blank for each line break or tab, as formats without them write it."""
    return "".join(" " if character.isspace() else character for character in text).rstrip()
