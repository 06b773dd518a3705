from typing import Any

import pytest
import torch
from pytorch_lightning.plugins import HalfPrecision

from heads import IGNORE
from heads.classification import Classification
from heads.regression import Regression
from heads.token_classification import TokenClassification
from mtl.batching.batch import EMPTY, EVERYTHING, ExampleGroup, UpdateShare, collate

HEADS = {
    "gad": Classification(["no", "yes"], 8),
    "bleed": Classification(["no", "yes"], 8),
    "sts": Regression([], 8, range=(0, 4)),
    "ner": TokenClassification(["Chemical"], 8),
    "apart": Regression([], 8, range=(0, 4), pair="apart"),
}


def text(ids: list[int], label: Any, **more: Any) -> dict[str, Any]:
    return {"row": 0, "input_ids": ids, "targets": 1, "truncated": False, "label": label, **more}


def words(ids: list[int], tags: list[int]) -> dict[str, Any]:
    count = len(tags)
    return {
        "row": 0,
        "input_ids": ids,
        "targets": count,
        "truncated": False,
        "positions": list(range(1, count + 1)),
        "tags": tags,
        "words": list(range(count)),
    }


def test_inputs_are_one_row_of_tokens_and_states_are_laid_out_by_example() -> None:
    groups = [
        ExampleGroup({"gad": [text([5, 6, 7], 1), text([8], 0)]}),
        ExampleGroup({"ner": [words([9, 10, 11, 12], [1, 0])]}),
    ]
    batch = collate(groups, HEADS)
    assert batch.input_ids.tolist() == [9, 10, 11, 12, 5, 6, 7, 8]
    states = batch.layout.states(batch.input_ids[:, None])[..., 0]
    assert states.tolist() == [[5, 6, 7, 0], [8, 0, 0, 0], [9, 10, 11, 12]]
    assert batch.mask.tolist() == [[True] * 3 + [False], [True] + [False] * 3, [True] * 4]
    assert len(batch) == 3


def test_each_part_has_its_rows_fields_and_share_of_the_update() -> None:
    groups = [
        ExampleGroup({"gad": [text([5], 1), text([8], 0)]}, {"gad": UpdateShare(2, 0.5)}),
        ExampleGroup({"ner": [words([9, 10, 11], [1, 0])]}, {"ner": UpdateShare(8, 0.25)}),
        ExampleGroup({"sts": [text([4], 3.5)]}),
    ]
    parts = collate(groups, HEADS).parts
    assert [(p.task, p.start, p.stop, p.update) for p in parts] == [
        ("gad", 0, 2, UpdateShare(2, 0.5)),
        ("ner", 2, 3, UpdateShare(8, 0.25)),
        ("sts", 3, 4, EVERYTHING),
    ]
    assert parts[0].fields["label"].tolist() == [1, 0]
    assert parts[1].fields["tags"].tolist() == [[1, 0]]
    assert parts[2].fields["label"].tolist() == [3.5]


def test_tasks_that_share_texts_read_the_same_rows_of_the_batch() -> None:
    both = {"gad": [text([5], 1), text([8], 0)], "bleed": [text([5], IGNORE), text([8], 1)]}
    batch = collate([ExampleGroup(both, {"gad": UpdateShare(2, 0.5), "bleed": UpdateShare(1, 0.5)})], HEADS)
    assert len(batch) == 2
    assert [(p.task, p.start, p.stop, p.update.targets) for p in batch.parts] == [("gad", 0, 2, 2), ("bleed", 0, 2, 1)]
    assert batch.parts[1].fields["label"].tolist() == [IGNORE, 1]


def test_each_sequence_of_an_example_is_a_sequence_of_the_batch() -> None:
    pairs = [
        text([5, 6, 7, 8], 1.0, sequence_lengths=[3, 1], windows=[1, 1], token_type_ids=[0, 0, 0, 1]),
        text([9, 10, 11], 2.0, sequence_lengths=[1, 2], windows=[1, 1], token_type_ids=[0, 1, 1]),
    ]
    single = text([12, 13], 3.0, token_type_ids=[0, 0])
    batch = collate([ExampleGroup({"apart": pairs}), ExampleGroup({"sts": [single]})], HEADS)
    states = batch.layout.states(batch.input_ids[:, None])[..., 0]
    assert states.tolist() == [[5, 6, 7], [8, 0, 0], [9, 0, 0], [10, 11, 0], [12, 13, 0]]
    assert batch.type_ids is not None
    types = batch.layout.states(batch.type_ids[:, None])[..., 0]
    assert types.tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert [(part.task, part.start, part.stop) for part in batch.parts] == [("apart", 0, 4), ("sts", 4, 5)]
    assert batch.parts[0].fields["sequences"].tolist() == [[[0], [1]], [[2], [3]]]
    assert batch.parts[0].fields["label"].tolist() == [1, 2]
    assert len(batch) == len(batch.to(torch.device("meta"))) == 3


def test_a_batch_has_type_ids_only_if_every_example_has_them() -> None:
    typed, untyped = text([5, 6], 1, token_type_ids=[0, 1]), text([5], 1)
    batch = collate([ExampleGroup({"gad": [typed, text([5], 1, token_type_ids=[1])]})], HEADS)
    assert batch.type_ids is not None
    assert batch.type_ids.tolist() == [0, 1, 1]
    assert collate([ExampleGroup({"gad": [typed, untyped]})], HEADS).type_ids is None


@pytest.mark.parametrize("keep", [False, True])
def test_examples_are_kept_only_for_decoding(keep: bool) -> None:
    examples = [text([5], 1)]
    part = collate([ExampleGroup({"gad": examples})], HEADS, keep_examples=keep).parts[0]
    assert list(part.examples) == (examples if keep else [])


def test_a_batch_moves_to_a_device_with_all_its_fields() -> None:
    update = UpdateShare(4, 0.25)
    batch = collate([ExampleGroup({"ner": [words([9, 10], [1])]}, {"ner": update})], HEADS, keep_examples=True)
    moved = batch.to(torch.device("meta"))
    assert {moved.input_ids.device.type, moved.mask.device.type} == {"meta"}
    assert {value.device.type for value in moved.parts[0].fields.values()} == {"meta"}
    assert (moved.parts[0].update, moved.parts[0].examples) == (update, batch.parts[0].examples)
    assert batch.input_ids.device.type == "cpu"


def test_the_empty_batch_has_no_parts_and_moves_too() -> None:
    assert (len(EMPTY), EMPTY.parts, EMPTY.to("cpu").parts) == (0, [], [])


def test_labels_keep_their_precision_when_lightning_converts_inputs() -> None:
    batch = collate([ExampleGroup({"sts": [text([5], 3.3)]})], HEADS)
    (part,) = HalfPrecision("bf16-true").convert_input(batch).parts
    assert torch.equal(part.fields["label"], torch.tensor([3.3]))


def test_a_batch_has_weights_only_if_one_is_not_1_and_they_are_those_of_its_examples() -> None:
    plain, even, light = (text([5], 1, **more) for more in ({}, {"weight": 1.0}, {"weight": 0.25}))
    fields = collate([ExampleGroup({"gad": [plain, light, even]})], HEADS).parts[0].fields
    assert fields["weight"].tolist() == [1.0, 0.25, 1.0]
    fields = collate([ExampleGroup({"gad": [plain, even]})], HEADS).parts[0].fields
    assert set(fields) == {"label"}


def test_fields_keep_their_precision_while_lightning_changes_the_default_type() -> None:
    examples = {"sts": [text([5], 3.3, weight=0.123), text([6], 2.1)]}
    with HalfPrecision("bf16-true").forward_context():
        fields = collate([ExampleGroup(examples)], HEADS).parts[0].fields
    assert torch.equal(fields["label"], torch.tensor([3.3, 2.1]))
    assert torch.equal(fields["weight"], torch.tensor([0.123, 1.0]))
