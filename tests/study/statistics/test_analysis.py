"""Findings from made-up results, checked by hand and against scipy."""

import math
import re
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mtl.study.design.designs import comparisons
from mtl.study.design.run_spec import Finished
from mtl.study.design.runs import Run
from mtl.study.statistics.analysis import findings_of
from mtl.study.statistics.findings import Findings, TrainedOn
from mtl.study.statistics.significance import analyse

TASKS = ["a", "b"]
HEAD = {"head": "classification", "labels": ["no", "yes"], "data": {"reader": "jsonl", "path": "none"}}
COST = {"seconds": 10.0, "training_seconds": 6.0, "evaluation_seconds": 3.0, "examples": 50, "tokens": 900}


def confusion(right: int, wrong: int) -> list[float]:
    """The counts of a document: gold by predicted."""
    return [right, wrong, 0, 0]


def finished(
    scores: dict[str, float], updates: int = 20, study: str = "made_up", curve: list[float] | None = None
) -> Finished:
    counts = {
        target: {
            "documents": np.array([f"d{number}" for number in range(10)]),
            "counts": np.array([confusion(1, 0) if number < 10 * score else confusion(0, 1) for number in range(10)]),
            "owners": np.arange(10),
        }
        for target, score in scores.items()
    }
    test = {target: {"accuracy": score, "loss": 1.0} for target, score in scores.items()}
    points = [
        {
            "updates": dict.fromkeys(scores, n * updates),
            "dev": test if value is None else {t: {"accuracy": value} for t in scores},
        }
        for n, value in enumerate(curve or [None, None], start=1)
    ]
    dev = test if curve is None else {target: {"accuracy": max(curve)} for target in scores}
    return Finished({"test": test, "dev": dev, "curve": points, "cost": COST, "study": study, "session": "s"}, counts)


def describe(
    seeds: int, parts: list[tuple[str, Any]], *, tasks: list[str] = TASKS, **more: Any
) -> tuple[dict[str, Any], dict[Run, str]]:
    found = comparisons(parts, tasks, range(seeds))
    compared = [run for one in found for run in (one.reference, one.treated)]
    runs = dict.fromkeys(part for run in compared for part in reversed(list(run.chain())))
    runs |= dict.fromkeys(Run((task,), seed) for task in tasks for seed in range(seeds))
    keys = {run: str(run) for run in runs}
    description = {
        "study": "made_up",
        "question": "Which?",
        "setup": ["Nothing was trained."],
        "seeds": list(range(seeds)),
        "alpha": 0.05,
        "max_encoders": 2,
        "proposal": [],
        "mixture": {"tasks": dict.fromkeys(tasks, HEAD)},
        "targets": {
            task: {
                "metric": "accuracy",
                "unit": "document",
                "num_units": 10,
                "updates": 40,
                "train_rows": 100,
                "baseline": ["majority", 0.4],
                "dev_baseline": ["majority", 0.4],
                "units": {"dev": 0.1, "test": 0.001},
            }
            for task in tasks
        },
        "singles": {task: [keys[Run((task,), seed)] for seed in range(seeds)] for task in tasks},
        "comparisons": [
            [one.design, one.target, one.partner, one.seed, keys[one.treated], keys[one.reference]] for one in found
        ],
        "runs": {
            key: {"name": key, "trains": run.trains, "designs": ["pairwise"], "source": keys.get(run.source)}
            for run, key in keys.items()
        },
        "failures": {},
        "sessions": [],
        "deviations": [],
        "versions": {},
        **more,
    }
    return description, keys


SINGLE = {"a": [0.5, 0.6, 0.5, 0.4, 0.5, 0.6], "b": [0.7, 0.7, 0.8, 0.7, 0.6, 0.7]}
PAIR = {"a": [0.8, 0.8, 0.7, 0.7, 0.9, 0.8], "b": [0.7, 0.8, 0.7, 0.7, 0.7, 0.6]}


def pairs(seeds: int = 6, **more: Any) -> tuple[dict[str, Any], dict[str, Finished]]:
    description, keys = describe(seeds, [("pairwise", None)], **more)
    results = {}
    for run, key in keys.items():
        scores = SINGLE if len(run.tasks) == 1 else PAIR
        results[key] = finished({task: scores[task][run.seed] for task in run.tasks})
    return description, results


def parts(sentence: str) -> tuple[str, list[int], str]:
    """The gain, the seeds and the reason in a sentence about missing runs."""
    match = re.fullmatch(r"(.*) lacks seeds? ([\d, ]+): (.*)", sentence)
    assert match is not None
    return match[1], [int(seed) for seed in match[2].split(", ")], match[3]


def test_the_statistics_of_a_cell_agree_with_scipy_and_with_sums_by_hand() -> None:
    family = findings_of(*pairs()).families[0]
    gain = family.gains[0]
    assert (gain.target, gain.partner) == ("a", "b")
    assert gain.differences == pytest.approx((0.3, 0.2, 0.2, 0.3, 0.4, 0.2))
    assert gain.cell.mean == pytest.approx(1.6 / 6)
    assert gain.cell.sd == pytest.approx(math.sqrt(sum((d - 1.6 / 6) ** 2 for d in gain.differences) / 5))
    expected = stats.ttest_1samp(gain.differences, 0).confidence_interval(0.95)
    assert gain.cell.interval == pytest.approx((expected.low, expected.high))
    assert gain.cell.p == 2 / 2**6  # all six differences have the same sign
    flips = stats.permutation_test((gain.differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert gain.cell.p == pytest.approx(flips.pvalue)
    assert gain.cell.verdict == "helps"
    other = family.gains[1]
    assert other.differences == pytest.approx((0.0, 0.1, -0.1, 0.0, 0.1, -0.1))
    assert other.cell.verdict == "undecided"


def test_the_interval_over_documents_contains_the_gain_and_is_wider_for_fewer_documents() -> None:
    description, results = pairs()
    few = findings_of(description, results).families[0].gains[0]
    assert few.documents is not None
    assert few.documents.low < few.cell.mean < few.documents.high
    for result in results.values():
        for counts in result.counts.values():
            counts["documents"] = np.array([f"d{number}" for number in range(100)])
            counts["counts"] = np.repeat(counts["counts"], 10, axis=0)
            counts["owners"] = np.arange(100)
    found = findings_of(description, results)  # the description says that 10 documents were read; 100 were scored
    assert {facts.num_units for facts in found.targets.values()} == {100}
    many = found.families[0].gains[0].documents
    assert many is not None
    assert many.high - many.low < few.documents.high - few.documents.low
    for facts in description["targets"].values():
        facts |= {"unit": "patient", "unit_of_documents": [number // 10 for number in range(100)]}
    of_patients = findings_of(description, results)
    assert {(facts.unit, facts.num_units) for facts in of_patients.targets.values()} == {("patient", 10)}
    assert of_patients.families[0].gains[0].documents == pytest.approx(few.documents), "ten patients, as ten documents"


def test_delta_m_is_the_mean_relative_gain_of_the_run() -> None:
    family = findings_of(*pairs()).families[0]
    (name,) = family.relative_change
    assert name == "a + b"
    assert family.relative_change[name][0] == pytest.approx((0.3 / 0.5 + 0.0 / 0.7) / 2)


def test_a_missing_run_is_listed_with_its_reason_and_its_gains_have_no_verdict() -> None:
    description, results = pairs(failures={"a + b, seed 2": "MemoryError: no room\nat line 3"})
    del results["a + b, seed 2"]
    findings = findings_of(description, results)
    assert [parts(sentence)[:2] for sentence in findings.missing] == [
        ("pairwise: a with b", [2]),
        ("pairwise: b with a", [2]),
    ]
    assert {parts(sentence)[2] for sentence in findings.missing} == {"'a + b, seed 2' failed: MemoryError: no room."}
    gain = findings.families[0].gains[0]
    assert math.isnan(gain.differences[2])
    assert gain.cell.n == 5
    assert gain.cell.verdict not in ("helps", "hurts")
    assert gain.documents is None
    del results["a, seed 4"]
    failed, not_run = parts(findings_of(description, results).missing[0])[2].split("; ")
    assert failed.startswith("'a + b, seed 2' failed")
    assert not_run.startswith("'a, seed 4' has not")
    for seed in (1, 3):
        del results[f"a + b, seed {seed}"]
    which, seeds, reasons = parts(findings_of(description, results).missing[0])
    assert (which, seeds) == ("pairwise: a with b", [1, 2, 3, 4])
    failed, not_run = reasons.split("; ")
    assert failed.startswith("'a + b, seed 2' failed")
    assert not_run.startswith("'a + b, seed 1' and 2 others have not")


def test_an_undefined_score_is_listed_as_missing() -> None:
    description, results = pairs()
    results["a + b, seed 2"].result["test"]["b"]["accuracy"] = None
    (sentence,) = findings_of(description, results).missing
    which, seeds, reason = parts(sentence)
    assert (which, seeds) == ("pairwise: b with a", [2])
    assert "accuracy of 'a + b, seed 2' is undefined" in reason


def test_a_missing_baseline_is_listed_even_if_nothing_is_compared_with_it() -> None:
    description, keys = describe(2, [("single", None)], failures={"a, seed 1": "MemoryError"})
    results = {key: finished({run.tasks[0]: 0.5}) for run, key in keys.items() if key != "a, seed 1"}
    assert findings_of(description, results).missing == ("single: 'a, seed 1' failed: MemoryError.",)


def test_a_relative_change_from_zero_is_undefined() -> None:
    description, results = pairs()
    results["a, seed 2"].result["test"]["a"]["accuracy"] = 0.0
    (values,) = findings_of(description, results).families[0].relative_change.values()
    assert all(math.isnan(value) for value in values)


def test_tasks_that_are_best_alone_count_as_measured_once_verified() -> None:
    description, results = pairs(proposal=[["a"], ["b"]])
    for key, result in results.items():
        if "+" in key:
            for scores in result.result["test"].values():
                scores["accuracy"] = 0.1
    found = findings_of(description, results).grouping
    assert found is not None
    assert found.groups == (("a",), ("b",))
    assert found.measured == {"a": 0.0, "b": 0.0}
    description["proposal"] = []
    unverified = findings_of(description, results).grouping
    assert unverified is not None
    assert unverified.measured is None


def test_with_five_seeds_every_gain_is_unresolvable() -> None:
    findings = findings_of(*pairs(seeds=5))
    assert {gain.cell.verdict for gain in findings.families[0].gains} == {"unresolvable"}
    assert findings.families[0].floor == 0.0625
    assert all(math.isinf(gain) for gain in findings.families[0].smallest_gains.values())


def test_the_minimum_detectable_gain_is_proportional_to_the_spread_of_the_target() -> None:
    family = findings_of(*pairs()).families[0]
    gains = {gain.target: gain.cell.sd for gain in family.gains}
    ratios = {target: smallest / gains[target] for target, smallest in family.smallest_gains.items()}
    assert ratios["a"] == pytest.approx(ratios["b"])
    assert 1 < ratios["a"] < 4


def test_groups_are_predicted_from_pairs_and_measured_once_trained() -> None:
    predicted = findings_of(*pairs()).grouping
    assert predicted is not None
    assert predicted.groups == (("a", "b"),)
    assert predicted.predicted["a"] == pytest.approx(1.6 / 6)
    assert predicted.measured is None
    description, keys = describe(6, [("pairwise", None), ("groups", [["a", "b"]])], proposal=[["a", "b"]])
    results = {
        key: finished({t: (SINGLE if len(run.tasks) == 1 else PAIR)[t][run.seed] for t in run.tasks})
        for run, key in keys.items()
    }
    verified = findings_of(description, results).grouping
    assert verified is not None
    assert verified.measured == pytest.approx(dict(predicted.predicted))
    assert verified.intervals["a"].low > 0


def test_only_groups_of_the_predicted_grouping_count_as_measured() -> None:
    tasks = ["a", "b", "c"]
    description, keys = describe(6, [("pairwise", None), ("groups", [["a", "b", "c"], ["c", "b"]])], tasks=tasks)
    description["max_encoders"] = 3
    scores = {("a", "b"): 0.4, ("a", "c"): 0.4, ("b", "c"): 0.8, ("a", "b", "c"): 0.6}
    results = {key: finished(dict.fromkeys(run.tasks, scores.get(run.tasks, 0.5))) for run, key in keys.items()}
    found = findings_of(description, results).grouping
    assert found is not None
    assert found.groups == (("a",), ("b", "c"))
    assert found.measured == pytest.approx({"a": 0.0, "b": 0.3, "c": 0.3})
    description["comparisons"] = [
        one for one in description["comparisons"] if one[2] not in ("b", "c") or one[0] != "groups"
    ]
    other = findings_of(description, results).grouping
    assert other is not None
    assert other.measured is None  # the group of all three tasks is a different one


def test_costs_mark_reused_runs_and_the_time_outside_training_is_a_share() -> None:
    sessions = [{"seconds": 20.0, "workers": 2, "busy_seconds": 36.0, "runs": 4}]
    description, results = pairs(sessions=sessions)
    results["a, seed 0"].result["study"] = "an_earlier_study"
    findings = findings_of(description, results)
    assert [cost.run for cost in findings.costs if cost.reused] == ["a, seed 0"]
    assert len(findings.costs) == 18
    assert findings.outside_share == pytest.approx(0.1)


def test_runs_are_counted_by_code_and_machine_and_the_fields_may_be_unknown() -> None:
    description, results = pairs()
    versions = {
        "version.biomtl": "0.1.0",
        "git.biomtl.commit": "0123",
        "git.biomtl.dirty": "true",
        "machine.device": "cpu",
        "machine.threads": "4",
    }
    for key in ("a, seed 0", "b, seed 1"):
        results[key].result["versions"] = versions
    assert set(findings_of(description, results).trained_on) == {
        TrainedOn("0.1.0", "0123", True, "cpu", "4", 2),
        TrainedOn("", "", False, "", "", 16),
    }


def test_curves_are_means_over_seeds_at_the_updates_on_the_target() -> None:
    curves = {(curve.target, curve.partner): curve for curve in findings_of(*pairs()).curves}
    assert set(curves) == {("a", "single"), ("b", "single"), ("a", "b"), ("b", "a")}
    assert curves["a", "b"].updates == (20, 40)
    assert curves["a", "b"].mean[0] == pytest.approx(np.mean(PAIR["a"]))
    assert curves["a", "b"].sd[0] == pytest.approx(np.std(PAIR["a"], ddof=1))


# --- further training, collapsed and undertrained runs, units ---------------------------------------------------------


def with_continued(further: float) -> Findings:
    """A pairwise study in which a partner adds 0.2 to task a, and a second round alone adds `further`."""
    noise = [0.0, 0.01, -0.01, 0.02, -0.02, 0.01, -0.01, 0.0]
    description, keys = describe(8, [("pairwise", None), ("continued", None)])
    results = {}
    for run, key in keys.items():
        added = 0.2 if len(run.tasks) > 1 else further if run.source else 0.0
        moved = noise[run.seed] * (1 if len(run.tasks) > 1 else -1 if run.source else 0)
        results[key] = finished({task: 0.5 + (added + moved if task == "a" else 0.0) for task in run.tasks})
    return findings_of(description, results)


@pytest.mark.parametrize(("further", "verdict"), [(0.0, "helps"), (0.2, "undecided"), (0.4, "hurts")])
def test_a_gain_is_compared_with_that_of_a_second_round_of_the_same_seed(further: float, verdict: str) -> None:
    findings = with_continued(further)
    pairwise, continued = (findings.family(name) for name in ("pairwise", "continued"))
    assert pairwise is not None
    assert continued is not None
    gain = pairwise.gains[0]
    assert gain.cell.verdict == "helps"
    assert gain.beyond is not None
    assert gain.beyond.verdict == verdict
    assert gain.beyond.mean == pytest.approx(gain.cell.mean - continued.gains[0].cell.mean)
    differences = np.array(gain.treated) - np.array(continued.gains[0].treated)
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert gain.beyond.interval == pytest.approx((expected.low, expected.high))
    assert all(gain.beyond is None for gain in continued.gains)


def test_the_comparison_with_further_training_is_tested_for_all_gains_of_the_design_together() -> None:
    findings = with_continued(0.15)
    pairwise, continued = (findings.family(name) for name in ("pairwise", "continued"))
    assert pairwise is not None
    assert continued is not None
    of_target = {gain.target: np.array(gain.treated) for gain in continued.gains}
    matrix = np.array([np.array(gain.treated) - of_target[gain.target] for gain in pairwise.gains]).T
    together = analyse(matrix, units=0.001)
    assert [gain.beyond for gain in pairwise.gains] == together


def test_designs_with_another_reference_than_the_single_task_run_are_not_compared_with_further_training() -> None:
    description, keys = describe(
        6, [("pairwise", None), ("refine_finetune", None), ("leave_one_out", None), ("continued", None)]
    )
    results = {key: finished(dict.fromkeys(run.tasks, 0.5)) for run, key in keys.items()}
    compared = {
        family.design
        for family in findings_of(description, results).families
        if any(gain.beyond is not None for gain in family.gains)
    }
    assert compared == {"pairwise"}


def test_the_scores_before_and_after_each_stage_are_those_of_the_runs_and_of_their_sources() -> None:
    description, keys = describe(6, [("refine_finetune", None)], averages={"both": TASKS}, left_out={"c": "a friend"})
    shares = {"a": 0.2, "b": 0.3, "a + b": 0.5, "a then a with its heads": 0.6, "a + b then a with its heads": 0.7}
    results = {key: finished(dict.fromkeys(run.tasks, shares.get(run.trains, 0.9))) for run, key in keys.items()}
    del results["a + b then a with its heads, seed 3"]
    findings = findings_of(description, results)
    found = {one.target: one for one in findings.stages}
    assert list(found) == ["a", "b"]
    assert found["a"].single == found["a"].refined_alone == (0.2,) * 6
    assert found["a"].refined == found["b"].refined == (0.5,) * 6
    assert found["a"].finetuned_alone == (0.6,) * 6
    assert found["a"].finetuned == pytest.approx((0.7, 0.7, 0.7, math.nan, 0.7, 0.7), nan_ok=True)
    assert findings.averages == {"both": ("a", "b")}
    assert findings.left_out == {"c": "a friend"}
    assert findings_of(*pairs()).stages == ()


def test_the_arms_have_their_scores_the_first_first_and_published_ones_in_percent() -> None:
    published = [["a", "y", "accuracy", 81.5, "Somebody 2020"]]
    description, keys = describe(
        6, [("arms", {"x": {}, "y": {"z": 1}, "z": {"z": 2}})], arms={"first": "x", "published": published}
    )
    shares = {"": 0.5, "y": 0.7, "z": 0.2}
    results = {key: finished(dict.fromkeys(run.tasks, shares[run.arm])) for run, key in keys.items()}
    del results["b (z), seed 2"]
    findings = findings_of(description, results)
    assert [(one.target, one.arm) for one in findings.arms] == [(task, arm) for task in TASKS for arm in "xyz"]
    assert [one.scores[0] for one in findings.arms] == [0.5, 0.7, 0.2, 0.5, 0.7, 0.2]
    assert math.isnan(findings.arms[-1].scores[2])
    assert [(one.published, one.source) for one in findings.arms[:2]] == [(None, ""), (81.5, "Somebody 2020")]
    gain = findings.families[0].gains[0]
    assert (gain.partner, gain.cell.mean) == ("y", pytest.approx(0.2))
    assert gain.beyond is None


def test_a_constant_difference_of_a_rounding_error_is_not_significant() -> None:
    description, results = pairs()
    for key, result in results.items():
        for scores in result.result["test"].values():
            scores["accuracy"] = 0.6 + (1e-16 if "+" in key else 0.0)
    gains = findings_of(description, results).families[0].gains
    assert {gain.cell.verdict for gain in gains} == {"undecided"}
    assert {gain.cell.p for gain in gains} == {1.0}
    for units in description["targets"].values():
        units.pop("units")  # as in descriptions by earlier versions
    assert {gain.cell.verdict for gain in findings_of(description, results).families[0].gains} == {"undecided"}


def test_a_collapsed_run_is_named_and_marks_every_gain_that_it_is_part_of() -> None:
    description, results = pairs()
    for facts in description["targets"].values():
        facts["dev_baseline"] = ["majority", 0.3]
    results["a + b, seed 2"] = finished({"a": 0.1, "b": 0.7}, curve=[0.3, 0.2])
    results["b, seed 4"] = finished({"b": 0.1}, curve=[0.2, 0.3])
    findings = findings_of(description, results)
    assert {(note.run, note.target, note.score, note.compared) for note in findings.collapsed} == {
        ("a + b, seed 2", "a", 0.3, 0.3),
        ("a + b, seed 2", "b", 0.3, 0.3),
        ("b, seed 4", "b", 0.3, 0.3),
    }
    first, second = findings.families[0].gains
    assert first.collapsed == ("a + b, seed 2",)
    assert second.collapsed == ("a + b, seed 2", "b, seed 4")
    assert findings.targets["b"].learning.collapsed == ("b, seed 4",)


def test_a_cell_whose_median_does_not_beat_the_trivial_predictor_has_no_collapsed_run() -> None:
    description, results = pairs()
    for seed in range(6):
        results[f"a, seed {seed}"] = finished({"a": 0.5}, curve=[0.1 * seed, 0.1 * seed])
    description["targets"]["a"]["dev_baseline"] = ["majority", 0.3]
    assert not findings_of(description, results).collapsed  # the median is 0.25
    description["targets"]["a"]["dev_baseline"] = ["majority", 0.2]
    found = findings_of(description, results)
    assert [note.run for note in found.collapsed] == ["a, seed 0", "a, seed 1", "a, seed 2"]


def test_without_a_trivial_predictor_on_dev_no_run_is_known_to_have_collapsed() -> None:
    description, results = pairs()
    results["a, seed 2"] = finished({"a": 0.0}, curve=[0.0, 0.0])
    assert findings_of(description, results).collapsed
    description["targets"]["a"].pop("dev_baseline")
    assert not findings_of(description, results).collapsed


def test_undertrained_runs_are_named_and_counted_in_each_cell() -> None:
    description, results = pairs()
    for seed in range(6):
        results[f"a, seed {seed}"] = finished({"a": 0.5}, curve=[0.5] * 5)
    results["a, seed 0"] = finished({"a": 0.5}, curve=[0.5, 0.5, 0.5, 0.6, 0.71])  # 0.11, more than one unit of 0.1
    results["a, seed 1"] = finished({"a": 0.6}, curve=[0.5, 0.5, 0.5, 0.6, 0.69])
    results["a, seed 2"] = finished({"a": 0.5}, curve=[0.5, 0.5, 0.8, 0.6, 0.7])
    findings = findings_of(description, results)
    assert [(note.run, note.target) for note in findings.undertrained] == [("a, seed 0", "a")]
    assert findings.undertrained[0].score == pytest.approx(0.71)
    assert findings.undertrained[0].compared == pytest.approx(0.6)
    assert findings.targets["a"].learning.undertrained == ("a, seed 0",)
    assert findings.targets["a"].learning.num_settled == 4  # all but the first two: a flat curve is settled
    assert findings.families[0].gains[0].learning.undertrained == ()


def test_the_minimum_detectable_gain_is_at_least_one_unit_of_the_test_set() -> None:
    description, results = pairs()
    description["targets"]["a"]["units"]["test"] = 0.9
    smallest = findings_of(description, results).families[0].smallest_gains
    assert smallest["a"] == 0.9
    assert smallest["b"] < 0.9


def test_scores_on_seen_and_unseen_mentions_are_means_over_the_runs_that_kept_them() -> None:
    description, results = pairs(3)
    single = description["singles"]["a"]
    paired = [treated for _, target, _, _, treated, _ in description["comparisons"] if target == "a"]
    planted = dict(zip([*single, *paired[:2]], [0.1, 0.2, 0.6, 0.5, 0.7], strict=True))  # the last pair kept none
    for key, unseen in planted.items():
        scores = {"seen_share": 0.75, "ambiguous_share": 0.25, "seen_f1": None, "unseen_f1": unseen}
        results[key] = Finished({**results[key].result, "surfaces": {"a": scores}}, results[key].counts)
    first, second = findings_of(description, results).surfaces
    assert (first.target, first.design, first.partner, first.num_runs) == ("a", "", "", 3)
    assert (second.target, second.design, second.partner, second.num_runs) == ("a", "pairwise", "b", 2)
    assert [first.unseen_f1, second.unseen_f1] == pytest.approx([0.3, 0.6])
    assert (first.seen_share, first.ambiguous_share) == (0.75, 0.25)
    assert math.isnan(first.seen_f1)
    assert findings_of(*pairs(3)).surfaces == (), "runs of earlier versions kept none"
