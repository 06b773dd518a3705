import pytest

from mtl.config.encoder_catalogue import catalogue
from mtl.training.hyperparameters import Optimisation
from mtl.training.learning_rates import default_rate, rate_reason


@pytest.mark.parametrize(("hidden_size", "rate"), [(128, 1.5e-4), (384, 1.5e-4), (768, 3e-5), (1024, 1e-5)])
def test_larger_encoders_have_lower_default_rates(hidden_size: int, rate: float) -> None:
    assert default_rate(hidden_size).learning_rate == rate
    assert Optimisation().resolved(hidden_size).learning_rate == rate


def test_an_entry_of_the_catalogue_has_its_own_rate_and_the_same_model_by_its_hub_name_does_not() -> None:
    entry = catalogue()["bioclinical-modernbert-large"]
    assert entry.defaults is not None
    assert default_rate(1024, entry.name).learning_rate == entry.defaults.learning_rate == 2e-5
    assert Optimisation().resolved(1024, entry.name).learning_rate == 2e-5
    assert Optimisation(3e-5).resolved(1024, entry.name).learning_rate == 3e-5
    for other in (entry.hub, "pubmedbert", "minilm-l6"):
        assert default_rate(1024, other) == default_rate(1024)
    reason = rate_reason(None, 1024, entry.name)
    assert reason.startswith(f"2.0e-5 (hidden size 1024; default of '{entry.name}': ")
    assert "the default is 2.0e-5" in rate_reason(1e-5, 1024, entry.name)


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
