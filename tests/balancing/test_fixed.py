from mtl.balancing.fixed import Fixed
from tests.balancing import properties as has


def test_it_has_the_properties_of_every_method() -> None:
    has.adds_up(Fixed, [0.3, 1.2, 0.7, 2.0], [1, 0, 3])
    has.leaves_other_tasks_alone(Fixed)
    has.scales_with_the_loss_weight(Fixed)
    has.resumes(Fixed, lambda balancing: None)
    has.stays_in_single_precision(Fixed)


def test_the_factor_is_the_loss_weight_and_nothing_is_learned() -> None:
    balancing = Fixed(has.WEIGHTS)
    assert balancing.current_factors() == has.WEIGHTS
    assert not balancing.state_dict()
