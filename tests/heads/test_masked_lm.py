"""Masked language modelling as a task."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn
from transformers import BertConfig

from heads import SpanRow, TextRow
from heads._masking import NEVER
from heads._mlm_families import FAMILIES
from heads.masked_lm import MaskedLM
from heads.rows import DOCUMENT_BREAK
from mtl.batching.batch import ExampleGroup, collate
from mtl.config.mixture import Mixture
from mtl.training.assembly import build_module
from tests.heads import properties as has
from tests.masked_lm_models import masked_lm_folder

SIZE = 200
"""Rows of the table of token embeddings, more than the tokenizer has tokens."""

TEXTS = [
    "aspirin reduces fever .",
    "warfarin increases the risk of bleeding in patients with cancer",
    "cox-2",
    "the gene (protein) induces a disease ; not headache !",
    "ibuprofen inhibits cox-1 , cox-2 and cox-3",
    has.LONG_TEXT,
]
ROWS = [TextRow(str(i), str(i), text) for i, text in enumerate(TEXTS)]
SPANS = [SpanRow(row.id, row.document, row.text) for row in ROWS]
BLANK = [TextRow("u", "u", "  "), TextRow("v", "v", "\n")]
WORDS = {"rate": 0.3, "unit": "word", "words": "whitespace", "replace": {"mask": 1.0}}
EXACT = {"rate": 0.2, "unit": "word", "selection": "exact", "evaluation_rate": 0.3}

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((family, {}) for family in FAMILIES),
    # Heads that options of the configuration give another layout.
    ("deberta", {"legacy": False}),
    ("deberta-v2", {"legacy": False}),
    ("modernbert", {"classifier_bias": True, "norm_bias": True, "classifier_activation": "relu"}),
]


def make(**options: Any) -> MaskedLM:
    """A head that is attached to an encoder without weights, whose table has random values."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        head = MaskedLM((), has.HIDDEN, **options)
        table = nn.Embedding(SIZE, has.HIDDEN)
        head.attach(loaded(BertConfig(hidden_size=has.HIDDEN), table, None))
        assert head.bias is not None
        nn.init.normal_(head.bias)
    return head


def loaded(config: Any, table: nn.Embedding, weights: Mapping[str, Tensor] | None) -> Any:
    return SimpleNamespace(config=config, shipped=None, token_embeddings=table, masked_lm_weights=lambda: weights)


def gold_logits(fields: Mapping[str, Tensor]) -> Tensor:
    return 1000.0 * nn.functional.one_hot(fields["gold"].clamp(min=0), SIZE)


CASES = {
    name: has.Case(make, rows, BLANK, gold_logits, options, {"perplexity": 1.0})
    for name, rows, options in (("tokens", ROWS, {}), ("words", ROWS, WORDS), ("exact", SPANS, EXACT))
}

# `frozen` is a linear model on states, which has nothing to learn here.
test_property_of_every_head = has.shared_test(CASES, without=[has.assert_a_frozen_encoder_gives_predictions])


@given(has.corpora(3))
@settings(max_examples=20)
def test_many_corpora_score_like_each_alone(corpora: has.Corpora) -> None:
    has.assert_many_corpora_score_like_each_alone(make(), corpora)


def test_it_learns_a_few_texts_by_heart(tokenizer: Any, tiny_encoder: Callable[[str], Path]) -> None:
    rows = [TextRow(str(i), str(i), text) for i, text in enumerate(TEXTS[:2])]
    has.assert_overfits(make(rate=0.3), rows, tokenizer, tiny_encoder("bert"), num_steps=300)


# --- rows -> examples -------------------------------------------------------------------------------------------------


def test_a_text_is_cut_into_chunks_without_losing_a_token(tokenizer: Any) -> None:
    head = make()
    examples = head.encode([ROWS[-1]], tokenizer, has.MAX_LENGTH, training=True)
    assert len(examples) > 1
    found = [token for example in examples for token in example["input_ids"][1:-1]]
    assert found == tokenizer(has.LONG_TEXT, add_special_tokens=False)["input_ids"]
    assert not any(example["truncated"] for example in examples)


def test_a_drawn_example_hides_what_it_must_predict(tokenizer: Any) -> None:
    head = make(rate=0.5, replace={"mask": 1.0})
    head.read_tokenizer(tokenizer)
    for example in head.encode(ROWS, tokenizer, has.MAX_LENGTH, training=True):
        before = copy.deepcopy(example)
        drawn = head.draw(example, np.random.default_rng(0))
        assert example == before
        assert drawn.keys() == example.keys()
        assert drawn["targets"] == len(drawn["positions"]) <= example["targets"]
        changed = [
            i for i, ids in enumerate(zip(drawn["input_ids"], example["input_ids"], strict=True)) if len(set(ids)) > 1
        ]
        assert changed == drawn["positions"]
        assert drawn["gold"] == [example["input_ids"][place] for place in changed]
        assert {drawn["input_ids"][place] for place in changed} <= {tokenizer.mask_token_id}
        assert NEVER not in [example["words"][place] for place in changed]


@pytest.mark.parametrize("option", MaskedLM.changeable)
def test_options_that_may_change_during_a_training_change_what_is_drawn(option: str, tokenizer: Any) -> None:
    words = {"words": "whitespace"}
    heads = make(**words), make(**words, **{option: has.CHANGED[option]})
    for head in heads:
        head.read_tokenizer(tokenizer)
    example = heads[0].encode(ROWS[-1:], tokenizer, has.MAX_LENGTH, training=True)[0]
    drawn = [[head.draw(example, np.random.default_rng(seed)) for seed in range(20)] for head in heads]
    assert drawn[0] != drawn[1]


def test_masks_for_evaluation_depend_on_neither_the_options_for_training_nor_the_maximum_length(tokenizer: Any) -> None:
    def masked(head: MaskedLM, max_length: int) -> list[int]:
        """The places of masked tokens in the text."""
        places, before = [], 0
        for example in head.encode([ROWS[-1]], tokenizer, max_length, training=False):
            places += [before + position - 1 for position in example["positions"]]
            before += len(example["input_ids"]) - 2
        return places

    first = masked(make(), 48)
    assert first == masked(make(**WORDS), 16) == masked(make(rate=0.4, selection="exact"), 130)
    assert len(first) == round(0.15 * len(tokenizer(has.LONG_TEXT, add_special_tokens=False)["input_ids"]))
    assert first != masked(make(evaluation_seed=1), 48)
    assert len(masked(make(evaluation_rate=0.5), 48)) > len(first)


def test_examples_for_evaluation_have_mask_tokens_only(tokenizer: Any) -> None:
    for example in make(evaluation_rate=0.5).encode(ROWS, tokenizer, has.MAX_LENGTH, training=False):
        assert {example["input_ids"][place] for place in example["positions"]} == {tokenizer.mask_token_id}
        assert len(example["gold"]) == example["targets"] == len(example["positions"]) > 0


def test_a_row_of_several_documents_has_a_separator_between_them(tokenizer: Any) -> None:
    row = TextRow("1", "1", f"aspirin{DOCUMENT_BREAK}fever")
    (example,) = make().encode([row], tokenizer, has.MAX_LENGTH, training=True)
    assert tokenizer.convert_ids_to_tokens(example["input_ids"]) == ["[CLS]", "aspirin", "[SEP]", "fever", "[SEP]"]
    assert example["words"] == [NEVER, 0, NEVER, 1, NEVER]


@pytest.mark.parametrize(
    ("labels", "options"),
    [
        (["a"], {}),
        ((), {"rate": 0.0}),
        ((), {"rate": 1.0}),
        ((), {"evaluation_rate": 1.2}),
        ((), {"unit": "piece"}),
        ((), {"words": "blanks"}),
        ((), {"selection": "random"}),
        ((), {"replace": {"mask": 0.8}}),
        ((), {"primary_metric": "perplexity"}),
    ],
)
def test_wrong_options_are_refused_by_name(labels: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options), "labels")):
        MaskedLM(labels, has.HIDDEN, **options)


def test_a_pair_of_texts_and_a_tokenizer_without_a_mask_token_are_problems(tokenizer: Any) -> None:
    head = make()
    assert head.check(TextRow("1", "1", "a", "b")) is not None
    own = copy.deepcopy(tokenizer)
    own.mask_token = None
    assert head.read_tokenizer(own) is not None
    with pytest.raises(ValueError, match="mask token"):
        head.encode(ROWS, own, 48, training=True)
    with pytest.raises(ValueError, match="max_length"):
        head.encode(ROWS, tokenizer, 2, training=True)


# --- the output layer -------------------------------------------------------------------------------------------------


def mixture_of(encoder: Path, **options: Any) -> Mixture:
    task = {"head": "masked_lm", "data": {"reader": "jsonl", "path": "none"}, "options": options}
    return Mixture.model_validate(
        {"name": "one", "encoder": {"name": str(encoder), "max_length": 48}, "tasks": {"mlm": task}}
    )


@pytest.mark.parametrize(("family", "changes"), VARIANTS, ids=str)
def test_logits_are_those_of_the_class_for_masked_language_modelling(
    family: str, changes: dict[str, Any], tmp_path: Path, tiny_encoder: Callable[[str], Path], tokenizer: Any
) -> None:
    model, folder = masked_lm_folder(tmp_path, tiny_encoder(family), tokenizer, **changes)
    module = build_module(mixture_of(folder)).eval()
    head = module.head("mlm")
    assert head.first_weights is not None
    assert head.first_weights.startswith("checkpoint: ")
    examples = head.encode(ROWS, tokenizer, 48, training=False)
    batch = collate([ExampleGroup({"mlm": examples})], {"mlm": head})
    with torch.no_grad():
        found = module(batch)["mlm"].flatten(0, 1)
        expected = []
        for example in examples:
            ids = torch.tensor([example["input_ids"]])
            expected.append(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, example["positions"]])
    wanted = torch.cat(expected)
    assert wanted.std() > 0.05
    torch.testing.assert_close(found[: len(wanted)], wanted, rtol=0, atol=1e-5)


def test_a_checkpoint_without_the_head_starts_a_fresh_one_and_says_so(tiny_encoder: Callable[[str], Path]) -> None:
    head = build_module(mixture_of(tiny_encoder("bert"))).head("mlm")
    assert head.first_weights == "random"
    assert head.attach(loaded(BertConfig(hidden_size=has.HIDDEN), nn.Embedding(9, has.HIDDEN), {})) is not None
    assert head.attach(loaded(BertConfig(hidden_size=has.HIDDEN), nn.Embedding(9, has.HIDDEN), None)) is None


def test_a_family_whose_head_does_not_read_the_embeddings_starts_a_fresh_one(
    tmp_path: Path, tiny_encoder: Callable[[str], Path], tokenizer: Any
) -> None:
    for number, (family, changes) in enumerate([("eurobert", {}), ("bert", {"tie_word_embeddings": False})]):
        _, folder = masked_lm_folder(tmp_path / str(number), tiny_encoder(family), tokenizer, **changes)
        assert build_module(mixture_of(folder)).head("mlm").first_weights == "random"


def test_the_table_of_embeddings_stays_the_encoders(tiny_encoder: Callable[[str], Path], tokenizer: Any) -> None:
    module = build_module(mixture_of(tiny_encoder("bert")))
    table = module.encoder.token_embeddings.weight
    head = module.head("mlm")
    own = dict(head.named_parameters())
    assert set(own) == {"bias", *(f"transform.{layer}.{name}" for layer in "02" for name in ("weight", "bias"))}
    assert not any(parameter is table for parameter in own.values())
    assert [name for name in module.state_dict() if name.startswith("heads.")] == [f"heads.mlm.{name}" for name in own]
    head.read_tokenizer(tokenizer)
    examples = head.encode(ROWS, tokenizer, 48, training=False)
    batch = collate([ExampleGroup({"mlm": examples})], {"mlm": head})
    head.loss(module(batch)["mlm"], batch.parts[0].fields)[0].backward()
    unread = [token for token in range(len(table)) if token not in batch.input_ids.tolist()]
    assert table.grad is not None
    assert table.grad[unread].abs().sum() > 0, "as output layer, every row has a gradient"
    copied = copy.deepcopy(module)
    assert copied.head("mlm")._embeddings[0] is copied.encoder.token_embeddings


def test_frozen_embeddings_are_frozen_in_both_places(tiny_encoder: Callable[[str], Path], tokenizer: Any) -> None:
    mixture = mixture_of(tiny_encoder("bert"))
    frozen = mixture.encoder.model_copy(update={"freeze_embeddings": True})
    module = build_module(mixture.model_copy(update={"encoder": frozen}))
    head = module.head("mlm")
    batch = collate([ExampleGroup({"mlm": head.encode(ROWS, tokenizer, 48, training=False)})], {"mlm": head})
    head.loss(module(batch)["mlm"], batch.parts[0].fields)[0].backward()
    assert module.encoder.token_embeddings.weight.grad is None
    assert all(parameter.grad is not None for parameter in head.parameters())


# --- scores -----------------------------------------------------------------------------------------------------------


def test_scores_by_hand() -> None:
    counts = torch.tensor([8.0, 2.0, 8 * math.log(5)], dtype=torch.double)
    assert make().score(counts) == pytest.approx({"accuracy": 0.25, "perplexity": 5.0})
    assert make().score(torch.tensor([1.0, 0.0, 1e9], dtype=torch.double))["perplexity"] < math.inf


def test_the_loss_and_the_prediction_of_a_row_agree(tokenizer: Any) -> None:
    head = make()
    examples = has.encode(head, ROWS, tokenizer, training=False)
    states = has.random_states(examples)
    total, count = has.loss(head, examples, states)
    predictions = has.decode(head, ROWS, examples, has.outputs(head, examples, states))
    assert sum(found["loss"] for found in predictions) == pytest.approx(total.item(), rel=1e-6)
    assert sum(found["masked"] for found in predictions) == int(count)


def test_unigrams_predict_by_the_frequencies_of_the_training_rows(tokenizer: Any) -> None:
    head = make(evaluation_rate=0.99)
    head.read_tokenizer(tokenizer)
    predict = head.baselines([TextRow("1", "1", "fever fever aspirin")])["unigram"]
    (found,) = predict([TextRow("2", "2", "fever nausea")])
    probabilities = [3 / (len(tokenizer) + 3), 1 / (len(tokenizer) + 3)]
    assert found == {
        "masked": 2,
        "right": 1,
        "loss": pytest.approx(-sum(map(math.log, probabilities))),
    }


def test_a_tiny_encoder_learns_to_predict_a_masked_word_from_the_others(
    tiny_encoder: Callable[[str], Path], tokenizer: Any
) -> None:
    rows = [TextRow(word, word, " ".join([word] * 5)) for word in ("aspirin", "warfarin", "gene", "nausea")]
    options = {"rate": 0.2, "selection": "exact", "replace": {"mask": 1.0}, "evaluation_rate": 0.2}
    module = build_module(mixture_of(tiny_encoder("bert"), **options)).eval()
    head = module.head("mlm")
    encoded = head.encode(rows, tokenizer, 48, training=True)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for step in range(60):
        drawn = [head.draw(example, np.random.default_rng([step, place])) for place, example in enumerate(encoded)]
        batch = collate([ExampleGroup({"mlm": drawn})], {"mlm": head})
        total, count = head.loss(module(batch)["mlm"], batch.parts[0].fields)
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
    scored = head.encode(rows, tokenizer, 48, training=False)
    batch = collate([ExampleGroup({"mlm": scored})], {"mlm": head})
    with torch.no_grad():
        outputs = head.outputs(module(batch)["mlm"], batch.mask, batch.parts[0].fields)
    scores = has.score(head, has.decode(head, rows, scored, outputs), rows)
    assert scores["accuracy"] == 1.0
    assert scores["perplexity"] < 1.5
