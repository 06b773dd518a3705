"""Options of an input: what is invalid, what has no effect, and their names in errors of readers."""

from __future__ import annotations

from typing import Any

import pytest

from mtl.prediction.input_options import InputOptions, in_options, words_of_options
from mtl.problems import InputError, Problem


def test_options_that_are_set_are_kept_for_the_reader() -> None:
    assert InputOptions().checked("table", "x.csv") == {}
    given = InputOptions("table", "CP1252", r"\t", quoting=False)
    assert given.checked("table", "x.csv") == {"encoding": "cp1252", "delimiter": "\t", "quoting": False}
    assert InputOptions(offsets="trust").checked("texts", "texts") == {"offsets": "trust"}


@pytest.mark.parametrize(
    ("kind", "options", "keys"),
    [
        ("text", {"delimiter": ";", "offsets": "trust"}, ["--delimiter", "--offsets"]),
        ("parquet", {"encoding": "cp1252", "quoting": True}, ["--encoding", "--quoting"]),
        ("texts", {"encoding": "cp1252"}, ["--encoding"]),
        ("table", {"delimiter": ";;", "encoding": "utf-16"}, ["--delimiter", "--encoding"]),
        ("table", {"delimiter": '"'}, ["--delimiter"]),
        ("pubtator", {"offsets": "trsut", "encoding": "klingon"}, ["--offsets", "--encoding"]),
    ],
)
def test_an_option_that_is_invalid_or_has_no_effect_is_an_error(
    kind: str, options: dict[str, Any], keys: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        InputOptions(**options).checked(kind, "x")
    assert [problem.key for problem in caught.value.problems] == keys


def test_problems_of_readers_name_the_options_of_the_command() -> None:
    found = in_options(Problem("delimiter", "'x' has a single column.", 'set delimiter: "\\t".'))
    assert (found.key, found.suggestion) == ("--delimiter", 'set --delimiter "\\t".')
    assert in_options(Problem("columns.text", "twice")).key == "--input"
    assert in_options(Problem("x.csv:3", "twice")).key == "x.csv:3"
    assert words_of_options("characters: set offsets: trust)") == "characters: set --offsets trust)"
    assert words_of_options("the text at its offsets") == "the text at its offsets"
