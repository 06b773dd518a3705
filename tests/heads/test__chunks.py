"""Texts as chunks of tokens with their words."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads._chunks import Surroundings, WordedTokens, worded_tokens
from heads._masking import NEVER
from heads.rows import DOCUMENT_BREAK

texts = st.lists(
    st.text(st.sampled_from("aspirn cox-2(), .\n\t\u00e9\U0001d6fc"), min_size=1, max_size=40), min_size=1, max_size=4
)


def grouped(text: str, tokenizer: Any, words: Any) -> list[str]:
    """The characters of each word, without continuation marks."""
    (found,) = worded_tokens([text], tokenizer, words)
    pieces = tokenizer.convert_ids_to_tokens(found.fields["input_ids"])
    groups: dict[int, str] = {}
    for piece, word in zip(pieces, found.words, strict=True):
        groups[word] = groups.get(word, "") + piece.removeprefix("##")
    return list(groups.values())


def test_the_two_definitions_of_a_word_differ_in_punctuation(tokenizer: Any) -> None:
    text = "(celebrex), inhibits cox-2 ."
    assert grouped(text, tokenizer, "pretokens") == ["(", "celebrex", ")", ",", "inhibits", "cox", "-", "2", "."]
    assert grouped(text, tokenizer, "whitespace") == ["(celebrex),", "inhibits", "cox-2", "."]


@given(texts)
def test_tokens_are_those_of_the_tokenizer_and_words_are_in_order(tokenizer: Any, texts: list[str]) -> None:
    surroundings = Surroundings.of(tokenizer)
    for words in ("pretokens", "whitespace"):
        found = list(worded_tokens(texts, tokenizer, words))  # type: ignore[arg-type]
        for text, tokens in zip(texts, found, strict=True):
            whole = surroundings.around(tokens.fields, range(len(tokens.words)))
            assert whole == {name: list(values) for name, values in tokenizer(text).items() if name in whole}
            known = [word for word in tokens.words if word != NEVER]
            assert known == sorted(known)


@given(st.lists(st.integers(1, 6), max_size=40), st.integers(2, 9))
def test_chunks_hold_every_token_once_fit_and_divide_no_word_that_fits(sizes: list[int], room: int) -> None:
    words = [word for word, size in enumerate(sizes) for _ in range(size)]
    chunks = WordedTokens({}, words).chunks(room)
    assert [place for chunk in chunks for place in chunk] == list(range(len(words)))
    assert all(len(chunk) <= room for chunk in chunks)
    for before, after in pairwise(chunks):
        word = words[after.start]
        assert words[before.stop - 1] != word or sizes[word] > room


@given(st.integers(1, 60), st.integers(1, 9))
def test_chunks_of_single_tokens_are_as_few_as_possible_and_of_similar_length(num_tokens: int, room: int) -> None:
    lengths = [len(chunk) for chunk in WordedTokens({}, list(range(num_tokens))).chunks(room)]
    assert len(lengths) == -(-num_tokens // room)
    assert max(lengths) - min(lengths) <= 1


def test_a_text_without_tokens_is_one_empty_chunk() -> None:
    assert WordedTokens({}, []).chunks(5) == [range(0)]


def test_documents_of_a_row_are_apart_by_a_separator_that_is_never_masked(tokenizer: Any) -> None:
    joined = DOCUMENT_BREAK.join(["aspirin helps", "", "fever", "cox-2"])
    (found,) = worded_tokens([joined], tokenizer, "whitespace")
    pieces = tokenizer.convert_ids_to_tokens(found.fields["input_ids"])
    places = [place for place, piece in enumerate(pieces) if piece == "[SEP]"]
    assert len(places) == 2
    assert {found.words[place] for place in places} == {NEVER}
    alone = list(worded_tokens(["aspirin helps", "fever", "cox-2"], tokenizer, "whitespace"))
    assert [piece for piece in pieces if piece != "[SEP]"] == [
        piece for tokens in alone for piece in tokenizer.convert_ids_to_tokens(tokens.fields["input_ids"])
    ]
    numbers = {word for word in found.words if word != NEVER}
    assert numbers == set(range(len(numbers))), "words of different documents differ"
    assert len(numbers) == 4


def test_special_tokens_within_a_text_belong_to_no_word(tokenizer: Any) -> None:
    (found,) = worded_tokens(["aspirin [MASK] \u4f60 fever"], tokenizer, "pretokens")
    pieces = tokenizer.convert_ids_to_tokens(found.fields["input_ids"])
    assert [piece for piece, word in zip(pieces, found.words, strict=True) if word == NEVER] == ["[MASK]", "[UNK]"]
    assert found.drawable().tolist() == tokenizer("aspirin fever", add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("number", [63, 64, 65, 130])
def test_many_texts_are_tokenised_in_their_order(tokenizer: Any, number: int) -> None:
    texts = ["fever " * (place % 3 + 1) for place in range(number)]
    assert [len(tokens.words) for tokens in worded_tokens(texts, tokenizer, "pretokens")] == [
        place % 3 + 1 for place in range(number)
    ]
