"""Normalisation of texts, and the keys of runs of letters compared with a search by hand."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from mtl.data import text_keys
from mtl.data.text_keys import BLOCK, RUN, SHORTEST_SENTENCE, Chunk, SplitTexts, letters, sentences, unmasked


def row(number: int, text: str, **fields: Any) -> dict[str, Any]:
    return {"id": str(number), "document": str(number), "text": text, **fields}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Aspirin HELPS.", "aspirin helps"),
        ("low - dose  aspirin ( 75 mg )", "Low-dose aspirin (75mg)"),
        ("a\u00a0no-break\tspace\n", "a no break space"),
        ("snake_case", "snake case"),
        ("Stra\u00dfe", "STRASSE"),
        ("\u03b2-blocker", "\u0392 BLOCKER"),
    ],
)
def test_case_spaces_and_punctuation_do_not_count(one: str, other: str) -> None:
    assert letters(one) == letters(other)
    assert SplitTexts([row(0, one)]).texts().keys == SplitTexts([row(0, other)]).texts().keys


def test_letters_and_digits_count() -> None:
    found = {letters(text) for text in ("75 mg", "7.5 mg", "750 mg", "75 mcg", "m\u00e9g", "meg")}
    assert len(found) == 5  # 75 and 7.5 have the same digits


def test_sentences_end_at_marks_and_at_line_breaks_but_not_before_a_small_letter() -> None:
    assert sentences("Fever fell. No rash! Was it approx. two days?\nYes") == [
        "Fever fell.",
        "No rash!",
        "Was it approx. two days?",
        "Yes",
    ]
    assert sentences("Cells died . Others moved .") == ["Cells died .", "Others moved ."]


def test_sentences_of_the_source_are_used_if_it_has_them_and_short_ones_have_no_key() -> None:
    text = "First sentence of the text and the second one is of it."
    spans = [[0, 26], [27, 55]]
    assert len(SplitTexts([row(0, text)]).sentences().keys) == 1
    assert len(SplitTexts([row(0, text, sentences=spans)]).sentences().keys) == 2
    lengths = [SHORTEST_SENTENCE - 1, SHORTEST_SENTENCE]
    assert [len(SplitTexts([row(0, "x" * n)]).sentences().keys) for n in lengths] == [0, 1]


def test_a_pair_has_one_key_and_the_order_of_its_texts_counts() -> None:
    pairs = [("a", "b"), ("b", "a"), ("a", None), ("ab", None), ("", "b")]
    keys = SplitTexts([row(n, one, text_pair=two) for n, (one, two) in enumerate(pairs)]).texts().keys
    assert len(set(keys.tolist())) == len(pairs)
    assert len(SplitTexts([row(0, "..."), row(1, "?!", text_pair="-")]).texts().keys) == 0


def test_a_placeholder_ends_a_run() -> None:
    half = "x" * (RUN - 1)
    assert unmasked("A @GENE$ and @DRUG-DRUG$ b") == "a\nand\nb"
    assert unmasked("costs 3 $ @ home") == letters("costs 3 $ @ home")
    for text, runs in ((f"{half}@GENE${half}", 0), (f"{half} {half}", RUN - 1)):
        assert sum(len(_runs(chunk)) for chunk in SplitTexts([row(0, text)]).chunks()) == runs


def _runs(chunk: Chunk) -> Any:
    return chunk.units(chunk.runs_around(np.ones(len(chunk.blocks), dtype=bool))).keys


@pytest.mark.parametrize("chunk_size", [1, 100, text_keys.CHUNK])
def test_two_runs_have_the_same_key_if_and_only_if_their_letters_are_the_same(
    chunk_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_keys, "CHUNK", chunk_size)
    rng = random.Random(0)
    shared = "".join(rng.choices("ab\u03b2\U0001d4b6", k=90))
    texts = ["".join(rng.choices("ab\u03b2", k=rng.randrange(150))) + shared * rng.randrange(2) for _ in range(40)]
    expected = [(text[i : i + RUN], n) for n, text in enumerate(texts) for i in range(len(text) - RUN + 1)]
    split = SplitTexts([row(n, text) for n, text in enumerate(texts)])
    found = [
        (key, unit)
        for chunk in split.chunks()
        for units in [chunk.units(chunk.runs_around(np.ones(len(chunk.blocks), dtype=bool)))]
        for key, unit in zip(units.keys.tolist(), units.units.tolist(), strict=True)
    ]
    assert [unit for _, unit in found] == [unit for _, unit in expected]
    letters_of = dict(zip((key for key, _ in found), (run for run, _ in expected), strict=True))
    assert [letters_of[key] for key, _ in found] == [run for run, _ in expected]
    assert len(letters_of) == len({run for run, _ in expected})


def test_runs_around_a_block_are_those_that_contain_it() -> None:
    (chunk,) = SplitTexts([row(0, "".join(random.Random(1).choices("abc", k=200)))]).chunks()
    blocks = np.zeros(len(chunk.blocks), dtype=bool)
    blocks[100] = True
    assert chunk.runs_around(blocks).tolist() == list(range(100 - BLOCK, 101))


def test_texts_without_letters_have_no_runs() -> None:
    assert [len(_runs(chunk)) for chunk in SplitTexts([row(0, "..."), row(1, "")]).chunks()] == [0]
    assert list(SplitTexts([]).chunks()) == []
