"""Pooling: the same logits as transformers' classes for sequence classification, and windows of long texts."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from heads._poolers import FAMILIES, pooler_of
from heads._pooling import SequencePooling, WindowCombination
from heads.classification import Classification
from heads.relation import RelationClassification

LABELS = ["a", "b", "c"]
SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
    "num_labels": len(LABELS),
}
SPECIAL = {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
MORE: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "electra": {"embedding_size": 8},
    "eurobert": {"num_key_value_heads": 1, "mask_token_id": 4},
    "modernbert": SPECIAL,
}
CASES = [
    *((family, {}) for family in FAMILIES if family not in ("eurobert", "modernbert")),
    *(("modernbert", {"classifier_pooling": kind, "norm_bias": kind == "cls"}) for kind in ("cls", "mean")),
    *(("eurobert", {"classifier_pooling": kind}) for kind in ("bos", "mean", "late")),
]


def config_of(family: str, **more: Any) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(family, **SIZES, **MORE.get(family, {}), **more)


def theirs(config: Any) -> Any:
    """A random model of the class for sequence classification, whose biases are not 0."""
    from transformers import AutoModelForSequenceClassification

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = AutoModelForSequenceClassification.from_config(config)
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


def loaded(config: Any, shipped: dict[str, Tensor] | None = None) -> Any:
    return SimpleNamespace(config=config, shipped=shipped)


def with_weights_of(model: Any, *, dropout: float = 0.0) -> Classification:
    """Our head with the weights of the model's."""
    head = Classification(LABELS, 16, pooling="pooler", dropout=dropout)
    head.attach(loaded(model.config))
    assert isinstance(head.output, nn.Sequential)
    assert head.pooling.layers is not None
    pooler = pooler_of(model.config, 0.0)
    assert pooler is not None
    for ours, name in pooler.names.items():
        head.pooling.layers.get_submodule(ours).load_state_dict(model.get_submodule(name).state_dict())
    head.output[-1].load_state_dict(model.get_submodule(pooler.output).state_dict())
    return head.eval()


def inputs() -> dict[str, Tensor]:
    mask = torch.tensor([[1] * 9, [1] * 4 + [0] * 5])
    ids = torch.randint(5, 60, (2, 9), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids.where(mask.bool(), 1), "attention_mask": mask}


@pytest.mark.parametrize(("family", "more"), CASES)
def test_logits_equal_those_of_the_class_for_sequence_classification(family: str, more: dict[str, Any]) -> None:
    model = theirs(config_of(family, **more))
    with torch.no_grad():
        states = model.base_model(**inputs()).last_hidden_state
        ours = with_weights_of(model)(states, inputs()["attention_mask"].bool(), {})
        torch.testing.assert_close(ours, model(**inputs()).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"eurobert"}))
def test_dropout_is_where_the_class_for_sequence_classification_has_it(family: str) -> None:
    # EuroBERT's class has no dropout. The others draw theirs in the same order, so equal seeds give equal logits.
    model = theirs(config_of(family))
    with torch.no_grad():
        states = model.base_model(**inputs()).last_hidden_state
    for part in head_modules(model):
        part.train()
        part.p = 0.3
    head = with_weights_of(model, dropout=0.3).train()
    torch.manual_seed(3)
    ours = head(states, inputs()["attention_mask"].bool(), {})
    torch.manual_seed(3)
    expected = model(**inputs()).logits
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    assert not torch.allclose(ours, head.eval()(states, inputs()["attention_mask"].bool(), {}))


def head_modules(model: Any) -> Iterator[Any]:
    """The dropout modules of a class that its encoder does not have."""
    of_encoder = {id(module) for module in model.base_model.modules()}
    for module in model.modules():
        if isinstance(module, nn.Dropout) and id(module) not in of_encoder:
            yield module


def test_a_pooler_takes_the_shipped_weights_and_says_if_there_are_none_or_untrained_ones() -> None:
    weights = {"bert.pooler.dense.weight": torch.randn(16, 16), "bert.pooler.dense.bias": torch.ones(16)}
    pooling = SequencePooling("pooler", 0.1)
    assert pooling.attach(loaded(config_of("bert"), weights)) is None
    assert pooling.layers is not None
    state = pooling.layers.state_dict()
    assert torch.equal(state["dense.weight"], weights["bert.pooler.dense.weight"])
    assert torch.equal(state["dense.bias"], weights["bert.pooler.dense.bias"])
    untrained = weights | {"bert.pooler.dense.bias": torch.zeros(16)}
    notes = [pooling.attach(loaded(config_of("bert"), shipped)) for shipped in (untrained, {}, None)]
    assert "never trained" in str(notes[0])
    assert "random" in str(notes[1])
    assert notes[2] is None  # the weights of a run's checkpoint follow


def test_a_trained_copy_of_the_pooler_leaves_the_shipped_weights_alone() -> None:
    weights = {"bert.pooler.dense.weight": torch.randn(16, 16), "bert.pooler.dense.bias": torch.ones(16)}
    heads = [SequencePooling("pooler", 0.1), SequencePooling("pooler", 0.1)]
    for head in heads:
        head.attach(loaded(config_of("bert"), weights))
    with torch.no_grad():
        for parameter in heads[0].parameters():
            parameter.zero_()
    assert weights["bert.pooler.dense.weight"].any()
    assert all(parameter.any() for parameter in heads[1].parameters())


@pytest.mark.parametrize("make", [Classification, RelationClassification])
def test_a_family_without_a_known_pooler_is_a_problem_of_pooling_pooler_only(make: Any) -> None:
    options = {"negative": "a", "placeholders": ["@A$", "@B$"]} if make is RelationClassification else {}
    unknown = SimpleNamespace(model_type="flaubert")
    problem = make(LABELS, 16, pooling="pooler", **options).encoder_problem(unknown)
    assert "flaubert" in problem
    assert all(family in problem for family in FAMILIES)
    assert make(LABELS, 16, pooling="mean", **options).encoder_problem(unknown) is None
    assert make(LABELS, 16, pooling="pooler", **options).encoder_problem(config_of("bert")) is None


def test_relation_pools_the_text_like_the_other_heads() -> None:
    model = theirs(config_of("bert"))
    head = with_weights_of(model)
    relation = RelationClassification(
        LABELS, 16, negative="a", placeholders=["@A$", "@B$"], pooling="pooler", dropout=0.0
    )
    relation.attach(loaded(model.config))
    assert relation.text_pooling is not None
    relation.text_pooling.load_state_dict(head.pooling.state_dict())
    assert isinstance(head.output, nn.Sequential)
    relation.classifier.load_state_dict(head.output.state_dict())
    states, mask = torch.randn(2, 5, 16), torch.ones(2, 5, dtype=torch.bool)
    assert torch.equal(relation.eval()(states, mask, {}), head(states, mask, {}))


VECTORS = torch.tensor([[[[1.0, 4.0], [3.0, 2.0], [99.0, -99.0]]]])  # [1, 1, 3, 2]
IS_WINDOW = torch.tensor([[[True, True, False]]])


@pytest.mark.parametrize(("kind", "expected"), [("max", [3.0, 4.0]), ("mean", [2.0, 3.0]), ("attention", [2.0, 3.0])])
def test_windows_are_combined_without_those_that_a_text_does_not_have(kind: Any, expected: list[float]) -> None:
    combine = WindowCombination(kind, 2)
    assert combine(VECTORS, IS_WINDOW).tolist() == [[expected]]
    assert combine(VECTORS[:, :, :1], IS_WINDOW[:, :, :1]).tolist() == [[[1.0, 4.0]]]


def test_attention_learns_which_window_counts() -> None:
    combine = WindowCombination("attention", 2)
    assert combine.score is not None
    (gradient,) = torch.autograd.grad(combine(VECTORS, IS_WINDOW)[..., 0].sum(), combine.score.weight)
    assert gradient.any()
    with torch.no_grad():
        combine.score.weight.copy_(torch.tensor([[50.0, 0.0]]))
    torch.testing.assert_close(combine(VECTORS, IS_WINDOW), torch.tensor([[[3.0, 2.0]]]))
