"""Which tokens are masked, and by what."""

from __future__ import annotations

import copy
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heads._masking import NEVER, Masking, Vocabulary, checked_shares

NUM = 60_000
"""Number of tokens over which shares are counted."""


def words_of(rng: np.random.Generator, num_tokens: int = NUM) -> list[int]:
    """Words of one to four tokens, between special tokens."""
    sizes = rng.integers(1, 5, size=num_tokens)
    words = np.repeat(np.arange(len(sizes)), sizes)[: num_tokens - 2]
    return [NEVER, *words.tolist(), NEVER]


def assert_share(count: int, total: int, share: float) -> None:
    """A count is within three standard deviations of that of independent draws."""
    assert abs(count - share * total) <= 3 * math.sqrt(total * share * (1 - share))


@pytest.mark.parametrize("rate", [0.15, 0.3])
def test_tokens_are_masked_at_the_rate(rate: float) -> None:
    words = words_of(np.random.default_rng(0))
    positions = Masking(rate).positions(words, np.random.default_rng(1))
    assert_share(len(positions), NUM - 2, rate)
    assert positions.tolist() == sorted(set(positions.tolist()))
    assert not {0, NUM - 1} & set(positions.tolist())


@pytest.mark.parametrize("rate", [0.15, 0.2])
def test_words_are_masked_at_the_rate_and_never_in_part(rate: float) -> None:
    words = np.array(words_of(np.random.default_rng(0)))
    masked = np.zeros(NUM, dtype=bool)
    masked[Masking(rate, "word").positions(words.tolist(), np.random.default_rng(1))] = True
    of_words = [set(masked[words == word].tolist()) for word in range(200)]
    assert all(len(found) == 1 for found in of_words)
    num_words = int(words.max()) + 1
    assert_share(len(set(words[masked].tolist())), num_words, rate)


@given(st.integers(1, 60), st.floats(0.01, 0.99), st.integers(0, 5))
def test_exact_selection_masks_the_rounded_share_of_the_tokens_but_at_least_one(
    num_tokens: int, rate: float, seed: int
) -> None:
    words = [NEVER, *range(num_tokens), NEVER]
    positions = Masking(rate, "token", "exact").positions(words, np.random.default_rng(seed))
    assert len(positions) == max(1, round(num_tokens * rate))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.floats(0.05, 0.6), st.integers(0, 5))
def test_exact_selection_of_words_never_divides_one_and_fills_what_fits(
    sizes: list[int], rate: float, seed: int
) -> None:
    words = np.repeat(np.arange(len(sizes)), sizes)
    positions = Masking(rate, "word", "exact").positions(words.tolist(), np.random.default_rng(seed))
    taken = set(words[positions].tolist())
    assert len(positions) == sum(sizes[word] for word in taken)
    most = max(1, round(sum(sizes) * rate))
    if len(positions) > most:
        assert len(taken) == 1
        assert min(sizes) > most, "a word would have fitted"
    else:
        left = [size for word, size in enumerate(sizes) if word not in taken]
        assert all(len(positions) + size > most for size in left)


def test_nothing_is_masked_where_nothing_may_be() -> None:
    for selection in ("bernoulli", "exact"):
        for unit in ("token", "word"):
            assert not len(Masking(0.9, unit, selection).positions([NEVER] * 3, np.random.default_rng(0)))  # type: ignore[arg-type]


@pytest.mark.parametrize("unit", ["token", "word"])
@pytest.mark.parametrize(
    "shares", [{"mask": 0.8, "random": 0.1, "keep": 0.1}, {"mask": 1.0}, {"random": 0.5, "keep": 0.5}]
)
def test_masked_tokens_are_replaced_in_the_stated_shares(unit: Any, shares: Any) -> None:
    vocabulary = Vocabulary(4, np.array([0, 2, 3, 4]), np.setdiff1d(np.arange(5000), [0, 2, 3, 4]))
    ids = np.full(NUM, 1)
    words = words_of(np.random.default_rng(0))
    masking = Masking(0.4, unit, replace=shares)
    positions = masking.positions(words, np.random.default_rng(1))
    read = np.array(masking.replaced(ids.tolist(), positions, vocabulary, np.random.default_rng(2)))
    untouched = np.ones(NUM, dtype=bool)
    untouched[positions] = False
    assert (read[untouched] == 1).all()
    found = Counter("mask" if token == 4 else "keep" if token == 1 else "random" for token in read[positions].tolist())
    for name in ("mask", "random", "keep"):
        assert_share(found[name], len(positions), shares.get(name, 0.0))
    assert not {0, 2, 3} & set(read.tolist())


def test_tokens_are_masked_and_replaced_as_often_as_by_transformers(tokenizer: Any) -> None:
    from transformers import DataCollatorForLanguageModeling

    ids = tokenizer("the patient takes aspirin and warfarin " * 60, truncation=False)["input_ids"]
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.3, seed=1)
    theirs = collator([{"input_ids": ids} for _ in range(60)])
    is_masked = theirs["labels"] != -100
    kinds = {
        "masked": is_masked.sum(),
        "mask": (theirs["input_ids"][is_masked] == tokenizer.mask_token_id).sum(),
        "keep": (theirs["input_ids"] == theirs["labels"])[is_masked].sum(),
    }
    vocabulary = Vocabulary.of(tokenizer)
    assert vocabulary is not None
    masking = Masking(0.3, replace={"mask": 0.8, "random": 0.1, "keep": 0.1})
    words = [NEVER, *range(len(ids) - 2), NEVER]
    ours: Counter[str] = Counter()
    for seed in range(60):
        generator = np.random.default_rng(seed)
        positions = masking.positions(words, generator)
        read = np.array(masking.replaced(ids, positions, vocabulary, generator))[positions]
        kept = int((read == np.array(ids)[positions]).sum())
        ours.update(masked=len(positions), mask=int((read == tokenizer.mask_token_id).sum()), keep=kept)
    for name, number in kinds.items():
        assert abs(ours[name] - int(number)) < 4 * math.sqrt(2 * int(number)), name


def test_equal_seeds_mask_alike_and_others_do_not() -> None:
    words = words_of(np.random.default_rng(0), 200)
    for masking in (Masking(0.2), Masking(0.2, "word"), Masking(0.2, "word", "exact")):
        first, again, other = (masking.positions(words, np.random.default_rng(seed)).tolist() for seed in (3, 3, 4))
        assert first == again != other


def test_special_tokens_and_those_of_heads_are_not_ordinary_but_added_words_are(tokenizer: Any) -> None:
    own = copy.deepcopy(tokenizer)
    own.add_tokens(["@DRUG$"], special_tokens=True)
    own.add_tokens(["imatinib"])
    vocabulary = Vocabulary.of(own)
    assert vocabulary is not None
    placeholder, word = own.convert_tokens_to_ids(["@DRUG$", "imatinib"])
    assert {*own.all_special_ids, placeholder} == set(vocabulary.special.tolist())
    assert word in vocabulary.ordinary.tolist()
    assert sorted([*vocabulary.special.tolist(), *vocabulary.ordinary.tolist()]) == list(range(len(own)))


def test_a_tokenizer_without_a_mask_token_has_no_vocabulary(tokenizer: Any) -> None:
    own = copy.deepcopy(tokenizer)
    own.mask_token = None
    assert Vocabulary.of(own) is None


@pytest.mark.parametrize("shares", [{"mask": 0.5}, {"mask": 1.5, "keep": -0.5}, {}, {"masks": 1.0}])
def test_shares_that_are_none_are_refused(shares: Any) -> None:
    with pytest.raises(ValueError, match="replace"):
        checked_shares(shares)
