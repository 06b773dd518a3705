"""Generation as a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from transformers import AutoModelForCausalLM, BertConfig, PythonBackend

from heads import Example, Row, SpanRow, TextRow
from heads.generation import Generation
from heads.rows import Entity, Relation
from mtl.batching.batch import Batch, ExampleGroup, collate
from mtl.config.mixture import EncoderSpec
from mtl.encoder.model import Encoder
from mtl.encoder.outline import EncoderOutline
from mtl.encoder.pretrained import load_encoder, load_tokenizer, tokenizer_fingerprint
from mtl.problems import InputError
from tests.causal_models import causal_folder, causal_tokenizer
from tests.heads import properties as has

TEXTS = [
    "aspirin reduces fever .",
    "warfarin increases bleeding",
    "cox-2 is not here",
    "ibuprofen inhibits cox-1 , and cox-2 ; not headache",
]
ANSWERS = [TextRow(str(i), f"d{i // 2}", text, label="no" if i % 2 else "yes") for i, text in enumerate(TEXTS)]
PAIRS = [TextRow(row.id, row.document, row.text, "is it so ?", label=row.label) for row in ANSWERS]
TOPICS = [TextRow(str(i), str(i), text, label=("heart", "skin")[: i % 3]) for i, text in enumerate(TEXTS)]
TERMS = [TextRow(str(i), str(i), text.split()[0], label=" ".join(TEXTS[: i + 1])) for i, text in enumerate(TEXTS[:3])]


def related(text: str, number: int, *pairs: tuple[str, str, str]) -> SpanRow:
    words = [word for head, tail, _ in pairs for word in (head, tail)]
    spans = {word: (text.index(word), text.index(word) + len(word)) for word in words}
    entities = tuple(Entity(word, "drug", (span,)) for word, span in spans.items())
    return SpanRow(str(number), f"d{number}", text, entities=entities, relations=tuple(Relation(*one) for one in pairs))


TRIPLES = [
    related(TEXTS[0], 0, ("aspirin", "fever", "effect")),
    related(TEXTS[1], 1, ("warfarin", "bleeding", "effect")),
    related(TEXTS[2], 2),
    related(TEXTS[3], 3, ("ibuprofen", "cox-1", "int"), ("ibuprofen", "cox-2", "int")),
]
SOME_TARGETS = [
    "the interaction between and is effect int empty . ; the answer to the question given the context is yes no",
    "the type of this document is heart skin |",
]


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """In place of the tokenizer of the other heads, one with a token for the end of a text."""
    return causal_tokenizer([*TEXTS, *SOME_TARGETS])


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Callable[..., Path]:
    """A function that returns the folder of a tiny causal language model."""
    made: dict[str, Path] = {}

    def make(family: str = "llama", **changes: Any) -> Path:
        key = f"{family} {changes}"
        if key not in made:
            made[key] = causal_folder(tmp_path_factory.mktemp(family), family, tokenizer, **changes)
        return made[key]

    return make


def loaded(folder: Path, head: Generation, *, attach: bool = True, **fields: Any) -> tuple[Encoder, Any]:
    spec = EncoderSpec(name=str(folder), kind="causal", dropout=0.0, **fields)
    tokenizer = load_tokenizer(spec, head.special_tokens())
    encoder = load_encoder(spec, tokenizer, seed=0)
    assert head.read_tokenizer(tokenizer) is None
    if attach:
        head.attach(encoder)
    return encoder, tokenizer


def batch_of(head: Generation, examples: Sequence[Example]) -> Batch:
    return collate([ExampleGroup({"it": examples})], {"it": head})


def logits_of(head: Generation, encoder: Encoder, batch: Batch) -> Tensor:
    found: Tensor = head(encoder(batch.input_ids, batch.layout).float(), batch.mask, batch.parts[0].fields)
    return found


def predictions(head: Generation, encoder: Encoder, tokenizer: Any, rows: Sequence[Row]) -> list[Any]:
    examples = head.encode(rows, tokenizer, 128, training=False)
    batch = batch_of(head, examples)
    with torch.no_grad():
        outputs = head.outputs(logits_of(head, encoder, batch), batch.mask, batch.parts[0].fields)
    return has.decode(head, rows, examples, outputs)


# --- properties of every head -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def attached_heads(folder: Callable[..., Path]) -> None:
    """Attaches the heads of `CASES` to an encoder, whose output layer is its own so that the head has weights."""
    for case in CASES.values():
        spec = EncoderSpec(name=str(folder()), kind="causal")
        tokenizer = load_tokenizer(spec, case.head.special_tokens())
        assert isinstance(case.head, Generation)
        case.head.attach(load_encoder(spec, tokenizer, seed=0))


def make(**options: Any) -> Generation:
    labels = {"triples": ["effect", "int"], "answer": ["yes", "no"], "labels": ["heart", "skin"], "definition": []}
    return Generation(labels[options["kind"]], has.HIDDEN, **{"max_new_tokens": 30, **options})


UNLABELLED = [TextRow("u", "u", "is it ?"), TextRow("v", "v", "no")]
CASES = {
    "triples": has.Case(
        make,
        TRIPLES,
        [SpanRow("u", "u", "is it", annotated=())],
        torch.zeros_like,
        {"kind": "triples", "max_new_tokens": 34},
    ),
    "answer": has.Case(make, ANSWERS, UNLABELLED, torch.zeros_like, {"kind": "answer", "loss_on": "target"}),
    "labels": has.Case(make, TOPICS, UNLABELLED, torch.zeros_like, {"kind": "labels", "soft_prompt": 3}),
    "definition": has.Case(make, TERMS, UNLABELLED, torch.zeros_like, {"kind": "definition", "beams": 2}),
}

# Predictions come from the encoder, not from given logits, and there is no linear model that writes text.
test_property_of_every_head = has.shared_test(
    CASES, without=[has.assert_a_frozen_encoder_gives_predictions, has.assert_gold_scores_perfectly]
)


@pytest.mark.parametrize("kind", CASES)
def test_gold_scores_perfectly(kind: str) -> None:
    head, rows = CASES[kind].head, CASES[kind].rows
    assert isinstance(head, Generation)
    read = [head.kind.parse(head.kind.render(head.kind.items(row) or ())) for row in rows]
    scores = has.score(head, [head.kind.prediction(parsed) for parsed in read], rows)
    assert scores == {name: float(name not in head.lower_is_better) for name in head.metrics}


@given(has.corpora(13))
@settings(max_examples=15)
def test_many_corpora_score_like_each_alone(corpora: has.Corpora) -> None:
    head = CASES["triples"].head
    has.assert_many_corpora_score_like_each_alone(head, corpora)


# --- the input --------------------------------------------------------------------------------------------------------


def test_an_input_is_text_soft_prompt_target_and_end(tokenizer: Any) -> None:
    head = make(kind="answer", soft_prompt=2, max_new_tokens=20)
    own = has.with_special_tokens(head, tokenizer)
    (example,) = head.encode(ANSWERS[:1], own, 128, training=True)
    target = " the answer to the question given the context is yes."
    text = f"<s>{TEXTS[0]}<answer1><answer2>{target}</s>"
    assert own.decode(example["input_ids"]) == text
    assert own.decode(example["input_ids"][: example["prompt_length"]]) == f"<s>{TEXTS[0]}<answer1><answer2>"
    assert (example["first"], example["targets"]) == (1, len(example["input_ids"]) - 1)
    (short,) = make(kind="answer", loss_on="target").encode(ANSWERS[:1], own, 128, training=True)
    assert short["first"] == short["prompt_length"]
    assert short["targets"] == len(own(target)["input_ids"])  # the start in place of the end


def test_source_has_both_texts_of_a_pair_and_may_be_lowercased(tokenizer: Any) -> None:
    head = make(kind="answer", source="Context: {text_pair} Question: {text}", lowercase=True)
    assert head.check(PAIRS[0]) is None
    (example,) = head.encode(PAIRS[:1], tokenizer, 128, training=False)
    read = tokenizer.decode(example["input_ids"][: example["prompt_length"]])
    assert read == f"<s>context: is it so ? question: {TEXTS[0]}"
    assert head.check(ANSWERS[0])
    assert make(kind="answer").check(PAIRS[0])


def test_a_text_is_cut_at_the_same_place_with_and_without_gold(tokenizer: Any) -> None:
    head = make(kind="answer", max_new_tokens=20)
    row = TextRow("1", "1", " ".join(TEXTS * 5), label="yes")
    examples = [head.encode([one], tokenizer, 60, training=False)[0] for one in (row, head.without_gold(row))]
    assert [example["prompt_length"] for example in examples] == [40, 40]
    assert all(example["truncated"] for example in examples)
    assert examples[0]["input_ids"][:40] == examples[1]["input_ids"]
    assert examples[1]["targets"] == 0
    with pytest.raises(ValueError, match=r"^max_length must leave room .*got 21$"):
        head.encode([row], tokenizer, 21, training=False)


def test_a_target_longer_than_its_room_is_not_trained_on_but_its_row_is_scored(tokenizer: Any) -> None:
    head = make(kind="definition", max_new_tokens=4)
    head.read_tokenizer(tokenizer)
    problem = head.training_problem(TERMS[0])
    assert problem is not None
    assert "max_new_tokens" in problem
    assert problem.endswith(f"got {len(tokenizer(f' {TERMS[0].label}')['input_ids'])}")
    assert make(kind="definition", max_new_tokens=30).training_problem(TERMS[0]) is None
    assert head.check(TERMS[0]) is None
    assert head.notes(TERMS[0]) == {"unwritable": 1}
    (example,) = head.encode(TERMS[:1], tokenizer, 128, training=False)
    assert example["targets"] == 0
    assert len(example["input_ids"]) == example["prompt_length"]
    assert head.collate([example], 1)["gold"].numel() == 0, "nothing of it counts in the loss on dev"


def test_what_the_template_cannot_carry_counts_as_missed(tokenizer: Any) -> None:
    head = make(kind="triples")
    head.read_tokenizer(tokenizer)
    text = TEXTS[3]
    cut = Entity("both", "drug", ((text.index("cox-1"), text.index(" not")),))  # has a semicolon
    plain = related(text, 3, ("ibuprofen", "cox-1", "int"))
    relations = (*plain.relations, Relation("ibuprofen", "both", "int"))
    row = SpanRow("3", "d3", text, entities=(*plain.entities, cut), relations=relations)
    assert "'both'" in (head.training_problem(row) or "")
    assert [head.training_problem(one) for one in (plain, TRIPLES[2])] == [None, None]
    assert (head.check(row), head.notes(plain)) == (None, {"unwritable": 0, "merged": 0})
    (example,) = head.encode([row], tokenizer, 128, training=False)
    assert (example["targets"], len(example["input_ids"])) == (0, example["prompt_length"])
    said = head.kind.prediction(head.kind.parse("the interaction between ibuprofen and cox-1 is int."))
    found = head.score(head.counts(said, row))
    assert (found["triple_precision"], found["triple_recall"]) == (1, 0.5)


def test_empty_rows_are_left_out_of_training_only(tokenizer: Any) -> None:
    plain, skipping = make(kind="triples"), make(kind="triples", skip_empty=True)
    sizes = [
        len(head.encode(TRIPLES, tokenizer, 128, training=training))
        for head in (plain, skipping)
        for training in (True, False)
    ]
    assert sizes == [4, 4, 3, 4]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"kind": "answers"}, "kind"),
        ({"loss_on": "prompt"}, "loss_on"),
        ({"soft_prompt": -1}, "soft_prompt"),
        ({"max_new_tokens": 1}, "max_new_tokens"),
        ({"beams": 0}, "beams"),
        ({"decode_limit": 0}, "decode_limit"),
        ({"template": "the answer"}, "template"),
        ({"directed": False}, "directed"),
        ({"source": "{text_pair}"}, "source"),
        ({"primary_metric": "parse_failure_rate"}, "primary_metric"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=rf"^{named} must"):
        Generation(["yes", "no"], 16, **{"kind": "answer", **options})


def test_the_encoder_must_be_causal_and_the_tokenizer_end_texts(tokenizer: Any) -> None:
    head = make(kind="answer")
    assert head.encoder_problem(BertConfig())
    own = has.copy.deepcopy(tokenizer)
    own.eos_token = None
    assert head.read_tokenizer(own)


# --- the language model -----------------------------------------------------------------------------------------------

FAMILIES = [
    ("llama", {}),
    ("llama", {"tie_word_embeddings": True}),
    ("gpt2", {}),
    ("biogpt", {}),
    ("opt", {"ffn_dim": 32, "word_embed_proj_dim": 16}),
    ("modernbert-decoder", {"cls_token_id": 1, "sep_token_id": 2}),
]


@pytest.mark.parametrize(("family", "changes"), FAMILIES)
@pytest.mark.parametrize("loss_on", ["all", "target"])
def test_loss_and_gradients_are_those_of_transformers(
    family: str, changes: dict[str, Any], loss_on: str, folder: Callable[..., Path]
) -> None:
    head = make(kind="answer", loss_on=loss_on).eval()
    encoder, tokenizer = loaded(folder(family, **changes), head)
    examples = head.encode(ANSWERS, tokenizer, 128, training=True)
    batch = batch_of(head, examples)
    total, count = head.loss(logits_of(head, encoder.eval(), batch), batch.parts[0].fields)
    total.backward()
    theirs = AutoModelForCausalLM.from_pretrained(folder(family, **changes)).eval()
    expected = 0.0
    for example in examples:
        ids = torch.tensor([example["input_ids"]])
        labels = ids.clone()
        labels[:, : 0 if loss_on == "all" else example["prompt_length"]] = -100
        loss = theirs(input_ids=ids, labels=labels).loss * example["targets"]
        loss.backward()
        expected += loss.item()
    assert total.item() == pytest.approx(expected, rel=1e-5)
    assert count.item() == sum(example["targets"] for example in examples)
    table = theirs.get_input_embeddings().weight.grad
    torch.testing.assert_close(encoder.token_embeddings.weight.grad, table, rtol=1e-4, atol=1e-4)
    own = {name.removeprefix("language_model.model."): value for name, value in head.named_parameters()}
    of_encoder = {f"{theirs.base_model_prefix}.{name}" for name, _ in theirs.base_model.named_parameters()}
    others = {name: value for name, value in theirs.named_parameters() if name not in of_encoder}
    assert own.keys() == others.keys()
    for name, parameter in own.items():
        torch.testing.assert_close(parameter.grad, others[name].grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("family", "changes"), FAMILIES)
@pytest.mark.parametrize("beams", [1, 3])
def test_a_batch_continues_each_text_as_transformers_does_alone(
    family: str, changes: dict[str, Any], beams: int, folder: Callable[..., Path]
) -> None:
    head = make(kind="answer", beams=beams, max_new_tokens=12)
    encoder, tokenizer = loaded(folder(family, **changes), head)
    before = encoder.config._attn_implementation, encoder.training, set(head.state_dict())
    examples = head.encode(ANSWERS, tokenizer, 128, training=False)
    fields = head.collate(examples, 1)
    found = head.outputs(torch.zeros(4, 1, 1), torch.ones(4, 1), fields)
    assert (encoder.config._attn_implementation, encoder.training, set(head.state_dict())) == before
    theirs = AutoModelForCausalLM.from_pretrained(folder(family, **changes)).eval()
    for example, ours in zip(examples, found, strict=True):
        ids = torch.tensor([example["input_ids"][: example["prompt_length"]]])
        settings = {"do_sample": False, "num_beams": beams, "max_new_tokens": 12, "eos_token_id": 2, "pad_token_id": 0}
        expected = theirs.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)[0, ids.shape[1] :]
        assert ours.dtype == torch.float32
        ended = [*expected.tolist(), 2]
        assert ours.long().tolist() == ended[: ended.index(2)]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_encoder_in_half_precision_generates_with_a_head_in_full(family: str, folder: Callable[..., Path]) -> None:
    head = make(kind="answer", max_new_tokens=12)
    encoder, tokenizer = loaded(folder(family), head)
    encoder.bfloat16()
    assert len(predictions(head, encoder, tokenizer, ANSWERS)) == len(ANSWERS)


def test_what_follows_the_end_and_added_tokens_are_not_read(folder: Callable[..., Path]) -> None:
    head = make(kind="answer", soft_prompt=1)
    _, tokenizer = loaded(folder(), head)
    text = " the answer to the question given the context is yes."
    ids = tokenizer(f"<answer1>{text}", add_special_tokens=False)["input_ids"]
    assert head.decode(ANSWERS[0], [], [torch.tensor(ids).float()]) == {"label": "yes"}
    found = torch.tensor([[*ids, 2, 5, 5], [2, 7, 7, *ids]])
    head.language_model.generate = lambda *_, **__: found  # type: ignore[union-attr, method-assign]
    fields = head.collate(head.encode(ANSWERS[:2], tokenizer, 128, training=False), 1)
    outputs = head.outputs(torch.zeros(2, 1, 1), torch.ones(2, 1), fields)
    assert [output.tolist() for output in outputs] == [ids, []]


def test_added_tokens_start_alike_and_the_old_ones_keep_their_weights(folder: Callable[..., Path]) -> None:
    heads = make(kind="answer", soft_prompt=3), make(kind="answer", soft_prompt=3)
    (first, tokenizer), (second, _) = (loaded(folder(), head) for head in heads)
    known = len(load_tokenizer(EncoderSpec(name=str(folder()), kind="causal")))
    assert len(tokenizer) == known + 3
    assert torch.equal(first.token_embeddings.weight, second.token_embeddings.weight)
    theirs = AutoModelForCausalLM.from_pretrained(folder())
    assert torch.equal(first.token_embeddings.weight[:known], theirs.get_input_embeddings().weight)
    (output,) = heads[0].state_dict().values()
    assert torch.equal(output[:known], theirs.get_output_embeddings().weight)
    torch.testing.assert_close(output[known:], output[:known].mean(0).expand(3, -1))


def test_where_the_head_starts_is_said(folder: Callable[..., Path], tmp_path: Path) -> None:
    from transformers import AutoModel

    for family, first in (("llama", "checkpoint"), ("gpt2", "token embeddings")):
        head = make(kind="answer")
        encoder, tokenizer = loaded(folder(family), head, attach=False)
        assert head.attach(encoder) is None
        assert head.first_weights == first
        outline = make(kind="answer")
        assert outline.attach(EncoderOutline(EncoderSpec(name=str(folder(family)), kind="causal"))) is None
        assert outline.first_weights == first
    AutoModel.from_pretrained(folder("llama")).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    head = make(kind="answer")
    encoder, _ = loaded(tmp_path, head, attach=False)
    assert head.attach(encoder)
    assert head.first_weights == "random"


# --- learning ---------------------------------------------------------------------------------------------------------


def test_a_tiny_model_learns_eight_documents_by_heart(tmp_path: Path) -> None:
    drugs, signs = ["aspirin", "warfarin", "ibuprofen", "cox"], ["fever", "rash", "nausea", "cancer"]
    rows = [
        related(f"{drug} and {sign} met", number, (drug, sign, ("effect", "int")[number % 2]))
        for number, (drug, sign) in enumerate([*zip(drugs, signs, strict=True), *zip(drugs, signs[::-1], strict=True)])
    ]
    tokenizer = causal_tokenizer([*(row.text for row in rows), *SOME_TARGETS])
    head = make(kind="triples", soft_prompt=2, loss_on="target", max_new_tokens=16)
    model = causal_folder(tmp_path, "llama", tokenizer, hidden_size=64)
    has.assert_overfits(head, rows, tokenizer, model, num_steps=150, learning_rate=0.004)


# --- tokenizers without offsets ---------------------------------------------------------------------------------------


@pytest.fixture
def slow_folder(tmp_path: Path) -> Path:
    """A model with a tokenizer in Python, which gives no offsets."""
    from transformers import ByT5Tokenizer

    tokenizer = ByT5Tokenizer(extra_ids=0)
    assert isinstance(tokenizer, PythonBackend)
    return causal_folder(tmp_path, "llama", tokenizer, pad_token_id=0, eos_token_id=1, bos_token_id=None)


def test_a_slow_tokenizer_is_enough_for_generation_alone(slow_folder: Path) -> None:
    spec = EncoderSpec(name=str(slow_folder), kind="causal")
    with pytest.raises(InputError) as error:
        load_tokenizer(spec)
    assert [problem.key for problem in error.value.problems] == ["encoder.name"]
    head = make(kind="labels", soft_prompt=1, max_new_tokens=60)
    tokenizer = load_tokenizer(spec, head.special_tokens(), needs_offsets=False)
    assert not head.needs_offsets
    encoder = load_encoder(spec, tokenizer, seed=0)
    assert head.read_tokenizer(tokenizer) is None
    head.attach(encoder)
    examples = head.encode(TOPICS, tokenizer, 128, training=False)
    (first, *_) = examples
    assert tokenizer.decode(first["input_ids"][first["prompt_length"] :], skip_special_tokens=True).endswith("empty.")
    assert len(predictions(head, encoder, tokenizer, TOPICS)) == len(TOPICS)


def test_the_fingerprint_of_a_slow_tokenizer_is_that_of_its_content(slow_folder: Path) -> None:
    spec = EncoderSpec(name=str(slow_folder), kind="causal")

    def fingerprint(*tokens: str) -> str:
        return tokenizer_fingerprint(load_tokenizer(spec, tokens, needs_offsets=False))

    assert fingerprint() == fingerprint() != fingerprint("<labels1>")
