"""Documents of test that overlap train, by id or by the text of a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heads.rows import TextRow, row_to_dict
from mtl.data.overlapping_documents import overlapping_documents


class Rows:
    """Rows in memory, in the place of a table on disk."""

    def __init__(self, *rows: TextRow) -> None:
        self._fields = [row_to_dict(row) for row in rows]

    def fields(self) -> list[Mapping[str, Any]]:
        return list(self._fields)


def overlapping(test: Rows, *trained: Rows) -> set[str]:
    tables: list[Any] = [test, *trained]
    return overlapping_documents(tables[0], tables[1:])


TEST = Rows(
    TextRow("a1", "a", "Nothing in common."),
    TextRow("b1", "b", "ASPIRIN helps"),
    TextRow("b2", "b", "Another row of the document."),
    TextRow("x1", "d2", "A row of a document of train."),
)


def test_documents_overlap_if_the_letters_of_a_row_or_their_id_are_in_train() -> None:
    texts = Rows(TextRow("t1", "d1", "Aspirin helps."))
    ids = Rows(TextRow("t2", "d2", "Warfarin."))
    assert overlapping(TEST, texts) == {"b"}
    assert overlapping(TEST, ids) == {"d2"}
    assert overlapping(TEST, texts, ids) == {"b", "d2"}


def test_an_id_that_may_only_be_the_number_of_a_row_does_not_count() -> None:
    assert overlapping(Rows(TextRow("1", "1", "Rest.")), Rows(TextRow("1", "1", "Other text."))) == set()
