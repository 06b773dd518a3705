"""A free text as the target, such as the definition of a term."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from heads import Prediction, Row, scores
from heads._generation_kinds import PARSE_FAILURES, GeneratedKind, Parsed
from heads._generation_templates import normalised, one_line
from heads._text import describe
from heads.rows import TextRow


class Definition(GeneratedKind):
    """The label of a `TextRow` is the text to write. K = 4.

    `exact_match` compares letters and digits only. `token_f1` is the mean over rows of the F1 of the words that the
    prediction and the gold share, as in SQuAD (Rajpurkar et al. 2016), here without removing articles. Words are runs
    of letters and digits, so that blanks around punctuation make no difference; SQuAD removes punctuation, and
    "heart-beat" is one word there.

    The counts are 1 for an exact match, the F1 of the words, 1 for a text that does not follow the template, and 1 for
    every text.
    """

    default_template = "{text}"
    required = ("text",)
    metrics: ClassVar[tuple[str, ...]] = ("token_f1", "exact_match", PARSE_FAILURES)

    def __init__(self, labels: Sequence[str], template: str | None) -> None:
        super().__init__(labels, template)
        if labels:
            raise ValueError(f"labels must be left out, because the text to write is the label; got {len(labels)}")

    def problem(self, row: Row) -> str | None:
        if not isinstance(row, TextRow):
            return "the row must have a label, got entities"
        if row.label is None or (isinstance(row.label, str) and row.label.strip()):
            return None
        return f"the label must be a text, got {'a blank' if isinstance(row.label, str) else describe(row.label)}"

    def items(self, row: Row) -> tuple[str, ...] | None:
        assert isinstance(row, TextRow)
        return (one_line(row.label),) if isinstance(row.label, str) else None

    def render(self, items: Sequence[str]) -> str:
        return self.template.render({"text": items[0]})

    def parse(self, text: str) -> Parsed:
        values = self.template.values(text)
        return Parsed((), 1) if values is None else Parsed((values["text"],))

    def prediction(self, parsed: Parsed) -> Prediction:
        """``{"text"}``, None if the text does not follow the template."""
        return {"text": parsed.items[0] if parsed.items else None}

    def parsed(self, prediction: Prediction) -> Parsed:
        text = prediction["text"]
        return Parsed((), 1) if text is None else Parsed((text,))

    def counts(self, prediction: Prediction, row: Row) -> Tensor:
        gold, found = self.items(row), self.parsed(prediction).items
        if gold is None:
            return torch.zeros(4, dtype=torch.double)
        if not found:
            return torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.double)
        is_exact = normalised(found[0]) == normalised(gold[0])
        return torch.tensor([float(is_exact), _shared_words(found[0], gold[0]), 0.0, 1.0], dtype=torch.double)

    def score(self, counts: Tensor) -> dict[str, Tensor]:
        values = (scores.ratio(counts[..., column], counts[..., 3]) for column in (1, 0, 2))
        return dict(zip(self.metrics, values, strict=True))

    def num_mistakes(self, counts: Tensor) -> float:
        return float(counts[3] - counts[0])


def _shared_words(found: str, gold: str) -> float:
    """The F1 of the words of two texts.

    >>> _shared_words("a fast heart", "the fast heart beat")
    0.5714285714285714
    >>> _shared_words("COX - 2 ( an enzyme ) .", "COX-2 (an enzyme).")
    1.0
    """
    predicted, expected = (Counter(_words(text)) for text in (found, gold))
    shared = (predicted & expected).total()
    return 2 * shared / (predicted.total() + expected.total())


def _words(text: str) -> list[str]:
    """The runs of letters and digits; a text without any of them is one word."""
    return re.findall(r"[^\W_]+", text.casefold()) or [normalised(text)]
