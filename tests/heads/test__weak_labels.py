"""Weights of rows, soft labels and distillation, against sums by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from heads import IGNORE, Head, TextRow
from heads._weak_labels import Distillation, soft_problem
from heads.classification import Classification
from heads.mention_classification import MentionClassification
from heads.multilabel import Multilabel
from heads.regression import Regression
from heads.relation import RelationClassification
from heads.token_classification import TokenClassification

LABELS = ("a", "b", "c")
KINDS = (Classification, Multilabel)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def made(kind: type[Head], **options: Any) -> Head:
    needed: dict[type[Head], dict[str, Any]] = {
        RelationClassification: {"negative": "a", "entity_types": ["x"]},
        MentionClassification: {"attribute": "x"},
        Regression: {"range": (0, 4)},
    }
    return kind(() if kind is Regression else LABELS, 8, **needed.get(kind, {}), **options)


def fields_of(kind: type[Head]) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits and gold of four examples, one of which has none."""
    if kind is Classification or kind is MentionClassification:
        return random(4, 3), {"label": torch.tensor([0, 2, IGNORE, 1])}
    if kind is Multilabel:
        return random(4, 3), {"labels": torch.tensor([[1, 0, 1], [0, 0, 0], [IGNORE] * 3, [1, 1, IGNORE]])}
    if kind is Regression:
        labelled = torch.tensor([True, True, False, True])
        return random(4, 1), {"label": torch.tensor([0.0, 1.5, 0.0, 4.0]), "labelled": labelled}
    if kind is RelationClassification:
        return random(4, 3), {"label": torch.tensor([[0, 1], [2, IGNORE], [IGNORE, IGNORE], [1, IGNORE]])}
    head = made(kind)
    assert isinstance(head, TokenClassification)
    tags = torch.tensor([[0, 1, 2], [6, IGNORE, 0], [IGNORE] * 3, [3, 4, IGNORE]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 0]]).bool()
    return random(4, 3, 7), {"tags": tags, "word_mask": mask}


def one(fields: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    return {name: values[index : index + 1] for name, values in fields.items()}


HEADS = [
    (Classification, {}),
    (Classification, {"class_weights": {"a": 3.0}}),
    (Multilabel, {}),
    (Regression, {}),
    (RelationClassification, {"class_weights": {"b": 2.0}}),
    (MentionClassification, {"class_weights": {"b": 2.0}}),
    (TokenClassification, {}),
    (TokenClassification, {"decoder": "crf"}),
]


@pytest.mark.parametrize(("kind", "options"), HEADS)
def test_the_weighted_loss_is_the_sum_of_weight_times_loss_over_the_same_count(
    kind: type[Head], options: dict[str, Any]
) -> None:
    head = made(kind, **options)
    assert head.weighs_rows
    logits, fields = fields_of(kind)
    weight = torch.tensor([0.5, 2.0, 7.0, 1.0])
    total, count = head.loss(logits, {**fields, "weight": weight})
    alone = [head.loss(logits[i : i + 1], one(fields, i)) for i in range(4)]
    by_hand = sum(float(w) * float(loss.detach()) for w, (loss, _) in zip(weight, alone, strict=True))
    assert float(total.detach()) == pytest.approx(by_hand, rel=1e-5)
    assert int(count) == sum(int(number) for _, number in alone)


def test_a_soft_label_that_is_one_hot_is_the_hard_label() -> None:
    logits, label = random(4, 3), torch.tensor([0, 2, 2, 1])
    for options in ({}, {"class_weights": {"a": 3.0, "c": 0.5}}):
        head = Classification(LABELS, 8, **options)
        hard = head.loss(logits, {"label": label})
        soft = {"label": torch.full((4,), IGNORE), "probabilities": F.one_hot(label, 3).float()}
        assert float(head.loss(logits, soft)[0]) == pytest.approx(float(hard[0]), rel=1e-6)
        assert int(head.loss(logits, soft)[1]) == int(hard[1]) == 4
    labels = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    many = Multilabel(LABELS, 8)
    fields = {"labels": torch.full((4, 3), IGNORE), "probabilities": labels.float()}
    assert float(many.loss(logits, fields)[0]) == pytest.approx(float(many.loss(logits, {"labels": labels})[0]))


@given(st.floats(0.25, 8), st.floats(0, 1))
def test_distillation_is_the_mixture_of_hinton_et_al(temperature: float, share: float) -> None:
    """(1 - a) CE(label) + a T^2 KL(teacher || student) at the temperature T, up to the entropy of the teacher."""
    teacher, student, label = random(5, 3) * 2, random(5, 3).flip(0), torch.tensor([0, 1, 2, 0, 1])
    head = Classification(LABELS, 8, distillation={"temperature": temperature, "share": share})
    total, count = head.loss(student, {"label": label, "probabilities": teacher.softmax(-1)})
    softened = (teacher / temperature).softmax(-1)
    divergence = F.kl_div((student / temperature).log_softmax(-1), softened, reduction="sum")
    entropy = -(softened * softened.log()).sum()
    hard = F.cross_entropy(student, label, reduction="sum")
    expected = (1 - share) * hard + share * temperature**2 * (divergence + entropy)
    assert float(total) == pytest.approx(float(expected), rel=1e-3)
    assert int(count) == 5


@given(st.floats(0.25, 8), st.floats(0.001, 0.999))
def test_soft_labels_of_independent_labels_are_softened_as_their_logits_are(temperature: float, p: float) -> None:
    target, logit = torch.tensor([[p]]).double(), torch.tensor([[0.7]]).double()
    softened = torch.sigmoid(torch.logit(target) / temperature)
    expected = F.binary_cross_entropy_with_logits(logit / temperature, softened)
    found = Distillation(temperature).labels(logit, target)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_masked_has_no_gradient_and_does_not_count(kind: type[Head]) -> None:
    """A row without any label, and a label that nobody looked for, with and without soft labels next to it."""
    head = made(kind)
    rows = [
        TextRow("0", "0", "x", probabilities={"a": 0.2, "b": 0.3, "c": 0.5}),
        TextRow("1", "1", "x"),
        TextRow("2", "2", "x", label=("a",), annotated=("a", "c")) if kind is Multilabel else TextRow("2", "2", "x"),
    ]
    assert isinstance(head, Classification | Multilabel)
    fields = head.collate_gold([head.gold(row) for row in rows])
    logits = random(3, 3).requires_grad_()
    total, count = head.loss(logits, {**fields, "weight": torch.tensor([2.0, 1.0, 1.0])})
    total.backward()
    assert logits.grad is not None
    moves = logits.grad != 0
    third = [True, False, True] if kind is Multilabel else [False] * 3
    assert moves.tolist() == [[True] * 3, [False] * 3, third]
    assert int(count) == sum(head.is_labelled(row) for row in rows) == (2 if kind is Multilabel else 1)


def test_a_masked_label_leaves_the_gradient_of_the_others_as_it_is() -> None:
    head, logits = Multilabel(LABELS, 8), random(1, 3).requires_grad_()
    gradients = []
    for annotated in (None, ("a", "b")):
        fields = head.collate_gold([head.gold(TextRow("0", "0", "x", label=("a",), annotated=annotated))])
        (gradient,) = torch.autograd.grad(head.loss(logits, fields)[0], logits)
        gradients.append(gradient[0])
    assert torch.equal(gradients[0][:2], gradients[1][:2])
    assert gradients[0][2] != 0 == gradients[1][2]


def test_labels_that_nobody_looked_for_are_not_scored() -> None:
    head = Multilabel(LABELS, 8, metrics=["auroc"])
    scores = {"a": 0.9, "b": 0.8, "c": 0.1}
    prediction = {"labels": ["a", "b"], "scores": scores}
    full, part = (TextRow("0", "0", "x", label=("a",), annotated=known) for known in (None, ("a", "c")))
    found = [head.score(head.counts(prediction, row)) for row in (full, part)]
    assert (found[0]["micro_f1"], found[1]["micro_f1"]) == (pytest.approx(2 / 3), 1.0)
    assert (found[0]["subset_accuracy"], found[1]["subset_accuracy"]) == (0.0, 1.0)
    others = [
        (TextRow(str(n), str(n), "x", label=("b",) * (n % 2)), {"labels": [], "scores": scores | {"b": n / 10}})
        for n in range(6)
    ]
    counts = [head.counts(given, row) for row, given in others]
    masked = TextRow("m", "m", "x", label=(), annotated=("a", "c"))
    with_masked = torch.cat([*counts, head.counts(prediction, masked)])
    assert head.score(with_masked)["auroc"] == pytest.approx(head.score(torch.cat(counts))["auroc"])


@pytest.mark.parametrize("threshold", ["tuned", {"specificity": 0.9}])
def test_thresholds_are_chosen_without_the_rows_in_which_nobody_looked_for_the_label(threshold: Any) -> None:
    known = [(0.1, ()), (0.4, ("a",)), (0.8, ("a",)), (0.3, ())]
    heads = [Multilabel(LABELS, 8, threshold=threshold) for _ in range(2)]
    data = [[], []]  # type: list[list[Tensor]]
    for number, (value, label) in enumerate([*known, (0.9, ()), (0.95, ())]):
        row = TextRow("0", "0", "x", label=label, annotated=None if number < len(known) else ("b", "c"))
        piece = heads[0].tuning_data(row, [], [torch.tensor([value, 0.2, 0.2])])
        assert piece is not None
        data[1].append(piece)
        if number < len(known):
            data[0].append(piece)
    for head, pieces in zip(heads, data, strict=True):
        head.tune(torch.cat(pieces))
    assert float(heads[0].thresholds[0]) == float(heads[1].thresholds[0])


@pytest.mark.parametrize(
    ("probabilities", "found"),
    [
        ({"a": 0.5, "b": 0.5, "c": 0.0}, None),
        ({"a": 0.334, "b": 0.333, "c": 0.334}, None),
        ({"a": 0.5, "b": 0.5}, "none of c"),
        ({"a": 0.5, "b": 0.5, "c": 0.5}, "got 1.5"),
        ({"a": 1.5, "b": -0.5, "c": 0.0}, "another number"),
        ({"a": 1.0, "b": 0.0, "c": 0.0, "The fever was high.": 0.0}, "got 1 other"),
    ],
)
def test_probabilities_of_classes_are_checked_without_their_text(
    probabilities: dict[str, float], found: str | None
) -> None:
    problem = soft_problem(TextRow("0", "0", "x", probabilities=probabilities), LABELS, exclusive=True)
    assert (problem is None) == (found is None)
    assert problem is None or (found is not None and found in problem and "fever" not in problem)
    assert Classification(LABELS, 8).check(TextRow("0", "0", "x", probabilities=probabilities)) == problem


@pytest.mark.parametrize(
    "option", [{"temperature": 0}, {"temperature": float("inf")}, {"share": 1.5}, {"alpha": 0.5}, {"share": -0.1}]
)
def test_the_option_distillation_is_checked(option: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"^distillation"):
        Classification(LABELS, 8, distillation=option)


def test_few_gold_rows_beat_many_wrong_weak_ones_only_if_those_weigh_less() -> None:
    """The gold label is the sign of the first feature, and a biased teacher uses the second."""
    vectors = random(700, 1, 8)
    gold, weak = ((vectors[:, 0, feature] > 0).long() for feature in (0, 1))
    label = torch.cat([gold[:60], weak[60:400]])

    def accuracy(weight_of_weak: float) -> float:
        torch.manual_seed(0)
        head = Classification(["no", "yes"], 8, dropout=0.0)
        fields = {"label": label, "weight": torch.cat([torch.ones(60), torch.full((340,), weight_of_weak)])}
        optimiser = torch.optim.Adam(head.parameters(), lr=0.1)
        for _ in range(60):
            optimiser.zero_grad()
            total, count = head.loss(head.logits(vectors[:400]), fields)
            (total / count).backward()
            optimiser.step()
        return float((head.logits(vectors[400:]).argmax(-1) == gold[400:]).float().mean())

    assert accuracy(1.0) < 0.7
    assert accuracy(0.01) > 0.85
