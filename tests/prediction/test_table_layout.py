"""How a table is written, from its first line and the tables of a run."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl.config.mixture import DataSpec
from mtl.prediction.table_layout import DELIMITERS, OTHER_DELIMITERS, TableLayout, find_layout

TEXTS = ("text", "sentence")
names = st.lists(st.text("abc ,;|'", min_size=1, max_size=6), min_size=1, max_size=4)


def data(**options: Any) -> DataSpec:
    return DataSpec.model_validate({"reader": "table", "path": "notes", **options})


def layout(line: str, *trained: DataSpec, kind: str = "csv", **given_options: Any) -> TableLayout:
    return find_layout(line, kind, TEXTS, given_options, trained)


@given(names, st.integers(0, 4), st.sampled_from(OTHER_DELIMITERS))
def test_the_delimiter_of_a_header_with_a_column_of_texts_is_found(
    others: list[str], place: int, delimiter: str
) -> None:
    header = [*others[:place], "text", *others[place:]]
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter, lineterminator="").writerow(header)
    assert layout(line.getvalue()).fields(line.getvalue(), "csv") == header


@pytest.mark.parametrize(
    ("line", "kind", "delimiter"),
    [
        ("id,text", "csv", ","),
        ("text", "csv", ","),
        ("text", "tsv", "\t"),
        ("id;text", "csv", ";"),
        ("id|sentence", "tsv", "|"),
        ('"id";"text"', "csv", ";"),
        ("id,text", "tsv", ","),
        ("note;site;ward", "csv", ";"),  # no column of texts, which the reader reports by name
        ("", "csv", ","),
    ],
)
def test_without_tables_of_the_run_the_header_decides(line: str, kind: str, delimiter: str) -> None:
    assert layout(line, kind=kind).separator(kind) == delimiter


@pytest.mark.parametrize(
    "own", [data(delimiter=";"), data(header=False, columns={"text": "1"}), data(delimiter=";", quoting=False)]
)
def test_options_of_the_run_do_not_apply_to_a_table_that_they_do_not_fit(own: DataSpec) -> None:
    assert layout("id,text", own) == TableLayout()
    assert layout("text", own) == TableLayout(), "nor to a single column, which has no delimiter"


def test_options_of_the_run_apply_to_a_table_that_they_fit() -> None:
    assert layout("id;text", data(delimiter=";", quoting=False)) == TableLayout(";", quoting=False)
    assert layout("id\ttext", data(quoting=True), kind="tsv").quoting is True
    assert layout("id\ttext", data(path="x.tsv", quoting=True), kind="tsv").quoting is True
    assert layout("id\ttext", data(path={"train": "x.csv"}, quoting=True), kind="tsv").quoting is None
    other = DataSpec.model_validate({"reader": "conll", "path": "x", "delimiter": ";"})
    assert layout("id;text", other, data(delimiter=";", quoting=False)).quoting is False


@pytest.mark.parametrize(
    ("line", "header"),
    [
        ("yes,No fever today.", False),
        ("label,note", True),
        ("yes", True),  # without the second column
        ("id,text", True),
    ],
)
def test_a_table_has_no_header_if_those_of_the_run_have_none_and_its_first_line_has_a_text(
    line: str, header: bool
) -> None:
    assert layout(line, data(header=False, columns={"text": "1"})).header is header
    assert layout(line).header


def test_what_the_user_says_comes_first() -> None:
    own = data(delimiter=";", quoting=False)
    assert layout("id;text", own, delimiter="|") == TableLayout("|")
    assert layout("id;text", own, delimiter=";") == TableLayout(";", quoting=False)
    assert layout("id;text", own, quoting=True) == TableLayout(";", quoting=True)
    assert layout("id~text", own, delimiter="~") == TableLayout("~")
    assert layout("id,text", delimiter=DELIMITERS["csv"]) == TableLayout(",")
    assert (
        layout("yes|No fever.", data(header=False, columns={"text": 1}, delimiter="|"), quoting=False).header is False
    )
