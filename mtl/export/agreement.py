"""How often `pipeline` on an exported folder finds what `mtl predict` finds, on texts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from heads import Row
from mtl.prediction.inputs import open_input
from mtl.prediction.predicting import predict, split_rows
from mtl.prediction.trained_model import checkpoint_of
from mtl.problems import InputError
from mtl.readers import SPLITS, bad_row_problems
from mtl.training.checkpoints import checkpoint_mixture

NEAR = 1e-4
"""Largest difference of two predicted numbers that count as equal, relative to numbers above 1."""

Found = frozenset[tuple[str, int, int]] | tuple[str, ...] | str | float
"""What is found in a text: entities by type and place, labels in alphabetical order, one label, or a number."""


class Agreement(NamedTuple):
    """How much is equal: entities by type and place, or else texts by their labels.

    Args:
        num_texts: Number of texts.
        equal: Number of items that both found.
        either: Number of items that one of them found.
    """

    num_texts: int
    equal: int
    either: int

    @classmethod
    def of(cls, ours: Sequence[Found], theirs: Sequence[Found]) -> Agreement:
        """The agreement on texts.

        >>> Agreement.of(["yes", "no", "no"], ["yes", "no", "yes"])
        Agreement(num_texts=3, equal=2, either=3)
        >>> Agreement.of([frozenset({("Drug", 0, 7)})], [frozenset({("Drug", 0, 7), ("Drug", 8, 9)})])
        Agreement(num_texts=1, equal=1, either=2)
        >>> Agreement.of([frozenset(), frozenset()], [frozenset(), frozenset()])
        Agreement(num_texts=2, equal=0, either=0)
        """
        pairs = [_items(one, other) for one, other in zip(ours, theirs, strict=True)]
        return cls(len(pairs), sum(equal for equal, _ in pairs), sum(either for _, either in pairs))

    def __str__(self) -> str:
        share = self.equal / self.either if self.either else 1.0
        return f"{self.equal} of {self.either} equal ({share:.1%}) in {self.num_texts} texts"


class AgreementByLength(NamedTuple):
    """The agreement on texts within the maximum length, and on longer ones."""

    within: Agreement
    longer: Agreement


def texts_of(run: str | Path, task: str, source: str) -> list[dict[str, Any]]:
    """The texts to compare on, as objects that `mtl predict` reads, without any annotation.

    Args:
        run: Folder of the run, or a checkpoint in it.
        task: Name of the task.
        source: train, dev or test for the task's own rows, or a file that `mtl predict` reads.

    Raises:
        InputError: There is no such split or file, or it has bad rows.
    """
    checkpoint = checkpoint_of(run)
    if source in SPLITS:
        return list(_objects(split_rows(checkpoint, task, source)))
    tasks = checkpoint_mixture(checkpoint).tasks
    rows, bad_rows = open_input(source, [tasks[task]] if task in tasks else []).read()
    texts = list(_objects(one.row for one in rows))
    if bad_rows:
        raise InputError(bad_row_problems(bad_rows, "Fix the row, or remove it."))
    return texts


def compare(
    run: str | Path, task: str, folder: str | Path, texts: Sequence[Mapping[str, Any]]
) -> AgreementByLength | None:
    """Compares `pipeline` on an exported folder, used as its README says, with `mtl predict`.

    Args:
        run: Folder of the run, or a checkpoint in it.
        task: Name of the task.
        folder: Folder of the exported task.
        texts: Result of `texts_of`.

    Returns:
        The agreement; None if the task reads marked mentions, which `mtl predict` marks itself.
    """
    from transformers import AutoConfig, AutoTokenizer, pipeline

    make: Any = pipeline
    settings = AutoConfig.from_pretrained(folder, trust_remote_code=False).biomtl
    if "reads" in settings:
        return None
    if "aggregation_strategy" in settings:
        options = {name: settings[name] for name in ("aggregation_strategy", "stride")}
        find = make("token-classification", model=str(folder), trust_remote_code=False, **options)
        theirs: list[Found] = [_entities(one["text"], find(one["text"]), "entity_group") for one in texts]
    else:
        classify = make("text-classification", model=str(folder), truncation=True, trust_remote_code=False)
        theirs = [_labels(classify, settings.get("thresholds", {}), one) for one in texts]
    # The class computes in fp32, whatever the precision of the run.
    records = predict(checkpoint_of(run), texts, tasks=[task], trainer={"precision": "32-true"}) or []
    ours = [_predicted(one["text"], record["predictions"][task]) for one, record in zip(texts, records, strict=True)]
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    lengths = [len(tokenizer(*_pair(one), verbose=False)["input_ids"]) for one in texts]
    fits = [length <= tokenizer.model_max_length for length in lengths]
    parts = [[index for index, own in enumerate(fits) if own == part] for part in (True, False)]
    return AgreementByLength(*(Agreement.of([ours[i] for i in part], [theirs[i] for i in part]) for part in parts))


def _objects(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows):
        pair = {} if row.text_pair is None else {"text_pair": row.text_pair}
        yield {"id": str(number), "text": row.text, **pair}


def _pair(text: Mapping[str, Any]) -> list[str]:
    return [text[name] for name in ("text", "text_pair") if name in text]


def _predicted(text: str, record: Mapping[str, Any]) -> Found:
    if "entities" in record:
        return _entities(text, record["entities"], "type")
    if "labels" in record:
        return tuple(sorted(record["labels"]))
    found: Found = record["label"] if "label" in record else record["value"]
    return found


def _labels(classify: Any, thresholds: Mapping[str, float], text: Mapping[str, Any]) -> Found:
    """What the README's code prints for a text."""
    inputs = {name: text[name] for name in ("text", "text_pair") if name in text}
    scores: dict[str, float] = {one["label"]: one["score"] for one in classify(inputs, top_k=None)}
    kind = classify.model.config.problem_type
    if kind == "regression":
        return scores["score"]
    if kind == "multi_label_classification":
        return tuple(sorted(label for label, score in scores.items() if score >= thresholds[label]))
    positive, threshold = next(iter(thresholds.items()), (None, 0.0))
    if positive is not None and scores[positive] >= threshold:
        return positive
    return max((label for label in scores if label != positive), key=lambda label: scores[label])


def _entities(text: str, found: Iterable[Mapping[str, Any]], key: str) -> frozenset[tuple[str, int, int]]:
    """Entities without blanks at their ends, which some tokenizers count as part of a token."""
    entities = set()
    for one in found:
        own = text[one["start"] : one["end"]]
        start = one["start"] + len(own) - len(own.lstrip())
        entities.add((one[key], start, start + len(own.strip())))
    return frozenset(entities)


def _items(one: Found, other: Found) -> tuple[int, int]:
    """The number of items that both found, and that one of them found."""
    if isinstance(one, float) and isinstance(other, float):
        return int(math.isclose(one, other, rel_tol=NEAR, abs_tol=NEAR)), 1
    if isinstance(one, frozenset) and isinstance(other, frozenset):
        return len(one & other), len(one | other)
    return int(one == other), 1
