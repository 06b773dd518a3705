"""What the base class gives to all heads, and that all heads are held to the shared properties."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scipy.stats import linregress
from sklearn.metrics import cohen_kappa_score
from torch import nn

import heads
from heads import pad, projection
from heads.classification import Classification
from heads.regression import Regression


def test_a_plain_projection_is_dropout_and_one_linear_layer() -> None:
    layers = projection(8, 3, dropout=0.25, hidden_layer=None)
    assert [type(layer) for layer in layers] == [nn.Dropout, nn.Linear]
    assert layers(torch.zeros(5, 8)).shape == (5, 3)


@pytest.mark.parametrize("units", [0, -1, 10**30])
def test_a_hidden_layer_has_a_sensible_size(units: int) -> None:
    with pytest.raises(ValueError, match=rf"hidden_layer.*got {units}"):
        projection(8, 3, dropout=0.25, hidden_layer=units)


def test_a_hidden_layer_comes_first_with_its_own_dropout() -> None:
    layers = projection(8, 3, dropout=0.25, hidden_layer=6)
    assert [type(layer) for layer in layers] == [nn.Dropout, nn.Linear, nn.GELU, nn.Dropout, nn.Linear]
    assert [tuple(p.shape) for p in layers.parameters()] == [(6, 8), (6,), (3, 6), (3,)]


def test_dropout_has_the_given_probability_and_only_in_training() -> None:
    layers = projection(4, 1, dropout=0.25, hidden_layer=None)
    assert {layer.p for layer in layers if isinstance(layer, nn.Dropout)} == {0.25}
    states = torch.randn(3, 4)
    assert torch.equal(layers.eval()(states), layers(states))
    assert not torch.equal(layers.train()(states.repeat(50, 1)), layers(states.repeat(50, 1)))


def test_initial_weights_have_a_standard_deviation_of_0_02_and_biases_are_0() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = projection(200, 50, dropout=0.1, hidden_layer=100)
    for layer in (layer for layer in layers if isinstance(layer, nn.Linear)):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert layer.weight.mean().item() == pytest.approx(0, abs=1e-3)
        assert not layer.bias.any()


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    def weights(seed: int) -> torch.Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            layer = projection(4, 2, dropout=0.1, hidden_layer=None)[1]
        assert isinstance(layer, nn.Linear)
        return layer.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


class Kappa(Classification):
    """A head with a metric that its parent class does not have: Cohen's kappa of two classes."""

    def score(self, counts: torch.Tensor) -> dict[str, float]:
        assert counts.dtype == torch.int64
        (a, b), (c, d) = counts.reshape(2, 2).tolist()
        return {"accuracy": cohen_kappa_score([0] * (a + b) + [1] * (c + d), [0] * a + [1] * b + [0] * c + [1] * d)}


class Slope(Regression):
    """The slope of a line through prediction and gold."""

    def score(self, counts: torch.Tensor) -> dict[str, float]:
        return {"pearson": linregress(*counts.T.tolist()).slope}


class ShiftedSlope(Slope):
    """A head that overrides both `score` and `primary_scores`."""

    def primary_scores(self, counts: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        return super().primary_scores(counts, times) + 1


def test_a_head_that_overrides_score_uses_it_for_many_corpora() -> None:
    counts = torch.tensor([[3, 0, 1, 2], [0, 2, 0, 1], [1, 0, 0, 4]])
    kappas = Kappa(["a", "b"], 4).primary_scores(counts, torch.tensor([[[1, 1, 1]], [[2, 0, 1]]]))
    # (4, 2, 1, 7): observed 11 / 14, expected (6 * 5 + 8 * 9) / 196; (7, 0, 2, 8): 15 / 17, (7 * 9 + 10 * 8) / 289
    by_hand = [(11 / 14 - 102 / 196) / (1 - 102 / 196), (15 / 17 - 143 / 289) / (1 - 143 / 289)]
    assert kappas.shape == (2, 1)
    assert kappas.flatten().tolist() == pytest.approx(by_hand)


def test_concatenated_counts_are_repeated_for_many_corpora() -> None:
    pairs, times = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 3.0]]), torch.tensor([[1, 1, 1], [2, 3, 1], [5, 0, 2]])
    # The line passes 0 at 0, and at 1 the mean of the values there: 2, 6 / 4 and 3.
    assert Slope([], 4, range=(0, 4)).primary_scores(pairs, times).tolist() == pytest.approx([2.0, 1.5, 3.0])
    assert ShiftedSlope([], 4, range=(0, 4)).primary_scores(pairs, times).tolist() == pytest.approx([3.0, 2.5, 4.0])


def test_pad_adds_values_on_the_right_and_gives_integers() -> None:
    padded = pad([[5], [], [1, 2, 3]], 3, heads.IGNORE)
    assert padded.tolist() == [[5, -100, -100], [-100] * 3, [1, 2, 3]]
    assert padded.dtype == torch.long


def test_ignore_is_the_label_that_cross_entropy_ignores_by_default() -> None:
    assert nn.CrossEntropyLoss().ignore_index == heads.IGNORE


NOT_HEADS = {"rows", "scores"}


def test_every_head_is_held_to_the_shared_properties() -> None:
    names = {module.name for module in pkgutil.iter_modules(heads.__path__) if not module.name.startswith("_")}
    assert len(names - NOT_HEADS) == 8
    for name in names - NOT_HEADS:
        tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob(f"test_{name}*.py"))
        for check in ("shared_test", "assert_overfits", "assert_many_corpora_score_like_each_alone"):
            assert f"has.{check}(" in tests, (name, check)


def test_heads_import_nothing_from_mtl() -> None:
    script = (
        "import importlib, pkgutil, sys, heads\n"
        "names = [m.name for m in pkgutil.iter_modules(heads.__path__)]\n"
        "[importlib.import_module(f'heads.{name}') for name in names]\n"
        "assert 'heads.classification' in sys.modules\n"
        "sys.exit(any(name.split('.')[0] == 'mtl' for name in sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_importing_a_text_head_loads_no_library_that_takes_seconds() -> None:
    script = (
        "import sys, heads.classification, heads.multilabel, heads.regression\n"
        "sys.exit(bool({'sklearn', 'scipy', 'torchmetrics', 'transformers'} & set(sys.modules)))\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
