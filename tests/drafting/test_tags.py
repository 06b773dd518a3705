from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mtl.drafting.tags import options_of, scheme_of, separator_of
from mtl.readers.conll import Conll, Tag, mentions

Chunk = tuple[str, int]
"""Type, or "O", and number of words."""

SINGLE_AND_LAST = {"BIOES": ("S", "E"), "BILOU": ("U", "L")}

chunks = st.lists(st.tuples(st.sampled_from(["O", "Drug", "Finding"]), st.integers(1, 3)), max_size=6)


def tagged(sentence: list[Chunk], scheme: str) -> list[str]:
    """The tags of a sentence."""
    tags: list[str] = []
    for (before, _), (kind, size) in pairwise([("O", 1), *sentence]):
        prefixes = ["B", *"I" * (size - 1)]
        if scheme in SINGLE_AND_LAST:
            single, last = SINGLE_AND_LAST[scheme]
            prefixes = [single] if size == 1 else [*prefixes[:-1], last]
        elif scheme == "IO" or (scheme == "IOB1" and before != kind):
            prefixes[0] = "I"
        tags += ["O"] * size if kind == "O" else [f"{prefix}-{kind}" for prefix in prefixes]
    return tags


def spans(sentence: list[Chunk]) -> list[tuple[int, int, str]]:
    found: list[tuple[int, int, str]] = []
    start = 0
    for kind, size in sentence:
        found += [] if kind == "O" else [(start, start + size - 1, kind)]
        start += size
    return found


@pytest.mark.parametrize("scheme", ["BIO", "IOB1", "IO", "BIOES", "BILOU"])
@given(st.lists(chunks, min_size=1, max_size=5))
def test_the_scheme_that_is_found_gives_the_mentions_that_were_tagged(scheme: str, text: list[list[Chunk]]) -> None:
    repeated = any(one[0] == other[0] != "O" for sentence in text for one, other in pairwise(sentence))
    assume(scheme != "IO" or not repeated)  # which merges them
    sentences = [tagged(sentence, scheme) for sentence in text]
    found = scheme_of(tag for tags in sentences for tag in (*tags, ""))
    for sentence, tags in zip(text, sentences, strict=True):
        parts = [tag.partition("-") for tag in tags]
        assert mentions([Tag(prefix, kind) for prefix, _, kind in parts], found) == spans(sentence)


@pytest.mark.parametrize(
    ("lines", "separator", "expected", "num_notes"),
    [
        (["Low\tB-Sign", "fever\tI-Sign", "", "no\tO"], "tab", {}, 0),
        (["Low B-Sign", "fever I-Sign"], "space", {}, 0),
        (["-DOCSTART- -X- O", "", "Low NN I-Sign"], "space", {"document_mark": "-DOCSTART-", "scheme": "IO"}, 0),
        (["# sent_id = 1", "Low B-Sign"], "space", {"comment": "# "}, 0),
        (["#1", "# text = Vitamin B", "Low B-Sign"], "space", {"comment": "#"}, 0),
        (["###MEDLINE:1", "", "Low\tB-Sign", "#\tO"], "tab", {"comment": "###"}, 0),
        (["#\tO", "#covid\tB-Sign", "now\tO"], "tab", {}, 0),
        (["# 1", "# O", "Low B-Sign"], "space", {"comment": "# "}, 1),
        (["fever\tU-Sign", "low\tB-Sign", "pain\tL-Sign"], "tab", {"scheme": "BILOU"}, 0),
        (["fever\tS-Sign"], "tab", {"scheme": "BIOES"}, 0),
        (["no\tO", "fever\tI-Sign", "pain\tB-Sign"], "tab", {"scheme": "IOB1"}, 1),
        (["fever\tI-Sign", "Zinc\tI-Drug", "iron\tB-Drug"], "tab", {"scheme": "IOB1"}, 1),
        (["fever\tU", "low\tB", "pain\tL"], "tab", {"scheme": "BILOU", "entity_type": "Entity"}, 0),
    ],
)
def test_options_of_tagged_words(
    lines: list[str], separator: str, expected: dict[str, str], num_notes: int, tmp_path: Path
) -> None:
    options, notes = options_of(lines, "tab" if separator == "tab" else "space")
    assert options == expected | ({} if separator == "tab" else {"separator": separator})
    assert len(notes) == num_notes
    (tmp_path / "words.txt").write_text("\n".join(lines))
    rows: list[Any] = list(Conll(str(tmp_path / "words.txt"), **options).read("train"))
    assert any(row.entities for row in rows)


@pytest.mark.parametrize(
    ("lines", "separator"),
    [
        (["Low\tB-Sign", "# note", "today\tO"], "tab"),
        (["Low NN B-Sign", "today RB O"], "space"),
        (["Low\tB-Sign", "today"], None),
        (["today\tO"], None),
        (["a note\tyes", "another note\tno"], None),
    ],
)
def test_tagged_words_are_known_by_their_last_column(lines: list[str], separator: str | None) -> None:
    assert separator_of(lines) == separator
