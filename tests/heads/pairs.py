"""Rows with candidate pairs for the tests of relations."""

from __future__ import annotations

from typing import Any

import torch

from heads import Entity, Relation, Row, SpanRow, TextRow
from heads.relation import RelationClassification
from tests.heads import properties as has

LABELS = ("cause", "treat", "none")
PAIRS = [("Chemical", "Disease")]
WORDS = {"aspirin": "Chemical", "ibuprofen": "Chemical", "warfarin": "Chemical", "cox-2": "Gene"} | dict.fromkeys(
    ("fever", "headache", "bleeding", "nausea", "cancer"), "Disease"
)


def make(**options: Any) -> RelationClassification:
    options = {"negative": "none", **options}
    if "placeholders" not in options and "entity_types" not in options:
        options.setdefault("pairs", PAIRS)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return RelationClassification(options.pop("labels", LABELS), has.HIDDEN, **options)


def row(name: str, text: str, *relations: tuple[str, str, str | None], **fields: Any) -> SpanRow:
    """A row whose entities are the known words of its text, with their own text as ids and as concepts."""
    found = [(text.find(word), word) for word in WORDS if word in text]
    entities = tuple(
        Entity(word, WORDS[word], ((start, start + len(word)),), (word.upper(),)) for start, word in sorted(found)
    )
    return SpanRow(name, name, text, entities=entities, relations=tuple(Relation(*r) for r in relations), **fields)


ROWS = [
    row("a", "aspirin reduces fever and headache .", ("aspirin", "fever", "treat"), ("aspirin", "headache", "treat")),
    row("b", "bleeding was caused by warfarin , not by nausea .", ("warfarin", "bleeding", "cause")),
    row("c", "the patient with cancer was not with aspirin or ibuprofen ."),
    row("d", "ibuprofen reduces headache , and increases nausea", ("ibuprofen", "headache", "treat"),
        ("ibuprofen", "nausea", "cause")),
]  # fmt: skip
UNLABELLED = [
    row("u", "warfarin for headache", annotated=("Chemical", "Disease")),
    row("v", "aspirin after nausea", ("aspirin", "nausea", None)),
]
SENTENCES = [
    TextRow("1", "1", "@GENE$ is a risk of @DISEASE$ in patients", label="cause"),
    TextRow("2", "2", "no risk of @DISEASE$ with @GENE$", label="none"),
    TextRow("3", "3", "the treatment of @DISEASE$ is @GENE$ and a protein in the cell", label="treat"),
    TextRow("4", "4", "@DISEASE$ was not with @GENE$ , but with cox-2", label="none"),
]
UNLABELLED_SENTENCES = [TextRow("u", "u", "@GENE$ in @DISEASE$")]
READY = {"placeholders": ("@GENE$", "@DISEASE$")}

OPTIONS: dict[str, dict[str, Any]] = {
    "typed": {},
    "markers": {"input": "markers", "pooling": "entity_start"},
    "markers_max": {"input": "markers", "pooling": "mention_max", "hidden_layer": 12},
    "original": {"input": "original", "pooling": "mention_max", "class_weights": {"cause": 3.0}},
    "ambiguous": {"input": "original", "allow_ambiguous": True},
    "metrics": {"metrics": ["mcc", "kappa", "cooccurrence_fpr"]},
    "directed": {"input": "markers", "entity_types": ["Chemical", "Disease"], "directed": True},
}


def score(head: RelationClassification, row: Row, *predicted: tuple[str, str, str]) -> dict[str, float]:
    relations = [{"head": h, "tail": t, "type": name, "score": 1.0} for h, t, name in predicted]
    return head.score(head.counts({"relations": relations}, row))


def tokens_of(head: RelationClassification, row: Row, tokenizer: Any, **options: Any) -> list[list[str]]:
    """The tokens of each candidate of a row."""
    own = has.with_special_tokens(head, tokenizer)
    examples = has.encode(head, [row], tokenizer, **{"training": False, **options})
    return [own.convert_ids_to_tokens(example["input_ids"]) for example in examples]
