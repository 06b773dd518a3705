from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, RobertaTokenizer

from mtl.problems import InputError
from mtl.vocabulary.exchange import exchange_of
from mtl.vocabulary.new_tokenizers import extended, require_extendable, trained
from mtl.vocabulary.word_choice import chosen, counted

TEXTS = ["the patient has fever and metformin", "hypertension and fever"] * 5


@pytest.fixture
def byte_level() -> Any:
    return bytes_of_texts()


def bytes_of_texts(*, blank_first: bool = False) -> Any:
    """A tokenizer of byte-level BPE; `blank_first` puts a blank before each text."""
    import json

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=275, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS, trainer)
    state = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(pair) for pair in state["merges"]]
    return RobertaTokenizer(vocab=state["vocab"], merges=merges, add_prefix_space=blank_first)


def test_a_word_is_one_token_where_it_stands_alone_in_any_case(tokenizer: Any, tmp_path: Path) -> None:
    new = extended(tokenizer, ["metformin"])
    new.save_pretrained(tmp_path)
    for one in (new, AutoTokenizer.from_pretrained(tmp_path)):
        assert one.tokenize("Metformin, (METFORMIN)") == ["metformin", ",", "(", "metformin", ")"]
        assert "metformin" not in one.tokenize("metformins xmetformin")
    assert tokenizer.tokenize("metformin")[0] == "m"  # the old one is as it was


def test_other_words_have_their_old_tokens(tokenizer: Any) -> None:
    new = extended(tokenizer, ["metformin"])
    text = "the patients, (fever) metformins cox-2 aspirin."
    assert new(text)["input_ids"] == tokenizer(text)["input_ids"]


def test_a_word_of_byte_level_bpe_takes_the_blank_before_it(byte_level: Any, tmp_path: Path) -> None:
    new = extended(byte_level, ["metformin"])
    new.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "fever metformin, (metformin) metformin fever"
    encoded = loaded(text, return_offsets_mapping=True, add_special_tokens=False)
    index = loaded.convert_tokens_to_ids("metformin")
    spans = [
        span for token, span in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True) if token == index
    ]
    assert [text[start:end] for start, end in spans] == ["metformin"] * 3
    rest = [token for token in encoded["input_ids"] if token != index]
    assert byte_level.convert_ids_to_tokens(rest).count("Ġ") == 1  # that before the bracket, as before


def test_words_of_byte_level_bpe_are_chosen_without_blanks(byte_level: Any) -> None:
    counts = counted([(str(number), text) for number, text in enumerate(TEXTS)], byte_level)
    assert counts.occurrences["fever"] == 10
    words = chosen(counts, byte_level, 3, min_pieces=2, min_documents=2)
    assert words[0] == "hypertension"
    exchange = exchange_of(byte_level, extended(byte_level, words), len(byte_level))
    pieces = byte_level.convert_ids_to_tokens(list(exchange.tokens[0].pieces))
    assert "".join(pieces) == "Ġhypertension"


@pytest.mark.parametrize(
    ("model", "pre_tokenizer"),
    [
        (models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0), pre_tokenizers.Metaspace()),
        (models.WordLevel({"a": 0, "<unk>": 1}, "<unk>"), pre_tokenizers.Whitespace()),
        (models.BPE({"a": 0, "<unk>": 1}, [], unk_token="<unk>"), pre_tokenizers.Whitespace()),
    ],
)
def test_other_kinds_cannot_be_extended(model: Any, pre_tokenizer: Any) -> None:
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizer
    with pytest.raises(InputError) as caught:
        require_extendable(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>"), "some")
    assert [problem.key for problem in caught.value.problems] == ["encoder.name"]


def test_wordpiece_and_byte_level_bpe_can_be_extended(tokenizer: Any, byte_level: Any) -> None:
    require_extendable(tokenizer, "some")
    require_extendable(byte_level, "some")
    with pytest.raises(InputError) as caught:
        require_extendable(bytes_of_texts(blank_first=True), "some")
    assert [problem.key for problem in caught.value.problems] == ["encoder.name"]


def test_training_keeps_the_kind_and_is_repeatable(tokenizer: Any, byte_level: Any, tmp_path: Path) -> None:
    for old in (tokenizer, byte_level):
        found, *others = (trained(old, lambda: iter(TEXTS), 300) for _ in range(4))
        assert all(other.get_vocab() == found.get_vocab() for other in others)
        assert type(found) is type(old)
        assert len(found) <= 300
        assert found.all_special_tokens == old.all_special_tokens
        assert found.pad_token_id == old.pad_token_id
        assert len(found.tokenize("hypertension")) < len(old.tokenize("hypertension"))
        found.save_pretrained(tmp_path)
        loaded = AutoTokenizer.from_pretrained(tmp_path)
        assert loaded.get_vocab() == found.get_vocab()
        assert loaded("fever")["input_ids"] == found("fever")["input_ids"]
        assert loaded.decode(loaded("fever")["input_ids"]) == old.decode(old("fever")["input_ids"])


def test_a_trained_wordpiece_is_that_of_the_library_where_nothing_is_tied(tokenizer: Any) -> None:
    texts = [" ".join(["aspirin"] * 50 + ["aspiring"] * 20 + ["fever"] * 7)]
    size = 5 + 19 + 13
    library = tokenizer.train_new_from_iterator([texts], size, show_progress=False)
    found = trained(tokenizer, lambda: iter(texts), size)
    assert len(found) == len(library)
    assert found.tokenize("aspirin aspiring") == library.tokenize("aspirin aspiring")


def test_a_sentencepiece_tokenizer_is_trained_too() -> None:
    backend = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    old = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>")
    found = trained(old, lambda: iter(TEXTS * 5), 40)
    assert len(found.tokenize("fever and fever")) < len("fever and fever")
    assert found.pad_token == "<pad>"
