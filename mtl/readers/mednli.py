"""MedNLI: pairs of clinical sentences, labelled with entailment; JSON lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from heads.rows import TextRow
from mtl.readers import SPLIT_NAMES, OnBadRow, Reader
from mtl.readers._columns import MalformedError, kind_of, name_of, text_of
from mtl.readers._json import parse_object
from mtl.readers.rqe import question_hash

LABELS = ("entailment", "contradiction", "neutral")


class MedNLI(Reader):
    """Pairs of a premise and a hypothesis, in this order, labelled entailment, contradiction or neutral.

    The layout is that of the release on PhysioNet (Romanov and Shivade 2018), as BigBIO's loader `mednli` reads it.
    Only the two sentences, the label and the pair's id are read; the parses are not. Each premise has three hypotheses,
    one of each label, so the hash of the premise is the document of the row, which splits and intervals keep together::

        {"pairID": "7", "sentence1": "No fever.", "sentence2": "He has a fever.", "gold_label": "contradiction", …}
        TextRow("7", "89bd…", "No fever.", "He has a fever.", label="contradiction")

    Args:
        path: Folder of `mli_train_v1.jsonl`, `mli_dev_v1.jsonl` and `mli_test_v1.jsonl`, or one such file.
        files: See `Reader`.
        on_bad_row: See `Reader`.
        encoding: See `Reader`.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".jsonl",)
    file_names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        split: (f"mli_{split}_v1", *names) for split, names in SPLIT_NAMES.items()
    }

    def __init__(
        self,
        path: str,
        *,
        files: Mapping[str, str] | None = None,
        on_bad_row: OnBadRow = "error",
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(path, files=files, on_bad_row=on_bad_row, encoding=encoding)

    def rows(self, source: Path, split: str) -> Iterator[TextRow]:
        for number, line in self.lines(source):
            if line.strip():
                try:
                    row = _row(parse_object(line), default_id=f"{split}-{number}")
                except MalformedError as error:
                    self.bad(source, number, error.rule, error.found)
                else:
                    yield row


def _row(record: Mapping[str, Any], default_id: str) -> TextRow:
    premise, hypothesis = (text_of(key, record.get(key)).strip() for key in ("sentence1", "sentence2"))
    label = record.get("gold_label")
    if label not in LABELS:
        raise MalformedError(f"gold_label must be {', '.join(LABELS[:-1])} or {LABELS[-1]}", kind_of(label))
    return TextRow(
        id=name_of("pairID", record.get("pairID", default_id)),
        document=question_hash(premise),
        text=text_of("sentence1", premise),
        text_pair=text_of("sentence2", hypothesis),
        label=label,
    )
