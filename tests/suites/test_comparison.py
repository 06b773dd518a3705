"""Scores of models next to published ones: only with the same variant."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from mtl.suites.comparison import ScoreColumn, SeedScore, columns_of, compare
from mtl.suites.published import PublishedScore
from mtl.suites.suite_file import load_suite
from tests.suites.toy import HEADER, write_suite


def scores_of(name: str, value: float = 0.5, *, without: tuple[str, ...] = ()) -> list[SeedScore]:
    """One score for each task of a suite, with its own variant."""
    tasks = load_suite(name).spec.tasks
    return [SeedScore("ours", task, one.variant, 0, value) for task, one in tasks.items() if task not in without]


def test_chemprot_of_recent_encoders_never_stands_beside_that_of_blurb() -> None:
    """77.24 leaves the negative class out and 90.4 does not: they are scores of other things."""
    seen: dict[float, set[str]] = {77.24: set(), 90.4: set()}
    for name in ("blurb", "blue", "encoders11"):
        suite = load_suite(name)
        found = compare(suite.spec, scores_of(name), suite.published)
        for line in found.published:
            for column, cell in line.cells.items():
                if cell.mean in seen:
                    assert column.task.endswith("_chemprot")
                    seen[cell.mean].add(column.variant)
    assert seen == {77.24: {"micro_f1_without_negative"}, 90.4: {"accuracy_with_negative"}}


@pytest.mark.parametrize(("name", "alien"), [("blurb", "encoders11"), ("encoders11", "blurb")])
def test_a_row_of_another_suite_is_apart_even_if_it_is_listed_here(name: str, alien: str) -> None:
    """As if a user copied the other suite's score of ChemProt into the published scores of this one."""
    spec = load_suite(name).spec
    theirs = [one for one in load_suite(alien).published if one.task == f"{alien}_chemprot"]
    copied = [one._replace(task=f"{name}_chemprot") for one in theirs]
    spec = spec.model_copy(
        update={
            "tasks": {
                task: one.model_copy(update={"also": ()}) if task.endswith("chemprot") else one
                for task, one in spec.tasks.items()
            }
        }
    )
    found = compare(spec, [], copied)
    assert copied
    assert found.published == ()
    assert [one.score for one in found.apart] == copied


def test_a_score_of_another_data_set_is_apart_although_the_variant_is_the_same() -> None:
    suite = load_suite("encoders11")
    found = compare(suite.spec, scores_of("encoders11"), suite.published)
    [deid] = [one for one in found.apart if one.score.task == "encoders11_deid"]
    assert (deid.score.variant, deid.reason) == (suite.spec.tasks["encoders11_deid"].variant, deid.score.apart)
    assert all(column.task != "encoders11_deid" for line in found.published for column in line.cells)


def test_entities_of_blue_stand_beside_those_that_conlleval_scored_and_no_others() -> None:
    blue = load_suite("blue")
    entities = ("blue_bc5cdr_disease", "blue_bc5cdr_chemical", "blue_share")
    found = compare(blue.spec, scores_of("blue"), blue.published)
    apart = {(one.score.source, one.score.model) for one in found.apart if one.score.task in entities}
    readme = {model for source, model in apart if source == "blue_readme"}
    assert readme == {"ELMo", "best published by April 2019"}
    wada = {one.model for one in blue.published if one.source == "wada2020"}
    assert {model for source, model in apart if source == "wada2020"} == wada


def test_a_score_of_the_suite_can_be_set_apart(tmp_path: Path) -> None:
    lines = ["paper,theirs,toy,mean_of_tasks,65.0,,,,of another revision"]
    path = write_suite(tmp_path, [])
    (tmp_path / "published.csv").write_text("\n".join([f"{HEADER},apart", *lines]))
    suite = load_suite(path)
    [apart] = compare(suite.spec, [], suite.published).apart
    assert apart.reason == "of another revision"


def test_a_score_of_unclear_averaging_stands_beside_nothing() -> None:
    blurb = load_suite("blurb")
    found = compare(blurb.spec, scores_of("blurb"), blurb.published)
    apart = {(one.score.task, one.score.source) for one in found.apart if one.score.task not in ("blurb_gad", "blurb")}
    entities = ("blurb_bc5_chem", "blurb_bc5_disease", "blurb_ncbi_disease", "blurb_bc2gm", "blurb_jnlpba")
    assert apart == {(task, "bioptimus") for task in entities}
    assert {"blurb_gad", "blurb"} <= {one.score.task for one in found.apart}
    assert all(column.task != "blurb_gad" for line in found.published for column in line.cells)


def test_a_published_line_without_one_of_our_variants_has_no_score_of_the_suite() -> None:
    blurb = load_suite("blurb")
    found = compare(blurb.spec, [], blurb.published)
    [pubmedbert] = [line for line in found.published if line.model == "PubMedBERT"]
    assert pubmedbert.suite.score == (None, 12, 13)
    assert Decimal("81.16") in [one.score.score for one in found.apart]


def test_a_published_line_with_all_variants_has_the_score_of_the_suite(tmp_path: Path) -> None:
    lines = [
        "paper,theirs,toy_risk,micro_f1_without_negative,60.0,0.5,5,",
        "paper,theirs,toy_drugs,strict_entity_f1,70.0,,,yes",
        "paper,theirs,toy,mean_of_tasks,65.0,,,",
    ]
    suite = load_suite(write_suite(tmp_path, lines))
    found = compare(suite.spec, [], suite.published)
    assert found.apart == ()
    [line] = found.published
    assert line.suite.score == (65.0, 2, 2)
    assert line.cells[ScoreColumn("toy_risk", "micro_f1_without_negative")] == (60.0, 0.5, 5, False)
    assert line.cells[ScoreColumn("toy_drugs", "strict_entity_f1")] == (70.0, None, None, True)


def test_ours_is_the_mean_over_seeds_in_percent_with_its_standard_deviation(tmp_path: Path) -> None:
    spec = load_suite(write_suite(tmp_path)).spec
    values = [0.5, 0.6, 0.7]
    scores = [SeedScore("ours", "toy_drugs", "strict_entity_f1", seed, value) for seed, value in enumerate(values)]
    scores.append(SeedScore("ours", "toy_risk", "accuracy_with_negative", 0, 0.9))
    [line] = compare(spec, scores, []).ours
    assert line.cells[ScoreColumn("toy_drugs", "strict_entity_f1")] == pytest.approx((60.0, 10.0, 3, False))
    assert line.cells[ScoreColumn("toy_risk", "accuracy_with_negative")] == (90.0, None, 1, False)
    # The score of the suite is that of the tasks' own variants, of which one is missing.
    assert line.suite.score == (None, 1, 2)
    assert columns_of(spec) == (
        ("toy_risk", "micro_f1_without_negative"),
        ("toy_risk", "accuracy_with_negative"),
        ("toy_drugs", "strict_entity_f1"),
    )


def test_models_keep_apart_and_an_incomplete_one_has_no_score(tmp_path: Path) -> None:
    spec = load_suite(write_suite(tmp_path)).spec
    scores = [SeedScore(model, "toy_drugs", "strict_entity_f1", 0, 0.5) for model in ("a", "b")]
    scores.append(SeedScore("a", "toy_risk", "micro_f1_without_negative", 0, 0.7))
    found = compare(spec, scores, [])
    assert {line.model: line.suite.score for line in found.ours} == {"a": (60.0, 2, 2), "b": (None, 1, 2)}


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (SeedScore("ours", "toy_drugs", "word_macro_f1", 1, 0.5), "no score word_macro_f1"),
        (SeedScore("ours", "toy_drugs", "strict_entity_f1", 0, 0.5), "two scores"),
    ],
)
def test_a_score_of_no_column_or_given_twice_is_refused(tmp_path: Path, score: SeedScore, message: str) -> None:
    spec = load_suite(write_suite(tmp_path)).spec
    with pytest.raises(ValueError, match=message):
        compare(spec, [SeedScore("ours", "toy_drugs", "strict_entity_f1", 0, 0.5), score], [])


def test_the_reason_of_a_score_apart_names_both_variants() -> None:
    blurb = load_suite("blurb")
    gad = PublishedScore("gu2021_table6", "m", "blurb_gad", "f1_averaging_unclear", Decimal(80), None, None, False)
    [apart] = compare(blurb.spec, [], [gad]).apart
    assert "f1_averaging_unclear" in apart.reason
    assert "micro_f1_without_negative" in apart.reason
