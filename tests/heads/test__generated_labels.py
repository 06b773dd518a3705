"""Answers and labels of documents as text, against scikit-learn."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from heads._generated_labels import Answer, DocumentLabels
from heads._generation_kinds import Parsed
from heads.rows import SpanRow, TextRow

ANSWERS, LABELS = ("yes", "no", "maybe"), ("cell death", "DNA-repair", "growth")
ANSWER, DOCUMENT = Answer(ANSWERS, None), DocumentLabels(LABELS, None)
SETS = st.lists(st.sampled_from(LABELS), unique=True)


@given(st.sampled_from(ANSWERS))
def test_parsing_undoes_rendering_an_answer(label: str) -> None:
    assert ANSWER.parse(ANSWER.render((label,))) == Parsed((label,))
    assert ANSWER.parsed(ANSWER.prediction(Parsed((label,)))) == Parsed((label,))


@given(SETS)
def test_parsing_undoes_rendering_labels(names: list[str]) -> None:
    items = DOCUMENT.items(TextRow("1", "1", "text", label=tuple(names)))
    assert items is not None
    assert set(items) == set(names)
    assert DOCUMENT.parse(DOCUMENT.render(items)) == Parsed(items)
    assert DOCUMENT.parsed(DOCUMENT.prediction(Parsed(items, 2))) == Parsed(items, 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the type of this document is growth.", Parsed(("growth",))),
        ("the type of this document is dna - repair | Cell death .", Parsed(("DNA-repair", "cell death"))),
        ("the type of this document is empty.", Parsed(())),
        ("the type of this document is growth|growth|other", Parsed(("growth",), 1)),
        ("growth", Parsed((), 1)),
    ],
)
def test_labels_are_read_one_by_one(text: str, expected: Parsed) -> None:
    assert DOCUMENT.parse(text) == expected


@given(st.lists(st.tuples(st.sampled_from(ANSWERS), st.sampled_from([*ANSWERS, None])), min_size=1, max_size=12))
def test_answers_score_as_in_scikit_learn(pairs: list[tuple[str, str | None]]) -> None:
    rows = [TextRow(str(place), str(place), "text", label=gold) for place, (gold, _) in enumerate(pairs)]
    counts = [ANSWER.counts({"label": found}, row) for row, (_, found) in zip(rows, pairs, strict=True)]
    scores = {name: float(value) for name, value in ANSWER.score(torch.stack(counts).sum(0)).items()}
    gold, found = [gold for gold, _ in pairs], [str(found) for _, found in pairs]
    present = sorted({*gold, *found} - {"None"})
    expected = {
        "accuracy": accuracy_score(gold, found),
        "macro_f1": f1_score(gold, found, labels=present, average="macro", zero_division=0),
        "parse_failure_rate": found.count("None") / len(found),
    }
    assert scores == pytest.approx(expected)
    assert sum(ANSWER.num_mistakes(count) for count in counts) == sum(map(str.__ne__, gold, found))


@given(st.lists(st.tuples(SETS, SETS), min_size=1, max_size=8))
def test_labels_score_as_in_scikit_learn(pairs: list[tuple[list[str], list[str]]]) -> None:
    rows = [TextRow(str(place), str(place), "text", label=tuple(gold)) for place, (gold, _) in enumerate(pairs)]
    predictions = [{"labels": found, "failed": 0} for _, found in pairs]
    counts = [DOCUMENT.counts(found, row) for found, row in zip(predictions, rows, strict=True)]
    found = {name: float(value) for name, value in DOCUMENT.score(torch.stack(counts).sum(0)).items()}
    hot = [[[int(name in names) for name in LABELS] for names in side] for side in zip(*pairs, strict=True)]
    assert found["micro_f1"] == pytest.approx(f1_score(*hot, average="micro", zero_division=0))
    assert found["parse_failure_rate"] == 0


def test_parts_that_are_no_label_count_as_wrong() -> None:
    row = TextRow("1", "1", "text", label=("growth",))
    scores = DOCUMENT.score(DOCUMENT.counts({"labels": ["growth"], "failed": 2}, row))
    assert float(scores["micro_f1"]) == pytest.approx(2 / 4)
    assert float(scores["parse_failure_rate"]) == 1


def test_the_gold_must_suit_the_kind() -> None:
    span = SpanRow("1", "1", "text")
    assert all(kind.problem(span) for kind in (ANSWER, DOCUMENT))
    assert ANSWER.problem(TextRow("1", "1", "text", label=("yes",)))
    assert ANSWER.problem(TextRow("1", "1", "text", label="perhaps"))
    assert DOCUMENT.problem(TextRow("1", "1", "text", label="growth"))
    assert DOCUMENT.problem(TextRow("1", "1", "text", label=("other",)))
    for kind in (ANSWER, DOCUMENT):
        assert kind.problem(TextRow("1", "1", "text")) is None
        assert kind.items(TextRow("1", "1", "text")) is None
    for labels in (["a|b", "c"], ["Empty", "c"]):
        with pytest.raises(ValueError, match=r"^labels"):
            DocumentLabels(labels, None)
