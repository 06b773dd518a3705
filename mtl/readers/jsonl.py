"""JSON lines: one row per line, in the format of `heads.rows.row_to_dict`."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from heads.rows import Row, WordProbabilities, row_from_dict
from mtl.problems import InputError, Problem, did_you_mean
from mtl.readers import OnBadRow, Reader
from mtl.readers._columns import MalformedError, as_string, kind_of, name_of, number_of, text_of
from mtl.readers._json import ONE_OBJECT, parse_object
from mtl.readers._mentions import Offsets, checked_spans
from mtl.readers._parts import Discontinuous
from mtl.readers._predicted import SOURCE, predicted_fields
from mtl.redaction import listed, quoted_code

_COMMON = ("id", "document", "text", "text_pair", "meta")
_SPAN_FIELDS = ("entities", "relations", "words", "sentences")
_WEAK = ("source", "score", "weight")
_FIELDS = (*_COMMON, "label", *_SPAN_FIELDS, "annotated", "probabilities", *_WEAK)
_PREDICTIONS = "predictions"


class Jsonl(Reader):
    """`SpanRow`s from lines with a key `entities`, `TextRow`s from all others.

    ``{"sentence": "Aspirin helps.", "gold": "yes"}`` with ``columns: {text: sentence, label: gold}`` gives
    ``TextRow(id="train-1", document="train-1", text="Aspirin helps.", label="yes")``.

    By default, `id` is `<split>-<line>` and `document` is the id. A label is a string, a number, a list of names, or
    null if the row is not annotated. An integer is read as a name, such as "1", which regressions read as a number. An
    entity may have its own `text`, which is compared with the text at its offsets. Blanks at the ends of an entity are
    removed from its spans, and the entity is counted in `adjusted`. Blank lines are ignored.

    A row with weak or soft labels has `source`, `score`, `weight` or `probabilities` (label -> probability; with
    entities, a list of ``{"start": 0, "end": 3, "tags": {"B-Drug": 0.9, "O": 0.1}}`` for words), and a row
    that was annotated for some labels only has `annotated`; see `heads.rows`. With the option `predictions`, lines of
    `mtl predict --with-text` are weak labels too.

    Args:
        path: See `Reader`.
        columns: Field of the row -> key in the file, if they differ.
        meta: Keys that are copied to `meta` as strings.
        ignore: Keys that are not read. A line with any other unknown key is a bad row.
        predictions: Task whose predictions are the labels of lines with a key `predictions`; the source of these rows
            is their `source`, or else "predictions". None makes such a line a bad row.
        offsets: What happens to entities whose `text` differs from the text at their offsets. With `check`, their line
            is a bad row; with `trust`, only the offsets count, and the entities are counted in `adjusted`.
        discontinuous: How mentions in several parts are read: `keep`, `outer`, `split` or `refuse`; see
            `mtl.readers._parts`.
        files: See `Reader`.
        on_bad_row: See `Reader`.
        encoding: See `Reader`.

    Raises:
        InputError: `columns` has a key that is not a field of a row.
    """

    suffixes = (".jsonl", ".ndjson")
    other_names = ("json", "ndjson", "json_lines", "prodigy")

    def __init__(
        self,
        path: str,
        *,
        columns: Mapping[str, str] | None = None,
        meta: Sequence[str] = (),
        ignore: Sequence[str] = (),
        predictions: str | None = None,
        offsets: Offsets = "check",
        discontinuous: Discontinuous = "keep",
        files: Mapping[str, str] | None = None,
        on_bad_row: OnBadRow = "error",
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(path, files=files, on_bad_row=on_bad_row, encoding=encoding)
        self.meta = tuple(meta)
        self.ignore = frozenset(ignore)
        self.predictions = predictions
        self.offsets: Offsets = offsets
        self.discontinuous = discontinuous
        self._field_of = _field_of_key(columns or {}, meta)

    def rows(self, source: Path, split: str) -> Iterator[Row]:
        for number, line in self.lines(source):
            if not line.strip():
                continue
            try:
                row = self._row(parse_object(line), default_id=f"{split}-{number}")
            except MalformedError as error:
                self.bad(source, number, error.rule, error.found)
            except RecursionError:  # a value of `meta` that was just not too deep to be parsed
                self.bad(source, number, ONE_OBJECT, "values nested too deeply")
            else:
                yield row

    def _row(self, record: Mapping[str, Any], default_id: str) -> Row:
        others, predicted = self._predicted(record)
        values, meta = self._fields(others)
        values = {"source": SOURCE, **values, **predicted} if predicted else values
        meta |= _meta(values.pop("meta", {}))
        row_id = name_of("id", values.pop("id", default_id))
        fields: dict[str, Any] = {
            "id": row_id,
            "document": name_of("document", values.pop("document", row_id)),
            "text": text_of("text", values.pop("text", None)),
            "meta": meta,
        }
        if "text_pair" in values:
            fields["text_pair"] = text_of("text_pair", values.pop("text_pair"))
        _check_shape(values)
        fields |= _weak_fields(values)
        if "entities" in values:
            return row_from_dict(fields | self._span_fields(values, fields["text"]))
        return row_from_dict(fields | {"label": _label(values.get("label"))})

    def _predicted(self, record: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, Any]]:
        """The line without its predictions, and what the task predicted by the fields of a row."""
        if self.predictions is None or _PREDICTIONS not in record:
            return record, {}
        others = {key: value for key, value in record.items() if key != _PREDICTIONS}
        return others, predicted_fields(record[_PREDICTIONS], self.predictions)

    def _span_fields(self, values: Mapping[str, Any], text: str) -> dict[str, Any]:
        adjusted: Counter[str] = Counter()
        out: dict[str, Any] = {
            "entities": _list("entities", values["entities"], lambda e: _entity(e, text, self.offsets, adjusted))
        }
        ids = [entity["id"] for entity in out["entities"]]
        if len(set(ids)) < len(ids):
            twice = f"{len(ids) - len(set(ids))} duplicates"
            raise MalformedError("ids of entities must be unique within a row", twice)
        ends = {*ids, *(concept for entity in out["entities"] for concept in entity["concepts"])}
        out["relations"] = _list("relations", values.get("relations", []), lambda r: _relation(r, ends))
        for name in ("words", "sentences"):
            if name in values:
                out[name] = _spans(name, values[name], text)
        if "probabilities" in values:
            given = values["probabilities"]
            out["probabilities"] = _list("probabilities of a text with entities", given, lambda w: _word(w, text))
        self.adjusted.update(adjusted)
        return out

    def _fields(self, record: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """The values by field, and the entries of `meta`; `null` is the same as omitting the key."""
        known = {key: value for key, value in record.items() if key not in self.ignore and value is not None}
        meta = {key: as_string(known[key]) for key in self.meta if key in known}
        unknown = [key for key in record if key not in {*self._field_of, *self.meta, *self.ignore}]
        if unknown:
            rule = "keys must be fields of a row or listed in columns, meta or ignore"
            raise MalformedError(rule, listed(sorted(unknown), "key"))
        return {self._field_of[key]: value for key, value in known.items() if key in self._field_of}, meta


def _field_of_key(columns: Mapping[str, str], meta: Sequence[str]) -> dict[str, str]:
    """The field of each key. A key that `columns` or `meta` names has no other meaning, whatever it is called."""
    problems = [
        Problem(f"columns.{name}", f"A row has no field '{name}'.", did_you_mean(name, _FIELDS))
        for name in columns
        if name not in _FIELDS
    ]
    if problems:
        raise InputError(problems)
    taken = {*columns.values(), *(name for name in meta if name in _WEAK)}
    own = {name: name for name in _FIELDS if name not in columns and name not in taken}
    return own | {key: name for name, key in columns.items()}


def _meta(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise MalformedError("meta must be an object", kind_of(value))
    return {key: as_string(item) for key, item in value.items() if item is not None}


def _check_shape(values: Mapping[str, Any]) -> None:
    if "entities" in values and "label" in values:
        raise MalformedError("a row must have either label or entities (list the other under ignore)", "both")
    extra = [name for name in values if name in _SPAN_FIELDS]
    if extra and "entities" not in values:
        raise MalformedError(f"a row with {', '.join(sorted(extra))} must have entities (may be [])", "no entities")


def _weak_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Source, score, weight, probabilities and annotated labels of a line that has them."""
    out: dict[str, Any] = {}
    if "source" in values:
        out["source"] = name_of("source", values["source"])
    if "score" in values:
        out["score"] = _number_within("score", values["score"], 1)
    if "weight" in values:
        out["weight"] = _number_within("weight", values["weight"], math.inf)
        if out["weight"] in (0, math.inf):
            raise MalformedError("weight must be above 0 and finite", f"{out['weight']:g}")
    if "probabilities" in values and "entities" not in values:
        out["probabilities"] = _probabilities(values["probabilities"], "label")
    if "annotated" in values:
        out["annotated"] = _list("annotated", values["annotated"], lambda name: text_of("annotated", name))
    return out


def _probabilities(value: Any, outcome: str) -> dict[str, float]:
    if not isinstance(value, dict) or not value:
        raise MalformedError(f"probabilities must be an object: {outcome} -> probability", kind_of(value))
    return {name: _number_within("a probability", one, 1) for name, one in value.items()}


def _number_within(name: str, value: Any, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedError(f"{name} must be a number", kind_of(value))
    try:
        number = float(value)
    except OverflowError:  # an integer of more than 308 digits
        number = math.inf if value > 0 else -math.inf
    if not 0 <= number <= high:
        rule = f"{name} must be {'at least 0' if high == math.inf else f'from 0 to {high}'}"
        raise MalformedError(rule, f"{number:g}")
    return number


def _label(value: Any) -> str | list[str] | float | None:
    if value is None:
        return None
    if isinstance(value, list):
        return [name_of("label", name) for name in value]
    return number_of("label", value) if isinstance(value, float) else name_of("label", value)


# --- entities and relations -----------------------------------------------------------------------------------------


def _entity(value: Any, text: str, offsets: Offsets, adjusted: Counter[str]) -> dict[str, Any]:
    _check_keys("an entity", value, needed=("id", "type", "spans"), optional=("concepts", "attributes", "text"))
    spans = _spans("spans", value["spans"], text)
    if not spans:
        raise MalformedError("an entity must have at least one span", "none")
    mention = value.get("text")
    if mention is not None and not isinstance(mention, str):
        raise MalformedError("the text of an entity must be a string", kind_of(mention))
    return {
        "id": name_of("an entity's id", value["id"]),
        "type": text_of("an entity's type", value["type"]),
        "spans": checked_spans(text, spans, mention, offsets, adjusted),
        "concepts": _list("concepts", value.get("concepts", []), lambda c: name_of("a concept", c)),
        "attributes": _attributes(value.get("attributes", {})),
    }


def _word(value: Any, text: str) -> dict[str, Any]:
    _check_keys("probabilities of a word", value, needed=WordProbabilities._fields, optional=())
    start, end = _span("a word with probabilities", [value["start"], value["end"]], len(text))
    return {"start": start, "end": end, "tags": _probabilities(value["tags"], "tag")}


def _attributes(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise MalformedError("the attributes of an entity must be an object", kind_of(value))
    return {
        text_of("the name of an attribute", name): name_of("an attribute's value", item) for name, item in value.items()
    }


def _relation(value: Any, ends: set[str]) -> dict[str, Any]:
    _check_keys("a relation", value, needed=("head", "tail"), optional=("type",))
    out: dict[str, Any] = {end: name_of(f"a relation's {end}", value[end]) for end in ("head", "tail")}
    for end, name in out.items():
        if name not in ends:
            raise MalformedError(f"a relation's {end} must be an entity or a concept of the row", quoted_code(name))
    kind = value.get("type")
    return out | {"type": None if kind is None else text_of("a relation's type", kind)}


def _check_keys(what: str, value: Any, *, needed: Sequence[str], optional: Sequence[str]) -> None:
    if not isinstance(value, dict):
        raise MalformedError(f"{what} must be an object", kind_of(value))
    missing = [key for key in needed if key not in value]
    if missing:
        raise MalformedError(f"{what} must have {', '.join(needed)}", f"no {', '.join(missing)}")
    unknown = sorted(set(value) - {*needed, *optional})
    if unknown:
        raise MalformedError(f"{what} may only have the keys {', '.join([*needed, *optional])}", listed(unknown, "key"))


def _spans(name: str, value: Any, text: str) -> list[tuple[int, int]]:
    """Spans inside the text, in text order and without overlap."""
    spans: list[tuple[int, int]] = _list(name, value, lambda pair: _span(name, pair, len(text)))
    for before, after in itertools.pairwise(spans):
        if after[0] < before[1]:
            raise MalformedError(f"{name} must be in text order without overlap", f"{list(before)}, {list(after)}")
    return spans


def _span(name: str, value: Any, length: int) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2 or not all(type(offset) is int for offset in value):
        raise MalformedError(f"{name} must be pairs of integers", kind_of(value))
    start, end = value
    if not 0 <= start < end <= length:
        raise MalformedError(f"{name} must be inside the text and not empty", f"{value} in {length} characters")
    return start, end


def _list(name: str, value: Any, convert: Callable[[Any], Any]) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedError(f"{name} must be a list", kind_of(value))
    return [convert(item) for item in value]
