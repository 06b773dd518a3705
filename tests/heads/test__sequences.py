"""Examples of several sequences: nothing of a long text is lost, and texts that are read apart stay apart."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads import TextRow, sequence_lengths
from heads._sequences import encode_cut, encode_windows, joined, sequence_indices
from heads._text import Reading, encode_texts
from heads.classification import Classification

LONG = "aspirin reduces the risk of bleeding in patients with fever and nausea after treatment"


def tokens_of(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


@pytest.mark.parametrize(("max_length", "stride"), [(8, 0), (8, 2), (9, 30), (64, 2)])
def test_windows_of_a_text_have_all_its_tokens_and_overlap(tokenizer: Any, max_length: int, stride: int) -> None:
    (text,) = encode_windows([LONG], tokenizer, max_length, stride)
    expected, room = tokens_of(tokenizer, LONG), max_length - 2
    assert not text.truncated
    seen: list[int] = []
    for sequence in text.sequences:
        first, *inner, last = sequence["input_ids"]
        assert (first, last) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
        assert len(inner) == min(room, len(expected))
        shared = next(n for n in range(len(inner), -1, -1) if seen[len(seen) - n :] == inner[:n]) if seen else 0
        assert not seen or shared >= min(stride, room // 2)
        seen += inner[shared:]
    assert seen == expected


def test_a_text_that_fits_is_one_window_and_equals_the_cut_text(tokenizer: Any) -> None:
    long_first = (" ".join(LONG.split()[:8]), "fever")
    for text in ("fever", ("aspirin", "reduces fever"), "", long_first, ("fever", ""), (long_first[0], "")):
        assert encode_windows([text], tokenizer, 32, 4) == encode_cut([text], tokenizer, 32)
    size = len(encode_cut([long_first], tokenizer, 32)[0].sequences[0]["input_ids"])
    assert encode_windows([long_first], tokenizer, size, 4) == encode_cut([long_first], tokenizer, 32)


def test_every_window_of_a_pair_has_the_first_text(tokenizer: Any) -> None:
    question, room = tokens_of(tokenizer, "aspirin reduces fever ?"), 16 - 3
    (pair,) = encode_windows([("aspirin reduces fever ?", LONG)], tokenizer, 16, 2)
    assert len(pair.sequences) > 1
    assert not pair.truncated
    second: list[list[int]] = []
    for sequence in pair.sequences:
        ids, types = sequence["input_ids"], sequence["token_type_ids"]
        assert ids[1 : 1 + len(question)] == question
        assert types == [0] * (len(question) + 2) + [1] * (len(ids) - len(question) - 2)
        second.append(ids[len(question) + 2 : -1])
    assert all(len(window) == room - len(question) for window in second)
    assert set(tokens_of(tokenizer, LONG)) == {token for window in second for token in window}


def test_of_two_long_texts_the_first_is_cut_to_half_a_window(tokenizer: Any) -> None:
    (pair,) = encode_windows([(LONG, LONG)], tokenizer, 13, 2)
    assert pair.truncated
    assert pair.sequences[0]["input_ids"][1:6] == tokens_of(tokenizer, LONG)[:5]


def test_a_long_first_text_has_the_room_that_a_short_second_leaves(tokenizer: Any) -> None:
    (pair,) = encode_windows([(LONG, "fever")], tokenizer, 13, 2)
    assert pair.truncated
    (ids,) = [sequence["input_ids"] for sequence in pair.sequences]
    assert ids[1:10] == tokens_of(tokenizer, LONG)[:9]
    assert ids[11:12] == tokens_of(tokenizer, "fever")


def test_windows_need_room_for_text(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match=r"max_length .* got 3"):
        encode_windows([LONG], tokenizer, 3, 0)


def test_texts_apart_are_encoded_like_single_texts(tokenizer: Any) -> None:
    pairs = [("aspirin reduces fever", "nausea"), ("cox-2", LONG)]
    for example, pair in zip(encode_texts(pairs, tokenizer, 10, Reading(pair="apart")), pairs, strict=True):
        alone = encode_texts(pair, tokenizer, 10)
        assert example["input_ids"] == alone[0]["input_ids"] + alone[1]["input_ids"]
        assert sequence_lengths(example) == [len(text["input_ids"]) for text in alone]
        assert example["windows"] == [1, 1]
        assert example["truncated"] == (alone[0]["truncated"] or alone[1]["truncated"])
        assert not any(example["token_type_ids"])


def test_both_texts_of_a_pair_may_have_windows(tokenizer: Any) -> None:
    reading = Reading(pair="apart", long="windows", stride=2)
    (example,) = encode_texts([(LONG, "fever")], tokenizer, 10, reading)
    assert example["windows"] == [2, 1]
    assert not example["truncated"]
    assert sum(sequence_lengths(example)) == len(example["input_ids"]) == len(example["token_type_ids"])


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=6))
def test_every_sequence_of_a_batch_is_one_window_of_one_text(counts: list[tuple[int, int]]) -> None:
    examples = [{"windows": list(own)} for own in counts]
    found = sequence_indices(examples, 2)
    assert found.shape == (len(counts), 2, max([1, *(n for own in counts for n in own)]))
    assert [[int((text >= 0).sum()) for text in example] for example in found] == [list(own) for own in counts]
    assert found[found >= 0].tolist() == list(range(sum(map(sum, counts))))


def test_an_example_keeps_the_order_of_its_texts(tokenizer: Any) -> None:
    one, other = encode_cut(["aspirin", "reduces fever"], tokenizer, 16)
    assert joined([one, other])["input_ids"] != joined([other, one])["input_ids"]


def test_a_row_with_one_text_is_a_problem_of_pair_apart_only(tokenizer: Any) -> None:
    single, pair = TextRow("1", "1", "fever", label="a"), TextRow("1", "1", "fever", "nausea", label="a")
    apart = Classification(["a", "b"], 16, pair="apart")
    assert "text_pair" in str(apart.check(single))
    assert apart.check(pair) is None
    assert Classification(["a", "b"], 16).check(single) is None
