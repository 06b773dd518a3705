"""Accents as one character and as two, with a cased WordPiece tokenizer and one of bytes."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from mtl.encoder.composing import compose_accents

TEXT = "señor naïve fever"


def word_piece(*, lower: bool) -> Any:
    words = ["[UNK]", "señor", "naïve", "senor", "naive", "fever", *"éüñåçšÖÉeunacsOE"]
    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


def of_bytes() -> Any:
    alphabet = {letter: n for n, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def read(tokenizer: Any, form: str) -> tuple[list[int], list[str]]:
    """The tokens of the text in a form, and the parts of the text that they cover, in the composed form."""
    text = unicodedata.normalize(form, TEXT)
    found = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    return found["input_ids"], [
        unicodedata.normalize("NFC", text[start:end]).strip() for start, end in found["offset_mapping"]
    ]


@pytest.mark.parametrize("make", [lambda: word_piece(lower=False), of_bytes], ids=["cased", "bytes"])
def test_both_forms_give_the_same_tokens_at_the_same_places(make: Any, tmp_path: Path) -> None:
    tokenizer = make()
    composed = read(tokenizer, "NFC")
    assert read(tokenizer, "NFD")[0] != composed[0], "this tokenizer needs it"
    compose_accents(tokenizer)
    assert read(tokenizer, "NFC")[0] == read(tokenizer, "NFD")[0] == composed[0]
    if tokenizer.unk_token:
        assert read(tokenizer, "NFD")[1] == TEXT.split()
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert read(again, "NFD") == read(tokenizer, "NFD"), "the saved tokenizer does the same"
    before = again.backend_tokenizer.to_str()
    compose_accents(again)
    assert again.backend_tokenizer.to_str() == before, "once is enough"


def test_a_tokenizer_that_reads_both_forms_alike_is_not_changed() -> None:
    tokenizer = word_piece(lower=True)
    before = tokenizer.backend_tokenizer.to_str()
    compose_accents(tokenizer)
    assert tokenizer.backend_tokenizer.to_str() == before
