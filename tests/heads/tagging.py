"""Rows with entities for the tests of token classification, and predictions from perfect tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from heads import IGNORE, Entity, Prediction, SpanRow
from heads.token_classification import TokenClassification
from tests.heads import properties as has

LABELS = ("Drug", "Disease")
LONG = "aspirin reduces the risk of bleeding after treatment in patients with cancer . " * 4


def make(**options: Any) -> TokenClassification:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TokenClassification(options.pop("labels", LABELS), has.HIDDEN, **{"stride": 8, **options})


def row_of(text: str, *entities: tuple[str, str], name: str = "r", **fields: Any) -> SpanRow:
    """A row with entities given as (type, mention), in text order."""
    parsed, after = [], 0
    for number, (kind, mention) in enumerate(entities):
        start = text.index(mention, after)
        after = start + len(mention)
        parsed.append(Entity(f"T{number}", kind, ((start, after),)))
    return SpanRow(name, name, text, entities=tuple(parsed), **fields)


ROWS = [
    row_of("aspirin induces nausea .", ("Drug", "aspirin"), ("Disease", "nausea"), name="1"),
    row_of("no fever", ("Disease", "fever"), name="2"),
    row_of("the patient was in treatment", name="3"),
    row_of("warfarin increases bleeding risk", ("Drug", "warfarin"), ("Disease", "bleeding risk"), name="4"),
    row_of(LONG, *[("Drug", "aspirin"), ("Disease", "bleeding"), ("Disease", "cancer")] * 4, name="5"),
]
UNLABELLED = [
    SpanRow("u", "u", "aspirin in cancer", entities=(Entity("T1", "Drug", ((0, 7),)),), annotated=()),
    SpanRow("v", "v", LONG, annotated=("Gene",)),
]


def gold_logits(fields: dict[str, Tensor], num_tags: int) -> Tensor:
    return 20.0 * nn.functional.one_hot(fields["tags"].clamp(min=0), num_tags).float()


def predict_gold(
    head: TokenClassification, rows: Sequence[SpanRow], tokenizer: Any, **options: Any
) -> list[Prediction]:
    """Predictions from logits that agree with the gold tags."""
    examples = has.encode(head, rows, tokenizer, training=False, **options)
    mask, fields = has.collate(head, examples)
    return has.decode(head, rows, examples, head.outputs(gold_logits(fields, len(head.tags)), mask, fields))


def spans_of(prediction: Prediction) -> list[tuple[int, int, str]]:
    return [(entity["start"], entity["end"], entity["type"]) for entity in prediction["entities"]]


def prediction_of(*spans: tuple[int, int, str]) -> Prediction:
    return {"entities": [{"start": s, "end": e, "type": t, "score": 1.0} for s, e, t in spans]}


def trained_tags(head: TokenClassification, row: SpanRow, tokenizer: Any, **options: Any) -> dict[int, str]:
    """The gold tag of every word that is trained on, over all windows; no word is trained on twice."""
    tags: dict[int, str] = {}
    for example in has.encode(head, [row], tokenizer, **options):
        for word, tag in zip(example["words"], example["tags"], strict=True):
            if tag != IGNORE:
                assert word not in tags
                tags[word] = head.tags[tag]
    return tags
