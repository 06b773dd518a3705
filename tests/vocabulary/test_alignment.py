from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from mtl.vocabulary.alignment import aligned
from mtl.vocabulary.new_tokenizers import extended


def test_shared_positions_are_those_of_both_and_the_last_piece_of_a_new_token(tokenizer: Any) -> None:
    new = extended(tokenizer, ["coxa"])
    texts = ["the coxa risk", "fever"]
    found = aligned(texts, tokenizer, new, 16)
    old_tokens = [tokenizer.convert_ids_to_tokens(ids) for ids in found.old["input_ids"]]
    new_tokens = [new.convert_ids_to_tokens(ids) for ids in found.new["input_ids"]]
    assert old_tokens[0] == ["[CLS]", "the", "cox", "##a", "risk", "[SEP]"]
    assert new_tokens[0] == ["[CLS]", "the", "coxa", "risk", "[SEP]"]
    assert found.pairs.tolist() == [
        [0, 0, 0],
        [0, 1, 1],
        [0, 2, 3],
        [0, 3, 4],
        [0, 4, 5],
        [1, 0, 0],
        [1, 1, 1],
        [1, 2, 2],
    ]


def test_padding_is_never_a_shared_position(tokenizer: Any) -> None:
    found = aligned(["the risk of fever", "a"], tokenizer, extended(tokenizer, ["zz"]), 16)
    assert (found.pairs[:, 0] == 1).sum() == 3


def test_the_bytes_of_a_character_are_paired_one_by_one() -> None:
    byte_level = Tokenizer(BPE({letter: n for n, letter in enumerate(ByteLevel.alphabet())}, []))
    byte_level.pre_tokenizer = ByteLevel(add_prefix_space=False)
    old = PreTrainedTokenizerFast(tokenizer_object=byte_level, pad_token="a")
    new = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(byte_level.to_str()), pad_token="a")
    found = aligned(["a \u2265 b"], old, new, 16)
    assert len(found.old["input_ids"][0]) == 7, "the sign has three bytes"
    assert found.pairs.tolist() == [[0, place, place] for place in range(7)]
