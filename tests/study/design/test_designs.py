from collections import Counter

import pytest

from mtl.study.design.designs import CONTROLS, DESIGNS, comparisons
from mtl.study.design.runs import REPLICATE, Run, original, single_runs

TASKS = ["a", "b", "c"]


def of(design: str, options: object = None, seeds: tuple[int, ...] = (0,)) -> list[tuple[str, str, str, str]]:
    found = comparisons([(design, options)], TASKS, seeds)
    return [(one.target, one.partner, one.treated.trains, one.reference.trains) for one in found]


def test_each_pair_is_trained_once_and_read_in_both_directions() -> None:
    found = of("pairwise")
    assert [(target, partner) for target, partner, _, _ in found] == [
        ("a", "b"),
        ("b", "a"),
        ("a", "c"),
        ("c", "a"),
        ("b", "c"),
        ("c", "b"),
    ]
    assert set(Counter(treated for _, _, treated, _ in found).values()) == {2}
    assert all(reference == target for target, _, _, reference in found)


def test_sequential_pairs_are_ordered_and_start_from_the_sources_single_run() -> None:
    found = comparisons([("sequential", None)], TASKS, [3])
    assert len(found) == 6
    assert all(one.treated == Run((one.target,), 3, source=Run((one.partner,), 3)) for one in found)
    assert len({one.treated for one in found}) == 6


def test_refine_finetune_starts_each_task_from_the_joint_run_or_its_own_with_fresh_or_kept_heads() -> None:
    kept, fresh = (comparisons([("refine_finetune", options)], TASKS, [0]) for options in (None, {"heads": "fresh"}))
    assert all(one.treated.source == Run(("a", "b", "c"), 0) for one in kept + fresh)
    assert all(one.reference.source == Run((one.target,), 0) for one in kept + fresh)
    assert all(run.keeps_heads for one in kept for run in (one.treated, one.reference))
    assert not any(run.keeps_heads for one in fresh for run in (one.treated, one.reference))


def test_every_arm_is_compared_with_the_first_which_is_the_single_task_run() -> None:
    found = of("arms", {"one": {}, "two": {"max_length": 8}, "three": {"max_length": 9}})
    assert found[:2] == [("a", "two", "a (two)", "a"), ("a", "three", "a (three)", "a")]
    assert len(found) == 6


@pytest.mark.parametrize(
    ("options", "number"),
    [
        (None, 1),
        ([["a"]], 1),
        ({"one": {}}, 1),
        ({"one": {}, "two": 3}, 1),
        ({"one": {"max_length": 8}, "two": {}}, 2),
        ({"one": {}, "two": {"max_length": 8}}, 0),
    ],
)
def test_arms_need_settings_and_the_first_has_none(options: object, number: int) -> None:
    assert len(DESIGNS["arms"].option_problems(options, TASKS)) == number


def test_runs_of_a_stage_are_named_after_it_unless_its_settings_are_those_of_the_study() -> None:
    parts = [("refine_finetune", None), ("refine", None)]
    tuned, refined = comparisons(parts, TASKS, [0], lambda run: run)[:: len(TASKS)]
    assert tuned.treated.trains == "a + b + c (refine) then a (finetune) with its heads"
    assert tuned.reference.trains == "a (refine) then a (finetune) with its heads"
    assert (refined.treated, refined.reference) == (tuned.treated.source, tuned.reference.source)
    assert {run.stage for one in comparisons(parts, TASKS, [0]) for run in one.treated.chain()} == {""}


def test_what_refining_is_held_against_is_the_run_of_the_control_continued() -> None:
    refined, continued = (comparisons([(name, None)], TASKS, [0]) for name in ("refine_finetune", "continued"))
    assert [one.reference for one in refined] == [one.treated for one in continued]


def test_leaving_one_out_compares_with_the_run_of_all_others() -> None:
    found = of("leave_one_out")
    assert ("a", "b", "a + b + c", "a + c") in found
    assert len(found) == 6


def test_groups_compare_their_members_with_themselves_alone_and_a_group_of_one_with_nothing() -> None:
    assert of("groups", [["b", "a"], ["c"]]) == [("a", "b", "a + b", "a"), ("b", "a", "a + b", "b")]


def test_joint_compares_every_task_with_itself_alone() -> None:
    assert of("joint") == [(task, "all others", "a + b + c", task) for task in TASKS]


def test_controls_name_copies_that_no_task_can_be_taken_for() -> None:
    assert of("self_partner")[0] == ("a", "its own copy", "a + a__self", "a")
    assert of("shuffled_partner", {"a": "c"})[0] == ("a", "c", "a + c__shuffled", "a")
    assert of("shuffled_partner")[1] == ("b", "c", "b + c__shuffled", "b")
    assert {original(name) for name in ("a", "a__self", "a__shuffled")} == {"a"}
    assert of("continued")[0] == ("a", "itself before", "a then a with its heads", "a")
    replicate = comparisons([("replicate", None)], TASKS, [5])[0]
    assert (replicate.treated, replicate.reference) == (Run(("a",), 5 + REPLICATE), Run(("a",), 5))


def test_designs_share_the_single_runs() -> None:
    pretraining = {"task": "a", "arms": {"x": {}}}
    options = {"groups": [["a", "b"]], "pretraining": pretraining, "pretraining_arms": pretraining}
    options["sizes"] = {"rows": ["all"]}
    parts = [(name, options.get(name)) for name in (*DESIGNS, *CONTROLS)]
    others = ("leave_one_out", "refine_finetune", "refine")
    references = {one.reference for one in comparisons(parts, TASKS, [0]) if one.design not in others}
    assert references == set(single_runs(TASKS, [0]))


def test_options_are_checked_against_the_tasks() -> None:
    assert DESIGNS["groups"].option_problems(None, TASKS)
    assert DESIGNS["groups"].option_problems([["a", "x"]], TASKS) == ["There is no task 'x'. Choices: a, b, c."]
    (problem,) = DESIGNS["groups"].option_problems([["a", "a"]], TASKS)
    assert "['a', 'a']" in problem
    assert len(CONTROLS["shuffled_partner"].option_problems({"a": "a"}, TASKS)) == 1
    assert not CONTROLS["shuffled_partner"].option_problems({"a": "b"}, TASKS)
    assert DESIGNS["refine_finetune"].option_problems({"heads": "new"}, TASKS)
    assert len(DESIGNS["pairwise"].option_problems({"x": 1}, TASKS)) == 1
    assert not DESIGNS["refine_finetune"].option_problems({"heads": "fresh"}, TASKS)


def test_cross_tests_each_single_run_on_the_other_corpora_against_the_run_of_the_target() -> None:
    found = comparisons([("cross", {"pairs": [("a", "b"), ("c", "b")]})], TASKS, [3])
    assert [(one.target, one.partner) for one in found] == [("b", "a"), ("b", "c")]
    for one in found:
        assert one.treated == Run(("b",), 3, source=Run((one.partner,), 3), evaluates=True)
        assert one.reference == Run(("b",), 3)
    assert found[0].treated.trains == "a tested on b"
    assert len(of("cross")) == 6


def test_the_options_of_cross_list_tasks() -> None:
    cross = DESIGNS["cross"]
    assert not cross.option_problems(None, TASKS)
    assert not cross.option_problems({"train": ["a"], "test": ["b", "c"]}, TASKS)
    assert cross.option_problems({"train": ["a"], "test": ["x"]}, TASKS) == ["There is no task 'x'. Choices: a, b, c."]
    for wrong in ({"on": ["a"]}, ["a"], {"train": "a"}, {"train": []}):
        assert len(cross.option_problems(wrong, TASKS)) == 1
