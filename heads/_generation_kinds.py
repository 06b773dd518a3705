"""What a generated text says: a kind of task turns the gold of rows into text, and text back into what can be scored.

Each kind is a module of its own (`heads._generated_triples`, `_generated_labels`, `_generated_texts`). Rendering and
parsing are pure functions: ``parse(render(value))`` gives the value, and a row for which it does not is no row to
train on.

Shapes: C labels, K counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from heads import ClassReport, Prediction, Row, scores
from heads._generation_templates import Template, normalised
from heads._text import class_names

PARSE_FAILURES = "parse_failure_rate"

Item = Any
"""A label, a triple or a text; hashable."""


class Parsed(NamedTuple):
    """What a text says.

    Args:
        items: What was read, without repetitions, in the order of the text.
        num_failed: Number of parts of the text that could not be read.
    """

    items: tuple[Item, ...]
    num_failed: int = 0


class GeneratedKind(ABC):
    """One kind of task.

    Args:
        labels: Names of the classes or relation types.
        template: The sentence that says one item; None takes `default_template`.

    Raises:
        ValueError: The template lacks a field, or the labels cannot be told apart in a text.
    """

    default_template: ClassVar[str]
    required: ClassVar[tuple[str, ...]]
    optional: ClassVar[tuple[str, ...]] = ()
    metrics: ClassVar[tuple[str, ...]]
    """Names of the metrics; the first is the primary one by default."""

    def __init__(self, labels: Sequence[str], template: str | None) -> None:
        self.labels = tuple(labels)
        text = self.default_template if template is None else template
        self.template = Template("template", text, self.required, self.optional)

    # --- rows and texts -------------------------------------------------------------------------------------------

    @abstractmethod
    def problem(self, row: Row) -> str | None:
        """The first problem of a row's gold in the form "rule, got value", without text of the row, or None."""

    @abstractmethod
    def items(self, row: Row) -> tuple[Item, ...] | None:
        """The gold of a row without a problem; None if it is not labelled."""

    @abstractmethod
    def render(self, items: Sequence[Item]) -> str:
        """The text that says the items."""

    @abstractmethod
    def parse(self, text: str) -> Parsed:
        """What a text says."""

    def unreadable(self, row: Row) -> str | None:
        """Why the gold of a row cannot be read back from its text, or None."""
        items = self.items(row)
        if items is None or self.parse(self.render(items)) == Parsed(items):
            return None
        return "the gold must be readable from the text that the template makes of it, got a part with its separators"

    def notes(self, row: Row) -> Mapping[str, int]:
        """Counts of what the texts of a row cannot carry, for `mtl check`; see `Head.notes`."""
        return {}

    def label_counts(self, row: Row) -> Mapping[str, int]:
        """How often each label occurs in the gold of a row."""
        return {}

    def unknown_labels(self, row: Row) -> Sequence[str]:
        """Descriptions of labels of the row that are not in `labels`."""
        return ()

    # --- predictions and scores -----------------------------------------------------------------------------------

    @abstractmethod
    def prediction(self, parsed: Parsed) -> Prediction:
        """A prediction as JSON types. Text of a row stands under a key `text`."""

    @abstractmethod
    def parsed(self, prediction: Prediction) -> Parsed:
        """What `prediction` was made from."""

    @abstractmethod
    def counts(self, prediction: Prediction, row: Row) -> Tensor:
        """The counts of a labelled row, [K]; zeros for any other."""

    def document_counts(self, counts: Tensor) -> Tensor:
        """The counts of a document from those of its rows, [N, K] -> [K]."""
        return counts.sum(0)

    @abstractmethod
    def score(self, counts: Tensor) -> dict[str, Tensor]:
        """The metrics of one or many corpora, [..., K] -> [...]."""

    @abstractmethod
    def num_mistakes(self, counts: Tensor) -> float:
        """The number of mistakes in a row, from its counts."""

    def report(self, counts: Tensor) -> ClassReport:
        """Scores of each label, from the counts of a corpus."""
        return ClassReport({}, (), None)


class LabelledItems(GeneratedKind):
    """A kind whose items have labels. K = 3 (C + 1) + 4.

    The counts are the numbers of right, predicted and gold items of each label and of what could not be read; 1 for a
    text of which a part could not be read; 1 for every text; the F1 of the document; and 1 if the document has an item,
    in gold or prediction.
    """

    @abstractmethod
    def label_of(self, item: Item) -> str:
        """The label of an item."""

    @abstractmethod
    def matches(self, items: Sequence[Item], row: Row) -> list[Item]:
        """Those of some predicted items that are right."""

    def counts(self, prediction: Prediction, row: Row) -> Tensor:
        table = torch.zeros(len(self.labels) + 1, 3, dtype=torch.double)
        gold = self.items(row)
        if gold is None:
            return torch.zeros(table.numel() + 4, dtype=torch.double)
        found = self.parsed(prediction)
        for column, items in enumerate((self.matches(found.items, row), found.items, gold)):
            for item in items:
                table[self.labels.index(self.label_of(item)), column] += 1
        table[-1, 1] = found.num_failed
        return self._with_document(table.flatten(), torch.tensor([float(found.num_failed > 0), 1.0]))

    def document_counts(self, counts: Tensor) -> Tensor:
        total = counts.sum(0)
        return self._with_document(total[:-4], total[-4:-2])

    def report(self, counts: Tensor) -> ClassReport:
        true, predicted, gold = self._table(counts)[..., :-1, :].unbind(-1)  # [C]
        lines = torch.stack([*scores.precision_recall_f1(true, predicted, gold), gold], dim=1).tolist()
        names = ("precision", "recall", "f1", "support")
        per_class = {name: dict(zip(names, line, strict=True)) for name, line in zip(self.labels, lines, strict=True)}
        return ClassReport(per_class, self.labels, None)

    def num_mistakes(self, counts: Tensor) -> float:
        true, predicted, gold = self._table(counts).sum(-2).unbind(-1)
        return float(predicted + gold - 2 * true)

    def micro(self, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Precision, recall and F1 over all items, [..., K] -> three times [...]."""
        return scores.precision_recall_f1(*self._table(counts).sum(-2).unbind(-1))

    def macro_f1(self, counts: Tensor) -> Tensor:
        """The mean F1 of the labels that occur or are predicted, [..., K] -> [...]."""
        true, predicted, gold = self._table(counts)[..., :-1, :].unbind(-1)
        return scores.mean(scores.ratio(2 * true, predicted + gold), predicted + gold > 0)

    def failure_rate(self, counts: Tensor) -> Tensor:
        """The share of texts of which a part could not be read, [..., K] -> [...]."""
        return scores.ratio(counts[..., -4], counts[..., -3])

    def _table(self, counts: Tensor) -> Tensor:
        """[..., K] -> [..., C + 1, 3]."""
        return counts[..., :-4].reshape(*counts.shape[:-1], len(self.labels) + 1, 3)

    def _with_document(self, table: Tensor, texts: Tensor) -> Tensor:
        """The counts [K] with the F1 of the document."""
        true, predicted, gold = table.reshape(-1, 3).sum(0)
        f1 = scores.precision_recall_f1(true, predicted, gold)[2]
        return torch.cat([table, texts.double(), torch.stack([f1, (predicted + gold > 0).double()])])


def checked_labels(labels: Sequence[str], at_least: int) -> tuple[str, ...]:
    """The labels, if a text can tell them apart.

    Raises:
        ValueError: There are fewer than `at_least`, or two differ only in case or punctuation.
    """
    names = class_names(labels, at_least)
    if len({normalised(name) for name in names}) < len(names):
        raise ValueError("labels must differ in more than case and punctuation, which a generated text does not keep")
    return names
