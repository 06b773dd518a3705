from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl.problems import InputError
from mtl.vocabulary.new_tokenizers import extended
from mtl.vocabulary.word_choice import WordCounts, chosen, counted, listed
from tests.vocabulary.test_new_tokenizers import bytes_of_texts


def test_words_are_counted_by_occurrence_and_by_document(tokenizer: Any) -> None:
    texts = [("a", "Fever, fever"), ("a", "cox-2 fever"), ("b", "fever")]
    found = counted(texts, tokenizer)
    assert found.occurrences == Counter({"fever": 4, ",": 1, "cox": 1, "-": 1, "2": 1})
    assert found.documents == Counter({"fever": 2, ",": 1, "cox": 1, "-": 1, "2": 1})


def test_the_words_that_save_most_tokens_come_first(tokenizer: Any) -> None:
    # Tokens: one per letter, as only letters are entries; "patientsx" is patients + x.
    counts = WordCounts(
        Counter({"abc": 10, "abcdefgh": 4, "patientsx": 19, "fever": 99, "xy": 1, "12": 50}),
        Counter({"abc": 5, "abcdefgh": 2, "patientsx": 5, "fever": 9, "xy": 1, "12": 9}),
    )
    assert chosen(counts, tokenizer, 9, min_pieces=2, min_documents=2) == ["abcdefgh", "abc", "patientsx"]
    assert chosen(counts, tokenizer, 1, min_pieces=2, min_documents=2) == ["abcdefgh"]
    assert chosen(counts, tokenizer, 9, min_pieces=3, min_documents=2) == ["abcdefgh", "abc"]
    assert chosen(counts, tokenizer, 9, min_pieces=2, min_documents=3) == ["abc", "patientsx"]


@given(st.lists(st.text("abcdefgh ", max_size=30), min_size=1, max_size=8))
def test_the_tokens_saved_are_those_that_the_new_tokenizer_saves(tokenizer: Any, texts: list[str]) -> None:
    counts = counted([(str(number), text) for number, text in enumerate(texts)], tokenizer)
    words = chosen(counts, tokenizer, 5, min_pieces=2, min_documents=1)
    new = extended(tokenizer, words)
    before, after = (sum(len(one.tokenize(text)) for text in texts) for one in (tokenizer, new))
    assert before - after == sum(counts.occurrences[word] * (len(tokenizer.tokenize(word)) - 1) for word in words)


@given(st.lists(st.text("abIL6_, ", max_size=30), min_size=1, max_size=8), st.booleans())
def test_each_counted_word_becomes_a_token_as_often_as_it_was_counted(
    tokenizer: Any, texts: list[str], of_bytes: bool
) -> None:
    old = bytes_of_texts() if of_bytes else tokenizer
    counts = counted([(str(number), text) for number, text in enumerate(texts)], old)
    words = chosen(counts, old, 5, min_pieces=2, min_documents=1)
    new = extended(old, words)
    ids = Counter(token for text in texts for token in new(text, add_special_tokens=False)["input_ids"])
    assert {word: ids[new.convert_tokens_to_ids(word)] for word in words} == {w: counts.occurrences[w] for w in words}


@pytest.mark.parametrize("content", [b"", b"\n \n", b"caf\xe9"])
def test_a_list_without_words_or_in_another_encoding_is_refused(content: bytes, tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes(content)
    with pytest.raises(InputError) as caught:
        listed(tmp_path / "words.txt", tokenizer, 9)
    assert [problem.key for problem in caught.value.problems] == ["add.words"]


def test_a_list_gives_its_first_words_in_the_spelling_of_the_tokenizer(tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("Zopiclone\nzopiclone\ncoxa\nabc\n", encoding="utf-8")
    assert listed(tmp_path / "words.txt", tokenizer, 2).added == ["zopiclone", "coxa"]
