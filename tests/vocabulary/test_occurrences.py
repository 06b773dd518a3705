from __future__ import annotations

from collections import Counter
from typing import Any

from heads.rows import DOCUMENT_BREAK
from mtl.vocabulary.new_tokenizers import extended
from mtl.vocabulary.occurrences import Occurrence, occurrences_of


def test_an_occurrence_has_the_words_around_it_and_its_place(tokenizer: Any) -> None:
    new = extended(tokenizer, ["zopiclone"])
    text = "the patient has no fever after Zopiclone , which reduces the risk"
    token = new.convert_tokens_to_ids("zopiclone")
    found = occurrences_of([token], [text], new, most=5, length=3, seed=1)
    assert found == {token: [Occurrence("after Zopiclone ,", 6, 15)]}
    whole = occurrences_of([token], [text], new, most=5, length=100, seed=1)
    assert whole[token][0].text == text


def test_the_text_around_an_occurrence_does_not_cut_words(tokenizer: Any) -> None:
    new = extended(tokenizer, ["zopiclone"])
    token = new.convert_tokens_to_ids("zopiclone")
    found = occurrences_of([token], ["stroke zopiclone stroke"], new, most=5, length=3, seed=1)
    assert found[token][0].text == "stroke zopiclone stroke"


def test_an_occurrence_does_not_cross_documents(tokenizer: Any) -> None:
    new = extended(tokenizer, ["zopiclone"])
    token = new.convert_tokens_to_ids("zopiclone")
    found = occurrences_of([token], [f"fever{DOCUMENT_BREAK}zopiclone"], new, most=5, length=50, seed=1)
    assert [one.text for one in found[token]] == ["zopiclone"]


def test_a_token_that_does_not_occur_is_left_out(tokenizer: Any) -> None:
    new = extended(tokenizer, ["zopiclone"])
    assert occurrences_of([new.convert_tokens_to_ids("zopiclone")], ["fever"], new, most=5, length=9, seed=1) == {}


def test_every_occurrence_is_drawn_equally_often(tokenizer: Any) -> None:
    new = extended(tokenizer, ["zopiclone"])
    token = new.convert_tokens_to_ids("zopiclone")
    texts = [f"zopiclone {digit}" for digit in "12345"]
    drawn: Counter[str] = Counter()
    for seed in range(300):
        found = occurrences_of([token], texts, new, most=2, length=9, seed=seed)[token]
        assert len({one.text for one in found}) == 2
        drawn.update(one.text for one in found)
    # 300 draws of 2 of 5: the standard deviation of each number is 8.5.
    assert all(abs(drawn[text] - 120) < 35 for text in texts)
