import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoModel,
    get_cosine_schedule_with_warmup,
    get_inverse_sqrt_schedule,
    get_linear_schedule_with_warmup,
    get_wsd_schedule,
)

from heads.classification import Classification
from heads.token_classification import TokenClassification
from mtl.config.loading import load_mixture
from mtl.config.schema import checked
from mtl.problems import InputError
from mtl.training.hyperparameters import LearningRateSchedule, Optimisation
from mtl.training.optimisation import adamw, layer_factor, parameter_groups, schedule

HEADS = {"gad": Classification(["no", "yes"], 16, hidden_layer=4), "ner": TokenClassification(["C"], 16, decoder="crf")}


def groups(encoder: nn.Module, heads: Any = HEADS, **given: Any) -> list[dict[str, Any]]:
    optimisation = Optimisation(learning_rate=3e-5, head_learning_rate=1e-4, weight_decay=0.01)
    return parameter_groups(encoder, heads, optimisation, **{"factors": {}, **given})


@pytest.mark.parametrize("family", ["bert", "roberta", "deberta-v2", "electra", "distilbert", "modernbert", "eurobert"])
def test_every_weight_is_in_one_group_and_only_matrices_decay(family: str, tiny_encoder: Callable[[str], Path]) -> None:
    encoder = AutoModel.from_pretrained(tiny_encoder(family))
    made = groups(encoder)
    grouped = [parameter for group in made for parameter in group["params"]]
    owned = [*encoder.parameters(), *(p for head in HEADS.values() for p in head.parameters())]
    assert len(grouped) == len({id(p) for p in grouped}) == len({id(p) for p in owned})
    # Biases and the scales of norms are exactly the vectors of an encoder; embeddings and linear layers are matrices.
    for group in made:
        if group["name"] in ("encoder", "encoder/no_decay"):
            decays = group["name"] == "encoder"
            assert group["weight_decay"] == (0.01 if decays else 0.0)
            assert {p.ndim for p in group["params"]} == ({2} if decays else {1})


def test_rms_norms_do_not_decay_either() -> None:
    encoder = nn.Sequential(nn.Linear(4, 4), nn.RMSNorm(4))
    by_name = {group["name"]: group["params"] for group in groups(encoder, {})}
    assert [p is encoder[1].weight for p in by_name["encoder/no_decay"]] == [False, True]
    assert [p is encoder[0].weight for p in by_name["encoder"]] == [True]


def test_heads_have_their_own_learning_rate_times_the_factor_of_the_task(tiny_encoder: Callable[[str], Path]) -> None:
    made = groups(AutoModel.from_pretrained(tiny_encoder("bert")), factors={"ner": 2.5})
    rates = {group["name"]: group["lr"] for group in made}
    assert rates == {
        "encoder": 3e-5,
        "encoder/no_decay": 3e-5,
        "gad": 1e-4,
        "gad/no_decay": 1e-4,
        "ner": pytest.approx(2.5e-4),
        "ner/no_decay": pytest.approx(2.5e-4),
    }


def test_frozen_weights_are_in_no_group() -> None:
    encoder = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    encoder[0].requires_grad_(False)
    assert sum(len(group["params"]) for group in groups(encoder, {})) == 2


def rates_by_name(encoder: nn.Module, **settings: Any) -> dict[str, set[float]]:
    """The learning rate of each group that has parameters of a place, by the first part of the parameters' names."""
    made = parameter_groups(encoder, {}, Optimisation(learning_rate=1.0, **settings), factors={})
    rate_of = {id(parameter): group["lr"] for group in made for parameter in group["params"]}
    assert len(rate_of) == sum(len(group["params"]) for group in made)  # no parameter is in two groups
    found: dict[str, set[float]] = {}
    for name, parameter in encoder.named_parameters():
        if parameter.requires_grad:
            place = re.match(r"(encoder\.layer\.\d+|layers\.\d+|encoder\.\w+|\w+)", name)
            assert place is not None
            found.setdefault(place[0], set()).add(round(rate_of[id(parameter)], 12))
    return found


@pytest.mark.parametrize(
    ("family", "convention", "by_hand"),
    [
        (
            "bert",  # 2 layers
            "zhang",
            {"embeddings": 0.8**3, "encoder.layer.0": 0.8**2, "encoder.layer.1": 0.8, "pooler": 1.0},
        ),
        (
            "bert",
            "electra",
            {"embeddings": 0.8**4, "encoder.layer.0": 0.8**3, "encoder.layer.1": 0.8**2, "pooler": 0.8},
        ),
        ("modernbert", None, {"embeddings": 0.8**3, "layers.0": 0.8**2, "layers.1": 0.8, "final_norm": 1.0}),
        (
            "albert",  # its layers share their weights, so that there is one
            "zhang",
            {
                "embeddings": 0.8**2,
                "encoder.embedding_hidden_mapping_in": 0.8**2,
                "encoder.albert_layer_groups": 0.8,
                "pooler": 1.0,
            },
        ),
        (
            "albert",
            "electra",
            {
                "embeddings": 0.8**3,
                "encoder.embedding_hidden_mapping_in": 0.8**3,
                "encoder.albert_layer_groups": 0.8**2,
                "pooler": 0.8,
            },
        ),
    ],
)
def test_learning_rates_of_layers_decay_as_computed_by_hand(
    family: str, convention: Any, by_hand: dict[str, float], tiny_encoder: Callable[[str], Path]
) -> None:
    encoder = AutoModel.from_pretrained(tiny_encoder(family))
    found = rates_by_name(encoder, layer_decay=0.8, layer_decay_convention=convention)
    assert {name: list(rates) for name, rates in found.items()} == {
        name: [pytest.approx(rate)] for name, rate in by_hand.items()
    }


@pytest.mark.parametrize(
    ("convention", "top", "lowest", "embeddings"),
    [("zhang", 0.8, 0.0687, 0.0550), ("electra", 0.64, 0.0550, 0.0440)],
)
def test_the_conventions_of_layer_decay_have_the_published_rates(
    convention: Any, top: float, lowest: float, embeddings: float
) -> None:
    found = [layer_factor(depth, 12, 0.8, convention) for depth in (12, 1, 0)]
    assert found == [pytest.approx(rate, abs=5e-5) for rate in (top, lowest, embeddings)]


def test_layer_decay_groups_decay_weights_as_without_it(tiny_encoder: Callable[[str], Path]) -> None:
    encoder = AutoModel.from_pretrained(tiny_encoder("bert"))
    plain = {id(p): g["weight_decay"] for g in groups(encoder, {}) for p in g["params"]}
    layered = parameter_groups(encoder, {}, Optimisation(learning_rate=1.0, layer_decay=0.9), factors={})
    assert {id(p): g["weight_decay"] for g in layered for p in g["params"]} == plain


def test_layer_decay_leaves_heads_alone_and_frozen_layers_out(tiny_encoder: Callable[[str], Path]) -> None:
    encoder = AutoModel.from_pretrained(tiny_encoder("bert"))
    encoder.embeddings.requires_grad_(False)
    encoder.encoder.layer[0].requires_grad_(False)
    settings = Optimisation(learning_rate=1.0, head_learning_rate=2.0, layer_decay=0.5)
    rates = {group["name"]: group["lr"] for group in parameter_groups(encoder, HEADS, settings, factors={"ner": 3.0})}
    assert {name: rate for name, rate in rates.items() if "no_decay" not in name} == {
        "encoder/layer_2": 0.5,
        "encoder/top": 1.0,
        "gad": 2.0,
        "ner": 6.0,
    }


@pytest.mark.parametrize(
    ("encoder", "prefixes"),
    [
        ({"freeze_layers": 1}, ("encoder.model.embeddings.", "encoder.model.encoder.layer.0.")),
        ({"freeze_embeddings": True}, ("encoder.model.embeddings.",)),
        ({"freeze_layers": 1, "freeze_embeddings": False}, ("encoder.model.encoder.layer.0.",)),
    ],
    ids=str,
)
@pytest.mark.parametrize("layer_decay", [None, 0.9])
def test_frozen_parameters_have_no_gradient_and_no_state_and_do_not_move(
    encoder: dict[str, Any],
    prefixes: tuple[str, ...],
    layer_decay: float | None,
    toy_mixture: Callable[..., Path],
    train: Callable[..., Any],
    tiny_encoder: Callable[[str], Path],
) -> None:
    path = toy_mixture(encoder={"name": str(tiny_encoder("bert")), "max_length": 48, **encoder})
    before: dict[str, torch.Tensor] = {}

    def keep(module: Any, data: Any) -> None:
        before.update({name: parameter.detach().clone() for name, parameter in module.named_parameters()})

    model = {"layer_decay": layer_decay}
    trained = train(load_mixture(path), model=model, before=keep, limit_val_batches=0)
    state = trained.trainer.optimizers[0].state
    for name, parameter in trained.module.named_parameters():
        if name.startswith(prefixes):
            assert parameter.grad is None
            assert parameter not in state
            assert torch.equal(parameter, before[name])
        elif name.startswith("encoder.") and "position" not in name and "token_type" not in name:
            assert parameter in state
            assert not torch.equal(parameter, before[name]), name


@pytest.mark.parametrize(
    ("kind", "by_hand"),
    [
        ("linear", [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("cosine", [0.5, 1.0, 1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]),
    ],
)
def test_the_factor_at_each_update_agrees_with_hand_computed_values(
    kind: LearningRateSchedule, by_hand: list[float]
) -> None:
    factor = schedule(kind, warmup=2, total=6)
    assert [factor(step) for step in range(6)] == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("kind", "oracle"), [("linear", get_linear_schedule_with_warmup), ("cosine", get_cosine_schedule_with_warmup)]
)
@pytest.mark.parametrize(("warmup", "total"), [(0, 7), (3, 20), (10, 100)])
def test_after_the_warm_up_the_rate_agrees_with_transformers(
    kind: LearningRateSchedule, oracle: Callable[..., Any], warmup: int, total: int
) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = oracle(optimizer, warmup, total)
    factor = schedule(kind, warmup=warmup, total=total)
    for step in range(total):
        if step >= warmup:
            assert factor(step) == pytest.approx(theirs.get_last_lr()[0])
        else:  # theirs starts at 0, which wastes the first update; ours is one update ahead until the peak
            assert factor(step) == pytest.approx(theirs.get_last_lr()[0] + 1 / warmup)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize(("warmup", "total", "decay", "end"), [(0, 20, 5, 0.0), (3, 30, 10, 0.001), (10, 40, 30, 0.5)])
def test_warm_up_stable_decay_agrees_with_transformers_after_the_warm_up(
    warmup: int, total: int, decay: int, end: float
) -> None:
    factor = schedule("warmup_stable_decay", warmup=warmup, total=total, decay=decay, decay_to=end)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_wsd_schedule(optimizer, warmup, decay, total, decay_type="1-sqrt", min_lr_ratio=end)
    for step in range(total + 3):
        if step >= warmup:
            assert factor(step) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    assert factor(total - decay) == 1.0
    assert factor(total) == pytest.approx(end)


def test_new_schedules_have_the_factors_found_by_hand() -> None:
    stable = schedule("warmup_stable_decay", warmup=2, total=12, decay=4, decay_to=0.2)
    # 0.2 + 0.8 (1 - sqrt(q)) for q = 0, 1/4, 2/4, 3/4, 1
    decay = [1.0, 0.6, 0.434315, 0.307180, 0.2]
    assert [stable(step) for step in range(14)] == pytest.approx([0.5, *[1.0] * 7, *decay, 0.2], abs=1e-6)
    inverse = schedule("inverse_sqrt", warmup=4, total=0)
    assert [inverse(step) for step in (0, 3, 4, 9, 16, 100)] == pytest.approx([0.25, 1.0, 1.0, 2 / 3, 0.5, 0.2])
    without = schedule("inverse_sqrt", warmup=0, total=0)
    assert [without(step) for step in (0, 30_000)] == [1.0, 0.5]
    constant = schedule("constant", warmup=2, total=4)
    assert [constant(step) for step in range(6)] == [0.5, *[1.0] * 5]


@pytest.mark.parametrize("warmup", [0, 1, 7])
def test_the_inverse_square_root_agrees_with_transformers_after_the_warm_up(warmup: int) -> None:
    factor = schedule("inverse_sqrt", warmup=warmup, total=0)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_inverse_sqrt_schedule(optimizer, warmup)
    for step in range(40):
        if step >= warmup:
            assert factor(step) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize(
    "fields",
    [
        {"decay": 0.2},
        {"schedule": "constant", "decay_to": 0.1},
        {"schedule": "warmup_stable_decay", "warmup": 0.95},
        {"schedule": "warmup_stable_decay", "decay": 0.0},
        {"schedule": "warmup_stable_decay", "decay_to": 1.0},
        {"warmup": -1},
        {"warmup": 1.5},
    ],
)
def test_a_warm_up_or_decay_that_has_no_effect_or_no_room_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        checked(Optimisation, fields, "model")


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant", "warmup_stable_decay", "inverse_sqrt"])
def test_a_schedule_of_only_warm_up_rises_to_the_peak(kind: LearningRateSchedule) -> None:
    factor = schedule(kind, warmup=4, total=4)
    assert [factor(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_a_warm_up_is_a_share_of_the_updates_or_their_number() -> None:
    given: list[Any] = [0, 0.25, 1, 1.0, 2, 100, 100.0]
    found = [checked(Optimisation, {"warmup": one}, "model").warmup_updates(40) for one in given]
    assert found == [0, 10, 40, 40, 2, 100, 100]
    assert checked(Optimisation, {"schedule": "warmup_stable_decay", "warmup": 500}, "model").warmup == 500


def test_the_fused_optimiser_takes_the_same_steps_as_the_default_one() -> None:
    weights = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    ours, plain = nn.Parameter(weights.clone()), nn.Parameter(weights.clone())
    one = adamw([{"params": [ours], "lr": 1e-2, "weight_decay": 0.1}], scaled=False)
    other = torch.optim.AdamW([plain], lr=1e-2, weight_decay=0.1)
    for _ in range(5):
        for parameter, optimizer in ((ours, one), (plain, other)):
            optimizer.zero_grad()
            (parameter**2).sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours, plain)


class Rates:
    """Records the learning rate of every group at every update."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def __call__(self, module: Any, data: Any) -> None:
        step = module.optimizer_step

        def noting(epoch: int, batch_idx: int, optimizer: Any, closure: Any = None) -> None:
            self.seen.append({group["name"]: group["lr"] for group in optimizer.param_groups})
            step(epoch, batch_idx, optimizer, closure)

        module.optimizer_step = noting


@pytest.mark.parametrize("warmup_written", [0.25, 2])
def test_training_follows_the_schedule_at_every_update(
    toy_mixture: Callable[..., Path], train: Callable[..., Any], warmup_written: float
) -> None:
    path = toy_mixture()
    mixture = load_mixture(path, ["tasks.risk.learning_rate_factor=3.0"])
    rates = Rates()
    model = {"learning_rate": 1e-4, "head_learning_rate": 1e-3, "warmup": warmup_written}
    trained = train(mixture, model=model, before=rates, max_epochs=2, accumulate_grad_batches=3, limit_val_batches=0)
    num_updates = 2 * math.ceil((7 + 4 + 3) / 3)  # 26, 15 and 9 examples in batches of 4
    assert trained.trainer.global_step == len(rates.seen) == num_updates == 10
    warmup = 2  # a quarter of 10, rounded to even
    by_hand = [0.5, 1.0, *(1 - (step - warmup) / 8 for step in range(2, 10))]
    assert [seen["encoder"] for seen in rates.seen] == pytest.approx([1e-4 * factor for factor in by_hand])
    assert [seen["cause/no_decay"] for seen in rates.seen] == pytest.approx([1e-3 * factor for factor in by_hand])
    assert [seen["risk"] for seen in rates.seen] == pytest.approx([3e-3 * factor for factor in by_hand])
