"""Classes of a text as text: the answer to a question, and any number of labels of a document."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from heads import Prediction, Row
from heads._generation_kinds import PARSE_FAILURES, LabelledItems, Parsed, checked_labels
from heads._generation_templates import EMPTY, normalised, without_stop
from heads._text import describe, wrong_class
from heads.rows import TextRow

_SEPARATOR = re.compile(r"\s*\|\s*")


class _LabelNames(LabelledItems):
    """A kind whose items are labels."""

    def __init__(self, labels: Sequence[str], template: str | None) -> None:
        super().__init__(checked_labels(labels, 2), template)
        self._names = {normalised(name): name for name in self.labels}

    def label_of(self, item: str) -> str:
        return item

    def matches(self, items: Sequence[str], row: Row) -> list[str]:
        gold = self.items(row) or ()
        return [label for label in items if label in gold]

    def label_counts(self, row: Row) -> Mapping[str, int]:
        return dict.fromkeys(self.items(row) or (), 1)

    def unknown_labels(self, row: Row) -> Sequence[str]:
        label = row.label if isinstance(row, TextRow) else None
        names = label if isinstance(label, tuple) else [label] if isinstance(label, str) else []
        return [describe(name, self.labels) for name in names if name not in self.labels]

    def _read(self, text: str) -> str | None:
        """The sentence's value, without the full stop."""
        values = self.template.values(without_stop(text))
        return None if values is None else next(iter(values.values()))


class Answer(_LabelNames):
    """One label of a `TextRow`, such as yes, no or maybe (Luo et al. 2022, BioGPT, for PubMedQA)."""

    default_template = "the answer to the question given the context is {label}"
    required = ("label",)
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1", PARSE_FAILURES)

    def problem(self, row: Row) -> str | None:
        if not isinstance(row, TextRow):
            return "the row must have a label, got entities"
        return None if row.label is None else wrong_class(row.label, self.labels)

    def items(self, row: Row) -> tuple[str, ...] | None:
        assert isinstance(row, TextRow)
        return (row.label,) if isinstance(row.label, str) else None

    def render(self, items: Sequence[str]) -> str:
        return f"{self.template.render({'label': items[0]})}."

    def parse(self, text: str) -> Parsed:
        value = self._read(text)
        label = None if value is None else self._names.get(normalised(value))
        return Parsed((), 1) if label is None else Parsed((label,))

    def prediction(self, parsed: Parsed) -> Prediction:
        """``{"label"}``, None if the text could not be read."""
        return {"label": parsed.items[0] if parsed.items else None}

    def parsed(self, prediction: Prediction) -> Parsed:
        label = prediction["label"]
        return Parsed((), 1) if label is None else Parsed((label,))

    def num_mistakes(self, counts: Tensor) -> float:
        return super().num_mistakes(counts) / 2

    def score(self, counts: Tensor) -> dict[str, Tensor]:
        _, recall, _ = self.micro(counts)  # every text has one gold label
        return dict(zip(self.metrics, (recall, self.macro_f1(counts), self.failure_rate(counts)), strict=True))


class DocumentLabels(_LabelNames):
    """Any number of labels of a `TextRow`, in the order of `labels` and with bars between them (BioGPT, for HoC).

    A row without labels is written as the word "empty", which is no class: unlike in BioGPT's own scores, it counts
    neither as gold nor as predicted.
    """

    default_template = "the type of this document is {labels}"
    required = ("labels",)
    metrics: ClassVar[tuple[str, ...]] = ("micro_f1", "macro_f1", PARSE_FAILURES)

    def __init__(self, labels: Sequence[str], template: str | None) -> None:
        super().__init__(labels, template)
        reserved = [name for name in self.labels if "|" in name or normalised(name) == EMPTY]
        if reserved:
            raise ValueError(f"labels must have no '|' and not be '{EMPTY}', which a generated text needs itself")

    def problem(self, row: Row) -> str | None:
        if not isinstance(row, TextRow):
            return "the row must have a list of labels, got entities"
        if row.label is None:
            return None
        if not isinstance(row.label, tuple):
            return f"the label must be a (possibly empty) list of class names, got {describe(row.label, self.labels)}"
        return next((found for found in (wrong_class(name, self.labels) for name in row.label) if found), None)

    def items(self, row: Row) -> tuple[str, ...] | None:
        assert isinstance(row, TextRow)
        label = row.label
        return tuple(name for name in self.labels if name in label) if isinstance(label, tuple) else None

    def render(self, items: Sequence[str]) -> str:
        return f"{self.template.render({'labels': '|'.join(items) or EMPTY})}."

    def parse(self, text: str) -> Parsed:
        value = self._read(text)
        if value is None:
            return Parsed((), 1)
        if normalised(value) == EMPTY:
            return Parsed(())
        names = [self._names.get(normalised(name)) for name in _SEPARATOR.split(value)]
        known = [name for name in names if name is not None]
        return Parsed(tuple(dict.fromkeys(known)), len(names) - len(known))

    def prediction(self, parsed: Parsed) -> Prediction:
        """``{"labels", "failed"}``, where `failed` is the number of parts that are no label."""
        return {"labels": list(parsed.items), "failed": parsed.num_failed}

    def parsed(self, prediction: Prediction) -> Parsed:
        return Parsed(tuple(prediction["labels"]), prediction["failed"])

    def score(self, counts: Tensor) -> dict[str, Tensor]:
        f1 = self.micro(counts)[2]
        return dict(zip(self.metrics, (f1, self.macro_f1(counts), self.failure_rate(counts)), strict=True))
