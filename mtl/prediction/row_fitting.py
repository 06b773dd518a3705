"""Rows as a head reads them: without gold, of the type that it knows, and completed to what it had in training."""

from __future__ import annotations

from heads import Head, Row, SpanRow, TextRow
from mtl.data.sentence_spans import reads_sentences, with_sentences
from mtl.prediction.mentions import MentionInput, with_concepts
from mtl.training.checkpoints import TrainedRows


def as_read_by(head: Head, row: Row, trained: str | None) -> Row:
    """The row without gold, as a type that a head reads.

    Args:
        head: The head.
        row: The row.
        trained: Name of the type of the rows on which the task was trained; None if it is not known.
    """
    reads = head.row_type if isinstance(head.row_type, tuple) else (head.row_type,)
    kinds = [kind for kind in reads if kind.__name__ == trained] or reads
    if isinstance(row, tuple(kinds)):
        return head.without_gold(row)
    kind = SpanRow if isinstance(row, TextRow) else TextRow
    return kind(row.id, row.document, row.text, row.text_pair, meta=row.meta)


def lacks_mentions(head: Head, row: Row, trained: str | None) -> bool:
    """Whether a task relates or labels mentions, but the row has none of a type that it reads.

    Args:
        head: The head.
        row: The row.
        trained: Name of the type of the rows on which the task was trained; None if it is not known.
    """
    read = MentionInput.of(head)
    if read is None or trained != SpanRow.__name__:
        return False
    return not any(read.takes(entity.type) for entity in (row.entities if isinstance(row, SpanRow) else ()))


def completed(head: Head, row: Row, trained: TrainedRows, task: str) -> Row:
    """The row with what its task had in training and the input lacks: sentences, and concepts of its mentions.

    A text is divided into sentences if the head pairs or reads mentions within one, the task learned from single
    sentences, and the row has none. Mentions without concept ids get some if the head relates concepts, by their text.

    Args:
        head: The head.
        row: The row as the head reads it, with all mentions.
        trained: The kind of rows on which each task was trained.
        task: Name of the task.
    """
    if not isinstance(row, SpanRow):
        return row
    if reads_sentences(head) and trained.in_sentences.get(task):
        row = with_sentences(row)
    return with_concepts(row, head)
