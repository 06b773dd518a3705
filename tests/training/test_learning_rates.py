import pytest

from mtl.training.hyperparameters import Optimisation
from mtl.training.learning_rates import default_rate, rate_reason


@pytest.mark.parametrize(("hidden_size", "rate"), [(128, 1.5e-4), (384, 1.5e-4), (768, 3e-5), (1024, 1e-5)])
def test_larger_encoders_have_lower_default_rates(hidden_size: int, rate: float) -> None:
    assert default_rate(hidden_size).learning_rate == rate
    assert Optimisation().resolved(hidden_size).learning_rate == rate


def test_heads_take_the_rate_of_the_encoder_unless_they_have_their_own() -> None:
    assert Optimisation().resolved(384).head_learning_rate == 1.5e-4
    assert Optimisation(learning_rate=2e-5).resolved().head_learning_rate == 2e-5
    assert Optimisation(head_learning_rate=1e-3).resolved(384) == Optimisation(1.5e-4, 1e-3)


def test_the_reason_has_the_rate_the_size_and_the_default_that_was_overruled() -> None:
    default = rate_reason(None, 768)
    assert default.startswith("3.0e-5 (hidden size 768; ")
    own = rate_reason(2e-5, 768)
    assert own.startswith("2.0e-5 (hidden size 768; ")
    assert "3.0e-5" in own
