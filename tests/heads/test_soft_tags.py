"""Soft labels of words: from the probabilities of a teacher to the loss of a student."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from heads import IGNORE, SpanRow, WordProbabilities
from heads._softening import softened
from heads._weak_labels import UNKNOWN
from heads._words import words_of
from heads.token_classification import TokenClassification
from tests.heads import properties as has
from tests.heads.tagging import LONG, make, row_of

ROW = row_of("aspirin and fever", ("Drug", "aspirin"), ("Disease", "fever"))


def soft_row(row: SpanRow, **tags_of: dict[str, float]) -> SpanRow:
    """The row with soft labels for some of its words, each of which occurs once."""
    places = [(row.text.index(word), row.text.index(word) + len(word)) for word in tags_of]
    words = (WordProbabilities(*place, tags) for place, tags in zip(places, tags_of.values(), strict=True))
    return replace(row, probabilities=tuple(words))


def fields_of(head: TokenClassification, tokenizer: Any, *rows: SpanRow, max_length: int = 64) -> dict[str, Tensor]:
    examples = head.encode(rows, tokenizer, max_length, training=True)
    return head.collate(examples, max(len(example["input_ids"]) for example in examples))


def test_a_word_has_the_probabilities_of_its_row_and_the_others_have_none(tokenizer: Any) -> None:
    head = make()
    drug, outside = head.tags.index("B-Drug"), head.tags.index("O")
    row = soft_row(ROW, aspirin={"B-Drug": 0.75, "O": 0.25})
    found = fields_of(head, tokenizer, row, ROW)["probabilities"]
    assert found.shape == (2, 3, len(head.tags))
    assert found[0, 0, [drug, outside]].tolist() == [0.75, 0.25]
    assert float(found[0, 0].sum()) == 1
    assert bool((found[0, 1:] == UNKNOWN).all())
    assert bool((found[1] == UNKNOWN).all())
    assert "probabilities" not in fields_of(head, tokenizer, ROW)


@pytest.mark.parametrize("max_length", [16, 100])
def test_every_word_of_a_long_text_keeps_its_own_soft_label(tokenizer: Any, max_length: int) -> None:
    head, row = make(stride=4), row_of(LONG)
    words = words_of(row)
    shares = [round(0.5 + n / 1000, 3) for n in range(len(words))]
    soft = tuple(WordProbabilities(*w, {"O": p, "B-Drug": 1 - p}) for w, p in zip(words, shares, strict=True))
    examples = head.encode([replace(row, probabilities=soft)], tokenizer, max_length, training=True)
    fields = head.collate(examples, max_length)
    held = fields["probabilities"][fields["word_mask"]][:, head.tags.index("O")]
    order = [word for example in examples for word in example["words"]]
    assert sorted(order) == list(range(len(words)))
    assert held.tolist() == pytest.approx([shares[word] for word in order])
    assert (len(examples) > 1) == (max_length == 16)


def test_one_hot_probabilities_are_the_gold_tags(tokenizer: Any) -> None:
    head = make()
    fields = fields_of(head, tokenizer, ROW, row_of("the trial", name="s"))
    logits = torch.randn(2, 3, len(head.tags))
    one_hot = F.one_hot(fields["tags"].clamp(min=0), len(head.tags)).float()
    soft = torch.where((fields["tags"] == IGNORE)[..., None], UNKNOWN, one_hot)
    hard = head.loss(logits, fields)
    found = head.loss(logits, {**fields, "probabilities": soft})
    assert float(found[0]) == pytest.approx(float(hard[0]), rel=1e-6)
    assert int(found[1]) == int(hard[1]) == 5


@given(st.floats(0.25, 8), st.floats(0, 1), st.floats(0.1, 3))
def test_the_loss_is_the_mixture_of_hinton_et_al_over_words(temperature: float, share: float, weight: float) -> None:
    """(1 - a) CE(tag) + a T^2 KL(teacher || student), up to the entropy of the teacher; words without have CE only."""
    head = make(distillation={"temperature": temperature, "share": share})
    size = len(head.tags)
    draw = torch.Generator().manual_seed(1)
    teacher, student = torch.randn(2, 3, size, generator=draw), torch.randn(2, 3, size, generator=draw)
    tags = torch.tensor([[0, 1, 2], [3, 0, IGNORE]])
    is_soft = torch.tensor([[True, True, False], [False, True, False]])
    probabilities = torch.where(is_soft[..., None], teacher.softmax(-1), UNKNOWN)
    fields = {"tags": tags, "word_mask": tags != IGNORE, "probabilities": probabilities}
    total, count = head.loss(student, {**fields, "weight": torch.tensor([weight, 1.0])})
    expected = 0.0
    for row, factor in ((0, weight), (1, 1.0)):
        for word in range(3):
            if tags[row, word] == IGNORE:
                continue
            hard = float(F.cross_entropy(student[row, word], tags[row, word]))
            target = (teacher[row, word] / temperature).softmax(-1)
            soft = -float((target * (student[row, word] / temperature).log_softmax(-1)).sum())
            mixed = (1 - share) * hard + share * temperature**2 * soft
            expected += factor * (mixed if is_soft[row, word] else hard)
    assert float(total) == pytest.approx(expected, rel=1e-3)
    assert int(count) == 5


@pytest.mark.parametrize("decoder", ["linear", "crf"])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_a_students_targets_are_the_probabilities_of_its_teacher(
    decoder: Any, temperature: float, tokenizer: Any
) -> None:
    torch.manual_seed(0)
    teacher, student, row = make(decoder=decoder, stride=4), make(), row_of(LONG)
    examples = teacher.encode([row], tokenizer, 24, training=False)
    fields = teacher.collate(examples, 24)
    logits = torch.randn(len(examples), fields["tags"].shape[1], len(teacher.tags))
    outputs = teacher.outputs(logits, torch.ones(()), fields)
    words = teacher.word_probabilities(row, examples, outputs, temperature)
    assert [word[:2] for word in words] == list(words_of(row))
    if teacher.crf is None:
        expected = softened(torch.cat(outputs), temperature)
    else:
        expected = softened(teacher.crf.marginals(torch.cat(outputs)), temperature)
    labelled = replace(row, probabilities=tuple(words))
    assert student.check(labelled) is None
    found = fields_of(student, tokenizer, labelled, max_length=512)["probabilities"]
    assert found[0].double().numpy() == pytest.approx(expected.numpy(), abs=6e-5)


def test_a_student_learns_the_tags_of_its_teacher_and_not_the_hard_ones() -> None:
    """The states tell the teacher's tag; the hard tags are all O."""
    torch.manual_seed(0)
    head = make(dropout=0.0)
    states = torch.randn(40, 6, has.HIDDEN)
    teacher = (states[..., : len(head.tags)] * 3).softmax(-1)
    fields = {
        "positions": torch.arange(6).expand(40, 6),
        "tags": torch.zeros(40, 6, dtype=torch.long),
        "word_mask": torch.ones(40, 6, dtype=torch.bool),
        "probabilities": teacher,
    }
    optimiser = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(100):
        optimiser.zero_grad()
        total, count = head.loss(head(states, torch.ones(40, 6), fields), fields)
        (total / count).backward()
        optimiser.step()
    found = head(states, torch.ones(40, 6), fields).softmax(-1)
    assert float((found.argmax(-1) == teacher.argmax(-1)).float().mean()) > 0.95


ASPIRIN = {"B-Drug": 0.75, "O": 0.25}


@pytest.mark.parametrize(
    ("options", "row", "part"),
    [
        ({}, soft_row(ROW, aspirin=ASPIRIN), None),
        ({}, soft_row(ROW, aspirin={"B-Drug": 0.751, "O": 0.25}), None),
        ({}, soft_row(ROW, aspirin={"B-Drug": 0.75}), "got 0.75"),
        ({}, soft_row(ROW, aspirin={"B-Drug": 1.5, "O": -0.5}), "another number"),
        ({}, soft_row(ROW, aspirin={"B-Drug": 0.5, "Secret": 0.5}), "got 1 other"),
        ({}, soft_row(ROW, aspir=ASPIRIN), "got 1 elsewhere"),
        ({}, replace(ROW, probabilities=(WordProbabilities(0, 7, ASPIRIN),) * 2), "a word twice"),
        ({}, replace(soft_row(ROW, aspirin=ASPIRIN), entities=(), annotated=("Drug",)), "for some labels"),
        ({"decoder": "crf"}, soft_row(ROW, aspirin=ASPIRIN), "CRF"),
        ({"scheme": "IO"}, soft_row(ROW, aspirin=ASPIRIN), "got 1 other"),
    ],
)
def test_soft_labels_that_cannot_be_learned_are_refused_without_text(
    options: dict[str, Any], row: SpanRow, part: str | None
) -> None:
    problem = make(**options).check(row)
    assert (problem is None) == (part is None)
    assert problem is None or (part is not None and part in problem and "Secret" not in problem)


def test_a_row_for_prediction_has_no_soft_labels() -> None:
    bare = make().without_gold(soft_row(ROW, aspirin=ASPIRIN))
    assert isinstance(bare, SpanRow)
    assert (bare.entities, bare.probabilities) == ((), None)
